//! Against other implementations: PSNR in numpy, MS-SSIM by pytorch-msssim 1.0.0 in double precision, BD-rate by SciPy's PchipInterpolator and the trapezoidal
//! rule over 2001 points.

use super::*;

/// Width, height, strength of the disturbance; PSNR of RGB, PSNR of luma, MS-SSIM.
const REFERENCE: [(u32, u32, i64, f64, f64, f64); 4] = [
    (176, 176, 6, 35.522810, 39.206917, 0.99893079),
    (211, 187, 3, 41.629242, 41.638582, 0.99979587),
    (256, 193, 25, 23.805390, 25.514089, 0.98634369),
    (330, 161, 60, 16.605112, 17.427684, 0.94264746),
];

/// Of the curves in `benches/anchors/kodak.csv`: anchor, codec, whether by MS-SSIM; BD-rate, from, to.
const BD_RATES: [(&str, &str, bool, f64, f64, f64); 30] = [
    ("JPEG (libjpeg-turbo)", "WebP", false, -36.1764, 28.3284, 40.5567),
    ("JPEG (libjpeg-turbo)", "BPG 4:4:4 (x265)", false, -58.8553, 26.1951, 40.5567),
    ("JPEG (libjpeg-turbo)", "AV1 4:4:4 (libaom)", false, -62.4281, 25.5607, 40.5567),
    ("JPEG (libjpeg-turbo)", "VTM 9.1 4:4:4", false, -67.5842, 26.1448, 40.5567),
    ("JPEG (libjpeg-turbo)", "mbt2018-mean", false, -57.9567, 27.6995, 40.5567),
    ("JPEG (libjpeg-turbo)", "cheng2020-attn", false, -65.0561, 28.4310, 36.6218),
    ("JPEG (libjpeg-turbo)", "ELIC", false, -69.8070, 26.2650, 40.5567),
    ("JPEG (libjpeg-turbo)", "HPCM-Large", false, -72.4523, 28.9135, 37.7480),
    ("JPEG (libjpeg-turbo)", "WebP", true, -23.4094, 11.2924, 23.6020),
    ("JPEG (libjpeg-turbo)", "BPG 4:4:4 (x265)", true, -47.8450, 8.8137, 23.6020),
    ("JPEG (libjpeg-turbo)", "AV1 4:4:4 (libaom)", true, -52.7386, 8.1409, 23.6020),
    ("JPEG (libjpeg-turbo)", "VTM 9.1 4:4:4", true, -58.3061, 8.5576, 23.6020),
    ("JPEG (libjpeg-turbo)", "mbt2018-mean", true, -52.0885, 10.8535, 23.3244),
    ("JPEG (libjpeg-turbo)", "cheng2020-attn", true, -59.4799, 11.1874, 19.6554),
    ("JPEG (libjpeg-turbo)", "ELIC", true, -63.5933, 8.7212, 23.1535),
    ("VTM 9.1 4:4:4", "JPEG (libjpeg-turbo)", false, 208.4912, 26.1448, 40.5567),
    ("VTM 9.1 4:4:4", "WebP", false, 78.7493, 28.3284, 41.7592),
    ("VTM 9.1 4:4:4", "BPG 4:4:4 (x265)", false, 21.9870, 26.1951, 46.5918),
    ("VTM 9.1 4:4:4", "AV1 4:4:4 (libaom)", false, 16.1778, 26.1448, 43.9676),
    ("VTM 9.1 4:4:4", "mbt2018-mean", false, 21.2803, 27.6995, 40.6333),
    ("VTM 9.1 4:4:4", "cheng2020-attn", false, 5.5144, 28.4310, 36.6218),
    ("VTM 9.1 4:4:4", "ELIC", false, -7.3582, 26.2650, 41.0703),
    ("VTM 9.1 4:4:4", "HPCM-Large", false, -19.9545, 28.9135, 37.7480),
    ("VTM 9.1 4:4:4", "JPEG (libjpeg-turbo)", true, 139.8433, 8.5576, 23.6020),
    ("VTM 9.1 4:4:4", "WebP", true, 61.2546, 11.2924, 23.9559),
    ("VTM 9.1 4:4:4", "BPG 4:4:4 (x265)", true, 21.5110, 8.8137, 28.7173),
    ("VTM 9.1 4:4:4", "AV1 4:4:4 (libaom)", true, 14.5845, 8.5576, 25.5917),
    ("VTM 9.1 4:4:4", "mbt2018-mean", true, 3.1367, 10.8535, 23.3244),
    ("VTM 9.1 4:4:4", "cheng2020-attn", true, -8.2031, 11.1874, 19.6554),
    ("VTM 9.1 4:4:4", "ELIC", true, -12.8188, 8.7212, 23.1535),
];

