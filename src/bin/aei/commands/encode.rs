//! `aei encode`.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use aei::metrics::{Rgb, psnr};
use aei::{Decoder, DecoderOptions, Device, Encoder, FileFormat, Layout, Limits, Lossless, Metadata, Notice, Picture, PictureRows, Quality, Target, Tune};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::device::DeviceArgs;
use super::{Common, Session, bits_per_pixel, megapixels_per_second};
use crate::failure::{At as _, Cause, Failure};
use crate::paths::{self, Job, Place};

/// Turn pictures into .aei files
///
/// Reads PNG, JPEG, WebP, TIFF, BMP, PNM, GIF and QOI, whatever the name of the file. photo.png becomes photo.aei beside it; "-" is standard input
/// and output. Transparency, 16-bit samples, colour profile, EXIF and XMP are kept.
#[derive(Args)]
#[command(after_help = crate::failure::exit_codes_help())]
pub(crate) struct Encode {
    /// Pictures to encode
    #[arg(value_name = "PICTURE", required = true)]
    inputs: Vec<OsString>,
    /// File or folder to write to; a folder exists already or ends in a slash
    #[arg(short, long, value_name = "FILE|DIR")]
    output: Option<OsString>,
    /// Quality, 0 (smallest file) to 100 (closest to the original) [default: 60, visually very good]
    #[arg(short, long, value_name = "0..100", value_parser = clap::value_parser!(u8).range(0..=100))]
    quality: Option<u8>,
    /// Quality as one of the format's 64 steps
    #[arg(long, value_name = "0..63", value_parser = clap::value_parser!(u8).range(0..=63), conflicts_with = "quality")]
    quality_index: Option<u8>,
    /// Whether to store the samples as they are: auto does so where that is smaller or the picture is of a kind that suffers, such as screenshots and icons
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_value = "auto", default_missing_value = "always")]
    lossless: When,
    /// How much work goes into a smaller file at the same quality, 0 to 5
    #[arg(short, long, value_name = "0..5", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=5))]
    effort: u8,
    /// What an effort above 0 is for: visual gives smaller files of the same look (SSIMULACRA2, MS-SSIM), with less of a gain in PSNR
    #[arg(long, value_name = "WHAT", default_value = "psnr")]
    tune: TuneFor,
    /// Keep the colours of transparent pixels as well as all others, for programs that use colours without alpha; otherwise those of wholly transparent ones become what
    /// costs less, and those of nearly transparent ones change by less than one level over any background
    #[arg(long)]
    keep_invisible: bool,
    /// Whole file of at most this size, and as close to it as can be; K, M and G stand for KiB, MiB and GiB
    #[arg(long, value_name = "BYTES", value_parser = super::parse_bytes, group = "target", conflicts_with_all = ["quality", "quality_index"])]
    size: Option<u64>,
    /// Whole file of at most so many bits per pixel
    #[arg(long, value_name = "BITS", allow_negative_numbers = true, group = "target", conflicts_with_all = ["quality", "quality_index"])]
    bpp: Option<f64>,
    /// Smallest file whose PSNR over red, green and blue is at least this
    #[arg(long, value_name = "DECIBELS", allow_negative_numbers = true, group = "target", conflicts_with_all = ["quality", "quality_index"])]
    psnr: Option<f64>,
    /// Smallest file whose SSIMULACRA2 score is at least this; 70 is good, 90 hard to tell from the original. It takes 170 bytes of memory a pixel: above 12.5
    /// megapixels, --max-memory has to be raised
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true, group = "target", conflicts_with_all = ["quality", "quality_index"])]
    ssimulacra2: Option<f64>,
    /// Decode the result before it is written, compare it with the picture and tell the PSNR
    #[arg(long)]
    verify: bool,
    /// Side of the tiles in pixels: smaller ones make parts of a picture independent sooner, larger ones save a little space
    #[arg(long, value_name = "PIXELS", default_value = "1024", value_parser = PossibleValuesParser::new(["256", "512", "1024", "2048", "4096"]).try_map(|s| s.parse::<u32>()))]
    tile_size: u32,
    /// Take folders too: all pictures in them, however deep; the tree is kept in an output folder
    #[arg(short, long)]
    recursive: bool,
    /// Put a small preview into the file, of about 1 KB
    #[arg(long)]
    preview: bool,
    /// Leave EXIF and XMP out; with =all, the colour profile too, so that colours may look different
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "private")]
    strip: Option<Strip>,
    /// Overwrite files that exist
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    pub(super) common: Common,
}

