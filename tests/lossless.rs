//! Pictures whose samples are stored as they are: always exact, chosen where that is right, by every way in and out.
#![cfg(feature = "cli")]

mod common;

use std::fs;
use std::path::Path;

use aei::{Channels, Decoder, DecoderOptions, Encoder, Error, Info, Layout, Limits, Lossless, Picture, Quality, SampleDepth, Samples, Target};
use assert_cmd::Command;
use common::{crop, rows_joined, scene, tiny_encoder};
use predicates::prelude::*;
use predicates::str::contains;

const ALL: [Channels; 4] = [Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba];

fn lossless(tile: u32) -> Encoder {
    Encoder::new().lossless(Lossless::Always).tile_size(tile).unwrap()
}

fn info(file: &[u8]) -> Info {
    *Decoder::new(file).unwrap().info()
}

fn read(path: impl AsRef<Path>) -> Picture {
    Picture::from_file_bytes(&fs::read(path).unwrap(), &Limits::default()).unwrap().0
}

/// 16-bit samples that use all their bits.
fn deep(width: u32, height: u32, channels: Channels) -> Picture {
    let samples: Vec<u16> = (0..width * height * channels.count() as u32).map(|i| (i.wrapping_mul(40503) >> 3) as u16).collect();
    Picture::from_samples(width, height, channels, samples.into()).unwrap()
}

/// A page of a few flat colours.
fn page(width: u32, height: u32) -> Picture {
    let colours = [[255; 3], [20, 20, 20], [200, 30, 40], [240, 240, 250]];
    let pixel = |i: u32| colours[(((i % width) / 7 * 5 + i / width / 11 * 3) % 13 % 4) as usize];
    Picture::rgb(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
}

fn noise(width: u32, height: u32) -> Picture {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    Picture::rgb(width, height, (0..width * height * 3).map(|_| next()).collect()).unwrap()
}

#[test]
fn r2_14_every_picture_comes_back_exactly() {
    for (width, height, tile) in [(1, 1, 256), (70, 3, 256), (300, 530, 256), (513, 40, 512)] {
        for channels in ALL {
            let eight = scene(width, height, channels, 3);
            let file = lossless(tile).encode(&eight).unwrap();
            assert!(info(&file).lossless);
            let decoder = Decoder::new(&file[..]).unwrap();
            assert_eq!(decoder.decode().unwrap().samples(), eight.samples());
            assert_eq!(rows_joined(&decoder).unwrap(), eight.samples().to_vec());
            let wide = Decoder::new(&file[..]).unwrap().depth(SampleDepth::Sixteen).decode().unwrap();
            assert_eq!(wide.samples16(), eight.samples16());

            let sixteen = deep(width, height, channels);
            let file = lossless(tile).encode(&sixteen).unwrap();
            let decoder = Decoder::new(&file[..]).unwrap();
            assert_eq!(decoder.decode().unwrap().samples(), sixteen.samples());
            assert_eq!(decoder.depth(SampleDepth::Sixteen).decode().unwrap().samples16(), sixteen.samples16());
        }
    }
}

#[test]
fn r2_14_parts_are_crops_and_read_their_tiles_alone() {
    for channels in ALL {
        let picture = scene(700, 560, channels, 5);
        let file = lossless(256).encode(&picture).unwrap();
        let decoder = Decoder::from_seekable(std::io::Cursor::new(file.clone()), DecoderOptions::default()).unwrap();
        for (x, y, width, height) in [(0, 0, 1, 1), (250, 250, 20, 20), (699, 559, 1, 1), (13, 300, 600, 200), (0, 0, 700, 560)] {
            let part = decoder.decode_region(x, y, width, height).unwrap();
            assert_eq!(part.samples().to_vec(), crop(&picture, x, y, width, height), "{x},{y} {width}x{height}");
        }
    }
    // What is wrong with the last tile does not matter to the first.
    let picture = scene(300, 300, Channels::Rgb, 5);
    let mut file = lossless(256).encode(&picture).unwrap();
    let at = file.len() - 20;
    file[at] ^= 1;
    let decoder = Decoder::from_seekable(std::io::Cursor::new(file), DecoderOptions::default()).unwrap();
    assert_eq!(decoder.decode_region(0, 0, 256, 256).unwrap().samples().to_vec(), crop(&picture, 0, 0, 256, 256));
    assert!(decoder.decode_region(0, 0, 257, 257).is_err());
}

#[test]
fn rows_give_the_same_file_as_the_picture() {
    for how in [Lossless::Always, Lossless::Auto, Lossless::Never] {
        for picture in [page(300, 700), scene(300, 300, Channels::Rgba, 2)] {
            let encoder = tiny_encoder(256).lossless(how).preview(true);
            let whole = encoder.encode(&picture).unwrap();
            let samples = picture.samples();
            let mut rest = &samples[..];
            let file = encoder
                .encode_rows(Layout::from(&picture), |rows| {
                    let (now, later) = rest.split_at(rows.len());
                    rows.copy_from_slice(now);
                    rest = later;
                    Ok(())
                })
                .unwrap();
            assert!(file == whole && rest.is_empty());
        }
    }
}

#[test]
fn threads_change_nothing() {
    let picture = scene(600, 300, Channels::Rgb, 1);
    let of = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| lossless(256).encode(&picture).unwrap());
    assert!(of(1) == of(3));
}

