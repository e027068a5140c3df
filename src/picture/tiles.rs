//! Padding and the cut into tiles (SPEC 2.2).

use std::ops::Range;

/// The padded picture's sides are multiples of this: one position of the hyper-latent.
pub(crate) const PADDING: usize = 64;
/// Pixels per latent, on each side.
pub(crate) const LATENT: usize = 16;

/// How a picture is cut into tiles. All lengths are of the padded picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Padded width in pixels.
    pub(crate) width: usize,
    /// Padded height in pixels.
    pub(crate) height: usize,
    tile: usize,
}

/// A tile's place in units of latents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TilePlace {
    pub(crate) number: usize,
    pub(crate) columns: Range<usize>,
}

impl Grid {
    /// `tile` is the side of a full tile in pixels, a multiple of 64.
    pub(crate) fn new(width: u32, height: u32, tile: usize) -> Self {
        Self { width: (width as usize).next_multiple_of(PADDING), height: (height as usize).next_multiple_of(PADDING), tile }
    }

    /// Side of a full tile in pixels.
    pub(crate) fn tile(&self) -> usize {
        self.tile
    }

    /// Number of tiles.
    pub(crate) fn count(&self) -> usize {
        self.rows() * self.per_row()
    }

    /// Number of rows of tiles.
    pub(crate) fn rows(&self) -> usize {
        self.height.div_ceil(self.tile)
    }

    /// Number of tiles in a row.
    pub(crate) fn per_row(&self) -> usize {
        self.width.div_ceil(self.tile)
    }

    /// Latent columns of the padded picture.
    pub(crate) fn latent_width(&self) -> usize {
        self.width / LATENT
    }

    /// Height in latents of a row of tiles.
    pub(crate) fn row_height(&self, row: usize) -> usize {
        (self.height - row * self.tile).min(self.tile) / LATENT
    }

    /// Latent rows of a row of tiles.
    pub(crate) fn row_latents(&self, row: usize) -> Range<usize> {
        let start = row * self.tile / LATENT;
        start..start + self.row_height(row)
    }

    /// Rows of tiles that hold latent rows, of which there is one at least.
    pub(crate) fn rows_of(&self, latents: &Range<usize>) -> Range<usize> {
        let step = self.tile / LATENT;
        latents.start / step..latents.end.div_ceil(step)
    }

    /// Rows of pixels of a row of tiles, of a picture of this height.
    pub(crate) fn pixel_rows(&self, row: usize, height: usize) -> Range<usize> {
        (row * self.tile).min(height)..((row + 1) * self.tile).min(height)
    }

    /// The tiles of a row, from the left.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = TilePlace> + use<> {
        let (per_row, step, width) = (self.per_row(), self.tile / LATENT, self.latent_width());
        (0..per_row).map(move |k| TilePlace { number: row * per_row + k, columns: k * step..((k + 1) * step).min(width) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_padded_picture() {
        for (width, height, tile) in [(1, 1, 256), (256, 257, 256), (1920, 1080, 1024), (65535, 1, 4096)] {
            let grid = Grid::new(width, height, tile);
            assert_eq!((grid.width % 64, grid.height % 64), (0, 0));
            let mut number = 0;
            let mut rows = 0;
            for row in 0..grid.rows() {
                let mut column = 0;
                for place in grid.row(row) {
                    assert_eq!((place.number, place.columns.start), (number, column));
                    assert!(!place.columns.is_empty() && place.columns.len() % 4 == 0);
                    number += 1;
                    column = place.columns.end;
                }
                assert_eq!(column, grid.latent_width());
                rows += grid.row_height(row);
            }
            assert_eq!((number, rows * LATENT), (grid.count(), grid.height));
        }
    }
}
