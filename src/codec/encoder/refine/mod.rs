//! Latents that are better than those of the analysis (SPEC 6).
//!
//! The analysis has to guess in one go. Here a tile's latents are decoded again and again, and each time moved a part of the way to where rate and distortion
//! together say that they should be: a step of Newton's method, with curvatures of single latents only. What makes it work is that it starts from the values that
//! were chosen, and that latents remember where they were: the errors of rounding average out over the rounds, where a search among neighbouring values would
//! chase them.

mod distortion;
mod rate;
mod structure;
mod tune;

use super::latents::{LatentRows, RowSource};
use super::tile_latents;
use crate::codec::memory::features;
use crate::codec::quality::lambda;
use crate::codec::{BAND, Progress, Quality, report};
use crate::entropy::{Coding, TileShape, TrellisCode, hyper_latents, search_bytes};
use crate::net::{Engine, INPUTS, Model, SynthesisGradient};
use crate::picture::samples::Sample;
use crate::picture::tiles::{Grid, LATENT, TilePlace};
use crate::picture::try_filled;
use crate::{Error, Result};
use distortion::{Curvature, Curvatures, Distortion, PART, Part, parts};
use rate::{Rate, RateModel};
use tune::LUMA_BYTES;
pub use tune::Tune;

/// `2^n`, exactly.
fn power_of_two(n: i32) -> f64 {
    f64::from_bits(((1023 + n.clamp(-1022, 1023)) as u64) << 52)
}

/// How latents are refined.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    rounds: usize,
    /// The part of the way to the best latents, as far as derivatives tell, that the first round goes.
    first: f32,
    /// By the how manieth power of the rounds that are left that part falls.
    power: i32,
    /// The trellis that rounds look for values with, and the one that they are coded with in the end.
    rounds_trellis: TrellisCode,
    trellis: TrellisCode,
}

impl Schedule {
    /// The part of the way that a round goes.
    fn step(self, round: usize) -> f32 {
        let left = 1.0 - round as f32 / self.rounds as f32;
        // A product, which is the same everywhere.
        (0..self.power).fold(self.first, |step, _| step * left)
    }
}

/// For each effort from 1 on. These numbers and those below were found on photographs that are in no evaluation, see models/training/EXPERIMENTS.md.
const SCHEDULES: [Schedule; 5] = [
    Schedule { rounds: 1, first: 0.17, power: 0, rounds_trellis: TrellisCode::States256, trellis: TrellisCode::States4096 },
    Schedule { rounds: 2, first: 0.3, power: 1, rounds_trellis: TrellisCode::States256, trellis: TrellisCode::States4096 },
    Schedule { rounds: 4, first: 0.4, power: 1, rounds_trellis: TrellisCode::States256, trellis: TrellisCode::States4096 },
    Schedule { rounds: 8, first: 0.45, power: 2, rounds_trellis: TrellisCode::States256, trellis: TrellisCode::States16384 },
    Schedule { rounds: 24, first: 0.45, power: 3, rounds_trellis: TrellisCode::States1024, trellis: TrellisCode::States16384 },
];
/// The highest effort.
pub(super) const MAX_EFFORT: u8 = SCHEDULES.len() as u8;

/// The schedule of an effort; of 0 there is none.
fn schedule(effort: u8) -> Option<Schedule> {
    Some(SCHEDULES[usize::from(effort.min(MAX_EFFORT)).checked_sub(1)?])
}

/// The trellis of an effort's files.
pub(super) fn trellis(effort: u8) -> TrellisCode {
    schedule(effort).map_or(TrellisCode::States1024, |schedule| schedule.trellis)
}

/// Hyper-latents go less far in a round, and as if all of them had this curvature.
const Z_PART: f32 = 0.3;
const Z_CURVATURE: f32 = 8.0;
/// How much of the curvature of the distortion a latent's own error counts with: curvatures are larger than they are estimated, so that steps are shorter.
const OWN_ERROR: f32 = 1.0 / distortion::WEIGHT;
/// What a slope of the rate counts: less than it says, as later values adapt.
const RATE_SLOPE: f32 = 0.6;
/// And tuned for the look.
const VISUAL_RATE_SLOPE: f32 = 0.85;
/// What a curvature of the rate counts: more, so that steps where it is steep are short.
const RATE_CURVATURE: f32 = 2.0;

