//! Trellis-coded quantisation of y (SPEC 3.3 and 6): a value is a multiple of half the step, an even one or an odd one by a state that the values before it decide. The
//! values that a decoder can tell apart lie as densely as with half the step, what it takes to code one is that of the whole step; which of the sequences of values
//! comes closest is found by Viterbi's algorithm. (Marcellin, Fischer: Trellis coded quantization of memoryless and Gauss-Markov sources, 1990; with an entropy coder,
//! as here, Fischer, Wang: Entropy-constrained trellis-coded quantization, 1992; the two quantisers, of which the odd one has a zero, are those of VVC.)

use super::tables::{PRECISION, Table, Tables};
use crate::Result;
use crate::net::{Branches, Kernel, Metrics, Model};
use crate::picture::try_filled;

/// States of the trellis.
pub(crate) const STATES: usize = 256;
/// Even ones, or odd ones.
pub(crate) const HALF: usize = STATES / 2;
/// What an odd state adds to the next one besides its highest bit, and what an odd symbol adds: the code with 256 states of Ungerboeck (Channel coding with
/// multilevel/phase signals, 1982; in octal 515 and 362).
pub(crate) const BY_STATE: usize = 0o515 >> 1 & (HALF - 1);
pub(crate) const BY_SYMBOL: usize = 0o362 >> 1;

/// What tables there are for each scale index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantiser {
    /// That of z, which has whole steps and no states.
    Hyper,
    /// That of y in even states: whole steps.
    Even,
    /// That of y in odd states: odd multiples of half a step, and 0.
    Odd,
}

impl Quantiser {
    /// All, in the order of their tables.
    pub(crate) const ALL: [Self; 3] = [Self::Hyper, Self::Even, Self::Odd];

    /// What a symbol of y stands for, in halves of a step (R3.9).
    #[inline]
    pub(crate) fn halves(self, symbol: i32) -> i32 {
        2 * symbol - if self == Self::Odd { symbol.signum() } else { 0 }
    }
}

/// A state (R3.13).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct State(u8);

impl State {
    #[inline]
    pub(crate) fn quantiser(self) -> Quantiser {
        if self.0 & 1 == 0 { Quantiser::Even } else { Quantiser::Odd }
    }

    /// What follows when a symbol has been coded.
    #[inline]
    pub(crate) fn next(self, symbol: i32) -> Self {
        let by_state = if self.0 & 1 == 0 { 0 } else { HALF | BY_STATE } as u8;
        let by_symbol = if symbol & 1 == 0 { 0 } else { BY_SYMBOL } as u8;
        Self(self.0 >> 1 ^ by_state ^ by_symbol)
    }
}

/// The state that led to `state` by a symbol, odd or not.
fn before(state: usize, odd: bool) -> usize {
    let by_symbol = if odd { BY_SYMBOL } else { 0 };
    if state < HALF { 2 * (state ^ by_symbol) } else { 2 * ((state - HALF) ^ BY_STATE ^ by_symbol) + 1 }
}

/// Fractional bits of what [`cost`] gives.
pub(crate) const COST_FRACTION: u32 = 16;
/// And of branches: so few that sums over [`SUM`] values stay below 2^31.
const BRANCH_FRACTION: u32 = 8;
/// The most that a branch costs.
const MOST: i32 = 1 << 20;
/// After so many values, the least is taken from all metrics.
const SUM: usize = 512;
/// The metric of a state that cannot be: more than what leads to any other one.
const IMPOSSIBLE: i32 = 16 * MOST;
/// So many values are looked at together: the path to the best of their last states is taken.
const BLOCK: usize = 4096;
/// Bytes that [`Trellis::choose`] needs at most, besides the values.
pub(crate) const SEARCH_BYTES: u64 = (BLOCK * (STATES + size_of::<[i32; 4]>() + size_of::<Branches>())) as u64;
/// Residuals are taken to be within this, and errors: beyond all of a network's, and so that nothing overflows.
const LARGEST: i32 = 1 << 28;
const LARGEST_ERROR: i32 = 1 << 20;
/// Symbols up to this have their bits looked up.
const LOOKED_UP: usize = 1024;

