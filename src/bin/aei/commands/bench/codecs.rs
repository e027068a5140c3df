//! The codecs that are compared: how each is called, at which settings, and whether it is installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;

use super::measure::Source;

/// What `--codecs` chooses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Family {
    Aei,
    AeiEffort,
    AeiVisual,
    Jpeg,
    Mozjpeg,
    Webp,
    Avif,
    Jxl,
}

impl Family {
    pub(super) fn codecs(self) -> &'static [Codec] {
        match self {
            Self::Aei => &[Codec::Aei],
            Self::AeiEffort => &[Codec::AeiEffort],
            Self::AeiVisual => &[Codec::AeiVisual],
            Self::Jpeg => &[Codec::Jpeg],
            Self::Mozjpeg => &[Codec::Mozjpeg420, Codec::Mozjpeg444],
            Self::Webp => &[Codec::Webp],
            Self::Avif => &[Codec::Avif, Codec::AvifSsim],
            Self::Jxl => &[Codec::Jxl],
        }
    }
}

/// A codec with its way of encoding; one curve in the plots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Aei,
    /// With all the work that it can put into a file.
    AeiEffort,
    AeiVisual,
    Jpeg,
    Mozjpeg420,
    Mozjpeg444,
    Webp,
    Avif,
    AvifSsim,
    Jxl,
}

/// Words of a command line.
macro_rules! words {
    ($($word:expr),* $(,)?) => { vec![$(OsString::from($word)),*] };
}

