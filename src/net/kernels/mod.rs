//! The arithmetic of R5.1 to R5.5, once for each instruction set.
//!
//! Everything the networks compute apart from copies and gains goes through the two operations of [`Kernel`]. Each implementation gives the same bits as
//! [`scalar`]; the tests hold them to it. Accumulators wrap modulo 2^32: R4.1, checked when a model is loaded, excludes overflow, and wrapping makes
//! the result independent of the order of summation whatever the numbers.

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64"))]
#[allow(unsafe_code)]
mod amx;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx512;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
#[allow(unsafe_code)]
mod neon;
mod pack;
mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[allow(unsafe_code)]
mod simd128;
#[cfg(test)]
mod tests;
mod viterbi;

use crate::entropy::TrellisCode;
pub(crate) use pack::{Dense, Depthwise};
pub(crate) use viterbi::{Branches, place};

/// Outputs of a dense layer are packed in blocks of this many.
pub(crate) const BLOCK: usize = 16;

/// What happens to the 16-bit results of a dense layer on their way to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Epilogue {
    /// Stored.
    Store,
    /// R5.3, then stored.
    Leaky,
    /// R5.5: added to what the output holds, with saturation.
    Add,
    /// R5.4 with this fraction, 1 to 14. The layer is one that [`Dense::gate`] packed, and `outputs / 2` numbers are stored.
    Gate(u32),
}

impl Epilogue {
    /// How many numbers are stored at each position of a layer of `outputs` outputs.
    pub(crate) fn width(self, outputs: usize) -> usize {
        if matches!(self, Self::Gate(_)) { outputs / 2 } else { outputs }
    }
}

/// One part of a dense layer's input: the input vector of position `n` is the concatenation, over the parts, of `data[n * stride..][..len]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment<'a> {
    pub(crate) data: &'a [i16],
    /// Distance between two positions.
    pub(crate) stride: usize,
    /// Number of inputs taken from this part, even.
    pub(crate) len: usize,
}

/// One instruction set's implementation. Single-threaded: callers split the positions.
pub(crate) trait Kernel: Send + Sync {
    /// The name by which `AEI_KERNEL` selects it.
    fn name(&self) -> &'static str;

    /// How many positions a call of [`Kernel::dense`] is best given: enough that weights are read seldom, few enough that the inputs stay in the cache.
    fn positions(&self) -> usize {
        96
    }

    /// Bytes that a thread keeps for layers of at most so many inputs.
    fn scratch(&self, _inputs: usize) -> usize {
        0
    }

    /// R5.1 at `positions` positions. Position `n` writes `out[n * out_stride..][..width]`, where `width` is `epilogue.width(outputs)`, at most `out_stride`.
    ///
    /// # Panics
    /// If a slice is too short or the parts' lengths do not add up to the layer's inputs.
    fn dense(&self, layer: &Dense, input: &[Segment<'_>], positions: usize, out: &mut [i16], out_stride: usize, epilogue: Epilogue);

    /// R5.2 for one row of `width` positions: `rows` are the rows above, here and below, `[width][channels]` each (a row of zeros outside the tensor).
    /// Positions left and right of the row are zero.
    ///
    /// # Panics
    /// If a slice is too short.
    fn depthwise(&self, layer: &Depthwise, rows: [&[i16]; 3], width: usize, out: &mut [i16]);

    /// Viterbi's algorithm: from the metrics before the first of some values, for each state the least that leads to it, to those behind the last, and for each value
    /// and state whether an odd symbol led to it. States have their metrics, and `states / 8` bytes of decisions for each value their bits (`p % 8` of byte `p / 8`), at
    /// the [`place`]s `p` that are said there. Behind the metrics is as much room again. Of all metrics that at place 0 is taken before each value; beyond that, sums
    /// must not overflow: `entropy/trellis.rs` sees to it.
    ///
    /// # Panics
    /// If a slice has another length.
    fn viterbi(&self, code: TrellisCode, metrics: &mut [i16], branches: &[Branches], decisions: &mut [u8]) {
        viterbi::advance::<[i16; 8]>(code, metrics, branches, decisions);
    }
}

/// Finds out, once, whether this machine can run a kernel.
type Probe = fn() -> Option<&'static dyn Kernel>;

/// The [`Probe`] of a kernel that has a `new`.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")))]
macro_rules! probe {
    ($kernel:ty) => {{
        fn probe() -> Option<&'static dyn Kernel> {
            static KERNEL: std::sync::LazyLock<Option<$kernel>> = std::sync::LazyLock::new(<$kernel>::new);
            KERNEL.as_ref().map(|kernel| kernel as &dyn Kernel)
        }
        probe
    }};
}

/// The kernels of this architecture by name, the fastest first.
const KERNELS: &[(&str, Probe)] = &[
    #[cfg(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64"))]
    ("amx", probe!(amx::Amx)),
    #[cfg(target_arch = "x86_64")]
    ("avx512vnni", probe!(avx512::Avx512Vnni)),
    #[cfg(target_arch = "x86_64")]
    ("avx512", probe!(avx512::Avx512)),
    #[cfg(target_arch = "x86_64")]
    ("avx2vnni", probe!(avx2::Avx2Vnni)),
    #[cfg(target_arch = "x86_64")]
    ("avx2", probe!(avx2::Avx2)),
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    ("neon", probe!(neon::Neon)),
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    ("simd128", || Some(&simd128::Simd128)),
    ("scalar", || Some(&scalar::Scalar)),
];

/// The kernels that this machine can run, the fastest first.
pub(crate) fn available() -> Vec<&'static dyn Kernel> {
    KERNELS.iter().filter_map(|(_, probe)| probe()).collect()
}

