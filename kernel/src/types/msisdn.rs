//! Msisdns as numbers, and the mixing that spreads these numbers over shards and tables.
//!
//! An msisdn is a string of digits, so "0126" and "126" differ: its key is `10^digits + value`, below 2^51. Mixing is
//! invertible on 51 bits, so a table can keep the mixed form alone and still return the digits.

/// Fewest digits of an msisdn.
pub const DIGITS_MIN: usize = 5;
/// Most digits of an msisdn.
pub const DIGITS_MAX: usize = 15;
/// Bits of a key and of its mixed form.
pub const KEY_BITS: u32 = 51;

const MASK: u64 = (1 << KEY_BITS) - 1;
const FIRST: u64 = 0x2_c1b3_c6d1_f5a7 | 1;
const SECOND: u64 = 0x5_9e37_79b9_7f4b | 1;

/// Powers of ten up to 10^15.
pub const POW10: [u64; 16] = {
    let mut powers = [1; 16];
    let mut i = 1;
    while i < 16 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// Return the key of 5 to 15 ASCII digits; None for anything else.
pub fn key_of(digits: &[u8]) -> Option<u64> {
    if !(DIGITS_MIN..=DIGITS_MAX).contains(&digits.len()) {
        return None;
    }
    number(digits).map(|value| POW10[digits.len()] + value)
}

/// Return true when this is the key of some msisdn.
pub fn is_key(key: u64) -> bool {
    let digits = key.checked_ilog10().unwrap_or(0) as usize;
    (DIGITS_MIN..=DIGITS_MAX).contains(&digits) && key < 2 * POW10[digits]
}

/// Parse 1 to 15 ASCII digits; None when another byte is among them.
pub fn number(digits: &[u8]) -> Option<u64> {
    let (eights, rest) = digits.as_chunks();
    let mut value = 0;
    for eight in eights {
        value = value * POW10[8] + eight_digits(*eight)?;
    }
    for byte in rest {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(byte - b'0');
    }
    Some(value)
}

/// Parse 8 ASCII digits at once; None when another byte is among them.
fn eight_digits(bytes: [u8; 8]) -> Option<u64> {
    const HIGH: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    let word = u64::from_le_bytes(bytes);
    // Of each byte the high half must be that of the digits, and stay so when 6 is added: above 9 it would not.
    let moved = word.wrapping_add(0x0606_0606_0606_0606);
    if word & HIGH | (moved & HIGH) >> 4 != 0x3333_3333_3333_3333 {
        return None;
    }
    // Combine neighbours: digits to pairs, pairs to fours, fours to all eight.
    let pairs = (word & !HIGH).wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    Some(fours.wrapping_mul(10_000 << 32 | 1) >> 32)
}

/// Return the digits of a key.
pub fn digits_of(key: u64) -> String {
    // The leading 1 stands for 10^digits and is cut away.
    key.to_string().split_off(1)
}

/// Call a function with the digits of a key, without allocating, and return its result.
pub(crate) fn with_digits<T>(key: u64, function: impl FnOnce(&[u8]) -> T) -> T {
    let mut digits = [0; DIGITS_MAX];
    let mut left = key;
    let mut at = digits.len();
    // The leading 1 stands for 10^digits and ends the loop.
    while left > 1 {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    function(&digits[at..])
}

/// Return a number that orders keys as their digit strings are ordered.
pub fn text_order(key: u64) -> u64 {
    let digits = key.ilog10() as usize;
    (key - POW10[digits]) * POW10[DIGITS_MAX - digits] * 16 + digits as u64
}

/// Return the mixed form of a key.
#[inline]
pub fn mix(key: u64) -> u64 {
    let mut x = key.wrapping_mul(FIRST) & MASK;
    x ^= x >> 26;
    x = x.wrapping_mul(SECOND) & MASK;
    x ^ (x >> 26)
}

/// Return the key of a mixed form.
pub fn unmix(mixed: u64) -> u64 {
    let mut x = mixed ^ (mixed >> 26);
    x = x.wrapping_mul(inverse(SECOND)) & MASK;
    x ^= x >> 26;
    x.wrapping_mul(inverse(FIRST)) & MASK
}

/// Return the multiplicative inverse of an odd number modulo 2^64, by Newton's iteration.
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut i = 0;
    while i < 6 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
        i += 1;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_leading_zeros() {
        for digits in [
            "00000",
            "12345",
            "0126545098",
            "126545098",
            "999999999999999",
        ] {
            let key = key_of(digits.as_bytes()).expect("digits");
            assert!(key <= MASK && is_key(key));
            assert_eq!(digits, digits_of(key));
            with_digits(key, |own| assert_eq!(digits.as_bytes(), own));
            assert_eq!(key, unmix(mix(key)));
        }
    }

    #[test]
    fn a_number_is_digits_and_nothing_else() {
        for length in 1..=DIGITS_MAX {
            let digits = &b"987654321012345"[..length];
            let expected = std::str::from_utf8(digits).expect("ASCII").parse().ok();
            assert_eq!(expected, number(digits));
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut bytes = digits.to_vec();
                    bytes[at] = byte;
                    assert_eq!(
                        byte.is_ascii_digit(),
                        number(&bytes).is_some(),
                        "{byte} at {at}"
                    );
                }
            }
        }
    }

    #[test]
    fn text_order_is_the_order_of_strings() {
        let mut keys: Vec<u64> = [
            "00000", "000000", "01", "10000", "1000", "99999", "123456", "12345", "123450",
        ]
        .iter()
        .filter_map(|digits| key_of(digits.as_bytes()))
        .collect();
        keys.sort_by_key(|key| text_order(*key));
        let texts: Vec<String> = keys.into_iter().map(digits_of).collect();
        assert!(texts.is_sorted());
    }
}
