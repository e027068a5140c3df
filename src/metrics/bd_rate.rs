//! Bjøntegaard's delta rate.

use super::pchip::Pchip;

/// How much larger or smaller one codec's files are than another's at equal quality.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BdRate {
    /// Mean difference in size, in per cent. Negative: the tested codec's files are smaller.
    pub percent: f64,
    /// Lowest quality that both curves reach.
    pub from: f64,
    /// Highest quality that both curves reach.
    pub to: f64,
}

/// Bjøntegaard delta rate of `test` against `anchor`; both are points of rate (bits per pixel, say) and quality (dB, say), in any order.
///
/// The logarithm of the rate is interpolated over quality by PCHIP, and the difference averaged over the qualities that both curves have. Points that cost
/// more than a better one are left out. `None` if a curve has fewer than three points then, or the common range is shorter than `min_range`.
pub fn bd_rate(anchor: &[(f64, f64)], test: &[(f64, f64)], min_range: f64) -> Option<BdRate> {
    let (anchor, test) = (useful(anchor), useful(test));
    if anchor.len() < 3 || test.len() < 3 {
        return None;
    }
    let from = anchor[0].0.max(test[0].0);
    let to = anchor[anchor.len() - 1].0.min(test[test.len() - 1].0);
    if to <= from || to - from < min_range {
        return None;
    }
    let area = Pchip::new(&test)?.integral(from, to) - Pchip::new(&anchor)?.integral(from, to);
    Some(BdRate { percent: ((area / (to - from)).exp() - 1.0) * 100.0, from, to })
}

/// Points as (quality, ln rate), both increasing.
fn useful(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut sorted: Vec<_> = points.iter().filter(|(rate, quality)| *rate > 0.0 && rate.is_finite() && quality.is_finite()).map(|(r, q)| (*q, *r)).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    sorted.dedup_by(|later, kept| later.0 <= kept.0);
    let mut kept: Vec<(f64, f64)> = Vec::with_capacity(sorted.len());
    for (quality, rate) in sorted {
        while kept.last().is_some_and(|(_, last)| rate <= *last) {
            kept.pop();
        }
        kept.push((quality, rate));
    }
    kept.iter_mut().for_each(|(_, rate)| *rate = rate.ln());
    kept
}
