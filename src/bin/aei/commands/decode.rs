//! `aei decode`.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, Read as _, Seek as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use aei::{Damage, Decoder, DecoderOptions, FileFormat, Layout, Orientation};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde_json::{Value, json};

use super::{Common, Session, megapixels_per_second};
use crate::failure::{At as _, Cause, Failure};
use crate::paths::{self, Job, Place};

/// Turn .aei files back into pictures
///
/// Writes PNG, JPEG (quality 95), WebP (lossless), TIFF, BMP, PNM or QOI. photo.aei becomes photo.png beside it; "-" is standard input and output.
/// Pictures are written upright.
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
    /// Decode this part alone: left edge, upper edge, width and height in pixels of the upright picture
    #[arg(long, value_name = "X,Y,W,H", value_parser = parse_region)]
    region: Option<[u32; 4]>,
    /// Decode what is left of damaged files; exit code 7 says that something is missing
    #[arg(long)]
    salvage: bool,
    /// Take folders too: all .aei files in them, however deep; the tree is kept in an output folder
    #[arg(short, long)]
    recursive: bool,
    /// Overwrite files that exist
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Decode {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let extension = self.format.unwrap_or(FileFormat::Png).extension();
        let jobs = paths::plan(&self.inputs, self.output.as_deref(), self.recursive, extension, |extension| extension.eq_ignore_ascii_case("aei"))?;
        session.check_outputs(&jobs)?;
        let format = match (self.format, jobs.first()) {
            (Some(format), _) => format,
            // All outputs have the same extension.
            (None, Some(Job { output: Place::Path(path), .. })) => format_of(path)?,
            _ => FileFormat::Png,
        };
        Ok(session.for_each(&jobs, |job| &job.input, |job| self.file(session, job, format)))
    }

    fn file(&self, session: &Session, job: &Job, format: FileFormat) -> Result<ExitCode, Failure> {
        let (console, Job { input, output }) = (&session.console, job);
        let started = Instant::now();
        paths::check_output(output, self.force)?;
        let decoder = open(session, input, if self.salvage { Door::Salvage } else { Door::Parts })?;
        let progress = console.progress(input);
        let decoder = decoder.on_progress(progress.callback());
        let info = *decoder.info();
        let swap = info.orientation.swaps_sides();
        let (mut width, mut height) = if swap { (info.height, info.width) } else { (info.width, info.height) };
        let mut decoded = None;
        // Where nothing has to be turned, no more than some rows are in memory.
        let by_rows = self.region.is_none() && info.orientation == Orientation::Normal && format.has_rows();
        let output_bytes = if by_rows {
            let bytes = paths::write_with(output, self.force, |out| write_by_rows(&decoder, format, input, output, out))?;
            drop(progress);
            bytes
        } else {
            let picture = match self.region {
                Some([x, y, w, h]) => {
                    let [x, y, w, h] = info.coded_region(x, y, w, h).map_err(|e| Failure::usage(e.to_string())).at(input)?;
                    decoder.decode_region(x, y, w, h)
                }
                None => decoder.decode(),
            };
            let picture = picture.and_then(aei::Picture::upright).at(input)?;
            drop(progress);
            decoded = Some(started.elapsed().as_secs_f64());
            (width, height) = (picture.width(), picture.height());
            let file = aei::write_picture(&picture, format).at(output)?;
            paths::write(output, &file, self.force)?;
            file.len() as u64
        };
        let damage = decoder.damage();

        let seconds = started.elapsed().as_secs_f64();
        match decoded {
            Some(decoded) => console.detail(format_args!("{input}: read and decoded in {decoded:.3} s, written in {:.3} s", seconds - decoded)),
            None => console.detail(format_args!("{input}: read, decoded and written in {seconds:.3} s, row by row")),
        }
        if console.json {
            let mut object = json!({
                "input": input.to_string(),
                "output": output.to_string(),
                "format": format.extension(),
                "width": width,
                "height": height,
                "channels": info.channels.count(),
                "input_bytes": info.file_bytes,
                "output_bytes": output_bytes,
                "seconds": seconds,
            });
            if self.salvage {
                object["damage"] = damage_as_json(&damage);
            }
            console.object(object)?;
        }
        console.say(format_args!("{input} -> {output}  {width}x{height}  {}", megapixels_per_second(width, height, seconds)));
        if damage.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(what) = &damage.file {
            console.warning(input, what);
        }
        damage.tiles.iter().for_each(|tile| console.warning(input, tile));
        let lost = match damage.tiles.len() {
            0 => "the file is damaged, but nothing of the picture is lost".to_owned(),
            n => format!("{n} of {} tiles are lost and were filled from what is around them", info.tiles),
        };
        console.warning(input, lost);
        Ok(ExitCode::from(Cause::Salvaged as u8))
    }
}

