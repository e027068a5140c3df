//! A lossless picture to samples (R2.14), row by row.

use std::ops::Range;
use std::sync::PoisonError;

use rayon::prelude::*;

use super::super::lossless::{TileReader, pixel_columns, tile_memory};
use super::super::report;
use super::Decoder;
use super::alpha::AlphaRows;
use super::pass::Area;
use crate::container::in_tile;
use crate::picture::samples::{Sample, widen};
use crate::picture::tiles::{Grid, TilePlace};
use crate::picture::try_filled;
use crate::{Error, Result, SampleDepth};

/// Rows that are decoded between two reports, and handed out together.
const ROWS: usize = 64;
/// Samples of tiles that are lost: the middle.
const LOST: u8 = 128;

/// Reads the colours of an area from the top. Lost tiles become gray, where that is allowed.
pub(super) struct ColourRows<'a, S> {
    decoder: &'a Decoder,
    grid: Grid,
    area: Area,
    /// The next row of the picture.
    row: usize,
    /// What is wanted of the row of tiles at hand: columns of the picture, and their samples.
    tiles: Vec<(Range<usize>, Vec<S>)>,
}

/// About how many bytes the colours of an area take, with rows that are handed out, and, beside them, their decoding.
pub(super) fn memory(decoder: &Decoder, area: Area) -> (u64, u64) {
    let (grid, width) = (decoder.container.head.grid(), area.width as u64);
    let row = width * decoder.info.channels.count() as u64 * 2;
    let columns = grid.tile().min(decoder.info.width as usize) as u64;
    // The row of tiles, which is decoded at once, and for each thread what has been learnt of a tile, its words, and its payload if the file is not in memory.
    let threads = rayon::current_num_threads().min(grid.per_row()) as u64;
    (row * (ROWS + grid.tile().min(area.height)) as u64, threads * (tile_memory(columns) + 2 * decoder.container.largest_tile()))
}

impl<'a, S: Sample> ColourRows<'a, S> {
    pub(super) fn new(decoder: &'a Decoder, area: Area) -> Self {
        Self { decoder, grid: decoder.container.head.grid(), area, row: area.y, tiles: Vec::new() }
    }

    fn columns(&self, place: &TilePlace) -> Range<usize> {
        pixel_columns(place, self.decoder.info.width as usize)
    }

    /// The tiles of a row of tiles that hold wanted columns.
    fn places(&self, row: usize) -> impl Iterator<Item = TilePlace> + use<S> {
        let (width, wanted) = (self.decoder.info.width as usize, self.area.x..self.area.x + self.area.width);
        self.grid.row(row).filter(move |place| {
            let columns = pixel_columns(place, width);
            columns.start < wanted.end && wanted.start < columns.end
        })
    }

    /// Stores colours into the pixels of the next rows of the area.
    pub(super) fn store(&mut self, rows: &mut [S]) -> Result<()> {
        let count = self.decoder.info.channels.count();
        for line in rows.chunks_exact_mut(self.area.width * count) {
            let in_picture = self.grid.pixel_rows(self.row / self.grid.tile(), self.decoder.info.height as usize);
            let first = in_picture.start.max(self.area.y);
            if self.row == first {
                // The last one is not kept beside it.
                self.tiles.clear();
                self.tiles = self.read(in_picture)?;
            }
            for (columns, samples) in &self.tiles {
                let len = columns.len() * count;
                line[(columns.start - self.area.x) * count..][..len].copy_from_slice(&samples[(self.row - first) * len..][..len]);
            }
            self.row += 1;
        }
        Ok(())
    }

    /// What is wanted of the row of tiles that begins with the next row of the area.
    fn read(&self, in_picture: Range<usize>) -> Result<Vec<(Range<usize>, Vec<S>)>> {
        let places: Vec<_> = self.places(self.row / self.grid.tile()).collect();
        let tiles: Vec<Result<_>> = places.par_iter().map(|place| self.tile(place, &in_picture)).collect();
        tiles.into_iter().collect()
    }

    /// What is wanted of a tile. If something is wrong with it, that is an error, or noted where that is allowed; then it is gray.
    fn tile(&self, place: &TilePlace, in_picture: &Range<usize>) -> Result<(Range<usize>, Vec<S>)> {
        let (columns, count) = (self.columns(place), self.decoder.info.channels.count());
        let wanted = columns.start.max(self.area.x)..columns.end.min(self.area.x + self.area.width);
        let rows = in_picture.start.max(self.area.y)..in_picture.end.min(self.area.y + self.area.height);
        let gray = S::from_stored(widen(LOST), SampleDepth::Sixteen);
        let mut samples = try_filled(rows.len() * wanted.len() * count, gray)?;
        let mut read = || {
            let (property, stream) = self.decoder.container.tile(place.number)?.into_parts();
            let mut reader = TileReader::new(property, &stream, columns.len(), self.decoder.info.channels)?;
            let mut out = samples.chunks_exact_mut(wanted.len() * count);
            for row in in_picture.start..rows.end {
                if row % ROWS == 0 {
                    report(&self.decoder.progress, (self.row - self.area.y) as u32, self.area.height as u32)?;
                }
                reader.next_row()?;
                if row >= rows.start
                    && let Some(pixels) = out.next()
                {
                    reader.store(pixels, count, wanted.start - columns.start);
                }
            }
            if rows.end == in_picture.end { reader.finish() } else { Ok(()) }
        };
        match (read(), &self.decoder.salvage) {
            (Err(Error::Format(error)), Some(salvage)) => {
                salvage.streams.lock().unwrap_or_else(PoisonError::into_inner).insert(place.number, error.message().to_owned());
                samples.fill(gray);
            }
            (other, _) => other.map_err(|error| in_tile(place.number, error))?,
        }
        Ok((wanted, samples))
    }
}

impl Decoder {
    /// Decodes an area of a lossless picture to samples in one piece.
    pub(super) fn lossless_area<S: Sample>(&self, area: Area, samples: &mut [S]) -> Result<()> {
        let (mut colours, mut alpha) = (ColourRows::new(self, area), AlphaRows::new(self, area));
        let mut done = 0;
        for rows in samples.chunks_mut(ROWS * area.width * self.info.channels.count()) {
            report(&self.progress, done, area.height as u32)?;
            colours.store(rows)?;
            alpha.iter_mut().try_for_each(|alpha| alpha.store(rows))?;
            done = (done + ROWS as u32).min(area.height as u32);
        }
        report(&self.progress, done, area.height as u32)?;
        self.check_end(area)
    }

    /// Decodes a lossless picture and hands out its rows.
    pub(super) fn lossless_rows<S: Sample>(&self, mut sink: impl FnMut(u32, &[S]) -> Result<()>) -> Result<()> {
        let area = self.whole();
        let (mut colours, mut alpha) = (ColourRows::new(self, area), AlphaRows::new(self, area));
        let row_len = area.width * self.info.channels.count();
        let mut rows = try_filled(ROWS.min(area.height) * row_len, S::default())?;
        for first in (0..area.height).step_by(ROWS) {
            report(&self.progress, first as u32, area.height as u32)?;
            let rows = &mut rows[..ROWS.min(area.height - first) * row_len];
            colours.store(rows)?;
            alpha.iter_mut().try_for_each(|alpha| alpha.store(rows))?;
            sink(first as u32, rows)?;
        }
        report(&self.progress, area.height as u32, area.height as u32)?;
        self.check_end(area)
    }
}
