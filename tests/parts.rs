//! Parts of pictures, rows, files that are read piece by piece, work that is stopped.

mod common;

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aei::{Channels, Decoder, DecoderOptions, Encoder, Error, Layout, Lossless, Orientation, Picture};
use common::{crop, rows_joined, scene, tiny_decoder, tiny_encoder, tiny_options};

/// Counts the bytes that are read.
struct Counted(Cursor<Vec<u8>>, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buffer)?;
        self.1.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

fn counted(file: &[u8]) -> (Decoder, Arc<AtomicU64>) {
    let read = Arc::new(AtomicU64::new(0));
    let decoder = Decoder::from_seekable(Counted(Cursor::new(file.to_vec()), Arc::clone(&read)), tiny_options()).unwrap();
    (decoder, read)
}

#[test]
fn r5_10_regions_are_crops_of_the_whole() {
    for (width, height, tile, channels) in [
        (700, 560, 256, Channels::Rgb),
        (530, 610, 512, Channels::Gray),
        (129, 1, 256, Channels::Rgb),
        (1, 300, 256, Channels::Gray),
        (330, 330, 4096, Channels::Rgb),
        (530, 300, 256, Channels::Rgba),
        (300, 530, 512, Channels::GrayAlpha),
    ] {
        let file = tiny_encoder(tile).encode(&scene(width, height, channels, 7)).unwrap();
        let decoder = tiny_decoder(&file);
        let whole = decoder.decode().unwrap();
        let mut regions = vec![[0, 0, width, height], [0, 0, 1, 1], [width - 1, height - 1, 1, 1], [width / 2, 0, 1, height], [0, height / 2, width, 1]];
        let mut state = 1u32;
        for _ in 0..25 {
            let mut below = |bound: u32| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) % bound
            };
            let (x, y) = (below(width), below(height));
            regions.push([x, y, 1 + below(width - x), 1 + below(height - y)]);
        }
        for [x, y, w, h] in regions {
            let region = decoder.decode_region(x, y, w, h).unwrap();
            assert_eq!((region.width(), region.height(), region.channels()), (w, h, channels));
            assert!(region.samples() == crop(&whole, x, y, w, h), "{w}x{h} at {x},{y} of {width}x{height}, tiles of {tile}");
            let mut into = vec![0; region.samples().len()];
            decoder.decode_region_into(x, y, w, h, &mut into).unwrap();
            assert_eq!(region.samples(), into);
        }
    }
}

#[test]
fn r5_10_a_region_with_the_real_model() {
    let file = Encoder::new().lossless(Lossless::Never).tile_size(256).unwrap().encode(&scene(520, 300, Channels::Rgb, 3)).unwrap();
    let decoder = Decoder::new(&file[..]).unwrap();
    let whole = decoder.decode().unwrap();
    for [x, y, w, h] in [[200, 100, 100, 80], [0, 0, 30, 300], [255, 255, 2, 2], [419, 3, 101, 50]] {
        assert!(decoder.decode_region(x, y, w, h).unwrap().samples() == crop(&whole, x, y, w, h), "{w}x{h} at {x},{y}");
    }
}

#[test]
fn regions_of_upright_pictures() {
    for exif in 1..=8 {
        let picture = scene(150, 90, Channels::Rgb, 5).with_orientation(Orientation::from_exif(exif).unwrap());
        let decoder = tiny_decoder(&tiny_encoder(256).encode(&picture).unwrap());
        let upright = decoder.decode().unwrap().upright().unwrap();
        for [x, y, w, h] in [[0, 0, 1, 1], [10, 20, 30, 40], [3, 4, upright.width() - 3, 5]] {
            let [cx, cy, cw, ch] = decoder.info().coded_region(x, y, w, h).unwrap();
            assert_eq!(decoder.info().upright_region(cx, cy, cw, ch).unwrap(), [x, y, w, h]);
            let region = decoder.decode_region(cx, cy, cw, ch).unwrap().upright().unwrap();
            assert_eq!((region.width(), region.height()), (w, h));
            assert!(region.samples() == crop(&upright, x, y, w, h), "{w}x{h} at {x},{y}, orientation {exif}");
        }
        assert!(decoder.info().coded_region(0, 0, upright.width() + 1, 1).is_err());
        assert!(decoder.info().upright_region(0, 0, 1, 91).is_err());
    }
}

#[test]
fn regions_that_are_none_are_refused_with_the_size() {
    let decoder = tiny_decoder(&tiny_encoder(256).encode(&scene(30, 20, Channels::Gray, 1)).unwrap());
    for [x, y, w, h] in [[0, 0, 0, 1], [0, 0, 1, 0], [30, 0, 1, 1], [0, 20, 1, 1], [29, 0, 2, 1], [u32::MAX, 0, 2, 1], [0, 1, 1, u32::MAX]] {
        let error = decoder.decode_region(x, y, w, h).unwrap_err();
        assert!(matches!(&error, Error::Parameter(message) if message.contains("30x20")), "{error:?}");
    }
    assert!(matches!(decoder.decode_region_into(0, 0, 2, 2, &mut [0; 5]), Err(Error::Parameter(_))));
}

