//! TIFF files made tag by tag.

use std::io::Read as _;

use flate2::Compression;
use flate2::read::ZlibEncoder;

use super::super::{Notice, read_picture};
use super::*;

/// A TIFF file of strips or tiles with these tags besides those of their places; values of two bytes.
fn file(big_endian: bool, tiled: bool, tags: &[(u16, &[u16])], chunks: &[Vec<u8>]) -> Vec<u8> {
    let short = |v: u16| if big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
    let long = |v: usize| if big_endian { (v as u32).to_be_bytes() } else { (v as u32).to_le_bytes() };
    let mut bytes = [if big_endian { &b"MM"[..] } else { b"II" }, &short(42), &long(0)].concat();
    let mut put = |content: &[u8]| {
        let at = bytes.len();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        at
    };
    let places: Vec<usize> = chunks.iter().map(|chunk| put(chunk)).collect();
    let lengths = chunks.iter().map(Vec::len);
    let mut entries = Vec::new();
    for (tag, kind, content, count) in [
        (if tiled { 324 } else { 273 }, 4, places.iter().flat_map(|v| long(*v)).collect::<Vec<_>>(), chunks.len()),
        (if tiled { 325 } else { 279 }, 4, lengths.flat_map(long).collect(), chunks.len()),
    ]
    .into_iter()
    .chain(tags.iter().map(|(tag, values)| (*tag, 3, values.iter().flat_map(|v| short(*v)).collect(), values.len())))
    {
        let mut value = content.clone();
        if value.len() > 4 {
            value = long(put(&content)).to_vec();
        }
        value.resize(4, 0);
        entries.push((tag, [&short(tag)[..], &short(kind), &long(count), &value].concat()));
    }
    entries.sort();
    let directory = [&short(entries.len() as u16)[..], &entries.into_iter().flat_map(|(_, entry)| entry).collect::<Vec<_>>(), &[0; 4]].concat();
    let at = long(put(&directory));
    bytes[4..8].copy_from_slice(&at);
    bytes
}

/// Tags of size, bits of each sample, and what samples mean.
fn head<'a>(width: &'a [u16], height: &'a [u16], bits: &'a [u16], samples: &'a [u16], photometric: &'a [u16]) -> Vec<(u16, &'a [u16])> {
    vec![(256, width), (257, height), (258, bits), (277, samples), (262, photometric)]
}

fn read(bytes: &[u8]) -> (Channels, Samples, Vec<Notice>) {
    let (picture, notices) = read_picture(bytes).unwrap();
    (picture.channels(), picture.data().clone(), notices)
}

#[test]
fn palettes_become_rgb() {
    for big_endian in [false, true] {
        let with = |bits: u16, map: &[u16], data: &[u8]| {
            let bits = [bits];
            let tags = [head(&[3], &[2], &bits, &[1], &[3]), vec![(278, &[2]), (320, map)]].concat();
            read(&file(big_endian, false, &tags, &[data.to_vec()]))
        };
        let four: Vec<u16> = (0..48).map(|i| i * 5 * 257).collect();
        let colours: Vec<u8> = [1, 2, 15, 0, 7, 3].iter().flat_map(|i| [5 * i, 5 * (16 + i), 5 * (32 + i)]).collect();
        assert_eq!(with(4, &four, &[0x12, 0xF0, 0x07, 0x30]), (Channels::Rgb, colours.clone().into(), vec![]));
        // Colours of 8 bits, as some programs write them.
        for eight in [four.iter().map(|v| v >> 8).collect::<Vec<_>>(), four.iter().map(|v| v & 0xFF00).collect()] {
            assert_eq!(with(4, &eight, &[0x12, 0xF0, 0x07, 0x30]).1, colours.clone().into());
        }
        assert_eq!(
            with(1, &[1000, 2, 3, 4, 5, 65535], &[0b1000_0000, 0b0110_0000]).1,
            [[2, 4, 65535u16], [1000, 3, 5], [1000, 3, 5], [1000, 3, 5], [2, 4, 65535], [2, 4, 65535]].concat().into()
        );
        let eight: Vec<u16> = (0..768).map(|i| i * 85).collect();
        assert_eq!(with(8, &eight, &[0, 1, 2, 3, 4, 255]).1.len(), 18);
    }
}

