//! Whenever the program is killed, an output is the old file or the new one, whole, and there is no other file.
#![cfg(all(feature = "cli", target_os = "linux"))]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

fn aei() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("aei"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Kills `count` runs of each kind at moments spread over their length.
fn kill(count: u32, signal: &str) {
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/budgie.jpg");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for quality in ["30", "31"] {
        assert!(aei().arg("encode").args([&photo]).args(["-q", quality, "-o"]).arg(file(quality)).status().unwrap().success());
    }
    let (old, new) = (fs::read(file("30")).unwrap(), fs::read(file("31")).unwrap());
    let output = folder.path().join("out/photo.aei");
    fs::create_dir(folder.path().join("out")).unwrap();
    let encode = || {
        let mut command = aei();
        command.arg("encode").arg(&photo).args(["-f", "-q", "31", "-o"]).arg(&output);
        command
    };
    let started = Instant::now();
    assert!(encode().status().unwrap().success());
    let whole = started.elapsed();
    let mut counts = [0u32; 3];
    for i in 0..count {
        // A third of the runs has no file to replace. Some are killed when they are done: the end of a run is its most delicate part.
        let fresh = i % 3 == 0;
        if fresh {
            fs::remove_file(&output).unwrap_or(())
        } else {
            fs::write(&output, &old).unwrap()
        }
        let mut child = encode().spawn().unwrap();
        sleep(whole.mul_f64(1.3 * f64::from(i.wrapping_mul(0x9E37_79B9) >> 8) / f64::from(1 << 24)));
        Command::new("kill").args(["-s", signal, &child.id().to_string()]).stderr(Stdio::null()).status().unwrap();
        child.wait().unwrap();
        match fs::read(&output) {
            Ok(bytes) if bytes == new => counts[2] += 1,
            Ok(bytes) => {
                assert!(bytes == old && !fresh, "run {i}: {} bytes, neither the old file nor the new one", bytes.len());
                counts[1] += 1;
            }
            Err(error) => {
                assert!(error.kind() == std::io::ErrorKind::NotFound && fresh, "run {i}: {error}");
                counts[0] += 1;
            }
        }
        let names: Vec<_> = fs::read_dir(output.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| name == "photo.aei"), "run {i} left {names:?}");
    }
    println!("{count} runs, {signal}: {} without a file, {} with the old one, {} with the new one", counts[0], counts[1], counts[2]);
    assert!(count < 30 || counts.iter().all(|n| *n > 0), "{counts:?}: no moment was in between");
}

#[test]
fn killed_or_interrupted() {
    kill(9, "KILL");
    kill(9, "INT");
}

#[test]
#[ignore = "takes a minute"]
fn killed_two_hundred_times() {
    kill(200, "KILL");
    kill(100, "INT");
}
