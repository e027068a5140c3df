//! Latents that are better than those of the analysis (SPEC 6).
//!
//! The analysis has to guess in one go. Here a tile's latents are decoded again and again, and each time moved a part of the way to where rate and distortion
//! together say that they should be: one step of Newton's method, with curvatures of single latents only, for y at the integers that were chosen for it.

use std::ops::Range;

use super::latents::{LatentRows, RowSource};
use super::tile_latents;
use crate::codec::memory::features;
use crate::codec::quality::lambda;
use crate::codec::{BAND, Progress, Quality, report};
use crate::entropy::{Rate, RateModel, TileShape, hyper_latents};
use crate::net::{Engine, Model, OUTPUTS, SynthesisGradient, Tensor, power_of_two, sat16};
use crate::picture::samples::Sample;
use crate::picture::tiles::{Grid, LATENT, TilePlace};
use crate::picture::try_filled;
use crate::{Error, Result};

/// How latents are refined.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    rounds: usize,
    /// The part of the way to the best latents, as far as derivatives tell, that the first round goes.
    first: f32,
    /// By the how manieth power of the rounds that are left that part falls.
    power: i32,
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
    Schedule { rounds: 1, first: 0.12, power: 0 },
    Schedule { rounds: 2, first: 0.2, power: 1 },
    Schedule { rounds: 4, first: 0.3, power: 2 },
    Schedule { rounds: 8, first: 0.4, power: 3 },
    Schedule { rounds: 16, first: 0.4, power: 3 },
];
/// The highest effort.
pub(super) const MAX_EFFORT: u8 = SCHEDULES.len() as u8;
/// What a slope of the rate counts: less than it says, as later values adapt.
const RATE_SLOPE: f32 = 0.85;
/// What a curvature of the rate counts: more, so that steps where it is steep are short.
const RATE_CURVATURE: f32 = 2.0;
/// What a curvature of the distortion counts: latents of one place share their errors.
const DISTORTION_CURVATURE: f32 = 1.2;
/// Latents around a tile, or around a part of it that goes through the synthesis at a time, that are looked at. A sample depends on more of them, on those
/// further away very little.
pub(super) const HALO: usize = 2;
/// Latents along the edge of that whose samples are not looked at: too much of what they depend on is missing.
const BLIND: usize = 1;
/// Side of such a part in latents, without its halo.
const PART: usize = 32;

/// Refines row after row of tiles.
pub(super) struct RowRefiner<'a> {
    refiner: Refiner<'a>,
    /// The last latents of the row above, `[rows][columns][m]`.
    above: Vec<i32>,
}

impl<'a> RowRefiner<'a> {
    /// `None` where the effort is 0.
    pub(super) fn new(model: &'a Model, quality: Quality, effort: u8, skip_below: Option<u8>) -> Result<Option<Self>> {
        let Some(effort) = usize::from(effort.min(MAX_EFFORT)).checked_sub(1) else { return Ok(None) };
        Ok(Some(Self { refiner: Refiner::new(model, quality, SCHEDULES[effort], skip_below)?, above: Vec::new() }))
    }

