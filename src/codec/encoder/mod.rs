//! A picture to a file.

mod invisible;
mod latents;
mod layout;
mod lossless;
mod padding;
mod refine;
mod reuse;
mod search;
mod target;

use std::cell::RefCell;
use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use rayon::prelude::*;

use super::alpha::AlphaEncoder;
use super::preview::{SIDE, Shrink};
use super::transforms::{Stages, Transforms};
use super::{BAND, Device, Limits, Progress, Quality, by_tile, memory, report};
use crate::container::{self, Attachments, Head};
use crate::entropy::{CodedTile, TileShape, TrellisCode, encode_tile, encode_tile_under, search_bytes};
use crate::net::{Engine, Model, ModelId};
use crate::picture::samples::Sample;
use crate::picture::tiles::{Grid, LATENT, TilePlace};
use crate::{Error, Metadata, Picture, Result, Samples};
use latents::{LatentRows, RowSource};
pub use layout::Layout;
pub use lossless::Lossless;
use lossless::{LosslessTiles, alpha_memory, lossless_memory};
pub use refine::Tune;
use refine::{Choices, MAX_EFFORT, RowRefiner, refine_memory, trellis};
use reuse::Reuse;
pub use target::Target;

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
/// The same picture and settings give the same bytes on every machine, unless another [`Encoder::device`] is chosen.
#[derive(Clone)]
pub struct Encoder {
    quality: Quality,
    lossless: Lossless,
    effort: u8,
    tune: Tune,
    tile_log2: u8,
    model: Option<Arc<Model>>,
    max_memory: u64,
    preview: bool,
    keep_invisible: bool,
    /// Skip threshold of all tiles (R3.6); if none, each tile gets what suits it.
    skip_below: Option<u8>,
    /// Above so many bytes, lossless tiles are of no use, and given up.
    most: u64,
    /// Set while one picture is encoded several times.
    reuse: Option<Reuse>,
    metadata: Metadata,
    transforms: Transforms,
    progress: Progress,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            quality: Quality::default(),
            lossless: Lossless::default(),
            effort: 0,
            tune: Tune::default(),
            tile_log2: 10,
            model: None,
            max_memory: u64::MAX,
            preview: false,
            keep_invisible: false,
            skip_below: None,
            most: u64::MAX,
            reuse: None,
            metadata: Metadata::default(),
            transforms: Transforms::default(),
            progress: None,
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("quality", &self.quality)
            .field("lossless", &self.lossless)
            .field("effort", &self.effort)
            .field("tune", &self.tune)
            .field("tile_size", &(1u32 << self.tile_log2))
            .field("model", &self.model)
            .field("device", &self.transforms.device)
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

    /// Sets when samples are stored as they are. Default: [`Lossless::Auto`].
    ///
    /// ```
    /// use aei::{Decoder, Encoder, Lossless, Picture};
    ///
    /// let picture = Picture::gray(8, 8, (0..64).collect())?;
    /// let file = Encoder::new().lossless(Lossless::Always).encode(&picture)?;
    /// assert_eq!(Decoder::new(&file[..])?.decode()?.samples(), picture.samples());
    /// # Ok::<(), aei::Error>(())
    /// ```
    pub fn lossless(mut self, lossless: Lossless) -> Self {
        self.lossless = lossless;
        self
    }

    /// Sets how much work goes into a small file: 0, the default, takes what the analysis gives; from 1 to 5, it is refined once, twice, 4, 8 or 24 times. Decoding
    /// is the same for all.
    ///
    /// ```
    /// use aei::{Encoder, Picture};
    ///
    /// let picture = Picture::rgb(64, 64, (0..12288u32).map(|i| (i / 192 + i % 192 / 3) as u8).collect())?;
    /// let file = Encoder::new().effort(3)?.encode(&picture)?;
    /// # assert_eq!(&file[1..4], b"AEI");
    /// # Ok::<(), aei::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Parameter`] above 5.
    pub fn effort(mut self, effort: u8) -> Result<Self> {
        if effort > MAX_EFFORT {
            return Err(Error::Parameter(format!("effort {effort} does not exist: 0 to {MAX_EFFORT}")));
        }
        self.effort = effort;
        Ok(self)
    }

    /// Sets what latents are refined for, where [`Encoder::effort`] is above 0; without, it changes nothing. Default: [`Tune::Psnr`].
    ///
    /// ```
    /// use aei::{Encoder, Picture, Tune};
    ///
    /// let picture = Picture::rgb(64, 64, (0..12288u32).map(|i| (i / 192 + i % 192 / 3) as u8).collect())?;
    /// let file = Encoder::new().effort(2)?.tune(Tune::Visual).encode(&picture)?;
    /// # assert_eq!(&file[1..4], b"AEI");
    /// # Ok::<(), aei::Error>(())
    /// ```
    pub fn tune(mut self, tune: Tune) -> Self {
        self.tune = tune;
        self
    }

