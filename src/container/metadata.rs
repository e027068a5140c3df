//! Chunks that carry what is not the colours: `ICCP`, `EXIF`, `XMP `, `ALPH`, `prev` (SPEC 2.7 to 2.9).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use byteorder::{ByteOrder, LittleEndian};

use super::chunk;
use super::deflate::{deflate, inflate};
use super::{Head, NUMBER_BITS, number_in};
use crate::picture::metadata::set_upright;
use crate::picture::try_filled;
use crate::{Error, FormatError, Metadata, Result, SampleDepth};

/// The types of the three blocks of metadata.
pub(super) const BLOCKS: [&[u8; 4]; 3] = [b"ICCP", b"EXIF", b"XMP "];

/// What they are, in words.
const BLOCK_NAMES: [&str; 3] = ["colour profile", "EXIF block", "XMP packet"];

/// Bytes of a chunk that are not its payload.
const CHUNK_OVERHEAD: u64 = 12;

/// A block of metadata in the file (R2.10).
#[derive(Debug, Clone)]
pub(crate) struct Block {
    packed: bool,
    /// Length of the block itself.
    pub(crate) length: u32,
    /// Where its bytes, packed or not, are in the file.
    data: Range<u64>,
    chunk_bytes: u64,
}

impl Block {
    fn parse(found: &Piece<'_>) -> Result<Self> {
        let refuse = |what: &str| Error::format("R2.10", format!("the metadata in {} is not valid: {what}", found.name()));
        let (packed, length, header) = match found.payload {
            [0, block @ ..] => (false, block.len() as u32, 1),
            [1, rest @ ..] if rest.len() >= 4 => (true, LittleEndian::read_u32(rest), 5),
            [1, ..] => return Err(refuse("it has no length")),
            [] => return Err(refuse("it is empty")),
            [method, ..] => return Err(refuse(&format!("it is packed by the unknown method {method}"))),
        };
        Ok(Self { packed, length, data: found.range(header), chunk_bytes: found.payload.len() as u64 + CHUNK_OVERHEAD })
    }

    /// The block itself. Its length has been checked against limits.
    fn unpack(&self, data: &[u8]) -> Result<Vec<u8>> {
        // deflate makes at most 1032 bytes of one.
        if self.packed && u64::from(self.length) > data.len() as u64 * 1032 {
            return Err(Error::format("R2.10", "the metadata cannot be as long as they claim"));
        }
        let mut block = try_filled(self.length as usize, 0)?;
        if self.packed {
            inflate(data, &mut block, "R2.10")?;
        } else if block.len() == data.len() {
            block.copy_from_slice(data);
        } else {
            return Err(Error::format("R2.10", "the file has become shorter"));
        }
        Ok(block)
    }
}

/// Is told of each block that is left out: what it is, and the rule that it breaks.
pub(crate) type Lost<'a> = &'a mut dyn FnMut(&'static str, &FormatError);

/// A chunk that stands in front of the tiles.
pub(super) struct Piece<'a> {
    pub(super) kind: [u8; 4],
    pub(super) payload: &'a [u8],
    /// Place of the payload in the file.
    pub(super) start: u64,
    /// Whether the CRC is right, which only a preview's need not be.
    pub(super) intact: bool,
}

impl Piece<'_> {
    fn name(&self) -> String {
        self.kind.escape_ascii().to_string()
    }

    /// Place of the payload without its first bytes.
    fn range(&self, without: usize) -> Range<u64> {
        self.start + without as u64..self.start + self.payload.len() as u64
    }
}

/// Everything in a file but the header and the tiles. Only its form has been checked, and that all is there.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// In the order of [`BLOCKS`].
    pub(crate) blocks: [Option<Block>; 3],
    /// For each tile how its alpha is stored, and where. Some may be missing in salvage.
    alpha: BTreeMap<usize, (u8, Range<u64>)>,
    pub(crate) alpha_depth: Option<SampleDepth>,
    /// The preview's file, and whether its sum is right.
    preview: Option<(Range<u64>, bool)>,
    /// Types of chunks that are broken, in salvage, and what is wrong with the first.
    broken: BTreeMap<[u8; 4], String>,
}