#[test]
fn rows_are_those_of_the_whole_and_a_sink_can_stop() {
    for (width, height, channels) in [(1, 1, Channels::Gray), (300, 700, Channels::Rgb), (257, 128, Channels::Gray)] {
        let decoder = tiny_decoder(&tiny_encoder(256).encode(&scene(width, height, channels, 2)).unwrap());
        assert!(decoder.decode().unwrap().samples() == rows_joined(&decoder).unwrap(), "{width}x{height}");
        let mut calls = 0;
        let stopped = decoder.decode_rows(|_, _| {
            calls += 1;
            Err(io::Error::other("full").into())
        });
        assert!(matches!(stopped, Err(Error::Io(_))) && calls == 1);
    }
}

#[test]
fn rows_in_give_the_file_of_the_picture() {
    for (width, height, channels) in [(1, 1, Channels::Gray), (70, 129, Channels::Rgb), (300, 520, Channels::Gray)] {
        let picture = scene(width, height, channels, 4).with_source_depth(12).unwrap().with_orientation(Orientation::Rotate90);
        let encoder = tiny_encoder(256);
        let samples = picture.samples();
        let mut rest = &samples[..];
        let streamed = encoder.encode_rows(Layout::from(&picture), |rows| {
            assert!(!rows.is_empty() && rows.len() % (width as usize * channels.count()) == 0);
            rows.copy_from_slice(&rest[..rows.len()]);
            rest = &rest[rows.len()..];
            Ok(())
        });
        assert!(rest.is_empty());
        assert_eq!(streamed.unwrap(), encoder.encode(&picture).unwrap());
    }
    let failing = tiny_encoder(256).encode_rows(Layout::new(5, 5, Channels::Rgb).unwrap(), |_| Err(io::Error::other("gone").into()));
    assert!(matches!(failing, Err(Error::Io(_))));
    assert!(Layout::new(0, 5, Channels::Rgb).is_err() && Layout::new(5, 65536, Channels::Rgb).is_err());
}

#[test]
fn a_region_of_a_large_file_reads_little() {
    // 8 x 8 tiles.
    let file = tiny_encoder(256).encode(&scene(2048, 2048, Channels::Rgb, 9)).unwrap();
    let (decoder, read) = counted(&file);
    let opened = read.load(Ordering::Relaxed);
    // Signature, HEAD, TIDX, the first tile's header.
    assert!(opened < 1000, "{opened} bytes read to open");
    let region = decoder.decode_region(900, 900, 60, 60).unwrap();
    let one = read.load(Ordering::Relaxed) - opened;
    assert!(one < file.len() as u64 / 40, "{one} of {} bytes read for a part of one tile", file.len());
    let whole = decoder.decode().unwrap();
    assert!(region.samples() == crop(&whole, 900, 900, 60, 60));
    let all = read.load(Ordering::Relaxed) - one - opened;
    assert!(all < file.len() as u64 + 64 * 8 + 64, "{all} of {} bytes read for the whole", file.len());
}

#[test]
fn damage_is_found_when_it_is_read() {
    let file = tiny_encoder(256).encode(&scene(520, 520, Channels::Gray, 9)).unwrap();
    let open = |bytes: Vec<u8>| Decoder::from_seekable(Cursor::new(bytes), tiny_options());
    // The last tile: far from the region.
    let mut bad = file.clone();
    let at = bad.len() - 30;
    bad[at] ^= 1;
    let decoder = open(bad.clone()).unwrap();
    let region = decoder.decode_region(0, 0, 100, 100).unwrap();
    assert!(region.samples() == crop(&tiny_decoder(&file).decode().unwrap(), 0, 0, 100, 100));
    for error in [decoder.decode().unwrap_err(), rows_joined(&decoder).unwrap_err(), Decoder::with_options(&bad[..], tiny_options()).unwrap_err()] {
        assert!(matches!(&error, Error::Format(e) if e.rule() == "R2.3") && error.to_string().contains("tile 8"), "{error}");
    }
    // The end is looked at when everything has been decoded.
    let decoder = open(file[..file.len() - 1].to_vec()).unwrap();
    assert!(matches!(decoder.decode(), Err(Error::Format(e)) if e.rule() == "R2.5"));
    // An index that does not fit is noticed at the tile.
    let crc_at = 44 + 8 + 9 * 4;
    // A little too long, or as if it needed gigabytes.
    for (byte, change) in [(0, 4), (3, 0xF0)] {
        let mut other = file.clone();
        other[44 + 8 + 4 * 4 + byte] ^= change;
        let crc = crc32fast::hash(&[b"TIDX", &other[52..crc_at]].concat());
        other[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(Decoder::with_options(&other[..], tiny_options()), Err(Error::Format(e)) if e.rule() == "R2.7"));
        assert!(matches!(open(other).unwrap().decode(), Err(Error::Format(e)) if e.rule() == "R2.7"));
    }
}

