//! AMX with 8-bit integers: the matrix unit of Intel's server processors since Sapphire Rapids. On Linux, which hands it out on request.
//!
//! The unit multiplies bytes. With `x = 256 x' + x''` and `w = 256 w' + w''`, where `x'` and `w'` are signed bytes and `x''` and `w''` unsigned ones,
//! `x w = 65536 x' w' + 256 (x' w'' + x'' w') + x'' w''`: four products of bytes for one of 16 bits, of each of which the unit does 16 times as many at a time as
//! AVX-512 does of 16 bits. Sums wrap modulo 2^32 as everywhere, so the result is the same. Left to AVX-512 are a few positions that are not worth a tile, and inputs
//! whose parts do not fill rows of tiles.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use super::avx512::{Job, find_paths, store, store_gated, vnni};
use super::viterbi::{check, for_code};
use super::{BLOCK, Branches, Dense, Depthwise, Epilogue, Kernel, Segment, check_dense, check_depthwise};
use crate::entropy::TrellisCode;

/// Positions and outputs of a tile of sums, and rows of any tile.
const ROWS: usize = 16;

/// Inputs in a row of a tile.
const INPUTS: usize = 64;

/// Fewer positions than this are faster with AVX-512, which does a quarter of the products at a time.
const FEWEST: usize = 5;

/// Input that is worked on at a time for all outputs, in bytes.
const CACHED: usize = 1 << 17;

/// A row of a tile.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Row([u8; 64]);

type Tile = [Row; ROWS];

const ZERO: Tile = [Row([0; 64]); ROWS];

/// The tiles of 64 inputs, upper and lower bytes: of 16 positions, a position in a row; or of 16 outputs, four inputs in a row, `[output][input]`.
///
/// The inputs are in the order in which AVX-512 packs two registers: eight from the first 32, eight from the second, and so on.
type Bytes = [Tile; 2];

/// Memory that a thread keeps for its calls.
#[derive(Default)]
struct Scratch {
    /// `[group of 16 positions][64 inputs]`
    input: Vec<Bytes>,
    /// `[block][64 inputs]`, of two blocks.
    weights: Vec<Bytes>,
}

impl Scratch {
    /// Makes room. None if there is no memory.
    fn reserve(&mut self, input: usize, weights: usize) -> Option<()> {
        for (tiles, len) in [(&mut self.input, input), (&mut self.weights, weights)] {
            tiles.try_reserve_exact(len.saturating_sub(tiles.len())).ok()?;
            tiles.resize(len.max(tiles.len()), [ZERO; 2]);
        }
        Some(())
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Exists only where the processor has what it needs, and the system lets this process use it.
pub(super) struct Amx(());

impl Amx {
    pub(super) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && has_amx_int8()
            && permitted())
        .then_some(Self(()))
    }
}

/// Whether the processor has AMX with 8-bit integers and tiles as large as ours. (The standard library's detection of it is not stable yet.)
fn has_amx_int8() -> bool {
    #[allow(unused_unsafe)] // the standard library has made these functions safe later than in Rust 1.89
    // SAFETY: every processor with AVX-512, which is looked for first, has the instruction.
    let (most, features, palette) = unsafe { (__cpuid(0).eax, __cpuid_count(7, 0), __cpuid_count(0x1D, 1)) };
    if most < 0x1D {
        return false;
    }
    let (bytes_per_row, registers, rows) = (palette.ebx & 0xFFFF, palette.ebx >> 16, palette.ecx & 0xFFFF);
    features.edx >> 24 & 3 == 3 && bytes_per_row >= 64 && registers >= 8 && rows >= ROWS as u32
}

/// Asks Linux for the tiles, for the whole process; without that, their first use would end it. Their contents are saved where a signal interrupts, so from then on
/// Linux refuses alternate signal stacks below 12 KB; and it refuses the tiles to a process that has such a stack already.
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: a system call that reads and writes no memory of the process. Systems without it answer with an error.
    unsafe {
        asm!("syscall", inout("rax") result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA, out("rcx") _, out("r11") _, options(nostack));
    }
    result == 0
}

