//! `results.csv`: what was measured, and what need not be measured again.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::failure::{At as _, Cause, Failure};

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
    /// Whether both are of the same picture, the same codec of the same version, and the same settings.
    fn same(&self, key: &Key<'_>) -> bool {
        self.digest == key.digest && self.codec == key.codec && self.version == key.version && self.settings == key.settings && self.setting == key.setting
    }
}

/// What decides a measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) digest: &'a str,
    pub(super) codec: &'a str,
    pub(super) version: &'a str,
    pub(super) settings: &'a str,
    pub(super) setting: f64,
}

/// The rows of earlier runs and a file that new ones are added to as they come, so that nothing is lost when the program is stopped.
pub(super) struct Results {
    path: PathBuf,
    earlier: Vec<Row>,
    writer: Mutex<csv::Writer<File>>,
}

impl Results {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        // A line that a stopped program left incomplete is measured again.
        let earlier: Vec<Row> = match csv::ReaderBuilder::new().flexible(true).from_path(path) {
            Ok(mut reader) => reader.deserialize().filter_map(Result::ok).collect(),
            Err(_) => Vec::new(),
        };
        replace(path, &earlier)?;
        let file = OpenOptions::new().append(true).open(path).at(path.display())?;
        let writer = Mutex::new(csv::WriterBuilder::new().has_headers(earlier.is_empty()).from_writer(file));
        Ok(Self { path: path.into(), earlier, writer })
    }

    /// A row of an earlier run that still holds; with times, if those are wanted.
    pub(super) fn find(&self, key: &Key<'_>, timing: bool) -> Option<&Row> {
        self.earlier.iter().find(|row| row.same(key) && (!timing || row.encode_seconds.is_some()))
    }

    /// The version and settings with which an earlier run measured a codec that is not there now.
    pub(super) fn recorded(&self, codec: &str) -> Option<(String, String)> {
        self.earlier.iter().find(|row| row.codec == codec).map(|row| (row.version.clone(), row.settings.clone()))
    }

    pub(super) fn add(&self, row: &Row) -> Result<(), Failure> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.serialize(row).map_err(csv_failure).map_err(|f| f.at(self.path.display()))?;
        writer.flush().at(self.path.display())
    }

    /// Leaves these rows in the file, and earlier ones of pictures and codecs that `part` says had no part in this run.
    pub(super) fn finish(self, rows: &[Row], part: impl Fn(&Row) -> bool) -> Result<(), Failure> {
        drop(self.writer);
        let kept = self.earlier.into_iter().filter(|row| !part(row));
        replace(&self.path, &rows.iter().cloned().chain(kept).collect::<Vec<_>>())
    }
}

/// Writes the whole file, or leaves the old one.
fn replace(path: &Path, rows: &[Row]) -> Result<(), Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(csv_failure)?;
    }
    let bytes = writer.into_inner().map_err(|e| Failure::new(Cause::Internal, e.to_string()))?;
    let new = path.with_extension("csv.new");
    let mut file = File::create(&new).at(new.display())?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).at(new.display())?;
    fs::rename(&new, path).at(path.display())
}

fn csv_failure(error: csv::Error) -> Failure {
    Failure::new(Cause::Io, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_a_stop_in_the_middle_of_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        let row = |setting: f64| Row {
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
        };
        let results = Results::open(&path).unwrap();
        results.add(&row(1.0)).unwrap();
        results.add(&row(2.5)).unwrap();
        drop(results);
        let mut text = fs::read_to_string(&path).unwrap();
        text.truncate(text.len() - 30);
        fs::write(&path, text).unwrap();
        let results = Results::open(&path).unwrap();
        assert_eq!(results.earlier, [row(1.0)]);
        let key = Key { digest: "0011223344556677", codec: "jpeg", version: "1", settings: "x", setting: 1.0 };
        assert!(results.find(&key, false).is_some() && results.find(&key, true).is_none());
        assert!(results.find(&Key { version: "2", ..key }, false).is_none());
        results.add(&row(3.0)).unwrap();
        results.finish(&[row(3.0)], |_| false).unwrap();
        assert_eq!(Results::open(&path).unwrap().earlier, [row(3.0), row(1.0)]);
        Results::open(&path).unwrap().finish(&[row(4.0)], |row| row.codec == "jpeg").unwrap();
        assert_eq!(Results::open(&path).unwrap().earlier, [row(4.0)]);
    }
}
