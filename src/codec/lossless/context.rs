//! What the next samples of a tile will be, learnt from the samples before (SPEC 5.6).

use super::bits::Bits;
use super::repeats::Repeats;
use super::residuals::Residuals;
use crate::picture::try_filled;
use crate::{Error, Result};

/// Sub-predictions of a sample (R5.20).
const PREDICTIONS: usize = 6;
/// Neighbours of a pixel.
pub(super) const W: usize = 0;
pub(super) const N: usize = 1;
pub(super) const NW: usize = 2;
pub(super) const NE: usize = 3;
pub(super) const WW: usize = 4;
pub(super) const NN: usize = 5;

/// Colours as they are coded: up to three samples, 0 where there are fewer.
pub(super) type Colour = [i32; 3];

/// R5.20: the weight of a sub-prediction, by the sum of its errors.
static TRUST: [u32; 6 * 255 + 1] = {
    let mut table = [0; 6 * 255 + 1];
    let mut error = 0;
    while error < table.len() as u32 {
        let weight = (1 << 20) / (error * error + 4);
        table[error as usize] = if weight == 0 { 1 } else { weight };
        error += 1;
    }
    table
};

/// What is known of a pixel that has been coded.
#[derive(Clone, Copy, Default)]
struct Known {
    colour: Colour,
    /// What the predictions lacked.
    residual: [i32; 3],
    /// By how much each sub-prediction was wrong, at most 255.
    errors: [[u8; PREDICTIONS]; 3],
}

/// Three rows of pixels, with two columns in front and one behind (R5.18).
struct Rows {
    pixels: Vec<Known>,
    width: usize,
    row: usize,
    /// Where the first pixels of this row, the one above, and the one above that are.
    starts: [usize; 3],
}

impl Rows {
    fn new(width: usize) -> Result<Self> {
        Ok(Self { pixels: try_filled(3 * (width + 3), Known::default())?, width, row: 0, starts: [0; 3] })
    }

    fn begin(&mut self) {
        self.starts = [0, 2, 1].map(|back| (self.row + back) % 3 * (self.width + 3) + 2);
        if self.row > 0 {
            let [start, above, _] = self.starts;
            self.pixels[start - 2] = self.pixels[above];
            self.pixels[start - 1] = self.pixels[above];
        }
    }

    fn end(&mut self) {
        let [start, ..] = self.starts;
        self.pixels[start - 1] = self.pixels[start];
        self.pixels[start + self.width] = self.pixels[start + self.width - 1];
        self.row += 1;
    }

    /// Where the neighbours W, N, NW, NE, WW, NN of a column are.
    #[inline]
    fn around(&self, x: usize) -> [usize; 6] {
        let [start, above, above_that] = self.starts;
        let at = start + x;
        match self.row {
            0 => [at - 1, at - 1, at - 1, at - 1, at - 2, at - 1],
            1 => [at - 1, above + x, above + x - 1, above + x + 1, at - 2, above + x],
            _ => [at - 1, above + x, above + x - 1, above + x + 1, at - 2, above_that + x],
        }
    }
}

/// R5.22: a difference in 15 steps.
#[inline]
fn step(v: i32) -> usize {
    let size = match v.unsigned_abs() {
        small @ 0..=2 => small as usize,
        3..=4 => 3,
        5..=8 => 4,
        9..=16 => 5,
        17..=40 => 6,
        _ => 7,
    };
    if v < 0 { 7 - size } else { 7 + size }
}

/// R5.22: a size in 16 steps.
#[inline]
fn level(v: u32) -> usize {
    if v < 4 {
        return v as usize;
    }
    let log = v.ilog2();
    ((2 * log + (v >> (log - 1) & 1)) as usize).min(15)
}

/// The model of a tile's samples.
pub(super) struct Samples {
    rows: Rows,
    repeats: Option<Repeats>,
    residuals: Residuals,
    /// Least and largest sample of each channel.
    limits: [[i32; 2]; 3],
    channels: usize,
    /// Of the size of a residual, at most.
    exponent: usize,
    /// What sizes are divided by, as a power of two, before they are context.
    shift: u32,
}

impl Samples {
    /// For tiles `width` pixels wide, of `channels` (1 or 3) samples in their `limits`, of `depth` bits. `graphics`: colours may repeat themselves.
    pub(super) fn new(width: usize, channels: usize, limits: [[i32; 2]; 3], depth: u8, graphics: bool) -> Result<Self> {
        Ok(Self {
            rows: Rows::new(width)?,
            repeats: if graphics { Some(Repeats::new()?) } else { None },
            residuals: Residuals::new()?,
            limits,
            channels,
            exponent: depth.into(),
            shift: if depth > 8 { 4 } else { 0 },
        })
    }

    /// How many bytes one takes, but for three rows of pixels.
    pub(super) const BYTES: u64 = Residuals::BYTES + Repeats::BYTES;
    /// How many bytes a column takes.
    pub(super) const COLUMN_BYTES: u64 = 3 * size_of::<Known>() as u64;