impl Codec {
    /// As in `results.csv`.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Aei => "aei",
            Self::AeiEffort => "aei-effort",
            Self::AeiVisual => "aei-visual",
            Self::Jpeg => "jpeg",
            Self::Mozjpeg420 => "mozjpeg-420",
            Self::Mozjpeg444 => "mozjpeg-444",
            Self::Webp => "webp",
            Self::Avif => "avif",
            Self::AvifSsim => "avif-ssim",
            Self::Jxl => "jxl",
        }
    }

    /// As in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Aei => "aei",
            Self::AeiEffort => "aei, effort 5",
            Self::AeiVisual => "aei, effort 5, tune visual",
            Self::Jpeg => "JPEG",
            Self::Mozjpeg420 => "mozjpeg 4:2:0",
            Self::Mozjpeg444 => "mozjpeg 4:4:4",
            Self::Webp => "WebP",
            Self::Avif => "AVIF, tune=psnr",
            Self::AvifSsim => "AVIF, tune=ssim",
            Self::Jxl => "JPEG XL",
        }
    }

    pub(super) fn colour(self) -> &'static str {
        match self {
            Self::Aei => "#e11d48",
            Self::AeiEffort => "#8f0d2e",
            Self::AeiVisual => "#5b0a78",
            Self::Jpeg => "#57606a",
            Self::Mozjpeg420 => "#8a5a00",
            Self::Mozjpeg444 => "#d99a00",
            Self::Webp => "#0f9d8a",
            Self::Avif => "#1d5fd6",
            Self::AvifSsim => "#6aa7f8",
            Self::Jxl => "#7c3aed",
        }
    }

    /// What the ladder's numbers are and everything else that decides the file; part of the key of a measurement.
    pub(super) fn settings(self) -> &'static str {
        match self {
            Self::Aei => "--quality-index",
            Self::AeiEffort => "--effort 5 --quality-index",
            Self::AeiVisual => "--effort 5 --tune visual --quality-index",
            Self::Jpeg => "quality; 4:4:4, baseline, standard Huffman tables",
            Self::Mozjpeg420 => "quality; 4:2:0, progressive, trellis, optimised scans",
            Self::Mozjpeg444 => "quality; 4:4:4, progressive, trellis, optimised scans",
            Self::Webp => "-q; -m 6",
            Self::Avif => "cq-level; -s 6 -y 444 (gray: 400) -a end-usage=q -a tune=psnr",
            Self::AvifSsim => "cq-level; -s 6 -y 444 (gray: 400) -a end-usage=q -a tune=ssim",
            Self::Jxl => "-d; -e 7",
        }
    }

    /// Settings from small files to good pictures. Ladders are spaced evenly along these.
    fn knots(self) -> [f64; 8] {
        match self {
            Self::Aei | Self::AeiEffort | Self::AeiVisual => [0., 9., 18., 27., 36., 45., 54., 63.],
            Self::Jpeg | Self::Mozjpeg420 | Self::Mozjpeg444 => [5., 12., 25., 40., 60., 75., 87., 95.],
            Self::Webp => [0., 10., 25., 45., 65., 80., 90., 97.],
            Self::Avif | Self::AvifSsim => [58., 50., 43., 36., 29., 22., 15., 8.],
            Self::Jxl => [14., 9., 6., 4.2, 2.8, 1.8, 1.1, 0.6],
        }
    }

    /// The setting at a place from 0 (smallest files) to 1.
    pub(super) fn setting(self, place: f64) -> f64 {
        let knots = self.knots();
        let at = place.clamp(0.0, 1.0) * (knots.len() - 1) as f64;
        let below = (at as usize).min(knots.len() - 2);
        let value = knots[below] + (knots[below + 1] - knots[below]) * (at - below as f64);
        let steps = if self == Self::Jxl { 100.0 } else { 1.0 };
        (value * steps).round() / steps
    }

    /// The settings to measure.
    pub(super) fn ladder(self, points: u8) -> Vec<f64> {
        let mut ladder: Vec<f64> = (0..points).map(|i| self.setting(f64::from(i) / f64::from(points - 1))).collect();
        ladder.dedup();
        ladder
    }

    /// Settings that were measured, sorted by number, from small files to good pictures.
    pub(super) fn in_order(self, mut settings: Vec<f64>) -> Vec<f64> {
        let knots = self.knots();
        if knots[0] > knots[knots.len() - 1] {
            settings.reverse();
        }
        settings
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Aei | Self::AeiEffort | Self::AeiVisual => "aei",
            Self::Jpeg | Self::Mozjpeg420 | Self::Mozjpeg444 => "jpg",
            Self::Webp => "webp",
            Self::Avif | Self::AvifSsim => "avif",
            Self::Jxl => "jxl",
        }
    }

    /// Encodes a picture's PNG with one thread. Ours is not to store samples as they are: curves are about what the networks do.
    pub(super) fn encode(self, aei: &Aei, setting: f64, source: &Source, file: &Path) -> Vec<OsString> {
        let (number, input) = (setting.to_string(), &source.png);
        let avif = |tune: &str| {
            let level = format!("cq-level={number}");
            let mut line = words![
                "avifenc",
                "-j",
                "1",
                "-s",
                "6",
                "-y",
                if source.is_gray { "400" } else { "444" },
                "--min",
                "0",
                "--max",
                "63",
                "-a",
                "end-usage=q",
                "-a",
                level
            ];
            line.extend(words!["-a", format!("tune={tune}"), input, file]);
            line
        };
        match self {
            Self::Aei | Self::AeiEffort | Self::AeiVisual => {
                let effort = if self == Self::Aei { "--effort=0" } else { "--effort=5" };
                let tune = if self == Self::AeiVisual { "--tune=visual" } else { "--tune=psnr" };
                aei.line(words!["encode", "-Q", "-f", "-j", "1", "--lossless=never", effort, tune, "--quality-index", number, input, "-o", file])
            }
            Self::Jpeg | Self::Mozjpeg420 | Self::Mozjpeg444 => words![&aei.program, "bench", "worker", "jpeg-encode", self.id(), number, input, file],
            Self::Webp => words!["cwebp", "-quiet", "-m", "6", "-q", number, input, "-o", file],
            Self::Avif => avif("psnr"),
            Self::AvifSsim => avif("ssim"),
            Self::Jxl => words!["cjxl", input, file, "-d", number, "-e", "7", "--num_threads=0"],
        }
    }

    /// Decodes to a file that aei reads, the one that [`Codec::decoded`] names, with one thread.
    pub(super) fn decode(self, aei: &Aei, input: &Path, output: &Path) -> Vec<OsString> {
        match self {
            Self::Aei | Self::AeiEffort | Self::AeiVisual => aei.line(words!["decode", "-Q", "-f", "-j", "1", input, "-o", output]),
            Self::Jpeg | Self::Mozjpeg420 | Self::Mozjpeg444 => words![&aei.program, "bench", "worker", "jpeg-decode", self.id(), input, output],
            Self::Webp => words!["dwebp", "-quiet", "-ppm", input, "-o", output],
            Self::Avif | Self::AvifSsim => words!["avifdec", "-j", "1", "--png-compress", "0", input, output],
            Self::Jxl => words!["djxl", input, output, "--num_threads=0"],
        }
    }

    /// Names of the coded and of the decoded file. The latter is one that costs little to write.
    pub(super) fn files(self, folder: &Path) -> (PathBuf, PathBuf) {
        let decoded = if matches!(self, Self::Avif | Self::AvifSsim) { "decoded.png" } else { "decoded.ppm" };
        (folder.join("coded").with_extension(self.extension()), folder.join(decoded))
    }

    /// Version of the codec, or what is missing.
    pub(super) fn version(self, aei: &Aei) -> Result<String, String> {
        match self {
            Self::Aei | Self::AeiEffort | Self::AeiVisual => Ok(aei.version.clone()),
            Self::Jpeg => Ok(format!("crate image {}", locked_version("image"))),
            Self::Mozjpeg420 | Self::Mozjpeg444 => Ok(format!("crate mozjpeg-sys {}", locked_version("mozjpeg-sys"))),
            Self::Webp => {
                ask("dwebp", "-version")?;
                Ok(format!("libwebp {}", first_word(&ask("cwebp", "-version")?)))
            }
            Self::Avif | Self::AvifSsim => {
                ask("avifdec", "--version")?;
                let text = ask("avifenc", "--version")?;
                let after = |label: &str| text.split_once(label).map_or("?", |(_, rest)| first_word(rest));
                Ok(format!("libavif {}, libaom {}", after("Version:"), after("aom [enc/dec]:").trim_start_matches('v').trim_end_matches(',')))
            }
            Self::Jxl => {
                ask("djxl", "--version")?;
                let text = ask("cjxl", "--version")?;
                Ok(format!("libjxl {}", text.split_whitespace().nth(1).unwrap_or("?").trim_start_matches('v')))
            }
        }
    }
}