/// A picture by formula, and a disturbed copy.
fn pictures(width: u32, height: u32, amplitude: i64) -> [Picture; 2] {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for (y, x, c) in (0..i64::from(height)).flat_map(|y| (0..i64::from(width)).flat_map(move |x| (0..3).map(move |c| (y, x, c)))) {
        let v = (x * y / (8 + c) + 3 * x + 5 * c * y) % 511;
        let v = if v > 255 { 510 - v } else { v };
        let block = if (x / 16 + y / 16) % 2 == 0 { amplitude / 2 } else { 0 };
        a.push(v as u8);
        b.push((v + (x * 31 + y * 17 + c * 7) % (2 * amplitude + 1) - amplitude + block).clamp(0, 255) as u8);
    }
    [a, b].map(|samples| Picture::rgb(width, height, samples).unwrap())
}

#[test]
fn psnr_and_ms_ssim_agree_with_others() {
    for (width, height, amplitude, rgb, luma, similarity) in REFERENCE {
        let [a, b] = pictures(width, height, amplitude);
        let (a, b) = (Rgb::new(&a), Rgb::new(&b));
        let ours = psnr(&a, &b).unwrap();
        assert!((ours.rgb - rgb).abs() < 1e-5 && (ours.luma - luma).abs() < 1e-5, "{width}x{height}: {ours:?}");
        let ms = ms_ssim(&a, &b).unwrap().unwrap();
        assert!((ms - similarity).abs() < 1e-5, "{width}x{height}: {ms}");
        assert!((decibels(ms) - decibels(similarity)).abs() < 1e-3, "{width}x{height}: {} dB", decibels(ms));
    }
}

#[test]
fn equal_pictures() {
    let [a, _] = pictures(180, 170, 1);
    let a = Rgb::new(&a);
    assert_eq!(psnr(&a, &a).unwrap(), Psnr { rgb: f64::INFINITY, luma: f64::INFINITY });
    assert_eq!(ms_ssim(&a, &a).unwrap(), Some(1.0));
    assert!(ssimulacra2(&a, &a).unwrap().unwrap() > 99.99);
}

#[test]
fn ssimulacra2_falls_with_damage() {
    let scores: Vec<f64> = [1, 5, 20]
        .map(|amplitude| {
            let [a, b] = pictures(64, 48, amplitude);
            ssimulacra2(&Rgb::new(&a), &Rgb::new(&b)).unwrap().unwrap()
        })
        .into();
    assert!(scores.is_sorted_by(|a, b| a > b) && scores[0] < 100.0, "{scores:?}");
}

#[test]
fn small_and_unequal_pictures() {
    let [a, b] = pictures(160, 300, 3);
    let [c, _] = pictures(7, 300, 3);
    let (a, b, c) = (Rgb::new(&a), Rgb::new(&b), Rgb::new(&c));
    assert_eq!(ms_ssim(&a, &b).unwrap(), None);
    assert_eq!(ssimulacra2(&c, &c).unwrap(), None);
    assert!(psnr(&a, &c).is_err() && ms_ssim(&a, &c).is_err() && ssimulacra2(&a, &c).is_err());
}

#[test]
fn gray_is_three_equal_channels() {
    let gray = Picture::gray(8, 8, (0..64).collect()).unwrap();
    let colour = Picture::rgb(8, 8, (0..64).flat_map(|v| [v + 1; 3]).collect()).unwrap();
    let result = psnr(&Rgb::new(&gray), &Rgb::new(&colour)).unwrap();
    assert!((result.rgb - result.luma).abs() < 1e-9 && (result.rgb - 48.1308).abs() < 1e-3);
}

/// Points of (bits per pixel, quality) from the anchors.
fn curve(codec: &str, by_ms_ssim: bool) -> Vec<(f64, f64)> {
    let table = include_str!("../../benches/anchors/kodak.csv");
    let rows = table.lines().skip(1).map(|line| {
        let (name, rest) = line.split_once(',').unwrap();
        (name, rest.split(',').collect::<Vec<_>>())
    });
    rows.filter(|(name, _)| *name == codec).map(|(_, fields)| (fields[0].parse().unwrap(), fields[if by_ms_ssim { 2 } else { 1 }].parse().unwrap())).collect()
}

#[test]
fn bd_rates_agree_with_scipy() {
    for (anchor, codec, by_ms_ssim, percent, from, to) in BD_RATES {
        let bd = bd_rate(&curve(anchor, by_ms_ssim), &curve(codec, by_ms_ssim), 0.8).unwrap();
        assert!((bd.percent - percent).abs() < 0.05, "{codec} against {anchor}: {bd:?}, not {percent}");
        assert!((bd.from - from).abs() < 1e-3 && (bd.to - to).abs() < 1e-3, "{codec} against {anchor}: {bd:?}");
    }
}

