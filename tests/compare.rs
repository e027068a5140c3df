//! `aei compare`, seen from outside.
#![cfg(feature = "cli")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use aei::{Channels, Encoder, FileFormat, Lossless, Metadata, Picture, write_picture};
use serde_json::Value;

fn compare(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aei")).current_dir(folder).arg("compare").args(arguments).output().unwrap()
}

fn save(folder: &Path, name: &str, width: u32, height: u32, sample: impl Fn(u32) -> u8) {
    let picture = Picture::rgb(width, height, (0..width * height * 3).map(sample).collect()).unwrap();
    fs::write(folder.join(name), write_picture(&picture, FileFormat::Png).unwrap()).unwrap();
}

#[test]
fn json_has_all_measures() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "a.png", 200, 180, |i| (i / 3 % 200) as u8);
    save(folder.path(), "b.png", 200, 180, |i| (i / 3 % 200) as u8 + 1);
    let output = compare(folder.path(), &["--json", "a.png", "b.png"]);
    assert!(output.status.success(), "{output:?}");
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((value["original"].as_str(), value["copy"].as_str()), (Some("a.png"), Some("b.png")));
    assert_eq!((value["width"].as_u64(), value["height"].as_u64(), value["equal"].as_bool()), (Some(200), Some(180), Some(false)));
    for name in ["psnr_rgb", "psnr_luma"] {
        assert!((value[name].as_f64().unwrap() - 48.1308).abs() < 1e-3, "{value}");
    }
    assert!(value["ms_ssim"].as_f64().unwrap() > 0.99 && value["ms_ssim_db"].as_f64().unwrap() > 20.0, "{value}");
    assert!(value["ssimulacra2"].as_f64().unwrap() > 80.0, "{value}");
}

#[test]
fn equal_and_small_pictures() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "a.png", 20, 7, |i| i as u8);
    let value: Value = serde_json::from_slice(&compare(folder.path(), &["--json", "a.png", "a.png"]).stdout).unwrap();
    assert_eq!(value["equal"], true);
    assert!(value["psnr_rgb"].is_null() && value["ms_ssim"].is_null() && value["ssimulacra2"].is_null(), "{value}");
    let text = String::from_utf8(compare(folder.path(), &["a.png", "a.png"]).stdout).unwrap();
    assert!(text.contains("PSNR (RGB)   no difference") && text.contains("not defined for sides under 161 pixels"), "{text}");
}

#[test]
fn alpha_and_all_bits_count() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, picture: Picture| fs::write(folder.path().join(name), write_picture(&picture, FileFormat::Png).unwrap()).unwrap();
    write("rgb.png", Picture::rgb(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap());
    write("opaque.png", Picture::rgba(2, 1, vec![1, 2, 3, 255, 4, 5, 6, 255]).unwrap());
    write("half.png", Picture::rgba(2, 1, vec![1, 2, 3, 255, 4, 5, 6, 128]).unwrap());
    write("gray.png", Picture::gray(2, 1, vec![7, 8]).unwrap());
    write("gray3.png", Picture::rgb(2, 1, vec![7, 7, 7, 8, 8, 8]).unwrap());
    write("wide.png", Picture::from_samples(2, 1, aei::Channels::Gray, vec![7 * 257, 8 * 257 + 1u16].into()).unwrap());
    write("clear.png", Picture::rgba(2, 1, vec![1, 2, 3, 255, 4, 5, 6, 0]).unwrap());
    write("clear-red.png", Picture::rgba(2, 1, vec![1, 2, 3, 255, 200, 0, 0, 0]).unwrap());
    for (a, b, equal, alpha_equal, line) in [
        ("rgb.png", "rgb.png", true, Value::Null, None),
        ("rgb.png", "opaque.png", true, true.into(), Some("alpha        no difference")),
        ("opaque.png", "half.png", false, false.into(), Some("alpha        differs in 1 pixels")),
        ("opaque.png", "clear.png", false, false.into(), Some("alpha        differs in 1 pixels")),
        ("clear.png", "clear.png", true, true.into(), Some("alpha        no difference")),
        ("gray.png", "gray3.png", true, Value::Null, None),
        ("gray.png", "wide.png", false, Value::Null, Some("16 bits      differ in 1 pixels")),
    ] {
        let value: Value = serde_json::from_slice(&compare(folder.path(), &["--json", a, b]).stdout).unwrap();
        assert_eq!((&value["equal"], &value["alpha_equal"]), (&equal.into(), &alpha_equal), "{a} {b}");
        let text = String::from_utf8(compare(folder.path(), &[a, b]).stdout).unwrap();
        assert!(text.contains("PSNR (RGB)   no difference") && text.lines().count() == 4 + usize::from(line.is_some()), "{text}");
        assert!(line.is_none_or(|line| text.contains(line)), "{text}");
    }
    // Nobody sees it, but equal it is not.
    let value: Value = serde_json::from_slice(&compare(folder.path(), &["--json", "clear.png", "clear-red.png"]).stdout).unwrap();
    assert_eq!((&value["equal"], &value["alpha_equal"], &value["psnr_rgb"]), (&false.into(), &true.into(), &Value::Null));
    let text = String::from_utf8(compare(folder.path(), &["clear.png", "clear-red.png"]).stdout).unwrap();
    assert!(text.contains("PSNR (RGB)   no difference") && text.contains("invisible    colours of 1 wholly transparent pixels differ"), "{text}");
    // What is visible in one of them counts.
    let text = String::from_utf8(compare(folder.path(), &["opaque.png", "clear-red.png"]).stdout).unwrap();
    assert!(text.contains("PSNR (RGB)   ") && !text.contains("PSNR (RGB)   no difference"), "{text}");
}

