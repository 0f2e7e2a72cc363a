//! Compiled rules, which find the rule for a service at a minute of the day, and the policy that keeps records back.
//!
//! Invariant, checked on construction: at most one rule fits.

pub mod policy;

use std::collections::HashMap;
use std::sync::Arc;

const DAY_MIN: u16 = 1440;
/// Services below this are looked up in an array: in practice services are small numbers.
const SMALL_SERVICES: usize = 1024;
const NONE: u32 = u32::MAX;

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its service.
    pub service: u32,
    /// Index of its application.
    pub application: u32,
    /// First minute of its window.
    pub start_min: u16,
    /// First minute after its window; not after `start_min` when the window crosses midnight.
    pub end_min: u16,
    /// The volume to exceed.
    pub threshold: u64,
}

/// A part of a window within one day.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// First minute.
    pub from: u16,
    /// First minute after it.
    pub to: u16,
    /// Index of the rule.
    pub rule: u32,
    /// The window opened the day before.
    pub yesterday: bool,
}

#[derive(Debug)]
struct Service {
    /// Ascending, disjoint.
    spans: Vec<Span>,
    threshold_min: u64,
}

/// The answer of the rules for a service and a minute.
pub enum Fit {
    /// The service has no rule.
    NoRule,
    /// The service has rules, but none for this minute; with their lowest threshold.
    Outside(u64),
    /// The minute lies in this part of a window.
    Inside(Span),
}

/// An immutable set of rules.
#[derive(Debug)]
pub struct Rules {
    /// All rules, in the order given.
    pub rules: Vec<Rule>,
    /// Names of the applications, in order of first appearance.
    pub applications: Vec<Arc<str>>,
    /// By application: a window of one of its rules crosses midnight.
    crossing: Vec<bool>,
    services: Vec<Service>,
    small: Vec<u32>,
    others: HashMap<u32, u32>,
}

impl Rules {
    /// Compile (service, application, first minute, end minute, threshold) lines. Err says which line breaks the
    /// contract.
    pub fn new(lines: &[(u32, &str, u16, u16, u64)]) -> Result<Rules, String> {
        let mut compiled = Rules {
            rules: Vec::new(),
            applications: Vec::new(),
            crossing: Vec::new(),
            services: Vec::new(),
            small: vec![NONE; SMALL_SERVICES],
            others: HashMap::new(),
        };
        let mut names: HashMap<&str, u32> = HashMap::new();
        for (index, &(service, name, start_min, end_min, threshold)) in lines.iter().enumerate() {
            if start_min >= DAY_MIN || end_min > DAY_MIN || start_min == end_min {
                return Err(format!(
                    "rule {index}: {start_min}..{end_min} is no window in minutes of the day"
                ));
            }
            let application = *names.entry(name).or_insert_with(|| {
                compiled.applications.push(name.into());
                compiled.crossing.push(false);
                compiled.applications.len() as u32 - 1
            });
            compiled.crossing[application as usize] |= end_min < start_min;
            let rule = Rule {
                service,
                application,
                start_min,
                end_min,
                threshold,
            };
            compiled.add(index, rule)?;
        }
        Ok(compiled)
    }

