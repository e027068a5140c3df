//! `results.csv`: what was measured, and what need not be measured again.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::failure::{At as _, Cause, Failure};
use crate::paths::{self, Place};

/// One picture through one codec at one setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// Name of the file.
    pub(super) picture: String,
    /// First 8 bytes of the SHA-256 of its samples.
    pub(super) digest: String,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) codec: String,
    pub(super) version: String,
    pub(super) settings: String,
    pub(super) setting: f64,
    /// Of the whole file.
    pub(super) bytes: u64,
    pub(super) bpp: f64,
    pub(super) psnr_rgb: f64,
    pub(super) psnr_luma: f64,
    pub(super) ms_ssim: Option<f64>,
    pub(super) ms_ssim_db: Option<f64>,
    pub(super) ssimulacra2: Option<f64>,
    /// Only where nothing else ran at the same time.
    pub(super) encode_seconds: Option<f64>,
    pub(super) decode_seconds: Option<f64>,
    pub(super) encode_peak_bytes: Option<u64>,
    pub(super) decode_peak_bytes: Option<u64>,
}

impl Row {
    fn key(&self) -> Key<'_> {
        let Self { codec, version, settings, setting, .. } = self;
        Key { picture: self.picture_id(), codec, version, settings, setting: *setting }
    }

    /// What tells the picture from others. Names may be alike.
    pub(super) fn picture_id(&self) -> PictureId<'_> {
        (&self.digest, self.width, self.height)
    }

    /// Whether both are of the same picture, the same codec of the same version, and the same settings.
    fn same(&self, key: &Key<'_>) -> bool {
        self.picture_id() == key.picture
            && self.codec == key.codec
            && self.version == key.version
            && self.settings == key.settings
            && self.setting == key.setting
    }
}

/// Digest of the samples, width, height. The same samples make pictures of several shapes.
pub(super) type PictureId<'a> = (&'a str, u32, u32);

/// What decides a measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) picture: PictureId<'a>,
    pub(super) codec: &'a str,
    pub(super) version: &'a str,
    pub(super) settings: &'a str,
    pub(super) setting: f64,
}

/// First line of the file. By it a folder is known as one of ours, whose files may be replaced.
const COLUMNS: [&str; 19] = [
    "picture",
    "digest",
    "width",
    "height",
    "codec",
    "version",
    "settings",
    "setting",
    "bytes",
    "bpp",
    "psnr_rgb",
    "psnr_luma",
    "ms_ssim",
    "ms_ssim_db",
    "ssimulacra2",
    "encode_seconds",
    "decode_seconds",
    "encode_peak_bytes",
    "decode_peak_bytes",
];

impl<'a> Key<'a> {
    /// As what can be looked up.
    fn parts(&self) -> (PictureId<'a>, [&'a str; 3], u64) {
        (self.picture, [self.codec, self.version, self.settings], self.setting.to_bits())
    }
}

/// What earlier runs have measured. Reading it changes nothing.
pub(super) struct Earlier {
    path: PathBuf,
    rows: Vec<Row>,
}

/// The rows of earlier runs and a file that new ones are added to as they come, so that nothing is lost when the program is stopped.
pub(super) struct Results {
    path: PathBuf,
    earlier: Vec<Row>,
    writer: Mutex<csv::Writer<File>>,
}

