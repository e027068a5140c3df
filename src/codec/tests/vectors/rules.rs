//! Vectors of the rules about chunks, each kept and broken in small files: lossless ones, which need no model.

use super::attachments::with_payload;
use super::*;
use crate::container::deflate::deflate;
use crate::entropy::{Quantiser, Symbols};

type Chunks = Vec<([u8; 4], Vec<u8>)>;

fn split(file: &[u8]) -> Chunks {
    let mut chunks = container::chunk::Chunks::new(file, &container::SIGNATURE).unwrap();
    std::iter::from_fn(|| chunks.next_chunk().ok()).map(|chunk| (chunk.kind, chunk.payload.to_vec())).collect()
}

fn join(chunks: &[([u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut out = container::SIGNATURE.to_vec();
    for (kind, payload) in chunks {
        container::chunk::write(&mut out, kind, &[payload]).unwrap();
    }
    out
}

/// `file` with its chunks changed.
fn with(file: &[u8], change: impl FnOnce(&mut Chunks)) -> Vec<u8> {
    let mut chunks = split(file);
    change(&mut chunks);
    join(&chunks)
}

/// `file` with a chunk that becomes number `at`.
fn inserted(file: &[u8], at: usize, kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    with(file, |chunks| chunks.insert(at, (*kind, payload.to_vec())))
}

/// `file` with the CRC of chunk number `at` wrong.
fn with_wrong_sum(file: &[u8], at: usize) -> Vec<u8> {
    let mut out = file.to_vec();
    let end = join(&split(file)[..=at]).len();
    out[end - 1] ^= 1;
    out
}

impl Vectors {
    pub(super) fn rules(&mut self) {
        let encode = |picture: &Picture| Encoder::new().lossless(Lossless::Always).tile_size(256).unwrap().encode(picture).unwrap();
        // HEAD, TILE, IEND; HEAD, TIDX, TILE, TILE, IEND; HEAD, ALPH, ALPH, TIDX, TILE, TILE, IEND.
        let one = encode(&scene(3, 2, Channels::Gray, 50));
        let two = encode(&scene(257, 2, Channels::Gray, 51));
        let alpha = encode(&scene(1, 257, Channels::GrayAlpha, 52));
        assert_eq!([&one, &two, &alpha].map(|file| split(file).len()), [3, 5, 7]);
        self.places(&one, &two, &alpha);
        self.heads(&one);
        self.tiles(&one, &two);
        self.orders(&one, &two, &alpha);
        self.more_previews(&one);
    }

    /// R2.1 to R2.5.
    fn places(&mut self, one: &[u8], two: &[u8], alpha: &[u8]) {
        self.refused("R2.1", "x-empty.aei", &[]);
        self.refused("R2.1", "x-signature-cut.aei", &one[..7]);
        self.refused("R2.5", "x-signature-alone.aei", &one[..8]);
        let long = |length: u32| [&one[..44], b"abcd", &length.to_le_bytes(), &one[44..]].concat();
        self.refused("R2.2", "x-chunk-length.aei", &long(1 << 31));
        self.refused("R2.5", "x-chunk-length-behind-the-end.aei", &long((1 << 31) - 1));
        self.refused("R2.2", "x-chunk-type-space-first.aei", &inserted(one, 1, b" abc", b""));
        self.refused("R2.2", "x-chunk-type-space-third.aei", &inserted(one, 1, b"ab c", b""));
        self.good("unknown-chunk-space-last.aei", &inserted(one, 1, b"abc ", b""));

        // Wherever they may stand.
        let everywhere = with(alpha, |chunks| {
            chunks.insert(1, (*b"ICCP", vec![0, 7]));
            for (at, kind) in [(4, b"efgh"), (3, b"ijk "), (2, b"lMNO"), (1, b"abcd")] {
                chunks.insert(at, (*kind, b"?".to_vec()));
            }
        });
        let everywhere = with(&everywhere, |chunks| chunks.insert(chunks.len() - 1, (*b"pqrs", vec![])));
        self.good("unknown-chunks-everywhere.aei", &everywhere);
        self.metadata("unknown-chunks-everywhere.aei", &everywhere);
        self.refused("R2.4", "x-unknown-critical-chunk-behind.aei", &inserted(one, 2, b"PREV", b""));

        self.refused("R2.5", "x-first-chunk-unknown.aei", &inserted(one, 0, b"abcd", b""));
        self.refused("R2.5", "x-first-chunk-tile.aei", &with(one, |chunks| chunks.swap(0, 1)));
        self.refused("R2.5", "x-header-late.aei", &inserted(one, 2, b"HEAD", &one[16..40]));
        self.refused("R2.5", "x-chunk-behind-index.aei", &inserted(two, 2, b"abcd", b""));
        self.refused("R2.5", "x-chunk-between-tiles.aei", &inserted(two, 3, b"abcd", b""));
        self.refused("R2.5", "x-preview-between-tiles.aei", &inserted(two, 3, b"prev", one));
        let index = &split(two)[1].1;
        self.refused("R2.5", "x-tile-index-twice.aei", &inserted(two, 2, b"TIDX", index));
        self.refused("R2.5", "x-tile-index-late.aei", &inserted(two, 4, b"TIDX", index));
        self.refused("R2.5", "x-no-end.aei", &one[..one.len() - 12]);
    }

    /// R2.6.
    fn heads(&mut self, one: &[u8]) {
        for (at, value, name) in [
            (0, 0, "version-0"),
            (6, 0, "height-0"),
            (8, 1, "height-65538"),
            (10, 0, "channels-0"),
            (11, 0, "depth-0"),
            (12, 0, "orientation-0"),
            (13, 7, "tile-size-7"),
        ] {
            self.refused("R2.6", &format!("x-{name}.aei"), &with_head_byte(one, at, value));
        }
        for (at, value, name) in [(11, 1, "depth-1"), (11, 16, "depth-16"), (12, 8, "orientation-8"), (13, 12, "tile-size-12")] {
            self.good(&format!("head-{name}.aei"), &with_head_byte(one, at, value));
        }
        self.refused("R2.6", "x-header-empty.aei", &with_payload(one, b"HEAD", Vec::clear));
        self.refused("R2.6", "x-header-short.aei", &with_payload(one, b"HEAD", |payload| payload.truncate(23)));
        let longer = with_payload(one, b"HEAD", |payload| payload.push(0));
        self.refused("R2.6", "x-header-long.aei", &longer);
        self.refused("R2.6", "x-version-2-header-long.aei", &with_payload(&longer, b"HEAD", |payload| payload[0] = 2));
        let widest = |width, height| Encoder::new().lossless(Lossless::Always).tile_size(4096).unwrap().encode(&flat(width, height, [1, 2, 3])).unwrap();
        self.good("width-65535.aei", &widest(65535, 1));
        self.good("height-65535.aei", &widest(1, 65535));
    }

    /// R2.7 to R2.9.
    fn tiles(&mut self, one: &[u8], two: &[u8]) {
        self.good("two-tiles.aei", two);
        self.refused("R2.7", "x-tile-index-short.aei", &with_payload(two, b"TIDX", |payload| payload.truncate(7)));
        self.refused("R2.7", "x-tile-index-long.aei", &with_payload(two, b"TIDX", |payload| payload.extend([4, 0, 0, 0])));
        self.refused("R2.7", "x-tile-index-empty.aei", &with_payload(two, b"TIDX", Vec::clear));
        self.refused("R2.7", "x-tile-index-first-length.aei", &with_payload(two, b"TIDX", |payload| payload[0] += 4));
        self.refused("R2.7", "x-tile-index-second-length.aei", &with_payload(two, b"TIDX", |payload| payload[4] -= 4));

        let chunks = split(two);
        let with_tiles = |tiles: &[usize]| {
            let lengths = tiles.iter().take(2).chain(&[3, 3]).take(2).flat_map(|tile| (chunks[*tile].1.len() as u32).to_le_bytes()).collect();
            let tiles = tiles.iter().map(|tile| chunks[*tile].clone());
            let all: Chunks = [chunks[0].clone(), (*b"TIDX", lengths)].into_iter().chain(tiles).chain([chunks[4].clone()]).collect();
            join(&all)
        };
        assert_eq!(with_tiles(&[2, 3]), two);
        for (name, tiles) in [("swapped", &[3, 2][..]), ("twice", &[2, 2]), ("second-missing", &[2]), ("first-missing", &[3]), ("superfluous", &[2, 3, 3])] {
            self.refused("R2.8", &format!("x-tiles-{name}.aei"), &with_tiles(tiles));
        }
        self.refused("R2.8", "x-tiles-none.aei", &with_tiles(&[]));
        self.refused("R2.8", "x-tile-repeated.aei", &with(one, |chunks| chunks.insert(2, chunks[1].clone())));
        self.refused("R2.8", "x-tile-one-more.aei", &inserted(one, 2, b"TILE", &[1, 0, 0, 8]));
        self.refused("R2.8", "x-tile-empty.aei", &with_payload(one, b"TILE", Vec::clear));

        self.refused("R2.9", "x-end-for-a-tile.aei", &with(two, |chunks| chunks[3] = (*b"IEND", b"!".to_vec())));
        self.refused("R2.9", "x-end-for-all-tiles.aei", &with(two, |chunks| chunks[2] = (*b"IEND", b"!".to_vec())));
    }

    /// 2.1: of several broken rules, the one that is noticed first.
    fn orders(&mut self, one: &[u8], two: &[u8], alpha: &[u8]) {
        let without = |file: &[u8], kinds: &[&[u8; 4]]| with(file, |chunks| chunks.retain(|(kind, _)| !kinds.contains(&kind)));
        let mut refused = |rule: &str, name: &str, file: Vec<u8>| self.refused(rule, &format!("x-order-{name}.aei"), &file);
        // Type and length, then whether the chunk is whole, its sum, whether it is known, its place, its content.
        refused("R2.2", "type-truncated", [&one[..44], b"a!cd\0\0\0\0"].concat());
        refused("R2.5", "truncated-unknown", inserted(one, 1, b"ABCD", b"1234")[..59].to_vec());
        refused("R2.3", "sum-unknown", with_wrong_sum(&inserted(one, 1, b"ABCD", b""), 1));
        refused("R2.4", "unknown-place", inserted(two, 3, b"ABCD", b""));
        refused("R2.4", "unknown-first", inserted(one, 0, b"ABCD", b""));
        refused("R2.3", "sum-place", with_wrong_sum(&inserted(one, 2, b"ICCP", b""), 2));
        refused("R2.5", "place-content", inserted(one, 2, b"ICCP", b""));
        // The tiles of alpha are counted behind the checks of the chunk, up to its sum, and before its content.
        let no_alpha = without(alpha, &[b"ALPH"]);
        refused("R2.3", "sum-alpha", with_wrong_sum(&no_alpha, 1));
        let tile_without_alpha = with_head_byte(one, 10, 2);
        refused("R2.3", "sum-alpha-tile", with_wrong_sum(&tile_without_alpha, 1));
        refused("R2.11", "alpha-tile-content", with_payload(&tile_without_alpha, b"TILE", Vec::clear));
        refused("R2.11", "alpha-index-content", with_payload(&no_alpha, b"TIDX", Vec::clear));
        refused("R2.11", "alpha-no-index", without(alpha, &[b"ALPH", b"TIDX"]));
        let no_index = without(two, &[b"TIDX"]);
        refused("R2.3", "sum-no-index", with_wrong_sum(&no_index, 1));
        refused("R2.7", "no-index-number", with(&no_index, |chunks| chunks.swap(1, 2)));
        refused("R2.7", "no-index-length", with(&no_index, |chunks| chunks[1].1.clear()));
        let lies = |payload: &mut Vec<u8>| payload[4] += 4;
        refused("R2.8", "number-index", with_payload(&with(two, |chunks| chunks[3].1[0] = 5), b"TIDX", lies));
        // Behind the end: tiles, model, streams.
        let packed = [1, 6, 0, 0, 0, 1, 2, 3];
        refused("R2.8", "tiles-zlib", inserted(&with(two, |chunks| _ = chunks.remove(3)), 1, b"XMP ", &packed));
        let lossy = with_payload(&with_payload(one, b"HEAD", |head| head[1] = 0), b"HEAD", |head| head[14] = 0);
        refused("R2.6", "model-zlib", inserted(&lossy, 1, b"XMP ", &packed));
        refused("R2.8", "tiles-model", with(&lossy, |chunks| _ = chunks.remove(1)));
    }

    /// R2.13.
    fn more_previews(&mut self, one: &[u8]) {
        let behind = |file: &[u8], preview: &[u8]| inserted(file, split(file).len() - 1, b"prev", preview);
        let mut check = |name: &str, file: &[u8], broken: Option<&str>| {
            self.good(name, file);
            self.preview(name, file, broken);
        };
        check("preview-behind-tiles.aei", &behind(one, one), Some("none"));
        check("preview-with-one-behind-tiles.aei", &inserted(one, 1, b"prev", &behind(one, one)), None);
        check("preview-behind-tiles-too.aei", &behind(&inserted(one, 1, b"prev", one), b"?"), None);
        let two = inserted(&inserted(one, 1, b"prev", one), 1, b"prev", b"damaged");
        check("preview-first-of-two-damaged.aei", &with_wrong_sum(&two, 1), Some("R2.13"));
        // A larger one, and of other channels, is not compared.
        let other = Encoder::new().lossless(Lossless::Always).encode(&flat(20, 9, [9, 80, 200])).unwrap();
        check("preview-larger.aei", &inserted(one, 1, b"prev", &other), None);
        // The window that a zlib stream states does not bound its distances.
        let block: Vec<u8> = (0..300u32).map(|i| ((i * i) >> 5) as u8).collect();
        let mut stream = deflate(&block.repeat(2), 9).unwrap();
        (stream[0], stream[1]) = (0x08, 29);
        let file = inserted(one, 1, b"XMP ", &[&[1, 88, 2, 0, 0], &stream[..]].concat());
        self.good("metadata-small-window.aei", &file);
        self.metadata("metadata-small-window.aei", &file);
    }

    /// R3.5: prefixes of more ones than an encoder needs, behind which all is symbol 0.
    pub(super) fn long_escapes(&mut self) {
        let model = Arc::clone(self.model.as_ref().unwrap());
        let quality = 20;
        // The first values of a tile of one position of z are its first channels, under scale indices of the model.
        let file = |excesses: &[i32]| {
            let mut symbols = Symbols::default();
            for (excess, index) in excesses.iter().zip(model.z_index(quality)) {
                let range = model.tables().get(Quantiser::Hyper, *index).unwrap().range;
                symbols.push_beyond(excess.signum() * (range + excess.abs()), Quantiser::Hyper, *index);
            }
            forged(&model, 9, 7, quality, coded(0, &symbols.into_stream(model.tables()).unwrap()))
        };
        let top = 1 << 20;
        self.good("escapes-17-to-20.aei", &file(&[-(1 << 17), (1 << 19) - 1, 1 - top, top]));
        self.good("escapes-20.aei", &file(&[top, 2 * top - 1, 1 - 2 * top, -top - 1234]));
        self.refused("R3.5", "x-escape-21.aei", &file(&[1, 2 * top]));
        let odd = with_payload(&file(&[1]), b"TILE", |payload| payload.push(0));
        self.refused("R2.8", "x-lossy-odd-bytes.aei", &odd);
        self.refused("R2.8", "x-lossy-3-bytes.aei", &with_payload(&odd, b"TILE", |payload| payload.truncate(3)));
    }
}
