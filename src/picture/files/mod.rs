//! Picture files other than aei's own, through the `image` crate.

mod cmyk;
mod colours;
mod embed;
mod format;
mod headers;
mod notice;
mod profile;
mod rows;
mod samples;
mod tiff_jpeg;
mod tiff_samples;
mod tiff_tags;
mod tiff_ycbcr;
mod write;

use std::error::Error as _;
use std::fmt;
use std::io::{Cursor, ErrorKind};

use image::{ExtendedColorType, ImageDecoder, ImageError, ImageReader, ImageResult};

use super::{MAX_SIDE, Metadata, Orientation, Picture};
use crate::{Channels, Error, Limits, Result};
pub use format::FileFormat;
use headers::Headers;
pub use notice::Notice;
pub use rows::{PictureRows, write_rows, write_rows_with};
use tiff_samples::TiffSamples;
pub use write::{write_notices, write_picture};

/// Reads a picture file: PNG, JPEG, WebP, TIFF, BMP, PNM, GIF or QOI, recognised by its content. Default [`Limits`] are in force;
/// [`Picture::from_file_bytes`] takes others.
///
/// Gray stays gray. Palettes become RGB, CMYK becomes sRGB. Samples of fewer than 8 bits are scaled to 8, those of 9 to 15 to 16. Transparency and metadata
/// are kept. Samples are not turned: [`Picture::orientation`] tells what the file says about that.
///
/// # Errors
/// - [`Error::Format`] if the file is damaged or of no known kind; [`FormatError::rule`](crate::FormatError::rule) is the name of its format then.
/// - [`Error::Unsupported`] for what a [`Picture`] cannot hold: floating-point samples, sides above 65535 pixels; and for kinds of files that are not read.
/// - [`Error::Limits`] if the picture has more pixels, or needs more memory to be read, than the limits allow.
pub fn read_picture(bytes: &[u8]) -> Result<(Picture, Vec<Notice>)> {
    read(bytes, &Limits::default())
}

impl Picture {
    /// As [`read_picture`], with limits of the caller's choice.
    ///
    /// # Errors
    /// As [`read_picture`].
    pub fn from_file_bytes(bytes: &[u8], limits: &Limits) -> Result<(Self, Vec<Notice>)> {
        read(bytes, limits)
    }
}

fn read(bytes: &[u8], limits: &Limits) -> Result<(Picture, Vec<Notice>)> {
    let format = format::require(bytes)?;
    let mut headers = Headers::read(format, bytes);
    if let Some(what) = headers.damage {
        return Err(damaged(format, what));
    }
    if let Some(what) = headers.unknown_coding {
        return Err(not_read(format, what));
    }

    if format == FileFormat::Tiff
        && let Some(wrong) = tiff_jpeg::wrong(bytes, limits)
    {
        return Err(wrong);
    }
    if let Some(file) = headers.photometric.and_then(|at| TiffSamples::open(bytes, at, limits)) {
        return read_unusual_tiff(bytes, file, headers, limits);
    }
    if format == FileFormat::Tiff
        && let Some(what) = tiff_samples::misread(bytes)
    {
        return Err(not_read(format, what));
    }

    let mut allowed = image::Limits::no_limits();
    allowed.max_alloc = Some(limits.max_memory);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.to_image());
    reader.limits(if format == FileFormat::Png { head_of_png(limits) } else { allowed.clone() });
    let mut decoder = reader.into_decoder().map_err(|e| head_error(e, format, limits))?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, format, limits)?;
    let colour = decoder.color_type();
    headers.cmyk |= matches!(decoder.original_color_type(), ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16);
    let (mut channels, wide) = samples::kind(colour)?;

    // What the samples take is no longer there for the decoder's own needs.
    let total = decoder.total_bytes();
    let len = usize::try_from(total).ok().filter(|_| total <= limits.max_memory).ok_or_else(|| too_much_memory(limits))?;
    allowed.max_alloc = Some(limits.max_memory - total);
    decoder.set_limits(allowed).map_err(|e| read_error(e, format, limits))?;
    let mut notices = Vec::new();
    let mut metadata = match format {
        FileFormat::Tiff => tiff_tags::metadata(bytes, limits),
        _ => metadata(&mut decoder, &headers, &mut notices),
    };
    let orientation = orientation(&mut decoder, format, &metadata).map_err(|e| read_error(e, format, limits))?;
    let samples = if headers.cmyk {
        drop(decoder);
        // Inks and colours are in memory at the same time.
        if total / 3 * 7 > limits.max_memory {
            return Err(too_much_memory(limits));
        }
        let (samples, by_profile) = cmyk::read(bytes, format, metadata.icc.take().as_deref(), limits)?;
        notices.push(Notice::Cmyk { by_profile });
        samples
    } else {
        let samples = samples::read(decoder, len, wide)?.map_err(|e| read_error(e, format, limits))?;
        let samples = if headers.premultiplied { samples::divided_by_alpha(samples, channels) } else { samples };
        // A GIF has no alpha channel; that is only how its decoder shows transparency.
        if format == FileFormat::Gif {
            let (samples, left) = samples::without_opaque_alpha(samples, channels);
            channels = left;
            samples
        } else {
            samples
        }
    };

    let picture = Picture::from_samples(width, height, channels, samples)?.with_orientation(orientation).with_metadata(metadata);
    finish(picture, &headers, limits, notices)
}

