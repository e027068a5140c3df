//! What has to be known of a picture before its first row.

use crate::picture::{MAX_SIDE, check_depth};
use crate::{Channels, Error, Orientation, Picture, Result};

/// Describes a picture whose rows come one after another: see [`Encoder::encode_rows`](super::Encoder::encode_rows).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    width: u32,
    height: u32,
    channels: Channels,
    source_depth: u8,
    orientation: Orientation,
}

impl Layout {
    /// A picture from a source of 8 bits that shows as stored.
    ///
    /// # Errors
    /// [`Error::Parameter`] if a side is 0 or above 65535.
    pub fn new(width: u32, height: u32, channels: Channels) -> Result<Self> {
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(Error::Parameter(format!("a picture of {width}x{height} pixels cannot be stored: sides are 1 to {MAX_SIDE}")));
        }
        Ok(Self { width, height, channels, source_depth: 8, orientation: Orientation::default() })
    }

    /// As [`Picture::with_source_depth`].
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 1 to 16.
    pub fn with_source_depth(mut self, bits: u8) -> Result<Self> {
        self.source_depth = check_depth(bits)?;
        Ok(self)
    }

    /// As [`Picture::with_orientation`].
    pub fn with_orientation(mut self, orientation: Orientation) -> Self {
        self.orientation = orientation;
        self
    }

    /// Pixels in a row, as stored.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Number of rows, as stored.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// What a pixel consists of.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// Bits per sample of the picture that this one comes from.
    pub fn source_depth(&self) -> u8 {
        self.source_depth
    }

    /// How the samples are to be turned for display.
    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// Samples in a row.
    pub fn row_len(&self) -> usize {
        self.width as usize * self.channels.count()
    }
}

impl From<&Picture> for Layout {
    fn from(picture: &Picture) -> Self {
        Self {
            width: picture.width(),
            height: picture.height(),
            channels: picture.channels(),
            source_depth: picture.source_depth(),
            orientation: picture.orientation(),
        }
    }
}
