//! `aei devices` and `aei export-onnx`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use aei::{Device, Library, Model};
use clap::Args;
use serde_json::{Value, json};

use super::{Common, Session};
use crate::failure::{At as _, Failure};
use crate::paths::Place;

/// List what can compute the transforms on this machine, and what is missing for the rest
///
/// Each ONNX Runtime that is found is loaded in a process of its own and tried with something small.
#[derive(Args)]
#[command(after_help = crate::failure::exit_codes_help())]
pub(crate) struct Devices {
    /// Try the library of ORT_DYLIB_PATH in this process
    #[arg(long, hide = true)]
    here: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Devices that take ONNX Runtime.
const RUNTIME: [Device; 4] = [Device::OrtCpu, Device::OpenVino, Device::Cuda, Device::TensorRt];

impl Devices {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        if self.here {
            let tried: Vec<Value> = RUNTIME.iter().map(|device| verdict(*device, aei::check_device(*device).err())).collect();
            session.console.result(Value::Array(tried))?;
            return Ok(ExitCode::SUCCESS);
        }
        let libraries = aei::libraries();
        let reports: Vec<(Library, Result<Vec<Value>, String>)> = libraries.into_iter().map(|library| (library.clone(), try_library(&library))).collect();
        if session.console.json {
            let libraries: Vec<Value> = reports.iter().map(|(library, result)| library_json(library, result)).collect();
            session.console.object(json!({
                "native": { "usable": true, "kernel": aei::kernel_name()?, "kernels": aei::kernel_names() },
                "auto": if reports.iter().any(|(_, r)| r.as_ref().is_ok_and(|r| usable(r, Device::Cuda))) { "cuda" } else { "native" },
                "libraries": libraries,
            }))?;
        } else {
            session.console.result(all(&reports)?.trim_end())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn verdict(device: Device, error: Option<aei::Error>) -> Value {
    json!({ "device": device.name(), "usable": error.is_none(), "missing": error.map(|e| e.to_string()) })
}

/// Whether a library's report says so.
fn usable(report: &[Value], device: Device) -> bool {
    report.iter().any(|r| r["device"] == device.name() && r["usable"] == true)
}

/// What a process that loads the library says: one that cannot stand it takes only itself down.
fn try_library(library: &Library) -> Result<Vec<Value>, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new(program).args(["devices", "--here"]).env("ORT_DYLIB_PATH", &library.path).output().map_err(|e| e.to_string())?;
    let line = String::from_utf8_lossy(&output.stdout);
    // Libraries may print lines of their own.
    let report = line.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    report.ok_or_else(|| format!("trying it failed ({})", output.status))
}

fn library_json(library: &Library, result: &Result<Vec<Value>, String>) -> Value {
    let mut value = json!({ "path": library.path.to_string_lossy(), "version": library.version, "place": library.place });
    match result {
        Ok(devices) => value["devices"] = json!(devices),
        Err(error) => value["error"] = json!(error),
    }
    value
}

/// A line or more for each device.
fn all(reports: &[(Library, Result<Vec<Value>, String>)]) -> Result<String, Failure> {
    let mut out = format!("native     usable (kernel {})\n", aei::kernel_name()?);
    for device in RUNTIME {
        let lines: Vec<(bool, String)> = reports
            .iter()
            .map(|(library, result)| {
                let version = library.version.as_deref().unwrap_or("of unknown version");
                let name = format!("ONNX Runtime {version}, {} ({})", library.path.display(), library.place);
                match result {
                    Err(error) => (false, format!("{name}: {error}")),
                    Ok(report) => match report.iter().find(|r| r["device"] == device.name()).and_then(|r| r["missing"].as_str()) {
                        None => (true, format!("usable with {name}")),
                        Some(missing) => (false, format!("not usable: {missing}")),
                    },
                }
            })
            .collect();
        let any = lines.iter().any(|(usable, _)| *usable);
        let mut label = device.name();
        // Where one library will do, what the others lack is of no interest.
        for (_, line) in lines.iter().filter(|(usable, _)| *usable == any) {
            let _ = writeln!(out, "{label:10} {line}");
            label = "";
        }
        if reports.is_empty() {
            let _ = writeln!(out, "{label:10} not usable: {}", aei::check_device(device).err().map(|e| e.to_string()).unwrap_or_default());
        }
    }
    Ok(out)
}

/// Write the model's transforms as ONNX files, analysis.onnx and synthesis.onnx
///
/// aei itself has no use for them: it makes the graphs it needs from its model. They are for other programs; the model card tells what goes in and out.
#[derive(Args)]
#[command(after_help = crate::failure::exit_codes_help())]
pub(crate) struct ExportOnnx {
    /// Folder to write to
    #[arg(value_name = "DIR")]
    folder: OsString,
    /// Overwrite files that exist
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

impl ExportOnnx {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let model = session.model.clone().map_or_else(Model::embedded, Ok)?;
        let files = aei::export_onnx(&model)?;
        std::fs::create_dir_all(&self.folder).at(Place::Path(Path::new(&self.folder).to_owned()))?;
        let codes = ["analysis.onnx", "synthesis.onnx"].iter().zip(files).map(|(name, bytes)| {
            let output = Place::Path(Path::new(&self.folder).join(name));
            session.export(&output, self.force, &bytes, &model)
        });
        // Both are tried.
        let codes: Vec<ExitCode> = codes.collect();
        Ok(codes.into_iter().find(|code| *code != ExitCode::SUCCESS).unwrap_or(ExitCode::SUCCESS))
    }
}
