//! Alpha, 16-bit samples, metadata and previews: what goes in comes out, by the library and by the program.
#![cfg(feature = "cli")]

use std::fs;
use std::path::PathBuf;

use aei::{Channels, Decoder, DecoderOptions, Encoder, Error, FileFormat, Limits, Metadata, Orientation, Picture, Quality, SampleDepth, Samples};
use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

/// Smooth colours, and alpha with edges and noise.
fn picture(width: u32, height: u32, channels: Channels, depth: SampleDepth) -> Picture {
    let mut samples = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let colours = [9000 + x * 40000 / width, 8000 + y * 45000 / height, 15000 + (x * 9000 / width) + (y * 8000 / height)];
            samples.extend(colours[..channels.without_alpha().count()].iter().map(|v| *v as u16));
            if channels.has_alpha() {
                let noise = (x * 7919 + y * 104_729).wrapping_mul(2_654_435_761) >> 16;
                samples.push(if (x / 8 + y / 8) % 3 == 0 { noise as u16 } else { 65535 * (x / 16 % 2) as u16 });
            }
        }
    }
    Picture::from_samples(width, height, channels, Samples::U16(samples)).unwrap().with_depth(depth).unwrap().with_source_depth(depth.bits()).unwrap()
}

/// EXIF with an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    [&b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[orientation, 0, 0, 0], &[0; 4], b"and more"].concat()
}

/// As much of a colour profile as is looked at.
fn profile(space: &[u8; 4]) -> Vec<u8> {
    let mut profile = vec![0; 200];
    profile[16..20].copy_from_slice(space);
    profile[36..40].copy_from_slice(b"acsp");
    profile
}

fn metadata(space: &[u8; 4], orientation: u8) -> Metadata {
    let mut metadata = Metadata::default();
    (metadata.icc, metadata.exif, metadata.xmp) = (Some(profile(space)), Some(exif(orientation)), Some(b"<x:xmpmeta/>".to_vec()));
    metadata
}

fn alpha(picture: &Picture) -> Vec<u16> {
    let count = picture.channels().count();
    picture.samples16().chunks(count).map(|pixel| pixel[count - 1]).collect()
}

#[test]
fn all_channels_and_depths_come_back() {
    for channels in [Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba] {
        for depth in [SampleDepth::Eight, SampleDepth::Sixteen] {
            // Two rows and two columns of tiles.
            let original = picture(270, 260, channels, depth);
            let encoder = Encoder::new().quality(Quality::index(50).unwrap()).tile_size(256).unwrap();
            let file = encoder.encode(&original).unwrap();
            let info = *Decoder::new(&file[..]).unwrap().info();
            assert_eq!((info.channels, info.source_depth, info.alpha_depth), (channels, depth.bits(), channels.has_alpha().then_some(depth)));
            for wanted in [SampleDepth::Eight, SampleDepth::Sixteen] {
                let decoded = Decoder::new(&file[..]).unwrap().depth(wanted).decode().unwrap();
                assert_eq!((decoded.channels(), decoded.depth()), (channels, wanted));
                if channels.has_alpha() {
                    assert_eq!(alpha(&decoded), alpha(&original.clone().with_depth(wanted).unwrap()), "{channels:?} {depth:?} {wanted:?}");
                }
                let (a, b) = (original.samples16(), decoded.samples16());
                let error: u64 = a.iter().zip(b.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
                assert!(error < 900 * a.len() as u64, "{channels:?} {depth:?} {wanted:?}: {error}");
            }
        }
    }
}

/// What 16 bits are for: less error than 8 bits can have.
#[test]
fn sixteen_bits_are_more_than_eight() {
    let original = picture(320, 256, Channels::Rgb, SampleDepth::Sixteen);
    let error = |encoded: &Picture, depth: SampleDepth| -> f64 {
        let file = Encoder::new().quality(Quality::index(63).unwrap()).encode(encoded).unwrap();
        let decoded = Decoder::new(&file[..]).unwrap().depth(depth).decode().unwrap();
        original.samples16().iter().zip(decoded.samples16().iter()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
    };
    let wide = error(&original, SampleDepth::Sixteen);
    let narrow = error(&original.clone().with_depth(SampleDepth::Eight).unwrap(), SampleDepth::Eight);
    assert!(wide < 0.8 * narrow, "{wide} {narrow}");
}

#[test]
fn metadata_come_back_but_for_the_orientation() {
    let original = picture(20, 10, Channels::Rgb, SampleDepth::Eight).with_orientation(Orientation::Rotate90).with_metadata(metadata(b"RGB ", 6));
    let file = Encoder::new().encode(&original).unwrap();
    let decoder = Decoder::new(&file[..]).unwrap();
    let info = decoder.info();
    assert_eq!((info.icc_bytes, info.exif_bytes, info.xmp_bytes), (Some(200), Some(exif(6).len() as u32), Some(12)));
    assert_eq!(decoder.metadata().unwrap(), metadata(b"RGB ", 1));
    let decoded = decoder.decode().unwrap();
    assert_eq!((decoded.metadata(), decoded.orientation()), (&metadata(b"RGB ", 1), Orientation::Rotate90));
    let without = Encoder::new().encode(&original.with_metadata(Metadata::default())).unwrap();
    assert!(Decoder::new(&without[..]).unwrap().metadata().unwrap().is_empty());
    assert!(file.len() > without.len());
    let mut options = DecoderOptions::default();
    options.limits = Limits::default();
    options.limits.max_metadata_bytes = 100;
    assert!(matches!(Decoder::with_options(&file[..], options).unwrap().metadata(), Err(Error::Limits(_))));
}

#[test]
fn turning_upright_turns_exif_too() {
    let turned = picture(20, 10, Channels::Rgba, SampleDepth::Sixteen).with_orientation(Orientation::Rotate90).with_metadata(metadata(b"RGB ", 6));
    let upright = turned.upright().unwrap();
    assert_eq!((upright.width(), upright.metadata().exif.as_ref().unwrap()[18]), (10, 1));
}

#[test]
fn a_damaged_preview_does_not_keep_the_picture() {
    let original = picture(300, 200, Channels::Rgba, SampleDepth::Eight);
    let file = Encoder::new().preview(true).encode(&original).unwrap();
    let expected = Decoder::new(&file[..]).unwrap().decode().unwrap();
    let at = file.windows(4).position(|bytes| bytes == b"prev").unwrap();
    for offset in [8, 20, 60, 200] {
        let mut damaged = file.clone();
        damaged[at + offset] ^= 1;
        let decoder = Decoder::new(&damaged[..]).unwrap();
        assert!(matches!(decoder.preview(), Err(Error::Format(_))));
        assert_eq!(decoder.decode().unwrap(), expected);
    }
}

/// Runs the program in a folder.
fn aei(folder: &TempDir, arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("aei").unwrap().current_dir(folder.path()).args(arguments).assert()
}

fn folder_with(name: &str, picture: &Picture) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, aei::write_picture(picture, FileFormat::Png).unwrap()).unwrap();
    (folder, path)
}

