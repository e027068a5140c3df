//! The synthesis (R5.9 to R5.11) both ways.

use super::{BlockGradient, BlockTape, Linear, UpGradient};
use crate::Result;
use crate::net::kernels::{Dense, Epilogue};
use crate::net::records::{Gain, Reader, sat16};
use crate::net::stages::Engine;
use crate::net::synthesis::sample_order;
use crate::net::{Header, OUTPUTS, Tensor};

/// The records of `SYNT`, and their transposes.
pub(crate) struct SynthesisGradient {
    gain: Gain,
    head: Linear,
    blocks16: Vec<BlockGradient>,
    up: UpGradient,
    first: Vec<BlockGradient>,
    middle_gain: Gain,
    second: Vec<BlockGradient>,
    last: Linear,
    /// What going backwards adds to the exponent.
    rise: i32,
}

/// What [`SynthesisGradient::forward`] leaves for the way back.
pub(crate) struct SynthesisTape(Vec<BlockTape>);

impl SynthesisTape {
    pub(crate) fn recycle(self, engine: &Engine) {
        self.0.into_iter().for_each(|tape| tape.recycle(engine));
    }
}

impl SynthesisGradient {
    pub(crate) fn read(r: &mut Reader<'_>, h: &Header) -> Result<Self> {
        let gain = r.gain(h.m)?;
        let head = Linear::new(&r.dense(h.m, h.c16)?);
        let blocks16 = blocks(r, h.synthesis.n16, h.c16)?;
        let up = UpGradient::new(&r.dense(h.c16, 4 * h.c8)?, h.c8);
        let first = blocks(r, h.synthesis.n8_first, h.c8)?;
        let middle_gain = r.gain(h.c8)?;
        let second = blocks(r, h.synthesis.n8_second, h.c8)?;
        let last = Linear::new(&r.dense(h.c8, OUTPUTS)?.outputs(sample_order()));
        Ok(Self { rise: head.rise + up.rise() + last.rise, gain, head, blocks16, up, first, middle_gain, second, last })
    }

    /// The features for latents of one position, of all channels, in units of `2^-y_fraction` (R5.9).
    #[inline]
    pub(crate) fn features(&self, quality: u8, y_hat: &[i32]) -> impl Iterator<Item = i16> {
        self.gain.apply(quality, 0, y_hat).map(sat16)
    }

    /// What a feature changes by with a unit of each channel's latent, in units of `2^-shift`, and the shift.
    pub(crate) fn slopes(&self, quality: u8) -> (&[u32], u32) {
        (&self.gain.values[usize::from(quality) * self.gain.channels..][..self.gain.channels], self.gain.shift)
    }

    /// Features to [`OUTPUTS`] samples for 8 x 8 pixels, as [`crate::net::Synthesis::stages`] gives them.
    pub(crate) fn forward(&self, engine: &Engine, quality: u8, x: Tensor) -> Result<(Tensor, SynthesisTape)> {
        let mut tapes = Vec::with_capacity(self.blocks16.len() + self.first.len() + self.second.len());
        let mut run = |blocks: &[BlockGradient], x: Tensor| {
            blocks.iter().try_fold(x, |x, block| {
                let (x, tape) = block.forward(engine, x)?;
                tapes.push(tape);
                Ok::<_, crate::Error>(x)
            })
        };
        let x = dense(engine, &self.head.forward, x)?;
        let x = run(&self.blocks16, x)?;
        let x = self.up.forward(engine, x)?;
        let mut x = run(&self.first, x)?;
        engine.gain(&self.middle_gain, quality, &mut x);
        let x = run(&self.second, x)?;
        Ok((dense(engine, &self.last.forward, x)?, SynthesisTape(tapes)))
    }

    /// Derivatives by the samples to those by the features, with [`SynthesisGradient::rise`] added to the exponent.
    pub(crate) fn backward(&self, engine: &Engine, quality: u8, tape: &SynthesisTape, g: Tensor) -> Result<Tensor> {
        let mut tapes = tape.0.iter().rev();
        let mut run = |blocks: &[BlockGradient], g: Tensor| blocks.iter().rev().zip(&mut tapes).try_fold(g, |g, (block, tape)| block.backward(engine, tape, g));
        let g = dense(engine, &self.last.backward, g)?;
        let mut g = run(&self.second, g)?;
        engine.gain(&self.middle_gain, quality, &mut g);
        let g = run(&self.first, g)?;
        let g = self.up.backward(engine, g)?;
        let g = run(&self.blocks16, g)?;
        dense(engine, &self.head.backward, g)
    }

    /// What [`SynthesisGradient::backward`] adds to the exponent.
    pub(crate) fn rise(&self) -> i32 {
        self.rise
    }
}

fn blocks(r: &mut Reader<'_>, count: u8, channels: usize) -> Result<Vec<BlockGradient>> {
    (0..count).map(|_| Ok(BlockGradient::new(&r.block_record(channels)?))).collect()
}

fn dense(engine: &Engine, layer: &Dense, x: Tensor) -> Result<Tensor> {
    let out = engine.dense(layer, &[&x], Epilogue::Store)?;
    engine.recycle(x);
    Ok(out)
}