#[test]
fn an_aei_file_is_compared_with_its_original() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "a.png", 64, 64, |i| (i / 3 % 64 * 3) as u8);
    let encode =
        Command::new(env!("CARGO_BIN_EXE_aei")).current_dir(folder.path()).args(["encode", "-Q", "-q", "80", "--lossless=never", "a.png"]).status().unwrap();
    assert!(encode.success());
    let value: Value = serde_json::from_slice(&compare(folder.path(), &["--json", "a.png", "a.aei"]).stdout).unwrap();
    assert!(value["psnr_rgb"].as_f64().unwrap() > 20.0, "{value}");
}

#[test]
fn lossless_files_are_compared_with_all_their_bits() {
    let folder = tempfile::tempdir().unwrap();
    for (name, channels) in [("gray", Channels::Gray), ("alpha", Channels::GrayAlpha)] {
        let samples: Vec<u16> = (0..60 * 40 * channels.count() as u32).map(|i| (i * 997 % 65536) as u16).collect();
        let picture = Picture::from_samples(60, 40, channels, samples.into()).unwrap();
        fs::write(folder.path().join("a.png"), write_picture(&picture, FileFormat::Png).unwrap()).unwrap();
        let compared = |lossless| {
            let file = Encoder::new().lossless(lossless).encode(&picture).unwrap();
            fs::write(folder.path().join("a.aei"), file).unwrap();
            serde_json::from_slice::<Value>(&compare(folder.path(), &["--json", "a.png", "a.aei"]).stdout).unwrap()
        };
        let alpha_equal = channels.has_alpha().then_some(true);
        let value = compared(Lossless::Always);
        assert_eq!((value["equal"].as_bool(), value["alpha_equal"].as_bool()), (Some(true), alpha_equal), "{name}");
        // Alpha is whole there too.
        let value = compared(Lossless::Never);
        assert_eq!((value["equal"].as_bool(), value["alpha_equal"].as_bool()), (Some(false), alpha_equal), "{name}");
    }
}

#[test]
fn different_sizes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "a.png", 20, 10, |i| i as u8);
    save(folder.path(), "b.png", 10, 20, |i| i as u8);
    let output = compare(folder.path(), &["a.png", "b.png"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("20x10 and 10x20"));
    assert_eq!(compare(folder.path(), &["a.png", "none.png"]).status.code(), Some(3));
    for (copy, code) in [("b.png", 2), ("none.png", 3)] {
        let output = compare(folder.path(), &["--json", "a.png", copy]);
        assert_eq!(output.status.code(), Some(code));
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&value["original"], &value["copy"], &value["error"]["code"]), (&"a.png".into(), &copy.into(), &code.into()));
    }
}

#[test]
fn other_profiles_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (rgb, gray) = (Picture::rgb(8, 8, vec![99; 192]).unwrap(), Picture::gray(8, 8, vec![99; 64]).unwrap());
    let mut damaged = vec![0; 132];
    damaged[16..20].copy_from_slice(b"RGB ");
    damaged[36..40].copy_from_slice(b"acsp");
    let of = |profile: moxcms::ColorProfile| Some(profile.encode().unwrap());
    let srgb = of(moxcms::ColorProfile::new_srgb());
    for (name, picture, icc) in [
        ("plain.png", &rgb, None),
        ("srgb.png", &rgb, srgb.clone()),
        ("p3.png", &rgb, of(moxcms::ColorProfile::new_display_p3())),
        ("damaged.png", &rgb, Some(damaged)),
        ("gray.png", &gray, None),
        ("linear.png", &gray, of(moxcms::ColorProfile::new_gray_with_gamma(1.0))),
    ] {
        let mut metadata = Metadata::default();
        metadata.icc = icc;
        let picture = picture.clone().with_metadata(metadata);
        fs::write(folder.path().join(name), write_picture(&picture, FileFormat::Png).unwrap()).unwrap();
    }
    for (original, copy, told) in [
        ("plain.png", "plain.png", false),
        ("damaged.png", "damaged.png", false),
        ("plain.png", "damaged.png", true),
        // Samples without a profile are sRGB.
        ("plain.png", "srgb.png", false),
        ("srgb.png", "plain.png", false),
        ("srgb.png", "p3.png", true),
        ("p3.png", "plain.png", true),
        // The grays of Display P3 are those of sRGB.
        ("gray.png", "p3.png", false),
        ("linear.png", "gray.png", true),
        ("srgb.png", "linear.png", true),
    ] {
        let output = compare(folder.path(), &[original, copy]);
        assert_eq!(output.status.code(), Some(0));
        let note = format!("{copy}: note: its colour profile is not that of the original");
        assert_eq!(String::from_utf8_lossy(&output.stderr).contains(&note), told, "{original} {copy}: {output:?}");
    }
}
