//! CRC-64/NVME: of bytes, and of the concatenation of two byte strings from their two CRCs.
//!
//! Chunks are summed in parallel and combined in order, so the digest of a file does not depend on where it was cut.
//! Combining is our own code: that of the crate squares a matrix for each bit of the length.

use crc_fast::{CrcAlgorithm, Digest};

/// The reflected polynomial.
const POLYNOMIAL: u64 = 0x9a6c_9329_ac4b_c9b5;

/// Return the CRC of `data`, continued from `initial`, the CRC of what came before (0 when nothing did).
pub fn crc64(data: &[u8], initial: u64) -> u64 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc64Nvme, !initial);
    digest.update(data);
    digest.finalize()
}

/// Return the CRC of two byte strings, one after the other; `second_bytes` is the length of the second.
pub fn combine(first: u64, second: u64, second_bytes: u64) -> u64 {
    if second_bytes == 0 {
        return first;
    }
    multiply(power_of_bytes(second_bytes), first) ^ second
}

/// Return `a * b` modulo the polynomial; bit 63 is the coefficient of `x^0`.
const fn multiply(mut a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    while a != 0 {
        if a & (1 << 63) != 0 {
            product ^= b;
        }
        a <<= 1;
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
    }
    product
}

/// `x^(8 * 2^i)`, the effect of appending 2^i bytes.
const POWERS: [u64; 64] = {
    let mut powers = [0; 64];
    let mut power = 1 << (63 - 8);
    let mut i = 0;
    while i < 64 {
        powers[i] = power;
        power = multiply(power, power);
        i += 1;
    }
    powers
};

fn power_of_bytes(mut bytes: u64) -> u64 {
    let mut power = 1 << 63;
    while bytes != 0 {
        power = multiply(POWERS[bytes.trailing_zeros() as usize], power);
        bytes &= bytes - 1;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_standard() {
        assert_eq!(0xae8b_1486_0a79_9888, crc64(b"123456789", 0));
    }

    #[test]
    fn combining_equals_summing_at_every_cut() {
        let data: Vec<u8> = (0..300u32).map(|i| (i * 7 % 251) as u8).collect();
        let whole = crc64(&data, 0);
        for cut in 0..=data.len() {
            let (a, b) = data.split_at(cut);
            assert_eq!(whole, combine(crc64(a, 0), crc64(b, 0), b.len() as u64));
            assert_eq!(whole, crc64(b, crc64(a, 0)));
        }
    }
}
