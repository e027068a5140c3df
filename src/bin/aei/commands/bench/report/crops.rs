//! Parts of pictures side by side, at files of equal size.

use aei::{Channels, Picture};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _};

use super::super::codecs::Codec;
use super::super::measure::{self, Coded, Entry, Source};
use super::super::summary::Metric;
use super::Report;
use crate::commands::bits_per_pixel;
use crate::failure::{Cause, Failure};

/// Size of a crop; the report shows it twice as large.
const CROP: (usize, usize) = (160, 124);

/// One picture's crops, the original first.
pub(super) struct Strip {
    pub(super) title: String,
    pub(super) crops: Vec<Crop>,
}

pub(super) struct Crop {
    pub(super) caption: String,
    /// Relative to the report's folder.
    pub(super) file: String,
    pub(super) png: Vec<u8>,
}

/// Crops of the pictures on which aei gains most and least.
pub(super) fn make(report: &Report<'_>) -> Result<Vec<Strip>, Failure> {
    let summary = report.summary;
    let metric = if summary.metrics.contains(&Metric::Ssimulacra2) { Metric::Ssimulacra2 } else { Metric::PsnrRgb };
    let Some(aei) = summary.codec(Codec::Aei) else { return Ok(Vec::new()) };
    let gains = summary.pictures.iter().filter_map(|source| Some((*source, summary.bd_rate_of_picture(aei, metric, source)?.percent)));
    let mut gains: Vec<(&Source, f64)> = gains.collect();
    gains.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut chosen = Vec::new();
    if let [first, rest @ ..] = &gains[..] {
        chosen.push(("most", first));
        chosen.extend(rest.last().map(|last| ("least", last)));
    }
    let mut strips = Vec::new();
    for (degree, (source, percent)) in chosen {
        let title =
            format!("{}: aei gains {degree} ({percent:+.1} % by {} against {})", source.name, metric.name(), summary.against.name()).replace("(-", "(−");
        strips.push(strip(report, title, source, degree)?);
    }
    Ok(strips)
}

fn strip(report: &Report<'_>, title: String, source: &Source, degree: &str) -> Result<Strip, Failure> {
    let aei = report.summary.codec(Codec::Aei);
    // A third of the way up the ladder differences can be seen, and pictures are still in use like that.
    let Some(target) = aei.and_then(|aei| {
        let setting = *aei.entry.ladder.get(aei.entry.ladder.len() / 3)?;
        aei.rows.iter().find(|row| row.picture_id() == source.id() && row.setting == setting).map(|row| row.bytes)
    }) else {
        return Ok(Strip { title, crops: Vec::new() });
    };
    let original = measure::read(&source.png)?;
    let corner = busiest(&original);
    let mut crops = vec![crop("original".into(), format!("crops/{degree}-original.png"), &original, corner)?];
    for entry in report.summary.codecs.iter().map(|codec| codec.entry).filter(|entry| entry.installed) {
        // A codec that fails at settings in between has its curve all the same.
        let Ok((coded, setting)) = nearest(report, entry, source, target) else { continue };
        let bpp = bits_per_pixel(coded.bytes, source.width, source.height);
        let caption = format!("{} at {setting}: {} bytes, {bpp:.3} bpp", entry.codec.name(), coded.bytes);
        crops.push(crop(caption, format!("crops/{degree}-{}.png", entry.codec.id()), &coded.picture, corner)?);
    }
    Ok(Strip { title, crops })
}

/// The setting whose file is nearest in size to `target` bytes, by bisection.
fn nearest(report: &Report<'_>, entry: &Entry, source: &Source, target: u64) -> Result<(Coded, f64), Failure> {
    let (mut low, mut high) = (0.0, 1.0);
    let mut best: Option<(Coded, f64)> = None;
    let mut tried = Vec::new();
    for _ in 0..8 {
        let place = (low + high) / 2.0;
        let setting = entry.codec.setting(place);
        if tried.contains(&setting) {
            break;
        }
        tried.push(setting);
        let folder = tempfile::tempdir_in(report.work)?;
        let coded = Coded::new(report.aei, entry.codec, setting, source, folder.path())?;
        if coded.bytes > target {
            high = place;
        } else {
            low = place;
        }
        let closer = |old: &Coded| coded.bytes.abs_diff(target) < old.bytes.abs_diff(target);
        if best.as_ref().is_none_or(|(old, _)| closer(old)) {
            best = Some((coded, setting));
        }
    }
    best.ok_or_else(|| Failure::new(Cause::Internal, "no setting to try"))
}

/// Corner of the part with the strongest differences between neighbours: chosen by the original alone.
fn busiest(picture: &Picture) -> (usize, usize) {
    let (width, height, n) = (picture.width() as usize, picture.height() as usize, picture.channels().count());
    let samples = picture.samples();
    let green = |x: usize, y: usize| i32::from(samples[(y * width + x) * n + n / 2]);
    let energy = |x0: usize, y0: usize| -> u64 {
        let rows = y0..(y0 + CROP.1).min(height - 1);
        let difference = |x: usize, y: usize| (green(x, y) - green(x + 1, y)).unsigned_abs() + (green(x, y) - green(x, y + 1)).unsigned_abs();
        rows.flat_map(|y| (x0..(x0 + CROP.0).min(width - 1)).map(move |x| (x, y))).map(|(x, y)| u64::from(difference(x, y).min(40))).sum()
    };
    let places = |size: usize, crop: usize| (0..=size.saturating_sub(crop)).step_by(32).collect::<Vec<_>>();
    let all = places(height, CROP.1).into_iter().flat_map(|y| places(width, CROP.0).into_iter().map(move |x| (x, y)));
    all.max_by_key(|(x, y)| energy(*x, *y)).unwrap_or((0, 0))
}

fn crop(caption: String, file: String, picture: &Picture, (x, y): (usize, usize)) -> Result<Crop, Failure> {
    let (width, height, n) = (picture.width() as usize, picture.height() as usize, picture.channels().count());
    let (columns, rows) = (CROP.0.min(width - x), CROP.1.min(height - y));
    let samples = picture.samples();
    let lines = samples.chunks_exact(width * n).skip(y).take(rows);
    let samples: Vec<u8> = lines.flat_map(|line| &line[x * n..(x + columns) * n]).copied().collect();
    let colour = if picture.channels() == Channels::Gray { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive)
        .write_image(&samples, columns as u32, rows as u32, colour)
        .map_err(|e| Failure::new(Cause::Internal, e.to_string()))?;
    Ok(Crop { caption, file, png })
}
