//! A file to a picture.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use ndarray::s;
use rayon::prelude::*;

use super::alpha::BandReader;
use super::{BAND, Limits, Progress};
use crate::container::{Container, SIGNATURE};
use crate::entropy::{StreamDecoder, TileShape, decode_hyper, decode_tile};
use crate::net::{Engine, Model, OUTPUTS, Tensor};
use crate::picture::samples::Sample;
use crate::picture::tiles::{Grid, TilePlace};
use crate::picture::try_filled;
use crate::{Channels, Error, Info, Metadata, Picture, Result, SampleDepth, Samples};

/// Options of a [`Decoder`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DecoderOptions {
    /// Files beyond these are refused.
    pub limits: Limits,
    /// The model to decode with; the embedded one if there is none. A file that was made with another model is refused.
    pub model: Option<Arc<Model>>,
    /// Bits of the samples that [`Decoder::decode`] gives.
    pub depth: SampleDepth,
}

/// Decodes a file.
///
/// ```no_run
/// let decoder = aei::Decoder::new(std::fs::File::open("photo.aei")?)?;
/// println!("{} x {} pixels", decoder.info().width, decoder.info().height);
/// let picture = decoder.decode()?.upright()?;
/// # Ok::<(), aei::Error>(())
/// ```
///
/// Creating one reads the file, finds its chunks and checks their sums. Nothing is decoded and no model is needed until [`Decoder::decode`].
pub struct Decoder {
    pub(super) container: Container,
    info: Info,
    pub(super) limits: Limits,
    pub(super) model: Option<Arc<Model>>,
    depth: SampleDepth,
    progress: Progress,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("info", &self.info).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Where the bytes of a file go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breakdown {
    /// Hyper-latents.
    pub z: u64,
    /// Latents.
    pub y: u64,
    /// Alpha.
    pub alpha: u64,
    /// Colour profile, EXIF, XMP.
    pub metadata: u64,
    /// The preview.
    pub preview: u64,
    /// Everything else: chunk headers, sums, the tile index.
    pub overhead: u64,
}

impl Decoder {
    /// Reads a file with default limits.
    ///
    /// # Errors
    /// [`Error::Io`] if reading fails; [`Error::Format`] if the file is not an aei file, or damaged; [`Error::Unsupported`] if it is of a newer kind;
    /// [`Error::Limits`] if it is too large.
    pub fn new(reader: impl Read) -> Result<Self> {
        Self::with_options(reader, DecoderOptions::default())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub fn with_options(mut reader: impl Read, options: DecoderOptions) -> Result<Self> {
        let limits = options.limits;
        let mut bytes = Vec::new();
        // What is not ours is not read to its end.
        reader.by_ref().take(SIGNATURE.len() as u64).read_to_end(&mut bytes)?;
        if bytes == SIGNATURE {
            reader.take(limits.max_file_bytes.saturating_sub(bytes.len() as u64).saturating_add(1)).read_to_end(&mut bytes)?;
        } else {
            // Enough to tell what it is instead.
            reader.take(8).read_to_end(&mut bytes)?;
        }
        if bytes.len() as u64 > limits.max_file_bytes {
            return Err(Error::Limits(format!("the file has more than the {} bytes allowed", limits.max_file_bytes)));
        }
        let container = Container::parse(bytes)?;
        let info = Info::new(&container.head, &container.extras, container.file_bytes());
        Ok(Self { container, info, limits, model: options.model, depth: options.depth, progress: None })
    }

    /// Chooses the bits of the samples that [`Decoder::decode`] gives, whatever the source had. With 16, nothing of the decoder's precision is lost.
    pub fn depth(mut self, depth: SampleDepth) -> Self {
        self.depth = depth;
        self
    }

    /// Calls `f` with the number of pixel rows done and their total, now and then, from any thread.
    pub fn on_progress(mut self, f: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(f));
        self
    }

    /// What the file says about itself.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Colour profile, EXIF and XMP. Decodes no pixels.
    ///
    /// # Errors
    /// [`Error::Format`] if they are damaged; [`Error::Limits`] if they are larger than allowed.
    pub fn metadata(&self) -> Result<Metadata> {
        self.container.metadata(self.limits.max_metadata_bytes)
    }

