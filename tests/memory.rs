//! What the library says that it will need of memory, against what it needs: the peak of what is allocated, each time in a process of its own.

mod common;

use std::path::Path;
use std::process::Command;

use aei::{Channels, Decoder, Encoder, Layout, Lossless, Tune};
use common::scene;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The work of a process: `what width height tile threads channels`, and a file that is there or will be.
const WORK: &str = "AEI_TEST_WORK";

/// Estimated and measured bytes.
fn measure(work: &str) -> (u64, u64) {
    let words: Vec<&str> = work.split(' ').collect();
    let [width, height, tile, threads] = [1, 2, 3, 4].map(|i| words[i].parse::<u32>().unwrap());
    let channels = Channels::from_count(words[5].parse().unwrap()).unwrap();
    let path = Path::new(words[6]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads as usize).build().unwrap();
    let before = MEMORY.current_usage();
    let run = || match words[0] {
        what @ ("refine" | "visual" | "encode" | "exact") => {
            let layout = Layout::new(width, height, channels).unwrap();
            let (mut rest, picture) = (0, scene(width, 128, channels, 1));
            let lossless = if what == "exact" { Lossless::Always } else { Lossless::Never };
            let encoder = Encoder::new().lossless(lossless).tile_size(tile).unwrap().effort(u8::from(matches!(what, "refine" | "visual"))).unwrap();
            let encoder = encoder.tune(if what == "visual" { Tune::Visual } else { Tune::Psnr });
            MEMORY.reset_peak_usage();
            let held = MEMORY.current_usage() - before;
            let file = encoder.encode_rows(layout, |rows| {
                rows.copy_from_slice(&picture.samples()[..rows.len()]);
                rest += rows.len();
                Ok(())
            });
            let (peak, file) = (MEMORY.peak_usage() - held, file.unwrap());
            std::fs::write(path, &file).unwrap();
            (encoder.memory_for_rows(layout).unwrap() + 2 * file.len() as u64, peak)
        }
        "rows" => {
            let decoder = Decoder::open(path).unwrap();
            decoder.decode_rows(|_, _| Ok(())).unwrap();
            (decoder.memory_for_rows().unwrap(), MEMORY.peak_usage())
        }
        _ => {
            let decoder = Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
            decoder.decode().unwrap();
            (decoder.memory_for_picture().unwrap(), MEMORY.peak_usage())
        }
    };
    MEMORY.reset_peak_usage();
    let (estimate, peak) = pool.install(run);
    (estimate, (peak - before) as u64)
}

#[test]
#[ignore = "what the other tests start"]
fn child() {
    if let Ok(work) = std::env::var(WORK) {
        let (estimate, peak) = measure(&work);
        println!("\n{estimate} {peak}");
    }
}

fn estimate_is_true(channels: Channels, sizes: &[[u32; 4]]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("picture.aei");
    for [width, height, tile, threads] in sizes {
        for what in ["refine", "visual", "encode", "picture", "rows", "exact", "picture", "rows"] {
            let work = format!("{what} {width} {height} {tile} {threads} {} {}", channels.count(), file.display());
            let output =
                Command::new(std::env::current_exe().unwrap()).args(["--exact", "--ignored", "child", "--nocapture"]).env(WORK, &work).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let numbers: Vec<f64> =
                text.lines().filter_map(|line| line.split_once(' ').and_then(|(a, b)| Some([a.parse().ok()?, b.parse().ok()?]))).flatten().collect();
            let [estimate, peak] = numbers[..] else { panic!("{work}: {text}") };
            let ratio = estimate / peak;
            println!("{what:8} {width}x{height} tiles of {tile}, {threads} threads: {:.1} MB, estimate {ratio:.2} of that", peak / 1e6);
            // Without loss there is hardly more than rows of samples, which are taken for 16 bits deep, and for noise.
            let most = if what == "exact" { 3.0 } else { 1.6 };
            assert!((0.9..most).contains(&ratio), "{work}: {peak} bytes, estimate {estimate}");
        }
    }
}

