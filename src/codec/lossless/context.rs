//! What the next bits of samples will be, learnt from the samples before (SPEC 5.6): predictions, contexts, and probabilities that are mixed.

use super::bits::Bits;
use crate::picture::try_filled;
use crate::{Error, Result};

/// Sub-predictions of a sample (R5.20).
const PREDICTIONS: usize = 6;
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
/// Neighbours of a pixel.
const W: usize = 0;
const N: usize = 1;
const NW: usize = 2;
const NE: usize = 3;
const WW: usize = 4;
const NN: usize = 5;

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

/// R5.20: the weight of a sub-prediction, by the sum of its errors.
static TRUST: [u32; 6 * 255 + 1] = {
    let mut table = [0; 6 * 255 + 1];
    let mut error = 0;
    while error < table.len() as u32 {
        let weight = (1 << 20) / (error * error + 4);
        table[error as usize] = if weight == 0 { 1 } else { weight };
        error += 1;
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

/// The probability of 1 of a decision about a whole pixel (R5.19), in units of 1/65536.
#[derive(Clone, Copy)]
struct Chance(u16);

impl Chance {
    #[inline]
    fn code(&mut self, bits: &mut impl Bits, given: bool) -> Result<bool> {
        let bit = bits.bit(self.0.into(), given)?;
        if bit {
            self.0 += (65520 - self.0) >> 5
        } else {
            self.0 -= (self.0 - 16) >> 5
        }
        Ok(bit)
    }
}

/// Colours as they are coded: up to three samples, 0 where there are fewer.
type Colour = [i32; 3];

/// A colour that followed a context (R5.19).
#[derive(Clone, Copy)]
struct Seen {
    colour: Colour,
    check: u16,
    /// How often it was right. 0: nothing has been seen.
    count: u8,
}

impl Seen {
    fn learn(&mut self, check: u16, colour: Colour) {
        if self.count == 0 || self.check != check {
            *self = Self { colour, check, count: 1 };
        } else if self.colour == colour {
            self.count = (self.count + 1).min(15);
        } else if self.count > 2 {
            self.count /= 2;
        } else {
            (self.colour, self.count) = (colour, 1);
        }
    }
}

/// R5.19.
fn hash(colours: &[Colour]) -> u32 {
    const FACTORS: [u32; 3] = [0x9E37_79B1, 0x85EB_CA6B, 0xC2B2_AE35];
    colours.iter().fold(0, |h, colour| {
        let folded = colour.iter().zip(FACTORS).fold(0, |f, (v, factor)| f ^ (*v as u32).wrapping_mul(factor));
        let h = (h ^ folded).wrapping_mul(FACTORS[0]);
        h ^ h >> 15
    })
}

/// What has been learnt of whole pixels, for graphics.
struct Repeats {
    /// By six neighbours, and by two.
    seen: [Vec<Seen>; 2],
    by_seen: Vec<Chance>,
    by_neighbour: Vec<Chance>,
    /// Whether the last pixels were repeats, the last in the lowest bit.
    history: usize,
}

impl Repeats {
    fn new() -> Result<Self> {
        let nothing = Seen { colour: [0; 3], check: 0, count: 0 };
        Ok(Self {
            seen: [try_filled(1 << 14, nothing)?, try_filled(1 << 14, nothing)?],
            by_seen: try_filled(2 * 16 * 8 * 4, Chance(1 << 15))?,
            by_neighbour: try_filled(4 * 32 * 4, Chance(1 << 15))?,
            history: 0,
        })
    }

    /// R5.19: the pixel's colour if it is one of those that are tried, and how many were.
    fn code(&mut self, bits: &mut impl Bits, around: &[Colour; 6], given: Colour) -> Result<(Option<Colour>, usize)> {
        let same = |a: usize, b: usize| usize::from(around[a] == around[b]);
        let flat = same(W, N) + 2 * same(W, NW) + 4 * same(N, NE);
        let pattern = flat + 8 * same(W, WW) + 16 * same(N, NN);
        let history = self.history & 3;
        let hashes = [hash(around), hash(&around[..2])];
        let mut tried = [[0; 3]; 6];
        let mut count = 0;
        let mut found = None;
        for (level, hash) in hashes.into_iter().enumerate() {
            let seen = self.seen[level][(hash >> 18) as usize];
            if found.is_some() || seen.count == 0 || seen.check != hash as u16 || tried[..count].contains(&seen.colour) {
                continue;
            }
            let chance = &mut self.by_seen[((level * 16 + usize::from(seen.count)) * 8 + flat) * 4 + history];
            if chance.code(bits, seen.colour == given)? {
                found = Some(seen.colour);
            }
            tried[count] = seen.colour;
            count += 1;
        }
        for (place, neighbour) in [W, N, NE, NW].into_iter().enumerate() {
            let colour = around[neighbour];
            if found.is_some() || tried[..count].contains(&colour) {
                continue;
            }
            if self.by_neighbour[(place * 32 + pattern) * 4 + history].code(bits, colour == given)? {
                found = Some(colour);
            }
            tried[count] = colour;
            count += 1;
        }
        self.history = self.history << 1 | usize::from(found.is_some());
        Ok((found, count))
    }

    fn learn(&mut self, around: &[Colour; 6], colour: Colour) {
        for (seen, hash) in self.seen.iter_mut().zip([hash(around), hash(&around[..2])]) {
            seen[(hash >> 18) as usize].learn(hash as u16, colour);
        }
    }
}

/// What is known of a pixel that has been coded.
#[derive(Clone, Copy, Default)]
struct Known {
    colour: Colour,
    /// What the predictions lacked.
    residual: [i32; 3],
    /// By how much each sub-prediction was wrong, at most 255.
    errors: [[u8; PREDICTIONS]; 3],
}

/// Three rows of pixels, with two columns in front and one behind (R5.18).
struct Rows {
    pixels: Vec<Known>,
    width: usize,
    row: usize,
    /// Where the first pixels of this row, the one above, and the one above that are.
    starts: [usize; 3],
}

impl Rows {
    fn new(width: usize) -> Result<Self> {
        Ok(Self { pixels: try_filled(3 * (width + 3), Known::default())?, width, row: 0, starts: [0; 3] })
    }

    fn begin(&mut self) {
        self.starts = [0, 2, 1].map(|back| (self.row + back) % 3 * (self.width + 3) + 2);
        if self.row > 0 {
            let [start, above, _] = self.starts;
            self.pixels[start - 2] = self.pixels[above];
            self.pixels[start - 1] = self.pixels[above];
        }
    }

    fn end(&mut self) {
        let [start, ..] = self.starts;
        self.pixels[start - 1] = self.pixels[start];
        self.pixels[start + self.width] = self.pixels[start + self.width - 1];
        self.row += 1;
    }

    /// Where the neighbours W, N, NW, NE, WW, NN of a column are.
    #[inline]
    fn around(&self, x: usize) -> [usize; 6] {
        let [start, above, above_that] = self.starts;
        let at = start + x;
        match self.row {
            0 => [at - 1, at - 1, at - 1, at - 1, at - 2, at - 1],
            1 => [at - 1, above + x, above + x - 1, above + x + 1, at - 2, above + x],
            _ => [at - 1, above + x, above + x - 1, above + x + 1, at - 2, above_that + x],
        }
    }
}

/// R5.22: a difference in 15 steps.
#[inline]
fn step(v: i32) -> usize {
    let size = match v.unsigned_abs() {
        small @ 0..=2 => small as usize,
        3..=4 => 3,
        5..=8 => 4,
        9..=16 => 5,
        17..=40 => 6,
        _ => 7,
    };
    if v < 0 { 7 - size } else { 7 + size }
}

/// R5.22: a size in 16 steps.
#[inline]
fn level(v: u32) -> usize {
    if v < 4 {
        return v as usize;
    }
    let log = v.ilog2();
    ((2 * log + (v >> (log - 1) & 1)) as usize).min(15)
}

/// The model of a tile's samples.
pub(super) struct Samples {
    rows: Rows,
    repeats: Option<Repeats>,
    residuals: Residuals,
    /// Least and largest sample of each channel.
    limits: [[i32; 2]; 3],
    channels: usize,
    /// Of the size of a residual, at most.
    exponent: usize,
    /// What sizes are divided by, as a power of two, before they are context.
    shift: u32,
}

impl Samples {
    /// For tiles `width` pixels wide, of `channels` (1 or 3) samples in their `limits`, of `depth` bits. `graphics`: colours may repeat themselves.
    pub(super) fn new(width: usize, channels: usize, limits: [[i32; 2]; 3], depth: u8, graphics: bool) -> Result<Self> {
        Ok(Self {
            rows: Rows::new(width)?,
            repeats: if graphics { Some(Repeats::new()?) } else { None },
            residuals: Residuals::new()?,
            limits,
            channels,
            exponent: depth.into(),
            shift: if depth > 8 { 4 } else { 0 },
        })
    }

    /// How many bytes one takes, but for three rows of pixels.
    pub(super) const BYTES: u64 = 4 * NODES as u64 * {
        let [a, b, c, d, e] = CONTEXT_SIZES;
        (a + b + c + d + e + SETS * CONTEXTS) as u64
    } + 2 * (1 << 14) * size_of::<Seen>() as u64;
    /// How many bytes a column takes.
    pub(super) const COLUMN_BYTES: u64 = 3 * size_of::<Known>() as u64;

    /// Codes the next row, of [`Colour`]s one after the other.
    pub(super) fn row(&mut self, bits: &mut impl Bits, row: &mut [Colour]) -> Result<()> {
        self.rows.begin();
        for (x, colour) in row.iter_mut().enumerate() {
            let around = self.rows.around(x);
            let mut tried = 0;
            if let Some(repeats) = &mut self.repeats {
                let colours = around.map(|at| self.rows.pixels[at].colour);
                let found;
                (found, tried) = repeats.code(bits, &colours, *colour)?;
                if let Some(found) = found {
                    *colour = found;
                    repeats.learn(&colours, found);
                    self.rows.pixels[self.rows.starts[0] + x] = Known { colour: found, ..Known::default() };
                    continue;
                }
            }
            let mut known = Known::default();
            for (c, given) in colour.iter().enumerate().take(self.channels) {
                self.sample(bits, &around, c, tried, *given, &mut known)?;
            }
            *colour = known.colour;
            self.rows.pixels[self.rows.starts[0] + x] = known;
            if let Some(repeats) = &mut self.repeats {
                repeats.learn(&around.map(|at| self.rows.pixels[at].colour), known.colour);
            }
        }
        self.rows.end();
        Ok(())
    }

    /// Codes a sample.
    #[inline]
    fn sample(&mut self, bits: &mut impl Bits, around: &[usize; 6], c: usize, tried: usize, given: i32, known: &mut Known) -> Result<()> {
        // Not `map`, which is slow here.
        let pixels: [&Known; 6] = std::array::from_fn(|k| &self.rows.pixels[around[k]]);
        let v: [i32; 6] = std::array::from_fn(|k| pixels[k].colour[c]);
        let residual: [i32; 6] = std::array::from_fn(|k| pixels[k].residual[c]);
        let [low, high] = self.limits[c];

        // R5.20: the mean of the sub-predictions, each weighted by how well it did around.
        let plane = v[W] + v[N] - v[NW];
        let predictions = [v[W], v[N], plane, v[W] + v[NE] - v[N], 2 * v[N] - v[NN], v[W] + ((v[NE] - v[NW]) >> 1)];
        let (mut sum, mut weights) = (0, 0);
        for (i, prediction) in predictions.iter().enumerate() {
            let error = |k: usize| usize::from(pixels[k].errors[c][i]);
            let weight = i64::from(TRUST[2 * (error(W) + error(N)) + error(NW) + error(NE)]);
            sum += weight * i64::from(*prediction);
            weights += weight;
        }
        let mean = (2 * sum + weights).div_euclid(2 * weights) as i32;
        let least = v[W].min(v[N]).min(v[NE]).min(plane).max(low);
        let most = v[W].max(v[N]).max(v[NE]).max(plane).min(high);
        let p = mean.clamp(least, most);

        // R5.22.
        let size = |k: usize| residual[k].unsigned_abs();
        let errors = (size(W) + size(N) + ((size(NW) + size(NE)) >> 1)) >> self.shift;
        let errors = level(errors);
        let than = |v: i32| step((v - p) >> self.shift);
        let [before, first] = match c {
            0 => [residual[WW], residual[NN]],
            1 => [known.residual[0], residual[NN]],
            _ => [known.residual[1], known.residual[0]],
        };
        let shape = if self.repeats.is_some() {
            (errors * 8 + tried) * 4 + usize::from(v[W] == p) + 2 * usize::from(v[N] == p)
        } else {
            v.iter().enumerate().fold(errors / 2 * 64, |shape, (i, v)| shape + (usize::from(*v > p) << i))
        };
        let beside = if c > 0 { known.colour[c - 1] } else { 0 };
        let values = (v[W] as u32).wrapping_mul(0x9E37_79B1) ^ (v[N] as u32).wrapping_mul(0x85EB_CA6B) ^ (beside as u32).wrapping_mul(0xC2B2_AE35);
        let values = ((values ^ values >> 15) + c as u32).wrapping_mul(0x2C1B_3C6D);
        let contexts = [
            c * 512 + shape,
            (c * 15 + than(v[W])) * 15 + than(v[N]),
            ((c * 15 + than(v[NW])) * 15 + than(v[NE])) * 4 + errors / 4,
            ((c * 15 + step(before >> self.shift)) * 15 + step(first >> self.shift)) * 4 + errors / 4,
            (values >> 20) as usize,
        ];

        let e = self.residuals.code(bits, &contexts, c * 16 + errors, self.exponent, given - p)?;
        let value = p + e;
        if value < low || value > high {
            return Err(Error::format("R5.21", "its coded data is damaged: a sample is out of its range"));
        }
        known.colour[c] = value;
        known.residual[c] = e;
        for (error, prediction) in known.errors[c].iter_mut().zip(predictions) {
            *error = (value.abs_diff(prediction) >> self.shift).min(255) as u8;
        }
        Ok(())
    }
}

/// Probabilities of the bits of residuals.
struct Residuals {
    /// By context.
    tables: [Vec<[Learning; NODES]>; CONTEXTS],
    /// Of the mixer, by channel and level of the errors around.
    weights: Vec<[[i32; CONTEXTS]; NODES]>,
}

impl Residuals {
    fn new() -> Result<Self> {
        let [a, b, c, d, e] = CONTEXT_SIZES.map(|size| try_filled(size, [Learning::EVEN; NODES]));
        Ok(Self { tables: [a?, b?, c?, d?, e?], weights: try_filled(SETS, [[FIRST_WEIGHT; CONTEXTS]; NODES])? })
    }

    /// R5.21: codes a residual, whose size has an exponent of at most `highest`.
    #[inline]
    fn code(&mut self, bits: &mut impl Bits, contexts: &[usize; CONTEXTS], set: usize, highest: usize, given: i32) -> Result<i32> {
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

/// Weights of the mixer are in units of 1/65536.
const FIRST_WEIGHT: i32 = 26214;
const LARGEST_WEIGHT: i32 = 1 << 20;
/// How fast they learn.
const LEARNING: i32 = 8;
