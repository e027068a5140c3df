use super::*;
use crate::{Channels, Samples};

fn samples(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 37 % 256) as u8).collect()
}

#[test]
fn lossless_formats_give_the_samples_back() {
    for format in FileFormat::WRITABLE.into_iter().filter(|f| *f != FileFormat::Jpeg) {
        for (width, height) in [(1, 1), (7, 5), (64, 33)] {
            let rgb = Picture::rgb(width, height, samples(width as usize * height as usize * 3)).unwrap();
            let file = write_picture(&rgb, format).unwrap();
            assert_eq!(FileFormat::guess(&file), Some(format));
            assert_eq!(read_picture(&file).unwrap(), (rgb, vec![]), "{format}");

            let gray = Picture::gray(width, height, samples(width as usize * height as usize)).unwrap();
            let (back, notices) = read_picture(&write_picture(&gray, format).unwrap()).unwrap();
            assert!(notices.is_empty());
            // BMP has gray only as a palette, WebP and QOI have none.
            if back.channels() == Channels::Rgb {
                assert!(matches!(format, FileFormat::Bmp | FileFormat::WebP | FileFormat::Qoi), "{format}");
                assert!(back.samples().chunks(3).zip(gray.samples().iter()).all(|(rgb, gray)| rgb == [*gray; 3]));
            } else {
                assert_eq!(back, gray, "{format}");
            }
        }
    }
}

/// A picture with everything: alpha, 16 bits, metadata.
fn everything(width: u32, height: u32, channels: Channels, wide: bool) -> Picture {
    let len = width as usize * height as usize * channels.count();
    let samples: Samples = if wide { (0..len).map(|i| (i * 7919) as u16).collect::<Vec<_>>().into() } else { samples(len).into() };
    let space = if channels.is_gray() { b"GRAY" } else { b"RGB " };
    let icc = profile::tests::profile(space);
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
    let metadata = Metadata { icc: Some(icc), exif: Some(exif), xmp: Some(b"<x:xmpmeta>\xC3\xA4</x:xmpmeta>".to_vec()) };
    Picture::from_samples(width, height, channels, samples).unwrap().with_metadata(metadata)
}

#[test]
fn alpha_depth_and_metadata_come_back_or_are_given_notice_of() {
    use FileFormat::{Bmp, Jpeg, Png, Pnm, Qoi, Tiff, WebP};
    for format in FileFormat::WRITABLE {
        for channels in [Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba] {
            for wide in [false, true] {
                let picture = everything(9, 7, channels, wide);
                let name = format!("{format} {channels:?} {wide}");
                let (back, _) = read_picture(&write_picture(&picture, format).unwrap()).unwrap();
                let notices = write_notices(&picture, format);
                let said = |part: &str| notices.iter().any(|notice| notice.to_string().contains(part));

                let rounded = wide && !matches!(format, Png | Tiff | Pnm);
                assert_eq!((said("rounded"), back.depth() != picture.depth()), (rounded, rounded), "{name}: {notices:?}");
                assert_eq!(said("white"), channels.has_alpha() && format == Jpeg, "{name}");
                assert_eq!(back.channels().has_alpha(), channels.has_alpha() && format != Jpeg, "{name}");
                for (what, block, came) in [
                    ("profile", &picture.metadata().icc, &back.metadata().icc),
                    ("EXIF", &picture.metadata().exif, &back.metadata().exif),
                    ("XMP", &picture.metadata().xmp, &back.metadata().xmp),
                ] {
                    assert_eq!(came.is_none(), said(what), "{name}: {what}, {notices:?}");
                    assert!(came.is_none() || came == block, "{name}: {what}");
                }
                if format == Png || format == WebP && !rounded && !channels.is_gray() {
                    assert!(notices.is_empty() && back.metadata() == picture.metadata(), "{name}");
                }
                if format == Jpeg {
                    continue;
                }
                // Gray may have become colour.
                let (n, m) = (picture.channels().count(), back.channels().count());
                let (a, b) = (picture.samples16(), back.samples16());
                let expected = |v: u16| if rounded { crate::picture::samples::widen(crate::picture::samples::narrow(v)) } else { v };
                for (from, to) in a.chunks(n).zip(b.chunks(m)) {
                    assert_eq!(
                        (expected(from[0]), channels.has_alpha().then(|| expected(from[n - 1]))),
                        (to[0], channels.has_alpha().then(|| to[m - 1])),
                        "{name}"
                    );
                }
                assert!(n == m || matches!(format, Bmp | Qoi | Tiff | WebP), "{name}");
            }
        }
    }
}

