//! Small pictures of any kind with any options: they come back in their size, alpha and metadata as they were, exactly where they are lossless, and regions equal the whole.
#![no_main]

use aei::{Channels, Decoder, Encoder, Lossless, Metadata, Orientation, Picture, Quality, Samples, Tune};
use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    width: u8,
    height: u8,
    channels: u8,
    sixteen: bool,
    quality: u8,
    tile: u8,
    orientation: u8,
    preview: bool,
    lossless: u8,
    effort: u8,
    icc: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
    region: [u8; 4],
    seed: Vec<u8>,
}

fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else { return };
    let (width, height) = (u32::from(input.width) + 1, u32::from(input.height) + 1);
    let channels = Channels::from_count(input.channels % 4 + 1).expect("1 to 4");
    let count = (width * height) as usize * channels.count();
    let seed = if input.seed.is_empty() { vec![128] } else { input.seed };
    let bytes = (0..count).map(|i| seed[(i * 31 + i / 7) % seed.len()]);
    let samples = if input.sixteen { Samples::U16(bytes.map(|b| u16::from(b) * 257 ^ 0x55).collect()) } else { Samples::U8(bytes.collect()) };
    let mut metadata = Metadata::default();
    (metadata.icc, metadata.xmp) = (input.icc, input.xmp);
    let orientation = Orientation::from_exif(input.orientation % 8 + 1).expect("1 to 8");
    let picture = Picture::from_samples(width, height, channels, samples).expect("the right number");
    let picture = picture.with_orientation(orientation).with_metadata(metadata.clone());
    let encoder = Encoder::new().model(aei_fuzz::TINY.clone()).quality(Quality::index(input.quality % 64).expect("below 64"));
    let encoder = encoder.tile_size(256 << (input.tile % 5)).expect("a power of two").preview(input.preview);
    let lossless = [Lossless::Never, Lossless::Auto, Lossless::Always][usize::from(input.lossless % 3)];
    let encoder = encoder.lossless(lossless).effort(input.effort % 3).expect("at most 5").tune(if input.effort >= 128 { Tune::Visual } else { Tune::Psnr });
    let file = encoder.encode(&picture).expect("any picture can be encoded");
    let decoder = Decoder::with_options(&file[..], aei_fuzz::options()).expect("our own file");
    let whole = decoder.decode().expect("our own file");
    assert_eq!((whole.width(), whole.height(), whole.channels(), whole.orientation()), (width, height, channels, orientation));
    let kept = decoder.metadata().expect("our own file");
    assert_eq!((&kept.icc, &kept.xmp), (&metadata.icc, &metadata.xmp));
    if decoder.info().lossless {
        assert_eq!(whole.samples(), picture.samples());
    }
    assert!(lossless == Lossless::Auto || (lossless == Lossless::Always) == decoder.info().lossless);
    let n = channels.count();
    if channels.has_alpha() {
        let alpha = |p: &Picture| p.samples().chunks_exact(n).map(|p| p[n - 1]).collect::<Vec<_>>();
        assert_eq!(alpha(&whole), alpha(&picture));
    }
    let [x, y, w, h] = input.region.map(u32::from);
    let (x, y) = (x % width, y % height);
    let (w, h) = (w % (width - x) + 1, h % (height - y) + 1);
    let region = decoder.decode_region(x, y, w, h).expect("within the picture");
    for row in 0..h as usize {
        let from = ((y as usize + row) * width as usize + x as usize) * n;
        assert_eq!(region.samples()[row * w as usize * n..][..w as usize * n], whole.samples()[from..][..w as usize * n]);
    }
});
