//! Alpha, 16-bit samples, metadata and previews: what goes in comes out, by the library and by the program.
#![cfg(feature = "cli")]

use std::fs;
use std::path::PathBuf;

use aei::{
    Channels, Decoder, DecoderOptions, Encoder, Error, FileFormat, Layout, Limits, Lossless, Metadata, Orientation, Picture, Quality, SampleDepth, Samples,
    write_picture,
};
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
            let encoder = Encoder::new().lossless(Lossless::Never).quality(Quality::index(50).unwrap()).tile_size(256).unwrap();
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
        let file = Encoder::new().lossless(Lossless::Never).quality(Quality::index(63).unwrap()).encode(encoded).unwrap();
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

/// Two rows and two columns of tiles, with everything.
fn large() -> (Picture, Vec<u8>) {
    let original = picture(300, 520, Channels::Rgba, SampleDepth::Sixteen).with_metadata(metadata(b"RGB ", 1));
    let file = Encoder::new().tile_size(256).unwrap().preview(true).encode(&original).unwrap();
    (original, file)
}

#[test]
fn rows_in_and_out_are_the_whole() {
    let (original, file) = large();
    let samples = original.samples16();
    let mut rest = &samples[..];
    let encoder = Encoder::new().tile_size(256).unwrap().preview(true).metadata(original.metadata().clone());
    let by_rows = encoder.encode_rows16(Layout::from(&original), |rows| {
        let (now, later) = rest.split_at(rows.len());
        rows.copy_from_slice(now);
        rest = later;
        Ok(())
    });
    assert!(by_rows.unwrap() == file);

    let whole = Decoder::new(&file[..]).unwrap().depth(SampleDepth::Sixteen).decode().unwrap();
    let opened = Decoder::from_seekable(std::io::Cursor::new(file), DecoderOptions::default()).unwrap();
    let (mut narrow, mut wide) = (Vec::new(), Vec::new());
    let add = |_, rows: &[u8]| {
        narrow.extend_from_slice(rows);
        Ok(())
    };
    opened.decode_rows(add).unwrap();
    let add = |_, rows: &[u16]| {
        wide.extend_from_slice(rows);
        Ok(())
    };
    opened.decode_rows16(add).unwrap();
    assert!(whole.samples16() == wide);
    assert!(opened.decode().unwrap().samples() == narrow);
    assert_eq!(opened.metadata().unwrap(), *original.metadata());
    assert_eq!(opened.preview().unwrap().map(|preview| (preview.width(), preview.height())), Some((74, 128)));
}

#[test]
fn regions_have_their_alpha() {
    let (original, file) = large();
    let whole = alpha(&original);
    let decoder = Decoder::new(&file[..]).unwrap().depth(SampleDepth::Sixteen);
    for [x, y, width, height] in [[0, 0, 300, 520], [250, 200, 20, 300], [299, 519, 1, 1], [3, 511, 100, 2], [10, 256, 5, 256], [7, 300, 9, 20]] {
        let region = decoder.decode_region(x, y, width, height).unwrap();
        let expected: Vec<u16> = (y..y + height).flat_map(|row| &whole[(row * 300 + x) as usize..][..width as usize]).copied().collect();
        assert!(alpha(&region) == expected, "{x},{y},{width},{height}");
    }
}

#[test]
fn lost_alpha_becomes_opaque_and_is_told() {
    let (original, file) = large();
    let whole = Decoder::new(&file[..]).unwrap().depth(SampleDepth::Sixteen).decode().unwrap();
    // The third of six tiles, the first of the second row.
    let at = file.windows(4).enumerate().filter(|(_, bytes)| bytes == b"ALPH").map(|(at, _)| at).nth(2).unwrap();
    for (offset, resum) in [(500, false), (500, true), (8, false), (1, false)] {
        let mut damaged = file.clone();
        damaged[at + offset] ^= 0x10;
        if resum {
            let length = u32::from_le_bytes(damaged[at + 4..at + 8].try_into().unwrap()) as usize;
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(b"ALPH");
            hasher.update(&damaged[at + 8..at + 8 + length]);
            damaged[at + 8 + length..at + 12 + length].copy_from_slice(&hasher.finalize().to_le_bytes());
        }
        assert!(Decoder::new(&damaged[..]).and_then(|decoder| decoder.decode()).is_err(), "{offset}");
        let mut options = DecoderOptions::default();
        (options.salvage, options.depth) = (true, SampleDepth::Sixteen);
        let decoder = Decoder::with_options(&damaged[..], options).unwrap();
        let (saved, damage) = decoder.decode_salvaged().unwrap();
        assert!(damage.tiles.is_empty() && !damage.is_none(), "{damage:?}");
        let place = |lost: &aei::LostAlpha| [lost.number, lost.x, lost.y, lost.width, lost.height];
        assert_eq!(damage.alpha.iter().map(place).collect::<Vec<_>>(), [[2, 0, 256, 256, 256]]);
        assert_eq!(saved.metadata(), original.metadata());
        let (a, b) = (whole.samples16(), saved.samples16());
        for (i, (a, b)) in a.chunks(4).zip(b.chunks(4)).enumerate() {
            assert_eq!(a[..3], b[..3]);
            let (row, column) = (i / 300, i % 300);
            let lost = (256..512).contains(&row) && column < 256;
            assert_eq!(b[3], if lost { 65535 } else { a[3] }, "{offset}: row {row}, column {column}");
        }
    }
}

