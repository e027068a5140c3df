//! Every vector of the specification, with every kernel of this machine and several thread counts.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use aei::{Decoder, DecoderOptions, Error, Model};
use sha2::{Digest, Sha256};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors")
}

/// What decoding a file comes to, in the words of `digests.txt`. The same through both doors.
fn outcome(path: &Path, model: Option<Arc<Model>>) -> String {
    let mut options = DecoderOptions::default();
    options.model = model;
    let read = in_words(Decoder::with_options(File::open(path).unwrap(), options.clone()));
    let opened = in_words(Decoder::from_seekable(File::open(path).unwrap(), options));
    assert_eq!(read, opened, "{}", path.display());
    read
}

fn in_words(decoder: aei::Result<Decoder>) -> String {
    match decoder.and_then(|decoder| decoder.decode()) {
        Ok(picture) => {
            let digest: String = Sha256::digest(picture.samples()).iter().map(|b| format!("{b:02x}")).collect();
            format!("{digest} {}x{}x{}", picture.width(), picture.height(), picture.channels().count())
        }
        Err(Error::Format(error)) => format!("refused {}", error.rule()),
        Err(Error::Unsupported(message)) => format!("refused {}", message.rsplit(['(', ')']).nth(1).unwrap_or("?")),
        Err(error) => format!("{error:?}"),
    }
}

fn check_all() -> usize {
    let digests = fs::read_to_string(folder().join("digests.txt")).unwrap();
    let mut models = HashMap::new();
    let mut checked = Vec::new();
    for line in digests.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, expected) = match words[..] {
            ["model", file, name] => {
                models.insert(name, Model::from_bytes(fs::read(folder().join(file)).unwrap()).unwrap());
                continue;
            }
            ["refused", rule, name] => (name, format!("refused {rule}")),
            [digest, name, size] => (name, format!("{digest} {size}")),
            _ => panic!("{line:?}"),
        };
        assert_eq!(outcome(&folder().join(name), models.get(name).cloned()), expected, "{name}");
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
    assert!(check_all() >= 40);
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
