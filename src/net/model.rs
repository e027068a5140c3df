//! The model file (SPEC 4).

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use super::records::{QUALITIES, Reader};
use super::{Analysis, EntropyGradient, EntropyNet, Synthesis, SynthesisGradient};
use crate::container::chunk::Chunks;
use crate::entropy::Tables;
use crate::{Error, Result};

/// `\x89AEM\r\n\x1a\n`.
const SIGNATURE: [u8; 8] = *b"\x89AEM\r\n\x1a\n";
#[cfg(not(fuzzing))]
const EMBEDDED: &[u8] = include_bytes!("../../models/aei1/model.aem");
/// Written by the export beside the model, so that starting the program need not hash megabytes; a test compares it with the file.
#[cfg(not(fuzzing))]
const EMBEDDED_SHA256: &str = include_str!("../../models/aei1/model.aem.sha256");
/// Fuzzing is about the code, which a model of some kilobytes goes through a hundred times faster.
#[cfg(fuzzing)]
const EMBEDDED: &[u8] = include_bytes!("../../format-spec/vectors/tiny.aem");
#[cfg(fuzzing)]
const EMBEDDED_SHA256: &str = include_str!("../../format-spec/vectors/tiny.aem.sha256");

/// Names a model: the first 8 bytes of the SHA-256 of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ModelId(pub [u8; 8]);

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How many blocks a transform has (SPEC 4.4).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks {
    /// At 1/8, before the gain there in the order of the records.
    pub(crate) n8_first: u8,
    /// At 1/8, behind it.
    pub(crate) n8_second: u8,
    /// At 1/16.
    pub(crate) n16: u8,
}

impl Blocks {
    /// How many there are at 1/8.
    pub(crate) fn n8(self) -> usize {
        usize::from(self.n8_first) + usize::from(self.n8_second)
    }

    /// How far, in latents, what a sample depends on is (R5.10), or what a latent does.
    pub(crate) fn margin(self) -> usize {
        usize::from(self.n16) + self.n8().div_ceil(2)
    }
}

/// Sizes and constants of the networks (SPEC 4.1).
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) c8: usize,
    pub(crate) c16: usize,
    pub(crate) m: usize,
    pub(crate) nz: usize,
    pub(crate) ce: usize,
    pub(crate) synthesis: Blocks,
    pub(crate) n_trunk: u8,
    pub(crate) n_z: u8,
    pub(crate) analysis: Blocks,
    pub(crate) scales: u8,
    pub(crate) skip_below: u8,
    pub(crate) y_fraction: u32,
    pub(crate) z_shift: u32,
    pub(crate) index_shift: u32,
    pub(crate) index_offset: i32,
    pub(crate) pixel_fraction: u32,
    pub(crate) input_shift: u32,
    pub(crate) y_input_fraction: u32,
    name: String,
}

