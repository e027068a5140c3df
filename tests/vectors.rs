//! Every vector of the specification, with every kernel of this machine and several thread counts.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use aei::{Decoder, DecoderOptions, Error, Model, SampleDepth};
use sha2::{Digest, Sha256};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors")
}

fn digest(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The rule that an error names.
fn rule(error: Error) -> String {
    match error {
        Error::Format(error) => error.rule().into(),
        Error::Unsupported(message) => message.rsplit(['(', ')']).nth(1).unwrap_or("?").into(),
        error => format!("{error:?}"),
    }
}

/// What a file comes to, in the words of `digests.txt`: its picture, or another part of it. The same through both doors.
fn outcome(what: &str, path: &Path, model: Option<Arc<Model>>) -> String {
    let mut options = DecoderOptions::default();
    options.model = model;
    let read = in_words(what, Decoder::with_options(File::open(path).unwrap(), options.clone()));
    let opened = in_words(what, Decoder::from_seekable(File::open(path).unwrap(), options));
    // What is behind the tiles is read last by a decoder that seeks (SPEC 2.1): of two broken rules it may name the other one.
    let may_differ = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("x-order-tiles-"));
    assert!(read == opened || may_differ && opened.starts_with("refused "), "{}: {read}, {opened}", path.display());
    read
}

fn in_words(what: &str, decoder: aei::Result<Decoder>) -> String {
    let decoder = match decoder {
        Ok(decoder) => decoder,
        Err(error) => return format!("refused {}", rule(error)),
    };
    match what {
        "samples16" => digest(decoder.depth(SampleDepth::Sixteen).decode().unwrap().samples16().iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()),
        "metadata" => {
            let metadata = decoder.metadata().unwrap();
            let blocks = [(b"ICCP", metadata.icc), (b"EXIF", metadata.exif), (b"XMP ", metadata.xmp)];
            let blocks = blocks.into_iter().filter_map(|(kind, block)| block.map(|block| (kind, block)));
            digest(blocks.flat_map(|(kind, block)| [&kind[..], &(block.len() as u32).to_le_bytes(), &block].concat()).collect::<Vec<_>>())
        }
        "preview" => decoder.preview().map_or_else(rule, |preview| preview.map_or("none".into(), |preview| digest(preview.samples()))),
        _ => match decoder.decode() {
            Ok(picture) => format!("{} {}x{}x{}", digest(picture.samples()), picture.width(), picture.height(), picture.channels().count()),
            Err(error) => format!("refused {}", rule(error)),
        },
    }
}

fn check_all() -> usize {
    let digests = fs::read_to_string(folder().join("digests.txt")).unwrap();
    let mut models = HashMap::new();
    let mut checked = Vec::new();
    for line in digests.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (what, name, expected) = match words[..] {
            ["model", file, name] => {
                models.insert(name, Model::from_bytes(fs::read(folder().join(file)).unwrap()).unwrap());
                continue;
            }
            ["refused", rule, name] => ("", name, format!("refused {rule}")),
            [what @ ("samples16" | "metadata" | "preview"), expected, name] => (what, name, expected.to_owned()),
            [digest, name, size] => ("", name, format!("{digest} {size}")),
            _ => panic!("{line:?}"),
        };
        assert_eq!(outcome(what, &folder().join(name), models.get(name).cloned()), expected, "{what} {name}");
        checked.push(name.to_owned());
    }
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".aei") || checked.contains(&name), "{name} is not in digests.txt");
    }
    checked.len()
}

#[test]
fn all_vectors() {
    assert!(check_all() >= 200);
}

#[test]
fn all_vectors_on_one_and_three_threads() {
    for threads in [1, 3] {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(check_all);
    }
}

/// The kernel is chosen once per process, so each gets a process.
#[test]
fn all_vectors_with_every_kernel() {
    for kernel in aei::kernel_names() {
        let status = Command::new(std::env::current_exe().unwrap()).args(["--exact", "all_vectors"]).env("AEI_KERNEL", kernel).status().unwrap();
        assert!(status.success(), "{kernel}");
    }
}

#[test]
fn an_unknown_kernel_is_refused() {
    let output = Command::new(std::env::current_exe().unwrap()).args(["--exact", "all_vectors"]).env("AEI_KERNEL", "abacus").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("abacus"));
}
