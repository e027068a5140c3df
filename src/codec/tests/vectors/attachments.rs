//! Vectors of what stands beside the colours: alpha, 16-bit samples, metadata, previews, skip thresholds.

use super::*;
use crate::codec::lossless::stream_of_numbers;
use crate::container::deflate::deflate;
use crate::{Metadata, Orientation, SampleDepth, Samples};

/// A file of chunks: those of `file` with some of them changed, left out or added by `change`, which gets each chunk's type and payload.
fn with_chunks(file: &[u8], mut change: impl FnMut(&[u8; 4], &[u8]) -> Vec<([u8; 4], Vec<u8>)>) -> Vec<u8> {
    let mut chunks = container::chunk::Chunks::new(file, &container::SIGNATURE).unwrap();
    let mut out = container::SIGNATURE.to_vec();
    loop {
        let chunk = chunks.next_chunk().unwrap();
        for (kind, payload) in change(&chunk.kind, chunk.payload) {
            container::chunk::write(&mut out, &kind, &[&payload]).unwrap();
        }
        if &chunk.kind == b"IEND" {
            return out;
        }
    }
}

/// `file` with the payload of every chunk of a type changed.
pub(super) fn with_payload(file: &[u8], wanted: &[u8; 4], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    with_chunks(file, |kind, payload| {
        let mut payload = payload.to_vec();
        if kind == wanted {
            change(&mut payload);
        }
        vec![(*kind, payload)]
    })
}

/// `file` with a chunk in front of the first one of a type.
fn with_chunk_before(file: &[u8], before: &[u8; 4], new: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut done = false;
    with_chunks(file, |kind, old| {
        let mut chunks = vec![(*kind, old.to_vec())];
        if kind == before && !done {
            done = true;
            chunks.insert(0, (*new, payload.to_vec()));
        }
        chunks
    })
}

/// A tile's alpha, or the samples of a lossless one: the first word of its payload, then what is coded.
fn of_tile(number: u8, property: u8, words: &[u8]) -> Vec<u8> {
    [&[number, 0, 0, property], words].concat()
}

/// A scene of 16-bit samples, with all their bits in use.
fn wide_scene(width: u32, height: u32, channels: Channels, seed: u64) -> Picture {
    let mut noise = Noise(seed);
    let samples: Vec<u16> = scene(width, height, channels, seed).samples().iter().map(|v| (u16::from(*v) * 257) ^ noise.below(256) as u16).collect();
    Picture::from_samples(width, height, channels, Samples::U16(samples)).unwrap()
}

impl Vectors {
    /// A line about the 16-bit samples.
    pub(super) fn wide(&mut self, name: &str, file: &[u8]) {
        let picture = self.decoder(file).depth(SampleDepth::Sixteen).decode().unwrap();
        let bytes: Vec<u8> = picture.samples16().iter().flat_map(|v| v.to_le_bytes()).collect();
        writeln!(self.digests, "samples16 {}  {name}", digest(&bytes)).unwrap();
    }

    /// A line about the metadata.
    pub(super) fn metadata(&mut self, name: &str, file: &[u8]) {
        let Metadata { icc, exif, xmp } = self.decoder(file).metadata().unwrap();
        let mut bytes = Vec::new();
        for (kind, block) in [(b"ICCP", icc), (b"EXIF", exif), (b"XMP ", xmp)] {
            if let Some(block) = block {
                bytes.extend(kind);
                bytes.extend((block.len() as u32).to_le_bytes());
                bytes.extend(block);
            }
        }
        writeln!(self.digests, "metadata {}  {name}", digest(&bytes)).unwrap();
    }

    /// A line about the preview: its samples, the rule that it breaks, or that there is none.
    pub(super) fn preview(&mut self, name: &str, file: &[u8], broken: Option<&str>) {
        let outcome = match (self.decoder(file).preview(), broken) {
            (Ok(Some(picture)), None) => digest(&picture.samples()),
            (Ok(None), Some("none")) => "none".to_owned(),
            (Err(error), Some(rule)) => {
                assert!(error.to_string().contains(&format!("({rule})")), "{name}: {error}");
                rule.to_owned()
            }
            (other, _) => panic!("{name}: {other:?}"),
        };
        writeln!(self.digests, "preview {outcome}  {name}").unwrap();
    }

