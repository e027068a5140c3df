//! What a tile's latents cost, and how that changes with them: for an encoder that refines them (SPEC 6).

use super::power_of_two;
use crate::Result;
use crate::entropy::{COST_FRACTION, Coding, Quantiser, Skipped, State, Step, Table, Tables, TileShape, Trellis, cost, hyper_steps, nearest};
use crate::net::{Engine, EntropyGradient, Model, RATE_EXPONENT, Tensor, phase_group, sat16};
use crate::picture::try_filled;

/// Magnitudes beyond this are taken to cost as much more as the last ones.
const MAX_MAGNITUDE: usize = 1024;

/// Bits of values under every scale index, and their slopes.
pub(super) struct Costs {
    /// `[scale][magnitude]`.
    bits: Vec<Vec<f32>>,
}

impl Costs {
    pub(super) fn new(tables: &Tables, quantiser: Quantiser) -> Self {
        let row =
            |table: &Table| (0..=(table.range as usize + 1).min(MAX_MAGNITUDE)).map(|n| cost(table, n as i32) as f32 / (1 << COST_FRACTION) as f32).collect();
        Self { bits: tables.of_quantiser(quantiser).iter().map(row).collect() }
    }

    /// Bits of a value; a scale index beyond the tables costs like the last one.
    fn of(&self, value: i32, index: usize) -> f32 {
        let row = &self.bits[index.min(self.bits.len() - 1)];
        row[(value.unsigned_abs() as usize).min(row.len() - 1)]
    }

    /// Difference of the bits from `n` to `n + 1`.
    fn step(&self, n: usize, index: usize) -> f32 {
        let row = &self.bits[index];
        let n = n.min(row.len() - 2);
        row[n + 1] - row[n]
    }

    /// First and second derivative of the bits by a residual that is not an integer yet: the differences between integers stand half way between them, and lines
    /// go through them, through 0 at 0.
    fn slope(&self, residual: f32, index: usize) -> (f32, f32) {
        let magnitude = residual.abs();
        if magnitude < 0.5 {
            let slope = 2.0 * self.step(0, index);
            return (slope * residual, slope);
        }
        let n = (magnitude - 0.5) as usize;
        let (before, after) = (self.step(n, index), self.step(n + 1, index));
        (residual.signum() * (before + (after - before) * (magnitude - 0.5 - n as f32)), after - before)
    }

    /// Derivative of the bits of a value by its scale index.
    fn by_index(&self, value: i32, index: usize) -> f32 {
        let (below, above) = (index.saturating_sub(1), (index + 1).min(self.bits.len() - 1));
        if above == below { 0.0 } else { (self.of(value, above) - self.of(value, below)) / (above - below) as f32 }
    }
}

/// What a tile's latents would be coded as.
pub(super) struct Rate {
    /// `[rows][columns][m]` in units of `2^-y_fraction`, as the decoder gets them.
    pub(super) y_hat: Vec<i32>,
    /// `[rows / 4][columns / 4][nz]` in units of `2^-z_shift`, as the decoder gets them.
    pub(super) z_hat: Vec<i32>,
    /// Of both.
    pub(super) bits: f64,
    /// Whether values that are not coded would be missed: then the tile is better coded in another way.
    pub(super) skips_too_much: bool,
    /// First and second derivative of the bits by each latent: the first with what it does as context of later steps, the second of its own value alone, not
    /// negative. Empty where they were not asked for.
    pub(super) slope: Vec<f32>,
    pub(super) curvature: Vec<f32>,
    /// First derivative by z.
    pub(super) z_slope: Vec<f32>,
}

/// What stays the same while a tile is refined.
pub(super) struct RateModel<'a> {
    model: &'a Model,
    net: &'a EntropyGradient,
    z_costs: Costs,
    /// Of even states, and of odd ones.
    y_costs: [Costs; 2],
    coding: Coding,
    trellis: Trellis<'a>,
}

