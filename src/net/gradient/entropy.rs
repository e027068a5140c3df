//! The context model (R5.14, R5.15) both ways. Hyper-latents stay as they are, so that nothing goes back beyond the hyper features.

use super::{BlockGradient, Transposed, power_of_two};
use crate::Result;
use crate::net::context::{Parameters, by_group, group_outputs, phase_group};
use crate::net::kernels::{Dense, Epilogue, Segment};
use crate::net::records::Reader;
use crate::net::stages::Engine;
use crate::net::{Header, Tensor};

use super::block::BlockTape;

/// Exponent of the derivatives that [`EntropyGradient::backward`] takes: bits per unit of a latent, and bits per scale index.
pub(crate) const RATE_EXPONENT: i32 = 10;

/// The context model's records of `ENTR`, and their transposes.
pub(crate) struct EntropyGradient {
    steps: Vec<StepGradient>,
    trunk: Vec<BlockGradient>,
    /// One layer for each channel group, as in [`crate::net::EntropyNet`].
    params: Vec<Dense>,
    params_back: Vec<Dense>,
    params_rise: i32,
}

/// `adapt` of a step.
struct StepGradient {
    adapt: Dense,
    /// To the context, and what it adds to the exponent; the first step has none.
    back: Option<(Dense, i32)>,
}

/// What [`EntropyGradient::forward`] leaves for the way back.
pub(crate) struct StepTape(Vec<BlockTape>);

impl StepTape {
    pub(crate) fn recycle(self, engine: &Engine) {
        self.0.into_iter().for_each(|tape| tape.recycle(engine));
    }
}

impl EntropyGradient {
    pub(crate) fn read(r: &mut Reader<'_>, h: &Header) -> Result<Self> {
        for channels in [h.nz, h.ce] {
            r.dense(channels, 4 * h.ce)?;
            r.block_record(h.ce)?;
        }
        let step = |k: usize, r: &mut Reader<'_>| {
            let context = if k > 0 { h.m } else { 0 };
            let layer = r.dense(h.ce + context, h.ce)?;
            let back = (context > 0).then(|| {
                let columns: Vec<usize> = (h.ce..h.ce + context).collect();
                let transposed = Transposed::new(&layer.inputs(&columns), |_| 1.0);
                let rise = transposed.natural_rise();
                (transposed.layer(rise).pack(), rise)
            });
            Ok(StepGradient { adapt: layer.pack(), back })
        };
        let steps = (0..4).map(|k| step(k, r)).collect::<Result<_>>()?;
        let trunk = (0..h.n_trunk).map(|_| Ok(BlockGradient::new(&r.block_record(h.ce)?))).collect::<Result<_>>()?;
        let params = r.dense(h.ce, 2 * h.m)?;
        // Means are in units of 2^-y_fraction, scale indices in units of 2^-index_shift.
        let units = [-(h.y_fraction as i32), -(h.index_shift as i32)].map(power_of_two);
        let params_rise = Transposed::new(&params, |output| units[output / h.m]).natural_rise();
        let groups: Vec<_> = (0..4).map(|g| params.outputs(group_outputs(h.m, g))).collect();
        let params_back = groups.iter().map(|layer| Transposed::new(layer, |output| units[output / (h.m / 4)]).layer(params_rise).pack()).collect();
        Ok(Self { steps, trunk, params: groups.iter().map(crate::net::records::Layer::pack).collect(), params_back, params_rise })
    }

    /// As [`crate::net::EntropyNet::step`].
    pub(crate) fn forward(&self, engine: &Engine, step: usize, features: &Tensor, context: &Tensor) -> Result<(Parameters, StepTape)> {
        let parts: &[&Tensor] = if step == 0 { &[features] } else { &[features, context] };
        let mut x = engine.dense(&self.steps[step].adapt, parts, Epilogue::Store)?;
        let mut tapes = Vec::with_capacity(self.trunk.len());
        for block in &self.trunk {
            let (out, tape) = block.forward(engine, x)?;
            x = out;
            tapes.push(tape);
        }
        Ok((by_group(engine, &self.params, step, x)?, StepTape(tapes)))
    }

    /// From the derivatives by the means and by the scale indices of what `step` codes, of [`RATE_EXPONENT`] and in the order of [`Parameters`], to those by the
    /// context, which come with their exponent. The first step has no context.
    pub(crate) fn backward(&self, engine: &Engine, step: usize, tape: &StepTape, g: &Tensor) -> Result<Option<(Tensor, i32)>> {
        let Some((adapt, rise)) = &self.steps[step].back else { return Ok(None) };
        let (len, half, channels) = (g.channels(), g.columns() / 2, adapt.inputs());
        let mut x = engine.tensor(g.rows(), g.columns(), channels)?;
        let row_len = x.row_len();
        engine.pieces(x.data_mut(), row_len, |row, piece| {
            for (parity, input) in g.row(row).chunks_exact(half * len).enumerate() {
                let input = Segment { data: input, stride: len, len };
                let layer = &self.params_back[phase_group(step, row, parity)];
                engine.kernel.dense(layer, &[input], half, &mut piece[parity * channels..], 2 * channels, Epilogue::Store);
            }
        });
        for (block, tape) in self.trunk.iter().zip(&tape.0).rev() {
            x = block.backward(engine, tape, x)?;
        }
        let context = engine.dense(adapt, &[&x], Epilogue::Store)?;
        engine.recycle(x);
        Ok(Some((context, RATE_EXPONENT + self.params_rise + rise)))
    }
}
