//! `aei bench rd`, seen from outside, with the codecs that need no installed tools.
#![cfg(feature = "bench")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use aei::{FileFormat, Picture, write_picture};
use serde_json::Value;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aei"));
    command.current_dir(folder).args(["bench", "rd", "pictures", "-o", "report", "--points", "4"]).args(arguments).output().unwrap()
}

fn bench(folder: &Path, arguments: &[&str]) -> Output {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{output:?}");
    output
}

/// Two small pictures with smooth parts and edges.
fn pictures(folder: &Path) {
    fs::create_dir(folder.join("pictures")).unwrap();
    for (name, period) in [("one.png", 23), ("two.ppm", 37)] {
        let sample = |x: u32, y: u32, c: u32| 60 + x + (y + 20 * c) / 2 + if (x * y / 64) % period < period / 2 { 30 } else { 0 };
        let samples = (0..64).flat_map(|y| (0..96).flat_map(move |x| (0..3).map(move |c| sample(x, y, c) as u8))).collect();
        let format = FileFormat::from_extension(Path::new(name).extension().unwrap().to_str().unwrap()).unwrap();
        fs::write(folder.join("pictures").join(name), write_picture(&Picture::rgb(96, 64, samples).unwrap(), format).unwrap()).unwrap();
    }
    fs::write(folder.join("pictures/broken.png"), b"\x89PNG\r\n\x1a\n").unwrap();
}

