//! Decides the candidates of a batch in one shard, and reports the decisions. `gather` reads the report.
//!
//! A report has, for each blob in the order of its lines:
//!
//! ```text
//! range | split | CRC of the blob, u64 | decided lines by outcome
//! | emitted | of each: bytes after the last position, rule << 1 | control group, day, mixed msisdn, content
//! ```

use crate::crc::crc64;
use crate::ledger::Ledger;
use crate::ledger::counters::COUNTERS_FULL;
use crate::ledger::decide::{Candidate, DECIDED_OUTCOMES, Terms, decide};
use crate::ledger::shard::shard_of;
use crate::rules::Rules;
use crate::split::candidates::{BlobError, CandidateReader, SplitId};
use crate::wire::{Input, put_bytes, put_number};
use std::ops::Range;

/// Apply the candidates of blobs, given in any order, to the `owned` shards of the ledger; return the report. Err: a
/// blob is damaged or has candidates of other shards; the ledger must not be used then.
pub fn step(
    ledger: &mut Ledger,
    owned: Range<usize>,
    terms: Terms,
    blobs: &[&[u8]],
) -> Result<Vec<u8>, String> {
    if terms.policy.has_limit() {
        ledger.count_customers(1).ok_or(COUNTERS_FULL)?;
    }
    let mut readers = Vec::with_capacity(blobs.len());
    for blob in blobs {
        // All counters are declared before any candidate is applied: only then is it known which caps have one total.
        let reader =
            CandidateReader::new(blob, terms.rules, &mut ledger.counters).map_err(message_of)?;
        readers.push((reader, crc64(blob, 0)));
    }
    // Splits of a range do not overlap, and the blobs of a split follow each other.
    readers.sort_by_key(|(reader, _)| (reader.split.range, reader.position));
    let mut out = Vec::new();
    let (mut candidates, mut positions) = (Vec::new(), Vec::new());
    for (mut reader, crc) in readers {
        candidates.clear();
        positions.clear();
        while let Some(read) = reader.next() {
            let (candidate, position) = read.map_err(message_of)?;
            if !owned.contains(&shard_of(candidate.mixed)) {
                return Err("candidates of another shard".into());
            }
            candidates.push(candidate);
            positions.push(position);
        }
        let mut decided = [0u64; DECIDED_OUTCOMES.len()];
        let mut emitted = Vec::new();
        let shards = &mut ledger.shards[owned.clone()];
        let counters = &ledger.counters;
        decide(
            shards,
            owned.start,
            counters,
            terms,
            &candidates,
            |at, decision| {
                decided[decision as usize] += 1;
                if let Some(control) = decision.emits() {
                    emitted.push((at, control));
                }
            },
        );
        put_number(&mut out, u64::from(reader.split.range));
        put_number(&mut out, u64::from(reader.split.number));
        out.extend_from_slice(&crc.to_le_bytes());
        for count in decided.into_iter().chain([emitted.len() as u64]) {
            put_number(&mut out, count);
        }
        let mut last = 0;
        for (at, control) in emitted {
            let candidate: &Candidate = &candidates[at];
            put_number(&mut out, positions[at] - last);
            put_number(
                &mut out,
                u64::from(candidate.rule) << 1 | u64::from(control),
            );
            put_number(&mut out, u64::from(candidate.day));
            put_number(&mut out, candidate.mixed);
            put_bytes(&mut out, reader.content(candidate));
            last = positions[at];
        }
    }
    for shard in &mut ledger.shards[owned] {
        shard.set_caps(&ledger.counters);
    }
    Ok(out)
}

fn message_of(refused: BlobError) -> String {
    match refused {
        BlobError::Damaged => "a blob of candidates is damaged".into(),
        BlobError::CountersFull => COUNTERS_FULL.into(),
    }
}

/// The decisions about the candidates of a blob.
pub(crate) struct DecidedBlob<'a> {
    pub(crate) split: SplitId,
    /// CRC of the blob.
    pub(crate) crc: u64,
    pub(crate) counts: [u64; DECIDED_OUTCOMES.len()],
    pub(crate) emitted: Vec<Emitted<'a>>,
}

/// A candidate whose line is emitted.
pub(crate) struct Emitted<'a> {
    /// It is of the control group.
    pub(crate) control: bool,
    pub(crate) position: u64,
    /// Without the offset of its content.
    pub(crate) candidate: Candidate,
    pub(crate) content: &'a [u8],
}

/// Read a report; None when it is damaged.
pub(crate) fn read_report<'a>(report: &'a [u8], rules: &Rules) -> Option<Vec<DecidedBlob<'a>>> {
    let mut input = Input(report);
    let mut all = Vec::new();
    while !input.0.is_empty() {
        let split = SplitId {
            range: input.small()?,
            number: input.small()?,
        };
        let crc = input.u64()?;
        let mut counts = [0; DECIDED_OUTCOMES.len()];
        for count in &mut counts {
            *count = input.number()?;
        }
        let mut emitted = Vec::new();
        let mut position = 0u64;
        for _ in 0..input.number()? {
            position = position.checked_add(input.number()?)?;
            let number = input.number()?;
            let rule = u32::try_from(number >> 1)
                .ok()
                .filter(|rule| (*rule as usize) < rules.rules.len())?;
            let candidate = Candidate {
                rule,
                day: input.small()?,
                mixed: input.mixed()?,
                ..Candidate::default()
            };
            let content = input.bytes()?;
            emitted.push(Emitted {
                control: number & 1 == 1,
                position,
                candidate,
                content,
            });
        }
        all.push(DecidedBlob {
            split,
            crc,
            counts,
            emitted,
        });
    }
    Some(all)
}
