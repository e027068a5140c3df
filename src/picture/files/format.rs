//! The kinds of picture files, and how to tell them apart.

use std::fmt;

use image::ImageFormat;

use crate::{Error, Result};

/// A kind of picture file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileFormat {
    /// Windows bitmap.
    Bmp,
    /// GIF. Read only: it has no more than 256 colours.
    Gif,
    /// JPEG. Written at quality 95, without chroma subsampling.
    Jpeg,
    /// PNG. Written fast, not as small as possible. Holds everything a picture has.
    Png,
    /// PBM, PGM, PPM and PAM. Gray is written as PGM, RGB as PPM, with alpha as PAM, all binary.
    Pnm,
    /// The "quite OK image" format.
    Qoi,
    /// TIFF.
    Tiff,
    /// WebP. Written without loss.
    WebP,
}

impl FileFormat {
    /// All formats that [`write_picture`](crate::write_picture) knows.
    pub const WRITABLE: [Self; 7] = [Self::Png, Self::Jpeg, Self::WebP, Self::Tiff, Self::Bmp, Self::Pnm, Self::Qoi];

    /// Recognises a picture file by its first bytes.
    pub fn guess(bytes: &[u8]) -> Option<Self> {
        Some(match image::guess_format(bytes) {
            Ok(ImageFormat::Bmp) => Self::Bmp,
            Ok(ImageFormat::Gif) => Self::Gif,
            Ok(ImageFormat::Jpeg) => Self::Jpeg,
            Ok(ImageFormat::Png) => Self::Png,
            Ok(ImageFormat::Pnm) => Self::Pnm,
            Ok(ImageFormat::Qoi) => Self::Qoi,
            Ok(ImageFormat::Tiff) => Self::Tiff,
            Ok(ImageFormat::WebP) => Self::WebP,
            // TIFF with 64-bit offsets.
            _ if bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+") => Self::Tiff,
            _ => return None,
        })
    }

    /// The format that a file name's extension (without the dot) stands for, upper or lower case.
    pub fn from_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "bmp" | "dib" => Self::Bmp,
            "gif" => Self::Gif,
            "jpg" | "jpeg" | "jpe" | "jfif" => Self::Jpeg,
            "png" | "apng" => Self::Png,
            "pnm" | "ppm" | "pgm" | "pbm" | "pam" => Self::Pnm,
            "qoi" => Self::Qoi,
            "tif" | "tiff" => Self::Tiff,
            "webp" => Self::WebP,
            _ => return None,
        })
    }

    /// The usual extension of such files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Bmp => "bmp",
            Self::Gif => "gif",
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Pnm => "pnm",
            Self::Qoi => "qoi",
            Self::Tiff => "tiff",
            Self::WebP => "webp",
        }
    }

    /// Its name, as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Pnm => "PNM",
            Self::Qoi => "QOI",
            Self::Tiff => "TIFF",
            Self::WebP => "WebP",
        }
    }

    pub(super) fn to_image(self) -> ImageFormat {
        match self {
            Self::Bmp => ImageFormat::Bmp,
            Self::Gif => ImageFormat::Gif,
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Png => ImageFormat::Png,
            Self::Pnm => ImageFormat::Pnm,
            Self::Qoi => ImageFormat::Qoi,
            Self::Tiff => ImageFormat::Tiff,
            Self::WebP => ImageFormat::WebP,
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Kinds of files that people may take for a picture that can be read: offset and bytes of the signature, name.
const FOREIGN: [(usize, &[u8], &str); 17] = [
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftypavis", "an AVIF picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (0, b"\xFF\x0A", "a JPEG XL picture"),
    (0, b"\0\0\0\x0CJXL ", "a JPEG XL picture"),
    (0, b"\0\0\0\x0CjP  ", "a JPEG 2000 picture"),
    (0, b"\xFF\x4F\xFF\x51", "a JPEG 2000 picture"),
    (0, b"\x76\x2F\x31\x01", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance picture"),
    (0, b"\0\0\x01\0", "an icon"),
    (0, b"DDS ", "a DDS picture"),
    (0, b"farbfeld", "a farbfeld picture"),
    (0, b"PF\n", "a PFM picture"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "a PDF file"),
    (0, b"<svg", "an SVG drawing"),
];

/// The format of a file that is to be read, or an error that says what the file is instead.
pub(super) fn require(bytes: &[u8]) -> Result<FileFormat> {
    if let Some(format) = FileFormat::guess(bytes) {
        return Ok(format);
    }
    if let Some((.., name)) = FOREIGN.iter().find(|(at, signature, _)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(signature))) {
        return Err(Error::Unsupported(format!("this is {name}, which aei does not read; convert it to PNG first")));
    }
    let message = match bytes {
        [] => "the file is empty",
        _ if bytes.starts_with(b"\x89AEI") => "this is an aei file already",
        _ => "this is not a picture that aei reads: PNG, JPEG, WebP, TIFF, BMP, PNM, GIF or QOI",
    };
    Err(Error::format("unknown signature", message))
}
