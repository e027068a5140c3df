//! Tiles whose samples are stored as they are (R2.14), where that is smaller than what the networks make of them, or asked for.

mod bits;
mod context;
mod repeats;
mod residuals;

use std::ops::Range;

use rayon::prelude::*;

use super::filtered::{Filters, pack};
use crate::entropy::CodedTile;
use crate::picture::samples::Sample;
use crate::picture::tiles::{LATENT, TilePlace};
use crate::picture::try_filled;
use crate::{Channels, Error, Result, SampleDepth};

use bits::{Bits, Cost, Reader, Writer};
use context::Samples;

/// Rows of a tile after which it is asked whether to go on.
const BETWEEN_STOPS: usize = 32;

/// Most that the memory of a tile's decoder comes to, of so many columns.
pub(super) const fn tile_memory(columns: u64) -> u64 {
    Samples::BYTES + columns * (Samples::COLUMN_BYTES + size_of::<[i32; 3]>() as u64)
}

/// The most ways of coding a tile that [`encode_tile`] tries at the same time, each of which takes [`tile_memory`].
pub(super) const WAYS: usize = 2 * Transform::ALL.len();

/// The columns of pixels of a tile, of a picture of this width.
pub(super) fn pixel_columns(place: &TilePlace, width: usize) -> Range<usize> {
    place.columns.start * LATENT..(place.columns.end * LATENT).min(width)
}

/// How the colours of a pixel are coded (R5.18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transform {
    /// As they are.
    None,
    /// Red and blue less green.
    Green,
    /// Red less green, blue less the mean of both.
    Mean,
}

impl Transform {
    const ALL: [Self; 3] = [Self::None, Self::Green, Self::Mean];

    /// Green, red, blue as they are coded.
    #[inline]
    fn forth(self, [red, green, blue]: [i32; 3]) -> [i32; 3] {
        match self {
            Self::None => [green, red, blue],
            Self::Green => [green, red - green, blue - green],
            Self::Mean => [green, red - green, blue - ((red + green) >> 1)],
        }
    }

    /// Red, green, blue. What a damaged stream says may be beyond their range.
    #[inline]
    fn back(self, [green, red, blue]: [i32; 3]) -> [i32; 3] {
        let red = if self == Self::None { red } else { red + green };
        let blue = match self {
            Self::None => blue,
            Self::Green => blue + green,
            Self::Mean => blue + ((red + green) >> 1),
        };
        [red, green, blue]
    }

    /// Least and largest number of each.
    fn limits(self, highest: i32) -> [[i32; 2]; 3] {
        let least = if self == Self::None { 0 } else { -highest };
        [[0, highest], [least, highest], [least, highest]]
    }
}

/// How a tile is stored: what stands beside its number.
#[derive(Debug, Clone, Copy)]
struct Property {
    depth: SampleDepth,
    transform: Transform,
    /// Whether pixels may be said to repeat others.
    graphics: bool,
}

impl Property {
    fn to_byte(self) -> u8 {
        self.depth.bits() | (self.transform as u8) << 5 | u8::from(self.graphics) << 7
    }

    fn from_byte(byte: u8, colours: usize) -> Result<Self> {
        let depth = match byte & 0x1F {
            8 => SampleDepth::Eight,
            16 => SampleDepth::Sixteen,
            depth => return Err(Error::format("R2.14", format!("samples of {depth} bits"))),
        };
        let Some(transform) = Transform::ALL.get(usize::from(byte >> 5 & 3)) else {
            return Err(Error::format("R2.14", "its colours are stored in an unknown way"));
        };
        if *transform != Transform::None && colours != 3 {
            return Err(Error::format("R2.14", "gray samples are stored as colours"));
        }
        Ok(Self { depth, transform: *transform, graphics: byte & 0x80 != 0 })
    }

    fn samples(self, width: usize, colours: usize) -> Result<Samples> {
        let highest = (1 << self.depth.bits()) - 1;
        Samples::new(width, colours, self.transform.limits(highest), self.depth.bits(), self.graphics)
    }
}

/// Some columns of rows of samples, each of `row_len`, alpha included.
#[derive(Clone)]
struct Part<'a, S> {
    rows: &'a [S],
    row_len: usize,
    columns: Range<usize>,
    channels: Channels,
}