/// What an error of one squared unit of a latent is taken to be worth, in bits. Theory has 8.7 for independent errors at high rates; later values are predicted from
/// earlier ones, though, and pay for their errors too.
const SQUARED_ERROR_BITS: i64 = 14;

/// Chooses the symbols of y that an encoder codes.
pub(crate) struct Trellis<'t> {
    tables: &'t Tables,
    /// Bits of symbols from 0 on in units of `2^-BRANCH_FRACTION`, `[quantiser][scale]`.
    bits: [Vec<Vec<i32>>; 2],
    /// Of residuals.
    fraction: u32,
    /// Half a step, in units of residuals.
    half: i32,
}

impl<'t> Trellis<'t> {
    /// For the latents of a model's analysis.
    ///
    /// # Errors
    /// As [`Model::encoder`].
    pub(crate) fn new(model: &'t Model) -> Result<Self> {
        let (header, fraction) = (model.header(), model.encoder()?.y_input_fraction);
        Ok(Self::with(model.tables(), fraction, header.y_half_step << (fraction - header.y_fraction)))
    }

    /// For residuals in units of `2^-fraction`, in which half a step is `half`.
    fn with(tables: &'t Tables, fraction: u32, half: i32) -> Self {
        let row = |table: &Table| (0..=(table.range.unsigned_abs() as usize + 1).min(LOOKED_UP)).map(|n| branch_bits(table, n as i32)).collect();
        let bits = [Quantiser::Even, Quantiser::Odd].map(|quantiser| tables.of_quantiser(quantiser).iter().map(row).collect());
        Self { tables, bits, fraction, half }
    }

    /// Residuals with their scale indices, of all values of a step that are coded, in their order, to symbols.
    ///
    /// # Errors
    /// [`Error::Limits`](crate::Error::Limits) if there is no memory.
    pub(crate) fn choose(&self, kernel: &dyn Kernel, values: &mut [(i32, u8)]) -> Result<()> {
        let len = values.len().min(BLOCK);
        let (mut symbols, mut branches, mut decisions) = (try_filled(len, [0; 4])?, try_filled(len, [0; 4])?, try_filled(len, [0; STATES])?);
        let mut state = 0;
        for values in values.chunks_mut(BLOCK) {
            let (symbols, branches, decisions) = (&mut symbols[..values.len()], &mut branches[..values.len()], &mut decisions[..values.len()]);
            for ((residual, index), (symbols, branches)) in values.iter().zip(symbols.iter_mut().zip(&mut *branches)) {
                (*symbols, *branches) = self.candidates(*residual, *index);
            }
            let mut metrics: Metrics = [IMPOSSIBLE; STATES];
            metrics[state] = 0;
            for (branches, decisions) in branches.chunks(SUM).zip(decisions.chunks_mut(SUM)) {
                kernel.viterbi(&mut metrics, branches, decisions);
                let least = metrics.iter().copied().min().unwrap_or(0);
                metrics.iter_mut().for_each(|metric| *metric -= least);
            }
            state = (0..STATES).min_by_key(|s| metrics[*s]).unwrap_or(0);
            let mut behind = state;
            for ((residual, _), (symbols, decisions)) in values.iter_mut().zip(symbols.iter().zip(decisions)).rev() {
                let odd = decisions[behind] == 1;
                behind = before(behind, odd);
                let symbol = symbols[2 * (behind & 1) + usize::from(odd)];
                // That of a residual of 0 may have to be odd, and then it has a sign.
                *residual = if *residual < 0 { -symbol } else { symbol };
            }
        }
        Ok(())
    }

