//! What a decoder is willing to spend on a file.

use crate::container::Head;
use crate::{Error, Result};

/// Bounds that a file must keep to. The defaults suit a program that opens files of strangers on an ordinary computer.
///
/// There is none on time, because the work is bounded by the picture's size: each latent is one symbol, followed by 42 bits at most, and the networks do the
/// same for every picture of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest number of pixels of the picture, even where a part of it is decoded. Default: 2^28 (268 megapixels).
    pub max_pixels: u64,
    /// Largest size of the coded file in bytes. Default: 2^30.
    pub max_file_bytes: u64,
    /// Largest number of bytes in memory while decoding or encoding: samples, latents, features, the unpacked model, and the coded file where it is in memory.
    /// Compared with an estimate before the work starts, which is right to within a few tenths. Default: 2^31 (2 GiB).
    pub max_memory: u64,
    /// Largest number of tiles. Default: 2^16, which no valid file exceeds.
    pub max_tiles: u64,
    /// Largest payload of a chunk in bytes, where chunks are read one by one ([`Decoder::from_seekable`](crate::Decoder::from_seekable)). Default: 2^28.
    pub max_chunk_bytes: u64,
    /// Largest number of bytes of metadata (colour profile, EXIF, XMP), unpacked. Default: 2^26 (64 MiB).
    pub max_metadata_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: 1 << 28, max_file_bytes: 1 << 30, max_memory: 1 << 31, max_tiles: 1 << 16, max_chunk_bytes: 1 << 28, max_metadata_bytes: 1 << 26 }
    }
}

impl Limits {
    /// Limits that no valid file exceeds.
    pub fn none() -> Self {
        Self {
            max_pixels: u64::MAX,
            max_file_bytes: u64::MAX,
            max_memory: u64::MAX,
            max_tiles: u64::MAX,
            max_chunk_bytes: u64::MAX,
            max_metadata_bytes: u64::MAX,
        }
    }

    pub(crate) fn check_file(&self, bytes: u64) -> Result<()> {
        if bytes > self.max_file_bytes {
            return Err(Error::Limits(format!("the file has more than the {} bytes allowed", self.max_file_bytes)));
        }
        Ok(())
    }

    /// Checks what the header says.
    pub(crate) fn check_head(&self, head: &Head) -> Result<()> {
        let (pixels, tiles) = (u64::from(head.width) * u64::from(head.height), head.grid().count() as u64);
        if pixels > self.max_pixels {
            return Err(Error::Limits(format!("the picture has {}x{} pixels, more than the {} allowed", head.width, head.height, self.max_pixels)));
        }
        if tiles > self.max_tiles {
            return Err(Error::Limits(format!("the picture has {tiles} tiles, more than the {} allowed", self.max_tiles)));
        }
        Ok(())
    }

    /// Checks an estimate of what `work` will need.
    pub(crate) fn check_memory(&self, work: &str, bytes: u64) -> Result<()> {
        if bytes > self.max_memory {
            return Err(Error::Limits(format!(
                "{work} takes about {} MiB of memory, more than the {} MiB allowed",
                bytes.div_ceil(1 << 20),
                self.max_memory >> 20
            )));
        }
        Ok(())
    }
}