/// When to encode without loss.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Where it is worth it
    Auto,
    /// Whatever it takes; quality and effort change nothing then
    Always,
    /// Never
    Never,
}

/// What latents are refined for.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum TuneFor {
    /// The squared error of red, green and blue
    Psnr,
    /// The look
    Visual,
}

/// Which metadata not to keep.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Strip {
    /// EXIF and XMP
    Private,
    /// EXIF, XMP and the colour profile
    All,
}

impl Encode {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let quality = match (self.quality, self.quality_index) {
            (Some(percent), _) => Quality::percent(percent)?,
            (None, Some(index)) => Quality::index(index)?,
            (None, None) => Quality::default(),
        };
        self.refuse_loose_values()?;
        if self.tune == TuneFor::Visual && self.effort == 0 {
            return Err(Failure::usage("--tune visual needs an effort: add --effort 3, or another from 1 to 5"));
        }
        let plan = paths::plan(&self.inputs, self.output.as_deref(), self.recursive, "aei", |extension| FileFormat::from_extension(extension).is_some())?;
        session.check_outputs(&plan.jobs)?;
        let device = self.device.device()?;
        Ok(session.carry_out(&plan, |job| self.file(session, job, quality, device).map(|()| ExitCode::SUCCESS)))
    }

    /// The value of an option that may stand alone is given with `=`; without, it would be taken for a picture.
    fn refuse_loose_values(&self) -> Result<(), Failure> {
        for value in self.inputs.iter().filter_map(|input| input.to_str()).filter(|input| !Path::new(input).exists()) {
            let option = match (When::from_str(value, false), Strip::from_str(value, false)) {
                (Ok(_), _) => "lossless",
                (_, Ok(_)) => "strip",
                _ => continue,
            };
            return Err(Failure::usage(format!("{value}: there is no such file; if this belongs to an option, write --{option}={value}")));
        }
        Ok(())
    }

    fn file(&self, session: &Session, job: &Job, quality: Quality, device: Device) -> Result<(), Failure> {
        let (console, Job { input, output }) = (&session.console, job);
        let started = Instant::now();
        paths::check_output(output, self.force)?;
        let target = self.target();
        let source = Source::open(session, input, target.is_some() || self.verify)?;
        for notice in source.notices() {
            console.notice(input, notice);
        }
        let (layout, input_bytes) = (source.layout(), source.file_bytes);
        let metadata = self.stripped(source.metadata());
        let sizes = [&metadata.icc, &metadata.exif, &metadata.xmp].map(|block| block.as_ref().map(Vec::len));
        let depth = source.depth();
        let notices: Vec<String> = source.notices().iter().map(ToString::to_string).collect();

        let progress = console.progress(input);
        let mut encoder = Encoder::new()
            .quality(quality)
            .lossless(match self.lossless {
                When::Auto => Lossless::Auto,
                When::Always => Lossless::Always,
                When::Never => Lossless::Never,
            })
            .effort(self.effort)?
            .tune(match self.tune {
                TuneFor::Psnr => Tune::Psnr,
                TuneFor::Visual => Tune::Visual,
            })
            .tile_size(self.tile_size)?
            .preview(self.preview)
            .keep_invisible(self.keep_invisible)
            .max_memory(session.limits.max_memory)
            .device(device)
            .on_warning(console.device_warning())
            .on_progress(progress.callback());
        if let Some(model) = &session.model {
            encoder = encoder.model(model.clone());
        }
        let read = started.elapsed();
        let (file, verified) = match source.picture {
            Content::Whole(picture, _) => {
                let picture = picture.with_metadata(metadata);
                let file = match target {
                    // What cannot be reached is the command line's fault, not the library's.
                    Some(target) => encoder.encode_to(&picture, target).map_err(|error| match error {
                        aei::Error::Parameter(message) => Failure::usage(message),
                        other => other.into(),
                    }),
                    None => encoder.encode(&picture).map_err(Failure::from),
                };
                let file = file.at(input)?;
                let verified = if self.verify { Some(verify(session, &picture, &file, self.keep_invisible).at(input)?) } else { None };
                (file, verified)
            }
            Content::Rows(mut rows) => (encoder.metadata(metadata).encode_rows(layout, |part| rows.read(part)).at(input)?, None),
        };
        drop(progress);
        let encoded = started.elapsed();
        // What was chosen. Our own file is not refused for its size.
        let (lossless, quality) = {
            let decoder = Decoder::with_options(&file[..], unlimited()).at(output)?;
            (decoder.info().lossless, decoder.info().quality)
        };
        paths::write(output, &file, self.force)?;

        let (seconds, output_bytes) = (started.elapsed().as_secs_f64(), file.len() as u64);
        let (width, height) = (layout.width(), layout.height());
        let bpp = bits_per_pixel(output_bytes, width, height);
        console.detail(format_args!(
            "{input}: read in {:.3} s, encoded in {:.3} s, written in {:.3} s, device {}",
            read.as_secs_f64(),
            (encoded - read).as_secs_f64(),
            seconds - encoded.as_secs_f64(),
            device.name()
        ));
        if console.json {
            return console.object(json!({
                "input": input.name(),
                "output": output.name(),
                "width": width,
                "height": height,
                "channels": layout.channels().count(),
                "depth": depth,
                "icc_bytes": sizes[0],
                "exif_bytes": sizes[1],
                "xmp_bytes": sizes[2],
                "lossless": lossless,
                "quality_index": quality.get(),
                "psnr_rgb": verified.map(|(psnr, _)| psnr).filter(|psnr| psnr.is_finite()),
                "equal": verified.map(|(_, equal)| equal),
                "device": device.name(),
                "input_bytes": input_bytes,
                "output_bytes": output_bytes,
                "bits_per_pixel": bpp,
                "seconds": seconds,
                "notices": notices,
            }));
        }
        console.say(format_args!(
            "{input} -> {output}  {width}x{height}  {}{:.1} % of input, {bpp:.2} bpp, {}{}",
            match target {
                _ if lossless => "lossless, ".into(),
                Some(_) => format!("quality index {}, ", quality.get()),
                None => String::new(),
            },
            100.0 * output_bytes as f64 / input_bytes as f64,
            megapixels_per_second(width, height, seconds),
            match verified {
                Some((_, true)) => ", verified: no difference".into(),
                Some((psnr, _)) if psnr.is_finite() => format!(", verified: PSNR {psnr:.2} dB"),
                Some(_) if layout.channels().has_alpha() && !self.keep_invisible => ", verified: no visible difference in 8 bits".into(),
                Some(_) => ", verified: no difference in 8 bits".into(),
                None => String::new(),
            },
        ));
        Ok(())
    }
}