#[test]
fn the_smaller_file_is_chosen() {
    let picture = page(200, 150);
    for index in [0, 38, 63] {
        let encoder = Encoder::new().quality(Quality::index(index).unwrap());
        let [auto, always, never] = [Lossless::Auto, Lossless::Always, Lossless::Never].map(|how| encoder.clone().lossless(how).encode(&picture).unwrap());
        assert!(auto == if always.len() <= never.len() { always } else { never }, "index {index}");
    }
    assert!(info(&Encoder::new().encode(&picture).unwrap()).lossless);
}

/// Estimates say little of pictures that take next to nothing.
#[test]
fn flat_pictures_and_gradients_are_no_larger_than_without_a_choice() {
    let of = |width: u32, height: u32, pixel: fn(u32, u32) -> [u8; 3]| {
        Picture::rgb(width, height, (0..width * height).flat_map(|i| pixel(i % width, i / width)).collect()).unwrap()
    };
    let pictures = [
        of(128, 128, |_, _| [200, 30, 60]),
        of(700, 600, |_, _| [200, 30, 60]),
        of(700, 300, |x, _| [(x * 255 / 700) as u8; 3]),
        of(400, 600, |x, y| [(x / 2) as u8, (y / 3) as u8, ((x + y) / 4) as u8]),
    ];
    for picture in pictures {
        let [auto, always, never] =
            [Lossless::Auto, Lossless::Always, Lossless::Never].map(|lossless| Encoder::new().lossless(lossless).encode(&picture).unwrap().len());
        assert!(auto <= always.min(never), "{}x{}: {auto} bytes, not {always} or {never}", picture.width(), picture.height());
        // Nor is one that a target asks for.
        assert!(Encoder::new().encode_to(&picture, Target::Bytes(never as u64)).unwrap().len() <= always);
        assert!(Encoder::new().encode_to(&picture, Target::Psnr(45.0)).unwrap().len() <= always);
    }
}

/// Two rows of noise that take turns, further apart than zlib sees: no estimate tells that they take little.
#[test]
fn what_fits_without_loss_is_stored_so_whatever_estimates_say() {
    let (two, width) = (noise(6000, 2), 6000);
    let picture = Picture::rgb(width, 64, two.samples().repeat(32)).unwrap();
    let exact = lossless(1024).encode(&picture).unwrap();
    assert!(Encoder::new().encode_to(&picture, Target::Bytes(exact.len() as u64)).unwrap() == exact);
    // A photograph whose lossless file is out of the question.
    let photo = read("tests/data/budgie.jpg");
    let file = Encoder::new().encode_to(&photo, Target::Bytes(9000)).unwrap();
    assert!(!info(&file).lossless && (7000..=9000).contains(&file.len()));
}