impl<'a> RateModel<'a> {
    pub(super) fn new(model: &'a Model, coding: Coding) -> Result<Self> {
        Ok(Self {
            model,
            net: model.entropy_gradient()?,
            z_costs: Costs::new(model.tables(), Quantiser::Hyper),
            y_costs: [Quantiser::Even, Quantiser::Odd].map(|quantiser| Costs::new(model.tables(), quantiser)),
            coding,
            trellis: Trellis::new(model, coding.code)?,
        })
    }

    /// The rate of a tile's latents y, `[rows][columns][m]` in units of `2^-y_input_fraction`, and z in units of `2^-z_shift`. With `slopes`, its derivatives too.
    pub(super) fn rate(&self, engine: &Engine, y: &[i32], z: &[i32], shape: TileShape, skip_below: u8, slopes: bool) -> Result<Rate> {
        let (header, y_fraction) = (self.model.header(), self.model.encoder()?.y_input_fraction);
        let (m, group, finer) = (header.m, header.m / 4, y_fraction - header.y_fraction);
        let (half, highest) = (1 << (header.index_shift - 1), i32::from(header.scales) - 1);
        // Steps of the quantiser in a unit of a latent, and in a unit of a residual.
        let steps = power_of_two(header.y_fraction as i32) as f32 / (2 * header.y_half_step) as f32;
        let in_steps = steps * power_of_two(-(y_fraction as i32)) as f32;
        let scale = power_of_two(RATE_EXPONENT) as f32;
        let derivatives = if slopes { y.len() } else { 0 };
        let mut rate = Rate {
            y_hat: try_filled(y.len(), 0)?,
            z_hat: try_filled(z.len(), 0)?,
            bits: 0.0,
            skips_too_much: false,
            slope: try_filled(derivatives, 0.0)?,
            curvature: try_filled(derivatives, 0.0)?,
            z_slope: try_filled(if slopes { z.len() } else { 0 }, 0.0)?,
        };
        let mut skipped = Skipped::default();
        // What z does as context of later steps is not looked at. What is not coded does nothing else.
        let mut coded = try_filled(z.len(), false)?;
        let hyper = (shape.rows / 4, shape.columns / 4);
        let input = hyper_steps(self.model.entropy()?, engine, self.model, self.coding.quality, hyper, |at, index, mean| {
            let mut value = nearest(z[at] - i32::from(mean), header.z_shift);
            if index < skip_below {
                value = skipped.add(value);
            } else {
                coded[at] = true;
                rate.bits += f64::from(self.z_costs.of(value, index.into()));
                if slopes {
                    rate.z_slope[at] = self.z_costs.slope(value as f32, index.into()).0;
                }
            }
            rate.z_hat[at] = (value << header.z_shift) + i32::from(mean);
            Ok(rate.z_hat[at])
        })?;
        let (features, hyper_tape) = self.net.hyper(engine, input)?;
        let mut by_features = Tensor::zeros(features.rows(), features.columns(), if slopes { features.channels() } else { 0 })?;
        let mut context = Tensor::zeros(shape.rows, shape.columns, m)?;
        for step in 0..4 {
            let (parameters, tape) = self.net.forward(engine, step, &features, &context)?;
            let mut chosen = Step::new(step, header, shape, &parameters).symbols(y, y_fraction, skip_below, &self.trellis, engine)?.into_iter();
            let mut state = State::first(self.coding.code);
            let mut code = |row: usize, column: usize, by_mean: &mut [i16], by_index: &mut [i16]| {
                let first = (row * shape.columns + column) * m + phase_group(step, row, column) * group;
                let (means, raws) = parameters.at(row, column);
                for k in 0..group {
                    let at = first + k;
                    let index = (((i32::from(raws[k]) + half) >> header.index_shift) + header.index_offset).clamp(0, highest) as u8;
                    let residual = y[at] - (i32::from(means[k]) << finer);
                    // What is not coded costs nothing: in even states, a 0 that is next to certain does not either.
                    let quantiser = if index < skip_below { Quantiser::Even } else { state.quantiser() };
                    let costs = &self.y_costs[usize::from(quantiser == Quantiser::Odd)];
                    let symbol = if index < skip_below {
                        skipped.add(nearest(residual, y_fraction))
                    } else {
                        let symbol = chosen.next().map_or(0, |(symbol, _)| symbol);
                        rate.bits += f64::from(costs.of(symbol, index.into()));
                        state = state.next(symbol);
                        symbol
                    };
                    rate.y_hat[at] = quantiser.halves(symbol) * header.y_half_step + i32::from(means[k]);
                    context.data_mut()[at] = sat16(rate.y_hat[at].into());
                    if slopes {
                        // Of what is not coded, too: that is what keeps it near the mean, which is what it is decoded as.
                        let (slope, curvature) = self.y_costs[0].slope(residual as f32 * in_steps, index.into());
                        let slope = slope * steps;
                        rate.slope[at] += slope;
                        rate.curvature[at] = curvature.max(0.0) * steps * steps;
                        // A greater mean is a smaller residual. Casts saturate.
                        by_mean[k] = (-slope * scale) as i16;
                        by_index[k] = (costs.by_index(symbol, index.into()) * scale) as i16;
                    }
                }
            };
            if slopes {
                let g = parameters.derivatives(engine, &mut code)?;
                if let Some((by_context, exponent)) = self.net.backward(engine, step, &tape, &g, &mut by_features)? {
                    // By a unit of a latent in place of an integer of the context.
                    let scale = power_of_two(header.y_fraction as i32 - exponent) as f32;
                    add_to_coded(&mut rate.slope, &by_context, step, group, scale);
                    engine.recycle(by_context);
                }
                engine.recycle(g);
            } else {
                for row in 0..shape.rows {
                    (0..shape.columns).for_each(|column| code(row, column, &mut [], &mut []));
                }
            }
            parameters.recycle(engine);
            tape.recycle(engine);
        }
        engine.recycle(features);
        if slopes {
            let (g, exponent) = self.net.hyper_backward(engine, &hyper_tape, by_features)?;
            let scale = power_of_two(-exponent) as f32;
            let numbers = rate.z_slope.iter_mut().zip(g.data()).zip(coded).filter(|(_, coded)| *coded);
            numbers.for_each(|((slope, g), _)| *slope += f32::from(*g) * scale);
            engine.recycle(g);
        }
        hyper_tape.recycle(engine);
        rate.skips_too_much = skipped.is_too_much();
        Ok(rate)
    }
}

