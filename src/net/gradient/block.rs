//! R5.8 both ways.

use super::Transposed;
use crate::Result;
use crate::net::Tensor;
use crate::net::kernels::{Dense, Depthwise, Epilogue};
use crate::net::records::{BlockRecord, Layer, sat16};
use crate::net::stages::Engine;

/// A block's layers, and their transposes.
pub(super) struct BlockGradient {
    gate_fraction: u32,
    input: Dense,
    depth: Depthwise,
    out: Dense,
    /// In the order of the file: first all of `a`, then all of `b`.
    gate: Dense,
    mix: Dense,
    input_back: Dense,
    depth_back: Depthwise,
    out_back: Dense,
    gate_back: Dense,
    mix_back: Dense,
}

/// What a block leaves on the way forwards for the way back.
pub(super) struct BlockTape {
    /// After the leaky ReLU, which keeps the sign.
    branch: Tensor,
    /// `[a, b]` of the gate at each position.
    gate: Tensor,
}

impl BlockTape {
    pub(super) fn recycle(self, engine: &Engine) {
        engine.recycle(self.branch);
        engine.recycle(self.gate);
    }
}

impl BlockGradient {
    pub(super) fn new(record: &BlockRecord) -> Self {
        let BlockRecord { gate_fraction, input, depth, out, gate, mix } = record;
        let depthwise = |layer: &Layer| Depthwise::new(layer.biases.len(), &layer.weights, &layer.biases, &layer.shifts);
        let flipped = Layer {
            inputs: depth.inputs,
            weights: depth.weights.chunks_exact(depth.inputs).flat_map(|taps| taps.iter().rev().copied()).collect(),
            biases: vec![0; depth.biases.len()],
            shifts: depth.shifts.clone(),
        };
        let transposed = |layer: &Layer| Transposed::new(layer, |_| 0);
        // Within a branch derivatives have an exponent of their own; where it ends, they get back that of the stream.
        let (out_back, mix_back) = (transposed(out), transposed(mix));
        let (out_rise, mix_rise) = (out_back.natural_rise(), mix_back.natural_rise());
        Self {
            gate_fraction: *gate_fraction,
            input: input.pack(),
            depth: depthwise(depth),
            out: out.pack(),
            gate: gate.pack(),
            mix: mix.pack(),
            input_back: transposed(input).layer(-out_rise).pack(),
            depth_back: depthwise(&flipped),
            out_back: out_back.layer(out_rise).pack(),
            gate_back: transposed(gate).layer(-mix_rise).pack(),
            mix_back: mix_back.layer(mix_rise).pack(),
        }
    }

    pub(super) fn forward(&self, engine: &Engine, mut x: Tensor) -> Result<(Tensor, BlockTape)> {
        let branch = engine.dense(&self.input, &[&x], Epilogue::Leaky)?;
        let depth = engine.depthwise(&self.depth, &branch, 0, x.rows())?;
        engine.dense_into(&self.out, &[&depth], &mut x, Epilogue::Add);
        engine.recycle(depth);
        let gate = engine.dense(&self.gate, &[&x], Epilogue::Store)?;
        let (channels, fraction) = (x.channels(), self.gate_fraction);
        let mut gated = engine.tensor(x.rows(), x.columns(), channels)?;
        by_position(engine, &mut gated, &gate, |gated, gate| {
            let (a, b) = gate.split_at(channels);
            for ((gated, a), b) in gated.iter_mut().zip(a).zip(b) {
                *gated = product(*a, clamped(*b, fraction), fraction);
            }
        });
        engine.dense_into(&self.mix, &[&gated], &mut x, Epilogue::Add);
        engine.recycle(gated);
        Ok((x, BlockTape { branch, gate }))
    }

    /// The derivatives by the block's input from those by its output, `g`.
    pub(super) fn backward(&self, engine: &Engine, tape: &BlockTape, mut g: Tensor) -> Result<Tensor> {
        let (channels, fraction) = (g.channels(), self.gate_fraction);
        let by_product = engine.dense(&self.mix_back, &[&g], Epilogue::Store)?;
        let mut by_gate = engine.tensor(g.rows(), g.columns(), 2 * channels)?;
        let one = 1 << fraction;
        by_position(engine, &mut by_gate, &tape.gate, |out, gate| out.copy_from_slice(gate));
        by_position(engine, &mut by_gate, &by_product, |out, p| {
            let (a, b) = out.split_at_mut(channels);
            for ((a, b), p) in a.iter_mut().zip(b).zip(p) {
                // [a, b] becomes the derivatives by them.
                let by_a = product(*p, clamped(*b, fraction), fraction);
                let by_b = if i32::from(*b).abs() < one { product(*p, *a, fraction) } else { 0 };
                (*a, *b) = (by_a, by_b);
            }
        });
        engine.recycle(by_product);
        engine.dense_into(&self.gate_back, &[&by_gate], &mut g, Epilogue::Add);
        engine.recycle(by_gate);
        let by_depth = engine.dense(&self.out_back, &[&g], Epilogue::Store)?;
        let mut by_branch = engine.depthwise(&self.depth_back, &by_depth, 0, g.rows())?;
        engine.recycle(by_depth);
        by_position(engine, &mut by_branch, &tape.branch, |g, branch| {
            g.iter_mut().zip(branch).for_each(|(g, x)| *g = if *x < 0 { *g >> 3 } else { *g });
        });
        engine.dense_into(&self.input_back, &[&by_branch], &mut g, Epilogue::Add);
        engine.recycle(by_branch);
        Ok(g)
    }
}

/// `clamp(b, -2^fraction, 2^fraction)` of R5.4.
#[inline]
fn clamped(b: i16, fraction: u32) -> i16 {
    let one = 1 << fraction;
    b.clamp(-one, one)
}

/// `sat16((x y + 2^(fraction-1)) >> fraction)`.
#[inline]
fn product(x: i16, y: i16, fraction: u32) -> i16 {
    sat16(((i32::from(x) * i32::from(y) + (1 << fraction >> 1)) >> fraction).into())
}

/// Calls `f` with the numbers of each position of `out` and those of `other` at the same place.
fn by_position(engine: &Engine, out: &mut Tensor, other: &Tensor, f: impl Fn(&mut [i16], &[i16]) + Send + Sync) {
    let (columns, channels, others) = (out.columns(), out.channels(), other.channels());
    engine.pieces(out.data_mut(), columns * channels, |row, piece| {
        piece.chunks_exact_mut(channels).zip(other.row(row).chunks_exact(others)).for_each(|(out, other)| f(out, other));
    });
}