impl Extras {
    /// Takes a chunk that stands in front of the tiles, if its type is known here.
    pub(super) fn take(&mut self, chunk: &Piece<'_>, head: &Head) -> Result<()> {
        if let Some(kind) = BLOCKS.iter().position(|kind| **kind == chunk.kind) {
            if self.blocks[kind].is_some() || !self.alpha.is_empty() {
                return Err(Error::format("R2.5", format!("a second or late {} chunk", chunk.name())));
            }
            self.blocks[kind] = Some(Block::parse(chunk)?);
        } else if &chunk.kind == b"ALPH" {
            self.take_alpha(chunk, head)?;
        } else if &chunk.kind == b"prev" {
            // Of several, the first.
            self.preview.get_or_insert((chunk.range(0), chunk.intact));
        }
        Ok(())
    }

    /// R2.11.
    fn take_alpha(&mut self, chunk: &Piece<'_>, head: &Head) -> Result<()> {
        let refuse = |what: String| Err(Error::format("R2.11", what));
        let (tiles, expected) = (head.grid().count(), self.alpha.len());
        if !head.channels.has_alpha() {
            return refuse("there is an ALPH chunk, but the picture has no alpha".into());
        }
        if expected >= tiles {
            return refuse(format!("there are more than the {tiles} ALPH chunks of the picture"));
        }
        if chunk.payload.len() < 4 || !chunk.payload.len().is_multiple_of(4) {
            return refuse(format!("an ALPH chunk has {} bytes", chunk.payload.len()));
        }
        let word = LittleEndian::read_u32(chunk.payload);
        let number = number_in(word);
        if number as usize != expected {
            return refuse(format!("ALPH chunk {number} stands where number {expected} should be"));
        }
        let Some(depth) = depth_in(word) else { return refuse(format!("alpha of {} bits", property_in(word) & DEPTH)) };
        if *self.alpha_depth.get_or_insert(depth) != depth {
            return refuse("ALPH chunks of different depths".into());
        }
        self.alpha.insert(expected, (property_in(word), chunk.range(4)));
        Ok(())
    }

