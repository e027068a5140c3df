//! What the synthesis says of a tile: how far its samples are from the picture's, and how that changes with the latents.

use std::ops::Range;

use super::tune::{self, LUMA, Luma, Tune};
use super::{Canvas, HALO, Refiner, Tile, power_of_two};
use crate::Result;
use crate::codec::encoder::latents::INVISIBLE;
use crate::net::{Engine, OUTPUTS, Tensor, sat16};
use crate::picture::try_filled;

/// Latents along the edge of what goes through the synthesis at a time whose samples are not looked at: too much of what they depend on is missing.
const BLIND: usize = 1;
/// Side of a part that goes through the synthesis at a time in latents, without its halo.
pub(super) const PART: usize = 32;
/// What a curvature of the distortion counts: more than it says, as latents of one place share their errors.
pub(super) const WEIGHT: f32 = 1.5;

/// Rows and columns of latents of the canvas that go through the synthesis at a time.
pub(super) struct Part {
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
pub(super) struct Distortion {
    /// In bits.
    pub(super) cost: f64,
    /// Derivative by each latent, `[rows][columns][m]`; empty where it was not asked for.
    pub(super) slope: Vec<f32>,
}

/// Estimates the second derivative of the distortion by the latents of each channel, on the average over a tile: from the derivatives of the sum of all samples with
/// random signs, whose squares are those of single samples on the average (M. F. Hutchinson, A stochastic estimator of the trace of the influence matrix, 1989).
pub(super) struct Curvature {
    /// Of the squares, for each channel, and for each position.
    by_channel: Vec<f64>,
    by_position: Vec<f64>,
    /// How many times each position was looked at.
    looks: u32,
    random: u32,
}

impl Curvature {
    pub(super) fn new(channels: usize, positions: usize) -> Result<Self> {
        Ok(Self { by_channel: vec![0.0; channels], by_position: try_filled(positions, 0.0)?, looks: 0, random: 0x9E37_79B9 })
    }

    /// Numbers of [`MAGNITUDE`] and random signs in place of those of `out`.
    fn signs(&mut self, out: &mut [i16]) {
        for sign in out {
            // The generator of Numerical Recipes: its upper bits are random enough for signs.
            self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *sign = if self.random >> 31 == 0 { MAGNITUDE } else { -MAGNITUDE };
        }
    }

    /// Takes the derivatives by the features of a position.
    fn add(&mut self, position: usize, derivatives: &[i16], by_feature: &[f32]) {
        for ((sum, g), by_feature) in self.by_channel.iter_mut().zip(derivatives).zip(by_feature) {
            let square = f64::from(*g).powi(2);
            *sum += square;
            self.by_position[position] += square * f64::from(*by_feature).powi(2);
        }
    }

    /// What a channel does not do anything for must not go anywhere: no curvature is much less than the average one.
    pub(super) fn estimate(&self, refiner: &Refiner<'_>) -> Result<Curvatures> {
        let header = refiner.model.header();
        let unit = power_of_two(header.y_fraction as i32 - header.pixel_fraction as i32 - refiner.synthesis.rise()) / f64::from(MAGNITUDE);
        let by_feature = refiner.by_feature();
        let scale = 2.0 * refiner.lambda / 3.0 * unit * unit / (self.by_position.len().max(1) as f64 * f64::from(self.looks.max(1)));
        let curvature: Vec<f64> = self.by_channel.iter().zip(by_feature).map(|(sum, by_feature)| sum * f64::from(by_feature).powi(2) * scale).collect();
        let floor = curvature.iter().sum::<f64>() / curvature.len() as f64 * 0.01 + 1e-6;
        let of_channels = curvature.into_iter().map(|c| c.max(floor) as f32 * WEIGHT).collect();
        let mean = self.by_position.iter().sum::<f64>() / self.by_position.len().max(1) as f64;
        let mut of_positions = try_filled(self.by_position.len(), 1.0)?;
        // To the power of 3/4: what the channels of a position say of it is not sure. By roots, which are the same everywhere.
        let less = |x: f64| (x * x.sqrt()).sqrt() as f32;
        // Tuned for the look, errors count more in some places than in others, which this does not know of.
        if mean > 0.0 && refiner.tune == Tune::Psnr {
            of_positions.iter_mut().zip(&self.by_position).for_each(|(of, sum)| *of = less((sum / mean).clamp(0.1, 10.0)));
        }
        Ok(Curvatures { of_channels, of_positions })
    }
}

/// Second derivatives of the distortion: those of a channel, times those of a position in relation to the average one.
#[derive(Default)]
pub(super) struct Curvatures {
    of_channels: Vec<f32>,
    of_positions: Vec<f32>,
}

impl Curvatures {
    /// Of all latents, `[rows][columns][m]`.
    pub(super) fn iter(&self) -> impl Iterator<Item = f32> {
        self.of_positions.iter().flat_map(|of_position| self.of_channels.iter().map(move |of_channel| of_channel * of_position))
    }
}

impl Refiner<'_> {
    /// What a feature changes by with a unit of each channel's latent.
    fn by_feature(&self) -> Vec<f32> {
        let (slopes, shift) = self.synthesis.slopes(self.quality);
        slopes.iter().map(|slope| (f64::from(*slope) * power_of_two(-(shift as i32))) as f32).collect()
    }