impl Kernel for Amx {
    fn name(&self) -> &'static str {
        "amx"
    }

    /// More than others: the weights are cut into bytes at each call.
    fn positions(&self) -> usize {
        256
    }

    fn scratch(&self, inputs: usize) -> usize {
        let depth = inputs.div_ceil(INPUTS) * size_of::<Bytes>();
        CACHED.max(depth) + 2 * depth
    }

    fn dense(&self, layer: &Dense, input: &[Segment<'_>], positions: usize, out: &mut [i16], out_stride: usize, epilogue: Epilogue) {
        check_dense(layer, input, positions, out, out_stride, epilogue);
        let job = Job { layer, input, out: out.as_mut_ptr(), out_stride, epilogue };
        // Parts that do not fill rows of tiles are not put together here, which no network of today needs.
        let fits = layer.inputs > 0 && input[..input.len() - 1].iter().all(|part| part.len.is_multiple_of(INPUTS));
        let tiled = if fits && positions % ROWS < FEWEST { positions / ROWS * ROWS } else { positions * usize::from(fits) };
        // A thread that ends may have given its memory back, and still have something to compute.
        let done = SCRATCH.try_with(|scratch| {
            let mut scratch = scratch.try_borrow_mut().ok()?;
            // SAFETY: `self` exists, so the processor has the features and the process the permission. The sizes have just been checked.
            unsafe { dense(&job, tiled, &mut scratch) }
        });
        let rest = if done == Ok(Some(())) { tiled..positions } else { 0..positions };
        // SAFETY: as above.
        unsafe { vnni::dense(&job, rest) }
    }

    fn depthwise(&self, layer: &Depthwise, rows: [&[i16]; 3], width: usize, out: &mut [i16]) {
        check_depthwise(layer, rows, width, out);
        // SAFETY: as above.
        unsafe { vnni::depthwise(layer, rows, width, out) }
    }

    fn viterbi(&self, code: TrellisCode, metrics: &mut [i16], branches: &[Branches], decisions: &mut [u8]) {
        check(code, metrics, branches, decisions);
        // SAFETY: `self` exists, so the processor has the features. The sizes have just been checked.
        unsafe { for_code!(code, find_paths(metrics, branches, decisions)) }
    }
}

/// All outputs at the first positions. None, and nothing is done, if there is no memory.
///
/// # Safety
/// [`Amx`] must exist. `job` must have passed [`check_dense`] with `positions` positions or more, and all its parts but the last be of multiples of 64 inputs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn dense(job: &Job<'_>, positions: usize, scratch: &mut Scratch) -> Option<()> {
    let layer = job.layer;
    let depth = layer.inputs.div_ceil(INPUTS);
    let chunk = (CACHED / (2 * INPUTS * depth.max(1)) / ROWS).max(1) * ROWS;
    let groups = chunk.min(positions).div_ceil(ROWS);
    if groups == 0 {
        return Some(());
    }
    scratch.reserve(groups * depth, 2 * depth)?;
    let (input, weights) = (&mut scratch.input[..groups * depth], &mut scratch.weights[..2 * depth]);
    // SAFETY: `Amx` exists, and this thread works on one layer at a time.
    let tiles = unsafe { Tiles::configure() };
    let mut sums = [const { Sums([ZERO; 4]) }; 2];
    for start in (0..positions).step_by(chunk) {
        let chunk = start..positions.min(start + chunk);
        // SAFETY: the positions exist, and all parts but the last are of multiples of 64 inputs.
        unsafe { split_input(job.input, chunk.clone(), input, depth) };
        for block in (0..layer.outputs / BLOCK).step_by(2) {
            let blocks = (layer.outputs / BLOCK - block).min(2);
            for b in 0..blocks {
                split_weights(layer, block + b, &mut weights[b * depth..][..depth]);
            }
            for (group, input) in input.chunks_exact(depth).enumerate() {
                let first = chunk.start + group * ROWS;
                if first >= chunk.end {
                    break;
                }
                let at = first..chunk.end.min(first + ROWS);
                // SAFETY: the positions and blocks exist; a gate's blocks are even in number.
                unsafe {
                    for (weights, sums) in weights.chunks_exact(depth).zip(&mut sums[..blocks]) {
                        tiles.multiply(input, weights, sums);
                    }
                    if blocks == 2 { finish::<2>(job, at, block, &sums) } else { finish::<1>(job, at, block, &sums) }
                }
            }
        }
    }
    Some(())
}

