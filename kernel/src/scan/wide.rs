//! The fast path: the same answers as `grammar`, many lines per microsecond.
//!
//! For the next engineer. A line of real traffic is short and plain: `digits,digits,digits,14 digits`, 25 to 58 bytes.
//! All there is to find in it are its four bytes that are not digits.
//!
//! 1. Over a stretch of 4 KiB each byte that is not a digit is marked: a bit in a word of 64, by wide registers. The
//!    steps below never wait for a search for the end of a line: an unaligned load and a shift give the marks of any
//!    line.
//! 2. A line is plain when its first three marks are commas, the fourth is its end (`\n`, or `\r` and `\n`), and the
//!    lengths between them fit: that is all of the grammar except for the values of the timestamp.
//! 3. The timestamp's digits are added up in pairs, and all pairs are compared with their bounds at once. The bounds of
//!    the date are the last date found good; another date is checked once and becomes the last.
//! 4. Plain lines are held until there is a block of them. The block is then sifted by loops without a branch, each of
//!    which does one thing for all its lines: make the msisdn's key out of its digits (loaded so that they end at the
//!    comma; three multiply-add steps) and ask memory for its word of the visitor's filter; keep the lines that the
//!    filter lets pass; ask memory for their places in the table. Meanwhile the lines of the block before are looked
//!    up. Service, volume and time are read only of those that the table contains.
//!
//! Any line that is not plain goes to `grammar::parse_line`, so this file never decides that something is bad. If such
//! a line is a record all the same, the plain lines before it are looked up first. If you change the grammar, look at
//! steps 2 and 3.
//!
//! Bytes read beyond a line are never used: the buffer has `PAD_BEFORE` bytes before the first line and `PAD_AFTER`
//! after the last one. The branches on a line's shape are there on purpose: on clean input the CPU predicts them all,
//! and they are fewer instructions than sums of conditions.

#![allow(
    unsafe_code,
    reason = "wide registers and unaligned reads have no safe form"
)]

use crate::scan::filter::Filter;
use crate::scan::grammar::{self, Line, LineCounts, Record, Visitor};
use crate::scan::path::{PAD_AFTER, PAD_BEFORE, ScanPath};
use crate::types::{clock, msisdn};
use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_and_si128, _mm_blend_epi16, _mm_cvtsi128_si64, _mm_loadu_si128,
    _mm_madd_epi16, _mm_maddubs_epi16, _mm_max_epu16, _mm_min_epu16, _mm_packus_epi32,
    _mm_set1_epi8, _mm_set1_epi16, _mm_set1_epi32, _mm_setr_epi8, _mm_setr_epi16, _mm_sub_epi8,
    _mm_testz_si128, _mm_xor_si128, _mm256_add_epi8, _mm256_cmpgt_epi8, _mm256_loadu_si256,
    _mm256_movemask_epi8, _mm256_set1_epi8, _mm512_cmpgt_epu8_mask, _mm512_loadu_si512,
    _mm512_set1_epi8, _mm512_sub_epi8,
};

/// Bytes that one word marks.
const WORD_BYTES: usize = 64;
/// Words that are marked before their lines are looked at: these and their bytes stay in the nearest cache.
const MARKED_WORDS: usize = 64;
/// Plain lines held before they are sifted: what the first asks of memory has come at the last.
const BLOCK: usize = 64;
const TIMESTAMP_DIGITS: u32 = 14;

trait Wide {
    /// Mark the bytes of 64 that are not digits: bit i belongs to byte i.
    ///
    /// # Safety
    /// 64 bytes at `at` may be read, and the CPU has the extension that the type is named after.
    unsafe fn marks(at: *const u8) -> u64;
}

struct Avx512;
struct Avx2;

impl Wide for Avx512 {
    #[inline(always)]
    unsafe fn marks(at: *const u8) -> u64 {
        // SAFETY: the caller promises it.
        unsafe {
            let bytes: __m512i = _mm512_loadu_si512(at.cast());
            let values = _mm512_sub_epi8(bytes, _mm512_set1_epi8(b'0'.cast_signed()));
            _mm512_cmpgt_epu8_mask(values, _mm512_set1_epi8(9))
        }
    }
}

