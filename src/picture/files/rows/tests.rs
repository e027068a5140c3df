use std::io::Cursor;

use super::*;
use crate::{Picture, read_picture, write_picture};

fn picture(channels: Channels) -> Picture {
    Picture::new(31, 200, channels, (0..31 * 200 * channels.count()).map(|i| (i * 7 % 253) as u8).collect()).unwrap()
}

/// Reads all rows, some at a time.
fn read(file: &[u8]) -> Result<Option<(Picture, Vec<Notice>)>> {
    let Some(mut rows) = PictureRows::open(Cursor::new(file), &Limits::default())? else { return Ok(None) };
    let layout = rows.layout();
    let mut samples = vec![0; layout.row_len() * layout.height() as usize];
    for part in samples.chunks_mut(7 * layout.row_len()) {
        rows.read(part)?;
    }
    let picture = Picture::new(layout.width(), layout.height(), layout.channels(), samples)?.with_orientation(layout.orientation());
    let picture = picture.with_metadata(rows.metadata().clone());
    Ok(Some((picture.with_source_depth(layout.source_depth())?, rows.notices().to_vec())))
}

#[test]
fn rows_are_those_of_the_file_in_memory() {
    for (channels, format) in [
        (Channels::Gray, FileFormat::Png),
        (Channels::GrayAlpha, FileFormat::Png),
        (Channels::Rgb, FileFormat::Png),
        (Channels::Rgba, FileFormat::Png),
        (Channels::Gray, FileFormat::Pnm),
        (Channels::Rgb, FileFormat::Pnm),
    ] {
        let picture = picture(channels);
        {
            let file = write_picture(&picture, format).unwrap();
            assert_eq!(read(&file).unwrap().unwrap(), read_picture(&file).unwrap(), "{format}");
            let mut written = Vec::new();
            let layout = Layout::from(&picture);
            write_rows(&mut written, format, layout, |write| picture.samples().chunks(5 * layout.row_len()).try_for_each(write)).unwrap();
            assert_eq!(read_picture(&written).unwrap(), (picture.clone(), vec![]), "{format}");
            for length in [file.len() / 2, 30, 9] {
                assert!(matches!((read(&file[..length]), read_picture(&file[..length])), (Err(Error::Format(_)), Err(_))), "{format}, {length} bytes");
            }
        }
    }
}

#[test]
fn colours_and_orientation_are_the_same() {
    let file = write_picture(&picture(Channels::Rgb), FileFormat::Png).unwrap();
    let chunk = |kind: &[u8; 4], payload: &[u8]| {
        let crc = crc32fast::hash(&[kind, payload].concat());
        [&(payload.len() as u32).to_be_bytes()[..], kind, payload, &crc.to_be_bytes()].concat()
    };
    let exif = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0");
    let end = file.len() - 12;
    for file in [
        [&file[..33], &exif, &file[33..]].concat(),
        [&file[..end], &exif, &file[end..]].concat(),
        [&file[..33], &chunk(b"gAMA", &100_000u32.to_be_bytes()), &file[33..]].concat(),
        [&file[..33], &chunk(b"cICP", &[9, 16, 0, 1]), &file[33..]].concat(),
        [&file[..33], &chunk(b"cICP", &[9, 16, 0, 0]), &file[33..]].concat(),
    ] {
        let (picture, notices) = read(&file).unwrap().unwrap();
        assert!(picture.orientation() == Orientation::Rotate90 || picture.metadata().icc.is_some() || notices.len() == 1);
        assert_eq!((picture, notices), read_picture(&file).unwrap());
    }
}

/// The sum of the last rows' chunk is behind them.
#[test]
fn damage_behind_the_last_row_is_noticed() {
    let file = write_picture(&picture(Channels::Rgb), FileFormat::Png).unwrap();
    let mut sum = file.clone();
    let at = file.len() - 13;
    sum[at] ^= 1;
    for damaged in [&sum[..], &file[..file.len() - 12], &file[..file.len() - 14]] {
        assert!(matches!((read(damaged), read_picture(damaged)), (Err(Error::Format(_)), Err(Error::Format(_)))));
    }
    assert_eq!(read(&file[..file.len() - 1]).unwrap().unwrap(), read_picture(&file[..file.len() - 1]).unwrap());
}

#[test]
fn others_are_left_to_memory() {
    let rgb = picture(Channels::Rgb);
    for format in FileFormat::WRITABLE.into_iter().filter(|f| !f.has_rows()) {
        assert!(read(&write_picture(&rgb, format).unwrap()).unwrap().is_none());
        assert!(matches!(write_rows(vec![], format, Layout::from(&rgb), |write| write(&rgb.samples())), Err(Error::Parameter(_))));
    }
    let mut interlaced = write_picture(&rgb, FileFormat::Png).unwrap();
    interlaced[28] = 1;
    let crc = crc32fast::hash(&interlaced[12..29]);
    interlaced[29..33].copy_from_slice(&crc.to_be_bytes());
    assert!(read(&interlaced).unwrap().is_none());
    for other in [&b"P2\n1 1\n255\n7\n"[..], b"P5\n1 1\n100\n\x07", b"P6\n1 1\n65535\nabcdef", b"P5\n1 1\n255\n\x07P5\n1 1\n255\n\x07", b"not a picture", b""] {
        assert!(read(other).unwrap().is_none(), "{other:?}");
    }
    assert!(read(b"P5\n0 1\n255\n").is_err());
}

/// Takes so many bytes and then has no room.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn writing_that_fails_and_rows_that_do_not_fit_are_told() {
    let picture = picture(Channels::Gray);
    let layout = Layout::from(&picture);
    for format in [FileFormat::Png, FileFormat::Pnm] {
        let mut file = Vec::new();
        write_rows(&mut file, format, layout, |write| write(&picture.samples())).unwrap();
        for room in 0..file.len() {
            let result = write_rows(Full(room), format, layout, |write| write(&picture.samples()));
            assert!(matches!(&result, Err(Error::Io(error)) if error.kind() == ErrorKind::StorageFull), "{format}, {room} bytes: {result:?}");
        }
        write_rows(Full(file.len()), format, layout, |write| write(&picture.samples())).unwrap();
        assert!(matches!(write_rows(vec![], format, layout, |write| write(&picture.samples()[31..])), Err(Error::Parameter(_))));
        let longer = [&picture.samples()[..], &[0; 31]].concat();
        assert!(matches!(write_rows(vec![], format, layout, |write| write(&longer)), Err(Error::Parameter(_))));
    }
}

#[test]
fn limits_are_kept() {
    let file = write_picture(&picture(Channels::Rgb), FileFormat::Png).unwrap();
    let limits = Limits { max_pixels: 6199, ..Limits::default() };
    assert!(matches!(PictureRows::open(Cursor::new(&file), &limits), Err(Error::Limits(_))));
}
