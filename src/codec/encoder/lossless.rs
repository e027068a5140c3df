//! The samples as they are, in place of latents: where they take less, or are asked for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::super::lossless::{WAYS, encode_tile, estimate, pixel_columns, quick_estimate, tile_memory};
use super::super::{Limits, report};
use super::{Encoder, RowSource};
use crate::codec::alpha::AlphaEncoder;
use crate::codec::preview::{SIDE, Shrink};
use crate::codec::quality::lambda;
use crate::container::{self, Attachments, Head};
use crate::entropy::CodedTile;
use crate::picture::samples::Sample;
use crate::picture::tiles::Grid;
use crate::picture::try_filled;
use crate::{Decoder, DecoderOptions, Error, Layout, Metadata, Result, SampleDepth, Samples};

/// When an encoder stores samples as they are, so that the decoded picture is the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Lossless {
    /// Never: the file is what the networks make of the picture.
    Never,
    /// Where it is worth it: the file gets smaller so, or the networks fail at the picture. So it is with screenshots, icons, charts and noise, hardly ever with
    /// photographs.
    #[default]
    Auto,
    /// Always: quality and model do not matter.
    Always,
}

/// A lossless file may be so many times larger than one of latents that gives the picture badly; above that, it is given up early.
const WORTH: u64 = 4;
/// Below so many bits per pixel and colour of latents, nothing is wrong with them: pictures that the networks fail at take more. The photographs of Kodak take 0.92 on
/// average at the highest quality, at most 1.42.
const SUSPICIOUS: f64 = 1.5;
/// Longest side of the part of a picture that is decoded to see how well latents give it.
const LOOKED_AT: u32 = 1024;

/// A picture's rows on their way to lossless tiles.
pub(super) struct LosslessTiles<S> {
    layout: Layout,
    grid: Grid,
    /// Rows of pixels that have not been packed.
    waiting: VecDeque<S>,
    /// The next row of tiles.
    row: usize,
    tiles: Vec<CodedTile>,
    /// Of the latents and of lossless tiles, the latter estimated at first.
    latent_bytes: u64,
    lossless_bytes: u64,
    /// Whether it is not worth it.
    given_up: bool,
}

impl<S: Sample> LosslessTiles<S> {
    pub(super) fn new(layout: &Layout, grid: &Grid) -> Self {
        Self { layout: *layout, grid: *grid, waiting: VecDeque::new(), row: 0, tiles: Vec::new(), latent_bytes: 0, lossless_bytes: 0, given_up: false }
    }

    /// Takes the next rows.
    pub(super) fn push(&mut self, rows: &[S]) -> Result<()> {
        if !self.given_up {
            // All that will ever wait, or else it might become twice as much.
            let most = (self.grid.tile() + AHEAD).min(self.layout.height() as usize) * self.layout.row_len();
            let more = most.max(self.waiting.len() + rows.len()) - self.waiting.len();
            self.waiting.try_reserve_exact(more).map_err(|_| Error::Limits(format!("there is no memory for {more} more samples")))?;
            self.waiting.extend(rows);
        }
        Ok(())
    }

    /// Packs the next row of tiles, whose pixels have all been taken, if it may be worth it beside these tiles of latents. `stop` is asked now and then whether to go on.
    pub(super) fn beside(&mut self, latents: &[CodedTile], stop: impl Fn() -> Result<()> + Sync) -> Result<()> {
        if self.given_up {
            return Ok(());
        }
        let len = self.pixel_rows() * self.layout.row_len();
        self.waiting.make_contiguous();
        let row = self.waiting.as_slices().0.get(..len).unwrap_or_default();
        let (latent_bytes, pixels) = (self.latent_bytes + bytes(latents), row.len() / self.layout.channels().count());
        let pixels = pixels as u64 + self.grid.pixel_rows(self.row, self.layout.height() as usize).start as u64 * u64::from(self.layout.width());
        let most = latent_bytes * if is_suspicious(latent_bytes, pixels, &self.layout) { WORTH } else { 1 };
        if self.is_too_much(row, most, &stop)? {
            self.given_up = true;
            (self.waiting, self.tiles) = (VecDeque::new(), Vec::new());
            return Ok(());
        }
        self.latent_bytes = latent_bytes;
        self.pack(u64::MAX, stop)
    }

    /// Whether the tiles of these rows, with those that are packed, will be larger than `most`, as far as estimates tell.
    fn is_too_much(&self, row: &[S], most: u64, stop: impl Fn() -> Result<()>) -> Result<bool> {
        let left = (most + most / 4).saturating_sub(self.lossless_bytes);
        let quick = quick_estimate(row, self.layout.row_len(), self.layout.channels())?;
        // What comes out may be half of that, where the rows that are not looked at repeat the others less still.
        Ok(self.lossless_bytes + quick > 2 * most && !may_fit(row, &self.layout, quick, left, stop)?)
    }

