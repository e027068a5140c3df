//! The model file (SPEC 4).

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use super::records::{QUALITIES, Reader};
use super::{Analysis, EntropyGradient, EntropyNet, Synthesis, SynthesisGradient};
use crate::container::chunk::{Chunk, Chunks};
use crate::entropy::Tables;
use crate::{Error, Result};

/// `\x89AEM\r\n\x1a\n`.
const SIGNATURE: [u8; 8] = *b"\x89AEM\r\n\x1a\n";
/// The types of chunks, in their order. Those in lower case may be missing.
const KNOWN: [&[u8; 4]; 8] = [b"MHDR", b"TABL", b"ZIDX", b"ENTR", b"SYNT", b"enco", b"note", b"MEND"];
/// The model of the crate and its id, which the export writes beside it, so that starting the program need not hash megabytes; a test compares it with the file.
#[cfg(all(feature = "embedded-model", not(fuzzing)))]
const EMBEDDED: Option<(&[u8], &str)> = Some((include_bytes!("../../models/aei1/model.aem"), include_str!("../../models/aei1/model.aem.id")));
/// Fuzzing is about the code, which a model of some kilobytes goes through a hundred times faster.
#[cfg(all(feature = "embedded-model", fuzzing))]
const EMBEDDED: Option<(&[u8], &str)> = Some((include_bytes!("../../format-spec/vectors/tiny.aem"), include_str!("../../format-spec/vectors/tiny.aem.id")));
#[cfg(not(feature = "embedded-model"))]
const EMBEDDED: Option<(&[u8], &str)> = None;

/// Names what a model decodes: the first 8 bytes of the SHA-256 of its file without ancillary chunks (SPEC 4).
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
    pub(crate) scales: u8,
    pub(crate) y_fraction: u32,
    /// Half of the step of y, in units of `2^-y_fraction`.
    pub(crate) y_half_step: i32,
    pub(crate) z_shift: u32,
    pub(crate) index_shift: u32,
    pub(crate) index_offset: i32,
    pub(crate) pixel_fraction: u32,
    name: String,
}

/// A byte of a header, which has to be in `range`.
fn number(r: &mut Reader<'_>, range: std::ops::RangeInclusive<u8>) -> Result<u8> {
    match r.u8()? {
        n if range.contains(&n) => Ok(n),
        n => Err(Error::Model(format!("the model is not valid: {n} is not in {range:?}"))),
    }
}

