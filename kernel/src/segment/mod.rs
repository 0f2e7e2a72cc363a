//! The set of targeted msisdns, laid out for a stream of which most records are not in it.
//!
//! Two layers: a `filter` that says "surely not" for nearly all strangers, and a `table` that knows exactly. About 15
//! bytes a dial together. Both are filled in `partitions`, by as many threads as there are cores.

mod codec;
pub mod parse;
mod table;

use crate::partition::Partitioned;
use crate::scan::filter::{self, Filter};
use crate::segment::parse::SegmentReport;
use crate::segment::table::Table;
use crate::threads;
use crate::types::msisdn;

/// What takes more, because its dials were given again and again, is laid out anew.
const MSISDN_BYTES_MAX: usize = 16;

/// Bytes of a line of SEGMENT, about: how large a segment will be is guessed from them.
const LINE_BYTES: usize = 12;

/// Some keys as both layers take them.
#[derive(Default)]
struct Laid {
    marks: Partitioned<u32>,
    mixed: Partitioned<u64>,
}

impl Laid {
    fn new(keys: &[u64], partitions: usize) -> Laid {
        Laid {
            marks: filter::marks(keys),
            mixed: table::mixed(keys, partitions),
        }
    }
}

/// An immutable set of msisdns.
#[derive(Debug)]
pub struct Segment {
    filter: Vec<u64>,
    table: Table,
}

impl Segment {
    /// Parse the contents of SEGMENT's files.
    pub fn parse(files: &[&[u8]], errors_max: usize) -> (Segment, SegmentReport) {
        let bytes: usize = files.iter().map(|file| file.len()).sum();
        let partitions = table::partitions_for(bytes / LINE_BYTES);
        let (laid, mut report) =
            parse::parse(files, errors_max, |keys| Laid::new(keys, partitions));
        let segment = Segment::of_laid(&laid, partitions);
        let given: usize = laid.iter().map(|laid| laid.mixed.len()).sum();
        report.duplicates = (given - segment.len()) as u64;
        (segment, report)
    }

    /// The set of these keys.
    pub(crate) fn of(blocks: &[Vec<u64>]) -> Segment {
        let partitions = table::partitions_for(blocks.iter().map(Vec::len).sum());
        let threads = threads::worth(blocks.len());
        let laid = threads::map(threads, blocks.len(), |at| {
            Laid::new(&blocks[at], partitions)
        });
        Segment::of_laid(&laid, partitions)
    }

    fn of_laid(laid: &[Laid], partitions: usize) -> Segment {
        let mixed: Vec<_> = laid.iter().map(|laid| &laid.mixed).collect();
        let marks: Vec<_> = laid.iter().map(|laid| &laid.marks).collect();
        let given = mixed.iter().map(|block| block.len()).sum();
        let segment = Segment {
            filter: filter::fill(given, &marks),
            table: Table::new(&mixed, partitions),
        };
        if segment.len() < given && segment.memory_bytes() > MSISDN_BYTES_MAX * segment.len() {
            return Segment::of(&[segment.keys().collect()]);
        }
        segment
    }