#[test]
fn gray_of_few_bits_and_with_alpha() {
    let gray = |bits: u16, photometric: u16, data: &[u8]| {
        let (bits, photometric) = ([bits], [photometric]);
        let tags = [head(&[3], &[2], &bits, &[1], &photometric), vec![(278, &[2])]].concat();
        let (picture, _) = read_picture(&file(true, false, &tags, &[data.to_vec()])).unwrap();
        assert_eq!(picture.source_depth(), bits[0] as u8);
        picture.into_samples()
    };
    assert_eq!(gray(4, 1, &[0x12, 0xF0, 0x07, 0x30]), [17, 34, 255, 0, 119, 51]);
    assert_eq!(gray(2, 0, &[0b0001_1000, 0b1100_0100]), [255, 170, 85, 0, 255, 170]);

    let with_alpha = |photometric: u16, kind: u16, wide: bool| {
        let (photometric, kind, bits) = ([photometric], [kind], if wide { [16, 16] } else { [8, 8] });
        let tags = [head(&[2], &[1], &bits, &[2], &photometric), vec![(278, &[1]), (338, &kind)]].concat();
        let data = if wide { vec![1, 0, 255, 255, 0, 9, 128, 0] } else { vec![100, 255, 30, 51] };
        read(&file(true, false, &tags, &[data]))
    };
    assert_eq!(with_alpha(1, 2, false), (Channels::GrayAlpha, vec![100, 255, 30, 51u8].into(), vec![]));
    assert_eq!(with_alpha(1, 1, false).1, vec![100, 255, 150, 51u8].into());
    assert_eq!(with_alpha(0, 2, false).1, vec![155, 255, 225, 51u8].into());
    assert_eq!(with_alpha(1, 2, true).1, vec![256, 65535, 9, 32768u16].into());
}

/// Four channels and five, in strips and in tiles, with differences between neighbours or not.
#[test]
fn further_channels_are_left_out_and_told() {
    const SIZE: usize = 21;
    for (stored, kinds, kept) in [(4, &[0u16][..], Channels::Rgb), (5, &[2, 0], Channels::Rgba), (5, &[0, 2], Channels::Rgba)] {
        let samples: Vec<u8> = (0..SIZE * SIZE * stored).map(|i| (i * 37 % 253) as u8).collect();
        let alpha = kinds.iter().position(|kind| *kind == 2).map(|i| 3 + i);
        let expected: Vec<u8> = samples.chunks(stored).flat_map(|pixel| [0, 1, 2].into_iter().chain(alpha).map(|i| pixel[i])).collect();
        for (tiled, predictor) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
            let side = if tiled { 16 } else { SIZE };
            let (across, mut chunks) = (SIZE.div_ceil(side), Vec::new());
            for place in 0..across * across {
                let mut data = vec![0; side * side * stored];
                for (y, row) in data.chunks_mut(side * stored).enumerate() {
                    let (x, y) = (place % across * side, place / across * side + y);
                    let columns = side.min(SIZE - x) * stored;
                    if y < SIZE {
                        row[..columns].copy_from_slice(&samples[(y * SIZE + x) * stored..][..columns]);
                    }
                    if predictor == 2 {
                        (stored..row.len()).rev().for_each(|i| row[i] = row[i].wrapping_sub(row[i - stored]));
                    }
                }
                let mut packed = Vec::new();
                ZlibEncoder::new(&data[..], Compression::fast()).read_to_end(&mut packed).unwrap();
                chunks.push(packed);
            }
            let (bits, number, predictor) = (vec![8; stored], [stored as u16], [predictor]);
            let more: [(u16, &[u16]); 2] = if tiled { [(322, &[16]), (323, &[16])] } else { [(278, &[SIZE as u16]), (284, &[1])] };
            let tags = [head(&[SIZE as u16], &[SIZE as u16], &bits, &number, &[2]), vec![(259, &[8]), (317, &predictor), (338, kinds)], more.to_vec()].concat();
            let (channels, found, notices) = read(&file(false, tiled, &tags, &chunks));
            assert_eq!((channels, found == expected.clone().into()), (kept, true), "{stored} {tiled} {predictor:?}");
            assert!(matches!(&notices[..], [Notice::LeftOut { what: "set of further channels", .. }]), "{notices:?}");
        }
    }
}

