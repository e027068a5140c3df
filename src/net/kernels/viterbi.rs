//! The inner loop of Viterbi's algorithm, which an encoder chooses the symbols of y by (`entropy/trellis.rs`), as compilers vectorise it where a kernel has none of its
//! own.

use crate::entropy::TrellisCode;

/// What the four kinds of symbols of a value cost: of even states the even and the odd ones, of odd states the even and the odd ones.
pub(crate) type Branches = [i32; 4];

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
pub(super) fn check(code: TrellisCode, metrics: &[i32], branches: &[Branches], decisions: &[u8]) {
    assert_eq!((metrics.len(), decisions.len()), (2 * code.states(), branches.len() * code.states() / 8));
}

/// [`Kernel::viterbi`](super::Kernel::viterbi).
pub(super) fn advance(code: TrellisCode, metrics: &mut [i32], branches: &[Branches], decisions: &mut [u8]) {
    check(code, metrics, branches, decisions);
    let (metrics, room) = metrics.split_at_mut(code.states());
    for (branches, decisions) in branches.iter().zip(decisions.chunks_exact_mut(code.states() / 8)) {
        for_code!(code, value(metrics, room, branches, decisions));
    }
}

/// One value.
fn value<const BY_STATE: usize, const BY_SYMBOL: usize>(metrics: &mut [i32], room: &mut [i32], branches: &Branches, decisions: &mut [u8]) {
    let half = metrics.len() / 2;
    let (even, odd) = room.split_at_mut(half);
    for ((even, odd), pairs) in even.chunks_exact_mut(LANES).zip(odd.chunks_exact_mut(LANES)).zip(metrics.as_chunks::<{ 2 * LANES }>().0) {
        even.iter_mut().zip(odd).enumerate().for_each(|(i, (even, odd))| (*even, *odd) = (pairs[2 * i], pairs[2 * i + 1]));
    }
    let ((low, high), (from_even, from_odd)) = (metrics.split_at_mut(half), decisions.split_at_mut(half / 8));
    select::<0, BY_SYMBOL>(even, [branches[0], branches[1]], low, from_even);
    select::<BY_STATE, BY_SYMBOL>(odd, [branches[2], branches[3]], high, from_odd);
}

/// So many states are looked at together: this suits compilers.
const LANES: usize = 16;

/// The better ways to the states that the even or the odd ones lead to, whose numbers are changed by `BY_STATE`.
#[inline(always)]
fn select<const BY_STATE: usize, const BY_SYMBOL: usize>(from: &[i32], [even, odd]: [i32; 2], metrics: &mut [i32], decisions: &mut [u8]) {
    let from = from.as_chunks().0;
    let lanes = |group: usize, by: usize| -> [i32; LANES] {
        let group: &[i32; LANES] = &from[group ^ (by / LANES)];
        std::array::from_fn(|i| group[i ^ (by % LANES)])
    };
    for (group, (metrics, decisions)) in metrics.chunks_exact_mut(LANES).zip(decisions.chunks_exact_mut(LANES / 8)).enumerate() {
        let ways = lanes(group, BY_STATE).into_iter().zip(lanes(group, BY_STATE ^ BY_SYMBOL));
        let mut taken = [0_u8; LANES];
        for ((a, b), (metric, taken)) in ways.zip(metrics.iter_mut().zip(&mut taken)) {
            let (a, b) = (a + even, b + odd);
            (*metric, *taken) = (a.min(b), u8::from(b < a));
        }
        for (bits, taken) in decisions.iter_mut().zip(taken.as_chunks().0) {
            // The product's highest byte has bit `i` of byte `i`.
            *bits = (u64::from_le_bytes(*taken).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
        }
    }
}
