//! Samples of TIFF files that the `image` crate does not read, or not right: palettes, gray of 2 and 4 bits or with transparency, channels beyond red, green and
//! blue, luma with colour differences, and tiles in separate planes. Of the `tiff` crate only the reading of single strips and tiles is used, with all samples taken for what they are.

use std::io::{Cursor, Read, Seek, SeekFrom};

use tiff::TiffError;
use tiff::decoder::{ChunkType, Decoder, DecodingResult};
use tiff::tags::Tag;

use super::tiff_jpeg::JPEG;
use super::tiff_ycbcr::YCbCr;
use super::{FileFormat, check_size, damaged, not_read, one_line, tiff_tags, too_much_memory};
use crate::picture::try_filled;
use crate::{Channels, Error, Limits, Orientation, Result, Samples};

const WHITE_IS_ZERO: u16 = 0;
const BLACK_IS_ZERO: u16 = 1;
const RGB: u16 = 2;
const PALETTE: u16 = 3;
const YCBCR: u16 = 6;

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
mod tests;