/// The networks give single-pixel patterns the worse, the higher the quality index.
#[test]
fn scores_that_low_qualities_alone_reach_are_found() {
    let picture = Picture::gray(128, 128, (0..128 * 128).map(|i: u32| ((i / 128 + i) % 2 * 255) as u8).collect()).unwrap();
    let encoder = Encoder::new().lossless(Lossless::Never);
    let psnr = |file: &[u8]| {
        let decoded = Decoder::new(file).unwrap().decode().unwrap();
        aei::metrics::psnr(&aei::metrics::Rgb::new(&picture), &aei::metrics::Rgb::new(&decoded)).unwrap().rgb
    };
    let at = |index| psnr(&encoder.clone().quality(Quality::index(index).unwrap()).encode(&picture).unwrap());
    let (lowest, highest) = (at(0), at(63));
    assert!(lowest > highest + 0.5, "another picture is needed: {lowest} and {highest} dB");
    let file = encoder.encode_to(&picture, Target::Psnr(lowest - 0.1)).unwrap();
    assert!(psnr(&file) >= lowest - 0.1);
}

#[test]
fn scores_are_not_looked_for_with_more_memory_than_is_allowed() {
    let picture = scene(600, 500, Channels::Rgb, 1);
    let refused = |bytes| Encoder::new().lossless(Lossless::Never).max_memory(bytes).encode_to(&picture, Target::Ssimulacra2(50.0));
    assert!(matches!(refused(45_000_000), Err(Error::Limits(_))));
    // Enough for the encoding alone.
    Encoder::new().lossless(Lossless::Never).max_memory(45_000_000).encode(&picture).unwrap();
    refused(200_000_000).unwrap();
}

#[test]
fn what_latents_give_badly_is_stored_as_it_is_and_photographs_are_not() {
    let at = |picture: &Picture, index| info(&Encoder::new().quality(Quality::index(index).unwrap()).encode(picture).unwrap()).lossless;
    // Noise: at the highest quality 13 dB from latents, which the lossless file is three times as large for.
    let noise = noise(128, 128);
    assert!(at(&noise, 63) && !at(&noise, 0));
    let photo = read("tests/data/budgie.jpg");
    assert!(!at(&photo, 38) && !at(&photo, 63));
}

#[test]
fn targets() {
    let picture = page(200, 150);
    let exact = lossless(1024).encode(&picture).unwrap();
    let bytes = exact.len() as u64;
    // What fits without loss is stored so, and any score is reached.
    assert!(Encoder::new().encode_to(&picture, Target::Bytes(bytes)).unwrap() == exact);
    assert!(Encoder::new().encode_to(&picture, Target::Psnr(200.0)).unwrap() == exact);
    let smaller = Encoder::new().encode_to(&picture, Target::Bytes(bytes - 1)).unwrap();
    assert!(smaller.len() < exact.len() && !info(&smaller).lossless);
    assert!(lossless(1024).encode_to(&picture, Target::Bytes(bytes)).unwrap() == exact);
    assert!(matches!(lossless(1024).encode_to(&picture, Target::Bytes(bytes - 1)), Err(Error::Parameter(_))));
    let never = Encoder::new().lossless(Lossless::Never);
    assert!(matches!(never.encode_to(&picture, Target::Psnr(200.0)), Err(Error::Parameter(_))));
    for wrong in [Target::Psnr(f64::NAN), Target::BitsPerPixel(-1.0), Target::BitsPerPixel(f64::INFINITY)] {
        assert!(matches!(Encoder::new().encode_to(&picture, wrong), Err(Error::Parameter(_))));
    }
}

