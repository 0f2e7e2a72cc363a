//! The fast path: the same answers as `scan`, many lines per microsecond.
//!
//! For the next engineer. A line of real traffic is short and plain: `digits,digits,digits,14 digits`, 25 to 58 bytes.
//! So there is little to find in it but where its four bytes lie that are no digits.
//!
//! 1. For a chunk of 4 KiB each byte that is no digit is marked: a bit in a word of 64, by wide registers. What follows
//!    never waits for the end of a line to be searched: an unaligned load and a shift give the marks of any line.
//! 2. A line is plain when its first three marks are commas, the fourth is its end (a `\r` or not, and `\n`), and the
//!    lengths between them fit: that is all of the grammar but the values of the timestamp.
//! 3. The timestamp's digits are added up in pairs, and each pair is held against its bounds, all at once. Those of the
//!    date are the last date found good; another date is checked once and becomes the last.
//! 4. Plain lines are set aside until there is a block of them. Then the block is sifted, by loops without a branch, each
//!    of which does one thing for all its lines: make the msisdn's key out of its digits (loaded so that they end at
//!    the comma; three multiply-add steps) and ask memory for its word of the visitor's filter; keep those that the
//!    filter lets pass; ask memory for their places in the table. While that comes, those of the block before are looked
//!    up. Only what the table contains gets its service, volume and time read.
//!
//! Any line that is not plain goes to `grammar::parse_line`, so this file never decides that something is bad. If it is a
//! record all the same, the plain ones before it are looked up first. If you change the grammar, look at steps 2 and 3.
//! What is read beyond a line is never used: the buffer has `PAD_BEFORE` bytes before the first line and `PAD_AFTER`
//! after the last one. Branches on what a line is like are there on purpose: clean input foresees them all, and they are
//! fewer instructions than sums of conditions.

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

/// Bytes that a word marks.
const WORD_BYTES: usize = 64;
/// Words that are marked before their lines are looked at: they stay in the nearest cache, as do their bytes.
const MARKED_WORDS: usize = 64;
/// Plain lines set aside before they are sifted: what is asked of memory at the first has come at the last.
const BLOCK: usize = 64;
const TIMESTAMP_DIGITS: u32 = 14;

trait Wide {
    /// The bytes of 64 that are no digits: bit i belongs to byte i.
    ///
    /// # Safety
    /// 64 bytes at `at` may be read, and the CPU has what the type is named after.
    unsafe fn marks(at: *const u8) -> u64;
}

struct Avx512;
struct Avx2;

impl Wide for Avx512 {
    #[inline(always)]
    unsafe fn marks(at: *const u8) -> u64 {
        // SAFETY: as promised by the caller.
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
        // The addition makes the digits the greatest signed bytes, as bytes are compared signed alone.
        const DIGITS_UP: i8 = i8::MAX - b'9'.cast_signed();
        const BELOW_DIGITS: i8 = i8::MAX - 10;
        // SAFETY: as promised by the caller.
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

/// Marks of a chunk, and some more so that any of its lines has a whole word of them.
#[repr(align(64))]
struct Marks([u64; MARKED_WORDS + 1]);

impl Marks {
    /// Those of 57 bytes or more from a place of the chunk on. A plain line has no more.
    ///
    /// # Safety
    /// The place is within the chunk.
    #[inline(always)]
    unsafe fn from(&self, at: usize) -> u64 {
        // SAFETY: 8 bytes from there are within the words, as there is one more than the chunk has.
        let word = unsafe { self.0.as_ptr().byte_add(at / 8).read_unaligned() };
        word >> (at % 8)
    }
}

/// A plain line that the filter let pass.
#[derive(Clone, Copy, Default)]
struct Plain {
    /// Mixed.
    msisdn: u64,
    /// Those from its start: the first three are its commas, the next is its end.
    marks: u64,
    start: u32,
}

/// `grammar::scan_lines` by this path.
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
/// As `scan_wide`, on a CPU with these features.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn scan_avx512<'s, V: Visitor<'s>>(
    bytes: &[u8],
    from: usize,
    to: usize,
    day_max: u32,
    visitor: &mut V,
) -> LineCounts {
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
) -> LineCounts {
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
) -> LineCounts {
    // Lines by kind; the plain ones that the sieve holds are not among them.
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
            // SAFETY: the last of these words ends at most 127 bytes behind `to`.
            *marks = unsafe { W::marks(bytes.as_ptr().add(begin + word * WORD_BYTES)) };
        }
        let end = to.min(begin + words * WORD_BYTES);
        while at < end {
            // SAFETY: at < end.
            let marks = unsafe { marks.from(at - begin) };
            // SAFETY: at < to, and the pads cover what is read around the line: 16 bytes before, 58 from its start.
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

/// A line that is not plain, by the plain code.
struct Other {
    line: Line,
    length: usize,
    /// Where the next line starts.
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

/// Lines on their way to the visitor, in order: those to be sifted, and those that passed and wait for memory.
struct Sieve {
    /// Of the lines to be sifted, from their starts.
    marks: [u64; BLOCK],
    starts: [u32; BLOCK],
    /// In turns: those that wait, and those that pass just now.
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
    /// All are plain lines of `bytes`, on a CPU with these features.
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
            // SAFETY: passed on.
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
                // SAFETY: passed on.
                let key = unsafe { key_of(bytes, self.marks[at], self.starts[at]) };
                visitor.non_member(msisdn::mix(key), self.starts[at] as usize);
            }
        }
        for (line, at) in passed.iter_mut().zip(&passing[..count]) {
            let at = usize::from(*at) % BLOCK;
            let (marks, start) = (self.marks[at], self.starts[at]);
            // SAFETY: passed on.
            let msisdn = msisdn::mix(unsafe { key_of(bytes, marks, start) });
            visitor.prefetch(msisdn);
            *line = Plain {
                msisdn,
                marks,
                start,
            };
        }
        // SAFETY: passed on.
        unsafe { look(bytes, &waited[..self.waiting], visitor) };
        (self.waiting, self.turn) = (count, self.turn ^ 1);
    }

