//! Regular files: opened without following links, and recognized when they are opened again.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

/// Bytes per read, if the caller sets no size: they fit a second-level cache.
pub(super) const READ_BYTES: usize = 256 << 10;

/// Tells whether a file is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    pub(super) inode: u64,
    pub(super) bytes: u64,
    modified: (i64, i64),
}

/// Open a regular file. Err is `ENXIO` for any other kind, and `ELOOP` for a link.
pub(super) fn open(path: &[u8]) -> io::Result<(File, Identity)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(OsStr::from_bytes(path))?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::from_raw_os_error(libc::ENXIO));
    }
    let identity = Identity {
        device: about.dev(),
        inode: about.ino(),
        bytes: about.len(),
        modified: (about.mtime(), about.mtime_nsec()),
    };
    Ok((file, identity))
}

/// Fill the buffer from a position on; return the bytes read, fewer only at the end of the file.
pub(super) fn read_at(file: &File, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
