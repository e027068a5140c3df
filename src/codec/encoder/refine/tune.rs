//! What the errors of samples count.

use std::ops::Range;

use super::structure::{Differences, PLANES, differences};
use crate::Result;
use crate::net::Engine;
use crate::picture::try_filled;

/// What an encoder with an effort makes good: a number, or the look. Files of both kinds decode alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tune {
    /// The squared error of red, green and blue, and so the PSNR.
    #[default]
    Psnr,
    /// What people see, as far as simple rules tell: errors count less where the picture is busy, and what changes the structure of its luma (SSIM), at 1/2, 1/4 and 1/8 of its
    /// resolution, counts besides. MS-SSIM and SSIMULACRA2 get better, the PSNR a little worse.
    Visual,
}

/// What products of the errors of red, green and blue count: luma 1.2 times, either colour difference once (BT.601), scaled so that equal errors that have nothing to do with each
/// other count three, as without weights.
const COLOURS: [[f32; 3]; 3] = [[0.8531, 0.1264, -0.1860], [0.1264, 1.5448, -0.1134], [-0.1860, -0.1134, 0.6020]];
/// A block of 8 x 8 pixels whose luma has this variance, in squares of levels of 255, has errors that count 0.7 times those of a flat one. The square root, this number and
/// the others here are those with which SSIMULACRA2 and MS-SSIM gained most for what they cost in PSNR.
const ACTIVITY: f32 = 1000.0;
/// Luma of red, green and blue (BT.601).
pub(super) const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
/// What differences of structure count at 1/2, 1/4 and 1/8 of the resolution, against errors.
const STRUCTURE: [f32; 3] = [0.04, 0.4, 0.1];
/// What makes both comparable: about twice the variance of structures that matter, with a standard deviation of 20, in squares of levels of 255.
const UNIT: f32 = 800.0;

/// About how many bytes [`Luma::structure`] needs for each pixel, with the sums themselves and the slopes, at half the resolution.
pub(super) const LUMA_BYTES: usize = (PLANES + 4) * size_of::<f32>() / 4;

/// Luma of a picture and its errors, at half its resolution.
pub(super) struct Luma {
    width: usize,
    /// Units of a level of 255.
    level: f32,
    /// Pixels that each sum is of.
    count: Vec<f32>,
    /// Sums, from 0 to 1 for each pixel.
    original: Vec<f32>,
    error: Vec<f32>,
}

impl Luma {
    /// Of a part of a picture whose samples are in units of `1 / level` of levels of 255; width and height are multiples of 4, at half the resolution.
    pub(super) fn new(width: usize, height: usize, level: f32) -> Result<Self> {
        let sums = || try_filled(width * height, 0.0);
        Ok(Self { width, level, count: sums()?, original: sums()?, error: sums()? })
    }

    /// Adds a pixel to a sum.
    pub(super) fn add(&mut self, row: usize, column: usize, original: [i32; 3], error: [i32; 3]) {
        let at = row * self.width + column;
        let luma = |x: [i32; 3]| (LUMA[0] * x[0] as f32 + LUMA[1] * x[1] as f32 + LUMA[2] * x[2] as f32) / (255.0 * self.level);
        self.count[at] += 1.0;
        self.original[at] += luma(original);
        self.error[at] += luma(error);
    }

    /// What differences of structure cost in some rows and columns of pixels, in squares of samples' units, and half the derivatives by the luma of each pixel of a sum.
    pub(super) fn structure(mut self, engine: &Engine, rows: Range<usize>, columns: Range<usize>) -> Result<(f64, Vec<f32>)> {
        let (full, unit) = (self.width, 3.0 * UNIT * self.level * self.level);
        let (mut cost, mut slopes) = (0.0, try_filled(self.count.len(), 0.0)?);
        for (finer, share) in STRUCTURE.into_iter().enumerate() {
            if finer > 0 {
                self = self.halved()?;
            }
            let (width, side) = (self.width, 2 << finer);
            let found = self.differences(engine, side)?;
            let (rows, columns) = (rows.start / side..rows.end / side, columns.start / side..columns.end / side);
            for each in found.each.chunks_exact(width).take(rows.end).skip(rows.start) {
                cost += f64::from(unit * share * (side * side) as f32) * each[columns.clone()].iter().map(|d| f64::from(*d)).sum::<f64>();
            }
            let scale = 0.5 * unit * share / (255.0 * self.level);
            for (row, slopes) in slopes.chunks_exact_mut(full).enumerate() {
                let found = &found.slope[(row >> finer) * width..][..width];
                slopes.iter_mut().enumerate().for_each(|(column, slope)| *slope += scale * found[column >> finer]);
            }
        }
        Ok((cost, slopes))
    }

    /// At half the resolution.
    fn halved(&self) -> Result<Self> {
        let (width, height) = (self.width / 2, self.count.len() / self.width / 2);
        let halved = |of: &[f32]| {
            let mut sums = try_filled(width * height, 0.0)?;
            for (row, sums) in sums.chunks_exact_mut(width).enumerate() {
                let (above, below) = of[2 * row * self.width..][..2 * self.width].split_at(self.width);
                let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
                sums.iter_mut().zip(pairs).for_each(|(sum, (above, below))| *sum = above[0] + above[1] + below[0] + below[1]);
            }
            Ok::<_, crate::Error>(sums)
        };
        Ok(Self { width, level: self.level, count: halved(&self.count)?, original: halved(&self.original)?, error: halved(&self.error)? })
    }

