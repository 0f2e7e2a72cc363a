//! The set of targeted msisdns, laid out for a stream of which most records are not in it.
//!
//! Two layers: a filter (`scan/filter.rs`), which says "surely not" for nearly all non-members, and a `table`, which
//! has the exact answer; about 15 bytes an msisdn together. Both are filled partition by partition, by as many threads
//! as there are cores. `parse` reads the lines of SEGMENT, `codec` the stored form.

mod codec;
pub mod parse;
mod table;

use crate::partition::Partitioned;
use crate::scan::filter::{self, Filter};
use crate::segment::parse::SegmentReport;
use crate::segment::table::Table;
use crate::threads;
use crate::types::msisdn;

/// Bytes for each msisdn: a segment that takes more, because lines repeat msisdns, is laid out again.
const MSISDN_BYTES_MAX: usize = 16;

/// About the bytes of a line of SEGMENT, to estimate how many msisdns there will be.
const LINE_BYTES: usize = 12;

/// Some keys, prepared for both layers.
#[derive(Default)]
struct Block {
    marks: Partitioned<u32>,
    mixed: Partitioned<u64>,
}

impl Block {
    fn new(keys: &[u64], partitions: usize) -> Block {
        Block {
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
    /// Parse the contents of SEGMENT's files; report the first `errors_max` bad lines.
    pub fn parse(files: &[&[u8]], errors_max: usize) -> (Segment, SegmentReport) {
        let bytes: usize = files.iter().map(|file| file.len()).sum();
        let partitions = table::partitions_for(bytes / LINE_BYTES);
        let (blocks, mut report) =
            parse::parse(files, errors_max, |keys| Block::new(keys, partitions));
        let segment = Segment::of_blocks(&blocks, partitions);
        let given: usize = blocks.iter().map(|block| block.mixed.len()).sum();
        report.duplicates = (given - segment.len()) as u64;
        (segment, report)
    }

    /// Make the set of these keys.
    pub(crate) fn of(blocks: &[Vec<u64>]) -> Segment {
        let partitions = table::partitions_for(blocks.iter().map(Vec::len).sum());
        let threads = threads::worth(blocks.len());
        let blocks = threads::map(threads, blocks.len(), |at| {
            Block::new(&blocks[at], partitions)
        });
        Segment::of_blocks(&blocks, partitions)
    }

    fn of_blocks(blocks: &[Block], partitions: usize) -> Segment {
        let mixed: Vec<_> = blocks.iter().map(|block| &block.mixed).collect();
        let marks: Vec<_> = blocks.iter().map(|block| &block.marks).collect();
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

    /// Return the first layer.
    #[inline]
    pub fn filter(&self) -> Filter<'_> {
        Filter::of(&self.filter)
    }

    /// Return the second layer.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Ask memory for the place in the table of this mixed key.
    #[inline(always)]
    pub fn prefetch(&self, mixed: u64) {
        self.table.prefetch(mixed);
    }

    /// Return true when the mixed key is in the set.
    #[inline]
    pub fn contains(&self, mixed: u64) -> bool {
        self.table.contains(mixed)
    }

    /// Return the number of msisdns.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Return true when there are no msisdns.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Iterate over all keys, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        self.table.stretches().into_iter().flat_map(table::keys_of)
    }

    /// Return (msisdns added, msisdns removed) from this set to the newer one.
    pub fn diff(&self, newer: &Segment) -> (u64, u64) {
        let missing = |from: &Segment, key: u64| u64::from(!from.contains(msisdn::mix(key)));
        let added = newer.keys().map(|key| missing(self, key)).sum();
        (added, self.keys().map(|key| missing(newer, key)).sum())
    }

    /// Return the `n` smallest msisdns as text, sorted.
    pub fn sample(&self, n: usize) -> Vec<String> {
        if n == 1 {
            // Asked during a run: a copy of all keys would cost more than the rest.
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

    /// Count the msisdns of each number of digits.
    pub fn lengths(&self) -> [u64; msisdn::DIGITS_MAX + 1] {
        let mut lengths = [0; msisdn::DIGITS_MAX + 1];
        for key in self.keys() {
            lengths[key.ilog10() as usize] += 1;
        }
        lengths
    }

    /// Return the bytes of memory.
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
    fn the_filter_refuses_nearly_all_non_members_however_msisdns_are_assigned() {
        const MSISDNS: u64 = 30_000;
        for stride in [1, 2, 7, 10, 16, 64, 100, 256, 1_000, 1_024, 10_000] {
            let key = |i: u64| msisdn::POW10[11] + 20_100_000_000 + i * stride;
            // Non-members lie between the members, and after them.
            let is_member = |i: u64| i.is_multiple_of(10) && i < 10 * MSISDNS;
            let members = (0..10 * MSISDNS).filter(|i| is_member(*i));
            let segment = Segment::of(&[members.map(key).collect()]);
            let non_members = (0..20 * MSISDNS).filter(|i| !is_member(*i));
            let passed =
                non_members.filter(|i| segment.filter().may_contain(Filter::spread(key(*i))));
            let passed = passed.count() as u64;
            assert!(passed * 40 < 19 * MSISDNS, "stride {stride}: {passed}");
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
    fn msisdns_that_are_repeated_take_no_room() {
        const MSISDNS: u64 = 100_000;
        let lines: Vec<String> = (0..5 * MSISDNS)
            .map(|line| format!("{:011}", line % MSISDNS))
            .collect();
        let (segment, report) = Segment::parse(&[lines.join("\n").as_bytes()], 0);
        assert_eq!(
            (5 * MSISDNS, 4 * MSISDNS),
            (report.lines, report.duplicates)
        );
        assert_eq!(MSISDNS as usize, segment.len());
        assert!(segment.memory_bytes() <= MSISDN_BYTES_MAX * segment.len());
        let missed = (0..MSISDNS).filter(|i| {
            let key = msisdn::POW10[11] + i;
            let passes = segment.filter().may_contain(Filter::spread(key));
            !(passes && segment.contains(msisdn::mix(key)))
        });
        assert_eq!(0, missed.count());
    }
}
