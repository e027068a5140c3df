//! Samples of TIFF files that the `image` crate does not read, or not right: palettes, gray of 2 and 4 bits or with transparency, channels beyond red, green and
//! blue, luma with colour differences, and tiles in separate planes. Of the `tiff` crate only the reading of single strips and tiles is used, with all samples taken for what they are.

use std::borrow::Cow;
use std::io::{Cursor, Read, Seek, SeekFrom};

use tiff::TiffError;
use tiff::decoder::ifd::Value;
use tiff::decoder::{ChunkType, Decoder, DecodingResult};
use tiff::tags::Tag;
use zune_core::bytestream::ZCursor;
use zune_jpeg::JpegDecoder;

use super::{FileFormat, check_size, damaged, not_read, one_line, tiff_tags, too_much_memory};
use crate::picture::try_filled;
use crate::{Channels, Error, Limits, Orientation, Result, Samples};

const WHITE_IS_ZERO: u16 = 0;
const BLACK_IS_ZERO: u16 = 1;
const RGB: u16 = 2;
const PALETTE: u16 = 3;
const YCBCR: u16 = 6;
const JPEG: u16 = 7;
/// How often each byte of a file may be read as part of a strip or tile that is coded as JPEG.
const MOST_READ: u64 = 16;

/// How samples of luma and colour differences become colours (TIFF 6.0, section 21).
struct YCbCr {
    /// What red, green and blue are of luma: the tag `YCbCrCoefficients`.
    luma: [f32; 3],
    /// Values of black and white, of each sample: the tag `ReferenceBlackWhite`.
    ends: [f32; 6],
}

impl YCbCr {
    fn of(decoder: &mut Decoder<Plain>) -> Option<Self> {
        // ITU-R BT.601, all of the range: what TIFF says of coefficients where nothing is said, and what JPEG means by samples.
        const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
        const ENDS: [f32; 6] = [0.0, 255.0, 128.0, 255.0, 128.0, 255.0];
        let luma: [f32; 3] = ratios(decoder, 529, LUMA)?;
        let ends: [f32; 6] = ratios(decoder, 532, ENDS)?;
        let possible = luma.iter().all(|l| (0.01..1.0).contains(l)) && ends.chunks_exact(2).all(|ends| ends[1] - ends[0] >= 1.0);
        possible.then_some(Self { luma, ends })
    }

    fn to_rgb(&self, samples: &mut [u8]) {
        let [red, green, blue] = self.luma;
        let at = |v: u8, ends: &[f32], full: f32| (f32::from(v) - ends[0]) * full / (ends[1] - ends[0]);
        for pixel in samples.as_chunks_mut::<3>().0 {
            let y = at(pixel[0], &self.ends[..2], 255.0);
            let (cb, cr) = (at(pixel[1], &self.ends[2..4], 127.0), at(pixel[2], &self.ends[4..], 127.0));
            let (r, b) = (y + cr * (2.0 - 2.0 * red), y + cb * (2.0 - 2.0 * blue));
            *pixel = [r, (y - red * r - blue * b) / green, b].map(|v| (v + 0.5) as u8);
        }
    }
}

/// The ratios of a tag, or what holds without it; `None` if it holds something else.
fn ratios<const N: usize>(decoder: &mut Decoder<Plain>, tag: u16, default: [f32; N]) -> Option<[f32; N]> {
    let ratio = |value| match value {
        Value::Rational(above, below) => Some(above as f32 / below as f32).filter(|v| v.is_finite()),
        // Some programs write whole numbers.
        other => other.into_u16().ok().map(f32::from),
    };
    match decoder.find_tag(Tag::Unknown(tag)).ok()? {
        None => Some(default),
        Some(Value::List(values)) => values.into_iter().map(ratio).collect::<Option<Vec<_>>>()?.try_into().ok(),
        Some(_) => None,
    }
}

/// A file with its tag `PhotometricInterpretation` replaced, so that samples are given out as they are stored.
struct Plain<'a> {
    file: Cursor<&'a [u8]>,
    at: u64,
    value: [u8; 2],
}