/// The kernel of that name, or the fastest. Others are not looked for, which for AMX would change what the system does for this process.
///
/// # Errors
/// A message for the user if there is no such kernel or this machine cannot run it.
pub(crate) fn select(name: Option<&str>) -> Result<&'static dyn Kernel, String> {
    KERNELS.iter().filter(|(known, _)| name.is_none_or(|name| name == *known)).find_map(|(_, probe)| probe()).ok_or_else(|| {
        let names: Vec<_> = KERNELS.iter().map(|(name, _)| *name).collect();
        format!("this machine has no kernel {:?}; machines of its kind may have: {}", name.unwrap_or_default(), names.join(", "))
    })
}

/// Panics unless the arguments of [`Kernel::dense`] fit together: then every access that its documentation describes is inside the slices.
fn check_dense(layer: &Dense, input: &[Segment<'_>], positions: usize, out: &[i16], out_stride: usize, epilogue: Epilogue) {
    let (inputs, outputs) = (layer.inputs(), layer.outputs());
    let granule = match epilogue {
        Epilogue::Gate(fraction) => {
            assert!((1..=14).contains(&fraction));
            2 * BLOCK
        }
        _ => BLOCK,
    };
    assert!(inputs.is_multiple_of(2) && outputs.is_multiple_of(granule));
    assert_eq!(layer.weights.len(), inputs / 2 * (outputs / BLOCK));
    assert!(layer.bias.len() == outputs && layer.shift.len() == outputs);
    let mut total = 0_usize;
    for segment in input {
        assert!(segment.len.is_multiple_of(2) && fits(positions, segment.stride, segment.len, segment.data.len()), "input too short");
        total = total.checked_add(segment.len).expect("a sum of lengths that are in memory");
    }
    assert_eq!(total, inputs, "the parts are not the layer's input");
    let width = epilogue.width(outputs);
    assert!(width <= out_stride && fits(positions, out_stride, width, out.len()), "output too short");
}

/// Panics unless the arguments of [`Kernel::depthwise`] fit together.
fn check_depthwise(layer: &Depthwise, rows: [&[i16]; 3], width: usize, out: &[i16]) {
    let channels = layer.channels();
    assert!(channels.is_multiple_of(BLOCK) && layer.weights.len() == 9 * channels);
    assert!(layer.bias.len() == channels && layer.shift.len() == channels);
    let len = channels.checked_mul(width).expect("a row that is in memory");
    assert!(rows.iter().all(|row| row.len() >= len) && out.len() >= len, "row too short");
}

/// Whether `available` numbers hold `positions` vectors of `len` numbers, `stride` apart.
fn fits(positions: usize, stride: usize, len: usize, available: usize) -> bool {
    let Some(last) = positions.checked_sub(1) else { return true };
    last.checked_mul(stride).and_then(|start| start.checked_add(len)).is_some_and(|end| end <= available)
}

/// Cuts `positions` into as few groups as possible of at most `most`, which differ by at most 1, and calls `body` with the first position and size of each.
/// (A full group and a small rest would cost more: a small group uses a weight too rarely for its load.)
#[inline(always)]
fn groups(positions: std::ops::Range<usize>, most: usize, mut body: impl FnMut(usize, usize)) {
    let mut first = positions.start;
    for left in (1..=positions.len().div_ceil(most)).rev() {
        let size = (positions.end - first).div_ceil(left);
        body(first, size);
        first += size;
    }
}
