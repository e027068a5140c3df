//! aei as a format of the `image` crate.
#![cfg(feature = "image-hook")]

use std::io::Cursor;
use std::path::Path;

use aei::{AeiDecoder, AeiEncoder, Decoder, Encoder, Metadata, Orientation, Picture, SampleDepth};
use image::{DynamicImage, ImageDecoder as _, ImageEncoder as _, ImageError, ImageReader};

fn vectors() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors")
}

/// A picture with every kind of colour, as `image` holds it.
fn scene(kind: image::ColorType) -> DynamicImage {
    let rgba = image::RgbaImage::from_fn(70, 50, |x, y| image::Rgba([(40 + 2 * x) as u8, (30 + 3 * y) as u8, (90 + x + y) as u8, (x * 3 + y) as u8]));
    let image = DynamicImage::ImageRgba8(rgba);
    match kind {
        image::ColorType::L8 => image.to_luma8().into(),
        image::ColorType::La8 => image.to_luma_alpha8().into(),
        image::ColorType::Rgb8 => image.to_rgb8().into(),
        image::ColorType::Rgba8 => image,
        image::ColorType::L16 => image.to_luma16().into(),
        image::ColorType::La16 => image.to_luma_alpha16().into(),
        image::ColorType::Rgb16 => image.to_rgb16().into(),
        _ => image.to_rgba16().into(),
    }
}

#[test]
fn image_open_reads_what_the_decoder_reads() {
    aei::register_image_hook();
    assert!(!aei::register_image_hook(), "the second time there is a hook");
    let mut count = 0;
    for line in std::fs::read_to_string(vectors().join("digests.txt")).unwrap().lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [digest, name, _] = fields[..] else { continue };
        if digest.len() != 64 || !name.starts_with("rgb-97") && !name.starts_with("gray-") && !name.starts_with("tiles-") {
            continue;
        }
        let path = vectors().join(name);
        let opened = image::open(&path).unwrap();
        let decoder = Decoder::open(&path).unwrap();
        // A source of more than 8 bits is given with 16.
        let depth = if decoder.info().source_depth > 8 { SampleDepth::Sixteen } else { SampleDepth::Eight };
        let decoded = decoder.depth(depth).decode().unwrap();
        let bytes = match decoded.data() {
            aei::Samples::U8(samples) => samples.clone(),
            aei::Samples::U16(samples) => samples.iter().flat_map(|v| v.to_ne_bytes()).collect(),
        };
        assert!(opened.as_bytes() == bytes, "{name}");
        // By its signature, too.
        let bytes = std::fs::read(&path).unwrap();
        let guessed = ImageReader::new(Cursor::new(bytes)).with_guessed_format().unwrap().decode().unwrap();
        assert!(guessed == opened, "{name}");
        count += 1;
    }
    assert!(count >= 10, "{count}");
}

#[test]
fn every_colour_type_goes_through() {
    use image::ColorType::*;
    for kind in [L8, La8, Rgb8, Rgba8, L16, La16, Rgb16, Rgba16] {
        let image = scene(kind);
        let mut file = Vec::new();
        image.write_with_encoder(AeiEncoder::new(&mut file, Encoder::new())).unwrap();
        let decoder = AeiDecoder::new(&file[..]).unwrap();
        assert_eq!(decoder.dimensions(), (70, 50));
        let back = DynamicImage::from_decoder(decoder).unwrap();
        assert_eq!(back.color(), kind);
        let (a, b) = (image.to_rgba8(), back.to_rgba8());
        for (a, b) in a.pixels().zip(b.pixels()) {
            assert_eq!(a.0[3], b.0[3], "{kind:?}: alpha");
        }
        let sum: u64 = a.iter().zip(b.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(sum < 3 * a.len() as u64, "{kind:?}: {sum}");
        if kind == Rgb16 {
            let options = Decoder::new(&file[..]).unwrap().depth(SampleDepth::Sixteen).decode().unwrap();
            assert_eq!(back.as_rgb16().unwrap().as_raw()[..], options.samples16()[..]);
        }
    }
    // What aei has no channels for is refused, not bent.
    let float = DynamicImage::ImageRgb32F(image::Rgb32FImage::new(4, 4));
    assert!(AeiEncoder::new(Vec::new(), Encoder::new()).write_image(float.as_bytes(), 4, 4, image::ExtendedColorType::Rgb32F).is_err());
}

#[test]
fn metadata_orientation_and_limits() {
    // II, one directory of one entry: orientation, SHORT, 1, value 6.
    let exif = [&b"II*\0\x08\0\0\0\x01\0"[..], &[0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0], &[0; 4]].concat();
    let image = scene(image::ColorType::Rgb8);
    let mut file = Vec::new();
    let mut encoder = AeiEncoder::new(&mut file, Encoder::new());
    encoder.set_exif_metadata(exif.clone()).unwrap();
    encoder.set_icc_profile(b"not looked into here".to_vec()).unwrap();
    encoder.write_image(image.as_bytes(), 70, 50, image::ExtendedColorType::Rgb8).unwrap();
    assert_eq!(Decoder::new(&file[..]).unwrap().info().orientation, Orientation::Rotate90);
    let mut decoder = AeiDecoder::new(&file[..]).unwrap();
    assert_eq!(decoder.orientation().unwrap(), image::metadata::Orientation::Rotate90);
    assert_eq!(decoder.icc_profile().unwrap().unwrap(), b"not looked into here");
    assert_eq!(decoder.exif_metadata().unwrap().unwrap().len(), exif.len());

    let mut limits = image::Limits::default();
    limits.max_image_width = Some(69);
    assert!(matches!(decoder.set_limits(limits), Err(ImageError::Limits(_))));
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(1000);
    decoder.set_limits(limits).unwrap();
    let mut samples = vec![0; 70 * 50 * 3];
    assert!(matches!(decoder.read_image(&mut samples), Err(ImageError::Limits(_))));
    // XMP comes with the encoder; what is set replaces what it has.
    let mut metadata = Metadata::default();
    (metadata.xmp, metadata.icc) = (Some(b"<x/>".to_vec()), Some(b"of the encoder".to_vec()));
    let mut again = Vec::new();
    let mut encoder = AeiEncoder::new(&mut again, Encoder::new().metadata(metadata));
    encoder.set_icc_profile(b"set".to_vec()).unwrap();
    encoder.write_image(image.as_bytes(), 70, 50, image::ExtendedColorType::Rgb8).unwrap();
    let mut decoder = AeiDecoder::new(&again[..]).unwrap();
    assert_eq!(decoder.xmp_metadata().unwrap().unwrap(), b"<x/>");
    assert_eq!(decoder.icc_profile().unwrap().unwrap(), b"set");
    // What the decoder would not take is not written.
    let mut encoder = AeiEncoder::new(Vec::new(), Encoder::new());
    encoder.set_icc_profile(vec![0; (64 << 20) + 1]).unwrap();
    assert!(matches!(encoder.write_image(&[7; 4], 2, 2, image::ExtendedColorType::L8), Err(ImageError::Parameter(_))));

    assert!(matches!(AeiDecoder::new(&file[..file.len() - 9]), Err(ImageError::Decoding(_))));
    let picture = Picture::gray(3, 2, vec![7; 6]).unwrap();
    assert_eq!(AeiDecoder::new(&Encoder::new().encode(&picture).unwrap()[..]).unwrap().total_bytes(), 6);
}