impl Wide for Avx2 {
    #[inline(always)]
    unsafe fn marks(at: *const u8) -> u64 {
        // The addition makes the digits the greatest signed bytes: bytes can only be compared as signed.
        const DIGITS_UP: i8 = i8::MAX - b'9'.cast_signed();
        const BELOW_DIGITS: i8 = i8::MAX - 10;
        // SAFETY: the caller promises it.
        unsafe {
            let digits = |at: *const u8| {
                let bytes: __m256i = _mm256_loadu_si256(at.cast());
                let up = _mm256_add_epi8(bytes, _mm256_set1_epi8(DIGITS_UP));
                let digits = _mm256_cmpgt_epi8(up, _mm256_set1_epi8(BELOW_DIGITS));
                u64::from(_mm256_movemask_epi8(digits).cast_unsigned())
            };
            !(digits(at) | digits(at.add(32)) << 32)
        }
    }
}

/// Marks of a stretch, and one word more, so that a whole word can be read from any of its lines on.
#[repr(align(64))]
struct Marks([u64; MARKED_WORDS + 1]);

impl Marks {
    /// Return the marks of 57 bytes or more from a place of the stretch on. A plain line has no more.
    ///
    /// # Safety
    /// The place is within the stretch.
    #[inline(always)]
    unsafe fn from(&self, at: usize) -> u64 {
        // SAFETY: 8 bytes from there are within the words, as there is one more than the stretch has.
        let word = unsafe { self.0.as_ptr().byte_add(at / 8).read_unaligned() };
        word >> (at % 8)
    }
}

/// A plain line that the filter let pass.
#[derive(Clone, Copy, Default)]
struct Plain {
    /// In its mixed form.
    msisdn: u64,
    /// From its start: the first three are its commas, the next is its end.
    marks: u64,
    start: u32,
}

/// Scan lines as `grammar::scan_lines` does, by this path.
///
/// # Panics
/// When the buffer lacks the pads around [from, to).
pub(super) fn scan_lines<'s, V: Visitor<'s>>(
    path: ScanPath,
    bytes: &[u8],
    from: usize,
    to: usize,
    day_max: u32,
    visitor: &mut V,
) -> LineCounts {
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
            ScanPath::Avx512 => scan_avx512(bytes, from, to, day_max, visitor),
            _ => scan_avx2(bytes, from, to, day_max, visitor),
        }
    }
}

/// # Safety
/// The same as for `scan_wide`, and the CPU has these features.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn scan_avx512<'s, V: Visitor<'s>>(
    bytes: &[u8],
    from: usize,
    to: usize,
    day_max: u32,
    visitor: &mut V,
) -> LineCounts {
    // SAFETY: the caller promises it.
    unsafe { scan_wide::<Avx512, V>(bytes, from, to, day_max, visitor) }
}

/// # Safety
/// The same as for `scan_wide`, and the CPU has these features.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn scan_avx2<'s, V: Visitor<'s>>(
    bytes: &[u8],
    from: usize,
    to: usize,
    day_max: u32,
    visitor: &mut V,
) -> LineCounts {
    // SAFETY: the caller promises it.
    unsafe { scan_wide::<Avx2, V>(bytes, from, to, day_max, visitor) }
}

/// # Safety
/// `bytes[from..to]` are whole lines, with `PAD_BEFORE` bytes before and `PAD_AFTER` after it.
#[inline(always)]
unsafe fn scan_wide<'s, W: Wide, V: Visitor<'s>>(
    bytes: &[u8],
    from: usize,
    to: usize,
    day_max: u32,
    visitor: &mut V,
) -> LineCounts {
    // Lines by kind, without the plain ones that the sieve holds.
    let (mut plain, mut others, mut other_records) = (0, 0, 0);
    let mut sieve = Sieve::default();
    let mut held = 0;
    let mut bounds = Bounds::new();
    let mut at = from;
    while at < to {
        let begin = at;
        let mut marks = Marks([0; MARKED_WORDS + 1]);
        let words = MARKED_WORDS.min((to - begin).div_ceil(WORD_BYTES));
        for (word, marks) in marks.0[..=words].iter_mut().enumerate() {
            // SAFETY: the last of these words ends at most 127 bytes after `to`.
            *marks = unsafe { W::marks(bytes.as_ptr().add(begin + word * WORD_BYTES)) };
        }
        let end = to.min(begin + words * WORD_BYTES);
        while at < end {
            // SAFETY: at < end.
            let marks = unsafe { marks.from(at - begin) };
            // SAFETY: at < to, and the pads cover the bytes read around the line: 16 before it, 58 from its start.
            let length =
                unsafe { plain_bytes(bytes.as_ptr().add(at), marks, &mut bounds, day_max) };
            if length == 0 {
                let other = Other::at(bytes, at, to, day_max);
                if other.is_record() {
                    // SAFETY: the sieve holds plain lines of these bytes.
                    unsafe { sieve.drain(held, bytes, visitor) };
                    (plain, held) = (plain + held, 0);
                    other_records += 1;
                }
                other.tell(visitor, at, (others + plain + held) as u32);
                others += 1;
                at = other.next;
                continue;
            }
            sieve.marks[held % BLOCK] = marks;
            sieve.starts[held % BLOCK] = at as u32;
            held += 1;
            at += length as usize;
            if held == BLOCK {
                // SAFETY: the sieve holds plain lines of these bytes.
                unsafe { sieve.sift(held, bytes, visitor) };
                (plain, held) = (plain + held, 0);
            }
        }
    }
    // SAFETY: the sieve holds plain lines of these bytes.
    unsafe { sieve.drain(held, bytes, visitor) };
    let records = plain + held + other_records;
    LineCounts {
        lines: (plain + held + others) as u32,
        records: records as u32,
    }
}

