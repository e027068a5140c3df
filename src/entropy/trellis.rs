//! Trellis-coded quantisation of y (SPEC 3.3 and 6): a value is a multiple of half the step, an even one or an odd one by a state that the values before it decide. The
//! values that a decoder can tell apart lie as densely as with half the step, what it takes to code one is that of the whole step; which of the sequences of values
//! comes closest is found by Viterbi's algorithm. (Marcellin, Fischer: Trellis coded quantization of memoryless and Gauss-Markov sources, 1990; with an entropy coder,
//! as here, Fischer, Wang: Entropy-constrained trellis-coded quantization, 1992; the two quantisers, of which the odd one has a zero, are those of VVC.)

use super::tables::{PRECISION, Table, Tables};
use crate::Result;
use crate::net::{Branches, Kernel, Model, place};
use crate::picture::try_filled;

/// Which states follow which (R3.13): the more there are, the closer a trellis comes to what is possible, and the longer an encoder looks for the best way through it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Code {
    #[default]
    States256,
    States1024,
    States4096,
    States16384,
}

impl Code {
    /// All, in the order of their numbers in a file.
    pub(crate) const ALL: [Self; 4] = [Self::States256, Self::States1024, Self::States4096, Self::States16384];

    /// How many states there are, a power of two.
    pub(crate) const fn states(self) -> usize {
        1 << match self {
            Self::States256 => 8,
            Self::States1024 => 10,
            Self::States4096 => 12,
            Self::States16384 => 14,
        }
    }

    /// The code's two polynomials. The first code is Ungerboeck's (Channel coding with multilevel/phase signals, 1982), which ends with 256 states; the others are the best
    /// of many that were drawn (models/training/EXPERIMENTS.md).
    const fn polynomials(self) -> [usize; 2] {
        match self {
            Self::States256 => [0o515, 0o362],
            Self::States1024 => [0o2551, 0o1636],
            Self::States4096 => [0o10773, 0o5112],
            Self::States16384 => [0o52747, 0o33212],
        }
    }

    /// What an odd state adds to the next one besides its highest bit.
    pub(crate) const fn by_state(self) -> usize {
        self.polynomials()[0] >> 1 & (self.states() / 2 - 1)
    }

    /// What an odd symbol adds.
    pub(crate) const fn by_symbol(self) -> usize {
        self.polynomials()[1] >> 1
    }

    /// The state that led to `state` by an even symbol.
    fn before(self, state: usize) -> usize {
        let half = self.states() / 2;
        if state < half { 2 * state } else { 2 * ((state - half) ^ self.by_state()) + 1 }
    }

    /// The state that leads by an odd symbol to where `state` leads by an even one.
    fn beside(self, state: usize) -> usize {
        state ^ (2 * self.by_symbol())
    }
}

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
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    number: u16,
    /// What is added to the next one if this one is odd, and if a symbol is.
    by_state: u16,
    by_symbol: u16,
}

impl State {
    /// That of the first value of a step.
    pub(crate) fn first(code: Code) -> Self {
        Self { number: 0, by_state: (code.states() / 2 + code.by_state()) as u16, by_symbol: code.by_symbol() as u16 }
    }

    #[inline]
    pub(crate) fn quantiser(self) -> Quantiser {
        if self.number & 1 == 0 { Quantiser::Even } else { Quantiser::Odd }
    }

    /// What follows when a symbol has been coded.
    #[inline]
    pub(crate) fn next(self, symbol: i32) -> Self {
        let by_state = if self.number & 1 == 0 { 0 } else { self.by_state };
        let by_symbol = if symbol & 1 == 0 { 0 } else { self.by_symbol };
        Self { number: self.number >> 1 ^ by_state ^ by_symbol, ..self }
    }
}