#[test]
fn damaged_metadata_do_not_keep_salvage_from_the_picture() {
    let original = picture(40, 30, Channels::Rgb, SampleDepth::Eight).with_metadata(metadata(b"RGB ", 1));
    let mut file = Encoder::new().encode(&original).unwrap();
    let at = file.windows(4).position(|bytes| bytes == b"EXIF").unwrap();
    file[at + 12] ^= 1;
    assert!(Decoder::new(&file[..]).is_err());
    let mut options = DecoderOptions::default();
    options.salvage = true;
    let (saved, damage) = Decoder::with_options(&file[..], options).unwrap().decode_salvaged().unwrap();
    assert!(damage.tiles.is_empty() && damage.file.is_some());
    assert_eq!((&saved.metadata().icc, &saved.metadata().exif, &saved.metadata().xmp), (&original.metadata().icc, &None, &original.metadata().xmp));
}

/// A scene with a disc cut out of it: outside it is transparent, and noise that nobody sees.
fn cut_out() -> Picture {
    let mut noise = 1u32;
    let scene = picture(330, 280, Channels::Rgb, SampleDepth::Eight);
    let colours = scene.samples();
    let samples = colours.chunks_exact(3).enumerate().flat_map(|(i, pixel)| {
        let (x, y) = (i as i32 % 330 - 150, i as i32 / 330 - 140);
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match x * x + y * y {
            0..9000 => [pixel[0], pixel[1], pixel[2], 255],
            9000..9400 => [pixel[0], pixel[1], pixel[2], 100],
            _ => [(noise >> 24) as u8, (noise >> 16) as u8, 0, 0],
        }
    });
    Picture::rgba(330, 280, samples.collect()).unwrap()
}

fn visible_psnr(original: &Picture, file: &[u8]) -> f64 {
    let decoded = Decoder::new(file).unwrap().decode().unwrap();
    let (a, b) = aei::metrics::Rgb::visible(original, &decoded).unwrap();
    aei::metrics::psnr(&a, &b).unwrap().rgb
}

#[test]
fn invisible_colours_cost_nothing_and_those_that_are_visible_stay() {
    let original = cut_out();
    let encoder = Encoder::new().lossless(Lossless::Never).quality(Quality::percent(60).unwrap());
    let (file, kept) = (encoder.encode(&original).unwrap(), encoder.clone().keep_invisible(true).encode(&original).unwrap());
    assert!(file.len() * 3 < kept.len(), "{} and {}", file.len(), kept.len());
    assert!(visible_psnr(&original, &file) > visible_psnr(&original, &kept));
    let decoded = Decoder::new(&file[..]).unwrap().decode().unwrap();
    assert_eq!(alpha(&decoded), alpha(&original));
    // What is below does not show above, row by row or not, and what nobody sees changes nothing.
    let mut rest = &original.samples()[..];
    let by_rows = encoder.encode_rows((&original).into(), |rows| {
        let (now, later) = rest.split_at(rows.len());
        rows.copy_from_slice(now);
        rest = later;
        Ok(())
    });
    assert!(by_rows.unwrap() == file);
    let mut other = original.samples().into_owned();
    other.chunks_exact_mut(4).filter(|pixel| pixel[3] == 0).for_each(|pixel| pixel[..3].fill(255));
    let white = Picture::rgba(330, 280, other).unwrap();
    assert!(encoder.encode(&white).unwrap() == file);
    // Nor does it count where latents are refined.
    let refined = encoder.clone().effort(2).unwrap();
    let better = refined.encode(&original).unwrap();
    assert!(better.len() * 100 < file.len() * 102 && visible_psnr(&original, &better) > visible_psnr(&original, &file) + 0.1);
    assert!(refined.encode(&white).unwrap() == better);
    // A score is that of what is visible.
    let wanted = visible_psnr(&original, &file) - 0.01;
    let found = encoder.encode_to(&original, aei::Target::Psnr(wanted)).unwrap();
    assert!(found.len() <= file.len() && visible_psnr(&original, &found) >= wanted);
    // Without loss nothing changes.
    let exact = Encoder::new().lossless(Lossless::Always).encode(&original).unwrap();
    assert!(Decoder::new(&exact[..]).unwrap().decode().unwrap().samples() == original.samples());
}

#[test]
fn the_program_keeps_invisible_colours_if_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let original = cut_out();
    fs::write(folder.path().join("a.png"), write_picture(&original, FileFormat::Png).unwrap()).unwrap();
    let psnr = |options: &[&str]| {
        let arguments = [&["encode", "-f", "--json", "--verify", "--lossless=never", "a.png", "-o", "a.aei"], options].concat();
        let output = aei(&folder, &arguments).success().get_output().stdout.clone();
        let value: serde_json::Value = serde_json::from_slice(&output).unwrap();
        (value["psnr_rgb"].as_f64().unwrap(), fs::read(folder.path().join("a.aei")).unwrap())
    };
    let (visible, file) = psnr(&[]);
    assert!((visible - visible_psnr(&original, &file)).abs() < 1e-9);
    let (all, kept) = psnr(&["--keep-invisible"]);
    assert!(all < visible - 5.0 && kept.len() > file.len());
    assert!(kept == Encoder::new().lossless(Lossless::Never).keep_invisible(true).encode(&original).unwrap());
}
