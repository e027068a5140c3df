//! Picture files as they occur: a collection of odd ones, where the checkout has it beside it or the environment variable `AEI_PICTURES` names it.
#![cfg(feature = "files")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aei::Channels::{Gray, GrayAlpha, Rgb, Rgba};
use aei::{Channels, Decoder, Encoder, Error, FileFormat, Orientation, Picture, Quality, SampleDepth, read_picture, write_picture};

fn collection() -> PathBuf {
    std::env::var_os("AEI_PICTURES").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/misc"), PathBuf::from)
}

/// Size of each file's picture, by its name in the collection, as another program found it.
fn sizes(folder: &Path) -> BTreeMap<String, (u32, u32)> {
    let manifest = std::fs::read_to_string(folder.join("MANIFEST.tsv")).unwrap_or_default();
    let rows = manifest.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    rows.filter_map(|row| Some(((*row.first()?).to_owned(), (row.get(3)?.parse().ok()?, row.get(4)?.parse().ok()?)))).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

#[test]
fn every_file_is_read_or_refused_with_a_reason() {
    let folder = collection();
    if !folder.is_dir() {
        println!("skipped: there is no {}", folder.display());
        return;
    }
    let sizes = sizes(&folder);
    let mut counts = [0; 2];
    for path in files(&folder) {
        let name = path.strip_prefix(&folder).unwrap().to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
        let (group, file) = name.split_once('/').unwrap_or(("", &name));
        if group.is_empty() {
            continue;
        }
        match read_picture(&std::fs::read(&path).unwrap()) {
            Ok((picture, notices)) => {
                counts[0] += 1;
                let notices: Vec<String> = notices.iter().map(ToString::to_string).collect();
                println!(
                    "{name:50} {:>4}x{:<4} {:?} {}-bit, orientation {} {}",
                    picture.width(),
                    picture.height(),
                    picture.channels(),
                    picture.source_depth(),
                    picture.orientation().to_exif(),
                    notices.join("; ")
                );
                if let Some(size) = sizes.get(&name) {
                    assert_eq!((picture.width(), picture.height()), *size, "{name}");
                }
                match group {
                    "cmyk" => assert!(notices.iter().any(|notice| notice.contains("CMYK")), "{name}"),
                    "alpha" => assert!(picture.channels().has_alpha(), "{name}"),
                    "gray" => assert!(picture.channels().is_gray(), "{name}"),
                    "png16" => assert_eq!((picture.depth(), picture.source_depth()), (SampleDepth::Sixteen, 16), "{name}"),
                    _ => {}
                }
                if let Some(value) =
                    file.strip_suffix(".jpg").and_then(|stem| stem.split_once('_')).filter(|(kind, _)| matches!(*kind, "Landscape" | "Portrait"))
                {
                    assert_eq!(Some(picture.orientation()), Orientation::from_exif(value.1.parse().unwrap()), "{name}");
                }
                // By PngSuite's names, interlaced or not: colour type, then bits.
                if let (true, Some(kind)) = (file.starts_with("bas"), file.get(5..8).and_then(|kind| kind.parse::<u8>().ok().or(kind[1..].parse().ok()))) {
                    let (gray, alpha) = (file.contains("0g") || file.contains("4a"), file.contains("4a") || file.contains("6a"));
                    assert_eq!((picture.channels().is_gray(), picture.channels().has_alpha()), (gray, alpha), "{name}");
                    assert!(file.contains("3p") || picture.source_depth() == kind, "{name}");
                }
            }
            Err(error) => {
                counts[1] += 1;
                let message = error.to_string();
                println!("{name:50} refused: {message}");
                assert!(!message.contains('\n') && !message.is_empty(), "{name}");
                match group {
                    "alpha" | "cmyk" | "exif_orientation" | "gray" | "icc" | "png16" | "hires" | "photo_lossless" | "synthetic" => panic!("{name}: {message}"),
                    _ => assert!(matches!(error, Error::Unsupported(_) | Error::Format(_)), "{name}: {error:?}"),
                }
            }
        }
    }
    println!("{} read, {} refused", counts[0], counts[1]);
    assert!(counts[0] > 100, "the collection has become small");
}

/// Channels, bits, and lengths of colour profile, EXIF and XMP (0: none) of some files, as Pillow finds them.
const EXPECTED: [(&str, Channels, u8, [usize; 3]); 26] = [
    ("alpha/circle.png", Rgba, 8, [0, 0, 0]),
    ("alpha/tmshre_riaphotographs_alpha.png", Rgba, 8, [8940, 0, 0]),
    ("png16/16-bit-grey-alpha.png", GrayAlpha, 16, [348, 0, 490]),
    ("png16/DJI-FC6310-16bit_709_v4_krita.png", Rgb, 16, [1180, 0, 0]),
    ("png16/Nikon-D3-14bit_2020_g1.png", Rgb, 16, [832, 11364, 0]),
    ("gray/concert.jpg", Gray, 8, [408, 58, 0]),
    ("gray/flower_small.g.png", Gray, 8, [0, 0, 0]),
    ("gray/flower_small.ga.png", GrayAlpha, 8, [0, 0, 0]),
    // Its EXIF is a block made of the file's own tags.
    ("gray/gray16_1280x964.tif", Gray, 16, [0, 711, 2048]),
    ("gray/grey-8bit-alpha.png", GrayAlpha, 8, [0, 0, 0]),
    ("icc/P3-sRGB-color-bars.png", Rgb, 8, [500, 0, 17439]),
    ("icc/R2020-sRGB-red.png", Rgba, 8, [500, 0, 18270]),
    ("icc/adobergb_Canon_EOS_7D.jpg", Rgb, 8, [560, 11072, 11227]),
    ("icc/orychophragmus_violaceus.jpg", Rgb, 8, [524, 0, 0]),
    // Converted by its profile, which is then no longer what the numbers mean.
    ("icc/Multiple_ICC_segments.jpg", Rgb, 8, [0, 4311, 3521]),
    ("cmyk/Channel_digital_image_CMYK_color.jpg", Rgb, 8, [0, 9536, 16949]),
    ("cmyk/cymk.jpg", Rgb, 8, [0, 0, 0]),
    ("cmyk/fogra-0-100-100-0.tif", Rgb, 8, [0, 0, 0]),
    ("exif_orientation/Landscape_1.jpg", Rgb, 8, [0, 90, 848]),
    ("exif_orientation/Portrait_6.jpg", Rgb, 8, [1960, 120, 0]),
    ("odd/2029.jpg", Rgb, 8, [0, 258, 2292]),
    ("odd/cat.jpg", Rgb, 8, [3048, 4300, 0]),
    ("odd/exif-xmp-metadata.jpg", Rgb, 8, [0, 0, 3711]),
    ("odd/lossy_alpha.webp", Rgba, 8, [0, 0, 0]),
    ("odd/simple_xmp.webp", Rgb, 8, [0, 0, 2860]),
    // It states a gamma, of which a profile is made.
    ("pngsuite/basn4a16.png", GrayAlpha, 16, [372, 0, 0]),
];

/// Through the codec and through a picture file: metadata and alpha are what they were, and upright is upright.
fn check_round_trip(name: &str, picture: &Picture) {
    let file = Encoder::new().quality(Quality::index(12).unwrap()).encode(picture).unwrap();
    let decoded = Decoder::new(&file[..]).unwrap().depth(picture.depth()).decode().unwrap();
    assert_eq!((decoded.width(), decoded.height(), decoded.channels()), (picture.width(), picture.height(), picture.channels()), "{name}");
    assert_eq!((decoded.orientation(), decoded.source_depth()), (picture.orientation(), picture.source_depth()), "{name}");
    let (read, kept) = (picture.metadata(), decoded.metadata());
    assert!(read.icc == kept.icc && read.xmp == kept.xmp, "{name}");
    // Only the orientation may differ: one byte.
    match (&read.exif, &kept.exif) {
        (Some(read), Some(kept)) => {
            let differing = read.iter().zip(kept).filter(|(a, b)| a != b).count();
            assert_eq!((read.len(), differing), (kept.len(), usize::from(picture.orientation() != Orientation::Normal)), "{name}");
        }
        (read, kept) => assert_eq!(read, kept, "{name}"),
    }
    let count = picture.channels().count();
    let alpha = |picture: &Picture| picture.samples16().chunks(count).map(|pixel| pixel[count - 1]).collect::<Vec<_>>();
    assert!(!picture.channels().has_alpha() || alpha(picture) == alpha(&decoded), "{name}: alpha");

    let (again, _) = read_picture(&write_picture(&decoded, FileFormat::Png).unwrap()).unwrap();
    let upright = decoded.upright().unwrap();
    assert_eq!((again.width(), again.height(), again.orientation()), (upright.width(), upright.height(), Orientation::Normal), "{name}");
    assert!(again.data() == upright.data() && again.metadata() == upright.metadata(), "{name}");
}

#[test]
fn chosen_files_have_what_is_expected_and_come_back() {
    let folder = collection();
    if !folder.is_dir() {
        println!("skipped: there is no {}", folder.display());
        return;
    }
    for (name, channels, bits, lengths) in EXPECTED {
        let (picture, notices) = read_picture(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        println!("{name}: {notices:?}");
        assert_eq!((picture.channels(), picture.depth().bits()), (channels, bits), "{name}");
        assert!(!name.starts_with("cmyk/") || matches!(&notices[..], [aei::Notice::Cmyk { .. }]), "{name}: {notices:?}");
        let metadata = picture.metadata();
        assert_eq!([&metadata.icc, &metadata.exif, &metadata.xmp].map(|block| block.as_ref().map_or(0, Vec::len)), lengths, "{name}");
        // The larger ones take their time: the test below has them.
        if picture.width() * picture.height() < 300_000 {
            check_round_trip(name, &picture);
        }
    }
}

#[test]
#[ignore = "takes minutes"]
fn all_files_come_back() {
    let folder = collection();
    let mut count = 0;
    for path in files(&folder) {
        let name = path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned();
        if let (true, Ok((picture, _))) = (name.contains('/'), read_picture(&std::fs::read(&path).unwrap())) {
            check_round_trip(&name, &picture);
            count += 1;
        }
    }
    assert!(count > 100, "the collection has become small");
}
