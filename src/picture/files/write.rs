//! Picture files from pictures.

use std::borrow::Cow;
use std::io::{Cursor, Write as _};

use image::codecs::bmp::BmpEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::qoi::QoiEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};
use tiff::TiffResult;
use tiff::encoder::colortype::{ColorType, Gray8, Gray16, RGB8, RGB16, RGBA8, RGBA16};
use tiff::encoder::{TiffEncoder, TiffValue};
use tiff::tags::{ExtraSamples, Tag};

use super::{FileFormat, Notice, colours, embed, one_line, profile};
use crate::picture::metadata::{set_upright, set_xmp_upright};
use crate::picture::orientation::turned;
use crate::picture::try_filled;
use crate::{Channels, Error, Metadata, Picture, Result, SampleDepth, Samples};

/// Of JPEG, 1 to 100. High, because the picture has been through one lossy codec already.
const JPEG_QUALITY: u8 = 95;
/// Largest side of a WebP picture.
const WEBP_MAX_SIDE: u32 = 16383;

/// Makes a picture file. The picture is turned upright, as [`Picture::orientation`] says, because not every format can state an orientation; the orientation
/// in EXIF becomes 1, and where the picture is turned, that in XMP too.
///
/// Gray stays gray, except where a format knows only colour (QOI, WebP) or has no gray with transparency (TIFF, BMP). JPEG is written at quality 95; all other formats keep the samples as they are, as far as they have
/// 16 bits (PNG, TIFF, PNM) and transparency (all but JPEG). [`write_notices`] tells what a format cannot keep.
///
/// # Errors
/// [`Error::Unsupported`] if the format cannot hold the picture, or cannot be written at all (GIF).
pub fn write_picture(picture: &Picture, format: FileFormat) -> Result<Vec<u8>> {
    let swap = picture.orientation().swaps_sides();
    let (width, height) = if swap { (picture.height(), picture.width()) } else { (picture.width(), picture.height()) };
    if format == FileFormat::Gif {
        return Err(Error::Unsupported("GIF is not written: it has no more than 256 colours; choose PNG".into()));
    }
    if format == FileFormat::WebP && (width > WEBP_MAX_SIDE || height > WEBP_MAX_SIDE) {
        return Err(Error::Unsupported(format!(
            "WebP holds at most {WEBP_MAX_SIDE}x{WEBP_MAX_SIDE} pixels, not {width}x{height}; choose another format, such as PNG"
        )));
    }
    let upright = picture.orientation() == crate::Orientation::Normal;
    let samples = if upright { Cow::Borrowed(picture.data()) } else { Cow::Owned(turned(picture)?) };
    let mut metadata = Cow::Borrowed(picture.metadata());
    if !upright {
        metadata.to_mut().xmp.as_deref_mut().map(set_xmp_upright);
    }
    let target = target_channels(picture.channels(), format);
    match (&*samples, has_16_bits(format)) {
        (Samples::U16(samples), true) => {
            let samples = convert(samples, picture.channels(), target, u16::MAX)?;
            write(bytemuck::cast_slice(&samples), width, height, target, SampleDepth::Sixteen, &metadata, format)
        }
        (samples, _) => {
            let samples = samples.to_u8();
            let samples = convert(&samples, picture.channels(), target, u8::MAX)?;
            write(&samples, width, height, target, SampleDepth::Eight, &metadata, format)
        }
    }
}

/// What [`write_picture`] cannot keep of a picture in a format.
pub fn write_notices(picture: &Picture, format: FileFormat) -> Vec<Notice> {
    let mut notices = Vec::new();
    if picture.depth() == SampleDepth::Sixteen && !has_16_bits(format) {
        notices.push(Notice::Rounded { format });
    }
    if picture.channels().has_alpha() && format == FileFormat::Jpeg {
        notices.push(Notice::Flattened { format });
    }
    let channels = target_channels(picture.channels(), format);
    let (given, kept) = (picture.metadata(), kept(picture.metadata(), channels, format));
    let misfit = given.icc.as_deref().is_some_and(|icc| profile::misfit(icc, channels).is_some());
    for (what, given, kept) in [("colour profile", &given.icc, kept.icc), ("EXIF block", &given.exif, kept.exif), ("XMP packet", &given.xmp, kept.xmp)] {
        if given.is_some() && kept.is_none() {
            let why = match format {
                _ if what == "colour profile" && has_profiles(format) && misfit => "it does not fit the channels of the picture as it is written".into(),
                FileFormat::Jpeg => "JPEG has no room for one so large".into(),
                _ => format!("{format} is written without"),
            };
            notices.push(Notice::LeftOut { what, why });
        }
    }
    notices
}