    /// Takes what can be taken of a damaged file's chunk, in any order.
    pub(super) fn salvage(&mut self, chunk: &Piece<'_>, head: &Head) {
        if &chunk.kind != b"ALPH" {
            // One that is wrong or comes twice is left out.
            let alpha = std::mem::take(&mut self.alpha);
            if let Err(error) = self.take(chunk, head) {
                self.broken.entry(chunk.kind).or_insert_with(|| error.to_string());
            }
            self.alpha = alpha;
            return;
        }
        let Some(word) = chunk.payload.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) else { return };
        let (number, whole) = (number_in(word) as usize, chunk.payload.len().is_multiple_of(4));
        if let (true, true, Some(depth)) = (head.channels.has_alpha() && whole, number < head.grid().count(), depth_in(word))
            && *self.alpha_depth.get_or_insert(depth) == depth
        {
            self.alpha.entry(number).or_insert((property_in(word), chunk.range(4)));
        }
    }

    /// Notes the chunks of a damaged file that were not taken, because their sums are wrong.
    pub(super) fn note_broken(&mut self, kinds: &[[u8; 4]]) {
        for kind in kinds {
            self.broken.entry(*kind).or_insert_with(|| "its checksum is wrong (R2.3)".into());
        }
    }

    /// Metadata, and a preview, whose chunks are broken and which are therefore lost: what, and why. Of a chunk whose type is damaged nothing is known.
    pub(crate) fn lost(&self) -> Vec<(&'static str, String)> {
        let names = BLOCK_NAMES.iter().zip(BLOCKS).zip(self.blocks.iter().map(Option::is_some)).map(|((name, kind), there)| (*name, *kind, there));
        let all = names.chain([("preview", *b"prev", self.preview.is_some())]);
        let broken = all.filter(|(.., there)| !there).filter_map(|(name, kind, _)| Some((name, self.broken.get(&kind)?.clone())));
        let preview = self.preview.iter().filter(|(_, intact)| !intact).map(|_| ("preview", "its checksum is wrong (R2.13)".to_owned()));
        broken.chain(preview).collect()
    }

    /// R2.11, when all that stands in front of the tiles has been seen.
    pub(super) fn check_complete(&self, head: &Head) -> Result<()> {
        let tiles = if head.channels.has_alpha() { head.grid().count() } else { 0 };
        if self.alpha.len() == tiles {
            return Ok(());
        }
        Err(Error::format("R2.11", format!("{} of {tiles} ALPH chunks are there", self.alpha.len())))
    }

    /// Unpacks the metadata, at most `limit` bytes over all. `read` gives bytes of the file. What is damaged is an error, or left out and told to `lost`, if there
    /// is such.
    pub(super) fn metadata<'f>(&self, limit: u64, mut lost: Option<Lost<'_>>, read: impl Fn(Range<u64>) -> Result<Cow<'f, [u8]>>) -> Result<Metadata> {
        let total: u64 = self.blocks.iter().flatten().map(|b| u64::from(b.length)).sum();
        if total > limit {
            return Err(Error::Limits(format!("the file holds {total} bytes of metadata, more than the {limit} allowed")));
        }
        let mut unpack = |kind: usize| match (self.blocks[kind].as_ref().map(|b| b.unpack(&read(b.data.clone())?)).transpose(), &mut lost) {
            (Err(Error::Format(error)), Some(lost)) => {
                lost(BLOCK_NAMES[kind], &error);
                Ok(None)
            }
            (other, _) => other,
        };
        Ok(Metadata { icc: unpack(0)?, exif: unpack(1)?, xmp: unpack(2)? })
    }

    /// How a tile's alpha is stored, and where.
    pub(super) fn alpha(&self, tile: usize) -> Option<(u8, Range<u64>)> {
        self.alpha.get(&tile).cloned()
    }

    /// Length of the longest of them.
    pub(super) fn largest_alpha(&self) -> u64 {
        self.alpha.values().map(|(_, range)| range.end - range.start).max().unwrap_or(0)
    }

    /// Where the preview's file is, if there is one; an error if its sum is wrong.
    pub(super) fn preview(&self) -> Option<Result<Range<u64>>> {
        match &self.preview {
            Some((range, true)) => Some(Ok(range.clone())),
            None if !self.broken.contains_key(b"prev") => None,
            _ => Some(Err(Error::format("R2.13", "the preview is damaged: its checksum is wrong"))),
        }
    }

    /// Size of the preview's file.
    pub(super) fn preview_bytes(&self) -> Option<u32> {
        self.preview.as_ref().map(|(range, _)| (range.end - range.start) as u32)
    }

    /// Bytes of the file that are metadata, alpha and preview, each with its chunks' headers and sums.
    pub(crate) fn sizes(&self) -> [u64; 3] {
        let chunk = |r: &Range<u64>| r.end - r.start + CHUNK_OVERHEAD;
        [
            self.blocks.iter().flatten().map(|b| b.chunk_bytes).sum(),
            self.alpha.values().map(|(_, r)| chunk(r) + 4).sum(),
            self.preview.iter().map(|(r, _)| chunk(r)).sum(),
        ]
    }
}

/// Bits of the property that are the depth.
const DEPTH: u8 = 0x1F;

/// What stands beside the number in the first word of an `ALPH` chunk.
fn property_in(word: u32) -> u8 {
    (word >> NUMBER_BITS) as u8
}

/// The depth in the first word of an `ALPH` chunk.
fn depth_in(word: u32) -> Option<SampleDepth> {
    match property_in(word) & DEPTH {
        8 => Some(SampleDepth::Eight),
        16 => Some(SampleDepth::Sixteen),
        _ => None,
    }
}

/// Writes the chunks of metadata. EXIF's orientation is set to 1: the one that counts is in `HEAD`.
pub(crate) fn write(file: &mut Vec<u8>, metadata: &Metadata) -> Result<()> {
    let exif = metadata.exif.clone().map(|mut exif| {
        set_upright(&mut exif);
        exif
    });
    for (kind, block) in BLOCKS.into_iter().zip([&metadata.icc, &exif, &metadata.xmp]) {
        let Some(block) = block else { continue };
        let packed = deflate(block, 9)?;
        if packed.len() + 4 < block.len() {
            chunk::write(file, kind, &[&[1], &chunk::length(block.len() as u64)?.to_le_bytes(), &packed])?;
        } else {
            chunk::write(file, kind, &[&[0], block])?;
        }
    }
    Ok(())
}
