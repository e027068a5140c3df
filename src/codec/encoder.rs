//! A picture to a file.

use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;

use super::{BAND, Progress, Quality, alpha};
use crate::container::{self, Attachments, Head};
use crate::entropy::{CodedTile, TileShape, encode_tile};
use crate::net::{Analysis, Engine, INPUTS, Model, Tensor};
use crate::picture::samples::Sample;
use crate::picture::tiles::{Grid, LATENT};
use crate::{Error, Picture, Result, Samples};

/// Encodes pictures.
///
/// ```
/// use aei::{Encoder, Picture, Quality};
///
/// let picture = Picture::gray(8, 8, vec![128; 64])?;
/// let file = Encoder::new().quality(Quality::index(40)?).encode(&picture)?;
/// assert_eq!(&file[1..4], b"AEI");
/// # Ok::<(), aei::Error>(())
/// ```
///
/// The same picture and settings give the same bytes on every machine.
#[derive(Clone)]
pub struct Encoder {
    quality: Quality,
    tile_log2: u8,
    model: Option<Arc<Model>>,
    pub(super) preview: bool,
    progress: Progress,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { quality: Quality::default(), tile_log2: 10, model: None, preview: false, progress: None }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("quality", &self.quality)
            .field("tile_size", &(1u32 << self.tile_log2))
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// With the embedded model, the default quality and tiles of 1024 x 1024 pixels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the quality.
    pub fn quality(mut self, quality: Quality) -> Self {
        self.quality = quality;
        self
    }

    /// Uses another model than the embedded one; the decoder will need it too.
    pub fn model(mut self, model: Arc<Model>) -> Self {
        self.model = Some(model);
        self
    }

    /// Sets the side of a tile in pixels. Smaller tiles make region decoding and many threads faster and files a little larger.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless a power of two from 256 to 4096.
    pub fn tile_size(mut self, pixels: u32) -> Result<Self> {
        if !pixels.is_power_of_two() || !(256..=4096).contains(&pixels) {
            return Err(Error::Parameter(format!("tiles of {pixels} pixels do not exist: a power of two from 256 to 4096")));
        }
        self.tile_log2 = pixels.ilog2() as u8;
        Ok(self)
    }

    /// Whether to put a small preview into the file, of about 1 KB, which [`Decoder::preview`](crate::Decoder::preview) decodes at once. Default: no.
    pub fn preview(mut self, preview: bool) -> Self {
        self.preview = preview;
        self
    }

    /// Without what [`Encoder::on_progress`] set.
    pub(super) fn silent(mut self) -> Self {
        self.progress = None;
        self
    }

    /// Calls `f` with the number of pixel rows done and their total, now and then, from any thread.
    pub fn on_progress(mut self, f: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(f));
        self
    }

    /// Encodes a picture.
    ///
    /// # Errors
    /// [`Error::Limits`] if memory runs out, [`Error::Unsupported`] if the model cannot encode, [`Error::Parameter`] if `AEI_KERNEL` names no kernel.
    pub fn encode(&self, picture: &Picture) -> Result<Vec<u8>> {
        let model = self.model.clone().map_or_else(Model::embedded, Ok)?;
        let head = Head {
            width: picture.width(),
            height: picture.height(),
            channels: picture.channels(),
            source_depth: picture.source_depth(),
            orientation: picture.orientation(),
            tile_log2: self.tile_log2,
            quality: self.quality,
            model_id: model.id(),
        };
        let (grid, quality) = (head.grid(), self.quality.get());
        let analysis = model.analysis()?;
        let engine = Engine::new(true)?;
        let mut latents = LatentRows::new(picture, analysis, &grid, quality, model.header().m, model.header().input_shift);
        let mut tiles = Vec::new();
        for row in 0..grid.rows() {
            let y = latents.take(&engine, grid.row_height(row), &self.progress)?;
            self.encode_row(&mut tiles, &y, &model, analysis, &grid, row)?;
        }
        super::report(&self.progress, head.height, head.height);
        let attachments = Attachments { metadata: Some(picture.metadata()), preview: self.make_preview(picture)?, alpha: alpha::encode(picture, &grid)? };
        container::assemble(&head, &attachments, &tiles)
    }

    /// Codes a row of tiles from its latents `[rows][columns of the picture][m]`.
    fn encode_row(&self, tiles: &mut Vec<CodedTile>, y: &[i32], model: &Model, analysis: &Analysis, grid: &Grid, row: usize) -> Result<()> {
        let (m, rows, quality) = (model.header().m, grid.row_height(row), self.quality.get());
        let places: Vec<_> = grid.row(row).collect();
        // Where there are enough tiles, each is one thread's work; else all threads work on one after the other.
        let by_tile = places.len() > 1 && places.len() >= rayon::current_num_threads();
        let code = |place: &crate::picture::tiles::TilePlace| {
            let columns = place.columns.clone();
            let mut tile = Vec::new();
            tile.try_reserve_exact(rows * columns.len() * m).map_err(|_| Error::Limits("there is no memory for the latents of a tile".into()))?;
            for line in y.chunks_exact(grid.latent_width() * m) {
                tile.extend_from_slice(&line[columns.start * m..columns.end * m]);
            }
            let engine = Engine::new(!by_tile)?;
            encode_tile(&tile, model, analysis, &engine, quality, TileShape { rows, columns: columns.len() })
        };
        let coded: Vec<_> = if by_tile { places.par_iter().map(code).collect() } else { places.iter().map(code).collect() };
        coded.into_iter().try_for_each(|tile| tile.map(|tile| tiles.push(tile)))
    }
}

