use super::*;
use crate::net::kernels::{self, Kernel};
use crate::net::{Engine, Model, OUTPUTS, Tensor};

fn power_of_two(n: i32) -> f64 {
    2f64.powi(n)
}

fn models() -> [std::sync::Arc<Model>; 2] {
    [Model::embedded().unwrap(), Model::from_bytes(include_bytes!("../../../format-spec/vectors/tiny.aem").to_vec()).unwrap()]
}

/// Numbers between `-size` and `size`.
fn random(rows: usize, columns: usize, channels: usize, size: i32, seed: u64) -> Tensor {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 33) as i32 % (2 * size + 1) - size) as i16
    };
    Tensor::new(rows, columns, channels, (0..rows * columns * channels).map(|_| next()).collect()).unwrap()
}

fn plus(x: &Tensor, step: &Tensor, sign: i16) -> Tensor {
    let data = x.data().iter().zip(step.data()).map(|(x, d)| x.saturating_add(sign * d)).collect();
    Tensor::new(x.rows(), x.columns(), x.channels(), data).unwrap()
}

fn dot(a: &[i16], b: impl Iterator<Item = i32>) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()
}

/// From what `forward` gives on both sides of a point: the differences, fit for 16 bits, and what they should add up to according to derivatives by them.
fn differences(above: &[i16], below: &[i16]) -> Vec<i16> {
    above.iter().zip(below).map(|(a, b)| a.saturating_sub(*b)).collect()
}

#[test]
fn synthesis_forward_is_the_synthesis() {
    let engine = Engine::new(true).unwrap();
    for model in models() {
        let x = random(5, 8, model.header().m, 2000, 1);
        let (out, _) = model.synthesis_gradient().unwrap().forward(&engine, 40, x.clone()).unwrap();
        assert_eq!(out.data(), model.synthesis().unwrap().stages(40).push(&engine, x, true).unwrap().data());
    }
}

#[test]
fn context_model_forward_is_the_context_model() {
    let engine = Engine::new(true).unwrap();
    for model in models() {
        let h = model.header();
        let (features, context) = (random(4, 8, h.ce, 1500, 2), random(4, 8, h.m, 1500, 3));
        for step in 0..4 {
            let (found, _) = model.entropy_gradient().unwrap().forward(&engine, step, &features, &context).unwrap();
            let expected = model.entropy().unwrap().step(&engine, step, &features, &context).unwrap();
            for (row, column) in (0..4).flat_map(|row| (0..8).map(move |column| (row, column))) {
                assert_eq!(found.at(row, column), expected.at(row, column));
            }
        }
    }
}

/// The change of the samples in a direction, multiplied by itself, is what derivatives by the samples say of that direction: `d'J'(J d) = |J d|^2`.
#[test]
fn synthesis_backward_tells_how_samples_change() {
    let engine = Engine::new(true).unwrap();
    for (model, quality) in models().into_iter().flat_map(|model| [(model.clone(), 10), (model, 50)]) {
        let net = model.synthesis_gradient().unwrap();
        let (x, step) = (random(6, 4, model.header().m, 1000, 4), random(6, 4, model.header().m, 20, 5));
        let (_, tape) = net.forward(&engine, quality, x.clone()).unwrap();
        let [above, below] = [1, -1].map(|sign| net.forward(&engine, quality, plus(&x, &step, sign)).unwrap().0);
        let change = differences(above.data(), below.data());
        let squares: f64 = change.iter().map(|c| f64::from(*c).powi(2)).sum();
        let g = net.backward(&engine, quality, &tape, Tensor::new(above.rows(), above.columns(), OUTPUTS, change).unwrap()).unwrap();
        let found = 2.0 * dot(g.data(), step.data().iter().map(|d| (*d).into())) * power_of_two(-net.rise());
        assert!((found / squares - 1.0).abs() < 0.1, "quality {quality}: {found} instead of {squares}");
    }
}

#[test]
fn hyper_synthesis_forward_is_the_hyper_synthesis() {
    let engine = Engine::new(true).unwrap();
    for model in models() {
        let z = random(2, 3, model.header().nz, 1000, 11);
        let (found, _) = model.entropy_gradient().unwrap().hyper(&engine, z.clone()).unwrap();
        assert_eq!(found.data(), model.entropy().unwrap().hyper(&engine, z).unwrap().data());
    }
}

