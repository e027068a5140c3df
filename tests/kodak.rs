//! Size and quality on Kodak pictures, against the figures that the trained weights give in the floating-point reference.
//!
//! The pictures are not part of the project: the environment variable `AEI_KODAK` names their folder (`kodim01.png` …); without it and without
//! `../shared/data/kodak` these tests do nothing but say so.
#![cfg(feature = "files")]

use std::path::{Path, PathBuf};

use aei::{Decoder, Encoder, Quality};

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("AEI_KODAK").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/kodak"), PathBuf::from);
    if !folder.is_dir() {
        println!("skipped: no Kodak pictures in {}", folder.display());
        return None;
    }
    Some(folder)
}

/// Checks the pictures and qualities that `pick` picks: coded data within 2 % of the reference's bits (which know no container), PSNR within 0.08 dB, and on
/// average within 0.3 % and 0.02 dB. Smooth pictures at low qualities differ most: there are few values, and each that is decided otherwise counts.
fn check(pick: impl Fn(&str, u64) -> bool) {
    let Some(folder) = folder() else { return };
    let expected: serde_json::Value = serde_json::from_str(include_str!("data/expected.json")).unwrap();
    let (mut sizes, mut differences) = (Vec::new(), Vec::new());
    for row in expected.as_array().unwrap() {
        let (name, quality) = (row["picture"].as_str().unwrap(), row["quality"].as_u64().unwrap());
        if !pick(name, quality) {
            continue;
        }
        let (picture, _) = aei::read_picture(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        let file = Encoder::new().quality(Quality::index(quality as u8).unwrap()).encode(&picture).unwrap();
        let decoder = Decoder::new(&file[..]).unwrap();
        let decoded = decoder.decode().unwrap();
        let parts = decoder.breakdown().unwrap();
        let squares: f64 = picture.samples().iter().zip(decoded.samples().iter()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
        let psnr = 10. * (255f64.powi(2) * decoded.samples().len() as f64 / squares).log10();
        let size = (parts.y + parts.z) as f64 / row["bytes"].as_f64().unwrap() - 1.;
        let difference = psnr - row["psnr"].as_f64().unwrap();
        println!("{name} q{quality}: {} bytes ({:+.2} %), {psnr:.3} dB ({difference:+.3})", file.len(), 100. * size);
        assert!(size.abs() < 0.02, "{name} q{quality}: size differs by {:.2} %", 100. * size);
        assert!(difference.abs() < 0.08, "{name} q{quality}: PSNR differs by {difference:.3} dB");
        sizes.push(size);
        differences.push(difference);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let worst = |values: &[f64]| values.iter().fold(0f64, |worst, v| worst.max(v.abs()));
    let (size, difference) = (mean(&sizes), mean(&differences));
    println!("{} files: size within {:.2} %, PSNR within {:.3} dB", sizes.len(), 100. * worst(&sizes), worst(&differences));
    println!("on average {:+.3} %, {difference:+.4} dB", 100. * size);
    assert!(size.abs() < 0.003 && difference.abs() < 0.02);
}

#[test]
fn a_few_pictures_match_the_reference() {
    check(|name, quality| match quality {
        8 | 56 => ["kodim03.png", "kodim13.png", "kodim20.png"].contains(&name),
        _ => name == "kodim19.png",
    });
}

#[test]
#[ignore = "takes minutes"]
fn all_pictures_match_the_reference() {
    check(|_, _| true);
}
