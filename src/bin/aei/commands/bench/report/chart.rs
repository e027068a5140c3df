//! Plots as SVG: no script, no font, no style from elsewhere.

use std::fmt::Write as _;

/// Text in XML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const INK: &str = "#1f2328";
const FAINT: &str = "#59636e";
const GRID: &str = "#e4e8ec";
const FONT: &str = "font-family=\"system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif\"";

fn open(width: f64, height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" {FONT} font-size=\"13\" fill=\"{INK}\">\n\
         <title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"16\" font-weight=\"600\">{title}</text>\n",
        title = escape(title)
    )
}

/// One curve.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) colour: &'static str,
    pub(super) points: Vec<(f64, f64)>,
    pub(super) published: bool,
    pub(super) strong: bool,
}

/// Curves over a logarithmic x.
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: String,
    pub(super) y: String,
    pub(super) lines: Vec<Line>,
}

/// Place of the curves in the picture.
const AREA: (f64, f64, f64, f64) = (62.0, 48.0, 630.0, 440.0);
const SIZE: (f64, f64) = (980.0, 546.0);

impl Plot {
    pub(super) fn svg(&self) -> String {
        let (left, top, width, height) = AREA;
        let finite = |line: &Line| line.points.iter().copied().filter(|p| p.0 > 0.0 && p.0.is_finite() && p.1.is_finite()).collect::<Vec<_>>();
        // What was measured sets the frame; published curves are cut to it.
        let measured: Vec<(f64, f64)> = self.lines.iter().filter(|line| !line.published).flat_map(finite).collect();
        let (x0, x1) = range(measured.iter().map(|p| p.0.ln()));
        let (y0, y1) = range(measured.iter().map(|p| p.1));
        let place = |(x, y): (f64, f64)| (left + (x.ln() - x0) / (x1 - x0) * width, top + (y1 - y) / (y1 - y0) * height);

        let mut svg = open(SIZE.0, SIZE.1, &self.title);
        let _ = writeln!(svg, "<clipPath id=\"area\"><rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"/></clipPath>");
        for rate in log_ticks(x0.exp(), x1.exp()) {
            let (x, bottom) = (place((rate, y0)).0, top + height);
            let _ = writeln!(svg, "<path d=\"M{x:.1} {top}V{bottom}\" stroke=\"{GRID}\"/>");
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{FAINT}\">{rate}</text>", bottom + 19.0);
        }
        for value in ticks(y0, y1) {
            let y = top + (y1 - value) / (y1 - y0) * height;
            let _ = writeln!(svg, "<path d=\"M{left} {y:.1}H{}\" stroke=\"{GRID}\"/>", left + width);
            let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{FAINT}\">{}</text>", left - 8.0, y + 4.5, minus(value));
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"{FAINT}\">{}</text>",
            left + width / 2.0,
            top + height + 42.0,
            escape(&self.x)
        );
        let (middle, label) = (top + height / 2.0, escape(&self.y));
        let _ = writeln!(svg, "<text transform=\"translate(18 {middle}) rotate(-90)\" text-anchor=\"middle\" fill=\"{FAINT}\">{label}</text>");

        svg.push_str("<g clip-path=\"url(#area)\" fill=\"none\" stroke-linejoin=\"round\">\n");
        for (i, line) in self.lines.iter().enumerate() {
            let points: Vec<(f64, f64)> = finite(line).into_iter().map(place).collect();
            let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            let _ = writeln!(svg, "<path d=\"M{}\" stroke=\"{}\" {}/>", path.join("L"), line.colour, line.stroke(i));
            if !line.published {
                let radius = if line.strong { 4.0 } else { 2.8 };
                for (x, y) in points {
                    let _ =
                        writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{}\" stroke=\"#ffffff\" stroke-width=\"0.8\"/>", line.colour);
                }
            }
        }
        svg.push_str("</g>\n");
        self.legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    /// Names beside the curves, best quality at a middle rate first.
    fn legend(&self, svg: &mut String) {
        let (left, mut y) = (AREA.0 + AREA.2 + 22.0, AREA.1 + 10.0);
        for (published, heading) in [(false, "measured"), (true, "published, not measured")] {
            let mut lines: Vec<(usize, &Line)> = self.lines.iter().enumerate().filter(|(_, line)| line.published == published).collect();
            if lines.is_empty() {
                continue;
            }
            lines.sort_by(|a, b| b.1.at_rate(0.5).total_cmp(&a.1.at_rate(0.5)));
            let _ = writeln!(svg, "<text x=\"{left}\" y=\"{y}\" fill=\"{FAINT}\" font-size=\"12\">{heading}</text>");
            for (i, line) in lines {
                y += 22.0;
                let weight = if line.strong { " font-weight=\"700\"" } else { "" };
                let _ = writeln!(svg, "<path d=\"M{left} {:.1}h28\" fill=\"none\" stroke=\"{}\" {}/>", y - 4.5, line.colour, line.stroke(i));
                let _ = writeln!(svg, "<text x=\"{}\" y=\"{y}\"{weight}>{}</text>", left + 36.0, escape(&line.name));
            }
            y += 34.0;
        }
    }
}