impl<S: Sample> Part<'_, S> {
    /// Codes those of its rows that are `wanted`. `stop` is asked now and then whether to go on.
    fn code(&self, property: Property, bits: &mut impl Bits, wanted: impl Fn(usize) -> bool, stop: impl Fn() -> Result<()>) -> Result<()> {
        let (count, colours) = (self.channels.count(), self.channels.without_alpha().count());
        let mut samples = property.samples(self.columns.len(), colours)?;
        let mut line = try_filled(self.columns.len(), [0; 3])?;
        for (y, row) in self.rows.chunks_exact(self.row_len).enumerate().filter(|(y, _)| wanted(*y)) {
            if y % BETWEEN_STOPS == 0 {
                stop()?;
            }
            let pixels = row[self.columns.start * count..self.columns.end * count].chunks_exact(count);
            for (to, pixel) in line.iter_mut().zip(pixels) {
                *to = match pixel[..colours] {
                    [gray] => [i32::from(gray.to_stored()), 0, 0],
                    [red, green, blue] => property.transform.forth([red, green, blue].map(|v| v.to_stored().into())),
                    _ => [0; 3],
                };
            }
            samples.row(bits, &mut line)?;
            bits.end_row();
        }
        Ok(())
    }

    /// What a property makes of some of the rows (R5.18 to R5.24), of all if they are few.
    fn cost(&self, property: Property, stop: impl Fn() -> Result<()>) -> Result<Cost> {
        let mut cost = Cost::default();
        self.code(property, &mut cost, looked_at(self.rows.len() / self.row_len), stop)?;
        Ok(cost)
    }

    /// What takes the least, as far as some of the rows tell.
    fn best_property(&self, stop: impl Fn() -> Result<()> + Sync) -> Result<Property> {
        let plain = Property { depth: S::DEPTH, transform: Transform::None, graphics: false };
        let transforms = if self.channels.without_alpha() == Channels::Rgb { &Transform::ALL[..] } else { &[Transform::None] };
        let ways: Vec<_> = [true, false]
            .iter()
            .flat_map(|graphics| transforms.iter().map(|transform| Property { transform: *transform, graphics: *graphics, ..plain }))
            .collect();
        let costs: Vec<Result<u64>> = ways.par_iter().map(|property| Ok(self.cost(*property, &stop)?.bytes())).collect();
        let mut best = (u64::MAX, plain);
        for (cost, property) in costs.into_iter().zip(ways) {
            let cost = cost?;
            if cost < best.0 {
                best = (cost, property);
            }
        }
        Ok(best.1)
    }
}

/// Codes the colours of some columns of rows of samples. Each row has `row_len` of them, alpha included. `stop` is asked now and then whether to go on.
pub(super) fn encode_tile<S: Sample>(
    rows: &[S],
    row_len: usize,
    columns: Range<usize>,
    channels: Channels,
    stop: impl Fn() -> Result<()> + Sync,
) -> Result<CodedTile> {
    let part = Part { rows, row_len, columns, channels };
    let property = part.best_property(&stop)?;
    let mut writer = Writer::default();
    part.code(property, &mut writer, |_| true, stop)?;
    Ok(CodedTile { skip_below: property.to_byte(), stream: writer.finish() })
}

/// Rows that are looked at one behind the other.
const TOGETHER: usize = 8;

/// Which of so many rows are looked at where it would take too long to look at all: an eighth.
fn looked_at(rows: usize) -> impl Fn(usize) -> bool {
    move |y| rows <= 64 || y % (8 * TOGETHER) < TOGETHER
}

/// About how many bytes [`encode_tile`] makes of rows as wide as the picture, if they are graphics, or if they are not.
pub(super) fn estimate<S: Sample>(rows: &[S], row_len: usize, channels: Channels, graphics: bool, stop: impl Fn() -> Result<()>) -> Result<u64> {
    let transform = if channels.without_alpha() == Channels::Rgb && !graphics { Transform::Mean } else { Transform::None };
    let part = Part { rows, row_len, columns: 0..row_len / channels.count(), channels };
    Ok(part.cost(Property { depth: S::DEPTH, transform, graphics }, stop)?.bytes_for(rows.len() / row_len, TOGETHER))
}