    fn pixel_rows(&self) -> usize {
        self.grid.pixel_rows(self.row, self.layout.height() as usize).len()
    }

    /// Packs the next row of tiles, unless all together take more than `most` bytes.
    fn pack(&mut self, most: u64, stop: impl Fn() -> Result<()> + Sync) -> Result<()> {
        let len = self.pixel_rows() * self.layout.row_len();
        let (layout, width) = (self.layout, self.layout.width() as usize);
        let row = self.waiting.make_contiguous().get(..len).unwrap_or_default();
        let places: Vec<_> = self.grid.row(self.row).collect();
        let packed = AtomicU64::new(self.lossless_bytes);
        let encode = |place| {
            if packed.load(Ordering::Relaxed) > most {
                return Err(Error::Parameter(format!("without loss the file has more than {most} bytes")));
            }
            let tile = encode_tile(row, layout.row_len(), pixel_columns(place, width), layout.channels(), &stop)?;
            packed.fetch_add(tile.stream.len() as u64, Ordering::Relaxed);
            Ok(tile)
        };
        let tiles: Vec<Result<CodedTile>> = places.par_iter().map(encode).collect();
        let tiles = tiles.into_iter().collect::<Result<Vec<_>>>()?;
        self.lossless_bytes += bytes(&tiles);
        self.tiles.extend(tiles);
        self.waiting.drain(..len);
        self.row += 1;
        Ok(())
    }

    /// All tiles, if they are worth a file.
    pub(super) fn finish(self) -> Option<Vec<CodedTile>> {
        (!self.given_up && self.row == self.grid.rows()).then_some(self.tiles)
    }
}

/// Whether rows as wide as the picture may take no more than `left` bytes. `quick` is what zlib would make of them.
fn may_fit<S: Sample>(rows: &[S], layout: &Layout, quick: u64, left: u64, stop: impl Fn() -> Result<()>) -> Result<bool> {
    if is_nearly_flat(rows, layout, quick) {
        return Ok(left > 0);
    }
    if quick > 5 * left {
        return Ok(false);
    }
    // Not where noise keeps pixels from repeating others.
    let may_repeat = quick * 8 < 2 * colours(rows, layout);
    let fits = |graphics| -> Result<bool> { Ok(estimate(rows, layout.row_len(), layout.channels(), graphics, &stop)? <= left) };
    Ok(fits(false)? || may_repeat && fits(true)?)
}

fn colours<S>(rows: &[S], layout: &Layout) -> u64 {
    (rows.len() / layout.channels().count() * layout.channels().without_alpha().count()) as u64
}

/// What is flat, or a gradient, takes zlib some bits a hundred samples, and contexts that have learnt it next to none; a part of the rows does not show it, and to code
/// them all is fast.
fn is_nearly_flat<S>(rows: &[S], layout: &Layout, quick: u64) -> bool {
    quick * 8 * 4 < colours(rows, layout)
}

fn bytes(tiles: &[CodedTile]) -> u64 {
    tiles.iter().map(|tile| tile.stream.len() as u64).sum()
}

fn is_suspicious(latent_bytes: u64, pixels: u64, layout: &Layout) -> bool {
    (latent_bytes * 8) as f64 > SUSPICIOUS * pixels as f64 * layout.channels().without_alpha().count() as f64
}

impl Encoder {
    /// About how many bytes encoding without loss needs.
    pub(super) fn memory_without_loss(&self, grid: &Grid, layout: &Layout) -> u64 {
        let (waiting, packing) = lossless_memory(grid, layout);
        let (alpha, packing_alpha) = alpha_memory(grid, layout);
        waiting + alpha + packing.max(packing_alpha)
    }

    /// Encodes without loss.
    pub(super) fn encode_lossless<S: Sample>(&self, head: &Head, layout: &Layout, metadata: &Metadata, mut source: impl RowSource<S>) -> Result<Vec<u8>> {
        let grid = head.grid();
        Limits { max_memory: self.max_memory, ..Limits::none() }.check_memory("encoding", self.memory_without_loss(&grid, layout))?;
        let mut alpha = AlphaEncoder::new(layout, &grid)?;
        let mut preview = if self.preview { Some(Shrink::new(layout, SIDE)?) } else { None };
        let mut colours = LosslessTiles::new(layout, &grid);
        let mut band = try_filled(BAND_ROWS.min(layout.height() as usize) * layout.row_len(), S::default())?;
        for row in 0..grid.rows() {
            let rows = grid.pixel_rows(row, layout.height() as usize);
            let mut done = 0;
            for first in rows.clone().step_by(BAND_ROWS) {
                done = first as u32;
                report(&self.progress, done, layout.height())?;
                let samples = &mut band[..BAND_ROWS.min(rows.end - first) * layout.row_len()];
                source(samples)?;
                preview.iter_mut().for_each(|preview| preview.push(samples));
                alpha.iter_mut().try_for_each(|alpha| alpha.push(samples, |done| report(&self.progress, done, layout.height())))?;
                colours.push(samples)?;
            }
            colours.pack(self.most, || report(&self.progress, done, layout.height()))?;
        }
        let preview = preview.map(|preview| self.preview_file(preview.finish()?)).transpose()?.flatten();
        report(&self.progress, layout.height(), layout.height())?;
        let attachments = Attachments { metadata: Some(metadata), preview, alpha: alpha.map(AlphaEncoder::finish) };
        container::assemble(&head.without_loss(), &attachments, &colours.tiles)
    }

