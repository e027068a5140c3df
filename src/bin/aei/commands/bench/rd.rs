//! `aei bench rd`.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use aei::{Channels, FileFormat, Model, Picture};
use clap::Args;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::codecs::{Aei, Codec, Family};
use super::measure::{Entry, Source, Task};
use super::report::{self, Report};
use super::results::{Earlier, Row};
use super::summary::{self, Anchors, MetricChoice, Summary};
use super::work::Work;
use crate::commands::{Common, Session};
use crate::failure::{At as _, Cause, Failure};
use crate::paths::{self, Place};

/// Measure size against quality, and draw the curves
///
/// Every picture goes through every codec at a ladder of settings; the decoded file is compared with the original. Results are kept in results.csv as they
/// come, those of earlier runs too: a run that was stopped goes on where it was, and only what has changed (pictures, settings, versions, the model) is
/// measured again. WebP, AVIF and JPEG XL need their reference tools: cwebp and dwebp, avifenc and avifdec, cjxl and djxl.
#[derive(Args)]
#[command(after_help = crate::failure::exit_codes_help())]
pub(crate) struct Rd {
    /// Pictures, and folders of pictures
    #[arg(value_name = "FOLDER", required = true)]
    inputs: Vec<PathBuf>,
    /// Codecs to compare
    #[arg(long, value_enum, value_delimiter = ',', default_value = "aei,jpeg,mozjpeg,webp,avif,jxl")]
    codecs: Vec<Family>,
    /// Measures to report; results.csv has all of them
    #[arg(long, value_enum, value_delimiter = ',', default_value = "psnr,ms-ssim,ssimulacra2")]
    metrics: Vec<MetricChoice>,
    /// Codec that the others are compared with, as results.csv names it [default: jpeg, or the first other than aei]
    #[arg(long, value_name = "CODEC")]
    against: Option<String>,
    /// Settings per codec
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u8).range(3..=32))]
    points: u8,
    /// Published curves to draw as well: CSV with the columns codec, bpp, psnr_rgb, ms_ssim_db
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    /// Measure time as well: one process after the other, nothing else meanwhile
    #[arg(long)]
    timing: bool,
    /// Folder for the report: a new one, or that of an earlier report, which is replaced
    #[arg(short, long, value_name = "DIR", default_value = "report")]
    output: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What there is to measure.
struct Pictures {
    sources: Vec<Source>,
    /// Names of what could not be read, or was there twice.
    left_out: Vec<String>,
    /// Why the first file that the command line names could not be read.
    failure: Option<Failure>,
}

impl Rd {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let console = &session.console;
        let program = std::env::current_exe().at("aei itself")?.into_os_string();
        let anchors = self.anchors.as_deref().map(Anchors::read).transpose()?.unwrap_or_default();
        let earlier = Earlier::read(&self.output)?;
        let work = Work::new(&program)?;
        let aei = aei(session, program, work.path())?;
        let Pictures { sources, left_out, failure } = self.sources(session, work.path())?;
        let entries = self.entries(session, &aei, &earlier, &sources);
        let against = self.against(&entries)?;
        // From here on the folder is written to.
        let results = earlier.start()?;

        let tasks: Vec<Task<'_>> = sources
            .iter()
            .flat_map(|source| entries.iter().flat_map(move |entry| entry.ladder.iter().map(move |setting| Task { source, entry, setting: *setting })))
            .collect();
        let known: Vec<Option<&Row>> = tasks.iter().map(|task| results.find(&task.key(), self.timing)).collect();
        let found = known.iter().flatten().count();
        if found > 0 {
            console.say(format_args!("{found} of {} measurements are there from earlier runs", tasks.len()));
        }

        let progress = console.progress(&"measuring");
        let (show, done, total) = (progress.callback(), AtomicU64::new(0), (tasks.len() - found) as u64);
        let _ = show(0, total);
        let one = |(task, known): (&Task<'_>, &Option<&Row>)| -> Option<Result<Row, Failure>> {
            if let Some(row) = known {
                return Some(Ok(Row { picture: task.source.name.clone(), ..(*row).clone() }));
            }
            // Of a codec that is not installed there is what there is.
            if !task.entry.installed {
                return None;
            }
            let row = task.measure(&aei, work.path(), self.timing).and_then(|row| results.add(&row).map(|()| row));
            let _ = show(done.fetch_add(1, Ordering::Relaxed) + 1, total);
            Some(row.map_err(|f| f.at(format_args!("{}, {} at {}", task.source.name, task.entry.codec.name(), task.setting))))
        };
        let measured: Vec<_> =
            if self.timing { tasks.iter().zip(&known).filter_map(one).collect() } else { tasks.par_iter().zip(&known).filter_map(one).collect() };
        drop(progress);
        let mut rows = Vec::with_capacity(measured.len());
        let mut failures = Vec::new();
        for result in measured {
            match result {
                Ok(row) => rows.push(row),
                Err(failure) => failures.push(failure),
            }
        }
        for failure in &failures {
            console.failure(None, failure);
        }
        results.finish(&rows)?;