#[test]
fn the_program_keeps_it_all() {
    let original = picture(60, 40, Channels::Rgba, SampleDepth::Sixteen).with_metadata(metadata(b"RGB ", 1));
    let (folder, _) = folder_with("a.png", &original);
    aei(&folder, &["encode", "a.png", "--preview"]).success().stderr(contains("note").not());
    let holds = contains("colour profile (200 bytes), EXIF (").and(contains("XMP (12 bytes), preview ("));
    aei(&folder, &["info", "a.aei"]).success().stdout(contains("RGB with alpha, from 16-bit samples").and(contains("without loss, 16 bits")).and(holds));
    let info = aei(&folder, &["info", "--json", "a.aei"]).success();
    let info: serde_json::Value = serde_json::from_slice(&info.get_output().stdout).unwrap();
    assert_eq!((&info["alpha_depth"], &info["icc_bytes"], &info["xmp_bytes"]), (&16.into(), &200.into(), &12.into()));

    for (name, depth) in [("b.png", "16"), ("b.tiff", "16"), ("b.pam", "16"), ("c.png", "8")] {
        aei(&folder, &["decode", "a.aei", "--depth", depth, "-o", name]).success();
        let (back, _) = aei::read_picture(&fs::read(folder.path().join(name)).unwrap()).unwrap();
        assert_eq!((back.channels(), back.depth().bits().to_string()), (Channels::Rgba, depth.to_owned()), "{name}");
        assert_eq!(alpha(&back), alpha(&original.clone().with_depth(back.depth()).unwrap()), "{name}");
        assert!(!name.ends_with("png") || back.metadata() == original.metadata(), "{name}");
    }
    aei(&folder, &["decode", "a.aei", "--preview", "-o", "p.png"]).success().stderr(contains("60x40"));
    aei(&folder, &["decode", "a.aei", "-o", "d.jpg"]).success().stderr(contains("JPEG has no transparency"));
    aei(&folder, &["decode", "a.aei", "-o", "d.bmp"]).success().stderr(contains("its colour profile was left out: BMP is written without"));
}

#[test]
fn strip_leaves_out_what_it_says() {
    let (folder, _) = folder_with("a.png", &picture(30, 20, Channels::Gray, SampleDepth::Eight).with_metadata(metadata(b"GRAY", 1)));
    let kept = |arguments: &[&str]| {
        aei(&folder, &[&["encode", "-f", "a.png"], arguments].concat()).success();
        let metadata = Decoder::new(fs::File::open(folder.path().join("a.aei")).unwrap()).unwrap().metadata().unwrap();
        (metadata.icc.is_some(), metadata.exif.is_some(), metadata.xmp.is_some())
    };
    assert_eq!(kept(&[]), (true, true, true));
    assert_eq!(kept(&["--strip"]), (true, false, false));
    assert_eq!(kept(&["--strip=all"]), (false, false, false));
    aei(&folder, &["decode", "a.aei", "--preview", "-o", "p.png"]).code(6).stderr(contains("the file has no preview"));
}
