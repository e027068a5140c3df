//! Finding the quality index whose file has a wanted size or a wanted quality.

use std::ops::Range;

use crate::Result;
use crate::codec::Quality;

/// What was measured at a position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measured {
    pub(super) at: u8,
    pub(super) value: f64,
}

/// The neighbours that enclose a value: the last position whose value is at most the limit, and the first beyond it. One of them may not exist.
#[derive(Debug, Default)]
pub(super) struct Enclosed {
    pub(super) below: Option<Measured>,
    pub(super) above: Option<Measured>,
}

/// Looks for `limit` among values that rise with the position by about `slope` each step. Asks for few of them, 3 to 5 as a rule: each costs an encoding.
pub(super) fn enclose(limit: f64, slope: f64, measure: impl FnMut(u8) -> Result<f64>) -> Result<Enclosed> {
    enclose_within(0..64, Enclosed::default(), Quality::default().get(), limit, slope, measure)
}

/// The same among the positions below one whose value is known to be beyond the limit.
pub(super) fn enclose_below(above: Measured, limit: f64, slope: f64, measure: impl FnMut(u8) -> Result<f64>) -> Result<Enclosed> {
    enclose_within(0..above.at, Enclosed { below: None, above: Some(above) }, 0, limit, slope, measure)
}

fn enclose_within(positions: Range<u8>, known: Enclosed, start: u8, limit: f64, slope: f64, mut measure: impl FnMut(u8) -> Result<f64>) -> Result<Enclosed> {
    let Enclosed { mut below, mut above } = known;
    let (mut width, mut slow, mut reach) = (0, 0, 1.0);
    loop {
        let (low, high) = (below.map_or(i32::from(positions.start) - 1, |m| i32::from(m.at)), above.map_or(i32::from(positions.end), |m| i32::from(m.at)));
        if high - low <= 1 {
            return Ok(Enclosed { below, above });
        }
        // As long as one end is not known, nothing is to be halved.
        slow = if (high - low) * 2 > width && width > 0 { slow + 1 } else { 0 };
        width = if below.is_some() && above.is_some() { high - low } else { 0 };
        let guess = match (below, above) {
            // Of a bent curve, lines through its ends may come to lie next to the same end each time.
            (Some(_), Some(_)) if slow > 1 => f64::from(low + high) / 2.0,
            (Some(a), Some(b)) => f64::from(a.at) + (limit - a.value) / (b.value - a.value).max(f64::MIN_POSITIVE) * f64::from(b.at - a.at),
            (Some(a), None) => f64::from(a.at) + (limit - a.value) / slope * reach,
            (None, Some(b)) => f64::from(b.at) + (limit - b.value) / slope * reach,
            (None, None) => f64::from(start),
        };
        // Where the slope is much less than stated, the other end is not reached at once.
        if below.is_some() != above.is_some() {
            reach *= 2.0;
        }
        // Rounded down or up alike: the answer's other neighbour comes next, and every guess leaves less. Infinite values become the ends.
        let at = (guess.round().clamp(f64::from(low + 1), f64::from(high - 1))) as u8;
        let value = measure(at)?;
        *(if value <= limit { &mut below } else { &mut above }) = Some(Measured { at, value });
    }
}

/// How often [`approach`] measures at most. Twice is the rule.
const MOST: usize = 6;