/// Latents around a tile, or around a part of it that goes through the synthesis at a time, that are looked at. A sample depends on more of them, on those
/// further away very little.
pub(super) const HALO: usize = 2;

/// Refines row after row of tiles.
pub(super) struct RowRefiner<'a> {
    refiner: Refiner<'a>,
    /// The last latents of the row above, `[rows][columns][m]`.
    above: Vec<i32>,
}

impl<'a> RowRefiner<'a> {
    /// `None` where the effort is 0.
    pub(super) fn new(model: &'a Model, quality: Quality, effort: u8, tune: Tune, skip_below: Option<u8>) -> Result<Option<Self>> {
        let Some(schedule) = schedule(effort) else { return Ok(None) };
        Ok(Some(Self { refiner: Refiner::new(model, quality, schedule, tune, skip_below)?, above: Vec::new() }))
    }

    /// Puts better latents in place of `y`, which were taken from `latents` last, and says for each tile what they were refined for.
    pub(super) fn refine<S: Sample>(
        &mut self,
        engine: &Engine,
        latents: &mut LatentRows<'_, S, impl RowSource<S>>,
        grid: &Grid,
        row: usize,
        y: &mut [i32],
        progress: &Progress,
    ) -> Result<Vec<Choices>> {
        let (row_len, layout) = (grid.latent_width() * self.refiner.model.header().m, latents.layout());
        let (above, rows) = (self.above.len() / row_len, grid.row_height(row));
        let mut around = std::mem::take(&mut self.above);
        let below = latents.ahead(engine, HALO, progress)?;
        around.try_reserve_exact(y.len() + below.len()).map_err(|_| Error::Limits("there is no memory for the latents".into()))?;
        around.extend_from_slice(y);
        around.extend_from_slice(below);
        let first = grid.row_latents(row).start - above;
        let done = latents.rows_done();
        let mut canvas = Canvas {
            rows: around.len() / row_len,
            y: around,
            above,
            columns: grid.latent_width(),
            height: layout.height() as usize - first * LATENT,
            width: layout.width() as usize,
            cells: latents.cells_from(first * LATENT / 8),
        };
        let mut choices = Vec::with_capacity(grid.per_row());
        for place in grid.row(row) {
            let refined = self.refiner.refine(engine, &canvas, rows, &place, || report(progress, done, layout.height()))?;
            let m = self.refiner.model.header().m;
            let tile = refined.y.chunks_exact(place.columns.len() * m);
            for (to, from) in canvas.y[above * row_len..].chunks_exact_mut(row_len).zip(tile) {
                to[place.columns.start * m..place.columns.end * m].copy_from_slice(from);
            }
            choices.push(refined.choices);
        }
        let end = (above + rows) * row_len;
        y.copy_from_slice(&canvas.y[above * row_len..end]);
        self.above = canvas.y[end - HALO.min(rows) * row_len..end].to_vec();
        Ok(choices)
    }
}

/// About how many bytes refining needs besides.
pub(super) fn refine_memory(grid: &Grid, model: &Model, effort: u8, tune: Tune) -> u64 {
    let Some(schedule) = schedule(effort) else { return 0 };
    let h = model.header();
    let (columns, rows) = (grid.latent_width() as u64, grid.row_height(0) as u64);
    let tile = rows * columns.min((grid.tile() / LATENT) as u64);
    // The canvas: latents of 32 bits, and cells, of which the analysis has read more than it has given latents of.
    let canvas = features(columns * (rows + 2 * HALO as u64), 2 * h.m) + features(4 * columns * (rows + 2 * HALO as u64 + BAND as u64), INPUTS);
    // Of a tile: latents as integers, in floating point and the best ones, values, slopes and curvatures of the rate, slopes of the distortion; symbols of a step.
    let numbers = features(tile, 2 * h.m * 7 + h.m) + search_bytes(schedule.rounds_trellis);
    let entropy = features(tile, h.m + (6 + 3 * usize::from(h.n_trunk)) * h.ce);
    let side = (PART.min(grid.tile() / LATENT) + 2 * HALO) as u64;
    let blocks = 3 * h.synthesis.n8() + 5;
    let part = features(4 * side.min(columns) * side.min(rows), blocks * h.c8 + INPUTS + (3 * usize::from(h.synthesis.n16) + 5) * h.c16 / 4);
    let luma = match tune {
        Tune::Psnr => 0,
        Tune::Visual => side.min(columns) * side.min(rows) * (LATENT * LATENT * LUMA_BYTES) as u64,
    };
    // Both ways.
    let networks = 2 * model.network_bytes(false);
    canvas + numbers + entropy.max(part + luma) + networks
}

