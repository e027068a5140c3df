//! Samples to latents (SPEC 6), and latents to hyper-latents.

use super::kernels::Dense;
use super::model::{EncoderHeader, Header};
use super::records::{Block, Gain, Reader};
use super::stages::{Engine, Stage, pack_down, push_all};
use super::tensor::Tensor;
use crate::Result;

/// Inputs of the first layer: 8 x 8 pixels of three samples.
pub(crate) const INPUTS: usize = 192;

/// The networks of `enco`.
pub(crate) struct Analysis {
    stem: Dense,
    first: Vec<Block>,
    middle_gain: Gain,
    second: Vec<Block>,
    down: Dense,
    blocks16: Vec<Block>,
    tail: Dense,
    gain: Gain,
    hyper_head: Dense,
    hyper_blocks: [Block; 2],
    hyper_down: [Dense; 2],
}

impl Analysis {
    pub(crate) fn read(r: &mut Reader<'_>, h: &Header, encoder: &EncoderHeader) -> Result<Self> {
        let order: Vec<usize> = (0..8).flat_map(|i| (0..8).flat_map(move |j| (0..3).map(move |c| (c * 8 + i) * 8 + j))).collect();
        let stem = r.dense(INPUTS, h.c8)?.inputs(&order).pack();
        let first = r.blocks(encoder.analysis.n8_first, h.c8)?;
        let middle_gain = r.gain(h.c8)?;
        let second = r.blocks(encoder.analysis.n8_second, h.c8)?;
        let down = pack_down(&r.dense(4 * h.c8, h.c16)?, h.c8);
        let blocks16 = r.blocks(encoder.analysis.n16, h.c16)?;
        let tail = r.dense(h.c16, h.m)?.pack();
        let gain = r.gain(h.m)?;
        let hyper_head = r.dense(h.m, h.ce)?.pack();
        let block = r.block(h.ce)?;
        let hyper_down = pack_down(&r.dense(4 * h.ce, h.ce)?, h.ce);
        let hyper_blocks = [block, r.block(h.ce)?];
        let hyper_down = [hyper_down, pack_down(&r.dense(4 * h.ce, h.nz)?, h.ce)];
        Ok(Self { stem, first, middle_gain, second, down, blocks16, tail, gain, hyper_head, hyper_blocks, hyper_down })
    }

    /// Stages that take [`INPUTS`] samples for 8 x 8 pixels, `[row of pixels][pixel][red, green, blue]`, and give the features that [`Analysis::gain`] turns
    /// into latents.
    pub(crate) fn stages(&self, quality: u8) -> AnalysisStages<'_> {
        let AnalysisStages(mut stages) = self.front();
        stages.extend(self.back(quality).0);
        AnalysisStages(stages)
    }

    /// The stages before the first gain, which are the same for every quality.
    pub(crate) fn front(&self) -> AnalysisStages<'_> {
        let mut stages = vec![Stage::Dense(&self.stem)];
        stages.extend(self.first.iter().map(Stage::block));
        AnalysisStages(stages)
    }

    /// The stages that take what [`Analysis::front`] gives.
    pub(crate) fn back(&self, quality: u8) -> AnalysisStages<'_> {
        let mut stages = vec![Stage::Gain(&self.middle_gain, quality)];
        stages.extend(self.second.iter().map(Stage::block));
        stages.push(Stage::down(&self.down));
        stages.extend(self.blocks16.iter().map(Stage::block));
        stages.push(Stage::Dense(&self.tail));
        AnalysisStages(stages)
    }

    /// The latents y of one position, in units of `2^-y_input_fraction`.
    #[inline]
    pub(crate) fn gain(&self, quality: u8, features: &[i16]) -> impl Iterator<Item = i32> {
        // A feature of 16 bits times a gain of 24, shifted: within 39 bits, and an encoder may choose what it writes.
        self.gain.apply(quality, 0, features).map(|y| y.clamp(-(1 << 26), 1 << 26) as i32)
    }

    /// The hyper-latents of a whole tile, before rounding, from its latents in units of `2^-y_fraction`.
    pub(crate) fn hyper(&self, engine: &Engine, y: Tensor) -> Result<Tensor> {
        let mut stages = [
            Stage::Dense(&self.hyper_head),
            Stage::block(&self.hyper_blocks[0]),
            Stage::down(&self.hyper_down[0]),
            Stage::block(&self.hyper_blocks[1]),
            Stage::down(&self.hyper_down[1]),
        ];
        push_all(&mut stages, engine, y, true)
    }
}

/// An analysis under way.
pub(crate) struct AnalysisStages<'n>(Vec<Stage<'n>>);

impl AnalysisStages<'_> {
    /// See [`Stage::push`].
    pub(crate) fn push(&mut self, engine: &Engine, x: Tensor, last: bool) -> Result<Tensor> {
        push_all(&mut self.0, engine, x, last)
    }
}