#[test]
fn estimates_are_true() {
    estimate_is_true(Channels::Rgb, &[[64, 64, 1024, 1], [700, 600, 256, 2], [1300, 300, 512, 1]]);
    estimate_is_true(Channels::Rgba, &[[64, 64, 1024, 1], [700, 600, 256, 2]]);
}

#[test]
#[ignore = "a minute"]
fn estimates_are_true_of_large_pictures() {
    estimate_is_true(Channels::Rgba, &[[1024, 1024, 1024, 2], [4000, 300, 1024, 1], [2048, 600, 256, 8], [2048, 1100, 4096, 2]]);
    estimate_is_true(
        Channels::Rgb,
        &[
            [512, 512, 1024, 1],
            [1024, 1024, 1024, 2],
            [1024, 1024, 1024, 64],
            [2048, 600, 1024, 2],
            [4000, 300, 1024, 1],
            [600, 2100, 1024, 1],
            [2048, 600, 256, 1],
            [2048, 600, 256, 8],
            [2048, 1100, 4096, 2],
            [6000, 4000, 1024, 2],
        ],
    );
}

/// The file with a chunk that is longer by so many zeros, its sum right.
fn with_longer(file: &[u8], wanted: &[u8; 4], more: usize) -> Vec<u8> {
    let (mut at, mut out) = (8, file[..8].to_vec());
    while at < file.len() {
        let end = at + 8 + u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
        let (kind, mut payload) = (&file[at..at + 4], file[at + 8..end].to_vec());
        if kind == wanted {
            payload.resize(payload.len() + more, 0);
        }
        let sum = crc32fast::hash(&[kind, &payload].concat());
        out.extend([kind, &(payload.len() as u32).to_le_bytes(), &payload, &sum.to_le_bytes()].concat());
        at = end + 4;
    }
    out
}

/// The words of a tile are another copy of what the file has of it, wherever the file is.
#[test]
fn coded_bytes_are_counted() {
    const MORE: usize = 1 << 24;
    for lossless in [Lossless::Always, Lossless::Never] {
        let file = Encoder::new().lossless(lossless).encode(&scene(60, 50, Channels::GrayAlpha, 1)).unwrap();
        for kind in [b"ALPH", b"TILE"] {
            let longer = with_longer(&file, kind, MORE);
            let in_memory = |file: &[u8]| Decoder::new(file).unwrap().memory_for_rows().unwrap() as usize;
            let opened = |file: &[u8]| {
                let file = std::io::Cursor::new(file.to_vec());
                Decoder::from_seekable(file, aei::DecoderOptions::default()).unwrap().memory_for_rows().unwrap() as usize
            };
            for added in [in_memory(&longer) - in_memory(&file), opened(&longer) - opened(&file)] {
                assert!((2 * MORE - MORE / 4..=2 * MORE).contains(&added), "{} {lossless:?}: {added}", kind.escape_ascii());
            }
        }
    }
}

/// Threads that have nothing to do need nothing.
#[test]
fn estimates_count_threads_that_work() {
    for lossless in [Lossless::Auto, Lossless::Always] {
        for channels in [Channels::Gray, Channels::Rgba] {
            let estimate = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| Encoder::new().lossless(lossless).memory_for_rows(Layout::new(160, 120, channels).unwrap()).unwrap())
            };
            assert!(estimate(1) < estimate(2));
            assert_eq!(estimate(16), estimate(64), "{lossless:?}, {channels:?}");
        }
    }
}

/// Twice the height needs no more.
#[test]
fn rows_need_the_same_memory_whatever_the_height() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("picture.aei");
    let peak = |what: &str, height: u32| {
        let work = format!("{what} 300 {height} 256 1 3 {}", file.display());
        let output = Command::new(std::env::current_exe().unwrap()).args(["--exact", "--ignored", "child", "--nocapture"]).env(WORK, &work).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|line| line.split_once(' ')?.1.parse::<u64>().ok()).unwrap()
    };
    let [low, high] = [768, 3072].map(|height| {
        peak("encode", height);
        peak("rows", height)
    });
    assert!(high < low + 100_000, "{low} bytes, then {high}");
}
