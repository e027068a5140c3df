//! Differential tests inside the codec, and the program that writes `format-spec/vectors`.

use ndarray::s;

use super::*;
use crate::container::{self, Attachments, Head};
use crate::entropy::{CodedTile, Coding, StreamDecoder, TileShape, TrellisCode, decode_tile, encode_tile};
use crate::net::{Engine, INPUTS, Model, Tensor, kernels};
use crate::{Channels, ModelId, Orientation, Picture};

mod vectors;

/// Numbers that look random and are the same everywhere.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    fn below(&mut self, bound: u32) -> i32 {
        (self.next() % bound) as i32
    }
}

/// A picture with what pictures have: gradients, edges, texture, noise.
fn scene(width: u32, height: u32, channels: Channels, seed: u64) -> Picture {
    let mut noise = Noise(seed);
    let discs: Vec<[i32; 6]> = (0..12)
        .map(|_| [noise.below(width), noise.below(height), 4 + noise.below(width / 4 + 4), noise.below(256), noise.below(256), noise.below(256)])
        .collect();
    let mut samples = Vec::new();
    for y in 0..height as i32 {
        for x in 0..width as i32 {
            let mut pixel = [40 + x * 120 / width as i32, 60 + y * 150 / height as i32, 200 - (x + y) * 140 / (width + height) as i32];
            for [cx, cy, r, red, green, blue] in &discs {
                if (x - cx).pow(2) + (y - cy).pow(2) < r * r {
                    pixel = [*red, *green, *blue].map(|v| v + (x * 3 + y) % 7 * 4);
                }
            }
            let grain = noise.below(9) - 4;
            samples.extend(pixel[..channels.without_alpha().count()].iter().map(|v| (v + grain).clamp(0, 255) as u8));
            if channels.has_alpha() {
                samples.push(((x * 9 + y * 5) % 300).min(255) as u8);
            }
        }
    }
    Picture::new(width, height, channels, samples).unwrap()
}

fn noise_picture(width: u32, height: u32, seed: u64) -> Picture {
    let mut noise = Noise(seed);
    Picture::rgb(width, height, (0..width * height * 3).map(|_| noise.next() as u8).collect()).unwrap()
}

fn random_tensor(rows: usize, columns: usize, channels: usize, size: i32) -> Tensor {
    let mut noise = Noise(rows as u64);
    let data = (0..rows * columns * channels).map(|_| (noise.below(2 * size as u32 + 1) - size) as i16).collect();
    Tensor::new(rows, columns, channels, data).unwrap()
}

/// Runs `f` on so many threads.
fn threads<T: Send>(count: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap().install(f)
}

/// Pushes a tensor through a network's stages in bands whose heights repeat.
fn in_bands(x: &Tensor, heights: &[usize], engine: &Engine, mut push: impl FnMut(Tensor, bool) -> crate::Result<Tensor>) -> Vec<i16> {
    let (mut first, mut out) = (0, Vec::new());
    for height in heights.iter().cycle() {
        let height = (*height).min(x.rows() - first);
        let band = x.rows_from(engine, first, height).unwrap();
        first += height;
        out.extend_from_slice(push(band, first == x.rows()).unwrap().data());
        if first == x.rows() {
            return out;
        }
    }
    out
}

#[test]
fn r5_10_synthesis_in_bands_is_synthesis_of_the_whole() {
    let model = Model::embedded().unwrap();
    let synthesis = model.synthesis().unwrap();
    let engine = Engine::new(true).unwrap();
    let x = random_tensor(12, 8, model.header().m, 3000);
    let whole = synthesis.stages(30).push(&engine, x.clone(), true).unwrap();
    for heights in [&[1][..], &[3, 1, 0, 5], &[11, 1]] {
        let mut stages = synthesis.stages(30);
        assert_eq!(in_bands(&x, heights, &engine, |band, last| stages.push(&engine, band, last)), whole.data(), "{heights:?}");
    }
}

#[test]
fn analysis_in_bands_is_analysis_of_the_whole() {
    let model = Model::embedded().unwrap();
    let analysis = model.analysis().unwrap();
    let engine = Engine::new(true).unwrap();
    let x = random_tensor(16, 8, INPUTS, 16320);
    let whole = analysis.stages(50).push(&engine, x.clone(), true).unwrap();
    for heights in [&[1][..], &[3, 1, 0, 5], &[15, 1]] {
        let mut stages = analysis.stages(50);
        assert_eq!(in_bands(&x, heights, &engine, |band, last| stages.push(&engine, band, last)), whole.data(), "{heights:?}");
    }
}

