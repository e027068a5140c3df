//! Where files come from and where they go.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::failure::{At as _, Cause, Failure};
use crate::whole_file::WholeFile;

/// A file, or standard input and output, which the command line calls `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Standard,
    Path(PathBuf),
}

impl From<&OsString> for Place {
    fn from(argument: &OsString) -> Self {
        if argument == "-" { Self::Standard } else { Self::Path(argument.into()) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str("-"),
            Self::Path(path) if path.as_os_str().is_empty() => f.write_str("\"\""),
            // A name may hold anything; a message is one line.
            Self::Path(path) => f.write_str(&path.to_string_lossy().replace(char::is_control, "?")),
        }
    }
}

impl Place {
    /// The name as it is, for programs. What is not Unicode in it is replaced.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Standard => "-".into(),
            Self::Path(path) => path.to_string_lossy().into_owned(),
        }
    }
}

/// What is to be done, and what cannot be, and why.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) jobs: Vec<Job>,
    pub(crate) skipped: Vec<Skipped>,
}

/// Something in a folder that cannot be worked on, with what is wrong.
pub(crate) type Skipped = (Place, Failure);

/// One file to read and one to write.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) input: Place,
    pub(crate) output: Place,
}

/// Reads a whole file, unless it has more than `limit` bytes.
pub(crate) fn read(place: &Place, limit: u64) -> Result<Vec<u8>, Failure> {
    read_nameless(place, limit).at(place)
}

/// As [`read`], with failures that do not name the file.
pub(crate) fn read_nameless(place: &Place, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let result = match place {
        Place::Standard => io::stdin().lock().take(limit.saturating_add(1)).read_to_end(&mut bytes),
        Place::Path(path) => open(path).and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes)),
    };
    result?;
    if bytes.len() as u64 > limit {
        return Err(aei::Error::Limits(format!("the file is larger than the limit of {} MiB", limit >> 20)).into());
    }
    Ok(bytes)
}

/// Decides where every input's output goes, and refuses what cannot work out, before anything is read.
///
/// Without `-o`, a file's output stands beside it and that of standard input is standard output. `extension` is that of outputs; `ours` tells which
/// extensions of inputs it replaces. To others it is added, so that `report.v2` does not lose its `v2`.
///
/// With `recursive`, an input that is a folder stands for the files in it, however deep, whose extension is ours; in a folder for outputs they keep the
/// tree they had. What cannot be read there, and a folder without such files, is a failure of its own and stops nothing else.
pub(crate) fn plan(inputs: &[OsString], output: Option<&OsStr>, recursive: bool, extension: &str, ours: impl Fn(&str) -> bool) -> Result<Plan, Failure> {
    let is_ours = |path: &Path| path.extension().and_then(OsStr::to_str).is_some_and(&ours);
    let file_name = |path: &Path| {
        let name = if is_ours(path) { path.file_stem() } else { path.file_name() };
        let mut name = name
            .ok_or_else(|| Failure::usage(format!("{}: this is no name of a file; the files in a folder are taken with -r", Place::Path(path.into()))))?
            .to_owned();
        name.push(".");
        name.push(extension);
        Ok::<_, Failure>(name)
    };
    if output.is_some_and(OsStr::is_empty) {
        return Err(Failure::usage("-o has no name; give that of a file or of a folder"));
    }
    let folder = output.filter(|o| names_folder(o)).map(Path::new);
    let mut found: Vec<(Place, PathBuf)> = Vec::with_capacity(inputs.len());
    let mut skipped = Vec::new();
    for input in inputs.iter().map(Place::from) {
        match input {
            Place::Path(top) if recursive && top.is_dir() => {
                let (files, unreadable) = files_in(&top, folder, is_ours);
                if files.is_empty() && unreadable.is_empty() {
                    let nothing = Failure::new(Cause::Io, "there is nothing in this folder that could be worked on; check the names' extensions");
                    skipped.push((Place::Path(top.clone()), nothing.at(Place::Path(top))));
                }
                found.extend(files);
                skipped.extend(unreadable);
            }
            other => found.push((other, PathBuf::new())),
        }
    }
    if folder.is_none() && output.is_some() && (found.len() > 1 || inputs.iter().any(|i| recursive && Path::new(i).is_dir())) {
        return Err(Failure::usage("-o names one file, but there are several inputs; give a folder that exists, or end its name in a slash"));
    }
    let mut jobs = Vec::with_capacity(found.len());
    for (input, below) in found {
        let output = match (&input, folder, output) {
            (Place::Path(path), Some(folder), _) => Place::Path(folder.join(below).join(file_name(path)?)),
            (Place::Path(path), None, None) => Place::Path(path.with_file_name(file_name(path)?)),
            (Place::Standard, Some(_), _) => return Err(Failure::usage("standard input has no name to use in a folder; give a file with -o")),
            (Place::Standard, None, None) => Place::Standard,
            (_, None, Some(output)) => Place::from(&output.to_owned()),
        };
        jobs.push(Job { input, output });
    }
    refuse_collisions(&jobs)?;
    if let Some(folder) = folder.filter(|_| !jobs.is_empty()) {
        fs::create_dir_all(folder).at(Place::Path(folder.into()))?;
        for parent in jobs.iter().filter_map(|job| if let Place::Path(path) = &job.output { path.parent() } else { None }) {
            fs::create_dir_all(parent).at(Place::Path(parent.into()))?;
        }
    }
    Ok(Plan { jobs, skipped })
}

