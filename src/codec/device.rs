//! What computes the transforms.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// What computes analysis and synthesis. The entropy network is always computed natively, so every device reads every file and gets the same latents from it.
///
/// Only [`Device::Native`] gives the pixels that the specification prescribes, and only it makes an encoder write the same file everywhere. The others compute
/// the transforms with ONNX Runtime in floating point: pixels differ a little (`format-spec/SPEC.md`, section 9, says how much).
///
/// ONNX Runtime is looked for when a device needs it: in the file that the environment variable `ORT_DYLIB_PATH` names, beside the executable, in the system's
/// folders, in Python's packages. Version 1.17 is the oldest that can be used. Without the feature `onnx`, all but `Auto`, which is native then, and `Native` are
/// refused with [`Error::Device`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Device {
    /// A graphics processor where ONNX Runtime is found and can use one ([`Device::Cuda`]); [`Device::Native`] otherwise.
    Auto,
    /// The exact integer network on the processor. Needs nothing.
    #[default]
    Native,
    /// ONNX Runtime on the processor.
    OrtCpu,
    /// ONNX Runtime with Intel's OpenVINO on the processor (Python package `onnxruntime-openvino`).
    OpenVino,
    /// ONNX Runtime on an NVIDIA graphics processor (Python package `onnxruntime-gpu`), in 16-bit floats.
    Cuda,
    /// ONNX Runtime with NVIDIA's TensorRT, in 16-bit floats. The first picture takes minutes, while TensorRT compiles the networks; the result is kept in
    /// the user's cache folder.
    TensorRt,
}

impl Device {
    /// Every device.
    pub const ALL: [Self; 6] = [Self::Auto, Self::Native, Self::OrtCpu, Self::OpenVino, Self::Cuda, Self::TensorRt];

    /// The name by which the command line knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::OrtCpu => "ort-cpu",
            Self::OpenVino => "openvino",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|device| device.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Parameter(format!("there is no device {name:?}; there are: {names}"))
        })
    }
}
