//! The chunks of a file (SPEC 2).

pub(crate) mod chunk;
pub(crate) mod deflate;
mod header;
mod metadata;

use std::borrow::Cow;
use std::ops::Range;

use byteorder::{ByteOrder, LittleEndian};

use crate::entropy::{CodedTile, TileCode};
use crate::picture::tiles::Grid;
use crate::{Error, Metadata, Result, SampleDepth};
use chunk::{Chunk, Chunks};
pub(crate) use header::Head;
pub use header::Info;
pub(crate) use metadata::Extras;
use metadata::Piece;

/// `\x89AEI\r\n\x1a\n`: a byte above 127, the name, and line ends that show a transfer in text mode.
pub(crate) const SIGNATURE: [u8; 8] = *b"\x89AEI\r\n\x1a\n";

/// Bits of the first word of a `TILE` or `ALPH` chunk that are its number; the rest is a property of it.
const NUMBER_BITS: u32 = 24;

/// Critical types that this crate knows.
const KNOWN: [&[u8; 4]; 8] = [b"HEAD", b"ICCP", b"EXIF", b"XMP ", b"ALPH", b"TIDX", b"TILE", b"IEND"];

/// A file whose chunks have been found and checked: every CRC is right, every tile is there.
#[derive(Debug)]
pub(crate) struct Container {
    bytes: Vec<u8>,
    pub(crate) head: Head,
    pub(crate) extras: Extras,
    tiles: Vec<Tile>,
}

/// Where a tile is in the file.
#[derive(Debug)]
struct Tile {
    skip_below: u8,
    stream: Range<usize>,
}

impl Container {
    /// Takes a whole file apart (R2.1 to R2.9).
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self> {
        let mut chunks = Chunks::new(&bytes, &SIGNATURE).map_err(|()| Error::format("R2.1", signature_message(&bytes)))?;
        let head = match chunks.next_chunk().map_err(|e| Error::format(e.rule, e.message))? {
            Chunk { kind, payload, .. } if &kind == b"HEAD" => Head::parse(payload)?,
            chunk if chunk.is_critical() && !KNOWN.contains(&&chunk.kind) => return Err(Error::Unsupported(unknown_message(&chunk))),
            other => return Err(Error::format("R2.5", format!("the first chunk is {}, not HEAD", other.name()))),
        };
        let grid = head.grid();
        let mut tiles: Vec<Tile> = Vec::new();
        let mut index: Option<Vec<u32>> = None;
        let mut extras = Extras::default();
        loop {
            let chunk = chunks.next_chunk().map_err(|e| Error::format(e.rule, e.message))?;
            // TILE chunks stand together: directly behind TIDX, and nothing between the first and the last.
            let inside = (index.is_some() || !tiles.is_empty()) && tiles.len() < grid.count();
            match &chunk.kind {
                b"TILE" => {
                    if tiles.is_empty() && index.is_none() {
                        extras.check_complete(&head)?;
                    }
                    let tile = parse_tile(&chunk, tiles.len(), &grid)?;
                    if index.as_ref().map_or(grid.count() > 1, |sizes| sizes[tiles.len()] as usize != chunk.payload.len()) {
                        return Err(Error::format("R2.7", format!("the tile index is missing or does not fit tile {}", tiles.len())));
                    }
                    tiles.push(tile);
                }
                kind if chunk.is_critical() && !KNOWN.contains(&kind) => return Err(Error::Unsupported(unknown_message(&chunk))),
                _ if inside => return Err(Error::format("R2.5", format!("chunk {} stands between tiles", chunk.name()))),
                b"TIDX" => {
                    if index.is_some() || !tiles.is_empty() {
                        return Err(Error::format("R2.5", "a second or late TIDX chunk"));
                    }
                    extras.check_complete(&head)?;
                    index = Some(parse_index(chunk.payload, &grid)?);
                }
                b"IEND" => {
                    if !chunk.payload.is_empty() {
                        return Err(Error::format("R2.9", "IEND is not empty"));
                    }
                    break;
                }
                b"HEAD" => return Err(Error::format("R2.5", "a second HEAD chunk")),
                _ if tiles.is_empty() => {
                    extras.take(&Piece { kind: chunk.kind, payload: chunk.payload, start: chunk.start as u64, intact: chunk.intact }, &head)?
                }
                _ if chunk.is_critical() => return Err(Error::format("R2.5", format!("chunk {} stands behind the tiles", chunk.name()))),
                _ => {}
            }
        }
        if tiles.len() != grid.count() {
            return Err(Error::format("R2.8", format!("{} of {} tiles are there", tiles.len(), grid.count())));
        }
        Ok(Self { bytes, head, extras, tiles })
    }

