//! NEON, the vector extension of 64-bit Arm.

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::pack::Line;
use super::viterbi::{Branches, Pairs, advance};
use super::{BLOCK, Dense, Depthwise, Epilogue, Kernel, Segment, check_dense, check_depthwise, groups};
use crate::entropy::TrellisCode;

/// Positions that a tile has at most: 24 of the 32 registers are accumulators; the weights need four more, the input one or two.
const TILE: usize = 6;

/// Input that is worked on at a time for all outputs should stay in the second-level cache; in bytes.
const CACHED: usize = 1 << 16;

/// Exists only where the processor has what it needs.
pub(super) struct Neon(());

impl Neon {
    pub(super) fn new() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

impl Kernel for Neon {
    fn name(&self) -> &'static str {
        "neon"
    }

    fn dense(&self, layer: &Dense, input: &[Segment<'_>], positions: usize, out: &mut [i16], out_stride: usize, epilogue: Epilogue) {
        check_dense(layer, input, positions, out, out_stride, epilogue);
        let job = Job { layer, input, out: out.as_mut_ptr(), out_stride, epilogue };
        // SAFETY: `self` exists, so the processor has the feature. The sizes have just been checked.
        unsafe { dense(&job, positions) }
    }

    fn depthwise(&self, layer: &Depthwise, rows: [&[i16]; 3], width: usize, out: &mut [i16]) {
        check_depthwise(layer, rows, width, out);
        // SAFETY: as above.
        unsafe { depthwise(layer, rows, width, out) }
    }

    fn viterbi(&self, code: TrellisCode, metrics: &mut [i16], branches: &[Branches], decisions: &mut [u8]) {
        advance::<int16x8_t>(code, metrics, branches, decisions);
    }
}

// All of it is safe: there is no 64-bit Arm without NEON that the standard library is made for.
impl Pairs for int16x8_t {
    #[inline(always)]
    fn load(from: &[i16; 8]) -> Self {
        // SAFETY: a register holds eight numbers.
        unsafe { vld1q_s16(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, to: &mut [i16; 8]) {
        // SAFETY: as above.
        unsafe { vst1q_s16(to.as_mut_ptr(), self) }
    }

    #[inline(always)]
    fn of(pair: [i16; 2]) -> Self {
        // SAFETY: see above.
        unsafe { vtrn1q_s16(vdupq_n_s16(pair[0]), vdupq_n_s16(pair[1])) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { vaddq_s16(self, other) }
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { vminq_s16(self, other) }
    }

    #[inline(always)]
    fn more([a, b]: [Self; 2], than: [Self; 2]) -> u16 {
        // SAFETY: see above.
        unsafe {
            let bits = vcombine_u8(vcreate_u8(0x8040_2010_0804_0201), vcreate_u8(0x8040_2010_0804_0201));
            let more = vcombine_u8(vmovn_u16(vcgtq_s16(a, than[0])), vmovn_u16(vcgtq_s16(b, than[1])));
            let more = vandq_u8(more, bits);
            // Neighbours are added three times; then each half of the bits is in a byte.
            let sums = vpaddq_u8(more, more);
            let sums = vpaddq_u8(sums, sums);
            vgetq_lane_u16::<0>(vreinterpretq_u16_u8(vpaddq_u8(sums, sums)))
        }
    }

    #[inline(always)]
    fn xor(self, by: usize) -> Self {
        // SAFETY: see above.
        unsafe {
            let pairs = vreinterpretq_s32_s16(self);
            let pairs = if by & 2 == 0 { pairs } else { vextq_s32::<2>(pairs, pairs) };
            vreinterpretq_s16_s32(if by & 1 == 0 { pairs } else { vrev64q_s32(pairs) })
        }
    }

    #[inline(always)]
    fn join(self, other: Self) -> [Self; 2] {
        // SAFETY: see above.
        unsafe { [vtrn1q_s16(self, other), vtrn2q_s16(self, other)] }
    }

    #[inline(always)]
    fn sort(self, next: Self) -> [Self; 2] {
        // SAFETY: see above.
        unsafe {
            let (pairs, next) = (vreinterpretq_s32_s16(self), vreinterpretq_s32_s16(next));
            [vreinterpretq_s16_s32(vuzp1q_s32(pairs, next)), vreinterpretq_s16_s32(vuzp2q_s32(pairs, next))]
        }
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
#[target_feature(enable = "neon")]
unsafe fn dense(job: &Job<'_>, positions: usize) {
    let blocks = job.layer.outputs / BLOCK;
    let step = if matches!(job.epilogue, Epilogue::Gate(_)) { 2 } else { 1 };
    let chunk = (CACHED / (2 * job.layer.inputs.max(1))).next_multiple_of(TILE);
    for start in (0..positions).step_by(chunk) {
        for block in (0..blocks).step_by(step) {
            // SAFETY: the positions and blocks exist.
            groups(start..positions.min(start + chunk), TILE, |first, size| unsafe {
                match size {
                    1 => tile::<1>(job, first, block),
                    2 => tile::<2>(job, first, block),
                    3 => tile::<3>(job, first, block),
                    4 => tile::<4>(job, first, block),
                    5 => tile::<5>(job, first, block),
                    6 => tile::<6>(job, first, block),
                    _ => unreachable!("no group is larger than a tile"),
                }
            });
        }
    }
}

/// What the epilogue makes of a block (of this and the next one for a gate) at `POSITIONS` positions.
///
/// # Safety
/// `job` must have passed [`check_dense`] with `first + POSITIONS` positions or more, and the layer must have the blocks.
#[target_feature(enable = "neon")]
unsafe fn tile<const POSITIONS: usize>(job: &Job<'_>, first: usize, block: usize) {
    // SAFETY: the blocks exist; the output holds `epilogue.width(outputs)` numbers at `out_stride` times each position.
    unsafe {
        let mut result = sums::<POSITIONS>(job, first, block);
        let mut place = job.out.add(first * job.out_stride + block * BLOCK);
        match job.epilogue {
            Epilogue::Store => {}
            Epilogue::Leaky => result = result.map(|result| result.map(|half| vmaxq_s16(half, vshrq_n_s16::<3>(half)))),
            Epilogue::Add => {
                for (n, result) in result.iter_mut().enumerate() {
                    let place = place.add(n * job.out_stride);
                    *result = [vqaddq_s16(result[0], vld1q_s16(place)), vqaddq_s16(result[1], vld1q_s16(place.add(8)))];
                }
            }
            Epilogue::Gate(fraction) => {
                place = job.out.add(first * job.out_stride + block / 2 * BLOCK);
                let factor = sums::<POSITIONS>(job, first, block + 1);
                for (result, factor) in result.iter_mut().zip(factor) {
                    *result = [gate(result[0], factor[0], fraction), gate(result[1], factor[1], fraction)];
                }
            }
        }
        for (n, result) in result.into_iter().enumerate() {
            let place = place.add(n * job.out_stride);
            vst1q_s16(place, result[0]);
            vst1q_s16(place.add(8), result[1]);
        }
    }
}

/// R5.4 on 8 numbers.
#[target_feature(enable = "neon")]
#[inline]
fn gate(a: int16x8_t, b: int16x8_t, fraction: u32) -> int16x8_t {
    let one = vdupq_n_s16(1 << fraction);
    let b = vmaxq_s16(vminq_s16(b, one), vnegq_s16(one));
    // The instruction is the gate for fraction 15, so `b` is made a number with 15 fractional bits. That makes 1 wrap to -1; then the result is `a`.
    let product = vqrdmulhq_s16(a, vshlq_s16(b, vdupq_n_s16(15 - fraction as i16)));
    vbslq_s16(vceqq_s16(b, one), a, product)
}

/// `acc >> shift`, given `-shift`, to 16 bits with saturation.
#[target_feature(enable = "neon")]
#[inline]
fn requantise(acc: [int32x4_t; 2], minus_shift: [int32x4_t; 2]) -> int16x8_t {
    vqmovn_high_s32(vqmovn_s32(vshlq_s32(acc[0], minus_shift[0])), vshlq_s32(acc[1], minus_shift[1]))
}

/// The 16 outputs of a block at `POSITIONS` positions.
///
/// # Safety
/// As for [`tile`].
#[target_feature(enable = "neon")]
#[inline]
unsafe fn sums<const POSITIONS: usize>(job: &Job<'_>, first: usize, block: usize) -> [[int16x8_t; 2]; POSITIONS] {
    let layer = job.layer;
    let pairs = layer.inputs / 2;
    // SAFETY: biases and shifts are as many as outputs; lines as many as pairs times blocks; the parts of the input hold the pairs.
    unsafe {
        let bias = layer.bias.as_ptr().add(block * BLOCK);
        let shift = layer.shift.as_ptr().add(block * BLOCK);
        let mut acc: [[int32x4_t; 4]; POSITIONS] = [std::array::from_fn(|quarter| vld1q_s32(bias.add(4 * quarter))); POSITIONS];
        let mut lines: *const Line = layer.weights.as_ptr().add(block * pairs);
        for segment in job.input {
            let mut x = segment.data.as_ptr().add(first * segment.stride);
            for _ in 0..segment.len / 2 {
                let w: *const i16 = lines.cast();
                // Loading parts the weights of the pair's first input from those of its second.
                let w = [vld2q_s16(w), vld2q_s16(w.add(BLOCK))];
                for (n, acc) in acc.iter_mut().enumerate() {
                    let x = vreinterpret_s16_s32(vdup_n_s32(x.add(n * segment.stride).cast::<i32>().read_unaligned()));
                    for ([low, high], int16x8x2_t(w0, w1)) in acc.as_chunks_mut::<2>().0.iter_mut().zip(w) {
                        *low = vmlal_lane_s16::<0>(*low, vget_low_s16(w0), x);
                        *high = vmlal_high_lane_s16::<0>(*high, w0, x);
                        *low = vmlal_lane_s16::<1>(*low, vget_low_s16(w1), x);
                        *high = vmlal_high_lane_s16::<1>(*high, w1, x);
                    }
                }
                x = x.add(2);
                lines = lines.add(1);
            }
        }
        let minus_shift: [int32x4_t; 4] = std::array::from_fn(|quarter| vnegq_s32(vld1q_s32(shift.add(4 * quarter))));
        acc.map(|acc| [requantise([acc[0], acc[1]], [minus_shift[0], minus_shift[1]]), requantise([acc[2], acc[3]], [minus_shift[2], minus_shift[3]])])
    }
}

/// # Safety
/// The arguments must have passed [`check_depthwise`].
#[target_feature(enable = "neon")]
unsafe fn depthwise(layer: &Depthwise, rows: [&[i16]; 3], width: usize, out: &mut [i16]) {
    let channels = layer.channels;
    for first in (0..channels).step_by(8) {
        // SAFETY: the channels are a multiple of 16.
        let load = |row: &[i16], column: usize| unsafe { vld1q_s16(row.as_ptr().add(column * channels + first)) };
        let weights: [int16x8_t; 9] = std::array::from_fn(|tap| load(&layer.weights, tap));
        // SAFETY: as above.
        let (bias, minus_shift) = unsafe {
            let (bias, shift) = (layer.bias.as_ptr().add(first), layer.shift.as_ptr().add(first));
            ([vld1q_s32(bias), vld1q_s32(bias.add(4))], [vnegq_s32(vld1q_s32(shift)), vnegq_s32(vld1q_s32(shift.add(4)))])
        };
        let zero = vdupq_n_s16(0);
        // The columns left of and at the current one.
        let (mut left, mut here) = ([zero; 3], [zero; 3]);
        for column in 0..=width {
            let right = if column < width { rows.map(|row| load(row, column)) } else { [zero; 3] };
            if column > 0 {
                let mut acc = bias;
                for row in 0..3 {
                    for (x, w) in [left[row], here[row], right[row]].into_iter().zip(&weights[3 * row..]) {
                        acc[0] = vmlal_s16(acc[0], vget_low_s16(x), vget_low_s16(*w));
                        acc[1] = vmlal_high_s16(acc[1], x, *w);
                    }
                }
                // SAFETY: as above.
                unsafe { vst1q_s16(out.as_mut_ptr().add((column - 1) * channels + first), requantise(acc, minus_shift)) }
            }
            (left, here) = (here, right);
        }
    }
}
