//! What the errors of samples count.

/// What an encoder with an effort makes good: a number, or the look. Files of both kinds decode alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tune {
    /// The squared error of red, green and blue, and so the PSNR.
    #[default]
    Psnr,
    /// What people see, as far as simple rules tell: errors count less where the picture is busy, and more in luma than in colours. MS-SSIM and SSIMULACRA2 get better,
    /// the PSNR a little worse.
    Visual,
}

/// What products of the errors of red, green and blue count: luma twice, either colour difference once (BT.601), scaled so that equal errors that have nothing to do with each
/// other count three, as without weights.
const COLOURS: [[f32; 3]; 3] = [[0.8003, 0.3458, -0.0995], [0.3458, 1.7050, 0.0039], [-0.0995, 0.0039, 0.4947]];
/// A block of 8 x 8 pixels whose luma has this variance, in squares of levels of 255, has errors that count 0.7 times those of a flat one. The square root, and this number, are
/// those with which SSIMULACRA2 and MS-SSIM gained most; SSIM itself has variances in the denominator (Wang, Bovik, Sheikh, Simoncelli 2004).
const ACTIVITY: f32 = 100.0;
/// What errors of a flat block count, so that the weights are about 1 on average.
const FLAT: f32 = 1.6;

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
    FLAT * (ACTIVITY / (ACTIVITY + variance)).sqrt()
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
        // An error of luma alone counts more than one of as much energy in a colour difference.
        let cost = |e: [i32; 3]| weighted(e, 1.0).iter().zip(e).map(|(g, e)| g * e as f32).sum::<f32>();
        assert!(cost([100, 100, 100]) > 1.1 * 30_000.0 && cost([0, 0, 173]) < 0.6 * 30_000.0);
        for e in [[7, -3, 0], [-50, 60, -70], [1, 1, -1]] {
            assert!(cost(e) > 0.0);
        }
    }

    #[test]
    fn busy_blocks_count_less() {
        let flat = weight((0..64).map(|_| [64 * 90; 3]), 64.0);
        let busy = weight((0..64).map(|i| [64 * (80 + 20 * (i % 2)); 3]), 64.0);
        assert!((flat - FLAT).abs() < 1e-3 && (busy - FLAT / 2f32.sqrt()).abs() < 1e-3, "{flat} {busy}");
    }
}
