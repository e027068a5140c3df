//! The inner loop of Viterbi's algorithm, which an encoder chooses the symbols of y by (`entropy/trellis.rs`): where metrics lie, and the loop for registers of 128 bits,
//! or for arrays in their place. Kernels with longer registers have loops of their own.

use crate::entropy::TrellisCode;

/// What the four kinds of symbols of a value cost more than the cheapest: of even states the even and the odd ones, of odd states the even and the odd ones.
pub(crate) type Branches = [i16; 4];

/// Where a state has its metric, and the decision of the state that an even symbol leads to from it. Two states lead to the same two, by an even and an odd symbol: numbers
/// `2 n` and `2 n + 1` lead to two different ones, and lie side by side; those of even `n` lie in the lower half, those of odd `n` in the upper one. So one comparison of
/// registers decides for states of both halves, and what it leaves need only be sorted by pairs.
pub(crate) const fn place(code: TrellisCode, state: usize) -> usize {
    (state >> 1 & 1) * code.states() / 2 + (state >> 2) * 2 + (state & 1)
}

/// Calls a function of a code's `by_state` and `by_symbol`, behind a type if there is one, of which compilers make one for each code.
macro_rules! for_code {
    ($code:expr, $function:ident$(::<$type:ty>)?($($argument:expr),*)) => {
        for_code!($code, ($function$(, $type)?), ($($argument),*), States256, States1024, States4096, States16384)
    };
    ($code:expr, $function:tt, $arguments:tt, $($name:ident),*) => {
        match $code {
            $(crate::entropy::TrellisCode::$name => {
                const CODE: crate::entropy::TrellisCode = crate::entropy::TrellisCode::$name;
                for_code!(@call $function, $arguments)
            })*
        }
    };
    (@call ($function:ident$(, $type:ty)?), ($($argument:expr),*)) => { $function::<$($type,)? { CODE.by_state() }, { CODE.by_symbol() }>($($argument),*) };
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

/// Metrics in a register of [`Pairs`].
const LANES: usize = 8;

/// A register of the metrics of four pairs of states.
pub(super) trait Pairs: Copy {
    fn load(from: &[i16; LANES]) -> Self;
    fn store(self, to: &mut [i16; LANES]);
    /// All pairs alike.
    fn of(pair: [i16; 2]) -> Self;
    /// Sums, modulo 2^16.
    fn add(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    /// Bit `i` says whether metric `i` of two registers is more than that of two others.
    fn more(these: [Self; 2], than: [Self; 2]) -> u16;
    /// The pairs whose numbers are those of the lanes xor `by`, which is below 4 and a constant where this is called.
    fn xor(self, by: usize) -> Self;
    /// The first ones of all pairs in the lower halves of pairs, those of another register in the upper halves; and so the second ones.
    fn join(self, other: Self) -> [Self; 2];
    /// The pairs of even and of odd numbers of two registers.
    fn sort(self, next: Self) -> [Self; 2];
}

/// [`Kernel::viterbi`](super::Kernel::viterbi).
pub(super) fn advance<P: Pairs>(code: TrellisCode, metrics: &mut [i16], branches: &[Branches], decisions: &mut [u8]) {
    check(code, metrics, branches, decisions);
    let (mut from, mut to) = metrics.split_at_mut(code.states());
    for (branches, decisions) in branches.iter().zip(decisions.chunks_exact_mut(code.states() / 8)) {
        for_code!(code, value::<P>(from, to, branches, decisions));
        std::mem::swap(&mut from, &mut to);
    }
    if branches.len() % 2 == 1 {
        to.copy_from_slice(from);
    }
}

/// One value.
#[inline]
fn value<P: Pairs, const BY_STATE: usize, const BY_SYMBOL: usize>(from: &[i16], to: &mut [i16], branches: &Branches, decisions: &mut [u8]) {
    let costs = branches.map(|cost| cost.wrapping_sub(from[0]));
    let (even_costs, odd_costs) = (P::of([costs[0], costs[2]]), P::of([costs[1], costs[3]]));
    // Registers of pairs of even numbers, and of odd ones.
    let groups = from.len() / 2 / LANES;
    let here = from.as_chunks::<LANES>().0.split_at(groups);
    let there = if BY_SYMBOL & 1 == 0 { here } else { (here.1, here.0) };
    let (to_even, to_odd) = to.as_chunks_mut::<LANES>().0.split_at_mut(groups);
    let (bits_even, bits_odd) = decisions.as_chunks_mut::<2>().0.split_at_mut(groups / 2);
    for (two, (bits_even, bits_odd)) in bits_even.iter_mut().zip(bits_odd).enumerate() {
        let better = |here: &[[i16; LANES]], there: &[[i16; LANES]], bits: &mut [u8; 2]| {
            let at = [2 * two, 2 * two + 1];
            let even = at.map(|at| P::load(&here[at]).add(even_costs));
            let odd = at.map(|at| P::load(&there[at ^ (BY_SYMBOL / LANES)]).xor(BY_SYMBOL / 2 % (LANES / 2)).add(odd_costs));
            *bits = P::more(even, odd).to_le_bytes();
            [even[0].min(odd[0]), even[1].min(odd[1])]
        };
        let (even, odd) = (better(here.0, there.0, bits_even), better(here.1, there.1, bits_odd));
        // Those of the lower half of the states, and of the upper one.
        let [first, second] = [even[0].join(odd[0]), even[1].join(odd[1])];
        let (low, mut high) = ([first[0], second[0]], [first[1], second[1]]);
        if BY_STATE & 1 == 1 {
            high = [odd[0].join(even[0])[1], odd[1].join(even[1])[1]];
        }
        high = high.map(|high| high.xor(BY_STATE / 2 % (LANES / 2)));
        if BY_STATE & LANES == LANES {
            high = [high[1], high[0]];
        }
        for (at, [first, second]) in [(two, low), (groups / 2 + (two ^ (BY_STATE / 2 / LANES)), high)] {
            let [even, odd] = first.sort(second);
            even.store(&mut to_even[at]);
            odd.store(&mut to_odd[at]);
        }
    }
}

/// Where there are no registers of this size, or none that are known here.
impl Pairs for [i16; LANES] {
    fn load(from: &[i16; LANES]) -> Self {
        *from
    }

    fn store(self, to: &mut [i16; LANES]) {
        *to = self;
    }

    fn of(pair: [i16; 2]) -> Self {
        std::array::from_fn(|i| pair[i & 1])
    }

    fn add(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i].wrapping_add(other[i]))
    }

    fn min(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i].min(other[i]))
    }

    fn more([a, b]: [Self; 2], than: [Self; 2]) -> u16 {
        let bits = |a: Self, than: Self| (0..LANES).fold(0, |bits, i| bits | u16::from(a[i] > than[i]) << i);
        bits(a, than[0]) | bits(b, than[1]) << LANES
    }

    fn xor(self, by: usize) -> Self {
        std::array::from_fn(|i| self[i ^ (2 * by)])
    }

    fn join(self, other: Self) -> [Self; 2] {
        [0, 1].map(|which| std::array::from_fn(|i| if i & 1 == 0 { self[i | which] } else { other[i & !1 | which] }))
    }

    fn sort(self, next: Self) -> [Self; 2] {
        [0, 2].map(|which| {
            let of = |from: &Self, i: usize| from[2 * (i & 2) + which + (i & 1)];
            std::array::from_fn(|i| of(if i < LANES / 2 { &self } else { &next }, i % (LANES / 2)))
        })
    }
}
