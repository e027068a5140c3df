//! Refined latents: cheaper files, the same by every way in, and decoded like all others.
#![cfg(feature = "cli")]

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aei::metrics::{Rgb, psnr};
use aei::{Channels, Decoder, Encoder, Error, Layout, Lossless, Orientation, Picture, Quality, Target, Tune};
use assert_cmd::Command;
use common::{rows_joined, scene, tiny_encoder};
use predicates::str::contains;

fn encoder(index: u8, effort: u8) -> Encoder {
    Encoder::new().lossless(Lossless::Never).quality(Quality::index(index).unwrap()).effort(effort).unwrap()
}

/// Bits and what the errors of the decoded picture are worth in bits, by the weights that the networks were trained with.
fn cost(picture: &Picture, file: &[u8], lambda: f64) -> f64 {
    let decoded = Decoder::new(file).unwrap().decode().unwrap();
    let psnr = psnr(&Rgb::new(picture), &Rgb::new(&decoded)).unwrap().rgb;
    let squares = 255f64.powi(2) / 10f64.powf(psnr / 10.0) * f64::from(picture.width() * picture.height());
    file.len() as f64 * 8.0 + lambda * squares
}

#[test]
fn the_cost_falls_with_the_effort() {
    let picture = scene(200, 180, Channels::Rgb, 5);
    for (index, lambda) in [(14, 0.003979), (47, 0.1032)] {
        let costs: Vec<f64> = (0..=4).map(|effort| cost(&picture, &encoder(index, effort).encode(&picture).unwrap(), lambda)).collect();
        // Each level does more than the one before, within what chance may do.
        assert!(costs.windows(2).all(|pair| pair[1] < pair[0] * 1.005), "index {index}: {costs:?}");
        assert!(costs[4] < costs[0] * 0.975, "index {index}: {costs:?}");
    }
}

#[test]
fn no_effort_is_the_default_and_more_than_five_is_refused() {
    let picture = scene(70, 40, Channels::Rgb, 6);
    assert!(encoder(38, 0).encode(&picture).unwrap() == Encoder::new().lossless(Lossless::Never).encode(&picture).unwrap());
    assert!(encoder(38, 1).encode(&picture).unwrap() != encoder(38, 0).encode(&picture).unwrap());
    assert!(matches!(Encoder::new().effort(6), Err(Error::Parameter(message)) if message.contains("0 to 5")));
}

#[test]
fn rows_threads_and_kinds_of_pictures_change_nothing() {
    for (width, height, channels, tile) in
        [(1, 1, Channels::Gray, 256), (530, 300, Channels::Rgba, 256), (300, 530, Channels::GrayAlpha, 256), (700, 64, Channels::Rgb, 512)]
    {
        let picture = scene(width, height, channels, 7).with_orientation(Orientation::from_exif(6).unwrap());
        let encoder = tiny_encoder(tile).effort(2).unwrap();
        let whole = encoder.encode(&picture).unwrap();
        let samples = picture.samples();
        let mut rest = &samples[..];
        let layout = Layout::new(width, height, channels).unwrap().with_orientation(Orientation::from_exif(6).unwrap());
        let rows = encoder.encode_rows(layout, |rows| {
            let (now, later) = rest.split_at(rows.len());
            rows.copy_from_slice(now);
            rest = later;
            Ok(())
        });
        assert!(rows.unwrap() == whole);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(|| encoder.encode(&picture).unwrap()) == whole, "{threads} threads");
        }
        let decoder = common::tiny_decoder(&whole);
        assert_eq!(rows_joined(&decoder).unwrap(), decoder.decode().unwrap().samples().to_vec());
    }
}

