//! Metadata into files where their encoders have no way to say it.

use crate::{Error, Result};

/// What marks XMP in a JPEG file.
const XMP_IN_JPEG: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// What marks XMP in a PNG file: keyword, no compression, no language, no translated keyword.
pub(super) const XMP_IN_PNG: &[u8] = b"XML:com.adobe.xmp\0\0\0\0\0";
/// Most bytes in a segment of a JPEG file, without its length.
const SEGMENT: usize = 65533;

/// Most bytes of EXIF in a JPEG file.
pub(super) const JPEG_EXIF: usize = SEGMENT - 6;
/// Most bytes of XMP in a JPEG file.
pub(super) const JPEG_XMP: usize = SEGMENT - XMP_IN_JPEG.len();
/// Most bytes of a colour profile in a JPEG file: 255 segments with 14 bytes of their own.
pub(super) const JPEG_ICC: usize = 255 * (SEGMENT - 14);

/// Inserts bytes, growing the file once.
fn insert(file: &mut Vec<u8>, at: usize, bytes: &[u8]) -> Result<()> {
    file.try_reserve(bytes.len()).map_err(|_| Error::Limits("there is no memory for the picture file".into()))?;
    file.splice(at..at, bytes.iter().copied());
    Ok(())
}

/// Puts XMP into a JPEG file, behind the segments (APP0, APP1) that others expect in front.
pub(super) fn xmp_in_jpeg(file: &mut Vec<u8>, xmp: &[u8]) -> Result<()> {
    let mut at = 2;
    while let Some([0xFF, 0xE0 | 0xE1, high, low]) = file.get(at..at + 4) {
        at += 2 + usize::from(u16::from_be_bytes([*high, *low]));
    }
    let length = (2 + XMP_IN_JPEG.len() + xmp.len()) as u16;
    insert(file, at.min(file.len()), &[&[0xFF, 0xE1], &length.to_be_bytes()[..], XMP_IN_JPEG, xmp].concat())
}

/// Puts XMP into a PNG file.
pub(super) fn xmp_in_png(file: &mut Vec<u8>, xmp: &[u8]) -> Result<()> {
    chunk_in_png(file, b"iTXt", &[XMP_IN_PNG, xmp].concat())
}

/// Puts the code of colours into a PNG file.
pub(super) fn code_in_png(file: &mut Vec<u8>, code: [u8; 4]) -> Result<()> {
    chunk_in_png(file, b"cICP", &code)
}

/// Puts a chunk into a PNG file, behind its header.
fn chunk_in_png(file: &mut Vec<u8>, kind: &[u8; 4], payload: &[u8]) -> Result<()> {
    // Signature, and IHDR with 13 bytes.
    const BEHIND_HEADER: usize = 8 + 12 + 13;
    let content = [kind, payload].concat();
    let length = (content.len() - 4) as u32;
    let sum = crc32fast::hash(&content);
    insert(file, BEHIND_HEADER.min(file.len()), &[&length.to_be_bytes(), &content[..], &sum.to_be_bytes()].concat())
}
