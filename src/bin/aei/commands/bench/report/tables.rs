//! Tables, for every form of the report.

use aei::metrics::BdRate;

use super::super::codecs::Codec;
use super::super::results::Row;
use super::super::summary::{Metric, Summary, median};
use super::chart::escape;
use super::markdown;

/// The first column holds names, the others numbers.
pub(super) struct Table {
    pub(super) title: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.iter().map(|cell| markdown::escape(cell)).collect::<Vec<_>>().join(" | "));
        let rule = format!("|---{}|\n", "|--:".repeat(self.head.len() - 1));
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}{rule}{rows}", line(&self.head))
    }

    pub(super) fn html(&self) -> String {
        let cells = |tag: &str, row: &[String]| row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect::<String>();
        let rows: String = self.rows.iter().map(|row| format!("<tr>{}</tr>\n", cells("td", row))).collect();
        format!("<div class=\"table\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n", cells("th", &self.head))
    }

    pub(super) fn plain(&self) -> String {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let widths: Vec<usize> = (0..self.head.len()).map(|i| all().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate();
            let text: Vec<String> = cells.map(|(i, (cell, width))| if i == 0 { format!("{cell:width$}") } else { format!("{cell:>width$}") }).collect();
            text.join("  ")
        };
        std::iter::once(self.title.clone()).chain(all().map(line)).collect::<Vec<_>>().join("\n")
    }
}

fn percent(bd: Option<BdRate>) -> String {
    bd.map_or("–".into(), |bd| format!("{:+.1} %", bd.percent).replace('-', "−"))
}

/// With the range of qualities.
fn percent_in_range(bd: Option<BdRate>) -> String {
    bd.map_or("–".into(), |bd| format!("{} ({:.1} to {:.1})", percent(Some(bd)), bd.from, bd.to).replace('-', "−"))
}

/// All codecs against the chosen one.
pub(super) fn bd_rates(summary: &Summary<'_>) -> Table {
    let head = std::iter::once("codec".to_owned()).chain(summary.metrics.iter().map(|metric| metric.name().to_owned())).collect();
    let rows = summary.codecs.iter().map(|codec| {
        let values = summary.metrics.iter().map(|metric| percent_in_range(summary.bd_rate(codec, *metric)));
        std::iter::once(codec.entry.codec.name().to_owned()).chain(values).collect()
    });
    Table { title: format!("BD-rate against {}", summary.against.name()), head, rows: rows.collect() }
}

/// aei against each of the others, measured and published.
pub(super) fn aei_against_others(summary: &Summary<'_>) -> Option<Table> {
    let aei = summary.codec(Codec::Aei)?;
    let metrics: Vec<Metric> = summary.metrics.iter().copied().filter(|metric| *metric != Metric::PsnrLuma).collect();
    let others = summary.codecs.iter().filter(|codec| codec.entry.codec != Codec::Aei);
    let measured = others.map(|other| {
        let values =
            metrics.iter().map(|metric| percent_in_range(aei::metrics::bd_rate(&other.mean_curve(*metric), &aei.mean_curve(*metric), metric.min_range())));
        std::iter::once(other.entry.codec.name().to_owned()).chain(values).collect()
    });
    let published = summary.anchors.names().into_iter().map(|name| {
        let values = metrics.iter().map(|metric| percent_in_range(summary.bd_rate_published(aei, *metric, name)));
        std::iter::once(format!("{name} (published)")).chain(values).collect()
    });
    let rows: Vec<Vec<String>> = measured.chain(published).collect();
    let head = std::iter::once("aei against".to_owned()).chain(metrics.iter().map(|metric| metric.name().to_owned())).collect();
    (!rows.is_empty()).then(|| Table { title: "aei against the others (BD-rate; below zero: aei's files are smaller)".into(), head, rows })
}

