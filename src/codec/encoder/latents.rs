//! Rows of samples to latents.

use super::super::transforms::Stages;
use super::super::{BAND, Progress, report};
use super::Layout;
use super::invisible::Fill;
use super::padding::{Margin, Pixel, RightEdge, bottom_edge};
use crate::net::{Analysis, Engine, INPUTS, Model, Tensor};
use crate::picture::samples::Sample;
use crate::picture::tiles::{Grid, LATENT};
use crate::picture::try_filled;
use crate::{Error, Result};

/// Gives the next rows of samples: fills the memory, which is whole rows.
pub(super) trait RowSource<S>: FnMut(&mut [S]) -> Result<()> {}

impl<S, F: FnMut(&mut [S]) -> Result<()>> RowSource<S> for F {}

/// The latents of a picture, computed from the top as they are needed.
pub(super) struct LatentRows<'a, S, F> {
    source: F,
    layout: Layout,
    analysis: &'a Analysis,
    stages: Box<dyn Stages + 'a>,
    quality: u8,
    m: usize,
    input_shift: u32,
    /// Padded size in cells of 8 x 8 pixels.
    cell_rows: usize,
    cell_columns: usize,
    next_cell_row: usize,
    /// Rows of samples of the band at hand.
    band: Vec<S>,
    right_edge: RightEdge,
    /// If invisible colours are to become others.
    fill: Option<Fill>,
    /// Latents that have been computed but not taken.
    ready: Vec<i32>,
    /// Cells of the picture that somebody may look at again, if anybody wants to.
    kept: Option<Kept>,
}

/// What is kept in place of the numbers of an invisible pixel: beyond all inputs.
pub(super) const INVISIBLE: i16 = i16::MIN;

/// Rows of cells, from a row of the picture on.
struct Kept {
    first: usize,
    cells: Vec<i16>,
}

impl<'a, S: Sample, F: RowSource<S>> LatentRows<'a, S, F> {
    pub(super) fn new(source: F, layout: Layout, model: &'a Model, stages: Box<dyn Stages + 'a>, grid: &Grid, quality: u8) -> Result<Self> {
        let analysis = model.analysis()?;
        let rows = (BAND * 8).min(layout.height() as usize);
        Ok(Self {
            band: try_filled(rows * layout.row_len(), S::default())?,
            right_edge: RightEdge::default(),
            fill: None,
            source,
            layout,
            analysis,
            stages,
            quality,
            m: model.header().m,
            input_shift: model.encoder()?.input_shift,
            cell_rows: grid.height / 8,
            cell_columns: grid.width / 8,
            next_cell_row: 0,
            ready: Vec::new(),
            kept: None,
        })
    }

    /// Colours of transparent and nearly transparent pixels become what costs least, as [`Fill`] has it.
    pub(super) fn fill_invisible(mut self) -> Self {
        self.fill = self.layout.channels().has_alpha().then(|| Fill::new(self.layout.width() as usize, self.layout.channels()));
        self
    }

    /// Keeps cells for [`LatentRows::cells_from`].
    pub(super) fn keep_cells(mut self) -> Self {
        self.kept = Some(Kept { first: 0, cells: Vec::new() });
        self
    }

    /// The next rows of latents: `[rows][columns][m]`.
    pub(super) fn take(&mut self, engine: &Engine, rows: usize, progress: &Progress) -> Result<Vec<i32>> {
        self.prepare(engine, rows, progress)?;
        let rest = self.ready.split_off(rows * self.row_len());
        Ok(std::mem::replace(&mut self.ready, rest))
    }

    /// The rows of latents that come after those taken, at most so many, which can still be taken.
    pub(super) fn ahead(&mut self, engine: &Engine, rows: usize, progress: &Progress) -> Result<&[i32]> {
        self.prepare(engine, rows, progress)?;
        let row_len = self.row_len();
        Ok(&self.ready[..(rows * row_len).min(self.ready.len())])
    }

    /// The cells from a row of cells of the picture on, and nothing above it any more: `[rows][columns][INPUTS]`, as far as they have been read. Where pixels are not seen,
    /// their numbers are [`INVISIBLE`], unless they are to be kept.
    pub(super) fn cells_from(&mut self, row: usize) -> &[i16] {
        let row_len = self.cell_columns * INPUTS;
        self.kept.as_mut().map_or(&[], |kept| {
            kept.cells.drain(..(row - kept.first) * row_len);
            kept.first = row;
            &kept.cells
        })
    }

    /// Numbers in a row of latents.
    fn row_len(&self) -> usize {
        self.cell_columns * 8 / LATENT * self.m
    }

