//! Tiles whose samples are stored as they are (R2.14), where that is smaller than what the networks make of them, or asked for.

use std::borrow::Cow;
use std::ops::Range;

use byteorder::{BigEndian, ByteOrder};

use super::filtered::{Filters, PackedRows, pack, stored};
use crate::entropy::CodedTile;
use crate::picture::samples::Sample;
use crate::picture::tiles::{LATENT, TilePlace};
use crate::picture::try_filled;
use crate::{Channels, Error, Result, SampleDepth};

/// How hard the encoder tries, 0 to 9, and how hard to see what is worth trying.
const LEVEL: u32 = 6;
const QUICK: u32 = 1;
/// Bit of a tile's property: red and blue are stored less green. The rest is the depth.
const LESS_GREEN: u8 = 0x80;

/// The columns of pixels of a tile, of a picture of this width.
pub(super) fn pixel_columns(place: &TilePlace, width: usize) -> Range<usize> {
    place.columns.start * LATENT..(place.columns.end * LATENT).min(width)
}

/// Packs the colours of some columns of rows of samples. Each row has `row_len` of them, alpha included.
pub(super) fn encode_tile<S: Sample>(rows: &[S], row_len: usize, columns: Range<usize>, channels: Channels) -> Result<CodedTile> {
    let (count, colours) = (channels.count(), channels.without_alpha().count());
    let size = colours * S::DEPTH.bytes();
    let mut bytes = Vec::new();
    let len = rows.len() / row_len * columns.len() * size;
    bytes.try_reserve_exact(len).map_err(|_| Error::Limits(format!("there is no memory for {len} more bytes")))?;
    for row in rows.chunks_exact(row_len) {
        for pixel in row[columns.start * count..columns.end * count].chunks_exact(count) {
            pixel[..colours].iter().for_each(|v| v.store(&mut bytes));
        }
    }
    let (row_bytes, depth) = (columns.len() * size, S::DEPTH);
    let plain = depth.bits();
    let attempt = |bytes: &[u8], filters, level| pack(bytes, row_bytes, size, filters, level);
    // A quick try tells which way is best.
    let quick = [attempt(&bytes, Filters::None, QUICK)?.len(), attempt(&bytes, Filters::Smallest, QUICK)?.len()];
    let filters = if quick[0] < quick[1] { Filters::None } else { Filters::Smallest };
    if colours == 3 {
        let less_green = less_green(&bytes, depth)?;
        if attempt(&less_green, Filters::Smallest, QUICK)?.len() < quick[0].min(quick[1]) {
            return Ok(CodedTile { skip_below: plain | LESS_GREEN, stream: attempt(&less_green, Filters::Smallest, LEVEL)? });
        }
    }
    Ok(CodedTile { skip_below: plain, stream: attempt(&bytes, filters, LEVEL)? })
}

/// About how many bytes [`encode_tile`] would make of rows as wide as the picture, from an eighth of them, or all if they are few.
pub(super) fn estimate<S: Sample>(rows: &[S], row_len: usize, channels: Channels) -> Result<u64> {
    /// Rows that are looked at together, of how many.
    const TOGETHER: usize = 8;
    const OF: usize = 64;
    let height = rows.len() / row_len;
    let (count, colours) = (channels.count(), channels.without_alpha().count());
    let size = colours * S::DEPTH.bytes();
    let mut bytes = Vec::new();
    let mut seen = 0;
    for (y, row) in rows.chunks_exact(row_len).enumerate() {
        if height > OF && y % OF >= TOGETHER {
            continue;
        }
        seen += 1;
        for pixel in row.chunks_exact(count) {
            pixel[..colours].iter().for_each(|v| v.store(&mut bytes));
        }
    }
    let row_bytes = row_len / count * size;
    let mut least = u64::MAX;
    for filters in [Filters::None, Filters::Smallest] {
        least = least.min(pack(&bytes, row_bytes, size, filters, QUICK)?.len() as u64);
    }
    Ok(least * height as u64 / seen.max(1))
}

/// Samples of three colours with red and blue less green.
fn less_green(bytes: &[u8], depth: SampleDepth) -> Result<Vec<u8>> {
    let mut out = try_filled(bytes.len(), 0)?;
    match depth {
        SampleDepth::Eight => {
            for (out, pixel) in out.chunks_exact_mut(3).zip(bytes.chunks_exact(3)) {
                out.copy_from_slice(&[pixel[0].wrapping_sub(pixel[1]), pixel[1], pixel[2].wrapping_sub(pixel[1])]);
            }
        }
        SampleDepth::Sixteen => {
            for (out, pixel) in out.chunks_exact_mut(6).zip(bytes.chunks_exact(6)) {
                let [red, green, blue] = [0, 2, 4].map(|at| BigEndian::read_u16(&pixel[at..]));
                BigEndian::write_u16_into(&[red.wrapping_sub(green), green, blue.wrapping_sub(green)], out);
            }
        }
    }
    Ok(out)
}

/// The rows of one tile, from the top.
pub(super) struct TileReader<'a> {
    rows: PackedRows<'a>,
    colours: usize,
    depth: SampleDepth,
    less_green: bool,
}