/// TIFF that the `image` crate does not read, or not right.
fn read_unusual_tiff(bytes: &[u8], file: TiffSamples<'_>, mut headers: Headers, limits: &Limits) -> Result<(Picture, Vec<Notice>)> {
    let (width, height, channels, orientation, premultiplied) = (file.width, file.height, file.channels, file.orientation, file.premultiplied);
    headers.depth = file.depth;
    if file.more_channels {
        headers.left_out.push("set of further channels");
    }
    let samples = file.read(limits)?;
    let samples = if premultiplied { samples::divided_by_alpha(samples, channels) } else { samples };
    let picture = Picture::from_samples(width, height, channels, samples)?.with_orientation(orientation).with_metadata(tiff_tags::metadata(bytes, limits));
    finish(picture, &headers, limits, Vec::new())
}

/// A picture with the metadata that fit it, and with what there is to tell.
fn finish(mut picture: Picture, headers: &Headers, limits: &Limits, mut notices: Vec<Notice>) -> Result<(Picture, Vec<Notice>)> {
    picture.metadata = fitting(picture.metadata, headers, picture.channels, limits, &mut notices)?;
    if headers.incomplete {
        notices.push(Notice::Incomplete);
    }
    if headers.pictures > 1 {
        notices.push(Notice::FirstOfSeveral { pictures: headers.pictures });
    }
    let depth = headers.depth.unwrap_or_else(|| picture.depth().bits());
    Ok((picture.with_source_depth(depth)?, notices))
}

/// Colour profile, EXIF and XMP, as far as they can be read.
fn metadata(decoder: &mut impl ImageDecoder, headers: &Headers, notices: &mut Vec<Notice>) -> Metadata {
    let mut take = |what, read: ImageResult<Option<Vec<u8>>>| match read {
        Ok(block) => block.filter(|block| !block.is_empty()),
        Err(_) => {
            notices.push(Notice::LeftOut { what, why: "it is damaged or too large".into() });
            None
        }
    };
    let icc = take("colour profile", decoder.icc_profile()).or_else(|| headers.own_icc.clone());
    let exif = take("EXIF block", decoder.exif_metadata()).or_else(|| headers.late_exif.clone());
    // Some programs put JPEG's prefix into WebP and PNG as well.
    let exif = exif.map(|exif| exif.strip_prefix(b"Exif\0\0").map(<[u8]>::to_vec).unwrap_or(exif));
    let xmp = take("XMP packet", decoder.xmp_metadata()).or_else(|| headers.late_xmp.clone());
    Metadata { icc, exif, xmp }
}

/// What may be allocated for a PNG file's chunks in front of the pixels: a profile or a text may unpack to a thousand times what it is in the file.
fn head_of_png(limits: &Limits) -> image::Limits {
    let mut allowed = image::Limits::no_limits();
    allowed.max_alloc = Some(limits.max_memory.min(limits.max_metadata_bytes.saturating_mul(2)));
    allowed
}

/// What is wrong with a file in front of its pixels. Of PNG, it is the chunks there that are too large, see [`head_of_png`].
fn head_error(error: ImageError, format: FileFormat, limits: &Limits) -> Error {
    let allowed = head_of_png(limits).max_alloc.unwrap_or(u64::MAX);
    match error {
        ImageError::Limits(_) if format == FileFormat::Png && allowed < limits.max_memory => too_much_metadata(limits),
        other => read_error(other, format, limits),
    }
}

