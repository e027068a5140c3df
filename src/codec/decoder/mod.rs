//! A file to a picture.

mod conceal;
mod lossless;
mod output;
mod pass;
mod region;
mod rows;
mod salvage;
mod stored;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::transforms::Transforms;
use super::{Device, Limits, Progress};
use crate::container::{Container, SIGNATURE, Source};
use crate::entropy::{StreamDecoder, TileShape, decode_hyper};
use crate::net::{Engine, Model};
use crate::picture::samples::Sample;
use crate::picture::try_filled;
use crate::{Error, FormatError, Info, Metadata, Picture, Result, SampleDepth, Samples};
use pass::Area;
use salvage::Salvage;
pub use salvage::{Damage, LostAlpha, LostMetadata, LostTile};

/// Options of a [`Decoder`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DecoderOptions {
    /// Files beyond these are refused.
    pub limits: Limits,
    /// The model to decode with; the embedded one if there is none. A file that was made with another model is refused.
    pub model: Option<Arc<Model>>,
    /// What computes the synthesis. Default: [`Device::Native`], which alone gives exactly the pixels that the specification prescribes.
    pub device: Device,
    /// Whether to decode what is left of a damaged file. Tiles that are damaged or missing are then no error but filled from what is around them (with gray in a lossless picture), and
    /// [`Decoder::damage`] tells which; so are a damaged tile index, damaged metadata and a missing end. Without `HEAD` nothing can be done. The file is
    /// always read into memory as a whole.
    pub salvage: bool,
    /// Bits of the samples of the pictures that [`Decoder::decode`] and [`Decoder::decode_region`] give, whatever the source had. With 16, nothing of the
    /// decoder's precision is lost.
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
/// There are two doors: [`Decoder::new`] reads a stream to its end and checks every chunk at once; [`Decoder::open`] and [`Decoder::from_seekable`] read no
/// more than what stands in front of the tiles, and each tile when it is needed, so that a part of a large file costs little. Nothing is decoded and no model is
/// needed until [`Decoder::decode`] or one of the other ways out: a part ([`Decoder::decode_region`]), or rows as they are finished ([`Decoder::decode_rows`]).
///
/// Several threads may decode from one decoder at the same time.
pub struct Decoder {
    pub(super) container: Container,
    info: Info,
    pub(super) limits: Limits,
    pub(super) model: Option<Arc<Model>>,
    depth: SampleDepth,
    transforms: Transforms,
    progress: Progress,
    /// Where damage is noted instead of ending the work.
    salvage: Option<Salvage>,
}

