//! The alpha plane: without loss, tile by tile, like the samples of a gray picture (R2.12).

use std::ops::Range;

use rayon::prelude::*;

use super::lossless::{TileReader, encode_tile, pixel_columns};
use crate::entropy::CodedTile;
use crate::picture::samples::Sample;
use crate::picture::tiles::Grid;
use crate::{Channels, Error, Layout, Result, SampleDepth};

/// What a property says of a flat tile, besides its depth.
const FLAT: u8 = 0x20;
/// What no property says.
const NEVER: u8 = 0x40;
/// What a property says of graphics.
const GRAPHICS: u8 = 0x80;

/// Takes a picture's rows from the top and packs their alpha, one row of tiles after the other.
pub(super) struct AlphaEncoder<S> {
    grid: Grid,
    height: usize,
    width: usize,
    count: usize,
    /// Rows that have been taken, and the alpha of those that have not been packed.
    rows: usize,
    waiting: Vec<S>,
    tiles: Vec<CodedTile>,
}

impl<S: Sample> AlphaEncoder<S> {
    /// `None` if the picture has no alpha.
    pub(super) fn new(layout: &Layout, grid: &Grid) -> Result<Option<Self>> {
        if !layout.channels().has_alpha() {
            return Ok(None);
        }
        let (width, height) = (layout.width() as usize, layout.height() as usize);
        let mut waiting = Vec::new();
        let len = width * grid.tile().min(height);
        waiting.try_reserve_exact(len).map_err(|_| Error::Limits(format!("there is no memory for {len} more samples")))?;
        Ok(Some(Self { grid: *grid, height, width, count: layout.channels().count(), rows: 0, waiting, tiles: Vec::new() }))
    }

    /// Takes the next rows. `stop` is told how many there were before, and asked now and then whether to go on.
    pub(super) fn push(&mut self, rows: &[S], stop: impl Fn(u32) -> Result<()> + Sync) -> Result<()> {
        let before = self.rows as u32;
        for row in rows.chunks_exact(self.width * self.count) {
            self.waiting.extend(row.chunks_exact(self.count).filter_map(<[S]>::last));
            self.rows += 1;
            if self.rows == self.height || self.rows.is_multiple_of(self.grid.tile()) {
                self.pack(|| stop(before))?;
            }
        }
        Ok(())
    }

    fn pack(&mut self, stop: impl Fn() -> Result<()> + Sync) -> Result<()> {
        let row = (self.rows - 1) / self.grid.tile();
        let places: Vec<_> = self.grid.row(row).map(|place| pixel_columns(&place, self.width)).collect();
        let tiles: Vec<Result<CodedTile>> = places.into_par_iter().map(|columns| encode(&self.waiting, self.width, columns, &stop)).collect();
        self.tiles.reserve(tiles.len());
        tiles.into_iter().try_for_each(|tile| tile.map(|tile| self.tiles.push(tile)))?;
        self.waiting.clear();
        Ok(())
    }

    /// All tiles.
    pub(super) fn finish(self) -> Vec<CodedTile> {
        self.tiles
    }
}

/// Codes some columns of rows of alpha.
fn encode<S: Sample>(rows: &[S], width: usize, columns: Range<usize>, stop: impl Fn() -> Result<()> + Sync) -> Result<CodedTile> {
    let first = rows[columns.start].to_stored();
    if rows.chunks_exact(width).all(|row| row[columns.clone()].iter().all(|alpha| alpha.to_stored() == first)) {
        return Ok(CodedTile { skip_below: S::DEPTH.bits() | FLAT, stream: u32::from(first).to_le_bytes().into() });
    }
    encode_tile(rows, width, columns, Channels::Gray, stop)
}

/// The rows of a tile's alpha, from the top.
pub(super) enum AlphaReader {
    Flat(u16, SampleDepth),
    Coded(Box<TileReader>),
}

impl AlphaReader {
    /// `property` is what stands beside the tile's number, `width` is in pixels.
    pub(super) fn new(property: u8, words: &[u8], width: usize) -> Result<Self> {
        if property & NEVER != 0 {
            return Err(Error::format("R2.12", "it is stored in an unknown way"));
        }
        if property & FLAT == 0 {
            return Ok(Self::Coded(Box::new(TileReader::new(property, words, width, Channels::Gray)?)));
        }
        let depth = if property & 16 == 0 { SampleDepth::Eight } else { SampleDepth::Sixteen };
        let highest = u32::from(u16::MAX >> (16 - depth.bits()));
        match words.try_into().map(u32::from_le_bytes) {
            Ok(alpha) if alpha <= highest && property & GRAPHICS == 0 => Ok(Self::Flat(alpha as u16, depth)),
            _ => Err(Error::format("R2.12", "it is flat, but does not say with one sample how")),
        }
    }

