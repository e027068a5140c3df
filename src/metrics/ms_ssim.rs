//! Multi-scale structural similarity: Wang, Simoncelli and Bovik, "Multiscale structural similarity for image quality assessment", 2003.
//!
//! Papers on learned compression compute it as the Python package pytorch-msssim does, and so does this module: on each channel of RGB, with a range of 255, by
//! an 11 x 11 Gaussian of sigma 1.5 without padding, and the channels' values averaged at the end. Where a side is odd, halving pads it with one line of
//! zeros on both ends, again as there.

use super::{Rgb, check_sizes};
use crate::Result;

/// Exponents of the scales, from the finest.
const WEIGHTS: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];
const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;
const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);

/// Sides under this many pixels are too small for five scales.
pub const MS_SSIM_MIN_SIDE: u32 = ((WINDOW as u32 - 1) << 4) + 1;

/// Multi-scale structural similarity, 1 for equal pictures. `None` if a side is shorter than [`MS_SSIM_MIN_SIDE`]: with fewer scales the number would
/// mean something else.
///
/// # Errors
/// [`Error::Parameter`](crate::Error::Parameter) if the pictures differ in size.
pub fn ms_ssim(original: &Rgb<'_>, coded: &Rgb<'_>) -> Result<Option<f64>> {
    check_sizes(original, coded)?;
    if original.width.min(original.height) < MS_SSIM_MIN_SIDE as usize {
        return Ok(None);
    }
    let sum: f64 = (0..3).map(|c| channel(original.width, original.height, original.plane(c), coded.plane(c))).sum();
    Ok(Some(sum / 3.0))
}

/// A similarity `x` as dB: -10 log10(1 - x), which tells values close to 1 apart. Infinite for 1.
pub fn decibels(similarity: f64) -> f64 {
    -10.0 * (1.0 - similarity).max(0.0).log10()
}

fn channel(width: usize, height: usize, a: Vec<f32>, b: Vec<f32>) -> f64 {
    let (mut a, mut b) = (Plane { width, height, data: a }, Plane { width, height, data: b });
    let mut product = 1.0;
    for (scale, weight) in WEIGHTS.iter().enumerate() {
        let (ssim, contrast) = single_scale(&a, &b);
        let last = scale + 1 == WEIGHTS.len();
        product *= (if last { ssim } else { contrast }).max(0.0).powf(*weight);
        if !last {
            (a, b) = (a.halved(), b.halved());
        }
    }
    // Rounding may lead a little above 1.
    product.min(1.0)
}

/// Means of SSIM and of its product of contrast and structure.
///
/// In double precision: a variance is a small difference of large squares where a picture is bright and flat. One row at a time, so that this takes no memory.
fn single_scale(a: &Plane, b: &Plane) -> (f64, f64) {
    let taps = window();
    let (columns, rows) = (a.width - WINDOW + 1, a.height - WINDOW + 1);
    // Of both planes, of the sum of their squares and of their product: sums over the window's rows, then over its columns too.
    let mut down: [Vec<f64>; 4] = std::array::from_fn(|_| vec![0.0; a.width]);
    let mut means: [Vec<f64>; 4] = std::array::from_fn(|_| vec![0.0; columns]);
    let (mut ssim, mut contrast) = (0.0, 0.0);
    for y in 0..rows {
        down.iter_mut().for_each(|line| line.fill(0.0));
        let [sum_a, sum_b, sum_squares, sum_products] = down.each_mut().map(|line| &mut line[..a.width]);
        for (k, tap) in taps.iter().enumerate() {
            let (line_a, line_b) = (&a.line(y + k)[..a.width], &b.line(y + k)[..a.width]);
            for x in 0..a.width {
                let (a, b) = (f64::from(line_a[x]), f64::from(line_b[x]));
                sum_a[x] += tap * a;
                sum_b[x] += tap * b;
                sum_squares[x] += tap * (a * a + b * b);
                sum_products[x] += tap * (a * b);
            }
        }
        for (mean, line) in means.iter_mut().zip(&down) {
            mean.fill(0.0);
            for (k, tap) in taps.iter().enumerate() {
                mean.iter_mut().zip(&line[k..]).for_each(|(mean, value)| *mean += tap * value);
            }
        }
        let [mean_a, mean_b, squares, products] = &means;
        for (((ma, mb), squares), product) in mean_a.iter().zip(mean_b).zip(squares).zip(products) {
            let (square, both) = (ma * ma + mb * mb, ma * mb);
            let cs = (2.0 * (product - both) + C2) / (squares - square + C2);
            contrast += cs;
            ssim += cs * (2.0 * both + C1) / (square + C1);
        }
    }
    let count = (columns * rows) as f64;
    (ssim / count, contrast / count)
}

/// The Gaussian, with a sum of 1.
fn window() -> [f64; WINDOW] {
    let taps: [f64; WINDOW] = std::array::from_fn(|i| (-(i as f64 - 5.0).powi(2) / (2.0 * SIGMA * SIGMA)).exp());
    let sum: f64 = taps.iter().sum();
    taps.map(|tap| tap / sum)
}

/// Samples, and means of them: numbers that `f32` holds without error.
struct Plane {
    width: usize,
    height: usize,
    data: Vec<f32>,
}

impl Plane {
    fn line(&self, y: usize) -> &[f32] {
        &self.data[y * self.width..][..self.width]
    }

    /// Means of 2 x 2 samples.
    fn halved(&self) -> Plane {
        let (pad_x, pad_y) = (self.width % 2, self.height % 2);
        let (width, height) = (self.width / 2 + pad_x, self.height / 2 + pad_y);
        let mut data = vec![0f32; width * height];
        for (y, line) in self.data.chunks_exact(self.width).enumerate() {
            let out = &mut data[(y + pad_y) / 2 * width..][..width];
            for (x, v) in line.iter().enumerate() {
                out[(x + pad_x) / 2] += 0.25 * v;
            }
        }
        Plane { width, height, data }
    }
}