impl Header {
    fn parse(payload: &[u8]) -> Result<Self> {
        let mut r = Reader::new(payload);
        let version = r.u16()?;
        if version != 1 {
            return Err(Error::Unsupported(format!("model file version {version} is not known here, only 1: use a newer version of aei")));
        }
        let mut channels = |step: usize| match usize::from(r.u16()?) {
            n if n >= step && n <= 1024 && n.is_multiple_of(step) => Ok(n),
            n => Err(Error::Model(format!("the model is not valid: {n} channels"))),
        };
        let (c8, c16, m, nz, ce) = (channels(16)?, channels(16)?, channels(64)?, channels(16)?, channels(16)?);
        let mut number = |range: std::ops::RangeInclusive<u8>| match r.u8()? {
            n if range.contains(&n) => Ok(n),
            n => Err(Error::Model(format!("the model is not valid: {n} is not in {range:?}"))),
        };
        let synthesis = Blocks { n8_first: number(0..=16)?, n8_second: number(0..=16)?, n16: number(0..=16)? };
        let (n_trunk, n_z) = (number(0..=16)?, number(0..=16)?);
        let analysis = Blocks { n8_first: number(0..=16)?, n8_second: number(0..=16)?, n16: number(0..=16)? };
        number(QUALITIES as u8..=QUALITIES as u8)?;
        let scales = number(1..=64)?;
        let skip_below = number(0..=scales)?;
        let y_fraction = number(0..=6)?;
        let header = Self {
            c8,
            c16,
            m,
            nz,
            ce,
            synthesis,
            n_trunk,
            n_z,
            analysis,
            scales,
            skip_below,
            y_fraction: y_fraction.into(),
            z_shift: number(0..=8)?.into(),
            index_shift: number(1..=14)?.into(),
            index_offset: number(0..=63)?.into(),
            pixel_fraction: number(1..=6)?.into(),
            input_shift: number(0..=6)?.into(),
            y_input_fraction: number(y_fraction..=12)?.into(),
            name: {
                let length = number(1..=32)?;
                let name = std::str::from_utf8(r.bytes(length.into())?);
                name.map_err(|_| Error::Model("the model is not valid: its name is not UTF-8".into()))?.to_owned()
            },
        };
        r.finish()?;
        Ok(header)
    }
}

/// The integers that decide what a file decodes to: networks, gains and tables.
///
/// Networks are unpacked when they are first used: a decoder never touches the analysis.
pub struct Model {
    bytes: Cow<'static, [u8]>,
    id: ModelId,
    header: Header,
    tables: Tables,
    z_index: Vec<u8>,
    entropy_chunk: Range<usize>,
    synthesis_chunk: Range<usize>,
    analysis_chunk: Option<Range<usize>>,
    entropy: OnceLock<EntropyNet>,
    synthesis: OnceLock<Synthesis>,
    analysis: OnceLock<Analysis>,
    entropy_gradient: OnceLock<EntropyGradient>,
    synthesis_gradient: OnceLock<SynthesisGradient>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("id", &self.id).field("header", &self.header).finish_non_exhaustive()
    }
}

impl Model {
    /// The model that is part of this crate. It is loaded once per process.
    ///
    /// # Errors
    /// None in a released crate: tests load the model.
    pub fn embedded() -> Result<Arc<Self>> {
        static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
        if let Some(model) = MODEL.get() {
            return Ok(Arc::clone(model));
        }
        let model = Arc::new(Self::parse(Cow::Borrowed(EMBEDDED), Self::embedded_id()?)?);
        Ok(Arc::clone(MODEL.get_or_init(|| model)))
    }

