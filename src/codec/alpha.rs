//! The alpha plane: without loss, a zlib stream of filtered rows for each row of tiles, as PNG has them (R2.12).

use std::borrow::Cow;

use super::filtered::{Filters, PackedRows, pack, stored};
use crate::picture::samples::Sample;
use crate::picture::tiles::Grid;
use crate::{Error, Layout, Result, SampleDepth};

/// How hard the encoder tries, 0 to 9.
const LEVEL: u32 = 6;
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
        Ok(Some(Self { band_rows: grid.tile(), height, width, count: layout.channels().count(), depth: S::DEPTH, rows: 0, bytes, bands: Vec::new() }))
    }

    /// Takes the next rows.
    pub(super) fn push<S: Sample>(&mut self, rows: &[S]) -> Result<()> {
        for row in rows.chunks_exact(self.width * self.count) {
            for pixel in row.chunks_exact(self.count) {
                pixel[self.count - 1].store(&mut self.bytes);
            }
            self.rows += 1;
            if self.rows == self.height || self.rows.is_multiple_of(self.band_rows) {
                self.bands.push(pack(&self.bytes, self.width * self.depth.bytes(), self.depth.bytes(), Filters::Smallest, LEVEL)?);
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

/// The rows of one band, from the top.
pub(super) struct BandReader<'a> {
    rows: PackedRows<'a>,
    depth: SampleDepth,
}

impl<'a> BandReader<'a> {
    /// `width` is in pixels.
    pub(super) fn new(stream: Cow<'a, [u8]>, width: usize, depth: SampleDepth) -> Result<Self> {
        Ok(Self { rows: PackedRows::new(stream, width * depth.bytes(), depth.bytes(), "R2.12")?, depth })
    }

    /// Reads the next row.
    pub(super) fn next_row(&mut self) -> Result<()> {
        self.rows.next_row().map(|_| ())
    }

    /// Stores the alpha samples of a row's pixels from the column `left` on into every pixel's last sample.
    pub(super) fn store<S: Sample>(&self, pixels: &mut [S], count: usize, left: usize) {
        let samples = self.rows.row()[left * self.depth.bytes()..].chunks_exact(self.depth.bytes());
        for (pixel, alpha) in pixels.chunks_exact_mut(count).zip(samples) {
            pixel[count - 1] = S::from_stored(stored(alpha), self.depth);
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
}
