//! Damaged files (SPEC 8): what is lost, what is not, and that what is not is exact.

mod common;

use aei::{Channels, Damage, Decoder, Error, Picture};
use common::{rows_joined, scene, tiny_decoder, tiny_encoder, tiny_options};

const SIDE: u32 = 760;
const TILE: u32 = 256;
/// What synthesis reaches over a tile's border with the tiny model and with every model of its depth: R5.10, in pixels.
const REACH: u32 = 80;

fn salvage(file: &[u8]) -> aei::Result<(Picture, Damage)> {
    let mut options = tiny_options();
    options.salvage = true;
    Decoder::with_options(file, options)?.decode_salvaged()
}

/// Where the chunks are: type, start, end.
fn chunks(file: &[u8]) -> Vec<([u8; 4], usize, usize)> {
    let (mut at, mut chunks) = (8, Vec::new());
    while at < file.len() {
        let length = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
        chunks.push((file[at..at + 4].try_into().unwrap(), at, at + 12 + length));
        at += 12 + length;
    }
    chunks
}

/// Start and end of a tile's chunk.
fn tile(file: &[u8], number: usize) -> (usize, usize) {
    let (_, start, end) = chunks(file).into_iter().filter(|(kind, ..)| kind == b"TILE").nth(number).unwrap();
    (start, end)
}

/// A file of 3 x 3 tiles and its picture.
fn file() -> (Vec<u8>, Picture) {
    let file = tiny_encoder(TILE).encode(&scene(SIDE, SIDE, Channels::Rgb, 11)).unwrap();
    let picture = tiny_decoder(&file).decode().unwrap();
    (file, picture)
}

/// Salvages, and checks that these tiles are lost and that every pixel out of their reach is the undamaged one.
fn loses(file: &[u8], undamaged: &Picture, lost: &[u32]) -> (Picture, Damage) {
    assert!(Decoder::with_options(file, tiny_options()).and_then(|d| d.decode()).is_err() || lost.is_empty());
    let (picture, damage) = salvage(file).unwrap();
    assert_eq!(damage.tiles.iter().map(|t| t.number).collect::<Vec<_>>(), lost, "{damage:?}");
    for (i, (a, b)) in picture.samples().chunks_exact(3).zip(undamaged.samples().chunks_exact(3)).enumerate() {
        let (x, y) = (i as u32 % SIDE, i as u32 / SIDE);
        let near = |t: &aei::LostTile| x + REACH >= t.x && x < t.x + t.width + REACH && y + REACH >= t.y && y < t.y + t.height + REACH;
        assert!(a == b || damage.tiles.iter().any(near), "pixel {x},{y} differs");
    }
    (picture, damage)
}

#[test]
fn a_whole_file_has_no_damage() {
    let (file, picture) = file();
    let (salvaged, damage) = salvage(&file).unwrap();
    assert!(damage.is_none() && salvaged == picture);
}

#[test]
fn a_broken_checksum_costs_one_tile() {
    let (file, picture) = file();
    for number in 0..9 {
        let mut bad = file.clone();
        let (start, end) = tile(&file, number);
        bad[(start + end) / 2] ^= 0x10;
        let (_, damage) = loses(&bad, &picture, &[number as u32]);
        let lost = &damage.tiles[0];
        assert_eq!((lost.x, lost.y), (number as u32 % 3 * TILE, number as u32 / 3 * TILE));
        assert_eq!((lost.width, lost.height), (TILE.min(SIDE - lost.x), TILE.min(SIDE - lost.y)));
        assert!(lost.reason.contains("checksum") && damage.file.unwrap().contains("R2.3"));
        // Without salvage the tile is named.
        let error = Decoder::with_options(&bad[..], tiny_options()).unwrap_err();
        assert!(error.to_string().contains(&format!("tile {number}: ")), "{error}");
    }
}

#[test]
fn damaged_lengths_and_types_cost_nothing_where_the_index_is() {
    let (file, picture) = file();
    for at in 0..8 {
        let mut bad = file.clone();
        bad[tile(&file, 4).0 + at] ^= 0x81;
        let (_, damage) = loses(&bad, &picture, &[]);
        assert!(damage.file.is_some());
    }
}

