//! The devices, seen from outside: with a real ONNX Runtime where there is one, and without any.
//!
//! `ORT_DYLIB_PATH` or an active Python environment with the package `onnxruntime` leads to one; without it the tests that need it say so and do nothing. Where
//! `ORT_DYLIB_PATH` is set, the library has to work. `AEI_KODAK` names the folder of Kodak pictures, as in `kodak.rs`.
#![cfg(all(feature = "cli", feature = "onnx"))]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aei::{Decoder, DecoderOptions, Device, Encoder, Lossless, Picture, Quality, check_device, read_picture};
use assert_cmd::Command;
use predicates::str::contains;
use tempfile::TempDir;

fn is_there() -> bool {
    match check_device(Device::OrtCpu) {
        Ok(library) => library.is_some(),
        Err(error) if std::env::var_os("ORT_DYLIB_PATH").is_some() => panic!("{error}"),
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}

fn decode(file: &[u8], device: Device) -> Picture {
    let mut options = DecoderOptions::default();
    options.device = device;
    Decoder::with_options(file, options).unwrap().on_warning(|line| panic!("{line}")).decode().unwrap()
}

fn encode(picture: &Picture, quality: u8, device: Device) -> Vec<u8> {
    Encoder::new().lossless(Lossless::Never).quality(Quality::index(quality).unwrap()).tile_size(256).unwrap().device(device).encode(picture).unwrap()
}

/// Largest and mean difference, in levels.
fn difference(a: &Picture, b: &Picture) -> (u8, f64) {
    let (a, b) = (a.samples(), b.samples());
    let differences = a.iter().zip(&*b).map(|(a, b)| a.abs_diff(*b));
    (differences.clone().max().unwrap(), differences.map(f64::from).sum::<f64>() / a.len() as f64)
}

fn psnr(a: &Picture, b: &Picture) -> f64 {
    let (a, b) = (a.samples(), b.samples());
    let squares: f64 = a.iter().zip(&*b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    10. * (255f64.powi(2) * a.len() as f64 / squares).log10()
}

fn budgie() -> Picture {
    read_picture(include_bytes!("data/budgie.jpg")).unwrap().0
}

/// What the specification's section 9 states.
const MAX: u8 = 1;
const MEAN: f64 = 0.15;

#[test]
fn files_of_one_device_are_files_of_every_other() {
    if !is_there() {
        return;
    }
    let picture = budgie();
    let devices: Vec<Device> = Device::ALL.into_iter().filter(|device| *device != Device::Auto && check_device(*device).is_ok()).collect();
    for encoder in &devices {
        let file = encode(&picture, 38, *encoder);
        assert_eq!(file, encode(&picture, 38, *encoder), "{encoder}");
        let exact = decode(&file, Device::Native);
        for decoder in &devices {
            let (max, mean) = difference(&decode(&file, *decoder), &exact);
            println!("{encoder} to {decoder}: {} bytes, at most {max}, mean {mean:.4}", file.len());
            assert!(max <= MAX && mean < MEAN, "{encoder} to {decoder}: at most {max}, mean {mean}");
        }
        // Whoever looks at the picture sees the same. (On average: a latent that comes out otherwise leads to another way through the trellis, as good as the first.)
        const QUALITIES: [u8; 6] = [26, 32, 38, 44, 50, 56];
        let (mut more, mut size) = (0., 0.);
        for quality in QUALITIES {
            let [this, native] = [*encoder, Device::Native].map(|device| encode(&picture, quality, device));
            let [this_psnr, native_psnr] = [&this, &native].map(|file| psnr(&picture, &decode(file, Device::Native)));
            more += (this_psnr - native_psnr) / QUALITIES.len() as f64;
            size += (this.len() as f64 / native.len() as f64 - 1.) / QUALITIES.len() as f64;
        }
        println!("{encoder}: {more:+.4} dB, {:+.3} % of native's bytes", 100. * size);
        assert!(more.abs() < 0.02 && size.abs() < 0.003, "{encoder}: {more:+.4} dB, {:+.3} %", 100. * size);
    }
}

/// Among them files that no encoder writes, whose features do not fit 16 bits.
#[test]
fn vectors_differ_as_little_as_stated() {
    if !is_there() {
        return;
    }
    let mut count = 0;
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors");
    let list = fs::read_to_string(vectors.join("digests.txt")).unwrap();
    let of_another_model: Vec<&str> = list.lines().filter(|line| line.starts_with("model ")).filter_map(|line| line.split_whitespace().nth(2)).collect();
    for entry in fs::read_dir(&vectors).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // Not those that are refused, those of another model, and large ones.
        if !name.ends_with(".aei") || ["x-", "tile-4096"].iter().any(|start| name.starts_with(start)) || of_another_model.contains(&name) {
            continue;
        }
        let file = fs::read(&path).unwrap();
        let (max, mean) = difference(&decode(&file, Device::OrtCpu), &decode(&file, Device::Native));
        // Of a few samples, chance decides.
        assert!(max <= MAX && (mean < MEAN || file.len() < 300), "{name}: at most {max}, mean {mean}");
        count += 1;
    }
    assert!(count > 20);
}

#[test]
fn regions_are_crops_of_the_whole() {
    if !is_there() {
        return;
    }
    let file = encode(&budgie(), 20, Device::Native);
    let mut options = DecoderOptions::default();
    options.device = Device::OrtCpu;
    let decoder = Decoder::with_options(&file[..], options).unwrap();
    let whole = decode(&file, Device::Native);
    let part = decoder.decode_region(130, 70, 200, 150).unwrap();
    for (y, row) in part.samples().chunks_exact(600).enumerate() {
        let expected = &whole.samples()[((70 + y) * whole.width() as usize + 130) * 3..][..600];
        assert!(row.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= MAX), "row {y}");
    }
}