    fn good_wide(&mut self, name: &str, file: &[u8]) {
        self.good(name, file);
        self.wide(name, file);
    }

    pub(super) fn attachments(&mut self) {
        self.thresholds();
        self.alpha();
        self.blocks();
        self.previews();
        self.lossless();
    }

    fn thresholds(&mut self) {
        let model = Model::embedded().unwrap();
        let shape = TileShape { rows: 4, columns: 4 };
        let y: Vec<i32> = (0..16 * model.header().m as i32).map(|i| i % 37 * 900 - 16000).collect();
        let tile = encode_tile(&y, &model, model.analysis().unwrap(), &Engine::new(true).unwrap(), Coding::of(30), shape, None).unwrap();
        assert_eq!(tile.skip_below, 0, "what is far from any photograph is coded as a whole");
        self.good("skip-none.aei", &forged(&model, 64, 64, 30, tile));
        self.good("skip-all.aei", &forged(&model, 64, 64, 30, coded(64, &[])));
        self.good("skip-40-no-words.aei", &forged(&model, 64, 64, 30, coded(40, &[])));
        self.refused("R3.6", "x-skip-65.aei", &forged(&model, 64, 64, 30, coded(65, &[])));
        self.refused("R2.8", "x-tile-number.aei", &with_payload(&forged(&model, 64, 64, 30, coded(2, &[])), b"TILE", |p| p[2] = 1));
    }

