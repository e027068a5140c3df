//! R2.1 to R2.9: what is accepted and what is refused, by the label of the rule.

use super::*;
use crate::entropy::TrellisCode;
use crate::{Channels, ModelId, Orientation, Quality};

fn head(width: u32, height: u32) -> Head {
    Head {
        lossless: false,
        width,
        height,
        channels: Channels::Rgb,
        source_depth: 8,
        orientation: Orientation::default(),
        tile_log2: 8,
        quality: Quality::default(),
        trellis: TrellisCode::default(),
        model_id: ModelId([7; 8]),
    }
}

fn tile(skip_below: u8, stream: &[u8]) -> CodedTile {
    CodedTile { skip_below, stream: stream.to_vec() }
}

/// A file of chunks given one by one.
fn file(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut file = SIGNATURE.to_vec();
    chunks.iter().for_each(|(kind, payload)| chunk::write(&mut file, kind, &[payload]).unwrap());
    file
}

fn rule(bytes: Vec<u8>) -> String {
    match Container::parse(bytes.into()) {
        Ok(_) => "accepted".into(),
        Err(Error::Format(error)) => error.rule().into(),
        Err(Error::Unsupported(message)) => message.rsplit(['(', ')']).nth(1).unwrap().into(),
        Err(error) => panic!("{error}"),
    }
}

const TILE_0: (&[u8; 4], &[u8]) = (b"TILE", &[0, 0, 0, 0]);
const TILE_1: (&[u8; 4], &[u8]) = (b"TILE", &[1, 0, 0, 0]);
const INDEX: (&[u8; 4], &[u8]) = (b"TIDX", &[4, 0, 0, 0, 4, 0, 0, 0]);
const END: (&[u8; 4], &[u8]) = (b"IEND", &[]);

#[test]
fn assembled_files_parse_back() {
    for (width, tiles) in [(256, vec![tile(2, &[1, 2, 3, 4])]), (512, vec![tile(0, &[]), tile(64, &[9; 8])])] {
        let bytes = assemble(&head(width, 20), &Attachments::default(), &tiles).unwrap();
        let container = Container::parse(bytes.clone().into()).unwrap();
        assert_eq!(container.head, head(width, 20));
        for (number, tile) in tiles.iter().enumerate() {
            let found = container.tile(number).unwrap();
            let code = found.code();
            assert_eq!((code.skip_below, code.stream), (tile.skip_below, &tile.stream[..]));
        }
        assert_eq!(container.file_bytes(), bytes.len() as u64);
    }
}

#[test]
fn r2_1_signature() {
    let good = file(&[(b"HEAD", &head(1, 1).to_bytes()), TILE_0, END]);
    assert_eq!(rule(good.clone()), "accepted");
    for (i, _) in SIGNATURE.iter().enumerate() {
        let mut bad = good.clone();
        bad[i] ^= 0x20;
        assert_eq!(rule(bad), "R2.1");
        assert_eq!(rule(good[..i].to_vec()), "R2.1");
    }
}

