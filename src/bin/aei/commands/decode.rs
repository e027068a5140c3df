//! `aei decode`.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, Read as _, Seek as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use aei::{Damage, Decoder, DecoderOptions, Device, FileFormat, Layout, Notice, Orientation, Picture, SampleDepth};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde_json::{Value, json};

use super::device::{DeviceArgs, Differences};
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
    /// Decode this part alone: left edge, upper edge, width and height in pixels of the upright picture
    #[arg(long, value_name = "X,Y,W,H", value_parser = parse_region)]
    region: Option<[u32; 4]>,
    /// Bits of a sample; 16 keeps all that the decoder computes (PNG, TIFF, PNM) [default: 16 for lossless pictures of more than 8, otherwise 8]
    #[arg(long, value_name = "8|16", value_parser = PossibleValuesParser::new(["8", "16"]).map(|s| if s == "16" { SampleDepth::Sixteen } else { SampleDepth::Eight }))]
    depth: Option<SampleDepth>,
    /// Write the small preview inside the file, not the picture
    #[arg(long, conflicts_with = "region")]
    preview: bool,
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
    device: DeviceArgs,
    /// Decode natively as well, and report how much the pixels of the device differ from the exact ones
    #[arg(long, conflicts_with = "exact")]
    verify_exact: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Decode {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let extension = self.format.unwrap_or(FileFormat::Png).extension();
        let plan = paths::plan(&self.inputs, self.output.as_deref(), self.recursive, extension, |extension| extension.eq_ignore_ascii_case("aei"))?;
        session.check_outputs(&plan.jobs)?;
        let format = match (self.format, plan.jobs.first()) {
            (Some(format), _) => format,
            // All outputs have the same extension.
            (None, Some(Job { output: Place::Path(path), .. })) => format_of(path)?,
            _ => FileFormat::Png,
        };
        Ok(session.carry_out(&plan, |job| self.file(session, job, format)))
    }

    fn file(&self, session: &Session, job: &Job, format: FileFormat) -> Result<ExitCode, Failure> {
        let (console, Job { input, output }) = (&session.console, job);
        let started = Instant::now();
        paths::check_output(output, self.force)?;
        let door = if self.salvage { Door::Salvage } else { Door::Parts };
        let device = self.device.device()?;
        let decoder = open_on(session, input, door, device)?.on_warning(console.device_warning());
        let progress = console.progress(input);
        let info = *decoder.info();
        // What was kept without loss is not to be lost here. Previews keep nothing.
        let wide = info.lossless && info.source_depth > 8 && !self.preview;
        let depth = self.depth.unwrap_or(if wide { SampleDepth::Sixteen } else { SampleDepth::Eight });
        let decoder = decoder.depth(depth).on_progress(progress.callback());
        let swap = info.orientation.swaps_sides();
        let (mut width, mut height) = if swap { (info.height, info.width) } else { (info.width, info.height) };
        let (mut decoded, mut differences) = (None, None);
        // Where nothing has to be turned, no more than some rows are in memory.
        let plain = self.region.is_none() && !self.preview && !self.verify_exact && depth == SampleDepth::Eight;
        let by_rows = plain && info.orientation == Orientation::Normal && format.has_rows();
        let (notices, written);
        let output_bytes = if by_rows {
            written = format.written_as(info.channels, depth);
            notices = notices_of_rows(&decoder, format).at(input)?;
            notices.iter().for_each(|notice| console.notice(output, notice));
            let bytes = paths::write_with(output, self.force, |out| write_by_rows(&decoder, format, input, output, out))?;
            drop(progress);
            bytes
        } else {
            let picture = self.picture(&decoder, input)?;
            drop(progress);
            decoded = Some(started.elapsed().as_secs_f64());
            if self.verify_exact {
                differences = Some(Differences::new(&picture, &self.picture(&open(session, input, door)?.depth(depth), input)?));
            }
            (width, height) = (picture.width(), picture.height());
            written = format.written_as(picture.channels(), picture.depth());
            notices = aei::write_notices(&picture, format);
            notices.iter().for_each(|notice| console.notice(output, notice));
            let file = aei::write_picture(&picture, format).at(output)?;
            paths::write(output, &file, self.force)?;
            file.len() as u64
        };
        let damage = upright(decoder.damage(), &info);

        let seconds = started.elapsed().as_secs_f64();
        match decoded {
            Some(decoded) => {
                console.detail(format_args!("{input}: read and decoded in {decoded:.3} s, written in {:.3} s, device {}", seconds - decoded, device.name()))
            }
            None => console.detail(format_args!("{input}: read, decoded and written in {seconds:.3} s, row by row, device {}", device.name())),
        }
        if console.json {
            let mut object = json!({
                "input": input.name(),
                "output": output.name(),
                "format": format.extension(),
                "width": width,
                "height": height,
                "channels": written.0.count(),
                "depth": written.1.bits(),
                "device": device.name(),
                "notices": notices.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "input_bytes": info.file_bytes,
                "output_bytes": output_bytes,
                "seconds": seconds,
            });
            if let Some(d) = &differences {
                object["difference"] = d.as_json();
            }
            if self.salvage {
                object["damage"] = damage_as_json(&damage);
            }
            console.object(object)?;
        }
        console.say(format_args!("{input} -> {output}  {width}x{height}  {}", megapixels_per_second(width, height, seconds)));
        if let Some(differences) = differences {
            console.say(format_args!("{input}: {differences}"));
        }
        if damage.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
        damage.lines().for_each(|line| console.warning(input, line));
        let lost = match damage.tiles.len() {
            0 if !damage.alpha.is_empty() => "the colours are whole".to_owned(),
            0 => "the file is damaged, but nothing of the picture is lost".to_owned(),
            n => {
                let now = if info.lossless { "are gray now" } else { "were filled from what is around them" };
                format!("{n} of {} tiles are lost and {now}", info.tiles)
            }
        };
        console.warning(input, lost);
        Ok(ExitCode::from(Cause::Salvaged as u8))
    }

    /// The part that is wanted, upright.
    fn picture(&self, decoder: &Decoder, input: &Place) -> Result<Picture, Failure> {
        let picture = match self.region {
            Some([x, y, w, h]) => {
                let [x, y, w, h] = decoder.info().coded_region(x, y, w, h).map_err(|e| Failure::usage(e.to_string())).at(input)?;
                decoder.decode_region(x, y, w, h)
            }
            None if self.preview => preview(decoder, self.depth.unwrap_or_default()),
            None => decoder.decode(),
        };
        picture.and_then(Picture::upright).at(input)
    }
}