#[test]
fn luma_and_differences_become_colours() {
    let stored = |more: &[(u16, &[u16])], data: &[u8]| {
        let tags = [head(&[2], &[1], &[8, 8, 8], &[3], &[6]), vec![(278, &[1])], more.to_vec()].concat();
        read_picture(&file(false, false, &tags, &[data.to_vec()])).map(|(picture, _)| picture.into_samples())
    };
    let every: (u16, &[u16]) = (530, &[1, 1]);
    assert_eq!(stored(&[every], &[76, 85, 255, 200, 128, 128]).unwrap(), [254, 0, 0, 200, 200, 200]);
    // Video's range: 16 is black, 235 white.
    assert_eq!(stored(&[every, (532, &[16, 235, 128, 240, 128, 240])], &[16, 128, 128, 235, 128, 128]).unwrap(), [0, 0, 0, 255, 255, 255]);
    for wrong in [&[][..], &[every, (532, &[16, 16, 128, 240, 128, 240])], &[every, (532, &[16, 235, 128, 240])], &[every, (529, &[0, 1, 0])]] {
        assert!(matches!(stored(wrong, &[76, 85, 255, 200, 128, 128]), Err(Error::Unsupported(_))), "{wrong:?}");
    }

    // As JPEG, with half of the differences: what the JPEG file alone gives, but for rounding.
    let jpeg = std::fs::read("tests/data/budgie.jpg").unwrap();
    let (expected, _) = read_picture(&jpeg).unwrap();
    let tags = [head(&[384], &[384], &[8, 8, 8], &[3], &[6]), vec![(278, &[384]), (259, &[7]), (530, &[2, 2])]].concat();
    let whole = file(true, false, &tags, std::slice::from_ref(&jpeg));
    let (picture, notices) = read_picture(&whole).unwrap();
    assert_eq!(notices, []);
    let off = picture.into_samples().iter().zip(expected.into_samples()).map(|(a, b)| a.abs_diff(b)).max();
    assert!(off <= Some(2), "{off:?}");
    assert!(matches!(super::super::read(&whole, &Limits { max_memory: 6 * 384 * 384 - 1, ..Limits::default() }), Err(Error::Limits(_))));
}