    /// The distortion of a tile whose values are `y_hat`; with `slopes`, its derivatives too. `curvature` gets to see the same.
    pub(super) fn distortion(
        &self,
        engine: &Engine,
        canvas: &Canvas<'_>,
        tile: &Tile<'_>,
        y_hat: &[i32],
        slopes: bool,
        mut curvature: Option<&mut Curvature>,
    ) -> Result<Distortion> {
        let header = self.model.header();
        let m = header.m;
        let per_square = self.lambda / 3.0 * power_of_two(-2 * header.pixel_fraction as i32);
        let mut distortion = Distortion { cost: 0.0, slope: try_filled(if slopes { y_hat.len() } else { 0 }, 0.0)? };
        let by_feature = self.by_feature();
        if let Some(curvature) = &mut curvature {
            curvature.looks += 1;
        }
        let position = |row: usize, column: usize| (row - canvas.above) * tile.shape.columns + column - tile.place.columns.start;
        for part in &tile.parts {
            let features = self.features(engine, canvas, tile, part, y_hat)?;
            let (mut errors, tape) = self.synthesis.forward(engine, self.quality, features)?;
            let count = self.errors(canvas, part, &mut errors)?;
            let cost = self.cost(engine, canvas, part, &mut errors)?;
            distortion.cost += per_square * cost.core;
            if let Some(curvature) = &mut curvature {
                let mut signs = engine.tensor(errors.rows(), errors.columns(), errors.channels())?;
                curvature.signs(signs.data_mut());
                let g = self.synthesis.backward(engine, self.quality, &tape, signs)?;
                part.each_core(|row, column| curvature.add(position(row, column), part.numbers(&g, row, column), &by_feature));
                engine.recycle(g);
            }
            if slopes && cost.squares > 0 {
                let shift = shift_to(MAGNITUDE, cost.squares, count);
                errors.data_mut().iter_mut().for_each(|e| *e = shifted(*e, shift));
                let g = self.synthesis.backward(engine, self.quality, &tape, errors)?;
                // From 2^exponent times the derivative of half the squared error by a feature.
                let exponent = shift + self.synthesis.rise();
                let scale = (2.0 * per_square * power_of_two(header.y_fraction as i32 - exponent)) as f32;
                part.each_core(|row, column| {
                    let at = position(row, column) * m;
                    let slopes = distortion.slope[at..at + m].iter_mut().zip(part.numbers(&g, row, column)).zip(&by_feature);
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

    /// Features of a part, from the values of the tile and around it the latents of the canvas.
    fn features(&self, engine: &Engine, canvas: &Canvas<'_>, tile: &Tile<'_>, part: &Part, y_hat: &[i32]) -> Result<Tensor> {
        let header = self.model.header();
        let (m, finer) = (header.m, self.model.encoder()?.y_input_fraction - header.y_fraction);
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

    /// A sample of the picture, as the canvas has it, in units of `2^-pixel_fraction`.
    fn original(&self) -> Result<impl Fn(i16) -> i32 + Copy> {
        let (input_shift, fraction) = (self.model.encoder()?.input_shift, self.model.header().pixel_fraction);
        Ok(move |x: i16| ((i32::from(x) + (255 << input_shift)) << fraction) >> (input_shift + 1))
    }

    /// Makes samples of a part to their errors, 0 where nobody looks or sees anything, in units of `2^-pixel_fraction`, and says how many are looked at.
    fn errors(&self, canvas: &Canvas<'_>, part: &Part, samples: &mut Tensor) -> Result<u64> {
        let (original, white) = (self.original()?, 255 << self.model.header().pixel_fraction);
        let mut count = 0;
        part.each_cell(samples, |row, column, cell| {
            let (lines, pixels) = part.seen(canvas, row, column);
            let originals = canvas.cell(row, column);
            for (line, (samples, originals)) in cell.chunks_exact_mut(24).zip(originals.chunks_exact(24)).enumerate() {
                let visible = if line < lines { 3 * pixels } else { 0 };
                samples[visible..].fill(0);
                for (sample, x) in samples[..visible].iter_mut().zip(originals) {
                    if *x == INVISIBLE {
                        *sample = 0;
                    } else {
                        *sample = sat16((i32::from(*sample).clamp(0, white) - original(*x)).into());
                        count += 1;
                    }
                }
            }
        });
        Ok(count)
    }

    /// What a part's errors cost, in their units squared. Errors become half the derivatives of that.
    fn cost(&self, engine: &Engine, canvas: &Canvas<'_>, part: &Part, errors: &mut Tensor) -> Result<Cost> {
        let mut cost = match self.tune {
            Tune::Psnr => Cost::default(),
            Tune::Visual => self.visual(engine, canvas, part, errors)?,
        };
        part.each_cell(errors, |row, column, cell| {
            let squares = cell.iter().map(|e| (i32::from(*e) * i32::from(*e)) as u64).sum::<u64>();
            cost.squares += squares;
            if self.tune == Tune::Psnr && part.is_core(row, column) {
                cost.core += squares as f64;
            }
        });
        Ok(cost)
    }

    /// As [`Refiner::cost`], of how a part looks ([`Tune::Visual`]).
    fn visual(&self, engine: &Engine, canvas: &Canvas<'_>, part: &Part, errors: &mut Tensor) -> Result<Cost> {
        let (original, level) = (self.original()?, (1 << self.model.header().pixel_fraction) as f32);
        let mut luma = Luma::new(8 * part.columns.len(), 8 * part.rows.len(), level)?;
        part.each_cell(errors, |row, column, cell| {
            let (lines, pixels) = canvas.visible(row, column);
            let at = (4 * (row - 2 * part.rows.start), 4 * (column - 2 * part.columns.start));
            for (line, (errors, originals)) in cell.chunks_exact(24).zip(canvas.cell(row, column).chunks_exact(24)).enumerate().take(lines) {
                for (i, (error, x)) in errors.as_chunks::<3>().0.iter().zip(originals.as_chunks::<3>().0).enumerate().take(pixels) {
                    if x[0] != INVISIBLE {
                        luma.add(at.0 + line / 2, at.1 + i / 2, x.map(original), error.map(i32::from));
                    }
                }
            }
        });
        // Rows and columns of latents of the part, 16 pixels each.
        let core = |range: &Range<usize>, start: usize| 16 * (range.start - start)..16 * (range.end - start);
        let (structure, slopes) = luma.structure(engine, core(&part.core_rows, part.rows.start), core(&part.core_columns, part.columns.start))?;
        let mut cost = Cost { core: structure, squares: 0 };
        part.each_cell(errors, |row, column, cell| {
            let (lines, pixels) = part.seen(canvas, row, column);
            if lines == 0 || pixels == 0 {
                return;
            }
            let originals = canvas.cell(row, column);
            let visible = originals.chunks_exact(24).take(lines).flat_map(|line| line.as_chunks::<3>().0[..pixels].iter());
            let weight = tune::weight(visible.filter(|x| x[0] != INVISIBLE).map(|x| x.map(original)), level);
            let at = (4 * (row - 2 * part.rows.start), 4 * (column - 2 * part.columns.start));
            let mut weighted = 0.0;
            for (line, (errors, originals)) in cell.chunks_exact_mut(24).zip(originals.chunks_exact(24)).enumerate().take(lines) {
                let slopes = &slopes[(at.0 + line / 2) * 8 * part.columns.len() + at.1..];
                for (i, (error, x)) in errors.as_chunks_mut::<3>().0.iter_mut().zip(originals.as_chunks::<3>().0).enumerate().take(pixels) {
                    if x[0] == INVISIBLE {
                        continue;
                    }
                    let halves = tune::weighted(error.map(i32::from), weight);
                    for ((error, half), share) in error.iter_mut().zip(halves).zip(LUMA) {
                        weighted += half * f32::from(*error);
                        *error = sat16(((half + share * slopes[i / 2] + 0.5).floor() as i32).into());
                    }
                }
            }
            if part.is_core(row, column) {
                cost.core += f64::from(weighted.max(0.0));
            }
        });
        Ok(cost)
    }
}

/// What a part's errors cost.
#[derive(Default)]
struct Cost {
    /// Of its core.
    core: f64,
    /// Sum of the squares of half the derivatives.
    squares: u64,
}

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
    /// The numbers of one position of the canvas, in a tensor of the part with its halo.
    fn numbers<'t>(&self, of: &'t Tensor, row: usize, column: usize) -> &'t [i16] {
        &of.row(row - self.rows.start)[(column - self.columns.start) * of.channels()..][..of.channels()]
    }

    /// Rows and columns of pixels of a cell that are looked at.
    fn seen(&self, canvas: &Canvas<'_>, row: usize, column: usize) -> (usize, usize) {
        let seen = self.seen_rows.contains(&(row / 2)) && self.seen_columns.contains(&(column / 2));
        if seen { canvas.visible(row, column) } else { (0, 0) }
    }

    fn is_core(&self, row: usize, column: usize) -> bool {
        self.core_rows.contains(&(row / 2)) && self.core_columns.contains(&(column / 2))
    }

    /// Calls `f` with each row and column of the picture's cells, and that cell of a tensor of samples of the part with its halo.
    fn each_cell(&self, samples: &mut Tensor, mut f: impl FnMut(usize, usize, &mut [i16])) {
        let row_len = samples.row_len();
        for (row, cells) in (2 * self.rows.start..).zip(samples.data_mut().chunks_exact_mut(row_len)) {
            (2 * self.columns.start..).zip(cells.chunks_exact_mut(OUTPUTS)).for_each(|(column, cell)| f(row, column, cell));
        }
    }

    fn each_core(&self, mut f: impl FnMut(usize, usize)) {
        for row in self.core_rows.clone() {
            self.core_columns.clone().for_each(|column| f(row, column));
        }
    }
}

/// The parts of a tile.
pub(super) fn parts(canvas: &Canvas<'_>, rows: Range<usize>, columns: Range<usize>) -> Vec<Part> {
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
