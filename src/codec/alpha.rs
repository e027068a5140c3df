//! The alpha plane: without loss, a zlib stream of filtered rows for each row of tiles, as PNG has them (R2.12).

use std::borrow::Cow;

use crate::container::deflate::{Inflate, deflate};
use crate::picture::samples::{Sample, narrow};
use crate::picture::tiles::Grid;
use crate::picture::try_filled;
use crate::{Error, Layout, Result, SampleDepth};

/// How hard the encoder tries, 0 to 9.
const LEVEL: u32 = 6;
/// Number of filters: none, left, above, mean of both, Paeth.
const FILTERS: u8 = 5;

/// What a filter expects a byte to be: `a` is to the left, `b` above, `c` above and to the left. Bytes beyond the band are 0.
fn predict(filter: u8, a: u8, b: u8, c: u8) -> u8 {
    match filter {
        0 => 0,
        1 => a,
        2 => b,
        3 => ((u16::from(a) + u16::from(b)) / 2) as u8,
        _ => {
            let p = i16::from(a) + i16::from(b) - i16::from(c);
            let [to_a, to_b, to_c] = [a, b, c].map(|v| (p - i16::from(v)).abs());
            if to_a <= to_b && to_a <= to_c {
                a
            } else if to_b <= to_c {
                b
            } else {
                c
            }
        }
    }
}

/// Takes a picture's rows from the top and packs their alpha, one zlib stream for each row of tiles.
pub(super) struct AlphaEncoder {
    /// Rows of pixels of a row of tiles, and of the picture.
    band_rows: usize,
    height: usize,
    width: usize,
    count: usize,
    depth: SampleDepth,
    /// Rows that have been taken, and the bytes of those that have not been packed.
    rows: usize,
    bytes: Vec<u8>,
    bands: Vec<Vec<u8>>,
}

impl AlphaEncoder {
    /// `None` if the picture has no alpha.
    pub(super) fn new<S: Sample>(layout: &Layout, grid: &Grid) -> Result<Option<Self>> {
        if !layout.channels().has_alpha() {
            return Ok(None);
        }
        let (width, height) = (layout.width() as usize, layout.height() as usize);
        let mut bytes = Vec::new();
        let len = width * grid.tile().min(height) * size_of::<S>();
        bytes.try_reserve_exact(len).map_err(|_| Error::Limits(format!("there is no memory for {len} more bytes")))?;
        let depth = if size_of::<S>() == 1 { SampleDepth::Eight } else { SampleDepth::Sixteen };
        Ok(Some(Self { band_rows: grid.tile(), height, width, count: layout.channels().count(), depth, rows: 0, bytes, bands: Vec::new() }))
    }

    /// Takes the next rows.
    pub(super) fn push<S: Sample>(&mut self, rows: &[S]) -> Result<()> {
        for row in rows.chunks_exact(self.width * self.count) {
            for pixel in row.chunks_exact(self.count) {
                let alpha = pixel[self.count - 1].to_u16();
                match self.depth {
                    SampleDepth::Eight => self.bytes.push(narrow(alpha)),
                    SampleDepth::Sixteen => self.bytes.extend(alpha.to_be_bytes()),
                }
            }
            self.rows += 1;
            if self.rows == self.height || self.rows.is_multiple_of(self.band_rows) {
                self.bands.push(encode_band(&self.bytes, self.width * self.depth.bytes(), self.depth.bytes())?);
                self.bytes.clear();
            }
        }
        Ok(())
    }

    /// Depth, and the zlib streams.
    pub(super) fn finish(self) -> (SampleDepth, Vec<Vec<u8>>) {
        (self.depth, self.bands)
    }
}

