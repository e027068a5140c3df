//! `aei encode`.

use std::ffi::OsString;
use std::fs::File;
use std::process::ExitCode;
use std::time::Instant;

use aei::{Encoder, FileFormat, Layout, Notice, Picture, PictureRows, Quality};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde_json::json;

use super::{Common, Session, bits_per_pixel, megapixels_per_second};
use crate::failure::{At as _, Cause, Failure};
use crate::paths::{self, Job, Place};

/// Turn pictures into .aei files
///
/// Reads PNG, JPEG, WebP, TIFF, BMP, PNM, GIF and QOI, whatever the name of the file. photo.png becomes photo.aei beside it; "-" is standard input
/// and output.
#[derive(Args)]
#[command(after_help = crate::failure::exit_codes_help())]
pub(crate) struct Encode {
    /// Pictures to encode
    #[arg(value_name = "PICTURE", required = true)]
    inputs: Vec<OsString>,
    /// File or folder to write to; a folder exists already or ends in a slash
    #[arg(short, long, value_name = "FILE|DIR")]
    output: Option<OsString>,
    /// Quality, 0 (smallest file) to 100 (closest to the original) [default: visually very good]
    #[arg(short, long, value_name = "0..100", value_parser = clap::value_parser!(u8).range(0..=100))]
    quality: Option<u8>,
    /// Quality as one of the format's 64 steps
    #[arg(long, value_name = "0..63", value_parser = clap::value_parser!(u8).range(0..=63), conflicts_with = "quality")]
    quality_index: Option<u8>,
    /// Side of the tiles in pixels: smaller ones make parts of a picture independent sooner, larger ones save a little space
    #[arg(long, value_name = "PIXELS", default_value = "1024", value_parser = PossibleValuesParser::new(["256", "512", "1024", "2048", "4096"]).try_map(|s| s.parse::<u32>()))]
    tile_size: u32,
    /// Take folders too: all pictures in them, however deep; the tree is kept in an output folder
    #[arg(short, long)]
    recursive: bool,
    /// Overwrite files that exist
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Encode {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let quality = match (self.quality, self.quality_index) {
            (Some(percent), _) => Quality::percent(percent)?,
            (None, Some(index)) => Quality::index(index)?,
            (None, None) => Quality::default(),
        };
        let jobs = paths::plan(&self.inputs, self.output.as_deref(), self.recursive, "aei", |extension| FileFormat::from_extension(extension).is_some())?;
        session.check_outputs(&jobs)?;
        Ok(session.for_each(&jobs, |job| &job.input, |job| self.file(session, job, quality).map(|()| ExitCode::SUCCESS)))
    }

    fn file(&self, session: &Session, job: &Job, quality: Quality) -> Result<(), Failure> {
        let (console, Job { input, output }) = (&session.console, job);
        let started = Instant::now();
        paths::check_output(output, self.force)?;
        let source = Source::open(session, input)?;
        for notice in source.notices() {
            console.notice(input, notice);
        }
        let (layout, input_bytes) = (source.layout(), source.file_bytes);
        let notices: Vec<String> = source.notices().iter().map(ToString::to_string).collect();

        let progress = console.progress(input);
        let mut encoder = Encoder::new().quality(quality).tile_size(self.tile_size)?.max_memory(session.limits.max_memory).on_progress(progress.callback());
        if let Some(model) = &session.model {
            encoder = encoder.model(model.clone());
        }
        let read = started.elapsed();
        let file = match source.picture {
            Content::Whole(picture, _) => encoder.encode(&picture),
            Content::Rows(mut rows) => encoder.encode_rows(layout, |part| rows.read(part)),
        };
        let file = file.at(input)?;
        drop(progress);
        let encoded = started.elapsed();
        paths::write(output, &file, self.force)?;

        let (seconds, output_bytes) = (started.elapsed().as_secs_f64(), file.len() as u64);
        let (width, height) = (layout.width(), layout.height());
        let bpp = bits_per_pixel(output_bytes, width, height);
        console.detail(format_args!(
            "{input}: read in {:.3} s, encoded in {:.3} s, written in {:.3} s",
            read.as_secs_f64(),
            (encoded - read).as_secs_f64(),
            seconds - encoded.as_secs_f64()
        ));
        if console.json {
            return console.object(json!({
                "input": input.to_string(),
                "output": output.to_string(),
                "width": width,
                "height": height,
                "channels": layout.channels().count(),
                "quality_index": quality.get(),
                "input_bytes": input_bytes,
                "output_bytes": output_bytes,
                "bits_per_pixel": bpp,
                "seconds": seconds,
                "notices": notices,
            }));
        }
        console.say(format_args!(
            "{input} -> {output}  {width}x{height}  {:.1} % of input, {bpp:.2} bpp, {}",
            100.0 * output_bytes as f64 / input_bytes as f64,
            megapixels_per_second(width, height, seconds)
        ));
        Ok(())
    }
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
    fn open(session: &Session, input: &Place) -> Result<Self, Failure> {
        if let Some(file) = paths::open_regular(input)? {
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

    fn notices(&self) -> &[Notice] {
        match &self.picture {
            Content::Whole(_, notices) => notices,
            Content::Rows(rows) => rows.notices(),
        }
    }
}
