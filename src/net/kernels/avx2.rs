//! AVX2, with and without VNNI.
//!
//! The 16 outputs of a block are two registers. See `avx512.rs`, which works alike, for what VNNI is.

use std::arch::asm;
use std::arch::x86_64::*;

use super::pack::Line;
use super::viterbi::{check, for_code};
use super::{BLOCK, Branches, Dense, Depthwise, Epilogue, Kernel, Segment, check_dense, check_depthwise, groups};
use crate::entropy::TrellisCode;

/// Positions that a tile has at most: 12 of the 16 registers are accumulators; the weights need two more, the input and a product one each.
const TILE: usize = 6;

/// Input that is worked on at a time for all outputs should stay in the second-level cache; in bytes.
const CACHED: usize = 1 << 16;

/// What does not change from tile to tile.
struct Job<'a> {
    layer: &'a Dense,
    input: &'a [Segment<'a>],
    out: *mut i16,
    out_stride: usize,
    epilogue: Epilogue,
}

/// `acc + w[0] * x[0] + w[1] * x[1]` in each 32-bit lane.
#[target_feature(enable = "avx2")]
#[inline]
fn multiply_add(acc: __m256i, weights: __m256i, input: __m256i) -> __m256i {
    _mm256_add_epi32(acc, _mm256_madd_epi16(weights, input))
}

/// The same in one instruction. Not by `_mm256_dpwssd_avx_epi32`: the compiler splits it into the two above where it takes latency for the bottleneck.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
fn multiply_add_vnni(mut acc: __m256i, weights: __m256i, input: __m256i) -> __m256i {
    // SAFETY: the instruction needs AVX-VNNI, which this function does too, and touches nothing but these registers.
    unsafe {
        asm!("{{vex}} vpdpwssd {}, {}, {}", inout(ymm_reg) acc, in(ymm_reg) weights, in(ymm_reg) input, options(pure, nomem, nostack, preserves_flags));
    }
    acc
}

/// R5.4 on 16 numbers.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn gate(a: __m256i, b: __m256i, fraction: u32) -> __m256i {
    let one = _mm256_set1_epi16(1 << fraction);
    let zero = _mm256_setzero_si256();
    let minus_one = _mm256_sub_epi16(zero, one);
    let b = _mm256_max_epi16(_mm256_min_epi16(b, one), minus_one);
    // The instruction is the gate for fraction 15, so `b` is made a number with 15 fractional bits. That makes 1 wrap to -1; then the result is `a`.
    let product = _mm256_mulhrs_epi16(a, _mm256_sll_epi16(b, _mm_cvtsi32_si128(15 - fraction as i32)));
    let product = _mm256_blendv_epi8(product, a, _mm256_cmpeq_epi16(b, one));
    // At -1 the result is `-a`, which must saturate: the instruction wraps -(-32768).
    _mm256_blendv_epi8(product, _mm256_subs_epi16(zero, a), _mm256_cmpeq_epi16(b, minus_one))
}

/// Pairs of states in a register.
const PAIRS: usize = 8;

/// A register's pairs, those of the lanes xor `by`, which is a constant where this is called.
#[target_feature(enable = "avx2")]
#[inline]
fn lanes_by(lanes: __m256i, by: usize) -> __m256i {
    let lanes = match by & 6 {
        4 => _mm256_permute4x64_epi64(lanes, 0x4E),
        6 => _mm256_permute4x64_epi64(lanes, 0x1B),
        2 => _mm256_shuffle_epi32(lanes, 0x4E),
        _ => lanes,
    };
    if by & 1 == 0 { lanes } else { _mm256_shuffle_epi32(lanes, 0xB1) }
}

