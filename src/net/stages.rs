//! The operations of SPEC 5.1 on rows of features.
//!
//! A [`Stage`] gets a tensor's rows from the top in bands of any height and gives rows back as soon as it can. A 3x3 layer needs the row below, so a block is
//! one row behind; `last` says that nothing follows and the row below is zero.

use std::sync::Mutex;

use rayon::prelude::*;

use super::kernels::{Dense, Depthwise, Epilogue, Kernel, Segment};
use super::records::{Block, Gain, sat16};
use super::tensor::Tensor;
use crate::picture::try_filled;
use crate::{Error, Result};

/// Positions that one call of a kernel gets where many threads share them, so that weights are read seldom even then.
pub(crate) const SHARED: usize = 96;

/// How to compute: the kernel, whether to use several threads, and memory for features, which is used over and over.
pub(crate) struct Engine {
    pub(crate) kernel: &'static dyn Kernel,
    /// Several threads within an operation. Off where the caller runs several tiles at once: nesting would let one thread begin tile after tile.
    parallel: bool,
    pool: Mutex<Vec<Vec<i16>>>,
}

impl Engine {
    /// With the kernel of this process.
    pub(crate) fn new(parallel: bool) -> Result<Self> {
        Ok(Self::with_kernel(super::kernel()?, parallel))
    }

    pub(crate) fn with_kernel(kernel: &'static dyn Kernel, parallel: bool) -> Self {
        Self { kernel, parallel: parallel && rayon::current_num_threads() > 1, pool: Mutex::default() }
    }

    /// A tensor whose numbers are anything: the caller writes them all.
    pub(crate) fn tensor(&self, rows: usize, columns: usize, channels: usize) -> Result<Tensor> {
        let len = rows * columns * channels;
        let mut pool = self.pool.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Best fit: the smallest that is large enough, else the largest, which then grows.
        let best = pool.iter().enumerate().min_by_key(|(_, v)| if v.capacity() >= len { (0, v.capacity()) } else { (1, usize::MAX - v.capacity()) });
        let mut data = best.map(|(i, _)| i).map(|i| pool.swap_remove(i)).unwrap_or_default();
        drop(pool);
        if data.len() < len {
            let more = len - data.len();
            data.try_reserve_exact(more).map_err(|_| Error::Limits(format!("there is no memory for {} more bytes", more * size_of::<i16>())))?;
            data.resize(len, 0);
        }
        data.truncate(len);
        Tensor::new(rows, columns, channels, data)
    }

    /// Gives a tensor's memory back.
    pub(crate) fn recycle(&self, tensor: Tensor) {
        let mut pool = self.pool.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        pool.push(tensor.into_data());
        // No network holds more than a few tensors at a time.
        if pool.len() > 8 {
            pool.remove(0);
        }
    }

    /// How many of a tensor's positions one call of the kernel gets: as many as it likes, but not so many that a thread has nothing to do.
    fn positions(&self, x: &Tensor) -> usize {
        let most = self.kernel.positions();
        if !self.parallel {
            return most;
        }
        let share = (x.rows() * x.columns()).div_ceil(2 * rayon::current_num_threads());
        share.next_multiple_of(SHARED).min(most)
    }

    /// Calls `f` with each piece of `len` numbers of `out` and its number.
    pub(crate) fn pieces<T: Send>(&self, out: &mut [T], len: usize, f: impl Fn(usize, &mut [T]) + Send + Sync) {
        if out.is_empty() {
            return;
        }
        if self.parallel {
            out.par_chunks_mut(len).enumerate().for_each(|(i, piece)| f(i, piece));
        } else {
            out.chunks_mut(len).enumerate().for_each(|(i, piece)| f(i, piece));
        }
    }

    /// Calls `f` with each piece of `len` numbers of `a` and the same of `b`.
    fn pairs_of_pieces<T: Send>(&self, a: &mut [T], b: &mut [T], len: usize, f: impl Fn(&mut [T], &mut [T]) + Send + Sync) {
        if a.is_empty() {
            return;
        }
        if self.parallel {
            a.par_chunks_mut(len).zip(b.par_chunks_mut(len)).for_each(|(a, b)| f(a, b));
        } else {
            a.chunks_mut(len).zip(b.chunks_mut(len)).for_each(|(a, b)| f(a, b));
        }
    }

