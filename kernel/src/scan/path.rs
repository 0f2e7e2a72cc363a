//! The ways to scan lines: chosen for the CPU at run time, or forced by the environment. All give the same result.

/// Bytes of a buffer before its first line that may be read.
pub const PAD_BEFORE: usize = 16;
/// Bytes of a buffer after its last line that may be read.
pub const PAD_AFTER: usize = 128;

/// A way to scan lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanPath {
    /// 64-byte registers with mask results.
    Avx512,
    /// 32-byte registers.
    Avx2,
    /// Plain code: the definition.
    Scalar,
}

impl ScanPath {
    /// Return the paths that this CPU can run, fastest first.
    pub fn available() -> Vec<ScanPath> {
        let mut paths = vec![ScanPath::Avx512, ScanPath::Avx2, ScanPath::Scalar];
        paths.retain(|path| path.is_available());
        paths
    }

    /// Return true when this CPU can run it.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let (avx512, avx2) = (
            is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl"),
            is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt"),
        );
        #[cfg(not(target_arch = "x86_64"))]
        let (avx512, avx2) = (false, false);
        match self {
            ScanPath::Avx512 => avx512 && avx2,
            ScanPath::Avx2 => avx2,
            ScanPath::Scalar => true,
        }
    }

    /// Return its name, as in the environment.
    pub fn name(self) -> &'static str {
        match self {
            ScanPath::Avx512 => "avx512",
            ScanPath::Avx2 => "avx2",
            ScanPath::Scalar => "scalar",
        }
    }

    /// Return the path of this name, if this CPU can run it.
    pub fn named(name: &str) -> Option<ScanPath> {
        ScanPath::available()
            .into_iter()
            .find(|path| path.name() == name)
    }
}
