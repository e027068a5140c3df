//! A lossless picture to samples (R2.14), row by row.

use std::ops::Range;
use std::sync::PoisonError;

use super::super::lossless::{TileReader, pixel_columns};
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
/// What zlib holds for an open stream, at most.
const STREAM_BYTES: u64 = 48 << 10;
/// Samples of tiles that are lost: the middle.
const LOST: u8 = 128;

/// A tile of the row of tiles at hand.
struct OpenTile<'a> {
    place: TilePlace,
    /// `None` if it is lost.
    reader: Option<TileReader<'a>>,
}

/// Reads the colours of an area from the top. Lost tiles become gray, where that is allowed.
pub(super) struct ColourRows<'a> {
    decoder: &'a Decoder,
    grid: Grid,
    area: Area,
    /// The next row of the picture.
    row: usize,
    /// The tiles that this row goes through.
    tiles: Vec<OpenTile<'a>>,
}

impl<'a> ColourRows<'a> {
    pub(super) fn new(decoder: &'a Decoder, area: Area) -> Self {
        Self { decoder, grid: decoder.container.head.grid(), area, row: area.y, tiles: Vec::new() }
    }

    /// About how many bytes this takes at its peak, with rows that are handed out.
    pub(super) fn memory(&self) -> u64 {
        let info = &self.decoder.info;
        let rows = (self.area.width * info.channels.count() * 2 * ROWS) as u64;
        // Two rows of each open tile, and the streams if the file is not in memory.
        let tiles: Vec<TilePlace> = self.places(self.row / self.grid.tile()).collect();
        let open: u64 = tiles.iter().map(|place| self.columns(place).len() as u64 * 12 + STREAM_BYTES).sum();
        rows + open + self.decoder.container.largest_tile() * tiles.len() as u64
    }

    fn columns(&self, place: &TilePlace) -> Range<usize> {
        pixel_columns(place, self.decoder.info.width as usize)
    }

    /// The tiles of a row of tiles that hold wanted columns.
    fn places(&self, row: usize) -> impl Iterator<Item = TilePlace> + use<> {
        let (width, wanted) = (self.decoder.info.width as usize, self.area.x..self.area.x + self.area.width);
        self.grid.row(row).filter(move |place| {
            let columns = pixel_columns(place, width);
            columns.start < wanted.end && wanted.start < columns.end
        })
    }

    /// Stores colours into the pixels of the next rows of the area.
    pub(super) fn store<S: Sample>(&mut self, rows: &mut [S]) -> Result<()> {
        let count = self.decoder.info.channels.count();
        for line in rows.chunks_exact_mut(self.area.width * count) {
            let in_picture = self.grid.pixel_rows(self.row / self.grid.tile(), self.decoder.info.height as usize);
            let mut tiles = std::mem::take(&mut self.tiles);
            if tiles.is_empty() {
                for place in self.places(self.row / self.grid.tile()) {
                    let reader = self.attempt(&place, self.open(&place, in_picture.start).map(Some))?;
                    tiles.push(OpenTile { place, reader });
                }
            }
            let last = self.row + 1 == in_picture.end;
            for OpenTile { place, reader } in &mut tiles {
                let columns = self.columns(place);
                let wanted = columns.start.max(self.area.x)..columns.end.min(self.area.x + self.area.width);
                let pixels = &mut line[(wanted.start - self.area.x) * count..(wanted.end - self.area.x) * count];
                let Some(mut open) = reader.take() else {
                    pixels.fill(S::from_stored(widen(LOST), SampleDepth::Sixteen));
                    continue;
                };
                let read = open.next_row().and_then(|()| {
                    open.store(pixels, count, wanted.start - columns.start);
                    if last { open.finish().map(|()| None) } else { Ok(Some(open)) }
                });
                *reader = self.attempt(place, read)?;
            }
            if !last {
                self.tiles = tiles;
            }
            self.row += 1;
        }
        Ok(())
    }

    /// Opens a tile whose rows of pixels start at `start`, up to the next row.
    fn open(&self, place: &TilePlace, start: usize) -> Result<TileReader<'a>> {
        let (property, stream) = self.decoder.container.tile(place.number)?.into_parts();
        let mut reader = TileReader::new(property, stream, self.columns(place).len(), self.decoder.info.channels)?;
        (start..self.row).try_for_each(|_| reader.next_row())?;
        Ok(reader)
    }

    /// What was made of a tile. What is wrong with it is an error, or noted where that is allowed; then there is no reader.
    fn attempt(&self, place: &TilePlace, result: Result<Option<TileReader<'a>>>) -> Result<Option<TileReader<'a>>> {
        match (result, &self.decoder.salvage) {
            (Err(Error::Format(error)), Some(salvage)) => {
                salvage.streams.lock().unwrap_or_else(PoisonError::into_inner).insert(place.number, error.message().to_owned());
                Ok(None)
            }
            (other, _) => other.map_err(|error| in_tile(place.number, error)),
        }
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