/// About how many bytes zlib would make of them, quickly. [`encode_tile`] makes two thirds of it or less, of some graphics half, and of what is flat or nearly so a small
/// part.
pub(super) fn quick_estimate<S: Sample>(rows: &[S], row_len: usize, channels: Channels) -> Result<u64> {
    /// How hard zlib tries, 0 to 9.
    const QUICK: u32 = 1;
    let height = rows.len() / row_len;
    let (count, colours) = (channels.count(), channels.without_alpha().count());
    let size = colours * S::DEPTH.bytes();
    let seen = (0..height).filter(|y| looked_at(height)(*y)).count();
    let mut bytes = Vec::new();
    let room = seen * (row_len / count * size);
    bytes.try_reserve_exact(room).map_err(|_| Error::Limits(format!("there is no memory for {room} more bytes")))?;
    for (y, row) in rows.chunks_exact(row_len).enumerate() {
        if !looked_at(height)(y) {
            continue;
        }
        for pixel in row.chunks_exact(count) {
            pixel[..colours].iter().for_each(|v| v.store(&mut bytes));
        }
    }
    let row_bytes = row_len / count * size;
    let mut least = u64::MAX;
    for filters in [Filters::None, Filters::Smallest] {
        least = least.min(pack(&bytes, row_bytes, size, filters, QUICK)?.len() as u64);
    }
    Ok(least * height as u64 / seen.max(1) as u64)
}

/// The rows of one tile, from the top.
pub(super) struct TileReader {
    bits: Reader,
    samples: Samples,
    property: Property,
    row: Vec<[i32; 3]>,
    colours: usize,
}

impl TileReader {
    /// `property` is what stands beside the tile's number, `width` is in pixels.
    pub(super) fn new(property: u8, stream: &[u8], width: usize, channels: Channels) -> Result<Self> {
        let colours = channels.without_alpha().count();
        let property = Property::from_byte(property, colours)?;
        Ok(Self { bits: Reader::new(stream), samples: property.samples(width, colours)?, property, row: try_filled(width, [0; 3])?, colours })
    }

    /// Reads the next row.
    pub(super) fn next_row(&mut self) -> Result<()> {
        self.samples.row(&mut self.bits, &mut self.row)?;
        if self.property.transform != Transform::None {
            let highest = (1 << self.property.depth.bits()) - 1;
            for pixel in &mut self.row {
                let [red, green, blue] = self.property.transform.back(*pixel);
                if !(0..=highest).contains(&red) || !(0..=highest).contains(&blue) {
                    return Err(Error::format("R5.18", "its coded data is damaged: a colour is out of its range"));
                }
                *pixel = [green, red, blue];
            }
        }
        Ok(())
    }

    /// Stores the colours of the row's pixels from the column `left` on into pixels of `count` samples.
    pub(super) fn store<S: Sample>(&self, pixels: &mut [S], count: usize, left: usize) {
        for (pixel, [green, red, blue]) in pixels.chunks_exact_mut(count).zip(&self.row[left..]) {
            let colour = if self.colours == 1 { [*green, 0, 0] } else { [*red, *green, *blue] };
            for (out, v) in pixel[..self.colours].iter_mut().zip(colour) {
                *out = S::from_stored(v as u16, self.property.depth);
            }
        }
    }

    /// Checks that there is nothing behind the last row.
    pub(super) fn finish(self) -> Result<()> {
        self.bits.finish()
    }
}

