//! Latents to samples (SPEC 5.2).

use super::kernels::Dense;
use super::model::Header;
use super::records::{Block, Gain, Reader, sat16};
use super::stages::{Engine, Stage, Up, push_all};
use super::tensor::Tensor;
use crate::Result;

/// Outputs of the last layer: 8 x 8 pixels of three samples.
pub(crate) const OUTPUTS: usize = 192;

/// The records of `SYNT`.
pub(crate) struct Synthesis {
    gain: Gain,
    head: Dense,
    blocks16: Vec<Block>,
    up: Up,
    first: Vec<Block>,
    middle_gain: Gain,
    second: Vec<Block>,
    last: Dense,
}

impl Synthesis {
    pub(crate) fn read(r: &mut Reader<'_>, h: &Header) -> Result<Self> {
        Ok(Self {
            gain: r.gain(h.m)?,
            head: r.dense(h.m, h.c16)?.pack(),
            blocks16: r.blocks(h.synthesis.n16, h.c16)?,
            up: Up::new(&r.dense(h.c16, 4 * h.c8)?, h.c8),
            first: r.blocks(h.synthesis.n8_first, h.c8)?,
            middle_gain: r.gain(h.c8)?,
            second: r.blocks(h.synthesis.n8_second, h.c8)?,
            last: r.dense(h.c8, OUTPUTS)?.outputs(sample_order()).pack(),
        })
    }

    /// The gain that turns latents of one position, from channel `first` on, into features (R5.9).
    #[inline]
    pub(crate) fn gain(&self, quality: u8, first: usize, y_hat: &[i32]) -> impl Iterator<Item = i16> {
        self.gain.apply(quality, first, y_hat).map(sat16)
    }

    /// Stages that take features after [`Synthesis::gain`] and give [`OUTPUTS`] samples for 8 x 8 pixels: `[row of pixels][pixel][red, green, blue]`.
    pub(crate) fn stages(&self, quality: u8) -> SynthesisStages<'_> {
        let mut stages = vec![Stage::Dense(&self.head)];
        stages.extend(self.blocks16.iter().map(Stage::block));
        stages.push(Stage::Up(&self.up));
        stages.extend(self.first.iter().map(Stage::block));
        stages.push(Stage::Gain(&self.middle_gain, quality));
        stages.extend(self.second.iter().map(Stage::block));
        stages.push(Stage::Dense(&self.last));
        SynthesisStages(stages)
    }
}

/// Outputs of the last layer in the order in which a row of them is a row of pixels of three samples.
pub(super) fn sample_order() -> impl Iterator<Item = usize> + Clone {
    (0..8).flat_map(|i| (0..8).flat_map(move |j| (0..3).map(move |c| (c * 8 + i) * 8 + j)))
}

/// A synthesis under way.
pub(crate) struct SynthesisStages<'n>(Vec<Stage<'n>>);

impl SynthesisStages<'_> {
    /// See [`Stage::push`].
    pub(crate) fn push(&mut self, engine: &Engine, x: Tensor, last: bool) -> Result<Tensor> {
        push_all(&mut self.0, engine, x, last)
    }
}
