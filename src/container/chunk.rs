//! Type, length, payload, CRC: shared by picture files and model files (R2.2, R2.3).

use byteorder::{ByteOrder, LittleEndian};

use crate::{Error, Result};

/// Longest payload (R2.2).
const MAX_PAYLOAD: u32 = (1 << 31) - 1;

/// A chunk in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk<'a> {
    pub(crate) kind: [u8; 4],
    pub(crate) payload: &'a [u8],
    /// Position of the payload in the file.
    pub(crate) start: usize,
}

impl From<ChunkError> for Error {
    fn from(error: ChunkError) -> Self {
        Error::format(error.rule, error.message)
    }
}

impl Chunk<'_> {
    /// R2.4.
    pub(crate) fn is_critical(&self) -> bool {
        self.kind[0].is_ascii_uppercase()
    }

    /// For messages.
    pub(crate) fn name(&self) -> String {
        self.kind.escape_ascii().to_string()
    }
}

/// A chunk that cannot be read: the rule it breaks and what is wrong.
#[derive(Debug)]
pub(crate) struct ChunkError {
    pub(crate) rule: &'static str,
    pub(crate) message: String,
}

/// Reads chunks one after another.
#[derive(Debug)]
pub(crate) struct Chunks<'a> {
    rest: &'a [u8],
    position: usize,
}

impl<'a> Chunks<'a> {
    /// Starts behind the signature; `Err` if the bytes do not start with it.
    pub(crate) fn new(bytes: &'a [u8], signature: &[u8; 8]) -> std::result::Result<Self, ()> {
        let rest = bytes.strip_prefix(signature).ok_or(())?;
        Ok(Self { rest, position: signature.len() })
    }

    /// The next chunk. The end of the data is an error: the last chunk of a file says that it is the last.
    pub(crate) fn next_chunk(&mut self) -> std::result::Result<Chunk<'a>, ChunkError> {
        let at = self.position;
        let truncated = || truncated(at as u64);
        let (header, rest) = self.rest.split_first_chunk().ok_or_else(truncated)?;
        let (kind, length) = parse_header(header, at as u64)?;
        let (payload, rest) = rest.split_at_checked(length as usize).ok_or_else(truncated)?;
        let (stated, rest) = rest.split_at_checked(4).ok_or_else(truncated)?;
        let chunk = Chunk { kind, payload, start: at + 8 };
        check_crc(&kind, payload, LittleEndian::read_u32(stated), at as u64)?;
        self.position += 12 + length as usize;
        self.rest = rest;
        Ok(chunk)
    }
}

/// Type and payload length from the first bytes of a chunk at `at` (R2.2).
pub(crate) fn parse_header(header: &[u8; 8], at: u64) -> std::result::Result<([u8; 4], u32), ChunkError> {
    let kind = [header[0], header[1], header[2], header[3]];
    let letters = kind[..3].iter().all(u8::is_ascii_alphabetic) && (kind[3].is_ascii_alphabetic() || kind[3] == b' ');
    if !letters {
        return Err(ChunkError { rule: "R2.2", message: format!("there is no chunk at byte {at}: the file is damaged") });
    }
    let length = LittleEndian::read_u32(&header[4..]);
    if length > MAX_PAYLOAD {
        return Err(ChunkError { rule: "R2.2", message: format!("the chunk at byte {at} claims {length} bytes: the file is damaged") });
    }
    Ok((kind, length))
}

/// R2.3.
pub(crate) fn check_crc(kind: &[u8; 4], payload: &[u8], stated: u32, at: u64) -> std::result::Result<(), ChunkError> {
    // The fuzzer would spend its time on guessing checksums.
    if crc(kind, &[payload]) != stated && !cfg!(fuzzing) {
        return Err(ChunkError { rule: "R2.3", message: format!("the chunk {} at byte {at} is damaged: its checksum is wrong", kind.escape_ascii()) });
    }
    Ok(())
}

/// R2.5, for a chunk at `at` that the file does not hold to its end.
pub(crate) fn truncated(at: u64) -> ChunkError {
    ChunkError { rule: "R2.5", message: format!("the file is truncated: it ends within the chunk at byte {at}") }
}

pub(crate) fn crc(kind: &[u8; 4], parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(kind);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// A length as the format stores it.
pub(crate) fn length(bytes: u64) -> Result<u32> {
    u32::try_from(bytes).ok().filter(|l| *l <= MAX_PAYLOAD).ok_or_else(|| Error::Limits("the coded data is too large for a chunk".into()))
}

/// Appends a chunk whose payload is the parts joined.
pub(crate) fn write(file: &mut Vec<u8>, kind: &[u8; 4], parts: &[&[u8]]) -> Result<()> {
    let total = length(parts.iter().map(|p| p.len() as u64).sum())?;
    file.try_reserve(12 + total as usize).map_err(|_| Error::Limits("there is no memory for the coded file".into()))?;
    file.extend_from_slice(kind);
    file.extend_from_slice(&total.to_le_bytes());
    for part in parts {
        file.extend_from_slice(part);
    }
    file.extend_from_slice(&crc(kind, parts).to_le_bytes());
    Ok(())
}
