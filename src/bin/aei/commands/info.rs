//! `aei info`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;

use aei::{Channels, Model, Orientation};
use clap::Args;
use serde_json::json;

use super::decode::Door;
use super::{Common, Session, bits_per_pixel};
use crate::failure::{At as _, Failure};
use crate::paths::Place;

/// Tell what .aei files hold: size, quality, metadata, model, and where the bytes go
#[derive(Args)]
#[command(after_help = crate::failure::exit_codes_help())]
pub(crate) struct Info {
    /// Files to look at
    #[arg(value_name = "FILE", required = true)]
    inputs: Vec<OsString>,
    /// Tell where the bytes go, too, for which a part of the file has to be decoded
    #[arg(long)]
    parts: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Info {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let inputs: Vec<Place> = self.inputs.iter().map(Place::from).collect();
        Ok(session.for_each(&inputs, |input| input, |input| file(session, input, self.parts).map(|()| ExitCode::SUCCESS)))
    }
}

fn file(session: &Session, input: &Place, parts: bool) -> Result<(), Failure> {
    let decoder = super::decode::open(session, input, Door::Whole)?;
    let info = decoder.info();
    let is_embedded = info.lossless || info.model_id == Model::embedded_id().at(input)?;
    let quality_percent = (u32::from(info.quality.get()) * 100 + 31) / 63;
    let bpp = bits_per_pixel(info.file_bytes, info.width, info.height);
    // Needs the model, which may not be here. All the rest is known without.
    let breakdown = parts.then(|| decoder.breakdown());

    if session.console.json {
        let (bytes, error) = match &breakdown {
            Some(Ok(parts)) => {
                let aei::Breakdown { samples, z, y, alpha, metadata, preview, overhead } = parts;
                (json!({ "samples": samples, "z": z, "y": y, "alpha": alpha, "metadata": metadata, "preview": preview, "overhead": overhead }), None)
            }
            Some(Err(error)) => (json!(null), Some(error.to_string())),
            None => (json!(null), None),
        };
        return session.console.object(json!({
            "input": input.name(),
            "version": info.version,
            "width": info.width,
            "height": info.height,
            "channels": info.channels.count(),
            "source_depth": info.source_depth,
            "alpha_depth": info.alpha_depth.map(aei::SampleDepth::bits),
            "icc_bytes": info.icc_bytes,
            "exif_bytes": info.exif_bytes,
            "xmp_bytes": info.xmp_bytes,
            "preview_bytes": info.preview_bytes,
            "orientation": info.orientation.to_exif(),
            "lossless": info.lossless,
            "quality_index": info.quality.get(),
            "quality_percent": quality_percent,
            "model_id": info.model_id.to_string(),
            "model_embedded": is_embedded,
            "tile_size": info.tile_size,
            "tiles": info.tiles,
            "file_bytes": info.file_bytes,
            "bits_per_pixel": bpp,
            "bytes": bytes,
            "bytes_error": error,
        }));
    }

    let channels = match info.channels {
        Channels::Gray => "gray",
        Channels::GrayAlpha => "gray with alpha",
        Channels::Rgb => "RGB",
        Channels::Rgba => "RGB with alpha",
        _ => "other channels",
    };
    let model = match &session.model {
        _ if is_embedded => "the built-in one".into(),
        Some(model) if model.id() == info.model_id => format!("the given one, {}", model.name()),
        _ => "not the built-in one; decoding needs --model".into(),
    };
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<12} {value}");
    };
    line("size", format!("{}x{} pixels, {channels}, from {}-bit samples", info.width, info.height, info.source_depth));
    if let Some(depth) = info.alpha_depth {
        line("alpha", format!("without loss, {} bits", depth.bits()));
    }
    let blocks = [("colour profile", info.icc_bytes), ("EXIF", info.exif_bytes), ("XMP", info.xmp_bytes), ("preview", info.preview_bytes)];
    let blocks: Vec<String> = blocks.iter().filter_map(|(name, bytes)| bytes.map(|bytes| format!("{name} ({bytes} bytes)"))).collect();
    if !blocks.is_empty() {
        line("holds", blocks.join(", "));
    }
    line("orientation", orientation(info));
    if info.lossless {
        line("quality", "lossless: the samples are those of the original".into());
    } else {
        line("quality", format!("index {} of 0..63 ({quality_percent} %)", info.quality.get()));
        line("model", format!("{} ({model})", info.model_id));
    }
    line("tiles", format!("{} of at most {}x{} pixels", info.tiles, info.tile_size, info.tile_size));
    line("file", format!("{} bytes, {bpp:.3} bits per pixel, format version {}", info.file_bytes, info.version));
    match breakdown {
        Some(Ok(parts)) => {
            let share = |bytes: u64| format!("{bytes} bytes ({:.1} %)", 100.0 * bytes as f64 / info.file_bytes as f64);
            for (name, bytes) in [
                ("  samples", parts.samples),
                ("  y", parts.y),
                ("  z", parts.z),
                ("  alpha", parts.alpha),
                ("  metadata", parts.metadata),
                ("  preview", parts.preview),
            ] {
                if bytes > 0 {
                    line(name, share(bytes));
                }
            }
            line("  overhead", share(parts.overhead));
        }
        None => {}
        Some(Err(error)) => line("  parts", format!("not known: {error}")),
    }
    session.console.result(format_args!("{input}\n{}", text.trim_end()))
}

fn orientation(info: &aei::Info) -> String {
    let how = match info.orientation {
        Orientation::Normal => return "1, upright as stored".into(),
        Orientation::FlipHorizontal => "mirrored left to right",
        Orientation::Rotate180 => "turned by half",
        Orientation::FlipVertical => "mirrored top to bottom",
        Orientation::Transpose => "rows and columns swapped",
        Orientation::Rotate90 => "turned clockwise by a quarter",
        Orientation::Transverse => "rows and columns swapped, turned by half",
        Orientation::Rotate270 => "turned counter-clockwise by a quarter",
    };
    let (width, height) = if info.orientation.swaps_sides() { (info.height, info.width) } else { (info.width, info.height) };
    format!("{}, {how} for display: {width}x{height}", info.orientation.to_exif())
}