/// Deep samples that are those of eight bits give the same file, but for the depth in its head.
#[test]
fn deep_samples_are_refined_alike() {
    let picture = scene(130, 90, Channels::Rgb, 8);
    let deep = Picture::from_samples(130, 90, Channels::Rgb, aei::Samples::U16(picture.data().to_u16().into_owned())).unwrap();
    let encoder = tiny_encoder(256).effort(3).unwrap();
    let [eight, sixteen] = [&picture, &deep].map(|picture| common::tiny_decoder(&encoder.encode(picture).unwrap()).decode().unwrap().samples().to_vec());
    assert_eq!(eight, sixteen);
}

#[test]
fn pictures_that_networks_fail_at_get_no_worse() {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    let noise = Picture::rgb(128, 128, (0..128 * 128 * 3).map(|_| next()).collect()).unwrap();
    let board = Picture::gray(128, 128, (0..128 * 128).map(|i| if (i + i / 128) % 2 == 0 { 0 } else { 255 }).collect()).unwrap();
    let flat = Picture::rgb(128, 128, vec![255; 128 * 128 * 3]).unwrap();
    for (picture, (index, lambda)) in [&noise, &board, &flat].into_iter().flat_map(|p| [(14, 0.003979), (63, 1.1)].map(|q| (p, q))) {
        let [plain, refined] = [0, 3].map(|effort| cost(picture, &encoder(index, effort).encode(picture).unwrap(), lambda));
        assert!(refined <= plain * 1.005, "index {index}: {plain} to {refined}");
    }
}

/// Mean squared error of a half of a picture, left or right.
fn error_of_half(picture: &Picture, file: &[u8], right: bool) -> f64 {
    let decoded = Decoder::new(file).unwrap().decode().unwrap();
    let (width, samples, decoded) = (picture.width() as usize, picture.samples(), decoded.samples());
    let in_half = |i: usize| (i / 3 % width >= width / 2) == right;
    let squares = samples.iter().zip(decoded.iter()).enumerate().filter(|(i, _)| in_half(*i)).map(|(_, (a, b))| (f64::from(*a) - f64::from(*b)).powi(2));
    squares.sum::<f64>() / (samples.len() / 2) as f64
}

#[test]
fn tuned_for_the_look_errors_go_where_much_is_going_on() {
    // Faint waves to the left, strong texture to the right.
    let samples = (0..192 * 128 * 3).map(|i| {
        let (x, y) = (i / 3 % 192, i / 576);
        let wave = ((x as f64 / 9.0).sin() + (y as f64 / 7.0).cos()) * 4.0;
        let texture = if x < 96 { 0.0 } else { ((x * 7919 + y * 104_729 + x * y * 31) % 101) as f64 - 50.0 };
        (120.0 + wave + texture + (i % 3 * 9) as f64) as u8
    });
    let picture = Picture::rgb(192, 128, samples.collect()).unwrap();
    let none = encoder(30, 0).encode(&picture).unwrap();
    let [psnr, visual] = [Tune::Psnr, Tune::Visual].map(|tune| encoder(30, 4).tune(tune).encode(&picture).unwrap());
    let of = |file: &[u8], right| error_of_half(&picture, &visual, right) / error_of_half(&picture, file, right);
    // Than without an effort, there is less error to the left for no more bytes; than with the other tuning, more to the right.
    assert!(of(&none, false) < 0.9 && visual.len() <= none.len(), "{}, {} and {} bytes", of(&none, false), visual.len(), none.len());
    assert!(of(&psnr, true) > 1.02, "{}", of(&psnr, true));
    // It is for an effort alone.
    assert!(encoder(30, 0).tune(Tune::Visual).encode(&picture).unwrap() == encoder(30, 0).encode(&picture).unwrap());
    let on_one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert!(on_one_thread.install(|| encoder(30, 4).tune(Tune::Visual).encode(&picture).unwrap()) == visual);
}

