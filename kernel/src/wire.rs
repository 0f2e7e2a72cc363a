//! How values are written into blobs, and taken off their front again, whatever they hold.
//!
//! Words are little endian. A number takes seven bits a byte, the low ones first; there is one way to write it.

use crate::types::clock;
use crate::types::msisdn;

/// Bytes of the longest number: 63 bits.
const NUMBER_BYTES_MAX: usize = 9;

/// Write a number below 2^63.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 128 {
        out.push(number as u8 | 128);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A number, as `put_number` writes it, and what follows it.
#[inline]
pub(crate) fn number_of(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(NUMBER_BYTES_MAX) {
        number |= u64::from(byte & 127) << (7 * at);
        if byte & 128 == 0 {
            // Its last byte is zero only when it is its first.
            return (*byte != 0 || at == 0).then_some((number, &bytes[at + 1..]));
        }
    }
    None
}

/// Write bytes after their length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes values off the front; None at the end of the bytes.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// A day. One behind all others would never be over.
    pub(crate) fn day(&mut self) -> Option<u32> {
        self.u32().filter(|day| *day <= clock::DAY_MAX)
    }

    /// What `put_number` wrote.
    #[inline]
    pub(crate) fn number(&mut self) -> Option<u64> {
        let (number, rest) = number_of(self.0)?;
        self.0 = rest;
        Some(number)
    }

    /// A number of 32 bits.
    #[inline]
    pub(crate) fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    /// The number of an msisdn's mixed form.
    #[inline]
    pub(crate) fn mixed(&mut self) -> Option<u64> {
        let is_mixed =
            |mixed: &u64| mixed >> msisdn::KEY_BITS == 0 && msisdn::is_key(msisdn::unmix(*mixed));
        self.number().filter(is_mixed)
    }

    /// What `put_bytes` wrote.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.try_into().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_and_has_one_form() {
        let shifts = (0..63).map(|bit| 1u64 << bit);
        for number in shifts.flat_map(|one| [one - 1, one, one + 1]) {
            let mut out = Vec::new();
            put_number(&mut out, number);
            out.push(7);
            assert_eq!(Some((number, [7].as_slice())), number_of(&out));
            for end in 0..out.len() - 1 {
                assert_eq!(None, number_of(&out[..end]));
            }
        }
        assert_eq!(None, number_of(&[128, 0]));
        assert_eq!(None, number_of(&[255; 10]));
    }

    #[test]
    fn what_is_longer_than_the_bytes_is_not_there() {
        let mut out = Vec::new();
        put_bytes(&mut out, b"abc");
        assert_eq!(Some(b"abc".as_slice()), Input(&out).bytes());
        assert_eq!(None, Input(&out[..3]).bytes());
        assert_eq!(None, Input(&[255, 255, 255, 255, 127]).bytes());
    }
}
