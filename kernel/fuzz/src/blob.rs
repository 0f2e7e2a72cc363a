//! Stored ledgers and segments: impossible ones are refused, and those that load are encoded as they were.

use super::controls;
use upswell_kernel::crc::crc64;
use upswell_kernel::ledger::Ledger;
use upswell_kernel::ledger::shard::SHARDS;
use upswell_kernel::segment::Segment;

const DAY_OPEN: u32 = 20_200_416;

/// Two control bytes (the kind of blob; 1 to append the right checksum), then a blob.
pub fn attempt(input: &[u8]) {
    let ([kind, right], data) = controls(input);
    let mut blob = data.to_vec();
    if right % 2 == 1 {
        // Without this nearly every input would end at the checksum.
        blob.extend_from_slice(&crc64(&blob, 0).to_le_bytes());
    }
    if kind % 3 == 2 {
        segment(&blob);
    } else {
        ledger(&blob, kind % 3 == 0, u32::from(kind >> 7) * DAY_OPEN);
    }
}

fn segment(encoded: &[u8]) {
    if let Some(segment) = Segment::decode(encoded) {
        assert_eq!(encoded, segment.encode());
        assert_eq!(segment.len() as u64, segment.lengths().iter().sum::<u64>());
        assert_eq!(segment.len(), segment.sample(usize::MAX).len());
    }
}

fn ledger(blob: &[u8], is_base: bool, day_open: u32) {
    let blobs: [(u64, &[u8]); 1] = [(1, blob)];
    let (bases, deltas) = if is_base {
        (&blobs[..], &[][..])
    } else {
        (&[][..], &blobs[..])
    };
    let Ok(mut ledger) = Ledger::load(bases, deltas, day_open, 1) else {
        return;
    };
    assert!(ledger.take_delta(1).is_empty());
    let kept: Vec<Vec<u8>> = (0..SHARDS).map(|shard| ledger.shard_blob(shard)).collect();
    let kept: Vec<(u64, &[u8])> = kept.iter().map(|blob| (1, blob.as_slice())).collect();
    let again = Ledger::load(&kept, &[], day_open, 1).expect("what was just written");
    assert_eq!(ledger.entries(), again.entries());
    assert_eq!(ledger.totals(), again.totals());
    assert_eq!(ledger.caps(), again.caps());
    ledger.drop_before(u32::MAX);
    while ledger.memory_bytes() > 0 && ledger.entries() != (0, 0) {
        ledger.sweep();
    }
}