/// Decodes to a file that is written as the rows come.
fn write_by_rows(decoder: &Decoder, format: FileFormat, input: &Place, output: &Place, out: &mut dyn io::Write) -> Result<(), Failure> {
    let info = decoder.info();
    let layout = Layout::new(info.width, info.height, info.channels).at(input)?;
    let metadata = decoder.metadata().at(input)?;
    let mut reading = None;
    let result = aei::write_rows_with(out, format, layout, &metadata, |write| {
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

/// What a format cannot keep of a file, whatever its samples.
fn notices_of_rows(decoder: &Decoder, format: FileFormat) -> aei::Result<Vec<Notice>> {
    let channels = decoder.info().channels;
    let pixel = Picture::new(1, 1, channels, vec![0; channels.count()])?.with_metadata(decoder.metadata()?);
    Ok(aei::write_notices(&pixel, format))
}

/// The small picture inside a file.
fn preview(decoder: &Decoder, depth: SampleDepth) -> aei::Result<Picture> {
    let none = || aei::Error::Unsupported("the file has no preview; `aei encode --preview` makes one".into());
    decoder.preview_decoder()?.ok_or_else(none)?.depth(depth).decode()
}

/// Damage with places in the picture as it is written, which is upright.
fn upright(mut damage: Damage, info: &aei::Info) -> Damage {
    for tile in &mut damage.tiles {
        [tile.x, tile.y, tile.width, tile.height] = info.upright_region(tile.x, tile.y, tile.width, tile.height).unwrap_or_default();
    }
    for alpha in &mut damage.alpha {
        [alpha.x, alpha.y, alpha.width, alpha.height] = info.upright_region(alpha.x, alpha.y, alpha.width, alpha.height).unwrap_or_default();
    }
    damage
}

fn damage_as_json(damage: &Damage) -> Value {
    let tiles: Vec<Value> =
        damage.tiles.iter().map(|t| json!({ "number": t.number, "x": t.x, "y": t.y, "width": t.width, "height": t.height, "reason": t.reason })).collect();
    let alpha: Vec<Value> =
        damage.alpha.iter().map(|a| json!({ "number": a.number, "x": a.x, "y": a.y, "width": a.width, "height": a.height, "reason": a.reason })).collect();
    let metadata: Vec<Value> = damage.metadata.iter().map(|m| json!({ "what": m.what, "reason": m.reason })).collect();
    json!({ "file": damage.file, "tiles": tiles, "alpha": alpha, "metadata": metadata })
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

/// Opens an `.aei` file, to be decoded natively.
pub(super) fn open(session: &Session, input: &Place, door: Door) -> Result<Decoder, Failure> {
    open_on(session, input, door, Device::Native)
}

/// As [`open`], to be decoded on a device.
fn open_on(session: &Session, input: &Place, door: Door, device: Device) -> Result<Decoder, Failure> {
    let mut options = DecoderOptions::default();
    options.limits = session.limits;
    options.model = session.model.clone();
    options.device = device;
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
    Decoder::from_vec(bytes, options).at(input)
}

/// Other pictures, taken for `.aei` files.
fn refuse_foreign(bytes: &[u8]) -> Result<(), Failure> {
    match FileFormat::guess(bytes) {
        Some(format) => Err(Failure::new(Cause::BadFile, format!("this is a {format} picture, not an aei file; did you mean `aei encode`?"))),
        None => Ok(()),
    }
}