fn check_kodak(pick: impl Fn(&str) -> bool) {
    let folder = std::env::var_os("AEI_KODAK").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/kodak"), PathBuf::from);
    if !folder.is_dir() {
        println!("skipped: no Kodak pictures in {}", folder.display());
        return;
    }
    if !is_there() {
        return;
    }
    let devices: Vec<Device> = [Device::OrtCpu, Device::OpenVino, Device::Cuda, Device::TensorRt].into_iter().filter(|d| check_device(*d).is_ok()).collect();
    for quality in [8, 24, 40, 56] {
        for device in &devices {
            let (mut largest, mut sum, mut worst, mut count, mut size) = (0, 0., 0f64, 0., 0f64);
            for n in 1..=24 {
                let name = format!("kodim{n:02}.png");
                if !pick(&name) {
                    continue;
                }
                let (picture, _) = read_picture(&fs::read(folder.join(&name)).unwrap()).unwrap();
                let file = encode(&picture, quality, Device::Native);
                let (max, mean) = difference(&decode(&file, *device), &decode(&file, Device::Native));
                size = size.max((encode(&picture, quality, *device).len() as f64 / file.len() as f64 - 1.).abs());
                (largest, sum, worst, count) = (largest.max(max), sum + mean, worst.max(mean), count + 1.);
            }
            println!(
                "{device} q{quality}: {count} pictures, at most {largest}, mean {:.3} (worst picture {worst:.3}), files within {:.3} %",
                sum / count,
                100. * size
            );
            // A file of 3 KB at index 8: some forty bytes. One latent that differs leads to another way through the trellis.
            let most = if quality == 8 { 0.015 } else { 0.0075 };
            assert!(largest <= MAX && worst < MEAN && size < most && count > 0.);
        }
    }
}

#[test]
fn a_few_pictures_differ_as_little_as_stated() {
    check_kodak(|name| ["kodim05.png", "kodim20.png"].contains(&name));
}

#[test]
#[ignore = "takes minutes"]
fn all_pictures_differ_as_little_as_stated() {
    check_kodak(|_| true);
}

/// The program where there is no ONNX Runtime, but for the one that is named.
fn alone(folder: &TempDir, library: Option<&Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("aei"));
    for variable in ["VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "LIBRARY_PATH", "AEI_DEVICE", "ORT_DYLIB_PATH"] {
        command.env_remove(variable);
    }
    command.env("PATH", "").env("HOME", folder.path()).current_dir(folder.path()).args(arguments);
    if let Some(library) = library {
        command.env("ORT_DYLIB_PATH", library);
    }
    command
}

fn small_file(folder: &TempDir) {
    let picture = Picture::gray(20, 9, vec![77; 180]).unwrap();
    fs::write(folder.path().join("a.aei"), Encoder::new().lossless(Lossless::Never).encode(&picture).unwrap()).unwrap();
}