/// What region decoding relies on: a part with the margin of R5.10 has the samples of the whole.
#[test]
fn r5_10_synthesis_of_a_part_with_margin_is_the_part_of_the_whole() {
    let model = Model::embedded().unwrap();
    let (synthesis, h) = (model.synthesis().unwrap(), model.header());
    let engine = Engine::new(true).unwrap();
    let margin = h.synthesis.margin();
    let (rows, columns) = (2 * margin + 6, 2 * margin + 7);
    let x = random_tensor(rows, columns, h.m, 3000);
    let whole = synthesis.stages(63).push(&engine, x.clone(), true).unwrap();
    let part = x.view().slice(s![1..rows - 1, 2..columns - 1, ..]).to_owned();
    let (r, c, _) = part.dim();
    let part = Tensor::new(r, c, h.m, part.iter().copied().collect()).unwrap();
    let part = synthesis.stages(63).push(&engine, part, true).unwrap();
    // One latent is two cells of 8 x 8 pixels.
    let inner = |t: &Tensor, top: usize, left: usize| {
        let (bottom, right) = (2 * (margin + 5) - top, 2 * (margin + 6) - left);
        t.view().slice(s![2 * (margin + 1) - top..bottom, 2 * (margin + 2) - left..right, ..]).to_owned()
    };
    assert_eq!(inner(&whole, 0, 0), inner(&part, 2, 4));
    assert_ne!(whole.view().slice(s![2..4, 4..6, ..]), part.view().slice(s![0..2, 0..2, ..]), "the margin matters");
}

#[test]
fn every_kernel_and_thread_count_gives_the_same_tile_and_samples() {
    let model = Model::embedded().unwrap();
    let (analysis, synthesis, h) = (model.analysis().unwrap(), model.synthesis().unwrap(), model.header());
    let (shape, coding) = (TileShape { rows: 8, columns: 12 }, Coding { quality: 20, code: TrellisCode::States1024 });
    let cells = random_tensor(16, 24, INPUTS, 16320);
    let mut results = Vec::new();
    for kernel in kernels::available() {
        for count in [1, 2, 3] {
            results.push(threads(count, || {
                let engine = Engine::with_kernel(kernel, true);
                let features = analysis.stages(20).push(&engine, cells.clone(), true).unwrap();
                let y: Vec<i32> = features.data().chunks_exact(h.m).flat_map(|x| analysis.gain(20, x).collect::<Vec<_>>()).collect();
                let stream = encode_tile(&y, &model, analysis, &engine, coding, shape, None).unwrap();
                let latents = decode_tile(stream.code(), &model, &engine, coding, shape).unwrap();
                let samples = synthesis.stages(20).push(&engine, latents, true).unwrap();
                (kernel.name(), count, stream, samples.into_data())
            }));
        }
    }
    for (name, count, stream, samples) in &results[1..] {
        assert!(stream == &results[0].2 && samples == &results[0].3, "{name} on {count} threads differs from {}", results[0].0);
    }
}

#[test]
fn encoding_is_deterministic_whatever_the_threads() {
    let picture = scene(600, 300, Channels::Rgb, 1);
    let encode = || Encoder::new().lossless(Lossless::Never).tile_size(256).unwrap().encode(&picture).unwrap();
    let first = threads(1, encode);
    assert_eq!(first, encode());
    assert_eq!(first, threads(2, encode));
    assert_eq!(first, threads(4, encode));
    let decode = || Decoder::new(&first[..]).unwrap().decode().unwrap();
    let one = threads(1, decode);
    assert_eq!(one, threads(2, decode));
    assert_eq!(one, threads(4, decode));
}

