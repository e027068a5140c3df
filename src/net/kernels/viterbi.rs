//! The inner loop of Viterbi's algorithm, which an encoder chooses the symbols of y by (`entropy/trellis.rs`), as compilers vectorise it where a kernel has none of its
//! own.

use crate::entropy::TrellisCode;

/// What the four kinds of symbols of a value cost more than the cheapest: of even states the even and the odd ones, of odd states the even and the odd ones.
pub(crate) type Branches = [i16; 4];

/// Where a state has its metric, and the decision of the state that an even symbol leads to from it. Two states lead to the same two, by an even and an odd symbol: numbers
/// `2 n` and `2 n + 1` lead to two different ones, and lie side by side; those of even `n` lie in the lower half, those of odd `n` in the upper one. So one comparison of
/// registers decides for states of both halves, and what it leaves need only be sorted by pairs.
pub(crate) const fn place(code: TrellisCode, state: usize) -> usize {
    (state >> 1 & 1) * code.states() / 2 + (state >> 2) * 2 + (state & 1)
}

/// Calls a function of a code's `by_state` and `by_symbol`, of which compilers make one for each code.
macro_rules! for_code {
    ($code:expr, $function:ident($($argument:expr),*)) => {
        for_code!($code, $function($($argument),*), States256, States1024, States4096, States16384)
    };
    ($code:expr, $function:ident $arguments:tt, $($name:ident),*) => {
        match $code {
            $(crate::entropy::TrellisCode::$name => {
                const CODE: crate::entropy::TrellisCode = crate::entropy::TrellisCode::$name;
                for_code!(@call $function::<{ CODE.by_state() }, { CODE.by_symbol() }>, $arguments)
            })*
        }
    };
    (@call $function:expr, ($($argument:expr),*)) => { $function($($argument),*) };
}
#[cfg(target_arch = "x86_64")]
pub(super) use for_code;

/// Checks that `metrics` and `decisions` are as [`Kernel::viterbi`](super::Kernel::viterbi) has them.
///
/// # Panics
/// If not.
pub(super) fn check(code: TrellisCode, metrics: &[i16], branches: &[Branches], decisions: &[u8]) {
    assert_eq!((metrics.len(), decisions.len()), (2 * code.states(), branches.len() * code.states() / 8));
}

/// [`Kernel::viterbi`](super::Kernel::viterbi).
pub(super) fn advance(code: TrellisCode, metrics: &mut [i16], branches: &[Branches], decisions: &mut [u8]) {
    check(code, metrics, branches, decisions);
    let (mut from, mut to) = metrics.split_at_mut(code.states());
    for (branches, decisions) in branches.iter().zip(decisions.chunks_exact_mut(code.states() / 8)) {
        for_code!(code, value(from, to, branches, decisions));
        std::mem::swap(&mut from, &mut to);
    }
    if branches.len() % 2 == 1 {
        to.copy_from_slice(from);
    }
}

/// So many states are looked at together: this suits compilers.
const LANES: usize = 16;
type Lanes = [i16; LANES];

/// One value.
fn value<const BY_STATE: usize, const BY_SYMBOL: usize>(from: &[i16], to: &mut [i16], branches: &Branches, decisions: &mut [u8]) {
    let half = from.len() / 2;
    let costs = branches.map(|cost| cost.wrapping_sub(from[0]));
    let (here, there) = (from.as_chunks::<LANES>().0.split_at(half / LANES), if BY_SYMBOL & 1 == 0 { from.split_at(half) } else { (&from[half..], &from[..half]) });
    let there = (there.0.as_chunks::<LANES>().0, there.1.as_chunks::<LANES>().0);
    let (to_even, to_odd) = to.split_at_mut(half);
    let (to_even, to_odd) = (to_even.as_chunks_mut::<LANES>().0, to_odd.as_chunks_mut::<LANES>().0);
    let (bits_even, bits_odd) = decisions.split_at_mut(half / 8);
    let (bits_even, bits_odd) = (bits_even.as_chunks_mut::<{ LANES / 8 }>().0, bits_odd.as_chunks_mut::<{ LANES / 8 }>().0);
    for both in 0..half / LANES / 2 {
        // Metrics of the lower half of the states, and of the upper one: of two groups of pairs, one behind the other.
        let (mut low, mut high) = ([[0; 2]; LANES], [[0; 2]; LANES]);
        for group in 0..2 {
            let at = 2 * both + group;
            let other = at ^ (BY_SYMBOL / 2 * 2 / LANES);
            let even = better::<BY_SYMBOL>(&here.0[at], &there.0[other], costs, &mut bits_even[at]);
            let odd = better::<BY_SYMBOL>(&here.1[at], &there.1[other], costs, &mut bits_odd[at]);
            for pair in 0..LANES / 2 {
                low[group * LANES / 2 + pair] = [even[2 * pair], odd[2 * pair]];
                let upper = [even[2 * pair + 1], odd[2 * pair + 1]];
                high[group * LANES / 2 + pair] = if BY_STATE & 1 == 0 { upper } else { [upper[1], upper[0]] };
            }
        }
        let sorted = |pairs: &[[i16; 2]; LANES], first: usize| -> Lanes { std::array::from_fn(|i| pairs[(i & !1 | first & 1) ^ (first & !1)][i & 1]) };
        to_even[both] = sorted(&low, 0);
        to_odd[both] = sorted(&low, 1);
        let above = half / LANES / 2 + (both ^ (BY_STATE / 2 / LANES));
        let by = BY_STATE / 2 % LANES;
        to_even[above] = sorted(&high, by);
        to_odd[above] = sorted(&high, by ^ 1);
    }
}

/// The better ways from a group of states by an even symbol, and by an odd one from those that lead to the same states.
#[inline(always)]
fn better<const BY_SYMBOL: usize>(here: &Lanes, there: &Lanes, costs: Branches, decisions: &mut [u8; LANES / 8]) -> Lanes {
    let even: Lanes = std::array::from_fn(|i| here[i].wrapping_add(costs[2 * (i & 1)]));
    let odd: Lanes = std::array::from_fn(|i| there[i ^ (BY_SYMBOL / 2 * 2 % LANES)].wrapping_add(costs[2 * (i & 1) + 1]));
    let taken: Lanes = std::array::from_fn(|i| i16::from(odd[i] < even[i]));
    for (bits, taken) in decisions.iter_mut().zip(taken.as_chunks::<8>().0) {
        *bits = (0..8).fold(0, |bits, i| bits | (taken[i] as u8) << i);
    }
    std::array::from_fn(|i| even[i].min(odd[i]))
}