/// Filters and packs rows of `row_len` bytes, of samples of `size` bytes.
fn encode_band(bytes: &[u8], row_len: usize, size: usize) -> Result<Vec<u8>> {
    let mut filtered = Vec::new();
    let len = bytes.len() + bytes.len() / row_len;
    filtered.try_reserve_exact(len).map_err(|_| Error::Limits(format!("there is no memory for {len} more bytes")))?;
    let mut above = &try_filled(row_len, 0)?[..];
    let mut lines: Vec<Vec<u8>> = (0..FILTERS).map(|_| try_filled(row_len, 0)).collect::<Result<_>>()?;
    for row in bytes.chunks_exact(row_len) {
        // The smallest sum of absolute differences, as PNG's specification advises.
        let mut best = (u64::MAX, 0);
        for (filter, line) in (0..FILTERS).zip(&mut lines) {
            let mut sum = 0;
            for i in 0..row_len {
                let (a, c) = if i >= size { (row[i - size], above[i - size]) } else { (0, 0) };
                line[i] = row[i].wrapping_sub(predict(filter, a, above[i], c));
                sum += u64::from((line[i] as i8).unsigned_abs());
            }
            best = best.min((sum, filter));
        }
        filtered.push(best.1);
        filtered.extend_from_slice(&lines[usize::from(best.1)]);
        above = row;
    }
    deflate(&filtered, LEVEL)
}

/// The rows of one band, from the top.
pub(super) struct BandReader<'a> {
    stream: Inflate<'a>,
    depth: SampleDepth,
    /// The filter's number, then the row.
    row: Vec<u8>,
    above: Vec<u8>,
}

impl<'a> BandReader<'a> {
    /// `width` is in pixels.
    pub(super) fn new(stream: Cow<'a, [u8]>, width: usize, depth: SampleDepth) -> Result<Self> {
        let len = width * depth.bytes() + 1;
        Ok(Self { stream: Inflate::new(stream, "R2.12"), depth, row: try_filled(len, 0)?, above: try_filled(len, 0)? })
    }

    /// Reads the next row.
    pub(super) fn next_row(&mut self) -> Result<()> {
        std::mem::swap(&mut self.row, &mut self.above);
        self.stream.fill(&mut self.row)?;
        let size = self.depth.bytes();
        let (filter, row) = self.row.split_at_mut(1);
        let (filter, above) = (filter[0], &self.above[1..]);
        if filter >= FILTERS {
            return Err(Error::format("R2.12", format!("a row of alpha has the unknown filter {filter}")));
        }
        for i in 0..row.len() {
            let (a, c) = if i >= size { (row[i - size], above[i - size]) } else { (0, 0) };
            row[i] = row[i].wrapping_add(predict(filter, a, above[i], c));
        }
        Ok(())
    }

    /// Stores the alpha samples of a row's pixels from the column `left` on into every pixel's last sample.
    pub(super) fn store<S: Sample>(&self, pixels: &mut [S], count: usize, left: usize) {
        let samples = self.row[1 + left * self.depth.bytes()..].chunks_exact(self.depth.bytes());
        for (pixel, alpha) in pixels.chunks_exact_mut(count).zip(samples) {
            let alpha = alpha.iter().fold(0, |v, byte| v << 8 | u16::from(*byte));
            pixel[count - 1] = S::from_alpha(alpha, self.depth);
        }
    }

    /// Checks that there is nothing behind the last row.
    pub(super) fn finish(self) -> Result<()> {
        self.stream.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Channels, Picture, Samples};

    fn encode(picture: &Picture, grid: &Grid) -> Option<(SampleDepth, Vec<Vec<u8>>)> {
        fn rows<S: Sample>(picture: &Picture, grid: &Grid, samples: &[S]) -> Option<AlphaEncoder> {
            let layout = Layout::from(picture);
            let mut encoder = AlphaEncoder::new::<S>(&layout, grid).unwrap()?;
            samples.chunks(layout.row_len() * 37).for_each(|rows| encoder.push(rows).unwrap());
            Some(encoder)
        }
        let encoder = match picture.data() {
            Samples::U8(samples) => rows(picture, grid, samples),
            Samples::U16(samples) => rows(picture, grid, samples),
        };
        encoder.map(AlphaEncoder::finish)
    }

