//! Samples of 8 or of 16 bits, and how one becomes the other.

use std::borrow::Cow;

use super::try_filled;
use crate::Result;

/// How many bits a decoded sample has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SampleDepth {
    /// 0 to 255.
    #[default]
    Eight,
    /// 0 to 65535.
    Sixteen,
}

impl SampleDepth {
    /// 8 or 16.
    pub fn bits(self) -> u8 {
        match self {
            Self::Eight => 8,
            Self::Sixteen => 16,
        }
    }

    /// Bytes that a sample takes: 1 or 2.
    pub fn bytes(self) -> usize {
        usize::from(self.bits() / 8)
    }
}

/// The samples of a [`Picture`](crate::Picture), in the order of [`Picture::new`](crate::Picture::new).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Samples {
    /// 0 to 255.
    U8(Vec<u8>),
    /// 0 to 65535.
    U16(Vec<u16>),
}

impl From<Vec<u8>> for Samples {
    fn from(samples: Vec<u8>) -> Self {
        Self::U8(samples)
    }
}

impl From<Vec<u16>> for Samples {
    fn from(samples: Vec<u16>) -> Self {
        Self::U16(samples)
    }
}

impl Samples {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(samples) => samples.len(),
            Self::U16(samples) => samples.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bits of a sample.
    pub fn depth(&self) -> SampleDepth {
        match self {
            Self::U8(_) => SampleDepth::Eight,
            Self::U16(_) => SampleDepth::Sixteen,
        }
    }

    /// As 8-bit samples: these themselves, or a rounded copy of 16-bit ones.
    pub fn to_u8(&self) -> Cow<'_, [u8]> {
        match self {
            Self::U8(samples) => Cow::Borrowed(samples),
            Self::U16(samples) => Cow::Owned(samples.iter().map(|v| narrow(*v)).collect()),
        }
    }

    /// As 16-bit samples: these themselves, or a copy of 8-bit ones, times 257.
    pub fn to_u16(&self) -> Cow<'_, [u16]> {
        match self {
            Self::U8(samples) => Cow::Owned(samples.iter().map(|v| widen(*v)).collect()),
            Self::U16(samples) => Cow::Borrowed(samples),
        }
    }

    /// Converts to a depth, if these do not have it yet.
    pub(crate) fn into_depth(self, depth: SampleDepth) -> Result<Self> {
        Ok(match (self, depth) {
            (Self::U8(samples), SampleDepth::Sixteen) => {
                let mut wide = try_filled(samples.len(), 0)?;
                wide.iter_mut().zip(samples).for_each(|(wide, v)| *wide = widen(v));
                Self::U16(wide)
            }
            (Self::U16(samples), SampleDepth::Eight) => {
                let mut narrowed = try_filled(samples.len(), 0)?;
                narrowed.iter_mut().zip(samples).for_each(|(narrowed, v)| *narrowed = narrow(v));
                Self::U8(narrowed)
            }
            (same, _) => same,
        })
    }
}

/// 255 becomes 65535.
pub(crate) fn widen(v: u8) -> u16 {
    u16::from(v) * 257
}

/// `v * 255 / 65535`, to the nearest.
pub(crate) fn narrow(v: u16) -> u8 {
    ((u32::from(v) * 255 + 32767) / 65535) as u8
}

/// What the codec does with a sample, for both depths.
pub(crate) trait Sample: Copy + Default + Send + Sync + 'static {
    /// Bits of a sample.
    const DEPTH: SampleDepth;

    /// The sample for the sum of `count` outputs of the synthesis in units of `2^-fraction` (R5.11).
    fn from_outputs(sum: i32, count: i32, fraction: u32) -> Self;

    /// What the analysis takes for the sample (SPEC 6).
    fn to_input(self, shift: u32) -> i16;

    /// From a sample of a depth that was stored without loss (R5.11).
    fn from_stored(v: u16, depth: SampleDepth) -> Self;

    /// The sample as it is stored without loss.
    fn to_stored(self) -> u16;

    /// Appends the sample's bytes, the most significant first.
    fn store(self, bytes: &mut Vec<u8>);

    /// This sample, and its full scale.
    fn to_u16(self) -> u16;
}

