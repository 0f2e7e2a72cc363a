//! The argument and the result of a call of `Scanner::process`.

use crate::batch::progress::Progress;
use crate::batch::range::RangeSpec;
use crate::ledger::decide::{Candidate, Terms};
use crate::ledger::points::Counts;
use crate::rules::Rules;
use crate::rules::policy::Policy;
use crate::segment::Segment;
use crate::types::msisdn;
use std::collections::BTreeMap;
use std::time::Duration;

/// Approximate bytes that a notification takes in Python besides its line: a tuple, its numbers and texts.
const ROW_BYTES: usize = 400;

/// A notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The record's day.
    pub day: u32,
    /// Index of the application.
    pub application: u32,
    /// Key of the msisdn.
    pub msisdn: u64,
    /// The number that orders msisdns as text.
    pub order: u64,
    /// Index of the range.
    pub range: usize,
    /// Position of the content in the file.
    pub byte: u64,
    /// Offset of its content in the application's output.
    pub at: usize,
    /// Length of the content.
    pub length: usize,
}

/// A range that was begun.
#[derive(Debug)]
pub struct BegunRange {
    /// Its position and counts.
    pub progress: Progress,
    /// Inode of the file.
    pub inode: u64,
}

/// Lines that are emitted, and a notification for each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Emissions {
    /// Bytes of output by application.
    pub outputs: BTreeMap<u32, Vec<u8>>,
    /// Sorted by day, application and digits.
    pub notifications: Vec<Notification>,
}

impl Emissions {
    /// Return the bytes of output and of the rows of notifications.
    fn bytes(&self) -> u64 {
        let output: usize = self.outputs.values().map(Vec::len).sum();
        (output + self.notifications.len() * ROW_BYTES) as u64
    }

    /// Add a notification, in input order, with its content at (range, position).
    pub(crate) fn emit(
        &mut self,
        rules: &Rules,
        candidate: &Candidate,
        (range, byte): (usize, u64),
        content: &[u8],
    ) {
        let application = rules.rules[candidate.rule as usize].application;
        let output = self.outputs.entry(application).or_default();
        let msisdn = msisdn::unmix(candidate.mixed);
        self.notifications.push(Notification {
            day: candidate.day,
            application,
            msisdn,
            order: msisdn::text_order(msisdn),
            range,
            byte,
            at: output.len(),
            length: content.len(),
        });
        output.extend_from_slice(content);
        output.push(b'\n');
    }
}

/// The result of a call.
#[derive(Debug, Default)]
pub struct Processed {
    /// The ranges that were begun: a prefix of those of the job.
    pub ranges: Vec<BegunRange>,
    /// Everything that is sent.
    pub sent: Emissions,
    /// The same of the control group, which is not sent.
    pub control: Emissions,
    /// By branch of the job: everything it would send.
    pub branches: Vec<Emissions>,
    /// By point of the job's curve: how many notifications it would send.
    pub points: Vec<Counts>,
    /// Encoded rejects.
    pub rejects: Vec<u8>,
    /// The ledger's delta.
    pub delta: Vec<u8>,
    /// Records outside their hours whose own volume is above a threshold of their service.
    pub outside_over: u64,
    /// (range, byte, content) of the first of them.
    pub outside_over_example: Option<(usize, u64, Vec<u8>)>,
    /// The msisdn of the first record that is not in the segment.
    pub unmatched_example: Option<String>,
}

impl Processed {
    /// Return the bytes of output, rejects and rows of notifications.
    pub(crate) fn bytes(&self) -> u64 {
        let branches: u64 = self.branches.iter().map(Emissions::bytes).sum();
        self.rejects.len() as u64 + self.sent.bytes() + self.control.bytes() + branches
    }

    /// Sort notifications, which were added in input order, by day, application and digits.
    pub(crate) fn order(&mut self) {
        for emissions in [&mut self.sent, &mut self.control]
            .into_iter()
            .chain(&mut self.branches)
        {
            let notifications = &mut emissions.notifications;
            notifications.sort_unstable_by_key(|n| (n.day, n.application, n.order));
        }
    }
}

/// Other rules or limits than those of the job, decided over the same scan in a branch of the ledger.
#[derive(Clone, Copy)]
pub struct Branch<'a> {
    /// Its rules.
    pub rules: &'a Rules,
    /// Its limit and its control group; the suppressed msisdns are those of the job.
    pub policy: &'a Policy,
}

impl<'a> Branch<'a> {
    /// Return its terms. `adds`: volumes are added up.
    pub(crate) fn terms(&self, adds: bool) -> Terms<'a> {
        Terms {
            rules: self.rules,
            policy: self.policy,
            adds,
        }
    }
}

/// The argument of a call.
pub struct Job<'a> {
    /// The ranges to read, in order.
    pub ranges: &'a [RangeSpec],
    /// The targeted msisdns.
    pub segment: &'a Segment,
    /// The rules.
    pub rules: &'a Rules,
    /// The policy.
    pub policy: &'a Policy,
    /// Each is decided in the ledger's branch at the same index.
    pub branches: &'a [Branch<'a>],
    /// Points of a curve: branches that are only counted, and whose rules differ in nothing but thresholds.
    pub points: &'a [Branch<'a>],
    /// Stop when output, rejects, rows of notifications and the ledger's delta exceed this.
    pub output_bytes_max: u64,
    /// Stop when the work has lasted so long.
    pub work_max: Duration,
}