    /// Decodes the picture, as stored: [`Picture::upright`] turns it for display.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the file was made with another model; [`Error::Format`] if a tile is damaged; [`Error::Limits`] if the picture is beyond
    /// the limits or memory runs out.
    pub fn decode(&self) -> Result<Picture> {
        let model = self.model_for_file()?;
        self.check_limits(&model, self.info.sample_bytes() * self.depth.bytes() as u64)?;
        let len = usize::try_from(self.info.sample_bytes()).map_err(|_| Error::Limits("the picture does not fit this machine's memory".into()))?;
        let metadata = self.metadata()?;
        let samples = match self.depth {
            SampleDepth::Eight => Samples::U8(self.decode_samples(&model, len)?),
            SampleDepth::Sixteen => Samples::U16(self.decode_samples(&model, len)?),
        };
        let Info { width, height, channels, source_depth, orientation, .. } = self.info;
        let picture = Picture::from_samples(width, height, channels, samples)?.with_source_depth(source_depth)?;
        Ok(picture.with_orientation(orientation).with_metadata(metadata))
    }

    fn decode_samples<S: Sample>(&self, model: &Model, len: usize) -> Result<Vec<S>> {
        let mut samples = try_filled(len, S::default())?;
        self.decode_with(model, &mut samples)?;
        Ok(samples)
    }

    /// Decodes to memory of the caller, [`Info::sample_bytes`] samples of 8 bits in the order of [`Picture::new`].
    ///
    /// # Errors
    /// As [`Decoder::decode`], and [`Error::Parameter`] if `samples` has another length.
    pub fn decode_into(&self, samples: &mut [u8]) -> Result<()> {
        if samples.len() as u64 != self.info.sample_bytes() {
            return Err(Error::Parameter(format!("the samples need {} bytes, not {}", self.info.sample_bytes(), samples.len())));
        }
        let model = self.model_for_file()?;
        self.check_limits(&model, 0)?;
        self.decode_with(&model, samples)
    }

    /// Where the bytes go. Decodes the hyper-latents alone, which takes little time.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn breakdown(&self) -> Result<Breakdown> {
        let model = self.model_for_file()?;
        let (grid, quality) = (self.container.head.grid(), self.info.quality.get());
        let mut y_bits = 0;
        for row in 0..grid.rows() {
            for place in grid.row(row) {
                let mut stream = StreamDecoder::new(self.container.tile(place.number), model.tables())?;
                decode_hyper(&mut stream, &model, quality, TileShape { rows: grid.row_height(row), columns: place.columns.len() })?;
                y_bits += stream.bits_left() as u64;
            }
        }
        let streams = self.container.stream_bytes();
        let y = y_bits.div_ceil(8).min(streams);
        let [metadata, alpha, preview] = self.container.extras.sizes();
        let overhead = self.info.file_bytes - streams - metadata - alpha - preview;
        Ok(Breakdown { z: streams - y, y, alpha, metadata, preview, overhead })
    }

    fn model_for_file(&self) -> Result<Arc<Model>> {
        let model = self.model.clone().map_or_else(Model::embedded, Ok)?;
        if model.id() != self.info.model_id {
            return Err(Error::Unsupported(format!(
                "the file was made with model {}, this is model {} ({}): give the right model file (R2.6)",
                self.info.model_id,
                model.id(),
                model.name()
            )));
        }
        Ok(model)
    }

    /// Limits against what decoding will need: samples, the latents of two rows of tiles, features of a few bands.
    fn check_limits(&self, model: &Model, samples: u64) -> Result<()> {
        let (head, h) = (&self.container.head, model.header());
        let grid = head.grid();
        let (columns, rows) = (grid.latent_width() as u64, grid.row_height(0) as u64);
        let latents = columns * rows * h.m as u64 * 2 * 2;
        let features = columns * 2 * (BAND as u64 + 4) * h.c8 as u64 * 2 * 4;
        self.limits.check(head, samples + latents + features)
    }

    fn decode_with<S: Sample>(&self, model: &Model, samples: &mut [S]) -> Result<()> {
        let (head, quality) = (&self.container.head, self.info.quality.get());
        let grid = head.grid();
        self.decode_alpha(samples)?;
        let engine = Engine::new(true)?;
        let mut stages = model.synthesis()?.stages(quality);
        let mut output = Output { samples, width: head.width as usize, channels: head.channels, fraction: model.header().pixel_fraction };
        for row in 0..grid.rows() {
            let latents = self.decode_row(model, &engine, &grid, row)?;
            let rows = latents.rows();
            for first in (0..rows).step_by(BAND / 2) {
                let band = latents.rows_from(&engine, first, (BAND / 2).min(rows - first))?;
                let last = row + 1 == grid.rows() && first + band.rows() == rows;
                let cells = stages.push(&engine, band, last)?;
                output.write(&engine, &cells);
                engine.recycle(cells);
                let row_len = output.width * output.channels.count();
                super::report(&self.progress, head.height - (output.samples.len() / row_len) as u32, head.height);
            }
            engine.recycle(latents);
        }
        Ok(())
    }