/// Strips coded as JPEG that have another width than the picture, and other channels, whatever the colours.
#[test]
fn jpeg_of_other_sizes_and_channels() {
    let jpeg = std::fs::read("tests/data/budgie.jpg").unwrap();
    let (rgb, gray): ((&[u16], _), (&[u16], _)) = ((&[8; 3], [3]), (&[8], [1]));
    for (width, (bits, samples), photometric) in
        [(200, rgb, 6), (400, rgb, 6), (200, rgb, 2), (384, gray, 1), (384, (&[8; 4][..], [4]), 5), (384, (&[8; 2][..], [2]), 1)]
    {
        let (width, photometric) = ([width], [photometric]);
        let tags = [head(&width, &[100], bits, &samples, &photometric), vec![(278, &[100]), (259, &[7]), (530, &[2, 2])]].concat();
        let found = read_picture(&file(true, false, &tags, std::slice::from_ref(&jpeg)));
        assert!(matches!(&found, Err(Error::Format(message)) if message.to_string().contains("another width")), "{width:?} {photometric:?} {found:?}");
    }
    // Differences in planes of their own, of half the size.
    let plane = |side: u32| {
        let mut coded = Vec::new();
        let gray = vec![128; (side * side) as usize];
        image::codecs::jpeg::JpegEncoder::new(&mut coded).encode(&gray, side, side, image::ExtendedColorType::L8).unwrap();
        coded
    };
    let tags = [head(&[16], &[16], rgb.0, &rgb.1, &[6]), vec![(278, &[16]), (259, &[7]), (284, &[2]), (530, &[2, 2])]].concat();
    assert_eq!(read(&file(true, false, &tags, &[plane(16), plane(16), plane(16)])).1, vec![128u8; 768].into());
    assert!(matches!(read_picture(&file(true, false, &tags, &[plane(16), plane(8), plane(8)])), Err(Error::Unsupported(_))));
    // Thousands of strips that are the same bytes: each is said to have 65535 of them.
    let tags = [head(&[384], &[2000], rgb.0, &rgb.1, &[6]), vec![(278, &[1]), (259, &[7])]].concat();
    let mut shared = file(true, false, &tags, &vec![vec![0]; 2000]);
    let lengths = 1u32.to_be_bytes().repeat(2000);
    let at = shared.windows(lengths.len()).position(|bytes| bytes == lengths).unwrap();
    shared[at..at + lengths.len()].copy_from_slice(&0xFFFFu32.to_be_bytes().repeat(2000));
    assert!(matches!(read_picture(&shared), Err(Error::Format(message)) if message.to_string().contains("share their bytes")));
    // Rows beyond the picture's are left alone, but take memory.
    let tags = [head(&[384], &[1], rgb.0, &rgb.1, &[6]), vec![(278, &[1]), (259, &[7]), (530, &[2, 2])]].concat();
    let tall = file(true, false, &tags, &[jpeg]);
    assert_eq!(read_picture(&tall).unwrap().0.height(), 1);
    assert!(matches!(super::super::read(&tall, &Limits { max_memory: 3 * 384 * 384, ..Limits::default() }), Err(Error::Limits(_))));
}

#[test]
fn tiles_in_separate_planes() {
    let (width, height) = (21, 37);
    let sample = |channel: usize, x: usize, y: usize| (channel * 70 + x * 3 + y * 5) as u8;
    let mut chunks = Vec::new();
    for channel in 0..3 {
        for (top, left) in [0, 16, 32].into_iter().flat_map(|top| [(top, 0), (top, 16)]) {
            chunks.push((0..256).map(|i| sample(channel, left + i % 16, top + i / 16)).collect());
        }
    }
    let tags = [head(&[21], &[37], &[8, 8, 8], &[3], &[2]), vec![(284, &[2]), (322, &[16]), (323, &[16])]].concat();
    let whole = file(false, true, &tags, &chunks);
    let expected: Vec<u8> = (0..height).flat_map(|y| (0..width).flat_map(move |x| [0, 1, 2].map(|c| sample(c, x, y)))).collect();
    assert_eq!(read(&whole), (Channels::Rgb, expected.into(), vec![]));
    // Coded as JPEG they are not read at all.
    let jpeg = [&tags[..], &[(259, &[7])]].concat();
    assert!(matches!(read_picture(&file(false, true, &jpeg, &chunks)), Err(Error::Unsupported(message)) if message.contains("separate planes")));
    assert!(matches!(read_picture(&file(false, true, &tags, &chunks[1..])), Err(Error::Format(_))));
    assert!(matches!(super::super::read(&whole, &Limits { max_memory: 2330, ..Limits::default() }), Err(Error::Limits(_))));

    // Whatever is wrong with the file, there is no panic.
    let directory = u32::from_le_bytes(whole[4..8].try_into().unwrap()) as usize;
    for at in (0..8).chain(directory..whole.len()) {
        for value in [0, 1, 2, 3, 0x7F, 0x80, 0xFF] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            let _ = super::super::read(&damaged, &Limits { max_memory: 1 << 24, ..Limits::default() });
        }
    }
}
