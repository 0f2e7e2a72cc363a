//! The closed lists of outcomes and reject reasons, and the encoding of rejected lines.

/// Outcomes of a line, in the order in which they are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Not a record, for a [`Reason`].
    Rejected,
    /// Empty, or only spaces and tabs.
    Blank,
    /// A file's first line, without any digit.
    Header,
    /// Its msisdn is not in the segment.
    NotInSegment,
    /// Its msisdn is on the suppression list.
    Suppressed,
    /// Its service has no rule.
    NoRule,
    /// Its service has rules, but none for this minute of the day.
    OutsideWindow,
    /// Its day is closed.
    Late,
    /// The application has notified this msisdn on this day, or the window instance has fired.
    Capped,
    /// It would notify, but its msisdn has had as many notifications on this day as it may.
    CappedCustomer,
    /// It would notify, but its msisdn is in the control group.
    Control,
    /// Added, and the threshold not exceeded.
    Counted,
    /// Emitted.
    Notified,
}

/// Names of the outcomes, indexed by [`Outcome`].
pub const OUTCOMES: [&str; 13] = [
    "rejected",
    "blank",
    "header",
    "not_in_segment",
    "suppressed",
    "no_rule",
    "outside_window",
    "late",
    "capped",
    "capped_customer",
    "control",
    "counted",
    "notified",
];

/// Reasons why a line is not a record, in the order in which they are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Over 4096 bytes without its line end.
    TooLong,
    /// Not exactly four fields.
    Columns,
    /// Not 5 to 15 digits after an optional `+`.
    Msisdn,
    /// Not 1 to 9 digits.
    Service,
    /// Not 1 to 15 digits.
    Volume,
    /// Not a real date and time of 14 digits.
    Timestamp,
    /// A date, as written, after the last that its file may hold.
    Future,
}

/// Names of the reasons, indexed by [`Reason`].
pub const REASONS: [&str; 7] = [
    "too_long",
    "columns",
    "msisdn",
    "service",
    "volume",
    "timestamp",
    "future",
];

/// Stands for the reason of a late record that is kept.
pub const LATE: u8 = REASONS.len() as u8;
/// The tabs between the six fields of an encoded reject, and its newline.
const SEPARATORS: usize = 6;

/// First bytes by which a spreadsheet recognizes a formula, or a quoted cell that may hold one.
const STEERING: &[u8] = b"=+-@\"";

/// Return the bytes that a byte takes in printable form; `first`: it is the first of its field.
fn printable_bytes(byte: u8, first: bool) -> usize {
    match byte {
        b'\\' => 2,
        b' '..=b'~' if !(first && STEERING.contains(&byte)) => 1,
        _ => 4,
    }
}

/// Append `bytes` in printable form: printable ASCII as it is, a backslash doubled, any other byte as `\xNN`, and also
/// a first byte that would steer a spreadsheet.
pub fn escape_into(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (at, &byte) in bytes.iter().enumerate() {
        match printable_bytes(byte, at == 0) {
            1 => out.push(byte),
            2 => out.extend_from_slice(b"\\\\"),
            _ => out.extend_from_slice(&[
                b'\\',
                b'x',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
    }
}

/// Return the number of bytes that `escape_into` appends.
pub fn escaped_bytes(bytes: &[u8]) -> usize {
    let each = bytes.iter().enumerate();
    each.map(|(at, &byte)| printable_bytes(byte, at == 0)).sum()
}

/// Return the number of bytes that `encode_into` appends for a reject whose escaped name and raw bytes take so many.
pub fn encoded_bytes(
    name_bytes: usize,
    line: u64,
    byte: u64,
    length: u64,
    reason: u8,
    raw_bytes: usize,
) -> usize {
    let numbers = [line, byte, length].map(|number| number.max(1).ilog10() as usize + 1);
    name_bytes + numbers.iter().sum::<usize>() + name_of(reason).len() + raw_bytes + SEPARATORS
}

fn name_of(reason: u8) -> &'static str {
    REASONS.get(usize::from(reason)).unwrap_or(&"late")
}

/// Append one encoded reject. `reason` is a [`Reason`] or [`LATE`], `raw` the kept part of the line's content.
pub fn encode_into(
    out: &mut Vec<u8>,
    name: &str,
    line: u64,
    byte: u64,
    length: u64,
    reason: u8,
    raw: &[u8],
) {
    escape_into(out, name.as_bytes());
    for number in [line, byte, length] {
        out.push(b'\t');
        push_number(out, number);
    }
    out.push(b'\t');
    out.extend_from_slice(name_of(reason).as_bytes());
    out.push(b'\t');
    escape_into(out, raw);
    out.push(b'\n');
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_byte_stays_readable_on_one_line() {
        let mut out = Vec::new();
        encode_into(
            &mut out,
            "DATA_1.csv",
            3,
            40,
            6,
            Reason::Msisdn as u8,
            b"a\t\\\x00\xffz",
        );
        assert_eq!(
            b"DATA_1.csv\t3\t40\t6\tmsisdn\ta\\x09\\\\\\x00\\xffz\n".as_slice(),
            out
        );
    }

    #[test]
    fn what_a_reject_takes_is_known_before_it_is_written() {
        let raw: Vec<u8> = (0..=255).collect();
        for (line, byte, length, reason) in
            [(1, 0, 2, 0), (9, 10, 99, 3), (u64::MAX, 1 << 40, 10, LATE)]
        {
            let mut out = Vec::new();
            encode_into(&mut out, "D\t\u{e4}.csv", line, byte, length, reason, &raw);
            let name = escaped_bytes("D\t\u{e4}.csv".as_bytes());
            let bytes = encoded_bytes(name, line, byte, length, reason, escaped_bytes(&raw));
            assert_eq!(out.len(), bytes);
        }
    }

    #[test]
    fn no_reject_begins_a_formula() {
        let escaped = |bytes: &[u8]| {
            let mut out = Vec::new();
            escape_into(&mut out, bytes);
            out
        };
        for (raw, expected) in [
            (b"=1+1".as_slice(), b"\\x3d1+1".as_slice()),
            (b"+20,-1", b"\\x2b20,-1"),
            (b"-1", b"\\x2d1"),
            (b"@SUM(A1)", b"\\x40SUM(A1)"),
            (b"\"=1\"", b"\\x22=1\""),
        ] {
            assert_eq!(expected, escaped(raw));
            assert_eq!(expected.len(), escaped_bytes(raw));
        }
    }
}