#[test]
fn exif_says_upright_when_the_pixels_are() {
    let mut exif = everything(3, 2, Channels::Gray, false).metadata().exif.clone().unwrap();
    exif[18] = 6;
    let [turn, upright] = ["6", "1"].map(|value| format!("<a tiff:Orientation=\"{value}\"/>").into_bytes());
    let metadata = Metadata { exif: Some(exif), xmp: Some(turn.clone()), ..Metadata::default() };
    let picture = Picture::gray(3, 2, b"abcdef".to_vec()).unwrap().with_metadata(metadata).with_orientation(Orientation::Rotate90);
    for format in [FileFormat::Png, FileFormat::Jpeg, FileFormat::WebP] {
        for picture in [picture.clone(), picture.clone().upright().unwrap()] {
            let (back, _) = read_picture(&write_picture(&picture, format).unwrap()).unwrap();
            assert_eq!((back.width(), back.height(), back.orientation()), (2, 3, Orientation::Normal), "{format}");
            assert_eq!(back.metadata().exif.as_ref().unwrap()[18], 1, "{format}");
            assert_eq!(back.metadata().xmp.as_ref(), Some(&upright), "{format}");
        }
        // What XMP alone says is not how the picture is to be seen, and stays.
        let stored = picture.clone().with_orientation(Orientation::Normal);
        let (back, _) = read_picture(&write_picture(&stored, format).unwrap()).unwrap();
        assert_eq!(back.metadata().xmp.as_ref(), Some(&turn), "{format}");
    }
}

#[test]
fn what_has_no_room_is_left_out() {
    let metadata = Metadata { exif: Some(vec![1; 70_000]), xmp: Some(vec![b' '; 70_000]), icc: Some(profile::tests::profile(b"RGB ")) };
    let picture = Picture::gray(2, 2, vec![9; 4]).unwrap().with_metadata(metadata.clone());
    let (back, _) = read_picture(&write_picture(&picture, FileFormat::Jpeg).unwrap()).unwrap();
    assert!(back.metadata().is_empty());
    assert_eq!(write_notices(&picture, FileFormat::Jpeg).len(), 3);
    // PNG has room, but no place for a profile of other channels.
    let (back, _) = read_picture(&write_picture(&picture, FileFormat::Png).unwrap()).unwrap();
    assert_eq!(back.metadata(), &Metadata { icc: None, ..metadata });
    assert_eq!(write_notices(&picture, FileFormat::Png).len(), 1);
}

#[test]
fn a_profile_that_does_not_fit_is_left_out() {
    use image::ImageEncoder as _;
    let mut file = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
    encoder.set_icc_profile(profile::tests::profile(b"RGB ")).unwrap();
    encoder.write_image(&[1, 2], 2, 1, ExtendedColorType::L8).unwrap();
    let (picture, notices) = read_picture(&file).unwrap();
    assert!(picture.metadata().icc.is_none());
    assert!(matches!(&notices[..], [Notice::LeftOut { what: "colour profile", why }] if why.contains("gray")), "{notices:?}");
}

fn chunk(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let crc = crc32fast::hash(&[kind, payload].concat());
    [&(payload.len() as u32).to_be_bytes()[..], kind, payload, &crc.to_be_bytes()].concat()
}

