//! Samples of a picture, and the networks' numbers that stand for them.

/// A type of samples.
pub(super) trait Sample: Copy + Default + Send + Sync + 'static {
    /// The sample for a sum of `count` outputs of synthesis in units of `2^-fraction` (R5.11).
    fn from_outputs(sum: i32, count: i32, fraction: u32) -> Self;

    /// What analysis takes for the sample (SPEC 6).
    fn to_input(self, shift: u32) -> i16;
}

impl Sample for u8 {
    #[inline]
    fn from_outputs(sum: i32, count: i32, fraction: u32) -> Self {
        let half = count << (fraction - 1);
        let v = if count == 1 { (sum + half) >> fraction } else { (sum + half).div_euclid(count << fraction) };
        v.clamp(0, 255) as u8
    }

    #[inline]
    fn to_input(self, shift: u32) -> i16 {
        (2 * i16::from(self) - 255) << shift
    }
}