/// Latents and samples that a row of tiles is refined with: the row, and up to [`HALO`] latents above and below.
struct Canvas<'a> {
    /// `[rows][columns of the picture][m]` in units of `2^-y_input_fraction`.
    y: Vec<i32>,
    /// What the analysis took, `[2 rows][2 columns][INPUTS]`; [`INVISIBLE`](super::latents::INVISIBLE) where errors do not count.
    cells: &'a [i16],
    /// Rows that are above the tiles.
    above: usize,
    rows: usize,
    columns: usize,
    /// Pixels of the picture in the canvas: what is outside is padding, which nobody sees.
    height: usize,
    width: usize,
}

impl Canvas<'_> {
    /// What the analysis took of 8 x 8 pixels.
    fn cell(&self, row: usize, column: usize) -> &[i16] {
        &self.cells[(row * 2 * self.columns + column) * INPUTS..][..INPUTS]
    }

    /// Rows and columns of pixels of a cell that are the picture's.
    fn visible(&self, row: usize, column: usize) -> (usize, usize) {
        (self.height.saturating_sub(8 * row).min(8), self.width.saturating_sub(8 * column).min(8))
    }
}

/// What a tile has to be coded with for its latents to be right.
pub(super) struct Choices {
    /// Its hyper-latents, in units of `2^-z_shift`.
    pub(super) z: Vec<i32>,
    /// Its skip threshold.
    pub(super) skip_below: u8,
}

/// A tile, ready to be coded.
struct Refined {
    y: Vec<i32>,
    choices: Choices,
}

/// Refines the tiles of a picture.
struct Refiner<'a> {
    model: &'a Model,
    synthesis: &'a SynthesisGradient,
    rate: RateModel<'a>,
    quality: u8,
    /// Of [`lambda`].
    lambda: f64,
    schedule: Schedule,
    tune: Tune,
    skip_below: Option<u8>,
}

/// A tile that is refined.
struct Tile<'a> {
    place: &'a TilePlace,
    shape: TileShape,
    /// Of the analysis, in units of `2^-y_input_fraction` and of `2^-z_shift`.
    y: Vec<i32>,
    z: Vec<i32>,
    parts: Vec<Part>,
}

/// Latents on their way, in real numbers.
struct Moving(Vec<f32>);

impl Moving {
    /// From integers in units of `2^-fraction`.
    fn new(from: &[i32], fraction: u32) -> Result<Self> {
        let unit = power_of_two(-(fraction as i32)) as f32;
        let mut numbers = try_filled(from.len(), 0.0)?;
        numbers.iter_mut().zip(from).for_each(|(to, from)| *to = *from as f32 * unit);
        Ok(Self(numbers))
    }

    /// The nearest integers in units of `2^-fraction`.
    fn integers(&self, fraction: u32) -> Result<Vec<i32>> {
        let unit = power_of_two(fraction as i32) as f32;
        let mut integers = try_filled(self.0.len(), 0)?;
        integers.iter_mut().zip(&self.0).for_each(|(to, from)| *to = ((from * unit + 0.5).floor() as i32).clamp(-LARGEST, LARGEST));
        Ok(integers)
    }
}

impl<'a> Refiner<'a> {
    fn new(model: &'a Model, quality: Quality, schedule: Schedule, tune: Tune, skip_below: Option<u8>) -> Result<Self> {
        let rate = RateModel::new(model, Coding { quality: quality.get(), code: schedule.rounds_trellis })?;
        let synthesis = model.synthesis_gradient()?;
        Ok(Self { model, synthesis, rate, quality: quality.get(), lambda: lambda(quality), schedule, tune, skip_below })
    }