#[test]
fn a_code_of_colours_becomes_a_profile_and_comes_back() {
    let rgb = Picture::rgb(3, 2, samples(18)).unwrap();
    let plain = write_picture(&rgb, FileFormat::Png).unwrap();
    let code = chunk(b"cICP", &[9, 16, 0, 1]);
    let coded = [&plain[..33], &code, &plain[33..]].concat();
    let has = |file: &[u8]| file.windows(code.len()).filter(|bytes| *bytes == code).count();

    let (picture, notices) = read_picture(&coded).unwrap();
    assert!(notices.is_empty() && picture.metadata().icc.is_some(), "{notices:?}");
    let again = write_picture(&picture, FileFormat::Png).unwrap();
    assert_eq!(has(&again), 1);
    // Now the file has both; the profile says what the code says and stays as it is.
    assert_eq!(read_picture(&again).unwrap(), (picture.clone(), vec![]));
    let mut rows = Vec::new();
    write_rows_with(&mut rows, FileFormat::Png, (&picture).into(), picture.metadata(), |write| write(&picture.samples())).unwrap();
    assert_eq!((has(&rows), read_picture(&rows).unwrap()), (1, (picture.clone(), vec![])));
    for format in [FileFormat::Jpeg, FileFormat::WebP, FileFormat::Tiff] {
        let (back, _) = read_picture(&write_picture(&picture, format).unwrap()).unwrap();
        assert_eq!(back.metadata().icc, picture.metadata().icc, "{format}");
    }
    // Another profile does not count in PNG where there is a code.
    let other = rgb.with_metadata(Metadata { icc: Some(profile::tests::profile(b"RGB ")), ..Metadata::default() });
    let other = write_picture(&other, FileFormat::Png).unwrap();
    assert_eq!(has(&other), 0);
    let (both, notices) = read_picture(&[&other[..33], &code, &other[33..]].concat()).unwrap();
    assert_eq!(both.metadata().icc, picture.metadata().icc);
    assert!(matches!(&notices[..], [Notice::LeftOut { what: "colour profile", why }] if why.contains("cICP 9-16-0")), "{notices:?}");
    // sRGB by its code counts before a profile, too.
    let (srgb, notices) = read_picture(&[&other[..33], &chunk(b"cICP", &[1, 13, 0, 1]), &other[33..]].concat()).unwrap();
    assert!(srgb.metadata().icc.is_none() && notices.len() == 1, "{notices:?}");
    // What no profile can say is told.
    let narrow = chunk(b"cICP", &[9, 16, 0, 0]);
    let (same, notices) = read_picture(&[&plain[..33], &narrow, &plain[33..]].concat()).unwrap();
    assert!(same.metadata().icc.is_none() && matches!(&notices[..], [Notice::Colours { .. }]), "{notices:?}");
}

/// PNG and JPEG with what should be a colour profile and is none, and with one of other channels: what PNG says besides counts then.
#[test]
fn lost_profiles_are_told() {
    let rgb = Picture::rgb(3, 2, samples(18)).unwrap();
    let png = write_picture(&rgb, FileFormat::Png).unwrap();
    let lost = |notices: &[Notice]| notices.iter().filter(|n| matches!(n, Notice::LeftOut { what: "colour profile", .. })).count();
    let linear = chunk(b"gAMA", &100_000u32.to_be_bytes());
    for (more, kept) in [(&[][..], false), (&linear[..], true)] {
        let (picture, notices) = read_picture(&[&png[..33], &chunk(b"iCCP", b"name\0\0no stream"), more, &png[33..]].concat()).unwrap();
        assert_eq!((lost(&notices), notices.len(), picture.metadata().icc.is_some()), (1, 1, kept), "{notices:?}");
    }
    let jpeg = write_picture(&rgb, FileFormat::Jpeg).unwrap();
    let segment = b"\xFF\xE2\0\x12ICC_PROFILE\0\x01\x02xx";
    let (_, notices) = read_picture(&[&jpeg[..2], segment, &jpeg[2..]].concat()).unwrap();
    assert_eq!((lost(&notices), notices.len()), (1, 1), "{notices:?}");
}

/// A profile that unpacks to far more than it is in the file.
#[test]
fn profiles_that_grow_are_bounded() {
    use std::io::Read as _;
    let mut stream = b"bomb\0\0".to_vec();
    flate2::read::ZlibEncoder::new(std::io::repeat(0).take(1 << 26), flate2::Compression::fast()).read_to_end(&mut stream).unwrap();
    let png = write_picture(&Picture::rgb(3, 2, samples(18)).unwrap(), FileFormat::Png).unwrap();
    let bomb = [&png[..33], &chunk(b"iCCP", &stream), &png[33..]].concat();
    let limits = Limits { max_memory: 1 << 22, ..Limits::default() };
    for result in [
        read(&bomb, &limits).map(|(picture, notices)| (picture.metadata().clone(), notices)),
        PictureRows::open(Cursor::new(&bomb), &limits).map(|rows| {
            let rows = rows.unwrap();
            (rows.metadata().clone(), rows.notices().to_vec())
        }),
    ] {
        match result {
            Ok((metadata, notices)) => assert!(metadata.icc.is_none() && notices.len() == 1, "{notices:?}"),
            Err(error) => assert!(matches!(error, Error::Limits(_)), "{error:?}"),
        }
    }
}

