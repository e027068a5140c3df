//! Rows of samples packed as PNG packs them, each row filtered, all of them one zlib stream: for estimates.

use crate::container::deflate::deflate;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_as_before_takes_next_to_nothing() {
        // To the right, downwards, and both; what repeats itself needs no filter.
        let slopes: [fn(usize, usize) -> usize; 3] = [|x, _| 3 * x, |_, y| 5 * y, |x, y| 3 * x + 5 * y];
        for size in [1, 2, 3, 6] {
            for slope in slopes {
                let bytes: Vec<u8> = (0..64 * 60).map(|i| slope(i % 60 / size, i / 60) as u8).collect();
                assert!(pack(&bytes, 60, size, Filters::Smallest, 6).unwrap().len() < 200);
            }
        }
        let few: Vec<u8> = (0..64 * 60).map(|i| [7, 200, 31, 99, 4][i % 5]).collect();
        assert!(pack(&few, 60, 1, Filters::None, 6).unwrap().len() < 64);
    }
}
