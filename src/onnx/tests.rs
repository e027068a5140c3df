//! Against the native networks, with a real ONNX Runtime. Where none is found these tests say so and do nothing; where `ORT_DYLIB_PATH` names one, it has to work.

use std::sync::{Arc, Mutex};

use super::chain::Chain;
use super::graph::Direction;
#[cfg(feature = "files")]
use super::graph::Form;
use super::*;
use crate::net::{Engine, INPUTS, Tensor};

/// Whether there is an ONNX Runtime. Where one is named and cannot be used, the tests fail.
fn is_there() -> bool {
    match session::check(Device::OrtCpu, &Model::embedded().unwrap()) {
        Ok(_) => true,
        Err(error) if std::env::var_os("ORT_DYLIB_PATH").is_some() => panic!("{error}"),
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}

fn tiny() -> Arc<Model> {
    Model::from_bytes(include_bytes!("../../format-spec/vectors/tiny.aem").to_vec()).unwrap()
}

/// Smooth with some noise, as features and samples are; the same every time.
fn input(model: &Model, direction: Direction, rows: usize, columns: usize, size: f64) -> Tensor {
    let (scale, channels) = match direction {
        Direction::Analysis => (2, INPUTS),
        Direction::Synthesis => (1, model.header().m),
    };
    let (rows, columns) = (rows * scale, columns * scale);
    let mut state = 1u64;
    let mut numbers = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            for channel in 0..channels {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let noise = (state >> 40) as f64 / f64::from(1 << 24) - 0.5;
                let wave = ((row as f64 / 3.1 + channel as f64).sin() + (column as f64 / 4.3 - channel as f64 / 7.).cos()) / 2.;
                numbers.push(((wave * 0.8 + noise * 0.4) * size) as i16);
            }
        }
    }
    Tensor::new(rows, columns, channels, numbers).unwrap()
}

fn natively(model: &Model, direction: Direction, quality: u8, x: &Tensor) -> Tensor {
    let engine = Engine::new(false).unwrap();
    match direction {
        Direction::Analysis => model.analysis().unwrap().stages(quality).push(&engine, x.clone(), true).unwrap(),
        Direction::Synthesis => model.synthesis().unwrap().stages(quality).push(&engine, x.clone(), true).unwrap(),
    }
}

/// Pushes `x` in bands whose heights repeat.
fn in_bands(mut windows: Windows<'_>, x: &Tensor, heights: &[usize], mut between: impl FnMut(&mut Windows<'_>)) -> Vec<i16> {
    let engine = Engine::new(false).unwrap();
    let (mut first, mut out) = (0, Vec::new());
    for height in heights.iter().cycle() {
        let height = (*height).min(x.rows() - first);
        out.extend(windows.push(&engine, x.rows_from(&engine, first, height).unwrap()).unwrap().into_data());
        first += height;
        between(&mut windows);
        if first == x.rows() {
            return out;
        }
    }
    out
}

/// Largest and mean difference.
fn difference(a: &[i16], b: &[i16]) -> (u16, f64) {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    (differences.clone().max().unwrap_or(0), differences.map(f64::from).sum::<f64>() / a.len() as f64)
}

/// Half of the range of samples in units of the synthesis' output, or features of the size that latents have.
fn usual_size(direction: Direction) -> f64 {
    match direction {
        Direction::Analysis => 12000.,
        Direction::Synthesis => 600.,
    }
}

const BOTH: [Direction; 2] = [Direction::Analysis, Direction::Synthesis];

#[test]
fn r5_10_windows_of_the_native_network_give_the_whole() {
    let model = tiny();
    for direction in BOTH {
        let side = 4 * direction.margin(&model).unwrap();
        for (rows, columns) in [(side + 1, 4), (3 * side, 2 * side + 3), (4, 5 * side / 2), (side, side)] {
            let x = input(&model, direction, rows, columns, usual_size(direction));
            for heights in [&[1][..], &[5, 8], &[1000]] {
                let windows = Windows::with_side(Chain::of(&[Device::Native], None), &model, direction, 20, [rows, columns], 0).unwrap();
                assert!(in_bands(windows, &x, heights, |_| ()) == natively(&model, direction, 20, &x).data(), "{direction:?} {rows}x{columns} in {heights:?}");
            }
        }
    }
}

