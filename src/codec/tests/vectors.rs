//! Writes `format-spec/vectors`: run `cargo test --release --lib write_vectors -- --ignored` after a change of the format or the model.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;
use sha2::{Digest, Sha256};

mod attachments;
mod rules;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors")
}

/// The folder's files and the lines about them.
struct Vectors {
    digests: String,
    model: Option<Arc<Model>>,
}

impl Vectors {
    fn write(&self, name: &str, file: &[u8]) {
        std::fs::write(folder().join(name), file).unwrap();
    }

    fn good(&mut self, name: &str, file: &[u8]) {
        self.write(name, file);
        let picture = self.decoder(file).decode().unwrap();
        if self.model.is_some() {
            writeln!(self.digests, "model tiny.aem  {name}").unwrap();
        }
        let digest = digest(&picture.samples());
        writeln!(self.digests, "{digest}  {name}  {}x{}x{}", picture.width(), picture.height(), picture.channels().count()).unwrap();
    }

    fn decoder(&self, file: &[u8]) -> Decoder {
        let options = DecoderOptions { model: self.model.clone(), ..DecoderOptions::default() };
        Decoder::with_options(file, options).unwrap()
    }

    fn refused(&mut self, rule: &str, name: &str, file: &[u8]) {
        let options = DecoderOptions { model: self.model.clone(), ..DecoderOptions::default() };
        let error = Decoder::with_options(file, options).and_then(|decoder| decoder.decode()).expect_err(name);
        assert!(error.to_string().contains(&format!("({rule})")), "{name}: {error}");
        self.write(name, file);
        if self.model.is_some() {
            writeln!(self.digests, "model tiny.aem  {name}").unwrap();
        }
        writeln!(self.digests, "refused {rule}  {name}").unwrap();
    }

    fn encoder(&self, quality: u8) -> Encoder {
        let encoder = Encoder::new().lossless(Lossless::Never).quality(Quality::index(quality).unwrap());
        match &self.model {
            Some(model) => encoder.model(Arc::clone(model)),
            None => encoder,
        }
    }

    fn picture(&mut self, name: &str, quality: u8, tile: u32, picture: &Picture) -> Vec<u8> {
        let file = self.encoder(quality).tile_size(tile).unwrap().encode(picture).unwrap();
        self.good(name, &file);
        file
    }
}

/// SHA-256.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// A picture of one colour.
fn flat(width: u32, height: u32, colour: [u8; 3]) -> Picture {
    Picture::rgb(width, height, colour.into_iter().cycle().take((width * height * 3) as usize).collect()).unwrap()
}

/// A file of one tile from its stream.
fn forged(model: &Model, width: u32, height: u32, quality: u8, tile: CodedTile) -> Vec<u8> {
    let head = Head {
        lossless: false,
        width,
        height,
        channels: Channels::Rgb,
        source_depth: 8,
        orientation: Orientation::default(),
        tile_log2: 10,
        quality: Quality::index(quality).unwrap(),
        trellis: TrellisCode::default(),
        model_id: model.id(),
    };
    container::assemble(&head, &Attachments::default(), &[tile]).unwrap()
}

fn coded(skip_below: u8, stream: &[u8]) -> CodedTile {
    CodedTile { skip_below, stream: stream.to_vec() }
}

/// `file` with a chunk inserted behind `HEAD`.
fn with_chunk(file: &[u8], kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut out = file[..8 + 36].to_vec();
    container::chunk::write(&mut out, kind, &[payload]).unwrap();
    out.extend_from_slice(&file[8 + 36..]);
    out
}

/// `file` with one byte of `HEAD` changed and the CRC made right.
fn with_head_byte(file: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut payload = file[16..40].to_vec();
    payload[at] = value;
    let mut out = file[..8].to_vec();
    container::chunk::write(&mut out, b"HEAD", &[&payload]).unwrap();
    out.extend_from_slice(&file[44..]);
    out
}

/// A stream of latents that no picture has: every kind of escape.
fn wild_tile(model: &Model, coding: Coding, shape: TileShape) -> CodedTile {
    let mut noise = Noise(99);
    let y: Vec<i32> = (0..shape.rows * shape.columns * model.header().m)
        .map(|_| {
            let bits = noise.below(60) as u32;
            if bits < 27 { noise.below(1 << bits.max(1)) - (1 << bits >> 1) } else { noise.below(513) - 256 }
        })
        .collect();
    encode_tile(&y, model, model.analysis().unwrap(), &Engine::new(true).unwrap(), coding, shape, None).unwrap()
}

