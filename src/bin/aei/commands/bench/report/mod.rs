//! The report: SVG plots, Markdown, and HTML that holds everything.

mod chart;
mod crops;
mod html;
mod markdown;
mod tables;

use std::fs;
use std::path::Path;

use super::codecs::Aei;
use super::measure::Source;
use super::summary::{Metric, Summary};
use crate::failure::{At as _, Failure};
use chart::{Bars, Line, Plot};
use tables::Table;

/// What a report is made from.
pub(super) struct Report<'a> {
    pub(super) summary: &'a Summary<'a>,
    pub(super) aei: &'a Aei,
    /// A folder for files on the way.
    pub(super) work: &'a Path,
    pub(super) command: String,
}

/// The parts that HTML and Markdown share.
struct Parts {
    plots: Vec<(Metric, String)>,
    bars: Option<String>,
    crops: Vec<crops::Strip>,
}

/// Colours of published curves.
const PUBLISHED: [&str; 10] = ["#111827", "#0369a1", "#15803d", "#b45309", "#9d174d", "#6d28d9", "#0f766e", "#64748b", "#a16207", "#be123c"];

/// Writes the report's files into a folder that exists.
pub(super) fn write(report: &Report<'_>, folder: &Path) -> Result<(), Failure> {
    let summary = report.summary;
    let plots = summary.metrics.iter().map(|metric| (*metric, plot(summary, *metric))).collect();
    let parts = Parts { plots, bars: bars(summary), crops: crops::make(report)? };
    let save = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).at(path.display())
    };
    for (metric, svg) in &parts.plots {
        save(&format!("rd-{}.svg", metric.id()), svg.as_bytes())?;
    }
    if let Some(svg) = &parts.bars {
        save("bd-rate.svg", svg.as_bytes())?;
    }
    for crop in parts.crops.iter().flat_map(|strip| &strip.crops) {
        fs::create_dir_all(folder.join("crops")).at(folder.display())?;
        save(&crop.file, &crop.png)?;
    }
    save("README.md", markdown::render(report, &parts).as_bytes())?;
    save("report.html", html::render(report, &parts).as_bytes())
}

/// BD-rates for the screen.
pub(super) fn table_for_terminal(summary: &Summary<'_>) -> String {
    tables::bd_rates(summary).plain()
}

/// Mean curves of one measure.
fn plot(summary: &Summary<'_>, metric: Metric) -> String {
    let mut lines: Vec<Line> = Vec::new();
    for (i, name) in summary.anchors.names().into_iter().enumerate() {
        let points = summary.anchors.curve(name, metric);
        if !points.is_empty() {
            lines.push(Line { name: name.into(), colour: PUBLISHED[i % PUBLISHED.len()], points, published: true, strong: false });
        }
    }
    // aei comes last and lies on top.
    for codec in summary.codecs.iter().rev() {
        let (codec, points) = (codec.entry.codec, codec.mean_curve(metric));
        let strong = codec == super::codecs::Codec::Aei;
        lines.push(Line { name: codec.name().into(), colour: codec.colour(), points, published: false, strong });
    }
    let unit = if metric.unit().is_empty() { String::new() } else { format!(", {}", metric.unit()) };
    let count = summary.means(metric).0.len();
    let title = format!("{} over file size, mean of {count} picture{}", metric.name(), if count == 1 { "" } else { "s" });
    Plot { title, x: "bits per pixel of the whole file, logarithmic".into(), y: format!("{}{unit}", metric.name()), lines }.svg()
}

/// BD-rates as bars; none if there is nothing to compare with.
fn bars(summary: &Summary<'_>) -> Option<String> {
    let panels = summary.metrics.iter().map(|metric| {
        let others = summary.codecs.iter().filter(|codec| codec.entry.codec != summary.against);
        let mut bars: Vec<_> = others.filter_map(|c| Some((c.entry.codec.name(), c.entry.codec.colour(), summary.bd_rate(c, *metric)?.percent))).collect();
        bars.sort_by(|a, b| a.2.total_cmp(&b.2));
        (metric.name(), bars)
    });
    let panels: Vec<_> = panels.filter(|(_, bars)| !bars.is_empty()).collect();
    let title = format!("Change in file size at equal quality against {} (BD-rate)", summary.against.name());
    (!panels.is_empty()).then(|| Bars { title, panels }.svg())
}

/// A name for a sentence in which backticks mark code.
pub(super) fn unquoted(name: &str) -> String {
    name.replace('`', "'")
}

fn names(sources: &[&Source]) -> String {
    sources.iter().map(|source| unquoted(&source.name)).collect::<Vec<_>>().join(", ")
}

/// Sections about how the numbers came about; HTML and Markdown show them as paragraphs.
fn method(report: &Report<'_>) -> Vec<String> {
    let summary = report.summary;
    let threads = "Every codec ran with one thread, as a process of its own that reads a PNG and writes a file.";
    let mut lines = vec![
        "Sizes are those of whole files, written by the codec and decoded from disk again. Pictures are turned to 8-bit RGB or gray PNG without metadata first.".into(),
        "PSNR: from the squared error over all samples of R, G and B; luma is BT.601. MS-SSIM: five scales, on R, G and B, averaged, as dB = -10 log10(1 - x). \
         SSIMULACRA2: crate ssimulacra2. Curves are means over pictures of bits per pixel and of the measure, at each setting; \
         MS-SSIM is averaged before it becomes dB, as in what others publish."
            .into(),
        format!(
            "BD-rate: mean difference of the logarithm of the file size, interpolated over quality by PCHIP, over the range of qualities that both curves have \
             (given in brackets); below zero means smaller files than {}.",
            summary.against.name()
        ),
        threads.into(),
    ];
    if summary.against == super::codecs::Codec::Jpeg {
        lines.push(
            "JPEG is what most programs write: baseline with standard tables. Encoders that optimise, such as mozjpeg, are the harder opponents; \
             `--against mozjpeg-420` compares with that."
                .into(),
        );
    }
    if !summary.anchors.names().is_empty() {
        lines.push(
            "Dashed curves are published numbers, taken over as they stand and not measured here; they compare only with measurements of the same pictures."
                .into(),
        );
    }
    if !summary.left_out.is_empty() {
        lines.push(format!("Left out, because not every codec has results at every setting: {}.", names(&summary.left_out)));
    }
    if !summary.not_read.is_empty() {
        let not_read: Vec<String> = summary.not_read.iter().map(|name| unquoted(name)).collect();
        lines.push(format!("Left out, because they could not be read, or are there under another name: {}.", not_read.join(", ")));
    }
    if !summary.failed.is_empty() {
        let failed: Vec<&str> = summary.failed.iter().map(|codec| codec.name()).collect();
        lines.push(format!("Left out, because they coded no picture at all settings: {}.", failed.join(", ")));
    }
    for metric in &summary.metrics {
        let (pictures, others) = summary.means(*metric);
        if !others.is_empty() {
            lines.push(format!(
                "{}: means over {} of the {} pictures. The others are too small for it, or some codec gives them back without loss, which is infinite: {}.",
                metric.name(),
                pictures.len(),
                summary.pictures.len(),
                names(&others)
            ));
        }
    }
    let missing: Vec<&str> = summary.codecs.iter().filter(|codec| !codec.entry.installed).map(|codec| codec.entry.codec.name()).collect();
    if !missing.is_empty() {
        lines.push(format!("Not installed this time, results of an earlier run: {}.", missing.join(", ")));
    }
    lines.push(format!("Made by `{}`.", report.command));
    lines
}