/// Adds `scale` times the derivatives by the context to those of what was coded before `step`.
fn add_to_coded(slope: &mut [f32], by_context: &Tensor, step: usize, group: usize, scale: f32) {
    let m = by_context.channels();
    for (at, (slope, g)) in slope.chunks_exact_mut(m).zip(by_context.data().chunks_exact(m)).enumerate() {
        let (row, column) = (at / by_context.columns(), at % by_context.columns());
        for earlier in 0..step {
            let first = phase_group(earlier, row, column) * group;
            slope[first..first + group].iter_mut().zip(&g[first..first + group]).for_each(|(slope, g)| *slope += f32::from(*g) * scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_costs() {
        let costs = Costs::new(&Tables::of(&[&[32, 65471, 32, 1], &[1000, 8000, 16000, 15536, 16000, 8000, 999, 1]]), Quantiser::Even);
        for index in 0..2 {
            assert_eq!(costs.slope(0.0, index).0, 0.0);
            for n in 0..3 {
                let (here, next) = (costs.of(n, index), costs.of(n + 1, index));
                let (slope, _) = costs.slope(n as f32 + 0.5, index);
                assert!((slope - (next - here)).abs() < 1e-4 || n as usize + 2 > costs.bits[index].len());
            }
            for i in -40..40 {
                let (slope, curvature) = costs.slope(i as f32 / 10.0, index);
                assert_eq!(costs.slope(-i as f32 / 10.0, index), (-slope, curvature));
            }
        }
        // A value beyond the table costs like the last one that is in it.
        assert_eq!(costs.of(100, 0), costs.of(-2, 0));
        assert_eq!(costs.by_index(1, 0), costs.of(1, 1) - costs.of(1, 0));
    }
}