    /// Better latents for a tile of the canvas. `stop` is asked now and then whether to go on.
    fn refine(&self, engine: &Engine, canvas: &Canvas<'_>, rows: usize, place: &TilePlace, stop: impl Fn() -> Result<()>) -> Result<Refined> {
        let m = self.model.header().m;
        let shape = TileShape { rows, columns: place.columns.len() };
        let row_len = canvas.columns * m;
        let y = tile_latents(&canvas.y[canvas.above * row_len..][..rows * row_len], row_len, place.columns.start * m..place.columns.end * m)?;
        let z = hyper_latents(&y, self.model, self.model.analysis()?, engine, shape)?;
        let tile = Tile { place, shape, y, z, parts: parts(canvas, canvas.above..canvas.above + rows, place.columns.clone()) };
        let skip_below = self.skip_below.unwrap_or(self.model.encoder()?.skip_below);
        if let Some(refined) = self.under(engine, canvas, &tile, skip_below, &stop)? {
            return Ok(refined);
        }
        // Nothing is skipped then, so that there is a result.
        if let Some(refined) = self.under(engine, canvas, &tile, 0, &stop)? {
            return Ok(refined);
        }
        Ok(Refined { y: tile.y, choices: Choices { z: tile.z, skip_below: 0 } })
    }

    /// The best of the latents that the rounds go through, with a skip threshold. `None` if values that are skipped would be missed, as [`crate::entropy::encode_tile`]
    /// has it, unless the threshold is given.
    fn under(&self, engine: &Engine, canvas: &Canvas<'_>, tile: &Tile<'_>, skip_below: u8, stop: impl Fn() -> Result<()>) -> Result<Option<Refined>> {
        let (header, y_fraction) = (self.model.header(), self.model.encoder()?.y_input_fraction);
        let mut y = Moving::new(&tile.y, y_fraction)?;
        let mut z = Moving::new(&tile.z, header.z_shift)?;
        let z_unit = power_of_two(-(header.z_shift as i32)) as f32;
        let (mut best, mut least) = (None, f64::INFINITY);
        let (mut curvature, mut curvatures) = (Curvature::new(header.m, tile.shape.rows * tile.shape.columns)?, Curvatures::default());
        for round in 0..=self.schedule.rounds {
            stop()?;
            let last = round == self.schedule.rounds;
            let (y_now, z_now) = (y.integers(y_fraction)?, z.integers(header.z_shift)?);
            let rate = self.rate.rate(engine, &y_now, &z_now, tile.shape, skip_below, !last)?;
            if rate.skips_too_much && self.skip_below.is_none() {
                return Ok(None);
            }
            let look = round <= self.schedule.rounds / 4;
            let distortion = self.distortion(engine, canvas, tile, &rate.y_hat, !last, look.then_some(&mut curvature))?;
            if look {
                curvatures = curvature.estimate(self)?;
            }
            if !last {
                let part = self.schedule.step(round);
                self.step(part, &mut y.0, &rate, &distortion, &curvatures);
                for ((z, z_hat), slope) in z.0.iter_mut().zip(&rate.z_hat).zip(&rate.z_slope) {
                    *z += Z_PART * part * (*z_hat as f32 * z_unit - *z - slope / Z_CURVATURE);
                }
            }
            if rate.bits + distortion.cost < least {
                least = rate.bits + distortion.cost;
                best = Some(Refined { y: y_now, choices: Choices { z: z_now, skip_below } });
            }
        }
        Ok(best)
    }

    /// Moves latents `part` of the way to where the sum of both costs is least, as far as its derivatives tell: the distortion's at the coded values, the rate's at
    /// the latents.
    fn step(&self, part: f32, y: &mut [f32], rate: &Rate, distortion: &Distortion, curvatures: &Curvatures) {
        let rate_slope = match self.tune {
            Tune::Psnr => RATE_SLOPE,
            Tune::Visual => VISUAL_RATE_SLOPE,
        };
        let unit = power_of_two(-(self.model.header().y_fraction as i32)) as f32;
        let numbers = y.iter_mut().zip(&rate.y_hat).zip(&distortion.slope).zip(rate.slope.iter().zip(&rate.curvature));
        for ((((y, y_hat), by_distortion), (by_rate, bent)), curvature) in numbers.zip(curvatures.iter()) {
            let force = OWN_ERROR * curvature * (*y_hat as f32 * unit - *y) - by_distortion - rate_slope * by_rate;
            *y += part * force / (curvature + RATE_CURVATURE * bent);
        }
    }
}

/// Latents are within this, in their integers, as the analysis gives them.
const LARGEST: i32 = 1 << 26;
