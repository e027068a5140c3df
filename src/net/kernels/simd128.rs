//! The vectors of WebAssembly: 128 bits.
//!
//! A module cannot ask what it runs on, so this kernel is there when the crate is compiled with `-C target-feature=+simd128`.

use std::arch::wasm32::*;

use super::pack::Line;
use super::viterbi::{Branches, Pairs, advance};
use super::{BLOCK, Dense, Depthwise, Epilogue, Kernel, Segment, check_dense, check_depthwise, groups};
use crate::entropy::TrellisCode;

/// Outputs that a tile has: half of a block, so that a tile has more positions. Engines on x86-64 have 16 registers.
const HALF: usize = BLOCK / 2;

/// Positions that a tile has at most: ten of the registers are accumulators; the weights need two more, the input and a product one each.
const TILE: usize = 5;

/// Input that is worked on at a time for all outputs should stay in the second-level cache; in bytes.
const CACHED: usize = 1 << 16;

pub(super) struct Simd128;

impl Kernel for Simd128 {
    fn name(&self) -> &'static str {
        "simd128"
    }

    fn dense(&self, layer: &Dense, input: &[Segment<'_>], positions: usize, out: &mut [i16], out_stride: usize, epilogue: Epilogue) {
        check_dense(layer, input, positions, out, out_stride, epilogue);
        let job = Job { layer, input, out: out.as_mut_ptr(), out_stride, epilogue };
        // SAFETY: the sizes have just been checked.
        unsafe { dense(&job, positions) }
    }

    fn depthwise(&self, layer: &Depthwise, rows: [&[i16]; 3], width: usize, out: &mut [i16]) {
        check_depthwise(layer, rows, width, out);
        // SAFETY: as above.
        unsafe { depthwise(layer, rows, width, out) }
    }

    fn viterbi(&self, code: TrellisCode, metrics: &mut [i16], branches: &[Branches], decisions: &mut [u8]) {
        advance::<v128>(code, metrics, branches, decisions);
    }
}

impl Pairs for v128 {
    #[inline(always)]
    fn load(from: &[i16; 8]) -> Self {
        // SAFETY: a register holds eight numbers.
        unsafe { v128_load(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, to: &mut [i16; 8]) {
        // SAFETY: as above.
        unsafe { v128_store(to.as_mut_ptr().cast(), self) }
    }

    #[inline(always)]
    fn of([first, second]: [i16; 2]) -> Self {
        i16x8(first, second, first, second, first, second, first, second)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        i16x8_add(self, other)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        i16x8_min(self, other)
    }

    #[inline(always)]
    fn more([a, b]: [Self; 2], than: [Self; 2]) -> u16 {
        i8x16_bitmask(i8x16_narrow_i16x8(i16x8_gt(a, than[0]), i16x8_gt(b, than[1])))
    }

    #[inline(always)]
    fn xor(self, by: usize) -> Self {
        match by {
            1 => i32x4_shuffle::<1, 0, 3, 2>(self, self),
            2 => i32x4_shuffle::<2, 3, 0, 1>(self, self),
            3 => i32x4_shuffle::<3, 2, 1, 0>(self, self),
            _ => self,
        }
    }

    #[inline(always)]
    fn join(self, other: Self) -> [Self; 2] {
        [i16x8_shuffle::<0, 8, 2, 10, 4, 12, 6, 14>(self, other), i16x8_shuffle::<1, 9, 3, 11, 5, 13, 7, 15>(self, other)]
    }

    #[inline(always)]
    fn sort(self, next: Self) -> [Self; 2] {
        [i32x4_shuffle::<0, 2, 4, 6>(self, next), i32x4_shuffle::<1, 3, 5, 7>(self, next)]
    }
}

/// What does not change from tile to tile.
struct Job<'a> {
    layer: &'a Dense,
    input: &'a [Segment<'a>],
    out: *mut i16,
    out_stride: usize,
    epilogue: Epilogue,
}