#[test]
fn bd_rate_of_simple_curves() {
    let curve = |factor: f64| [0.1, 0.2, 0.5, 1.0, 2.0].map(|r: f64| (r * factor, 30.0 + 5.0 * r.log2()));
    assert!((bd_rate(&curve(1.0), &curve(0.5), 0.8).unwrap().percent + 50.0).abs() < 1e-9);
    assert!(bd_rate(&curve(1.0), &curve(1.0), 0.8).unwrap().percent.abs() < 1e-9);
    // A setting that costs more and gives less changes nothing.
    let mut worse = curve(0.5).to_vec();
    worse.push((0.9, 28.0));
    assert!((bd_rate(&curve(1.0), &worse, 0.8).unwrap().percent + 50.0).abs() < 1e-9);
    // Too few points, no common range, lossless files.
    assert_eq!(bd_rate(&curve(1.0)[..2], &curve(1.0), 0.8), None);
    assert_eq!(bd_rate(&curve(1.0), &curve(1.0).map(|(r, q)| (r, q + 100.0)), 0.8), None);
    assert!(bd_rate(&curve(1.0), &[curve(1.0).as_slice(), &[(9.0, f64::INFINITY)]].concat(), 0.8).is_some());
}

/// Values of a program in numpy, in double precision, that takes variances about another point.
#[test]
fn ms_ssim_of_bright_and_flat_pictures() {
    let flat = |width: u32, height: u32, value: u8| Picture::gray(width, height, vec![value; (width * height) as usize]).unwrap();
    let spots = |level: u8, spot: &dyn Fn(u32, u32) -> bool| {
        let samples = (0..176).flat_map(|y| (0..180).map(move |x| (x, y))).map(|(x, y)| level + u8::from(spot(x, y))).collect();
        Picture::gray(180, 176, samples).unwrap()
    };
    for (a, b, similarity, db) in [
        (flat(200, 200, 250), flat(200, 200, 251), 0.9999987084181065, 58.88878),
        (flat(180, 176, 254), spots(254, &|x, y| (x * 7 + y * 13) % 97 == 0), 0.9999774407895331, 46.46676),
        (flat(180, 176, 253), spots(253, &|x, y| (x, y) == (77, 90)), 0.9999999029363303, 70.12943),
    ] {
        let ours = ms_ssim(&Rgb::new(&a), &Rgb::new(&b)).unwrap().unwrap();
        assert!((ours - similarity).abs() < 1e-12 && (decibels(ours) - db).abs() < 1e-4, "{ours}: {} dB, not {db}", decibels(ours));
    }
    assert_eq!(decibels(1.0 + 1e-9), f64::INFINITY);
}

#[test]
fn what_is_invisible_in_both_does_not_count() {
    let picture = |channels, samples: Vec<u8>| Picture::new(2, 2, channels, samples).unwrap();
    let measured = |a: &Picture, b: &Picture| {
        let (a, b) = Rgb::visible(a, b).unwrap();
        psnr(&a, &b).unwrap().rgb
    };
    let original = picture(Channels::GrayAlpha, vec![9, 0, 50, 255, 60, 1, 70, 0]);
    let coded = picture(Channels::Rgba, [[200, 100, 0, 0], [50, 50, 53, 255], [60, 60, 60, 1], [70, 70, 70, 0]].concat());
    let wide = coded.clone().with_depth(crate::SampleDepth::Sixteen).unwrap();
    // One of six samples that count differs, by 3.
    let expected = 10.0 * (255f64.powi(2) / (9.0 / 6.0)).log10();
    assert!((measured(&original, &coded) - expected).abs() < 1e-9);
    assert!((measured(&original, &wide) - expected).abs() < 1e-9);
    assert!(psnr(&Rgb::new(&original), &Rgb::new(&coded)).unwrap().rgb < 13.0);
    // What differs in a translucent pixel counts as much as it is opaque in one of them: 100 at 51 of 255 is 20, of six samples that count again.
    let translucent = |gray, alpha| picture(Channels::GrayAlpha, vec![9, 0, 50, 255, gray, alpha, 70, 0]);
    let expected = 10.0 * (255f64.powi(2) / (400.0 * 3.0 / 6.0)).log10();
    for (one, other) in [(51, 51), (51, 7), (0, 51)] {
        assert!((measured(&translucent(60, one), &translucent(160, other)) - expected).abs() < 1e-9);
    }
    // Less than a level counts as what it is.
    let expected = 10.0 * (255f64.powi(2) / ((10.0 * 12.0 / 255.0f64).powi(2) * 3.0 / 6.0)).log10();
    assert!((measured(&translucent(60, 12), &translucent(70, 12)) - expected).abs() < 1e-9);
    // Transparent in one of them alone, or not known to be, it is seen.
    let opaque = picture(Channels::Rgba, [[200, 100, 0, 255], [50, 50, 50, 255], [60, 60, 60, 1], [70, 70, 70, 0]].concat());
    assert!(measured(&original, &opaque) < 12.0);
    assert!(measured(&original, &picture(Channels::Gray, vec![200, 50, 60, 70])) < 12.0);
    // Where nothing is visible, nothing differs.
    let nothing = |v| picture(Channels::GrayAlpha, [v, 0].repeat(4));
    assert!(measured(&nothing(3), &nothing(250)).is_infinite());
    assert!(Rgb::visible(&original, &Picture::gray(1, 1, vec![0]).unwrap()).is_err());
}
