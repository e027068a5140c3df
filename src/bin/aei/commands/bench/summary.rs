//! From rows to curves and BD-rates.

use std::collections::HashSet;
use std::path::Path;

use aei::metrics::{BdRate, bd_rate, decibels};
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::{Value, json};

use super::codecs::Codec;
use super::measure::{Entry, Source};
use super::results::{PictureId, Row};
use crate::failure::{Cause, Failure};

/// What `--metrics` chooses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MetricChoice {
    Psnr,
    MsSsim,
    Ssimulacra2,
}

/// A measure of quality, as reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    PsnrRgb,
    PsnrLuma,
    MsSsim,
    Ssimulacra2,
}

impl MetricChoice {
    fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Psnr => &[Metric::PsnrRgb, Metric::PsnrLuma],
            Self::MsSsim => &[Metric::MsSsim],
            Self::Ssimulacra2 => &[Metric::Ssimulacra2],
        }
    }
}

impl Metric {
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::PsnrRgb => "psnr-rgb",
            Self::PsnrLuma => "psnr-luma",
            Self::MsSsim => "ms-ssim",
            Self::Ssimulacra2 => "ssimulacra2",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PsnrRgb => "PSNR (RGB)",
            Self::PsnrLuma => "PSNR (luma)",
            Self::MsSsim => "MS-SSIM",
            Self::Ssimulacra2 => "SSIMULACRA2",
        }
    }

    pub(super) fn unit(self) -> &'static str {
        if self == Self::Ssimulacra2 { "" } else { "dB" }
    }

    pub(super) fn of(self, row: &Row) -> Option<f64> {
        match self {
            Self::PsnrRgb => Some(row.psnr_rgb),
            Self::PsnrLuma => Some(row.psnr_luma),
            // Of rows with few digits what was rounded to 1 has no finite mean.
            Self::MsSsim => row.ms_ssim_db.map(|db| if row.ms_ssim == Some(1.0) { f64::INFINITY } else { db }),
            Self::Ssimulacra2 => row.ssimulacra2,
        }
    }

    /// A BD-rate over less than this says nothing.
    pub(super) fn min_range(self) -> f64 {
        if self == Self::Ssimulacra2 { 4.0 } else { 0.8 }
    }
}

/// Points of (bits per pixel, quality).
pub(super) type Curve = Vec<(f64, f64)>;

/// Published curves.
#[derive(Debug, Default)]
pub(super) struct Anchors(Vec<AnchorRow>);

#[derive(Debug, Deserialize)]
struct AnchorRow {
    codec: String,
    bpp: f64,
    psnr_rgb: Option<f64>,
    ms_ssim_db: Option<f64>,
}

impl Anchors {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let mut reader = csv::Reader::from_path(path).map_err(|e| Failure::new(Cause::Io, e.to_string()).at(path.display()))?;
        let rows = reader.deserialize().collect::<Result<_, _>>();
        let rows: Vec<AnchorRow> = rows.map_err(|e| Failure::new(Cause::BadFile, e.to_string()).at(path.display()))?;
        if let Some(wrong) = rows.iter().find(|row| !(row.bpp.is_finite() && row.bpp > 0.0)) {
            return Err(Failure::new(Cause::BadFile, format!("{}: bpp is {}, and has to be above 0", wrong.codec, wrong.bpp)).at(path.display()));
        }
        Ok(Self(rows))
    }

    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for row in &self.0 {
            if !names.contains(&row.codec.as_str()) {
                names.push(&row.codec);
            }
        }
        names
    }

    pub(super) fn curve(&self, name: &str, metric: Metric) -> Curve {
        let value = |row: &AnchorRow| match metric {
            Metric::PsnrRgb => row.psnr_rgb,
            Metric::MsSsim => row.ms_ssim_db,
            Metric::PsnrLuma | Metric::Ssimulacra2 => None,
        };
        self.0.iter().filter(|row| row.codec == name).filter_map(|row| Some((row.bpp, value(row)?))).collect()
    }
}

/// What a report says.
pub(super) struct Summary<'a> {
    pub(super) codecs: Vec<CodecSummary<'a>>,
    pub(super) metrics: Vec<Metric>,
    /// The pictures that every codec has coded at every setting.
    pub(super) pictures: Vec<&'a Source>,
    /// The others.
    pub(super) left_out: Vec<&'a Source>,
    /// What has coded no picture at every setting.
    pub(super) failed: Vec<Codec>,
    /// What could not be read as a picture, or was there twice.
    pub(super) not_read: Vec<String>,
    pub(super) against: Codec,
    pub(super) anchors: Anchors,
}