/// Bytes of the inputs at `positions`, `[group of 16 positions][64 inputs]` of `depth` times 64. What is left of the last group's tiles stays as it was.
///
/// # Safety
/// The parts must have these positions, and all but the last be of multiples of 64 inputs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn split_input(parts: &[Segment<'_>], positions: Range<usize>, to: &mut [Bytes], depth: usize) {
    let mut column = 0;
    for part in parts {
        for start in (0..part.len).step_by(INPUTS) {
            let left = part.len - start;
            let mask = |from: usize| !(u32::MAX).checked_shl(left.saturating_sub(from).min(32) as u32).unwrap_or(0);
            let (low_mask, high_mask) = (mask(0), mask(32));
            for (n, position) in positions.clone().enumerate() {
                // SAFETY: the masks leave out what is not there.
                let (a, b) = unsafe {
                    let x = part.data.as_ptr().add(position * part.stride + start);
                    (_mm512_maskz_loadu_epi16(low_mask, x), _mm512_maskz_loadu_epi16(high_mask, x.wrapping_add(32)))
                };
                let [upper, lower] = split(a, b);
                let tiles = &mut to[n / ROWS * depth + column];
                set(&mut tiles[0][n % ROWS], upper);
                set(&mut tiles[1][n % ROWS], lower);
            }
            column += 1;
        }
    }
}

/// Upper and lower bytes of 64 numbers, in the order of [`Bytes`].
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn split(a: __m512i, b: __m512i) -> [__m512i; 2] {
    let low = _mm512_set1_epi16(0xFF);
    [_mm512_packs_epi16(_mm512_srai_epi16::<8>(a), _mm512_srai_epi16::<8>(b)), _mm512_packus_epi16(_mm512_and_si512(a, low), _mm512_and_si512(b, low))]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn set(row: &mut Row, bytes: __m512i) {
    // SAFETY: a row is as large as the register and aligned to its size.
    unsafe { _mm512_store_si512((&raw mut *row).cast(), bytes) }
}

/// Bytes of a block's weights, zero behind the last input.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn split_weights(layer: &Dense, block: usize, to: &mut [Bytes]) {
    let pairs = layer.inputs / 2;
    let lines = &layer.weights[block * pairs..][..pairs];
    // A line is `[output][input of pair]` of 16 bits. Of two lines, the upper (or lower) bytes are put together output by output.
    let places = [_mm512_set4_epi32(0x0F0D_0F0D, 0x0B09_0B09, 0x0705_0705, 0x0301_0301), _mm512_set4_epi32(0x0E0C_0E0C, 0x0A08_0A08, 0x0604_0604, 0x0200_0200)];
    for (k, tiles) in to.iter_mut().enumerate() {
        for row in 0..ROWS {
            // Rows in the order of the inputs: eight of the first 32, eight of the second, and so on.
            let pair = k * (INPUTS / 2) + row / 4 * 4 + row % 4 / 2 * (INPUTS / 4) + row % 2 * 2;
            let line = |pair: usize| match lines.get(pair) {
                // SAFETY: a line is as large as the register and aligned to its size.
                Some(line) => unsafe { _mm512_load_si512((&raw const *line).cast()) },
                None => _mm512_setzero_si512(),
            };
            let (a, b) = (line(pair), line(pair + 1));
            for (tile, places) in tiles.iter_mut().zip(places) {
                let both = _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(a, places), 0xCCCC_CCCC_CCCC_CCCC, b, places);
                set(&mut tile[row], both);
            }
        }
    }
}

/// The four sums of products of bytes for 16 positions and 16 outputs, `[position][output]` of 32 bits each: upper by upper bytes, upper bytes of the input by
/// lower ones of the weights, lower by upper, lower by lower.
struct Sums([Tile; 4]);

/// The tile registers of this thread, from when they are configured until they are given back.
struct Tiles(PhantomData<*mut ()>);

