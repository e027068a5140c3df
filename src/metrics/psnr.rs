//! Peak signal-to-noise ratio.

use super::{Rgb, check_sizes};
use crate::Result;

/// Weights of red, green and blue in luma, as in JPEG and in ITU-R BT.601.
const LUMA: [f64; 3] = [0.299, 0.587, 0.114];

/// Peak signal-to-noise ratios in dB. Infinite where there is no difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Psnr {
    /// From the mean squared error over all samples of red, green and blue together, as papers on learned compression state it.
    pub rgb: f64,
    /// Of the luma Y = 0.299 R + 0.587 G + 0.114 B (BT.601, full range), not rounded.
    pub luma: f64,
}

/// Compares the samples of two pictures.
///
/// # Errors
/// [`Error::Parameter`](crate::Error::Parameter) if the pictures differ in size.
pub fn psnr(original: &Rgb<'_>, coded: &Rgb<'_>) -> Result<Psnr> {
    check_sizes(original, coded)?;
    let (mut rgb, mut luma) = (0.0, 0.0);
    for (i, (a, b)) in original.samples.as_chunks::<3>().0.iter().zip(coded.samples.as_chunks::<3>().0).enumerate() {
        let (mut squares, mut difference) = (0, 0.0);
        for c in 0..3 {
            let d = i32::from(a[c]) - i32::from(b[c]);
            squares += d * d;
            difference += LUMA[c] * f64::from(d);
        }
        let part = original.part(i).max(coded.part(i)).powi(2);
        // Whole numbers of doubles, and exact, where all pixels are opaque.
        rgb += part * f64::from(squares);
        luma += part * difference * difference;
    }
    // Where nothing counts, nothing differs.
    let pixels = original.visible.min(coded.visible).max(1) as f64;
    let from_error = |mse: f64| 10.0 * (255.0 * 255.0 / mse).log10();
    Ok(Psnr { rgb: from_error(rgb / (3.0 * pixels)), luma: from_error(luma / pixels) })
}