    fn alpha(&mut self) {
        let encode = |v: &Self, picture: &Picture| v.encoder(20).tile_size(256).unwrap().encode(picture).unwrap();
        let gray = encode(self, &scene(70, 30, Channels::GrayAlpha, 20));
        self.good_wide("gray-alpha.aei", &gray);
        let tiled = self.encoder(0).tile_size(256).unwrap().encode(&scene(260, 270, Channels::Rgba, 21)).unwrap();
        self.good_wide("rgba-tiles.aei", &tiled);
        let wide = encode(self, &wide_scene(40, 25, Channels::Rgba, 22));
        self.good_wide("rgba-alpha16.aei", &wide);
        let file = encode(self, &wide_scene(33, 70, Channels::GrayAlpha, 23));
        self.good_wide("gray-alpha16.aei", &file);
        let opaque = encode(self, &Picture::rgba(20, 10, [9, 80, 200, 255].repeat(200)).unwrap());
        self.good("rgba-opaque.aei", &opaque);
        for (channels, name) in [(Channels::Gray, "gray-16-bit.aei"), (Channels::Rgb, "rgb-16-bit.aei")] {
            let file = self.encoder(63).encode(&wide_scene(48, 32, channels, 24)).unwrap();
            self.good_wide(name, &file);
        }

        // Noise and extremes, graphics or not, and flat tiles, of 16 by 12 pixels.
        let base = encode(self, &scene(16, 12, Channels::GrayAlpha, 25));
        let mut noise = Noise(26);
        let mut numbers = |property: u8| -> Vec<[i32; 3]> {
            let highest = (1 << (property & 31)) - 1;
            (0..16 * 12).map(|_| [if noise.below(4) == 0 { highest * noise.below(2) } else { noise.next() as i32 & highest }, 0, 0]).collect()
        };
        let with_alpha = |property: u8, words: &[u8]| with_payload(&base, b"ALPH", |payload| *payload = of_tile(0, property, words));
        for (name, property) in [("8", 8), ("16", 16), ("8-graphics", 0x88), ("16-graphics", 0x90)] {
            let stream = stream_of_numbers(property, 16, Channels::Gray, &numbers(property));
            self.good_wide(&format!("alpha-{name}.aei"), &with_alpha(property, &stream));
        }
        self.good_wide("alpha-flat-8.aei", &with_alpha(0x28, &[77, 0, 0, 0]));
        self.good_wide("alpha-flat-16.aei", &with_alpha(0x30, &[0x34, 0x12, 0, 0]));
        self.good_wide("alpha-flat-65535.aei", &with_alpha(0x30, &[255, 255, 0, 0]));
        self.good("alpha-no-words.aei", &with_alpha(8, &[]));
        // The first tile as it was, the second flat, the third of graphics, of 256 by 14 pixels.
        let edges: Vec<[i32; 3]> = (0..256 * 14).map(|i| [if i / 256 + i % 256 / 9 > 20 { 255 } else { 0 }, 0, 0]).collect();
        let graphics = stream_of_numbers(0x88, 256, Channels::Gray, &edges);
        let several = with_payload(&tiled, b"ALPH", |payload| match payload[0] {
            1 => *payload = of_tile(1, 0x28, &[0; 4]),
            2 => *payload = of_tile(2, 0x88, &graphics),
            _ => {}
        });
        self.good_wide("alpha-tiles.aei", &several);

        let without = |file: &[u8]| with_chunks(file, |kind, payload| if kind == b"ALPH" { vec![] } else { vec![(*kind, payload.to_vec())] });
        let rgb = encode(self, &scene(30, 20, Channels::Rgb, 11));
        let flat = of_tile(0, 0x28, &[9, 0, 0, 0]);
        self.refused("R2.11", "x-alpha-missing.aei", &without(&base));
        self.refused("R2.11", "x-alpha-superfluous.aei", &with_chunk_before(&rgb, b"TILE", b"ALPH", &flat));
        self.refused("R2.11", "x-alpha-twice.aei", &with_chunk_before(&base, b"TILE", b"ALPH", &flat));
        self.refused("R2.11", "x-alpha-3-bytes.aei", &with_payload(&base, b"ALPH", |payload| payload.truncate(3)));
        self.refused("R2.11", "x-alpha-odd-bytes.aei", &with_payload(&base, b"ALPH", |payload| payload.push(0)));
        self.refused("R2.11", "x-alpha-depth.aei", &with_payload(&base, b"ALPH", |payload| payload[3] = 12));
        self.refused("R2.11", "x-alpha-depth-0.aei", &with_alpha(0x20, &[0; 4]));
        self.refused("R2.11", "x-alpha-number.aei", &with_payload(&base, b"ALPH", |payload| payload[1] = 1));
        let mixed = |payload: &mut Vec<u8>| payload[3] = if payload[0] == 1 { 16 } else { 8 };
        self.refused("R2.11", "x-alpha-depths.aei", &with_payload(&tiled, b"ALPH", mixed));
        let mut left = 3;
        let three_of_four = with_chunks(&tiled, |kind, payload| {
            left -= usize::from(kind == b"ALPH" && left > 0);
            if kind == b"ALPH" && left == 0 { vec![] } else { vec![(*kind, payload.to_vec())] }
        });
        self.refused("R2.11", "x-alpha-tile-missing.aei", &three_of_four);
        let late = with_chunk_before(&without(&gray), b"IEND", b"ALPH", &flat);
        self.refused("R2.11", "x-alpha-behind-tile.aei", &late);
        self.refused("R2.5", "x-alpha-late.aei", &with_chunk_before(&rgb, b"IEND", b"ALPH", &flat));

        let stream = stream_of_numbers(8, 16, Channels::Gray, &numbers(8));
        self.refused("R2.12", "x-alpha-bit-30.aei", &with_alpha(0x48, &stream));
        self.refused("R2.12", "x-alpha-flat-bit-30.aei", &with_alpha(0x68, &[9, 0, 0, 0]));
        self.refused("R2.12", "x-alpha-flat-graphics.aei", &with_alpha(0xA8, &[9, 0, 0, 0]));
        self.refused("R2.12", "x-alpha-flat-no-word.aei", &with_alpha(0x28, &[]));
        self.refused("R2.12", "x-alpha-flat-two-words.aei", &with_alpha(0x28, &[9, 0, 0, 0, 0, 0, 0, 0]));
        self.refused("R2.12", "x-alpha-flat-256.aei", &with_alpha(0x28, &[0, 1, 0, 0]));
        self.refused("R2.12", "x-alpha-flat-65536.aei", &with_alpha(0x30, &[0, 0, 1, 0]));
        self.refused("R3.11", "x-alpha-beyond.aei", &with_alpha(8, &[0xFF; 16]));
        self.refused("R3.12", "x-alpha-words-more.aei", &with_alpha(8, &[&stream[..], &[0; 8]].concat()));
        // Written for 16 bits, read as 8.
        let high = stream_of_numbers(16, 16, Channels::Gray, &[[300, 0, 0]; 16 * 12]);
        self.refused("R5.21", "x-alpha-above-255.aei", &with_alpha(8, &high));
    }

