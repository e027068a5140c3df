//! `HEAD` (SPEC 2.3).

use byteorder::{ByteOrder, LittleEndian};

use super::Extras;
use crate::entropy::{Coding, TrellisCode};
use crate::picture::MAX_SIDE;
use crate::picture::tiles::Grid;
use crate::{Channels, Error, ModelId, Orientation, Quality, Result, SampleDepth};

/// Bytes of the payload.
const HEAD_LEN: usize = 24;
/// The format version that this crate reads and writes.
pub(crate) const VERSION: u8 = 1;
/// The flag of a picture whose samples are stored as they are.
const LOSSLESS: u8 = 1;

/// What the chunk `HEAD` says. A value of this type is valid by R2.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Whether tiles hold samples (R2.14) instead of latents. Then quality and model mean nothing.
    pub(crate) lossless: bool,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) channels: Channels,
    pub(crate) source_depth: u8,
    pub(crate) orientation: Orientation,
    pub(crate) tile_log2: u8,
    pub(crate) quality: Quality,
    /// Means nothing in a lossless picture either.
    pub(crate) trellis: TrellisCode,
    pub(crate) model_id: ModelId,
}

impl Head {
    /// Reads and checks the payload.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self> {
        let refuse = |what: String| Error::format("R2.6", format!("the header is not valid: {what}"));
        // Before the length: another version may have another one.
        if let Some(version) = payload.first().filter(|version| **version != VERSION) {
            return Err(Error::Unsupported(format!("format version {version} is not known here, only {VERSION}: use a newer version of aei (R2.6)")));
        }
        let payload: &[u8; HEAD_LEN] = payload.try_into().map_err(|_| refuse(format!("it has {} bytes", payload.len())))?;
        if payload[1] & !LOSSLESS != 0 {
            return Err(Error::Unsupported("the header has flags that this version of aei does not know: use a newer one (R2.6)".into()));
        }
        let unknown =
            || Error::Unsupported(format!("the header has a trellis that this version of aei does not know, {}: use a newer one (R2.6)", payload[15]));
        let trellis = *TrellisCode::ALL.get(usize::from(payload[15])).ok_or_else(unknown)?;
        let side = |at: usize, name: &str| match LittleEndian::read_u32(&payload[at..]) {
            v @ 1..=MAX_SIDE => Ok(v),
            v => Err(refuse(format!("{name} {v}"))),
        };
        let mut id = [0; 8];
        id.copy_from_slice(&payload[16..]);
        let lossless = payload[1] & LOSSLESS != 0;
        if lossless && (payload[14] != Quality::HIGHEST.get() || trellis != TrellisCode::default() || id != [0; 8]) {
            return Err(refuse("a lossless picture with a quality, a trellis or a model".into()));
        }
        Ok(Self {
            lossless,
            width: side(2, "width")?,
            height: side(6, "height")?,
            channels: Channels::from_count(payload[10]).ok_or_else(|| refuse(format!("{} channels", payload[10])))?,
            source_depth: match payload[11] {
                bits @ 1..=16 => bits,
                bits => return Err(refuse(format!("bit depth {bits}"))),
            },
            orientation: Orientation::from_exif(payload[12]).ok_or_else(|| refuse(format!("orientation {}", payload[12])))?,
            tile_log2: match payload[13] {
                t @ 8..=12 => t,
                t => return Err(refuse(format!("tile size 2^{t}"))),
            },
            quality: Quality::index(payload[14]).map_err(|_| refuse(format!("quality index {}", payload[14])))?,
            trellis,
            model_id: ModelId(id),
        })
    }

    /// The same picture, its samples stored as they are.
    pub(crate) fn without_loss(self) -> Self {
        Self { lossless: true, quality: Quality::HIGHEST, trellis: TrellisCode::default(), model_id: ModelId([0; 8]), ..self }
    }

    /// How tiles of latents are coded.
    pub(crate) fn coding(&self) -> Coding {
        Coding { quality: self.quality.get(), code: self.trellis }
    }

    /// The payload.
    pub(crate) fn to_bytes(self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[0] = VERSION;
        bytes[1] = if self.lossless { LOSSLESS } else { 0 };
        LittleEndian::write_u32(&mut bytes[2..], self.width);
        LittleEndian::write_u32(&mut bytes[6..], self.height);
        bytes[10] = self.channels.count() as u8;
        bytes[11] = self.source_depth;
        bytes[12] = self.orientation.to_exif();
        bytes[13] = self.tile_log2;
        bytes[14] = self.quality.get();
        bytes[15] = self.trellis as u8;
        bytes[16..].copy_from_slice(&self.model_id.0);
        bytes
    }

    /// How the picture is cut.
    pub(crate) fn grid(&self) -> Grid {
        Grid::new(self.width, self.height, 1 << self.tile_log2)
    }
}

/// What a file says about itself, known without decoding and without the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// Version of the format.
    pub version: u8,
    /// Width in pixels of the coded picture, before its orientation is applied.
    pub width: u32,
    /// Height in pixels, likewise.
    pub height: u32,
    /// What a pixel consists of.
    pub channels: Channels,
    /// Bits per sample that the source had.
    pub source_depth: u8,
    /// How the decoded picture is to be turned for display.
    pub orientation: Orientation,
    /// Side of a full tile, in pixels.
    pub tile_size: u32,
    /// Number of tiles.
    pub tiles: u32,
    /// Whether the samples are stored as they are. Then any model decodes the file, and the next two mean nothing.
    pub lossless: bool,
    /// Quality it was encoded with; the highest for a lossless picture.
    pub quality: Quality,
    /// Model it was encoded with; zeros for a lossless picture.
    pub model_id: ModelId,
    /// Bits of the alpha samples, where there are any: 8 or 16.
    pub alpha_depth: Option<SampleDepth>,
    /// Length of the ICC profile in bytes, if there is one.
    pub icc_bytes: Option<u32>,
    /// Length of the EXIF block, likewise.
    pub exif_bytes: Option<u32>,
    /// Length of the XMP packet, likewise.
    pub xmp_bytes: Option<u32>,
    /// Size of the preview's file, likewise.
    pub preview_bytes: Option<u32>,
    /// Size of the file in bytes.
    pub file_bytes: u64,
}

impl Info {
    pub(crate) fn new(head: &Head, extras: &Extras, file_bytes: u64) -> Self {
        let [icc_bytes, exif_bytes, xmp_bytes] = [0, 1, 2].map(|i: usize| extras.blocks[i].as_ref().map(|block| block.length));
        Self {
            version: VERSION,
            width: head.width,
            height: head.height,
            channels: head.channels,
            source_depth: head.source_depth,
            orientation: head.orientation,
            tile_size: 1 << head.tile_log2,
            tiles: head.grid().count() as u32,
            lossless: head.lossless,
            quality: head.quality,
            model_id: head.model_id,
            alpha_depth: extras.alpha_depth,
            icc_bytes,
            exif_bytes,
            xmp_bytes,
            preview_bytes: extras.preview_bytes(),
            file_bytes,
        }
    }

    /// Number of decoded samples, which is their size in bytes where they have 8 bits.
    pub fn sample_bytes(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * self.channels.count() as u64
    }
}
