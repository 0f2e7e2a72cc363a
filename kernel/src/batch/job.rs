//! The argument and the result of a call of `Scanner::process`.

use crate::batch::progress::Progress;
use crate::batch::range::RangeSpec;
use crate::ledger::decide::Candidate;
use crate::rules::Rules;
use crate::rules::policy::Policy;
use crate::segment::Segment;
use crate::types::msisdn;
use std::collections::BTreeMap;
use std::time::Duration;

/// About the bytes of a notification's row at the caller, besides its line: a tuple, its numbers and texts.
const ROW_BYTES: usize = 400;

/// A notification.
#[derive(Clone, Copy, Debug)]
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

/// The result of a call.
#[derive(Debug, Default)]
pub struct Processed {
    /// The ranges that were begun: a prefix of those of the job.
    pub ranges: Vec<BegunRange>,
    /// Bytes of output by application.
    pub outputs: BTreeMap<u32, Vec<u8>>,
    /// Sorted by day, application and digits.
    pub notifications: Vec<Notification>,
    /// The same as `outputs`, of the control group.
    pub control_outputs: BTreeMap<u32, Vec<u8>>,
    /// The same as `notifications`, of the control group.
    pub control_notifications: Vec<Notification>,
    /// Encoded rejects.
    pub rejects: Vec<u8>,
    /// The ledger's delta.
    pub delta: Vec<u8>,
    /// Records outside their hours whose own volume is above a threshold of their service.
    pub outside_over: u64,
    /// (range, byte, content) of the first of them.
    pub outside_over_example: Option<(usize, u64, Vec<u8>)>,
    /// The first record's msisdn that is not in the segment.
    pub unmatched_example: Option<String>,
}

impl Processed {
    /// Return the bytes of output, rejects and rows of notifications.
    pub(crate) fn bytes(&self) -> u64 {
        let outputs = self.outputs.values().chain(self.control_outputs.values());
        let output: usize = outputs.map(Vec::len).sum();
        let rows = self.notifications.len() + self.control_notifications.len();
        (self.rejects.len() + output + rows * ROW_BYTES) as u64
    }

    /// Add a notification of the control group or of all others, in input order, with its content at (range, position).
    pub(crate) fn emit(
        &mut self,
        rules: &Rules,
        candidate: &Candidate,
        control: bool,
        (range, byte): (usize, u64),
        content: &[u8],
    ) {
        let (outputs, notifications) = if control {
            (&mut self.control_outputs, &mut self.control_notifications)
        } else {
            (&mut self.outputs, &mut self.notifications)
        };
        let application = rules.rules[candidate.rule as usize].application;
        let output = outputs.entry(application).or_default();
        let msisdn = msisdn::unmix(candidate.mixed);
        notifications.push(Notification {
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

    /// Sort notifications, which were added in input order, by day, application and digits.
    pub(crate) fn order(&mut self) {
        for notifications in [&mut self.notifications, &mut self.control_notifications] {
            notifications.sort_unstable_by_key(|n| (n.day, n.application, n.order));
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
    /// Stop when output, rejects, rows of notifications and the ledger's delta exceed this.
    pub output_bytes_max: u64,
    /// Stop when the work has lasted so long.
    pub work_max: Duration,
}