    fn blocks(&mut self) {
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
        let all = Metadata { icc: Some(b"a colour profile ".repeat(9)), exif: Some(exif), xmp: Some(b"<x:xmpmeta/>".to_vec()) };
        let picture = scene(30, 20, Channels::Rgb, 11).with_orientation(Orientation::Rotate90);
        let file = self.encoder(16).encode(&picture.clone().with_metadata(all)).unwrap();
        self.good("metadata.aei", &file);
        self.metadata("metadata.aei", &file);
        let small = self.encoder(16).encode(&picture).unwrap();
        let with = |kind: &[u8; 4], payload: &[u8]| with_chunk(&small, kind, payload);
        for (name, kind, payload) in [
            ("metadata-empty.aei", b"XMP ", [0].to_vec()),
            ("metadata-packed-empty.aei", b"EXIF", [&[1, 0, 0, 0, 0][..], &deflate(b"", 6).unwrap()].concat()),
            ("metadata-packed.aei", b"ICCP", [&[1, 6, 0, 0, 0][..], &deflate(b"abcabc", 6).unwrap()].concat()),
        ] {
            self.good(name, &with(kind, &payload));
            self.metadata(name, &with(kind, &payload));
        }
        // The order among them is free, and ancillary chunks may stand between them.
        let mixed = with_chunk(&with_chunk(&with(b"ICCP", &[0, 1]), b"teSt", b"?"), b"XMP ", &[0, 2]);
        self.good("metadata-order.aei", &mixed);
        self.metadata("metadata-order.aei", &mixed);

        let packed = |length: u32, stream: &[u8]| [&[1][..], &length.to_le_bytes(), stream].concat();
        let stream = deflate(b"abcabc", 6).unwrap();
        for (name, payload) in [
            ("no-method", vec![]),
            ("method", vec![2, 0, 0]),
            ("no-length", vec![1, 6, 0, 0]),
            ("short", packed(7, &stream)),
            ("long", packed(5, &stream)),
            ("huge", packed(1 << 20, &stream)),
            ("trailing", packed(6, &[&stream[..], &[0]].concat())),
            ("cut", packed(6, &stream[..stream.len() - 1])),
            ("no-zlib", packed(6, b"abcabcabc")),
            // A literal `a`, then three bytes of four bytes before: to a decoder that has zeros there, the length and the sum are right.
            ("distance", packed(4, &[0x78, 0x9C, 0x4B, 4, 0x62, 0, 1, 136, 0, 98])),
        ] {
            self.refused("R2.10", &format!("x-metadata-{name}.aei"), &with(b"XMP ", &payload));
        }
        self.refused("R2.5", "x-metadata-twice.aei", &with_chunk(&with(b"EXIF", &[0, 1]), b"EXIF", &[0, 1]));
        self.refused("R2.5", "x-metadata-late.aei", &with_chunk_before(&small, b"IEND", b"ICCP", &[0, 1]));
        let alpha = self.encoder(16).encode(&scene(9, 9, Channels::GrayAlpha, 1)).unwrap();
        self.refused("R2.5", "x-metadata-behind-alpha.aei", &with_chunk_before(&alpha, b"TILE", b"ICCP", &[0, 1]));
    }

