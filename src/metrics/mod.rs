//! How alike two pictures are, and how much one codec saves over another.
//!
//! | measure | what it is | range |
//! |---|---|---|
//! | [`psnr()`] | peak signal-to-noise ratio of the samples and of the luma | dB; infinite for equal pictures |
//! | [`ms_ssim()`] | multi-scale structural similarity (Wang, Simoncelli, Bovik 2003) | 0 to 1, or dB by [`decibels`] |
//! | [`ssimulacra2()`] | a model of how people see coded pictures | 100 is no difference, 90 not visible, 70 high, 50 medium, 30 low quality |
//! | [`bd_rate()`] | difference in file size at equal quality, over a range of qualities | per cent; below 0 is smaller |
//!
//! ```
//! use aei::Picture;
//! use aei::metrics::{Rgb, psnr};
//!
//! let original = Picture::gray(16, 16, vec![100; 256])?;
//! let coded = Picture::gray(16, 16, vec![101; 256])?;
//! assert!((psnr(&Rgb::new(&original), &Rgb::new(&coded))?.rgb - 48.13).abs() < 0.01);
//! # Ok::<(), aei::Error>(())
//! ```

mod bd_rate;
mod ms_ssim;
mod pchip;
mod psnr;

use std::borrow::Cow;

pub use bd_rate::{BdRate, bd_rate};
pub use ms_ssim::{MS_SSIM_MIN_SIDE, decibels, ms_ssim};
pub use psnr::{Psnr, psnr};

use crate::picture::samples::Sample;
use crate::{Channels, Error, Picture, Result, Samples};

/// A picture as the measures see it: red, green and blue. Gray becomes three equal channels, so that it can be compared with a copy in colour.
#[derive(Debug, Clone)]
pub struct Rgb<'a> {
    width: usize,
    height: usize,
    samples: Cow<'a, [u8]>,
    /// How much each pixel counts, of [`OPAQUE`]; empty where all count in full.
    opacity: Vec<u16>,
    /// Pixels that count at all.
    visible: usize,
}

impl<'a> Rgb<'a> {
    /// The samples of a picture as they are stored, whatever its orientation, as 8 bits each and without alpha.
    pub fn new(picture: &'a Picture) -> Self {
        let samples = match picture.channels() {
            Channels::Rgb => picture.samples(),
            Channels::Gray | Channels::GrayAlpha => {
                Cow::Owned(picture.samples().chunks_exact(picture.channels().count()).flat_map(|pixel| [pixel[0]; 3]).collect())
            }
            Channels::Rgba => Cow::Owned(picture.samples().as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect()),
        };
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Self { width, height, samples, opacity: Vec::new(), visible: width * height }
    }

    /// Two pictures as they are seen where they have alpha: colours over the same middle gray in both, so that a difference counts as much as its pixel is opaque,
    /// in that picture of the two where it is more so. Pixels that are wholly transparent in both are left out of the PSNR, whose mean is over the others.
    ///
    /// # Errors
    /// [`Error::Parameter`] if the pictures differ in size.
    pub fn visible(original: &'a Picture, coded: &'a Picture) -> Result<(Self, Self)> {
        let (mut a, mut b) = (Self::new(original), Self::new(coded));
        check_sizes(&a, &b)?;
        if !original.channels().has_alpha() || !coded.channels().has_alpha() {
            return Ok((a, b));
        }
        let opacity: Vec<u16> = (0..a.visible).map(|i| opacity(original, i).max(opacity(coded, i))).collect();
        a.visible = opacity.iter().filter(|alpha| **alpha > 0).count();
        b.visible = a.visible;
        b.opacity.clone_from(&opacity);
        a.opacity = opacity;
        Ok((a, b))
    }

    /// Red, green and blue of each pixel as it is seen, 0 to 255.
    fn pixels(&self) -> impl Iterator<Item = [f32; 3]> {
        self.samples.as_chunks::<3>().0.iter().enumerate().map(|(i, pixel)| {
            let part = self.part(i) as f32;
            pixel.map(|v| if part < 1.0 { GRAY + (f32::from(v) - GRAY) * part } else { f32::from(v) })
        })
    }

    /// How much a pixel counts, 0 to 1.
    fn part(&self, pixel: usize) -> f64 {
        self.opacity.get(pixel).map_or(1.0, |alpha| f64::from(*alpha) / OPAQUE)
    }

    /// One channel, as it is seen.
    fn plane(&self, channel: usize) -> Vec<f32> {
        self.pixels().map(|pixel| pixel[channel]).collect()
    }
}

/// The largest alpha of 16 bits.
const OPAQUE: f64 = 65535.0;
/// What is behind pictures with alpha.
const GRAY: f32 = 128.0;

/// Alpha of a pixel of a picture that has it, as 16 bits.
fn opacity(picture: &Picture, pixel: usize) -> u16 {
    let count = picture.channels().count();
    let alpha = pixel * count + count - 1;
    match picture.data() {
        Samples::U8(samples) => samples[alpha].to_u16(),
        Samples::U16(samples) => samples[alpha],
    }
}

/// Only pictures of one size can be compared.
fn check_sizes(a: &Rgb<'_>, b: &Rgb<'_>) -> Result<()> {
    if (a.width, a.height) != (b.width, b.height) {
        return Err(Error::Parameter(format!("pictures of different sizes cannot be compared: {}x{} and {}x{} pixels", a.width, a.height, b.width, b.height)));
    }
    Ok(())
}

/// SSIMULACRA 2, by the crate `ssimulacra2`. Samples are taken as sRGB. `None` for pictures with a side under 8 pixels, for which it is not defined.
///
/// # Errors
/// [`Error::Parameter`] if the pictures differ in size.
pub fn ssimulacra2(original: &Rgb<'_>, coded: &Rgb<'_>) -> Result<Option<f64>> {
    use ssimulacra2::{ColorPrimaries, TransferCharacteristic, compute_frame_ssimulacra2};
    check_sizes(original, coded)?;
    if original.width.min(original.height) < 8 {
        return Ok(None);
    }
    let convert = |picture: &Rgb<'_>| {
        let data = picture.pixels().map(|pixel| pixel.map(|v| v / 255.0)).collect();
        ssimulacra2::Rgb::new(data, picture.width, picture.height, TransferCharacteristic::SRGB, ColorPrimaries::BT709)
            .map_err(|e| Error::Parameter(format!("SSIMULACRA2: {e}")))
    };
    let score = compute_frame_ssimulacra2(convert(original)?, convert(coded)?).map_err(|e| Error::Parameter(format!("SSIMULACRA2: {e}")))?;
    Ok(Some(score))
}

#[cfg(test)]
mod tests;