/// Fractional bits of what [`cost`] gives.
pub(crate) const COST_FRACTION: u32 = 16;
/// Of what candidates of one kind are compared by.
const CANDIDATE_FRACTION: u32 = 8;
/// The most that a candidate costs.
const MOST: i32 = 1 << 20;
/// Of branches. Metrics are 16 bits wide, so that a processor looks at twice as many states at a time as with 32.
const BRANCH_FRACTION: u32 = 5;
/// The most that a branch costs beyond the cheapest of its value: 32 bits, which no good path pays (with 8 files get 2.6 % larger). As 14 values lead from any state to
/// any other one (of 16384, the most that there are), metrics lie within 14 times this.
const MOST_BEYOND: i32 = (32 << BRANCH_FRACTION) - 1;
/// The metric of a state that cannot be: more than what leads to any other one, and so little that metrics still lie within an `i16` of each other.
const IMPOSSIBLE: i16 = 16000;
const _: () = {
    let values = Code::States16384.states().ilog2() as i32;
    assert!(values * MOST_BEYOND < IMPOSSIBLE as i32 && IMPOSSIBLE as i32 + (values + 1) * MOST_BEYOND <= i16::MAX as i32);
};
/// So many values are looked at together: the path to the best of their last states is taken.
const BLOCK: usize = 4096;
/// Bytes that [`Trellis::choose`] needs at most, besides the values.
pub(crate) const fn search_bytes(code: Code) -> u64 {
    (BLOCK * (code.states() / 8 + size_of::<[i32; 4]>() + size_of::<Branches>()) + 2 * code.states() * size_of::<i16>()) as u64
}

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
    code: Code,
    tables: &'t Tables,
    /// Bits of symbols from 0 on in units of `2^-CANDIDATE_FRACTION`, `[quantiser][scale]`.
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
    pub(crate) fn new(model: &'t Model, code: Code) -> Result<Self> {
        let (header, fraction) = (model.header(), model.encoder()?.y_input_fraction);
        Ok(Self::with(code, model.tables(), fraction, header.y_half_step << (fraction - header.y_fraction)))
    }

    /// For residuals in units of `2^-fraction`, in which half a step is `half`.
    fn with(code: Code, tables: &'t Tables, fraction: u32, half: i32) -> Self {
        let row = |table: &Table| (0..=(table.range.unsigned_abs() as usize + 1).min(LOOKED_UP)).map(|n| candidate_bits(table, n as i32)).collect();
        let bits = [Quantiser::Even, Quantiser::Odd].map(|quantiser| tables.of_quantiser(quantiser).iter().map(row).collect());
        Self { code, tables, bits, fraction, half }
    }

    /// Residuals with their scale indices, of all values of a step that are coded, in their order, to symbols.
    ///
    /// # Errors
    /// [`Error::Limits`](crate::Error::Limits) if there is no memory.
    pub(crate) fn choose(&self, kernel: &dyn Kernel, values: &mut [(i32, u8)]) -> Result<()> {
        let (len, states) = (values.len().min(BLOCK), self.code.states());
        let (mut symbols, mut branches, mut decisions) = (try_filled(len, [0; 4])?, try_filled(len, [0; 4])?, try_filled(len * states / 8, 0_u8)?);
        // Kernels need as much room again.
        let mut metrics = try_filled(2 * states, 0)?;
        let mut state = 0;
        for values in values.chunks_mut(BLOCK) {
            let (symbols, branches) = (&mut symbols[..values.len()], &mut branches[..values.len()]);
            for ((residual, index), (symbols, branches)) in values.iter().zip(symbols.iter_mut().zip(&mut *branches)) {
                (*symbols, *branches) = self.candidates(*residual, *index);
            }
            metrics[..states].fill(IMPOSSIBLE);
            metrics[place(self.code, state)] = 0;
            let decisions = &mut decisions[..values.len() * states / 8];
            kernel.viterbi(self.code, &mut metrics, branches, decisions);
            state = (0..states).min_by_key(|state| metrics[place(self.code, *state)]).unwrap_or(0);
            let mut behind = state;
            for ((residual, _), (symbols, decisions)) in values.iter_mut().zip(symbols.iter().zip(decisions.chunks_exact(states / 8))).rev() {
                behind = self.code.before(behind);
                let place = place(self.code, behind);
                let odd = decisions[place / 8] >> (place % 8) & 1 == 1;
                let symbol = symbols[2 * (behind & 1) + usize::from(odd)];
                if odd {
                    behind = self.code.beside(behind);
                }
                // That of a residual of 0 may have to be odd, and then it has a sign.
                *residual = if *residual < 0 { -symbol } else { symbol };
            }
        }
        Ok(())
    }

    /// The best symbol of each kind for a residual, without its sign, and what it costs beyond the cheapest.
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
        let least = kinds.iter().fold(MOST, |least, (_, cost)| least.min(*cost));
        (kinds.map(|(symbol, _)| symbol), kinds.map(|(_, cost)| beyond(cost, least)))
    }

    /// What a symbol costs, with the error that it leaves.
    #[inline]
    fn cost(&self, quantiser: usize, symbol: i32, error: i32, index: u8) -> i32 {
        let row = &self.bits[quantiser][usize::from(index).min(self.bits[quantiser].len() - 1)];
        let bits = row.get(symbol as usize).copied().unwrap_or_else(|| self.far(quantiser, symbol, index));
        let squared = i64::from(error.abs().min(LARGEST_ERROR)).pow(2);
        let error = ((squared * SQUARED_ERROR_BITS) << CANDIDATE_FRACTION) >> (2 * self.fraction);
        (i64::from(bits) + error).min(MOST.into()) as i32
    }

    /// Bits of a symbol that are not looked up.
    #[cold]
    fn far(&self, quantiser: usize, symbol: i32, index: u8) -> i32 {
        let quantiser = [Quantiser::Even, Quantiser::Odd][quantiser];
        self.tables.get(quantiser, index).map_or(MOST, |table| candidate_bits(table, symbol))
    }
}