    /// Look at everything, before a line that is decided elsewhere.
    ///
    /// # Safety
    /// As `sift`.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn drain<'s, V: Visitor<'s>>(&mut self, held: usize, bytes: &[u8], visitor: &mut V) {
        // SAFETY: passed on.
        unsafe {
            self.sift(held, bytes, visitor);
            self.sift(0, bytes, visitor);
        }
    }
}

/// What the pairs of digits that end a line must lie between, each as 10 times the first and the second: the date is
/// the last one found good, hours are below 24, and the tens of minute and second below 6.
struct Bounds {
    least: __m128i,
    most: __m128i,
}

/// What a pair of ASCII digits "00" comes to.
const NO_HOUR: i16 = 0x30 * 11;

impl Bounds {
    /// No date is good yet.
    #[inline(always)]
    fn new() -> Bounds {
        // SAFETY: every CPU of this kind has it.
        unsafe {
            let (hour, tens) = (NO_HOUR + 23, 0x35);
            Bounds {
                least: _mm_setr_epi16(0, 1, 0, 0, 0, 0, 0, 0),
                most: _mm_setr_epi16(-1, 0, 0, 0, 0, hour, tens, tens),
            }
        }
    }

    /// Whether the timestamp that ends at `end` is good.
    ///
    /// # Safety
    /// It is 14 digits, 16 bytes before `end` may be read, and the CPU has AVX2.
    #[inline(always)]
    unsafe fn hold(&mut self, end: *const u8, day_max: u32) -> bool {
        // SAFETY: as promised by the caller.
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
            // The date is now the one that is good, whatever the time is.
            self.least = _mm_blend_epi16(self.least, pairs, 0b0001_1110);
            self.most = _mm_blend_epi16(self.most, pairs, 0b0001_1110);
            let bounded = _mm_min_epu16(pairs, self.most);
            let outside = _mm_xor_si128(bounded, pairs);
            _mm_testz_si128(outside, outside) != 0
        }
    }
}

/// The bytes of a plain line with its line end; 0 when it is not plain.
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
    // A mark that is not there would be at 64, too far behind the one before it.
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

/// Whether 8 digits are a date that is not after `day_max`.
#[cold]
fn is_good_date(digits: u64, day_max: u32) -> bool {
    let date = msisdn::number(&digits.to_le_bytes()).unwrap_or(0) as u32;
    clock::is_date(date) && date <= day_max
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

/// The key of a plain line's msisdn.
///
/// # Safety
/// It is a plain line of `bytes`, on a CPU with AVX2.
#[inline(always)]
unsafe fn key_of(bytes: &[u8], marks: u64, start: u32) -> u64 {
    let digits = marks.trailing_zeros();
    // SAFETY: the first comma is at 5 to 15, so 16 bytes before it are at most 11 before the line.
    let value = unsafe { number_before(bytes.as_ptr().add((start + digits) as usize), digits) };
    msisdn::POW10[digits as usize & 15] + value
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
        let values = _mm_and_si128(_mm_sub_epi8(bytes, _mm_set1_epi8(b'0'.cast_signed())), keep);
        let twos = _mm_maddubs_epi16(values, _mm_set1_epi16(0x010a));
        let fours = _mm_madd_epi16(twos, _mm_set1_epi32(0x0001_0064));
        let packed = _mm_packus_epi32(fours, fours);
        let eights = _mm_madd_epi16(packed, _mm_set1_epi32(0x0001_2710));
        let both = _mm_cvtsi128_si64(eights).cast_unsigned();
        (both & 0xffff_ffff) * 100_000_000 + (both >> 32)
    }
}