/// As with the synthesis; here of context, hyper features and z in turn.
#[test]
fn entropy_network_backward_tells_how_parameters_change() {
    let engine = Engine::new(true).unwrap();
    for model in models() {
        let (h, net) = (model.header(), model.entropy_gradient().unwrap());
        let one = 1 << h.z_shift;
        let (z, z_step) = (random(1, 2, h.nz, 2 * one, 6), random(1, 2, h.nz, one / 2, 12));
        let (features, hyper_tape) = net.hyper(&engine, z.clone()).unwrap();
        let (context, steps) = (random(4, 8, h.m, 1000, 7), [random(4, 8, h.m, 20, 8), random(4, 8, h.ce, 30, 13)]);
        for (step, what) in (0..4).flat_map(|step| (0..3).map(move |what| (step, what))) {
            let (parameters, tape) = net.forward(&engine, step, &features, &context).unwrap();
            let at = |sign: i16| {
                let near = match what {
                    0 => (features.clone(), plus(&context, &steps[0], sign)),
                    1 => (plus(&features, &steps[1], sign), context.clone()),
                    _ => (net.hyper(&engine, plus(&z, &z_step, sign)).unwrap().0, context.clone()),
                };
                net.forward(&engine, step, &near.0, &near.1).unwrap().0
            };
            let (above, below) = (at(1), at(-1));
            // Changes of means in units of a latent and of indices in whole ones, as derivatives are by these.
            let units = [h.y_fraction, h.index_shift].map(|shift| power_of_two(-(shift as i32)));
            let mut squares = 0.0;
            let g = parameters.derivatives(&engine, |row, column, by_mean, by_index| {
                let (above, below) = (above.at(row, column), below.at(row, column));
                for (out, above, below, unit) in [(by_mean, above.0, below.0, units[0]), (by_index, above.1, below.1, units[1])] {
                    for (out, change) in out.iter_mut().zip(differences(above, below)) {
                        // Small enough for what they add up to on the way back to z, which is more where there is no context.
                        *out = (f64::from(change) * unit * [256.0, 256.0, if step == 0 { 16.0 } else { 32.0 }][what]).round() as i16;
                        squares += f64::from(*out) * f64::from(change) * unit;
                    }
                }
            });
            let mut by_features = Tensor::zeros(4, 8, h.ce).unwrap();
            let by_context = net.backward(&engine, step, &tape, &g.unwrap(), &mut by_features).unwrap();
            assert_eq!(by_context.is_some(), step > 0);
            let (g, exponent, moved) = match (what, by_context) {
                (0, Some((by_context, exponent))) => (by_context, exponent, steps[0].data()),
                (0, None) => continue,
                (1, _) => (by_features, net.features_exponent(), steps[1].data()),
                _ => {
                    let (by_z, exponent) = net.hyper_backward(&engine, &hyper_tape, by_features).unwrap();
                    (by_z, exponent + h.z_shift as i32, z_step.data())
                }
            };
            let found = 2.0 * dot(g.data(), moved.iter().map(|d| (*d).into())) * power_of_two(RATE_EXPONENT - exponent);
            assert!((found / squares - 1.0).abs() < 0.15, "step {step}, {what}: {found} instead of {squares}");
        }
    }
}

#[test]
fn derivatives_are_the_same_with_every_kernel_and_on_one_thread_or_more() {
    let model = Model::embedded().unwrap();
    let net = model.synthesis_gradient().unwrap();
    let run = |kernel: &'static dyn Kernel, parallel: bool| {
        let engine = Engine::with_kernel(kernel, parallel);
        let (_, tape) = net.forward(&engine, 30, random(4, 8, model.header().m, 1000, 9)).unwrap();
        net.backward(&engine, 30, &tape, random(8, 16, OUTPUTS, 500, 10)).unwrap().data().to_vec()
    };
    let all = kernels::available();
    let expected = run(all[all.len() - 1], false);
    assert!(expected.iter().any(|g| g.unsigned_abs() > 100));
    for kernel in all {
        assert_eq!(run(kernel, true), expected, "{}", kernel.name());
    }
}

#[test]
fn transposed_layers_keep_the_magnitude_and_fit_the_kernels() {
    // By hand: outputs 3 x0 - x1 and x1 / 4.
    let layer = Layer { inputs: 2, weights: vec![384, -128, 0, 64], biases: vec![7, 8], shifts: vec![7, 8] };
    let transposed = Transposed::new(&layer, |_| 0);
    assert_eq!(transposed.weights.iter().map(|w| *w as f64 * power_of_two(-40)).collect::<Vec<_>>(), [3.0, 0.0, -1.0, 0.25]);
    // Squares of 9 and 1.06: gains of 2.2 on the average, 1.1 at half the magnitude.
    assert_eq!(transposed.natural_rise(), -1);
    let back = transposed.layer(-1);
    let real: Vec<f64> =
        back.weights.chunks(2).zip(&back.shifts).flat_map(|(row, shift)| row.iter().map(|w| f64::from(*w) * power_of_two(-i32::from(*shift)))).collect();
    assert_eq!(real, [1.5, 0.0, -0.5, 0.125]);
    assert_eq!((back.inputs, &back.biases[..]), (2, &[0, 0][..]));
    // Whatever a model says, sums do not overflow.
    for (weight, shift) in [(i16::MAX, 1), (i16::MIN, 1), (1, 24), (0, 3)] {
        let layer = Layer { inputs: 16, weights: vec![weight; 16 * 64], biases: vec![0; 64], shifts: vec![shift; 64] };
        let transposed = Transposed::new(&layer, |_| 0);
        for rise in [transposed.natural_rise(), -40, 0, 40] {
            let back = transposed.layer(rise);
            for (row, shift) in back.weights.chunks(64).zip(&back.shifts) {
                let sum: u64 = row.iter().map(|w| u64::from(w.unsigned_abs())).sum();
                assert!((sum << 15) + (1 << (shift - 1)) < 1 << 31 && SHIFTS.contains(shift), "{weight} >> {shift}, rise {rise}: {sum}");
            }
        }
    }
}