    /// Uses another model than the embedded one; the decoder will need it too.
    pub fn model(mut self, model: Arc<Model>) -> Self {
        self.model = Some(model);
        self
    }

    /// Sets what computes the analysis. With anything but [`Device::Native`] files differ a little from machine to machine; each decodes to the same bits
    /// everywhere all the same.
    pub fn device(mut self, device: Device) -> Self {
        self.transforms.device = device;
        self
    }

    /// Calls `f` with a line for the user if [`Device::Auto`] finds a device that should work but does not, and goes on with the next one. Once per process.
    pub fn on_warning(mut self, f: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.transforms.warn = Some(Arc::new(f));
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

    /// Whether transparent pixels keep their colours, as well as the quality keeps any. Otherwise colours of wholly transparent ones become what costs less, and those
    /// of others whose alpha is less than a quarter may change by what is less than one level of 255 over any background; nobody sees it, unless a program uses
    /// colours without alpha. Files without loss keep them in any case. Default: no.
    ///
    /// ```
    /// use aei::{Encoder, Lossless, Picture};
    ///
    /// // A white disc, cut out of noise.
    /// let inside = |x: i32, y: i32| (x - 64) * (x - 64) + (y - 64) * (y - 64) < 1600;
    /// let pixel = |i: i32| if inside(i % 128, i / 128) { [255; 4] } else { [(i * i % 251) as u8, 0, 0, 0] };
    /// let picture = Picture::rgba(128, 128, (0..128 * 128).flat_map(pixel).collect())?;
    /// let encoder = Encoder::new().lossless(Lossless::Never);
    /// let (smaller, larger) = (encoder.encode(&picture)?, encoder.clone().keep_invisible(true).encode(&picture)?);
    /// assert!(smaller.len() * 3 < larger.len());
    /// # Ok::<(), aei::Error>(())
    /// ```
    pub fn keep_invisible(mut self, keep: bool) -> Self {
        self.keep_invisible = keep;
        self
    }

    /// Metadata for [`Encoder::encode_rows`] and `AeiEncoder`. A [`Picture`] has its own.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    #[cfg(feature = "image-hook")]
    pub(crate) fn stated_metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Refuses pictures whose encoding takes more bytes of memory than this by an estimate, besides the picture itself. Default: no bound.
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = bytes;
        self
    }