fn blocks(r: &mut Reader<'_>) -> Result<Blocks> {
    let mut count = || number(r, 0..=16);
    Ok(Blocks { n8_first: count()?, n8_second: count()?, n16: count()? })
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
        let synthesis = blocks(&mut r)?;
        let mut number = |range| number(&mut r, range);
        let (n_trunk, n_z) = (number(0..=16)?, number(0..=16)?);
        number(QUALITIES as u8..=QUALITIES as u8)?;
        let scales = number(1..=64)?;
        let header = Self {
            c8,
            c16,
            m,
            nz,
            ce,
            synthesis,
            n_trunk,
            n_z,
            scales,
            y_fraction: number(0..=6)?.into(),
            y_half_step: number(1..=63)?.into(),
            z_shift: number(0..=8)?.into(),
            index_shift: number(1..=14)?.into(),
            index_offset: number(0..=63)?.into(),
            pixel_fraction: number(1..=6)?.into(),
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

/// Sizes and constants that encoding alone needs: the first bytes of `enco` (SPEC 4.4).
#[derive(Debug, Clone, Copy)]
pub(crate) struct EncoderHeader {
    pub(crate) analysis: Blocks,
    pub(crate) skip_below: u8,
    pub(crate) input_shift: u32,
    pub(crate) y_input_fraction: u32,
}

impl EncoderHeader {
    /// How long it is in a file.
    const BYTES: usize = 6;

    fn read(r: &mut Reader<'_>, header: &Header) -> Result<Self> {
        Ok(Self {
            analysis: blocks(r)?,
            skip_below: number(r, 0..=header.scales)?,
            input_shift: number(r, 0..=6)?.into(),
            y_input_fraction: number(r, header.y_fraction as u8..=12)?.into(),
        })
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
    /// The beginning of `enco`, and where its records are; without it a model can only decode.
    encoder: Option<(EncoderHeader, Range<usize>)>,
    entropy: OnceLock<EntropyNet>,
    synthesis: OnceLock<Synthesis>,
    analysis: OnceLock<Analysis>,
    #[cfg(feature = "onnx")]
    analysis_id: OnceLock<ModelId>,
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
    /// [`Error::Model`] if the crate was built without the feature `embedded-model`. Otherwise none in a released crate: tests load the model.
    pub fn embedded() -> Result<Arc<Self>> {
        static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
        if let Some(model) = MODEL.get() {
            return Ok(Arc::clone(model));
        }
        let (bytes, id) = EMBEDDED.ok_or_else(no_model)?;
        let model = Arc::new(Self::parse(Cow::Borrowed(bytes), parse_id(id)?)?);
        Ok(Arc::clone(MODEL.get_or_init(|| model)))
    }

    /// What [`Model::id`] says of the embedded model, without loading it.
    ///
    /// # Errors
    /// As [`Model::embedded`].
    pub fn embedded_id() -> Result<ModelId> {
        EMBEDDED.ok_or_else(no_model).and_then(|(_, id)| parse_id(id))
    }

    /// A model from the bytes of a model file (`.aem`). Everything in it is checked here.
    ///
    /// # Errors
    /// [`Error::Model`] if the file is not a valid model, [`Error::Unsupported`] if it is of a newer version.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Arc<Self>> {
        let id = id_of(&bytes)?;
        let model = Self::parse(Cow::Owned(bytes), id)?;
        model.entropy()?;
        model.synthesis()?;
        if model.encoder.is_some() {
            model.analysis()?;
        }
        Ok(Arc::new(model))
    }

    fn parse(bytes: Cow<'static, [u8]>, id: ModelId) -> Result<Self> {
        let refuse = |what: &str| Error::Model(format!("the model is not valid: {what}"));
        let (mut chunks, mut ahead) = (chunks_of(&bytes)?, None);
        // The next chunk, if it is of this type.
        let mut optional = |kind: &[u8; 4]| -> Result<Option<Chunk<'_>>> {
            let chunk = match ahead.take() {
                Some(chunk) => chunk,
                None => next_known(&mut chunks)?,
            };
            Ok(if &chunk.kind == kind { Some(chunk) } else { ahead.replace(chunk).and(None) })
        };
        let mut next = |kind: &[u8; 4]| optional(kind)?.ok_or_else(|| refuse(&format!("chunk {} is missing or stands elsewhere", kind.escape_ascii())));
        let header = Header::parse(next(b"MHDR")?.payload)?;
        let tables = Tables::parse(next(b"TABL")?.payload, header.scales)?;
        let z_index = next(b"ZIDX")?.payload.to_vec();
        if z_index.len() != QUALITIES * header.nz || z_index.iter().any(|i| *i >= header.scales) {
            return Err(refuse("scale indices of z"));
        }
        let range = |chunk: Chunk<'_>| chunk.start..chunk.start + chunk.payload.len();
        let entropy_chunk = range(next(b"ENTR")?);
        let synthesis_chunk = range(next(b"SYNT")?);
        let encoder = match optional(b"enco")?.map(range) {
            Some(at) => Some((EncoderHeader::read(&mut Reader::new(&bytes[at.clone()]), &header)?, at.start + EncoderHeader::BYTES..at.end)),
            None => None,
        };
        if optional(b"note")?.is_some_and(|note| std::str::from_utf8(note.payload).is_err()) {
            return Err(refuse("the note is not UTF-8"));
        }
        match optional(b"MEND")? {
            Some(end) if end.payload.is_empty() => {}
            Some(_) => return Err(refuse("MEND is not empty")),
            None => return Err(refuse("a chunk stands where MEND should be")),
        }
        Ok(Self {
            id,
            header,
            tables,
            z_index,
            entropy_chunk,
            synthesis_chunk,
            encoder,
            entropy: OnceLock::new(),
            synthesis: OnceLock::new(),
            analysis: OnceLock::new(),
            #[cfg(feature = "onnx")]
            analysis_id: OnceLock::new(),
            entropy_gradient: OnceLock::new(),
            synthesis_gradient: OnceLock::new(),
            bytes,
        })
    }

    /// The name by which files ask for this model, or for another one that decodes the same: what encoding alone needs does not count.
    pub fn id(&self) -> ModelId {
        self.id
    }

    /// Names the analysis, of which the id says nothing: the first 8 bytes of the SHA-256 of `enco`.
    ///
    /// # Errors
    /// As [`Model::encoder`].
    #[cfg(feature = "onnx")]
    pub(crate) fn analysis_id(&self) -> Result<ModelId> {
        let (_, records) = self.encoder.as_ref().ok_or_else(no_analysis)?;
        Ok(*self.analysis_id.get_or_init(|| beginning_of(Sha256::new_with_prefix(&self.bytes[records.start - EncoderHeader::BYTES..records.end]))))
    }

    /// The name that its makers gave it.
    pub fn name(&self) -> &str {
        &self.header.name
    }

    /// The model as a file (`.aem`), from which [`Model::from_bytes`] makes it again.
    pub fn file(&self) -> &[u8] {
        &self.bytes
    }

    /// The same without what encoding alone needs, which is nearly half of it. It has the same id.
    pub fn decoder_file(&self) -> Vec<u8> {
        let Some((_, records)) = &self.encoder else { return self.bytes.to_vec() };
        // A chunk is its type and length, its payload, and a CRC.
        let (start, end) = (records.start - EncoderHeader::BYTES - 8, records.end + 4);
        [&self.bytes[..start], &self.bytes[end..]].concat()
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// # Errors
    /// [`Error::Unsupported`] if the model can only decode.
    pub(crate) fn encoder(&self) -> Result<&EncoderHeader> {
        self.encoder.as_ref().map(|(header, _)| header).ok_or_else(no_analysis)
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Scale index of each channel of z at a quality.
    pub(crate) fn z_index(&self, quality: u8) -> &[u8] {
        &self.z_index[usize::from(quality) * self.header.nz..][..self.header.nz]
    }

    /// Bytes of the networks that decoding, or encoding, unpacks, and what has to be free besides.
    pub(crate) fn network_bytes(&self, encoding: bool) -> u64 {
        let analysis = self.encoder.as_ref().filter(|_| encoding).map_or(0..0, |(_, records)| records.clone());
        let other = if encoding { 0..0 } else { self.synthesis_chunk.clone() };
        (self.entropy_chunk.len() + other.len() + analysis.len() + SPARE) as u64
    }

    pub(crate) fn entropy(&self) -> Result<&EntropyNet> {
        load(&self.entropy, &self.bytes, &self.entropy_chunk, 1, |r| EntropyNet::read(r, &self.header))
    }

    pub(crate) fn synthesis(&self) -> Result<&Synthesis> {
        load(&self.synthesis, &self.bytes, &self.synthesis_chunk, 1, |r| Synthesis::read(r, &self.header))
    }

    /// The entropy network with its transposes.
    pub(crate) fn entropy_gradient(&self) -> Result<&EntropyGradient> {
        load(&self.entropy_gradient, &self.bytes, &self.entropy_chunk, 2, |r| EntropyGradient::read(r, &self.header))
    }

    /// The synthesis with its transposes.
    pub(crate) fn synthesis_gradient(&self) -> Result<&SynthesisGradient> {
        load(&self.synthesis_gradient, &self.bytes, &self.synthesis_chunk, 2, |r| SynthesisGradient::read(r, &self.header))
    }

    /// The records of `SYNT`, for those who compute with them in another way.
    #[cfg(feature = "onnx")]
    pub(crate) fn synthesis_records(&self) -> Reader<'_> {
        Reader::new(&self.bytes[self.synthesis_chunk.clone()])
    }

    /// The records of `enco`.
    #[cfg(feature = "onnx")]
    pub(crate) fn analysis_records(&self) -> Result<Reader<'_>> {
        let (_, records) = self.encoder.clone().ok_or_else(no_analysis)?;
        Ok(Reader::new(&self.bytes[records]))
    }

    pub(crate) fn analysis(&self) -> Result<&Analysis> {
        let (encoder, records) = self.encoder.as_ref().ok_or_else(no_analysis)?;
        load(&self.analysis, &self.bytes, records, 1, |r| Analysis::read(r, &self.header, encoder))
    }
}

fn chunks_of(bytes: &[u8]) -> Result<Chunks<'_>> {
    Chunks::new(bytes, &SIGNATURE).map_err(|()| Error::Model("this is not an aei model file".into()))
}

