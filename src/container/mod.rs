//! The chunks of a file (SPEC 2).

pub(crate) mod chunk;
pub(crate) mod deflate;
mod header;
mod messages;
mod metadata;
mod salvage;
mod source;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian};

use crate::entropy::{CodedTile, TileCode};
use crate::picture::tiles::Grid;
use crate::{Error, Metadata, Result};
pub(crate) use header::Head;
pub use header::Info;
pub(crate) use metadata::Extras;
use metadata::{Lost, Piece};
pub(crate) use source::Source;
use source::{FRAME, Found};

/// `\x89AEI\r\n\x1a\n`: a byte above 127, the name, and line ends that show a transfer in text mode.
pub(crate) const SIGNATURE: [u8; 8] = *b"\x89AEI\r\n\x1a\n";

/// Critical types that this crate knows.
const KNOWN: [&[u8; 4]; 8] = [b"HEAD", b"ICCP", b"EXIF", b"XMP ", b"ALPH", b"TIDX", b"TILE", b"IEND"];

/// Bits of the first word of a `TILE` or `ALPH` chunk that are its number; the rest is a property of it.
const NUMBER_BITS: u32 = 24;

/// The number in such a word.
fn number_in(word: u32) -> u32 {
    word & ((1 << NUMBER_BITS) - 1)
}

/// Where a tile's chunk is.
#[derive(Debug, Clone, Copy)]
struct TileSpan {
    start: u64,
    /// Bytes of the payload.
    length: u32,
}

/// A tile's payload.
#[derive(Debug)]
pub(crate) struct Tile<'a>(Cow<'a, [u8]>);

impl<'a> Tile<'a> {
    /// What stands beside the tile's number, and the stream (R2.14).
    pub(crate) fn into_parts(self) -> (u8, Cow<'a, [u8]>) {
        let property = self.0.get(3).copied().unwrap_or_default();
        let stream = match self.0 {
            Cow::Borrowed(payload) => Cow::Borrowed(payload.get(4..).unwrap_or_default()),
            Cow::Owned(mut payload) => {
                payload.drain(..payload.len().min(4));
                Cow::Owned(payload)
            }
        };
        (property, stream)
    }

    /// The tile's coded data.
    pub(crate) fn code(&self) -> TileCode<'_> {
        // The payload has been checked to have the four bytes.
        let (first, stream) = self.0.split_at_checked(4).unwrap_or_default();
        TileCode { skip_below: first.last().copied().unwrap_or_default(), stream }
    }
}

/// The chunks of a file.
#[derive(Debug)]
pub(crate) struct Container {
    source: Source,
    pub(crate) head: Head,
    pub(crate) extras: Extras,
    tiles: Vec<TileSpan>,
    /// What is behind the last tile.
    behind: u64,
    /// Whether everything has been read and checked. If not, tiles are checked when they are read.
    checked: bool,
    /// Tiles that cannot be read, and why: in salvage only.
    lost: BTreeMap<usize, String>,
}

impl Container {
    /// Takes a whole file apart (R2.1 to R2.9): every CRC is right, every tile is there.
    pub(crate) fn parse(bytes: Arc<Vec<u8>>) -> Result<Self> {
        let mut container = Self::open(Source::Memory(bytes))?;
        for number in 0..container.tiles.len() {
            container.tile(number).map_err(|error| in_tile(number, error))?;
        }
        container.check_end()?;
        container.checked = true;
        Ok(container)
    }

    /// Reads what stands in front of the first tile. Each tile is checked by [`Container::tile`], the rest by [`Container::check_end`].
    pub(crate) fn open(source: Source) -> Result<Self> {
        let (head, mut at) = read_head(&source)?;
        let grid = head.grid();
        let mut index: Option<Vec<u32>> = None;
        let mut extras = Extras::default();
        loop {
            let (kind, length) = source.header(at)?;
            if &kind == b"TILE" {
                let lengths = match index {
                    Some(lengths) => lengths,
                    None => {
                        let complete = extras.check_complete(&head).and_then(|()| if grid.count() > 1 { Err(index_mismatch(0)) } else { Ok(()) });
                        if let Err(error) = complete {
                            // That the chunk itself is damaged would have been noticed before.
                            source.chunk(at)?;
                            return Err(error);
                        }
                        vec![length]
                    }
                };
                let (tiles, behind) = spans(&lengths, at)?;
                return Ok(Self { source, head, extras, tiles, behind, checked: false, lost: BTreeMap::new() });
            }
            let chunk = source.chunk(at)?;
            check_known(&chunk.kind)?;
            if index.is_some() {
                return Err(between_tiles(&chunk));
            }
            match &kind {
                b"TIDX" => {
                    extras.check_complete(&head)?;
                    index = Some(parse_index(&chunk.payload, &grid)?);
                }
                b"IEND" => {
                    check_iend(&chunk)?;
                    return Err(Error::format("R2.8", format!("0 of {} tiles are there", grid.count())));
                }
                b"HEAD" => return Err(second_head()),
                _ => extras.take(&Piece { kind, payload: &chunk.payload, start: at + 8, intact: chunk.intact }, &head)?,
            }
            at = chunk.end;
        }
    }

