//! The fast path: the same answers as `scan`, many lines per microsecond. The only file with `unsafe`.
//!
//! For the next engineer. A line of real traffic is short and plain: `digits,digits,digits,14 digits`, 30 to 45 bytes.
//! So for each line one unaligned load of 64 bytes from its start gives three bit masks: newlines, commas, digits.
//!
//! 1. The lowest newline bit is the line's end (a `\r` before it is cut off), and the next line starts behind it. None
//!    within 64 bytes: not a plain line.
//! 2. The line is plain when its non-digits are exactly three commas and the four lengths between them fit: that is
//!    all of the grammar but the timestamp, in a dozen instructions without a branch.
//! 3. The date's 8 bytes are compared with the last date found good; another date is checked once and becomes the last.
//!    The time is good when its hour is at most "23" and the tens of minute and second are at most '5'.
//! 4. The msisdn's digits are loaded so that they end at the comma, what lies before is masked off, and three
//!    multiply-add steps make the number.
//! 5. Plain lines are set aside until there is a block of them, and memory is asked for their words of the visitor's
//!    filter meanwhile. Then the block is sifted, without a branch, to those that the filter lets pass; memory is asked
//!    for their places in the table; and while that comes, those of the block before are looked up. Only what the table
//!    contains gets its service, volume and time read.
//!
//! Any line that is not plain goes to `scan::parse_line`, so this file never decides that something is bad. If you
//! change the grammar, look at steps 2 and 3. What is read beyond a line is never used: the buffer has
//! `PAD_BEFORE` bytes before the first line and `PAD_AFTER` after the last one.

use crate::scan::{self, Record, Scanned, Visitor};

/// Bytes of a buffer before its first line that may be read.
pub const PAD_BEFORE: usize = 16;
/// Bytes of a buffer after its last line that may be read.
pub const PAD_AFTER: usize = 128;

/// Ask memory for `items[index]`, which will be looked at soon.
#[inline(always)]
pub fn prefetch<T>(items: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(item) = items.get(index) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch never faults, and this address is one of a live item.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (items, index);
}

#[cfg(target_arch = "x86_64")]
pub mod wide {
    //! The loop, for registers of 32 and 64 bytes.

    use super::{PAD_AFTER, PAD_BEFORE, Record, Scanned, Visitor, scan};
    use crate::path::Path;
    use crate::{clock, msisdn};
    use std::arch::x86_64::{
        __m128i, __m256i, __m512i, _mm_and_si128, _mm_cvtsi128_si64, _mm_loadu_si128,
        _mm_madd_epi16, _mm_maddubs_epi16, _mm_packus_epi32, _mm_set1_epi8, _mm_set1_epi16,
        _mm_set1_epi32, _mm_sub_epi8, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8,
        _mm256_movemask_epi8, _mm256_set1_epi8, _mm256_sub_epi8, _mm512_cmpeq_epi8_mask,
        _mm512_cmplt_epu8_mask, _mm512_loadu_si512, _mm512_set1_epi8, _mm512_sub_epi8,
    };

    /// Bytes looked at from a line's start.
    const WIDTH: u32 = 64;
    /// Plain lines set aside before they are sifted: what is asked of memory at the first has come at the last.
    const BLOCK: usize = 64;
    const TIMESTAMP_DIGITS: u32 = 14;
    const DATE_DIGITS: usize = 8;

    /// The bit masks of 64 bytes: bit i belongs to byte i.
    struct Masks {
        newline: u64,
        comma: u64,
        digit: u64,
    }

    trait Wide {
        /// # Safety
        /// 64 bytes at `at` may be read, and the CPU has what the type is named after.
        unsafe fn masks(at: *const u8) -> Masks;
    }

    struct Avx512;
    struct Avx2;

