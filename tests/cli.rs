//! The `aei` program, seen from outside.
#![cfg(feature = "cli")]

use std::fs;
use std::path::{Path, PathBuf};

use aei::{FileFormat, Orientation, Picture, read_picture, write_picture};
use assert_cmd::Command;
use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

/// A folder of its own, in which the program runs.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Names of all files, sorted.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("aei"));
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Assert {
        self.command(arguments).assert()
    }

    /// Runs what must fail: with this code, and one line on standard error that contains `message`.
    fn fails(&self, code: i32, message: &str, arguments: &[&str]) {
        let assert = self.run(arguments).code(code).stderr(contains(message));
        let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(text.starts_with("aei: ") && text.lines().count() == 1, "{text}");
    }
}

/// Smooth, and different in every direction.
fn rgb(width: u32, height: u32) -> Picture {
    let pixel = |x: u32, y: u32| [(40 + x * 170 / width) as u8, (30 + y * 190 / height) as u8, (60 + (x * 60 / width) + (y * 30 / height)) as u8];
    Picture::rgb(width, height, (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect()).unwrap()
}

fn gray(width: u32, height: u32) -> Picture {
    Picture::gray(width, height, rgb(width, height).samples().chunks(3).map(|p| p[0]).collect()).unwrap()
}

fn png(picture: &Picture) -> Vec<u8> {
    write_picture(picture, FileFormat::Png).unwrap()
}

fn picture(bytes: &[u8]) -> Picture {
    read_picture(bytes).unwrap().0
}

fn assert_close(a: &Picture, b: &Picture) {
    assert_eq!((a.width(), a.height(), a.channels()), (b.width(), b.height(), b.channels()));
    let sum: u64 = a.samples().iter().zip(b.samples().iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    let mean = sum as f64 / a.samples().len() as f64;
    assert!(mean < 8.0, "samples differ by {mean} on average");
}

/// A folder with `photo.png` and `photo.aei`.
fn photo() -> Place {
    let place = Place::new();
    place.write("photo.png", png(&rgb(64, 48)));
    place.run(&["encode", "photo.png"]).success();
    place
}

#[test]
fn encode_and_decode_beside_the_input() {
    let place = photo();
    place.run(&["encode", "photo.png", "-f"]).success().stdout("").stderr(contains("photo.png -> photo.aei  64x48").and(contains("bpp")));
    fs::remove_file(place.path("photo.png")).unwrap();
    place.run(&["decode", "photo.aei"]).success().stdout("").stderr(contains("photo.aei -> photo.png  64x48"));
    assert_close(&picture(&place.read("photo.png")), &rgb(64, 48));
    assert_eq!(place.names(), ["photo.aei", "photo.png"]);
}

#[test]
fn gray_stays_gray_and_odd_sizes_stay() {
    for (width, height) in [(1, 1), (65, 3), (7, 130)] {
        let place = Place::new();
        place.write("gray.png", png(&gray(width, height))).write("rgb.png", png(&rgb(width, height)));
        // A gradient over three rows is no easy picture.
        place.run(&["encode", "gray.png", "rgb.png", "-q", "100"]).success();
        place.run(&["decode", "gray.aei", "rgb.aei", "-f"]).success();
        assert_close(&picture(&place.read("gray.png")), &gray(width, height));
        assert_close(&picture(&place.read("rgb.png")), &rgb(width, height));
    }
}

#[test]
fn output_to_a_file_or_a_folder() {
    let place = photo();
    place.run(&["encode", "photo.png", "-o", "other.aei"]).success();
    assert_eq!(place.read("other.aei"), place.read("photo.aei"));
    place.run(&["encode", "photo.png", "-o", "new/folder/"]).success();
    assert_eq!(place.read("new/folder/photo.aei"), place.read("photo.aei"));
    fs::create_dir(place.path("old")).unwrap();
    place.run(&["decode", "photo.aei", "other.aei", "-o", "old"]).success();
    assert_eq!(place.read("old/photo.png"), place.read("old/other.png"));
    // Only our own extensions are replaced.
    place.write("report.v2", place.read("photo.png"));
    place.run(&["encode", "report.v2"]).success();
    place.run(&["decode", "report.v2.aei"]).success();
    assert!(place.path("report.v2.png").exists());
}

#[test]
fn every_writable_format_by_extension_and_by_option() {
    let place = photo();
    place.run(&["decode", "photo.aei", "-f"]).success();
    let decoded = picture(&place.read("photo.png"));
    for format in FileFormat::WRITABLE {
        let name = format!("by-name.{}", format.extension().to_uppercase());
        place.run(&["decode", "photo.aei", "-o", &name]).success();
        assert_eq!(FileFormat::guess(&place.read(&name)), Some(format));
        assert_close(&picture(&place.read(&name)), &decoded);
        place.run(&["decode", "photo.aei", "--format", format.extension(), "-o", "out/"]).success();
        assert_eq!(place.read(&format!("out/photo.{}", format.extension())), place.read(&name));
    }
}

#[test]
fn standard_input_and_output() {
    let place = photo();
    let encoded = place.command(&["encode", "-"]).write_stdin(place.read("photo.png")).assert().success();
    assert_eq!(encoded.get_output().stdout, place.read("photo.aei"));
    let decoded = place.command(&["decode", "-"]).write_stdin(place.read("photo.aei")).assert().success();
    assert_eq!(FileFormat::guess(&decoded.get_output().stdout), Some(FileFormat::Png));
    assert_close(&picture(&decoded.get_output().stdout), &rgb(64, 48));
    // Even where a folder is called so.
    fs::create_dir(place.path("-")).unwrap();
    let decoded = place.run(&["decode", "photo.aei", "-o", "-", "--format", "pnm"]).success();
    assert!(decoded.get_output().stdout.starts_with(b"P6"));
    place.command(&["info", "-"]).write_stdin(place.read("photo.aei")).assert().success().stdout(contains("64x48"));
}

#[test]
fn existing_files_are_kept_without_force() {
    let place = photo();
    let before = place.read("photo.png");
    place.fails(3, "photo.aei: this file exists already; use -f", &["encode", "photo.png"]);
    place.fails(3, "photo.png: this file exists already", &["decode", "photo.aei"]);
    assert_eq!(place.read("photo.png"), before);
    place.run(&["decode", "photo.aei", "-f"]).success();
    assert_ne!(place.read("photo.png"), before);
    // A file may replace itself: it is read before it is written.
    place.run(&["encode", "photo.png", "-fo", "photo.png"]).success();
    assert!(place.read("photo.png").starts_with(b"\x89AEI"));
    assert_eq!(place.names(), ["photo.aei", "photo.png"]);
}

#[test]
fn mistakes_in_the_command_line() {
    let place = photo();
    place.write("photo.bmp", "");
    for (message, arguments) in [
        ("several inputs", &["encode", "photo.png", "photo.bmp", "-o", "one.aei"][..]),
        ("both be written to photo.aei", &["encode", "photo.png", "photo.bmp"]),
        ("both be written to", &["encode", "photo.png", "./photo.png"]),
        ("does not end in a format", &["decode", "photo.aei", "-o", "photo.xyz"]),
        ("does not end in a format", &["decode", "photo.aei", "-o", "photo.gif"]),
        ("--json", &["encode", "photo.png", "--json", "-o", "-"]),
        ("no name", &["encode", "-", "-o", "./"]),
        ("no name of a file; the files in a folder are taken with -r", &["encode", ".."]),
        ("-r", &["encode", ".", "-o", "new/"]),
        ("-o has no name", &["encode", "photo.png", "-o", ""]),
        ("aei: \"\": this is no name of a file", &["encode", ""]),
        ("-5 bits per pixel cannot be", &["encode", "photo.png", "-f", "--bpp", "-5"]),
        ("an SSIMULACRA2 score of 100.5 cannot be reached: 100 is the best", &["encode", "photo.png", "-f", "--ssimulacra2", "100.5"]),
        ("--json and the model", &["export-model", "--json", "-"]),
        ("--lossless=never", &["encode", "--lossless", "never", "photo.png", "-o", "one.aei"]),
        ("--strip=all", &["encode", "--strip", "all", "photo.png"]),
    ] {
        place.fails(2, message, arguments);
    }
    for arguments in [
        &["encode"][..],
        &["paint", "photo.png"],
        &["encode", "photo.png", "-q", "101"],
        &["encode", "photo.png", "--quality-index", "64"],
        &["encode", "photo.png", "--quality-index", "6", "-q", "6"],
        &["encode", "photo.png", "--tile-size", "300"],
        &["encode", "photo.png", "-j", "0"],
        &["encode", "photo.png", "--max-memory", "much"],
        &["decode", "photo.aei", "--format", "gif"],
        &["encode", "photo.png", "-v", "-Q"],
    ] {
        place.run(arguments).code(2).stdout("").stderr(contains("--help"));
    }
    place.command(&["encode", "photo.png", "-f"]).env("AEI_KERNEL", "abacus").assert().code(2).stderr(contains("AEI_KERNEL"));
    assert_eq!(place.names(), ["photo.aei", "photo.bmp", "photo.png"], "nothing was written");
}

#[test]
fn files_that_cannot_be_read_or_written() {
    let place = photo();
    fs::create_dir(place.path("folder.png")).unwrap();
    place.fails(3, "nothing.png: there is no such file", &["encode", "nothing.png"]);
    place.fails(3, "nothing.aei: there is no such file", &["decode", "nothing.aei"]);
    place.fails(3, "nothing.aei: there is no such file", &["info", "nothing.aei"]);
    place.fails(3, "nothing.aem: there is no such file", &["info", "photo.aei", "--model", "nothing.aem"]);
    place.fails(3, "folder.png: this is a folder", &["encode", "folder.png"]);
    place.fails(3, "no/where.aei: there is no such file or folder", &["encode", "photo.png", "-o", "no/where.aei"]);
    place.fails(3, "photo.png/", &["encode", "photo.png", "-o", "photo.png/"]);
    fs::create_dir(place.path("taken")).unwrap();
    fs::create_dir(place.path("taken/photo.png")).unwrap();
    place.fails(3, "this is a folder", &["decode", "photo.aei", "-o", "taken"]);
    place.fails(3, "aei: photo.png: this is not a folder", &["man", "-o", "photo.png"]);
    // It is told before the work, and not by what the system calls it.
    // Windows says of such a name that the folder was not found.
    let long = if cfg!(windows) { ".aei: there is no such file or folder" } else { ".aei: this name is too long" };
    place.fails(3, long, &["encode", "photo.png", "-o", &format!("{}.aei", "n".repeat(300))]);
}

#[test]
fn damaged_truncated_and_foreign_files() {
    let place = photo();
    let (file, source) = (place.read("photo.aei"), place.read("photo.png"));
    place.write("half.aei", &file[..file.len() / 2]).write("short.aei", &file[..5]).write("empty.aei", "").write("text.aei", "hello");
    let mut damaged = file.clone();
    damaged[file.len() - 20] ^= 1;
    place.write("bad.aei", damaged).write("cut.png", &source[..source.len() / 2]).write("words.png", "hello");
    for command in ["decode", "info"] {
        place.fails(4, "photo.png: this is a PNG picture, not an aei file; did you mean `aei encode`?", &[command, "photo.png"]);
        place.fails(4, "half.aei: ", &[command, "half.aei"]);
        place.fails(4, "short.aei: the file is truncated", &[command, "short.aei"]);
        place.fails(4, "empty.aei: the file is empty", &[command, "empty.aei"]);
        place.fails(4, "text.aei: this is not an aei file", &[command, "text.aei"]);
        place.fails(4, "bad.aei: ", &[command, "bad.aei"]);
    }
    place.fails(4, "photo.aei: this is an aei file already; did you mean `aei decode`?", &["encode", "photo.aei", "-o", "x.aei"]);
    place.fails(4, "cut.png: the file is ", &["encode", "cut.png", "-f"]);
    place.fails(4, "words.png: this is not a picture that aei reads", &["encode", "words.png", "-f"]);
    assert!(!place.path("cut.aei").exists() && !place.path("x.aei").exists() && !place.path("bad.png").exists());
}

#[test]
fn limits_from_the_command_line() {
    let place = photo();
    place.fails(5, "raise --max-pixels", &["encode", "photo.png", "-f", "--max-pixels", "3071"]);
    place.run(&["encode", "photo.png", "-f", "--max-pixels", "3072"]).success();
    place.fails(5, "photo.aei: ", &["decode", "photo.aei", "-f", "--max-pixels", "3071"]);
    place.fails(5, "photo.png: ", &["encode", "photo.png", "-f", "--max-memory", "1K"]);
    place.fails(5, "photo.aei: ", &["decode", "photo.aei", "-f", "--max-memory", "1K"]);
    // What is to be raised for metadata is the memory, too.
    let mut metadata = aei::Metadata::default();
    metadata.xmp = Some(vec![b' '; (64 << 20) + 1]);
    place.write("much.webp", write_picture(&rgb(8, 8).with_metadata(metadata), FileFormat::WebP).unwrap());
    place.fails(5, "bytes of metadata allowed; if you trust the file, raise --max-pixels or --max-memory", &["encode", "much.webp"]);
    place.run(&["encode", "much.webp", "--max-memory", "1G"]).success();
    place.fails(5, "raise --max-pixels or --max-memory", &["decode", "much.aei"]);
    place.run(&["decode", "much.aei", "--max-memory", "1G"]).success();
}

/// The same file, but made with another model, as its header says.
fn of_another_model(mut file: Vec<u8>) -> Vec<u8> {
    // Signature, length and type, then 24 bytes of which the last 8 are the model's id, then the sum (SPEC 2.3).
    file[16 + 16] ^= 0xFF;
    let sum = crc32fast::hash(&file[8..8 + 4].iter().chain(&file[16..40]).copied().collect::<Vec<u8>>());
    file[40..44].copy_from_slice(&sum.to_le_bytes());
    file
}

#[test]
fn another_model() {
    let place = photo();
    place.run(&["encode", "photo.png", "-f", "--lossless=never"]).success();
    place.write("other.aei", of_another_model(place.read("photo.aei"))).write("bad.aem", "no model");
    place.fails(6, "model", &["decode", "other.aei"]);
    place.fails(6, "bad.aem: this is not an aei model file", &["decode", "photo.aei", "-f", "--model", "bad.aem"]);
    // What is known without the model is told.
    place.run(&["info", "--parts", "other.aei"]).success().stdout(contains("64x48").and(contains("not the built-in one")).and(contains("not known")));
    let info = place.run(&["info", "other.aei", "--json"]).success();
    let info: serde_json::Value = serde_json::from_slice(&info.get_output().stdout).unwrap();
    assert_eq!((&info["model_embedded"], &info["bytes"]), (&false.into(), &serde_json::Value::Null));

    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/aei1/model.aem");
    place.run(&["encode", "photo.png", "-o", "same.aei", "--lossless=never", "--model", model.to_str().unwrap()]).success();
    assert_eq!(place.read("same.aei"), place.read("photo.aei"));
}

/// As in a PNG file with an EXIF chunk: little-endian, one entry, the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    [&b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[orientation, 0, 0, 0], &[0; 4]].concat()
}

fn png_with(pixels: &[u8], width: u32, height: u32, colour: image::ExtendedColorType, exif: Option<Vec<u8>>) -> Vec<u8> {
    use image::ImageEncoder as _;
    let mut file = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
    if let Some(exif) = exif {
        encoder.set_exif_metadata(exif).unwrap();
    }
    encoder.write_image(pixels, width, height, colour).unwrap();
    file
}

#[test]
fn all_orientations_come_out_upright() {
    let original = rgb(52, 36);
    for value in 1..=8 {
        let place = Place::new();
        place.write("photo.png", png_with(&original.samples(), 52, 36, image::ExtendedColorType::Rgb8, Some(exif(value))));
        place.run(&["encode", "photo.png", "--quality-index", "63"]).success();
        place.run(&["decode", "photo.aei", "-o", "upright.png"]).success();
        place.run(&["info", "photo.aei"]).success().stdout(contains(format!("orientation  {value}, ")));

        // As stored, by the library; turned, by the `image` crate.
        let stored = aei::Decoder::new(&place.read("photo.aei")[..]).unwrap().decode().unwrap();
        assert_eq!((stored.width(), stored.height(), Some(stored.orientation())), (52, 36, Orientation::from_exif(value)));
        let turn = |picture: &Picture| {
            let mut turned = image::DynamicImage::from(image::RgbImage::from_raw(52, 36, picture.samples().to_vec()).unwrap());
            turned.apply_orientation(image::metadata::Orientation::from_exif(value).unwrap());
            Picture::rgb(turned.width(), turned.height(), turned.into_rgb8().into_raw()).unwrap()
        };
        let upright = picture(&place.read("upright.png"));
        assert_eq!(upright.samples(), turn(&stored).samples(), "orientation {value}");
        assert_close(&upright, &turn(&original));
    }
}

#[test]
fn previews_have_the_depth_and_the_channels_that_are_told() {
    let place = Place::new();
    let deep: Vec<u16> = (0..20 * 20 * 4).map(|i| (i * 40_503 % 65_536) as u16).collect();
    place.write("deep.png", png_with(bytemuck::cast_slice(&deep), 20, 20, image::ExtendedColorType::Rgba16, None));
    place.run(&["encode", "--lossless", "--preview", "deep.png"]).success();
    for (arguments, depth) in [(&[][..], 8), (&["--depth", "8"], 8), (&["--depth", "16"], 16)] {
        let output = place.run(&[&["decode", "deep.aei", "-f", "--json", "--preview", "-o", "p.png"], arguments].concat()).success();
        let told: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
        let preview = picture(&place.read("p.png"));
        assert_eq!((&told["depth"], &told["channels"]), (&depth.into(), &3.into()), "{arguments:?}");
        assert_eq!((u64::from(preview.depth().bits()), preview.channels()), (depth, aei::Channels::Rgb), "{arguments:?}");
    }
}

#[test]
fn deep_samples_come_back_from_lossless_files() {
    let place = Place::new();
    let deep: Vec<u16> = (0..20 * 20 * 3).map(|i| (i * 40_503 % 65_536) as u16).collect();
    place.write("deep.png", png_with(bytemuck::cast_slice(&deep), 20, 20, image::ExtendedColorType::Rgb16, None));
    place.run(&["encode", "--lossless", "deep.png"]).success();
    let depth_of = |arguments: &[&str]| {
        let output = place.run(&[&["decode", "deep.aei", "-f", "--json"], arguments].concat()).success();
        serde_json::from_slice::<serde_json::Value>(&output.get_output().stdout).unwrap()["depth"].as_u64().unwrap()
    };
    for name in ["again.png", "again.tiff", "again.ppm"] {
        assert_eq!(depth_of(&["-o", name]), 16);
        assert_eq!(*picture(&place.read(name)).data(), aei::Samples::U16(deep.clone()), "{name}");
    }
    assert_eq!(depth_of(&["-o", "eight.png", "--depth", "8"]), 8);
    assert_eq!(picture(&place.read("eight.png")).depth(), aei::SampleDepth::Eight);
    place.run(&["decode", "deep.aei", "-o", "deep.webp"]).success().stderr(contains("deep.webp: note: WebP is written with 8 bits"));
    // Lossy, most of the bits would be noise.
    place.run(&["encode", "--lossless=never", "-f", "deep.png"]).success();
    assert_eq!(depth_of(&["-o", "lossy.png"]), 8);
}

#[test]
fn what_is_lost_is_said() {
    let place = Place::new();
    let wide: Vec<u8> = gray(20, 20).samples().iter().flat_map(|v| (u16::from(*v) * 257).to_ne_bytes()).collect();
    place.write("wide.png", png_with(&wide, 20, 20, image::ExtendedColorType::L16, None));
    place.run(&["encode", "wide.png"]).success().stderr(contains("note").not());
    place.run(&["info", "wide.aei"]).success().stdout(contains("gray, from 16-bit samples"));
    place.run(&["decode", "wide.aei", "-f"]).success().stderr(contains("note").not());
    assert_close(&picture(&place.read("wide.png")), &gray(20, 20));
    place.run(&["decode", "wide.aei", "--depth", "16", "-o", "wide.webp"]).success().stderr(contains("wide.webp: note: WebP is written with 8 bits"));

    let opaque: Vec<u8> = rgb(20, 20).samples().chunks(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
    let mut clear = opaque.clone();
    clear[7] = 254;
    place.write("clear.png", png_with(&clear, 20, 20, image::ExtendedColorType::Rgba8, None));
    place.run(&["encode", "clear.png"]).success().stderr(contains("note").not());
    place.run(&["decode", "clear.aei", "-o", "flat.jpg"]).success().stderr(contains("flat.jpg: note: JPEG has no transparency"));
    place.run(&["decode", "clear.aei", "-fQ", "-o", "flat.jpg"]).success().stderr("");

    let mut gif = Vec::new();
    let frame = || image::Frame::new(image::RgbaImage::from_raw(20, 20, opaque.clone()).unwrap());
    image::codecs::gif::GifEncoder::new(&mut gif).encode_frames([frame(), frame()]).unwrap();
    place.write("moving.gif", gif);
    place.run(&["encode", "moving.gif"]).success().stderr(contains("it holds 2 pictures; only the first was read").and(contains("alpha").not()));
}

#[test]
fn work_goes_on_after_a_failure() {
    let place = Place::new();
    place.write("a.png", "no picture").write("b.png", png(&rgb(8, 8))).write("d.png", png(&gray(8, 8)));
    // The code is that of the first failure, not of the last.
    let assert = place.run(&["encode", "a.png", "b.png", "c.png", "d.png"]).code(4);
    let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("aei: ")).count(), 2, "{text}");
    assert_eq!(place.names(), ["a.png", "b.aei", "b.png", "d.aei", "d.png"]);
}