    /// Decodes the alpha plane into the pixels' last samples.
    fn decode_alpha<S: Sample>(&self, samples: &mut [S]) -> Result<()> {
        let Some(depth) = self.info.alpha_depth else { return Ok(()) };
        let (width, height, count) = (self.info.width as usize, self.info.height as usize, self.info.channels.count());
        let grid = self.container.head.grid();
        for band in 0..grid.rows() {
            let mut reader = BandReader::new(self.container.alpha(band).unwrap_or_default(), width, depth)?;
            for row in grid.pixel_rows(band, height) {
                reader.next_row()?;
                reader.store(&mut samples[row * width * count..][..width * count], count, 0);
            }
            reader.finish()?;
        }
        Ok(())
    }

    /// Decodes the latents of a row of tiles, as features for the synthesis.
    fn decode_row(&self, model: &Model, engine: &Engine, grid: &Grid, row: usize) -> Result<Tensor> {
        let (rows, quality, m) = (grid.row_height(row), self.info.quality.get(), model.header().m);
        let places: Vec<TilePlace> = grid.row(row).collect();
        // Where there are enough tiles, each is one thread's work; else all threads work on one after the other.
        let by_tile = places.len() > 1 && places.len() >= rayon::current_num_threads();
        let decode = |place: &TilePlace| {
            let engine = Engine::new(!by_tile)?;
            decode_tile(self.container.tile(place.number), model, &engine, quality, TileShape { rows, columns: place.columns.len() }).map_err(|error| {
                match error {
                    Error::Format(error) => Error::format(error.rule(), format!("tile {}: {}", place.number, error.message())),
                    other => other,
                }
            })
        };
        let mut tiles: Vec<_> = if by_tile { places.par_iter().map(decode).collect() } else { places.iter().map(decode).collect() };
        if tiles.len() == 1 {
            return tiles.remove(0);
        }
        let mut joined = engine.tensor(rows, grid.latent_width(), m)?;
        for (tile, place) in tiles.into_iter().zip(places) {
            joined.view_mut().slice_mut(s![.., place.columns, ..]).assign(&tile?.view());
        }
        Ok(joined)
    }
}

/// Where samples go as they are finished.
struct Output<'a, S> {
    /// What has not been written yet.
    samples: &'a mut [S],
    width: usize,
    channels: Channels,
    fraction: u32,
}

impl<S: Sample> Output<'_, S> {
    /// Rounds and stores rows of cells `[8 rows][8 pixels][3]` (R5.11, R5.12).
    fn write(&mut self, engine: &Engine, cells: &Tensor) {
        let row_len = self.width * self.channels.count();
        let len = (cells.rows() * 8 * row_len).min(self.samples.len());
        let (now, later) = std::mem::take(&mut self.samples).split_at_mut(len);
        self.samples = later;
        let (fraction, channels) = (self.fraction, self.channels);
        engine.pieces(now, 8 * row_len, |row, piece| {
            for (i, line) in piece.chunks_exact_mut(row_len).enumerate() {
                for (pixels, cell) in line.chunks_mut(8 * channels.count()).zip(cells.row(row).chunks_exact(OUTPUTS)) {
                    let cell = &cell[i * 24..][..24];
                    match channels {
                        Channels::Rgb => pixels.iter_mut().zip(cell).for_each(|(sample, v)| *sample = S::from_outputs((*v).into(), 1, fraction)),
                        Channels::Rgba => {
                            for (pixel, v) in pixels.chunks_exact_mut(4).zip(cell.chunks_exact(3)) {
                                pixel.iter_mut().zip(v).for_each(|(sample, v)| *sample = S::from_outputs((*v).into(), 1, fraction));
                            }
                        }
                        Channels::Gray | Channels::GrayAlpha => {
                            for (pixel, v) in pixels.chunks_exact_mut(channels.count()).zip(cell.chunks_exact(3)) {
                                pixel[0] = S::from_outputs(v.iter().map(|v| i32::from(*v)).sum(), 3, fraction);
                            }
                        }
                    }
                }
            }
        });
    }
}