    /// Puts better latents in place of `y`, which were taken from `latents` last, and says for each tile what they were refined for.
    pub(super) fn refine<S: Sample>(
        &mut self,
        engine: &Engine,
        latents: &mut LatentRows<'_, S, impl RowSource<S>>,
        grid: &Grid,
        row: usize,
        y: &mut Vec<i32>,
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
pub(super) fn refine_memory(grid: &Grid, model: &Model) -> u64 {
    let h = model.header();
    let (columns, rows) = (grid.latent_width() as u64, grid.row_height(0) as u64);
    let tile = rows * columns.min((grid.tile() / LATENT) as u64);
    // The canvas: latents of 32 bits, and cells, of which the analysis has read more than it has given latents of.
    let canvas = features(columns * (rows + 2 * HALO as u64), 2 * h.m) + features(4 * columns * (rows + 2 * HALO as u64 + BAND as u64), OUTPUTS);
    // Of a tile: latents as integers, in floating point and the best ones, values, slopes and curvatures of the rate, slopes of the distortion.
    let numbers = features(tile, 2 * h.m * 7);
    let entropy = features(tile, h.m + (6 + 3 * usize::from(h.n_trunk)) * h.ce);
    let side = (PART + 2 * HALO) as u64;
    let blocks = 3 * (usize::from(h.n8_first) + usize::from(h.n8_second)) + 5;
    let part = features(4 * side.min(columns) * side.min(rows), blocks * h.c8 + OUTPUTS + (3 * usize::from(h.n16) + 5) * h.c16 / 4);
    let networks = 4 * (model.network_bytes(false));
    canvas + numbers + entropy.max(part) + networks
}

/// Latents and samples that a row of tiles is refined with: the row, and up to [`HALO`] latents above and below.
struct Canvas<'a> {
    /// `[rows][columns of the picture][m]` in units of `2^-y_input_fraction`.
    y: Vec<i32>,
    /// What the analysis took, `[2 rows][2 columns][INPUTS]`.
    cells: &'a [i16],
    /// Rows that are above the tiles.
    above: usize,
    rows: usize,
    columns: usize,
    /// Pixels of the picture in the canvas: what is outside is padding, which nobody sees.
    height: usize,
    width: usize,
}

/// What a tile has to be coded with for its latents to be right.
pub(super) struct Choices {
    /// Its hyper-latents.
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
    skip_below: Option<u8>,
}

/// A tile that is refined.
struct Tile<'a> {
    place: &'a TilePlace,
    shape: TileShape,
    z: &'a [i32],
    parts: Vec<Part>,
}

/// Rows and columns of latents of the canvas that go through the synthesis at a time.
struct Part {
    rows: Range<usize>,
    columns: Range<usize>,
    /// The part without its halo.
    core_rows: Range<usize>,
    core_columns: Range<usize>,
    /// Where samples are looked at.
    seen_rows: Range<usize>,
    seen_columns: Range<usize>,
}

/// What the synthesis says of a tile.
struct Distortion {
    /// In bits.
    cost: f64,
    /// Derivative by each latent, `[rows][columns][m]`; empty where it was not asked for.
    slope: Vec<f32>,
}

impl<'a> Refiner<'a> {
    fn new(model: &'a Model, quality: Quality, schedule: Schedule, skip_below: Option<u8>) -> Result<Self> {
        let (synthesis, rate) = (model.synthesis_gradient()?, RateModel::new(model)?);
        Ok(Self { model, synthesis, rate, quality: quality.get(), lambda: lambda(quality), schedule, skip_below })
    }

    /// Better latents for a tile of the canvas. `stop` is asked now and then whether to go on.
    fn refine(&self, engine: &Engine, canvas: &Canvas<'_>, rows: usize, place: &TilePlace, stop: impl Fn() -> Result<()>) -> Result<Refined> {
        let m = self.model.header().m;
        let shape = TileShape { rows, columns: place.columns.len() };
        let row_len = canvas.columns * m;
        let y = tile_latents(&canvas.y[canvas.above * row_len..][..rows * row_len], row_len, place.columns.start * m..place.columns.end * m)?;
        let z = hyper_latents(&y, self.model, self.model.analysis()?, engine, shape)?;
        let tile = Tile { place, shape, z: &z, parts: parts(canvas, canvas.above..canvas.above + rows, place.columns.clone()) };
        let skip_below = self.skip_below.unwrap_or(self.model.header().skip_below);
        if let Some(y) = self.under(engine, canvas, &tile, &y, skip_below, &stop)? {
            return Ok(Refined { y, choices: Choices { z, skip_below } });
        }
        let skip_below = 0;
        let better = self.under(engine, canvas, &tile, &y, skip_below, &stop)?;
        Ok(Refined { y: better.unwrap_or(y), choices: Choices { z, skip_below } })
    }