impl<'a> TileReader<'a> {
    /// `property` is what stands beside the tile's number, `width` is in pixels.
    pub(super) fn new(property: u8, stream: Cow<'a, [u8]>, width: usize, channels: Channels) -> Result<Self> {
        let colours = channels.without_alpha().count();
        let less_green = property & LESS_GREEN != 0;
        let depth = match property & !LESS_GREEN {
            8 => SampleDepth::Eight,
            16 => SampleDepth::Sixteen,
            depth => return Err(Error::format("R2.14", format!("samples of {depth} bits"))),
        };
        if less_green && colours != 3 {
            return Err(Error::format("R2.14", "gray samples less green"));
        }
        let size = colours * depth.bytes();
        Ok(Self { rows: PackedRows::new(stream, width * size, size, "R2.14")?, colours, depth, less_green })
    }

    /// Reads the next row.
    pub(super) fn next_row(&mut self) -> Result<()> {
        self.rows.next_row().map(|_| ())
    }

    /// Stores the colours of the row's pixels from the column `left` on into pixels of `count` samples.
    pub(super) fn store<S: Sample>(&self, pixels: &mut [S], count: usize, left: usize) {
        let (bytes, colours) = (self.depth.bytes(), self.colours);
        let mask = if self.depth == SampleDepth::Eight { 0xFF } else { 0xFFFF };
        let row = self.rows.row()[left * colours * bytes..].chunks_exact(colours * bytes);
        for (pixel, from) in pixels.chunks_exact_mut(count).zip(row) {
            let sample = |c: usize| stored(&from[c * bytes..][..bytes]);
            let green = if self.less_green { sample(1) } else { 0 };
            for (c, out) in pixel[..colours].iter_mut().enumerate() {
                let v = if c == 1 { sample(c) } else { sample(c).wrapping_add(green) & mask };
                *out = S::from_stored(v, self.depth);
            }
        }
    }

    /// Checks that there is nothing behind the last row.
    pub(super) fn finish(self) -> Result<()> {
        self.rows.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<S: Sample + PartialEq + std::fmt::Debug>(channels: Channels, samples: &[S], row_len: usize, columns: Range<usize>) -> u8 {
        let count = channels.count();
        let colours = channels.without_alpha().count();
        let tile = encode_tile(samples, row_len, columns.clone(), channels).unwrap();
        let mut reader = TileReader::new(tile.skip_below, (&tile.stream[..]).into(), columns.len(), channels).unwrap();
        for row in samples.chunks_exact(row_len) {
            reader.next_row().unwrap();
            let mut pixels = vec![S::default(); columns.len() * count];
            reader.store(&mut pixels, count, 0);
            for (out, pixel) in pixels.chunks_exact(count).zip(row[columns.start * count..].chunks_exact(count)) {
                assert_eq!(out[..colours], pixel[..colours]);
            }
        }
        reader.finish().unwrap();
        tile.skip_below
    }

    #[test]
    fn r2_14_tiles_come_back_exactly() {
        let noise = |i: u32| i.wrapping_mul(2_654_435_761).rotate_left(11);
        for channels in [Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba] {
            let row_len = 50 * channels.count();
            for columns in [0..50, 0..1, 13..49] {
                let eight: Vec<u8> = (0..9 * row_len as u32).map(|i| noise(i) as u8).collect();
                assert_eq!(round_trip(channels, &eight, row_len, columns.clone()) & !LESS_GREEN, 8);
                let sixteen: Vec<u16> = (0..9 * row_len as u32).map(|i| noise(i) as u16).collect();
                assert_eq!(round_trip(channels, &sixteen, row_len, columns) & !LESS_GREEN, 16);
            }
        }
    }

    #[test]
    fn r2_14_colours_that_go_along_with_green_are_stored_so() {
        let mut state = 1u64;
        let mut noise = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 48
        };
        let pixels: Vec<u16> = (0..60 * 40).map(|_| noise() as u16).collect();
        let eight: Vec<u8> = pixels.iter().flat_map(|v| [7, 0, 100].map(|more: u8| more.wrapping_add(*v as u8))).collect();
        assert_eq!(round_trip(Channels::Rgb, &eight, 180, 0..60), 8 | LESS_GREEN);
        let sixteen: Vec<u16> = pixels.iter().flat_map(|v| [7, 0, 5000].map(|more: u16| more.wrapping_add(*v))).collect();
        assert_eq!(round_trip(Channels::Rgb, &sixteen, 180, 0..60), 16 | LESS_GREEN);
    }

    #[test]
    fn r2_14_wrong_properties_are_refused() {
        let rule = |property: u8, channels| match TileReader::new(property, Vec::new().into(), 1, channels) {
            Err(Error::Format(error)) => error.rule(),
            _ => "accepted",
        };
        assert_eq!(rule(8 | LESS_GREEN, Channels::Rgba), "accepted");
        assert_eq!(rule(8 | LESS_GREEN, Channels::GrayAlpha), "R2.14");
        assert_eq!([0, 7, 9, 24, 0xFF].map(|p| rule(p, Channels::Rgb)), ["R2.14"; 5]);
    }
}