#[test]
fn without_an_index_gaps_are_tried_and_the_rest_is_searched() {
    let (file, picture) = file();
    let index = chunks(&file)[1];
    let mut bad = file.clone();
    bad[index.1 + 10] ^= 1;
    loses(&bad, &picture, &[]);
    for at in 0..8 {
        let mut worse = bad.clone();
        worse[tile(&file, 4).0 + at] ^= 0x81;
        // The broken index and a broken tile are not next to each other: each is a gap of its own.
        loses(&worse, &picture, &[]);
    }
    let mut gone = file.clone();
    gone.drain(index.1..index.2);
    loses(&gone, &picture, &[]);
    let (start, end) = tile(&bad, 2);
    bad[end - 9] ^= 1;
    bad[start + 5] ^= 1;
    loses(&bad, &picture, &[2]);
}

#[test]
fn missing_doubled_and_shuffled_tiles() {
    let (file, picture) = file();
    let (start, end) = tile(&file, 3);
    let mut bad = file.clone();
    bad.drain(start..end);
    loses(&bad, &picture, &[3]);
    let doubled = [&file[..end], &file[start..]].concat();
    loses(&doubled, &picture, &[]);
    let (other, other_end) = tile(&file, 7);
    let swapped = [&file[..start], &file[other..other_end], &file[end..other], &file[start..end], &file[other_end..]].concat();
    assert_eq!(swapped.len(), file.len());
    loses(&swapped, &picture, &[]);
    // Bytes between the chunks, and a hole over three tiles.
    let holed = [&file[..start + 20], b"garbage", &file[tile(&file, 5).0 + 9..]].concat();
    loses(&holed, &picture, &[3, 4, 5]);
}

#[test]
fn truncated_files_lose_what_is_behind() {
    let (file, picture) = file();
    loses(&file[..file.len() - 5], &picture, &[]);
    let (_, damage) = loses(&file[..tile(&file, 6).0 + 30], &picture, &[6, 7, 8]);
    assert!(damage.tiles[0].reason.contains("ends before"), "{damage:?}");
    let first = tile(&file, 0).0;
    let (picture, damage) = salvage(&file[..first]).unwrap();
    assert_eq!((picture.width(), damage.tiles.len()), (SIDE, 9));
}

#[test]
fn a_damaged_stream_with_a_right_checksum_is_lost_too() {
    let (file, picture) = file();
    let (start, end) = tile(&file, 4);
    let mut bad = file.clone();
    bad[start + 14..end - 4].fill(0xFF);
    let crc = crc32fast::hash(&[&bad[start..start + 4], &bad[start + 8..end - 4]].concat());
    bad[end - 4..end].copy_from_slice(&crc.to_le_bytes());
    let (_, damage) = loses(&bad, &picture, &[4]);
    assert!(damage.file.is_none() && !damage.tiles[0].reason.is_empty());
    let mut options = tiny_options();
    options.salvage = true;
    let decoder = Decoder::with_options(&bad[..], options).unwrap();
    assert!(decoder.damage().is_none(), "not known before it is decoded");
    assert!(decoder.decode().unwrap().samples() == rows_joined(&decoder).unwrap());
    assert_eq!(decoder.damage().tiles.len(), 1);
}

#[test]
fn damaged_metadata_costs_nothing() {
    let (file, picture) = file();
    let mut bad = file[..44].to_vec();
    bad.extend(b"teSt\x03\0\0\0abc\0\0\0\0");
    bad.extend(&file[44..]);
    loses(&bad, &picture, &[]);
}

/// What needs another decoder needs it whatever is damaged, and wherever.
#[test]
fn r2_4_unknown_critical_chunks_are_refused() {
    let (file, _) = file();
    let with = |chunks: Vec<u8>| [&file[..44], &chunks, &file[44..]].concat();
    let (unknown, mut damaged) = (chunk(b"TEST", b"?"), chunk(b"teSt", b"?"));
    damaged[12] ^= 1;
    for chunks in [[&unknown[..], &damaged], [&damaged[..], &unknown]] {
        let error = salvage(&with(chunks.concat())).unwrap_err();
        assert!(matches!(&error, Error::Unsupported(e) if e.contains("R2.4")), "{error}");
    }
    // One that is broken may be anything.
    let mut broken = unknown;
    broken[12] ^= 1;
    assert!(salvage(&with(broken)).unwrap().1.tiles.is_empty());
}