/// A line that is not plain, parsed by the grammar.
struct Other {
    line: Line,
    length: usize,
    /// Start of the next line.
    next: usize,
}

impl Other {
    #[inline(never)]
    fn at(bytes: &[u8], at: usize, to: usize, day_max: u32) -> Other {
        let rest = &bytes[at..to];
        let whole = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let content = grammar::content_of(&rest[..whole]);
        Other {
            line: grammar::parse_line(content, false, day_max),
            length: content.len(),
            next: at + whole + 1,
        }
    }

    fn is_record(&self) -> bool {
        matches!(self.line, Line::Record(_))
    }

    #[inline(never)]
    fn tell<'s, V: Visitor<'s>>(&self, visitor: &mut V, at: usize, before: u32) {
        grammar::tell(visitor, self.line, at, self.length, before);
    }
}

/// Plain lines on their way to the visitor, in order: those to be sifted, and those that passed and wait for memory.
struct Sieve {
    /// Of the lines to be sifted: their marks and their starts.
    marks: [u64; BLOCK],
    starts: [u32; BLOCK],
    /// The lines that wait, and those that pass just now, in turns.
    passed: [[Plain; BLOCK]; 2],
    waiting: usize,
    turn: usize,
}

impl Default for Sieve {
    fn default() -> Sieve {
        Sieve {
            marks: [0; BLOCK],
            starts: [0; BLOCK],
            passed: [[Plain::default(); BLOCK]; 2],
            waiting: 0,
            turn: 0,
        }
    }
}

impl Sieve {
    /// Sift the held lines, and look up those that waited.
    ///
    /// # Safety
    /// All held lines are plain lines of `bytes`, and the CPU has these features.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    #[inline(never)]
    unsafe fn sift<'s, V: Visitor<'s>>(&mut self, held: usize, bytes: &[u8], visitor: &mut V) {
        let [even, odd] = &mut self.passed;
        let (passed, waited) = if self.turn == 0 {
            (even, odd)
        } else {
            (odd, even)
        };
        let held = held.min(BLOCK);
        let filter = visitor.filter();
        let mut spreads = [0; BLOCK];
        let lines = self.marks.iter().zip(&self.starts);
        for (spread, (marks, start)) in spreads.iter_mut().zip(lines).take(held) {
            // SAFETY: the caller promises it.
            let key = unsafe { key_of(bytes, *marks, *start) };
            *spread = Filter::spread(key);
            filter.prefetch(*spread);
        }
        let mut passing = [0u8; BLOCK];
        let mut count = 0;
        for (at, spread) in spreads[..held].iter().enumerate() {
            passing[count % BLOCK] = at as u8;
            count += usize::from(filter.may_contain(*spread));
        }
        if count < held && visitor.wants_non_member() {
            let refused = (0..held).find(|at| !filter.may_contain(spreads[*at]));
            if let Some(at) = refused {
                // SAFETY: the caller promises it.
                let key = unsafe { key_of(bytes, self.marks[at], self.starts[at]) };
                visitor.non_member(msisdn::mix(key), self.starts[at] as usize);
            }
        }
        for (line, at) in passed.iter_mut().zip(&passing[..count]) {
            let at = usize::from(*at) % BLOCK;
            let (marks, start) = (self.marks[at], self.starts[at]);
            // SAFETY: the caller promises it.
            let msisdn = msisdn::mix(unsafe { key_of(bytes, marks, start) });
            visitor.prefetch(msisdn);
            *line = Plain {
                msisdn,
                marks,
                start,
            };
        }
        // SAFETY: the caller promises it.
        unsafe { look(bytes, &waited[..self.waiting], visitor) };
        (self.waiting, self.turn) = (count, self.turn ^ 1);
    }