/// The files below a folder that are ours, each with its folder as seen from there, in the order of their names. What lies in the folder for outputs is not
/// an input: a second run must not find the first one's results. Then what cannot be read.
fn files_in(top: &Path, outputs: Option<&Path>, is_ours: impl Fn(&Path) -> bool) -> (Vec<(Place, PathBuf)>, Vec<Skipped>) {
    let outputs = outputs.and_then(|folder| fs::canonicalize(folder).ok()).filter(|folder| fs::canonicalize(top).is_ok_and(|top| top != *folder));
    let is_outputs = |path: &Path| outputs.as_ref().is_some_and(|outputs| fs::canonicalize(path).is_ok_and(|path| path == *outputs));
    let (mut files, mut skipped) = (Vec::new(), Vec::new());
    let walk = walkdir::WalkDir::new(top).follow_links(true).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(|entry| !(entry.file_type().is_dir() && is_outputs(entry.path()))) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let place = Place::Path(error.path().unwrap_or(top).into());
                let failure = error.into_io_error().map_or_else(|| Failure::new(Cause::Io, "a link leads back to a folder above it"), Failure::from);
                skipped.push((place.clone(), failure.at(place)));
                continue;
            }
        };
        if entry.file_type().is_file() && is_ours(entry.path()) {
            let below = entry.path().parent().and_then(|folder| folder.strip_prefix(top).ok()).unwrap_or(Path::new("")).into();
            files.push((Place::Path(entry.into_path()), below));
        }
    }
    (files, skipped)
}

/// Whether `-o` means a folder: one that exists, or a name with a slash at its end. `-` is standard output, whatever there is.
fn names_folder(output: &OsStr) -> bool {
    let last = output.as_encoded_bytes().last().copied();
    last.is_some_and(|byte| std::path::is_separator(byte.into())) || output != "-" && Path::new(output).is_dir()
}

/// Two inputs must not be written to one place.
fn refuse_collisions(jobs: &[Job]) -> Result<(), Failure> {
    let mut writers: HashMap<Option<PathBuf>, &Place> = HashMap::new();
    for Job { input, output } in jobs {
        let key = match output {
            Place::Standard => None,
            Place::Path(path) => {
                // One file may have several links, and one folder several names.
                let path = end_of_links(path);
                let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                Some(fs::canonicalize(folder).unwrap_or_else(|_| folder.into()).join(path.file_name().unwrap_or_default()))
            }
        };
        if let Some(other) = writers.insert(key, input) {
            return Err(Failure::usage(format!("{other} and {input} would both be written to {output}; give them to aei one by one, with -o")));
        }
    }
    Ok(())
}

