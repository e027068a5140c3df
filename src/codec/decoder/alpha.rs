//! The alpha of an area, row by row.

use std::ops::Range;
use std::sync::PoisonError;

use rayon::prelude::*;

use super::super::alpha::AlphaReader;
use super::super::lossless::{pixel_columns, tile_memory};
use super::super::report;
use super::Decoder;
use super::pass::Area;
use crate::picture::samples::Sample;
use crate::picture::tiles::{Grid, TilePlace};
use crate::picture::try_filled;
use crate::{Error, Result, SampleDepth};

/// Rows of a tile after which it is asked whether to go on.
const BETWEEN_STOPS: usize = 64;

/// Reads the rows of an area's alpha from the top. Tiles that are lost become opaque, where that is allowed.
pub(super) struct AlphaRows<'a, S> {
    decoder: &'a Decoder,
    grid: Grid,
    area: Area,
    /// The next row of the picture.
    row: usize,
    /// What is wanted of the row of tiles at hand: columns of the picture, and their alpha.
    tiles: Vec<(Range<usize>, Vec<S>)>,
}

/// About how many bytes the alpha of an area takes, and, beside it, its decoding.
pub(super) fn memory(decoder: &Decoder, area: Area) -> (u64, u64) {
    if !decoder.info.channels.has_alpha() {
        return (0, 0);
    }
    let grid = decoder.container.head.grid();
    let columns = grid.tile().min(decoder.info.width as usize) as u64;
    // The row of tiles, which is decoded at once, and for each thread what has been learnt of a tile, its words, and its payload if the file is not in memory.
    let threads = rayon::current_num_threads().min(grid.per_row()) as u64;
    let kept = (area.width * grid.tile().min(area.height) * size_of::<u16>()) as u64;
    (kept, threads * (tile_memory(columns) + 2 * decoder.container.largest_alpha()))
}

impl<'a, S: Sample> AlphaRows<'a, S> {
    /// `None` if the picture has no alpha.
    pub(super) fn new(decoder: &'a Decoder, area: Area) -> Option<Self> {
        let head = &decoder.container.head;
        head.channels.has_alpha().then(|| Self { decoder, grid: head.grid(), area, row: area.y, tiles: Vec::new() })
    }

    /// Stores alpha into the last samples of the pixels of the next rows of the area.
    pub(super) fn store(&mut self, rows: &mut [S]) -> Result<()> {
        let count = self.decoder.info.channels.count();
        for line in rows.chunks_exact_mut(self.area.width * count) {
            let in_picture = self.grid.pixel_rows(self.row / self.grid.tile(), self.decoder.info.height as usize);
            let first = in_picture.start.max(self.area.y);
            if self.row == first {
                // The last one is not kept beside it.
                self.tiles.clear();
                self.tiles = self.read(&in_picture)?;
            }
            for (columns, alpha) in &self.tiles {
                let pixels = line[(columns.start - self.area.x) * count..].chunks_exact_mut(count);
                let alpha = &alpha[(self.row - first) * columns.len()..][..columns.len()];
                pixels.zip(alpha).for_each(|(pixel, alpha)| pixel[count - 1] = *alpha);
            }
            self.row += 1;
        }
        Ok(())
    }

    /// What is wanted of the row of tiles that begins with the next row of the area.
    fn read(&self, in_picture: &Range<usize>) -> Result<Vec<(Range<usize>, Vec<S>)>> {
        let (width, wanted) = (self.decoder.info.width as usize, self.area.x..self.area.x + self.area.width);
        let is_wanted = |place: &TilePlace| {
            let columns = pixel_columns(place, width);
            columns.start < wanted.end && wanted.start < columns.end
        };
        let places: Vec<_> = self.grid.row(self.row / self.grid.tile()).filter(is_wanted).collect();
        let tiles: Vec<Result<_>> = places.par_iter().map(|place| self.tile(place, in_picture)).collect();
        tiles.into_iter().collect()
    }

    /// What is wanted of a tile.
    fn tile(&self, place: &TilePlace, in_picture: &Range<usize>) -> Result<(Range<usize>, Vec<S>)> {
        let columns = pixel_columns(place, self.decoder.info.width as usize);
        let wanted = columns.start.max(self.area.x)..columns.end.min(self.area.x + self.area.width);
        let rows = in_picture.start.max(self.area.y)..in_picture.end.min(self.area.y + self.area.height);
        let opaque = S::from_stored(u16::MAX, SampleDepth::Sixteen);
        let mut alpha = try_filled(rows.len() * wanted.len(), opaque)?;
        let mut read = || {
            let (property, words) = self.decoder.container.alpha(place.number)?;
            let mut reader = AlphaReader::new(property, &words, columns.len())?;
            let mut out = alpha.chunks_exact_mut(wanted.len());
            for row in in_picture.start..rows.end {
                if row % BETWEEN_STOPS == 0 {
                    report(&self.decoder.progress, (self.row - self.area.y) as u32, self.area.height as u32)?;
                }
                reader.next_row()?;
                if row >= rows.start
                    && let Some(alpha) = out.next()
                {
                    reader.store(alpha, wanted.start - columns.start);
                }
            }
            if rows.end == in_picture.end { reader.finish() } else { Ok(()) }
        };
        match (read(), &self.decoder.salvage) {
            (Err(Error::Format(error)), Some(salvage)) => {
                salvage.alpha.lock().unwrap_or_else(PoisonError::into_inner).insert(place.number, error.message().to_owned());
                alpha.fill(opaque);
            }
            (other, _) => other.map_err(|error| in_alpha(place.number, error))?,
        }
        Ok((wanted, alpha))
    }
}

/// Says which tile's alpha a broken rule is about.
fn in_alpha(number: usize, error: Error) -> Error {
    match error {
        Error::Format(error) => Error::format(error.rule(), format!("alpha of tile {number}: {}", error.message())),
        other => other,
    }
}