    /// Colour profile, EXIF and XMP, at most `limit` bytes over all; without those that are damaged, which `lost` is told of, if there may be such.
    pub(crate) fn metadata(&self, limit: u64, lost: Option<Lost<'_>>) -> Result<Metadata> {
        self.extras.metadata(limit, lost, |range| self.source.read(range.start, range.end - range.start))
    }

    /// How a tile's alpha is stored (R2.12), and its words.
    pub(crate) fn alpha(&self, tile: usize) -> Result<(u8, Cow<'_, [u8]>)> {
        let (property, range) = self.extras.alpha(tile).ok_or_else(|| Error::format("R2.11", "it is damaged or missing"))?;
        Ok((property, self.source.read(range.start, range.end - range.start)?))
    }

    /// The preview's file, if there is one; an error if its sum is wrong.
    pub(crate) fn preview(&self) -> Option<Result<Cow<'_, [u8]>>> {
        let place = self.extras.preview()?;
        Some(place.and_then(|range| self.source.read(range.start, range.end - range.start)))
    }

    /// A tile's coded data.
    pub(crate) fn tile(&self, number: usize) -> Result<Tile<'_>> {
        if let Some(reason) = self.lost.get(&number) {
            return Err(Error::format("R2.8", reason.clone()));
        }
        let span = self.tiles[number];
        if self.checked {
            return Ok(Tile(self.source.read(span.start + 8, span.length.into())?));
        }
        let chunk = self.source.chunk(span.start)?;
        if &chunk.kind != b"TILE" {
            check_known(&chunk.kind)?;
            return Err(between_tiles(&chunk));
        }
        check_tile(&chunk.payload, number, &self.head)?;
        if chunk.payload.len() as u64 != u64::from(span.length) {
            return Err(index_mismatch(number));
        }
        Ok(Tile(chunk.payload))
    }

    /// Checks what follows the last tile, to the end (R2.2 to R2.9).
    pub(crate) fn check_end(&self) -> Result<()> {
        if self.checked {
            return Ok(());
        }
        let mut at = self.behind;
        loop {
            let chunk = self.source.chunk(at)?;
            check_known(&chunk.kind)?;
            match &chunk.kind {
                b"TILE" => check_tile(&chunk.payload, self.tiles.len(), &self.head)?,
                b"TIDX" => return Err(Error::format("R2.5", "a second or late TIDX chunk")),
                b"HEAD" => return Err(second_head()),
                b"IEND" => return check_iend(&chunk),
                _ if chunk.is_critical() => return Err(Error::format("R2.5", format!("chunk {} stands behind the tiles", chunk.name()))),
                _ => {}
            }
            at = chunk.end;
        }
    }

    /// Size of the whole file in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.source.len()
    }

    /// Bytes of the file that stay in memory.
    pub(crate) fn bytes_in_memory(&self) -> u64 {
        match &self.source {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::Seekable { .. } => 0,
        }
    }

    /// Bytes that the largest tile takes of memory while it is decoded: its words and, if the file is not in memory, its payload.
    pub(crate) fn largest_tile(&self) -> u64 {
        // A tile index may lie, which is noticed where the tile is read: none is larger than the file.
        self.copies() * self.tiles.iter().map(|t| u64::from(t.length)).max().unwrap_or(0).min(self.file_bytes())
    }

    /// Bytes that the largest tile's alpha takes, likewise.
    pub(crate) fn largest_alpha(&self) -> u64 {
        self.copies() * self.extras.largest_alpha()
    }

    fn copies(&self) -> u64 {
        match &self.source {
            Source::Memory(_) => 1,
            Source::Seekable { .. } => 2,
        }
    }

    /// Bytes of the file that are in tiles' streams.
    pub(crate) fn stream_bytes(&self) -> u64 {
        self.tiles.iter().map(|t| u64::from(t.length).saturating_sub(4)).sum()
    }
}

/// Checks the signature and reads `HEAD`. Gives the place of the chunk behind it, too.
fn read_head(source: &Source) -> Result<(Head, u64)> {
    let start = source.read(0, 16)?;
    if !start.starts_with(&SIGNATURE) {
        return Err(Error::format("R2.1", messages::signature(&start)));
    }
    let chunk = source.chunk(SIGNATURE.len() as u64)?;
    check_known(&chunk.kind)?;
    if &chunk.kind != b"HEAD" {
        return Err(Error::format("R2.5", format!("the first chunk is {}, not HEAD", chunk.name())));
    }
    Ok((Head::parse(&chunk.payload)?, chunk.end))
}