/// Decodes to a file that is written as the rows come.
fn write_by_rows(decoder: &Decoder, format: FileFormat, input: &Place, output: &Place, out: &mut dyn io::Write) -> Result<(), Failure> {
    let info = decoder.info();
    let layout = Layout::new(info.width, info.height, info.channels).at(input)?;
    let mut reading = None;
    let result = aei::write_rows(out, format, layout, |write| {
        let mut writing = None;
        let decoded = decoder.decode_rows(|_, rows| {
            write(rows).map_err(|error| {
                writing = Some(error);
                aei::Error::Cancelled
            })
        });
        match (decoded, writing) {
            (_, Some(error)) => Err(error),
            (Err(error), None) => {
                reading = Some(Err(error).at(input));
                Err(aei::Error::Cancelled)
            }
            (Ok(()), None) => Ok(()),
        }
    });
    // What is wrong with one file must not be said of the other.
    reading.unwrap_or(Ok(())).and(result.at(output))
}

fn damage_as_json(damage: &Damage) -> Value {
    let tiles: Vec<Value> =
        damage.tiles.iter().map(|t| json!({ "number": t.number, "x": t.x, "y": t.y, "width": t.width, "height": t.height, "reason": t.reason })).collect();
    json!({ "file": damage.file, "tiles": tiles })
}

/// `10,20,300,400`.
fn parse_region(text: &str) -> Result<[u32; 4], String> {
    let wrong = || "not four numbers such as 0,0,640,480: left, top, width, height".to_owned();
    let numbers: Vec<u32> = text.split(',').map(|n| n.trim().parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    numbers.try_into().map_err(|_| wrong())
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

/// How much of an `.aei` file is read at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// All, and everything is checked but the pixels.
    Whole,
    /// As little as can be, if it is a file.
    Parts,
    /// All, and damage is no failure.
    Salvage,
}

/// Opens an `.aei` file.
pub(super) fn open(session: &Session, input: &Place, door: Door) -> Result<Decoder, Failure> {
    let mut options = DecoderOptions::default();
    options.limits = session.limits;
    options.model = session.model.clone();
    options.salvage = door == Door::Salvage;
    if door == Door::Parts
        && let Some(mut file) = paths::open_regular(input)?
    {
        let mut start = Vec::new();
        file.by_ref().take(64).read_to_end(&mut start).and_then(|_| file.rewind()).at(input)?;
        refuse_foreign(&start).at(input)?;
        return Decoder::from_seekable(BufReader::new(file), options).at(input);
    }
    let bytes = paths::read(input, session.limits.max_file_bytes)?;
    refuse_foreign(&bytes).at(input)?;
    Decoder::with_options(&bytes[..], options).at(input)
}

/// Other pictures, taken for `.aei` files.
fn refuse_foreign(bytes: &[u8]) -> Result<(), Failure> {
    match FileFormat::guess(bytes) {
        Some(format) => Err(Failure::new(Cause::BadFile, format!("this is a {format} picture, not an aei file; did you mean `aei encode`?"))),
        None => Ok(()),
    }
}
