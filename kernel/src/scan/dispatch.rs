//! Scans lines by the path that was chosen.

use crate::scan::grammar::{self, LineCounts, Visitor};
use crate::scan::path::ScanPath;
#[cfg(target_arch = "x86_64")]
use crate::scan::wide;

impl ScanPath {
    /// Scan lines as `grammar::scan_lines` does, by this path.
    ///
    /// # Panics
    /// When the buffer lacks the pads around [from, to).
    pub fn scan_lines<'s, V: Visitor<'s>>(
        self,
        bytes: &[u8],
        from: usize,
        to: usize,
        day_max: u32,
        visitor: &mut V,
    ) -> LineCounts {
        match self {
            ScanPath::Scalar => grammar::scan_lines(bytes, from, to, day_max, visitor),
            #[cfg(target_arch = "x86_64")]
            _ => wide::scan_lines(self, bytes, from, to, day_max, visitor),
            #[cfg(not(target_arch = "x86_64"))]
            _ => grammar::scan_lines(bytes, from, to, day_max, visitor),
        }
    }
}