/// The points of the mean curves.
pub(super) fn points(summary: &Summary<'_>, metric: Metric) -> Table {
    let most = summary.codecs.iter().map(|codec| codec.entry.ladder.len()).max().unwrap_or(0);
    let head = std::iter::once("codec".to_owned()).chain((1..=most).map(|i| format!("point {i}"))).collect();
    let rows = summary.codecs.iter().map(|codec| {
        let mut row: Vec<String> = vec![codec.entry.codec.name().into()];
        row.extend(codec.mean_curve(metric).iter().map(|(rate, quality)| format!("{quality:.2} at {rate:.3}")));
        row.resize(most + 1, String::new());
        row
    });
    Table { title: format!("{}: mean quality at mean bits per pixel", metric.name()), head, rows: rows.collect() }
}

/// BD-rates of each picture.
pub(super) fn pictures(summary: &Summary<'_>, metric: Metric) -> Table {
    let others: Vec<_> = summary.codecs.iter().filter(|codec| codec.entry.codec != summary.against).collect();
    let head = std::iter::once("picture").chain(others.iter().map(|codec| codec.entry.codec.name())).map(str::to_owned).collect();
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); others.len()];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for picture in &summary.pictures {
        let mut row = vec![picture.name.clone()];
        for (codec, column) in others.iter().zip(&mut columns) {
            let bd = summary.bd_rate_of_picture(codec, metric, picture);
            column.extend(bd.map(|bd| bd.percent));
            row.push(percent(bd));
        }
        rows.push(row);
    }
    let middles = columns.into_iter().map(|column| percent(median(column).map(|percent| BdRate { percent, from: 0.0, to: 0.0 })));
    rows.push(std::iter::once("median".to_owned()).chain(middles).collect());
    Table { title: format!("{}: BD-rate against {}, by picture", metric.name(), summary.against.name()), head, rows }
}

/// Memory, and time where it was measured.
pub(super) fn costs(summary: &Summary<'_>) -> Table {
    let mut head = vec!["codec", "encoder's peak memory, MiB", "decoder's peak memory, MiB"];
    let timing = summary.codecs.iter().any(|codec| codec.rows.iter().any(|row| row.encode_seconds.is_some()));
    if timing {
        head.extend(["encode, s", "encode, MP/s", "decode, s", "decode, MP/s"]);
    }
    let rows = summary.codecs.iter().map(|codec| {
        let show = |value: Option<f64>, digits: usize| value.map_or("–".into(), |v| format!("{v:.digits$}"));
        let middle = |value: &dyn Fn(&Row) -> Option<f64>, digits| show(codec.median(value), digits);
        let mebibytes = |bytes: Option<u64>| bytes.map(|b| b as f64 / f64::from(1 << 20));
        let speed = |row: &Row, seconds: Option<f64>| seconds.map(|s| f64::from(row.width) * f64::from(row.height) / 1e6 / s);
        let mut cells =
            vec![codec.entry.codec.name().into(), middle(&|row| mebibytes(row.encode_peak_bytes), 0), middle(&|row| mebibytes(row.decode_peak_bytes), 0)];
        if timing {
            cells.push(middle(&|row| row.encode_seconds, 3));
            cells.push(middle(&|row| speed(row, row.encode_seconds), 2));
            cells.push(middle(&|row| row.decode_seconds, 3));
            cells.push(middle(&|row| speed(row, row.decode_seconds), 2));
        }
        cells
    });
    let title = "Cost: medians over pictures and settings, whole processes with one thread, start-up and picture files included".into();
    Table { title, head: head.into_iter().map(str::to_owned).collect(), rows: rows.collect() }
}

/// Versions and settings.
pub(super) fn codecs(summary: &Summary<'_>) -> Table {
    let rows = summary.codecs.iter().map(|codec| {
        let ladder: Vec<String> = codec.entry.ladder.iter().map(f64::to_string).collect();
        vec![codec.entry.codec.name().to_owned(), codec.entry.version.clone(), codec.entry.settings.clone(), ladder.join(", ")]
    });
    Table { title: "Codecs".into(), head: ["codec", "version", "settings", "ladder"].map(str::to_owned).into(), rows: rows.collect() }
}