    /// The better one of a file of latents and a lossless one of the same picture: the smaller one, or the lossless one where the other gives the picture so badly
    /// that by the measure which the networks were trained with, rate and distortion together, it is worth its size.
    pub(super) fn better(&self, latents: Vec<u8>, lossless: Vec<u8>, layout: &Layout) -> Result<Vec<u8>> {
        if lossless.len() <= latents.len() {
            return Ok(lossless);
        }
        let pixels = u64::from(layout.width()) * u64::from(layout.height());
        if !is_suspicious(latents.len() as u64, pixels, layout) || lossless.len() as u64 > WORTH * latents.len() as u64 {
            return Ok(latents);
        }
        let more = ((lossless.len() - latents.len()) * 8) as f64 / pixels as f64;
        Ok(if more < lambda(self.quality) * self.squared_error(&latents, &lossless, layout)? { lossless } else { latents })
    }

    /// Mean squared error in levels of 255, of the colours in the middle of two files' pictures, over all pixels. Errors count as much as a pixel is opaque.
    fn squared_error(&self, one: &[u8], other: &[u8], layout: &Layout) -> Result<f64> {
        let (width, height) = (layout.width().min(LOOKED_AT), layout.height().min(LOOKED_AT));
        let (x, y) = ((layout.width() - width) / 2, (layout.height() - height) / 2);
        let part = |file: &[u8]| {
            let options = DecoderOptions { limits: Limits::none(), model: self.model.clone(), depth: SampleDepth::Sixteen, ..DecoderOptions::default() };
            Decoder::with_options(file, options)?.decode_region(x, y, width, height)
        };
        let (one, other) = (part(one)?, part(other)?);
        let (Samples::U16(a), Samples::U16(b)) = (one.data(), other.data()) else { return Ok(0.0) };
        let (count, colours) = (layout.channels().count(), layout.channels().without_alpha().count());
        let mut sum = 0;
        for (a, b) in a.chunks_exact(count).zip(b.chunks_exact(count)) {
            let alpha = u64::from(if self.keep_invisible || colours == count { u16::MAX } else { a[colours] });
            sum += a.iter().zip(b).take(colours).map(|(a, b)| (u64::from(a.abs_diff(*b)) * alpha / u64::from(u16::MAX)).pow(2)).sum::<u64>();
        }
        Ok(sum as f64 / (a.len() / count * colours) as f64 / 257f64.powi(2))
    }
}

/// Rows that are read at a time.
const BAND_ROWS: usize = 64;
/// Rows that the analysis reads beyond a row of tiles, at most, with the embedded model.
const AHEAD: usize = 256;

/// About how many bytes the samples of a row of tiles take, of 16 bits for what is known here, and, beside them, what is made of them at one time.
pub(super) fn lossless_memory(grid: &Grid, layout: &Layout) -> (u64, u64) {
    let tile = grid.tile().min(layout.height() as usize);
    let samples = (layout.row_len() * size_of::<u16>()) as u64;
    // Rows that wait; of the tiles that are packed at the same time the stream and its words; for each thread that has one to do what is learnt of a tile.
    let columns = grid.tile().min(layout.width() as usize);
    let at_once = rayon::current_num_threads().min(grid.per_row()) * columns;
    let learning = rayon::current_num_threads().min(grid.per_row() * WAYS) as u64 * tile_memory(columns as u64);
    let packed = (at_once * tile * layout.channels().count() * size_of::<u16>()) as u64 + learning;
    (samples * (tile + AHEAD + BAND_ROWS).min(layout.height() as usize + BAND_ROWS) as u64, packed)
}

/// About how many bytes the alpha of a row of tiles takes while it waits, of 16 bits for what is known here, and, beside it, what is made of it at one time.
pub(super) fn alpha_memory(grid: &Grid, layout: &Layout) -> (u64, u64) {
    if !layout.channels().has_alpha() {
        return (0, 0);
    }
    let (tile, columns) = (grid.tile().min(layout.height() as usize), grid.tile().min(layout.width() as usize));
    let threads = rayon::current_num_threads();
    let learning = threads.min(grid.per_row() * WAYS) as u64 * tile_memory(columns as u64);
    let packed = (threads.min(grid.per_row()) * columns * tile * size_of::<u16>()) as u64 + learning;
    (u64::from(layout.width()) * (tile * size_of::<u16>()) as u64, packed)
}