/// TIFF's reader has been told what its alpha is.
#[test]
fn tiff_says_that_its_alpha_is_straight() {
    let file = write_picture(&everything(5, 4, Channels::Rgba, false), FileFormat::Tiff).unwrap();
    let mut decoder = tiff::decoder::Decoder::new(Cursor::new(&file)).unwrap();
    assert_eq!(decoder.get_tag_u16_vec(tiff::tags::Tag::ExtraSamples).unwrap(), [2]);
    // The same samples, said to be multiplied by alpha.
    let (straight, _) = read_picture(&file).unwrap();
    let at = file.windows(8).position(|bytes| bytes == b"\x52\x01\x03\0\x01\0\0\0").unwrap() + 8;
    let mut associated = file;
    associated[at] = 1;
    let (divided, _) = read_picture(&associated).unwrap();
    assert_ne!(straight.samples(), divided.samples());
    assert_eq!(divided.data(), &samples::divided_by_alpha(straight.data().clone(), Channels::Rgba));
}

#[test]
fn orientations_of_every_type_are_read() {
    for (kind, value) in [(3u8, [6, 0, 0, 0]), (4, [6, 0, 0, 0]), (1, [6, 0, 0, 0])] {
        let exif = [&b"II*\0\x08\0\0\0\x01\0\x12\x01"[..], &[kind, 0, 1, 0, 0, 0], &value, &[0; 4]].concat();
        let png = write_picture(&Picture::gray(3, 2, b"abcdef".to_vec()).unwrap(), FileFormat::Png).unwrap();
        let (picture, _) = read_picture(&[&png[..33], &chunk(b"eXIf", &exif), &png[33..]].concat()).unwrap();
        assert_eq!(picture.orientation(), Orientation::Rotate90, "type {kind}");
    }
}

#[test]
fn what_has_no_place_is_told() {
    let file = write_picture(&Picture::gray(2, 2, vec![9; 4]).unwrap(), FileFormat::Jpeg).unwrap();
    let segment = b"\xFF\xED\0\x1APhotoshop 3.0\08BIM\x04\x04\0\0\0\0";
    let (_, notices) = read_picture(&[&file[..2], segment, &file[2..]].concat()).unwrap();
    assert!(matches!(&notices[..], [Notice::LeftOut { what: "IPTC block", .. }]), "{notices:?}");
}

#[test]
fn profiles_in_bmp_and_linear_qoi_are_kept() {
    let rgb = Picture::rgb(4, 2, samples(24)).unwrap();
    let plain = write_picture(&rgb, FileFormat::Bmp).unwrap();
    let (old, pixels) = (&plain[14..54], &plain[54..]);
    let icc = profile::tests::profile(b"RGB ");
    // The fifth version of the header, which is the first one and more.
    let mut header = [&124u32.to_le_bytes(), &old[4..], &[0; 84]].concat();
    header[56..60].copy_from_slice(b"DEBM");
    header[112..116].copy_from_slice(&(124 + pixels.len() as u32).to_le_bytes());
    header[116..120].copy_from_slice(&(icc.len() as u32).to_le_bytes());
    let bmp = [b"BM", &[0; 8][..], &138u32.to_le_bytes(), &header, pixels, &icc].concat();
    let (picture, notices) = read_picture(&bmp).unwrap();
    assert_eq!((picture.samples(), picture.metadata().icc.as_ref(), notices), (rgb.samples(), Some(&icc), vec![]));
    let (picture, notices) = read_picture(&bmp[..bmp.len() - 1]).unwrap();
    assert!(picture.metadata().icc.is_none() && matches!(&notices[..], [Notice::LeftOut { what: "colour profile", .. }]), "{notices:?}");

    let mut qoi = write_picture(&rgb, FileFormat::Qoi).unwrap();
    qoi[13] = 1;
    let (picture, notices) = read_picture(&qoi).unwrap();
    let linear = colours::Stated::Measured { gamma: Some(100_000), chromaticities: None };
    assert_eq!((picture.samples(), picture.metadata().icc.clone(), notices), (rgb.samples(), linear.to_profile(false), vec![]));
}

#[test]
fn jpeg_keeps_gray_and_stays_close() {
    for channels in [Channels::Gray, Channels::Rgb] {
        let smooth = (0..48 * 40).flat_map(|i| vec![(i / 48 * 3 + i % 48) as u8; channels.count()]).collect();
        let picture = Picture::new(48, 40, channels, smooth).unwrap();
        let (back, _) = read_picture(&write_picture(&picture, FileFormat::Jpeg).unwrap()).unwrap();
        assert_eq!(back.channels(), channels);
        assert!(back.samples().iter().zip(picture.samples().iter()).all(|(a, b)| a.abs_diff(*b) <= 4));
    }
}

