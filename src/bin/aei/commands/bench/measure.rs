//! One picture through one codec.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aei::metrics::{Rgb, decibels, ms_ssim, psnr, ssimulacra2};
use aei::{Limits, Picture};

use super::codecs::{Aei, Codec};
use super::results::{Key, PictureId, Row};
use super::worker::Cost;
use crate::commands::bits_per_pixel;
use crate::failure::{At as _, Cause, Failure};

/// A picture that codecs get.
pub(super) struct Source {
    /// Name for people.
    pub(super) name: String,
    pub(super) digest: String,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) is_gray: bool,
    /// A PNG without metadata, so that every codec gets the same and stores nothing else.
    pub(super) png: PathBuf,
}

impl Source {
    /// What tells it from others.
    pub(super) fn id(&self) -> PictureId<'_> {
        (&self.digest, self.width, self.height)
    }
}

/// What is to be measured.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) source: &'a Source,
    pub(super) entry: &'a Entry,
    pub(super) setting: f64,
}

/// A codec that takes part.
pub(super) struct Entry {
    pub(super) codec: Codec,
    pub(super) version: String,
    pub(super) settings: String,
    pub(super) ladder: Vec<f64>,
    /// Else there are only results of earlier runs.
    pub(super) installed: bool,
}

impl<'a> Task<'a> {
    pub(super) fn key(&self) -> Key<'a> {
        let Entry { codec, version, settings, .. } = self.entry;
        Key { picture: self.source.id(), codec: codec.id(), version, settings, setting: self.setting }
    }

    /// Encodes, decodes, compares.
    pub(super) fn measure(&self, aei: &Aei, work: &Path, timing: bool) -> Result<Row, Failure> {
        let Self { source, entry, setting } = *self;
        let folder = tempfile::tempdir_in(work).at(work.display())?;
        let coded = Coded::new(aei, entry.codec, setting, source, folder.path())?;
        let original = read(&source.png)?;
        let (a, b) = (Rgb::new(&original), Rgb::new(&coded.picture));
        let (psnr, similarity, ssimulacra2) = (psnr(&a, &b)?, ms_ssim(&a, &b)?, ssimulacra2(&a, &b)?);
        let round = |value: f64| (value * 1e6).round() / 1e6;
        // What is left to 1 becomes dB again once it has been averaged, so its digits count.
        let round_similarity = |value: f64| (value * 1e15).round() / 1e15;
        Ok(Row {
            picture: source.name.clone(),
            digest: source.digest.clone(),
            width: source.width,
            height: source.height,
            codec: entry.codec.id().into(),
            version: entry.version.clone(),
            settings: entry.settings.clone(),
            setting,
            bytes: coded.bytes,
            bpp: round(bits_per_pixel(coded.bytes, source.width, source.height)),
            psnr_rgb: round(psnr.rgb),
            psnr_luma: round(psnr.luma),
            ms_ssim: similarity.map(round_similarity),
            ms_ssim_db: similarity.map(|x| round(decibels(x))),
            ssimulacra2: ssimulacra2.map(round),
            encode_seconds: timing.then_some(coded.encoding.seconds),
            decode_seconds: timing.then_some(coded.decoding.seconds),
            encode_peak_bytes: coded.encoding.peak_bytes,
            decode_peak_bytes: coded.decoding.peak_bytes,
        })
    }
}

/// A picture that has been through a codec.
pub(super) struct Coded {
    pub(super) bytes: u64,
    pub(super) picture: Picture,
    encoding: Cost,
    decoding: Cost,
}

impl Coded {
    pub(super) fn new(aei: &Aei, codec: Codec, setting: f64, source: &Source, folder: &Path) -> Result<Self, Failure> {
        let (file, decoded) = codec.files(folder);
        let encoding = run(aei, &codec.encode(aei, setting, source, &file))?;
        let bytes = fs::metadata(&file).at(file.display())?.len();
        let decoding = run(aei, &codec.decode(aei, &file, &decoded))?;
        Ok(Self { bytes, picture: read(&decoded)?, encoding, decoding })
    }
}

/// Runs a command by way of a small process that measures it.
fn run(aei: &Aei, command: &[OsString]) -> Result<Cost, Failure> {
    let program = command.first().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    let output = Command::new(&aei.program)
        .args(["bench", "worker", "measure", "--"])
        .args(command)
        // What is measured is what the command line says, and no other arithmetic.
        .env_remove("AEI_DEVICE")
        .stdin(Stdio::null())
        .output()
        .map_err(Failure::from)
        .map_err(|f| f.at(&program))?;
    if !output.status.success() {
        // Of other programs it is no mistake of ours.
        let cause = if command.first() == Some(&aei.program) { Cause::Internal } else { Cause::Unsupported };
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        return Err(Failure::new(cause, lines[lines.len().saturating_sub(3)..].join("; ")).at(program));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| Failure::new(Cause::Internal, e.to_string()).at(program))
}

/// Reads a picture that was written here.
pub(super) fn read(path: &Path) -> Result<Picture, Failure> {
    Ok(Picture::from_file_bytes(&fs::read(path).at(path.display())?, &Limits::none()).at(path.display())?.0)
}
