//! Pictures in memory: samples, metadata, and how to turn them upright.

#[cfg(feature = "files")]
pub(crate) mod files;
#[cfg(feature = "image-hook")]
pub(crate) mod image_hook;
pub(crate) mod metadata;
mod orientation;
pub(crate) mod samples;
pub(crate) mod tiles;

use std::borrow::Cow;

pub use metadata::Metadata;
pub use orientation::Orientation;
pub use samples::{SampleDepth, Samples};

use crate::{Error, Result};

/// Largest width and height, in pixels (SPEC 2.3).
pub(crate) const MAX_SIDE: u32 = 65535;

/// What a pixel consists of. Alpha is opacity, from 0 (transparent) to the largest sample value; colours are *straight*: not multiplied by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Channels {
    /// One sample, luminance.
    Gray,
    /// Luminance, alpha.
    GrayAlpha,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, alpha.
    Rgba,
}

impl Channels {
    /// Samples per pixel.
    pub fn count(self) -> usize {
        match self {
            Channels::Gray => 1,
            Channels::GrayAlpha => 2,
            Channels::Rgb => 3,
            Channels::Rgba => 4,
        }
    }

    /// Whether the last sample of a pixel is alpha.
    pub fn has_alpha(self) -> bool {
        matches!(self, Channels::GrayAlpha | Channels::Rgba)
    }

    /// Whether pixels have no colour.
    pub fn is_gray(self) -> bool {
        matches!(self, Channels::Gray | Channels::GrayAlpha)
    }

    /// The same without alpha.
    pub fn without_alpha(self) -> Self {
        if self.is_gray() { Channels::Gray } else { Channels::Rgb }
    }

    /// The channels of so many samples per pixel; `None` if that is not 1 to 4.
    pub fn from_count(count: u8) -> Option<Self> {
        Some(match count {
            1 => Channels::Gray,
            2 => Channels::GrayAlpha,
            3 => Channels::Rgb,
            4 => Channels::Rgba,
            _ => return None,
        })
    }
}

/// A picture: samples of 8 or 16 bits, what they mean, and what came with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    channels: Channels,
    samples: Samples,
    source_depth: u8,
    orientation: Orientation,
    metadata: Metadata,
}

impl Picture {
    /// A picture from its samples: rows from the top, pixels from the left, `channels.count()` samples each, nothing in between.
    ///
    /// # Errors
    /// [`Error::Parameter`] if a side is 0 or above 65535, or the number of samples is not `width * height * channels.count()`.
    pub fn new(width: u32, height: u32, channels: Channels, samples: Vec<u8>) -> Result<Self> {
        Self::from_samples(width, height, channels, samples.into())
    }

    /// A picture of samples of 8 or 16 bits; the latter are in the machine's byte order. See [`Picture::new`].
    ///
    /// # Errors
    /// As [`Picture::new`].
    pub fn from_samples(width: u32, height: u32, channels: Channels, samples: Samples) -> Result<Self> {
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(Error::Parameter(format!("a picture of {width}x{height} pixels cannot be stored: sides are 1 to {MAX_SIDE}")));
        }
        let expected = u64::from(width) * u64::from(height) * channels.count() as u64;
        if samples.len() as u64 != expected {
            return Err(Error::Parameter(format!("{width}x{height} pixels need {expected} samples, not {}", samples.len())));
        }
        let source_depth = samples.depth().bits();
        Ok(Self { width, height, channels, samples, source_depth, orientation: Orientation::default(), metadata: Metadata::default() })
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

    /// A picture of red, green, blue and (straight) alpha; see [`Picture::new`].
    ///
    /// # Errors
    /// As [`Picture::new`].
    pub fn rgba(width: u32, height: u32, samples: Vec<u8>) -> Result<Self> {
        Self::new(width, height, Channels::Rgba, samples)
    }

    /// States how many bits the samples had before they were brought to 8 or 16. Kept in the file for information.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 1 to 16.
    pub fn with_source_depth(mut self, bits: u8) -> Result<Self> {
        self.source_depth = check_depth(bits)?;
        Ok(self)
    }

    /// Attaches metadata, in place of what there was.
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Converts the samples: 8 to 16 bits without loss, 16 to 8 with rounding. Does nothing to samples that have the depth already.
    ///
    /// # Errors
    /// [`Error::Limits`] if there is no memory for the converted copy.
    pub fn with_depth(mut self, depth: SampleDepth) -> Result<Self> {
        self.samples = self.samples.into_depth(depth)?;
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

    /// What a pixel consists of.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// The samples as 8 bits each, in the order of [`Picture::new`]. Of a picture of 16-bit samples these are a rounded copy.
    pub fn samples(&self) -> Cow<'_, [u8]> {
        self.samples.to_u8()
    }

    /// The samples as 16 bits each, in the order of [`Picture::new`]. Of a picture of 8-bit samples these are a copy, times 257.
    pub fn samples16(&self) -> Cow<'_, [u16]> {
        self.samples.to_u16()
    }

    /// The samples with the depth that they have.
    pub fn data(&self) -> &Samples {
        &self.samples
    }

    /// The samples with the depth that they have.
    pub fn into_data(self) -> Samples {
        self.samples
    }

    /// The samples as 8 bits each, in the order of [`Picture::new`].
    pub fn into_samples(self) -> Vec<u8> {
        match self.samples {
            Samples::U8(samples) => samples,
            wide => wide.to_u8().into_owned(),
        }
    }

    /// Bits of a sample.
    pub fn depth(&self) -> SampleDepth {
        self.samples.depth()
    }

    /// Colour profile, EXIF, XMP.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Bits per sample of the picture that this one comes from.
    pub fn source_depth(&self) -> u8 {
        self.source_depth
    }

    /// How the samples are to be turned for display.
    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// Turns the samples as [`Picture::orientation`] says, after which that is [`Orientation::Normal`], and an EXIF block says so too, as does an XMP packet that states
    /// one.
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