        let summary = Summary::new(&rows, &sources, &entries, &self.metrics, against, anchors, left_out)?;
        for codec in &summary.failed {
            console.warning(codec.name(), "left out of the report, because it coded no picture at all settings");
        }
        let report = Report { summary: &summary, aei: &aei, work: work.path(), command: self.command_line() };
        report::write(&report, &self.output)?;
        if console.json {
            console.object(summary.json())?;
        } else {
            console.say(report::table_for_terminal(&summary));
            console.say(format_args!("{}", self.output.join("report.html").display()));
        }
        Ok(failure.as_ref().or(failures.first()).map_or(ExitCode::SUCCESS, Failure::exit_code))
    }

    /// The codec that the others are compared with, before anything is measured.
    fn against(&self, entries: &[Entry]) -> Result<Codec, Failure> {
        let named = |name: &str| entries.iter().map(|entry| entry.codec).find(|codec| codec.id() == name);
        if let Some(name) = &self.against {
            let names: Vec<&str> = entries.iter().map(|entry| entry.codec.id()).collect();
            return named(name).ok_or_else(|| Failure::usage(format!("--against {name}: there is no such codec here, only {}", names.join(", "))));
        }
        let codecs: Vec<Codec> = entries.iter().map(|entry| entry.codec).collect();
        summary::opponent(&codecs).ok_or_else(|| Failure::new(Cause::Unsupported, "none of the codecs is installed"))
    }

    /// The codecs that can take part; says which cannot.
    fn entries(&self, session: &Session, aei: &Aei, earlier: &Earlier, sources: &[Source]) -> Vec<Entry> {
        let pictures = sources.iter().map(Source::id).collect();
        let mut entries: Vec<Entry> = Vec::new();
        for codec in self.codecs.iter().flat_map(|family| family.codecs()) {
            if entries.iter().any(|entry| entry.codec == *codec) {
                continue;
            }
            let wanted = codec.ladder(self.points);
            match codec.version(aei) {
                Ok(version) => entries.push(Entry { codec: *codec, version, settings: codec.settings().to_owned(), ladder: wanted, installed: true }),
                Err(missing) => {
                    let recorded = earlier.recorded(codec.id(), &pictures);
                    let consequence = recorded.as_ref().map_or("left out".to_owned(), |(version, ..)| format!("earlier results of {version} are used"));
                    session.console.notice(codec.name(), format_args!("{missing}: {consequence}"));
                    if let Some((version, settings, there)) = recorded {
                        // Other settings than those that are asked for are better than none.
                        let ladder = if wanted.iter().all(|setting| there.contains(setting)) { wanted } else { codec.in_order(there) };
                        entries.push(Entry { codec: *codec, version, settings, ladder, installed: false });
                    }
                }
            }
        }
        entries
    }

    /// Reads the pictures. What cannot be read is said and left out.
    fn sources(&self, session: &Session, work: &Path) -> Result<Pictures, Failure> {
        let (mut sources, mut left_out, mut failure) = (Vec::new(), Vec::new(), None);
        let mut fail = |place: &Place, error: Failure| {
            session.console.failure(Some(place), &error);
            failure.get_or_insert(error);
        };
        // With whether the command line names the file itself.
        let mut paths: Vec<(PathBuf, bool)> = Vec::new();
        for input in &self.inputs {
            if !input.is_dir() {
                paths.push((input.clone(), true));
                continue;
            }
            match fs::read_dir(input) {
                Ok(entries) => {
                    let mut inside: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
                    inside.retain(|path| path.is_file() && path.extension().and_then(|e| e.to_str()).is_some_and(|e| FileFormat::from_extension(e).is_some()));
                    inside.sort();
                    paths.extend(inside.into_iter().map(|path| (path, false)));
                }
                Err(error) => {
                    let place = Place::Path(input.clone());
                    fail(&place, Failure::from(error).at(&place));
                    left_out.push(place.to_string());
                }
            }
        }
        let names: HashSet<_> = paths.iter().map(|(path, _)| path.file_name()).collect();
        let unique = names.len() == paths.len();
        let mut seen = HashSet::new();
        for (number, (path, named)) in paths.iter().enumerate() {
            let place = Place::Path(path.clone());
            let picture = match read(session, &place) {
                Ok(picture) => picture,
                Err(error) => {
                    // Of a folder everything is taken that can be; who names a file wants that file.
                    if *named {
                        fail(&place, error.at(&place));
                    } else {
                        session.console.notice(&place, format_args!("left out: {}", error.message));
                    }
                    left_out.push(place.to_string());
                    continue;
                }
            };
            let digest = digest(&picture.samples());
            let (width, height) = (picture.width(), picture.height());
            if !seen.insert((digest.clone(), width, height)) {
                session.console.notice(&place, "left out: the same picture is there already");
                left_out.push(place.to_string());
                continue;
            }
            let png = work.join(format!("{number}.png"));
            fs::write(&png, aei::write_picture(&picture, FileFormat::Png)?).at(png.display())?;
            let name = path.file_name().filter(|_| unique).map_or_else(|| place.to_string(), |name| Place::Path(name.into()).to_string());
            sources.push(Source { name, digest, width, height, is_gray: picture.channels() == Channels::Gray, png });
        }
        if sources.is_empty() {
            return Err(Failure::new(failure.map_or(Cause::Io, |first| first.cause), "there are no pictures to measure"));
        }
        Ok(Pictures { sources, left_out, failure })
    }

    /// The command that makes the report again, without paths of this machine.
    fn command_line(&self) -> String {
        let mut words: Vec<OsString> = vec!["aei bench rd FOLDER".into()];
        let names = |values: Vec<String>| values.join(",");
        let value = |family: &dyn Fn() -> Option<clap::builder::PossibleValue>| family().map(|v| v.get_name().to_owned()).unwrap_or_default();
        words.push(format!("--codecs {}", names(self.codecs.iter().map(|f| value(&|| clap::ValueEnum::to_possible_value(f))).collect())).into());
        words.push(format!("--metrics {}", names(self.metrics.iter().map(|m| value(&|| clap::ValueEnum::to_possible_value(m))).collect())).into());
        words.push(format!("--points {}", self.points).into());
        if let Some(name) = &self.against {
            words.push(format!("--against {name}").into());
        }
        if let Some(name) = self.anchors.as_deref().and_then(Path::file_name) {
            words.push(format!("--anchors {}", report::unquoted(&name.to_string_lossy())).into());
        }
        if self.timing {
            words.push("--timing".into());
        }
        words.join(std::ffi::OsStr::new(" ")).to_string_lossy().into_owned()
    }
}