/// [`Kernel::viterbi`].
///
/// # Safety
/// The slices must have passed [`check`] with the code that the constants are of.
#[target_feature(enable = "avx2")]
unsafe fn find_paths<const BY_STATE: usize, const BY_SYMBOL: usize>(metrics: &mut [i16], branches: &[Branches], decisions: &mut [u8]) {
    let states = metrics.len() / 2;
    let (mut from, mut to) = metrics.split_at_mut(states);
    // Of pairs of even and of odd number, and of what two groups of these leave. Both constants are below half of the states.
    let groups = states / 4 / PAIRS;
    let (across, above) = const { (BY_SYMBOL / 2 / PAIRS, BY_STATE / 2 / (2 * PAIRS)) };
    for (branch, decisions) in branches.iter().zip(decisions.chunks_exact_mut(states / 8)) {
        let costs = branch.map(|cost| i32::from(cost.wrapping_sub(from[0]) as u16));
        let of_symbol = |symbol: usize| _mm256_set1_epi32(costs[symbol] | costs[symbol + 2] << 16);
        let (even_costs, odd_costs) = (of_symbol(0), of_symbol(1));
        let (next, bits) = (to.as_mut_ptr(), decisions.as_mut_ptr());
        // SAFETY: there are a register of metrics and 16 bits for each group, twice as many as there are groups of pairs of one kind.
        let load = |group: usize| unsafe { _mm256_loadu_si256(from.as_ptr().add(group * 2 * PAIRS).cast()) };
        // With the decisions, -1 or 0.
        let better = |here: usize, there: usize| {
            let even = _mm256_add_epi16(load(here), even_costs);
            let odd = _mm256_add_epi16(lanes_by(load(there), BY_SYMBOL / 2 % PAIRS), odd_costs);
            (_mm256_min_epi16(even, odd), _mm256_cmpgt_epi16(even, odd))
        };
        for two in 0..groups / 2 {
            let of_both = |kind: usize| {
                let there = |group: usize| (group ^ across) + if BY_SYMBOL & 1 == 0 { kind * groups } else { groups - kind * groups };
                let [first, second] = [2 * two, 2 * two + 1].map(|group| better(kind * groups + group, there(group)));
                // Two registers are packed by halves; the permutation puts what comes of that in order.
                let taken = _mm256_permute4x64_epi64(_mm256_packs_epi16(first.1, second.1), 0xD8);
                // SAFETY: as above, of two groups.
                unsafe { bits.add((kind * groups + 2 * two) * 2 * PAIRS / 8).cast::<i32>().write_unaligned(_mm256_movemask_epi8(taken)) };
                [first.0, second.0]
            };
            let (even, odd) = (of_both(0), of_both(1));
            // Those of the lower half of the states, and those of the upper one, a group and the next.
            let [low, next_low] = [0, 1].map(|i| _mm256_blend_epi16(even[i], _mm256_slli_epi32(odd[i], 16), 0xAA));
            let (first, second) = if BY_STATE & 1 == 0 { (even, odd) } else { (odd, even) };
            let high = [0, 1].map(|i| lanes_by(_mm256_blend_epi16(_mm256_srli_epi32(first[i], 16), second[i], 0xAA), BY_STATE / 2 % PAIRS));
            let [high, next_high] = if (BY_STATE / 2) & PAIRS == 0 { high } else { [high[1], high[0]] };
            let up = groups / 2 + (two ^ above);
            let sort = |group: usize, low: __m256i, high: __m256i| {
                let (low, high) = (_mm256_castsi256_ps(low), _mm256_castsi256_ps(high));
                let in_order = |x: __m256| _mm256_permute4x64_epi64(_mm256_castps_si256(x), 0xD8);
                // SAFETY: as above.
                let store = |group: usize, metrics: __m256i| unsafe { _mm256_storeu_si256(next.add(group * 2 * PAIRS).cast(), metrics) };
                store(group, in_order(_mm256_shuffle_ps(low, high, 0x88)));
                store(groups + group, in_order(_mm256_shuffle_ps(low, high, 0xDD)));
            };
            sort(two, low, next_low);
            sort(up, high, next_high);
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
                unsafe { $module::dense(&job, positions) }
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

        mod $module {
            use super::*;

            /// # Safety
            /// `job` must have passed [`check_dense`] with this number of positions.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn dense(job: &Job<'_>, positions: usize) {
                let blocks = job.layer.outputs / BLOCK;
                let step = if matches!(job.epilogue, Epilogue::Gate(_)) { 2 } else { 1 };
                let chunk = (CACHED / (2 * job.layer.inputs.max(1))).max(1).next_multiple_of(TILE);
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
            #[target_feature(enable = $features)]
            unsafe fn tile<const POSITIONS: usize>(job: &Job<'_>, first: usize, block: usize) {
                // SAFETY: the blocks exist; the output holds `epilogue.width(outputs)` numbers at `out_stride` times each position.
                unsafe {
                    let mut result = sums::<POSITIONS>(job, first, block);
                    let mut place = job.out.add(first * job.out_stride + block * BLOCK);
                    match job.epilogue {
                        Epilogue::Store => {}
                        Epilogue::Leaky => result = result.map(|result| _mm256_max_epi16(result, _mm256_srai_epi16::<3>(result))),
                        Epilogue::Add => {
                            for (n, result) in result.iter_mut().enumerate() {
                                *result = _mm256_adds_epi16(*result, _mm256_loadu_si256(place.add(n * job.out_stride).cast()));
                            }
                        }
                        Epilogue::Gate(fraction) => {
                            place = job.out.add(first * job.out_stride + block / 2 * BLOCK);
                            let factor = sums::<POSITIONS>(job, first, block + 1);
                            for (result, factor) in result.iter_mut().zip(factor) {
                                *result = gate(*result, factor, fraction);
                            }
                        }
                    }
                    for (n, result) in result.into_iter().enumerate() {
                        _mm256_storeu_si256(place.add(n * job.out_stride).cast(), result);
                    }
                }
            }

            /// The 16 outputs of a block at `POSITIONS` positions.
            ///
            /// # Safety
            /// As for [`tile`].
            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn sums<const POSITIONS: usize>(job: &Job<'_>, first: usize, block: usize) -> [__m256i; POSITIONS] {
                let layer = job.layer;
                let pairs = layer.inputs / 2;
                // SAFETY: biases and shifts are as many as outputs; lines as many as pairs times blocks; the parts of the input hold the pairs.
                unsafe {
                    let bias: *const __m256i = layer.bias.as_ptr().add(block * BLOCK).cast();
                    let shift: *const __m256i = layer.shift.as_ptr().add(block * BLOCK).cast();
                    let mut acc = [[_mm256_loadu_si256(bias), _mm256_loadu_si256(bias.add(1))]; POSITIONS];
                    let mut lines: *const Line = layer.weights.as_ptr().add(block * pairs);
                    for segment in job.input {
                        let mut x = segment.data.as_ptr().add(first * segment.stride);
                        for _ in 0..segment.len / 2 {
                            let w: *const __m256i = lines.cast();
                            let w = [_mm256_load_si256(w), _mm256_load_si256(w.add(1))];
                            for (n, acc) in acc.iter_mut().enumerate() {
                                let x = _mm256_set1_epi32(x.add(n * segment.stride).cast::<i32>().read_unaligned());
                                *acc = [$multiply_add(acc[0], w[0], x), $multiply_add(acc[1], w[1], x)];
                            }
                            x = x.add(2);
                            lines = lines.add(1);
                        }
                    }
                    let shift = [_mm256_loadu_si256(shift), _mm256_loadu_si256(shift.add(1))];
                    acc.map(|acc| {
                        let halves = _mm256_packs_epi32(_mm256_srav_epi32(acc[0], shift[0]), _mm256_srav_epi32(acc[1], shift[1]));
                        _mm256_permute4x64_epi64::<0b11_01_10_00>(halves)
                    })
                }
            }

            /// # Safety
            /// The arguments must have passed [`check_depthwise`].
            #[target_feature(enable = $features)]
            pub(super) unsafe fn depthwise(layer: &Depthwise, rows: [&[i16]; 3], width: usize, out: &mut [i16]) {
                let channels = layer.channels;
                let zero = _mm256_setzero_si256();
                for first in (0..channels).step_by(BLOCK) {
                    // SAFETY: the channels are a multiple of a block.
                    let load = |row: &[i16], column: usize| unsafe { _mm256_loadu_si256(row.as_ptr().add(column * channels + first).cast()) };
                    let weights: [__m256i; 9] = std::array::from_fn(|tap| load(&layer.weights, tap));
                    // The lower and the upper half of each 128-bit lane are expanded to 32 bits apart, as the unpacking instructions do it.
                    let pair = |a, b| [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)];
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
                            let numbers: *const __m256i = numbers.as_ptr().add(first).cast();
                            (_mm256_loadu_si256(numbers), _mm256_loadu_si256(numbers.add(1)))
                        };
                        [_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b)]
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
                                acc[half] = _mm256_srav_epi32(acc[half], shift[half]);
                            }
                            // SAFETY: as above.
                            unsafe {
                                let out = out.as_mut_ptr().add((column - 1) * channels + first);
                                _mm256_storeu_si256(out.cast(), _mm256_packs_epi32(acc[0], acc[1]));
                            }
                        }
                        (left, here, middle, middle_left) = (here, right, middle_right, middle_here);
                    }
                }
            }
        }
    };
}

kernel!(Avx2, "avx2", plain, "avx2", ["avx2"], multiply_add);
kernel!(Avx2Vnni, "avx2vnni", vnni, "avx2,avxvnni", ["avx2", "avxvnni"], multiply_add_vnni);
