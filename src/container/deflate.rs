//! zlib streams of known length, for metadata.

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

/// Unpacks a stream that fills `out` and has the right sum and nothing behind it. `rule` is what a wrong one breaks.
pub(crate) fn inflate(stream: &[u8], out: &mut [u8], rule: &'static str) -> Result<()> {
    let wrong = |what: &str| Error::format(rule, format!("its zlib stream {what}"));
    let mut state = Decompress::new(true);
    // In one piece: only so are distances refused that go back to before the beginning. Otherwise there would be zeros.
    let status = state.decompress(stream, out, FlushDecompress::Finish).map_err(|_| wrong("is damaged"))?;
    match status {
        Status::StreamEnd if state.total_out() < out.len() as u64 => Err(wrong("is too short")),
        Status::StreamEnd if state.total_in() < stream.len() as u64 => Err(wrong("has something behind its end")),
        Status::StreamEnd => Ok(()),
        _ if state.total_out() < out.len() as u64 => Err(wrong("is too short")),
        _ => Err(wrong("is too long, or has no end")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(stream: &[u8], len: usize) -> Result<Vec<u8>> {
        let mut out = vec![0; len];
        inflate(stream, &mut out, "R0")?;
        Ok(out)
    }

    #[test]
    fn streams_come_back() {
        for bytes in [vec![], vec![7], (0..100_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect(), vec![0; 1 << 20]] {
            for level in [0, 6, 9] {
                let stream = deflate(&bytes, level).unwrap();
                assert!(unpacked(&stream, bytes.len()).unwrap() == bytes);
                assert!(unpacked(&stream, bytes.len() + 1).is_err());
                assert!(bytes.is_empty() || unpacked(&stream, bytes.len() - 1).is_err());
            }
        }
    }

    /// Some encoders end in blocks that hold nothing, behind the last byte.
    #[test]
    fn empty_blocks_at_the_end() {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(b"abcabcabc").unwrap();
        encoder.flush().unwrap();
        encoder.flush().unwrap();
        let stream = encoder.finish().unwrap();
        assert!(stream.len() > deflate(b"abcabcabc", 6).unwrap().len());
        assert_eq!(unpacked(&stream, 9).unwrap(), b"abcabcabc");
        assert!(unpacked(&stream, 8).is_err() && unpacked(&stream, 10).is_err());
    }

    #[test]
    fn r2_10_distances_to_before_the_beginning_are_refused() {
        // A literal `a`, then three bytes from so far back: from its place, or from where zeros might be.
        assert_eq!(unpacked(&[0x78, 0x9C, 0x4B, 4, 2, 0, 0x3, 0xce, 0x1, 0x85], 4).unwrap(), b"aaaa");
        assert!(unpacked(&[0x78, 0x9C, 0x4B, 4, 0x62, 0, 0x1, 0x88, 0x0, 0x62], 4).is_err());
    }

    #[test]
    fn every_cut_every_addition_and_a_wrong_sum_are_noticed() {
        let bytes: Vec<u8> = (0..500u32).map(|i| ((i * i) >> 3) as u8).collect();
        let stream = deflate(&bytes, 9).unwrap();
        for length in 0..stream.len() {
            assert!(unpacked(&stream[..length], bytes.len()).is_err(), "{length}");
        }
        assert!(unpacked(&[&stream[..], &[0]].concat(), bytes.len()).is_err());
        let mut wrong = stream;
        *wrong.last_mut().unwrap() ^= 1;
        assert!(unpacked(&wrong, bytes.len()).is_err());
    }
}
