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
const C1: f32 = (0.01 * 255.0) * (0.01 * 255.0);
const C2: f32 = (0.03 * 255.0) * (0.03 * 255.0);

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

/// A similarity `x` as dB: -10 log10(1 - x), which tells values close to 1 apart.
pub fn decibels(similarity: f64) -> f64 {
    -10.0 * (1.0 - similarity).log10()
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
    product
}

/// Means of SSIM and of its product of contrast and structure.
fn single_scale(a: &Plane, b: &Plane) -> (f64, f64) {
    let square = |x: &Plane, y: &Plane| Plane { width: x.width, height: x.height, data: x.data.iter().zip(&y.data).map(|(x, y)| x * y).collect() };
    let [mean_a, mean_b, aa, bb, ab] = [a.blurred(), b.blurred(), square(a, a).blurred(), square(b, b).blurred(), square(a, b).blurred()];
    let (mut ssim, mut contrast) = (0.0, 0.0);
    for i in 0..mean_a.data.len() {
        let (ma, mb) = (mean_a.data[i], mean_b.data[i]);
        let (var_a, var_b, cov) = (aa.data[i] - ma * ma, bb.data[i] - mb * mb, ab.data[i] - ma * mb);
        let cs = (2.0 * cov + C2) / (var_a + var_b + C2);
        contrast += f64::from(cs);
        ssim += f64::from(cs * (2.0 * ma * mb + C1) / (ma * ma + mb * mb + C1));
    }
    let count = mean_a.data.len() as f64;
    (ssim / count, contrast / count)
}

struct Plane {
    width: usize,
    height: usize,
    data: Vec<f32>,
}

impl Plane {
    /// Gaussian blur where the whole window fits.
    fn blurred(&self) -> Plane {
        let mut taps: [f64; WINDOW] = std::array::from_fn(|i| (-(i as f64 - 5.0).powi(2) / (2.0 * SIGMA * SIGMA)).exp());
        let sum: f64 = taps.iter().sum();
        taps.iter_mut().for_each(|t| *t /= sum);
        let taps = taps.map(|t| t as f32);

        let (width, height) = (self.width - WINDOW + 1, self.height - WINDOW + 1);
        let mut down = vec![0f32; self.width * height];
        for (y, out) in down.chunks_exact_mut(self.width).enumerate() {
            for (k, tap) in taps.iter().enumerate() {
                let line = &self.data[(y + k) * self.width..][..self.width];
                out.iter_mut().zip(line).for_each(|(o, v)| *o += tap * v);
            }
        }
        let mut data = vec![0f32; width * height];
        for (out, line) in data.chunks_exact_mut(width).zip(down.chunks_exact(self.width)) {
            for (k, tap) in taps.iter().enumerate() {
                out.iter_mut().zip(&line[k..]).for_each(|(o, v)| *o += tap * v);
            }
        }
        Plane { width, height, data }
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
