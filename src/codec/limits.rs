//! What a decoder is willing to spend on a file.

use crate::container::Head;
use crate::{Error, Result};

/// Bounds that a file must keep to. The defaults suit a program that opens files of strangers on an ordinary computer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest number of pixels. Default: 2^28 (268 megapixels).
    pub max_pixels: u64,
    /// Largest size of the coded file in bytes. Default: 2^30.
    pub max_file_bytes: u64,
    /// Largest number of bytes for samples, latents and features while decoding. Default: 2^31 (2 GiB).
    pub max_memory: u64,
    /// Largest number of bytes of metadata (colour profile, EXIF, XMP), unpacked. Default: 2^26 (64 MiB).
    pub max_metadata_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: 1 << 28, max_file_bytes: 1 << 30, max_memory: 1 << 31, max_metadata_bytes: 1 << 26 }
    }
}

impl Limits {
    /// Limits that no valid file exceeds.
    pub fn none() -> Self {
        Self { max_pixels: u64::MAX, max_file_bytes: u64::MAX, max_memory: u64::MAX, max_metadata_bytes: u64::MAX }
    }

    /// Checks what the header says.
    pub(crate) fn check(&self, head: &Head, memory: u64) -> Result<()> {
        let pixels = u64::from(head.width) * u64::from(head.height);
        if pixels > self.max_pixels {
            return Err(Error::Limits(format!("the picture has {}x{} pixels, more than the {} allowed", head.width, head.height, self.max_pixels)));
        }
        if memory > self.max_memory {
            return Err(Error::Limits(format!("decoding takes about {memory} bytes of memory, more than the {} allowed", self.max_memory)));
        }
        Ok(())
    }
}
