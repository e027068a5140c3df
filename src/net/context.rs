//! The entropy network: hyper-synthesis, and the context models of y and of z, of four steps each (SPEC 5.3 to 5.5).

use super::kernels::{Dense, Epilogue, Segment};
use super::model::Header;
use super::records::{Block, Reader};
use super::stages::{Engine, Stage, Up, push_all};
use super::tensor::Tensor;
use crate::Result;

/// `P` of R3.8.
const SCHEDULE: [usize; 4] = [0, 3, 2, 1];

/// The channel group that `step` codes at a position (R3.8).
#[inline]
pub(crate) fn phase_group(step: usize, row: usize, column: usize) -> usize {
    (2 * (row % 2) + column % 2) ^ SCHEDULE[step]
}

/// The records of `ENTR`.
pub(crate) struct EntropyNet {
    hyper_up: [Up; 2],
    hyper_blocks: [Block; 2],
    adapt: Vec<Dense>,
    trunk: Vec<Block>,
    /// `params`, cut into one layer for each channel group: its means, then its raw scale indices.
    params: Vec<Dense>,
    z: HyperContext,
}

/// The context model of z.
struct HyperContext {
    /// Of steps 1 to 3.
    adapt: Vec<Dense>,
    trunk: Vec<Block>,
    params: Dense,
}

impl HyperContext {
    fn read(r: &mut Reader<'_>, h: &Header) -> Result<Self> {
        let adapt = (0..3).map(|_| Ok(r.dense(h.nz, h.nz)?.pack())).collect::<Result<_>>()?;
        let trunk = r.blocks(h.n_z, h.nz)?;
        Ok(Self { adapt, trunk, params: r.dense(h.nz, 2 * h.nz)?.pack() })
    }
}

impl EntropyNet {
    pub(crate) fn read(r: &mut Reader<'_>, h: &Header) -> Result<Self> {
        let first_up = Up::new(&r.dense(h.nz, 4 * h.ce)?, h.ce);
        let first_block = r.block(h.ce)?;
        let second_up = Up::new(&r.dense(h.ce, 4 * h.ce)?, h.ce);
        let hyper_blocks = [first_block, r.block(h.ce)?];
        let adapt = (0..4).map(|k| Ok(r.dense(h.ce + if k > 0 { h.m } else { 0 }, h.ce)?.pack())).collect::<Result<_>>()?;
        let trunk = r.blocks(h.n_trunk, h.ce)?;
        let params = r.dense(h.ce, 2 * h.m)?;
        let params = (0..4).map(|g| params.outputs(group_outputs(h.m, g)).pack()).collect();
        Ok(Self { hyper_up: [first_up, second_up], hyper_blocks, adapt, trunk, params, z: HyperContext::read(r, h)? })
    }

    /// R5.17: for `step`, from 1 to 3, the means of all channels of z and what is added to their scale indices, at every position. It is a hundredth of the work of
    /// [`EntropyNet::step`]: a channel group at a time would save nothing.
    pub(crate) fn hyper_step(&self, engine: &Engine, step: usize, context: &Tensor) -> Result<Tensor> {
        let x = engine.dense(&self.z.adapt[step - 1], &[context], Epilogue::Store)?;
        let mut stages: Vec<Stage<'_>> = self.z.trunk.iter().map(Stage::block).chain([Stage::Dense(&self.z.params)]).collect();
        push_all(&mut stages, engine, x, true)
    }

    /// R5.13: z, 16 bits in units of `2^-z_shift`, to hyper features at four times its size.
    pub(crate) fn hyper(&self, engine: &Engine, x: Tensor) -> Result<Tensor> {
        let mut stages = [Stage::Up(&self.hyper_up[0]), Stage::block(&self.hyper_blocks[0]), Stage::Up(&self.hyper_up[1]), Stage::block(&self.hyper_blocks[1])];
        push_all(&mut stages, engine, x, true)
    }

    /// R5.15: the parameters of what `step` codes.
    pub(crate) fn step(&self, engine: &Engine, step: usize, features: &Tensor, context: &Tensor) -> Result<Parameters> {
        let parts: &[&Tensor] = if step == 0 { &[features] } else { &[features, context] };
        let x = engine.dense(&self.adapt[step], parts, Epilogue::Store)?;
        let mut trunk: Vec<Stage<'_>> = self.trunk.iter().map(Stage::block).collect();
        let x = push_all(&mut trunk, engine, x, true)?;
        by_group(engine, &self.params, step, x)
    }
}

/// The outputs of `params` that are about a channel group: its means, then its raw scale indices.
pub(super) fn group_outputs(m: usize, group: usize) -> impl Iterator<Item = usize> + Clone {
    let len = m / 4;
    (0..2).flat_map(move |half| (0..len).map(move |c| half * m + group * len + c))
}

/// At each position the layer of the channel group that `step` codes there.
pub(super) fn by_group(engine: &Engine, params: &[Dense], step: usize, x: Tensor) -> Result<Parameters> {
    let (len, half) = (params[0].outputs(), x.columns() / 2);
    // Even columns of a row, then odd ones: each has its channel group.
    let mut values = engine.tensor(x.rows(), x.columns(), len)?;
    let row_len = values.row_len();
    engine.pieces(values.data_mut(), row_len, |row, piece| {
        for (parity, out) in piece.chunks_exact_mut(half * len).enumerate() {
            let input = Segment { data: &x.row(row)[parity * x.channels()..], stride: 2 * x.channels(), len: x.channels() };
            engine.kernel.dense(&params[phase_group(step, row, parity)], &[input], half, out, len, Epilogue::Store);
        }
    });
    engine.recycle(x);
    Ok(Parameters { values })
}

/// Means and raw scale indices for one step.
pub(crate) struct Parameters {
    values: Tensor,
}

impl Parameters {
    /// Means and raw scale indices of the channel group that the step codes at a position.
    #[inline]
    pub(crate) fn at(&self, row: usize, column: usize) -> (&[i16], &[i16]) {
        let len = self.values.channels();
        self.values.row(row)[self.place(column) * len..][..len].split_at(len / 2)
    }

    /// Where in its row the numbers of a column are.
    #[inline]
    fn place(&self, column: usize) -> usize {
        (column % 2) * (self.values.columns() / 2) + column / 2
    }

    /// A tensor of the same size in which `f` writes the derivatives by the means and the scale indices of each row and column.
    pub(crate) fn derivatives(&self, engine: &Engine, mut f: impl FnMut(usize, usize, &mut [i16], &mut [i16])) -> Result<Tensor> {
        let len = self.values.channels();
        let mut g = engine.tensor(self.values.rows(), self.values.columns(), len)?;
        let row_len = g.row_len();
        for (row, numbers) in g.data_mut().chunks_exact_mut(row_len).enumerate() {
            for column in 0..self.values.columns() {
                let (means, indices) = numbers[self.place(column) * len..][..len].split_at_mut(len / 2);
                f(row, column, means, indices);
            }
        }
        Ok(g)
    }

    pub(crate) fn recycle(self, engine: &Engine) {
        engine.recycle(self.values);
    }
}