#[test]
fn graphs_compute_what_the_native_networks_do() {
    if !is_there() {
        return;
    }
    for model in [Model::embedded().unwrap(), tiny()] {
        for direction in BOTH {
            for (rows, columns, side) in [(4, 4, 138), (8, 12, 138), (44, 24, 20)] {
                let x = input(&model, direction, rows, columns, usual_size(direction));
                for quality in [0, 31, 63] {
                    let windows = Windows::with_side(Chain::of(&[Device::OrtCpu], None), &model, direction, quality, [rows, columns], side).unwrap();
                    let (max, mean) = difference(&in_bands(windows, &x, &[3], |_| ()), natively(&model, direction, quality, &x).data());
                    println!("{} {} {rows}x{columns} q{quality}: at most {max}, mean {mean:.2}", model.name(), direction.name());
                    // Samples are in units of 1/64, latents' features of less.
                    assert!(max <= 80 && mean < 10., "{} {direction:?} {rows}x{columns} q{quality}: at most {max}, mean {mean}", model.name());
                }
            }
        }
    }
}

/// A photo's cells, and the features of its latents.
#[cfg(feature = "files")]
fn photo(model: &Model, quality: u8) -> [Tensor; 2] {
    let (picture, _) = crate::read_picture(include_bytes!("../../tests/data/budgie.jpg")).unwrap();
    let (rows, columns, row_len, h, encoder) = (40, 48, picture.width() as usize * 3, model.header(), model.encoder().unwrap());
    let sample = |row: usize, column: usize, i: usize| {
        let (y, x) = (row * 8 + i / 24, column * 8 + i % 24 / 3);
        (2 * i16::from(picture.samples()[y * row_len + x * 3 + i % 3]) - 255) << encoder.input_shift
    };
    let cells = (0..rows * columns * INPUTS).map(|n| sample(n / INPUTS / columns, n / INPUTS % columns, n % INPUTS)).collect();
    let cells = Tensor::new(rows, columns, INPUTS, cells).unwrap();
    let latents = natively(model, Direction::Analysis, quality, &cells);
    let analysis = model.analysis().unwrap();
    let features = latents.data().chunks_exact(h.m).flat_map(|x| {
        let y_hat: Vec<i32> =
            analysis.gain(quality, x).map(|y| ((y + (1 << encoder.y_input_fraction >> 1)) >> encoder.y_input_fraction) << h.y_fraction).collect();
        model.synthesis().unwrap().gain(quality, 0, &y_hat).collect::<Vec<_>>()
    });
    let features = Tensor::new(rows / 2, columns / 2, h.m, features.collect()).unwrap();
    [cells, features]
}

/// What graphics processors compute in. Here it is done in 32 bits and rounded: tensor cores have 32 bits for sums, too.
#[cfg(feature = "files")]
#[test]
fn sixteen_bit_floats_are_close_enough() {
    if !is_there() {
        return;
    }
    let model = Model::embedded().unwrap();
    for quality in [8, 24, 40, 56] {
        for (direction, x) in BOTH.into_iter().zip(photo(&model, quality)) {
            let expected = natively(&model, direction, quality, &x);
            let dims = |t: &Tensor| [1, t.rows(), t.columns(), t.channels()];
            let [long, short] = [Form::Float, Form::Rounded].map(|form| {
                let mut network = session::network_in(&model, direction, Device::OrtCpu, form).unwrap();
                let mut out = Vec::new();
                network.run(quality, dims(&x), dims(&expected), |to| to.copy_from_slice(x.data()), |y| out = y.to_vec()).unwrap();
                difference(&out, expected.data())
            });
            println!("{} q{quality}: 32 bits {long:?}, 16 bits {short:?}", direction.name());
            // Samples are in units of 1/64.
            assert!(long.0 <= 64 && long.1 < 10., "{direction:?} q{quality}: {long:?}");
            assert!(short.0 <= 128 && short.1 < 20., "{direction:?} q{quality}: {short:?}");
        }
    }
}

#[test]
fn a_device_that_fails_is_followed_by_the_next_one_with_one_warning() {
    if !is_there() {
        return;
    }
    let (model, direction) = (tiny(), Direction::Synthesis);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let warn = {
        let lines = Arc::clone(&lines);
        move |line: &str| lines.lock().unwrap().push(line.to_owned())
    };
    let x = input(&model, direction, 60, 9, usual_size(direction));
    let exact = natively(&model, direction, 5, &x);

    // One that fails on the way: what it has done stands, the rest is native.
    let chain = Chain::of(&[Device::OrtCpu, Device::Native], Some(Arc::new(warn.clone())));
    let windows = Windows::with_side(chain, &model, direction, 5, [60, 9], 0).unwrap();
    let mut pushes = 0;
    let out = in_bands(windows, &x, &[30], |windows| {
        pushes += 1;
        if pushes == 1 {
            windows.fail().unwrap();
        }
    });
    let (max, _) = difference(&out, exact.data());
    assert!(max <= 80, "{max}");
    let later = out.len() * 3 / 4;
    assert!(out[later..] == exact.data()[later..]);
    let said = std::mem::take(&mut *lines.lock().unwrap());
    assert!(matches!(&said[..], [line] if line == "ort-cpu failed: it has run out of memory; going on with native"), "{said:?}");

    // One that cannot be loaded: the processor's ONNX Runtime has no CUDA, and where it has, there is one who can tell better.
    let built_with_cuda = check_device(Device::Cuda).is_ok();
    if !built_with_cuda {
        let chain = Chain::of(&[Device::Cuda, Device::Native], Some(Arc::new(warn)));
        let windows = Windows::new(chain, &model, direction, 5, 60, 9).unwrap();
        assert!(in_bands(windows, &x, &[7], |_| ()) == exact.data());
        let said = lines.lock().unwrap().clone();
        assert!(matches!(&said[..], [line] if line.contains("cuda") && line.ends_with("; going on with native")), "{said:?}");
        // Asked for by name it is an error.
        let error = Windows::new(Chain::new(Device::Cuda, None), &model, direction, 5, 60, 9).err().unwrap();
        assert!(matches!(&error, Error::Device(line) if line.contains("onnxruntime-gpu") || line.contains("NVIDIA")), "{error}");
    }
}