    /// The best of the latents that the rounds go through, with a skip threshold. `None` if values that are skipped would be missed, as [`crate::entropy::encode_tile`]
    /// has it, unless the threshold is given.
    fn under(
        &self,
        engine: &Engine,
        canvas: &Canvas<'_>,
        tile: &Tile<'_>,
        y: &[i32],
        skip_below: u8,
        stop: impl Fn() -> Result<()>,
    ) -> Result<Option<Vec<i32>>> {
        let features = self.rate.features(engine, tile.z, tile.shape)?;
        let z_bits = self.rate.z_bits(self.quality, tile.z);
        let unit = power_of_two(self.model.header().y_input_fraction as i32) as f32;
        let (mut y, mut exact) = (y.to_vec(), try_filled(y.len(), 0.0)?);
        exact.iter_mut().zip(&y).for_each(|(exact, y)| *exact = *y as f32 / unit);
        let (mut best, mut least, mut curvature) = (Vec::new(), f64::INFINITY, Vec::new());
        for round in 0..=self.schedule.rounds {
            stop()?;
            let last = round == self.schedule.rounds;
            let rate = self.rate.rate(engine, &y, &features, tile.shape, skip_below, !last)?;
            if rate.skips_too_much && self.skip_below.is_none() {
                return Ok(None);
            }
            if round == 0 {
                curvature = self.curvature(engine, canvas, tile, &rate.y_hat)?;
            }
            let distortion = self.distortion(engine, canvas, tile, &rate.y_hat, !last)?;
            let cost = z_bits + rate.bits + distortion.cost;
            if cost < least {
                least = cost;
                best.clone_from(&y);
            }
            if !last {
                self.step(self.schedule.step(round), &mut exact, &rate, &distortion, &curvature);
                y.iter_mut().zip(&exact).for_each(|(y, exact)| *y = ((exact * unit).round() as i32).clamp(-LARGEST, LARGEST));
            }
        }
        engine.recycle(features);
        Ok(Some(best))
    }

    /// Moves latents `part` of the way to where the sum of both costs is least, as far as its derivatives tell: the distortion's at the coded values, the rate's at
    /// the latents.
    fn step(&self, part: f32, y: &mut [f32], rate: &Rate, distortion: &Distortion, curvature: &[f32]) {
        let unit = power_of_two(-(self.model.header().y_fraction as i32)) as f32;
        let numbers = y.iter_mut().zip(&rate.y_hat).zip(&distortion.slope).zip(rate.slope.iter().zip(&rate.curvature));
        for ((((y, y_hat), by_distortion), (by_rate, bent)), curvature) in numbers.zip(curvature.iter().cycle()) {
            let force = curvature * (*y_hat as f32 * unit - *y) - by_distortion - RATE_SLOPE * by_rate;
            *y += part * force / (curvature + RATE_CURVATURE * bent);
        }
    }

    /// Features of a part, from the values of the tile and around it the latents of the canvas.
    fn features(&self, engine: &Engine, canvas: &Canvas<'_>, tile: &Tile<'_>, part: &Part, y_hat: &[i32]) -> Result<Tensor> {
        let header = self.model.header();
        let (m, finer) = (header.m, header.y_input_fraction - header.y_fraction);
        let (place, tile_rows) = (tile.place, canvas.above..canvas.above + tile.shape.rows);
        let mut features = engine.tensor(part.rows.len(), part.columns.len(), m)?;
        engine.pieces(features.data_mut(), part.columns.len() * m, |i, piece| {
            let row = part.rows.start + i;
            let mut around = vec![0; m];
            for (column, out) in part.columns.clone().zip(piece.chunks_exact_mut(m)) {
                let latents = if tile_rows.contains(&row) && place.columns.contains(&column) {
                    &y_hat[((row - tile_rows.start) * place.columns.len() + column - place.columns.start) * m..][..m]
                } else {
                    let y = &canvas.y[(row * canvas.columns + column) * m..][..m];
                    around.iter_mut().zip(y).for_each(|(to, y)| *to = (y + (1 << finer >> 1)) >> finer);
                    &around
                };
                out.iter_mut().zip(self.synthesis.features(self.quality, latents)).for_each(|(out, x)| *out = x);
            }
        });
        Ok(features)
    }