    /// What [`Model::id`] says of the embedded model, without loading it.
    ///
    /// # Errors
    /// None in a released crate, as above.
    pub fn embedded_id() -> Result<ModelId> {
        let mut id = [0; 8];
        for (byte, digits) in id.iter_mut().zip(EMBEDDED_SHA256.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16).map_err(|e| Error::Model(format!("the embedded model's digest: {e}")))?;
        }
        Ok(ModelId(id))
    }

    /// A model from the bytes of a model file (`.aem`). Everything in it is checked here.
    ///
    /// # Errors
    /// [`Error::Model`] if the file is not a valid model, [`Error::Unsupported`] if it is of a newer version.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Arc<Self>> {
        let digest = Sha256::digest(&bytes);
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        let model = Self::parse(Cow::Owned(bytes), ModelId(id))?;
        model.entropy()?;
        model.synthesis()?;
        if model.analysis_chunk.is_some() {
            model.analysis()?;
        }
        Ok(Arc::new(model))
    }

    fn parse(bytes: Cow<'static, [u8]>, id: ModelId) -> Result<Self> {
        let mut chunks = Chunks::new(&bytes, &SIGNATURE).map_err(|()| Error::Model("this is not an aei model file".into()))?;
        let mut next = |kind: &[u8; 4]| loop {
            let chunk = chunks.next_chunk().map_err(|e| Error::Model(format!("the model is damaged: {}", e.message)))?;
            if &chunk.kind == kind || (kind == b"enco" && &chunk.kind == b"MEND") {
                return Ok(chunk);
            }
            if chunk.is_critical() {
                return Err(Error::Model(format!("the model is not valid: chunk {} stands where {} should be", chunk.name(), kind.escape_ascii())));
            }
        };
        let header = Header::parse(next(b"MHDR")?.payload)?;
        let tables = Tables::parse(next(b"TABL")?.payload, header.scales)?;
        let z_index = next(b"ZIDX")?.payload.to_vec();
        if z_index.len() != QUALITIES * header.nz || z_index.iter().any(|i| *i >= header.scales) {
            return Err(Error::Model("the model is not valid: scale indices of z".into()));
        }
        let range = |chunk: crate::container::chunk::Chunk<'_>| chunk.start..chunk.start + chunk.payload.len();
        let entropy_chunk = range(next(b"ENTR")?);
        let synthesis_chunk = range(next(b"SYNT")?);
        let chunk = next(b"enco")?;
        let analysis_chunk = (&chunk.kind == b"enco").then(|| range(chunk));
        if analysis_chunk.is_some() {
            next(b"MEND")?;
        }
        Ok(Self {
            id,
            header,
            tables,
            z_index,
            entropy_chunk,
            synthesis_chunk,
            analysis_chunk,
            entropy: OnceLock::new(),
            synthesis: OnceLock::new(),
            analysis: OnceLock::new(),
            entropy_gradient: OnceLock::new(),
            synthesis_gradient: OnceLock::new(),
            bytes,
        })
    }

    /// The name by which files ask for this model.
    pub fn id(&self) -> ModelId {
        self.id
    }

    /// The name that its makers gave it.
    pub fn name(&self) -> &str {
        &self.header.name
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Scale index of each channel of z at a quality.
    pub(crate) fn z_index(&self, quality: u8) -> &[u8] {
        &self.z_index[usize::from(quality) * self.header.nz..][..self.header.nz]
    }

    /// Bytes of the networks that decoding, or encoding, unpacks.
    pub(crate) fn network_bytes(&self, encoding: bool) -> u64 {
        let analysis = self.analysis_chunk.clone().filter(|_| encoding).unwrap_or_default();
        let other = if encoding { 0..0 } else { self.synthesis_chunk.clone() };
        (self.entropy_chunk.len() + other.len() + analysis.len()) as u64
    }

    pub(crate) fn entropy(&self) -> Result<&EntropyNet> {
        load(&self.entropy, &self.bytes, Some(&self.entropy_chunk), |r| EntropyNet::read(r, &self.header))
    }

    pub(crate) fn synthesis(&self) -> Result<&Synthesis> {
        load(&self.synthesis, &self.bytes, Some(&self.synthesis_chunk), |r| Synthesis::read(r, &self.header))
    }

    /// The entropy network with its transposes.
    pub(crate) fn entropy_gradient(&self) -> Result<&EntropyGradient> {
        load(&self.entropy_gradient, &self.bytes, Some(&self.entropy_chunk), |r| EntropyGradient::read(r, &self.header))
    }

    /// The synthesis with its transposes.
    pub(crate) fn synthesis_gradient(&self) -> Result<&SynthesisGradient> {
        load(&self.synthesis_gradient, &self.bytes, Some(&self.synthesis_chunk), |r| SynthesisGradient::read(r, &self.header))
    }

    /// The records of `SYNT`, for those who compute with them in another way.
    #[cfg(feature = "onnx")]
    pub(crate) fn synthesis_records(&self) -> Reader<'_> {
        Reader::new(&self.bytes[self.synthesis_chunk.clone()])
    }

    /// The records of `enco`.
    #[cfg(feature = "onnx")]
    pub(crate) fn analysis_records(&self) -> Result<Reader<'_>> {
        let chunk = self.analysis_chunk.clone().ok_or_else(no_analysis)?;
        Ok(Reader::new(&self.bytes[chunk]))
    }

    pub(crate) fn analysis(&self) -> Result<&Analysis> {
        load(&self.analysis, &self.bytes, self.analysis_chunk.as_ref(), |r| Analysis::read(r, &self.header))
    }
}