    fn previews(&mut self) {
        let picture = scene(150, 100, Channels::Rgba, 30);
        let file = self.encoder(4).preview(true).encode(&picture).unwrap();
        self.good("preview.aei", &file);
        self.preview("preview.aei", &file, None);

        let small = self.encoder(16).encode(&scene(30, 20, Channels::Rgb, 11)).unwrap();
        let tiny = self.encoder(0).encode(&flat(8, 8, [200, 90, 10])).unwrap();
        let mut nested = |name: &str, payload: &[u8], broken: Option<&str>| {
            let file = with_chunk(&small, b"prev", payload);
            self.good(name, &file);
            self.preview(name, &file, broken);
        };
        let of = |picture: &Picture| Encoder::new().lossless(Lossless::Never).quality(Quality::index(0).unwrap()).encode(picture).unwrap();
        nested("preview-256.aei", &of(&flat(256, 1, [7; 3])), None);
        nested("preview-257.aei", &of(&flat(257, 1, [7; 3])), Some("R2.13"));
        nested("preview-turned.aei", &of(&flat(9, 5, [7; 3]).with_orientation(Orientation::Rotate90)), Some("R2.13"));
        nested("preview-alpha.aei", &of(&Picture::rgba(2, 2, vec![9; 16]).unwrap()), Some("R2.13"));
        nested("preview-metadata.aei", &with_chunk(&tiny, b"XMP ", &[0, 1]), Some("R2.13"));
        nested("preview-in-preview.aei", &with_chunk(&tiny, b"prev", &tiny), Some("R2.13"));
        nested("preview-empty.aei", &[], Some("R2.1"));
        nested("preview-cut.aei", &tiny[..tiny.len() - 5], Some("R2.5"));
        nested("preview-damaged.aei", &with_payload(&tiny, b"TILE", |payload| payload.extend([0; 4])), Some("R3.1"));
        let two = with_chunk(&with_chunk(&small, b"prev", b"second"), b"prev", &tiny);
        self.good("preview-first-of-two.aei", &two);
        self.preview("preview-first-of-two.aei", &two, None);
        let mut sum = with_chunk(&small, b"prev", &tiny);
        let at = 44 + 8 + tiny.len();
        sum[at] ^= 1;
        self.good("preview-sum.aei", &sum);
        self.preview("preview-sum.aei", &sum, Some("R2.13"));
    }