#[test]
fn r2_1_foreign_files_are_named() {
    for (bytes, expected) in
        [(&b"\x89PNG\r\n\x1a\n\0\0"[..], "PNG"), (b"\xff\xd8\xff\xe0", "JPEG"), (b"\x89AEI\n\x1a\n", "text mode"), (b"", "empty"), (b"\x89AE", "truncated")]
    {
        let message = Container::parse(bytes.to_vec().into()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn r2_2_types_and_lengths() {
    let head = head(1, 1).to_bytes();
    assert_eq!(rule(file(&[(b"HEAD", &head), (b"te t", b""), TILE_0, END])), "R2.2");
    assert_eq!(rule(file(&[(b"HEAD", &head), (b"tex ", b""), TILE_0, END])), "accepted");
    let mut long = file(&[(b"HEAD", &head)]);
    long.extend(b"TILE\0\0\0\x80");
    assert_eq!(rule(long), "R2.2");
}

#[test]
fn r2_3_every_flipped_bit_is_noticed() {
    let good = file(&[(b"HEAD", &head(300, 1).to_bytes()), (b"tEST", b"text"), INDEX, TILE_0, TILE_1, END]);
    assert_eq!(rule(good.clone()), "accepted");
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(rule(bad), "accepted", "bit {bit}");
    }
}

#[test]
fn r2_4_unknown_chunks() {
    let head = head(1, 1).to_bytes();
    assert_eq!(rule(file(&[(b"HEAD", &head), (b"test", b"?"), TILE_0, (b"tESt", b""), END])), "accepted");
    for unknown in [b"Test", b"ABCD", b"PREV"] {
        assert_eq!(rule(file(&[(b"HEAD", &head), (unknown, b"?"), TILE_0, END])), "R2.4");
    }
    assert_eq!(rule(file(&[(b"Test", b""), (b"HEAD", &head), TILE_0, END])), "R2.4");
}

#[test]
fn r2_5_order_and_truncation() {
    let one = head(1, 1).to_bytes();
    let two = head(257, 1).to_bytes();
    for chunks in [
        &[TILE_0, (b"HEAD", &one), END][..],
        &[(b"test", b""), (b"HEAD", &one), TILE_0, END],
        &[(b"HEAD", &one), (b"HEAD", &one), TILE_0, END],
        &[(b"HEAD", &two), INDEX, (b"test", b""), TILE_0, TILE_1, END],
        &[(b"HEAD", &two), INDEX, TILE_0, (b"test", b""), TILE_1, END],
        &[(b"HEAD", &two), INDEX, INDEX, TILE_0, TILE_1, END],
    ] {
        assert_eq!(rule(file(chunks)), "R2.5", "{chunks:?}");
    }
    let good = file(&[(b"HEAD", &two), INDEX, TILE_0, TILE_1, (b"test", b""), END]);
    assert_eq!(rule(good.clone()), "accepted");
    for length in 8..good.len() {
        assert_eq!(rule(good[..length].to_vec()), "R2.5", "{length} bytes");
    }
    let mut longer = good;
    longer.extend(b"anything");
    assert_eq!(rule(longer), "accepted");
}

#[test]
fn r2_6_header_fields() {
    let good = head(1, 1).to_bytes();
    let refused = |at: usize, value: u8| {
        let mut bytes = good;
        bytes[at] = value;
        assert_eq!(rule(file(&[(b"HEAD", &bytes), TILE_0, END])), "R2.6", "byte {at} = {value}");
    };
    for (at, value) in [(0, 0), (0, 2), (1, 1), (2, 0), (4, 1), (6, 0), (8, 1), (10, 0), (10, 5), (11, 0), (11, 17), (12, 0), (12, 9)] {
        refused(at, value);
    }
    for (at, value) in [(13, 7), (13, 13), (14, 64), (15, 4)] {
        refused(at, value);
    }
    assert_eq!(rule(file(&[(b"HEAD", &good[..23]), TILE_0, END])), "R2.6");
    let mut longer = good.to_vec();
    longer.push(0);
    assert_eq!(rule(file(&[(b"HEAD", &longer), TILE_0, END])), "R2.6");
    assert_eq!(rule(file(&[(b"HEAD", &[]), TILE_0, END])), "R2.6");
    // A newer version, whatever its header is like, is not called damaged.
    longer[0] = 2;
    for payload in [&longer[..], &[2], &[0]] {
        assert!(matches!(Container::parse(file(&[(b"HEAD", payload), TILE_0, END]).into()), Err(Error::Unsupported(_))));
    }
}

#[test]
fn r2_7_tile_index() {
    let (one, two) = (head(256, 1).to_bytes(), head(257, 1).to_bytes());
    assert_eq!(rule(file(&[(b"HEAD", &two), INDEX, TILE_0, TILE_1, END])), "accepted");
    assert_eq!(rule(file(&[(b"HEAD", &two), TILE_0, TILE_1, END])), "R2.7");
    assert_eq!(rule(file(&[(b"HEAD", &one), (b"TIDX", &[4, 0, 0, 0]), TILE_0, END])), "R2.7");
    assert_eq!(rule(file(&[(b"HEAD", &two), (b"TIDX", &[4, 0, 0, 0]), TILE_0, TILE_1, END])), "R2.7");
    assert_eq!(rule(file(&[(b"HEAD", &two), (b"TIDX", &[4, 0, 0, 0, 8, 0, 0, 0]), TILE_0, TILE_1, END])), "R2.7");
}

#[test]
fn r2_7_a_small_file_cannot_claim_a_huge_picture() {
    assert_eq!(rule(file(&[(b"HEAD", &head(65535, 65535).to_bytes()), INDEX, TILE_0, TILE_1, END])), "R2.7");
}

#[test]
fn r2_8_tiles() {
    let (one, two) = (head(1, 256).to_bytes(), head(257, 1).to_bytes());
    for payload in [&[0, 0, 0][..], &[], &[0, 0, 0, 0, 1], &[1, 0, 0, 0]] {
        assert_eq!(rule(file(&[(b"HEAD", &one), (b"TILE", payload), END])), "R2.8", "{payload:?}");
    }
    assert_eq!(rule(file(&[(b"HEAD", &one), END])), "R2.8");
    assert_eq!(rule(file(&[(b"HEAD", &one), TILE_0, TILE_1, END])), "R2.8");
    assert_eq!(rule(file(&[(b"HEAD", &two), INDEX, TILE_1, TILE_0, END])), "R2.8");
    assert_eq!(rule(file(&[(b"HEAD", &two), INDEX, TILE_0, TILE_0, END])), "R2.8");
    assert_eq!(rule(file(&[(b"HEAD", &two), INDEX, TILE_0, END])), "R2.8");
    assert_eq!(rule(file(&[(b"HEAD", &two), INDEX, END])), "R2.8");
}

#[test]
fn r2_9_end() {
    assert_eq!(rule(file(&[(b"HEAD", &head(1, 1).to_bytes()), TILE_0, (b"IEND", b"!")])), "R2.9");
}

#[test]
fn s2_1_of_two_broken_rules_the_first_counts() {
    let two = head(257, 1).to_bytes();
    let alpha = Head { channels: Channels::Rgba, ..head(1, 1) }.to_bytes();
    let with_wrong_sum = |chunks: &[(&[u8; 4], &[u8])]| {
        let mut bytes = file(chunks);
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    };
    // The end's content, then the number of tiles.
    for chunks in [&[(b"HEAD", &two[..]), INDEX, (b"IEND", b"!")][..], &[(b"HEAD", &two), INDEX, TILE_0, (b"IEND", b"!")], &[(b"HEAD", &two), (b"IEND", b"!")]]
    {
        assert_eq!(rule(file(chunks)), "R2.9");
    }
    // The tile's sum, then the tiles of alpha, then the index, then the tile.
    assert_eq!(rule(with_wrong_sum(&[(b"HEAD", &alpha), TILE_0])), "R2.3");
    assert_eq!(rule(file(&[(b"HEAD", &alpha), (b"TILE", b""), END])), "R2.11");
    assert_eq!(rule(with_wrong_sum(&[(b"HEAD", &two), TILE_0])), "R2.3");
    for tile in [TILE_1, (b"TILE", b"")] {
        assert_eq!(rule(file(&[(b"HEAD", &two), tile, END])), "R2.7");
    }
    // The tile's number, then its place in the index.
    assert_eq!(rule(file(&[(b"HEAD", &two), INDEX, (b"TILE", &[1, 0, 0, 0, 0, 0, 0, 0]), TILE_1, END])), "R2.8");
}
