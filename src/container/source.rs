//! Where the bytes of a file are: in memory, or behind a reader that can seek.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use byteorder::{ByteOrder, LittleEndian};

use super::chunk::{self, ChunkError};
use crate::picture::try_filled;
use crate::{Error, Result};

/// Bytes of a chunk around its payload: type and length in front, CRC behind.
pub(super) const FRAME: u64 = 12;

/// What a file can be read from, place by place.
pub(crate) trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// The bytes of a file, to be read at any place and from any thread.
pub(crate) enum Source {
    Memory(Arc<Vec<u8>>),
    Seekable { reader: Mutex<Reader>, len: u64, max_chunk: u64 },
}

/// A reader, and where it is unless that is unknown: with it, going on from there costs a buffered reader nothing.
pub(crate) struct Reader {
    from: Box<dyn ReadSeek>,
    at: Option<u64>,
}

impl Reader {
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        match self.at.take() {
            Some(before) if before == at => {}
            Some(before) => self.from.seek_relative(at.wrapping_sub(before) as i64)?,
            None => _ = self.from.seek(SeekFrom::Start(at))?,
        }
        self.from.read_exact(bytes)?;
        self.at = Some(at + bytes.len() as u64);
        Ok(())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({} bytes)", self.len())
    }
}

/// A chunk that was read and whose CRC is right, or that is a preview.
pub(super) struct Found<'a> {
    pub(super) kind: [u8; 4],
    pub(super) payload: Cow<'a, [u8]>,
    /// Whether the CRC is right. The picture does not depend on its preview.
    pub(super) intact: bool,
    /// Place of the chunk behind it.
    pub(super) end: u64,
}

impl Found<'_> {
    /// R2.4.
    pub(super) fn is_critical(&self) -> bool {
        self.kind[0].is_ascii_uppercase()
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        self.kind.escape_ascii().to_string()
    }
}

impl Source {
    /// `max_chunk` bounds what one chunk may make this allocate.
    pub(crate) fn seekable(mut reader: Box<dyn ReadSeek>, max_chunk: u64) -> Result<Self> {
        let len = reader.seek(SeekFrom::End(0))?;
        Ok(Self::Seekable { reader: Mutex::new(Reader { from: reader, at: None }), len, max_chunk })
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Seekable { len, .. } => *len,
        }
    }

    /// Bytes from `at` on, as many as there are but no more than `len`.
    pub(crate) fn read(&self, at: u64, len: u64) -> Result<Cow<'_, [u8]>> {
        let len = len.min(self.len().saturating_sub(at)) as usize;
        match self {
            Self::Memory(bytes) => Ok(Cow::Borrowed(bytes.get(at as usize..).and_then(|rest| rest.get(..len)).unwrap_or_default())),
            Self::Seekable { reader, .. } => {
                let mut bytes = try_filled(len, 0)?;
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                match reader.read(at, &mut bytes) {
                    // The file has become shorter since it was opened.
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(chunk::truncated(at).into()),
                    other => other.map(|()| Cow::Owned(bytes)).map_err(Error::Io),
                }
            }
        }
    }

    /// Type and payload length of the chunk at `at` (R2.2), which the file holds to its end (R2.5).
    pub(super) fn header(&self, at: u64) -> Result<([u8; 4], u32)> {
        let bytes = self.read(at, 8)?;
        let header = bytes.first_chunk().ok_or_else(|| chunk::truncated(at))?;
        let (kind, length) = chunk::parse_header(header, at)?;
        if at + FRAME + u64::from(length) > self.len() {
            return Err(chunk::truncated(at).into());
        }
        Ok((kind, length))
    }

    /// The chunk at `at` (R2.2, R2.3, R2.5).
    pub(super) fn chunk(&self, at: u64) -> Result<Found<'_>> {
        let (kind, length) = self.header(at)?;
        if let Self::Seekable { max_chunk, .. } = self
            && u64::from(length) > *max_chunk
        {
            return Err(Error::Limits(format!("the chunk at byte {at} has {length} bytes, more than the {max_chunk} allowed")));
        }
        let split = |bytes: &[u8]| -> std::result::Result<(), ChunkError> {
            let (payload, stated) = bytes.split_at(length as usize);
            chunk::check_crc(&kind, payload, LittleEndian::read_u32(stated), at)
        };
        let mut bytes = self.read(at + 8, u64::from(length) + 4)?;
        let sum = split(&bytes);
        let intact = sum.is_ok();
        if &kind != b"prev" {
            sum?;
        }
        match &mut bytes {
            Cow::Borrowed(bytes) => *bytes = &bytes[..length as usize],
            Cow::Owned(bytes) => bytes.truncate(length as usize),
        }
        Ok(Found { kind, payload: bytes, intact, end: at + FRAME + u64::from(length) })
    }
}
