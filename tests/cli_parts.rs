//! The `aei` program: regions, salvage, streams, limits.
#![cfg(feature = "cli")]

mod common;

use std::fs;
use std::process::Command;

use aei::{Channels, FileFormat, Orientation, Picture, read_picture, write_picture};
use common::{crop, scene};
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> &Self {
        fs::write(self.0.path().join(name), bytes).unwrap();
        self
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.path().join(name)).unwrap()
    }

    fn picture(&self, name: &str) -> Picture {
        read_picture(&self.read(name)).unwrap().0
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("aei"));
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    /// Exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, Vec<u8>, String) {
        let output = self.command(arguments).output().unwrap();
        (output.status.code().unwrap(), output.stdout, String::from_utf8(output.stderr).unwrap())
    }

    fn succeeds(&self, arguments: &[&str]) -> Vec<u8> {
        let (code, out, error) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {error}");
        out
    }

    fn fails(&self, code: i32, message: &str, arguments: &[&str]) {
        let (got, _, error) = self.run(arguments);
        assert!(got == code && error.contains(message), "{arguments:?}: {got}, {error}");
    }
}

/// A coded picture of 2 x 2 tiles with an orientation.
fn coded(orientation: u8) -> (Vec<u8>, Picture) {
    let picture = scene(330, 290, Channels::Rgb, 1).with_orientation(Orientation::from_exif(orientation).unwrap());
    let file = aei::Encoder::new().tile_size(256).unwrap().encode(&picture).unwrap();
    let decoded = aei::Decoder::new(&file[..]).unwrap().decode().unwrap();
    (file, decoded)
}

#[test]
fn regions_in_the_coordinates_of_the_upright_picture() {
    let place = Place::new();
    for orientation in 1..=8 {
        let (file, decoded) = coded(orientation);
        let upright = decoded.upright().unwrap();
        place.write("a.aei", &file);
        place.succeeds(&["decode", "a.aei", "-f", "--region", "100,30,77,201"]);
        assert!(place.picture("a.png").samples() == crop(&upright, 100, 30, 77, 201), "orientation {orientation}");
    }
    place.write("turned.aei", &coded(6).0);
    place.fails(2, "290x330", &["decode", "turned.aei", "--region", "0,0,291,1"]);
    place.fails(2, "is empty", &["decode", "turned.aei", "--region", "0,0,0,1"]);
    for wrong in ["1,2,3", "1,2,3,4,5", "a,b,c,d", "-1,0,2,2", ""] {
        assert_eq!(place.run(&["decode", "turned.aei", &format!("--region={wrong}")]).0, 2, "{wrong}");
    }
}

#[test]
fn every_format_and_stream_has_the_same_picture() {
    for orientation in [1, 3] {
        let (file, decoded) = coded(orientation);
        let upright = decoded.upright().unwrap();
        let place = Place::new();
        place.write("a.aei", &file);
        for format in ["png", "pnm", "qoi"] {
            place.succeeds(&["decode", "a.aei", "--format", format]);
            assert!(place.picture(&format!("a.{format}")).samples() == upright.samples(), "{format}");
        }
        let out = place.succeeds(&["decode", "a.aei", "-o", "-", "--format", "pnm"]);
        assert!(out == place.read("a.pnm"));
    }
}

#[test]
fn salvage_tells_what_is_lost() {
    let (file, decoded) = coded(1);
    let mut bad = file.clone();
    let at = bad.len() - 40;
    bad[at] ^= 1;
    let place = Place::new();
    place.write("bad.aei", &bad).write("good.aei", &file);
    place.fails(4, "tile 3: the chunk TILE at byte", &["decode", "bad.aei"]);
    assert!(!place.0.path().join("bad.png").exists());
    place.fails(7, "bad.aei: warning: tile 3 (74x34 pixels at 256,256) is lost", &["decode", "bad.aei", "--salvage", "-Q"]);
    let salvaged = place.picture("bad.png");
    // R5.10: 7 latents from the tile.
    assert!(crop(&salvaged, 0, 0, 144, 144) == crop(&decoded, 0, 0, 144, 144));
    let (code, out, _) = place.run(&["decode", "bad.aei", "--salvage", "--json", "-f", "-o", "again.qoi"]);
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((code, value["damage"]["tiles"][0]["number"].as_u64(), value["width"].as_u64()), (7, Some(3), Some(330)));
    assert!(place.picture("again.qoi").samples() == salvaged.samples());
    place.succeeds(&["decode", "good.aei", "--salvage"]);
    place.write("cut.aei", &file[..file.len() - 3]);
    place.fails(7, "nothing of the picture is lost", &["decode", "cut.aei", "--salvage"]);
    place.fails(7, "1 of 4 tiles are lost and were filled from what is around them", &["decode", "bad.aei", "--salvage", "-f"]);
    // Nothing is made up of what was kept without loss.
    let mut exact = aei::Encoder::new().lossless(aei::Lossless::Always).tile_size(256).unwrap().encode(&decoded).unwrap();
    let at = exact.len() - 40;
    exact[at] ^= 1;
    place.write("exact.aei", &exact);
    place.fails(7, "1 of 4 tiles are lost and are gray now", &["decode", "exact.aei", "--salvage"]);
    assert_eq!(crop(&place.picture("exact.png"), 256, 256, 1, 1), [128; 3]);
}

/// More than 2^24 pixels.
#[test]
fn large_pictures_are_read_as_streams_with_the_same_result() {
    let place = Place::new();
    let picture = scene(4100, 4100, Channels::Gray, 1);
    let png = write_picture(&picture, FileFormat::Png).unwrap();
    place.write("large.png", &png).write("large.pnm", &write_picture(&picture, FileFormat::Pnm).unwrap());
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/format-spec/vectors/tiny.aem");
    place.succeeds(&["encode", "large.png", "--model", tiny, "-o", "png.aei"]);
    place.succeeds(&["encode", "large.pnm", "--model", tiny, "-o", "pnm.aei"]);
    let file = common::tiny_encoder(1024).lossless(aei::Lossless::Auto).encode(&picture).unwrap();
    assert!(place.read("png.aei") == file && place.read("pnm.aei") == file);
    // A stream cannot be read twice.
    let output = place.command(&["encode", "-", "--model", tiny]).stdin(fs::File::open(place.0.path().join("large.png")).unwrap()).output().unwrap();
    assert!(output.stdout == file);
}

#[test]
fn limits_on_the_command_line() {
    let place = Place::new();
    let (file, _) = coded(1);
    place.write("a.aei", &file).write("a.png", &write_picture(&scene(330, 290, Channels::Rgb, 1), FileFormat::Png).unwrap());
    for (limit, value) in [("--max-pixels", "95699"), ("--max-memory", "5M")] {
        place.fails(5, limit, &["decode", "a.aei", "-o", "b.png", limit, value]);
        place.fails(5, limit, &["encode", "a.png", "-o", "b.aei", limit, value]);
    }
    place.succeeds(&["decode", "a.aei", "-o", "b.png", "--no-limits"]);
    place.succeeds(&["encode", "a.png", "-o", "b.aei", "--no-limits"]);
    assert_eq!(place.run(&["decode", "a.aei", "-o", "c.png", "--no-limits", "--max-pixels", "9"]).0, 2);
}
