//! The transforms through ONNX Runtime, in floating point: for speed, never for the format.
//!
//! The graphs are made from the integers of the model file when a device is first used ([`graph`]), so there are no files that could be missing or belong to
//! another model. ONNX Runtime itself is a library that is looked for at run time ([`library`]). The rest of the crate sees [`Windows`], which takes and gives
//! rows as the native stages do; whatever it computes, the symbols of a file come from the integer entropy network alone.

mod chain;
mod graph;
mod library;
mod proto;
mod providers;
mod session;
mod windows;

pub(crate) use chain::Chain;
pub(crate) use graph::Direction;
pub use library::{Library, libraries};
pub(crate) use windows::{Windows, memory};

use crate::{Device, Error, Model, Result};

/// Finds out whether `device` can be used in this process, by computing something small on it. Gives the ONNX Runtime that it takes; none for the native one.
///
/// # Errors
/// [`Error::Device`] says what is missing, and how to get it.
pub fn check_device(device: Device) -> Result<Option<Library>> {
    match device {
        Device::Native => Ok(None),
        Device::Auto => check_device(Device::Cuda).or(Ok(None)),
        device => session::check(device, &*Model::embedded()?).map(|library| Some(library.clone())).map_err(Error::from),
    }
}

/// The transforms of a model as two ONNX files, for use outside of this crate: analysis, which takes `pixels` (uint8, `[n, 3, height, width]`, sides multiples
/// of 64), and synthesis, which takes `y_hat` (float, `[n, m, height / 16, width / 16]`, in units of which the integers of a file are `2^y_fraction` parts); both take `quality` (int64, one index, 0 to 63)
/// and give what the other one takes, `y` being not rounded.
///
/// # Errors
/// [`Error::Unsupported`] if the model holds no analysis.
pub fn export_onnx(model: &Model) -> Result<[Vec<u8>; 2]> {
    Ok([graph::build(model, Direction::Analysis, graph::Form::Public)?, graph::build(model, Direction::Synthesis, graph::Form::Public)?])
}

#[cfg(test)]
mod tests;