/// The latents of a picture, computed from the top as they are needed.
struct LatentRows<'a> {
    picture: &'a Picture,
    analysis: &'a Analysis,
    stages: crate::net::AnalysisStages<'a>,
    quality: u8,
    m: usize,
    input_shift: u32,
    /// Padded size in cells of 8 x 8 pixels.
    cell_rows: usize,
    cell_columns: usize,
    next_cell_row: usize,
    /// Latents that have been computed but not taken.
    ready: Vec<i32>,
}

impl<'a> LatentRows<'a> {
    fn new(picture: &'a Picture, analysis: &'a Analysis, grid: &Grid, quality: u8, m: usize, input_shift: u32) -> Self {
        Self {
            picture,
            analysis,
            stages: analysis.stages(quality),
            quality,
            m,
            input_shift,
            cell_rows: grid.height / 8,
            cell_columns: grid.width / 8,
            next_cell_row: 0,
            ready: Vec::new(),
        }
    }

    /// The next rows of latents: `[rows][columns][m]`.
    fn take(&mut self, engine: &Engine, rows: usize, progress: &Progress) -> Result<Vec<i32>> {
        let row_len = self.cell_columns * 8 / LATENT * self.m;
        self.ready
            .try_reserve((rows * row_len).saturating_sub(self.ready.len()) + BAND * row_len)
            .map_err(|_| Error::Limits("there is no memory for the latents".into()))?;
        while self.ready.len() < rows * row_len && self.next_cell_row < self.cell_rows {
            let band = BAND.min(self.cell_rows - self.next_cell_row);
            let cells = self.cells(engine, band)?;
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
            // The last rows are done when their tiles are coded.
            let height = self.picture.height();
            super::report(progress, (self.next_cell_row as u32 * 8).min(height - 1), height);
        }
        let rest = self.ready.split_off(rows * row_len);
        Ok(std::mem::replace(&mut self.ready, rest))
    }

    /// The next rows of cells: `[row][column][8 rows][8 pixels][3]`, the picture extended by its last row and column (SPEC 6).
    fn cells(&self, engine: &Engine, rows: usize) -> Result<Tensor> {
        match self.picture.data() {
            Samples::U8(samples) => self.cells_of(engine, rows, samples),
            Samples::U16(samples) => self.cells_of(engine, rows, samples),
        }
    }

    fn cells_of<S: Sample>(&self, engine: &Engine, rows: usize, samples: &[S]) -> Result<Tensor> {
        let mut cells = engine.tensor(rows, self.cell_columns, INPUTS)?;
        let (width, height) = (self.picture.width() as usize, self.picture.height() as usize);
        let channels = self.picture.channels().count();
        let (gray, shift) = (self.picture.channels().is_gray(), self.input_shift);
        engine.pieces(cells.data_mut(), self.cell_columns * INPUTS, |row, piece| {
            for i in 0..8 {
                let line = ((self.next_cell_row + row) * 8 + i).min(height - 1);
                let line = &samples[line * width * channels..][..width * channels];
                for (column, cell) in piece.chunks_exact_mut(INPUTS).enumerate() {
                    for (j, pixel) in cell[i * 24..][..24].chunks_exact_mut(3).enumerate() {
                        let source = &line[(column * 8 + j).min(width - 1) * channels..][..channels];
                        if gray {
                            pixel.fill(source[0].to_input(shift));
                        } else {
                            pixel.iter_mut().zip(source).for_each(|(p, s)| *p = s.to_input(shift));
                        }
                    }
                }
            }
        });
        Ok(cells)
    }
}