    /// Sift and look up all lines, before a line that is decided elsewhere.
    ///
    /// # Safety
    /// The same as for `sift`.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn drain<'s, V: Visitor<'s>>(&mut self, held: usize, bytes: &[u8], visitor: &mut V) {
        // SAFETY: the caller promises it.
        unsafe {
            self.sift(held, bytes, visitor);
            self.sift(0, bytes, visitor);
        }
    }
}

/// Bounds of the pairs of digits that end a line, each 10 times the first digit and the second: the date is the last
/// one found good, hours are below 24, and the tens of minute and second below 6.
struct Bounds {
    least: __m128i,
    most: __m128i,
}

/// The sum that a pair of ASCII digits "00" has.
const NO_HOUR: i16 = 0x30 * 11;

impl Bounds {
    /// Begin without a good date.
    #[inline(always)]
    fn new() -> Bounds {
        // SAFETY: every CPU of this architecture has these instructions.
        unsafe {
            let (hour, tens) = (NO_HOUR + 23, 0x35);
            Bounds {
                least: _mm_setr_epi16(0, 1, 0, 0, 0, 0, 0, 0),
                most: _mm_setr_epi16(-1, 0, 0, 0, 0, hour, tens, tens),
            }
        }
    }

    /// Return true when the timestamp that ends at `end` is good.
    ///
    /// # Safety
    /// It is 14 digits, 16 bytes before `end` may be read, and the CPU has AVX2.
    #[inline(always)]
    unsafe fn hold(&mut self, end: *const u8, day_max: u32) -> bool {
        // SAFETY: the caller promises it.
        unsafe {
            let bytes = _mm_loadu_si128(end.sub(16).cast());
            let weights = _mm_setr_epi8(0, 0, 10, 1, 10, 1, 10, 1, 10, 1, 10, 1, 1, 0, 1, 0);
            let pairs = _mm_maddubs_epi16(bytes, weights);
            let bounded = _mm_min_epu16(_mm_max_epu16(pairs, self.least), self.most);
            let outside = _mm_xor_si128(bounded, pairs);
            if _mm_testz_si128(outside, outside) != 0 {
                return true;
            }
            let date: u64 = end
                .sub(TIMESTAMP_DIGITS as usize)
                .cast::<u64>()
                .read_unaligned();
            if !is_good_date(date, day_max) {
                return false;
            }
            // This date is the good one from now on, whatever the time is.
            self.least = _mm_blend_epi16(self.least, pairs, 0b0001_1110);
            self.most = _mm_blend_epi16(self.most, pairs, 0b0001_1110);
            let bounded = _mm_min_epu16(pairs, self.most);
            let outside = _mm_xor_si128(bounded, pairs);
            _mm_testz_si128(outside, outside) != 0
        }
    }
}

/// Return the bytes of a plain line with its line end; 0 when it is not plain.
///
/// # Safety
/// 16 bytes before `line` and 58 from it may be read, and the CPU has AVX2.
#[inline(always)]
unsafe fn plain_bytes(line: *const u8, marks: u64, bounds: &mut Bounds, day_max: u32) -> u32 {
    let after_first = marks & marks.wrapping_sub(1);
    let after_second = after_first & after_first.wrapping_sub(1);
    let after_third = after_second & after_second.wrapping_sub(1);
    let first = marks.trailing_zeros();
    let second = after_first.trailing_zeros();
    let third = after_second.trailing_zeros();
    let end = after_third.trailing_zeros();
    // A missing mark counts as 64, which is too far from the one before it.
    let lengths_fit = first.wrapping_sub(5) <= 10
        && second.wrapping_sub(first).wrapping_sub(2) <= 8
        && third.wrapping_sub(second).wrapping_sub(2) <= 14
        && end.wrapping_sub(third) == TIMESTAMP_DIGITS + 1;
    if !lengths_fit {
        return 0;
    }
    // SAFETY: the end is at 24 to 56, and the others are before it.
    unsafe {
        let byte = |at: u32| *line.add(at as usize);
        if byte(first) != b',' || byte(second) != b',' || byte(third) != b',' {
            return 0;
        }
        let next = match byte(end) {
            b'\n' => end + 1,
            b'\r' if byte(end + 1) == b'\n' => end + 2,
            _ => return 0,
        };
        if bounds.hold(line.add(end as usize), day_max) {
            next
        } else {
            0
        }
    }
}