    fn distortion(&self, engine: &Engine, canvas: &Canvas<'_>, tile: &Tile<'_>, y_hat: &[i32], slopes: bool) -> Result<Distortion> {
        let header = self.model.header();
        let m = header.m;
        let per_square = self.lambda / 3.0 * power_of_two(-2 * header.pixel_fraction as i32);
        let mut distortion = Distortion { cost: 0.0, slope: try_filled(if slopes { y_hat.len() } else { 0 }, 0.0)? };
        let by_feature = self.synthesis.slopes(self.quality);
        for part in &tile.parts {
            let features = self.features(engine, canvas, tile, part, y_hat)?;
            let (mut errors, tape) = self.synthesis.forward(engine, self.quality, features)?;
            let (core, seen, count) = self.errors(canvas, part, &mut errors);
            distortion.cost += per_square * core as f64;
            if slopes && seen > 0 {
                let shift = shift_to(MAGNITUDE, seen, count);
                errors.data_mut().iter_mut().for_each(|e| *e = shifted(*e, shift));
                let g = self.synthesis.backward(engine, self.quality, &tape, errors)?;
                // From 2^exponent times the derivative of half the squared error by a feature.
                let exponent = shift + self.synthesis.rise();
                let scale = (2.0 * per_square * power_of_two(header.y_fraction as i32 - exponent)) as f32;
                part.each_core(|row, column| {
                    let at = ((row - canvas.above) * tile.shape.columns + column - tile.place.columns.start) * m;
                    let g = &g.row(row - part.rows.start)[(column - part.columns.start) * m..][..m];
                    let slopes = distortion.slope[at..at + m].iter_mut().zip(g).zip(&by_feature);
                    slopes.for_each(|((slope, g), by_feature)| *slope = f32::from(*g) * by_feature * scale);
                });
                engine.recycle(g);
            } else {
                engine.recycle(errors);
            }
            tape.recycle(engine);
        }
        Ok(distortion)
    }

    /// Second derivative of the distortion by the latents of each channel, on the average over the tile: from the derivatives of the sum of all samples with random
    /// signs, whose squares are those of single samples on the average (M. F. Hutchinson, A stochastic estimator of the trace of the influence matrix, 1989).
    fn curvature(&self, engine: &Engine, canvas: &Canvas<'_>, tile: &Tile<'_>, y_hat: &[i32]) -> Result<Vec<f32>> {
        let header = self.model.header();
        let mut sums = vec![0.0; header.m];
        let mut count = 0u64;
        let mut random = 0x9E37_79B9u32;
        for part in &tile.parts {
            let features = self.features(engine, canvas, tile, part, y_hat)?;
            let (mut signs, tape) = self.synthesis.forward(engine, self.quality, features)?;
            for sign in signs.data_mut() {
                // Numerical Recipes' generator: its upper bits are random enough for signs.
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *sign = if random >> 31 == 0 { MAGNITUDE } else { -MAGNITUDE };
            }
            let g = self.synthesis.backward(engine, self.quality, &tape, signs)?;
            part.each_core(|row, column| {
                let g = &g.row(row - part.rows.start)[(column - part.columns.start) * header.m..][..header.m];
                sums.iter_mut().zip(g).for_each(|(sum, g)| *sum += f64::from(*g).powi(2));
                count += 1;
            });
            engine.recycle(g);
            tape.recycle(engine);
        }
        let unit = power_of_two(header.y_fraction as i32 - header.pixel_fraction as i32 - self.synthesis.rise()) / f64::from(MAGNITUDE);
        let by_feature = self.synthesis.slopes(self.quality);
        let scale = 2.0 * self.lambda / 3.0 * unit * unit / count.max(1) as f64;
        let curvature: Vec<f64> = sums.iter().zip(by_feature).map(|(sum, by_feature)| sum * f64::from(by_feature).powi(2) * scale).collect();
        // A channel that does nothing must not go anywhere.
        let floor = curvature.iter().sum::<f64>() / header.m as f64 * 0.01 + 1e-6;
        Ok(curvature.into_iter().map(|c| c.max(floor) as f32 * DISTORTION_CURVATURE).collect())
    }

