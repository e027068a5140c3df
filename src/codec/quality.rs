//! Quality, as users and as files count it.

use crate::{Error, Result};

/// Highest quality index.
const HIGHEST: u8 = 63;

/// How good a coded picture is to look. The default is visually very good: differences are hard to see at normal viewing distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quality(u8);

impl Quality {
    /// The best picture.
    pub(crate) const HIGHEST: Self = Self(HIGHEST);

    /// A quality index of the model: 0 (smallest file) to 63 (best picture).
    ///
    /// # Errors
    /// [`Error::Parameter`] above 63.
    pub fn index(index: u8) -> Result<Self> {
        if index > HIGHEST {
            return Err(Error::Parameter(format!("quality index {index} does not exist: 0 to {HIGHEST}")));
        }
        Ok(Self(index))
    }

    /// Quality on a scale of 0 to 100, mapped linearly to the indices and rounded.
    ///
    /// # Errors
    /// [`Error::Parameter`] above 100.
    pub fn percent(percent: u8) -> Result<Self> {
        if percent > 100 {
            return Err(Error::Parameter(format!("quality {percent} does not exist: 0 to 100")));
        }
        Ok(Self(((u32::from(percent) * u32::from(HIGHEST) + 50) / 100) as u8))
    }

    /// The quality index, 0 to 63.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// How many bits per pixel a squared error of one level of 255 in each of three colours is worth, as the embedded network was trained: straight lines in the
/// logarithm between four qualities (`lambdas` in models/training). By products alone: a function of the standard library may differ from machine to machine, and
/// files with it.
pub(super) fn lambda(quality: Quality) -> f64 {
    let step = |index: u8| match index {
        0..14 => 1.159_693_273_616_818_2,
        14..47 => 1.103_686_242_375_328,
        _ => 1.159_396_704_914_744,
    };
    (0..quality.get()).fold(0.0005, |lambda, index| lambda * step(index))
}

impl Default for Quality {
    fn default() -> Self {
        // 60 %: chosen by looking at pictures next to their originals at two-fold size. Below index 30 fine hair and flat dark parts show blocks.
        Self(38)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambdas_go_through_the_nodes_of_the_training() {
        for (index, expected) in [(0, 0.0005), (14, 0.003979), (47, 0.1032), (63, 1.1)] {
            let found = lambda(Quality::index(index).unwrap());
            assert!((found / expected - 1.0).abs() < 1e-6, "{index}: {found}");
        }
    }

    #[test]
    fn percent_reaches_every_index_in_order() {
        let indices: Vec<u8> = (0..=100).map(|p| Quality::percent(p).unwrap().get()).collect();
        assert!(indices.is_sorted());
        assert_eq!((indices[0], indices[100]), (0, 63));
        assert!((0..=63).all(|i| indices.contains(&i)));
        assert!(Quality::percent(101).is_err() && Quality::index(64).is_err());
    }
}