/// `sum / (count * 2^fraction)`, rounded.
#[inline]
fn mean(sum: i32, count: i32, fraction: u32) -> i32 {
    let half = count << fraction >> 1;
    if count == 1 { (sum + half) >> fraction } else { (sum + half).div_euclid(count << fraction) }
}

impl Sample for u8 {
    const DEPTH: SampleDepth = SampleDepth::Eight;

    #[inline]
    fn from_outputs(sum: i32, count: i32, fraction: u32) -> Self {
        mean(sum, count, fraction).clamp(0, 255) as u8
    }

    #[inline]
    fn to_input(self, shift: u32) -> i16 {
        (2 * i16::from(self) - 255) << shift
    }

    fn from_stored(v: u16, depth: SampleDepth) -> Self {
        match depth {
            SampleDepth::Eight => v as u8,
            SampleDepth::Sixteen => narrow(v),
        }
    }

    fn to_stored(self) -> u16 {
        self.into()
    }

    fn store(self, bytes: &mut Vec<u8>) {
        bytes.push(self);
    }

    fn to_u16(self) -> u16 {
        widen(self)
    }
}

impl Sample for u16 {
    const DEPTH: SampleDepth = SampleDepth::Sixteen;

    #[inline]
    fn from_outputs(sum: i32, count: i32, fraction: u32) -> Self {
        mean(sum * 257, count, fraction).clamp(0, 65535) as u16
    }

    #[inline]
    fn to_input(self, shift: u32) -> i16 {
        (((2 * i32::from(self) - 65535) << shift) + 128).div_euclid(257) as i16
    }

    fn from_stored(v: u16, depth: SampleDepth) -> Self {
        match depth {
            SampleDepth::Eight => widen(v as u8),
            SampleDepth::Sixteen => v,
        }
    }

    fn to_stored(self) -> u16 {
        self
    }

    fn store(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_be_bytes());
    }

    fn to_u16(self) -> u16 {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_are_rounded_to_the_nearest() {
        for v in 0..=65535u16 {
            let exact = f64::from(v) * 255.0 / 65535.0;
            assert!((f64::from(narrow(v)) - exact).abs() <= 0.5, "{v}");
        }
        for v in 0..=255u8 {
            assert_eq!(narrow(widen(v)), v);
        }
    }

    #[test]
    fn r5_11_depths_agree_on_whole_levels_and_saturate() {
        for fraction in 1..=6 {
            for level in -3..=258 {
                let v = level << fraction;
                assert_eq!(u16::from_outputs(v, 1, fraction), widen(u8::from_outputs(v, 1, fraction)), "{level}");
                assert_eq!(u8::from_outputs(3 * v, 3, fraction), u8::from_outputs(v, 1, fraction));
                assert_eq!(u16::from_outputs(3 * v, 3, fraction), u16::from_outputs(v, 1, fraction));
            }
        }
        // By hand: 100 and 33/64 levels; a third of a level in the mean of three.
        assert_eq!((u8::from_outputs(100 * 64 + 33, 1, 6), u16::from_outputs(100 * 64 + 33, 1, 6)), (101, 25833));
        assert_eq!((u8::from_outputs(3 * 64 * 7 + 64, 3, 6), u16::from_outputs(3 * 64 * 7 + 64, 3, 6)), (7, 1885));
        for (extreme, expected) in [(i16::MIN, 0), (i16::MAX, 65535)] {
            assert_eq!(u16::from_outputs(extreme.into(), 1, 6), expected);
            assert_eq!(u16::from_outputs(3 * i32::from(extreme), 3, 1), expected);
        }
    }

    #[test]
    fn both_depths_enter_the_analysis_alike() {
        for shift in 0..=6 {
            for v in 0..=255u8 {
                assert_eq!(widen(v).to_input(shift), v.to_input(shift));
            }
            let all: Vec<i16> = (0..=65535u16).map(|v| v.to_input(shift)).collect();
            assert!(all.is_sorted());
            for (v, x) in all.iter().enumerate() {
                let exact = (2.0 * v as f64 - 65535.0) / 257.0 * f64::from(1 << shift);
                assert!((f64::from(*x) - exact).abs() <= 0.5, "{v}");
            }
        }
    }
}