impl Encode {
    fn target(&self) -> Option<Target> {
        let size = self.size.map(Target::Bytes).or(self.bpp.map(Target::BitsPerPixel));
        size.or(self.psnr.map(Target::Psnr)).or(self.ssimulacra2.map(Target::Ssimulacra2))
    }

    /// The metadata that are wanted.
    fn stripped(&self, metadata: &Metadata) -> Metadata {
        let mut kept = metadata.clone();
        if self.strip.is_some() {
            (kept.exif, kept.xmp) = (None, None);
        }
        if self.strip == Some(Strip::All) {
            kept.icc = None;
        }
        kept
    }
}

/// For files that were made a moment ago.
fn unlimited() -> DecoderOptions {
    let mut options = DecoderOptions::default();
    options.limits = Limits::none();
    options
}

/// Decodes a file as a user would, and checks what has to come back as it was. Gives the PSNR, and whether the samples are the same.
fn verify(session: &Session, picture: &Picture, file: &[u8], keep_invisible: bool) -> Result<(f64, bool), Failure> {
    let wrong =
        |what: &str| Failure::new(Cause::Internal, format!("the coded file does not give the picture's {what} back, and was not written; please report this"));
    let mut options = unlimited();
    options.model = session.model.clone();
    options.depth = picture.depth();
    let decoded = Decoder::with_options(file, options)?.decode()?;
    let shape = |p: &Picture| (p.width(), p.height(), p.channels(), p.orientation());
    if shape(&decoded) != shape(picture) {
        return Err(wrong("size"));
    }
    let (before, after) = (picture.metadata(), decoded.metadata());
    // EXIF's orientation tag may have been set to 1.
    let exif = (before.exif.as_ref().map(Vec::len), after.exif.as_ref().map(Vec::len));
    if (&before.icc, &before.xmp) != (&after.icc, &after.xmp) || exif.0 != exif.1 {
        return Err(wrong("metadata"));
    }
    let n = picture.channels().count();
    if picture.channels().has_alpha() {
        let alpha = |p: &Picture| p.samples16().iter().skip(n - 1).step_by(n).copied().collect::<Vec<_>>();
        if alpha(picture) != alpha(&decoded) {
            return Err(wrong("alpha"));
        }
    }
    let (a, b) = if keep_invisible { (Rgb::new(picture), Rgb::new(&decoded)) } else { Rgb::visible(picture, &decoded)? };
    Ok((psnr(&a, &b)?.rgb, picture.data() == decoded.data()))
}

