//! A file that claims what it does not hold. Alone in its process: what a program has used counts what was there when it was started.
#![cfg(all(feature = "cli", unix))]

use std::path::Path;
use std::process::{Command, Stdio};

use wait4::Wait4 as _;

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("aei"));
    command.current_dir(folder).args(arguments).stderr(Stdio::null());
    command
}

/// A kilobyte that claims four gigapixels, with everything in place up to the first tile.
#[test]
fn a_small_file_that_claims_much_costs_little() {
    let digits = include_str!("../models/aei1/model.aem.id");
    let model: Vec<u8> = (0..8).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()).collect();
    let mut file = b"\x89AEI\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], payload: &[u8]| {
        file.extend(kind);
        file.extend((payload.len() as u32).to_le_bytes());
        file.extend(payload);
        file.extend(crc32fast::hash(&[kind, payload].concat()).to_le_bytes());
    };
    let head = [&[1, 0][..], &65535u32.to_le_bytes(), &65535u32.to_le_bytes(), &[3, 8, 1, 12, 30, 0], &model].concat();
    chunk(b"HEAD", &head);
    chunk(b"TIDX", &[4, 0, 0, 0].repeat(256));
    chunk(b"TILE", &[0, 0, 0, 0]);
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("claim.aei"), &file).unwrap();
    for arguments in [&["decode", "claim.aei", "-o", "x.png"][..], &["decode", "claim.aei", "-o", "x.png", "--salvage"]] {
        let mut best = std::time::Duration::MAX;
        for _ in 0..5 {
            let started = std::time::Instant::now();
            let used = command(place.path(), arguments).spawn().unwrap().wait4().unwrap();
            best = best.min(started.elapsed());
            assert_eq!(used.status.code(), Some(5));
            assert!(used.rusage.maxrss < 20_000_000, "{} bytes", used.rusage.maxrss);
        }
        assert!(best.as_millis() < 50, "{best:?}");
    }
}
