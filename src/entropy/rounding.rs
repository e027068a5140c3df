//! Which value an encoder codes for a latent (SPEC 6): the nearest one, or the next one towards zero where that saves more than it costs.

use super::tables::{PRECISION, Table, Tables};

/// What an error of one squared quantisation step is taken to be worth, in bits; the networks are trained with the same number. Theory has 8.7 for independent
/// errors at high rates; later values are predicted from earlier ones, though, and pay for their errors too.
const SQUARED_STEP_BITS: u32 = 20;
/// Larger magnitudes are rounded to the nearest value: where they are not rare, neighbours cost the same.
const VALUES: usize = 24;
/// Fractional bits of costs.
pub(crate) const COST_FRACTION: u32 = 16;

/// Thresholds for every scale index, in units of `2^-fraction`.
pub(crate) struct Rounding {
    fraction: u32,
    /// `[scale][n - 1]`: a magnitude whose nearest value is n becomes n - 1 if it is below n plus this.
    thresholds: Vec<[i32; VALUES]>,
}

impl Rounding {
    pub(crate) fn new(tables: &Tables, fraction: u32) -> Self {
        let thresholds = tables.iter().map(|table| std::array::from_fn(|i| threshold(table, i as i32 + 1, fraction))).collect();
        Self { fraction, thresholds }
    }

    /// The nearest value to a number of `2^-fraction`, halves away from zero.
    #[inline]
    pub(crate) fn nearest(&self, x: i32) -> i32 {
        ((x.abs() + (1 << self.fraction >> 1)) >> self.fraction) * x.signum()
    }

    /// The value to code for a number of `2^-fraction` under a scale index.
    #[inline]
    pub(crate) fn value(&self, x: i32, index: u8) -> i32 {
        let nearest = self.nearest(x);
        let n = nearest.abs();
        let threshold = self.thresholds.get(usize::from(index)).and_then(|row| row.get((n as usize).wrapping_sub(1)));
        match threshold {
            Some(threshold) if x.abs() - (n << self.fraction) < *threshold => nearest - x.signum(),
            _ => nearest,
        }
    }
}

/// Where the bits saved outweigh the error added: `bits(n) - bits(n - 1) > K ((a - n + 1)^2 - (a - n)^2) = K (2 (a - n) + 1)`, solved for `a - n`.
fn threshold(table: &Table, n: i32, fraction: u32) -> i32 {
    let saved = i64::from(cost(table, n)) - i64::from(cost(table, n - 1));
    let half = 1i64 << fraction >> 1;
    let threshold = (saved << fraction) / i64::from((2 * SQUARED_STEP_BITS) << COST_FRACTION) - half;
    threshold.clamp(-half, half) as i32
}

/// Bits of a value of at least 0 under a table, in units of `2^-COST_FRACTION`. Tables are as good as symmetric.
pub(crate) fn cost(table: &Table, value: i32) -> u32 {
    let (symbol, behind) = match value - table.range {
        ..=0 => (value + table.range, 0),
        excess => (2 * table.range + 1, 2 * excess.ilog2() + 2),
    };
    ((PRECISION as u32 + behind) << COST_FRACTION) - log2(table.lookup.probability(symbol as usize))
}

/// Binary logarithm of a number of at least 1, in units of `2^-COST_FRACTION`, rounded down: the same on every machine, so that the same picture gives the
/// same file there.
fn log2(x: u32) -> u32 {
    let whole = x.max(1).ilog2();
    // A number of 1 to 2 in units of 2^-31; its square is 2 or more where the next bit of the logarithm is one.
    let mut mantissa = u64::from(x.max(1)) << (31 - whole);
    (0..COST_FRACTION).fold(whole, |log, _| {
        mantissa = (mantissa * mantissa) >> 31;
        let bit = (mantissa >> 32) as u32;
        mantissa >>= bit;
        2 * log + bit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Tables {
        Tables::of(&[&[32, 65471, 32, 1], &[16384, 32768, 16000, 384], &[9362, 9362, 9362, 9362, 9362, 9362, 9362, 2]])
    }

    #[test]
    fn logarithms() {
        assert_eq!([1, 2, 3, 10, 65535, 65536].map(log2), [0, 1 << 16, 103872, 217705, 1048574, 16 << 16]);
        for x in 1..256 {
            for y in 1..256 {
                assert!(log2(x * y).abs_diff(log2(x) + log2(y)) <= 2, "{x} * {y}");
            }
        }
    }

    #[test]
    fn values_move_towards_zero_by_one_at_most_and_where_it_saves() {
        let rounding = Rounding::new(&tables(), 8);
        for index in 0..3 {
            let mut last = i32::MIN;
            for x in -6000..=6000 {
                let (value, nearest) = (rounding.value(x, index), rounding.nearest(x));
                assert!(value == nearest || value == nearest - x.signum());
                assert_eq!(rounding.value(-x, index), -value);
                assert!(value >= last, "monotone");
                last = value;
            }
        }
        // 0 costs 0.0014 bits and 1 11 bits: 1 is chosen from 1/2 + 11/40 on.
        assert_eq!([195, 197, 199].map(|x| rounding.value(x, 0)), [0, 0, 1]);
        // 0 costs one bit, 1 2.03: from 1/2 + 1.03/40 on.
        assert_eq!([127, 133, 136].map(|x| rounding.value(x, 1)), [0, 0, 1]);
        // All the same within the table: to the nearest; the escape behind it is dear.
        assert_eq!([127, 128, 383, 384].map(|x| rounding.value(x, 2)), [0, 1, 1, 2]);
        assert_eq!([3 * 256 + 128, 4 * 256 - 40, 4 * 256 - 30].map(|x| rounding.value(x, 2)), [3, 3, 4]);
        // An index without a table, a value above those with thresholds.
        assert_eq!(rounding.value(200, 9), 1);
        assert_eq!(rounding.value(100 * 256 + 128, 0), 101);
    }
}
