//! Residuals to bits whose probabilities are learnt and mixed (R5.21, R5.23, R5.24).

use super::bits::Bits;
use crate::Result;
use crate::picture::try_filled;

/// Contexts that a bit of a sample is looked up in (R5.22).
const CONTEXTS: usize = 5;
/// How many values each context has.
const CONTEXT_SIZES: [usize; CONTEXTS] = [3 * 16 * 32, 3 * 15 * 15, 3 * 15 * 15 * 4, 3 * 15 * 15 * 4, 1 << 12];
/// Sets of weights: by channel and level of the errors around.
const SETS: usize = 3 * 16;
/// Bits of a residual, by what they say (R5.21).
const NODES: usize = 64;
const ZERO: usize = 0;
const NEGATIVE: usize = 1;
const EXPONENT: usize = 2;
const FIRST_DIGIT: usize = 20;
const SECOND_DIGIT: usize = 38;
const OTHER_DIGITS: usize = 56;
/// Weights of the mixer are in units of 1/65536.
const FIRST_WEIGHT: i32 = 26214;
const LARGEST_WEIGHT: i32 = 1 << 20;
/// How fast they learn.
const LEARNING: i32 = 8;

/// `4096 / (1 + exp(-x / 256))`, for `x = 128 * (i - 16)`.
const SQUASHED: [i32; 33] = [
    1, 2, 3, 6, 10, 16, 27, 45, 73, 120, 194, 310, 488, 747, 1101, 1546, 2047, 2549, 2994, 3348, 3607, 3785, 3901, 3975, 4022, 4050, 4068, 4079, 4085, 4089,
    4092, 4093, 4094,
];

/// R5.23: from the logistic domain, `-2047 ..= 2047`, to a probability in units of 1/4096.
const fn squash(x: i32) -> i32 {
    let (i, part) = (((x >> 7) + 16) as usize, x & 127);
    (SQUASHED[i] * (128 - part) + SQUASHED[i + 1] * part + 64) >> 7
}

/// R5.23: the inverse, the least `x` whose [`squash`] is at least the probability.
static STRETCHED: [i16; 4096] = {
    let mut table = [2047; 4096];
    let (mut x, mut p) = (-2047, 0);
    while x <= 2047 {
        while p <= squash(x) {
            table[p as usize] = x as i16;
            p += 1;
        }
        x += 1;
    }
    table
};

/// R5.24: how far a probability moves that has been used `n` times, in units of 1/65536.
static RATES: [u32; 128] = {
    let mut table = [0; 128];
    let mut n = 0;
    while n < 128 {
        table[n] = 655_360 / (10 * n as u32 + 16);
        n += 1;
    }
    table
};

/// A probability of 1 in units of `2^-22`, and in the lower 10 bits how often it has been used.
#[derive(Clone, Copy)]
struct Learning(u32);

impl Learning {
    const EVEN: Self = Self(1 << 31);

    #[inline]
    fn stretched(self) -> i32 {
        STRETCHED[(self.0 >> 20) as usize].into()
    }

    /// R5.24.
    #[inline]
    fn learn(&mut self, bit: bool) {
        let (p, n) = (i64::from(self.0 >> 10), self.0 & 1023);
        let target = if bit { (1 << 22) - 1 } else { 0 };
        let p = p + (((target - p) * i64::from(RATES[n as usize])) >> 16);
        self.0 = (p as u32) << 10 | (n + 1).min(127);
    }
}

/// Probabilities of the bits of residuals.
pub(super) struct Residuals {
    /// By context.
    tables: [Vec<[Learning; NODES]>; CONTEXTS],
    /// Of the mixer, by channel and level of the errors around.
    weights: Vec<[[i32; CONTEXTS]; NODES]>,
}

impl Residuals {
    pub(super) const BYTES: u64 = 4 * NODES as u64 * {
        let [a, b, c, d, e] = CONTEXT_SIZES;
        (a + b + c + d + e + SETS * CONTEXTS) as u64
    };

    pub(super) fn new() -> Result<Self> {
        let [a, b, c, d, e] = CONTEXT_SIZES.map(|size| try_filled(size, [Learning::EVEN; NODES]));
        Ok(Self { tables: [a?, b?, c?, d?, e?], weights: try_filled(SETS, [[FIRST_WEIGHT; CONTEXTS]; NODES])? })
    }

    /// R5.21: codes a residual, whose size has an exponent of at most `highest`.
    #[inline]
    pub(super) fn code(&mut self, bits: &mut impl Bits, contexts: &[usize; CONTEXTS], set: usize, highest: usize, given: i32) -> Result<i32> {
        let [a, b, c, d, e] = &mut self.tables;
        let mut tables = [&mut a[contexts[0]], &mut b[contexts[1]], &mut c[contexts[2]], &mut d[contexts[3]], &mut e[contexts[4]]];
        let weights = &mut self.weights[set];
        let mut code = |node: usize, given| code_bit(bits, &mut tables, weights, node % NODES, given);
        if code(ZERO, given == 0)? {
            return Ok(0);
        }
        let negative = code(NEGATIVE, given < 0)?;
        let given = given.unsigned_abs().max(1);
        let mut exponent = 0;
        while exponent < highest && code(EXPONENT + exponent, given >> (exponent + 1) != 0)? {
            exponent += 1;
        }
        let mut size = 1;
        for digit in (0..exponent).rev() {
            let node = match exponent - digit {
                1 => FIRST_DIGIT + exponent,
                2 => SECOND_DIGIT + exponent,
                _ => OTHER_DIGITS + digit.min(7),
            };
            size = 2 * size + i32::from(code(node, given >> digit & 1 != 0)?);
        }
        Ok(if negative { -size } else { size })
    }
}

/// R5.23: a bit under the probabilities of its contexts.
#[inline]
fn code_bit(
    bits: &mut impl Bits,
    tables: &mut [&mut [Learning; NODES]; CONTEXTS],
    weights: &mut [[i32; CONTEXTS]; NODES],
    node: usize,
    given: bool,
) -> Result<bool> {
    let weights = &mut weights[node];
    let (mut stretched, mut sum) = ([0; CONTEXTS], 0);
    for ((x, table), weight) in stretched.iter_mut().zip(&*tables).zip(&*weights) {
        *x = table[node].stretched();
        sum += i64::from(*x) * i64::from(*weight);
    }
    let p = squash((sum >> 16).clamp(-2047, 2047) as i32);
    let bit = bits.bit(16 * p as u32, given)?;
    let error = ((i32::from(bit) << 12) - p) * LEARNING;
    for (weight, x) in weights.iter_mut().zip(stretched) {
        *weight = (*weight + ((x * error + (1 << 13)) >> 14)).clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT);
    }
    for table in tables {
        table[node].learn(bit);
    }
    Ok(bit)
}