    /// A tile's coded data.
    pub(crate) fn tile(&self, number: usize) -> TileCode<'_> {
        let tile = &self.tiles[number];
        TileCode { skip_below: tile.skip_below, stream: &self.bytes[tile.stream.clone()] }
    }

    fn read(&self, range: Range<u64>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// Colour profile, EXIF and XMP, at most `limit` bytes over all.
    pub(crate) fn metadata(&self, limit: u64) -> Result<Metadata> {
        self.extras.metadata(limit, |range| Ok(Cow::Borrowed(self.read(range))))
    }

    /// The zlib stream of a band of alpha.
    pub(crate) fn alpha(&self, band: usize) -> Option<&[u8]> {
        self.extras.alpha(band).map(|range| self.read(range))
    }

    /// The preview's file, and whether its sum is right.
    pub(crate) fn preview(&self) -> Option<(&[u8], bool)> {
        self.extras.preview().map(|(range, intact)| (self.read(range), intact))
    }

    /// Size of the whole file in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Bytes of the file that are in tiles' streams.
    pub(crate) fn stream_bytes(&self) -> u64 {
        self.tiles.iter().map(|t| t.stream.len() as u64).sum()
    }
}

/// What a file holds besides the header and the tiles, ready to be written.
#[derive(Debug, Default)]
pub(crate) struct Attachments<'a> {
    pub(crate) metadata: Option<&'a Metadata>,
    /// A whole file.
    pub(crate) preview: Option<Vec<u8>>,
    /// Depth, and the zlib stream of each band.
    pub(crate) alpha: Option<(SampleDepth, Vec<Vec<u8>>)>,
}

/// Puts a file together.
pub(crate) fn assemble(head: &Head, attachments: &Attachments<'_>, tiles: &[CodedTile]) -> Result<Vec<u8>> {
    let mut file = Vec::from(SIGNATURE);
    chunk::write(&mut file, b"HEAD", &[&head.to_bytes()])?;
    if let Some(metadata) = attachments.metadata {
        metadata::write(&mut file, metadata)?;
    }
    if let Some(preview) = &attachments.preview {
        chunk::write(&mut file, b"prev", &[preview])?;
    }
    if let Some((depth, bands)) = &attachments.alpha {
        for (number, band) in bands.iter().enumerate() {
            chunk::write(&mut file, b"ALPH", &[&(number as u32 | u32::from(depth.bits()) << NUMBER_BITS).to_le_bytes(), band])?;
        }
    }
    if tiles.len() > 1 {
        let mut sizes = vec![0; tiles.len() * 4];
        for (size, tile) in sizes.chunks_exact_mut(4).zip(tiles) {
            LittleEndian::write_u32(size, chunk::length(tile.stream.len() as u64 + 4)?);
        }
        chunk::write(&mut file, b"TIDX", &[&sizes])?;
    }
    for (number, tile) in tiles.iter().enumerate() {
        chunk::write(&mut file, b"TILE", &[&(number as u32 | u32::from(tile.skip_below) << NUMBER_BITS).to_le_bytes(), &tile.stream])?;
    }
    chunk::write(&mut file, b"IEND", &[])?;
    Ok(file)
}

/// R2.8, for the chunk that should be tile `expected`.
fn parse_tile(chunk: &Chunk<'_>, expected: usize, grid: &Grid) -> Result<Tile> {
    if expected >= grid.count() {
        return Err(Error::format("R2.8", format!("there are more than the {} tiles of the picture", grid.count())));
    }
    if chunk.payload.len() < 4 || !chunk.payload.len().is_multiple_of(4) {
        return Err(Error::format("R2.8", format!("tile {expected} has a payload of {} bytes", chunk.payload.len())));
    }
    let word = LittleEndian::read_u32(chunk.payload);
    let number = word & ((1 << NUMBER_BITS) - 1);
    if number as usize != expected {
        return Err(Error::format("R2.8", format!("tile {number} stands where tile {expected} should be")));
    }
    Ok(Tile { skip_below: (word >> NUMBER_BITS) as u8, stream: chunk.start + 4..chunk.start + chunk.payload.len() })
}

/// R2.7.
fn parse_index(payload: &[u8], grid: &Grid) -> Result<Vec<u32>> {
    if grid.count() < 2 || payload.len() != grid.count() * 4 {
        return Err(Error::format("R2.7", format!("a tile index of {} bytes for {} tiles", payload.len(), grid.count())));
    }
    Ok(payload.chunks_exact(4).map(LittleEndian::read_u32).collect())
}

/// Says what a file that is not ours seems to be.
fn signature_message(bytes: &[u8]) -> String {
    let guess: Option<&str> = match bytes {
        [] => return "the file is empty".into(),
        [0x89, b'P', b'N', b'G', ..] => Some("a PNG picture"),
        [0xFF, 0xD8, 0xFF, ..] => Some("a JPEG picture"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("a WebP picture"),
        [b'G', b'I', b'F', b'8', ..] => Some("a GIF picture"),
        [b'B', b'M', ..] => Some("a BMP picture"),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some("a TIFF picture"),
        [0x89, b'A', b'E', b'M', ..] => Some("an aei model"),
        _ => None,
    };
    match guess {
        Some(guess) => format!("this is {guess}, not an aei file"),
        None if bytes.len() < 8 && SIGNATURE.starts_with(bytes) => "the file is truncated: it ends within the signature".into(),
        None if bytes.starts_with(b"\x89AEI") => "the file was damaged in transfer: its line ends were changed, as in text mode".into(),
        None => "this is not an aei file".into(),
    }
}

fn unknown_message(chunk: &Chunk<'_>) -> String {
    format!("the file needs a decoder that knows the chunk {}; a newer version of aei may (R2.4)", chunk.name())
}

#[cfg(test)]
mod tests;
