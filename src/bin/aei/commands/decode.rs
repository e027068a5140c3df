//! `aei decode`.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use aei::{Decoder, DecoderOptions, FileFormat, Picture, SampleDepth};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde_json::json;

use super::{Common, Session, megapixels_per_second};
use crate::failure::{At as _, Cause, Failure};
use crate::paths::{self, Job, Place};

/// Turn .aei files back into pictures
///
/// Writes PNG, JPEG (quality 95), WebP (lossless), TIFF, BMP, PNM or QOI. photo.aei becomes photo.png beside it; "-" is standard input and output.
/// Pictures are written upright, with their metadata as far as the format can hold them.
#[derive(Args)]
#[command(after_help = crate::failure::exit_codes_help())]
pub(crate) struct Decode {
    /// Files to decode
    #[arg(value_name = "FILE", required = true)]
    inputs: Vec<OsString>,
    /// File or folder to write to; a folder exists already or ends in a slash
    #[arg(short, long, value_name = "FILE|DIR")]
    output: Option<OsString>,
    /// Format of the picture [default: by the name of the output, otherwise PNG]
    #[arg(long, value_parser = PossibleValuesParser::new(FileFormat::WRITABLE.map(FileFormat::extension)).try_map(|s| FileFormat::from_extension(&s).ok_or("not a format")))]
    format: Option<FileFormat>,
    /// Bits of a sample; 16 keeps all that the decoder computes (PNG, TIFF, PNM)
    #[arg(long, value_name = "8|16", default_value = "8", value_parser = PossibleValuesParser::new(["8", "16"]).map(|s| if s == "16" { SampleDepth::Sixteen } else { SampleDepth::Eight }))]
    depth: SampleDepth,
    /// Write the small preview inside the file, not the picture
    #[arg(long)]
    preview: bool,
    /// Overwrite files that exist
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Decode {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let extension = self.format.unwrap_or(FileFormat::Png).extension();
        let jobs = paths::plan(&self.inputs, self.output.as_deref(), extension, |extension| extension.eq_ignore_ascii_case("aei"))?;
        session.check_outputs(&jobs)?;
        let format = match (self.format, jobs.first()) {
            (Some(format), _) => format,
            // All outputs have the same extension.
            (None, Some(Job { output: Place::Path(path), .. })) => format_of(path)?,
            _ => FileFormat::Png,
        };
        Ok(session.for_each(&jobs, |job| &job.input, |job| self.file(session, job, format)))
    }

    fn file(&self, session: &Session, job: &Job, format: FileFormat) -> Result<(), Failure> {
        let (console, Job { input, output }) = (&session.console, job);
        let started = Instant::now();
        paths::check_output(output, self.force)?;
        let decoder = open(session, input)?;
        let progress = console.progress(input);
        let decoder = decoder.depth(self.depth).on_progress(progress.callback());
        let read = started.elapsed();
        let picture = if self.preview { preview(&decoder) } else { decoder.decode() };
        let picture = picture.and_then(Picture::upright).at(input)?;
        drop(progress);
        let decoded = started.elapsed();
        let notices = aei::write_notices(&picture, format);
        for notice in &notices {
            console.notice(output, notice);
        }
        let file = aei::write_picture(&picture, format).at(output)?;
        paths::write(output, &file, self.force)?;

        let (seconds, width, height) = (started.elapsed().as_secs_f64(), picture.width(), picture.height());
        console.detail(format_args!(
            "{input}: read in {:.3} s, decoded in {:.3} s, written in {:.3} s",
            read.as_secs_f64(),
            (decoded - read).as_secs_f64(),
            seconds - decoded.as_secs_f64()
        ));
        if console.json {
            return console.object(json!({
                "input": input.to_string(),
                "output": output.to_string(),
                "format": format.extension(),
                "width": width,
                "height": height,
                "channels": picture.channels().count(),
                "depth": picture.depth().bits(),
                "notices": notices.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "input_bytes": decoder.info().file_bytes,
                "output_bytes": file.len(),
                "seconds": seconds,
            }));
        }
        console.say(format_args!("{input} -> {output}  {width}x{height}  {}", megapixels_per_second(width, height, seconds)));
        Ok(())
    }
}

/// The small picture inside a file.
fn preview(decoder: &Decoder) -> aei::Result<Picture> {
    decoder.preview()?.ok_or_else(|| aei::Error::Unsupported("the file has no preview; `aei encode --preview` makes one".into()))
}

/// The format that an output's name asks for.
fn format_of(path: &Path) -> Result<FileFormat, Failure> {
    let format = path.extension().and_then(OsStr::to_str).and_then(FileFormat::from_extension);
    format.filter(|format| FileFormat::WRITABLE.contains(format)).ok_or_else(|| {
        let known = FileFormat::WRITABLE.map(FileFormat::extension).join(", ");
        Failure::usage(format!(
            "{}: the name does not end in a format that aei writes ({known}); choose another name or use --format",
            Place::Path(path.into())
        ))
    })
}

/// Reads an `.aei` file and checks everything about it but its pixels.
pub(super) fn open(session: &Session, input: &Place) -> Result<Decoder, Failure> {
    let bytes = paths::read(input, session.limits.max_file_bytes)?;
    if let Some(format) = FileFormat::guess(&bytes) {
        return Err(Failure::new(Cause::BadFile, format!("this is a {format} picture, not an aei file; did you mean `aei encode`?"))).at(input);
    }
    let mut options = DecoderOptions::default();
    options.limits = session.limits;
    options.model = session.model.clone();
    Decoder::with_options(&bytes[..], options).at(input)
}