#[test]
fn without_a_header_nothing_can_be_done() {
    let (file, picture) = file();
    let mut bad = file.clone();
    bad[20] ^= 1;
    assert!(matches!(salvage(&bad), Err(Error::Format(e)) if e.rule() == "R2.5"));
    assert!(matches!(salvage(b"\x89PNG\r\n\x1a\n"), Err(Error::Format(e)) if e.rule() == "R2.1"));
    assert!(salvage(b"").is_err());
    // The signature can be spared.
    for at in 0..8 {
        let mut bad = file.clone();
        bad[at] ^= 4;
        let (_, damage) = loses(&bad, &picture, &[]);
        assert!(damage.file.unwrap().contains("R2.1"));
    }
    loses(&file[8..], &picture, &[]);
    loses(&[b"\x89AEI\r\r\n\x1a\r\n", &file[8..]].concat(), &picture, &[]);
    // But not the header's place: a file that begins elsewhere is another one's preview, for all that can be known.
    for front in [&b"HTTP/1.1 200 OK"[..], b"?", &[0; 8]] {
        let error = salvage(&[front, &file[..]].concat()).unwrap_err();
        assert!(matches!(&error, Error::Format(e) if e.rule() == "R2.5") && error.to_string().contains(&format!("byte {}", front.len())), "{error}");
    }
}

/// A chunk with its sum.
fn chunk(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let crc = crc32fast::hash(&[kind, payload].concat());
    [kind, &(payload.len() as u32).to_le_bytes()[..], payload, &crc.to_le_bytes()].concat()
}

/// The file with another one as its preview, and where that is.
fn with_preview(file: &[u8]) -> (Vec<u8>, std::ops::Range<usize>) {
    let preview = tiny_encoder(TILE).encode(&scene(96, 96, Channels::Rgb, 7)).unwrap();
    let end = 44 + 12 + preview.len();
    ([&file[..44], &chunk(b"prev", &preview), &file[44..]].concat(), 52..end - 4)
}

/// The tiles of the preview, and of what stands behind the end, are sound and bear the numbers of the picture's.
#[test]
fn tiles_of_other_pictures_are_not_taken() {
    let (three, three_picture) = file();
    let one = tiny_encoder(1024).encode(&scene(SIDE, SIDE, Channels::Rgb, 11)).unwrap();
    let one_picture = tiny_decoder(&one).decode().unwrap();
    for (file, picture) in [(three, three_picture), (one, one_picture)] {
        let (nested, inside) = with_preview(&file);
        loses(&nested, &picture, &[]);
        let without_index = !chunks(&file).iter().any(|(kind, ..)| kind == b"TIDX");
        // Type, length, signature, header, tile, end and sum of the preview. Without an index, a picture is not found again where its end is broken and more.
        let sum = inside.end + 2;
        for at in [44, 47, 48, 51, 54, 61, 65, 90, 108, 113, 300, inside.end - 10, inside.end - 3, sum] {
            let mut bad = nested.clone();
            bad[at] ^= 2;
            let (_, damage) = loses(&bad, &picture, &[]);
            assert!(!damage.is_none(), "{at}: {damage:?}");
        }
        let with = |places: &[usize]| {
            let mut bad = nested.clone();
            places.iter().for_each(|at| bad[*at] ^= 2);
            bad
        };
        // The length leads to what is behind, whatever is damaged besides: the last byte is the end's.
        let (end, outer_end) = (inside.end - 6, nested.len() - 1);
        for damaged in [&[44, end][..], &[56, outer_end], &[56, 65], &[56, 65, 90, outer_end], &[56, 300, outer_end]] {
            let (_, damage) = loses(&with(damaged), &picture, &[]);
            assert!(!damage.is_none());
        }
        // If it does not, its signature or its header show that it is another picture, or what stands behind its end does.
        for damaged in [&[48, 56][..], &[48, 56, outer_end], &[48, 65], &[48, 56, 65], &[48, 56, 65, outer_end]] {
            loses(&with(damaged), &picture, &[]);
        }
        let tiles = if without_index { &[0][..] } else { &[] };
        for damaged in [&[48, end][..], &[48, 56, end], &[48, 65, end]] {
            loses(&with(damaged), &picture, tiles);
        }
        // A hole over the beginning of the preview.
        for hole in [44..60, 44..90, 46..54, 46..100] {
            let mut bad = nested.clone();
            bad[hole].fill(0);
            loses(&bad, &picture, &[]);
        }
        // Its header is not the picture's.
        for damaged in [&[20, 44][..], &[20, 56], &[20, 48, 56], &[4, 20], &[12, 56]] {
            assert!(matches!(salvage(&with(damaged)), Err(Error::Format(e)) if e.rule() == "R2.5"), "{damaged:?}");
        }
        for hole in [0..46, 0..56, 8..56, 8..60, 0..60] {
            let mut bad = nested.clone();
            bad[hole.clone()].fill(0);
            assert!(matches!(salvage(&bad), Err(Error::Format(_))), "{hole:?}");
        }
    }
}

