//! Size and quality on Kodak pictures, against the figures that the trained weights give in the floating-point reference.
//!
//! The pictures are not part of the project: the environment variable `AEI_KODAK` names their folder (`kodim01.png` …); without it and without
//! `../shared/data/kodak` these tests do nothing but say so.
#![cfg(all(feature = "files", feature = "metrics"))]

use std::collections::BTreeMap;
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

/// By how much a picture's PSNR grows with the logarithm of its size, from a row of the reference to the picture's next one.
fn slope(rows: &[serde_json::Value], row: &serde_json::Value) -> f64 {
    let next = rows.iter().find(|next| next["picture"] == row["picture"] && next["quality"].as_u64() > row["quality"].as_u64()).unwrap();
    let [from, to] = [row, next].map(|row| ["psnr", "bytes"].map(|key| row[key].as_f64().unwrap()));
    (to[0] - from[0]) / (to[1] / from[1]).ln()
}

/// Checks the pictures and qualities that `pick` picks: coded data within 1 % of the reference's bits (which know no container), PSNR within 0.05 dB, and on
/// average within 0.3 % and 0.02 dB. At index 8 single files may differ by 2 %, and at the reference's size by 0.06 dB: smooth pictures have few values there, and each that
/// is decided otherwise counts, and leads to another way through the trellis (the more states it has, the sooner), along the curve that the picture has between this
/// index and the next. Gives the mean rates and PSNRs of the reference and of the files, by quality.
fn check(pick: impl Fn(&str, u64) -> bool) -> Option<[Vec<(f64, f64)>; 2]> {
    let folder = folder()?;
    let expected: serde_json::Value = serde_json::from_str(include_str!("data/expected.json")).unwrap();
    let (mut sizes, mut differences) = (Vec::new(), Vec::new());
    let mut curves = BTreeMap::<u64, Vec<[(f64, f64); 2]>>::new();
    let rows = expected.as_array().unwrap();
    for row in rows {
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
        let (most_size, most_difference) = if quality == 8 { (0.02, 0.06) } else { (0.01, 0.05) };
        assert!(size.abs() < most_size, "{name} q{quality}: size differs by {:.2} %", 100. * size);
        let at_size = if quality == 8 { difference - slope(rows, row) * size.ln_1p() } else { difference };
        assert!(at_size.abs() < most_difference, "{name} q{quality}: PSNR differs by {at_size:.3} dB");
        let (rate, expected) = (row["bpp"].as_f64().unwrap(), row["psnr"].as_f64().unwrap());
        curves.entry(quality).or_default().push([(rate, expected), (rate * (1. + size), psnr)]);
        sizes.push(size);
        differences.push(difference);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let worst = |values: &[f64]| values.iter().fold(0f64, |worst, v| worst.max(v.abs()));
    let (size, difference) = (mean(&sizes), mean(&differences));
    println!("{} files: size within {:.2} %, PSNR within {:.3} dB", sizes.len(), 100. * worst(&sizes), worst(&differences));
    println!("on average {:+.3} %, {difference:+.4} dB", 100. * size);
    assert!(size.abs() < 0.003 && difference.abs() < 0.02);
    let point = |points: &[[(f64, f64); 2]], which: usize| {
        let sum = points.iter().fold((0., 0.), |sum, point| (sum.0 + point[which].0, sum.1 + point[which].1));
        (sum.0 / points.len() as f64, sum.1 / points.len() as f64)
    };
    Some([0, 1].map(|which| curves.values().map(|points| point(points, which)).collect()))
}

#[test]
fn a_few_pictures_match_the_reference() {
    check(|name, _| ["kodim03.png", "kodim07.png", "kodim11.png", "kodim15.png", "kodim19.png", "kodim23.png"].contains(&name));
}

#[test]
#[ignore = "takes minutes"]
fn all_pictures_match_the_reference() {
    let Some([reference, coded]) = check(|_, _| true) else { return };
    let lost = aei::metrics::bd_rate(&reference, &coded, 1.).unwrap().percent;
    println!("BD-rate of the integers against the reference: {lost:+.3} %");
    assert!(lost < 0.7);
}
