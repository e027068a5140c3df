//! A picture as a stream of rows.

use super::pass::Pass;
use super::stored::StoredRows;
use super::{Decoder, Purpose};
use crate::picture::samples::Sample;
use crate::{Error, Result};

impl Decoder {
    /// Decodes the picture from the top and hands out its rows as they are finished, as stored: `sink` gets the number of the first row and a piece of
    /// memory with some whole rows, in the order of [`Picture::new`](crate::Picture::new). Memory depends on the picture's width and tile size, not on its height.
    ///
    /// ```
    /// # let file = aei::Encoder::new().encode(&aei::Picture::gray(30, 200, vec![90; 6000])?)?;
    /// let decoder = aei::Decoder::new(&file[..])?;
    /// let row_len = decoder.info().width as usize * decoder.info().channels.count();
    /// let mut next = 0;
    /// decoder.decode_rows(|first, rows| {
    ///     assert_eq!(first, next);
    ///     next += (rows.len() / row_len) as u32;
    ///     Ok(())
    /// })?;
    /// assert_eq!(next, 200);
    /// # Ok::<(), aei::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Decoder::decode`], and what `sink` returns, which ends the work. The rows before an error have been handed out by then.
    pub fn decode_rows(&self, sink: impl FnMut(u32, &[u8]) -> Result<()>) -> Result<()> {
        self.rows_of_samples(sink)
    }

    /// As [`Decoder::decode_rows`], with samples of 16 bits.
    ///
    /// # Errors
    /// As [`Decoder::decode_rows`].
    pub fn decode_rows16(&self, sink: impl FnMut(u32, &[u16]) -> Result<()>) -> Result<()> {
        self.rows_of_samples(sink)
    }

    fn rows_of_samples<S: Sample>(&self, mut sink: impl FnMut(u32, &[S]) -> Result<()>) -> Result<()> {
        let area = self.whole();
        let Some(model) = self.model_for_file(Purpose::Rows(S::DEPTH), area)? else { return self.lossless_rows(sink) };
        let pass = Pass::new(self, &model, area);
        let (output, mut alpha) = (pass.output(), StoredRows::alpha(self, area));
        let (mut first, mut rows) = (0, Vec::new());
        pass.run(|finished| {
            let len = finished.rows * output.row_len();
            if rows.len() < len {
                rows.try_reserve_exact(len - rows.len()).map_err(|_| Error::Limits(format!("there is no memory for {len} more bytes")))?;
                rows.resize(len, S::default());
            }
            output.store(finished.engine, finished.cells, finished.first, &mut rows[..len]);
            alpha.iter_mut().try_for_each(|alpha| alpha.store(&mut rows[..len]))?;
            sink(first, &rows[..len])?;
            first += finished.rows as u32;
            Ok(())
        })?;
        self.check_end(area)
    }
}