/// A picture that is its own preview's size: nothing but its place tells the preview's tile from the picture's.
#[test]
fn a_preview_of_the_same_size_is_not_taken() {
    let small = |seed| tiny_encoder(TILE).encode(&scene(96, 96, Channels::Rgb, seed)).unwrap();
    let (file, preview) = (small(1), small(2));
    let picture = tiny_decoder(&file).decode().unwrap();
    let nested = [&file[..44], &chunk(b"prev", &preview), &file[44..]].concat();
    let last = nested.len() - 1;
    for damaged in [&[56][..], &[56, last], &[48, 56], &[48, 56, last], &[48, 52, last], &[44, 56]] {
        let mut bad = nested.clone();
        damaged.iter().for_each(|at| bad[*at] ^= 1);
        let (salvaged, damage) = salvage(&bad).unwrap();
        assert!(salvaged == picture && damage.tiles.is_empty() && !damage.is_none(), "{damaged:?}: {damage:?}");
    }
}

#[test]
fn a_tile_of_the_length_in_the_index_goes_before_another() {
    let (file, picture) = file();
    let other = tiny_encoder(TILE).encode(&scene(SIDE, SIDE, Channels::Rgb, 99)).unwrap();
    let ((start, end), (first, _), (foreign, foreign_end)) = (tile(&file, 4), tile(&file, 0), tile(&other, 4));
    assert_ne!(end - start, foreign_end - foreign);
    // Behind the index, in the tile's place, and with the tile elsewhere.
    loses(&[&file[..first], &other[foreign..foreign_end], &file[first..]].concat(), &picture, &[]);
    loses(&[&file[..start], &other[foreign..foreign_end], &file[start..]].concat(), &picture, &[]);
}

#[test]
fn what_stands_behind_the_end_is_not_taken() {
    let (file, picture) = file();
    let other = tiny_encoder(TILE).encode(&scene(SIDE, SIDE, Channels::Rgb, 99)).unwrap();
    let mut bad = file.clone();
    bad[tile(&file, 4).1 - 1] ^= 1;
    loses(&[&bad[..], &other].concat(), &picture, &[4]);
    // Where the end is not to be seen either, the other's signature is.
    let last = bad.len() - 1;
    bad[last] ^= 1;
    loses(&[&bad[..], &other].concat(), &picture, &[4]);
    bad.truncate(last - 11);
    loses(&[&bad[..], &other].concat(), &picture, &[4]);
}