#[test]
#[ignore = "writes files of the project"]
fn write_vectors() {
    std::fs::create_dir_all(folder()).unwrap();
    for file in std::fs::read_dir(folder()).unwrap().flatten().filter(|f| f.path().extension().is_some_and(|e| e == "aei")) {
        std::fs::remove_file(file.path()).unwrap();
    }
    let header = "# <SHA-256 of the 8-bit samples>  <file>  <width>x<height>x<channels>, refused <rule>  <file>, or model <model file>  <file>\n\
        # samples16 <SHA-256 of the 16-bit samples, little-endian>  <file>\n\
        # metadata <SHA-256 of ICCP, EXIF, XMP: each with its type and length (u32) in front>  <file>\n\
        # preview <SHA-256 of its 8-bit samples, the rule it breaks, or none>  <file>\n";
    let mut v = Vectors { digests: header.into(), model: None };
    let rgb = |w, h, seed| scene(w, h, Channels::Rgb, seed);
    let gray = |w, h, seed| scene(w, h, Channels::Gray, seed);

    for quality in [0, 31, 63] {
        v.picture(&format!("rgb-1x1-q{quality}.aei"), quality, 1024, &rgb(1, 1, 5));
    }
    v.picture("gray-1x1.aei", 40, 1024, &gray(1, 1, 5));
    for quality in [0, 1, 8, 24, 40, 56, 62, 63] {
        v.picture(&format!("rgb-97x61-q{quality:02}.aei"), quality, 1024, &rgb(97, 61, 1));
    }
    for (w, h) in [(64, 64), (63, 65), (65, 63), (200, 3), (2, 150)] {
        v.picture(&format!("rgb-{w}x{h}.aei"), 28, 1024, &rgb(w, h, 2));
    }
    v.picture("gray-120x75.aei", 20, 1024, &gray(120, 75, 3));
    v.picture("gray-300x70-tiles.aei", 48, 256, &gray(300, 70, 4));
    v.picture("tiles-2x2.aei", 10, 256, &rgb(300, 280, 6));
    v.picture("tiles-3x1.aei", 30, 256, &rgb(513, 40, 7));
    v.picture("tiles-1x3.aei", 30, 256, &rgb(40, 520, 8));
    v.picture("tile-4096.aei", 30, 4096, &rgb(80, 40, 9));
    v.picture("black.aei", 63, 1024, &flat(70, 70, [0; 3]));
    v.picture("white.aei", 63, 1024, &flat(70, 70, [255; 3]));
    v.picture("red.aei", 45, 1024, &flat(40, 30, [255, 0, 0]));
    v.picture("noise-q63.aei", 63, 1024, &noise_picture(64, 48, 1));
    v.picture("noise-q0.aei", 0, 1024, &noise_picture(64, 48, 1));
    let checker = (0..64 * 64 * 3).map(|i| if (i / 3 % 64 + i / 192) % 2 == 0 { 0 } else { 255 }).collect();
    v.picture("checkerboard.aei", 50, 1024, &Picture::rgb(64, 64, checker).unwrap());
    v.picture("depth16-rotate90.aei", 30, 1024, &rgb(50, 20, 10).with_source_depth(16).unwrap().with_orientation(Orientation::Rotate90));

    let model = Model::embedded().unwrap();
    let shape = TileShape { rows: 4, columns: 8 };
    let wild = wild_tile(&model, Coding::of(12), shape);
    v.good("escapes.aei", &forged(&model, 128, 64, 12, wild.clone()));
    v.good("escapes-q63.aei", &forged(&model, 128, 64, 63, wild_tile(&model, Coding::of(63), shape)));
    for code in &TrellisCode::ALL[1..] {
        let file = forged(&model, 128, 64, 12, wild_tile(&model, Coding { quality: 12, code: *code }, shape));
        v.good(&format!("escapes-{}-states.aei", code.states()), &with_head_byte(&file, 15, *code as u8));
    }
    for effort in [1, 3, 5] {
        let file = v.encoder(36).effort(effort).unwrap().encode(&rgb(150, 70, 14)).unwrap();
        v.good(&format!("effort-{effort}.aei"), &file);
    }
    v.good("no-words.aei", &forged(&model, 60, 50, 33, coded(2, &[])));

    let small = v.encoder(16).encode(&rgb(30, 20, 11)).unwrap();
    v.good("unknown-ancillary-chunk.aei", &with_chunk(&small, b"teSt", b"skipped by decoders"));
    let mut trailing = small.clone();
    trailing.extend_from_slice(b"not part of the picture");
    v.good("bytes-behind-the-end.aei", &trailing);

    let tiled = v.encoder(16).tile_size(256).unwrap().encode(&rgb(300, 20, 12)).unwrap();
    let mut bad = small.clone();
    bad[4] = b'\n';
    v.refused("R2.1", "x-signature.aei", &bad);
    v.refused("R2.2", "x-chunk-type.aei", &with_chunk(&small, b"te-t", b""));
    let mut bad = small.clone();
    let middle = bad.len() - 40;
    bad[middle] ^= 4;
    v.refused("R2.3", "x-flipped-bit.aei", &bad);
    v.refused("R2.4", "x-unknown-critical-chunk.aei", &with_chunk(&small, b"TEST", b"must be understood"));
    v.refused("R2.5", "x-truncated.aei", &small[..small.len() - 1]);
    v.refused("R2.5", "x-second-header.aei", &[&small[..44], &small[8..]].concat());
    for (at, value, name) in [
        (0, 2, "version"),
        (1, 2, "flags"),
        (2, 0, "width-0"),
        (4, 1, "width-65536"),
        (10, 5, "channels"),
        (11, 17, "depth"),
        (12, 9, "orientation"),
        (13, 13, "tile-size"),
        (14, 64, "quality"),
        (15, 4, "trellis"),
        (16, small[32] ^ 1, "model"),
    ] {
        v.refused("R2.6", &format!("x-{name}.aei"), &with_head_byte(&small, at, value));
    }
    v.refused("R2.7", "x-tile-index-for-one-tile.aei", &with_chunk(&small, b"TIDX", &(small.len() as u32 - 80).to_le_bytes()));
    // HEAD, then TIDX with 12 + 8 bytes.
    v.refused("R2.7", "x-no-tile-index.aei", &[&tiled[..44], &tiled[64..]].concat());
    v.refused("R2.8", "x-missing-tile.aei", &[&small[..44], &small[small.len() - 12..]].concat());
    let mut end = small[..small.len() - 12].to_vec();
    container::chunk::write(&mut end, b"IEND", &[b"!"]).unwrap();
    v.refused("R2.9", "x-end.aei", &end);
    v.refused("R3.1", "x-last-word-zero.aei", &forged(&model, 128, 64, 12, coded(wild.skip_below, &[&wild.stream[..], &[0; 4]].concat())));
    v.refused("R3.4", "x-one-word-more.aei", &forged(&model, 128, 64, 12, coded(wild.skip_below, &[&[1, 2, 3, 4], &wild.stream[..]].concat())));
    // Not every change is noticed: the state may be 0 at the end all the same.
    let mut changed = (1..=255).map(|bits| {
        let mut changed = wild.clone();
        changed.stream[2] ^= bits;
        forged(&model, 128, 64, 12, changed)
    });
    let noticed = changed.find(|file| Decoder::new(&file[..]).and_then(|decoder| decoder.decode()).is_err()).unwrap();
    v.refused("R3.4", "x-first-word-changed.aei", &noticed);
    // A stream of ones: the first symbol is the last of its table, the escape, and its prefix does not end.
    v.refused("R3.5", "x-endless-escape.aei", &forged(&model, 128, 64, 12, coded(2, &[0xFF; 400])));

    v.attachments();
    v.rules();

    let tiny = folder().join("tiny.aem");
    v.model = Some(Model::from_bytes(std::fs::read(&tiny).unwrap()).unwrap());
    for quality in [0, 20, 63] {
        let file = v.picture(&format!("tiny-model-q{quality}.aei"), quality, 256, &rgb(310, 70, 13));
        v.wide(&format!("tiny-model-q{quality}.aei"), &file);
    }
    v.long_escapes();
    std::fs::write(folder().join("digests.txt"), &v.digests).unwrap();
}

/// The vectors with escapes do have them: a vector that tests nothing would go unnoticed.
#[test]
fn r3_5_wild_streams_hold_values_far_beyond_the_tables() {
    let model = Model::embedded().unwrap();
    let shape = TileShape { rows: 4, columns: 8 };
    let tile = wild_tile(&model, Coding::of(12), shape);
    let decoded = decode_tile(tile.code(), &model, &Engine::new(true).unwrap(), Coding::of(12), shape).unwrap();
    assert!(decoded.data().contains(&i16::MAX) && decoded.data().contains(&i16::MIN));
    assert!(StreamDecoder::new(tile.code(), model.tables()).unwrap().bits_left() > shape.rows * shape.columns * model.header().m * 2);
}