    /// Calls `f` with the number of pixel rows done and their total, now and then, from any thread. [`ControlFlow::Break`] ends the work soon, with
    /// [`Error::Cancelled`].
    pub fn on_progress(mut self, f: impl Fn(u64, u64) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(f));
        self
    }

    /// With the same model, and without what is about one picture alone.
    pub(super) fn plain(&self) -> Self {
        Self { model: self.model.clone(), ..Self::default() }
    }

    /// Encodes a picture.
    ///
    /// # Errors
    /// [`Error::Limits`] if memory runs out, [`Error::Unsupported`] if the model cannot encode, [`Error::Parameter`] if `AEI_KERNEL` names no kernel,
    /// [`Error::Device`] if the device cannot be used.
    pub fn encode(&self, picture: &Picture) -> Result<Vec<u8>> {
        let (layout, metadata) = (picture.into(), picture.metadata());
        match picture.data() {
            Samples::U8(samples) => self.encode_samples(layout, metadata, copied(samples)),
            Samples::U16(samples) => self.encode_samples(layout, metadata, copied(samples)),
        }
    }

    /// Encodes a picture that is not in memory as a whole. `source` is called with memory for some whole rows, from the top, and fills it in the order of
    /// [`Picture::new`]; rows that it has given are not asked for again. Memory depends on the picture's width and the tile size, and on the size of the coded
    /// file. The file is the one that [`Encoder::encode`] makes of the same samples.
    ///
    /// ```
    /// use aei::{Channels, Encoder, Layout};
    ///
    /// let mut next = 0u8;
    /// let file = Encoder::new().encode_rows(Layout::new(8, 200, Channels::Gray)?, |rows| {
    ///     for row in rows.chunks_exact_mut(8) {
    ///         row.fill(next);
    ///         next = next.wrapping_add(1);
    ///     }
    ///     Ok(())
    /// })?;
    /// # assert_eq!(&file[1..4], b"AEI");
    /// # Ok::<(), aei::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Encoder::encode`], and what `source` returns, which ends the work.
    pub fn encode_rows(&self, layout: Layout, source: impl FnMut(&mut [u8]) -> Result<()>) -> Result<Vec<u8>> {
        self.encode_samples(layout, &self.metadata, source)
    }

    /// As [`Encoder::encode_rows`], with samples of 16 bits.
    ///
    /// # Errors
    /// As [`Encoder::encode_rows`].
    pub fn encode_rows16(&self, layout: Layout, source: impl FnMut(&mut [u16]) -> Result<()>) -> Result<Vec<u8>> {
        self.encode_samples(layout, &self.metadata, source)
    }

    fn encode_samples<S: Sample>(&self, layout: Layout, metadata: &Metadata, mut source: impl RowSource<S>) -> Result<Vec<u8>> {
        let head = Head {
            lossless: false,
            width: layout.width(),
            height: layout.height(),
            channels: layout.channels(),
            source_depth: layout.source_depth(),
            orientation: layout.orientation(),
            tile_log2: self.tile_log2,
            quality: self.quality,
            trellis: trellis(self.effort),
            model_id: ModelId([0; 8]),
        };
        if self.lossless == Lossless::Always {
            return self.encode_lossless(&head, &layout, metadata, source);
        }
        let model = self.model.clone().map_or_else(Model::embedded, Ok)?;
        let head = Head { model_id: model.id(), ..head };
        let (grid, quality) = (head.grid(), self.quality.get());
        Limits { max_memory: self.max_memory, ..Limits::none() }.check_memory("encoding", self.memory(&grid, &layout, &model)?)?;
        let engine = Engine::new(true)?;
        let known_alpha = self.reuse.as_ref().and_then(Reuse::alpha);
        let mut alpha = if known_alpha.is_none() { AlphaEncoder::new(&layout, &grid)? } else { None };
        let mut preview = if self.preview { Some(Shrink::new(&layout, SIDE)?) } else { None };
        let mut lossless = RefCell::new((self.lossless == Lossless::Auto).then(|| LosslessTiles::new(&layout, &grid)));
        // Each row is seen once: everything that is made of it is made then.
        let rows = |rows: &mut [S]| {
            source(rows)?;
            preview.iter_mut().for_each(|preview| preview.push(rows));
            alpha.iter_mut().try_for_each(|alpha| alpha.push(rows, |done| report(&self.progress, done, head.height)))?;
            lossless.borrow_mut().iter_mut().try_for_each(|lossless| lossless.push(rows))
        };
        let stages: Box<dyn Stages> = match &self.reuse {
            Some(reuse) => Box::new(reuse.analysis(model.analysis()?, quality)),
            None => self.transforms.analysis(&model, quality, grid.height / LATENT, grid.latent_width())?,
        };
        let mut latents = LatentRows::new(rows, layout, &model, stages, &grid, quality)?;
        let mut refiner = RowRefiner::new(&model, self.quality, self.effort, self.tune, self.skip_below)?;
        if !self.keep_invisible {
            latents = latents.fill_invisible();
        }
        if refiner.is_some() {
            latents = latents.keep_cells();
        }
        let mut tiles = Vec::new();
        for row in 0..grid.rows() {
            let mut y = latents.take(&engine, grid.row_height(row), &self.progress)?;
            let choices = match &mut refiner {
                Some(refiner) => refiner.refine(&engine, &mut latents, &grid, row, &mut y, &self.progress)?,
                None => Vec::new(),
            };
            let done = latents.rows_done();
            let stop = || report(&self.progress, done, head.height);
            let coded = self.encode_row(&y, &choices, &model, &head, row, stop)?;
            lossless.borrow_mut().iter_mut().try_for_each(|lossless| lossless.beside(&coded, stop))?;
            tiles.extend(coded);
        }
        drop(latents);
        let lossless = lossless.get_mut().take().and_then(LosslessTiles::finish);
        let preview = preview.map(|preview| self.preview_file(preview.finish()?)).transpose()?.flatten();
        report(&self.progress, head.height, head.height)?;
        let alpha = known_alpha.or_else(|| alpha.map(AlphaEncoder::finish));
        if let Some(reuse) = &self.reuse {
            reuse.keep_alpha(alpha.as_ref());
        }
        let attachments = Attachments { metadata: Some(metadata), preview, alpha };
        let file = container::assemble(&head, &attachments, &tiles)?;
        match lossless {
            Some(tiles) => self.better(file, container::assemble(&head.without_loss(), &attachments, &tiles)?, &layout),
            None => Ok(file),
        }
    }

    /// About how many bytes [`Encoder::encode_rows`] needs at its peak, without the coded file and what its source keeps.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the model cannot encode.
    pub fn memory_for_rows(&self, layout: Layout) -> Result<u64> {
        let grid = Grid::new(layout.width(), layout.height(), 1 << self.tile_log2);
        if self.lossless == Lossless::Always {
            return Ok(self.memory_without_loss(&grid, &layout));
        }
        let model = self.model.clone().map_or_else(Model::embedded, Ok)?;
        self.memory(&grid, &layout, &model)
    }

    /// Codes a row of tiles from its latents `[rows][columns of the picture][m]`. `choices` is what each tile was refined for, or nothing. `stop` is asked before each tile whether to go on.
    fn encode_row(
        &self,
        y: &[i32],
        choices: &[Choices],
        model: &Model,
        head: &Head,
        row: usize,
        stop: impl Fn() -> Result<()> + Sync,
    ) -> Result<Vec<CodedTile>> {
        let (grid, coding) = (head.grid(), head.coding());
        let (m, rows, analysis) = (model.header().m, grid.row_height(row), model.analysis()?);
        let places: Vec<_> = grid.row(row).collect();
        let by_tile = by_tile(places.len());
        let code = |(k, place): (usize, &TilePlace)| {
            stop()?;
            let columns = place.columns.clone();
            let tile = tile_latents(y, grid.latent_width() * m, columns.start * m..columns.end * m)?;
            let (engine, shape) = (Engine::new(!by_tile)?, TileShape { rows, columns: columns.len() });
            match choices.get(k) {
                Some(Choices { z, skip_below }) => encode_tile_under(&tile, z, model, &engine, coding, shape, Some(*skip_below)),
                None => encode_tile(&tile, model, analysis, &engine, coding, shape, self.skip_below),
            }
        };
        if by_tile { places.par_iter().enumerate().map(code).collect::<Vec<_>>().into_iter().collect() } else { places.iter().enumerate().map(code).collect() }
    }

    fn memory(&self, grid: &Grid, layout: &Layout, model: &Model) -> Result<u64> {
        let kept = if self.reuse.is_some() { (grid.height / 8 * (grid.width / 8) * model.header().c8 * 2) as u64 } else { 0 };
        let (waiting, packing) = if self.lossless == Lossless::Auto { lossless_memory(grid, layout) } else { (0, 0) };
        let refining = refine_memory(grid, model, self.effort, self.tune);
        Ok(waiting
            + estimate(grid, layout, model, trellis(self.effort), packing)?
            + kept
            + refining
            + self.transforms.memory(model, grid.height / LATENT, grid.latent_width()))
    }
}

