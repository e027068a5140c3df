//! The subcommands: their arguments, and what they share.

#[cfg(feature = "bench")]
mod bench;
mod compare;
mod decode;
mod device;
#[cfg(feature = "onnx")]
mod devices;
mod encode;
mod info;
mod model;
mod shell;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use aei::{Limits, Model};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::console::Console;
use crate::failure::{At as _, Failure};
use crate::paths::{self, Place};

#[derive(Subcommand)]
pub(crate) enum Command {
    Encode(encode::Encode),
    Decode(decode::Decode),
    Info(info::Info),
    Compare(compare::Compare),
    Completions(shell::Completions),
    Man(shell::Man),
    ExportModel(model::ExportModel),
    #[cfg(feature = "onnx")]
    Devices(devices::Devices),
    #[cfg(feature = "onnx")]
    ExportOnnx(devices::ExportOnnx),
    #[cfg(feature = "bench")]
    Bench(bench::Bench),
}

impl Command {
    /// Does the work. Everything worth saying has been said when it returns.
    pub(crate) fn run(self) -> ExitCode {
        match self {
            Self::Encode(encode) => encode.common.clone().run(|session| encode.run(session)),
            Self::Decode(decode) => decode.common.clone().run(|session| decode.run(session)),
            Self::Info(info) => info.common.clone().run(|session| info.run(session)),
            Self::Compare(compare) => compare.common.clone().run(|session| Ok(compare.run(session))),
            Self::Completions(completions) => finish(&Console::plain(), completions.run()),
            Self::ExportModel(export) => export.common.clone().run(|session| export.run(session)),
            Self::Man(man) => finish(&Console::plain(), man.run()),
            #[cfg(feature = "onnx")]
            Self::Devices(devices) => devices.common.clone().run(|session| devices.run(session)),
            #[cfg(feature = "onnx")]
            Self::ExportOnnx(export) => export.common.clone().run(|session| export.run(session)),
            #[cfg(feature = "bench")]
            Self::Bench(bench) => bench.start(),
        }
    }
}

/// Tells a failure that is not about one file of several.
fn finish(console: &Console, result: Result<ExitCode, Failure>) -> ExitCode {
    result.unwrap_or_else(|failure| {
        console.failure(None, &failure);
        failure.exit_code()
    })
}

/// Arguments of the subcommands that work on pictures.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// Print one JSON object per file on standard output, and nothing else there
    #[arg(long)]
    json: bool,
    /// Say how the work is done
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Say nothing but what goes wrong
    #[arg(short = 'Q', long)]
    quiet: bool,
    /// Number of threads [default: one per processor]
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Use this model file (.aem) in place of the one that is built in
    #[arg(long, value_name = "FILE")]
    model: Option<OsString>,
    /// Refuse pictures of more pixels than this
    #[arg(long, value_name = "N")]
    max_pixels: Option<u64>,
    /// Refuse what needs more memory than this; K, M and G stand for KiB, MiB and GiB
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    max_memory: Option<u64>,
    /// Take pictures and files of any size, as long as there is memory
    #[arg(long, conflicts_with_all = ["max_pixels", "max_memory"])]
    no_limits: bool,
}

/// What a subcommand works with.
pub(crate) struct Session {
    pub(crate) console: Console,
    pub(crate) limits: Limits,
    /// The one from the command line; `None` stands for the embedded one.
    pub(crate) model: Option<Arc<Model>>,
}

impl Common {
    fn run(self, work: impl FnOnce(&Session) -> Result<ExitCode, Failure> + Send) -> ExitCode {
        let console = Console { quiet: self.quiet, verbose: self.verbose, json: self.json };
        let result = self.session(console).and_then(|(session, pool)| match pool {
            Some(pool) => pool.install(|| work(&session)),
            None => work(&session),
        });
        finish(&console, result)
    }

