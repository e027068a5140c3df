//! How alike the structures of two pictures are, at one resolution, and how that changes with the second one.
//!
//! This is the structural similarity of Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, Image quality assessment: from error visibility to structural similarity, 2004,
//! with the term of the means of SSIMULACRA 2 (J. Sneyers, 2022): the square of their difference alone, as samples are already as people see them. Only sums, products and
//! quotients of numbers of 32 bits are used, in an order of their own: the results are the same everywhere.

use crate::net::Engine;
use crate::picture::try_filled;
use crate::{Error, Result};

/// Half of the Gaussian window with a standard deviation of 1.5, from its middle on; the whole of it has a sum of 1.
const WINDOW: [f32; 6] = [0.266_011_72, 0.213_005_54, 0.109_360_69, 0.036_000_77, 0.007_598_76, 0.001_028_38];
const RADIUS: usize = WINDOW.len() - 1;
/// What keeps the quotient of variances from being undefined where both are flat; 0.03 squared, as in both sources.
const FLAT: f32 = 0.0009;

/// What [`differences`] finds; both are 0 where nothing is seen.
pub(super) struct Differences {
    /// 1 less the similarity around each sample, times what the sample counts: 0 to 2.
    pub(super) each: Vec<f32>,
    /// Derivative of their sum by a part of the sample that counts 1.
    pub(super) slope: Vec<f32>,
}

/// Compares `width` columns of samples from 0 to 1 with their copies, which are them and errors. `seen` says what each of them counts, 0 to 1: those that count nothing say nothing
/// about those around them either (H. Knutsson, C.-F. Westin, Normalized and differential convolution, 1993).
pub(super) fn differences(engine: &Engine, width: usize, seen: &[f32], original: &[f32], error: &[f32]) -> Result<Differences> {
    let blur = |of: &[f32]| blurred(engine, width, of);
    let product = |a: &[f32], b: &[f32]| {
        let mut product = try_filled(a.len(), 0.0)?;
        product.iter_mut().zip(a.iter().zip(b)).for_each(|(product, (a, b))| *product = a * b);
        Ok::<_, Error>(product)
    };
    let (original_seen, error_seen) = (product(seen, original)?, product(seen, error)?);
    let total = blur(seen)?;
    let (means, error_means) = (blur(&original_seen)?, blur(&error_seen)?);
    let (squares, error_squares) = (blur(&product(&original_seen, original)?)?, blur(&product(&error_seen, error)?)?);
    let products = blur(&product(&original_seen, error)?)?;

    let mut each = try_filled(seen.len(), 0.0)?;
    // By the means of errors, of their squares and of their products with the original, divided by the total that the means are of.
    let (mut by_mean, mut by_square, mut by_product) = (try_filled(seen.len(), 0.0)?, try_filled(seen.len(), 0.0)?, try_filled(seen.len(), 0.0)?);
    for i in (0..seen.len()).filter(|i| seen[*i] > 0.0) {
        let part = 1.0 / total[i];
        let (mean, apart) = (means[i] * part, error_means[i] * part);
        let variance = (squares[i] * part - mean * mean).max(0.0);
        let noise = (error_squares[i] * part - apart * apart).max(0.0);
        let covariance = products[i] * part - mean * apart;
        // Twice the covariance of both pictures, and the sum of their variances, which is that and the variance of the errors.
        let common = 2.0 * (variance + covariance) + FLAT;
        let all = common + noise;
        let alike = 1.0 - apart * apart;
        // 1 - alike * common / all, without the difference of numbers that are nearly the same.
        each[i] = seen[i] * (noise + common * apart * apart) / all;
        let part = seen[i] * part;
        let by_noise = part * alike * common / (all * all);
        let by_covariance = part * -2.0 * alike * noise / (all * all);
        by_mean[i] = part * 2.0 * apart * common / all - by_covariance * mean - 2.0 * by_noise * apart;
        by_square[i] = by_noise;
        by_product[i] = by_covariance;
    }
    // The window is symmetric: a sample does to the means around it what it gets from them.
    let (mut slope, by_square, by_product) = (blur(&by_mean)?, blur(&by_square)?, blur(&by_product)?);
    for (i, slope) in slope.iter_mut().enumerate() {
        *slope = if seen[i] > 0.0 { *slope + 2.0 * by_square[i] * error[i] + by_product[i] * original[i] } else { 0.0 };
    }
    Ok(Differences { each, slope })
}

/// Planes of as many samples that [`differences`] has in memory at a time, with those that it is given.
pub(super) const PLANES: usize = 18;