    impl Wide for Avx512 {
        #[inline(always)]
        unsafe fn masks(at: *const u8) -> Masks {
            // SAFETY: as promised by the caller.
            unsafe {
                let bytes: __m512i = _mm512_loadu_si512(at.cast());
                Masks {
                    newline: _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'\n'.cast_signed())),
                    comma: _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b','.cast_signed())),
                    digit: _mm512_cmplt_epu8_mask(
                        _mm512_sub_epi8(bytes, _mm512_set1_epi8(b'0'.cast_signed())),
                        _mm512_set1_epi8(10),
                    ),
                }
            }
        }
    }

    impl Wide for Avx2 {
        #[inline(always)]
        unsafe fn masks(at: *const u8) -> Masks {
            // SAFETY: as promised by the caller.
            unsafe {
                let low: __m256i = _mm256_loadu_si256(at.cast());
                let high: __m256i = _mm256_loadu_si256(at.add(32).cast());
                let join = |low: __m256i, high: __m256i| {
                    u64::from(_mm256_movemask_epi8(low).cast_unsigned())
                        | u64::from(_mm256_movemask_epi8(high).cast_unsigned()) << 32
                };
                let equal = |byte: u8| {
                    let wanted = _mm256_set1_epi8(byte.cast_signed());
                    join(
                        _mm256_cmpeq_epi8(low, wanted),
                        _mm256_cmpeq_epi8(high, wanted),
                    )
                };
                let digit = |bytes: __m256i| {
                    let value = _mm256_sub_epi8(bytes, _mm256_set1_epi8(b'0'.cast_signed()));
                    _mm256_cmpeq_epi8(value, _mm256_min_epu8(value, _mm256_set1_epi8(9)))
                };
                Masks {
                    newline: equal(b'\n'),
                    comma: equal(b','),
                    digit: join(digit(low), digit(high)),
                }
            }
        }
    }

    /// A plain line: where it starts, and its commas from there.
    #[derive(Clone, Copy, Default)]
    struct Plain {
        /// Mixed.
        msisdn: u64,
        /// The masks of its commas.
        commas: u64,
        start: u32,
        length: u32,
    }

    /// `scan::scan_lines` by this path.
    ///
    /// # Panics
    /// When the buffer lacks the pads around [from, to).
    pub fn scan_lines<'s, V: Visitor<'s>>(
        path: Path,
        bytes: &[u8],
        from: usize,
        to: usize,
        day_max: u32,
        visitor: &mut V,
    ) -> Scanned {
        assert!(path.is_available(), "this CPU lacks {}", path.name());
        assert!(
            from >= PAD_BEFORE && from <= to && to + PAD_AFTER <= bytes.len(),
            "a buffer without pads"
        );
        assert!(
            from == to || bytes[to - 1] == b'\n',
            "the last line is not whole"
        );
        // SAFETY: the assertions give the CPU's features, the pads and the last newline.
        unsafe {
            match path {
                Path::Avx512 => scan_avx512(bytes, from, to, day_max, visitor),
                _ => scan_avx2(bytes, from, to, day_max, visitor),
            }
        }
    }

    /// # Safety
    /// As `scan_wide`, on a CPU with these features.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn scan_avx512<'s, V: Visitor<'s>>(
        bytes: &[u8],
        from: usize,
        to: usize,
        day_max: u32,
        visitor: &mut V,
    ) -> Scanned {
        // SAFETY: passed on.
        unsafe { scan_wide::<Avx512, V>(bytes, from, to, day_max, visitor) }
    }

    /// # Safety
    /// As `scan_wide`, on a CPU with these features.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn scan_avx2<'s, V: Visitor<'s>>(
        bytes: &[u8],
        from: usize,
        to: usize,
        day_max: u32,
        visitor: &mut V,
    ) -> Scanned {
        // SAFETY: passed on.
        unsafe { scan_wide::<Avx2, V>(bytes, from, to, day_max, visitor) }
    }

    /// # Safety
    /// `bytes[from..to]` is whole lines, with `PAD_BEFORE` bytes before and `PAD_AFTER` after it.
    #[inline(always)]
    unsafe fn scan_wide<'s, W: Wide, V: Visitor<'s>>(
        bytes: &[u8],
        from: usize,
        to: usize,
        day_max: u32,
        visitor: &mut V,
    ) -> Scanned {
        let mut scanned = Scanned::default();
        let filter = visitor.filter();
        let mut sieve = Sieve::default();
        let mut good_date = 0;
        let mut at = from;
        while at < to {
            // SAFETY: at < to, and the pads cover what is read around [at, to): 64 bytes from there, 16 before.
            let line = unsafe { bytes.as_ptr().add(at) };
            let masks = unsafe { W::masks(line) };
            let newline = masks.newline.trailing_zeros();
            let fields = unsafe { fields(line, &masks, newline) };
            if !fields.plain || (fields.date != good_date && !is_good_date(fields.date, day_max)) {
                // SAFETY: the sieve holds plain lines of these bytes.
                unsafe { sieve.drain(bytes, visitor) };
                at = scan_other(bytes, at, to, day_max, &mut scanned, visitor);
                continue;
            }
            good_date = fields.date;
            let first = fields.commas.trailing_zeros();
            // SAFETY: the first comma is at 5 to 15, so 16 bytes before it are at most 11 before the line.
            let value = unsafe { number_before(line.add(first as usize), first) };
            let msisdn = msisdn::mix(msisdn::POW10[first as usize & 15] + value);
            filter.prefetch(msisdn);
            sieve.lines[sieve.held % BLOCK] = Plain {
                msisdn,
                commas: fields.commas,
                start: at as u32,
                length: fields.end,
            };
            sieve.held += 1;
            scanned.lines += 1;
            scanned.records += 1;
            at += newline as usize + 1;
            if sieve.held == BLOCK {
                // SAFETY: the sieve holds plain lines of these bytes.
                unsafe { sieve.sift(bytes, visitor) };
            }
        }
        // SAFETY: the sieve holds plain lines of these bytes.
        unsafe { sieve.drain(bytes, visitor) };
        scanned
    }

    /// Lines on their way to the visitor, in order: those to be sifted, and those that passed and wait for memory.
    struct Sieve {
        lines: [Plain; BLOCK],
        held: usize,
        /// In turns: those that wait, and those that pass just now.
        passed: [[Plain; BLOCK]; 2],
        waiting: usize,
        turn: usize,
    }

    impl Default for Sieve {
        fn default() -> Sieve {
            let none = [Plain::default(); BLOCK];
            Sieve {
                lines: none,
                held: 0,
                passed: [none; 2],
                waiting: 0,
                turn: 0,
            }
        }
    }

    impl Sieve {
        /// Sift the held lines, and look up those that waited.
        ///
        /// # Safety
        /// All are plain lines of `bytes`, on a CPU with these features.
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
        #[inline(never)]
        unsafe fn sift<'s, V: Visitor<'s>>(&mut self, bytes: &[u8], visitor: &mut V) {
            let [even, odd] = &mut self.passed;
            let (passed, waited) = if self.turn == 0 {
                (even, odd)
            } else {
                (odd, even)
            };
            let filter = visitor.filter();
            let mut count = 0;
            for line in &self.lines[..self.held] {
                passed[count % BLOCK] = *line;
                count += usize::from(filter.may_contain(line.msisdn));
            }
            if count < self.held && visitor.seeks_stranger() {
                self.lines[..self.held]
                    .iter()
                    .filter(|line| !filter.may_contain(line.msisdn))
                    .for_each(|line| {
                        visitor.stranger(line.msisdn, line.start as usize);
                    });
            }
            for line in &passed[..count] {
                visitor.prefetch(line.msisdn);
            }
            // SAFETY: passed on.
            unsafe { look(bytes, &waited[..self.waiting], visitor) };
            (self.waiting, self.held, self.turn) = (count, 0, self.turn ^ 1);
        }

        /// Look at everything, before a line that is decided elsewhere.
        ///
        /// # Safety
        /// As `sift`.
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
        unsafe fn drain<'s, V: Visitor<'s>>(&mut self, bytes: &[u8], visitor: &mut V) {
            // SAFETY: passed on.
            unsafe {
                self.sift(bytes, visitor);
                self.sift(bytes, visitor);
            }
        }
    }

    struct Fields {
        plain: bool,
        /// Their mask.
        commas: u64,
        /// Where the content ends.
        end: u32,
        /// The date's bytes.
        date: u64,
    }

    /// # Safety
    /// 16 bytes before `line` and 64 from it may be read.
    #[inline(always)]
    unsafe fn fields(line: *const u8, masks: &Masks, newline: u32) -> Fields {
        // SAFETY: newline is at most 64, so what is read lies between 15 bytes before the line and 64 behind its start.
        unsafe {
            let carriage = *line.add(newline as usize).sub(1) == b'\r';
            let end = newline.wrapping_sub(u32::from(carriage));
            let within = 1u64.wrapping_shl(end).wrapping_sub(1);
            let commas = masks.comma & within;
            let others = !masks.digit & within;
            let after_first = commas & commas.wrapping_sub(1);
            let after_second = after_first & after_first.wrapping_sub(1);
            let after_third = after_second & after_second.wrapping_sub(1);
            let first = commas.trailing_zeros();
            let second = after_first.trailing_zeros();
            let third = after_second.trailing_zeros();
            let timestamp = line
                .add(newline as usize)
                .sub(usize::from(carriage) + TIMESTAMP_DIGITS as usize);
            let date: u64 = timestamp.cast::<u64>().read_unaligned();
            let time: u64 = timestamp
                .add(TIMESTAMP_DIGITS as usize - 8)
                .cast::<u64>()
                .read_unaligned();
            // Bytes of `time`: d d H H M M S S. The addition carries into bit 7 when a ten is above '5'.
            let tens = (time & 0x00ff_00ff_0000_0000).wrapping_add(0x004a_004a_0000_0000)
                & 0x0080_0080_0000_0000;
            let hour = ((time >> 16) as u16).swap_bytes();
            let plain = newline < WIDTH
                && (others ^ commas) | after_third | tens == 0
                && first.wrapping_sub(5) <= 10
                && second.wrapping_sub(first).wrapping_sub(2) <= 8
                && third.wrapping_sub(second).wrapping_sub(2) <= 14
                && end.wrapping_sub(third) == TIMESTAMP_DIGITS + 1
                && hour <= u16::from_be_bytes(*b"23");
            Fields {
                plain,
                commas,
                end,
                date,
            }
        }
    }

    /// Whether 8 digits are a date that is not after `day_max`.
    #[cold]
    fn is_good_date(digits: u64, day_max: u32) -> bool {
        let date = msisdn::number(&digits.to_le_bytes()).unwrap_or(0) as u32;
        clock::is_date(date) && date <= day_max
    }

    /// The line at `at` by the plain path; where the next one starts.
    #[inline(never)]
    fn scan_other<'s, V: Visitor<'s>>(
        bytes: &[u8],
        at: usize,
        to: usize,
        day_max: u32,
        scanned: &mut Scanned,
        visitor: &mut V,
    ) -> usize {
        let end = memchr::memchr(b'\n', &bytes[at..to]).map_or(to, |length| at + length);
        scan::scan_line(
            scan::content_of(&bytes[at..end]),
            at,
            day_max,
            scanned,
            visitor,
        );
        end + 1
    }

    /// Look up lines that the filter let pass.
    ///
    /// # Safety
    /// They are plain lines of `bytes`, on a CPU with these features.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn look<'s, V: Visitor<'s>>(bytes: &[u8], lines: &[Plain], visitor: &mut V) {
        for plain in lines {
            let start = plain.start as usize;
            if !visitor.contains(plain.msisdn) {
                visitor.stranger(plain.msisdn, start);
                continue;
            }
            let first = plain.commas.trailing_zeros();
            let after_first = plain.commas & (plain.commas - 1);
            let second = after_first.trailing_zeros();
            let third = (after_first & (after_first - 1)).trailing_zeros();
            // SAFETY: the commas are where `fields` found them.
            let (service, volume) = unsafe {
                let line = bytes.as_ptr().add(start);
                (
                    number_before(line.add(second as usize), second - first - 1),
                    number_before(line.add(third as usize), third - second - 1),
                )
            };
            let timestamp = &bytes[start + third as usize + 1..][..TIMESTAMP_DIGITS as usize];
            let (date, time) = timestamp.split_at(DATE_DIGITS);
            let plain_number = |digits: &[u8]| {
                digits
                    .iter()
                    .fold(0, |n, digit| n * 10 + u32::from(digit & 15))
            };
            let record = Record {
                msisdn: plain.msisdn,
                service: service as u32,
                volume,
                date: plain_number(date),
                time: plain_number(time),
            };
            visitor.record(start, plain.length as usize, &record);
        }
    }

    /// Bytes to keep of 16: the last n start at offset n.
    const KEEP: [u8; 32] = {
        let mut keep = [0; 32];
        let mut i = 16;
        while i < 32 {
            keep[i] = 255;
            i += 1;
        }
        keep
    };

    /// The number that the `digits` (at most 16) bytes before `end` say.
    ///
    /// # Safety
    /// They are digits, 16 bytes before `end` may be read, and the CPU has AVX2.
    #[inline(always)]
    unsafe fn number_before(end: *const u8, digits: u32) -> u64 {
        // SAFETY: as promised by the caller; KEEP has 16 bytes from any offset up to 16.
        unsafe {
            let keep: __m128i = _mm_loadu_si128(KEEP.as_ptr().add(digits as usize & 15).cast());
            let bytes = _mm_loadu_si128(end.sub(16).cast());
            let values =
                _mm_and_si128(_mm_sub_epi8(bytes, _mm_set1_epi8(b'0'.cast_signed())), keep);
            let twos = _mm_maddubs_epi16(values, _mm_set1_epi16(0x010a));
            let fours = _mm_madd_epi16(twos, _mm_set1_epi32(0x0001_0064));
            let packed = _mm_packus_epi32(fours, fours);
            let eights = _mm_madd_epi16(packed, _mm_set1_epi32(0x0001_2710));
            let both = _mm_cvtsi128_si64(eights).cast_unsigned();
            (both & 0xffff_ffff) * 100_000_000 + (both >> 32)
        }
    }
}