    /// Codes the next row, of [`Colour`]s one after the other.
    pub(super) fn row(&mut self, bits: &mut impl Bits, row: &mut [Colour]) -> Result<()> {
        self.rows.begin();
        for (x, colour) in row.iter_mut().enumerate() {
            let around = self.rows.around(x);
            let mut tried = 0;
            if let Some(repeats) = &mut self.repeats {
                let colours = around.map(|at| self.rows.pixels[at].colour);
                let found;
                (found, tried) = repeats.code(bits, &colours, *colour)?;
                if let Some(found) = found {
                    *colour = found;
                    repeats.learn(&colours, found);
                    self.rows.pixels[self.rows.starts[0] + x] = Known { colour: found, ..Known::default() };
                    continue;
                }
            }
            let mut known = Known::default();
            for (c, given) in colour.iter().enumerate().take(self.channels) {
                self.sample(bits, &around, c, tried, *given, &mut known)?;
            }
            *colour = known.colour;
            self.rows.pixels[self.rows.starts[0] + x] = known;
            if let Some(repeats) = &mut self.repeats {
                repeats.learn(&around.map(|at| self.rows.pixels[at].colour), known.colour);
            }
        }
        self.rows.end();
        Ok(())
    }

    /// Codes a sample.
    #[inline]
    fn sample(&mut self, bits: &mut impl Bits, around: &[usize; 6], c: usize, tried: usize, given: i32, known: &mut Known) -> Result<()> {
        // Not `map`, which is slow here.
        let pixels: [&Known; 6] = std::array::from_fn(|k| &self.rows.pixels[around[k]]);
        let v: [i32; 6] = std::array::from_fn(|k| pixels[k].colour[c]);
        let residual: [i32; 6] = std::array::from_fn(|k| pixels[k].residual[c]);
        let [low, high] = self.limits[c];

        // R5.20: the mean of the sub-predictions, each weighted by how well it did around.
        let plane = v[W] + v[N] - v[NW];
        let predictions = [v[W], v[N], plane, v[W] + v[NE] - v[N], 2 * v[N] - v[NN], v[W] + ((v[NE] - v[NW]) >> 1)];
        let (mut sum, mut weights) = (0, 0);
        for (i, prediction) in predictions.iter().enumerate() {
            let error = |k: usize| usize::from(pixels[k].errors[c][i]);
            let weight = i64::from(TRUST[2 * (error(W) + error(N)) + error(NW) + error(NE)]);
            sum += weight * i64::from(*prediction);
            weights += weight;
        }
        let mean = (2 * sum + weights).div_euclid(2 * weights) as i32;
        let least = v[W].min(v[N]).min(v[NE]).min(plane).max(low);
        let most = v[W].max(v[N]).max(v[NE]).max(plane).min(high);
        let p = mean.clamp(least, most);

        // R5.22.
        let size = |k: usize| residual[k].unsigned_abs();
        let errors = (size(W) + size(N) + ((size(NW) + size(NE)) >> 1)) >> self.shift;
        let errors = level(errors);
        let than = |v: i32| step((v - p) >> self.shift);
        let [before, first] = match c {
            0 => [residual[WW], residual[NN]],
            1 => [known.residual[0], residual[NN]],
            _ => [known.residual[1], known.residual[0]],
        };
        let shape = if self.repeats.is_some() {
            (errors * 8 + tried) * 4 + usize::from(v[W] == p) + 2 * usize::from(v[N] == p)
        } else {
            v.iter().enumerate().fold(errors / 2 * 64, |shape, (i, v)| shape + (usize::from(*v > p) << i))
        };
        let beside = if c > 0 { known.colour[c - 1] } else { 0 };
        let values = (v[W] as u32).wrapping_mul(0x9E37_79B1) ^ (v[N] as u32).wrapping_mul(0x85EB_CA6B) ^ (beside as u32).wrapping_mul(0xC2B2_AE35);
        let values = ((values ^ values >> 15) + c as u32).wrapping_mul(0x2C1B_3C6D);
        let contexts = [
            c * 512 + shape,
            (c * 15 + than(v[W])) * 15 + than(v[N]),
            ((c * 15 + than(v[NW])) * 15 + than(v[NE])) * 4 + errors / 4,
            ((c * 15 + step(before >> self.shift)) * 15 + step(first >> self.shift)) * 4 + errors / 4,
            (values >> 20) as usize,
        ];

        let e = self.residuals.code(bits, &contexts, c * 16 + errors, self.exponent, given - p)?;
        let value = p + e;
        if value < low || value > high {
            return Err(Error::format("R5.21", "its coded data is damaged: a sample is out of its range"));
        }
        known.colour[c] = value;
        known.residual[c] = e;
        for (error, prediction) in known.errors[c].iter_mut().zip(predictions) {
            *error = (value.abs_diff(prediction) >> self.shift).min(255) as u8;
        }
        Ok(())
    }
}