/// Pictures of more pixels than this are read row by row, if their format allows it.
const LARGE: u64 = 1 << 24;

/// A picture to encode.
struct Source {
    picture: Content,
    file_bytes: u64,
}

enum Content {
    Whole(Picture, Vec<Notice>),
    Rows(Box<PictureRows<File>>),
}

impl Source {
    /// `whole` asks for the picture in memory.
    fn open(session: &Session, input: &Place, whole: bool) -> Result<Self, Failure> {
        if !whole && let Some(file) = paths::open_regular(input)? {
            let file_bytes = file.metadata().at(input)?.len();
            // Whatever is wrong with the file, reading it as a whole tells it better.
            if let Ok(Some(rows)) = PictureRows::open(file, &session.limits)
                && u64::from(rows.layout().width()) * u64::from(rows.layout().height()) > LARGE
            {
                return Ok(Self { picture: Content::Rows(Box::new(rows)), file_bytes });
            }
        }
        let bytes = paths::read(input, session.limits.max_file_bytes)?;
        if bytes.starts_with(b"\x89AEI") {
            return Err(Failure::new(Cause::BadFile, "this is an aei file already; did you mean `aei decode`?")).at(input);
        }
        let (picture, notices) = Picture::from_file_bytes(&bytes, &session.limits).at(input)?;
        Ok(Self { picture: Content::Whole(picture, notices), file_bytes: bytes.len() as u64 })
    }

    fn layout(&self) -> Layout {
        match &self.picture {
            Content::Whole(picture, _) => picture.into(),
            Content::Rows(rows) => rows.layout(),
        }
    }

    fn metadata(&self) -> &Metadata {
        match &self.picture {
            Content::Whole(picture, _) => picture.metadata(),
            Content::Rows(rows) => rows.metadata(),
        }
    }

    /// Bits of a sample as they are encoded.
    fn depth(&self) -> u8 {
        match &self.picture {
            Content::Whole(picture, _) => picture.depth().bits(),
            Content::Rows(_) => 8,
        }
    }

    fn notices(&self) -> &[Notice] {
        match &self.picture {
            Content::Whole(_, notices) => notices,
            Content::Rows(rows) => rows.notices(),
        }
    }
}