    /// The best symbol of each kind for a residual, without its sign, and what it costs.
    #[inline]
    fn candidates(&self, residual: i32, index: u8) -> ([i32; 4], Branches) {
        let magnitude = residual.saturating_abs().min(LARGEST);
        // Multiples of half a step belong to the kinds in turn: 0, 4, 8 … are even symbols in even states; 1, 5, … odd ones in odd states; 2, 6, … odd ones in even
        // states; 3, 7, … even ones in odd states, which have 0 besides. Of each kind there are one below and one above.
        let below = magnitude / self.half;
        let kind = |quantiser: usize, first: i32| {
            let candidate = |halves: i32| {
                let symbol = (halves + 1) >> 1;
                (symbol, self.cost(quantiser, symbol, magnitude - halves * self.half, index))
            };
            let low = below - ((below - first) & 3);
            let high = candidate(low + 4);
            let low = match low {
                0.. => candidate(low),
                // Of -1, that is 0.
                -1 => candidate(0),
                _ => return high,
            };
            if low.1 <= high.1 { low } else { high }
        };
        let kinds = [kind(0, 0), kind(0, 2), kind(1, 3), kind(1, 1)];
        (kinds.map(|(symbol, _)| symbol), kinds.map(|(_, cost)| cost))
    }

    /// What a symbol costs, with the error that it leaves.
    #[inline]
    fn cost(&self, quantiser: usize, symbol: i32, error: i32, index: u8) -> i32 {
        let row = &self.bits[quantiser][usize::from(index).min(self.bits[quantiser].len() - 1)];
        let bits = row.get(symbol as usize).copied().unwrap_or_else(|| self.far(quantiser, symbol, index));
        let squared = i64::from(error.abs().min(LARGEST_ERROR)).pow(2);
        let error = ((squared * SQUARED_ERROR_BITS) << BRANCH_FRACTION) >> (2 * self.fraction);
        (i64::from(bits) + error).min(MOST.into()) as i32
    }

    /// Bits of a symbol that are not looked up.
    #[cold]
    fn far(&self, quantiser: usize, symbol: i32, index: u8) -> i32 {
        let quantiser = [Quantiser::Even, Quantiser::Odd][quantiser];
        self.tables.get(quantiser, index).map_or(MOST, |table| branch_bits(table, symbol))
    }
}

/// [`cost`] in the units of branches.
fn branch_bits(table: &Table, symbol: i32) -> i32 {
    (cost(table, symbol) >> (COST_FRACTION - BRANCH_FRACTION)) as i32
}