    /// R5.1 at every position; the inputs are the channels of `parts`, one behind the other.
    pub(crate) fn dense_into(&self, layer: &Dense, parts: &[&Tensor], out: &mut Tensor, epilogue: Epilogue) {
        let (width, positions) = (out.channels(), self.positions(out));
        self.pieces(out.data_mut(), positions * width, |i, piece| {
            let segments: [Segment<'_>; 2] = std::array::from_fn(|k| {
                let part = parts.get(k).copied();
                let len = part.map_or(0, Tensor::channels);
                Segment { data: part.map_or(&[][..], |p| &p.data()[i * positions * len..]), stride: len, len }
            });
            self.kernel.dense(layer, &segments[..parts.len()], piece.len() / width, piece, width, epilogue);
        });
    }

    /// As [`Engine::dense_into`], to a new tensor.
    pub(crate) fn dense(&self, layer: &Dense, parts: &[&Tensor], epilogue: Epilogue) -> Result<Tensor> {
        let width = if matches!(epilogue, Epilogue::Gate(_)) { layer.outputs() / 2 } else { layer.outputs() };
        let mut out = self.tensor(parts[0].rows(), parts[0].columns(), width)?;
        self.dense_into(layer, parts, &mut out, epilogue);
        Ok(out)
    }

    /// R5.2 on the rows `above .. above + rows` of `x`; rows outside `x` are zero.
    pub(super) fn depthwise(&self, layer: &Depthwise, x: &Tensor, above: usize, rows: usize) -> Result<Tensor> {
        let zeros = try_filled(x.row_len(), 0i16)?;
        let row = |r: Option<usize>| r.filter(|r| *r < x.rows()).map_or(&zeros[..], |r| x.row(r));
        let mut out = self.tensor(rows, x.columns(), x.channels())?;
        self.pieces(out.data_mut(), x.row_len(), |i, piece| {
            let here = above + i;
            self.kernel.depthwise(layer, [row(here.checked_sub(1)), row(Some(here)), row(Some(here + 1))], x.columns(), piece);
        });
        Ok(out)
    }

    /// R5.6 in place.
    pub(super) fn gain(&self, gain: &Gain, quality: u8, x: &mut Tensor) {
        let (channels, positions) = (x.channels(), self.positions(x));
        self.pieces(x.data_mut(), positions * channels, |_, piece| {
            let mut scaled = vec![0; channels];
            for position in piece.chunks_exact_mut(channels) {
                scaled.iter_mut().zip(gain.apply(quality, 0, position)).for_each(|(s, x)| *s = sat16(x));
                position.copy_from_slice(&scaled);
            }
        });
    }

    /// `a`, then `b`, in one tensor.
    pub(crate) fn join(&self, a: Option<Tensor>, b: Tensor) -> Result<Tensor> {
        let Some(a) = a.filter(|a| a.rows() > 0) else { return Ok(b) };
        let mut joined = self.tensor(a.rows() + b.rows(), b.columns(), b.channels())?;
        let (first, second) = joined.data_mut().split_at_mut(a.data().len());
        first.copy_from_slice(a.data());
        second.copy_from_slice(b.data());
        self.recycle(a);
        self.recycle(b);
        Ok(joined)
    }
}