fn no_analysis() -> Error {
    Error::Unsupported("this model can only decode: its file holds no analysis".into())
}

/// The network of a chunk, read on first use. Two threads may both read it; one result is kept.
fn load<'a, T>(cell: &'a OnceLock<T>, bytes: &[u8], chunk: Option<&Range<usize>>, read: impl FnOnce(&mut Reader<'_>) -> Result<T>) -> Result<&'a T> {
    if let Some(network) = cell.get() {
        return Ok(network);
    }
    let chunk = chunk.ok_or_else(no_analysis)?;
    let mut reader = Reader::new(&bytes[chunk.clone()]);
    let network = read(&mut reader)?;
    reader.finish()?;
    Ok(cell.get_or_init(|| network))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_model_has_the_stated_digest_and_loads_whole() {
        let digest: String = Sha256::digest(EMBEDDED).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest, EMBEDDED_SHA256.trim());
        let whole = Model::from_bytes(EMBEDDED.to_vec()).unwrap();
        assert_eq!(whole.id(), Model::embedded().unwrap().id());
        assert_eq!(whole.id().to_string(), digest[..16]);
    }

    #[test]
    fn values_of_the_header_have_bounds() {
        let length = u32::from_le_bytes(EMBEDDED[12..16].try_into().unwrap()) as usize;
        let good = &EMBEDDED[16..16 + length];
        let parse = |at: usize, value: u8| {
            let mut payload = good.to_vec();
            payload[at] = value;
            Header::parse(&payload)
        };
        let h = parse(17, 4).unwrap();
        assert_eq!((h.synthesis.n8(), h.synthesis.n16, h.analysis.n8(), h.analysis.n16), (6, 2, 7, 2));
        assert_eq!((h.synthesis.margin(), h.analysis.margin()), (5, 6));
        for blocks in 12..20 {
            assert!(parse(blocks, 0).is_ok() && parse(blocks, 16).is_ok() && parse(blocks, 17).is_err(), "{blocks}");
        }
        let (scales, skip_below, y_fraction) = (good[21], good[22], good[23]);
        for (at, least, most) in [(20, 64, 64), (21, skip_below, 64), (22, 0, scales), (23, 0, 6), (24, 0, 8), (25, 1, 14), (26, 0, 63), (27, 1, 6), (28, 0, 6)]
        {
            assert!(parse(at, least).is_ok() && parse(at, most).is_ok() && parse(at, most + 1).is_err(), "{at}");
            assert!(least == 0 || parse(at, least - 1).is_err(), "{at}");
        }
        assert!(parse(29, y_fraction).is_ok() && parse(29, y_fraction - 1).is_err() && parse(29, 12).is_ok() && parse(29, 13).is_err());
        for at in [2, 4, 6, 8, 10] {
            assert!(parse(at, good[at] + 8).is_err(), "{at}");
        }
        assert!(matches!(parse(0, 2), Err(Error::Unsupported(_))));
        assert!(parse(30, 0).is_err() && parse(30, good[30] + 1).is_err() && parse(31, 0xff).is_err());
    }

    #[test]
    fn damaged_models_are_refused() {
        let mut bytes = EMBEDDED.to_vec();
        bytes[5000] ^= 1;
        assert!(matches!(Model::from_bytes(bytes), Err(Error::Model(_))));
        for length in [0, 7, 8, 20, 100, EMBEDDED.len() - 1] {
            assert!(matches!(Model::from_bytes(EMBEDDED[..length].to_vec()), Err(Error::Model(_))), "{length} bytes");
        }
    }
}