    fn add(&mut self, index: usize, rule: Rule) -> Result<(), String> {
        let at = match self.index_of(rule.service) {
            NONE => {
                let at = self.services.len() as u32;
                self.services.push(Service {
                    spans: Vec::new(),
                    threshold_min: u64::MAX,
                });
                match self.small.get_mut(rule.service as usize) {
                    Some(slot) => *slot = at,
                    None => drop(self.others.insert(rule.service, at)),
                }
                at
            }
            at => at,
        };
        let service = &mut self.services[at as usize];
        let number = self.rules.len() as u32;
        let (start, end) = (rule.start_min, rule.end_min);
        let parts = if start < end {
            [(start, end, false), (0, 0, false)]
        } else {
            [(start, DAY_MIN, false), (0, end, true)]
        };
        for (from, to, yesterday) in parts.into_iter().filter(|part| part.0 < part.1) {
            let at = service.spans.partition_point(|span| span.from < from);
            let before = at
                .checked_sub(1)
                .map_or(0, |before| service.spans[before].to);
            let after = service.spans.get(at).map_or(DAY_MIN, |span| span.from);
            if before > from || after < to {
                return Err(format!(
                    "rule {index}: its window overlaps another of service {}",
                    rule.service
                ));
            }
            service.spans.insert(
                at,
                Span {
                    from,
                    to,
                    rule: number,
                    yesterday,
                },
            );
        }
        let other = service
            .spans
            .iter()
            .map(|span| span.rule)
            .find(|other| *other != number);
        if other.is_some_and(|other| self.rules[other as usize].application != rule.application) {
            return Err(format!(
                "rule {index}: service {} has another application",
                rule.service
            ));
        }
        service.threshold_min = service.threshold_min.min(rule.threshold);
        self.rules.push(rule);
        Ok(())
    }

    /// Return true when the application of this rule has a window that crosses midnight.
    #[inline]
    pub(crate) fn crosses_midnight(&self, rule: u32) -> bool {
        self.crossing[self.rules[rule as usize].application as usize]
    }

    /// Return true when each rule has the service, window and application of the other's rule at its index: both select
    /// the same records then, whatever their thresholds.
    pub fn has_windows_of(&self, other: &Rules) -> bool {
        let of = |rule: &Rule| (rule.service, rule.start_min, rule.end_min, rule.application);
        let (mine, theirs) = (self.rules.iter().map(of), other.rules.iter().map(of));
        mine.eq(theirs) && self.applications == other.applications
    }

    #[inline]
    fn index_of(&self, service: u32) -> u32 {
        match self.small.get(service as usize) {
            Some(index) => *index,
            None => self.others.get(&service).copied().unwrap_or(NONE),
        }
    }

    /// Find the rule for a service; `minute` is called only when the service has rules, since it converts the time.
    #[inline]
    pub fn fit(&self, service: u32, minute: impl FnOnce() -> u16) -> Fit {
        let index = self.index_of(service);
        if index == NONE {
            return Fit::NoRule;
        }
        let service = &self.services[index as usize];
        let minute = minute();
        let at = service.spans.partition_point(|span| span.to <= minute);
        match service.spans.get(at) {
            Some(span) if span.from <= minute => Fit::Inside(*span),
            _ => Fit::Outside(service.threshold_min),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule_at(rules: &Rules, service: u32, minute: u16) -> Option<(u32, bool)> {
        match rules.fit(service, || minute) {
            Fit::Inside(span) => Some((span.rule, span.yesterday)),
            _ => None,
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_opened() {
        let rules = Rules::new(&[
            (7, "Late", 22 * 60, 6 * 60, 1),
            (7, "Late", 6 * 60, 7 * 60, 1),
        ])
        .expect("valid");
        assert_eq!(Some((0, false)), rule_at(&rules, 7, 22 * 60));
        assert_eq!(Some((0, false)), rule_at(&rules, 7, 1439));
        assert_eq!(Some((0, true)), rule_at(&rules, 7, 0));
        assert_eq!(Some((1, false)), rule_at(&rules, 7, 6 * 60));
        assert_eq!(None, rule_at(&rules, 7, 7 * 60));
    }

    #[test]
    fn rules_that_break_the_contract_are_refused() {
        assert!(Rules::new(&[(1, "A", 0, 60, 1), (1, "A", 59, 61, 1)]).is_err());
        assert!(Rules::new(&[(1, "A", 0, 60, 1), (1, "B", 60, 61, 1)]).is_err());
        assert!(Rules::new(&[(1, "A", 60, 60, 1)]).is_err());
        assert!(Rules::new(&[(1, "A", 1380, 60, 1), (1, "A", 0, 10, 1)]).is_err());
        assert!(Rules::new(&[(999_999_999, "A", 0, 1440, 1), (2, "A", 0, 1440, 1)]).is_ok());
    }
}