/// A network's operation on rows that arrive one band after another.
pub(crate) enum Stage<'n> {
    Dense(&'n Dense),
    Block(BlockStage<'n>),
    Gain(&'n Gain, u8),
    Up(&'n Up),
    Down(DownStage<'n>),
}

impl<'n> Stage<'n> {
    pub(crate) fn block(block: &'n Block) -> Self {
        Stage::Block(BlockStage { block, features: None, branch: None, above: false })
    }

    pub(crate) fn down(layer: &'n Dense) -> Self {
        Stage::Down(DownStage::new(layer))
    }

    /// Takes the next rows, possibly none, and gives those that are finished, possibly none.
    pub(crate) fn push(&mut self, engine: &Engine, mut x: Tensor, last: bool) -> Result<Tensor> {
        match self {
            Stage::Dense(layer) => {
                let out = engine.dense(layer, &[&x], Epilogue::Store)?;
                engine.recycle(x);
                Ok(out)
            }
            Stage::Gain(gain, quality) => {
                engine.gain(gain, *quality, &mut x);
                Ok(x)
            }
            Stage::Up(up) => up.run(engine, x),
            Stage::Block(stage) => stage.push(engine, x, last),
            Stage::Down(stage) => stage.push(engine, x),
        }
    }
}

/// Runs rows through a chain of stages.
pub(crate) fn push_all(stages: &mut [Stage<'_>], engine: &Engine, x: Tensor, last: bool) -> Result<Tensor> {
    stages.iter_mut().try_fold(x, |x, stage| stage.push(engine, x, last))
}

/// R5.8, one row behind its input.
pub(crate) struct BlockStage<'n> {
    block: &'n Block,
    /// The newest row of the input: what is below it is not known yet.
    features: Option<Tensor>,
    /// `Leaky(inp(x))` of that row and, if there is one, of the row above it.
    branch: Option<Tensor>,
    /// Whether `branch` has the row above.
    above: bool,
}

impl BlockStage<'_> {
    fn push(&mut self, engine: &Engine, x: Tensor, last: bool) -> Result<Tensor> {
        if x.rows() == 0 && !last {
            return Ok(x);
        }
        let branch = engine.dense(&self.block.input, &[&x], Epilogue::Leaky)?;
        let mut x = engine.join(self.features.take(), x)?;
        let branch = engine.join(self.branch.take(), branch)?;
        let above = usize::from(self.above);
        let rows = if last { x.rows() } else { x.rows() - 1 };
        let mut depth = engine.depthwise(&self.block.depth, &branch, above, rows)?;
        if !last {
            self.features = Some(x.rows_from(engine, rows, 1)?);
            let keep = branch.rows().min(2);
            self.branch = Some(branch.rows_from(engine, branch.rows() - keep, keep)?);
            self.above = keep == 2;
        }
        engine.recycle(branch);
        x = first_rows(x, rows)?;
        self.branches(engine, &mut x, &mut depth);
        engine.recycle(depth);
        Ok(x)
    }

    /// What comes behind the 3x3 layer, whose result `depth` is written over. A few positions at a time go through all of it, while they are in the cache.
    fn branches(&self, engine: &Engine, x: &mut Tensor, depth: &mut Tensor) {
        let Block { out, gate, mix, gate_fraction, .. } = self.block;
        let (kernel, width, positions) = (engine.kernel, x.channels(), engine.positions(x));
        fn all(data: &[i16], width: usize) -> Segment<'_> {
            Segment { data, stride: width, len: width }
        }
        engine.pairs_of_pieces(x.data_mut(), depth.data_mut(), positions * width, |x, branch| {
            let positions = x.len() / width;
            kernel.dense(out, &[all(branch, width)], positions, x, width, Epilogue::Add);
            kernel.dense(gate, &[all(x, width)], positions, branch, width, Epilogue::Gate(*gate_fraction));
            kernel.dense(mix, &[all(branch, width)], positions, x, width, Epilogue::Add);
        });
    }
}

/// The same tensor without the rows behind the first `rows`.
fn first_rows(x: Tensor, rows: usize) -> Result<Tensor> {
    let (columns, channels, len) = (x.columns(), x.channels(), rows * x.row_len());
    let mut data = x.into_data();
    data.truncate(len);
    Tensor::new(rows, columns, channels, data)
}

/// `up`: a layer and a shuffle by 2. The layer is cut in two, one for the even and one for the odd rows of the result, with its outputs in such an order that
/// what it gives for a row of input is a row of the result.
pub(crate) struct Up([Dense; 2]);

impl Up {
    pub(crate) fn new(layer: &super::records::Layer, channels: usize) -> Self {
        Self([0, 1].map(|i| layer.outputs((0..2).flat_map(move |j| (0..channels).map(move |c| (c * 2 + i) * 2 + j))).pack()))
    }

    pub(super) fn run(&self, engine: &Engine, x: Tensor) -> Result<Tensor> {
        let channels = self.0[0].outputs() / 2;
        let mut out = engine.tensor(2 * x.rows(), 2 * x.columns(), channels)?;
        let row_len = out.row_len();
        engine.pieces(out.data_mut(), row_len, |row, piece| {
            let segment = Segment { data: x.row(row / 2), stride: x.channels(), len: x.channels() };
            engine.kernel.dense(&self.0[row % 2], &[segment], x.columns(), piece, 2 * channels, Epilogue::Store);
        });
        engine.recycle(x);
        Ok(out)
    }
}

/// A layer behind an unshuffle by 2, whose inputs are put in the order in which pairs of rows lie in memory.
pub(crate) fn pack_down(layer: &super::records::Layer, channels: usize) -> Dense {
    let order: Vec<usize> = (0..2).flat_map(|i| (0..2).flat_map(move |j| (0..channels).map(move |c| (c * 2 + i) * 2 + j))).collect();
    layer.inputs(&order).pack()
}

/// `down`: an unshuffle by 2 and a layer packed by [`pack_down`].
pub(crate) struct DownStage<'n> {
    layer: &'n Dense,
    /// The upper row of a pair whose lower row has not come.
    odd: Option<Tensor>,
}

impl<'n> DownStage<'n> {
    pub(super) fn new(layer: &'n Dense) -> Self {
        Self { layer, odd: None }
    }
}

impl DownStage<'_> {
    fn push(&mut self, engine: &Engine, x: Tensor) -> Result<Tensor> {
        let x = engine.join(self.odd.take(), x)?;
        let pairs = x.rows() / 2;
        if x.rows() % 2 == 1 {
            self.odd = Some(x.rows_from(engine, 2 * pairs, 1)?);
        }
        let mut out = engine.tensor(pairs, x.columns() / 2, self.layer.outputs())?;
        let row_len = out.row_len();
        let len = 2 * x.channels();
        engine.pieces(out.data_mut(), row_len, |row, piece| {
            let segments = [0, 1].map(|i| Segment { data: x.row(2 * row + i), stride: len, len });
            engine.kernel.dense(self.layer, &segments, x.columns() / 2, piece, self.layer.outputs(), Epilogue::Store);
        });
        engine.recycle(x);
        Ok(out)
    }
}