pub(super) struct CodecSummary<'a> {
    pub(super) entry: &'a Entry,
    pub(super) rows: Vec<&'a Row>,
    /// The pictures in each measure's means: the same for all codecs.
    means: Vec<(Metric, HashSet<PictureId<'a>>)>,
}

/// The codec that others are compared with where nothing else was asked for: jpeg, or the first other than aei.
pub(super) fn opponent(codecs: &[Codec]) -> Option<Codec> {
    let find = |wanted: &dyn Fn(&str) -> bool| codecs.iter().copied().find(|codec| wanted(codec.id()));
    find(&|id| id == "jpeg").or_else(|| find(&|id| !id.starts_with("aei"))).or(codecs.first().copied())
}

impl<'a> Summary<'a> {
    pub(super) fn new(
        rows: &'a [Row],
        sources: &'a [Source],
        entries: &'a [Entry],
        choices: &[MetricChoice],
        against: Codec,
        anchors: Anchors,
        not_read: Vec<String>,
    ) -> Result<Self, Failure> {
        let there: HashSet<_> = rows.iter().map(|row| (row.picture_id(), &*row.codec, row.setting.to_bits())).collect();
        let complete = |entry: &Entry, source: &Source| entry.ladder.iter().all(|setting| there.contains(&(source.id(), entry.codec.id(), setting.to_bits())));
        // One codec that does not work at all must not take every picture from the others.
        let (entries, failed): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| sources.iter().any(|source| complete(entry, source)));
        let nothing = |what| Failure::new(Cause::Unsupported, format!("there is nothing to report: {what}; the messages above tell why"));
        let working: Vec<Codec> = entries.iter().map(|entry| entry.codec).collect();
        let against = Some(against).filter(|codec| working.contains(codec)).or_else(|| opponent(&working));
        let against = against.ok_or_else(|| nothing("no codec coded a picture at all settings"))?;
        let (pictures, left_out): (Vec<_>, Vec<_>) = sources.iter().partition(|source| entries.iter().all(|entry| complete(entry, source)));
        if pictures.is_empty() {
            return Err(nothing("no picture went through all codecs"));
        }
        let ids: HashSet<_> = pictures.iter().map(|source| source.id()).collect();
        let rows_of = |entry: &Entry| rows.iter().filter(|row| row.codec == entry.codec.id() && ids.contains(&row.picture_id())).collect();
        let all: Vec<(&Entry, Vec<&Row>)> = entries.into_iter().map(|entry| (entry, rows_of(entry))).collect();

        let mut metrics: Vec<Metric> = Vec::new();
        for metric in choices.iter().flat_map(|choice| choice.metrics()) {
            if !metrics.contains(metric) {
                metrics.push(*metric);
            }
        }
        let means: Vec<(Metric, HashSet<PictureId<'_>>)> = metrics.iter().map(|metric| (*metric, in_means(&pictures, &all, *metric))).collect();
        // Pictures may all be too small for a measure.
        metrics = means.iter().filter(|(_, pictures)| !pictures.is_empty()).map(|(metric, _)| *metric).collect();
        let codecs = all.into_iter().map(|(entry, rows)| CodecSummary { entry, rows, means: means.clone() }).collect();
        let failed = failed.into_iter().map(|entry| entry.codec).collect();
        Ok(Self { codecs, metrics, pictures, left_out, failed, not_read, against, anchors })
    }

    /// The pictures of which a measure's means are, and the others.
    pub(super) fn means(&self, metric: Metric) -> (Vec<&'a Source>, Vec<&'a Source>) {
        self.pictures.iter().partition(|source| self.codecs.first().is_some_and(|codec| codec.has(metric, source.id())))
    }