/// Sums of the samples around each one, weighted by the window; beyond the edges there are none.
fn blurred(engine: &Engine, width: usize, of: &[f32]) -> Result<Vec<f32>> {
    let (mut out, height) = (try_filled(of.len(), 0.0)?, of.len() / width);
    engine.pieces(&mut out, width, |y, out| {
        let mut row = vec![0.0; width + 2 * RADIUS];
        for near in y.saturating_sub(RADIUS)..(y + RADIUS + 1).min(height) {
            let weight = WINDOW[near.abs_diff(y)];
            row[RADIUS..].iter_mut().zip(&of[near * width..][..width]).for_each(|(sum, x)| *sum += weight * x);
        }
        for (i, weight) in WINDOW.iter().rev().chain(&WINDOW[1..]).enumerate() {
            out.iter_mut().zip(&row[i..]).for_each(|(sum, x)| *sum += weight * x);
        }
    });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 23;

    /// Numbers from 0 to 1 that have nothing to do with each other.
    fn noise(seed: u32) -> impl Iterator<Item = f32> {
        (1..).map(move |i: u32| (i.wrapping_mul(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32)
    }

    fn planes() -> [Vec<f32>; 3] {
        let len = WIDTH * 17;
        let seen: Vec<f32> = (0..len).map(|i| [1.0, 1.0, 0.75, 0.0][i % 7 % 4]).collect();
        let original: Vec<f32> = noise(1).take(len).map(|x| 0.3 + 0.2 * x).collect();
        let error = noise(9).take(len).map(|n| 0.1 * n - 0.03).collect();
        [seen, original, error]
    }

    fn sum(differences: &Differences) -> f64 {
        differences.each.iter().map(|d| f64::from(*d)).sum()
    }

    #[test]
    fn windows_have_a_sum_of_one() {
        assert!((WINDOW[0] + 2.0 * WINDOW[1..].iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let engine = Engine::new(false).unwrap();
        let ones = blurred(&engine, 30, &[1.0; 900]).unwrap();
        assert!((ones[15 * 30 + 15] - 1.0).abs() < 1e-6 && ones[0] < 0.45);
    }

    #[test]
    fn similarity_is_as_defined() {
        let engine = Engine::new(false).unwrap();
        let [_, original, error] = planes();
        let found = differences(&engine, WIDTH, &vec![1.0; original.len()], &original, &error).unwrap();
        // In the middle, where the window is whole; with numbers of 64 bits, as the paper has it.
        let (row, column) = (8, 11);
        let mut sums = [0f64; 6];
        for (y, x) in (0..11).flat_map(|y| (0..11).map(move |x| (y, x))) {
            let at = (row + y - 5) * WIDTH + column + x - 5;
            let (a, b) = (f64::from(original[at]), f64::from(original[at] + error[at]));
            let weight = (-((y as f64 - 5.0).powi(2) + (x as f64 - 5.0).powi(2)) / 4.5).exp();
            sums.iter_mut().zip([1.0, a, b, a * a, b * b, a * b]).for_each(|(sum, x)| *sum += weight * x);
        }
        let [a, b, aa, bb, ab] = [1, 2, 3, 4, 5].map(|i| sums[i] / sums[0]);
        let similarity = (1.0 - (a - b).powi(2)) * (2.0 * (ab - a * b) + 0.0009) / (aa - a * a + bb - b * b + 0.0009);
        let each = f64::from(found.each[row * WIDTH + column]);
        assert!((each - (1.0 - similarity)).abs() < 1e-4, "{each} {similarity}");
    }

    #[test]
    fn what_is_the_same_has_no_differences() {
        let engine = Engine::new(false).unwrap();
        let [seen, original, _] = planes();
        let same = differences(&engine, WIDTH, &seen, &original, &vec![0.0; seen.len()]).unwrap();
        assert!(same.each.iter().chain(&same.slope).all(|x| *x == 0.0));
        // Flat pictures differ by the square of what they are apart, whatever is seen of them.
        let flat = differences(&engine, WIDTH, &seen, &vec![0.4; seen.len()], &vec![0.1; seen.len()]).unwrap();
        let expected = f64::from(seen.iter().sum::<f32>()) * 0.01;
        assert!((sum(&flat) / expected - 1.0).abs() < 1e-3, "{} {expected}", sum(&flat));
    }

    #[test]
    fn structure_counts_less_where_there_is_more_of_it() {
        let engine = Engine::new(false).unwrap();
        let [seen, busy, error] = planes();
        let busy = differences(&engine, WIDTH, &seen, &busy, &error).unwrap();
        let flat = differences(&engine, WIDTH, &seen, &vec![0.4; seen.len()], &error).unwrap();
        assert!(sum(&flat) > 3.0 * sum(&busy), "{} {}", sum(&flat), sum(&busy));
    }

    #[test]
    fn what_is_not_seen_does_not_matter() {
        let engine = Engine::new(false).unwrap();
        let [seen, original, error] = planes();
        let mut other = error.clone();
        other.iter_mut().zip(&seen).filter(|(_, seen)| **seen == 0.0).for_each(|(x, _)| *x = 0.4);
        let [a, b] = [&error, &other].map(|error| differences(&engine, WIDTH, &seen, &original, error).unwrap());
        assert_eq!((&a.each, &a.slope), (&b.each, &b.slope));
        assert!(a.slope.iter().zip(&seen).all(|(slope, seen)| *seen > 0.0 || *slope == 0.0));
    }

    #[test]
    fn slopes_are_those_of_the_sum() {
        let engine = Engine::new(false).unwrap();
        let [seen, original, error] = planes();
        let found = differences(&engine, WIDTH, &seen, &original, &error).unwrap();
        for at in (0..seen.len()).filter(|i| seen[*i] > 0.0).step_by(29) {
            let moved = |by: f32| {
                let mut error = error.clone();
                error[at] += by;
                sum(&differences(&engine, WIDTH, &seen, &original, &error).unwrap())
            };
            let slope = (moved(0.002) - moved(-0.002)) / 0.004;
            let expected = f64::from(found.slope[at] * seen[at]);
            assert!((slope - expected).abs() < 0.01 * expected.abs() + 0.005, "{at}: {slope} {expected}");
        }
    }
}