impl FileFormat {
    /// The channels and the depth with which [`write_picture`] writes a picture of such ones.
    pub fn written_as(self, channels: Channels, depth: SampleDepth) -> (Channels, SampleDepth) {
        (target_channels(channels, self), if has_16_bits(self) { depth } else { SampleDepth::Eight })
    }
}

fn has_16_bits(format: FileFormat) -> bool {
    matches!(format, FileFormat::Png | FileFormat::Tiff | FileFormat::Pnm)
}

fn has_profiles(format: FileFormat) -> bool {
    matches!(format, FileFormat::Png | FileFormat::Jpeg | FileFormat::WebP | FileFormat::Tiff)
}

/// The metadata that a format keeps, of a picture that is written with these channels.
pub(super) fn kept<'m>(metadata: &'m Metadata, channels: Channels, format: FileFormat) -> Kept<'m> {
    let jpeg = format == FileFormat::Jpeg;
    let small = |block: &'m Option<Vec<u8>>, most: usize| block.as_deref().filter(|block| !jpeg || block.len() <= most);
    let has_texts = matches!(format, FileFormat::Png | FileFormat::Jpeg | FileFormat::WebP);
    Kept {
        icc: small(&metadata.icc, embed::JPEG_ICC).filter(|icc| has_profiles(format) && profile::misfit(icc, channels).is_none()),
        exif: small(&metadata.exif, embed::JPEG_EXIF).filter(|_| has_texts),
        xmp: small(&metadata.xmp, embed::JPEG_XMP).filter(|_| has_texts),
    }
}

/// See [`kept`].
pub(super) struct Kept<'m> {
    pub(super) icc: Option<&'m [u8]>,
    pub(super) exif: Option<&'m [u8]>,
    pub(super) xmp: Option<&'m [u8]>,
}

/// The channels that a format has for those of a picture.
fn target_channels(channels: Channels, format: FileFormat) -> Channels {
    match (channels, format) {
        (_, FileFormat::Jpeg) => channels.without_alpha(),
        (Channels::Gray, FileFormat::Qoi | FileFormat::WebP) => Channels::Rgb,
        (Channels::GrayAlpha, FileFormat::Qoi | FileFormat::Tiff | FileFormat::Bmp | FileFormat::WebP) => Channels::Rgba,
        _ => channels,
    }
}

/// Brings samples to other channels: gray to colour, or transparency onto white.
fn convert<T: Copy + Default + Into<u64> + TryFrom<u64>>(samples: &[T], from: Channels, to: Channels, full: T) -> Result<Cow<'_, [T]>> {
    if from == to {
        return Ok(Cow::Borrowed(samples));
    }
    let (from_count, to_count) = (from.count(), to.count());
    let mut out = try_filled(samples.len() / from_count * to_count, T::default())?;
    let white: u64 = full.into();
    for (pixel, source) in out.chunks_exact_mut(to_count).zip(samples.chunks_exact(from_count)) {
        for (i, sample) in pixel[..to.without_alpha().count()].iter_mut().enumerate() {
            let v = source[if from.is_gray() { 0 } else { i }];
            *sample = if from.has_alpha() && !to.has_alpha() {
                let alpha: u64 = source[from_count - 1].into();
                T::try_from((v.into() * alpha + white * (white - alpha) + white / 2) / white).unwrap_or(full)
            } else {
                v
            };
        }
        if to.has_alpha() {
            pixel[to_count - 1] = source[from_count - 1];
        }
    }
    Ok(Cow::Owned(out))
}