/// For vectors: the stream of a tile of so many columns, given as the numbers that are coded.
#[cfg(test)]
pub(super) fn stream_of_numbers(property: u8, width: usize, channels: Channels, numbers: &[[i32; 3]]) -> Vec<u8> {
    let colours = channels.without_alpha().count();
    let (mut samples, mut writer) = (Property::from_byte(property, colours).unwrap().samples(width, colours).unwrap(), Writer::default());
    numbers.chunks_exact(width).for_each(|row| samples.row(&mut writer, &mut row.to_vec()).unwrap());
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(i: u32) -> u32 {
        // splitmix64 (Steele, Lea, Flood 2014): what is simpler, the model sees through.
        let z = u64::from(i).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z >> 32) as u32
    }

    /// Codes samples in the given way, or in the best one, and reads them again.
    fn round_trip<S: Sample + PartialEq + std::fmt::Debug>(
        channels: Channels,
        samples: &[S],
        row_len: usize,
        columns: Range<usize>,
        way: Option<Property>,
    ) -> CodedTile {
        let (count, colours) = (channels.count(), channels.without_alpha().count());
        let tile = match way {
            None => encode_tile(samples, row_len, columns.clone(), channels, || Ok(())).unwrap(),
            Some(property) => {
                let mut writer = Writer::default();
                Part { rows: samples, row_len, columns: columns.clone(), channels }.code(property, &mut writer, |_| true, || Ok(())).unwrap();
                CodedTile { skip_below: property.to_byte(), stream: writer.finish() }
            }
        };
        let mut reader = TileReader::new(tile.skip_below, &tile.stream, columns.len(), channels).unwrap();
        for row in samples.chunks_exact(row_len) {
            reader.next_row().unwrap();
            let mut pixels = vec![S::default(); columns.len() * count];
            reader.store(&mut pixels, count, 0);
            for (out, pixel) in pixels.chunks_exact(count).zip(row[columns.start * count..].chunks_exact(count)) {
                assert_eq!(out[..colours], pixel[..colours]);
            }
        }
        reader.finish().unwrap();
        tile
    }

    #[test]
    fn r2_14_tiles_come_back_exactly() {
        for channels in [Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba] {
            let row_len = 50 * channels.count();
            let eight: Vec<u8> = (0..9 * row_len as u32).map(|i| noise(i) as u8).collect();
            let sixteen: Vec<u16> = (0..9 * row_len as u32).map(|i| noise(i) as u16).collect();
            for columns in [0..50, 0..1, 13..49] {
                assert_eq!(round_trip(channels, &eight, row_len, columns.clone(), None).skip_below & 31, 8);
                assert_eq!(round_trip(channels, &sixteen, row_len, columns, None).skip_below & 31, 16);
            }
        }
    }

    /// Noise, extremes, few colours, and what rises slowly, stored in every way.
    #[test]
    fn r5_18_every_way_of_storing_gives_the_samples_back() {
        let row_len = 23 * 3;
        for kind in 0..4 {
            let sample = |i: u32| match kind {
                0 => noise(i) as u16,
                1 => {
                    if noise(i) & 1 == 0 {
                        0
                    } else {
                        u16::MAX
                    }
                }
                2 => [0, 300, 9000, 65535][noise(i / 17) as usize % 4],
                _ => (i * 37 / 3) as u16,
            };
            let sixteen: Vec<u16> = (0..19 * row_len as u32).map(sample).collect();
            let eight: Vec<u8> = sixteen.iter().map(|v| (v >> 8) as u8).collect();
            for graphics in [false, true] {
                for transform in Transform::ALL {
                    let way = |depth| Some(Property { depth, transform, graphics });
                    round_trip(Channels::Rgb, &eight, row_len, 0..23, way(SampleDepth::Eight));
                    round_trip(Channels::Rgb, &sixteen, row_len, 0..23, way(SampleDepth::Sixteen));
                }
                let way = |depth| Some(Property { depth, transform: Transform::None, graphics });
                round_trip(Channels::Gray, &eight, row_len, 0..row_len, way(SampleDepth::Eight));
                round_trip(Channels::Gray, &sixteen, row_len, 0..row_len, way(SampleDepth::Sixteen));
            }
        }
    }

    /// Bytes of a stream for each of so many pixels.
    fn rate(samples: &[u8], width: usize) -> f64 {
        let tile = round_trip(Channels::Rgb, samples, width * 3, 0..width, None);
        tile.stream.len() as f64 / (samples.len() / 3) as f64
    }

    #[test]
    fn what_can_be_known_costs_nothing() {
        let width = 256u32;
        // One colour, colours that go along with green, a pattern that repeats itself.
        assert!(rate(&[[9, 80, 200]; 256 * 256].concat(), 256) < 0.002);
        let along = |i: u32| [7, 0, 100].map(|more: u8| more.wrapping_add((i % width / 2) as u8).wrapping_add(noise(i) as u8 & 7));
        assert!(rate(&(0..width * width).flat_map(along).collect::<Vec<_>>(), 256) < 0.45);
        let pattern = |i: u32| [noise(i % width % 11 + i / width % 7 * 11) as u8; 3];
        assert!(rate(&(0..width * width).flat_map(pattern).collect::<Vec<_>>(), 256) < 0.02);
        // Noise costs 7 % more than what it is: the contexts mean nothing.
        let noise = rate(&(0..3 * width * width).map(|i| noise(i) as u8).collect::<Vec<_>>(), 256);
        assert!((3. ..3.25).contains(&noise), "{noise}");
    }

    #[test]
    fn r2_14_wrong_properties_are_refused() {
        let rule = |property: u8, channels| match TileReader::new(property, &[], 1, channels) {
            Err(Error::Format(error)) => error.rule(),
            _ => "accepted",
        };
        for way in [0, 0x20, 0x40, 0x80, 0xC0] {
            assert_eq!([8, 16].map(|depth| rule(depth | way, Channels::Rgba)), ["accepted"; 2]);
        }
        assert_eq!([8, 16, 0x88].map(|p| rule(p, Channels::GrayAlpha)), ["accepted"; 3]);
        assert_eq!([0x28, 0x48, 0xA8].map(|p| rule(p, Channels::Gray)), ["R2.14"; 3]);
        assert_eq!([0, 7, 9, 24, 0x68, 0xE8, 0xFF].map(|p| rule(p, Channels::Rgb)), ["R2.14"; 7]);
    }
}
