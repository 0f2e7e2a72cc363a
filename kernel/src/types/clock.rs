//! Dates as integers `yyyymmdd`, and the conversion from the data's local time to the rules'.
//!
//! The conversion is a table of shifts that Python makes from tz data; nothing here knows zones. An empty table
//! converts nothing.

const MINUTE_S: i64 = 60;
const DAY_S: i64 = 86_400;
/// No record lies on a later day, in any zone.
pub const DAY_MAX: u32 = 100_000_101;

/// Return true when `yyyymmdd` is a date of the years 1 to 9999.
pub fn is_date(date: u32) -> bool {
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && day >= 1
        && day <= month_days(year, month)
}

fn month_days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Return true when `hhmmss` is a time of day.
pub fn is_time(time: u32) -> bool {
    time / 10_000 < 24 && time / 100 % 100 < 60 && time % 100 < 60
}

/// Return the days since 0001-01-01 (proleptic Gregorian).
pub fn days_of(date: u32) -> i64 {
    let (year, month, day) = (
        i64::from(date / 10_000),
        i64::from(date / 100 % 100),
        i64::from(date % 100),
    );
    // A year that starts in March has its leap day at its end, which makes months regular.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 306
}

/// Return the date that many days after 0001-01-01.
pub fn date_of(days: i64) -> u32 {
    let z = days + 306;
    let era = z.div_euclid(146_097);
    let day_of_era = z - era * 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year * 10_000 + month * 100 + day) as u32
}

/// Return the day before; for the first of all days, that day.
pub fn day_before(date: u32) -> u32 {
    date_of(days_of(date).max(1) - 1)
}

/// Return the day after.
pub fn day_after(date: u32) -> u32 {
    date_of(days_of(date) + 1)
}

/// Converts local times of the data's zone to the rules' zone.
#[derive(Debug, Default)]
pub struct Clock {
    /// (first local second since 0001-01-01T00:00:00 at which it holds, seconds to add), ascending.
    shifts: Vec<(i64, i64)>,
}

impl Clock {
    /// Make a clock of these shifts; None when they do not ascend.
    pub fn new(shifts: Vec<(i64, i64)>) -> Option<Clock> {
        shifts
            .is_sorted_by(|a, b| a.0 < b.0)
            .then_some(Clock { shifts })
    }

    /// Convert a date and a time `hhmmss` as written to the day and the minute of the day in the rules' zone.
    pub fn convert(&self, date: u32, time: u32) -> (u32, u16) {
        let minute = time / 10_000 * 60 + time / 100 % 100;
        if self.shifts.is_empty() {
            return (date, minute as u16);
        }
        let local_s = days_of(date) * DAY_S + i64::from(minute) * MINUTE_S + i64::from(time % 100);
        let holding = self.shifts.partition_point(|shift| shift.0 <= local_s);
        let shift_s = self.shifts[holding.saturating_sub(1)].1;
        let rules_s = local_s + shift_s;
        let minute = rules_s.rem_euclid(DAY_S) / MINUTE_S;
        (date_of(rules_s.div_euclid(DAY_S)), minute as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_zone_leads_behind_the_last_day() {
        let clock = Clock::new(vec![(0, DAY_S - 1)]).expect("ascending");
        assert_eq!(DAY_MAX, clock.convert(99_991_231, 235_959).0);
    }

    #[test]
    fn days_and_dates_are_inverse_over_all_years() {
        let mut expected = 0;
        for year in 1..=9999 {
            for month in 1..=12 {
                for day in 1..=month_days(year, month) {
                    let date = year * 10_000 + month * 100 + day;
                    assert_eq!(expected, days_of(date));
                    assert_eq!(date, date_of(expected));
                    expected += 1;
                }
            }
        }
        assert_eq!(3_652_059, expected);
    }

    #[test]
    fn impossible_dates_are_refused() {
        for date in [
            0, 101, 20_210_229, 20_200_431, 20_201_301, 20_200_001, 20_200_100, 19_000_229,
        ] {
            assert!(!is_date(date), "{date}");
        }
        for date in [10_101, 20_200_229, 20_000_229, 99_991_231] {
            assert!(is_date(date), "{date}");
        }
        assert!(is_time(235_959) && !is_time(240_000) && !is_time(236_000) && !is_time(235_960));
    }

    #[test]
    fn a_shift_may_change_the_day() {
        let clock = Clock::new(vec![(0, -7200)]).expect("ascending");
        assert_eq!((20_200_416, 23 * 60), clock.convert(20_200_417, 10_000));
        assert_eq!(
            (20_200_417, 17 * 60 + 37),
            clock.convert(20_200_417, 193_743)
        );
    }
}
