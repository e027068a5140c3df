//! Luma and colour differences in TIFF files.

use std::io::{Read, Seek};

use tiff::decoder::Decoder;
use tiff::decoder::ifd::Value;
use tiff::tags::Tag;

/// How samples of luma and colour differences become colours (TIFF 6.0, section 21).
pub(super) struct YCbCr {
    /// What red, green and blue are of luma: the tag `YCbCrCoefficients`.
    luma: [f32; 3],
    /// Values of black and white, of each sample: the tag `ReferenceBlackWhite`.
    ends: [f32; 6],
}

impl YCbCr {
    /// `None` if the file says something that cannot be.
    pub(super) fn of<R: Read + Seek>(decoder: &mut Decoder<R>) -> Option<Self> {
        // ITU-R BT.601, all of the range: what TIFF says of coefficients where nothing is said, and what JPEG means by samples.
        const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
        const ENDS: [f32; 6] = [0.0, 255.0, 128.0, 255.0, 128.0, 255.0];
        let luma: [f32; 3] = ratios(decoder, 529, LUMA)?;
        let ends: [f32; 6] = ratios(decoder, 532, ENDS)?;
        let possible = luma.iter().all(|l| (0.01..1.0).contains(l)) && ends.chunks_exact(2).all(|ends| ends[1] - ends[0] >= 1.0);
        possible.then_some(Self { luma, ends })
    }

    /// In place, three samples a pixel.
    pub(super) fn to_rgb(&self, samples: &mut [u8]) {
        let [red, green, blue] = self.luma;
        let at = |v: u8, ends: &[f32], full: f32| (f32::from(v) - ends[0]) * full / (ends[1] - ends[0]);
        for pixel in samples.as_chunks_mut::<3>().0 {
            let y = at(pixel[0], &self.ends[..2], 255.0);
            let (cb, cr) = (at(pixel[1], &self.ends[2..4], 127.0), at(pixel[2], &self.ends[4..], 127.0));
            let (r, b) = (y + cr * (2.0 - 2.0 * red), y + cb * (2.0 - 2.0 * blue));
            *pixel = [r, (y - red * r - blue * b) / green, b].map(|v| (v + 0.5) as u8);
        }
    }
}

/// The ratios of a tag, or what holds without it; `None` if it holds something else.
fn ratios<R: Read + Seek, const N: usize>(decoder: &mut Decoder<R>, tag: u16, default: [f32; N]) -> Option<[f32; N]> {
    let ratio = |value| match value {
        Value::Rational(above, below) => Some(above as f32 / below as f32).filter(|v| v.is_finite()),
        // Some programs write whole numbers.
        other => other.into_u16().ok().map(f32::from),
    };
    match decoder.find_tag(Tag::Unknown(tag)).ok()? {
        None => Some(default),
        Some(Value::List(values)) => values.into_iter().map(ratio).collect::<Option<Vec<_>>>()?.try_into().ok(),
        Some(_) => None,
    }
}
