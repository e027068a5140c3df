//! Picture files other than aei's own, through the `image` crate.

mod colour;
mod format;
mod headers;
mod rows;
mod samples;
mod write;

use std::error::Error as _;
use std::fmt;
use std::io::{Cursor, ErrorKind};

use image::metadata::Orientation as ImageOrientation;
use image::{ExtendedColorType, ImageDecoder, ImageError, ImageReader};

use super::{MAX_SIDE, Orientation, Picture, try_filled};
use crate::{Error, Limits, Result};
pub use format::FileFormat;
use headers::Headers;
pub use rows::{PictureRows, write_rows};
pub use write::write_picture;

/// Something about a picture file that did not make it into the [`Picture`], or not as it was. Worth a line on the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The samples had this many bits; they were rounded to 8.
    Rounded {
        /// Bits of a sample in the file.
        bits: u8,
    },
    /// There was an alpha channel, opaque everywhere. It was left out.
    OpaqueAlpha,
    /// The file holds several pictures (frames of an animation, pages). The first one was read.
    FirstOfSeveral {
        /// How many there are.
        pictures: u32,
    },
    /// The file says that its colours are not those of sRGB. The samples were taken as they are, so colours may look different.
    Colours {
        /// What it says, for example the name of a colour profile.
        stated: String,
    },
    /// The file ends early. What is missing was filled in by its decoder, usually with gray.
    Incomplete,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rounded { bits } => write!(f, "its {bits}-bit samples were rounded to 8 bits"),
            Self::OpaqueAlpha => write!(f, "its alpha channel is opaque everywhere and was left out"),
            Self::FirstOfSeveral { pictures } => write!(f, "it holds {pictures} pictures; only the first was read"),
            Self::Colours { stated } => write!(f, "its colours are not sRGB ({stated}), which this version does not store; they may look different"),
            Self::Incomplete => write!(f, "the file ends early; what is missing was filled in"),
        }
    }
}

/// Reads a picture file: PNG, JPEG, WebP, TIFF, BMP, PNM, GIF or QOI, recognised by its content. Default [`Limits`] are in force;
/// [`Picture::from_file_bytes`] takes others.
///
/// Gray stays gray. Palettes become RGB. Samples of other depths than 8 bits are scaled to 8, with rounding. Samples are not turned:
/// [`Picture::orientation`] tells what the file says about that.
///
/// # Errors
/// - [`Error::Format`] if the file is damaged or of no known kind; [`FormatError::rule`](crate::FormatError::rule) is the name of its format then.
/// - [`Error::Unsupported`] for what a [`Picture`] cannot hold: transparency, CMYK, floating-point samples, sides above 65535 pixels.
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
    let headers = Headers::read(format, bytes);
    if headers.cmyk {
        return Err(cmyk());
    }
    if let Some(what) = headers.damage {
        return Err(damaged(format, what));
    }
    if let Some(what) = headers.unknown_coding {
        return Err(not_read(format, what));
    }

    let mut allowed = image::Limits::no_limits();
    allowed.max_alloc = Some(limits.max_memory);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.to_image());
    reader.limits(allowed.clone());
    let mut decoder = reader.into_decoder().map_err(|e| read_error(e, format, limits))?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, format, limits)?;
    let colour = decoder.color_type();
    if matches!(decoder.original_color_type(), ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16) {
        return Err(cmyk());
    }
    samples::check(colour)?;

    // What the samples take is no longer there for the decoder's own needs.
    let total = decoder.total_bytes();
    let len = usize::try_from(total).ok().filter(|_| total <= limits.max_memory).ok_or_else(|| too_much_memory(limits))?;
    allowed.max_alloc = Some(limits.max_memory - total);
    decoder.set_limits(allowed).map_err(|e| read_error(e, format, limits))?;
    let orientation = orientation(&mut decoder, format, &headers).map_err(|e| read_error(e, format, limits))?;
    let stated = colour::stated(decoder.icc_profile(), &headers);
    let mut raw = try_filled(len, 0)?;
    decoder.read_image(&mut raw).map_err(|e| read_error(e, format, limits))?;

    let depth = headers.depth.unwrap_or_else(|| (8 * u16::from(colour.bytes_per_pixel()) / u16::from(colour.channel_count())) as u8);
    let converted = samples::convert(raw, colour)?;
    let mut notices = Vec::new();
    if headers.incomplete {
        notices.push(Notice::Incomplete);
    }
    if headers.pictures > 1 {
        notices.push(Notice::FirstOfSeveral { pictures: headers.pictures });
    }
    if depth > 8 {
        notices.push(Notice::Rounded { bits: depth });
    }
    // A GIF has no alpha channel; that is only how its decoder shows transparency.
    if converted.had_alpha && format != FileFormat::Gif {
        notices.push(Notice::OpaqueAlpha);
    }
    notices.extend(stated.map(|stated| Notice::Colours { stated }));
    let picture = Picture::new(width, height, converted.channels, converted.samples)?.with_source_depth(depth)?.with_orientation(orientation);
    Ok((picture, notices))
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

/// Which way up the picture is. The `image` crate misses two places where files have it.
fn orientation(decoder: &mut impl ImageDecoder, format: FileFormat, headers: &Headers) -> std::result::Result<Orientation, ImageError> {
    let found = if format == FileFormat::Tiff {
        Some(decoder.orientation()?)
    } else {
        let exif = decoder.exif_metadata()?.or_else(|| headers.late_exif.clone());
        // Some programs put JPEG's prefix into WebP and PNG as well.
        exif.and_then(|exif| ImageOrientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif)))
    };
    Ok(found.and_then(|o| Orientation::from_exif(o.to_exif())).unwrap_or_default())
}

fn cmyk() -> Error {
    Error::Unsupported("the picture has CMYK colours, which aei cannot store; convert it to RGB first".into())
}

fn too_much_memory(limits: &Limits) -> Error {
    Error::Limits(format!("reading the picture needs more memory than the limit of {} MiB", limits.max_memory >> 20))
}

fn not_read(format: FileFormat, what: &str) -> Error {
    Error::Unsupported(format!("this kind of {format} file is not read ({what}); convert it to a gray or RGB PNG first"))
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