#[test]
fn targets_are_met_with_effort() {
    let picture = scene(160, 120, Channels::Rgb, 9);
    for effort in [1, 3] {
        let files: Vec<_> = (14..24).map(|index| encoder(index, effort).encode(&picture).unwrap()).collect();
        for bytes in [files[3].len(), files[6].len() + 1] {
            let file = encoder(0, effort).encode_to(&picture, Target::Bytes(bytes as u64)).unwrap();
            // Though few files are made with the effort, what is found is what is best among them, but for a step between two indices.
            let best = files.iter().map(Vec::len).filter(|len| *len <= bytes).max().unwrap();
            assert!(file.len() <= bytes && file.len() * 100 >= best * 98, "effort {effort}: {} of {bytes}, {best}", file.len());
        }
        let too_small = encoder(0, effort).encode_to(&picture, Target::Bytes(40));
        assert!(matches!(too_small, Err(Error::Parameter(message)) if message.contains("can be reached")));
    }
}

#[test]
fn scores_are_reached_with_effort() {
    let picture = scene(120, 96, Channels::Rgb, 9);
    for (effort, tune) in [(1, Tune::Psnr), (2, Tune::Visual)] {
        let score = |file: &[u8]| psnr(&Rgb::new(&picture), &Rgb::new(&Decoder::new(file).unwrap().decode().unwrap())).unwrap().rgb;
        let files: Vec<_> = (14..24).map(|index| encoder(index, effort).tune(tune).encode(&picture).unwrap()).collect();
        for wanted in [score(&files[3]), score(&files[6]) + 0.01] {
            let file = encoder(0, effort).tune(tune).encode_to(&picture, Target::Psnr(wanted)).unwrap();
            // The first index that reaches it, or the next one.
            let first = files.iter().position(|file| score(file) >= wanted).unwrap();
            assert!(score(&file) >= wanted && file.len() <= files[first + 1].len(), "effort {effort}: {} bytes, not {}", file.len(), files[first].len());
        }
    }
}

#[test]
fn break_ends_the_work_between_rounds() {
    let picture = scene(300, 300, Channels::Rgb, 10);
    let calls = Arc::new(AtomicU64::new(0));
    let count = |effort: u8, stop_at: u64| {
        let seen = Arc::clone(&calls);
        seen.store(0, Ordering::Relaxed);
        let encoder = tiny_encoder(256)
            .effort(effort)
            .unwrap()
            .on_progress(move |_, _| if seen.fetch_add(1, Ordering::Relaxed) + 1 == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
        let result = encoder.encode(&picture);
        (result, calls.load(Ordering::Relaxed))
    };
    let (plain, few) = count(0, u64::MAX);
    let (refined, many) = count(4, u64::MAX);
    assert!(plain.is_ok() && refined.is_ok() && many >= few + 4 * 8, "{few}, {many} calls");
    let (stopped, calls) = count(4, few + 5);
    assert!(matches!(stopped, Err(Error::Cancelled)) && calls == few + 5);
}

#[test]
fn the_program_gives_the_file_of_the_library() {
    let folder = tempfile::tempdir().unwrap();
    let picture = scene(90, 70, Channels::Rgb, 11);
    let (png, out) = (folder.path().join("a.png"), folder.path().join("a.aei"));
    image::RgbImage::from_raw(90, 70, picture.samples().to_vec()).unwrap().save(&png).unwrap();
    let run = |arguments: &[&str]| Command::cargo_bin("aei").unwrap().arg("encode").arg(&png).arg("-o").arg(&out).arg("-f").args(arguments).assert();
    run(&["--effort", "3", "--quality-index", "30", "--lossless=never"]).success();
    assert!(std::fs::read(&out).unwrap() == encoder(30, 3).encode(&picture).unwrap());
    run(&["--effort", "2", "--tune", "visual", "--quality-index", "30", "--lossless=never"]).success();
    assert!(std::fs::read(&out).unwrap() == encoder(30, 2).tune(Tune::Visual).encode(&picture).unwrap());
    run(&["--tune", "visual"]).code(2).stderr(contains("--tune visual needs an effort"));
    run(&["--effort", "6"]).code(2).stderr(contains("6 is not in 0..=5"));
}
