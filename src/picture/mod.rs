//! Pictures in memory: 8-bit samples, gray or RGB, and how to turn them upright.

#[cfg(feature = "files")]
pub(crate) mod files;
mod orientation;
pub(crate) mod tiles;

pub use orientation::Orientation;

use crate::{Error, Result};

/// Largest width and height, in pixels (SPEC 2.3).
pub(crate) const MAX_SIDE: u32 = 65535;

/// What a pixel consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Channels {
    /// One sample, luminance.
    Gray,
    /// Red, green, blue.
    Rgb,
}

impl Channels {
    /// Samples per pixel.
    pub fn count(self) -> usize {
        match self {
            Channels::Gray => 1,
            Channels::Rgb => 3,
        }
    }
}

/// A picture of 8-bit samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    channels: Channels,
    samples: Vec<u8>,
    source_depth: u8,
    orientation: Orientation,
}

impl Picture {
    /// A picture from its samples: rows from the top, pixels from the left, `channels.count()` samples each, nothing in between.
    ///
    /// # Errors
    /// [`Error::Parameter`] if a side is 0 or above 65535, or the number of samples is not `width * height * channels.count()`.
    pub fn new(width: u32, height: u32, channels: Channels, samples: Vec<u8>) -> Result<Self> {
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(Error::Parameter(format!("a picture of {width}x{height} pixels cannot be stored: sides are 1 to {MAX_SIDE}")));
        }
        let expected = u64::from(width) * u64::from(height) * channels.count() as u64;
        if samples.len() as u64 != expected {
            return Err(Error::Parameter(format!("{width}x{height} pixels need {expected} samples, not {}", samples.len())));
        }
        Ok(Self { width, height, channels, samples, source_depth: 8, orientation: Orientation::default() })
    }

    /// A gray picture; see [`Picture::new`].
    ///
    /// # Errors
    /// As [`Picture::new`].
    pub fn gray(width: u32, height: u32, samples: Vec<u8>) -> Result<Self> {
        Self::new(width, height, Channels::Gray, samples)
    }

    /// A picture of red, green and blue; see [`Picture::new`].
    ///
    /// # Errors
    /// As [`Picture::new`].
    pub fn rgb(width: u32, height: u32, samples: Vec<u8>) -> Result<Self> {
        Self::new(width, height, Channels::Rgb, samples)
    }

    /// States how many bits the samples had before they were brought to 8. Kept in the file for information.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 1 to 16.
    pub fn with_source_depth(mut self, bits: u8) -> Result<Self> {
        self.source_depth = check_depth(bits)?;
        Ok(self)
    }

    /// States how the samples are to be turned for display.
    pub fn with_orientation(mut self, orientation: Orientation) -> Self {
        self.orientation = orientation;
        self
    }

    /// Pixels in a row, as stored (before [`Picture::upright`]).
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Number of rows, as stored (before [`Picture::upright`]).
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Gray or RGB.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// The samples, in the order of [`Picture::new`].
    pub fn samples(&self) -> &[u8] {
        &self.samples
    }

    /// The samples, in the order of [`Picture::new`].
    pub fn into_samples(self) -> Vec<u8> {
        self.samples
    }

    /// Bits per sample of the picture that this one comes from.
    pub fn source_depth(&self) -> u8 {
        self.source_depth
    }

    /// How the samples are to be turned for display.
    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// Turns the samples as [`Picture::orientation`] says, after which that is [`Orientation::Normal`].
    ///
    /// # Errors
    /// [`Error::Limits`] if there is no memory for the turned copy.
    pub fn upright(self) -> Result<Self> {
        orientation::upright(self)
    }
}

/// A number of bits that samples can have.
pub(crate) fn check_depth(bits: u8) -> Result<u8> {
    if (1..=16).contains(&bits) { Ok(bits) } else { Err(Error::Parameter(format!("a bit depth of {bits} does not exist: 1 to 16"))) }
}

/// A vector of `len` copies of `value`, or an error where memory runs out: sizes come from files.
pub(crate) fn try_filled<T: Clone>(len: usize, value: T) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(len).map_err(|_| Error::Limits(format!("there is no memory for {} more bytes", (len as u128) * size_of::<T>() as u128)))?;
    vector.resize(len, value);
    Ok(vector)
}
