//! Numbers and bytes in blobs: how they are written, and read back from bytes of any content.
//!
//! Words are little endian. A varint takes seven bits a byte, the low ones first, and has one form.

use crate::types::clock;
use crate::types::msisdn;

/// Bytes of the longest number: 63 bits.
const NUMBER_BYTES_MAX: usize = 9;

/// Append a number below 2^63.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 128 {
        out.push(number as u8 | 128);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Split off a number that `put_number` wrote: the number, and the rest; None when there is none.
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

/// Append the length of some bytes, and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads values off the front of some bytes; None when they end before the value does.
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

    /// Read a day. None for one after `DAY_MAX`: it would never be over.
    pub(crate) fn day(&mut self) -> Option<u32> {
        self.u32().filter(|day| *day <= clock::DAY_MAX)
    }

    /// Read a number that `put_number` wrote.
    #[inline]
    pub(crate) fn number(&mut self) -> Option<u64> {
        let (number, rest) = number_of(self.0)?;
        self.0 = rest;
        Some(number)
    }

    /// Read a number of 32 bits.
    #[inline]
    pub(crate) fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    /// Read the mixed form of an msisdn; None for a number that is none.
    #[inline]
    pub(crate) fn mixed(&mut self) -> Option<u64> {
        let is_mixed =
            |mixed: &u64| mixed >> msisdn::KEY_BITS == 0 && msisdn::is_key(msisdn::unmix(*mixed));
        self.number().filter(is_mixed)
    }

    /// Read bytes that `put_bytes` wrote.
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
