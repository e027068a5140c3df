//! What holds for every picture, quality and tile size, with the tiny model.

mod common;

use aei::{Channels, Quality, Tune};
use common::{crop, rows_joined, scene, tiny_decoder, tiny_encoder};
use proptest::prelude::*;

/// Two numbers as a range within `0..all`: start and length.
fn part(all: u32, a: u32, b: u32) -> (u32, u32) {
    let start = a % all;
    (start, 1 + b % (all - start))
}

fn on_one_thread<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(f)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_picture(
        (width, height) in (1u32..=300, 1u32..=300),
        index in 0u8..=63,
        tile in prop::sample::select(vec![256u32, 512, 1024, 2048, 4096]),
        effort in prop::sample::select(vec![0u8, 0, 1, 2]),
        tune in prop::sample::select(vec![Tune::Psnr, Tune::Visual]),
        gray: bool,
        seed: u64,
        corners: [u32; 4],
    ) {
        let channels = if gray { Channels::Gray } else { Channels::Rgb };
        let picture = scene(width, height, channels, seed);
        let encoder = tiny_encoder(tile).quality(Quality::index(index).unwrap()).effort(effort).unwrap().tune(tune);
        let file = encoder.encode(&picture).unwrap();
        prop_assert!(file == on_one_thread(|| encoder.encode(&picture).unwrap()), "encoding depends on the threads");

        let decoder = tiny_decoder(&file);
        let whole = decoder.decode().unwrap();
        prop_assert_eq!((whole.width(), whole.height(), whole.channels()), (width, height, channels));
        prop_assert!(whole == on_one_thread(|| decoder.decode().unwrap()), "decoding depends on the threads");
        prop_assert!(whole.samples() == rows_joined(&decoder).unwrap(), "rows differ from the whole");

        let ((x, w), (y, h)) = (part(width, corners[0], corners[1]), part(height, corners[2], corners[3]));
        prop_assert!(decoder.decode_region(x, y, w, h).unwrap().samples() == crop(&whole, x, y, w, h), "{}x{} at {},{}", w, h, x, y);
    }
}

/// Nobody sees what is beyond the edge, so it may not cost what the edge costs again and again.
#[cfg(feature = "files")]
#[test]
fn padding_is_cheaper_than_the_edge_repeated() {
    let (photo, _) = aei::read_picture(include_bytes!("data/budgie.jpg")).unwrap();
    let (side, count, samples) = (photo.width() as usize, photo.channels().count(), photo.samples());
    let (width, height) = (350, 330);
    let pixel = |x: usize, y: usize| &samples[(y * side + x) * count..][..count];
    let picture = |w: usize, h: usize| {
        let places = (0..h).flat_map(|y| (0..w).map(move |x| (x.min(width - 1), y.min(height - 1))));
        let samples: Vec<u8> = places.flat_map(|(x, y)| pixel(x, y).to_vec()).collect();
        aei::Picture::rgb(w as u32, h as u32, samples).unwrap()
    };
    for index in [12, 38, 56] {
        let encoder = aei::Encoder::new().lossless(aei::Lossless::Never).quality(Quality::index(index).unwrap());
        let [ours, repeated] = [picture(width, height), picture(384, 384)].map(|p| encoder.encode(&p).unwrap().len());
        println!("index {index}: {ours} bytes, {repeated} with the edge repeated ({:+.1} %)", 100. * (ours as f64 / repeated as f64 - 1.));
        assert!(ours * 100 < repeated * 99);
    }
}
