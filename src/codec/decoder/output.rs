//! What synthesis gives, to samples.

use crate::Channels;
use crate::net::{Engine, OUTPUTS, Tensor};
use crate::picture::samples::Sample;

/// Turns rows of cells into rows of samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// Pixels to leave out at the left of each row.
    pub(super) left: usize,
    /// Pixels of a row.
    pub(super) width: usize,
    pub(super) channels: Channels,
    /// Binary places of the cells' numbers.
    pub(super) fraction: u32,
}

impl Output {
    /// Samples in a row.
    pub(super) fn row_len(&self) -> usize {
        self.width * self.channels.count()
    }

    /// Rounds and stores the colours of rows of pixels (R5.11, R5.12) from `cells`, `[8 rows][8 pixels][3]` each, starting with their row of pixels `first`.
    pub(super) fn store<S: Sample>(&self, engine: &Engine, cells: &Tensor, first: usize, samples: &mut [S]) {
        const ROWS: usize = 8;
        let row_len = self.row_len();
        engine.pieces(samples, ROWS * row_len, |piece_number, piece| {
            for (i, line) in piece.chunks_exact_mut(row_len).enumerate() {
                let row = first + piece_number * ROWS + i;
                self.line(cells.row(row / 8), row % 8, line);
            }
        });
    }

    /// One row of pixels from the row `inside` of a row of cells.
    fn line<S: Sample>(&self, cells: &[i16], inside: usize, line: &mut [S]) {
        let (channels, fraction) = (self.channels.count(), self.fraction);
        let (mut rest, mut x) = (line, self.left);
        while !rest.is_empty() {
            let (cell, skip) = (x / 8, x % 8);
            let pixels = (8 - skip).min(rest.len() / channels);
            let source = &cells[cell * OUTPUTS + inside * 24 + skip * 3..][..3 * pixels];
            let (now, later) = rest.split_at_mut(pixels * channels);
            match self.channels {
                Channels::Rgb => now.iter_mut().zip(source).for_each(|(sample, v)| *sample = S::from_outputs((*v).into(), 1, fraction)),
                Channels::Rgba => {
                    for (pixel, v) in now.chunks_exact_mut(4).zip(source.chunks_exact(3)) {
                        pixel.iter_mut().zip(v).for_each(|(sample, v)| *sample = S::from_outputs((*v).into(), 1, fraction));
                    }
                }
                Channels::Gray | Channels::GrayAlpha => {
                    for (pixel, v) in now.chunks_exact_mut(channels).zip(source.chunks_exact(3)) {
                        pixel[0] = S::from_outputs(v.iter().map(|v| i32::from(*v)).sum(), 3, fraction);
                    }
                }
            }
            (rest, x) = (later, x + pixels);
        }
    }
}
