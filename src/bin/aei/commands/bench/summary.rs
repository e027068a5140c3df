//! From rows to curves and BD-rates.

use std::path::Path;

use aei::metrics::{BdRate, bd_rate};
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::{Value, json};

use super::codecs::Codec;
use super::measure::Entry;
use super::results::Row;
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
            Self::MsSsim => row.ms_ssim_db,
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
        rows.map(Self).map_err(|e| Failure::new(Cause::BadFile, e.to_string()).at(path.display()))
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
    /// Names of the pictures that every codec has coded at every setting.
    pub(super) pictures: Vec<&'a str>,
    /// The others.
    pub(super) left_out: Vec<&'a str>,
    /// What could not be read as a picture, or was there twice.
    pub(super) not_read: Vec<String>,
    pub(super) against: Codec,
    pub(super) anchors: Anchors,
}

pub(super) struct CodecSummary<'a> {
    pub(super) entry: &'a Entry,
    pub(super) rows: Vec<&'a Row>,
}

impl<'a> Summary<'a> {
    pub(super) fn new(
        rows: &'a [Row],
        entries: &'a [Entry],
        choices: &[MetricChoice],
        against: Codec,
        anchors: Anchors,
        not_read: Vec<String>,
    ) -> Result<Self, Failure> {
        let mut names: Vec<&str> = rows.iter().map(|row| row.picture.as_str()).collect();
        names.dedup();
        let settings: usize = entries.iter().map(|entry| entry.ladder.len()).sum();
        let (pictures, left_out): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| rows.iter().filter(|row| row.picture == *name).count() == settings);
        if pictures.is_empty() {
            return Err(Failure::new(Cause::Internal, "no picture went through all codecs"));
        }
        let codecs: Vec<CodecSummary<'_>> = entries
            .iter()
            .map(|entry| CodecSummary {
                entry,
                rows: rows.iter().filter(|row| row.codec == entry.codec.id() && pictures.contains(&row.picture.as_str())).collect(),
            })
            .collect();
        let mut metrics: Vec<Metric> = choices.iter().flat_map(|choice| choice.metrics()).copied().collect();
        metrics.dedup();
        // Pictures may all be too small for a measure.
        metrics.retain(|metric| codecs[0].rows.iter().any(|row| metric.of(row).is_some()));
        Ok(Self { codecs, metrics, pictures, left_out, not_read, against, anchors })
    }

    pub(super) fn codec(&self, codec: Codec) -> Option<&CodecSummary<'a>> {
        self.codecs.iter().find(|summary| summary.entry.codec == codec)
    }

    /// BD-rate of the mean curves.
    pub(super) fn bd_rate(&self, codec: &CodecSummary<'_>, metric: Metric) -> Option<BdRate> {
        bd_rate(&self.codec(self.against)?.mean_curve(metric), &codec.mean_curve(metric), metric.min_range())
    }

    /// BD-rate on one picture.
    pub(super) fn bd_rate_of_picture(&self, codec: &CodecSummary<'_>, metric: Metric, picture: &str) -> Option<BdRate> {
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
                (metric.id().to_owned(), json!({ "bd_rate": bd, "curve": codec.mean_curve(*metric) }))
            });
            let Entry { version, settings, .. } = codec.entry;
            json!({ "codec": codec.entry.codec.id(), "version": version, "settings": settings, "metrics": Value::Object(metrics.collect()) })
        });
        let left_out: Vec<&str> = self.left_out.iter().copied().chain(self.not_read.iter().map(String::as_str)).collect();
        json!({ "pictures": self.pictures, "left_out": left_out, "against": self.against.id(), "codecs": codecs.collect::<Vec<_>>() })
    }
}

impl CodecSummary<'_> {
    /// At each setting, the means over pictures of bits per pixel and quality.
    pub(super) fn mean_curve(&self, metric: Metric) -> Curve {
        let mean = |setting: &f64| {
            let points: Curve = self.rows.iter().filter(|row| row.setting == *setting).filter_map(|row| Some((row.bpp, metric.of(row)?))).collect();
            let count = points.len() as f64;
            (points.iter().map(|p| p.0).sum::<f64>() / count, points.iter().map(|p| p.1).sum::<f64>() / count)
        };
        self.entry.ladder.iter().map(mean).filter(|(rate, quality)| rate.is_finite() && !quality.is_nan()).collect()
    }

    pub(super) fn curve(&self, metric: Metric, picture: &str) -> Curve {
        self.rows.iter().filter(|row| row.picture == picture).filter_map(|row| Some((row.bpp, metric.of(row)?))).collect()
    }

    /// Middle of the values that rows have.
    pub(super) fn median(&self, value: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        median(self.rows.iter().filter_map(|row| value(row)).collect())
    }
}

/// Middle value, or the mean of the two middle ones.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (below, above) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((below + above) / 2.0)
}
