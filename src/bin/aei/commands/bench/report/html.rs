//! `report.html`: one file that holds everything, without a script.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::chart::escape;
use super::{Parts, Report, Table, method, tables};

const STYLE: &str = "
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 20px 64px; max-width: 1040px; color: #1f2328; background: #f4f6f8;
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif; }
h1 { font-size: 28px; margin: 8px 0 4px; }
h2 { font-size: 19px; margin: 36px 0 10px; }
p { max-width: 76ch; margin: 8px 0; }
code { font: 13px ui-monospace, 'Liberation Mono', monospace; background: #e4e8ec; padding: 1px 5px; border-radius: 4px; }
figure { margin: 16px 0; background: #fff; border: 1px solid #d7dce1; border-radius: 8px; overflow: hidden; }
figure > svg { display: block; width: 100%; height: auto; }
.table { overflow-x: auto; background: #fff; border: 1px solid #d7dce1; border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { color: #59636e; font-weight: 600; border-bottom: 1px solid #d7dce1; }
tbody tr:nth-child(even) { background: #f7f9fa; }
.words th, .words td { text-align: left; white-space: normal; vertical-align: top; }
.words td:first-child { white-space: nowrap; }
details { margin: 10px 0; }
summary { cursor: pointer; font-weight: 600; padding: 6px 0; }
.crops { display: grid; grid-template-columns: repeat(auto-fill, 322px); gap: 17px; }
.crops figure { margin: 0; }
.crops img { display: block; width: 320px; height: auto; image-rendering: pixelated; }
.crops figcaption { padding: 6px 10px; font-size: 13px; }
";

pub(super) fn render(report: &Report<'_>, parts: &Parts) -> String {
    let summary = report.summary;
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Rate and distortion</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>Rate and distortion</h1>\n"
    );
    let _ = writeln!(page, "<p>{} pictures, {} codecs. Every measurement is in <code>results.csv</code>.</p>", summary.pictures.len(), summary.codecs.len());
    for (i, (_, svg)) in parts.plots.iter().enumerate() {
        // Names inside a page must differ.
        let _ = writeln!(page, "<figure>{}</figure>", svg.replace("id=\"area\"", &format!("id=\"area{i}\"")).replace("url(#area)", &format!("url(#area{i})")));
    }
    if let Some(svg) = &parts.bars {
        let _ = writeln!(page, "<figure>{svg}</figure>");
    }
    let section = |table: &Table| format!("<h2>{}</h2>\n{}", escape(&table.title), table.html());
    page.push_str(&section(&tables::bd_rates(summary)));
    page.extend(tables::aei_against_others(summary).as_ref().map(section));
    for strip in parts.crops.iter().filter(|strip| !strip.crops.is_empty()) {
        let _ = writeln!(
            page,
            "<h2>{}</h2>\n<p>The same part of each, twice its size, from files as near in size to aei's as the settings of the ladders reach.</p>\n<div class=\"crops\">",
            escape(&strip.title)
        );
        for crop in &strip.crops {
            let (caption, data) = (escape(&crop.caption), STANDARD.encode(&crop.png));
            let _ = writeln!(page, "<figure><img src=\"data:image/png;base64,{data}\" alt=\"{caption}\"><figcaption>{caption}</figcaption></figure>");
        }
        page.push_str("</div>\n");
    }
    page.push_str("<h2>By picture</h2>\n");
    let folded = |table: &Table| format!("<details><summary>{}</summary>\n{}</details>\n", escape(&table.title), table.html());
    page.extend(summary.metrics.iter().map(|metric| folded(&tables::pictures(summary, *metric))));
    page.push_str("<h2>Points of the curves</h2>\n");
    page.extend(summary.metrics.iter().map(|metric| folded(&tables::points(summary, *metric))));
    page.push_str(&section(&tables::costs(summary)));
    page.push_str(&section(&tables::codecs(summary)).replace("class=\"table\"", "class=\"table words\""));
    page.push_str("<h2>Method</h2>\n");
    for line in method(report) {
        let text: Vec<String> =
            line.split('`').enumerate().map(|(i, part)| if i % 2 == 1 { format!("<code>{}</code>", escape(part)) } else { escape(part) }).collect();
        let _ = writeln!(page, "<p>{}</p>", text.concat());
    }
    page.push_str("</body>\n</html>\n");
    page
}