/// Some columns of rows of latents of `row_len` numbers.
fn tile_latents(y: &[i32], row_len: usize, columns: Range<usize>) -> Result<Vec<i32>> {
    let mut tile = Vec::new();
    tile.try_reserve_exact(y.len() / row_len * columns.len()).map_err(|_| Error::Limits("there is no memory for the latents of a tile".into()))?;
    y.chunks_exact(row_len).for_each(|row| tile.extend_from_slice(&row[columns.clone()]));
    Ok(tile)
}

/// Samples in memory as a source of rows.
fn copied<S: Sample>(samples: &[S]) -> impl RowSource<S> {
    let mut rest = samples;
    move |rows: &mut [S]| {
        let (now, later) = rest.split_at(rows.len());
        rows.copy_from_slice(now);
        rest = later;
        Ok(())
    }
}

/// About how many bytes encoding takes at its peak, with the model. `packing` is what lossless tiles take, which are made when those of latents are done.
fn estimate(grid: &Grid, layout: &Layout, model: &Model, code: TrellisCode, packing: u64) -> Result<u64> {
    let h = model.header();
    let (columns, rows) = (grid.latent_width() as u64, grid.row_height(0) as u64);
    // 32-bit latents of a row of tiles, and of those that the last band gave beyond it.
    let latents = memory::features(columns * (rows + BAND as u64), 2 * h.m);
    let tile = (grid.tile() / LATENT) as u64;
    let at_once = if by_tile(grid.per_row()) { rayon::current_num_threads().min(grid.per_row()) } else { 1 };
    // A tile's latents, its symbols of 8 bytes, those of a step once more, its context, and what the entropy network holds.
    let tiles = (memory::features(tile.min(columns) * rows, 2 * h.m + 4 * h.m + h.m + 2 * h.m + 6 * h.ce) + search_bytes(code)) * at_once as u64;
    // Of 16 bits, for what is known here.
    let samples = (8 * BAND.min(grid.height / 8) * layout.row_len() * 2) as u64;
    // A band with what stands in place of what is invisible, and the averages that it is made of.
    let filled = if layout.channels().has_alpha() { samples + u64::from(layout.width()) * (BAND * 8) as u64 * 3 } else { 0 };
    let (alpha, packing_alpha) = alpha_memory(grid, layout);
    let analysis = memory::transform(h, model.encoder()?.analysis, columns);
    // Rows are read, filled and packed while no tile is at work.
    Ok(alpha + model.network_bytes(true) + samples + latents + tiles.max(packing).max(packing_alpha.max(filled)) + analysis)
}
