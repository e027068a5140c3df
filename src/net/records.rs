//! Layers, blocks and gains as the model file stores them (SPEC 4.3), turned into what the kernels read.

use byteorder::{ByteOrder, LittleEndian};

use super::kernels::{Dense, Depthwise};
use crate::{Error, Result};

/// Number of quality indices.
pub(crate) const QUALITIES: usize = 64;

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::Model(format!("the model is not valid: {what}"))
}

/// Reads a chunk's payload from front to back.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or_else(|| damaged("a chunk ends too early"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.bytes(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.bytes(2).map(LittleEndian::read_u16)
    }

    pub(crate) fn u16s(&mut self, len: usize) -> Result<Vec<u16>> {
        Ok(self.bytes(len * 2)?.chunks_exact(2).map(LittleEndian::read_u16).collect())
    }

    /// A chunk ends exactly where its last record ends.
    pub(crate) fn finish(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(damaged(format!("{} bytes too many in a chunk", self.rest.len()))) }
    }

    /// A layer of the kind and the size that the network needs at this place.
    fn layer(&mut self, kind: u8, outputs: usize, inputs: usize) -> Result<Layer> {
        let header = (self.u8()?, self.u8()?, usize::from(self.u16()?), usize::from(self.u16()?));
        if header != (kind, 0, outputs, inputs) {
            return Err(damaged(format!("a layer {header:?} stands where kind {kind} with {inputs} inputs and {outputs} outputs should be")));
        }
        let taps = if kind == DEPTHWISE { 9 } else { inputs };
        let shifts = self.bytes(outputs)?.to_vec();
        let biases = self.bytes(outputs * 4)?.chunks_exact(4).map(LittleEndian::read_i32).collect::<Vec<_>>();
        let weights = self.bytes(outputs * taps * 2)?.chunks_exact(2).map(LittleEndian::read_i16).collect::<Vec<_>>();
        for ((row, bias), shift) in weights.chunks_exact(taps).zip(&biases).zip(&shifts) {
            if !(1..=24).contains(shift) {
                return Err(damaged(format!("a shift of {shift} (R4.1)")));
            }
            let sum: u32 = row.iter().map(|w| u32::from(w.unsigned_abs())).sum();
            if (u64::from(sum) << 15) + u64::from(bias.unsigned_abs()) + (1 << (shift - 1)) >= 1 << 31 {
                return Err(damaged("the sums of a layer can overflow (R4.1)"));
            }
        }
        Ok(Layer { inputs: taps, weights, biases, shifts })
    }

    pub(crate) fn dense(&mut self, inputs: usize, outputs: usize) -> Result<Layer> {
        self.layer(DENSE, outputs, inputs)
    }

    /// A block of residual branches (R5.8).
    pub(crate) fn block(&mut self, channels: usize) -> Result<Block> {
        self.block_record(channels).map(|record| record.pack())
    }

    /// A block in the order of the file.
    pub(crate) fn block_record(&mut self, channels: usize) -> Result<BlockRecord> {
        let gate_fraction = u32::from(self.u8()?);
        if !(1..=14).contains(&gate_fraction) {
            return Err(damaged(format!("a gate fraction of {gate_fraction}")));
        }
        let input = self.dense(channels, channels)?;
        let depth = self.layer(DEPTHWISE, channels, channels)?;
        let out = self.dense(channels, channels)?;
        let gate = self.dense(channels, 2 * channels)?;
        let mix = self.dense(channels, channels)?;
        Ok(BlockRecord { gate_fraction, input, depth, out, gate, mix })
    }

    pub(crate) fn blocks(&mut self, count: u8, channels: usize) -> Result<Vec<Block>> {
        (0..count).map(|_| self.block(channels)).collect()
    }

    /// Gains by quality; `limit` is the bound on their values that the caller's arithmetic needs.
    pub(crate) fn gain(&mut self, channels: usize) -> Result<Gain> {
        let (shift, zero, stated) = (self.u8()?, self.u8()?, usize::from(self.u16()?));
        if !(1..=40).contains(&shift) || zero != 0 || stated != channels {
            return Err(damaged(format!("a gain with shift {shift} for {stated} channels")));
        }
        let values = self.bytes(QUALITIES * channels * 4)?.chunks_exact(4).map(LittleEndian::read_u32).collect::<Vec<_>>();
        match values.iter().max() {
            Some(max) if *max >= 1 << 24 => Err(damaged(format!("a gain of {max} (R4.2)"))),
            _ => Ok(Gain { shift: shift.into(), channels, values }),
        }
    }
}

