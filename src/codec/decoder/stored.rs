//! What is stored without loss of an area, row by row: the colours of a lossless picture (R2.14), and alpha (R2.12).

use std::ops::Range;
use std::sync::PoisonError;

use rayon::prelude::*;

use super::super::alpha::AlphaReader;
use super::super::lossless::{TileReader, pixel_columns, tile_memory};
use super::super::report;
use super::Decoder;
use super::pass::Area;
use crate::container::in_tile;
use crate::picture::samples::{Sample, widen};
use crate::picture::tiles::{Grid, TilePlace};
use crate::picture::try_filled;
use crate::{Error, Result, SampleDepth};

/// Rows of a tile after which it is asked whether to go on.
const BETWEEN_STOPS: usize = 64;

/// What of a picture is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plane {
    /// The samples of lossless tiles. Where alpha will stand, there is nothing yet.
    Colours,
    Alpha,
}

/// Reads the rows of an area from the top. Tiles that are lost become gray or opaque, where that is allowed.
pub(super) struct StoredRows<'a, S> {
    decoder: &'a Decoder,
    plane: Plane,
    grid: Grid,
    area: Area,
    /// The next row of the picture.
    row: usize,
    /// What is wanted of the row of tiles at hand: columns of the picture, and their samples.
    tiles: Vec<(Range<usize>, Vec<S>)>,
}

/// The rows of one tile.
enum Reader {
    Colours(Box<TileReader>),
    Alpha(AlphaReader),
}

impl Reader {
    fn next_row(&mut self) -> Result<()> {
        match self {
            Self::Colours(reader) => reader.next_row(),
            Self::Alpha(reader) => reader.next_row(),
        }
    }

    /// Stores the row's pixels from the column `left` on, of `count` samples each.
    fn store<S: Sample>(&self, samples: &mut [S], count: usize, left: usize) {
        match self {
            Self::Colours(reader) => reader.store(samples, count, left),
            Self::Alpha(reader) => reader.store(samples, left),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Colours(reader) => reader.finish(),
            Self::Alpha(reader) => reader.finish(),
        }
    }
}

/// About how many bytes the colours of an area of a lossless picture take, of this depth, and, beside them, their decoding.
pub(super) fn memory_of_colours(decoder: &Decoder, area: Area, depth: SampleDepth) -> (u64, u64) {
    memory(decoder, area, decoder.info.channels.count() * depth.bytes(), decoder.container.largest_tile())
}

/// The same of its alpha, if there is any.
pub(super) fn memory_of_alpha(decoder: &Decoder, area: Area, depth: SampleDepth) -> (u64, u64) {
    if decoder.info.channels.has_alpha() { memory(decoder, area, depth.bytes(), decoder.container.largest_alpha()) } else { (0, 0) }
}

/// `bytes` of samples for each pixel, of tiles of which the largest takes so many bytes as it is coded.
fn memory(decoder: &Decoder, area: Area, bytes: usize, largest: u64) -> (u64, u64) {
    let grid = decoder.container.head.grid();
    let columns = grid.tile().min(decoder.info.width as usize) as u64;
    // The row of tiles, which is decoded at once, and for each thread what has been learnt of a tile, its words, and its payload.
    let threads = rayon::current_num_threads().min(grid.per_row()) as u64;
    ((area.width * bytes * grid.tile().min(area.height)) as u64, threads * (tile_memory(columns) + largest))
}

impl<'a, S: Sample> StoredRows<'a, S> {
    /// The colours of a lossless picture.
    pub(super) fn colours(decoder: &'a Decoder, area: Area) -> Self {
        Self { decoder, plane: Plane::Colours, grid: decoder.container.head.grid(), area, row: area.y, tiles: Vec::new() }
    }

    /// The alpha of any picture that has it.
    pub(super) fn alpha(decoder: &'a Decoder, area: Area) -> Option<Self> {
        decoder.info.channels.has_alpha().then(|| Self { plane: Plane::Alpha, ..Self::colours(decoder, area) })
    }

    /// Stores what is read into the pixels of the next rows of the area: all samples, which alpha has to follow, or the last ones.
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
            for (columns, samples) in &self.tiles {
                let pixels = &mut line[(columns.start - self.area.x) * count..][..columns.len() * count];
                let len = columns.len() * self.kept();
                let samples = &samples[(self.row - first) * len..][..len];
                match self.plane {
                    Plane::Colours => pixels.copy_from_slice(samples),
                    Plane::Alpha => pixels.chunks_exact_mut(count).zip(samples).for_each(|(pixel, alpha)| pixel[count - 1] = *alpha),
                }
            }
            self.row += 1;
        }
        Ok(())
    }

    /// Samples for each pixel.
    fn kept(&self) -> usize {
        match self.plane {
            Plane::Colours => self.decoder.info.channels.count(),
            Plane::Alpha => 1,
        }
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

    /// What is wanted of a tile. If something is wrong with it, that is an error, or noted where that is allowed; then it is as lost tiles are.
    fn tile(&self, place: &TilePlace, in_picture: &Range<usize>) -> Result<(Range<usize>, Vec<S>)> {
        let (columns, count) = (pixel_columns(place, self.decoder.info.width as usize), self.kept());
        let wanted = columns.start.max(self.area.x)..columns.end.min(self.area.x + self.area.width);
        let rows = in_picture.start.max(self.area.y)..in_picture.end.min(self.area.y + self.area.height);
        let lost = S::from_stored(if self.plane == Plane::Colours { widen(128) } else { u16::MAX }, SampleDepth::Sixteen);
        let mut samples = try_filled(rows.len() * wanted.len() * count, lost)?;
        let mut read = || {
            let mut reader = self.open(place.number, columns.len())?;
            let mut out = samples.chunks_exact_mut(wanted.len() * count);
            for row in in_picture.start..rows.end {
                if row % BETWEEN_STOPS == 0 {
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
                let noted = if self.plane == Plane::Colours { &salvage.streams } else { &salvage.alpha };
                noted.lock().unwrap_or_else(PoisonError::into_inner).insert(place.number, error.message().to_owned());
                samples.fill(lost);
            }
            (Err(Error::Format(error)), None) if self.plane == Plane::Alpha => {
                return Err(Error::format(error.rule(), format!("alpha of tile {}: {}", place.number, error.message())));
            }
            (other, _) => other.map_err(|error| in_tile(place.number, error))?,
        }
        Ok((wanted, samples))
    }

    fn open(&self, number: usize, width: usize) -> Result<Reader> {
        let container = &self.decoder.container;
        match self.plane {
            Plane::Colours => {
                let (property, stream) = container.tile(number)?.into_parts();
                Ok(Reader::Colours(Box::new(TileReader::new(property, &stream, width, self.decoder.info.channels)?)))
            }
            Plane::Alpha => {
                let (property, words) = container.alpha(number)?;
                Ok(Reader::Alpha(AlphaReader::new(property, &words, width)?))
            }
        }
    }
}