#[test]
fn a_device_by_name_is_an_error_where_it_cannot_be_used() {
    let folder = TempDir::new().unwrap();
    small_file(&folder);
    let nowhere = folder.path().join("nowhere/libonnxruntime.so");
    let text = folder.path().join("text.so");
    fs::write(&text, "no library").unwrap();
    for (library, message) in [(&nowhere, "cannot be loaded (ORT_DYLIB_PATH)"), (&text, "cannot be loaded (ORT_DYLIB_PATH)")] {
        for (device, package) in [("ort-cpu", "onnxruntime"), ("openvino", "onnxruntime-openvino"), ("cuda", "onnxruntime-gpu"), ("tensorrt", "tensorrt")] {
            let assert = alone(&folder, Some(library), &["decode", "-f", "--device", device, "a.aei"]).assert();
            let assert = assert.code(6).stderr(contains(message)).stderr(contains("correct ORT_DYLIB_PATH, or unset it"));
            assert.stderr(contains(format!("pip install {package}").replace("pip install tensorrt", " tensorrt")));
        }
        // Who left the choice to us is served.
        alone(&folder, Some(library), &["decode", "-f", "--device", "auto", "a.aei"]).assert().success();
        alone(&folder, Some(library), &["decode", "-f", "--device", "cuda", "--exact", "a.aei"]).assert().success();
        alone(&folder, Some(library), &["devices"]).assert().success().stdout(contains("native     usable")).stdout(contains("cannot be loaded"));
    }
    alone(&folder, None, &["decode", "-f", "a.aei"]).env("AEI_DEVICE", "abacus").assert().code(2).stderr(contains("AEI_DEVICE: there is no device"));
    // A bare name is not that of a file which happens to be here.
    let assert = alone(&folder, Some(Path::new("text.so")), &["decode", "-f", "--device", "ort-cpu", "a.aei"]).assert().code(6);
    assert.stderr(contains("name the file in ORT_DYLIB_PATH with its folder"));
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        let name = std::ffi::OsStr::from_bytes(b"\xff");
        alone(&folder, None, &["decode", "-f", "a.aei"]).env("AEI_DEVICE", name).assert().code(2).stderr(contains("AEI_DEVICE: there is no device"));
    }
    let output =
        alone(&folder, None, &["decode", "-f", "-v", "--json", "a.aei"]).assert().success().stderr(contains("device native")).get_output().stdout.clone();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&output).unwrap()["device"], "native");
    alone(&folder, None, &["decode", "-f", "--device", "abacus", "a.aei"]).assert().code(2).stderr(contains("tensorrt"));
    alone(&folder, Some(&text), &["decode", "-f", "a.aei"]).env("AEI_DEVICE", "openvino").assert().code(6);
}

