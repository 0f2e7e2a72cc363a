//! The memory of the ledger's tables: pages mapped straight from the system (docs/decisions, 0026).

#![allow(
    unsafe_code,
    reason = "mapping memory, and reading it as lines, has no safe form"
)]

use std::alloc::{Layout, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A cache line, of which the tables are made: four entries of two numbers.
pub(super) type TableLine = [[u64; 2]; 4];

/// Tables of so many bytes ask for pages of 2 MiB, where the system has them.
const HUGE_BYTES: usize = 2 << 20;

/// The lines of one table, zeroed, in pages of their own.
///
/// A table grows by being replaced: its pages are given back at once, where an allocator would keep holes too small for
/// the next. Its accesses are random, so each page costs a fault and an entry of the TLB: pages are asked for together,
/// and large.
#[derive(Debug)]
pub(super) struct TableLines {
    start: NonNull<TableLine>,
    count: usize,
}

impl TableLines {
    /// Map so many lines.
    pub(super) fn zeroed(count: usize) -> TableLines {
        let bytes = count * size_of::<TableLine>();
        if bytes == 0 {
            return TableLines::default();
        }
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping at an address that the system chooses touches no memory in use.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
        let start = NonNull::new(mapped.cast::<TableLine>()).filter(|_| mapped != libc::MAP_FAILED);
        let Some(start) = start else {
            handle_alloc_error(Layout::array::<TableLine>(count).unwrap_or(Layout::new::<u8>()));
        };
        // A system that does not know the advice brings pages in one by one.
        // SAFETY: neither changes the content of these pages, which are ours.
        unsafe {
            if bytes >= HUGE_BYTES {
                libc::madvise(mapped, bytes, libc::MADV_HUGEPAGE);
            }
            libc::madvise(mapped, bytes, libc::MADV_POPULATE_WRITE);
        }
        TableLines { start, count }
    }
}

impl Clone for TableLines {
    fn clone(&self) -> TableLines {
        let mut copy = TableLines::zeroed(self.count);
        copy.copy_from_slice(self);
        copy
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
        // SAFETY: so many lines are mapped, zeroed or written since, and are borrowed as this value is.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl DerefMut for TableLines {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [TableLine] {
        // SAFETY: the same, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.count) }
    }
}

impl Drop for TableLines {
    fn drop(&mut self) {
        if self.count > 0 {
            // SAFETY: only this value has the mapping, and it is being dropped.
            unsafe { libc::munmap(self.start.as_ptr().cast(), size_of_val(&**self)) };
        }
    }
}

// SAFETY: it owns plain numbers and shares nothing.
unsafe impl Send for TableLines {}
// SAFETY: shared, it can only be read.
unsafe impl Sync for TableLines {}