    /// Makes samples of a part to their errors, 0 where nobody looks, in units of `2^-pixel_fraction`. Gives the sum of the squares in its core, that of all, and
    /// how many there are.
    fn errors(&self, canvas: &Canvas<'_>, part: &Part, samples: &mut Tensor) -> (u64, u64, u64) {
        let header = self.model.header();
        let (input_shift, fraction) = (header.input_shift, header.pixel_fraction);
        let white = 255 << fraction;
        let target = |x: i16| ((i32::from(x) + (255 << input_shift)) << fraction) >> (input_shift + 1);
        let (mut core, mut all, mut count) = (0, 0, 0);
        let row_len = samples.row_len();
        for (i, row) in samples.data_mut().chunks_exact_mut(row_len).enumerate() {
            let cell_row = 2 * part.rows.start + i;
            for (j, cell) in row.chunks_exact_mut(OUTPUTS).enumerate() {
                let cell_column = 2 * part.columns.start + j;
                let lines = canvas.height.saturating_sub(8 * cell_row).min(8);
                let pixels = canvas.width.saturating_sub(8 * cell_column).min(8);
                let seen = part.seen_rows.contains(&(cell_row / 2)) && part.seen_columns.contains(&(cell_column / 2));
                if !seen || lines == 0 || pixels == 0 {
                    cell.fill(0);
                    continue;
                }
                let original = &canvas.cells[(cell_row * 2 * canvas.columns + cell_column) * OUTPUTS..][..OUTPUTS];
                let mut sum = 0;
                for (line, (samples, original)) in cell.chunks_exact_mut(24).zip(original.chunks_exact(24)).enumerate() {
                    let visible = if line < lines { 3 * pixels } else { 0 };
                    samples[visible..].fill(0);
                    for (sample, original) in samples[..visible].iter_mut().zip(original) {
                        let error = i32::from(*sample).clamp(0, white) - target(*original);
                        sum += (error * error) as u64;
                        *sample = sat16(error.into());
                    }
                }
                all += sum;
                count += (3 * lines * pixels) as u64;
                if part.core_rows.contains(&(cell_row / 2)) && part.core_columns.contains(&(cell_column / 2)) {
                    core += sum;
                }
            }
        }
        (core, all, count)
    }
}

/// Latents are within this, in their integers, as the analysis gives them.
const LARGEST: i32 = 1 << 26;

/// What derivatives by samples have as a root of their mean square, or a little less: rare ones may be a hundred times as large.
const MAGNITUDE: i16 = 256;

/// The shift to the left by which numbers whose squares have this sum get a root of the mean square of half of `magnitude` to `magnitude`.
fn shift_to(magnitude: i16, sum: u64, count: u64) -> i32 {
    let wanted = f64::from(magnitude).powi(2) * count as f64;
    let mut shift = 0;
    let mut sum = sum as f64;
    while sum * 4.0 <= wanted && shift < 15 {
        sum *= 4.0;
        shift += 1;
    }
    while sum > wanted && shift > -15 {
        sum /= 4.0;
        shift -= 1;
    }
    shift
}

fn shifted(x: i16, shift: i32) -> i16 {
    if shift >= 0 { sat16(i64::from(x) << shift) } else { ((i32::from(x) + (1 << -shift >> 1)) >> -shift) as i16 }
}

impl Part {
    fn each_core(&self, mut f: impl FnMut(usize, usize)) {
        for row in self.core_rows.clone() {
            self.core_columns.clone().for_each(|column| f(row, column));
        }
    }
}

/// The parts of a tile.
fn parts(canvas: &Canvas<'_>, rows: Range<usize>, columns: Range<usize>) -> Vec<Part> {
    let cut = |range: Range<usize>, end: usize| {
        let starts: Vec<usize> = range.clone().step_by(PART).collect();
        let bounds = move |start: usize| {
            let core = start..(start + PART).min(range.end);
            let with_halo = core.start.saturating_sub(HALO)..(core.end + HALO).min(end);
            (core, with_halo)
        };
        starts.into_iter().map(bounds).collect::<Vec<_>>()
    };
    // A core without a halo is at the picture's edge.
    let seen = |core: &Range<usize>, all: &Range<usize>| {
        let start = if all.start == core.start { all.start } else { all.start + BLIND };
        let end = if all.end == core.end { all.end } else { all.end - BLIND };
        start..end
    };
    let columns = cut(columns, canvas.columns);
    let mut parts = Vec::new();
    for (core_rows, rows) in cut(rows, canvas.rows) {
        for (core_columns, columns) in &columns {
            parts.push(Part {
                seen_rows: seen(&core_rows, &rows),
                seen_columns: seen(core_columns, columns),
                rows: rows.clone(),
                columns: columns.clone(),
                core_rows: core_rows.clone(),
                core_columns: core_columns.clone(),
            });
        }
    }
    parts
}
