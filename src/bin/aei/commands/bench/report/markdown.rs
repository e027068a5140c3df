//! `README.md` of the report's folder.

use std::fmt::Write as _;

use super::{Parts, Report, Table, method, tables};

/// Text in Markdown: names may hold what would be markup.
pub(super) fn escape(text: &str) -> String {
    let escaped = text.chars().flat_map(|c| "\\`*_[]<>|&~".contains(c).then_some('\\').into_iter().chain([c]));
    escaped.collect()
}

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
        let _ = writeln!(text, "## {}\n{}", escape(&table.title), table.markdown());
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
        let _ =
            writeln!(text, "## {}\nThe same part of each, from files as near in size to aei's as the settings of the ladders reach.\n", escape(&strip.title));
        for crop in &strip.crops {
            let _ = writeln!(text, "![{caption}]({}) {caption}\n", crop.file, caption = escape(&crop.caption));
        }
    }
    text.push_str("## Method\n");
    for line in method(report) {
        let parts = line.split('`').enumerate().map(|(i, part)| if i % 2 == 1 { format!("`{part}`") } else { escape(part) });
        let _ = writeln!(text, "- {}", parts.collect::<String>());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_markup() {
        assert_eq!(escape("<img>_a_|`b`.png"), "\\<img\\>\\_a\\_\\|\\`b\\`.png");
        assert_eq!(escape("−62.2 % (25.7 to 42.2), -q; -m 6"), "−62.2 % (25.7 to 42.2), -q; -m 6");
    }
}