impl Earlier {
    /// Looks into the folder of a report.
    ///
    /// # Errors
    /// What is there is not ours, and a report would replace it.
    pub(super) fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("results.csv");
        let bytes = match fs::read(&path).map_err(|error| paths::or_folder(error, &path)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                refuse_foreign(folder).at(Place::Path(folder.into()))?;
                return Ok(Self { path, rows: Vec::new() });
            }
            Err(error) => return Err(error).at(Place::Path(path)),
        };
        let rows = parse(&bytes).at(Place::Path(path.clone()))?;
        Ok(Self { path, rows })
    }

    /// The version and settings with which an earlier run measured a codec on these pictures, and at which settings: those that all pictures have, or where that is not
    /// enough for a curve, that one has. `None` if there are none. Rows of the latest run that came to its end stand in front.
    pub(super) fn recorded(&self, codec: &str, pictures: &HashSet<PictureId<'_>>) -> Option<(String, String, Vec<f64>)> {
        let rows = || self.rows.iter().filter(|row| row.codec == codec && pictures.contains(&row.picture_id()));
        let Row { version, settings, .. } = rows().next()?;
        let mut ladders: HashMap<PictureId<'_>, Vec<f64>> = HashMap::new();
        for row in rows().filter(|row| row.version == *version && row.settings == *settings) {
            ladders.entry(row.picture_id()).or_default().push(row.setting);
        }
        let longest = ladders.values().max_by_key(|ladder| ladder.len())?;
        let mut ladder: Vec<f64> = longest.iter().copied().filter(|setting| ladders.values().all(|others| others.contains(setting))).collect();
        if ladder.len() < 2 {
            ladder.clone_from(longest);
        }
        ladder.sort_by(f64::total_cmp);
        ladder.dedup();
        Some((version.clone(), settings.clone(), ladder))
    }

    /// Makes the folder, if there is none, and a file to add to.
    pub(super) fn start(self) -> Result<Results, Failure> {
        let Self { path, rows } = self;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).at(Place::Path(folder.into()))?;
        }
        // Without a line that was left incomplete.
        replace(&path, &rows)?;
        let file = OpenOptions::new().append(true).open(&path).at(Place::Path(path.clone()))?;
        let writer = Mutex::new(csv::WriterBuilder::new().has_headers(false).from_writer(file));
        Ok(Results { path, earlier: rows, writer })
    }
}

impl Results {
    /// A row of an earlier run that still holds; with times, if those are wanted.
    pub(super) fn find(&self, key: &Key<'_>, timing: bool) -> Option<&Row> {
        self.earlier.iter().find(|row| row.same(key) && (!timing || row.encode_seconds.is_some()))
    }

    pub(super) fn add(&self, row: &Row) -> Result<(), Failure> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.serialize(row).map_err(csv_failure).at(Place::Path(self.path.clone()))?;
        writer.flush().at(Place::Path(self.path.clone()))
    }

    /// Leaves these rows in the file, and earlier ones of which there is no new one: of other pictures, codecs, versions and settings.
    pub(super) fn finish(self, rows: &[Row]) -> Result<(), Failure> {
        drop(self.writer);
        let new: HashSet<_> = rows.iter().map(|row| row.key().parts()).collect();
        let kept = self.earlier.into_iter().filter(|row| !new.contains(&row.key().parts()));
        replace(&self.path, &rows.iter().cloned().chain(kept).collect::<Vec<_>>())
    }
}

/// A report is written to a folder of its own: what else there is might have the names of its files.
fn refuse_foreign(folder: &Path) -> Result<(), Failure> {
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match entries.next() {
        Some(_) => Err(Failure::new(Cause::Io, "there are files here, but no results.csv of an earlier report; choose a new folder with -o")),
        None => Ok(()),
    }
}

/// The rows of a file. A line at its end that a stopped program left incomplete is measured again.
fn parse(bytes: &[u8]) -> Result<Vec<Row>, Failure> {
    let foreign = || Failure::new(Cause::Io, "this file is not of an earlier report of this version, and is left as it is; choose another folder with -o");
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let mut reader = csv::Reader::from_reader(&bytes[..whole]);
    let header = reader.headers().map_err(|_| foreign())?.clone();
    if header != COLUMNS[..] {
        return Err(foreign());
    }
    let mut rows = Vec::new();
    for record in reader.deserialize() {
        rows.push(record.map_err(|error| Failure::new(Cause::BadFile, format!("{error}; correct or remove that line, or choose another folder with -o")))?);
    }
    Ok(rows)
}

/// Writes the whole file, or leaves the old one.
fn replace(path: &Path, rows: &[Row]) -> Result<(), Failure> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(COLUMNS).map_err(csv_failure)?;
    for row in rows {
        writer.serialize(row).map_err(csv_failure)?;
    }
    let bytes = writer.into_inner().map_err(|e| Failure::new(Cause::Internal, e.to_string()))?;
    paths::write(&Place::Path(path.into()), &bytes, true)
}