/// What a candidate costs beyond the cheapest one of its value, in units of `2^-BRANCH_FRACTION`.
fn beyond(cost: i32, least: i32) -> i16 {
    const SHIFT: u32 = CANDIDATE_FRACTION - BRANCH_FRACTION;
    ((cost - least + (1 << SHIFT >> 1)) >> SHIFT).min(MOST_BEYOND) as i16
}

/// [`cost`] in the units of candidates.
fn candidate_bits(table: &Table, symbol: i32) -> i32 {
    (cost(table, symbol) >> (COST_FRACTION - CANDIDATE_FRACTION)) as i32
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

    /// Symbols that [`no_other_symbols_cost_less`] tries: from `-MOST_SYMBOL` to `MOST_SYMBOL`.
    const MOST_SYMBOL: i32 = 3;

    /// Bits and errors of symbols beyond the least of each value, in units of branches, as a decoder gets them.
    fn total(trellis: &Trellis<'_>, values: &[(i32, u8)], symbols: &[i32]) -> i64 {
        let mut state = State::first(trellis.code);
        let costs = values.iter().zip(symbols).map(|((residual, index), symbol)| {
            let quantiser = state.quantiser();
            state = state.next(*symbol);
            let cost = |quantiser: Quantiser, symbol: i32| {
                let error = residual - quantiser.halves(symbol) * trellis.half;
                trellis.cost(usize::from(quantiser == Quantiser::Odd), symbol.abs(), error, *index)
            };
            let all =
                [Quantiser::Even, Quantiser::Odd].into_iter().flat_map(|quantiser| (-MOST_SYMBOL..=MOST_SYMBOL).map(move |symbol| cost(quantiser, symbol)));
            i64::from(beyond(cost(quantiser, *symbol), all.min().unwrap()))
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
        let next = |code: Code, number, symbol| State { number, ..State::first(code) }.next(symbol).number;
        let of = |code| move |number, symbol| next(code, number, symbol);
        let next = of(Code::States256);
        assert_eq!([next(0, 0), next(0, 1), next(0, -1), next(0, -2)], [0, 121, 121, 0]);
        assert_eq!([next(1, 0), next(1, 3), next(255, 2), next(200, -7)], [166, 166 ^ 121, 127 ^ 166, 100 ^ 121]);
        // The halves of the numbers in the specification.
        for (code, by_state, by_symbol) in [(Code::States1024, 692, 463), (Code::States4096, 2301, 1317), (Code::States16384, 10995, 6981)] {
            let next = of(code);
            assert_eq!([next(1, 0), next(0, 1), next(7, -1), next(8, 2)], [by_state, by_symbol, 3 ^ by_state ^ by_symbol, 4]);
        }
        let state = |number| State { number, ..State::first(Code::States16384) };
        assert_eq!([state(6), state(7)].map(State::quantiser), [Quantiser::Even, Quantiser::Odd]);
    }

    #[test]
    fn two_states_lead_to_each_one_by_an_odd_and_one_by_an_even_symbol() {
        for code in Code::ALL {
            for number in 0..code.states() as u16 {
                for symbol in 0..2 {
                    let next = State { number, ..State::first(code) }.next(symbol);
                    let even = code.before(next.number.into());
                    assert_eq!(if symbol == 1 { code.beside(even) } else { even }, usize::from(number));
                }
            }
        }
    }

    #[test]
    fn as_many_values_as_a_state_has_bits_lead_from_any_state_to_any_other_one() {
        for code in Code::ALL {
            // Sets of states that symbols lead to from 0; those from another state are these, all changed by the same.
            let mut reached = vec![0_u16];
            for _ in 0..code.states().ilog2() {
                reached = reached.iter().flat_map(|number| [0, 1].map(|symbol| State { number: *number, ..State::first(code) }.next(symbol).number)).collect();
            }
            reached.sort_unstable();
            assert!(reached.into_iter().map(usize::from).eq(0..code.states()), "{code:?}");
        }
    }

    #[test]
    fn r3_9_what_symbols_stand_for() {
        assert_eq!([-2, -1, 0, 1, 2].map(|symbol| Quantiser::Even.halves(symbol)), [-4, -2, 0, 2, 4]);
        assert_eq!([-2, -1, 0, 1, 2].map(|symbol| Quantiser::Odd.halves(symbol)), [-3, -1, 0, 1, 3]);
    }

    #[test]
    fn no_other_symbols_cost_less() {
        const SYMBOLS: i32 = 2 * MOST_SYMBOL + 1;
        let (tables, mut seed) = (tables(), 1);
        for code in Code::ALL {
            let trellis = Trellis::with(code, &tables, 8, 184);
            for _ in 0..20 {
                let values: Vec<(i32, u8)> = (0..5).map(|_| (random(&mut seed, 1400) - 700, random(&mut seed, 3) as u8)).collect();
                let best = total(&trellis, &values, &chosen(&trellis, &values));
                let all = (0..SYMBOLS.pow(5)).map(|n| (0..5).map(|i| n / SYMBOLS.pow(i) % SYMBOLS - MOST_SYMBOL).collect::<Vec<_>>());
                assert_eq!(best, all.map(|symbols| total(&trellis, &values, &symbols)).min().unwrap(), "{code:?} {values:?}");
            }
        }
    }

    /// What [`Trellis::choose`] does, one state after the other and in 64 bits.
    fn chosen_in_64_bits(trellis: &Trellis<'_>, values: &[(i32, u8)]) -> Vec<i32> {
        let (mut state, mut chosen) = (0, Vec::new());
        for values in values.chunks(BLOCK) {
            let mut metrics = vec![i64::MAX / 2; trellis.code.states()];
            metrics[state] = 0;
            let mut ways = Vec::new();
            for (residual, index) in values {
                let (symbols, branches) = trellis.candidates(*residual, *index);
                let way = |state| {
                    let even = trellis.code.before(state);
                    let cost = |from: usize, odd: usize| metrics[from] + i64::from(branches[2 * (from & 1) + odd]);
                    let odd = trellis.code.beside(even);
                    let (cost, from, odd) = if cost(odd, 1) < cost(even, 0) { (cost(odd, 1), odd, 1) } else { (cost(even, 0), even, 0) };
                    (cost, from as u16, symbols[2 * (from & 1) + odd])
                };
                let step: Vec<_> = (0..trellis.code.states()).map(way).collect();
                metrics = step.iter().map(|(cost, ..)| *cost).collect();
                ways.push(step);
            }
            state = (0..metrics.len()).min_by_key(|state| metrics[*state]).unwrap();
            let (mut behind, mut symbols) = (state, Vec::new());
            for (step, (residual, _)) in ways.iter().zip(values).rev() {
                let (_, from, symbol) = step[behind];
                symbols.push(if *residual < 0 { -symbol } else { symbol });
                behind = from.into();
            }
            chosen.extend(symbols.into_iter().rev());
        }
        chosen
    }

    #[test]
    fn sixteen_bits_are_enough() {
        let (tables, mut seed) = (tables(), 5);
        for (code, len) in [(Code::States256, BLOCK + 300), (Code::States1024, BLOCK + 100), (Code::States4096, 400), (Code::States16384, 120)] {
            // Residuals whose symbols are escapes, steps so long that errors cost more than branches may, and both in turn.
            for (fraction, half, range) in [(8, 184, 60_000), (8, 1500, 3000), (8, 1500, 1 << 24), (4, 1, 7)] {
                let trellis = Trellis::with(code, &tables, fraction, half);
                let values: Vec<(i32, u8)> = (0..len).map(|_| (random(&mut seed, range) - range / 2, random(&mut seed, 3) as u8)).collect();
                assert!(chosen(&trellis, &values) == chosen_in_64_bits(&trellis, &values), "{code:?} {fraction} {half} {range}");
            }
        }
    }

    #[test]
    fn errors_are_smaller_than_those_of_rounding() {
        // All values of the table cost the same, so that errors alone count: those of rounding to whole steps are 1/12 of a squared step, the least that any quantiser of
        // this rate leaves is 1.53 dB less, and 256 states should come within 0.25 dB of that (Marcellin, Fischer, 1990). More values than a block has.
        let tables = Tables::of(&[&[512; 128]]);
        let mut seed = 7;
        let values: Vec<(i32, u8)> = (0..3 * BLOCK / 2).map(|_| (random(&mut seed, 256 * 40) - 256 * 20, 0)).collect();
        let decibels = Code::ALL.map(|code| {
            let trellis = Trellis::with(code, &tables, 8, 128);
            let mut state = State::first(code);
            let squares: f64 = values
                .iter()
                .zip(chosen(&trellis, &values))
                .map(|((residual, _), symbol)| {
                    let error = residual - state.quantiser().halves(symbol) * 128;
                    state = state.next(symbol);
                    f64::from(error).powi(2)
                })
                .sum();
            10.0 * (12.0 * squares / values.len() as f64 / 65536.0).log10()
        });
        // And more states less.
        assert!(decibels[0] < -1.25 && decibels.iter().rev().is_sorted() && decibels[3] > -1.53, "{decibels:?}");
    }

    #[test]
    fn whatever_comes_has_symbols() {
        let tables = tables();
        for (fraction, half) in [(8, 184), (0, 1), (12, 63 << 12)] {
            let trellis = Trellis::with(Code::default(), &tables, fraction, half);
            let values: Vec<(i32, u8)> = [i32::MIN, i32::MAX, 0, 1 << 28, -5, 0, 0, 77777].into_iter().cycle().zip((0..4).cycle()).take(BLOCK + 3).collect();
            assert_eq!(chosen(&trellis, &values).len(), values.len());
        }
        assert!(chosen(&Trellis::with(Code::default(), &tables, 8, 184), &[]).is_empty());
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
