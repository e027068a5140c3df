//! Derivatives of the networks, for an encoder that refines latents (SPEC 6).
//!
//! Backwards, a dense layer is a dense layer with its weights transposed, so that the kernels of [`super::kernels`] compute it, in 16 bits like everything else
//! and with the same result on every machine. A tensor of derivatives holds `2^exponent` times the derivative of what is minimised by the features' integers,
//! rounded and saturated; layers that change the exponent say by how much. Saturation and rounding on the way forwards are taken for the identity.

mod block;
mod entropy;
mod synthesis;

pub(crate) use entropy::{EntropyGradient, RATE_EXPONENT};
pub(crate) use synthesis::{SynthesisGradient, SynthesisTape};

use super::Tensor;
use super::kernels::Dense;
use super::records::Layer;
use super::stages::{DownStage, Engine, Stage, Up, pack_down};
use crate::Result;
use block::{BlockGradient, BlockTape};

/// `2^n`, exactly.
pub(crate) fn power_of_two(n: i32) -> f64 {
    f64::from_bits(((1023 + n.clamp(-1022, 1023)) as u64) << 52)
}

/// The largest sum of the magnitudes of an output's weights that R4.1 allows for any shift.
const LARGEST_SUM: f64 = 65_000.0;
/// Shifts of R4.1.
const SHIFTS: std::ops::RangeInclusive<u8> = 1..=24;

/// A layer both ways.
struct Linear {
    forward: Dense,
    backward: Dense,
    /// What going backwards adds to the exponent.
    rise: i32,
}

impl Linear {
    fn new(layer: &Layer) -> Self {
        let transposed = Transposed::new(layer, |_| 1.0);
        let rise = transposed.natural_rise();
        Self { forward: layer.pack(), backward: transposed.layer(rise).pack(), rise }
    }
}

/// `up` both ways: backwards it is a `down`.
struct UpGradient {
    up: Up,
    down: Dense,
    rise: i32,
}

impl UpGradient {
    /// `channels` are those of the result.
    fn new(layer: &Layer, channels: usize) -> Self {
        let transposed = Transposed::new(layer, |_| 1.0);
        let rise = transposed.natural_rise();
        Self { up: Up::new(layer, channels), down: pack_down(&transposed.layer(rise), channels), rise }
    }

    fn forward(&self, engine: &Engine, x: Tensor) -> Result<Tensor> {
        self.up.run(engine, x)
    }

    fn backward(&self, engine: &Engine, g: Tensor) -> Result<Tensor> {
        Stage::Down(DownStage::new(&self.down)).push(engine, g, true)
    }

    /// What going backwards adds to the exponent.
    fn rise(&self) -> i32 {
        self.rise
    }
}

/// A dense layer's transpose in real numbers.
struct Transposed {
    outputs: usize,
    /// `[input of the layer][output of the layer]`.
    weights: Vec<f64>,
}

impl Transposed {
    /// `unit` is what a derivative by one of the layer's outputs has to be multiplied by first.
    fn new(layer: &Layer, unit: impl Fn(usize) -> f64) -> Self {
        let outputs = layer.biases.len();
        let mut weights = vec![0.0; layer.weights.len()];
        for (output, (row, shift)) in layer.weights.chunks_exact(layer.inputs).zip(&layer.shifts).enumerate() {
            let scale = power_of_two(-i32::from(*shift)) * unit(output);
            row.iter().enumerate().for_each(|(input, weight)| weights[input * outputs + output] = f64::from(*weight) * scale);
        }
        Self { outputs, weights }
    }

    /// The rise by which independent derivatives keep their magnitude, on the average.
    fn natural_rise(&self) -> i32 {
        let squares: f64 = self.weights.iter().map(|w| w * w).sum();
        let mut gain = squares * self.outputs as f64 / self.weights.len().max(1) as f64;
        let mut rise = 0;
        // By halves and doubles alone: a logarithm may differ from machine to machine.
        while gain > 2.0 && rise > -64 {
            gain /= 4.0;
            rise -= 1;
        }
        while gain > 0.0 && gain <= 0.5 && rise < 64 {
            gain *= 4.0;
            rise += 1;
        }
        rise
    }

    /// As a layer whose results are `2^rise` times as large, with the finest weights that R4.1 allows.
    fn layer(&self, rise: i32) -> Layer {
        let inputs = self.weights.len() / self.outputs;
        let mut layer =
            Layer { inputs: self.outputs, weights: Vec::with_capacity(self.weights.len()), biases: vec![0; inputs], shifts: Vec::with_capacity(inputs) };
        for row in self.weights.chunks_exact(self.outputs) {
            let (sum, largest) = row.iter().fold((0.0, 0.0), |(sum, largest): (f64, f64), w| (sum + w.abs(), largest.max(w.abs())));
            let fits = |shift: u8| {
                let scale = power_of_two(rise + i32::from(shift));
                // Half a unit for the rounding of each weight.
                sum * scale + 0.5 * row.len() as f64 <= LARGEST_SUM && largest * scale <= f64::from(i16::MAX)
            };
            let shift = SHIFTS.rev().find(|shift| fits(*shift)).unwrap_or(*SHIFTS.start());
            let scale = power_of_two(rise + i32::from(shift));
            // What does not fit at the smallest shift is no network that anybody trained.
            let most = (LARGEST_SUM / row.len() as f64).min(i16::MAX.into());
            layer.weights.extend(row.iter().map(|w| if fits(shift) { w * scale } else { (w * scale).clamp(-most, most) }.round() as i16));
            layer.shifts.push(shift);
        }
        layer
    }
}

#[cfg(test)]
mod tests;