    /// Reads the next row.
    pub(super) fn next_row(&mut self) -> Result<()> {
        match self {
            Self::Flat(..) => Ok(()),
            Self::Coded(reader) => reader.next_row(),
        }
    }

    /// Stores the row's alpha from the column `left` on.
    pub(super) fn store<S: Sample>(&self, alpha: &mut [S], left: usize) {
        match self {
            Self::Flat(value, depth) => alpha.fill(S::from_stored(*value, *depth)),
            Self::Coded(reader) => reader.store(alpha, 1, left),
        }
    }

    /// Checks that there is nothing behind the last row.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::Flat(..) => Ok(()),
            Self::Coded(reader) => reader.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Picture, Samples};

    fn encode_all(picture: &Picture, grid: &Grid) -> Option<Vec<CodedTile>> {
        fn rows<S: Sample>(picture: &Picture, grid: &Grid, samples: &[S]) -> Option<Vec<CodedTile>> {
            let layout = Layout::from(picture);
            let mut encoder = AlphaEncoder::new(&layout, grid).unwrap()?;
            samples.chunks(layout.row_len() * 37).for_each(|rows| encoder.push(rows, |_| Ok(())).unwrap());
            Some(encoder.finish())
        }
        match picture.data() {
            Samples::U8(samples) => rows(picture, grid, samples),
            Samples::U16(samples) => rows(picture, grid, samples),
        }
    }

    /// Smooth parts, edges and noise; the first tile is flat where there are several.
    fn plane(width: usize, height: usize) -> impl Iterator<Item = u16> {
        (0..width * height).map(move |i| {
            let (x, y) = (i % width, i / width);
            match (x / 20 + y / 15) % 4 {
                _ if width.max(height) > 256 && x < 256 && y < 256 => 0x4242,
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

    fn decode(tile: &CodedTile, width: usize, rows: usize) -> Result<Vec<u16>> {
        let mut reader = AlphaReader::new(tile.skip_below, &tile.stream, width)?;
        let mut out = vec![0u16; width * rows];
        for row in out.chunks_exact_mut(width) {
            reader.next_row()?;
            reader.store(row, 0);
        }
        reader.finish()?;
        Ok(out)
    }

    #[test]
    fn r2_12_alpha_comes_back_exactly() {
        for (width, height) in [(1, 1), (70, 1), (3, 400), (130, 520), (300, 270)] {
            for depth in [SampleDepth::Eight, SampleDepth::Sixteen] {
                let picture = picture(width, height, depth);
                let grid = Grid::new(width as u32, height as u32, 256);
                let tiles = encode_all(&picture, &grid).unwrap();
                assert_eq!(tiles.len(), grid.count());
                assert!(tiles.iter().all(|tile| tile.skip_below & 0x1F == depth.bits()));
                assert_eq!(tiles[0].skip_below & FLAT != 0, grid.count() > 1 || width * height == 1, "{width}x{height}");
                let alpha: Vec<u16> = picture.samples16().chunks(2).map(|pixel| pixel[1]).collect();
                let mut number = 0;
                for row in 0..grid.rows() {
                    for place in grid.row(row) {
                        let (columns, rows) = (pixel_columns(&place, width), grid.pixel_rows(row, height));
                        let back = decode(&tiles[number], columns.len(), rows.len()).unwrap();
                        let part = rows.flat_map(|y| alpha[y * width..][columns.clone()].to_vec());
                        assert!(back.into_iter().eq(part), "{width}x{height}, tile {number}");
                        number += 1;
                    }
                }
            }
        }
        assert!(encode_all(&Picture::gray(1, 1, vec![0]).unwrap(), &Grid::new(1, 1, 256)).is_none());
    }

    #[test]
    fn r2_12_wrong_properties_and_flat_tiles_are_refused() {
        let rule = |property: u8, words: &[u8]| match AlphaReader::new(property, words, 1) {
            Err(Error::Format(error)) => error.rule(),
            _ => "accepted",
        };
        assert_eq!([8, 16, 0x88, 0x90].map(|property| rule(property, &[])), ["accepted"; 4]);
        assert_eq!([0x48, 0x50, 0xC8, 0x68, 0xE8].map(|property| rule(property, &[0; 4])), ["R2.12"; 5]);
        assert_eq!([rule(0x28, &[255, 0, 0, 0]), rule(0x30, &[255, 255, 0, 0])], ["accepted"; 2]);
        assert_eq!([rule(0x28, &[0, 1, 0, 0]), rule(0x30, &[0, 0, 1, 0]), rule(0xA8, &[0; 4])], ["R2.12"; 3]);
        assert_eq!([rule(0x28, &[]), rule(0x28, &[0; 8])], ["R2.12"; 2]);
    }
}
