//! `README.md` of the report's folder.

use std::fmt::Write as _;

use super::{Parts, Report, Table, method, tables};

pub(super) fn render(report: &Report<'_>, parts: &Parts) -> String {
    let summary = report.summary;
    let mut text = String::from("# Rate and distortion\n\n");
    let _ = writeln!(text, "{} pictures, {} codecs. All measurements: [results.csv](results.csv).\n", summary.pictures.len(), summary.codecs.len());
    for (metric, _) in &parts.plots {
        let _ = writeln!(text, "![{}](rd-{}.svg)\n", metric.name(), metric.id());
    }
    if parts.bars.is_some() {
        text.push_str("![BD-rates](bd-rate.svg)\n\n");
    }
    let mut section = |table: &Table| {
        let _ = writeln!(text, "## {}\n{}", table.title, table.markdown());
    };
    section(&tables::bd_rates(summary));
    tables::aei_against_others(summary).iter().for_each(&mut section);
    section(&tables::codecs(summary));
    section(&tables::costs(summary));
    for metric in &summary.metrics {
        section(&tables::points(summary, *metric));
    }
    for metric in &summary.metrics {
        section(&tables::pictures(summary, *metric));
    }
    for strip in parts.crops.iter().filter(|strip| !strip.crops.is_empty()) {
        let _ = writeln!(text, "## {}\nThe same part of each, from files of about the same size.\n", strip.title);
        for crop in &strip.crops {
            let _ = writeln!(text, "![{caption}]({}) {caption}\n", crop.file, caption = crop.caption);
        }
    }
    text.push_str("## Method\n");
    for line in method(report) {
        let _ = writeln!(text, "- {line}");
    }
    text
}