fn aei(session: &Session, program: OsString, work: &Path) -> Result<Aei, Failure> {
    let model = session.model.clone().map_or_else(Model::embedded, Ok)?;
    // What was given may be a pipe, which cannot be read again.
    let path = session.model.as_ref().map(|_| work.join("model.aem"));
    if let Some(path) = &path {
        fs::write(path, model.file()).at(path.display())?;
    }
    // A model keeps its id when its analysis changes, and with that every file.
    let version = format!("{} model {} {} file {}", env!("CARGO_PKG_VERSION"), model.name(), model.id(), digest(model.file()));
    Ok(Aei { program, version, model: path })
}

/// The first 8 bytes of the SHA-256.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What every codec can hold of a picture: 8-bit samples, without alpha and metadata.
fn colours(picture: Picture) -> Result<Picture, Failure> {
    let channels = picture.channels();
    let (width, height, count) = (picture.width(), picture.height(), channels.count());
    let samples = picture.into_samples();
    if !channels.has_alpha() {
        return Ok(Picture::new(width, height, channels, samples)?);
    }
    if samples.chunks_exact(count).any(|pixel| pixel[count - 1] != 255) {
        return Err(Failure::new(Cause::Unsupported, "it has transparency, which not every codec holds"));
    }
    let samples = samples.chunks_exact(count).flat_map(|pixel| &pixel[..count - 1]).copied().collect();
    Ok(Picture::new(width, height, channels.without_alpha(), samples)?)
}

/// A picture as all codecs get it.
fn read(session: &Session, place: &Place) -> Result<Picture, Failure> {
    let bytes = paths::read_nameless(place, session.limits.max_file_bytes)?;
    colours(Picture::from_file_bytes(&bytes, &session.limits)?.0.upright()?)
}