fn csv_failure(error: csv::Error) -> Failure {
    Failure::new(Cause::Io, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(setting: f64) -> Row {
        Row {
            picture: "a, b.png".into(),
            digest: "0011223344556677".into(),
            width: 9,
            height: 8,
            codec: "jpeg".into(),
            version: "1".into(),
            settings: "x".into(),
            setting,
            bytes: 100,
            bpp: 11.1,
            psnr_rgb: f64::INFINITY,
            psnr_luma: 40.5,
            ms_ssim: None,
            ms_ssim_db: None,
            ssimulacra2: Some(-3.5),
            encode_seconds: None,
            decode_seconds: None,
            encode_peak_bytes: Some(1 << 20),
            decode_peak_bytes: None,
        }
    }

    fn rows(folder: &Path) -> Vec<Row> {
        Earlier::read(folder).unwrap().rows
    }

    #[test]
    fn columns_are_those_of_a_row() {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.serialize(row(1.0)).unwrap();
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        assert_eq!(text.lines().next().unwrap(), COLUMNS.join(","));
    }

    #[test]
    fn rows_survive_a_stop_in_the_middle_of_a_line() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("report");
        let path = folder.join("results.csv");
        let results = Earlier::read(&folder).unwrap().start().unwrap();
        results.add(&row(1.0)).unwrap();
        results.add(&row(2.5)).unwrap();
        drop(results);
        let text = fs::read_to_string(&path).unwrap();
        // Without the line's end a number may be cut, too.
        for cut in [1, 2, 10, 30] {
            fs::write(&path, &text[..text.len() - cut]).unwrap();
            assert_eq!(rows(&folder), [row(1.0)], "{cut}");
        }
        let results = Earlier::read(&folder).unwrap().start().unwrap();
        let key = Key { picture: ("0011223344556677", 9, 8), codec: "jpeg", version: "1", settings: "x", setting: 1.0 };
        assert!(results.find(&key, false).is_some() && results.find(&key, true).is_none());
        assert!(results.find(&Key { version: "2", ..key }, false).is_none());
        assert!(results.find(&Key { picture: ("0011223344556677", 8, 9), ..key }, false).is_none());
        results.add(&row(3.0)).unwrap();
        results.finish(&[row(3.0)]).unwrap();
        assert_eq!(rows(&folder), [row(3.0), row(1.0)]);
    }

    #[test]
    fn only_what_was_measured_anew_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let newer = |setting: f64| Row { version: "2".into(), ..row(setting) };
        Earlier::read(folder.path()).unwrap().start().unwrap().finish(&[row(1.0), row(2.0), newer(4.0)]).unwrap();
        let timed = Row { encode_seconds: Some(1.0), ..row(2.0) };
        Earlier::read(folder.path()).unwrap().start().unwrap().finish(&[newer(1.0), timed.clone()]).unwrap();
        assert_eq!(rows(folder.path()), [newer(1.0), timed, row(1.0), newer(4.0)]);
        let earlier = Earlier::read(folder.path()).unwrap();
        let found = earlier.recorded("jpeg", &HashSet::from([("0011223344556677", 9, 8)])).unwrap();
        assert_eq!(found, ("2".to_owned(), "x".to_owned(), vec![1.0, 4.0]));
        assert!(
            earlier.recorded("jpeg", &HashSet::from([("another", 9, 8)])).is_none()
                && earlier.recorded("webp", &HashSet::from([("0011223344556677", 9, 8)])).is_none()
        );
    }

    #[test]
    fn foreign_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        fs::write(folder.path().join("README.md"), "mine").unwrap();
        let refused = |what: &str| Earlier::read(folder.path()).map(drop).unwrap_err().message.contains(what);
        assert!(refused("no results.csv"));
        let whole = |middle: &str| {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.serialize(row(1.0)).unwrap();
            let line = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let (header, row) = line.split_once('\n').unwrap();
            format!("{header}\n{row}{middle}{row}")
        };
        for foreign in ["", "city,people\nUlm,130000\n", "\u{fffd}"] {
            fs::write(&path, foreign).unwrap();
            assert!(refused("is left as it is"), "{foreign}");
        }
        fs::write(&path, b"\xff\xfe\n").unwrap();
        assert!(refused("is left as it is"));
        for middle in ["nonsense\n", "a,b\n", "\"\n"] {
            fs::write(&path, whole(middle)).unwrap();
            assert!(refused("correct or remove that line"), "{middle}");
        }
        fs::write(&path, whole("")).unwrap();
        assert_eq!(rows(folder.path()), [row(1.0), row(1.0)]);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(refused("this is a folder"));
        assert_eq!(fs::read_to_string(folder.path().join("README.md")).unwrap(), "mine");
    }
}