    fn session(self, console: Console) -> Result<(Session, Option<rayon::ThreadPool>), Failure> {
        let mut limits = if self.no_limits { Limits::none() } else { Limits::default() };
        limits.max_pixels = self.max_pixels.unwrap_or(limits.max_pixels);
        if let Some(bytes) = self.max_memory {
            limits.max_memory = bytes;
            // Files are read into memory, and so is what they hold besides the picture.
            limits.max_file_bytes = limits.max_file_bytes.max(bytes);
            limits.max_chunk_bytes = limits.max_chunk_bytes.max(bytes);
            limits.max_metadata_bytes = limits.max_metadata_bytes.max(bytes);
        }
        // The environment is part of the command line here.
        let kernel = aei::kernel_name().map_err(|e| Failure::usage(format!("AEI_KERNEL: {e}")))?;
        let model = match self.model.as_ref().map(Place::from) {
            Some(place) => Some(Model::from_bytes(paths::read(&place, limits.max_file_bytes)?).at(&place)?),
            None => None,
        };
        let pool = self.threads.map(|n| rayon::ThreadPoolBuilder::new().num_threads(n.into()).build());
        let pool = pool.transpose().map_err(|e| Failure::usage(format!("--threads: {e}")))?;
        if console.verbose {
            let id = model.as_ref().map_or_else(|| Model::embedded().map(|m| m.id()), |m| Ok(m.id()))?;
            let threads = pool.as_ref().map_or_else(rayon::current_num_threads, rayon::ThreadPool::current_num_threads);
            console.detail(format_args!("version {}, model {id}, kernel {kernel}, threads {threads}", env!("CARGO_PKG_VERSION")));
        }
        Ok((Session { console, limits, model }, pool))
    }
}

impl Session {
    /// Does a plan's work, as [`Session::for_each`] does. What cannot be done is told first, and its failure is the first one.
    pub(crate) fn carry_out(&self, plan: &paths::Plan, work: impl Fn(&paths::Job) -> Result<ExitCode, Failure>) -> ExitCode {
        for (place, failure) in &plan.skipped {
            self.console.failure(Some(place), failure);
        }
        let done = self.for_each(&plan.jobs, |job| &job.input, work);
        plan.skipped.first().map_or(done, |(_, failure)| failure.exit_code())
    }

    /// Does `work` for each item, goes on after failures, and returns the exit code of the first. Work that went well may have a code of its own.
    pub(crate) fn for_each<T>(&self, items: &[T], input: impl Fn(&T) -> &Place, work: impl Fn(&T) -> Result<ExitCode, Failure>) -> ExitCode {
        let mut first = ExitCode::SUCCESS;
        for item in items {
            let code = work(item).unwrap_or_else(|failure| {
                self.console.failure(Some(input(item)), &failure);
                failure.exit_code()
            });
            if first == ExitCode::SUCCESS {
                first = code;
            }
        }
        first
    }

    /// Writes a file that is made from a model, and tells of it or of the failure.
    pub(crate) fn export(&self, output: &Place, force: bool, bytes: &[u8], model: &Model) -> ExitCode {
        let written = paths::check_output(output, force).and_then(|()| paths::write(output, bytes, force)).and_then(|()| {
            if self.console.json {
                return self.console.object(json!({ "output": output.name(), "output_bytes": bytes.len(), "model_id": model.id().to_string() }));
            }
            self.console.say(format_args!("{output}  {} bytes, model {}", bytes.len(), model.id()));
            Ok(())
        });
        written.map_or_else(
            |failure| {
                self.console.output_failure(output, &failure);
                failure.exit_code()
            },
            |()| ExitCode::SUCCESS,
        )
    }

    /// JSON and a picture do not fit into one output.
    pub(crate) fn check_outputs(&self, jobs: &[paths::Job]) -> Result<(), Failure> {
        if self.console.json && jobs.iter().any(|job| job.output == Place::Standard) {
            return Err(Failure::usage("--json and the picture cannot both go to standard output; use -o FILE"));
        }
        Ok(())
    }
}

/// How long the work on a picture took, for people.
pub(crate) fn megapixels_per_second(width: u32, height: u32, seconds: f64) -> String {
    let megapixels = f64::from(width) * f64::from(height) / 1e6;
    format!("{seconds:.2} s ({:.1} MP/s)", megapixels / seconds.max(1e-9))
}

/// Bits of a file for each pixel of its picture.
pub(crate) fn bits_per_pixel(bytes: u64, width: u32, height: u32) -> f64 {
    bytes as f64 * 8.0 / (f64::from(width) * f64::from(height))
}

/// `1048576`, `1024K` or `1M`.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number of bytes such as 512M".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_units() {
        assert_eq!(parse_bytes("1000"), Ok(1000));
        assert_eq!(parse_bytes("3k"), Ok(3072));
        assert_eq!(parse_bytes("512M"), Ok(512 << 20));
        assert_eq!(parse_bytes("2G"), Ok(2 << 30));
        for wrong in ["", "M", "-1", "1.5G", "99999999999G", "1é"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