fn check_size(width: u32, height: u32, format: FileFormat, limits: &Limits) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(damaged(format, &format!("it claims {width}x{height} pixels")));
    }
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(Error::Unsupported(format!("the picture has {width}x{height} pixels; aei stores sides of up to {MAX_SIDE}")));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits.max_pixels {
        return Err(Error::Limits(format!("the picture has {width}x{height} = {pixels} pixels, more than the limit of {}", limits.max_pixels)));
    }
    Ok(())
}

/// Metadata with the colour profile that counts, without one that does not fit, and no more than is allowed.
fn fitting(mut metadata: Metadata, headers: &Headers, channels: Channels, limits: &Limits, notices: &mut Vec<Notice>) -> Result<Metadata> {
    notices.extend(headers.left_out.iter().map(|what| Notice::LeftOut { what, why: "aei has no place for it".into() }));
    if headers.profile && metadata.icc.is_none() && !headers.cmyk {
        notices.push(Notice::LeftOut { what: "colour profile", why: "it is damaged or too large".into() });
    }
    if headers.exif && metadata.exif.is_none() {
        notices.push(Notice::LeftOut { what: "EXIF block", why: "it is damaged or too large".into() });
    }
    if let Some(why) = metadata.icc.as_deref().and_then(|icc| profile::misfit(icc, channels)) {
        metadata.icc = None;
        notices.push(Notice::LeftOut { what: "colour profile", why });
    }
    // In PNG's order of precedence.
    let stated = headers.code.or(headers.measured.filter(|_| metadata.icc.is_none()));
    let same = metadata.icc.as_deref().and_then(colours::code_in).map(colours::Stated::Code);
    if let Some(stated) = stated.filter(|stated| Some(*stated) != same) {
        let made = stated.to_profile(channels.is_gray());
        if made.is_none() && !stated.is_srgb() {
            notices.push(Notice::Colours { stated: stated.to_string() });
        } else if metadata.icc.take().is_some() {
            notices.push(Notice::LeftOut { what: "colour profile", why: format!("what counts in PNG is {stated}") });
        }
        // Samples without a profile are sRGB.
        metadata.icc = metadata.icc.or(made.filter(|_| !stated.is_srgb()));
    }
    if metadata.total_bytes() > limits.max_metadata_bytes {
        return Err(too_much_metadata(limits));
    }
    Ok(metadata)
}

fn png_colour(channels: Channels) -> png::ColorType {
    match channels {
        Channels::Gray => png::ColorType::Grayscale,
        Channels::GrayAlpha => png::ColorType::GrayscaleAlpha,
        Channels::Rgb => png::ColorType::Rgb,
        Channels::Rgba => png::ColorType::Rgba,
    }
}

/// Which way up the picture is.
fn orientation(decoder: &mut impl ImageDecoder, format: FileFormat, metadata: &Metadata) -> std::result::Result<Orientation, ImageError> {
    let found = match format {
        FileFormat::Tiff => Orientation::from_exif(decoder.orientation()?.to_exif()),
        _ => metadata.orientation(),
    };
    Ok(found.unwrap_or_default())
}

fn too_much_memory(limits: &Limits) -> Error {
    Error::Limits(format!("reading the picture needs more memory than the limit of {} MiB", limits.max_memory >> 20))
}

fn too_much_metadata(limits: &Limits) -> Error {
    Error::Limits(format!("the file has more than the {} bytes of metadata allowed", limits.max_metadata_bytes))
}

fn not_read(format: FileFormat, what: &str) -> Error {
    Error::Unsupported(format!("this kind of {format} file is not read ({what}); convert it to PNG first"))
}

fn damaged(format: FileFormat, what: &str) -> Error {
    Error::format(format.name(), format!("the file is damaged: {what}"))
}

fn read_error(error: ImageError, format: FileFormat, limits: &Limits) -> Error {
    match error {
        ImageError::Limits(_) => too_much_memory(limits),
        ImageError::Unsupported(e) => not_read(format, &one_line(&e)),
        // There is no device to fail: the bytes are in memory.
        ImageError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => Error::format(format.name(), "the file is truncated"),
        ImageError::Decoding(e) => damaged(format, &e.source().map_or_else(|| one_line(&e), |source| one_line(&source))),
        other => damaged(format, &one_line(&other)),
    }
}

/// Other crates' messages may have line breaks, quotation marks, full stops, and whole structures at their end.
fn one_line(message: &dyn fmt::Display) -> String {
    const LONGEST: usize = 160;
    let message = message.to_string();
    let words: Vec<&str> = message.split('{').next().unwrap_or_default().split_whitespace().collect();
    let mut line = words.join(" ").trim_matches(['"', '.']).to_owned();
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests;