    /// Computes so many rows of latents, or all that are left.
    fn prepare(&mut self, engine: &Engine, rows: usize, progress: &Progress) -> Result<()> {
        let row_len = self.row_len();
        self.ready
            .try_reserve((rows * row_len).saturating_sub(self.ready.len()) + BAND * row_len)
            .map_err(|_| Error::Limits("there is no memory for the latents".into()))?;
        while self.ready.len() < rows * row_len && self.next_cell_row < self.cell_rows {
            let band = BAND.min(self.cell_rows - self.next_cell_row);
            let cells = self.cells(engine, band)?;
            if let Some(kept) = &mut self.kept {
                kept.cells.try_reserve(cells.data().len()).map_err(|_| Error::Limits("there is no memory for the samples".into()))?;
                let old = kept.cells.len();
                kept.cells.extend_from_slice(cells.data());
                if self.fill.is_some() {
                    let lines = (band * 8).min(self.layout.height() as usize - self.next_cell_row * 8);
                    hide(&mut kept.cells[old..], &self.band[..lines * self.layout.row_len()], &self.layout, self.cell_columns);
                }
            }
            self.next_cell_row += band;
            let features = self.stages.push(engine, cells, self.next_cell_row == self.cell_rows)?;
            let old = self.ready.len();
            self.ready.resize(old + features.data().len(), 0);
            engine.pieces(&mut self.ready[old..], row_len, |row, piece| {
                for (y, x) in piece.chunks_exact_mut(self.m).zip(features.row(row).chunks_exact(self.m)) {
                    y.iter_mut().zip(self.analysis.gain(self.quality, x)).for_each(|(y, x)| *y = x);
                }
            });
            engine.recycle(features);
            report(progress, self.rows_done(), self.layout.height())?;
        }
        Ok(())
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// Rows of pixels that have been through the analysis. The last ones are done when their tiles are coded.
    pub(super) fn rows_done(&self) -> u32 {
        (self.next_cell_row as u32 * 8).min(self.layout.height() - 1)
    }

    /// The next rows of cells: `[row][column][8 rows][8 pixels][3]`, of the picture as `padding` extends it (SPEC 6).
    fn cells(&mut self, engine: &Engine, rows: usize) -> Result<Tensor> {
        let (width, row_len, channels) = (self.layout.width() as usize, self.layout.row_len(), self.layout.channels());
        // A band has one row of the picture at least: padding is less than 64 rows, and so many are the fewest that a band has.
        let lines = (rows * 8).min(self.layout.height() as usize - self.next_cell_row * 8);
        let samples = &mut self.band[..lines * row_len];
        (self.source)(samples)?;
        self.fill.iter_mut().try_for_each(|fill| fill.rows(samples))?;
        let (samples, shift, padded_width) = (&*samples, self.input_shift, self.cell_columns * 8);
        let pixel = |row: usize, column: usize| -> Pixel {
            let source = &samples[row * row_len + column * channels.count()..][..channels.count()];
            if channels.is_gray() { [source[0].to_input(shift); 3] } else { std::array::from_fn(|c| source[c].to_input(shift)) }
        };
        let right: Vec<Margin> =
            if padded_width > width { (0..lines).map(|row| self.right_edge.next(width, |column| pixel(row, column))).collect() } else { Vec::new() };
        let extended = |row: usize, column: usize| if column < width { pixel(row, column) } else { right[row].pixel(column - width) };
        let below = if rows * 8 > lines {
            let last: Vec<Pixel> = (0..padded_width).map(|column| extended(lines - 1, column)).collect();
            bottom_edge(&last)
        } else {
            Vec::new()
        };
        let mut cells = engine.tensor(rows, self.cell_columns, INPUTS)?;
        engine.pieces(cells.data_mut(), self.cell_columns * INPUTS, |cell_row, piece| {
            for i in 0..8 {
                let row = cell_row * 8 + i;
                let pixels = piece.chunks_exact_mut(INPUTS).flat_map(|cell| cell[i * 24..][..24].chunks_exact_mut(3)).enumerate();
                for (column, to) in pixels {
                    to.copy_from_slice(&if row < lines { extended(row, column) } else { below[column].pixel(row - lines) });
                }
            }
        });
        Ok(cells)
    }
}

/// Marks the invisible pixels of rows of samples with alpha in the cells that were made of them.
fn hide<S: Sample>(cells: &mut [i16], samples: &[S], layout: &Layout, cell_columns: usize) {
    let count = layout.channels().count();
    for (row, line) in samples.chunks_exact(layout.row_len()).enumerate() {
        for (column, pixel) in line.chunks_exact(count).enumerate() {
            if pixel[count - 1].to_u16() == 0 {
                let cell = (row / 8 * cell_columns + column / 8) * INPUTS;
                cells[cell + (row % 8 * 8 + column % 8) * 3..][..3].fill(INVISIBLE);
            }
        }
    }
}
