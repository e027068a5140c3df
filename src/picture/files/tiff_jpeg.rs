//! Strips and tiles of TIFF files that are coded as JPEG.

use std::borrow::Cow;
use std::io::Cursor;

use tiff::decoder::ifd::Value;
use tiff::decoder::{ChunkType, Decoder};
use tiff::tags::Tag;
use zune_core::bytestream::ZCursor;
use zune_jpeg::JpegDecoder;

use super::{FileFormat, damaged, not_read, tiff_tags, too_much_memory};
use crate::{Error, Limits};

/// The number of this compression.
pub(super) const JPEG: u16 = 7;
/// How often each byte of a file may be read as part of a strip or tile that is coded as JPEG.
const MOST_READ: u64 = 16;

/// What is wrong with strips or tiles coded as JPEG, which say themselves how large they are and how many channels they have. The `tiff` crate takes their samples
/// without a look at it, and memory without a limit. What cannot be read is left to that.
pub(super) fn wrong(bytes: &[u8], limits: &Limits) -> Option<Error> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).ok()?.with_limits(tiff_tags::bounds(limits));
    let mut number = |tag| Some(decoder.find_tag_unsigned::<u16>(tag).ok()?.unwrap_or(1));
    let (compression, planar, stored) = (number(Tag::Compression)?, number(Tag::PlanarConfiguration)? == 2, number(Tag::SamplesPerPixel)?);
    if compression != JPEG {
        return None;
    }
    let tiled = decoder.get_chunk_type() == ChunkType::Tile;
    let (starts, lengths) = if tiled { (Tag::TileOffsets, Tag::TileByteCounts) } else { (Tag::StripOffsets, Tag::StripByteCounts) };
    let (starts, lengths) = (decoder.get_tag_u64_vec(starts).ok()?, decoder.get_tag_u64_vec(lengths).ok()?);
    let tables = decoder.find_tag(Tag::JPEGTables).ok()?.map(Value::into_u8_vec).transpose().ok()?;
    let (width, height) = decoder.dimensions().ok()?;
    let expected = (decoder.chunk_dimensions().0, if planar { 1 } else { stored });
    let picture = (u64::from(width) * u64::from(height)).saturating_mul(stored.into());
    // Strips may be the same bytes, and all have the tables in front: a small file could take hours.
    let read = lengths.iter().fold(0u64, |sum, length| sum.saturating_add(length.saturating_add(tables.as_ref().map_or(0, Vec::len) as u64)));
    if read > MOST_READ * bytes.len() as u64 + (1 << 24) {
        return Some(damaged(FileFormat::Tiff, "strips or tiles coded as JPEG share their bytes"));
    }
    for (start, length) in starts.into_iter().zip(lengths) {
        let data = bytes.get(usize::try_from(start).ok()?..)?;
        let mut data = Cow::from(&data[..data.len().min(usize::try_from(length).ok()?)]);
        // Tables that all have in common come first, without the mark of their end, and then there is a mark of the start already.
        if let Some(tables) = &tables {
            data = [tables.get(..tables.len().checked_sub(2)?)?, data.get(2..)?].concat().into();
        }
        let mut jpeg = JpegDecoder::new(ZCursor::new(&data[..]));
        jpeg.decode_headers().ok()?;
        let frame = jpeg.info()?;
        if (u32::from(frame.width), u16::from(frame.components)) != expected {
            // Planes of colour differences may be smaller than that of luma.
            return Some(match (planar, frame.components) {
                (true, 1) => not_read(FileFormat::Tiff, "JPEG in separate planes of several sizes"),
                _ => damaged(FileFormat::Tiff, "a strip or tile coded as JPEG has another width or other channels"),
            });
        }
        let samples = u64::from(frame.width) * u64::from(frame.height) * u64::from(frame.components);
        if picture.saturating_add(samples) > limits.max_memory {
            return Some(too_much_memory(limits));
        }
    }
    None
}
