//! Rows of samples packed as PNG packs them: each row filtered, all of them one zlib stream (R2.12).

use std::borrow::Cow;

use crate::container::deflate::{Inflate, deflate};
use crate::picture::try_filled;
use crate::{Error, Result};

/// Number of filters: none, left, above, mean of both, Paeth.
const FILTERS: u8 = 5;

/// What a filter expects a byte to be: `a` is to the left, `b` above, `c` above and to the left. Bytes beyond the rows are 0.
#[inline]
fn predict(filter: u8, a: u8, b: u8, c: u8) -> u8 {
    match filter {
        0 => 0,
        1 => a,
        2 => b,
        3 => ((u16::from(a) + u16::from(b)) / 2) as u8,
        _ => {
            let p = i16::from(a) + i16::from(b) - i16::from(c);
            let [to_a, to_b, to_c] = [a, b, c].map(|v| (p - i16::from(v)).abs());
            if to_a <= to_b && to_a <= to_c {
                a
            } else if to_b <= to_c {
                b
            } else {
                c
            }
        }
    }
}

/// The number in the bytes of a sample, the most significant first.
pub(super) fn stored(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |v, byte| v << 8 | u16::from(*byte))
}

/// Which filters an encoder uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filters {
    /// None: what repeats itself exactly, as few colours do, is best left as it is.
    None,
    /// For each row the one with the smallest sum of absolute differences, as PNG's specification advises.
    Smallest,
}

/// Filters and packs rows of `row_len` bytes, of pixels of `size` bytes. `level` says how hard zlib tries, 0 to 9.
pub(super) fn pack(bytes: &[u8], row_len: usize, size: usize, filters: Filters, level: u32) -> Result<Vec<u8>> {
    let mut filtered = Vec::new();
    let len = bytes.len() + bytes.len() / row_len;
    filtered.try_reserve_exact(len).map_err(|_| Error::Limits(format!("there is no memory for {len} more bytes")))?;
    if filters == Filters::None {
        for row in bytes.chunks_exact(row_len) {
            filtered.push(0);
            filtered.extend_from_slice(row);
        }
        return deflate(&filtered, level);
    }
    // With a pixel of zeros in front, nothing is beyond the row.
    let (mut now, mut above) = (try_filled(size + row_len, 0)?, try_filled(size + row_len, 0)?);
    let mut lines: Vec<Vec<u8>> = (0..FILTERS).map(|_| try_filled(row_len, 0)).collect::<Result<_>>()?;
    for row in bytes.chunks_exact(row_len) {
        now[size..].copy_from_slice(row);
        let mut best = (u64::MAX, 0);
        for (filter, line) in (0..FILTERS).zip(&mut lines) {
            filter_row(filter, &now, &above, size, line);
            let sum = line.iter().map(|v| u64::from((*v as i8).unsigned_abs())).sum();
            best = best.min((sum, filter));
        }
        filtered.push(best.1);
        filtered.extend_from_slice(&lines[usize::from(best.1)]);
        std::mem::swap(&mut now, &mut above);
    }
    deflate(&filtered, level)
}

/// `now` and `above` have a pixel of zeros in front.
fn filter_row(filter: u8, now: &[u8], above: &[u8], size: usize, line: &mut [u8]) {
    let neighbours = now.iter().zip(&above[size..]).zip(above);
    for ((out, v), ((a, b), c)) in line.iter_mut().zip(&now[size..]).zip(neighbours) {
        *out = v.wrapping_sub(predict(filter, *a, *b, *c));
    }
}

/// Reads packed rows from the top.
pub(super) struct PackedRows<'a> {
    stream: Inflate<'a>,
    rule: &'static str,
    size: usize,
    /// The filter's number, then the row.
    row: Vec<u8>,
    above: Vec<u8>,
}

impl<'a> PackedRows<'a> {
    /// Rows of `row_len` bytes, of pixels of `size` bytes. `rule` is what a wrong stream breaks.
    pub(super) fn new(stream: Cow<'a, [u8]>, row_len: usize, size: usize, rule: &'static str) -> Result<Self> {
        let len = row_len + 1;
        Ok(Self { stream: Inflate::new(stream, rule), rule, size, row: try_filled(len, 0)?, above: try_filled(len, 0)? })
    }

    /// The next row.
    pub(super) fn next_row(&mut self) -> Result<&[u8]> {
        std::mem::swap(&mut self.row, &mut self.above);
        self.stream.fill(&mut self.row)?;
        let (size, above) = (self.size, &self.above[1..]);
        let (filter, row) = self.row.split_at_mut(1);
        let filter = filter[0];
        if filter >= FILTERS {
            return Err(Error::format(self.rule, format!("a row has the unknown filter {filter}")));
        }
        for i in 0..row.len() {
            let (a, c) = if i >= size { (row[i - size], above[i - size]) } else { (0, 0) };
            row[i] = row[i].wrapping_add(predict(filter, a, above[i], c));
        }
        Ok(row)
    }

    /// The row that was read last; zeros before the first.
    pub(super) fn row(&self) -> &[u8] {
        &self.row[1..]
    }

    /// Checks that there is nothing behind the last row.
    pub(super) fn finish(self) -> Result<()> {
        self.stream.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(stream: &[u8], row_len: usize, size: usize, rows: usize) -> Result<Vec<u8>> {
        let mut reader = PackedRows::new(stream.into(), row_len, size, "R2.12")?;
        let mut out = Vec::new();
        for _ in 0..rows {
            out.extend_from_slice(reader.next_row()?);
        }
        reader.finish()?;
        Ok(out)
    }

    #[test]
    fn packed_rows_come_back() {
        let bytes: Vec<u8> = (0..7 * 24u32).map(|i| (i * i * 7 % 251) as u8).collect();
        for size in [1, 2, 3, 6] {
            for filters in [Filters::None, Filters::Smallest] {
                assert_eq!(unpack(&pack(&bytes, 24, size, filters, 6).unwrap(), 24, size, 7).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn r2_12_every_filter_undoes_itself() {
        let rows: Vec<u8> = (0..60u32).map(|i| (i * i * 7) as u8).collect();
        for filter in 0..FILTERS {
            for size in [1, 2, 3, 6] {
                let (mut filtered, mut above) = (Vec::new(), [0; 12]);
                for row in rows.chunks_exact(12) {
                    filtered.push(filter);
                    for i in 0..12 {
                        let (a, c) = if i >= size { (row[i - size], above[i - size]) } else { (0, 0) };
                        filtered.push(row[i].wrapping_sub(predict(filter, a, above[i], c)));
                    }
                    above.copy_from_slice(row);
                }
                assert_eq!(unpack(&deflate(&filtered, 6).unwrap(), 12, size, 5).unwrap(), rows, "filter {filter}");
            }
        }
    }

    #[test]
    fn r2_12_wrong_filters_and_lengths_are_refused() {
        let rule = |bytes: &[u8], rows| match unpack(&deflate(bytes, 6).unwrap(), 3, 1, rows) {
            Err(Error::Format(error)) => error.rule(),
            other => panic!("{other:?}"),
        };
        assert_eq!(rule(&[5, 1, 2, 3], 1), "R2.12");
        assert_eq!(rule(&[0, 1, 2], 1), "R2.12");
        assert_eq!(rule(&[0, 1, 2, 3, 0], 1), "R2.12");
        assert_eq!(rule(&[0, 1, 2, 3], 2), "R2.12");
    }
}
