//! Metadata of TIFF files. The `image` crate lets no tag be longer than the picture's samples, which is too short for small pictures.

use std::io::Cursor;

use tiff::decoder::{Decoder, Limits as TiffLimits};
use tiff::encoder::TiffEncoder;
use tiff::tags::{ByteOrder, IfdPointer, Tag, Type, ValueBuffer};
use tiff::{Directory, TiffError, TiffResult};

use crate::{Limits, Metadata};

/// Where Adobe's programs put XMP.
const XMP: Tag = Tag::Unknown(700);
/// What a TIFF file says in its first directory of what EXIF says there, but for how the samples are stored.
const DESCRIPTIVE: [Tag; 7] = [Tag::ImageDescription, Tag::Make, Tag::Model, Tag::Software, Tag::DateTime, Tag::Artist, Tag::Copyright];
/// A directory of its own inside that of EXIF, about interoperability: left out, as its place would be wrong.
const INTEROPERABILITY: Tag = Tag::Unknown(0xA005);

/// Colour profile, XMP and EXIF of the first picture, as far as they can be read. EXIF is part of the file's own directories; they are put into a block as other
/// files have it.
pub(super) fn metadata(bytes: &[u8], limits: &Limits) -> Metadata {
    let Ok(decoder) = Decoder::new(Cursor::new(bytes)) else { return Metadata::default() };
    let mut decoder = decoder.with_limits(bounds(limits));
    let mut tag = |tag| decoder.get_tag_u8_vec(tag).ok().filter(|block| !block.is_empty());
    let (icc, xmp) = (tag(Tag::IccProfile), tag(XMP));
    let mut left = limits.max_metadata_bytes;
    Metadata { icc, exif: exif(&mut decoder, &mut left).ok().flatten(), xmp }
}

/// What reading may allocate.
pub(super) fn bounds(limits: &Limits) -> TiffLimits {
    let mut bounds = TiffLimits::default();
    let most = usize::try_from(limits.max_memory).unwrap_or(usize::MAX);
    (bounds.decoding_buffer_size, bounds.intermediate_buffer_size, bounds.ifd_value_size) = (most, most, most);
    bounds
}

type Values = Vec<(Tag, ValueBuffer)>;
type Source<'a> = Decoder<Cursor<&'a [u8]>>;

/// A block of EXIF; `None` if there is nothing to say. At most `left` bytes are read, which is less than that afterwards.
fn exif(decoder: &mut Source<'_>, left: &mut u64) -> TiffResult<Option<Vec<u8>>> {
    let mut root = Values::new();
    for tag in DESCRIPTIVE {
        let mut values = decoder.image_ifd();
        let length = values.directory().get(tag).map_or(0, |entry| entry.count());
        take(tag, length, left, &mut root, |buffer| values.find_tag_buf(tag, buffer).map(|found| found.is_some()))?;
    }
    let parts = [(Tag::ExifDirectory, directory(decoder, Tag::ExifDirectory, left)?), (Tag::GpsDirectory, directory(decoder, Tag::GpsDirectory, left)?)];
    if root.is_empty() && parts.iter().all(|(_, values)| values.is_empty()) {
        return Ok(None);
    }
    let mut file = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut file)?;
    let mut places = Vec::new();
    for (tag, values) in parts.iter().filter(|(_, values)| !values.is_empty()) {
        let mut part = encoder.extra_directory()?;
        values.iter().try_for_each(|(tag, value)| part.write_tag_buf(*tag, value))?;
        places.push((*tag, part.finish_with_offsets()?.offset));
    }
    let mut first = encoder.image_directory()?;
    root.iter().try_for_each(|(tag, value)| first.write_tag_buf(*tag, value))?;
    places.into_iter().try_for_each(|(tag, place)| first.write_tag(tag, place))?;
    first.finish()?;
    Ok(Some(file.into_inner()))
}

