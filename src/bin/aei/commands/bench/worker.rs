//! What `aei bench` has done by processes of its own, so that all codecs are measured alike. Not for people.

use std::ffi::OsString;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use aei::{Channels, FileFormat, Limits, Picture};
use clap::Subcommand;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use serde::{Deserialize, Serialize};
use wait4::Wait4 as _;

use super::work;
use crate::failure::{At as _, Cause, Failure};

#[derive(Subcommand)]
pub(crate) enum Worker {
    JpegEncode { codec: String, quality: u8, input: PathBuf, output: PathBuf },
    JpegDecode { codec: String, input: PathBuf, output: PathBuf },
    Measure { command: Vec<OsString> },
    Remove { folder: PathBuf },
}

/// What a process took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    /// Largest resident set, where the system tells.
    pub(super) peak_bytes: Option<u64>,
}

impl Worker {
    pub(super) fn run(&self) -> ExitCode {
        let result = match self {
            Self::JpegEncode { codec, quality, input, output } => encode(codec, *quality, input, output),
            Self::JpegDecode { codec, input, output } => decode(codec, input, output),
            Self::Measure { command } => measure(command),
            Self::Remove { folder } => work::remove(folder),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("{}", failure.message);
                failure.exit_code()
            }
        }
    }
}

/// Runs a command. A small process does that, because a new one starts with the peak of the one it was copied from.
fn measure(command: &[OsString]) -> Result<(), Failure> {
    let [program, arguments @ ..] = command else { return Err(Failure::usage("no command")) };
    let started = Instant::now();
    let mut child = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn().at(program.display())?;
    let used = child.wait4().at(program.display())?;
    let seconds = started.elapsed().as_secs_f64();
    if !used.status.success() {
        return Err(Failure::new(Cause::Internal, format!("{} failed ({})", program.display(), used.status)));
    }
    let cost = Cost { seconds, peak_bytes: Some(used.rusage.maxrss).filter(|bytes| *bytes > 0) };
    println!("{}", serde_json::to_string(&cost).map_err(|e| Failure::new(Cause::Internal, e.to_string()))?);
    Ok(())
}

fn encode(codec: &str, quality: u8, input: &Path, output: &Path) -> Result<(), Failure> {
    let (picture, _) = Picture::from_file_bytes(&fs::read(input).at(input.display())?, &Limits::none())?;
    let file = match codec {
        "jpeg" => {
            let mut file = Vec::new();
            let colour = if picture.channels() == Channels::Gray { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
            JpegEncoder::new_with_quality(&mut file, quality).encode(&picture.samples(), picture.width(), picture.height(), colour).map_err(internal)?;
            file
        }
        "mozjpeg-420" => mozjpeg_encode(&picture, quality, 2)?,
        "mozjpeg-444" => mozjpeg_encode(&picture, quality, 1)?,
        other => return Err(Failure::usage(format!("{other}: no such codec"))),
    };
    fs::write(output, file).at(output.display())
}

fn decode(codec: &str, input: &Path, output: &Path) -> Result<(), Failure> {
    let bytes = fs::read(input).at(input.display())?;
    let picture = if codec == "jpeg" { Picture::from_file_bytes(&bytes, &Limits::none())?.0 } else { mozjpeg_decode(&bytes)? };
    fs::write(output, aei::write_picture(&picture, FileFormat::Pnm)?).at(output.display())
}

/// `side`: pixels that a chroma sample stands for, in each direction.
fn mozjpeg_encode(picture: &Picture, quality: u8, side: u8) -> Result<Vec<u8>, Failure> {
    unwound(|| {
        let gray = picture.channels() == Channels::Gray;
        let mut encoder = mozjpeg::Compress::new(if gray { mozjpeg::ColorSpace::JCS_GRAYSCALE } else { mozjpeg::ColorSpace::JCS_RGB });
        encoder.set_size(picture.width() as usize, picture.height() as usize);
        encoder.set_progressive_mode();
        encoder.set_optimize_scans(true);
        encoder.set_quality(quality.into());
        if !gray {
            encoder.set_chroma_sampling_pixel_sizes((side, side), (side, side));
        }
        let mut encoder = encoder.start_compress(Vec::new())?;
        encoder.write_scanlines(&picture.samples())?;
        encoder.finish()
    })
}

fn mozjpeg_decode(bytes: &[u8]) -> Result<Picture, Failure> {
    let (width, height, samples) = unwound(|| {
        let mut decoder = mozjpeg::Decompress::new_mem(bytes)?.rgb()?;
        let (width, height) = (decoder.width(), decoder.height());
        let samples: Vec<u8> = decoder.read_scanlines::<[u8; 3]>()?.into_flattened();
        decoder.finish()?;
        Ok((width, height, samples))
    })?;
    let side = |pixels: usize| u32::try_from(pixels).map_err(internal);
    Ok(Picture::rgb(side(width)?, side(height)?, samples)?)
}

/// The library reports errors by unwinding.
fn unwound<T>(work: impl FnOnce() -> std::io::Result<T> + panic::UnwindSafe) -> Result<T, Failure> {
    panic::set_hook(Box::new(|_| ()));
    let result = panic::catch_unwind(work);
    let _ = panic::take_hook();
    result.map_err(|_| Failure::new(Cause::Internal, "mozjpeg failed"))?.at("mozjpeg")
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::new(Cause::Internal, error.to_string())
}
