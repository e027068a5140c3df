//! A lossless picture to samples (R2.14), row by row.

use super::super::report;
use super::Decoder;
use super::pass::Area;
use super::stored::{self, StoredRows};
use crate::picture::samples::Sample;
use crate::picture::try_filled;
use crate::{Result, SampleDepth};

/// Rows that are decoded between two reports, and handed out together.
const ROWS: usize = 64;

/// About how many bytes the colours of an area take, with rows that are handed out, and, beside them, their decoding.
pub(super) fn memory(decoder: &Decoder, area: Area, depth: SampleDepth) -> (u64, u64) {
    let (kept, decoding) = stored::memory_of_colours(decoder, area, depth);
    (kept + (ROWS * area.width * decoder.info.channels.count() * depth.bytes()) as u64, decoding)
}

impl Decoder {
    /// Decodes an area of a lossless picture to samples in one piece.
    pub(super) fn lossless_area<S: Sample>(&self, area: Area, samples: &mut [S]) -> Result<()> {
        let (mut colours, mut alpha) = (StoredRows::colours(self, area), StoredRows::alpha(self, area));
        let mut done = 0;
        for rows in samples.chunks_mut(ROWS * area.width * self.info.channels.count()) {
            report(&self.progress, done, area.height as u32)?;
            colours.store(rows)?;
            alpha.iter_mut().try_for_each(|alpha| alpha.store(rows))?;
            done = (done + ROWS as u32).min(area.height as u32);
        }
        report(&self.progress, done, area.height as u32)?;
        self.check_end(area)
    }

    /// Decodes a lossless picture and hands out its rows.
    pub(super) fn lossless_rows<S: Sample>(&self, mut sink: impl FnMut(u32, &[S]) -> Result<()>) -> Result<()> {
        let area = self.whole();
        let (mut colours, mut alpha) = (StoredRows::colours(self, area), StoredRows::alpha(self, area));
        let row_len = area.width * self.info.channels.count();
        let mut rows = try_filled(ROWS.min(area.height) * row_len, S::default())?;
        for first in (0..area.height).step_by(ROWS) {
            report(&self.progress, first as u32, area.height as u32)?;
            let rows = &mut rows[..ROWS.min(area.height - first) * row_len];
            colours.store(rows)?;
            alpha.iter_mut().try_for_each(|alpha| alpha.store(rows))?;
            sink(first as u32, rows)?;
        }
        report(&self.progress, area.height as u32, area.height as u32)?;
        self.check_end(area)
    }
}
