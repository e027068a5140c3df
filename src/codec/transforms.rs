//! The one place where the codec chooses what computes its transforms.

use std::sync::Arc;

use super::Device;
use crate::Result;
use crate::net::{AnalysisStages, Engine, Model, SynthesisStages, Tensor};
#[cfg(feature = "onnx")]
use crate::onnx::{Chain, Direction, Windows};

/// Gets a line for the user when the work goes on in another way than asked for.
pub(super) type Warn = Option<Arc<dyn Fn(&str) + Send + Sync>>;

/// A transform under way.
pub(super) trait Stages: Send + Sync {
    /// Takes the next rows, possibly none, and gives those that are finished, possibly none. `last` says that nothing follows.
    fn push(&mut self, engine: &Engine, x: Tensor, last: bool) -> Result<Tensor>;
}

impl Stages for SynthesisStages<'_> {
    fn push(&mut self, engine: &Engine, x: Tensor, last: bool) -> Result<Tensor> {
        self.push(engine, x, last)
    }
}

impl Stages for AnalysisStages<'_> {
    fn push(&mut self, engine: &Engine, x: Tensor, last: bool) -> Result<Tensor> {
        self.push(engine, x, last)
    }
}

#[cfg(feature = "onnx")]
impl Stages for Windows<'_> {
    fn push(&mut self, engine: &Engine, x: Tensor, _: bool) -> Result<Tensor> {
        self.push(engine, x)
    }
}

/// A device, and whom to tell when it fails.
#[derive(Clone, Default)]
pub(super) struct Transforms {
    pub(super) device: Device,
    pub(super) warn: Warn,
}

impl Transforms {
    /// A synthesis of `rows x columns` latents. It takes features after the gain and gives cells, as [`crate::net::Synthesis::stages`] does.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device cannot be used; the model's errors.
    pub(super) fn synthesis<'m>(&self, model: &'m Model, quality: u8, rows: usize, columns: usize) -> Result<Box<dyn Stages + 'm>> {
        self.check_built()?;
        #[cfg(feature = "onnx")]
        if let Some(chain) = self.chain() {
            return Ok(Box::new(Windows::new(chain, model, Direction::Synthesis, quality, rows, columns)?));
        }
        let _ = (rows, columns);
        Ok(Box::new(model.synthesis()?.stages(quality)))
    }

    /// An analysis of `rows x columns` latents. It takes cells and gives features before the gain, as [`crate::net::Analysis::stages`] does.
    ///
    /// # Errors
    /// As [`Transforms::synthesis`].
    pub(super) fn analysis<'m>(&self, model: &'m Model, quality: u8, rows: usize, columns: usize) -> Result<Box<dyn Stages + 'm>> {
        self.check_built()?;
        #[cfg(feature = "onnx")]
        if let Some(chain) = self.chain() {
            return Ok(Box::new(Windows::new(chain, model, Direction::Analysis, quality, rows, columns)?));
        }
        let _ = (rows, columns);
        Ok(Box::new(model.analysis()?.stages(quality)))
    }

    /// Bytes that the transforms of so many latents need beyond those of the native ones.
    pub(super) fn memory(&self, model: &Model, rows: usize, columns: usize) -> u64 {
        #[cfg(feature = "onnx")]
        return crate::onnx::memory(model, self.device, rows, columns);
        #[cfg(not(feature = "onnx"))]
        {
            let _ = (model, rows, columns);
            0
        }
    }

    /// The devices to try; none for the native network alone.
    #[cfg(feature = "onnx")]
    fn chain(&self) -> Option<Chain> {
        let chain = Some(self.device).filter(|device| *device != Device::Native).map(|device| Chain::new(device, self.warn.clone()))?;
        (chain.device() != Device::Native).then_some(chain)
    }

    /// Without ONNX Runtime, `auto` is native.
    fn check_built(&self) -> Result<()> {
        #[cfg(not(feature = "onnx"))]
        if !matches!(self.device, Device::Native | Device::Auto) {
            return Err(crate::Error::Device(format!("this aei is built without the feature \"onnx\", which {} needs", self.device)));
        }
        Ok(())
    }
}