#[test]
fn files_are_written_upright() {
    let picture = Picture::gray(3, 2, b"abcdef".to_vec()).unwrap().with_orientation(Orientation::Rotate90);
    let (back, _) = read_picture(&write_picture(&picture, FileFormat::Png).unwrap()).unwrap();
    assert_eq!((back.width(), back.height(), &back.samples()[..], back.orientation()), (2, 3, &b"daebfc"[..], Orientation::Normal));
}

#[test]
fn what_cannot_be_written_is_refused() {
    let picture = Picture::gray(16384, 1, samples(16384)).unwrap();
    assert!(matches!(write_picture(&picture, FileFormat::Gif), Err(Error::Unsupported(_))));
    assert!(matches!(write_picture(&picture, FileFormat::WebP), Err(Error::Unsupported(_))));
}

#[test]
fn foreign_files_are_named() {
    for (bytes, word) in [(&b"\0\0\0\x20ftypavif"[..], "AVIF"), (b"\xFF\x0A1234", "JPEG XL"), (b"\0\0\0\x18ftypheic", "HEIC"), (b"%PDF-1.4", "PDF")] {
        assert!(matches!(read_picture(bytes), Err(Error::Unsupported(message)) if message.contains(word)));
    }
    for (bytes, word) in [(&b""[..], "empty"), (b"hello", "not a picture"), (b"\x89AEI\r\n\x1a\n", "already")] {
        let message = read_picture(bytes).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn limits_hold() {
    let file = write_picture(&Picture::gray(100, 100, samples(10_000)).unwrap(), FileFormat::Png).unwrap();
    let pixels = Limits { max_pixels: 9_999, ..Limits::default() };
    assert!(matches!(read(&file, &pixels), Err(Error::Limits(_))));
    for format in FileFormat::WRITABLE {
        let file = write_picture(&Picture::rgb(100, 100, samples(30_000)).unwrap(), format).unwrap();
        let memory = Limits { max_memory: 29_999, ..Limits::default() };
        assert!(matches!(read(&file, &memory), Err(Error::Limits(_))), "{format}");
    }
}

#[test]
fn too_much_metadata_is_called_that() {
    let limits = Limits { max_metadata_bytes: 10_000, ..Limits::default() };
    for format in [FileFormat::Png, FileFormat::WebP] {
        let metadata = Metadata { xmp: Some(vec![b' '; 60_000]), ..Metadata::default() };
        let file = write_picture(&Picture::rgb(2, 2, samples(12)).unwrap().with_metadata(metadata), format).unwrap();
        let message = read(&file, &limits).unwrap_err().to_string();
        assert!(message.contains("the 10000 bytes of metadata allowed"), "{format}: {message}");
        assert!(read(&file, &Limits { max_metadata_bytes: 100_000, ..limits }).is_ok(), "{format}");
    }
}

/// A header that claims 65535x65535 pixels, without any: refused for its size, not tried.
#[test]
fn huge_claims_are_refused_without_memory() {
    let file = b"P6\n65535 65535\n255\n";
    assert!(matches!(read_picture(file), Err(Error::Limits(_))));
    assert!(matches!(read_picture(b"P6\n70000 1\n255\n"), Err(Error::Unsupported(_))));
}

#[test]
fn every_cut_and_many_damages_are_errors_or_pictures() {
    let picture = Picture::rgb(9, 7, samples(9 * 7 * 3)).unwrap();
    for format in FileFormat::WRITABLE {
        let file = write_picture(&picture, format).unwrap();
        for length in 0..file.len() {
            // A cut picture may be readable (JPEG fills up), but then it says so or has all its pixels.
            match read_picture(&file[..length]) {
                Ok((cut, notices)) => assert!(notices.contains(&Notice::Incomplete) || cut.samples() == picture.samples(), "{format} cut at {length}"),
                Err(Error::Format(_) | Error::Unsupported(_) | Error::Limits(_)) => {}
                Err(other) => panic!("{format} cut at {length}: {other:?}"),
            }
        }
        for at in 0..file.len() {
            let mut damaged = file.clone();
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                damaged[at] = value;
                if let Err(error) = read_picture(&damaged) {
                    assert!(!error.to_string().contains('\n'), "{error}");
                }
            }
        }
    }
}