/// The tiny model with another analysis: one byte is changed, the first one that changes what comes out by much.
fn with_another_analysis(x: &Tensor) -> Arc<Model> {
    let (bytes, exact) = (tiny().file().to_vec(), natively(&tiny(), Direction::Analysis, 20, x));
    let at = bytes.windows(4).position(|kind| kind == b"enco").unwrap() + 8;
    let end = at + u32::from_le_bytes(bytes[at - 4..at].try_into().unwrap()) as usize;
    let changed = |byte: usize| {
        let mut bytes = bytes.clone();
        bytes[byte] ^= 0x10;
        let crc = crate::container::chunk::crc(b"enco", &[&bytes[at..end]]);
        bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
        Model::from_bytes(bytes).ok()
    };
    let differs = |model: &Arc<Model>| difference(natively(model, Direction::Analysis, 20, x).data(), exact.data()).0 > 1000;
    (at + 6..end).filter_map(changed).find(differs).unwrap()
}

/// Warm networks and engines that are kept do not go by the model's id, which is of what decodes.
#[test]
fn models_of_one_id_have_analyses_of_their_own() {
    let x = input(&tiny(), Direction::Analysis, 8, 8, usual_size(Direction::Analysis));
    let (model, other) = (tiny(), with_another_analysis(&x));
    assert_eq!(model.id(), other.id());
    assert_ne!(model.analysis_id().unwrap(), other.analysis_id().unwrap());
    assert_eq!(model.analysis_id().unwrap(), tiny().analysis_id().unwrap());
    if !is_there() {
        return;
    }
    for model in [model, other] {
        let windows = Windows::new(Chain::of(&[Device::OrtCpu], None), &model, Direction::Analysis, 20, 8, 8).unwrap();
        let (max, _) = difference(&in_bands(windows, &x, &[8], |_| ()), natively(&model, Direction::Analysis, 20, &x).data());
        assert!(max <= 80, "{max}");
    }
}

#[test]
fn exported_graphs_load() {
    let model = tiny();
    let files = export_onnx(&model).unwrap();
    assert!(files.iter().all(|file| file.len() > 1000));
    if is_there() {
        for (file, names) in files.iter().zip([["pixels", "y"], ["y_hat", "pixels"]]) {
            let session = ort::session::Session::builder().unwrap().commit_from_memory(file).unwrap();
            let found: Vec<&str> = session.inputs().iter().chain(session.outputs()).map(|outlet| outlet.name()).collect();
            assert_eq!(found, [names[0], "quality", names[1]]);
        }
    }
}

/// Beyond 16 bits the native network saturates, and a graph would go far astray: such windows are computed natively.
#[test]
fn what_saturates_is_exact() {
    if !is_there() {
        return;
    }
    let model = Model::embedded().unwrap();
    for direction in BOTH {
        // Latents can be anything that a file says; samples are at most 255 in units of 2^-6, and what is beyond never comes to an analysis.
        let largest = if direction == Direction::Analysis { 16320. } else { 32700. };
        for size in [1000., 2000., 2500., 3000., 3500., 4000., 8000., 16000., largest] {
            let x = input(&model, direction, 20, 20, size);
            let exact = natively(&model, direction, 31, &x);
            let windows = Windows::new(Chain::of(&[Device::OrtCpu], None), &model, direction, 31, 20, 20).unwrap();
            let out = in_bands(windows, &x, &[9], |_| ());
            let (max, mean) = difference(&out, exact.data());
            println!("{} of {size}: at most {max}, mean {mean:.2}", direction.name());
            assert!(max <= 80 && mean < 10., "{direction:?} of {size}: at most {max}, mean {mean}");
        }
    }
}