    /// The first layer.
    #[inline]
    pub fn filter(&self) -> Filter<'_> {
        Filter::of(&self.filter)
    }

    /// The second layer.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Ask memory for the place in the table of this mixed key.
    #[inline(always)]
    pub fn prefetch(&self, mixed: u64) {
        self.table.prefetch(mixed);
    }

    /// Whether the mixed key is in the set.
    #[inline]
    pub fn contains(&self, mixed: u64) -> bool {
        self.table.contains(mixed)
    }

    /// How many dials it holds.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it holds no dial.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All keys, in no useful order.
    pub fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        self.table.stretches().into_iter().flat_map(table::keys_of)
    }

    /// (dials added, dials removed) from this one to the newer.
    pub fn diff(&self, newer: &Segment) -> (u64, u64) {
        let missing = |from: &Segment, key: u64| u64::from(!from.contains(msisdn::mix(key)));
        let added = newer.keys().map(|key| missing(self, key)).sum();
        (added, self.keys().map(|key| missing(newer, key)).sum())
    }

    /// The `n` smallest dials, as text.
    pub fn sample(&self, n: usize) -> Vec<String> {
        if n == 1 {
            // A run may ask for one while it goes on: a copy of all keys would cost more than the rest.
            let stretches = self.table.stretches();
            let firsts = threads::map(threads::worth(stretches.len()), stretches.len(), |at| {
                table::keys_of(stretches[at]).min_by_key(|key| msisdn::text_order(*key))
            });
            let firsts = firsts.into_iter().flatten();
            let first = firsts.min_by_key(|key| msisdn::text_order(*key));
            return first.map(msisdn::digits_of).into_iter().collect();
        }
        let mut keys: Vec<u64> = self.keys().collect();
        let n = n.min(keys.len());
        if n < keys.len() {
            keys.select_nth_unstable_by_key(n, |key| msisdn::text_order(*key));
            keys.truncate(n);
        }
        keys.sort_unstable_by_key(|key| msisdn::text_order(*key));
        keys.into_iter().map(msisdn::digits_of).collect()
    }

    /// Dials by number of digits.
    pub fn lengths(&self) -> [u64; msisdn::DIGITS_MAX + 1] {
        let mut lengths = [0; msisdn::DIGITS_MAX + 1];
        for key in self.keys() {
            lengths[key.ilog10() as usize] += 1;
        }
        lengths
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.filter.len() * size_of::<u64>() + self.table.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_exactly_what_it_was_given() {
        let text: String = (0..20_000)
            .flat_map(|i| {
                [
                    String::from("01"),
                    (i * 7 + 100_000_000).to_string().split_off(1),
                    "\n".into(),
                ]
            })
            .collect();
        let (segment, report) = Segment::parse(&[text.as_bytes()], 10);
        assert_eq!(
            (20_000, 0, 0),
            (report.lines, report.bad, report.duplicates)
        );
        for i in 0..140_000u64 {
            let mixed = msisdn::mix(msisdn::POW10[10] + 100_000_000 + i);
            assert_eq!(i % 7 == 0, segment.contains(mixed));
            assert!(
                segment
                    .filter()
                    .may_contain(Filter::spread(msisdn::unmix(mixed)))
                    || i % 7 != 0
            );
        }
        let again = Segment::decode(&segment.encode()).expect("undamaged");
        assert_eq!((0, 0), segment.diff(&again));
        assert!(segment.memory_bytes() <= 16 * segment.len());
    }

    #[test]
    fn the_filter_refuses_nearly_all_strangers_however_dials_are_given_out() {
        const DIALS: u64 = 30_000;
        for stride in [1, 2, 7, 10, 16, 64, 100, 256, 1_000, 1_024, 10_000] {
            let dial = |i: u64| msisdn::POW10[11] + 20_100_000_000 + i * stride;
            // Strangers lie between the dials, and behind them.
            let is_dial = |i: u64| i.is_multiple_of(10) && i < 10 * DIALS;
            let dials = (0..10 * DIALS).filter(|i| is_dial(*i));
            let segment = Segment::of(&[dials.map(dial).collect()]);
            let strangers = (0..20 * DIALS).filter(|i| !is_dial(*i));
            let passed =
                strangers.filter(|i| segment.filter().may_contain(Filter::spread(dial(*i))));
            let passed = passed.count() as u64;
            assert!(passed * 40 < 19 * DIALS, "stride {stride}: {passed}");
        }
    }

    #[test]
    fn bad_lines_are_reported_with_their_place() {
        let file = b"\xef\xbb\xbfDIAL\r\n 12345 \n\n\"+12345\"\n1,2\n12\r\n".as_slice();
        let (segment, report) = Segment::parse(&[b"", file], 1);
        assert_eq!(
            (4, 2, 1, 1),
            (report.lines, report.bad, report.duplicates, segment.len())
        );
        assert_eq!(vec![(1, 5, "columns", b"1,2".to_vec())], report.errors);
    }

    #[test]
    fn dials_that_are_given_again_and_again_take_no_room() {
        const DIALS: u64 = 100_000;
        let lines: Vec<String> = (0..5 * DIALS)
            .map(|line| format!("{:011}", line % DIALS))
            .collect();
        let (segment, report) = Segment::parse(&[lines.join("\n").as_bytes()], 0);
        assert_eq!((5 * DIALS, 4 * DIALS), (report.lines, report.duplicates));
        assert_eq!(DIALS as usize, segment.len());
        assert!(segment.memory_bytes() <= MSISDN_BYTES_MAX * segment.len());
        let missed = (0..DIALS).filter(|i| {
            let key = msisdn::POW10[11] + i;
            let passes = segment.filter().may_contain(Filter::spread(key));
            !(passes && segment.contains(msisdn::mix(key)))
        });
        assert_eq!(0, missed.count());
    }
}
