//! Picture files from pictures.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::bmp::BmpEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::pnm::{PnmEncoder, PnmSubtype, SampleEncoding};
use image::codecs::qoi::QoiEncoder;
use image::codecs::tiff::TiffEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};

use super::{FileFormat, one_line};
use crate::picture::orientation::turned;
use crate::picture::try_filled;
use crate::{Channels, Error, Picture, Result};

/// Of JPEG, 1 to 100. High, because the picture has been through one lossy codec already.
const JPEG_QUALITY: u8 = 95;
/// Largest side of a WebP picture.
const WEBP_MAX_SIDE: u32 = 16383;

/// Makes a picture file. The picture is turned upright, as [`Picture::orientation`] says, because not every format can state an orientation.
///
/// Gray stays gray, except in QOI, which knows only colour. JPEG is written at quality 95; all other formats keep the samples as they are.
///
/// # Errors
/// [`Error::Unsupported`] if the format cannot hold the picture, or cannot be written at all (GIF).
pub fn write_picture(picture: &Picture, format: FileFormat) -> Result<Vec<u8>> {
    let swap = picture.orientation().swaps_sides();
    let (width, height) = if swap { (picture.height(), picture.width()) } else { (picture.width(), picture.height()) };
    let upright = picture.orientation() == crate::Orientation::Normal;
    let samples = if upright { Cow::Borrowed(picture.samples()) } else { Cow::Owned(turned(picture)?) };
    let (samples, colour) = match picture.channels() {
        Channels::Gray if format == FileFormat::Qoi => (Cow::Owned(gray_as_rgb(&samples)?), ExtendedColorType::Rgb8),
        Channels::Gray => (samples, ExtendedColorType::L8),
        Channels::Rgb => (samples, ExtendedColorType::Rgb8),
    };
    if format == FileFormat::WebP && (width > WEBP_MAX_SIDE || height > WEBP_MAX_SIDE) {
        return Err(Error::Unsupported(format!(
            "WebP holds at most {WEBP_MAX_SIDE}x{WEBP_MAX_SIDE} pixels, not {width}x{height}; choose another format, such as PNG"
        )));
    }

    let mut file = Vec::new();
    match format {
        FileFormat::Bmp => BmpEncoder::new(&mut file).write_image(&samples, width, height, colour),
        FileFormat::Gif => return Err(Error::Unsupported("GIF is not written: it has no more than 256 colours; choose PNG".into())),
        FileFormat::Jpeg => JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY).write_image(&samples, width, height, colour),
        FileFormat::Png => {
            // A fifth more bytes than the next level, in a fifteenth of its time, which would be more than decoding takes.
            let encoder = PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Adaptive);
            encoder.write_image(&samples, width, height, colour)
        }
        FileFormat::Pnm => {
            let subtype = match picture.channels() {
                Channels::Gray => PnmSubtype::Graymap(SampleEncoding::Binary),
                Channels::Rgb => PnmSubtype::Pixmap(SampleEncoding::Binary),
            };
            PnmEncoder::new(&mut file).with_subtype(subtype).write_image(&samples, width, height, colour)
        }
        FileFormat::Qoi => QoiEncoder::new(&mut file).write_image(&samples, width, height, colour),
        FileFormat::Tiff => TiffEncoder::new(Cursor::new(&mut file)).write_image(&samples, width, height, colour),
        FileFormat::WebP => WebPEncoder::new_lossless(&mut file).write_image(&samples, width, height, colour),
    }
    .map_err(|e| write_error(e, format))?;
    Ok(file)
}

fn gray_as_rgb(samples: &[u8]) -> Result<Vec<u8>> {
    let mut rgb = try_filled(samples.len() * 3, 0)?;
    for (pixel, gray) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(samples) {
        pixel.fill(*gray);
    }
    Ok(rgb)
}

fn write_error(error: ImageError, format: FileFormat) -> Error {
    match error {
        ImageError::IoError(e) => Error::Io(e),
        ImageError::Limits(e) => Error::Limits(one_line(&e)),
        other => Error::Unsupported(format!("{format} cannot hold this picture ({}); choose another format", one_line(&other))),
    }
}