impl Tiles {
    /// All eight of 16 rows of 64 bytes.
    ///
    /// # Safety
    /// [`Amx`] must exist, and no other `Tiles` on this thread.
    unsafe fn configure() -> Self {
        #[repr(C, align(64))]
        struct Configuration {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            bytes_per_row: [u16; 16],
            rows: [u8; 16],
        }
        let mut configuration = Configuration { palette: 1, start_row: 0, reserved: [0; 14], bytes_per_row: [0; 16], rows: [0; 16] };
        configuration.bytes_per_row[..8].fill(64);
        configuration.rows[..8].fill(ROWS as u8);
        // SAFETY: 64 bytes that are a valid configuration. The processor has the instruction.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly, preserves_flags)) };
        Self(PhantomData)
    }

    /// Sums over all inputs.
    #[inline]
    fn multiply(&self, input: &[Bytes], weights: &[Bytes], sums: &mut Sums) {
        assert!(input.len() == weights.len() && !input.is_empty());
        // SAFETY: the tiles are configured while `self` exists. The loop reads as many pairs of tiles as both slices have, and writes the four tiles of `sums`.
        // Nothing else uses the tile registers, so none has to live beyond this.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{x} + {stride}]",
                "tileloadd tmm6, [{w} + {stride}]",
                "tdpbssd tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{w} + {stride} + 1024]",
                "tdpbsud tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{x} + {stride} + 1024]",
                "tdpbusd tmm2, tmm5, tmm6",
                "tdpbuud tmm3, tmm5, tmm7",
                "add {x}, 2048",
                "add {w}, 2048",
                "dec {left}",
                "jnz 2b",
                "tilestored [{sums} + {stride}], tmm0",
                "tilestored [{sums} + {stride} + 1024], tmm1",
                "tilestored [{sums} + {stride} + 2048], tmm2",
                "tilestored [{sums} + {stride} + 3072], tmm3",
                x = inout(reg) input.as_ptr() => _,
                w = inout(reg) weights.as_ptr() => _,
                left = inout(reg) input.len() => _,
                stride = in(reg) 64_usize,
                sums = in(reg) &raw mut *sums,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the registers are not in use. The processor has the instruction.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// Puts the sums of `BLOCKS` blocks at up to 16 positions together, and stores the results.
///
/// # Safety
/// `job` must have passed [`check_dense`] with `positions.end` positions or more, and the layer must have `block + BLOCKS` blocks or more, for a gate two of them.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn finish<const BLOCKS: usize>(job: &Job<'_>, positions: Range<usize>, block: usize, sums: &[Sums; 2]) {
    let layer = job.layer;
    // SAFETY: biases and shifts are as many as outputs; a tile has as many rows as there are positions or more; the output holds `epilogue.width(outputs)`
    // numbers at `out_stride` times each position.
    unsafe {
        let numbers = |of: &[i32]| -> [__m512i; BLOCKS] { std::array::from_fn(|b| _mm512_loadu_epi32(of.as_ptr().add((block + b) * BLOCK))) };
        let (bias, shift) = (numbers(&layer.bias), numbers(&layer.shift));
        let out = job.out.add(positions.start * job.out_stride + job.epilogue.width(block * BLOCK));
        for n in 0..positions.len() {
            let sums: [__m512i; BLOCKS] = std::array::from_fn(|b| {
                let [upper, middle, also_middle, lower] = std::array::from_fn(|k| _mm512_load_si512((&raw const sums[b].0[k][n]).cast()));
                let middle = _mm512_slli_epi32::<8>(_mm512_add_epi32(middle, also_middle));
                let sum = _mm512_add_epi32(_mm512_add_epi32(bias[b], lower), _mm512_add_epi32(middle, _mm512_slli_epi32::<16>(upper)));
                _mm512_srav_epi32(sum, shift[b])
            });
            let (sums, out) = ([sums[0], sums[BLOCKS - 1]], out.add(n * job.out_stride));
            match job.epilogue {
                Epilogue::Gate(fraction) => store_gated(sums, out, fraction),
                epilogue => store::<BLOCKS>(sums, out, epilogue),
            }
        }
    }
}
