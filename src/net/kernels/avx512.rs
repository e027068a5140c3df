//! AVX-512 (F, BW, VL), with and without VNNI.
//!
//! VNNI multiplies two pairs of 16-bit numbers per 32-bit lane and adds the products to the lane in one instruction; without it that takes two.

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

use super::avx2::gate;
use super::pack::Line;
use super::viterbi::{check, for_code};
use super::{BLOCK, Branches, Dense, Depthwise, Epilogue, Kernel, Segment, check_dense, check_depthwise, groups};
use crate::entropy::TrellisCode;

/// Positions that a tile has at most. With two blocks of outputs, 24 of the 32 registers are accumulators; the weights need two more, the input one.
const TILE: usize = 12;

/// Input that is worked on at a time for all outputs should stay in the second-level cache; in bytes.
const CACHED: usize = 1 << 16;

/// What does not change from tile to tile.
pub(super) struct Job<'a> {
    pub(super) layer: &'a Dense,
    pub(super) input: &'a [Segment<'a>],
    pub(super) out: *mut i16,
    pub(super) out_stride: usize,
    pub(super) epilogue: Epilogue,
}

/// `acc + w[0] * x[0] + w[1] * x[1]` in each 32-bit lane.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn multiply_add(acc: __m512i, weights: __m512i, input: __m512i) -> __m512i {
    _mm512_add_epi32(acc, _mm512_madd_epi16(weights, input))
}

/// The same in one instruction. Not by `_mm512_dpwssd_epi32`: the compiler splits it into the two above where it takes latency for the bottleneck, and that
/// halves the speed.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn multiply_add_vnni(mut acc: __m512i, weights: __m512i, input: __m512i) -> __m512i {
    // SAFETY: the instruction needs AVX-512 VNNI, which this function does too, and touches nothing but these registers.
    unsafe {
        asm!("vpdpwssd {}, {}, {}", inout(zmm_reg) acc, in(zmm_reg) weights, in(zmm_reg) input, options(pure, nomem, nostack, preserves_flags));
    }
    acc
}

/// Saturates two blocks to 16 bits and puts them one behind the other.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn join(blocks: [__m512i; 2]) -> __m512i {
    _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), _mm512_packs_epi32(blocks[0], blocks[1]))
}

/// Stores the sums, shifted, of a block at one position, or of two that are neighbours.
///
/// # Safety
/// `out` must have room for them. The epilogue must not be a gate.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
pub(super) unsafe fn store<const BLOCKS: usize>(sums: [__m512i; 2], out: *mut i16, epilogue: Epilogue) {
    let mask = if BLOCKS == 2 { !0 } else { 0xFFFF };
    let result = join(sums);
    // SAFETY: the mask leaves out the block that does not exist; the rest is the caller's.
    unsafe {
        let result = match epilogue {
            Epilogue::Leaky => _mm512_max_epi16(result, _mm512_srai_epi16::<3>(result)),
            Epilogue::Add => _mm512_adds_epi16(result, _mm512_maskz_loadu_epi16(mask, out)),
            _ => result,
        };
        _mm512_mask_storeu_epi16(out, mask, result);
    }
}

/// Stores what a gate makes of the sums of two blocks, shifted, at one position.
///
/// # Safety
/// `out` must have room for one block.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
pub(super) unsafe fn store_gated(sums: [__m512i; 2], out: *mut i16, fraction: u32) {
    let result = join(sums);
    let (a, b) = (_mm512_castsi512_si256(result), _mm512_extracti64x4_epi64::<1>(result));
    // SAFETY: this is the caller's.
    unsafe { _mm256_storeu_epi16(out, gate(a, b, fraction)) };
}

/// Pairs of states in a register.
const PAIRS: usize = 16;