/// Return true when 8 digits are a date that is not after `day_max`.
#[cold]
fn is_good_date(digits: u64, day_max: u32) -> bool {
    let date = msisdn::number(&digits.to_le_bytes()).unwrap_or(0) as u32;
    clock::is_date(date) && date <= day_max
}

/// Look up lines that the filter let pass, and tell the visitor.
///
/// # Safety
/// They are plain lines of `bytes`, and the CPU has these features.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn look<'s, V: Visitor<'s>>(bytes: &[u8], lines: &[Plain], visitor: &mut V) {
    for plain in lines {
        let start = plain.start as usize;
        if !visitor.contains(plain.msisdn) {
            visitor.non_member(plain.msisdn, start);
            continue;
        }
        let first = plain.marks.trailing_zeros();
        let after_first = plain.marks & plain.marks.wrapping_sub(1);
        let second = after_first.trailing_zeros();
        let after_second = after_first & after_first.wrapping_sub(1);
        let third = after_second.trailing_zeros();
        let end = third + 1 + TIMESTAMP_DIGITS;
        // SAFETY: the marks are where `plain_bytes` found them.
        let (service, volume, timestamp) = unsafe {
            let line = bytes.as_ptr().add(start);
            (
                number_before(line.add(second as usize), second - first - 1),
                number_before(line.add(third as usize), third - second - 1),
                number_before(line.add(end as usize), TIMESTAMP_DIGITS),
            )
        };
        let record = Record {
            msisdn: plain.msisdn,
            service: service as u32,
            volume,
            date: (timestamp / 1_000_000) as u32,
            time: (timestamp % 1_000_000) as u32,
        };
        visitor.record(start, end as usize, &record);
    }
}

/// Return the key of a plain line's msisdn.
///
/// # Safety
/// It is a plain line of `bytes`, and the CPU has AVX2.
#[inline(always)]
unsafe fn key_of(bytes: &[u8], marks: u64, start: u32) -> u64 {
    let digits = marks.trailing_zeros();
    // SAFETY: the first comma is at 5 to 15, so 16 bytes before it are at most 11 before the line.
    let value = unsafe { number_before(bytes.as_ptr().add((start + digits) as usize), digits) };
    msisdn::POW10[digits as usize & 15] + value
}

/// Masks that keep the last n of 16 bytes: each starts at offset n.
const KEEP: [u8; 32] = {
    let mut keep = [0; 32];
    let mut i = 16;
    while i < 32 {
        keep[i] = 255;
        i += 1;
    }
    keep
};

/// Parse the `digits` (at most 16) bytes before `end`.
///
/// # Safety
/// They are digits, 16 bytes before `end` may be read, and the CPU has AVX2.
#[inline(always)]
unsafe fn number_before(end: *const u8, digits: u32) -> u64 {
    // SAFETY: the caller promises it; KEEP has 16 bytes from any offset up to 16.
    unsafe {
        let keep: __m128i = _mm_loadu_si128(KEEP.as_ptr().add(digits as usize & 15).cast());
        let bytes = _mm_loadu_si128(end.sub(16).cast());
        let values = _mm_and_si128(_mm_sub_epi8(bytes, _mm_set1_epi8(b'0'.cast_signed())), keep);
        let twos = _mm_maddubs_epi16(values, _mm_set1_epi16(0x010a));
        let fours = _mm_madd_epi16(twos, _mm_set1_epi32(0x0001_0064));
        let packed = _mm_packus_epi32(fours, fours);
        let eights = _mm_madd_epi16(packed, _mm_set1_epi32(0x0001_2710));
        let both = _mm_cvtsi128_si64(eights).cast_unsigned();
        (both & 0xffff_ffff) * 100_000_000 + (both >> 32)
    }
}
