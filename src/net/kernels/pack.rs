//! Layers in the order in which the kernels read them.

use super::BLOCK;

/// The weights that a dense kernel uses at a time: `[output in block][input of pair]`. A cache line, aligned as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(super) [i16; 2 * BLOCK]);

/// A dense layer (1x1 convolution).
#[derive(Debug, Clone)]
pub(crate) struct Dense {
    /// Number of inputs, even.
    pub(super) inputs: usize,
    /// Number of outputs, a multiple of [`BLOCK`].
    pub(super) outputs: usize,
    /// `[block of outputs][pair of inputs]`.
    pub(super) weights: Vec<Line>,
    /// Bias plus `2^(shift-1)`, one per output in the order of the blocks.
    pub(super) bias: Vec<i32>,
    /// Right shift per output, 1 to 24.
    pub(super) shift: Vec<i32>,
}

impl Dense {
    /// Packs `weights`, `[output][input]`.
    ///
    /// # Panics
    /// If `inputs` is odd, `outputs` not a multiple of [`BLOCK`], a shift not from 1 to 24, or a slice not as long as these numbers say.
    pub(crate) fn new(inputs: usize, outputs: usize, weights: &[i16], bias: &[i32], shift: &[u8]) -> Self {
        assert!(outputs.is_multiple_of(BLOCK));
        Self::in_order(inputs, outputs, weights, bias, shift, 0..outputs / BLOCK)
    }

    /// Packs the layer in front of a gate: the first half of the outputs is `a`, the second `b`, and their blocks are made to alternate.
    ///
    /// # Panics
    /// Like [`Dense::new`], and if half of `outputs` is not a multiple of [`BLOCK`].
    pub(crate) fn gate(inputs: usize, outputs: usize, weights: &[i16], bias: &[i32], shift: &[u8]) -> Self {
        assert!(outputs.is_multiple_of(2 * BLOCK));
        let half = outputs / (2 * BLOCK);
        Self::in_order(inputs, outputs, weights, bias, shift, (0..half).flat_map(|block| [block, half + block]))
    }

    /// Number of inputs.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of outputs before any gate.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    fn in_order(inputs: usize, outputs: usize, weights: &[i16], bias: &[i32], shift: &[u8], order: impl Iterator<Item = usize>) -> Self {
        assert!(inputs.is_multiple_of(2));
        assert_eq!(weights.len(), inputs * outputs);
        let (bias, shift) = rounded(outputs, bias, shift);
        let mut layer = Self {
            inputs,
            outputs,
            weights: Vec::with_capacity(inputs / 2 * (outputs / BLOCK)),
            bias: Vec::with_capacity(outputs),
            shift: Vec::with_capacity(outputs),
        };
        for block in order {
            let first = block * BLOCK;
            // Slices whose equal length the compiler sees need no check at each pair.
            let rows: [&[i16]; BLOCK] = std::array::from_fn(|row| &weights[(first + row) * inputs..][..inputs]);
            layer.weights.extend((0..inputs / 2).map(|pair| {
                let mut line = [0; 2 * BLOCK];
                for (to, row) in line.as_chunks_mut::<2>().0.iter_mut().zip(&rows) {
                    *to = [row[2 * pair], row[2 * pair + 1]];
                }
                Line(line)
            }));
            layer.bias.extend_from_slice(&bias[first..first + BLOCK]);
            layer.shift.extend_from_slice(&shift[first..first + BLOCK]);
        }
        layer
    }
}

/// A depthwise 3x3 layer.
#[derive(Debug, Clone)]
pub(crate) struct Depthwise {
    /// Number of channels, a multiple of [`BLOCK`].
    pub(super) channels: usize,
    /// `[tap][channel]`, taps row by row.
    pub(super) weights: Vec<i16>,
    /// Bias plus `2^(shift-1)`, one per channel.
    pub(super) bias: Vec<i32>,
    /// Right shift per channel, 1 to 24.
    pub(super) shift: Vec<i32>,
}

impl Depthwise {
    /// Packs `weights`, `[channel][tap]`.
    ///
    /// # Panics
    /// If `channels` is not a multiple of [`BLOCK`], a shift not from 1 to 24, or a slice not as long as these numbers say.
    pub(crate) fn new(channels: usize, weights: &[i16], bias: &[i32], shift: &[u8]) -> Self {
        assert!(channels.is_multiple_of(BLOCK));
        assert_eq!(weights.len(), 9 * channels);
        let (bias, shift) = rounded(channels, bias, shift);
        let weights = (0..9).flat_map(|tap| weights.iter().skip(tap).step_by(9).copied()).collect();
        Self { channels, weights, bias, shift }
    }

    /// Number of channels.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }
}

/// Biases with the rounding term, and shifts as the kernels load them.
fn rounded(outputs: usize, bias: &[i32], shift: &[u8]) -> (Vec<i32>, Vec<i32>) {
    assert!(bias.len() == outputs && shift.len() == outputs);
    assert!(shift.iter().all(|shift| (1..=24).contains(shift)));
    let bias = bias.iter().zip(shift).map(|(bias, shift)| bias.wrapping_add(1 << (shift - 1))).collect();
    (bias, shift.iter().map(|&shift| shift.into()).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::Lcg;
    use super::*;

    #[test]
    fn packing_a_dense_layer_loses_nothing() {
        let mut random = Lcg(1);
        for (inputs, outputs, gate) in [(2, 16, false), (10, 48, false), (64, 32, true), (6, 96, true)] {
            let weights = random.numbers(inputs * outputs);
            let bias: Vec<_> = random.numbers(outputs).into_iter().map(i32::from).collect();
            let shift: Vec<_> = (0..outputs).map(|output| (output % 24 + 1) as u8).collect();
            let layer = if gate { Dense::gate } else { Dense::new }(inputs, outputs, &weights, &bias, &shift);
            assert_eq!((layer.inputs(), layer.outputs()), (inputs, outputs));
            assert_eq!(layer.weights.len() * 2 * BLOCK, weights.len());
            for output in 0..outputs {
                let (block, lane) = (output / BLOCK, output % BLOCK);
                let half = outputs / (2 * BLOCK);
                let place = match gate {
                    false => block,
                    true if block < half => 2 * block,
                    true => 2 * (block - half) + 1,
                };
                let packed = place * BLOCK + lane;
                assert_eq!(layer.bias[packed], bias[output] + (1 << (shift[output] - 1)));
                assert_eq!(layer.shift[packed], i32::from(shift[output]));
                for input in 0..inputs {
                    let Line(line) = layer.weights[place * (inputs / 2) + input / 2];
                    assert_eq!(line[2 * lane + input % 2], weights[output * inputs + input]);
                }
            }
        }
    }

    #[test]
    fn packing_a_depthwise_layer_loses_nothing() {
        let channels = 48;
        let weights = Lcg(2).numbers(9 * channels);
        let mut bias = vec![-5; channels];
        bias[0] = i32::MAX;
        let layer = Depthwise::new(channels, &weights, &bias, &vec![3; channels]);
        assert_eq!(layer.channels(), channels);
        assert_eq!(layer.bias[..2], [i32::MIN + 3, -1]);
        for channel in 0..channels {
            for tap in 0..9 {
                assert_eq!(layer.weights[tap * channels + channel], weights[channel * 9 + tap]);
            }
        }
    }
}
