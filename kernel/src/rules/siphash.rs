//! A hash that only the holder of a key can work out: SipHash-2-4. `keyed.py` is its definition in plain words.

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;

/// The hash under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed(u64, u64);

impl Keyed {
    /// The hash under this key.
    pub fn new(key: [u8; KEY_BYTES]) -> Keyed {
        let (low, high) = key.split_at(KEY_BYTES / 2);
        Keyed(word(low), word(high))
    }

    /// The key.
    pub fn key(self) -> [u8; KEY_BYTES] {
        let mut key = [0; KEY_BYTES];
        let (low, high) = key.split_at_mut(KEY_BYTES / 2);
        low.copy_from_slice(&self.0.to_le_bytes());
        high.copy_from_slice(&self.1.to_le_bytes());
        key
    }

    /// The hash of these bytes.
    #[inline]
    pub fn hash(self, bytes: &[u8]) -> u64 {
        let mut state = [
            self.0 ^ 0x736f_6d65_7073_6575,
            self.1 ^ 0x646f_7261_6e64_6f6d,
            self.0 ^ 0x6c79_6765_6e65_7261,
            self.1 ^ 0x7465_6462_7974_6573,
        ];
        let (words, rest) = bytes.as_chunks::<8>();
        for part in words {
            take(&mut state, u64::from_le_bytes(*part));
        }
        take(&mut state, word(rest) | (bytes.len() as u64) << 56);
        state[2] ^= 0xff;
        for _ in 0..4 {
            round(&mut state);
        }
        state[0] ^ state[1] ^ state[2] ^ state[3]
    }
}

/// Up to eight bytes as a little-endian number.
fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn take(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    round(state);
    state[0] ^= word;
}

fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *c = c.wrapping_add(*d);
    *b = b.rotate_left(13) ^ *a;
    *d = d.rotate_left(16) ^ *c;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*b);
    *a = a.wrapping_add(*d);
    *b = b.rotate_left(17) ^ *c;
    *d = d.rotate_left(21) ^ *a;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_siphash() {
        let mut key = [0; KEY_BYTES];
        key.iter_mut()
            .zip(0..)
            .for_each(|(byte, value)| *byte = value);
        assert_eq!(key, Keyed::new(key).key());
        let bytes: Vec<u8> = (0..15).collect();
        // From the paper by its authors, and its reference implementation.
        assert_eq!(0xa129_ca61_49be_45e5, Keyed::new(key).hash(&bytes));
        assert_eq!(0x726f_db47_dd0e_0e31, Keyed::new(key).hash(b""));
        assert_eq!(0x93f5_f579_9a93_2462, Keyed::new(key).hash(&bytes[..8]));
    }
}