#[test]
fn lost_metadata_are_told() {
    let (file, picture) = file();
    let zlib = [&[1][..], &9u32.to_le_bytes(), b"no stream"].concat();
    let with = |extra: Vec<u8>| [&file[..44], &extra, &file[44..]].concat();
    let lost = |file: &[u8]| salvage(file).unwrap().1.metadata.iter().map(|m| (m.what, m.reason.clone())).collect::<Vec<_>>();
    let unpackable = with(chunk(b"ICCP", &zlib));
    let (_, damage) = loses(&unpackable, &picture, &[]);
    assert!(damage.file.is_none() && !damage.is_none(), "the chunk is whole: {damage:?}");
    assert!(matches!(&lost(&unpackable)[..], [("colour profile", reason)] if reason.contains("R2.10")));
    let mut sums = with([chunk(b"ICCP", b"\0profile"), chunk(b"EXIF", b"\0exif"), chunk(b"XMP ", b"\0xmp")].concat());
    sums[44 + 8 + 2] ^= 1;
    sums[44 + 20 + 8 + 2] ^= 1;
    assert_eq!(lost(&sums).iter().map(|(what, _)| *what).collect::<Vec<_>>(), ["EXIF block", "colour profile"]);
    // What is wrong with the file stands in front of them.
    let damage = salvage(&sums).unwrap().1;
    let lines: Vec<_> = damage.lines().collect();
    assert_eq!(lines, [damage.file.clone().unwrap(), damage.metadata[0].to_string(), damage.metadata[1].to_string()]);
    loses(&sums, &picture, &[]);
    // A block that says nothing, behind other damage, which `file` tells of.
    let unknown = with([chunk(b"ICCP", b"\0profile"), chunk(b"EXIF", b"\x07exif")].concat());
    assert!(matches!(&lost(&unknown)[..], [("EXIF block", reason)] if reason.contains("R2.10")));
    let mut both = unknown;
    both[44 + 8 + 2] ^= 1;
    assert_eq!(lost(&both).iter().map(|(what, _)| *what).collect::<Vec<_>>(), ["EXIF block", "colour profile"]);
    let (mut nested, _) = with_preview(&file);
    assert!(lost(&nested).is_empty());
    nested[60] ^= 1;
    assert_eq!(lost(&nested)[0].0, "preview", "its sum may be wrong in a file that is whole otherwise");
    let last = tile(&nested, 0).1 - 1;
    nested[last] ^= 1;
    assert_eq!(lost(&nested)[0].0, "preview");
    // There was one, whatever else is damaged.
    let mut options = tiny_options();
    options.salvage = true;
    let error = Decoder::with_options(&nested[..], options).unwrap().preview().unwrap_err();
    assert!(matches!(&error, Error::Format(e) if e.rule() == "R2.13"), "{error}");
}

/// A lost tile of an even picture is not seen; of any picture, it has no edge that is harder than what was there.
#[test]
fn lost_tiles_are_concealed() {
    let smooth = (0..SIDE * SIDE).flat_map(|i| [(60 + i % SIDE / 8) as u8, 120, (70 + i / SIDE / 8) as u8]).collect();
    let smooth = Picture::rgb(SIDE, SIDE, smooth).unwrap();
    // The embedded model: the tiny one has not learned to show pictures.
    let file = aei::Encoder::new().lossless(aei::Lossless::Never).tile_size(TILE).unwrap().encode(&smooth).unwrap();
    let mut bad = file.clone();
    bad[tile(&file, 4).1 - 1] ^= 1;
    let mut options = aei::DecoderOptions::default();
    options.salvage = true;
    let (picture, damage) = Decoder::with_options(&bad[..], options).unwrap().decode_salvaged().unwrap();
    assert_eq!(damage.tiles.len(), 1);
    let differs = |x: u32, y: u32| {
        let at = ((y * SIDE + x) * 3) as usize;
        (0..3).map(|c| picture.samples()[at + c].abs_diff(smooth.samples()[at + c])).max().unwrap()
    };
    let inside = (0..TILE).flat_map(|y| (0..TILE).map(move |x| (x + TILE, y + TILE)));
    let sum: u32 = inside.map(|(x, y)| u32::from(differs(x, y))).sum();
    let mean = f64::from(sum) / f64::from(TILE * TILE);
    assert!(mean < 24.0, "concealed pixels differ by {mean:.1} on average");
    for y in TILE + 8..2 * TILE - 8 {
        for c in 0..3 {
            let sample = |x: u32| picture.samples()[((y * SIDE + x) * 3) as usize + c];
            for x in [TILE - 1, 2 * TILE - 1] {
                assert!(sample(x).abs_diff(sample(x + 1)) < 16, "a hard edge at {x},{y}");
            }
        }
    }
}

/// A file made to keep the search busy.
#[test]
fn the_search_is_bounded() {
    let (file, _) = file();
    let mut bad = file[..44].to_vec();
    let junk = 400_000u32;
    while bad.len() < junk as usize {
        let left = junk - bad.len() as u32;
        bad.extend(b"TILE");
        bad.extend((left / 2).to_le_bytes());
    }
    // And one of many chunks, and of many that may be its tile index.
    let many = [file[..44].to_vec(), chunk(b"teSt", b"").repeat(400_000), [&b"?"[..], &chunk(b"TIDX", b"")].concat().repeat(400_000)].concat();
    for bad in [bad, many] {
        let started = std::time::Instant::now();
        let (_, damage) = salvage(&bad).unwrap();
        assert_eq!(damage.tiles.len(), 9);
        assert!(started.elapsed().as_secs() < 20);
    }
}