impl Line {
    fn stroke(&self, number: usize) -> String {
        match (self.published, self.strong) {
            (true, _) => format!("stroke-width=\"1.4\" stroke-dasharray=\"{}\"", ["7 4", "2 3", "9 3 2 3", "4 3"][number % 4]),
            (false, true) => "stroke-width=\"3.2\"".into(),
            (false, false) => "stroke-width=\"1.9\"".into(),
        }
    }

    /// Quality at a rate, roughly: it orders the legend.
    fn at_rate(&self, rate: f64) -> f64 {
        let mut points = self.points.clone();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let after = points.iter().position(|p| p.0 >= rate).unwrap_or(points.len().saturating_sub(1)).max(1);
        match (points.get(after - 1), points.get(after)) {
            (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (rate / a.0).ln() / (b.0 / a.0).ln(),
            _ => f64::NEG_INFINITY,
        }
    }
}

/// A range with a little room.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let room = ((high - low) * 0.04).max(1e-3);
    (low - room, high + room)
}

/// Round numbers, about eight.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 8.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let mut values = Vec::new();
    let mut n = (low / step).ceil();
    while n * step <= high {
        // Without the error of the product.
        values.push((n * step * 1e6).round() / 1e6);
        n += 1.0;
    }
    values
}

/// 0.1, 0.2, 0.5, 1 and so on.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    let values = decades.flat_map(|d| [1.0, 2.0, 5.0].map(|m| (m * 10f64.powi(d) * 1e6).round() / 1e6));
    values.filter(|v| (low..=high).contains(v)).collect()
}

/// A number with a real minus sign.
fn minus(value: f64) -> String {
    value.to_string().replace('-', "−")
}

/// Name, colour, per cent.
pub(super) type Bar<'a> = (&'a str, &'a str, f64);

/// Horizontal bars, a panel for each measure.
pub(super) struct Bars<'a> {
    pub(super) title: String,
    pub(super) panels: Vec<(&'a str, Vec<Bar<'a>>)>,
}

impl Bars<'_> {
    pub(super) fn svg(&self) -> String {
        const ROW: f64 = 26.0;
        let names = 128.0;
        let columns = self.panels.len().min(2);
        let width = (SIZE.0 - 32.0) / columns as f64;
        let tall = |(_, bars): &(&str, Vec<_>)| 44.0 + bars.len() as f64 * ROW;
        let row_height = self.panels.iter().map(tall).fold(0.0, f64::max);
        let height = 44.0 + row_height * self.panels.len().div_ceil(columns) as f64 + 8.0;
        let mut svg = open(SIZE.0, height, &self.title);
        let extreme = self.panels.iter().flat_map(|(_, bars)| bars.iter().map(|bar| bar.2));
        let (low, high) = extreme.fold((0f64, 0f64), |(low, high), v| (low.min(v), high.max(v)));
        // Room for the numbers beside the bars.
        let room = 58.0;
        let scale = (width - names - 2.0 * room) / (high - low).max(1.0);
        for (i, (metric, bars)) in self.panels.iter().enumerate() {
            let (left, mut y) = (16.0 + (i % columns) as f64 * width, 66.0 + (i / columns) as f64 * row_height);
            let zero = left + names + room - low * scale;
            let _ = writeln!(svg, "<text x=\"{left}\" y=\"{y}\" font-weight=\"600\">{}</text>", escape(metric));
            let bottom = y + 12.0 + bars.len() as f64 * ROW;
            let _ = writeln!(svg, "<path d=\"M{zero:.1} {:.1}V{bottom:.1}\" stroke=\"{FAINT}\"/>", y + 8.0);
            for (name, colour, percent) in bars {
                y += ROW;
                let (end, weight) = (zero + percent * scale, if *name == "aei" { " font-weight=\"700\"" } else { "" });
                let (x, anchor) = if *percent < 0.0 { (end - 6.0, "end") } else { (end + 6.0, "start") };
                let text = format!("{percent:+.1} %").replace('-', "−");
                let _ = writeln!(svg, "<text x=\"{left}\" y=\"{:.1}\"{weight}>{}</text>", y + 1.0, escape(name));
                let (from, long) = (zero.min(end), (end - zero).abs());
                let _ = writeln!(svg, "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{long:.1}\" height=\"17\" fill=\"{colour}\"/>", y - 12.0);
                let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\"{weight}>{text}</text>", y + 1.0);
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(24.3, 41.2), [25.0, 30.0, 35.0, 40.0]);
        assert_eq!(ticks(-1.0, 1.0), [-1.0, -0.5, 0.0, 0.5, 1.0]);
        assert_eq!(log_ticks(0.07, 2.5), [0.1, 0.2, 0.5, 1.0, 2.0]);
    }

    #[test]
    fn names_are_escaped_and_empty_curves_harmless() {
        let line = |points: Vec<(f64, f64)>| Line { name: "<a> & \"b\"".into(), colour: "#000000", points, published: false, strong: true };
        for points in [vec![], vec![(0.5, f64::INFINITY)], vec![(0.0, 30.0), (f64::NAN, 31.0)], vec![(0.5, 30.0)], vec![(0.1, 20.0), (1.0, 30.0)]] {
            let svg = Plot { title: "t".into(), x: "x".into(), y: "y".into(), lines: vec![line(points)] }.svg();
            assert!(svg.contains("&lt;a&gt; &amp; &quot;b&quot;") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