    /// Smooth parts, edges and noise.
    fn plane(width: usize, height: usize) -> impl Iterator<Item = u16> {
        (0..width * height).map(move |i| {
            let (x, y) = (i % width, i / width);
            match (x / 20 + y / 15) % 4 {
                0 => 65535,
                1 => 0,
                2 => (x * 997 + y * 1409) as u16,
                _ => (i as u32).wrapping_mul(2_654_435_761).rotate_left(11) as u16,
            }
        })
    }

    fn picture(width: usize, height: usize, depth: SampleDepth) -> Picture {
        let samples: Vec<u16> = plane(width, height).flat_map(|alpha| [7, alpha]).collect();
        let picture = Picture::from_samples(width as u32, height as u32, Channels::GrayAlpha, samples.into()).unwrap();
        picture.with_depth(depth).unwrap()
    }

    fn decode(stream: &[u8], width: usize, rows: usize, depth: SampleDepth) -> Result<Vec<u16>> {
        let mut reader = BandReader::new(stream.into(), width, depth)?;
        let mut out = vec![0u16; width * rows * 2];
        for row in out.chunks_exact_mut(width * 2) {
            reader.next_row()?;
            reader.store(row, 2, 0);
        }
        reader.finish()?;
        Ok(out.chunks_exact(2).map(|pixel| pixel[1]).collect())
    }

    #[test]
    fn r2_12_alpha_comes_back_exactly() {
        for (width, height) in [(1, 1), (70, 1), (3, 400), (130, 520)] {
            for depth in [SampleDepth::Eight, SampleDepth::Sixteen] {
                let picture = picture(width, height, depth);
                let grid = Grid::new(width as u32, height as u32, 256);
                let (stored, bands) = encode(&picture, &grid).unwrap();
                assert_eq!((stored, bands.len()), (depth, grid.rows()));
                let back: Vec<u16> = (0..bands.len()).flat_map(|b| decode(&bands[b], width, grid.pixel_rows(b, height).len(), depth).unwrap()).collect();
                assert!(back == picture.samples16().chunks(2).map(|p| p[1]).collect::<Vec<_>>(), "{width}x{height}");
            }
        }
        assert!(encode(&Picture::gray(1, 1, vec![0]).unwrap(), &Grid::new(1, 1, 256)).is_none());
    }

    #[test]
    fn r2_12_every_filter_undoes_itself() {
        let rows: Vec<u8> = (0..60u32).map(|i| (i * i * 7) as u8).collect();
        for filter in 0..FILTERS {
            for size in [1, 2] {
                let (mut filtered, mut above) = (Vec::new(), [0; 12]);
                for row in rows.chunks_exact(12) {
                    filtered.push(filter);
                    for i in 0..12 {
                        let (a, c) = if i >= size { (row[i - size], above[i - size]) } else { (0, 0) };
                        filtered.push(row[i].wrapping_sub(predict(filter, a, above[i], c)));
                    }
                    above.copy_from_slice(row);
                }
                let depth = if size == 1 { SampleDepth::Eight } else { SampleDepth::Sixteen };
                let back = decode(&deflate(&filtered, 6).unwrap(), 12 / size, 5, depth).unwrap();
                let expected = |row: &[u8]| if size == 1 { u16::from(row[0]) * 257 } else { u16::from_be_bytes([row[0], row[1]]) };
                assert_eq!(back, rows.chunks(size).map(expected).collect::<Vec<_>>(), "filter {filter}");
            }
        }
    }

    #[test]
    fn r2_12_wrong_filters_and_lengths_are_refused() {
        let rule = |bytes: &[u8], rows| match decode(&deflate(bytes, 6).unwrap(), 3, rows, SampleDepth::Eight) {
            Err(Error::Format(error)) => error.rule(),
            other => panic!("{other:?}"),
        };
        assert_eq!(rule(&[5, 1, 2, 3], 1), "R2.12");
        assert_eq!(rule(&[0, 1, 2], 1), "R2.12");
        assert_eq!(rule(&[0, 1, 2, 3, 0], 1), "R2.12");
        assert_eq!(rule(&[0, 1, 2, 3], 2), "R2.12");
    }
}
