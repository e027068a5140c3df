//! From the samples of the `image` crate to those of a picture: 8 bits, without alpha.

use image::ColorType;

use crate::{Channels, Error, Result};

/// Samples as [`crate::Picture`] wants them.
pub(super) struct Converted {
    pub(super) samples: Vec<u8>,
    pub(super) channels: Channels,
    /// There was an alpha channel, opaque everywhere.
    pub(super) had_alpha: bool,
}

/// Refuses what [`convert`] has no way to convert, before it is read.
pub(super) fn check(colour: ColorType) -> Result<()> {
    match colour {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 | ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => Ok(()),
        _ => Err(Error::Unsupported("the picture has 32-bit or floating-point samples; convert it to 8 or 16 bits first".into())),
    }
}

/// Converts in place: the buffer is the largest thing in memory while a picture is read.
pub(super) fn convert(mut samples: Vec<u8>, colour: ColorType) -> Result<Converted> {
    check(colour)?;
    if colour.bytes_per_pixel() > colour.channel_count() {
        round_to_8_bits(&mut samples);
    }
    if colour.has_alpha() {
        let opaque = if colour.has_color() { drop_opaque_alpha::<4>(&mut samples) } else { drop_opaque_alpha::<2>(&mut samples) };
        if !opaque {
            return Err(Error::Unsupported(
                "the picture has transparency, which aei cannot store yet; flatten it onto a background first (for example: magick IN -background white -flatten OUT.png)".into(),
            ));
        }
    }
    samples.shrink_to_fit();
    let channels = if colour.has_color() { Channels::Rgb } else { Channels::Gray };
    Ok(Converted { samples, channels, had_alpha: colour.has_alpha() })
}

/// `v * 255 / 65535`, to the nearest; 65535 is 257 * 255.
fn round_to_8_bits(samples: &mut Vec<u8>) {
    let len = samples.len() / 2;
    for i in 0..len {
        let wide = u16::from_ne_bytes([samples[2 * i], samples[2 * i + 1]]);
        samples[i] = ((u32::from(wide) + 128) / 257) as u8;
    }
    samples.truncate(len);
}

/// Removes the last of every `N` samples if it is 255 everywhere, otherwise does nothing and returns false.
fn drop_opaque_alpha<const N: usize>(samples: &mut Vec<u8>) -> bool {
    if samples.as_chunks::<N>().0.iter().any(|pixel| pixel[N - 1] != 255) {
        return false;
    }
    let pixels = samples.len() / N;
    for i in 0..pixels {
        samples.copy_within(i * N..i * N + N - 1, i * (N - 1));
    }
    samples.truncate(pixels * (N - 1));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_are_rounded_to_the_nearest() {
        let wide: Vec<u16> = (0..=65535).collect();
        let mut samples: Vec<u8> = wide.iter().flat_map(|v| v.to_ne_bytes()).collect();
        round_to_8_bits(&mut samples);
        for (v, got) in wide.iter().zip(&samples) {
            let exact = f64::from(*v) * 255.0 / 65535.0;
            assert!((f64::from(*got) - exact).abs() <= 0.5, "{v} became {got}");
        }
    }

    #[test]
    fn opaque_alpha_goes_and_other_alpha_is_refused() {
        let opaque = convert(vec![1, 2, 3, 255, 4, 5, 6, 255], ColorType::Rgba8).unwrap();
        assert_eq!((opaque.samples.as_slice(), opaque.channels, opaque.had_alpha), (&[1, 2, 3, 4, 5, 6][..], Channels::Rgb, true));
        let gray = convert(vec![9, 255, 8, 255], ColorType::La8).unwrap();
        assert_eq!((gray.samples.as_slice(), gray.channels), (&[9, 8][..], Channels::Gray));
        let wide: Vec<u8> = [257u16 * 7, 65535].iter().flat_map(|v| v.to_ne_bytes()).collect();
        assert_eq!(convert(wide, ColorType::La16).unwrap().samples, [7]);
        assert!(matches!(convert(vec![1, 2, 3, 254], ColorType::Rgba8), Err(Error::Unsupported(_))));
        assert!(matches!(convert(vec![0; 4], ColorType::Rgb32F), Err(Error::Unsupported(_))));
    }
}