/// # Safety
/// `job` must have passed [`check_dense`] with this number of positions.
unsafe fn dense(job: &Job<'_>, positions: usize) {
    let blocks = job.layer.outputs / BLOCK;
    let step = if matches!(job.epilogue, Epilogue::Gate(_)) { 2 } else { 1 };
    let chunk = (CACHED / (2 * job.layer.inputs.max(1))).next_multiple_of(TILE);
    for start in (0..positions).step_by(chunk) {
        for (block, half) in (0..blocks).step_by(step).flat_map(|block| [(block, 0), (block, 1)]) {
            // SAFETY: the positions and blocks exist.
            groups(start..positions.min(start + chunk), TILE, |first, size| unsafe {
                match size {
                    1 => tile::<1>(job, first, block, half),
                    2 => tile::<2>(job, first, block, half),
                    3 => tile::<3>(job, first, block, half),
                    4 => tile::<4>(job, first, block, half),
                    5 => tile::<5>(job, first, block, half),
                    _ => unreachable!("no group is larger than a tile"),
                }
            });
        }
    }
}

/// What the epilogue makes of a half of a block (of this and the next one for a gate) at `POSITIONS` positions.
///
/// # Safety
/// `job` must have passed [`check_dense`] with `first + POSITIONS` positions or more, and the layer must have the blocks; `half` is 0 or 1.
unsafe fn tile<const POSITIONS: usize>(job: &Job<'_>, first: usize, block: usize, half: usize) {
    // SAFETY: the blocks exist; the output holds `epilogue.width(outputs)` numbers at `out_stride` times each position.
    unsafe {
        let mut result = sums::<POSITIONS>(job, first, block, half);
        let mut place = job.out.add(first * job.out_stride + block * BLOCK + half * HALF);
        match job.epilogue {
            Epilogue::Store => {}
            Epilogue::Leaky => result = result.map(|result| i16x8_max(result, i16x8_shr(result, 3))),
            Epilogue::Add => {
                for (n, result) in result.iter_mut().enumerate() {
                    *result = i16x8_add_sat(*result, v128_load(place.add(n * job.out_stride).cast()));
                }
            }
            Epilogue::Gate(fraction) => {
                place = job.out.add(first * job.out_stride + block / 2 * BLOCK + half * HALF);
                let factor = sums::<POSITIONS>(job, first, block + 1, half);
                for (result, factor) in result.iter_mut().zip(factor) {
                    *result = gate(*result, factor, fraction);
                }
            }
        }
        for (n, result) in result.into_iter().enumerate() {
            v128_store(place.add(n * job.out_stride).cast(), result);
        }
    }
}

/// R5.4 on 8 numbers.
fn gate(a: v128, b: v128, fraction: u32) -> v128 {
    let one = i16x8_splat(1 << fraction);
    let b = i16x8_max(i16x8_min(b, one), i16x8_neg(one));
    // The instruction is the gate for fraction 15, so `b` is made a number with 15 fractional bits. That makes 1 wrap to -1; then the result is `a`.
    let product = i16x8_q15mulr_sat(a, i16x8_shl(b, 15 - fraction));
    v128_bitselect(a, product, i16x8_eq(b, one))
}

/// Shifts of four outputs as factors for [`shifted`]: there is no instruction that shifts lanes by numbers of their own.
///
/// # Safety
/// Four numbers from 1 to 24 must be there.
unsafe fn factors(shift: *const i32) -> v128 {
    // SAFETY: promised by the caller.
    let shift: [i32; 4] = unsafe { shift.cast::<[i32; 4]>().read_unaligned() };
    let [a, b, c, d] = shift.map(|shift| 1_i32 << (31 - shift));
    i32x4(a, b, c, d)
}

/// `acc >> shift` for [`factors`] of the shift: `acc * 2^(32 - shift)` is exact in 64 bits, and its upper half is the quotient rounded down. (The last
/// doubling is apart, as 2^31 is no factor of 32 bits with sign.)
fn shifted(acc: v128, factors: v128) -> v128 {
    let (low, high) = (i64x2_extmul_low_i32x4(acc, factors), i64x2_extmul_high_i32x4(acc, factors));
    i32x4_shuffle::<1, 3, 5, 7>(i64x2_shl(low, 1), i64x2_shl(high, 1))
}