/// [`Kernel::viterbi`].
///
/// # Safety
/// The slices must have passed [`check`] with the code that the constants are of.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn find_paths<const BY_STATE: usize, const BY_SYMBOL: usize>(metrics: &mut [i16], branches: &[Branches], decisions: &mut [u8]) {
    let states = metrics.len() / 2;
    let (mut from, mut to) = metrics.split_at_mut(states);
    // Of pairs of even and of odd number, and of what two groups of these leave. Both constants are below half of the states.
    let groups = states / 4 / PAIRS;
    let (across, above) = const { (BY_SYMBOL / 2 / PAIRS, BY_STATE / 2 / (2 * PAIRS)) };
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let by = |which: __m512i, by: usize| _mm512_xor_si512(which, _mm512_set1_epi32(by as i32));
    let beside = by(lanes, BY_SYMBOL / 2 % PAIRS);
    let (even, odd) = (_mm512_slli_epi32::<1>(lanes), by(_mm512_slli_epi32::<1>(lanes), 1));
    let (high_even, high_odd) = (by(even, BY_STATE / 2 % (2 * PAIRS)), by(odd, BY_STATE / 2 % (2 * PAIRS)));
    for (branch, decisions) in branches.iter().zip(decisions.chunks_exact_mut(states / 8)) {
        let costs = branch.map(|cost| i32::from(cost.wrapping_sub(from[0]) as u16));
        let of_symbol = |symbol: usize| _mm512_set1_epi32(costs[symbol] | costs[symbol + 2] << 16);
        let (even_costs, odd_costs) = (of_symbol(0), of_symbol(1));
        let (next, bits) = (to.as_mut_ptr(), decisions.as_mut_ptr());
        // SAFETY: there are a register of metrics and 32 bits for each group, twice as many as there are groups of pairs of one kind.
        let load = |group: usize| unsafe { _mm512_loadu_si512(from.as_ptr().add(group * 2 * PAIRS).cast()) };
        let better = |here: usize, there: usize| {
            let even = _mm512_add_epi16(load(here), even_costs);
            let odd = _mm512_add_epi16(_mm512_permutexvar_epi32(beside, load(there)), odd_costs);
            // SAFETY: as above.
            unsafe { bits.add(here * 2 * PAIRS / 8).cast::<u32>().write_unaligned(_mm512_cmplt_epi16_mask(odd, even)) };
            _mm512_min_epi16(even, odd)
        };
        // Those of the lower half of the states, and those of the upper one.
        let halves = |group: usize| {
            let there = group ^ across;
            let (there, there_odd) = if BY_SYMBOL & 1 == 0 { (there, groups + there) } else { (groups + there, there) };
            let (even, odd) = (better(group, there), better(groups + group, there_odd));
            let (first, second) = if BY_STATE & 1 == 0 { (even, odd) } else { (odd, even) };
            let join = |low: __m512i, high: __m512i| _mm512_mask_blend_epi16(0xAAAA_AAAA, low, high);
            [join(even, _mm512_slli_epi32::<16>(odd)), join(_mm512_srli_epi32::<16>(first), second)]
        };
        for two in 0..groups / 2 {
            let ([low, high], [next_low, next_high]) = (halves(2 * two), halves(2 * two + 1));
            let up = groups / 2 + (two ^ above);
            // SAFETY: as above.
            let store = |group: usize, metrics: __m512i| unsafe { _mm512_storeu_si512(next.add(group * 2 * PAIRS).cast(), metrics) };
            store(two, _mm512_permutex2var_epi32(low, even, next_low));
            store(groups + two, _mm512_permutex2var_epi32(low, odd, next_low));
            store(up, _mm512_permutex2var_epi32(high, high_even, next_high));
            store(groups + up, _mm512_permutex2var_epi32(high, high_odd, next_high));
        }
        std::mem::swap(&mut from, &mut to);
    }
    if branches.len() % 2 == 1 {
        to.copy_from_slice(from);
    }
}