fn write(samples: &[u8], width: u32, height: u32, channels: Channels, depth: SampleDepth, metadata: &Metadata, format: FileFormat) -> Result<Vec<u8>> {
    let colour = match (channels, depth) {
        (Channels::Gray, SampleDepth::Eight) => ExtendedColorType::L8,
        (Channels::GrayAlpha, SampleDepth::Eight) => ExtendedColorType::La8,
        (Channels::Rgb, SampleDepth::Eight) => ExtendedColorType::Rgb8,
        (Channels::Rgba, SampleDepth::Eight) => ExtendedColorType::Rgba8,
        (Channels::Gray, SampleDepth::Sixteen) => ExtendedColorType::L16,
        (Channels::GrayAlpha, SampleDepth::Sixteen) => ExtendedColorType::La16,
        (Channels::Rgb, SampleDepth::Sixteen) => ExtendedColorType::Rgb16,
        (Channels::Rgba, SampleDepth::Sixteen) => ExtendedColorType::Rgba16,
    };
    let kept = kept(metadata, channels, format);
    let exif = kept.exif.map(|exif| {
        let mut exif = exif.to_vec();
        set_upright(&mut exif);
        exif
    });
    let mut file = Vec::new();
    match format {
        FileFormat::Bmp => BmpEncoder::new(&mut file).write_image(samples, width, height, colour),
        FileFormat::Jpeg => with_metadata(JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY), kept.icc, exif)
            .and_then(|encoder| encoder.write_image(samples, width, height, colour)),
        FileFormat::Png => {
            // A fifth more bytes than the next level, in a fifteenth of its time, which would be more than decoding takes.
            let encoder = PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Adaptive);
            with_metadata(encoder, kept.icc, exif).and_then(|encoder| encoder.write_image(samples, width, height, colour))
        }
        FileFormat::Qoi => QoiEncoder::new(&mut file).write_image(samples, width, height, colour),
        FileFormat::Tiff => return tiff(samples, width, height, channels, depth, kept.icc),
        FileFormat::Gif | FileFormat::Pnm => return pnm(samples, width, height, channels, depth),
        FileFormat::WebP => return webp(samples, width, height, channels, &kept, exif),
    }
    .map_err(|e| write_error(e, format))?;
    match (kept.xmp, format) {
        (Some(xmp), FileFormat::Jpeg) => embed::xmp_in_jpeg(&mut file, xmp)?,
        (Some(xmp), FileFormat::Png) => embed::xmp_in_png(&mut file, xmp)?,
        _ => {}
    }
    if format == FileFormat::Png
        && let Some(code) = kept.icc.and_then(colours::code_in)
    {
        embed::code_in_png(&mut file, code)?;
    }
    Ok(file)
}

fn with_metadata<E: ImageEncoder>(mut encoder: E, icc: Option<&[u8]>, exif: Option<Vec<u8>>) -> std::result::Result<E, ImageError> {
    if let Some(icc) = icc {
        encoder.set_icc_profile(icc.to_vec()).map_err(ImageError::Unsupported)?;
    }
    if let Some(exif) = exif {
        encoder.set_exif_metadata(exif).map_err(ImageError::Unsupported)?;
    }
    Ok(encoder)
}

/// TIFF without compression. Its alpha has to be said to be one, and straight: readers take it for anything otherwise.
fn tiff(samples: &[u8], width: u32, height: u32, channels: Channels, depth: SampleDepth, icc: Option<&[u8]>) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let written = match (channels, depth) {
        (Channels::Gray, SampleDepth::Eight) => tiff_of::<Gray8>(&mut file, samples, width, height, false, icc),
        (Channels::Gray, SampleDepth::Sixteen) => tiff_of::<Gray16>(&mut file, bytemuck::cast_slice(samples), width, height, false, icc),
        (Channels::Rgb, SampleDepth::Eight) => tiff_of::<RGB8>(&mut file, samples, width, height, false, icc),
        (Channels::Rgb, SampleDepth::Sixteen) => tiff_of::<RGB16>(&mut file, bytemuck::cast_slice(samples), width, height, false, icc),
        // Gray with alpha has become colour.
        (Channels::GrayAlpha | Channels::Rgba, SampleDepth::Eight) => tiff_of::<RGBA8>(&mut file, samples, width, height, true, icc),
        (Channels::GrayAlpha | Channels::Rgba, SampleDepth::Sixteen) => tiff_of::<RGBA16>(&mut file, bytemuck::cast_slice(samples), width, height, true, icc),
    };
    written.map_err(|e| Error::Unsupported(format!("TIFF cannot hold this picture ({}); choose another format", one_line(&e))))?;
    Ok(file)
}