#[test]
fn json_is_all_there_is_on_standard_output() {
    let place = Place::new();
    place.write("a.png", png(&rgb(40, 30))).write("b.png", "no picture");
    let objects = |arguments: &[&str], code: i32| -> Vec<serde_json::Value> {
        let assert = place.run(arguments).code(code);
        let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let encoded = objects(&["encode", "--json", "a.png", "b.png"], 4);
    assert_eq!(encoded.len(), 2);
    assert_eq!((&encoded[0]["output"], &encoded[0]["width"]), (&"a.aei".into(), &40.into()));
    assert_eq!(encoded[0]["output_bytes"], place.read("a.aei").len());
    assert_eq!((&encoded[1]["input"], &encoded[1]["error"]["code"]), (&"b.png".into(), &4.into()));
    let info = objects(&["info", "--parts", "--json", "a.aei"], 0);
    let bytes = &info[0]["bytes"];
    let sum: u64 = ["samples", "y", "z", "overhead"].iter().map(|part| bytes[part].as_u64().unwrap()).sum();
    assert_eq!(info[0]["file_bytes"], sum);
    assert_eq!(info[0]["model_embedded"], true);
    let decoded = objects(&["decode", "--json", "a.aei", "-o", "c.jpg"], 0);
    assert_eq!(decoded[0]["format"], "jpg");
}

#[test]
fn json_tells_what_was_written() {
    let place = Place::new();
    let deep: Vec<u16> = (0..300 * 20 * 2).map(|i| (i * 40_503 % 65_536) as u16).collect();
    place.write("deep.png", png_with(bytemuck::cast_slice(&deep), 300, 20, image::ExtendedColorType::La16, None));
    place.run(&["encode", "--lossless", "--preview", "deep.png"]).success();
    for options in [&[][..], &["--depth", "8"], &["--depth", "16"], &["--preview"]] {
        for format in FileFormat::WRITABLE {
            let name = format!("again.{}", format.extension());
            let output = place.run(&[&["decode", "deep.aei", "--json", "-fo", &name], options].concat()).success();
            let object: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
            let written = picture(&place.read(&name));
            let told = |what: &str| object[what].as_u64().unwrap();
            // Gray in BMP is a palette, which is read as colours.
            let channels = if format == FileFormat::Bmp && options == ["--preview"] { 1 } else { written.channels().count() as u64 };
            let expected = (channels, written.depth().bits().into(), written.width().into());
            assert_eq!((told("channels"), told("depth"), told("width")), expected, "{name} {options:?}");
        }
    }
}

#[test]
fn quality_threads_and_tiles() {
    let place = Place::new();
    place.write("a.png", png(&rgb(300, 40)));
    let size = |arguments: &[&str]| {
        place.run(&[&["encode", "a.png", "-f", "-v"], arguments].concat()).success().stderr(contains("kernel"));
        place.read("a.aei").len()
    };
    assert!(size(&["-q", "0"]) < size(&["-q", "100"]));
    size(&["-q", "100", "-j", "1"]);
    let best = place.read("a.aei");
    size(&["--quality-index", "63", "-j", "2"]);
    assert_eq!(place.read("a.aei"), best);
    size(&["--tile-size", "256"]);
    place.run(&["info", "a.aei"]).success().stdout(contains("2 of at most 256x256"));
}

#[test]
fn version_and_help() {
    let place = Place::new();
    let version = env!("CARGO_PKG_VERSION");
    place.run(&["-V"]).success().stdout(format!("aei {version}\n"));
    let model = aei::Model::embedded().unwrap().id().to_string();
    place.run(&["--version"]).success().stdout(contains(version).and(contains(model)).and(contains("kernel")));
    for arguments in [&["--help"][..], &["encode", "--help"], &["decode", "--help"], &["info", "--help"]] {
        place.run(arguments).success().stdout(contains("Exit codes:"));
    }
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
    use std::process::Stdio;

    #[test]
    fn permissions_links_and_devices() {
        let place = photo();
        let mode = |name: &str| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
        // photo.png was made by this test, photo.aei by the program: under one umask, they are alike.
        assert_eq!(mode("photo.aei"), mode("photo.png"));
        fs::set_permissions(place.path("photo.aei"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("photo.aei", place.path("link.aei")).unwrap();
        place.run(&["encode", "photo.png", "-fo", "link.aei", "-q", "10"]).success();
        assert!(fs::symlink_metadata(place.path("link.aei")).unwrap().is_symlink());
        assert_eq!((mode("photo.aei"), place.read("photo.aei")), (0o600, place.read("link.aei")));
        // What a link points to need not be there yet.
        fs::create_dir(place.path("folder")).unwrap();
        symlink("folder/new.aei", place.path("ahead.aei")).unwrap();
        place.run(&["encode", "photo.png", "-o", "ahead.aei", "-q", "10"]).success();
        assert!(fs::symlink_metadata(place.path("ahead.aei")).unwrap().is_symlink());
        assert_eq!(place.read("folder/new.aei"), place.read("photo.aei"));
        // A device is written to, not replaced.
        place.run(&["decode", "photo.aei", "-fo", "/dev/null", "--format", "png"]).success();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk() {
        let place = photo();
        for arguments in
            [&["decode", "photo.aei", "-fo", "/dev/full", "--format", "png"][..], &["encode", "photo.png", "-fo", "/dev/full"], &["export-model", "/dev/full"]]
        {
            place.fails(3, "aei: /dev/full: the disk is full; make room or choose another place", arguments);
        }
        // More than fits into what is held back.
        let noise = (0..300u32 * 300).map(|i| (i.wrapping_mul(2654435761) >> 24) as u8).collect();
        place.write("noise.png", png(&Picture::gray(300, 300, noise).unwrap()));
        place.run(&["encode", "--lossless", "noise.png"]).success();
        place.fails(3, "aei: /dev/full: the disk is full", &["decode", "noise.aei", "-fo", "/dev/full", "--format", "png"]);
    }

    #[test]
    fn links_to_one_file() {
        let place = photo();
        place.write("other.png", png(&rgb(20, 20)));
        fs::create_dir(place.path("out")).unwrap();
        for there in [false, true] {
            if there {
                place.write("one.aei", "");
            } else {
                symlink("../one.aei", place.path("out/photo.aei")).unwrap();
                symlink("photo.aei", place.path("out/other.aei")).unwrap();
            }
            place.fails(2, "both be written to", &["encode", "-f", "photo.png", "other.png", "-o", "out"]);
        }
    }

    #[test]
    fn named_pipes_are_read_once() {
        let place = photo();
        place.run(&["decode", "photo.aei", "-o", "decoded.png"]).success();
        let pipe = place.path("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (arguments, input, expected) in
            [(["encode", "pipe", "-fo", "again.aei"], "photo.png", "photo.aei"), (["decode", "pipe", "-fo", "again.png"], "photo.aei", "decoded.png")]
        {
            // What is opened twice may lose its writer in between, or not.
            for _ in 0..20 {
                let (pipe, bytes) = (pipe.clone(), place.read(input));
                let writer = std::thread::spawn(move || fs::write(pipe, bytes));
                place.command(&arguments).timeout(std::time::Duration::from_secs(30)).assert().success();
                writer.join().unwrap().unwrap();
                assert!(place.read(arguments[3]) == place.read(expected));
            }
        }
    }

    #[test]
    fn a_reader_that_leaves_is_no_crash() {
        let place = photo();
        for (arguments, code) in [(&["info", "photo.aei"][..], 0), (&["info", "--json", "photo.aei"], 0), (&["decode", "photo.aei", "-o", "-"], 3)] {
            let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("aei"));
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let output = command.current_dir(place.0.path()).args(arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(code), "{text}");
            assert!(!text.contains("panicked"), "{text}");
        }
    }

    #[test]
    fn names_that_are_no_text() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;
        let place = photo();
        let name = OsStr::from_bytes(b"a\nb\xFF.png");
        fs::copy(place.path("photo.png"), place.0.path().join(name)).unwrap();
        let assert = place.command(&["encode"]).arg(name).assert().success();
        assert_eq!(String::from_utf8(assert.get_output().stderr.clone()).unwrap().lines().count(), 1);
        assert!(place.0.path().join(OsStr::from_bytes(b"a\nb\xFF.aei")).exists());
    }
}

#[test]
fn folders_keep_their_tree() {
    let place = Place::new();
    fs::create_dir_all(place.path("in/deep/deeper")).unwrap();
    fs::create_dir_all(place.path("empty")).unwrap();
    place.write("in/a.png", png(&rgb(20, 10))).write("in/deep/deeper/b.PNG", png(&gray(9, 7))).write("in/notes.txt", "no picture");
    // The folder for outputs lies within the one for inputs: the second run must not take the first one's results for inputs.
    for force in [&[][..], &["-f"]] {
        place.run(&[&["encode", "-r", "in", "-o", "in/out/"], force].concat()).success();
    }
    place.run(&["decode", "--recursive", "in/out", "-o", "back/"]).success();
    assert_close(&picture(&place.read("back/a.png")), &rgb(20, 10));
    assert_close(&picture(&place.read("back/deep/deeper/b.png")), &gray(9, 7));
    assert!(!place.path("in/out/notes.txt.aei").exists() && !place.path("in/out/out").exists());

    place.fails(3, "nothing in this folder", &["encode", "-r", "empty"]);
    place.fails(3, "with -r", &["encode", "in"]);
    place.fails(2, "-o names one file", &["encode", "-r", "in", "-o", "x.aei"]);
}

/// What cannot be read in a folder stops nothing else there.
#[test]
#[cfg(unix)]
fn folders_with_bad_entries() {
    let place = Place::new();
    fs::create_dir_all(place.path("in/empty")).unwrap();
    fs::create_dir_all(place.path("empty")).unwrap();
    place.write("in/a.png", png(&rgb(20, 10))).write("in/z.png", png(&gray(9, 7))).write("in/bad.png", "no picture");
    std::os::unix::fs::symlink("gone.png", place.path("in/m.png")).unwrap();
    std::os::unix::fs::symlink(".", place.path("in/self")).unwrap();
    let said = contains("m.png: there is no such file").and(contains("leads back")).and(contains("empty: there is nothing in this folder"));
    place.run(&["encode", "-r", "in", "empty", "-o", "out/"]).code(3).stderr(said.and(contains("bad.png")));
    for name in ["out/a.aei", "out/z.aei"] {
        assert!(place.path(name).exists(), "{name}");
    }
    assert!(!place.path("out/bad.aei").exists());
    place.fails(3, "nothing in this folder", &["encode", "-r", "empty", "-o", "none/"]);
    assert!(!place.path("none").exists());
}

/// Other shells do so themselves.
#[cfg(windows)]
#[test]
fn wildcards_stand_for_files() {
    let place = Place::new();
    for name in ["one.png", "two.png", "three.ppm"] {
        place.write(name, if name.ends_with("m") { b"P6 1 1 255 abc".to_vec() } else { png(&rgb(20, 10)) });
    }
    place.run(&["encode", "*.png", "-o", "out/"]).success();
    assert!(place.path("out/one.aei").is_file() && place.path("out/two.aei").is_file() && !place.path("out/three.aei").exists());
    for name in ["photo1.png", "photo[1].png"] {
        place.write(name, png(&rgb(20, 10)));
    }
    place.run(&["encode", "photo[1].png"]).success();
    assert!(place.path("photo[1].aei").is_file() && !place.path("photo1.aei").exists());
    place.run(&["encode", "no*.png"]).code(3).stderr(contains("no*."));
}

/// Names may hold anything but what the system has other uses for: programs get them as they are, people in one line.
#[cfg(unix)]
#[test]
fn json_has_names_as_they_are() {
    let place = Place::new();
    place.write("a\nb.png", png(&rgb(20, 10)));
    let assert = place.run(&["encode", "--json", "--verify", "--lossless", "a\nb.png"]).success();
    let value: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!((&value["input"], &value["output"], &value["equal"]), (&"a\nb.png".into(), &"a\nb.aei".into(), &true.into()));
}

/// Places of damage are those in the picture that is written.
#[test]
fn damage_is_where_it_is_seen() {
    let place = Place::new();
    let turned = rgb(600, 300).with_orientation(aei::Orientation::Rotate90);
    let mut file = aei::Encoder::new().lossless(aei::Lossless::Never).tile_size(256).unwrap().encode(&turned).unwrap();
    let at = file.windows(4).position(|bytes| bytes == b"TILE").unwrap() + 40;
    file[at] ^= 1;
    place.write("a.aei", file);
    let assert = place.run(&["decode", "--json", "--salvage", "a.aei"]).code(7).stderr(contains("tile 0 (256x256 pixels at 44,0)"));
    let value: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    let tile = &value["damage"]["tiles"][0];
    assert_eq!((&value["width"], &tile["x"], &tile["y"], &tile["width"]), (&300.into(), &44.into(), &0.into(), &256.into()));
}

#[test]
fn an_exported_model_decodes() {
    let place = Place::new();
    place.write("a.png", png(&rgb(70, 40)));
    place.run(&["encode", "--lossless=never", "a.png", "-o", "a.aei"]).success();
    place.run(&["export-model", "whole.aem"]).success();
    place.run(&["export-model", "--decoder-only", "decoder.aem"]).success();
    place.fails(3, "aei: decoder.aem: this file exists", &["export-model", "decoder.aem"]);
    let assert = place.run(&["export-model", "--json", "-f", "whole.aem"]).success();
    let told: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    let bytes = place.read("whole.aem").len();
    assert_eq!(told, serde_json::json!({ "output": "whole.aem", "output_bytes": bytes, "model_id": aei::Model::embedded_id().unwrap().to_string() }));
    let assert = place.run(&["export-model", "--json", "whole.aem"]).code(3);
    let told: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!((&told["output"], &told["error"]["code"]), (&"whole.aem".into(), &3.into()));
    let assert = place.run(&["export-model", "--decoder-only", "-"]).success();
    assert!(assert.get_output().stdout == place.read("decoder.aem"));
    assert!(place.read("decoder.aem").len() < place.read("whole.aem").len() * 3 / 5);
    place.run(&["decode", "a.aei", "-o", "built-in.png"]).success();
    for model in ["whole.aem", "decoder.aem"] {
        place.run(&["decode", "-f", "--model", model, "a.aei", "-o", "given.png"]).success();
        assert!(place.read("given.png") == place.read("built-in.png"), "{model}");
    }
    place.run(&["encode", "--lossless=never", "--model", "whole.aem", "a.png", "-o", "b.aei"]).success();
    assert!(place.read("a.aei") == place.read("b.aei"));
    place.fails(6, "can only decode", &["encode", "-f", "--model", "decoder.aem", "a.png", "-o", "b.aei"]);
}

#[test]
fn completions_and_manual_pages() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let hidden = predicates::str::is_match("worker|--here|-l here").unwrap();
        place.run(&["completions", shell]).success().stdout(contains("quality-index").and(hidden.not()));
    }
    place.run(&["man"]).success().stdout(contains(".TH aei 1"));
    place.run(&["man", "-o", "man1"]).success();
    assert!(String::from_utf8(place.read("man1/aei-encode.1")).unwrap().contains(r"\-\-tile\-size"));
    assert!(place.path("man1/aei.1").exists());
}

#[test]
fn targets_of_size_and_quality() {
    let place = Place::new();
    // Texture enough for sizes to differ.
    let texture =
        |i: u32| (60.0 + 50.0 * (f64::from(i / 3 % 190) / 5.0).sin() * (f64::from(i / 570) / 7.0).cos() + f64::from(i % 3 * 40 + i / 3 * 37 % 11)) as u8;
    place.write("photo.png", png(&Picture::rgb(190, 150, (0..190 * 150 * 3).map(texture).collect()).unwrap()));
    let mut last = 0;
    for size in ["1500", "3000", "6K"] {
        place.run(&["encode", "-f", "--size", size, "photo.png"]).success();
        let length = place.read("photo.aei").len();
        let limit = size.strip_suffix('K').map_or_else(|| size.parse().unwrap(), |k| k.parse::<usize>().unwrap() * 1024);
        assert!(length <= limit && length > limit * 9 / 10 && length > last, "{size}: {length}");
        last = length;
    }
    place.run(&["encode", "-f", "--bpp", "0.8", "photo.png"]).success();
    assert!(place.read("photo.aei").len() <= 190 * 150 / 10);
    for (measure, target, key) in [("--psnr", 33.0, "psnr_rgb"), ("--ssimulacra2", 60.0, "ssimulacra2")] {
        place.run(&["encode", "-f", measure, &target.to_string(), "photo.png"]).success().stderr(contains("quality index"));
        let compare = |a: &str, b: &str| {
            let output = place.run(&["compare", "--json", a, b]).success();
            serde_json::from_slice::<serde_json::Value>(&output.get_output().stdout).unwrap()[key].as_f64().unwrap()
        };
        assert!(compare("photo.png", "photo.aei") >= target, "{measure}");
        // The next lower index would not do.
        let index = aei::Decoder::new(&place.read("photo.aei")[..]).unwrap().info().quality.get();
        if index > 0 {
            place.run(&["encode", "--quality-index", &(index - 1).to_string(), "photo.png", "-o", "less.aei", "-f"]).success();
            assert!(compare("photo.png", "less.aei") < target, "{measure}");
        }
    }
    place.fails(2, "cannot be made as small as 60 bytes", &["encode", "--size", "60", "photo.png", "-o", "x.aei"]);
    place.fails(2, "cannot be reached", &["encode", "--psnr", "90", "photo.png", "-o", "x.aei", "--lossless=never"]);
    place.run(&["encode", "--psnr", "90", "photo.png", "-o", "x.aei"]).success().stderr(contains("lossless"));
    place.run(&["encode", "--size", "90", "-q", "3", "photo.png"]).code(2);
}

#[test]
fn verified_files() {
    let place = Place::new();
    place.write("photo.png", png(&rgb(60, 40)));
    place.run(&["encode", "--verify", "--lossless=never", "photo.png"]).success().stderr(contains("verified: PSNR"));
    let output = place.run(&["encode", "-f", "--verify", "--lossless=never", "--json", "photo.png"]).success();
    let object: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert!(object["psnr_rgb"].as_f64().unwrap() > 30.0);
}