    fn lossless(&mut self) {
        let encode = |picture: &Picture| Encoder::new().lossless(Lossless::Always).tile_size(256).unwrap().encode(picture).unwrap();
        for (name, picture) in [
            ("lossless-1x1.aei", scene(1, 1, Channels::Rgb, 40)),
            ("lossless-rgb.aei", scene(97, 61, Channels::Rgb, 41)),
            ("lossless-gray.aei", scene(40, 70, Channels::Gray, 42)),
            ("lossless-gray-alpha16.aei", wide_scene(33, 20, Channels::GrayAlpha, 43)),
            ("lossless-rgba16.aei", wide_scene(30, 21, Channels::Rgba, 44)),
            ("lossless-tiles.aei", scene(300, 280, Channels::Rgba, 45)),
            ("lossless-flat.aei", flat(70, 65, [12, 200, 90])),
        ] {
            let file = encode(&picture);
            self.good_wide(name, &file);
        }
        // Noise and extremes in every way of storing, graphics or not. `numbers` are those of a tile of 9 by 10 pixels.
        let mut noise = Noise(46);
        let tile = |file: &[u8], property: u8, stream: &[u8]| with_payload(file, b"TILE", |payload| *payload = of_tile(0, property, stream));
        let [gray, rgb] = [Channels::Gray, Channels::Rgb].map(|channels| encode(&scene(9, 10, channels, 47)));
        let mut numbers = |property: u8| -> Vec<[i32; 3]> {
            let highest = (1 << (property & 31)) - 1;
            let mut sample = || if noise.below(4) == 0 { highest * noise.below(2) } else { noise.next() as i32 & highest };
            (0..90).map(|_| [sample(), sample(), sample()]).collect()
        };
        for (name, property) in [("8", 8), ("16", 16), ("8-graphics", 0x88), ("16-graphics", 0x90)] {
            let plain = numbers(property);
            let green = plain.iter().map(|[g, r, b]| [*g, r - g, b - g]).collect::<Vec<_>>();
            let mean = plain.iter().map(|[g, r, b]| [*g, r - g, b - ((r + g) >> 1)]).collect::<Vec<_>>();
            for (way, numbers) in [plain, green, mean].iter().enumerate() {
                let property = property | (way as u8) << 5;
                self.good_wide(&format!("lossless-{name}-way-{way}.aei"), &tile(&rgb, property, &stream_of_numbers(property, 9, Channels::Rgb, numbers)));
            }
            let one = numbers(property).iter().map(|[v, ..]| [*v, 0, 0]).collect::<Vec<_>>();
            self.good_wide(&format!("lossless-{name}-gray.aei"), &tile(&gray, property, &stream_of_numbers(property, 9, Channels::Gray, &one)));
        }
        // Few colours, so that what followed the same neighbours comes again, and is wrong now and then.
        let few: Vec<[i32; 3]> = (0..90).map(|i| [[10, 20, 30], [200, 0, 3], [255, 255, 255]][if i % 17 == 0 { noise_of(i) } else { i / 3 % 9 } % 3]).collect();
        self.good_wide("lossless-few-colours.aei", &tile(&rgb, 0x88, &stream_of_numbers(0x88, 9, Channels::Rgb, &few)));
        // Each tile has its own depth, and neither has to be that of the source.
        let mut two = encode(&scene(257, 9, Channels::Gray, 48));
        let wide: Vec<[i32; 3]> = (0..9).map(|i| [i * 7001, 0, 0]).collect();
        let narrow = stream_of_numbers(16, 1, Channels::Gray, &wide);
        let mut number = 0;
        two = with_chunks(&two, |kind, payload| match kind {
            b"TIDX" => vec![(*kind, [&payload[..4], &(4 + narrow.len() as u32).to_le_bytes()].concat())],
            b"TILE" => {
                number += 1;
                vec![(*kind, if number == 2 { of_tile(1, 16, &narrow) } else { payload.to_vec() })]
            }
            _ => vec![(*kind, payload.to_vec())],
        });
        self.good_wide("lossless-two-depths.aei", &two);
        // No words are words of 0: all bits are 0, and each sample is one more than what is expected.
        self.good_wide("lossless-no-words.aei", &tile(&encode(&scene(2, 2, Channels::Gray, 49)), 8, &[]));

        self.refused("R2.6", "x-lossless-quality.aei", &with_head_byte(&rgb, 14, 62));
        self.refused("R2.6", "x-lossless-trellis.aei", &with_head_byte(&rgb, 15, 1));
        self.refused("R2.6", "x-lossless-model.aei", &with_head_byte(&rgb, 23, 1));
        self.refused("R2.6", "x-flags-2.aei", &with_head_byte(&rgb, 1, 3));
        self.refused("R2.8", "x-lossless-3-bytes.aei", &with_payload(&rgb, b"TILE", |payload| payload.truncate(3)));
        self.refused("R2.8", "x-lossless-number.aei", &with_payload(&rgb, b"TILE", |payload| payload[0] = 1));
        self.refused("R2.8", "x-lossless-odd-bytes.aei", &with_payload(&rgb, b"TILE", |payload| payload.push(0)));
        let numbers8 = numbers(8);
        let plain = stream_of_numbers(8, 9, Channels::Rgb, &numbers8);
        self.refused("R2.14", "x-lossless-depth-0.aei", &tile(&rgb, 0, &plain));
        self.refused("R2.14", "x-lossless-depth-12.aei", &tile(&rgb, 12, &plain));
        self.refused("R2.14", "x-lossless-way-3.aei", &tile(&rgb, 0x68, &plain));
        self.refused("R2.14", "x-lossless-gray-way-1.aei", &tile(&gray, 0x28, &plain));
        self.refused("R3.11", "x-lossless-beyond.aei", &tile(&rgb, 8, &[0xFF; 16]));
        self.refused("R3.12", "x-lossless-words-more.aei", &tile(&rgb, 8, &[&plain[..], &[0; 8]].concat()));
        // Written with numbers below 0, read without.
        let below = stream_of_numbers(0x28, 9, Channels::Rgb, &[[5, -3, 0]; 90]);
        self.refused("R5.21", "x-lossless-below-0.aei", &tile(&rgb, 8, &below));
        let [low, high, blue] = [[5, -6, 0], [250, 6, 0], [250, 0, 255]].map(|pixel| stream_of_numbers(0x28, 9, Channels::Rgb, &[pixel; 90]));
        self.refused("R5.18", "x-lossless-red-below-0.aei", &tile(&rgb, 0x28, &low));
        self.refused("R5.18", "x-lossless-red-above-255.aei", &tile(&rgb, 0x28, &high));
        self.refused("R5.18", "x-lossless-blue-above-255.aei", &tile(&rgb, 0x28, &blue));
    }
}

fn noise_of(i: usize) -> usize {
    (i as u32).wrapping_mul(2_654_435_761).rotate_left(9) as usize
}
