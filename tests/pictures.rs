//! Reading of picture files as they occur: a collection of odd ones, where the checkout has it beside it.
#![cfg(feature = "files")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aei::{Channels, Error, Orientation, read_picture};

fn collection() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/misc")
}

/// Size of each file's picture, by its name in the collection, as another program found it.
fn sizes(folder: &Path) -> BTreeMap<String, (u32, u32)> {
    let manifest = std::fs::read_to_string(folder.join("MANIFEST.tsv")).unwrap_or_default();
    let rows = manifest.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    rows.filter_map(|row| Some(((*row.first()?).to_owned(), (row.get(3)?.parse().ok()?, row.get(4)?.parse().ok()?)))).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

#[test]
fn every_file_is_read_or_refused_with_a_reason() {
    let folder = collection();
    if !folder.is_dir() {
        println!("skipped: there is no {}", folder.display());
        return;
    }
    let sizes = sizes(&folder);
    let mut counts = [0; 2];
    for path in files(&folder) {
        let name = path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned();
        let (group, file) = name.split_once('/').unwrap_or(("", &name));
        if group.is_empty() {
            continue;
        }
        match read_picture(&std::fs::read(&path).unwrap()) {
            Ok((picture, notices)) => {
                counts[0] += 1;
                let notices: Vec<String> = notices.iter().map(ToString::to_string).collect();
                println!(
                    "{name:50} {:>4}x{:<4} {:?} {}-bit, orientation {} {}",
                    picture.width(),
                    picture.height(),
                    picture.channels(),
                    picture.source_depth(),
                    picture.orientation().to_exif(),
                    notices.join("; ")
                );
                if let Some(size) = sizes.get(&name) {
                    assert_eq!((picture.width(), picture.height()), *size, "{name}");
                }
                assert_ne!(group, "cmyk", "{name}");
                if group == "gray" {
                    assert_eq!(picture.channels(), Channels::Gray, "{name}");
                }
                if let Some(value) =
                    file.strip_suffix(".jpg").and_then(|stem| stem.split_once('_')).filter(|(kind, _)| matches!(*kind, "Landscape" | "Portrait"))
                {
                    assert_eq!(Some(picture.orientation()), Orientation::from_exif(value.1.parse().unwrap()), "{name}");
                }
                // By PngSuite's names, interlaced or not: colour type, then bits.
                if let (true, Some(kind)) = (file.starts_with("bas"), file.get(5..8).and_then(|kind| kind.parse::<u8>().ok().or(kind[1..].parse().ok()))) {
                    assert_eq!(picture.channels() == Channels::Gray, file.contains("0g"), "{name}");
                    assert!(file.contains("3p") || picture.source_depth() == kind, "{name}");
                }
            }
            Err(error) => {
                counts[1] += 1;
                let message = error.to_string();
                println!("{name:50} refused: {message}");
                assert!(!message.contains('\n') && !message.is_empty(), "{name}");
                match group {
                    "cmyk" => assert!(matches!(&error, Error::Unsupported(m) if m.contains("CMYK")), "{name}: {message}"),
                    "alpha" => assert!(matches!(&error, Error::Unsupported(m) if m.contains("transparency")), "{name}: {message}"),
                    "exif_orientation" | "hires" | "photo_lossless" | "synthetic" => panic!("{name}: {message}"),
                    _ => assert!(matches!(error, Error::Unsupported(_) | Error::Format(_)), "{name}: {error:?}"),
                }
            }
        }
    }
    println!("{} read, {} refused", counts[0], counts[1]);
    assert!(counts[0] > 100, "the collection has become small");
}