    pub(super) fn codec(&self, codec: Codec) -> Option<&CodecSummary<'a>> {
        self.codecs.iter().find(|summary| summary.entry.codec == codec)
    }

    /// BD-rate of the mean curves.
    pub(super) fn bd_rate(&self, codec: &CodecSummary<'_>, metric: Metric) -> Option<BdRate> {
        bd_rate(&self.codec(self.against)?.mean_curve(metric), &codec.mean_curve(metric), metric.min_range())
    }

    /// BD-rate on one picture.
    pub(super) fn bd_rate_of_picture(&self, codec: &CodecSummary<'_>, metric: Metric, picture: &Source) -> Option<BdRate> {
        bd_rate(&self.codec(self.against)?.curve(metric, picture), &codec.curve(metric, picture), metric.min_range())
    }

    /// BD-rate against a published curve.
    pub(super) fn bd_rate_published(&self, codec: &CodecSummary<'_>, metric: Metric, anchor: &str) -> Option<BdRate> {
        bd_rate(&self.anchors.curve(anchor, metric), &codec.mean_curve(metric), metric.min_range())
    }

    /// Everything, for programs.
    pub(super) fn json(&self) -> Value {
        let codecs = self.codecs.iter().map(|codec| {
            let metrics = self.metrics.iter().map(|metric| {
                let bd = self.bd_rate(codec, *metric).map(|bd| json!({ "percent": bd.percent, "from": bd.from, "to": bd.to }));
                let pictures = self.means(*metric).0.len();
                (metric.id().to_owned(), json!({ "bd_rate": bd, "curve": codec.mean_curve(*metric), "pictures": pictures }))
            });
            let Entry { version, settings, .. } = codec.entry;
            json!({ "codec": codec.entry.codec.id(), "version": version, "settings": settings, "metrics": Value::Object(metrics.collect()) })
        });
        let names = |sources: &[&'a Source]| sources.iter().map(|source| &*source.name).collect::<Vec<&str>>();
        let left_out: Vec<&str> = names(&self.left_out).into_iter().chain(self.not_read.iter().map(String::as_str)).collect();
        let failed: Vec<&str> = self.failed.iter().map(|codec| codec.id()).collect();
        json!({
            "pictures": names(&self.pictures),
            "left_out": left_out,
            "failed": failed,
            "against": self.against.id(),
            "codecs": codecs.collect::<Vec<_>>(),
        })
    }
}

impl CodecSummary<'_> {
    /// At each setting, the means over pictures of bits per pixel and quality. MS-SSIM is averaged before it becomes dB, as those do who publish curves.
    pub(super) fn mean_curve(&self, metric: Metric) -> Curve {
        match metric {
            Metric::MsSsim => self.means_of(metric, |row| row.ms_ssim).into_iter().map(|(rate, similarity)| (rate, decibels(similarity))).collect(),
            _ => self.means_of(metric, |row| metric.of(row)),
        }
    }

    fn means_of(&self, metric: Metric, value: impl Fn(&Row) -> Option<f64>) -> Curve {
        let rows: Vec<&Row> = self.rows.iter().copied().filter(|row| self.has(metric, row.picture_id())).collect();
        let mean = |setting: &f64| {
            let points: Curve = rows.iter().filter(|row| row.setting == *setting).filter_map(|row| Some((row.bpp, value(row)?))).collect();
            let count = points.len() as f64;
            (points.iter().map(|p| p.0).sum::<f64>() / count, points.iter().map(|p| p.1).sum::<f64>() / count)
        };
        self.entry.ladder.iter().map(mean).filter(|(rate, quality)| rate.is_finite() && !quality.is_nan()).collect()
    }

    /// Whether a picture is in a measure's means.
    fn has(&self, metric: Metric, picture: PictureId<'_>) -> bool {
        self.means.iter().any(|(of, pictures)| *of == metric && pictures.contains(&picture))
    }

    pub(super) fn curve(&self, metric: Metric, picture: &Source) -> Curve {
        self.rows.iter().filter(|row| row.picture_id() == picture.id()).filter_map(|row| Some((row.bpp, metric.of(row)?))).collect()
    }

    /// Middle of the values that rows have.
    pub(super) fn median(&self, value: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        median(self.rows.iter().filter_map(|row| value(row)).collect())
    }
}

/// Which pictures a measure's means are of, so that all points are of the same ones. A picture that is too small for the measure has no part in them, nor has
/// one that some codec gives back without loss, as flat ones: a mean with infinity says nothing of the rest. Where all are like that, the points without infinity
/// are what there is.
fn in_means<'a>(pictures: &[&'a Source], codecs: &[(&Entry, Vec<&Row>)], metric: Metric) -> HashSet<PictureId<'a>> {
    let with = |wanted: &dyn Fn(f64) -> bool| -> HashSet<PictureId<'a>> {
        let rows = codecs.iter().flat_map(|(_, rows)| rows);
        let without: HashSet<_> = rows.filter(|row| !metric.of(row).is_some_and(wanted)).map(|row| row.picture_id()).collect();
        pictures.iter().map(|source| source.id()).filter(|id| !without.contains(id)).collect()
    };
    let finite = with(&f64::is_finite);
    if finite.is_empty() { with(&|value| !value.is_nan()) } else { finite }
}

/// Middle value, or the mean of the two middle ones.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (below, above) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((below + above) / 2.0)
}