/// How to call aei itself.
pub(super) struct Aei {
    pub(super) program: OsString,
    /// With the identity of the model.
    pub(super) version: String,
    /// A file, where it is not the embedded one.
    pub(super) model: Option<PathBuf>,
}

impl Aei {
    /// Natively, whatever this machine has; pictures that are too large were refused before.
    fn line(&self, mut words: Vec<OsString>) -> Vec<OsString> {
        words.extend(words!["--exact", "--no-limits"]);
        if let Some(model) = &self.model {
            words.extend(words!["--model", model]);
        }
        words.insert(0, self.program.clone());
        words
    }
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or("?")
}

/// What a tool says about its version.
fn ask(tool: &str, argument: &str) -> Result<String, String> {
    let output = Command::new(tool).arg(argument).stdin(Stdio::null()).output().map_err(|_| format!("{tool} is not installed"))?;
    if !output.status.success() {
        return Err(format!("{tool} does not work ({tool} {argument}: {})", output.status));
    }
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Version of a crate that is linked.
fn locked_version(name: &str) -> &'static str {
    let lock = include_str!("../../../../../Cargo.lock");
    lock.split_once(&format!("name = \"{name}\"\nversion = \"")).and_then(|(_, rest)| rest.split('"').next()).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ladders_go_from_end_to_end() {
        for codec in Family::value_variants().iter().flat_map(|f| f.codecs()) {
            let knots = codec.knots();
            for points in 2..=16 {
                let ladder = codec.ladder(points);
                assert_eq!((ladder.len(), ladder[0], ladder[ladder.len() - 1]), (points.into(), knots[0], knots[7]), "{}", codec.id());
                assert!(ladder.is_sorted() || ladder.iter().rev().is_sorted());
            }
            assert_eq!(codec.ladder(8), knots);
        }
    }

    #[test]
    fn linked_crates_have_versions() {
        for name in ["image", "mozjpeg-sys"] {
            assert!(locked_version(name).starts_with(|c: char| c.is_ascii_digit()), "{name}");
        }
    }
}
