//! `aei compare`.

use std::ffi::OsString;
use std::process::ExitCode;

use aei::metrics::{MS_SSIM_MIN_SIDE, Rgb, decibels, ms_ssim, psnr, ssimulacra2};
use aei::{Channels, Decoder, DecoderOptions, Picture, SampleDepth};
use clap::Args;
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};
use serde_json::{Value, json};

use super::{Common, Session};
use crate::failure::{At as _, Failure};
use crate::paths::{self, Place};

/// Say how alike two pictures are
///
/// Reads .aei files, PNG, JPEG, WebP, TIFF, BMP, PNM, GIF and QOI. Prints PSNR, MS-SSIM and SSIMULACRA2 of the second picture as a copy of the first. Where
/// both have alpha, colours count as much as they are opaque; colour profiles are not applied.
#[derive(Args)]
#[command(after_help = crate::failure::exit_codes_help())]
pub(crate) struct Compare {
    /// The original
    #[arg(value_name = "A")]
    original: OsString,
    /// The copy
    #[arg(value_name = "B")]
    copy: OsString,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Compare {
    pub(super) fn run(&self, session: &Session) -> ExitCode {
        let places = [Place::from(&self.original), Place::from(&self.copy)];
        compare(session, &places).map_or_else(
            |failure| {
                session.console.failure_about(Some(json!({ "original": places[0].name(), "copy": places[1].name() })), &failure);
                failure.exit_code()
            },
            |()| ExitCode::SUCCESS,
        )
    }
}

fn compare(session: &Session, places: &[Place; 2]) -> Result<(), Failure> {
    if places[0] == Place::Standard && places[1] == Place::Standard {
        return Err(Failure::usage("only one of the pictures can come from standard input"));
    }
    let (original, copy) = (read(session, &places[0])?, read(session, &places[1])?);
    if (original.width(), original.height()) != (copy.width(), copy.height()) {
        return Err(Failure::usage(format!(
            "pictures of different sizes cannot be compared: {}x{} and {}x{} pixels",
            original.width(),
            original.height(),
            copy.width(),
            copy.height()
        )));
    }
    if !same_colours(&original, &copy) {
        session.console.notice(&places[1], "its colour profile is not that of the original; samples are compared as they are, whatever colours they stand for");
    }
    let (a, b) = Rgb::visible(&original, &copy).at(&places[1])?;
    let (psnr, similarity, score) = (psnr(&a, &b)?, ms_ssim(&a, &b)?, ssimulacra2(&a, &b)?);
    let differences = Differences::new(&original, &copy);
    let has_alpha = original.channels().has_alpha() || copy.channels().has_alpha();
    if session.console.json {
        session.console.object(json!({
            "original": places[0].name(),
            "copy": places[1].name(),
            "width": original.width(),
            "height": original.height(),
            "psnr_rgb": number(psnr.rgb),
            "psnr_luma": number(psnr.luma),
            "ms_ssim": similarity,
            "ms_ssim_db": similarity.map(decibels).map(number),
            "ssimulacra2": score,
            "equal": differences.colours == 0 && differences.invisible == 0 && differences.alpha == 0,
            "alpha_equal": has_alpha.then_some(differences.alpha == 0),
        }))?;
        return Ok(());
    }
    let decibel = |value: f64| if value.is_infinite() { "no difference".to_owned() } else { format!("{value:.3} dB") };
    let small = |side: u32| format!("not defined for sides under {side} pixels");
    let ms_ssim = similarity.map_or(small(MS_SSIM_MIN_SIDE), |x| format!("{x:.6} ({})", decibel(decibels(x))));
    let score = score.map_or(small(8), |x| format!("{x:.3}"));
    session.console.result(format_args!(
        "PSNR (RGB)   {}\nPSNR (luma)  {}\nMS-SSIM      {ms_ssim}\nSSIMULACRA2  {score}",
        decibel(psnr.rgb),
        decibel(psnr.luma)
    ))?;
    if psnr.rgb.is_infinite() && differences.colours > 0 {
        session.console.result(format_args!("16 bits      differ in {} pixels: the measures are of 8 bits", differences.colours))?;
    }
    if has_alpha {
        let alpha = if differences.alpha == 0 { "no difference".into() } else { format!("differs in {} pixels", differences.alpha) };
        session.console.result(format_args!("alpha        {alpha}"))?;
        if differences.invisible > 0 {
            session.console.result(format_args!("invisible    colours of {} wholly transparent pixels differ", differences.invisible))?;
        }
    }
    Ok(())
}

/// In how many pixels two pictures of one size differ, at 16 bits.
struct Differences {
    colours: usize,
    /// In colours alone, of pixels that are wholly transparent in both.
    invisible: usize,
    /// Without transparency a picture is opaque.
    alpha: usize,
}

impl Differences {
    fn new(a: &Picture, b: &Picture) -> Self {
        let (mut colours, mut invisible, mut alpha) = (0, 0, 0);
        let (first, second) = (a.samples16(), b.samples16());
        for (a, b) in pixels(a.channels(), &first).zip(pixels(b.channels(), &second)) {
            let differ = usize::from(a[..3] != b[..3]);
            *(if a[3] == 0 && b[3] == 0 { &mut invisible } else { &mut colours }) += differ;
            alpha += usize::from(a[3] != b[3]);
        }
        Self { colours, invisible, alpha }
    }
}

/// Red, green, blue and alpha of each pixel.
fn pixels(channels: Channels, samples: &[u16]) -> impl Iterator<Item = [u16; 4]> {
    let (count, gray, has_alpha) = (channels.count(), channels.is_gray(), channels.has_alpha());
    samples.chunks_exact(count).map(move |p| {
        let [green, blue] = if gray { [p[0]; 2] } else { [p[1], p[2]] };
        [p[0], green, blue, if has_alpha { p[count - 1] } else { u16::MAX }]
    })
}

/// Whether equal samples are equal colours, but for about a step of 8 bits: profiles of sRGB are many, and samples without one are sRGB too.
fn same_colours(original: &Picture, copy: &Picture) -> bool {
    if original.metadata().icc == copy.metadata().icc {
        return true;
    }
    // What both can hold.
    let samples: Vec<[u8; 3]> = if original.channels().is_gray() || copy.channels().is_gray() {
        (0..=255).map(|v| [v; 3]).collect()
    } else {
        (0..6 * 6 * 6).map(|i| [i / 36, i / 6 % 6, i % 6].map(|step| 51 * step)).collect()
    };
    let [a, b] = [original, copy].map(|picture| colours(picture, &samples));
    a.zip(b).is_some_and(|(a, b)| a.iter().zip(&b).all(|(a, b)| a.abs_diff(*b) <= 1))
}

/// Samples in a space that is wide enough for all of them. `None` if the picture's profile cannot be used.
fn colours(picture: &Picture, samples: &[[u8; 3]]) -> Option<Vec<u8>> {
    let srgb = || Some(ColorProfile::new_srgb());
    let profile = picture.metadata().icc.as_ref().map_or_else(srgb, |icc| ColorProfile::new_from_slice(icc).ok())?;
    let gray = profile.color_space == DataColorSpace::Gray && picture.channels().is_gray();
    let (layout, samples) = if gray { (Layout::Gray, samples.iter().map(|sample| sample[0]).collect()) } else { (Layout::Rgb, samples.concat()) };
    let transform = profile.create_transform_8bit(layout, &ColorProfile::new_pro_photo_rgb(), Layout::Rgb, TransformOptions::default()).ok()?;
    let mut out = vec![0; if gray { 3 } else { 1 } * samples.len()];
    transform.transform(&samples, &mut out).ok()?;
    Some(out)
}

/// JSON has no infinity: null, and `equal` tells why.
fn number(value: f64) -> Value {
    value.is_finite().then_some(value).into()
}

/// A picture of any kind, upright.
fn read(session: &Session, place: &Place) -> Result<Picture, Failure> {
    let bytes = paths::read(place, session.limits.max_file_bytes)?;
    if bytes.starts_with(b"\x89AEI") {
        let mut options = DecoderOptions::default();
        options.limits = session.limits;
        options.model = session.model.clone();
        let decoder = Decoder::from_vec(bytes, options).at(place)?;
        // What was kept without loss counts with all its bits.
        let info = decoder.info();
        let wide = info.lossless && info.source_depth > 8 || info.alpha_depth == Some(SampleDepth::Sixteen);
        let decoder = decoder.depth(if wide { SampleDepth::Sixteen } else { SampleDepth::Eight });
        return decoder.decode().and_then(Picture::upright).at(place);
    }
    let (picture, notices) = Picture::from_file_bytes(&bytes, &session.limits).at(place)?;
    for notice in &notices {
        session.console.notice(place, notice);
    }
    picture.upright().at(place)
}
