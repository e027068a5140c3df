//! `aei compare`.

use std::ffi::OsString;
use std::process::ExitCode;

use aei::metrics::{MS_SSIM_MIN_SIDE, Rgb, decibels, ms_ssim, psnr, ssimulacra2};
use aei::{Decoder, DecoderOptions, Picture};
use clap::Args;
use serde_json::{Value, json};

use super::{Common, Session};
use crate::failure::{At as _, Failure};
use crate::paths::{self, Place};

/// Say how alike two pictures are
///
/// Reads .aei files, PNG, JPEG, WebP, TIFF, BMP, PNM, GIF and QOI. Prints PSNR, MS-SSIM and SSIMULACRA2 of the second picture as a copy of the first.
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
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let places = [Place::from(&self.original), Place::from(&self.copy)];
        if places[0] == Place::Standard && places[1] == Place::Standard {
            return Err(Failure::usage("only one of the pictures can come from standard input"));
        }
        let (original, copy) = (read(session, &places[0])?, read(session, &places[1])?);
        let (a, b) = (Rgb::new(&original), Rgb::new(&copy));
        if (original.width(), original.height()) != (copy.width(), copy.height()) {
            return Err(Failure::usage(format!(
                "pictures of different sizes cannot be compared: {}x{} and {}x{} pixels",
                original.width(),
                original.height(),
                copy.width(),
                copy.height()
            )));
        }
        let (psnr, similarity, score) = (psnr(&a, &b)?, ms_ssim(&a, &b)?, ssimulacra2(&a, &b)?);
        if session.console.json {
            session.console.object(json!({
                "original": places[0].to_string(),
                "copy": places[1].to_string(),
                "width": original.width(),
                "height": original.height(),
                "psnr_rgb": number(psnr.rgb),
                "psnr_luma": number(psnr.luma),
                "ms_ssim": similarity,
                "ms_ssim_db": similarity.map(decibels).map(number),
                "ssimulacra2": score,
                "equal": psnr.rgb.is_infinite(),
            }))?;
            return Ok(ExitCode::SUCCESS);
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
        Ok(ExitCode::SUCCESS)
    }
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
        return Decoder::with_options(&bytes[..], options).and_then(|decoder| decoder.decode()?.upright()).at(place);
    }
    let (picture, notices) = Picture::from_file_bytes(&bytes, &session.limits).at(place)?;
    for notice in &notices {
        session.console.notice(place, notice);
    }
    picture.upright().at(place)
}