/// Where the samples of a decode go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To a picture of our own, of this depth.
    Picture(SampleDepth),
    /// To the caller, of this depth.
    Rows(SampleDepth),
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("info", &self.info).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Where the bytes of a file go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breakdown {
    /// Colours of a lossless picture.
    pub samples: u64,
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
        // What is not ours is not read to its end, unless it may be ours and damaged.
        reader.by_ref().take(SIGNATURE.len() as u64).read_to_end(&mut bytes)?;
        if bytes == SIGNATURE || options.salvage {
            reader.take(limits.max_file_bytes.saturating_sub(bytes.len() as u64).saturating_add(1)).read_to_end(&mut bytes)?;
        } else {
            // Enough to tell what it is instead.
            reader.take(8).read_to_end(&mut bytes)?;
        }
        Self::from_vec(bytes, options)
    }

    /// Takes a file that is in memory, without another copy of it.
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub fn from_vec(bytes: Vec<u8>, options: DecoderOptions) -> Result<Self> {
        options.limits.check_file(bytes.len() as u64)?;
        let bytes = Arc::new(bytes);
        if !options.salvage {
            return Ok(Self::from_container(Container::parse(bytes)?, options, None));
        }
        let (container, trouble) = Container::salvage(bytes)?;
        Ok(Self::from_container(container, options, Some(Salvage { trouble, ..Salvage::default() })))
    }

    /// Opens a file with default options; see [`Decoder::from_seekable`].
    ///
    /// # Errors
    /// As [`Decoder::from_seekable`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        // Chunks begin with a few bytes that tell their size.
        Self::from_seekable(BufReader::new(File::open(path)?), DecoderOptions::default())
    }

    /// Reads what stands in front of the tiles. Tiles are read and checked when they are decoded, and what follows them when the whole picture has been decoded.
    /// Files that [`Decoder::new`] refuses are refused here too, but perhaps later.
    ///
    /// ```no_run
    /// let decoder = aei::Decoder::from_seekable(std::fs::File::open("large.aei")?, aei::DecoderOptions::default())?;
    /// let part = decoder.decode_region(10_000, 8_000, 640, 480)?;
    /// # Ok::<(), aei::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub fn from_seekable(mut reader: impl Read + Seek + Send + 'static, options: DecoderOptions) -> Result<Self> {
        if options.salvage {
            reader.rewind()?;
            return Self::with_options(reader, options);
        }
        let source = Source::seekable(Box::new(reader), options.limits.max_chunk_bytes)?;
        options.limits.check_file(source.len())?;
        Ok(Self::from_container(Container::open(source)?, options, None))
    }

    fn from_container(container: Container, options: DecoderOptions, salvage: Option<Salvage>) -> Self {
        let info = Info::new(&container.head, &container.extras, container.file_bytes());
        let transforms = Transforms { device: options.device, warn: None };
        Self { container, info, limits: options.limits, model: options.model, depth: options.depth, transforms, progress: None, salvage }
    }

    /// Calls `f` with a line for the user if [`Device::Auto`] finds a device that should work but does not, and goes on with the next one. Once per process.
    pub fn on_warning(mut self, f: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.transforms.warn = Some(Arc::new(f));
        self
    }

    /// As [`DecoderOptions::depth`].
    pub fn depth(mut self, depth: SampleDepth) -> Self {
        self.depth = depth;
        self
    }

    /// As [`DecoderOptions::limits`], from now on: what has been read has passed the limits that there were.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Calls `f` with the number of pixel rows done and their total, now and then, from any thread. [`ControlFlow::Break`] ends the work soon, with
    /// [`Error::Cancelled`].
    pub fn on_progress(mut self, f: impl Fn(u64, u64) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
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
        let Some(salvage) = &self.salvage else { return self.container.metadata(self.limits.max_metadata_bytes, None) };
        let mut lost = BTreeMap::new();
        let mut note = |what, error: &FormatError| {
            lost.insert(what, format!("{} ({})", error.message(), error.rule()));
        };
        let metadata = self.container.metadata(self.limits.max_metadata_bytes, Some(&mut note))?;
        salvage.metadata.lock().unwrap_or_else(PoisonError::into_inner).extend(lost);
        Ok(metadata)
    }

    /// Decodes the picture, as stored: [`Picture::upright`] turns it for display.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the file was made with another model; [`Error::Format`] if a tile is damaged; [`Error::Limits`] if the picture is beyond
    /// the limits or memory runs out; [`Error::Device`] if the device of the options cannot be used.
    pub fn decode(&self) -> Result<Picture> {
        self.decode_picture(self.whole(), self.depth)
    }

    /// As [`Decoder::decode`], with samples of another depth than that of the options.
    #[cfg(feature = "capi")]
    pub(crate) fn decode_at(&self, depth: SampleDepth) -> Result<Picture> {
        self.decode_picture(self.whole(), depth)
    }

    /// Decodes to memory of the caller, [`Info::sample_bytes`] samples of 8 bits in the order of [`Picture::new`].
    ///
    /// # Errors
    /// As [`Decoder::decode`], and [`Error::Parameter`] if `samples` has another length.
    pub fn decode_into(&self, samples: &mut [u8]) -> Result<()> {
        if samples.len() as u64 != self.info.sample_bytes() {
            return Err(Error::Parameter(format!("the samples need {} bytes, not {}", self.info.sample_bytes(), samples.len())));
        }
        let area = self.whole();
        let model = self.model_for_file(Purpose::Rows(SampleDepth::Eight), area)?;
        self.decode_area(model.as_deref(), area, samples)
    }

    /// Where the bytes go. Decodes the hyper-latents alone, which takes little time.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn breakdown(&self) -> Result<Breakdown> {
        self.limits.check_head(&self.container.head)?;
        let streams = self.container.stream_bytes();
        let [metadata, alpha, preview] = self.container.extras.sizes();
        // A tile index that lies is noticed when the tiles are read.
        let overhead = self.info.file_bytes.saturating_sub(streams.saturating_add(metadata + alpha + preview));
        let rest = Breakdown { samples: 0, z: 0, y: 0, alpha, metadata, preview, overhead };
        let Some(model) = self.matching_model()? else {
            return Ok(Breakdown { samples: streams, ..rest });
        };
        let (grid, quality) = (self.container.head.grid(), self.info.quality.get());
        let (engine, mut y_bits) = (Engine::new(true)?, 0);
        for row in 0..grid.rows() {
            for place in grid.row(row) {
                let tile = self.container.tile(place.number)?;
                let mut stream = StreamDecoder::new(tile.code(), model.tables())?;
                decode_hyper(&mut stream, &model, &engine, quality, TileShape { rows: grid.row_height(row), columns: place.columns.len() })?;
                y_bits += stream.bits_left() as u64;
            }
        }
        let y = y_bits.div_ceil(8).min(streams);
        Ok(Breakdown { z: streams - y, y, ..rest })
    }

    /// `None` for a lossless picture, which needs none.
    fn matching_model(&self) -> Result<Option<Arc<Model>>> {
        if self.info.lossless {
            return Ok(None);
        }
        let model = self.model.clone().map_or_else(Model::embedded, Ok)?;
        if model.id() != self.info.model_id {
            return Err(Error::Unsupported(format!(
                "the file was made with model {}, this is model {} ({}): give the right model file (R2.6)",
                self.info.model_id,
                model.id(),
                model.name()
            )));
        }
        Ok(Some(model))
    }

    /// The model for decoding an area, which is within the limits; `None` if none is needed.
    fn model_for_file(&self, purpose: Purpose, area: Area) -> Result<Option<Arc<Model>>> {
        // What the header alone tells is refused before a model is looked at.
        self.limits.check_head(&self.container.head)?;
        let model = self.matching_model()?;
        self.limits.check_memory("decoding", self.memory(model.as_deref(), purpose, area))?;
        Ok(model)
    }

    /// About how many bytes [`Decoder::decode`] needs at its peak, the file if it is in memory, the unpacked model and the picture included.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn memory_for_picture(&self) -> Result<u64> {
        Ok(self.memory(self.matching_model()?.as_deref(), Purpose::Picture(self.depth), self.whole()))
    }

    /// About how many bytes [`Decoder::decode_rows`] needs at its peak, likewise, without what its sink keeps.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn memory_for_rows(&self) -> Result<u64> {
        Ok(self.memory(self.matching_model()?.as_deref(), Purpose::Rows(self.depth), self.whole()))
    }

    fn memory(&self, model: Option<&Model>, purpose: Purpose, area: Area) -> u64 {
        let (samples, depth) = match purpose {
            Purpose::Picture(depth) => ((area.width * area.height * self.info.channels.count() * depth.bytes()) as u64, depth),
            Purpose::Rows(depth) => (0, depth),
        };
        let (alpha, decoding) = stored::memory_of_alpha(self, area, depth);
        let work = match model {
            Some(model) => pass::Pass::new(self, model, area).memory() + decoding,
            None => {
                // One after the other.
                let (colours, tiles) = lossless::memory(self, area, if matches!(purpose, Purpose::Picture(_)) { SampleDepth::Sixteen } else { depth });
                colours + tiles.max(decoding)
            }
        };
        samples + self.container.bytes_in_memory() + alpha + work
    }

    fn whole(&self) -> Area {
        Area { x: 0, y: 0, width: self.info.width as usize, height: self.info.height as usize }
    }

    /// What follows the tiles is looked at when the whole picture has been decoded.
    fn check_end(&self, area: Area) -> Result<()> {
        if area == self.whole() { self.container.check_end() } else { Ok(()) }
    }

    /// An area as a picture of its own, with the metadata of the whole.
    fn decode_picture(&self, area: Area, depth: SampleDepth) -> Result<Picture> {
        let model = self.model_for_file(Purpose::Picture(depth), area)?;
        let metadata = self.metadata()?;
        let samples: Samples = match depth {
            SampleDepth::Eight => self.decode_samples::<u8>(model.as_deref(), area)?.into(),
            SampleDepth::Sixteen => self.decode_samples::<u16>(model.as_deref(), area)?.into(),
        };
        let picture = Picture::from_samples(area.width as u32, area.height as u32, self.info.channels, samples)?;
        Ok(picture.with_source_depth(self.info.source_depth)?.with_orientation(self.info.orientation).with_metadata(metadata))
    }

    fn decode_samples<S: Sample>(&self, model: Option<&Model>, area: Area) -> Result<Vec<S>> {
        let len = (area.width as u64 * area.height as u64).saturating_mul(self.info.channels.count() as u64);
        let len = usize::try_from(len).map_err(|_| Error::Limits("the picture does not fit this machine's memory".into()))?;
        let mut samples = try_filled(len, S::default())?;
        self.decode_area(model, area, &mut samples)?;
        Ok(samples)
    }
}
