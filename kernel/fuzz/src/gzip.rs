//! Compressed files of any bytes: a verdict, never a panic, and the same content however it is read.

use super::{Temporary, controls};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use upswell_kernel::crc::crc64;
use upswell_kernel::input::digest::{digest, first_record};
use upswell_kernel::input::gzip::check_gzip;
use upswell_kernel::input::source::Source;

/// A longer file is `too_large`: this limits what one attempt may cost.
const BYTES_MAX: u64 = 1 << 16;
/// Bytes that are decompressed at a time: the limit may be exceeded by so many.
const CHUNK_BYTES: u64 = 256 << 10;

/// Three control bytes (compress the rest first, cut it, bytes of a read), then a file.
pub fn attempt(input: &[u8]) {
    let ([compress, cut, step], data) = controls(input);
    let mut packed = if compress % 2 == 1 {
        pack(data)
    } else {
        data.to_vec()
    };
    if compress % 4 == 3 {
        packed.truncate(packed.len() * usize::from(cut) / 256);
    }
    if packed.is_empty() {
        return; // an empty file is whole to a decompressor, and incomplete to us
    }
    let file = Temporary::new(&packed);
    let checked = check_gzip(file.path(), BYTES_MAX).expect("a readable file");
    assert!(["whole", "incomplete", "broken", "too_large"].contains(&checked.verdict));
    assert!(checked.bytes <= BYTES_MAX + CHUNK_BYTES);
    let through = read(file.path(), usize::from(step) + 1);
    match (checked.verdict, &through) {
        ("whole", Ok(bytes)) => {
            assert_eq!(
                (checked.bytes, checked.digest),
                (bytes.len() as u64, crc64(bytes, 0))
            );
            let digest = digest(file.path(), true, 0, u64::MAX, 0).expect("whole data");
            assert_eq!((checked.digest, checked.bytes), digest);
            if compress % 4 == 1 {
                assert_eq!(data, bytes);
            }
        }
        ("whole", Err(slug)) => panic!("whole, but {slug}"),
        ("incomplete", through) => {
            assert_eq!(Err("short"), through.as_deref().map_err(|slug| *slug));
        }
        ("broken", through) => {
            assert_eq!(Err("broken"), through.as_deref().map_err(|slug| *slug));
        }
        _ => assert!(compress % 4 != 1 || data.len() as u64 > BYTES_MAX),
    }
    let _ = first_record(file.path(), true, BYTES_MAX, super::scan::DAY_MAX);
}

fn pack(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).expect("room");
    encoder.finish().expect("room")
}

/// Read the file in steps, giving every second one back and reading it again; Err is the slug of the problem.
fn read(path: &[u8], step: usize) -> Result<Vec<u8>, &'static str> {
    let (_, source) = Source::open(path, true, 0, None);
    let mut source = source.map_err(|problem| problem.slug)?;
    let mut all = Vec::new();
    let mut buffer = vec![0; step];
    let mut repeat = false;
    while all.len() as u64 <= BYTES_MAX + CHUNK_BYTES {
        let bytes = source
            .read(all.len() as u64, &mut buffer)
            .map_err(|problem| problem.slug)?;
        if bytes == 0 {
            break;
        }
        if let (true, Source::Gzip(gzip)) = (repeat, &mut source) {
            gzip.give_back(&buffer[..bytes]);
            assert_eq!(all.len() as u64, gzip.position());
        } else {
            all.extend_from_slice(&buffer[..bytes]);
        }
        repeat = !repeat;
    }
    Ok(all)
}
