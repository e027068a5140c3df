//! Finding the quality index whose file has a wanted size or a wanted quality.

use crate::Result;
use crate::codec::Quality;

/// What was measured at an index, and what it was measured on.
pub(super) struct Measured<T> {
    pub(super) index: u8,
    pub(super) value: f64,
    pub(super) what: T,
}

/// The neighbours that enclose a value: the last index whose value is at most `limit`, and the first beyond it. One of them may not exist.
pub(super) struct Enclosed<T> {
    pub(super) below: Option<Measured<T>>,
    pub(super) above: Option<Measured<T>>,
}

/// Looks for `limit` among values that rise with the index by about `slope` each step. Asks for few of them, 3 to 5 as a rule: each costs an encoding.
pub(super) fn enclose<T>(limit: f64, slope: f64, mut measure: impl FnMut(u8) -> Result<(f64, T)>) -> Result<Enclosed<T>> {
    let (mut below, mut above): (Option<Measured<T>>, Option<Measured<T>>) = (None, None);
    let mut index = Quality::default().get();
    loop {
        let (value, what) = measure(index)?;
        let measured = Measured { index, value, what };
        if value <= limit {
            below = Some(measured);
        } else {
            above = Some(measured);
        }
        let (low, high) = (below.as_ref().map_or(-1, |m| i32::from(m.index)), above.as_ref().map_or(64, |m| i32::from(m.index)));
        if high - low <= 1 {
            return Ok(Enclosed { below, above });
        }
        let guess = match (&below, &above) {
            (Some(a), Some(b)) => f64::from(a.index) + (limit - a.value) / (b.value - a.value).max(f64::MIN_POSITIVE) * f64::from(b.index - a.index),
            (Some(a), None) => f64::from(a.index) + (limit - a.value) / slope,
            (None, Some(b)) => f64::from(b.index) + (limit - b.value) / slope,
            (None, None) => f64::from(index),
        };
        // Rounded down or up alike: the answer's other neighbour comes next, and every guess leaves less. Infinite values become the ends.
        index = (guess.round().clamp(f64::from(low + 1), f64::from(high - 1))) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_enclosed_in_few_steps() {
        // A curve like that of sizes, in logarithms, with a kink.
        let curve = |index: u8| f64::from(index) * 0.05 + (f64::from(index) - 40.0).max(0.0) * 0.03;
        let mut most = 0;
        for limit in -20..500 {
            let limit = f64::from(limit) / 100.0 + 0.003;
            let mut count = 0;
            let found = enclose(limit, 0.054, |index| {
                count += 1;
                Ok((curve(index), index))
            });
            let Enclosed { below, above } = found.unwrap();
            let below = below.map(|m| m.what);
            let above = above.map(|m| m.what);
            assert_eq!(below, (0..64).rev().find(|i| curve(*i) <= limit), "{limit}");
            assert_eq!(above, (0..64).find(|i| curve(*i) > limit), "{limit}");
            most = most.max(count);
        }
        assert!(most <= 8, "{most}");
    }

    #[test]
    fn flat_and_broken_curves_end() {
        for limit in [-1.0, 0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY] {
            let mut count = 0;
            let found = enclose(limit, 0.4, |index| {
                count += 1;
                assert!(count <= 64);
                Ok((if index % 3 == 0 { f64::INFINITY } else { 0.0 }, ()))
            });
            assert!(found.is_ok());
        }
    }
}