/// The same of 8 numbers, to 16 bits with saturation.
fn requantise(acc: [v128; 2], factors: [v128; 2]) -> v128 {
    i16x8_narrow_i32x4(shifted(acc[0], factors[0]), shifted(acc[1], factors[1]))
}

/// 8 outputs of a block at `POSITIONS` positions.
///
/// # Safety
/// As for [`tile`].
#[inline]
unsafe fn sums<const POSITIONS: usize>(job: &Job<'_>, first: usize, block: usize, half: usize) -> [v128; POSITIONS] {
    let layer = job.layer;
    let pairs = layer.inputs / 2;
    let outputs = block * BLOCK + half * HALF;
    // SAFETY: biases and shifts are as many as outputs; lines as many as pairs times blocks; the parts of the input hold the pairs.
    unsafe {
        let bias: *const v128 = layer.bias.as_ptr().add(outputs).cast();
        let mut acc = [[v128_load(bias), v128_load(bias.add(1))]; POSITIONS];
        let mut lines: *const Line = layer.weights.as_ptr().add(block * pairs);
        for segment in job.input {
            let mut x = segment.data.as_ptr().add(first * segment.stride);
            for _ in 0..segment.len / 2 {
                let w = lines.cast::<v128>().add(2 * half);
                let w = [v128_load(w), v128_load(w.add(1))];
                for (n, acc) in acc.iter_mut().enumerate() {
                    let x = v128_load32_splat(x.add(n * segment.stride).cast());
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = i32x4_add(*acc, i32x4_dot_i16x8(w, x));
                    }
                }
                x = x.add(2);
                lines = lines.add(1);
            }
        }
        let shift = layer.shift.as_ptr().add(outputs);
        let factors = [factors(shift), factors(shift.add(4))];
        acc.map(|acc| requantise(acc, factors))
    }
}

/// # Safety
/// The arguments must have passed [`check_depthwise`].
unsafe fn depthwise(layer: &Depthwise, rows: [&[i16]; 3], width: usize, out: &mut [i16]) {
    let channels = layer.channels;
    let zero = i16x8_splat(0);
    // The pairs of two taps of each of 8 channels.
    let pair = |a, b| [i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(a, b), i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(a, b)];
    for first in (0..channels).step_by(HALF) {
        // SAFETY: the channels are a multiple of 16.
        let load = |row: &[i16], column: usize| unsafe { v128_load(row.as_ptr().add(column * channels + first).cast()) };
        let weights: [v128; 9] = std::array::from_fn(|tap| load(&layer.weights, tap));
        let w =
            [pair(weights[0], weights[6]), pair(weights[1], weights[7]), pair(weights[2], weights[8]), pair(weights[3], weights[4]), pair(zero, weights[5])];
        // SAFETY: as above.
        let (bias, factors) = unsafe {
            let (bias, shift) = (layer.bias.as_ptr().add(first), layer.shift.as_ptr().add(first));
            ([v128_load(bias.cast()), v128_load(bias.add(4).cast())], [factors(shift), factors(shift.add(4))])
        };
        // As in `avx512.rs`: the pairs (above, below) of the columns left of and at the current one, and of the middle row the column itself and its pair
        // with its left neighbour.
        let (mut left, mut here) = ([zero; 2], [zero; 2]);
        let (mut middle, mut middle_left) = (zero, [zero; 2]);
        for column in 0..=width {
            let (mut right, mut middle_right) = ([zero; 2], zero);
            if column < width {
                right = pair(load(rows[0], column), load(rows[2], column));
                middle_right = load(rows[1], column);
            }
            let middle_here = pair(middle, middle_right);
            if column > 0 {
                let mut acc = bias;
                for (w, x) in w.iter().zip([left, here, right, middle_left, middle_here]) {
                    for (acc, (w, x)) in acc.iter_mut().zip(w.iter().zip(x)) {
                        *acc = i32x4_add(*acc, i32x4_dot_i16x8(*w, x));
                    }
                }
                // SAFETY: as above.
                unsafe { v128_store(out.as_mut_ptr().add((column - 1) * channels + first).cast(), requantise(acc, factors)) }
            }
            (left, here, middle, middle_left) = (here, right, middle_right, middle_here);
        }
    }
}