#[test]
fn graphs_are_written_and_told() {
    let folder = TempDir::new().unwrap();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/format-spec/vectors/tiny.aem");
    let objects = |code: i32| -> Vec<serde_json::Value> {
        let assert = alone(&folder, None, &["export-onnx", "--json", "--model", model, "graphs"]).assert().code(code);
        String::from_utf8(assert.get_output().stdout.clone()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let told = objects(0);
    assert_eq!(told.len(), 2);
    for (object, name) in told.iter().zip(["analysis.onnx", "synthesis.onnx"].map(|name| Path::new("graphs").join(name))) {
        assert_eq!((object["output"].as_str(), object["output_bytes"].as_u64()), (name.to_str(), Some(fs::metadata(folder.path().join(&name)).unwrap().len())));
        assert!(object["model_id"].is_string());
    }
    assert!(objects(3).iter().all(|object| object["output"].is_string() && object["error"]["code"] == 3));
    fs::write(folder.path().join("file"), "").unwrap();
    alone(&folder, None, &["export-onnx", "--model", model, "file"]).assert().code(3).stderr(contains("aei: file: this is not a folder"));
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_failure() {
    let folder = TempDir::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("aei"));
    command.env("ORT_DYLIB_PATH", folder.path().join("nowhere.so")).arg("devices").stdout(writer);
    assert!(command.status().unwrap().success());
}

/// A library that says it is ONNX Runtime of some version, and one that is something else.
#[cfg(target_os = "linux")]
#[test]
fn wrong_libraries_are_named() {
    let folder = TempDir::new().unwrap();
    small_file(&folder);
    let build = |name: &str, source: &str| {
        let (from, to) = (folder.path().join(format!("{name}.rs")), folder.path().join(format!("{name}.so")));
        fs::write(&from, source).unwrap();
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let status =
            std::process::Command::new(rustc).args(["--edition=2021", "--crate-type=cdylib", "-Cpanic=abort", "-o"]).args([&to, &from]).status().unwrap();
        assert!(status.success());
        to
    };
    let old = build(
        "old",
        r#"
            #[repr(C)] pub struct Base(extern "C" fn(u32) -> *const u8, extern "C" fn() -> *const u8);
            extern "C" fn api(_: u32) -> *const u8 { std::ptr::null() }
            extern "C" fn version() -> *const u8 { b"1.16.3\0".as_ptr() }
            static BASE: Base = Base(api, version);
            #[no_mangle] pub extern "C" fn OrtGetApiBase() -> *const Base { &BASE }
        "#,
    );
    let other = build("other", "#[no_mangle] pub extern \"C\" fn answer() -> u32 { 42 }");
    for (library, message) in [(&old, "old.so is ONNX Runtime 1.16.3, and aei needs 1.17 or newer"), (&other, "other.so is not an ONNX Runtime library")] {
        alone(&folder, Some(library), &["decode", "-f", "--device", "ort-cpu", "a.aei"]).assert().code(6).stderr(contains(message));
        alone(&folder, Some(library), &["decode", "-f", "--device", "auto", "a.aei"]).assert().success();
        let output = alone(&folder, Some(library), &["devices", "--json"]).assert().success().get_output().stdout.clone();
        let report: serde_json::Value = serde_json::from_slice(&output).unwrap();
        assert_eq!((report["auto"].as_str(), report["native"]["usable"].as_bool()), (Some("native"), Some(true)));
        let devices = report["libraries"][0]["devices"].as_array().unwrap();
        assert!(devices.len() == 4 && devices.iter().all(|d| d["usable"] == false && d["missing"].as_str().unwrap().contains(message)), "{report}");
    }
    // An installation with CUDA that cannot be loaded: `auto` says so once, and goes on.
    fs::create_dir_all(folder.path().join("gpu")).unwrap();
    let gpu = folder.path().join("gpu/libonnxruntime.so");
    fs::copy(&old, &gpu).unwrap();
    fs::write(folder.path().join("gpu/libonnxruntime_providers_cuda.so"), "no library").unwrap();
    fs::copy(folder.path().join("a.aei"), folder.path().join("b.aei")).unwrap();
    let assert = alone(&folder, Some(&gpu), &["decode", "-f", "--device", "auto", "a.aei", "b.aei"]).assert().success();
    let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    let warnings: Vec<&str> = said.lines().filter(|line| line.starts_with("aei: warning: ")).collect();
    assert!(matches!(&warnings[..], [line] if line.contains("1.16.3") && line.ends_with("going on with native")), "{said}");
}

#[test]
fn the_program_with_a_runtime() {
    if !is_there() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let aei = |arguments: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("aei"));
        command.current_dir(folder.path()).args(arguments);
        command
    };
    let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/budgie.jpg");
    let output = aei(&["encode", "--json", "--device", "ort-cpu", photo, "-o", "a.aei"]).assert().success().get_output().stdout.clone();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&output).unwrap()["device"], "ort-cpu");
    let output = aei(&["decode", "--json", "--device", "ort-cpu", "--verify-exact", "a.aei"]).assert().success().get_output().stdout.clone();
    let report: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert!(report["difference"]["max"].as_u64().unwrap() <= MAX.into(), "{report}");
    assert!((0.0..MEAN).contains(&report["difference"]["mean"].as_f64().unwrap()), "{report}");
    aei(&["decode", "-f", "--verify-exact", "a.aei"]).assert().success().stderr(contains("by 0 at most"));
    aei(&["devices"]).assert().success().stdout(contains("ort-cpu    usable with ONNX Runtime"));
    // No more memory than allowed, as an estimate.
    aei(&["decode", "-f", "--max-memory", "40M", "--device", "ort-cpu", "a.aei"]).assert().code(5);
    aei(&["export-onnx", "."]).assert().success();
    aei(&["export-onnx", "."]).assert().code(3);
    assert!(["analysis.onnx", "synthesis.onnx"].iter().all(|name| fs::metadata(folder.path().join(name)).unwrap().len() > 1_000_000));
}

#[test]
fn work_that_is_stopped_stops_on_a_device_too() {
    if !is_there() {
        return;
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let result = Encoder::new().lossless(Lossless::Never).device(Device::OrtCpu).on_progress(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        std::ops::ControlFlow::Break(())
    });
    assert!(matches!(result.encode(&budgie()), Err(aei::Error::Cancelled)));
    assert!(calls.load(Ordering::Relaxed) >= 1);
}
