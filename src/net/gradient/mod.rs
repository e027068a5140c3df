//! Derivatives of the networks, for an encoder that refines latents (SPEC 6).
//!
//! Backwards, a dense layer is a dense layer with its weights transposed, so that the kernels of [`super::kernels`] compute it, in 16 bits like everything else
//! and with the same result on every machine. A tensor of derivatives holds `2^exponent` times the derivative of what is minimised by the features' integers,
//! rounded and saturated; layers that change the exponent say by how much. Saturation and rounding on the way forwards are taken for the identity.

mod block;
mod entropy;
mod synthesis;

pub(crate) use entropy::{EntropyGradient, RATE_EXPONENT};
pub(crate) use synthesis::SynthesisGradient;

use super::Tensor;
use super::kernels::Dense;
use super::records::Layer;
use super::stages::{DownStage, Engine, Stage, Up, pack_down};
use crate::Result;
use block::{BlockGradient, BlockTape};

/// The largest sum of the magnitudes of an output's weights that R4.1 allows for any shift.
const LARGEST_SUM: i64 = 65_000;
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
        let transposed = Transposed::new(layer, |_| 0);
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
        let transposed = Transposed::new(layer, |_| 0);
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

/// Fractional bits of transposed weights: those of a layer of any shift, in any unit, are exact.
const FRACTION: u32 = 40;

/// A dense layer's transpose.
struct Transposed {
    outputs: usize,
    /// `[input of the layer][output of the layer]` in units of `2^-FRACTION`.
    weights: Vec<i64>,
}

impl Transposed {
    /// `unit` says of each of the layer's outputs how many of its integers make one of what derivatives are by, as a power of two, 16 at most.
    fn new(layer: &Layer, unit: impl Fn(usize) -> u32) -> Self {
        let outputs = layer.biases.len();
        let mut weights = vec![0; layer.weights.len()];
        for (output, (row, shift)) in layer.weights.chunks_exact(layer.inputs).zip(&layer.shifts).enumerate() {
            let up = FRACTION - u32::from(*shift) - unit(output);
            row.iter().enumerate().for_each(|(input, weight)| weights[input * outputs + output] = i64::from(*weight) << up);
        }
        Self { outputs, weights }
    }

    /// The rise by which independent derivatives keep their magnitude, on the average.
    fn natural_rise(&self) -> i32 {
        // Of gains, in units of 2^-2 FRACTION: the sum of an output's squares, on the average over the outputs.
        let squares: u128 = self.weights.iter().map(|w| u128::from(w.unsigned_abs()).pow(2)).fold(0, u128::saturating_add);
        let gain = (squares / self.weights.len().max(1) as u128).saturating_mul(self.outputs as u128);
        if gain == 0 {
            return 0;
        }
        // The result is within a factor of the root of two: half of the binary logarithm, to the nearest.
        (2 * FRACTION as i32 - gain.ilog2() as i32).div_euclid(2)
    }

    /// As a layer whose results are `2^rise` times as large, with the finest weights that R4.1 allows.
    fn layer(&self, rise: i32) -> Layer {
        let inputs = self.weights.len() / self.outputs;
        let mut layer =
            Layer { inputs: self.outputs, weights: Vec::with_capacity(self.weights.len()), biases: vec![0; inputs], shifts: Vec::with_capacity(inputs) };
        for row in self.weights.chunks_exact(self.outputs) {
            let rounded = |shift: u8| row.iter().map(move |w| scaled(*w, rise + i32::from(shift) - FRACTION as i32));
            let fits = |shift: u8| {
                let (sum, largest) = rounded(shift).fold((0i64, 0), |(sum, largest), w| (sum.saturating_add(w.abs()), largest.max(w.abs())));
                sum <= LARGEST_SUM && largest <= i16::MAX.into()
            };
            let shift = SHIFTS.rev().find(|shift| fits(*shift)).unwrap_or(*SHIFTS.start());
            // What does not fit at the smallest shift is no network that anybody trained.
            let most = if fits(shift) { i64::from(i16::MAX) } else { LARGEST_SUM / row.len() as i64 };
            layer.weights.extend(rounded(shift).map(|w| w.clamp(-most, most) as i16));
            layer.shifts.push(shift);
        }
        layer
    }
}

/// `x * 2^up`, rounded, and within 2^32.
fn scaled(x: i64, up: i32) -> i64 {
    const MOST: i64 = 1 << 32;
    match up {
        // Of magnitudes below 2^56, nothing is left.
        ..=-58 => 0,
        -57..=-1 => ((x + (1 << (-up - 1))) >> -up).clamp(-MOST, MOST),
        _ => x.clamp(-MOST, MOST).saturating_mul(1 << up.min(30)).clamp(-MOST, MOST),
    }
}

#[cfg(test)]
mod tests;
