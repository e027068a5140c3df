//! zlib streams of known length, for metadata.

use std::borrow::Cow;
use std::io::Write as _;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};

use crate::{Error, Result};

/// Packs bytes. `level` is 0 to 9.
pub(crate) fn deflate(bytes: &[u8], level: u32) -> Result<Vec<u8>> {
    // Writing to memory does not fail.
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Unpacks a stream piece by piece, never more than it is asked for.
#[derive(Debug)]
pub(crate) struct Inflate<'a> {
    state: Decompress,
    stream: Cow<'a, [u8]>,
    /// Bytes of the stream that have been read.
    at: usize,
    /// The rule that a wrong stream breaks.
    rule: &'static str,
}

impl<'a> Inflate<'a> {
    pub(crate) fn new(stream: Cow<'a, [u8]>, rule: &'static str) -> Self {
        Self { state: Decompress::new(true), stream, at: 0, rule }
    }

    fn damaged(&self, what: &str) -> Error {
        Error::format(self.rule, format!("its zlib stream {what}"))
    }

    /// Fills `out`, or fails if the stream ends before.
    pub(crate) fn fill(&mut self, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            let (written, status) = self.step(out)?;
            out = &mut out[written..];
            if !out.is_empty() && status != Status::Ok {
                return Err(self.damaged("is too short"));
            }
        }
        Ok(())
    }

    /// Checks that the stream ends here, with the right sum and nothing behind it.
    pub(crate) fn finish(mut self) -> Result<()> {
        loop {
            let (written, status) = self.step(&mut [0])?;
            match status {
                _ if written > 0 => return Err(self.damaged("is too long")),
                Status::StreamEnd if self.at == self.stream.len() => return Ok(()),
                Status::StreamEnd => return Err(self.damaged("has something behind its end")),
                Status::Ok => {}
                Status::BufError => return Err(self.damaged("is too short")),
            }
        }
    }

    /// `Status::Ok` only where something was read or written.
    fn step(&mut self, out: &mut [u8]) -> Result<(usize, Status)> {
        let (read, written) = (self.state.total_in(), self.state.total_out());
        let status = self.state.decompress(&self.stream[self.at..], out, FlushDecompress::None).map_err(|_| self.damaged("is damaged"))?;
        let (read, written) = ((self.state.total_in() - read) as usize, (self.state.total_out() - written) as usize);
        self.at += read;
        Ok((written, if status == Status::Ok && read == 0 && written == 0 { Status::BufError } else { status }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(stream: &[u8], len: usize, piece: usize) -> Result<Vec<u8>> {
        let mut inflate = Inflate::new(stream.into(), "R0");
        let mut out = vec![0; len];
        out.chunks_mut(piece).try_for_each(|piece| inflate.fill(piece))?;
        inflate.finish()?;
        Ok(out)
    }

    #[test]
    fn streams_come_back_whatever_the_pieces() {
        for bytes in [vec![], vec![7], (0..100_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect(), vec![0; 1 << 20]] {
            for level in [0, 6, 9] {
                let stream = deflate(&bytes, level).unwrap();
                for piece in [1 << 21, 4097, 100] {
                    assert!(inflate(&stream, bytes.len(), piece).unwrap() == bytes);
                }
                assert!(inflate(&stream, bytes.len() + 1, 1000).is_err());
                assert!(bytes.is_empty() || inflate(&stream, bytes.len() - 1, 1000).is_err());
            }
        }
    }

    #[test]
    fn every_cut_every_addition_and_a_wrong_sum_are_noticed() {
        let bytes: Vec<u8> = (0..500u32).map(|i| ((i * i) >> 3) as u8).collect();
        let stream = deflate(&bytes, 9).unwrap();
        for length in 0..stream.len() {
            assert!(inflate(&stream[..length], bytes.len(), 64).is_err(), "{length}");
        }
        assert!(inflate(&[&stream[..], &[0]].concat(), bytes.len(), 64).is_err());
        let mut wrong = stream;
        *wrong.last_mut().unwrap() ^= 1;
        assert!(inflate(&wrong, bytes.len(), 64).is_err());
    }
}