impl Read for Plain<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let start = self.file.position();
        let length = self.file.read(buffer)?;
        for (place, value) in (self.at..).zip(self.value) {
            if let Some(byte) = place.checked_sub(start).and_then(|i| buffer[..length].get_mut(i as usize)) {
                *byte = value;
            }
        }
        Ok(length)
    }
}

impl Seek for Plain<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

/// A file that is read here.
pub(super) struct TiffSamples<'a> {
    decoder: Decoder<Plain<'a>>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) channels: Channels,
    pub(super) orientation: Orientation,
    /// Bits of a sample, where they become other ones.
    pub(super) depth: Option<u8>,
    /// Colours are multiplied by alpha.
    pub(super) premultiplied: bool,
    /// There are channels that are neither colours nor alpha.
    pub(super) more_channels: bool,
    bits: u16,
    stored: usize,
    planar: bool,
    white_is_zero: bool,
    /// Which of the stored samples are the picture's.
    places: Vec<usize>,
    palette: Vec<[u16; 3]>,
    differences: Option<YCbCr>,
    wide: bool,
}

impl<'a> TiffSamples<'a> {
    /// `None` if the `image` crate reads the file, or has to say why not. `photometric` is where the tag's value is.
    pub(super) fn open(bytes: &'a [u8], photometric: usize, limits: &Limits) -> Option<Self> {
        let big_endian = bytes.starts_with(b"MM");
        let value: [u8; 2] = bytes.get(photometric..photometric.checked_add(2)?)?.try_into().ok()?;
        let (interpretation, plain) =
            if big_endian { (u16::from_be_bytes(value), BLACK_IS_ZERO.to_be_bytes()) } else { (u16::from_le_bytes(value), BLACK_IS_ZERO.to_le_bytes()) };
        let colours = match interpretation {
            WHITE_IS_ZERO | BLACK_IS_ZERO | PALETTE => 1,
            RGB | YCBCR => 3,
            _ => return None,
        };
        let file = Plain { file: Cursor::new(bytes), at: photometric as u64, value: plain };
        let mut decoder = Decoder::new(file).ok()?.with_limits(tiff_tags::bounds(limits));
        let mut numbers = |tag, default: &[u16]| decoder.find_tag_unsigned_vec::<u16>(tag).ok().map(|found| found.unwrap_or_else(|| default.to_vec()));
        let number = |numbers: Vec<u16>| numbers.first().copied();
        let compression = number(numbers(Tag::Compression, &[1])?)?;
        let depths = numbers(Tag::BitsPerSample, &[1])?;
        let formats = numbers(Tag::SampleFormat, &[1])?;
        let stored = usize::from(number(numbers(Tag::SamplesPerPixel, &[1])?)?);
        let planar = number(numbers(Tag::PlanarConfiguration, &[1])?)? == 2;
        let extra = numbers(Tag::ExtraSamples, &[])?;
        let map = numbers(Tag::ColorMap, &[])?;
        let orientation = number(numbers(Tag::Orientation, &[1])?)?;
        let bits = *depths.first()?;
        // JPEG knows of colours, too; what it gives here is luma and differences as they are, each for every pixel. Others may have stored fewer differences.
        let (old_jpeg, jpeg) = (compression == 6, compression == JPEG);
        let differences = if interpretation == YCBCR {
            let every_pixel = jpeg || numbers(Tag::ChromaSubsampling, &[2, 2])? == [1, 1];
            if !every_pixel || bits != 8 || stored != 3 {
                return None;
            }
            Some(YCbCr::of(&mut decoder)?)
        } else {
            None
        };
        if old_jpeg
            || (jpeg && differences.is_none())
            || !matches!(bits, 1 | 2 | 4 | 8 | 16)
            || depths.iter().any(|b| *b != bits)
            || formats.iter().any(|f| *f != 1)
            || stored < colours
        {
            return None;
        }

        // 1 is alpha that colours are multiplied by, 2 straight alpha. Where nothing is said, the first one is that.
        let said = extra.iter().position(|kind| matches!(kind, 1 | 2)).map(|i| colours + i);
        let alpha = if extra.is_empty() { Some(colours) } else { said }.filter(|at| *at < stored);
        let tiled = decoder.get_chunk_type() == ChunkType::Tile;
        let usual = match interpretation {
            PALETTE => bits > 8,
            // Of two and more channels, none of which is said to be alpha, no one knows what they are.
            YCBCR => false,
            WHITE_IS_ZERO | BLACK_IS_ZERO => (stored == 1 && !matches!(bits, 2 | 4)) || (stored > 1 && alpha.is_none()),
            _ => (stored == 3 || (stored == 4 && alpha == Some(3))) && !(planar && tiled),
        };
        if usual {
            return None;
        }
        let palette = if interpretation == PALETTE { palette(&map, bits)? } else { (Vec::new(), false) };
        let (width, height) = decoder.dimensions().ok()?;
        Some(Self {
            decoder,
            width,
            height,
            channels: match (colours == 3 || interpretation == PALETTE, alpha.is_some()) {
                (false, false) => Channels::Gray,
                (false, true) => Channels::GrayAlpha,
                (true, false) => Channels::Rgb,
                (true, true) => Channels::Rgba,
            },
            orientation: u8::try_from(orientation).ok().and_then(Orientation::from_exif).unwrap_or_default(),
            depth: (interpretation != PALETTE && bits < 8).then_some(bits as u8),
            premultiplied: alpha.is_some_and(|at| extra.get(at - colours) == Some(&1)),
            more_channels: stored > colours + usize::from(alpha.is_some()),
            bits,
            stored,
            planar,
            white_is_zero: interpretation == WHITE_IS_ZERO,
            places: (0..colours).chain(alpha).collect(),
            wide: if interpretation == PALETTE { palette.1 } else { bits == 16 },
            palette: palette.0,
            differences,
        })
    }