/// Checks before the work starts that its result can be written.
pub(crate) fn check_output(output: &Place, force: bool) -> Result<(), Failure> {
    match output {
        Place::Standard if io::stdout().is_terminal() => Err(Failure::usage("this cannot be written to a terminal; name a file or redirect the output")),
        Place::Standard => Ok(()),
        Place::Path(path) => match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(Failure::new(Cause::Io, "this is a folder; the output needs a name that is free")).at(output),
            Ok(found) if found.is_file() && !force => Err(exists()).at(output),
            // A device or a pipe is written to, not replaced.
            Ok(found) if !found.is_file() => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => Err(error).at(output),
            // Like the real one, but gone at once.
            _ => WholeFile::create(&end_of_links(path)).map(drop).at(output),
        },
    }
}

fn exists() -> Failure {
    Failure::new(Cause::Io, "this file exists already; use -f to overwrite it, or give another output")
}

/// Writes a whole file or nothing: it gets its name when all of it is on the disk.
pub(crate) fn write(output: &Place, bytes: &[u8], force: bool) -> Result<(), Failure> {
    write_with(output, force, |out| out.write_all(bytes).at(output)).map(drop)
}

/// As [`write`], with what `fill` writes. Standard output and devices get it as it comes. Gives the number of bytes, too.
pub(crate) fn write_with(output: &Place, force: bool, fill: impl FnOnce(&mut dyn io::Write) -> Result<(), Failure>) -> Result<u64, Failure> {
    let filled = |out: &mut dyn io::Write| {
        let mut out = Counting { out: BufWriter::with_capacity(1 << 16, out), bytes: 0 };
        fill(&mut out)?;
        out.flush().at(output)?;
        Ok::<_, Failure>(out.bytes)
    };
    let Place::Path(path) = output else { return filled(&mut io::stdout().lock()) };
    let old = fs::metadata(path).ok();
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        let mut device = File::options().write(true).open(path).at(output)?;
        return filled(&mut device);
    }
    // A link stays a link: what it points to is replaced, or made where there is nothing yet.
    let target = if old.is_some() { fs::canonicalize(path).at(output)? } else { end_of_links(path) };
    let mut file = WholeFile::create(&target).at(output)?;
    let bytes = filled(file.file())?;
    if let Some(old) = old {
        file.file().set_permissions(old.permissions()).at(output)?;
    }
    // The file may have come into being since the check.
    file.persist(&target, force).map_err(|e| if e.kind() == io::ErrorKind::AlreadyExists { exists() } else { e.into() }).at(output)?;
    Ok(bytes)
}

/// Where a chain of links ends, be there a file or not. Of links that go round in circles, one of them.
fn end_of_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..40 {
        let Ok(next) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    path
}

/// Counts what is written.
struct Counting<W> {
    out: W,
    bytes: u64,
}

impl<W: io::Write> io::Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What kept a file from being read. Of a folder Windows says that permission is denied.
pub(crate) fn or_folder(error: io::Error, path: &Path) -> io::Error {
    if error.kind() == io::ErrorKind::PermissionDenied && path.is_dir() { io::ErrorKind::IsADirectory.into() } else { error }
}

fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|error| or_folder(error, path))
}

/// A regular file, opened; `None` for standard input, devices and pipes, which cannot be read twice.
pub(crate) fn open_regular(place: &Place) -> Result<Option<File>, Failure> {
    let Place::Path(path) = place else { return Ok(None) };
    // A pipe must not be opened twice: its writer has gone when the first reader has.
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Ok(None);
    }
    let file = open(path).at(place)?;
    Ok(file.metadata().at(place)?.is_file().then_some(file))
}