/// All values of a directory that the first one points to.
fn directory(decoder: &mut Source<'_>, pointer: Tag, left: &mut u64) -> TiffResult<Values> {
    let mut values = Values::new();
    let Some(place) = decoder.find_tag_unsigned::<u64>(pointer)? else { return Ok(values) };
    let directory: Directory = decoder.read_directory(IfdPointer(place))?;
    for (tag, entry) in directory.iter().filter(|(tag, _)| *tag != INTEROPERABILITY) {
        let mut tags = decoder.read_directory_tags(&directory);
        take(tag, entry.count(), left, &mut values, |buffer| tags.find_tag_buf(tag, buffer).map(|found| found.is_some()))?;
    }
    Ok(values)
}

/// Adds a value of so many elements, which `read` reads, if it is there.
fn take(tag: Tag, elements: u64, left: &mut u64, values: &mut Values, read: impl FnOnce(&mut ValueBuffer) -> TiffResult<bool>) -> TiffResult<()> {
    // No element has more bytes.
    *left = left.checked_sub(elements.saturating_mul(8)).ok_or(TiffError::LimitsExceeded)?;
    let mut buffer = ValueBuffer::empty(Type::BYTE);
    if read(&mut buffer)? {
        buffer.set_byte_order(ByteOrder::native());
        values.push((tag, buffer));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TIFF picture of a pixel with EXIF, as cameras' programs write it.
    fn with_exif() -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut file).unwrap();
        let mut part = encoder.extra_directory().unwrap();
        part.write_tag(Tag::Unknown(0x9003), "2020:02:03 04:05:06").unwrap();
        part.write_tag(Tag::Unknown(0x8827), 400u16).unwrap();
        part.write_tag(INTEROPERABILITY, 8u32).unwrap();
        let exif = part.finish_with_offsets().unwrap().offset;
        let mut part = encoder.extra_directory().unwrap();
        part.write_tag(Tag::Unknown(1), "N").unwrap();
        let gps = part.finish_with_offsets().unwrap().offset;
        let mut image = encoder.new_image::<tiff::encoder::colortype::Gray8>(1, 1).unwrap();
        image.encoder().write_tag(Tag::Make, "Maker").unwrap();
        image.encoder().write_tag(Tag::ExifDirectory, exif).unwrap();
        image.encoder().write_tag(Tag::GpsDirectory, gps).unwrap();
        image.write_data(&[7]).unwrap();
        file.into_inner()
    }

    #[test]
    fn exif_becomes_a_block_of_its_own() {
        let metadata = metadata(&with_exif(), &Limits::default());
        let exif = metadata.exif.unwrap();
        // What is found there by hand: entries of 12 bytes, tag first.
        let word = |at: usize| u32::from_ne_bytes(exif[at..at + 4].try_into().unwrap()) as usize;
        let short = |at: usize| u16::from_ne_bytes(exif[at..at + 2].try_into().unwrap());
        let tags = |at: usize| (0..usize::from(short(at))).map(|i| (short(at + 2 + 12 * i), word(at + 10 + 12 * i))).collect::<Vec<_>>();
        let root = tags(word(4));
        assert_eq!(root.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(), [0x010F, 0x8769, 0x8825]);
        assert_eq!(&exif[root[0].1..][..6], b"Maker\0");
        let inner = tags(root[1].1);
        assert_eq!(inner.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(), [0x8827, 0x9003]);
        assert_eq!(&exif[inner[1].1..][..20], b"2020:02:03 04:05:06\0");
        assert_eq!(tags(root[2].1).len(), 1);
    }

    #[test]
    fn exif_is_bounded_and_damage_is_no_panic() {
        let file = with_exif();
        let limits = Limits { max_metadata_bytes: 100, ..Limits::default() };
        assert_eq!(metadata(&file, &limits).exif, None);
        for at in 0..file.len() {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut damaged = file.clone();
                damaged[at] = value;
                metadata(&damaged, &Limits::default());
                metadata(&file[..at], &Limits::default());
            }
        }
    }
}
