//! The memory of the ledger's tables: pages straight from the system.

#![allow(
    unsafe_code,
    reason = "mapping memory, and reading it as lines, has no safe form"
)]

use std::alloc::{Layout, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A line of the cache, as tables of the ledger are made of: four entries of two numbers.
pub(super) type TableLine = [[u64; 2]; 4];

/// What is worth a page of 2 MiB, where the system has such.
const HUGE_BYTES: usize = 2 << 20;

/// The lines of one table, zeroed, as pages straight from the system.
///
/// A table grows by being replaced: its pages are given back at once, where an allocator would keep holes too small for
/// the next. It is read in no order, so that each of its pages costs a fault and an entry of the CPU's list of pages:
/// they are asked for together, and large.
#[derive(Debug)]
pub(super) struct TableLines {
    start: NonNull<TableLine>,
    count: usize,
}

impl TableLines {
    /// So many lines.
    pub(super) fn zeroed(count: usize) -> TableLines {
        let bytes = count * size_of::<TableLine>();
        if bytes == 0 {
            return TableLines::default();
        }
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping at a place that the system chooses touches nothing that is there.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
        let start = NonNull::new(mapped.cast::<TableLine>()).filter(|_| mapped != libc::MAP_FAILED);
        let Some(start) = start else {
            handle_alloc_error(Layout::array::<TableLine>(count).unwrap_or(Layout::new::<u8>()));
        };
        // A system that does not know the advice goes page by page.
        // SAFETY: neither changes what is read from these pages, which are ours.
        unsafe {
            if bytes >= HUGE_BYTES {
                libc::madvise(mapped, bytes, libc::MADV_HUGEPAGE);
            }
            libc::madvise(mapped, bytes, libc::MADV_POPULATE_WRITE);
        }
        TableLines { start, count }
    }
}

impl Default for TableLines {
    fn default() -> TableLines {
        TableLines {
            start: NonNull::dangling(),
            count: 0,
        }
    }
}

impl Deref for TableLines {
    type Target = [TableLine];

    #[inline(always)]
    fn deref(&self) -> &[TableLine] {
        // SAFETY: so many lines are mapped, zeroed or written since, and borrowed as this value is.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl DerefMut for TableLines {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [TableLine] {
        // SAFETY: as above, and borrowed by one alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.count) }
    }
}

impl Drop for TableLines {
    fn drop(&mut self) {
        if self.count > 0 {
            // SAFETY: this value alone has the mapping, and ends.
            unsafe { libc::munmap(self.start.as_ptr().cast(), size_of_val(&**self)) };
        }
    }
}

// SAFETY: it owns plain numbers and shares nothing.
unsafe impl Send for TableLines {}
// SAFETY: what is shared is read only.
unsafe impl Sync for TableLines {}
