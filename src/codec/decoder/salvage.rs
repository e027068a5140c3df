//! What was lost of a damaged file.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::Decoder;
use crate::picture::tiles::LATENT;
use crate::{Picture, Result};

/// What is known of a file's damage while it is being decoded.
#[derive(Debug, Default)]
pub(super) struct Salvage {
    /// What is wrong with the chunks.
    pub(super) trouble: Option<String>,
    /// Tiles that could not be decoded, and why.
    pub(super) streams: Mutex<BTreeMap<usize, String>>,
    /// Metadata that could not be unpacked, and why.
    pub(super) metadata: Mutex<BTreeMap<&'static str, String>>,
    /// Tiles whose alpha could not be decoded, and why.
    pub(super) alpha: Mutex<BTreeMap<usize, String>>,
}

/// What was lost of a file that was read with [`DecoderOptions::salvage`](super::DecoderOptions::salvage).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Damage {
    /// The first broken rule of the file as a whole, in words; `None` if its chunks are as they should be.
    pub file: Option<String>,
    /// Tiles whose part of the picture was made up from what is around them, or became gray in a lossless picture, by number.
    pub tiles: Vec<LostTile>,
    /// Tiles whose alpha was lost and became opaque, by number.
    pub alpha: Vec<LostAlpha>,
    /// Metadata that are lost, and the preview, as far as is known: of a chunk whose type is damaged, `file` tells alone.
    pub metadata: Vec<LostMetadata>,
}

impl Damage {
    /// Whether nothing at all is wrong.
    pub fn is_none(&self) -> bool {
        self.file.is_none() && self.tiles.is_empty() && self.alpha.is_empty() && self.metadata.is_empty()
    }

    /// All of it in words, one line each, without line ends.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let parts = self.tiles.iter().map(ToString::to_string).chain(self.alpha.iter().map(ToString::to_string));
        self.file.iter().cloned().chain(parts).chain(self.metadata.iter().map(ToString::to_string))
    }
}

/// A tile that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostTile {
    /// Its number, in raster order from 0.
    pub number: u32,
    /// Left edge in pixels of the coded picture, before its orientation is applied.
    pub x: u32,
    /// Upper edge, likewise.
    pub y: u32,
    /// Width in pixels. Outside the tile, pixels at most 112 pixels away (with the embedded model) may differ from those of the undamaged file; others do not. Of a
    /// lossless picture none does, and the tile is gray.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// What is wrong with it.
    pub reason: String,
}

/// Alpha that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostAlpha {
    /// Number of the tile that it belongs to, in raster order from 0.
    pub number: u32,
    /// Left edge in pixels of the coded picture, before its orientation is applied.
    pub x: u32,
    /// Upper edge, likewise.
    pub y: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// What is wrong with it.
    pub reason: String,
}

/// A block of metadata, or the preview, that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostMetadata {
    /// What it is, in words: `colour profile`, `EXIF block`, `XMP packet`, `preview`.
    pub what: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for LostMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} is lost: {}", self.what, self.reason)
    }
}

impl fmt::Display for LostAlpha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "alpha of {}x{} pixels at {},{} is lost and became opaque: {}", self.width, self.height, self.x, self.y, self.reason)
    }
}

impl fmt::Display for LostTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile {} ({}x{} pixels at {},{}) is lost: {}", self.number, self.width, self.height, self.x, self.y, self.reason)
    }
}

impl Decoder {
    /// Decodes what is left of a damaged file, and tells what was lost. Lost tiles are filled from those around them, or with gray in a lossless
    /// picture.
    ///
    /// The decoder has to be made with [`DecoderOptions::salvage`](super::DecoderOptions::salvage); without it, this fails as [`Decoder::decode`] does.
    ///
    /// # Errors
    /// As [`Decoder::decode`], but for damage.
    pub fn decode_salvaged(&self) -> Result<(Picture, Damage)> {
        let picture = self.decode()?;
        Ok((picture, self.damage()))
    }

    /// What is known to be lost: damage to the chunks, and the tiles that have turned out to be damaged when something was decoded.
    pub fn damage(&self) -> Damage {
        let Some(salvage) = &self.salvage else { return Damage::default() };
        let mut reasons = self.container.lost().clone();
        reasons.extend(salvage.streams.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let tiles = reasons.into_iter().map(|(number, reason)| self.lost_tile(number, reason)).collect();
        let alpha = salvage.alpha.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lost_alpha = |(number, reason)| {
            let LostTile { number, x, y, width, height, reason } = self.lost_tile(number, reason);
            LostAlpha { number, x, y, width, height, reason }
        };
        let alpha = alpha.into_iter().map(lost_alpha).collect();
        let mut metadata: BTreeMap<_, _> = self.container.extras.lost().into_iter().collect();
        metadata.extend(salvage.metadata.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let metadata = metadata.into_iter().map(|(what, reason)| LostMetadata { what, reason }).collect();
        Damage { file: salvage.trouble.clone(), tiles, alpha, metadata }
    }

    fn lost_tile(&self, number: usize, reason: String) -> LostTile {
        let grid = self.container.head.grid();
        let (row, column) = (number / grid.per_row(), number % grid.per_row());
        let columns = grid.row(row).nth(column).map_or(0..0, |place| place.columns);
        let rows = grid.row_latents(row);
        let pixels = |latents: usize, all: u32| ((latents * LATENT) as u32).min(all);
        let (x, y) = (pixels(columns.start, self.info.width), pixels(rows.start, self.info.height));
        let (width, height) = (pixels(columns.end, self.info.width) - x, pixels(rows.end, self.info.height) - y);
        LostTile { number: number as u32, x, y, width, height, reason }
    }
}
