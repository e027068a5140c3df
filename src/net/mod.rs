//! The integer networks (SPEC 4 and 5).
//!
//! Each network takes a picture row by row: a [`stages::Stage`] holds back as few rows as its 3x3 layers need, so that memory depends on a picture's width
//! alone and no part is computed twice.

mod analysis;
mod context;
mod gradient;
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
pub(crate) mod kernels;
mod model;
mod records;
pub(crate) mod stages;
mod synthesis;
mod tensor;

use std::sync::OnceLock;

pub(crate) use analysis::{Analysis, AnalysisStages, INPUTS};
pub(crate) use context::{EntropyNet, Parameters, phase_group};
pub(crate) use gradient::{EntropyGradient, RATE_EXPONENT, SynthesisGradient};
pub(crate) use kernels::{Branches, Kernel, place};
pub(crate) use model::{Blocks, Header};
pub use model::{Model, ModelId};
#[cfg(feature = "onnx")]
pub(crate) use records::{BlockRecord, Gain, Layer, QUALITIES};
pub(crate) use records::{Reader, sat16};
pub(crate) use stages::{Engine, SHARED};
pub(crate) use synthesis::{OUTPUTS, Synthesis, SynthesisStages};
pub(crate) use tensor::Tensor;

use crate::{Error, Result};

/// The kernel for this machine, or the one that the environment variable `AEI_KERNEL` names.
pub(crate) fn kernel() -> Result<&'static dyn Kernel> {
    static CHOICE: OnceLock<std::result::Result<&'static dyn Kernel, String>> = OnceLock::new();
    CHOICE.get_or_init(|| kernels::select(std::env::var("AEI_KERNEL").ok().as_deref())).clone().map_err(Error::Parameter)
}

/// Name of the instruction set that the networks run on: the best one of this machine, or the one that the environment variable `AEI_KERNEL` names.
///
/// Where it is `amx`, Linux has been asked for it on behalf of the process, and refuses alternate signal stacks below 12 KB from then on (`sigaltstack`); a process
/// that has such a stack already goes on with `avx512vnni`, and one that will need it can set `AEI_KERNEL=avx512vnni`.
///
/// # Errors
/// [`Error::Parameter`] if `AEI_KERNEL` names one that does not exist or that this machine lacks.
pub fn kernel_name() -> Result<&'static str> {
    kernel().map(Kernel::name)
}

/// Names of the instruction sets that `AEI_KERNEL` can choose on this machine, best first.
///
/// To know that of `amx`, Linux has to be asked for it, with what [`kernel_name`] says of that.
pub fn kernel_names() -> Vec<&'static str> {
    kernels::available().into_iter().map(Kernel::name).collect()
}
