//! Colours of ink, converted to sRGB: by the file's own colour profile where it has one, otherwise by the simple rule that every program has.

use std::io::Cursor;

use moxcms::{ColorProfile, Layout, TransformOptions};
use tiff::decoder::{Decoder as TiffDecoder, DecodingResult};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{FileFormat, damaged, not_read, one_line, profile, tiff_samples, tiff_tags};
use crate::picture::try_filled;
use crate::{Limits, Result, Samples};

/// Reads a JPEG or TIFF file's inks and converts them. `profile` is the file's. Tells whether it was used.
pub(super) fn read(bytes: &[u8], format: FileFormat, icc: Option<&[u8]>, limits: &Limits) -> Result<(Samples, bool)> {
    let inks = if format == FileFormat::Jpeg { jpeg(bytes)? } else { tiff(bytes, limits)? };
    let profile = icc.filter(|icc| profile::is_cmyk(icc)).and_then(|icc| ColorProfile::new_from_slice(icc).ok());
    let (srgb, options) = (ColorProfile::new_srgb(), TransformOptions::default());
    let unusable = |e| not_read(format, &format!("its colour profile cannot be used: {}", one_line(&e)));
    // A layout of four channels is CMYK where the profile is.
    Ok(match (inks, profile) {
        (Samples::U8(inks), Some(profile)) => {
            let transform = profile.create_transform_8bit(Layout::Rgba, &srgb, Layout::Rgb, options).map_err(unusable)?;
            let mut out = try_filled(inks.len() / 4 * 3, 0)?;
            transform.transform(&inks, &mut out).map_err(unusable)?;
            (out.into(), true)
        }
        (Samples::U16(inks), Some(profile)) => {
            let transform = profile.create_transform_16bit(Layout::Rgba, &srgb, Layout::Rgb, options).map_err(unusable)?;
            let mut out = try_filled(inks.len() / 4 * 3, 0)?;
            transform.transform(&inks, &mut out).map_err(unusable)?;
            (out.into(), true)
        }
        (Samples::U8(inks), None) => (plain(&inks, 255)?.into(), false),
        (Samples::U16(inks), None) => (plain(&inks, 65535)?.into(), false),
    })
}

/// Each ink, and black, take their share of the light.
fn plain<T: Copy + Default + Into<u32> + TryFrom<u32>>(inks: &[T], full: u32) -> Result<Vec<T>> {
    let mut out = try_filled(inks.len() / 4 * 3, T::default())?;
    for (pixel, ink) in out.as_chunks_mut::<3>().0.iter_mut().zip(inks.as_chunks::<4>().0) {
        let light = u64::from(full - ink[3].into());
        for (sample, ink) in pixel.iter_mut().zip(ink) {
            let v = (u64::from(full - (*ink).into()) * light + u64::from(full) / 2) / u64::from(full);
            *sample = T::try_from(v as u32).unwrap_or_default();
        }
    }
    Ok(out)
}

/// Amounts of ink, 255 for all there can be. JPEG files have them the other way round, as Adobe's programs started it.
fn jpeg(bytes: &[u8]) -> Result<Samples> {
    let format = FileFormat::Jpeg;
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| damaged(format, &one_line(&e)))?;
    let stored = decoder.input_colorspace().filter(|space| matches!(space, ColorSpace::CMYK | ColorSpace::YCCK));
    let stored = stored.ok_or_else(|| not_read(format, "four components of an unknown kind"))?;
    decoder.set_options(options.jpeg_set_out_colorspace(stored));
    let size = decoder.output_buffer_size().ok_or_else(|| damaged(format, "its size is unknown"))?;
    let mut inks = try_filled(size, 0)?;
    decoder.decode_into(&mut inks).map_err(|e| damaged(format, &one_line(&e)))?;
    for pixel in inks.as_chunks_mut::<4>().0 {
        if stored == ColorSpace::YCCK {
            // What comes out of the usual matrix are the amounts of ink.
            let [y, cb, cr, black] = pixel.map(i32::from);
            let (cb, cr) = (cb - 128, cr - 128);
            let ink = [(y << 16) + 91881 * cr, (y << 16) - 22554 * cb - 46802 * cr, (y << 16) + 116_130 * cb].map(|v| ((v + 32768) >> 16).clamp(0, 255) as u8);
            *pixel = [ink[0], ink[1], ink[2], 255 - black as u8];
        } else {
            *pixel = pixel.map(|v| 255 - v);
        }
    }
    Ok(inks.into())
}

fn tiff(bytes: &[u8], limits: &Limits) -> Result<Samples> {
    let format = FileFormat::Tiff;
    let wrong = |e| tiff_samples::error(e, limits);
    let mut decoder = TiffDecoder::new(Cursor::new(bytes)).map_err(wrong)?.with_limits(tiff_tags::bounds(limits));
    if decoder.image_buffer_layout().map_err(wrong)?.planes > 1 {
        return Err(not_read(format, "CMYK in separate planes"));
    }
    match decoder.read_image().map_err(wrong)? {
        DecodingResult::U8(inks) => Ok(inks.into()),
        DecodingResult::U16(inks) => Ok(inks.into()),
        _ => Err(not_read(format, "CMYK of another depth than 8 or 16 bits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inks_take_light_away() {
        let full = plain(&[0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255, 0, 128, 255, 51u8], 255).unwrap();
        assert_eq!(full, [255, 255, 255, 0, 255, 255, 0, 0, 0, 204, 102, 0]);
        assert_eq!(plain(&[0, 32768, 65535, 0u16], 65535).unwrap(), [65535, 32767, 0]);
    }
}