const DENSE: u8 = 1;
const DEPTHWISE: u8 = 3;

/// A dense or depthwise layer in the order of the file: weights `[output][input]`.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Weights of each output: inputs of a dense layer, taps of a depthwise one.
    pub(crate) inputs: usize,
    pub(crate) weights: Vec<i16>,
    pub(crate) biases: Vec<i32>,
    pub(crate) shifts: Vec<u8>,
}

impl Layer {
    /// As the kernels read it.
    pub(crate) fn pack(&self) -> Dense {
        Dense::new(self.inputs, self.biases.len(), &self.weights, &self.biases, &self.shifts)
    }

    /// The same layer with the outputs that `order` names, in that order.
    pub(crate) fn outputs(&self, order: impl Iterator<Item = usize> + Clone) -> Self {
        Self {
            inputs: self.inputs,
            weights: order.clone().flat_map(|o| &self.weights[o * self.inputs..][..self.inputs]).copied().collect(),
            biases: order.clone().map(|o| self.biases[o]).collect(),
            shifts: order.map(|o| self.shifts[o]).collect(),
        }
    }

    /// The same layer with the inputs that `order` names, in that order.
    pub(crate) fn inputs(&self, order: &[usize]) -> Self {
        Self {
            inputs: order.len(),
            weights: self.weights.chunks_exact(self.inputs).flat_map(|row| order.iter().map(|i| row[*i])).collect(),
            biases: self.biases.clone(),
            shifts: self.shifts.clone(),
        }
    }
}

/// A block's layers (R5.8) in the order of the file.
#[derive(Debug)]
pub(crate) struct BlockRecord {
    pub(crate) gate_fraction: u32,
    pub(crate) input: Layer,
    pub(crate) depth: Layer,
    pub(crate) out: Layer,
    pub(crate) gate: Layer,
    pub(crate) mix: Layer,
}

impl BlockRecord {
    /// As the kernels read it.
    fn pack(&self) -> Block {
        let Self { depth, gate, .. } = self;
        Block {
            gate_fraction: self.gate_fraction,
            input: self.input.pack(),
            depth: Depthwise::new(depth.biases.len(), &depth.weights, &depth.biases, &depth.shifts),
            out: self.out.pack(),
            gate: Dense::gate(gate.inputs, gate.biases.len(), &gate.weights, &gate.biases, &gate.shifts),
            mix: self.mix.pack(),
        }
    }
}

/// A block's layers (R5.8).
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) gate_fraction: u32,
    pub(crate) input: Dense,
    pub(crate) depth: Depthwise,
    pub(crate) out: Dense,
    pub(crate) gate: Dense,
    pub(crate) mix: Dense,
}

/// Gains by quality and channel (R5.6).
#[derive(Debug)]
pub(crate) struct Gain {
    pub(crate) shift: u32,
    pub(crate) channels: usize,
    /// `[quality][channel]`.
    pub(crate) values: Vec<u32>,
}

impl Gain {
    /// `(x * g + 2^(s-1)) >> s` for each number of `x`, which holds the channels of one position from `first` on. |x| < 2^28 (R3.9), so nothing overflows.
    #[inline]
    pub(crate) fn apply<X: Copy + Into<i64>>(&self, quality: u8, first: usize, x: &[X]) -> impl Iterator<Item = i64> {
        let values = &self.values[usize::from(quality) * self.channels + first..][..self.channels - first];
        let (half, shift) = (1 << (self.shift - 1), self.shift);
        x.iter().zip(values).map(move |(x, g)| ((*x).into() * i64::from(*g) + half) >> shift)
    }
}

/// `sat16`.
#[inline]
pub(crate) fn sat16(x: i64) -> i16 {
    x.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}