fn tiff_of<C: ColorType>(file: &mut Vec<u8>, samples: &[C::Inner], width: u32, height: u32, alpha: bool, icc: Option<&[u8]>) -> TiffResult<()>
where
    [C::Inner]: TiffValue,
{
    let mut encoder = TiffEncoder::new(Cursor::new(file))?;
    let mut image = encoder.new_image::<C>(width, height)?;
    if alpha {
        image.encoder().write_tag(Tag::ExtraSamples, &[ExtraSamples::UnassociatedAlpha.to_u16()][..])?;
    }
    if let Some(icc) = icc {
        image.encoder().write_tag(Tag::IccProfile, icc)?;
    }
    image.write_data(samples)
}

fn webp(samples: &[u8], width: u32, height: u32, channels: Channels, kept: &Kept<'_>, exif: Option<Vec<u8>>) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut encoder = image_webp::WebPEncoder::new(&mut file);
    if let Some(icc) = kept.icc {
        encoder.set_icc_profile(icc.to_vec());
    }
    if let Some(exif) = exif {
        encoder.set_exif_metadata(exif);
    }
    if let Some(xmp) = kept.xmp {
        encoder.set_xmp_metadata(xmp.to_vec());
    }
    let colour = if channels.has_alpha() { image_webp::ColorType::Rgba8 } else { image_webp::ColorType::Rgb8 };
    let cannot = |e| Error::Unsupported(format!("WebP cannot hold this picture ({}); choose another format", one_line(&e)));
    encoder.encode(samples, width, height, colour).map_err(cannot)?;
    Ok(file)
}

/// PGM and PPM, or PAM where there is transparency; samples of two bytes are big-endian in all.
fn pnm(samples: &[u8], width: u32, height: u32, channels: Channels, depth: SampleDepth) -> Result<Vec<u8>> {
    let header = pnm_header(width, height, channels, depth);
    let mut file = Vec::new();
    file.try_reserve_exact(header.len() + samples.len()).map_err(|_| Error::Limits("there is no memory for the picture file".into()))?;
    file.write_all(header.as_bytes())?;
    match depth {
        SampleDepth::Eight => file.extend_from_slice(samples),
        SampleDepth::Sixteen => samples.as_chunks::<2>().0.iter().for_each(|v| file.extend(u16::from_ne_bytes(*v).to_be_bytes())),
    }
    Ok(file)
}

pub(super) fn pnm_header(width: u32, height: u32, channels: Channels, depth: SampleDepth) -> String {
    let largest = (1u32 << depth.bits()) - 1;
    let pam = |kind: &str| format!("P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {}\nMAXVAL {largest}\nTUPLTYPE {kind}\nENDHDR\n", channels.count());
    match channels {
        Channels::Gray => format!("P5\n{width} {height}\n{largest}\n"),
        Channels::Rgb => format!("P6\n{width} {height}\n{largest}\n"),
        Channels::GrayAlpha => pam("GRAYSCALE_ALPHA"),
        Channels::Rgba => pam("RGB_ALPHA"),
    }
}

fn write_error(error: ImageError, format: FileFormat) -> Error {
    match error {
        ImageError::IoError(e) => Error::Io(e),
        ImageError::Limits(e) => Error::Limits(one_line(&e)),
        other => Error::Unsupported(format!("{format} cannot hold this picture ({}); choose another format", one_line(&other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transparency_goes_onto_white_by_hand() {
        let out = convert(&[100, 0, 200, 255, 100, 0, 200, 0, 0, 90, 255, 51u8], Channels::Rgba, Channels::Rgb, 255).unwrap();
        assert_eq!(out[..], [100, 0, 200, 255, 255, 255, 204, 222, 255]);
        assert_eq!(convert(&[9, 7u8], Channels::GrayAlpha, Channels::Rgba, 255).unwrap()[..], [9, 9, 9, 7]);
        assert_eq!(convert(&[9u8], Channels::Gray, Channels::Rgb, 255).unwrap()[..], [9, 9, 9]);
        assert_eq!(convert(&[0, 32768u16], Channels::GrayAlpha, Channels::Gray, 65535).unwrap()[..], [32767]);
    }
}