/// Looks for the setting with the largest value of at most `limit` where measuring takes long, by values that are close to it and quickly found.
///
/// `choose` gives the setting whose quick value is the largest of at most what it is called with, and that value; `measure` gives its true one. The difference
/// is nearly the same for all settings near by: at first it is taken to be `difference`, then what it was at the setting before. Where it is not, so that nothing is
/// found, the setting of the smallest value is measured before that is told.
pub(super) fn approach<S: PartialEq>(
    limit: f64,
    mut difference: f64,
    mut choose: impl FnMut(f64) -> Result<(S, f64)>,
    mut measure: impl FnMut(&S) -> Result<f64>,
) -> Result<()> {
    let (mut tried, mut best) = (Vec::new(), None);
    while tried.len() < MOST {
        // As long as nothing was found, the last is what has the smallest value of all.
        let last = best.is_none() && tried.len() + 1 == MOST;
        let (setting, quick) = choose(if last { f64::NEG_INFINITY } else { limit - difference })?;
        if best.is_some_and(|best| quick <= best) || tried.contains(&setting) {
            break;
        }
        let value = measure(&setting)?;
        if value <= limit {
            best = Some(quick);
        }
        // Of two infinite ones there is none.
        difference = if (value - quick).is_finite() { value - quick } else { 0.0 };
        tried.push(setting);
    }
    Ok(())
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
                Ok(curve(index))
            });
            let Enclosed { below, above } = found.unwrap();
            let (below, above) = (below.map(|m| m.at), above.map(|m| m.at));
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
                Ok(if index % 3 == 0 { f64::INFINITY } else { 0.0 })
            });
            assert!(found.is_ok());
        }
    }

    #[test]
    fn bent_curves_take_few_steps_too() {
        let mut most = 0;
        for (limit, power) in (1..400).flat_map(|i| [0.1, 1.0, 8.0].map(|power| (f64::from(i) / 10.0, power))) {
            let curve = |position: u8| (f64::from(position) / 40.0).powf(power) * 40.0;
            let mut count = 0;
            let found = enclose_below(Measured { at: 40, value: 40.0 }, limit, 1.0, |position| {
                count += 1;
                assert!(position < 40);
                Ok(curve(position))
            });
            let Enclosed { below, above } = found.unwrap();
            assert_eq!(below.map(|m| m.at), (0..40).rev().find(|i| curve(*i) <= limit), "{limit} {power}");
            assert_eq!(above.map(|m| m.at), (0..=40).find(|i| curve(*i) > limit), "{limit} {power}");
            most = most.max(count);
        }
        assert!(most <= 12, "{most}");
    }

    #[test]
    fn what_takes_long_is_measured_twice_as_a_rule() {
        let (mut all, mut limits) = (0, 0);
        for (bias, drift) in [(0.0, 0.0), (0.05, 0.0), (-0.1, 0.002), (0.4, -0.003)] {
            let quick = |setting: i32| f64::from(setting) * 0.01;
            let slow = |setting: i32| quick(setting) + bias + drift * f64::from(setting);
            for limit in (30..90).map(|i| f64::from(i) / 100.0 + 0.0042) {
                let (mut best, mut count) = (None, 0);
                let choose = |wanted: f64| {
                    let setting = ((wanted / 0.01).floor() as i32).clamp(0, 100);
                    Ok((setting, quick(setting)))
                };
                approach(limit, -0.02, choose, |setting| {
                    count += 1;
                    if slow(*setting) <= limit {
                        best = best.max(Some(*setting));
                    }
                    Ok(slow(*setting))
                })
                .unwrap();
                let exact = (0..=100).rev().find(|i| slow(*i) <= limit);
                assert!(best >= exact.map(|i| (i - 1).max(0)), "{bias} {drift} {limit}: {best:?} {exact:?}");
                assert!(count <= MOST);
                (all, limits) = (all + count, limits + 1);
            }
        }
        assert!(all * 10 <= limits * 28, "{all} for {limits}");
    }

    #[test]
    fn what_is_there_is_found_though_differences_rise() {
        // Only the lowest one fits, and what is learned of others takes one step towards it each time.
        let slow = |setting: i32| if setting == 0 { 0.0 } else { 10.1 };
        let mut found = false;
        let choose = |wanted: f64| {
            let setting = (wanted.floor() as i32).clamp(0, 20);
            Ok((setting, f64::from(setting)))
        };
        let mut count = 0;
        approach(10.0, 0.0, choose, |setting| {
            count += 1;
            found |= slow(*setting) <= 10.0;
            Ok(slow(*setting))
        })
        .unwrap();
        assert!(found && count == MOST);
    }

    #[test]
    fn what_cannot_be_measured_ends() {
        for value in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            let mut count = 0;
            let choose = |_| Ok((count % 3, value));
            approach(1.0, 0.0, choose, |_| Ok(value)).unwrap();
            let mut next = 0;
            let choose = |_| {
                next += 1;
                Ok((next, f64::from(next)))
            };
            approach(1.0, 0.0, choose, |_| {
                count += 1;
                Ok(value)
            })
            .unwrap();
            assert!(count <= MOST);
        }
    }
}