#[test]
fn measures_reports_and_resumes() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    pictures(folder);
    let anchors = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/anchors/kodak.csv");
    let output = bench(folder, &["--codecs", "aei,jpeg,mozjpeg", "--anchors", anchors, "--json"]);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["pictures"].as_array().unwrap().len(), 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("broken.png: note: left out"));
    assert_eq!(summary["left_out"], serde_json::json!([Path::new("pictures").join("broken.png")]));
    let codecs = summary["codecs"].as_array().unwrap();
    assert_eq!(codecs.len(), 4);
    for codec in codecs {
        let metrics = &codec["metrics"];
        assert!(metrics["psnr-rgb"]["bd_rate"]["percent"].is_f64() && metrics.get("ms-ssim").is_none(), "{codec}");
        assert_eq!(metrics["ssimulacra2"]["curve"].as_array().unwrap().len(), 4, "{codec}");
    }

    let table = fs::read_to_string(folder.join("report/results.csv")).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 1 + 2 * 4 * 4);
    let html = fs::read_to_string(folder.join("report/report.html")).unwrap();
    assert!(html.contains("<svg") && html.contains("HPCM-Large") && html.contains("data:image/png;base64,"));
    assert!(!html.contains("<script") && !html.contains("src=\"http"));
    for name in ["README.md", "rd-psnr-rgb.svg", "rd-psnr-luma.svg", "rd-ssimulacra2.svg", "bd-rate.svg", "crops/most-aei.png"] {
        assert!(folder.join("report").join(name).is_file(), "{name}");
    }

    // What is lost is measured again, and nothing else.
    fs::write(folder.join("report/results.csv"), rows[..rows.len() - 3].join("\n") + "\n").unwrap();
    let output = bench(folder, &["--codecs", "aei,jpeg,mozjpeg", "--anchors", anchors]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("29 of 32 measurements"), "{output:?}");
    let again = fs::read_to_string(folder.join("report/results.csv")).unwrap();
    // Memory may differ in what was measured again.
    assert!(again.starts_with(&rows[..rows.len() - 3].join("\n")) && again.lines().count() == rows.len());

    // What cannot be compared with is said before anything is measured; without jpeg, another one is compared with.
    let wrong = run(folder, &["--codecs", "aei,mozjpeg", "--against", "jpge"]);
    assert!(wrong.status.code() == Some(2) && String::from_utf8_lossy(&wrong.stderr).contains("only aei, mozjpeg"), "{wrong:?}");
    let output = bench(folder, &["--codecs", "aei,mozjpeg", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(value["against"].as_str().unwrap().starts_with("mozjpeg"), "{value}");

    // A run with fewer codecs keeps the others' rows.
    bench(folder, &["--codecs", "jpeg,mozjpeg"]);
    assert_eq!(fs::read_to_string(folder.join("report/results.csv")).unwrap().lines().count(), rows.len());
}

#[test]
fn timing_fills_the_columns() {
    let place = tempfile::tempdir().unwrap();
    pictures(place.path());
    bench(place.path(), &["--codecs", "jpeg", "--metrics", "psnr", "--timing"]);
    let mut reader = csv::Reader::from_path(place.path().join("report/results.csv")).unwrap();
    let head = reader.headers().unwrap().clone();
    let column = |name: &str| head.iter().position(|h| h == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 8);
    for row in rows {
        for name in ["encode_seconds", "decode_seconds"] {
            assert!(row[column(name)].parse::<f64>().unwrap() > 0.0, "{row:?}");
        }
    }
    let text = fs::read_to_string(place.path().join("report/README.md")).unwrap();
    assert!(text.contains("decode, MP/s"), "{text}");
}

#[test]
fn a_missing_tool_is_said_and_skipped() {
    let place = tempfile::tempdir().unwrap();
    pictures(place.path());
    let output = Command::new(env!("CARGO_BIN_EXE_aei"))
        .current_dir(place.path())
        .env("PATH", "")
        .args(["bench", "rd", "pictures", "-o", "report", "--points", "3", "--codecs", "jpeg,webp,avif,jxl"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(["dwebp", "avifdec", "djxl"].iter().all(|tool| said.contains(&format!("{tool} is not installed: left out"))), "{said}");
}

#[test]
fn foreign_folders_stay_as_they_are() {
    let place = tempfile::tempdir().unwrap();
    pictures(place.path());
    let refused = |what: &str| {
        let output = run(place.path(), &["--codecs", "jpeg"]);
        assert!(output.status.code() == Some(3) && String::from_utf8_lossy(&output.stderr).contains(what), "{output:?}");
    };
    // A command line that is refused makes no folder.
    assert_eq!(run(place.path(), &["--codecs", "jpeg", "--against", "webp"]).status.code(), Some(2));
    assert!(!place.path().join("report").exists());
    fs::create_dir(place.path().join("report")).unwrap();
    let (text, table) = (place.path().join("report/README.md"), place.path().join("report/results.csv"));
    fs::write(&text, "mine").unwrap();
    refused("no results.csv of an earlier report");
    fs::write(&table, "city,people\nUlm,130000\n").unwrap();
    refused("is left as it is");
    assert_eq!((fs::read_to_string(&text).unwrap().as_str(), fs::read_to_string(&table).unwrap().as_str()), ("mine", "city,people\nUlm,130000\n"));
}

/// Programs that are called as cwebp and dwebp are, and store and load the picture as it is.
#[cfg(unix)]
fn fake_webp(folder: &Path, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let tools = folder.join("tools");
    fs::create_dir_all(&tools).unwrap();
    for name in ["cwebp", "dwebp"] {
        let path = tools.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // The scripts call what is there.
    format!("{}:/usr/bin:/bin", tools.display())
}

#[cfg(unix)]
fn with_tools(folder: &Path, path: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aei"));
    command.current_dir(folder).env("PATH", path).args(["bench", "rd", "pictures", "-o", "report"]).args(arguments).output().unwrap()
}

#[cfg(unix)]
#[test]
fn rows_of_other_settings_stay_and_are_used() {
    let place = tempfile::tempdir().unwrap();
    pictures(place.path());
    let folder = place.path();
    // `-q N IN -o OUT` and `-quiet -ppm IN -o OUT`: the third last word is the input, the last the output.
    let copies = r#"case $1 in -version) echo 1.0 ;; *) while [ $# -gt 3 ]; do shift; done; cp "$1" "$3" ;; esac"#;
    let tools = fake_webp(folder, copies);
    let rows = || fs::read_to_string(folder.join("report/results.csv")).unwrap().lines().count();
    let output = with_tools(folder, &tools, &["--codecs", "jpeg,webp", "--points", "4"]);
    assert!(output.status.success() && rows() == 1 + 2 * 8, "{output:?}");
    // Without the tool and with another ladder, the settings are those that were measured.
    let output = with_tools(folder, "/nowhere", &["--codecs", "jpeg,webp", "--points", "3", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["codecs"][1]["codec"], "webp");
    // The ends of both ladders are the same.
    assert_eq!(rows(), 1 + 2 * 8 + 2);
    let text = fs::read_to_string(folder.join("report/README.md")).unwrap();
    assert!(text.contains("| WebP | libwebp 1.0 | -q; -m 6 | 0, 32, 75, 97 |"), "{text}");
}

#[test]
fn the_model_may_come_by_a_pipe_and_the_environment_has_no_say() {
    let place = tempfile::tempdir().unwrap();
    pictures(place.path());
    let model = fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/format-spec/vectors/tiny.aem")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_aei"));
    command.current_dir(place.path()).env("AEI_DEVICE", "ort-cpu").env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so").stdin(model);
    let output = command.args(["bench", "rd", "pictures", "-o", "report", "--codecs", "aei,jpeg", "--points", "3", "--model", "-"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A model keeps its id when nothing changes but its analysis.
#[test]
fn a_model_with_another_analysis_is_measured_anew() {
    let place = tempfile::tempdir().unwrap();
    pictures(place.path());
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/format-spec/vectors/tiny.aem");
    let mut other = fs::read(tiny).unwrap();
    let start = other.windows(4).position(|kind| kind == b"enco").unwrap() + 8;
    let end = start + u32::from_le_bytes(other[start - 4..start].try_into().unwrap()) as usize;
    // Scale indices below this one are not coded.
    other[start + 3] += 8;
    let checksum = crc32fast::hash(&[b"enco", &other[start..end]].concat());
    other[end..end + 4].copy_from_slice(&checksum.to_le_bytes());
    fs::write(place.path().join("other.aem"), &other).unwrap();
    let versions_with = |model: &str| -> std::collections::HashSet<String> {
        let output = bench(place.path(), &["--codecs", "aei", "--model", model]);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("from earlier runs"), "{output:?}");
        let mut reader = csv::Reader::from_path(place.path().join("report/results.csv")).unwrap();
        reader.deserialize().map(|row: Result<std::collections::HashMap<String, String>, _>| row.unwrap()["version"].clone()).collect()
    };
    assert_eq!(versions_with(tiny).len(), 1);
    let versions = versions_with("other.aem");
    // What was measured before stays, and the id is the same in both.
    let ids: std::collections::HashSet<&str> = versions.iter().map(|version| version.split(" file ").next().unwrap()).collect();
    assert_eq!((versions.len(), ids.len()), (2, 1), "{versions:?}");
}

/// Whatever ends the program, its folder for files on the way goes.
#[cfg(unix)]
#[test]
fn nothing_is_left_when_it_is_stopped() {
    use std::time::{Duration, Instant};
    let place = tempfile::tempdir().unwrap();
    pictures(place.path());
    let tools = fake_webp(place.path(), r#"case $1 in -version) echo 1.0 ;; *) sleep 1 ;; esac"#);
    for signal in ["INT", "KILL"] {
        let temporary = place.path().join(signal);
        fs::create_dir(&temporary).unwrap();
        let entries = || fs::read_dir(&temporary).unwrap().count();
        let wait = |what: &dyn Fn() -> bool| {
            let started = Instant::now();
            while !what() {
                assert!(started.elapsed() < Duration::from_secs(60), "SIG{signal}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_aei"));
        command.current_dir(place.path()).env("PATH", &tools).env("TMPDIR", &temporary);
        let report = place.path().join(format!("report-{signal}"));
        let mut child = command.args(["bench", "rd", "pictures", "--codecs", "jpeg,webp", "-Q", "-o"]).arg(&report).spawn().unwrap();
        // That file comes when the folder has its guard and codecs are about to start.
        wait(&|| report.join("results.csv").is_file() && entries() > 0);
        assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success());
        assert!(!child.wait().unwrap().success());
        wait(&|| entries() == 0);
    }
}

#[cfg(unix)]
#[test]
fn a_codec_that_always_fails_is_left_out() {
    let place = tempfile::tempdir().unwrap();
    pictures(place.path());
    let tools = fake_webp(place.path(), r#"case $1 in -version) echo 1.0 ;; *) exit 9 ;; esac"#);
    let output = with_tools(place.path(), &tools, &["--codecs", "mozjpeg,webp", "--points", "3", "--against", "webp", "--json"]);
    // Not a mistake of ours.
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["failed"], &summary["against"]), (&serde_json::json!(["webp"]), &"mozjpeg-420".into()));
    assert_eq!(summary["pictures"].as_array().unwrap().len(), 2);
    let text = fs::read_to_string(place.path().join("report/README.md")).unwrap();
    assert!(text.contains("coded no picture at all settings: WebP."), "{text}");
    // Where there is no other one, there is no report.
    let output = with_tools(place.path(), &tools, &["--codecs", "webp", "--points", "3"]);
    assert!(output.status.code() == Some(6) && String::from_utf8_lossy(&output.stderr).contains("no codec coded a picture"), "{output:?}");
    // One that does not start is not there.
    let tools = fake_webp(place.path(), "exit 127");
    let output = with_tools(place.path(), &tools, &["--codecs", "mozjpeg,webp", "--points", "3"]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains("dwebp does not work"), "{output:?}");
}

/// Windows knows no such names.
#[cfg(unix)]
#[test]
fn odd_pictures_are_named() {
    let place = tempfile::tempdir().unwrap();
    pictures(place.path());
    let save = |name: &str, picture: &Picture| fs::write(place.path().join("pictures").join(name), write_picture(picture, FileFormat::Png).unwrap()).unwrap();
    // Without loss in JPEG too; the same samples in another shape; a name with markup.
    save("flat_<b>.png", &Picture::gray(96, 64, vec![128; 96 * 64]).unwrap());
    save("tall.png", &Picture::gray(64, 96, vec![128; 96 * 64]).unwrap());
    let arguments = ["pictures/nothing.png", "--codecs", "jpeg,mozjpeg", "--metrics", "psnr,ssimulacra2,psnr", "--json"];
    let output = run(place.path(), &arguments);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&objects[0]["input"], &objects[0]["error"]["code"]), (&"pictures/nothing.png".into(), &3.into()));
    let summary = &objects[1];
    assert_eq!(summary["pictures"].as_array().unwrap().len(), 4);
    assert_eq!(summary["left_out"], serde_json::json!(["pictures/broken.png", "pictures/nothing.png"]));
    let psnr = &summary["codecs"][1]["metrics"]["psnr-rgb"];
    assert!(psnr["pictures"] == 2 && psnr["bd_rate"]["percent"].is_f64(), "{psnr}");
    let text = fs::read_to_string(place.path().join("report/README.md")).unwrap();
    assert!(text.contains("PSNR (RGB): means over 2 of the 4 pictures.") && text.contains("infinite: flat\\_\\<b\\>.png, tall.png."), "{text}");
    assert!(text.contains("another name: pictures/broken.png, pictures/nothing.png."), "{text}");
    assert!(text.contains("| codec | PSNR (RGB) | PSNR (luma) | SSIMULACRA2 |\n"), "{text}");
    let plot = fs::read_to_string(place.path().join("report/rd-psnr-rgb.svg")).unwrap();
    assert!(plot.contains("mean of 2 pictures") && !plot.contains("NaN") && !plot.contains("inf"), "{plot}");

    let anchors = place.path().join("anchors.csv");
    for bpp in ["0", "-1", "nan", "inf"] {
        fs::write(&anchors, format!("codec,bpp,psnr_rgb,ms_ssim_db\nX,{bpp},30,10\n")).unwrap();
        let output = run(place.path(), &["--codecs", "jpeg", "--anchors", "anchors.csv"]);
        assert!(output.status.code() == Some(4) && String::from_utf8_lossy(&output.stderr).contains("has to be above 0"), "{output:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_look_alike() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let place = tempfile::tempdir().unwrap();
    pictures(place.path());
    let folder = place.path().join("pictures");
    fs::rename(folder.join("one.png"), folder.join(OsStr::from_bytes(b"\xfe.png"))).unwrap();
    fs::rename(folder.join("two.ppm"), folder.join(OsStr::from_bytes(b"\xff.png"))).unwrap();
    let output = bench(place.path(), &["--codecs", "jpeg", "--json"]);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["pictures"].as_array().unwrap().len(), 2);
}

#[test]
fn ms_ssim_is_averaged_before_it_becomes_db() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::create_dir(folder.join("pictures")).unwrap();
    // An easy picture and a hard one.
    for (name, noise) in [("one.png", 4), ("two.png", 120)] {
        let samples = (0..176 * 176u32).flat_map(|i| [0, 1, 2].map(|c| (60 + i / 176 / 4 + (i * i / 7 + c * 5) % noise) as u8)).collect();
        fs::write(folder.join("pictures").join(name), write_picture(&Picture::rgb(176, 176, samples).unwrap(), FileFormat::Png).unwrap()).unwrap();
    }
    let arguments = ["--codecs", "aei,jpeg", "--metrics", "ms-ssim"];
    bench(folder, &arguments);
    let mut reader = csv::Reader::from_path(folder.join("report/results.csv")).unwrap();
    let rows: Vec<std::collections::HashMap<String, String>> =
        reader.deserialize().map(Result::unwrap).filter(|row: &std::collections::HashMap<_, _>| row["codec"] == "aei").collect();
    drop(reader);
    let mut settings: Vec<&str> = rows.iter().map(|row| &*row["setting"]).collect();
    settings.dedup();
    // aei's own curve, as if it had been published.
    let mut anchors = "codec,bpp,psnr_rgb,ms_ssim_db\n".to_owned();
    for setting in &settings[..4] {
        let mean = |name| rows.iter().filter(|row| row["setting"] == *setting).map(|row| row[name].parse::<f64>().unwrap()).sum::<f64>() / 2.0;
        anchors += &format!("itself,{},,{}\n", mean("bpp"), aei::metrics::decibels(mean("ms_ssim")));
    }
    fs::write(folder.join("anchors.csv"), &anchors).unwrap();
    let output = bench(folder, &[&arguments[..], &["--anchors", "anchors.csv", "--json"]].concat());
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let aei = summary["codecs"].as_array().unwrap().iter().find(|codec| codec["codec"] == "aei").unwrap();
    for (point, published) in aei["metrics"]["ms-ssim"]["curve"].as_array().unwrap().iter().zip(anchors.lines().skip(1)) {
        let wanted: f64 = published.rsplit(',').next().unwrap().parse().unwrap();
        assert!((point[1].as_f64().unwrap() - wanted).abs() < 1e-9, "{point} {published}");
    }
    let report = fs::read_to_string(folder.join("report/README.md")).unwrap();
    let line = report.lines().find(|line| line.starts_with("| itself (published)")).unwrap();
    assert!(line.contains("| +0.0 %") || line.contains("| −0.0 %"), "{line}");
}

/// Rounded to few digits, similarities so close to 1 would be another number of dB.
#[test]
fn ms_ssim_close_to_1_keeps_its_digits() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::create_dir(folder.join("pictures")).unwrap();
    let mut samples = vec![128; 240 * 200 * 3];
    samples[240 * 100 * 3..][..3].fill(131);
    fs::write(folder.join("pictures/dot.png"), write_picture(&Picture::rgb(240, 200, samples).unwrap(), FileFormat::Png).unwrap()).unwrap();
    let check = |curve_is: &dyn Fn(&Value, f64) -> bool| {
        let output = bench(folder, &["--codecs", "jpeg", "--metrics", "ms-ssim", "--json"]);
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut reader = csv::Reader::from_path(folder.join("report/results.csv")).unwrap();
        let row: std::collections::HashMap<String, String> = reader.deserialize().next().unwrap().unwrap();
        let decibels: f64 = row["ms_ssim_db"].parse().unwrap();
        assert!(decibels > 55.0 && decibels.is_finite(), "{row:?}");
        let curve = &summary["codecs"][0]["metrics"]["ms-ssim"]["curve"];
        assert!(curve_is(&curve[0][1], decibels), "{curve} {decibels}");
    };
    check(&|point, decibels| (point.as_f64().unwrap() - decibels).abs() < 1e-3);
    // Of a version that rounded them to 1.
    let path = folder.join("report/results.csv");
    let table = fs::read_to_string(&path).unwrap();
    let row = table.lines().nth(1).unwrap();
    let similarity = row.split(',').find(|value| value.starts_with("0.9999")).unwrap();
    fs::write(&path, table.replace(similarity, "1.0")).unwrap();
    check(&|point, _| point.is_null());
}