fn next_chunk<'a>(chunks: &mut Chunks<'a>) -> Result<Chunk<'a>> {
    chunks.next_chunk().map_err(|e| Error::Model(format!("the model is damaged: {}", e.message)))
}

/// The next chunk of a type that this crate knows. Others are skipped, or refused if they are critical (R2.4).
fn next_known<'a>(chunks: &mut Chunks<'a>) -> Result<Chunk<'a>> {
    loop {
        let chunk = next_chunk(chunks)?;
        if KNOWN.contains(&&chunk.kind) {
            return Ok(chunk);
        }
        if chunk.is_critical() {
            return Err(Error::Model(format!("the model is not valid: the chunk {} is not known (R2.4)", chunk.name())));
        }
    }
}

/// The id of a model file (SPEC 4).
fn id_of(bytes: &[u8]) -> Result<ModelId> {
    let (mut chunks, mut digest) = (chunks_of(bytes)?, Sha256::new_with_prefix(SIGNATURE));
    loop {
        let chunk = next_chunk(&mut chunks)?;
        if chunk.is_critical() {
            // A chunk is its type and length, its payload, and a CRC.
            digest.update(&bytes[chunk.start - 8..chunk.start + chunk.payload.len() + 4]);
        }
        if &chunk.kind == b"MEND" {
            return Ok(beginning_of(digest));
        }
    }
}

