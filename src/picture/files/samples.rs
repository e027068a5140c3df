//! From what the `image` crate decodes to the samples of a picture.

use image::{ColorType, ImageDecoder, ImageResult};

use crate::picture::try_filled;
use crate::{Channels, Error, Result, Samples};

/// The channels of a colour type, and whether its samples have 16 bits. Refuses what a picture cannot hold, before it is read.
pub(super) fn kind(colour: ColorType) -> Result<(Channels, bool)> {
    Ok(match colour {
        ColorType::L8 => (Channels::Gray, false),
        ColorType::La8 => (Channels::GrayAlpha, false),
        ColorType::Rgb8 => (Channels::Rgb, false),
        ColorType::Rgba8 => (Channels::Rgba, false),
        ColorType::L16 => (Channels::Gray, true),
        ColorType::La16 => (Channels::GrayAlpha, true),
        ColorType::Rgb16 => (Channels::Rgb, true),
        ColorType::Rgba16 => (Channels::Rgba, true),
        _ => return Err(Error::Unsupported("the picture has 32-bit or floating-point samples; convert it to 8 or 16 bits first".into())),
    })
}

/// Reads the samples, `bytes` of them.
pub(super) fn read(decoder: impl ImageDecoder, bytes: usize, wide: bool) -> Result<ImageResult<Samples>> {
    Ok(if wide {
        let mut samples = try_filled(bytes / 2, 0u16)?;
        decoder.read_image(bytemuck::cast_slice_mut(&mut samples)).map(|()| Samples::U16(samples))
    } else {
        let mut samples = try_filled(bytes, 0u8)?;
        decoder.read_image(&mut samples).map(|()| Samples::U8(samples))
    })
}

/// Straight samples from colours that are multiplied by alpha: each is divided by it, to the nearest. What is transparent is black.
pub(super) fn divided_by_alpha(samples: Samples, channels: Channels) -> Samples {
    match samples {
        Samples::U8(mut samples) if channels.has_alpha() => {
            divide(&mut samples, channels.count(), 255);
            Samples::U8(samples)
        }
        Samples::U16(mut samples) if channels.has_alpha() => {
            divide(&mut samples, channels.count(), 65535);
            Samples::U16(samples)
        }
        other => other,
    }
}

fn divide<T: Copy + Default + Into<u32> + TryFrom<u32>>(samples: &mut [T], count: usize, full: u32) {
    for pixel in samples.chunks_exact_mut(count) {
        let Some((alpha, colours)) = pixel.split_last_mut() else { continue };
        let alpha = u64::from((*alpha).into());
        for sample in colours {
            let straight = (u64::from((*sample).into()) * u64::from(full) + alpha / 2).checked_div(alpha).unwrap_or(0);
            *sample = T::try_from(straight.min(full.into()) as u32).unwrap_or_default();
        }
    }
}

/// Takes an alpha channel away that is opaque everywhere.
pub(super) fn without_opaque_alpha(samples: Samples, channels: Channels) -> (Samples, Channels) {
    match samples {
        Samples::U8(mut samples) if channels.has_alpha() => {
            let dropped = if channels.is_gray() { drop_opaque::<2>(&mut samples) } else { drop_opaque::<4>(&mut samples) };
            (Samples::U8(samples), if dropped { channels.without_alpha() } else { channels })
        }
        other => (other, channels),
    }
}

/// Removes the last of every `N` samples if it is 255 everywhere, otherwise does nothing and returns false.
fn drop_opaque<const N: usize>(samples: &mut Vec<u8>) -> bool {
    if samples.as_chunks::<N>().0.iter().any(|pixel| pixel[N - 1] != 255) {
        return false;
    }
    let pixels = samples.len() / N;
    for i in 0..pixels {
        samples.copy_within(i * N..i * N + N - 1, i * (N - 1));
    }
    samples.truncate(pixels * (N - 1));
    samples.shrink_to_fit();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_alpha_goes_and_other_alpha_stays() {
        let opaque = without_opaque_alpha(vec![1, 2, 3, 255, 4, 5, 6, 255u8].into(), Channels::Rgba);
        assert_eq!(opaque, (vec![1, 2, 3, 4, 5, 6u8].into(), Channels::Rgb));
        assert_eq!(without_opaque_alpha(vec![9, 255, 8, 255u8].into(), Channels::GrayAlpha), (vec![9, 8u8].into(), Channels::Gray));
        assert_eq!(without_opaque_alpha(vec![1, 2, 3, 254u8].into(), Channels::Rgba).1, Channels::Rgba);
        assert_eq!(without_opaque_alpha(vec![1, 2, 255u8].into(), Channels::Rgb).0.len(), 3);
    }

    #[test]
    fn premultiplied_colours_by_hand() {
        let eight = divided_by_alpha(vec![38, 48, 58, 109, 9, 9, 9, 0, 200, 1, 0, 100, 7, 8, 9, 255u8].into(), Channels::Rgba);
        assert_eq!(eight, vec![89, 112, 136, 109, 0, 0, 0, 0, 255, 3, 0, 100, 7, 8, 9, 255u8].into());
        assert_eq!(divided_by_alpha(vec![1000, 32768u16].into(), Channels::GrayAlpha), vec![2000, 32768u16].into());
        assert_eq!(divided_by_alpha(vec![1, 2, 3u8].into(), Channels::Rgb), vec![1, 2, 3u8].into());
    }

    #[test]
    fn floating_point_is_refused() {
        assert!(matches!(kind(ColorType::Rgb32F), Err(Error::Unsupported(_))));
    }
}
