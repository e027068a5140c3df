//! The inner loop of Viterbi's algorithm, which an encoder chooses the symbols of y by (`entropy/trellis.rs`), as compilers vectorise it where a kernel has none of its
//! own.

use crate::entropy::{BY_STATE, BY_SYMBOL, HALF, STATES};

/// What the four kinds of symbols of a value cost: of even states the even and the odd ones, of odd states the even and the odd ones.
pub(crate) type Branches = [i32; 4];

/// For each state the least that leads to it.
pub(crate) type Metrics = [i32; STATES];

/// For each state whether an odd symbol leads to it.
pub(crate) type Decisions = [u8; STATES];

/// Viterbi's algorithm: from the metrics before the first of some values to those behind the last.
///
/// Sums must not overflow: `entropy/trellis.rs` sees to it.
#[inline(always)]
pub(crate) fn advance(metrics: &mut Metrics, branches: &[Branches], decisions: &mut [Decisions]) {
    let (mut even, mut odd) = ([0; HALF], [0; HALF]);
    for (branch, decisions) in branches.iter().zip(decisions) {
        for ((even, odd), pairs) in even.chunks_exact_mut(LANES).zip(odd.chunks_exact_mut(LANES)).zip(metrics.as_chunks::<{ 2 * LANES }>().0) {
            even.iter_mut().zip(odd).enumerate().for_each(|(i, (even, odd))| (*even, *odd) = (pairs[2 * i], pairs[2 * i + 1]));
        }
        let ((low, high), (from_even, from_odd)) = (metrics.split_at_mut(HALF), decisions.split_at_mut(HALF));
        select(&even, 0, [branch[0], branch[1]], low, from_even);
        select(&odd, BY_STATE, [branch[2], branch[3]], high, from_odd);
    }
}

/// So many states are looked at together: this suits compilers.
const LANES: usize = 16;

/// The better ways to the states that the even or the odd ones lead to, whose numbers are changed by `by`.
#[inline(always)]
fn select(from: &[i32; HALF], by: usize, [even, odd]: [i32; 2], metrics: &mut [i32], decisions: &mut [u8]) {
    let lanes = |group: usize, by: usize| -> [i32; LANES] {
        let group: &[i32; LANES] = &from.as_chunks().0[group ^ (by / LANES)];
        std::array::from_fn(|i| group[i ^ (by % LANES)])
    };
    for (group, (metrics, decisions)) in metrics.chunks_exact_mut(LANES).zip(decisions.chunks_exact_mut(LANES)).enumerate() {
        let ways = lanes(group, by).into_iter().zip(lanes(group, by ^ BY_SYMBOL));
        for ((a, b), (metric, decision)) in ways.zip(metrics.iter_mut().zip(decisions)) {
            let (a, b) = (a + even, b + odd);
            (*metric, *decision) = (a.min(b), u8::from(b < a));
        }
    }
}
