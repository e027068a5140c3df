//! From tiles to rows of pixels: for the whole picture or a part of it.

use std::ops::Range;
use std::sync::PoisonError;

use ndarray::s;
use rayon::prelude::*;

use super::super::{BAND, by_tile, memory, report};
use super::conceal::Beside;
use super::output::Output;
use super::{Decoder, conceal};
use crate::container::in_tile;
use crate::entropy::{TileShape, decode_tile};
use crate::net::{Engine, Model, Tensor};
use crate::picture::tiles::{Grid, LATENT, TilePlace};
use crate::{Error, Result};

/// A rectangle of the coded picture, in pixels. Never empty, never beyond the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Rows of pixels that are finished.
pub(super) struct Finished<'a> {
    pub(super) engine: &'a Engine,
    pub(super) cells: &'a Tensor,
    /// The first of them in `cells`.
    pub(super) first: usize,
    /// How many there are.
    pub(super) rows: usize,
}

/// The wanted columns of a row of tiles, as features for the synthesis.
struct RowOfTiles {
    latents: Tensor,
    /// Columns that could not be decoded and mean nothing.
    lost: Vec<Range<usize>>,
}

/// One way through the tiles from the top, as far as an area needs it.
pub(super) struct Pass<'a> {
    decoder: &'a Decoder,
    model: &'a Model,
    grid: Grid,
    area: Area,
    /// Latents that the area's samples depend on (R5.10).
    columns: Range<usize>,
    rows: Range<usize>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(decoder: &'a Decoder, model: &'a Model, area: Area) -> Self {
        let grid = decoder.container.head.grid();
        let margin = model.header().synthesis.margin();
        let needed = |at: usize, len: usize, all: usize| (at / LATENT).saturating_sub(margin)..((at + len).div_ceil(LATENT) + margin).min(all);
        let columns = needed(area.x, area.width, grid.latent_width());
        let rows = needed(area.y, area.height, grid.height / LATENT);
        Self { decoder, model, grid, area, columns, rows }
    }

    /// About how many bytes of memory [`Pass::run`] takes at its peak, with the model.
    pub(super) fn memory(&self) -> u64 {
        let h = self.model.header();
        let rows = self.grid.row_height(self.rows.start * LATENT / self.grid.tile()) as u64;
        let latents = memory::features(self.columns.len() as u64 * rows, h.m);
        let places: Vec<_> = self.places(0).collect();
        let widest = places.iter().map(|place| place.columns.len() as u64).max().unwrap_or(0);
        let at_once = if by_tile(places.len()) { rayon::current_num_threads().min(places.len()) } else { 1 };
        // The features and the context of a tile, what the entropy network holds, and the tile's words and payload.
        let tiles = (memory::features(widest * rows, 2 * h.m + 4 * h.ce) + self.decoder.container.largest_tile()) * at_once as u64;
        let transform = memory::transform(h, h.synthesis, self.columns.len() as u64);
        let several = |bytes: u64| if places.len() > 1 { bytes } else { 0 };
        // Behind the first row of tiles, the transform has its rows and its pool.
        let waiting = if self.grid.rows_of(&self.rows).len() > 1 { transform + latents } else { 0 };
        // After damage, the next row of tiles may be decoded too soon.
        let next = if self.decoder.salvage.is_some() { latents } else { 0 };
        let samples = (8 * BAND * self.output().row_len()) as u64 + self.decoder.transforms.memory(self.model, self.rows.len(), self.columns.len());
        self.model.network_bytes(false) + samples + next + (waiting + several(latents) + tiles.max(latents)).max(latents + transform)
    }

    /// How the rows of cells that [`Pass::run`] hands out become samples.
    pub(super) fn output(&self) -> Output {
        Output {
            left: self.area.x - self.columns.start * LATENT,
            width: self.area.width,
            channels: self.decoder.info.channels,
            fraction: self.model.header().pixel_fraction,
        }
    }

    /// Decodes, and calls `finished` with rows of the area from the top.
    pub(super) fn run(&self, mut finished: impl FnMut(Finished<'_>) -> Result<()>) -> Result<()> {
        let (decoder, total) = (self.decoder, self.area.height as u32);
        let engine = Engine::new(true)?;
        let mut stages = decoder.transforms.synthesis(self.model, decoder.info.quality.get(), self.rows.len(), self.columns.len())?;
        // The row of pixels at which the next cells start, and the rows that have been handed out.
        let (mut y, mut done) = (self.rows.start * LATENT, 0);
        // In salvage, the last row of features over the row of tiles at hand, and the row under it, where that had to be decoded already.
        let (mut above, mut next) = (None, None);
        let rows = self.grid.rows_of(&self.rows);
        for row in rows.clone() {
            report(&decoder.progress, done, total)?;
            let tiles = self.grid.row_latents(row);
            let mut now = next.take().map_or_else(|| self.row_of_tiles(&engine, row, done), Ok)?;
            if !now.lost.is_empty() {
                next = if row + 1 < rows.end { Some(self.row_of_tiles(&engine, row + 1, done)?) } else { None };
                let below = next.as_ref().map(|next| Beside { row: next.latents.row(0), lost: &next.lost });
                let above = above.as_ref().map(|above: &Tensor| Beside { row: above.row(0), lost: &[] });
                conceal::fill(&mut now.latents, &now.lost, above, below)?;
            }
            let latents = now.latents;
            let wanted = tiles.start.max(self.rows.start)..tiles.end.min(self.rows.end);
            for first in wanted.clone().step_by(BAND / 2) {
                let rows = (BAND / 2).min(wanted.end - first);
                let band = latents.rows_from(&engine, first - tiles.start, rows)?;
                let cells = stages.push(&engine, band, first + rows == self.rows.end)?;
                let (top, bottom) = (y, y + cells.rows() * 8);
                y = bottom;
                let now = top.max(self.area.y)..bottom.min(self.area.y + self.area.height);
                if !now.is_empty() {
                    finished(Finished { engine: &engine, cells: &cells, first: now.start - top, rows: now.len() })?;
                    done += now.len() as u32;
                }
                engine.recycle(cells);
                report(&decoder.progress, done, total)?;
            }
            if decoder.salvage.is_some() {
                above = Some(latents.rows_from(&engine, latents.rows() - 1, 1)?);
            }
            engine.recycle(latents);
        }
        Ok(())
    }

    /// The tiles of a row that hold wanted columns.
    fn places(&self, row: usize) -> impl Iterator<Item = TilePlace> {
        self.grid.row(row).filter(|place| place.columns.start < self.columns.end && self.columns.start < place.columns.end)
    }

    /// Decodes the wanted columns of a row of tiles.
    fn row_of_tiles(&self, engine: &Engine, row: usize, done: u32) -> Result<RowOfTiles> {
        let (rows, m, wanted) = (self.grid.row_height(row), self.model.header().m, &self.columns);
        let places: Vec<TilePlace> = self.places(row).collect();
        let by_tile = by_tile(places.len());
        let decode = |place: &TilePlace| {
            report(&self.decoder.progress, done, self.area.height as u32)?;
            self.tile(place, rows, &Engine::new(!by_tile)?)
        };
        let tiles: Result<Vec<_>> =
            if by_tile { places.par_iter().map(decode).collect::<Vec<_>>().into_iter().collect() } else { places.iter().map(decode).collect() };
        let mut tiles = tiles?;
        if let [place] = &places[..]
            && place.columns == *wanted
            && let Some(tile) = tiles.pop_if(|tile| tile.is_some()).flatten()
        {
            return Ok(RowOfTiles { latents: tile, lost: Vec::new() });
        }
        let mut joined = engine.tensor(rows, wanted.len(), m)?;
        let mut lost = Vec::new();
        for (tile, place) in tiles.into_iter().zip(places) {
            let (start, end) = (place.columns.start.max(wanted.start), place.columns.end.min(wanted.end));
            let here = start - wanted.start..end - wanted.start;
            let Some(tile) = tile else {
                lost.push(here);
                continue;
            };
            let inside = start - place.columns.start..end - place.columns.start;
            joined.view_mut().slice_mut(s![.., here, ..]).assign(&tile.view().slice(s![.., inside, ..]));
        }
        Ok(RowOfTiles { latents: joined, lost })
    }

    /// One tile's features. `None` if it is lost, where that is allowed.
    fn tile(&self, place: &TilePlace, rows: usize, engine: &Engine) -> Result<Option<Tensor>> {
        let container = &self.decoder.container;
        let shape = TileShape { rows, columns: place.columns.len() };
        let tile = container.tile(place.number);
        let features = tile.and_then(|tile| decode_tile(tile.code(), self.model, engine, container.head.coding(), shape));
        match (features, &self.decoder.salvage) {
            (Err(Error::Format(error)), Some(salvage)) => {
                salvage.streams.lock().unwrap_or_else(PoisonError::into_inner).insert(place.number, error.message().to_owned());
                Ok(None)
            }
            (other, _) => other.map(Some).map_err(|error| in_tile(place.number, error)),
        }
    }
}
