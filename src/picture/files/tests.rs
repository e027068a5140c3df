use super::*;
use crate::Channels;

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
    assert_eq!((back.width(), back.height(), back.samples(), back.orientation()), (2, 3, &b"daebfc"[..], Orientation::Normal));
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