fn beginning_of(digest: Sha256) -> ModelId {
    let mut id = [0; 8];
    id.copy_from_slice(&digest.finalize()[..8]);
    ModelId(id)
}

/// The id in hexadecimal digits.
fn parse_id(digits: &str) -> Result<ModelId> {
    let mut id = [0; 8];
    for (byte, digits) in id.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).map_err(|e| Error::Model(format!("the embedded model's id: {e}")))?;
    }
    Ok(ModelId(id))
}

fn no_model() -> Error {
    Error::Model("no model is part of this build: give one, or build with the feature \"embedded-model\"".into())
}

fn no_analysis() -> Error {
    Error::Unsupported("this model can only decode: its file holds no analysis".into())
}

/// The network of a chunk, read on first use. Two threads may both read it; one result is kept.
/// `bytes_each` is what becomes of a byte of the records.
fn load<'a, T>(
    cell: &'a OnceLock<T>,
    bytes: &[u8],
    records: &Range<usize>,
    bytes_each: usize,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T>,
) -> Result<&'a T> {
    if let Some(network) = cell.get() {
        return Ok(network);
    }
    has_room(bytes_each * (records.len() + SPARE))?;
    let mut reader = Reader::new(&bytes[records.clone()]);
    let network = read(&mut reader)?;
    reader.finish()?;
    Ok(cell.get_or_init(|| network))
}

/// Bytes besides a network's own: for what is in use only while it is packed, and for the small pieces with which it begins to work. Found by `tests/capi/calls.c`, where
/// 1 MiB was too little for a synthesis of 9 MB. Estimates of memory count them.
const SPARE: usize = 4 << 20;

/// A network comes in many small pieces, of which none can fail without ending the program: so memory for all of them, and for what is in use only while they are
/// packed, is asked for beforehand, and given back.
fn has_room(bytes: usize) -> Result<()> {
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| Error::Limits(format!("there is no memory for a network: {bytes} bytes")))
}

#[cfg(test)]
mod tests;