/// Where tiles are whose payloads have these lengths, and where what follows them is.
fn spans(lengths: &[u32], first: u64) -> Result<(Vec<TileSpan>, u64)> {
    let mut tiles = Vec::new();
    tiles.try_reserve_exact(lengths.len()).map_err(|_| Error::Limits("there is no memory for the tile index".into()))?;
    let mut at = first;
    for length in lengths {
        tiles.push(TileSpan { start: at, length: *length });
        at += FRAME + u64::from(*length);
    }
    Ok((tiles, at))
}

/// The number of a tile, and what stands beside it.
fn first_word(number: usize, tile: &CodedTile) -> u32 {
    number as u32 | u32::from(tile.skip_below) << NUMBER_BITS
}

/// What a file holds besides the header and the tiles, ready to be written.
#[derive(Debug, Default)]
pub(crate) struct Attachments<'a> {
    pub(crate) metadata: Option<&'a Metadata>,
    /// A whole file.
    pub(crate) preview: Option<Vec<u8>>,
    /// Of each tile, if there is alpha.
    pub(crate) alpha: Option<Vec<CodedTile>>,
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
    for (number, tile) in attachments.alpha.iter().flatten().enumerate() {
        chunk::write(&mut file, b"ALPH", &[&first_word(number, tile).to_le_bytes(), &tile.stream])?;
    }
    if tiles.len() > 1 {
        let mut sizes = vec![0; tiles.len() * 4];
        for (size, tile) in sizes.chunks_exact_mut(4).zip(tiles) {
            LittleEndian::write_u32(size, chunk::length(tile.stream.len() as u64 + 4)?);
        }
        chunk::write(&mut file, b"TIDX", &[&sizes])?;
    }
    for (number, tile) in tiles.iter().enumerate() {
        chunk::write(&mut file, b"TILE", &[&first_word(number, tile).to_le_bytes(), &tile.stream])?;
    }
    chunk::write(&mut file, b"IEND", &[])?;
    Ok(file)
}

/// R2.4.
fn check_known(kind: &[u8; 4]) -> Result<()> {
    if kind[0].is_ascii_uppercase() && !KNOWN.contains(&kind) {
        return Err(Error::Unsupported(messages::unknown(kind)));
    }
    Ok(())
}

/// TILE chunks stand together: directly behind TIDX, and nothing between the first and the last. The end there is a tile's absence.
fn between_tiles(chunk: &Found<'_>) -> Error {
    if &chunk.kind == b"IEND" {
        let absent = || Error::format("R2.8", "the file ends before the last of its tiles");
        return check_iend(chunk).err().unwrap_or_else(absent);
    }
    Error::format("R2.5", format!("chunk {} stands between tiles", chunk.name()))
}

fn second_head() -> Error {
    Error::format("R2.5", "a second HEAD chunk")
}

fn index_mismatch(tile: usize) -> Error {
    Error::format("R2.7", format!("the tile index is missing or does not fit tile {tile}"))
}

/// R2.9.
fn check_iend(chunk: &Found<'_>) -> Result<()> {
    if chunk.payload.is_empty() { Ok(()) } else { Err(Error::format("R2.9", "IEND is not empty")) }
}

/// Says which tile a broken rule is about.
pub(crate) fn in_tile(number: usize, error: Error) -> Error {
    match error {
        Error::Format(error) => Error::format(error.rule(), format!("tile {number}: {}", error.message())),
        other => other,
    }
}

/// R2.8, for the payload of the chunk that should be tile `expected`.
fn check_tile(payload: &[u8], expected: usize, head: &Head) -> Result<()> {
    let grid = head.grid();
    if expected >= grid.count() {
        return Err(Error::format("R2.8", format!("there are more than the {} tiles of the picture", grid.count())));
    }
    if payload.len() < 4 || !payload.len().is_multiple_of(4) {
        return Err(Error::format("R2.8", format!("tile {expected} has a payload of {} bytes", payload.len())));
    }
    let number = number_in(LittleEndian::read_u32(payload));
    if number as usize != expected {
        return Err(Error::format("R2.8", format!("tile {number} stands where tile {expected} should be")));
    }
    Ok(())
}

/// R2.7.
fn parse_index(payload: &[u8], grid: &Grid) -> Result<Vec<u32>> {
    if grid.count() < 2 || payload.len() != grid.count() * 4 {
        return Err(Error::format("R2.7", format!("a tile index of {} bytes for {} tiles", payload.len(), grid.count())));
    }
    Ok(payload.chunks_exact(4).map(LittleEndian::read_u32).collect())
}

#[cfg(test)]
mod tests;