/// Defines a kernel: its name, its instruction-set extensions and its way to multiply and add.
macro_rules! kernel {
    ($kernel:ident, $name:literal, $module:ident, $features:literal, [$($feature:tt),*], $multiply_add:ident) => {
        /// Exists only where the processor has what it needs.
        pub(super) struct $kernel(());

        impl $kernel {
            pub(super) fn new() -> Option<Self> {
                ($(is_x86_feature_detected!($feature))&&*).then_some(Self(()))
            }
        }

        impl Kernel for $kernel {
            fn name(&self) -> &'static str {
                $name
            }

            fn dense(&self, layer: &Dense, input: &[Segment<'_>], positions: usize, out: &mut [i16], out_stride: usize, epilogue: Epilogue) {
                check_dense(layer, input, positions, out, out_stride, epilogue);
                let job = Job { layer, input, out: out.as_mut_ptr(), out_stride, epilogue };
                // SAFETY: `self` exists, so the processor has the features. The sizes have just been checked.
                unsafe { $module::dense(&job, 0..positions) }
            }

            fn depthwise(&self, layer: &Depthwise, rows: [&[i16]; 3], width: usize, out: &mut [i16]) {
                check_depthwise(layer, rows, width, out);
                // SAFETY: as above.
                unsafe { $module::depthwise(layer, rows, width, out) }
            }

            fn viterbi(&self, code: TrellisCode, metrics: &mut [i16], branches: &[Branches], decisions: &mut [u8]) {
                check(code, metrics, branches, decisions);
                // SAFETY: `self` exists, so the processor has the features. The sizes have just been checked.
                unsafe { for_code!(code, find_paths(metrics, branches, decisions)) }
            }
        }

        pub(super) mod $module {
            use super::*;

            /// # Safety
            /// `job` must have passed [`check_dense`] with `positions.end` positions or more.
            #[target_feature(enable = $features)]
            pub(in super::super) unsafe fn dense(job: &Job<'_>, positions: Range<usize>) {
                let blocks = job.layer.outputs / BLOCK;
                let chunk = (CACHED / (2 * job.layer.inputs.max(1))).max(1).next_multiple_of(TILE);
                for start in positions.clone().step_by(chunk) {
                    let chunk = start..positions.end.min(start + chunk);
                    for block in (0..blocks / 2).map(|half| 2 * half) {
                        // SAFETY: the positions and blocks exist.
                        groups(chunk.clone(), TILE, |first, size| unsafe { tiles::<2>(job, first, size, block) });
                    }
                    if blocks % 2 == 1 {
                        // SAFETY: as above.
                        groups(chunk, TILE, |first, size| unsafe { tiles::<1>(job, first, size, blocks - 1) });
                    }
                }
            }

            /// # Safety
            /// See [`tile`].
            #[target_feature(enable = $features)]
            unsafe fn tiles<const BLOCKS: usize>(job: &Job<'_>, first: usize, positions: usize, block: usize) {
                // SAFETY: passed on to the caller.
                unsafe {
                    match positions {
                        1 => tile::<1, BLOCKS>(job, first, block),
                        2 => tile::<2, BLOCKS>(job, first, block),
                        3 => tile::<3, BLOCKS>(job, first, block),
                        4 => tile::<4, BLOCKS>(job, first, block),
                        5 => tile::<5, BLOCKS>(job, first, block),
                        6 => tile::<6, BLOCKS>(job, first, block),
                        7 => tile::<7, BLOCKS>(job, first, block),
                        8 => tile::<8, BLOCKS>(job, first, block),
                        9 => tile::<9, BLOCKS>(job, first, block),
                        10 => tile::<10, BLOCKS>(job, first, block),
                        11 => tile::<11, BLOCKS>(job, first, block),
                        12 => tile::<12, BLOCKS>(job, first, block),
                        _ => unreachable!("no group is larger than a tile"),
                    }
                }
            }

            /// The outputs of `BLOCKS` blocks at `POSITIONS` positions.
            ///
            /// # Safety
            /// `job` must have passed [`check_dense`] with `first + POSITIONS` positions or more, and the layer must have `block + BLOCKS` blocks or more.
            #[target_feature(enable = $features)]
            unsafe fn tile<const POSITIONS: usize, const BLOCKS: usize>(job: &Job<'_>, first: usize, block: usize) {
                let layer = job.layer;
                let pairs = layer.inputs / 2;
                // SAFETY: biases and shifts are as many as outputs; lines as many as pairs times blocks; the parts of the input hold the pairs.
                let (mut acc, shift) = unsafe {
                    let bias = layer.bias.as_ptr().add(block * BLOCK);
                    let shift = layer.shift.as_ptr().add(block * BLOCK);
                    let shift: [__m512i; BLOCKS] = std::array::from_fn(|b| _mm512_loadu_epi32(shift.add(b * BLOCK)));
                    let mut acc: [[__m512i; BLOCKS]; POSITIONS] = [std::array::from_fn(|b| _mm512_loadu_epi32(bias.add(b * BLOCK))); POSITIONS];
                    let mut lines: *const Line = layer.weights.as_ptr().add(block * pairs);
                    for segment in job.input {
                        let mut x = segment.data.as_ptr().add(first * segment.stride);
                        for _ in 0..segment.len / 2 {
                            let w: [__m512i; BLOCKS] = std::array::from_fn(|b| _mm512_load_si512(lines.add(b * pairs).cast()));
                            for (n, acc) in acc.iter_mut().enumerate() {
                                let x = _mm512_set1_epi32(x.add(n * segment.stride).cast::<i32>().read_unaligned());
                                for (acc, w) in acc.iter_mut().zip(w) {
                                    *acc = $multiply_add(*acc, w, x);
                                }
                            }
                            x = x.add(2);
                            lines = lines.add(1);
                        }
                    }
                    (acc, shift)
                };
                for acc in &mut acc {
                    for (acc, shift) in acc.iter_mut().zip(shift) {
                        *acc = _mm512_srav_epi32(*acc, shift);
                    }
                }
                // SAFETY: the output holds `epilogue.width(outputs)` numbers at `out_stride` times each position.
                unsafe {
                    let out = job.out.add(first * job.out_stride + job.epilogue.width(block * BLOCK));
                    // Two loops that are small enough to be unrolled: otherwise the sums would not be in registers, not even while they are added up.
                    if let Epilogue::Gate(fraction) = job.epilogue {
                        for (n, acc) in acc.iter().enumerate() {
                            store_gated([acc[0], acc[BLOCKS - 1]], out.add(n * job.out_stride), fraction);
                        }
                        return;
                    }
                    for (n, acc) in acc.iter().enumerate() {
                        store::<BLOCKS>([acc[0], acc[BLOCKS - 1]], out.add(n * job.out_stride), job.epilogue);
                    }
                }
            }

            /// # Safety
            /// The arguments must have passed [`check_depthwise`].
            #[target_feature(enable = $features)]
            pub(in super::super) unsafe fn depthwise(layer: &Depthwise, rows: [&[i16]; 3], width: usize, out: &mut [i16]) {
                let channels = layer.channels;
                let zero = _mm512_setzero_si512();
                for first in (0..channels).step_by(2 * BLOCK) {
                    let mask = if channels - first >= 2 * BLOCK { !0 } else { 0xFFFF };
                    // SAFETY: `mask` leaves out the channels that do not exist.
                    let load = |row: &[i16], column: usize| unsafe { _mm512_maskz_loadu_epi16(mask, row.as_ptr().add(column * channels + first)) };
                    let weights: [__m512i; 9] = std::array::from_fn(|tap| load(&layer.weights, tap));
                    // The lower and the upper half of each 128-bit lane are expanded to 32 bits apart, as the unpacking instructions do it.
                    let pair = |a, b| [_mm512_unpacklo_epi16(a, b), _mm512_unpackhi_epi16(a, b)];
                    let w = [
                        pair(weights[0], weights[6]),
                        pair(weights[1], weights[7]),
                        pair(weights[2], weights[8]),
                        pair(weights[3], weights[4]),
                        pair(zero, weights[5]),
                    ];
                    let per_channel = |numbers: &[i32]| {
                        // SAFETY: as above.
                        let (a, b) = unsafe {
                            let numbers = numbers.as_ptr().add(first);
                            (_mm512_loadu_epi32(numbers), _mm512_maskz_loadu_epi32((mask >> 16) as u16, numbers.wrapping_add(BLOCK)))
                        };
                        [
                            _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13), b),
                            _mm512_permutex2var_epi64(a, _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15), b),
                        ]
                    };
                    let (bias, shift) = (per_channel(&layer.bias), per_channel(&layer.shift));
                    // The pairs (above, below) of the columns left of and at the current one, and of the middle row the column itself and its pair
                    // with its left neighbour. Each is used for three or two columns.
                    let mut left = [zero; 2];
                    let mut here = [zero; 2];
                    let mut middle = zero;
                    let mut middle_left = [zero; 2];
                    for column in 0..=width {
                        let (mut right, mut middle_right) = ([zero; 2], zero);
                        if column < width {
                            right = pair(load(rows[0], column), load(rows[2], column));
                            middle_right = load(rows[1], column);
                        }
                        let middle_here = pair(middle, middle_right);
                        if column > 0 {
                            let mut acc = bias;
                            for half in 0..2 {
                                acc[half] = $multiply_add(acc[half], w[0][half], left[half]);
                                acc[half] = $multiply_add(acc[half], w[1][half], here[half]);
                                acc[half] = $multiply_add(acc[half], w[2][half], right[half]);
                                acc[half] = $multiply_add(acc[half], w[3][half], middle_left[half]);
                                acc[half] = $multiply_add(acc[half], w[4][half], middle_here[half]);
                                acc[half] = _mm512_srav_epi32(acc[half], shift[half]);
                            }
                            // SAFETY: as above.
                            unsafe {
                                let out = out.as_mut_ptr().add((column - 1) * channels + first);
                                _mm512_mask_storeu_epi16(out, mask, _mm512_packs_epi32(acc[0], acc[1]));
                            }
                        }
                        (left, here, middle, middle_left) = (here, right, middle_right, middle_here);
                    }
                }
            }
        }
    };
}

kernel!(Avx512, "avx512", plain, "avx512f,avx512bw,avx512vl", ["avx512f", "avx512bw", "avx512vl"], multiply_add);
kernel!(Avx512Vnni, "avx512vnni", vnni, "avx512f,avx512bw,avx512vl,avx512vnni", ["avx512f", "avx512bw", "avx512vl", "avx512vnni"], multiply_add_vnni);