    /// The picture's samples.
    pub(super) fn read(mut self, limits: &Limits) -> Result<Samples> {
        check_size(self.width, self.height, FileFormat::Tiff, limits)?;
        let total = u64::from(self.width) * u64::from(self.height) * self.channels.count() as u64;
        let left = limits.max_memory.checked_sub(total << u32::from(self.wide)).ok_or_else(|| too_much_memory(limits))?;
        self.decoder = self.decoder.with_limits(tiff_tags::bounds(&Limits { max_memory: left, ..*limits }));
        let total = usize::try_from(total).map_err(|_| too_much_memory(limits))?;
        // Each depth's largest value divides those of the greater ones.
        let full = ((1u32 << self.bits) - 1) as u16;
        Ok(if self.wide {
            let mut out = try_filled(total, 0u16)?;
            self.fill(&mut out, limits, |v| v * (u16::MAX / full))?;
            out.into()
        } else {
            let mut out = try_filled(total, 0u8)?;
            self.fill(&mut out, limits, |v| (v * (255 / full)) as u8)?;
            if let Some(differences) = &self.differences {
                differences.to_rgb(&mut out);
            }
            out.into()
        })
    }

    fn fill<T: Copy + TryFrom<u16> + Default>(&mut self, out: &mut [T], limits: &Limits, scaled: impl Fn(u16) -> T) -> Result<()> {
        let wrong = |e: TiffError| error(e, limits);
        let damage = |what: &str| damaged(FileFormat::Tiff, what);
        let (width, height, channels) = (self.width as usize, self.height as usize, self.channels.count());
        let (chunk_width, chunk_height) = self.decoder.chunk_dimensions();
        let (chunk_width, chunk_height) = (chunk_width as usize, chunk_height as usize);
        if chunk_width == 0 || chunk_height == 0 {
            return Err(damage("its strips or tiles have no pixels"));
        }
        let (across, down) = (width.div_ceil(chunk_width), height.div_ceil(chunk_height));
        let planes = if self.planar { self.stored } else { 1 };
        let given = if self.decoder.get_chunk_type() == ChunkType::Tile { self.decoder.tile_count() } else { self.decoder.strip_count() };
        if (given.map_err(wrong)? as usize) < across * down * planes {
            return Err(damage("it has too few strips or tiles"));
        }
        let (bits, colours) = (usize::from(self.bits), self.places.len() - usize::from(self.channels.has_alpha()));
        let (full, samples) = (((1u32 << bits) - 1) as u16, if self.planar { 1 } else { self.stored });
        for chunk in 0..across * down * planes {
            let (plane, place) = (chunk / (across * down), chunk % (across * down));
            let wanted: Vec<(usize, usize)> = match self.planar {
                true => self.places.iter().enumerate().filter(|(_, stored)| **stored == plane).map(|(channel, _)| (channel, 0)).collect(),
                false => self.places.iter().copied().enumerate().collect(),
            };
            if wanted.is_empty() {
                continue;
            }
            let (left, top) = (place % across * chunk_width, place / across * chunk_height);
            let data_width = self.decoder.chunk_data_dimensions(chunk as u32).0 as usize;
            let data = self.decoder.read_chunk(chunk as u32).map_err(wrong)?;
            let row_len = if bits < 8 { (data_width * samples * bits).div_ceil(8) } else { data_width * samples };
            let (columns, rows) = (chunk_width.min(width - left), chunk_height.min(height - top));
            let len = match &data {
                DecodingResult::U8(data) if bits <= 8 => data.len(),
                DecodingResult::U16(data) if bits == 16 => data.len(),
                _ => return Err(not_read(FileFormat::Tiff, "samples of an unknown kind")),
            };
            if columns > data_width || len < rows * row_len {
                return Err(damage("its strips or tiles are too short"));
            }
            let value = |row: usize, index: usize| match &data {
                DecodingResult::U16(data) => data[row * row_len + index],
                DecodingResult::U8(data) if bits == 8 => data[row * row_len + index].into(),
                DecodingResult::U8(data) => u16::from(data[row * row_len + index * bits / 8] >> (8 - bits - index * bits % 8)) & full,
                _ => 0,
            };
            for row in 0..rows {
                let start = ((top + row) * width + left) * channels;
                for (column, pixel) in out[start..start + columns * channels].chunks_exact_mut(channels).enumerate() {
                    for &(channel, sample) in &wanted {
                        let v = value(row, column * samples + sample);
                        match self.palette.get(usize::from(v)) {
                            // Values of the palette have the depth of the picture.
                            Some(colour) if channel == 0 => pixel.iter_mut().zip(colour).for_each(|(out, v)| *out = T::try_from(*v).unwrap_or_default()),
                            _ if channel >= colours => pixel[channels - 1] = scaled(v),
                            _ => pixel[channel] = scaled(if self.white_is_zero { full - v } else { v }),
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// What the `tiff` crate takes for something else or panics at, of what is not read here either: its colours would be wrong.
pub(super) fn misread(bytes: &[u8]) -> Option<&'static str> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).ok()?;
    let mut number = |tag| Some(decoder.find_tag_unsigned::<u16>(tag).ok()?.unwrap_or(1));
    let (planar, stored, predictor) = (number(Tag::PlanarConfiguration)? == 2, number(Tag::SamplesPerPixel)?, number(Tag::Predictor)?);
    let tiled = decoder.get_chunk_type() == ChunkType::Tile;
    let more = decoder.colortype().is_ok_and(|colour| colour.num_samples() < stored);
    match (planar, tiled) {
        (true, true) => Some("tiles in separate planes"),
        (false, _) if more && (tiled || predictor != 1) => Some("channels beyond its colours"),
        _ => None,
    }
}

/// What is wrong with strips or tiles coded as JPEG, which say themselves how large they are and how many channels they have. The `tiff` crate takes their samples
/// without a look at it, and memory without a limit. What cannot be read is left to that.
pub(super) fn wrong_jpeg(bytes: &[u8], limits: &Limits) -> Option<Error> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).ok()?.with_limits(tiff_tags::bounds(limits));
    let mut number = |tag| Some(decoder.find_tag_unsigned::<u16>(tag).ok()?.unwrap_or(1));
    let (compression, planar, stored) = (number(Tag::Compression)?, number(Tag::PlanarConfiguration)? == 2, number(Tag::SamplesPerPixel)?);
    if compression != JPEG {
        return None;
    }
    let tiled = decoder.get_chunk_type() == ChunkType::Tile;
    let (starts, lengths) = if tiled { (Tag::TileOffsets, Tag::TileByteCounts) } else { (Tag::StripOffsets, Tag::StripByteCounts) };
    let (starts, lengths) = (decoder.get_tag_u64_vec(starts).ok()?, decoder.get_tag_u64_vec(lengths).ok()?);
    let tables = decoder.find_tag(Tag::JPEGTables).ok()?.map(Value::into_u8_vec).transpose().ok()?;
    let (width, height) = decoder.dimensions().ok()?;
    let expected = (decoder.chunk_dimensions().0, if planar { 1 } else { stored });
    let picture = (u64::from(width) * u64::from(height)).saturating_mul(stored.into());
    // Strips may be the same bytes, and all have the tables in front: a small file could take hours.
    let read = lengths.iter().fold(0u64, |sum, length| sum.saturating_add(length.saturating_add(tables.as_ref().map_or(0, Vec::len) as u64)));
    if read > MOST_READ * bytes.len() as u64 + (1 << 24) {
        return Some(damaged(FileFormat::Tiff, "strips or tiles coded as JPEG share their bytes"));
    }
    for (start, length) in starts.into_iter().zip(lengths) {
        let data = bytes.get(usize::try_from(start).ok()?..)?;
        let mut data = Cow::from(&data[..data.len().min(usize::try_from(length).ok()?)]);
        // Tables that all have in common come first, without the mark of their end, and then there is a mark of the start already.
        if let Some(tables) = &tables {
            data = [tables.get(..tables.len().checked_sub(2)?)?, data.get(2..)?].concat().into();
        }
        let mut jpeg = JpegDecoder::new(ZCursor::new(&data[..]));
        jpeg.decode_headers().ok()?;
        let frame = jpeg.info()?;
        if (u32::from(frame.width), u16::from(frame.components)) != expected {
            // Planes of colour differences may be smaller than that of luma.
            return Some(match (planar, frame.components) {
                (true, 1) => not_read(FileFormat::Tiff, "JPEG in separate planes of several sizes"),
                _ => damaged(FileFormat::Tiff, "a strip or tile coded as JPEG has another width or other channels"),
            });
        }
        let samples = u64::from(frame.width) * u64::from(frame.height) * u64::from(frame.components);
        if picture.saturating_add(samples) > limits.max_memory {
            return Some(too_much_memory(limits));
        }
    }
    None
}

/// Colours of a palette, from a table of all reds, all greens, all blues; whether they need 16 bits.
fn palette(map: &[u16], bits: u16) -> Option<(Vec<[u16; 3]>, bool)> {
    let count = 1usize << bits;
    if map.len() != 3 * count {
        return None;
    }
    // Values are to have 16 bits. Some programs write 8, as they are or with zeros behind.
    let as_is = map.iter().all(|v| *v < 256);
    let shifted = map.iter().all(|v| v & 0xFF == 0) || map.iter().all(|v| v % 257 == 0);
    let value = |v: u16| if shifted && !as_is { v >> 8 } else { v };
    Some(((0..count).map(|i| [0, 1, 2].map(|c| value(map[c * count + i]))).collect(), !as_is && !shifted))
}

/// What the `tiff` crate says is wrong.
pub(super) fn error(error: TiffError, limits: &Limits) -> Error {
    match error {
        TiffError::LimitsExceeded => too_much_memory(limits),
        TiffError::UnsupportedError(e) => not_read(FileFormat::Tiff, &one_line(&e)),
        TiffError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Error::format(FileFormat::Tiff.name(), "the file is truncated"),
        other => damaged(FileFormat::Tiff, &one_line(&other)),
    }
}

#[cfg(test)]
mod tests {
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
                let tags =
                    [head(&[SIZE as u16], &[SIZE as u16], &bits, &number, &[2]), vec![(259, &[8]), (317, &predictor), (338, kinds)], more.to_vec()].concat();
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
}