/// Root mean square difference, in levels.
fn rms(a: &Picture, b: &Picture) -> f64 {
    let sum: f64 = a.samples().iter().zip(b.samples().iter()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    (sum / a.samples().len() as f64).sqrt()
}

#[test]
fn pictures_come_back_as_they_were_nearly() {
    for (width, height, channels) in
        [(1, 1, Channels::Rgb), (1, 1, Channels::Gray), (65, 3, Channels::Rgb), (2, 130, Channels::Gray), (320, 257, Channels::Rgb)]
    {
        let picture = scene(width, height, channels, 3).with_source_depth(16).unwrap().with_orientation(Orientation::Rotate90);
        let mut last = f64::MAX;
        for index in [0, 30, 63] {
            let encoder = Encoder::new().lossless(Lossless::Never).quality(Quality::index(index).unwrap());
            let file = encoder.tile_size(256).unwrap().encode(&picture).unwrap();
            let decoder = Decoder::new(&file[..]).unwrap();
            let decoded = decoder.decode().unwrap();
            assert_eq!((decoded.width(), decoded.height(), decoded.channels()), (width, height, channels));
            assert_eq!((decoded.source_depth(), decoded.orientation()), (16, Orientation::Rotate90));
            let error = rms(&picture, &decoded);
            // The scene has hard edges in saturated colours; photographs come back much closer (tests/kodak.rs).
            assert!(error < [60., 12., 8.][index as usize / 30], "{width}x{height} at {index}: {error}");
            // Of a few pixels, chance decides.
            assert!(error <= last + 0.5 || width * height < 1000, "{width}x{height} at {index}: {error} after {last}");
            last = error;
            let mut samples = vec![0; decoded.samples().len()];
            decoder.decode_into(&mut samples).unwrap();
            assert_eq!(decoded.samples(), samples);
            let breakdown = decoder.breakdown().unwrap();
            assert_eq!(breakdown.z + breakdown.y + breakdown.overhead, file.len() as u64);
        }
    }
}

#[test]
fn limits_are_kept() {
    let file = Encoder::new().encode(&scene(100, 50, Channels::Rgb, 1)).unwrap();
    let with = |limits: Limits| {
        let options = DecoderOptions { limits, ..DecoderOptions::default() };
        Decoder::with_options(&file[..], options).and_then(|d| d.decode())
    };
    assert!(with(Limits::none()).is_ok());
    assert!(with(Limits { max_pixels: 5000, ..Limits::none() }).is_ok());
    for limits in [
        Limits { max_pixels: 4999, ..Limits::none() },
        Limits { max_file_bytes: file.len() as u64 - 1, ..Limits::none() },
        Limits { max_memory: 100_000, ..Limits::none() },
    ] {
        assert!(matches!(with(limits), Err(crate::Error::Limits(_))), "{limits:?}");
    }
}

#[test]
fn progress_ends_at_the_height() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let seen = Arc::new(AtomicU64::new(0));
    let note = |seen: &Arc<AtomicU64>| {
        let seen = Arc::clone(seen);
        move |done, total| {
            assert!(done <= total && total == 300);
            assert!(seen.swap(done, Ordering::Relaxed) <= done);
            std::ops::ControlFlow::Continue(())
        }
    };
    for (channels, lossless, effort) in [Channels::Gray, Channels::GrayAlpha]
        .into_iter()
        .flat_map(|channels| [(Lossless::Auto, 0), (Lossless::Never, 1), (Lossless::Always, 0)].map(|(lossless, effort)| (channels, lossless, effort)))
    {
        let encoder = Encoder::new().tile_size(256).unwrap().lossless(lossless).effort(effort).unwrap();
        let file = encoder.on_progress(note(&seen)).encode(&scene(20, 300, channels, 1)).unwrap();
        assert_eq!(seen.swap(0, Ordering::Relaxed), 300);
        let decoder = Decoder::new(&file[..]).unwrap().on_progress(note(&seen));
        decoder.decode().unwrap();
        assert_eq!(seen.swap(0, Ordering::Relaxed), 300);
        decoder.decode_rows(|_, _| Ok(())).unwrap();
        assert_eq!(seen.swap(0, Ordering::Relaxed), 300);
    }
}

#[test]
fn r2_6_another_model_is_refused() {
    let mut head = container::Container::parse(Encoder::new().lossless(Lossless::Never).encode(&scene(9, 9, Channels::Rgb, 1)).unwrap().into()).unwrap().head;
    head.model_id = ModelId([0; 8]);
    let file = container::assemble(&head, &Attachments::default(), &[CodedTile { skip_below: 0, stream: vec![] }]).unwrap();
    let error = Decoder::new(&file[..]).unwrap().decode().unwrap_err();
    assert!(matches!(&error, crate::Error::Unsupported(m) if m.contains("0000000000000000")), "{error}");
}

/// What holds of decoding holds of refining too, floating point and all: it does nothing that machines may do differently. The digest is of another run.
#[test]
fn refined_files_are_the_same_on_every_machine() {
    use sha2::{Digest, Sha256};
    let tiny = Model::from_bytes(include_bytes!("../../format-spec/vectors/tiny.aem").to_vec()).unwrap();
    for (tune, expected) in [(Tune::Psnr, "ae503c67fcc19eae"), (Tune::Visual, "ce96913a7302038e")] {
        let encoder = Encoder::new().lossless(Lossless::Never).model(tiny.clone()).tile_size(256).unwrap().effort(3).unwrap().tune(tune);
        let files: Vec<u8> = [(300, 130, Channels::Rgb), (70, 290, Channels::GrayAlpha), (3, 3, Channels::Gray)]
            .into_iter()
            .flat_map(|(width, height, channels)| encoder.encode(&scene(width, height, channels, 7)).unwrap())
            .collect();
        let digest: String = Sha256::digest(&files).iter().take(8).map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest, expected, "{tune:?}");
    }
}
