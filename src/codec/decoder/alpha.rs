//! The alpha of an area, row by row.

use std::sync::PoisonError;

use super::super::alpha::BandReader;
use super::Decoder;
use super::pass::Area;
use crate::picture::samples::Sample;
use crate::picture::tiles::Grid;
use crate::{Error, Result, SampleDepth};

/// Reads the rows of an area's alpha from the top. Bands that are lost become opaque, where that is allowed.
pub(super) struct AlphaRows<'a> {
    decoder: &'a Decoder,
    grid: Grid,
    area: Area,
    depth: SampleDepth,
    /// The next row of the picture.
    row: usize,
    /// The band that this row is in, if it is open.
    band: Option<BandReader<'a>>,
    /// A band that cannot be read.
    lost: Option<usize>,
}

impl<'a> AlphaRows<'a> {
    /// `None` if the picture has no alpha.
    pub(super) fn new(decoder: &'a Decoder, area: Area) -> Option<Self> {
        let (head, extras) = (&decoder.container.head, &decoder.container.extras);
        // Where nothing is left of it, the depth does not matter.
        let depth = extras.alpha_depth.unwrap_or_default();
        head.channels.has_alpha().then(|| Self { decoder, grid: head.grid(), area, depth, row: area.y, band: None, lost: None })
    }

    /// Stores alpha into the last samples of the pixels of the next rows of the area.
    pub(super) fn store<S: Sample>(&mut self, rows: &mut [S]) -> Result<()> {
        let count = self.decoder.info.channels.count();
        for line in rows.chunks_exact_mut(self.area.width * count) {
            let band = self.row / self.grid.tile();
            if self.lost != Some(band) {
                match (self.line(band, line), &self.decoder.salvage) {
                    (Err(Error::Format(error)), Some(salvage)) => {
                        salvage.alpha.lock().unwrap_or_else(PoisonError::into_inner).insert(band, error.message().to_owned());
                        (self.band, self.lost) = (None, Some(band));
                    }
                    (other, _) => other.map_err(|error| in_band(band, error))?,
                }
            }
            if self.lost == Some(band) {
                line.chunks_exact_mut(count).for_each(|pixel| pixel[count - 1] = S::from_stored(u16::MAX, SampleDepth::Sixteen));
            }
            self.row += 1;
        }
        Ok(())
    }

    fn line<S: Sample>(&mut self, band: usize, line: &mut [S]) -> Result<()> {
        let rows = self.grid.pixel_rows(band, self.decoder.info.height as usize);
        let mut reader = match self.band.take() {
            Some(reader) => reader,
            None => {
                let mut reader = BandReader::new(self.decoder.container.alpha(band)?, self.decoder.info.width as usize, self.depth)?;
                (rows.start..self.row).try_for_each(|_| reader.next_row())?;
                reader
            }
        };
        reader.next_row()?;
        reader.store(line, self.decoder.info.channels.count(), self.area.x);
        if self.row + 1 == rows.end {
            return reader.finish();
        }
        self.band = Some(reader);
        Ok(())
    }
}

/// Says which band a broken rule is about.
fn in_band(band: usize, error: Error) -> Error {
    match error {
        Error::Format(error) => Error::format(error.rule(), format!("alpha of the row of tiles {band}: {}", error.message())),
        other => other,
    }
}