    /// Of means of `side` x `side` pixels.
    fn differences(&self, engine: &Engine, side: usize) -> Result<Differences> {
        let (len, whole) = (self.count.len(), (side * side) as f32);
        let (mut seen, mut original, mut error) = (try_filled(len, 0.0)?, try_filled(len, 0.0)?, try_filled(len, 0.0)?);
        for i in (0..len).filter(|i| self.count[*i] > 0.0) {
            seen[i] = self.count[i] / whole;
            original[i] = self.original[i] / self.count[i];
            error[i] = self.error[i] / self.count[i];
        }
        differences(engine, self.width, &seen, &original, &error)
    }
}

/// What the errors in a block count, from its visible pixels (red, green, blue) in units of `1 / level` of levels of 255. Only operations that are exact everywhere are used.
pub(super) fn weight(pixels: impl Iterator<Item = [i32; 3]>, level: f32) -> f32 {
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for [red, green, blue] in pixels {
        let luma = (0.299 * red as f32 + 0.587 * green as f32 + 0.114 * blue as f32) / level;
        sum += luma;
        squares += luma * luma;
        count += 1.0;
    }
    let variance = (squares / count - (sum / count) * (sum / count)).max(0.0);
    (ACTIVITY / (ACTIVITY + variance)).sqrt()
}

/// Half the derivative of what a pixel's errors count.
pub(super) fn weighted(errors: [i32; 3], weight: f32) -> [f32; 3] {
    let [red, green, blue] = errors.map(|e| e as f32);
    COLOURS.map(|row| weight * (row[0] * red + row[1] * green + row[2] * blue))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_count_as_much_as_without_weights_on_average() {
        let trace: f32 = (0..3).map(|i| COLOURS[i][i]).sum();
        assert!((trace - 3.0).abs() < 1e-3);
        // Green is most of luma, blue least.
        let cost = |e: [i32; 3]| weighted(e, 1.0).iter().zip(e).map(|(g, e)| g * e as f32).sum::<f32>();
        assert!(cost([0, 173, 0]) > 1.5 * 30_000.0 && cost([0, 0, 173]) < 0.61 * 30_000.0);
        for e in [[7, -3, 0], [-50, 60, -70], [1, 1, -1]] {
            assert!(cost(e) > 0.0);
        }
    }

    #[test]
    fn busy_blocks_count_less() {
        let flat = weight((0..64).map(|_| [64 * 90; 3]), 64.0);
        let busy = weight((0..64).map(|i| [64 * (60 + 60 * (i % 2)); 3]), 64.0);
        assert!((flat - 1.0).abs() < 1e-3 && (busy - (1000f32 / 1900.0).sqrt()).abs() < 1e-3, "{flat} {busy}");
    }

    /// Half-size luma of a part of 64 x 32 pixels, of which the last 5 columns are not the picture's; `moved` is added to an error.
    fn luma(moved: (usize, usize, i32)) -> Luma {
        let mut luma = Luma::new(32, 16, 64.0).unwrap();
        for (row, column) in (0..32).flat_map(|row| (0..59).map(move |column| (row, column))) {
            let noise = |seed: usize| ((row * 131 + column * 71 + seed).wrapping_mul(2_654_435_761) >> 7) as i32 % 2000;
            let by = if (row, column) == (moved.0, moved.1) { moved.2 } else { 0 };
            luma.add(
                row / 2,
                column / 2,
                [6000 + noise(1), 7000 + noise(1), 5000 + noise(2)],
                [noise(3) / 4 - 200, noise(4) / 4 - 200 + by, noise(5) / 4 - 300],
            );
        }
        luma
    }

    #[test]
    fn slopes_are_half_those_of_what_structure_costs() {
        let engine = Engine::new(false).unwrap();
        let (_, slopes) = luma((0, 0, 0)).structure(&engine, 0..32, 0..64).unwrap();
        for (row, column) in [(0, 0), (7, 31), (16, 40), (31, 58)] {
            let cost = |by: i32| luma((row, column, by)).structure(&engine, 0..32, 0..64).unwrap().0;
            let slope = (cost(64) - cost(-64)) / 256.0;
            let expected = f64::from(slopes[row / 2 * 32 + column / 2] * LUMA[1]);
            assert!((slope - expected).abs() < 0.05 * expected.abs() + 0.5, "{row} {column}: {slope} {expected}");
        }
    }

    #[test]
    fn costs_of_parts_add_up() {
        let engine = Engine::new(false).unwrap();
        let cost = |rows: Range<usize>, columns: Range<usize>| luma((0, 0, 0)).structure(&engine, rows, columns).unwrap().0;
        let (whole, left, right) = (cost(0..32, 0..64), cost(0..32, 0..16), cost(0..32, 16..64));
        assert!((left + right - whole).abs() < 1e-9 * whole && left > 0.1 * whole);
    }
}