#[test]
fn limits_hold_at_both_doors() {
    let file = tiny_encoder(256).encode(&scene(300, 300, Channels::Gray, 1)).unwrap();
    let with = |change: &dyn Fn(&mut aei::Limits)| {
        let mut options = tiny_options();
        change(&mut options.limits);
        let read = Decoder::with_options(&file[..], options.clone()).and_then(|d| d.decode()).err();
        let taken = Decoder::from_vec(file.clone(), options.clone()).and_then(|d| d.decode()).err();
        assert_eq!(taken.map(|e| e.to_string()), read.as_ref().map(Error::to_string));
        let opened = Decoder::from_seekable(Cursor::new(file.clone()), options).and_then(|d| d.decode()).err();
        [read, opened].map(|error| matches!(error, Some(Error::Limits(_))))
    };
    let len = file.len() as u64;
    assert_eq!(with(&|_| ()), [false; 2]);
    assert_eq!(with(&|l| l.max_tiles = 4), [false; 2]);
    assert_eq!(with(&|l| l.max_tiles = 3), [true; 2]);
    assert_eq!(with(&|l| l.max_pixels = 89_999), [true; 2]);
    let mut options = tiny_options();
    options.limits.max_pixels = 89_999;
    let part = Decoder::with_options(&file[..], options).unwrap().decode_region(0, 0, 1, 1);
    assert!(matches!(part, Err(Error::Limits(_))), "the picture counts, not the part");
    assert_eq!(with(&|l| l.max_file_bytes = len), [false; 2]);
    assert_eq!(with(&|l| l.max_file_bytes = len - 1), [true; 2]);
    assert_eq!(with(&|l| l.max_memory = 100_000), [true; 2]);
    assert_eq!(with(&|l| l.max_chunk_bytes = 64), [false, true]);
    assert!(matches!(tiny_encoder(256).max_memory(100_000).encode(&scene(300, 300, Channels::Gray, 1)), Err(Error::Limits(_))));
}

/// Breaks at the `n`th call.
fn stop_at(n: u64) -> (impl Fn(u64, u64) -> ControlFlow<()> + Send + Sync + 'static, Arc<AtomicU64>) {
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    let callback = move |_, _| if count.fetch_add(1, Ordering::Relaxed) + 1 >= n { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    (callback, calls)
}

#[test]
fn break_ends_the_work() {
    let all = [Channels::Rgb, Channels::Rgba].into_iter().flat_map(|channels| [(channels, Lossless::Never), (channels, Lossless::Always)]);
    for ((channels, lossless), n) in all.flat_map(|way| [1, 2, 4, 7].map(|n| (way, n))) {
        let picture = scene(600, 600, channels, 1);
        let encoder = tiny_encoder(256).lossless(lossless);
        let file = encoder.encode(&picture).unwrap();
        let (callback, calls) = stop_at(n);
        assert!(matches!(encoder.on_progress(callback).encode(&picture), Err(Error::Cancelled)));
        // Tiles that run at the same time may all ask once, without loss for each way of storing them.
        let at_once = if lossless == Lossless::Always { 9 * 6 } else { 9 };
        assert!(calls.load(Ordering::Relaxed) < n + at_once, "{calls:?} calls");
        let (callback, calls) = stop_at(n);
        let decoder = tiny_decoder(&file).on_progress(callback);
        assert!(matches!(decoder.decode(), Err(Error::Cancelled)));
        assert!(calls.load(Ordering::Relaxed) < n + 9, "{calls:?} calls");
        assert!(matches!(decoder.decode_region(0, 0, 600, 600), Err(Error::Cancelled)));
        assert!(matches!(rows_joined(&decoder), Err(Error::Cancelled)));
    }
}

#[test]
fn several_threads_decode_from_one_decoder() {
    fn shared<T: Send + Sync>() {}
    shared::<Decoder>();
    let picture = scene(600, 400, Channels::Rgb, 1);
    let file = tiny_encoder(256).encode(&picture).unwrap();
    let (lazy, _) = counted(&file);
    for decoder in [lazy, tiny_decoder(&file)] {
        let whole: Picture = decoder.decode().unwrap();
        std::thread::scope(|scope| {
            for i in 0..4 {
                let (decoder, whole) = (&decoder, &whole);
                scope.spawn(move || {
                    for k in 0..3 {
                        let (x, y) = (i * 140, k * 120);
                        assert!(decoder.decode_region(x, y, 150, 100).unwrap().samples() == crop(whole, x, y, 150, 100));
                    }
                    assert!(decoder.decode().unwrap() == *whole);
                });
            }
        });
    }
}

#[test]
fn open_reads_a_file_by_name() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors/tiles-2x2.aei");
    let whole = Decoder::new(std::fs::File::open(&path).unwrap()).unwrap().decode().unwrap();
    assert_eq!(Decoder::open(&path).unwrap().decode().unwrap(), whole);
    assert!(matches!(Decoder::open("no such file"), Err(Error::Io(_))));
    assert!(
        matches!(Decoder::from_seekable(Cursor::new(b"\x89PNG\r\n\x1a\n".to_vec()), DecoderOptions::default()), Err(Error::Format(e)) if e.rule() == "R2.1")
    );
}
