//! The entropy network (R5.13 to R5.15) both ways.

use super::block::BlockTape;
use super::{BlockGradient, Transposed, UpGradient};
use crate::Result;
use crate::net::context::{Parameters, by_group, group_outputs, phase_group};
use crate::net::kernels::{Dense, Epilogue, Segment};
use crate::net::records::{Layer, Reader};
use crate::net::stages::Engine;
use crate::net::{Header, Tensor};

/// Exponent of the derivatives that [`EntropyGradient::backward`] takes: bits per unit of a latent, and bits per scale index.
pub(crate) const RATE_EXPONENT: i32 = 10;

/// The records of `ENTR`, and their transposes.
pub(crate) struct EntropyGradient {
    hyper: [(UpGradient, BlockGradient); 2],
    z_shift: u32,
    steps: Vec<StepGradient>,
    trunk: Vec<BlockGradient>,
    /// One layer for each channel group, as in [`crate::net::EntropyNet`].
    params: Vec<Dense>,
    params_back: Vec<Dense>,
    params_rise: i32,
    /// What going back to the hyper features adds to the exponent, at every step.
    features_rise: i32,
}

/// `adapt` of a step.
struct StepGradient {
    adapt: Dense,
    /// To the hyper features.
    features_back: Dense,
    /// To the context, and what it adds to the exponent; the first step has none.
    context_back: Option<(Dense, i32)>,
}

/// What [`EntropyGradient::hyper`] leaves for the way back.
pub(crate) struct HyperTape([BlockTape; 2]);

impl HyperTape {
    pub(crate) fn recycle(self, engine: &Engine) {
        self.0.into_iter().for_each(|tape| tape.recycle(engine));
    }
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
        let mut stage = |inputs: usize| -> Result<_> { Ok((UpGradient::new(&r.dense(inputs, 4 * h.ce)?, h.ce), BlockGradient::new(&r.block_record(h.ce)?))) };
        let hyper = [stage(h.nz)?, stage(h.ce)?];
        let adapt: Vec<Layer> = (0..4).map(|k| r.dense(h.ce + if k > 0 { h.m } else { 0 }, h.ce)).collect::<Result<_>>()?;
        let part = |layer: &Layer, inputs: std::ops::Range<usize>| Transposed::new(&layer.inputs(&inputs.collect::<Vec<_>>()), |_| 0);
        // Derivatives of all steps are added up: there are four.
        let features_rise = part(&adapt[0], 0..h.ce).natural_rise() - 1;
        let step = |layer: &Layer| StepGradient {
            adapt: layer.pack(),
            features_back: part(layer, 0..h.ce).layer(features_rise).pack(),
            context_back: (layer.inputs > h.ce).then(|| {
                let transposed = part(layer, h.ce..layer.inputs);
                let rise = transposed.natural_rise();
                (transposed.layer(rise).pack(), rise)
            }),
        };
        let steps = adapt.iter().map(step).collect();
        let trunk = (0..h.n_trunk).map(|_| Ok(BlockGradient::new(&r.block_record(h.ce)?))).collect::<Result<_>>()?;
        let params = r.dense(h.ce, 2 * h.m)?;
        // Means are in units of 2^-y_fraction, scale indices in units of 2^-index_shift.
        let units = [h.y_fraction, h.index_shift];
        let params_rise = Transposed::new(&params, |output| units[output / h.m]).natural_rise();
        let groups: Vec<_> = (0..4).map(|g| params.outputs(group_outputs(h.m, g))).collect();
        let params_back = groups.iter().map(|layer| Transposed::new(layer, |output| units[output / (h.m / 4)]).layer(params_rise).pack()).collect();
        let params = groups.iter().map(Layer::pack).collect();
        // The context model of z, whose derivatives nobody asks for.
        (0..3).try_for_each(|_| r.dense(h.nz, h.nz).map(drop))?;
        (0..h.n_z).try_for_each(|_| r.block_record(h.nz).map(drop))?;
        r.dense(h.nz, 2 * h.nz)?;
        Ok(Self { hyper, z_shift: h.z_shift, steps, trunk, params, params_back, params_rise, features_rise })
    }

    /// As [`crate::net::EntropyNet::hyper`].
    pub(crate) fn hyper(&self, engine: &Engine, x: Tensor) -> Result<(Tensor, HyperTape)> {
        let [(first_up, first), (second_up, second)] = &self.hyper;
        let (x, first) = first.forward(engine, first_up.forward(engine, x)?)?;
        let (x, second) = second.forward(engine, second_up.forward(engine, x)?)?;
        Ok((x, HyperTape([first, second])))
    }

    /// The exponent of derivatives by the hyper features.
    pub(super) fn features_exponent(&self) -> i32 {
        RATE_EXPONENT + self.params_rise + self.features_rise
    }

    /// From the derivatives by the hyper features that [`EntropyGradient::backward`] has added up, to those by z, with the exponent that they then have.
    pub(crate) fn hyper_backward(&self, engine: &Engine, tape: &HyperTape, g: Tensor) -> Result<(Tensor, i32)> {
        let (mut g, mut exponent) = (g, self.features_exponent() - self.z_shift as i32);
        for ((up, block), tape) in self.hyper.iter().zip(&tape.0).rev() {
            g = up.backward(engine, block.backward(engine, tape, g)?)?;
            exponent += up.rise();
        }
        Ok((g, exponent))
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
    /// context, which come with their exponent. The first step has no context. Those by the hyper features are added to `by_features`.
    pub(crate) fn backward(&self, engine: &Engine, step: usize, tape: &StepTape, g: &Tensor, by_features: &mut Tensor) -> Result<Option<(Tensor, i32)>> {
        let StepGradient { features_back, context_back, .. } = &self.steps[step];
        let (len, half, channels) = (g.channels(), g.columns() / 2, features_back.inputs());
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
        engine.dense_into(features_back, &[&x], by_features, Epilogue::Add);
        let by_context = |(layer, rise): &(Dense, i32)| Ok((engine.dense(layer, &[&x], Epilogue::Store)?, RATE_EXPONENT + self.params_rise + rise));
        let by_context = context_back.as_ref().map(by_context).transpose();
        engine.recycle(x);
        by_context
    }
}