/// Bits of a symbol of at least 0 under a table, in units of `2^-COST_FRACTION`. Tables are as good as symmetric.
pub(crate) fn cost(table: &Table, symbol: i32) -> u32 {
    let (number, behind) = match symbol - table.range {
        ..=0 => (symbol + table.range, 0),
        excess => (2 * table.range + 1, 2 * excess.ilog2() + 2),
    };
    ((PRECISION as u32 + behind) << COST_FRACTION) - log2(table.lookup.probability(number as usize))
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
    use crate::net::kernels;

    fn tables() -> Tables {
        Tables::of(&[&[32, 65471, 32, 1], &[16384, 32768, 16000, 384], &[9362, 9362, 9362, 9362, 9362, 9362, 9362, 2]])
    }

    fn kernel() -> &'static dyn Kernel {
        kernels::select(Some("scalar")).unwrap()
    }

    /// A linear congruential generator (Knuth's constants): numbers below `range`.
    fn random(state: &mut u64, range: i32) -> i32 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*state >> 33) % range as u64) as i32
    }

    /// Bits and errors of symbols, in units of branches, as a decoder gets them.
    fn total(trellis: &Trellis<'_>, values: &[(i32, u8)], symbols: &[i32]) -> i64 {
        let mut state = State::default();
        let costs = values.iter().zip(symbols).map(|((residual, index), symbol)| {
            let quantiser = state.quantiser();
            state = state.next(*symbol);
            let error = residual - quantiser.halves(*symbol) * trellis.half;
            i64::from(trellis.cost(usize::from(quantiser == Quantiser::Odd), symbol.abs(), error, *index))
        });
        costs.sum()
    }

    fn chosen(trellis: &Trellis<'_>, values: &[(i32, u8)]) -> Vec<i32> {
        let mut symbols = values.to_vec();
        trellis.choose(kernel(), &mut symbols).unwrap();
        symbols.into_iter().map(|(symbol, _)| symbol).collect()
    }

    #[test]
    fn r3_13_states_by_hand() {
        let next = |state, symbol| State(state).next(symbol).0;
        assert_eq!([next(0, 0), next(0, 1), next(0, -1), next(0, -2)], [0, 121, 121, 0]);
        assert_eq!([next(1, 0), next(1, 3), next(255, 2), next(200, -7)], [166, 166 ^ 121, 127 ^ 166, 100 ^ 121]);
        assert_eq!([State(6), State(7)].map(State::quantiser), [Quantiser::Even, Quantiser::Odd]);
        for state in 0..=255 {
            for symbol in 0..2 {
                assert_eq!(before(next(state, symbol).into(), symbol == 1), usize::from(state));
            }
        }
    }

    #[test]
    fn r3_9_what_symbols_stand_for() {
        assert_eq!([-2, -1, 0, 1, 2].map(|symbol| Quantiser::Even.halves(symbol)), [-4, -2, 0, 2, 4]);
        assert_eq!([-2, -1, 0, 1, 2].map(|symbol| Quantiser::Odd.halves(symbol)), [-3, -1, 0, 1, 3]);
    }

    #[test]
    fn no_other_symbols_cost_less() {
        const SYMBOLS: i32 = 7;
        let (tables, mut seed) = (tables(), 1);
        let trellis = Trellis::with(&tables, 8, 184);
        for _ in 0..40 {
            let values: Vec<(i32, u8)> = (0..5).map(|_| (random(&mut seed, 1400) - 700, random(&mut seed, 3) as u8)).collect();
            let best = total(&trellis, &values, &chosen(&trellis, &values));
            let all = (0..SYMBOLS.pow(5)).map(|n| (0..5).map(|i| n / SYMBOLS.pow(i) % SYMBOLS - SYMBOLS / 2).collect::<Vec<_>>());
            assert_eq!(best, all.map(|symbols| total(&trellis, &values, &symbols)).min().unwrap(), "{values:?}");
        }
    }

    #[test]
    fn errors_are_smaller_than_those_of_rounding() {
        // All values of the table cost the same, so that errors alone count: those of rounding to whole steps are 1/12 of a squared step, the least that any quantiser of
        // this rate leaves is 1.53 dB less, and 256 states should come within 0.25 dB of that (Marcellin, Fischer, 1990). More values than a block has.
        let tables = Tables::of(&[&[512; 128]]);
        let (trellis, mut seed) = (Trellis::with(&tables, 8, 128), 7);
        let values: Vec<(i32, u8)> = (0..3 * BLOCK / 2).map(|_| (random(&mut seed, 256 * 40) - 256 * 20, 0)).collect();
        let mut state = State::default();
        let squares: f64 = values
            .iter()
            .zip(chosen(&trellis, &values))
            .map(|((residual, _), symbol)| {
                let error = residual - state.quantiser().halves(symbol) * 128;
                state = state.next(symbol);
                f64::from(error).powi(2)
            })
            .sum();
        let decibels = 10.0 * (12.0 * squares / values.len() as f64 / 65536.0).log10();
        assert!((-1.53..-1.25).contains(&decibels), "{decibels}");
    }

    #[test]
    fn whatever_comes_has_symbols() {
        let tables = tables();
        for (fraction, half) in [(8, 184), (0, 1), (12, 63 << 12)] {
            let trellis = Trellis::with(&tables, fraction, half);
            let values: Vec<(i32, u8)> = [i32::MIN, i32::MAX, 0, 1 << 28, -5, 0, 0, 77777].into_iter().cycle().zip((0..4).cycle()).take(BLOCK + 3).collect();
            assert_eq!(chosen(&trellis, &values).len(), values.len());
        }
        assert!(chosen(&Trellis::with(&tables, 8, 184), &[]).is_empty());
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
}