#[test]
fn no_model_is_needed_and_the_parts_add_up() {
    let picture = scene(300, 280, Channels::Rgba, 4);
    let file = lossless(256).preview(true).encode(&picture).unwrap();
    let mut options = DecoderOptions::default();
    options.model = Some(common::tiny());
    let decoder = Decoder::with_options(&file[..], options).unwrap();
    assert_eq!(decoder.decode().unwrap().samples(), picture.samples());
    let parts = decoder.breakdown().unwrap();
    assert_eq!((parts.z, parts.y), (0, 0));
    assert_eq!(parts.samples + parts.alpha + parts.metadata + parts.preview + parts.overhead, file.len() as u64);
    assert!(parts.samples > parts.overhead);
}

#[test]
fn salvage_keeps_the_tiles_that_are_whole() {
    let picture = scene(300, 300, Channels::Rgb, 9);
    let mut file = lossless(256).encode(&picture).unwrap();
    let at = file.len() - 40;
    file[at] ^= 1;
    let mut options = DecoderOptions::default();
    options.salvage = true;
    let (saved, damage) = Decoder::with_options(&file[..], options).unwrap().decode_salvaged().unwrap();
    assert_eq!(damage.tiles.iter().map(|tile| tile.number).collect::<Vec<_>>(), [3]);
    let Samples::U8(samples) = saved.data() else { panic!() };
    for (i, (a, b)) in samples.chunks(3).zip(picture.samples().chunks(3)).enumerate() {
        let lost = i % 300 >= 256 && i / 300 >= 256;
        assert!(if lost { a == [128; 3] } else { a == b }, "pixel {i}");
    }
}

#[test]
fn memory_is_refused_before_it_is_taken() {
    let picture = page(2000, 1500);
    let file = lossless(1024).encode(&picture).unwrap();
    let mut options = DecoderOptions::default();
    options.limits.max_memory = 1 << 20;
    assert!(matches!(Decoder::with_options(&file[..], options).unwrap().decode(), Err(Error::Limits(_))));
    assert!(matches!(lossless(1024).max_memory(1 << 20).encode(&picture), Err(Error::Limits(_))));
    let needed = lossless(1024).memory_for_rows(Layout::from(&picture)).unwrap();
    assert!(lossless(1024).max_memory(needed).encode(&picture).unwrap() == file);
}

#[test]
fn the_program_does_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let aei = |arguments: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("aei"));
        command.current_dir(&folder).args(arguments).assert()
    };
    let picture = page(120, 90);
    fs::write(folder.path().join("a.png"), aei::write_picture(&picture, aei::FileFormat::Png).unwrap()).unwrap();
    aei(&["encode", "a.png", "--verify"]).success().stderr(contains("lossless").and(contains("no difference")));
    assert!(fs::read(folder.path().join("a.aei")).unwrap() == Encoder::new().encode(&picture).unwrap());
    aei(&["info", "a.aei", "--parts"]).success().stdout(contains("lossless").and(contains("samples")));
    aei(&["info", "a.aei", "--json"]).success().stdout(contains("\"lossless\":true"));
    aei(&["decode", "a.aei", "-o", "b.png"]).success();
    assert_eq!(read(folder.path().join("b.png")).samples(), picture.samples());
    aei(&["encode", "a.png", "-f", "--lossless=never"]).success().stderr(contains("lossless").not());
    aei(&["encode", "a.png", "-f", "--lossless=never", "--json"]).success().stdout(contains("\"lossless\":false"));
    aei(&["encode", "a.png", "-f", "--lossless", "-q", "3"]).success().stderr(contains("lossless"));
    aei(&["encode", "a.png", "-f", "--lossless=sometimes"]).code(2);
    aei(&["encode", "a.png", "-f", "--lossless", "--size", "100"]).code(2).stderr(contains("without loss the file has"));
}
