//! What stands in for lost tiles (SPEC 8).
//!
//! Each feature is a mean of the nearest ones to the left, to the right, above and below, weighted by nearness, and each of these is taken along the tile's border,
//! over as many positions as it is away: near the border the picture goes on as it was, and further inside only its colour does.

use std::ops::Range;

use crate::Result;
use crate::net::Tensor;
use crate::picture::try_filled;

/// Features beside a row of tiles, as wide as the row.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    pub(super) row: &'a [i16],
    /// Columns that mean nothing.
    pub(super) lost: &'a [Range<usize>],
}

/// Fills the lost columns of a row of tiles. `above` and `below` are the rows of features over and under it, where they are known.
pub(super) fn fill(x: &mut Tensor, lost: &[Range<usize>], above: Option<Beside<'_>>, below: Option<Beside<'_>>) -> Result<()> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for range in lost {
        match runs.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => runs.push(range.clone()),
        }
    }
    for run in runs {
        let (rows, m) = (x.rows(), x.channels());
        let column = |c: usize| Border::new(rows, m, |r| &x.row(r)[c * m..][..m]);
        let left = run.start.checked_sub(1).map(column).transpose()?;
        let right = (run.end < x.columns()).then(|| column(run.end)).transpose()?;
        let line = |beside: Option<Beside<'_>>| {
            let known = beside.filter(|b| !b.lost.iter().any(|l| l.start < run.end && run.start < l.end));
            known.map(|b| Border::new(run.len(), m, |c| &b.row[(run.start + c) * m..][..m])).transpose()
        };
        let (above, below) = (line(above)?, line(below)?);
        let row_len = x.row_len();
        for (r, row) in x.data_mut().chunks_exact_mut(row_len).enumerate() {
            for c in run.clone() {
                let (from_left, from_right) = (c - run.start, run.end - c);
                let near = [(&left, r, from_left + 1), (&right, r, from_right), (&above, from_left, r + 1), (&below, from_left, rows - r)];
                let near = near.map(|(border, at, distance)| border.as_ref().map(|border| border.around(at, distance)));
                for (k, out) in row[c * m..][..m].iter_mut().enumerate() {
                    let (mut sum, mut weights) = (0i64, 0i64);
                    for stretch in near.iter().flatten() {
                        sum += stretch.weight * stretch.level(k);
                        weights += stretch.weight;
                    }
                    *out = if weights > 0 { (sum / weights) as i16 } else { 0 };
                }
            }
        }
    }
    Ok(())
}

/// A line of features beside a lost tile: running sums of each channel, and of its squares.
struct Border {
    sums: Vec<[i64; 2]>,
    channels: usize,
}

/// Part of a border, as seen from a position in the lost tile.
struct Stretch<'a> {
    from: &'a [[i64; 2]],
    to: &'a [[i64; 2]],
    positions: i64,
    weight: i64,
}

impl Border {
    fn new<'a>(len: usize, channels: usize, at: impl Fn(usize) -> &'a [i16]) -> Result<Self> {
        let mut sums = try_filled((len + 1) * channels, [0; 2])?;
        for i in 0..len {
            let (before, after) = sums.split_at_mut((i + 1) * channels);
            let before = &before[i * channels..];
            for ((sum, before), x) in after.iter_mut().zip(before).zip(at(i)) {
                let x = i64::from(*x);
                *sum = [before[0] + x, before[1] + x * x];
            }
        }
        Ok(Self { sums, channels })
    }

    /// The positions nearest to one that is `distance` away from the border's position `at`.
    fn around(&self, at: usize, distance: usize) -> Stretch<'_> {
        let len = self.sums.len() / self.channels - 1;
        let (start, end) = ((at + 1).saturating_sub(distance), (at + distance).min(len));
        let sums = |i: usize| &self.sums[i * self.channels..][..self.channels];
        Stretch { from: sums(start), to: sums(end), positions: (end - start) as i64, weight: (1 << 16) / distance as i64 }
    }
}

impl Stretch<'_> {
    /// The mean `a` of a channel, times `a^2 / (a^2 + variance)`: what is the same along the border goes on, and texture, whose mean is chance, does not.
    fn level(&self, channel: usize) -> i64 {
        let [from, to] = [self.from[channel], self.to[channel]];
        let (sum, squares) = (to[0] - from[0], to[1] - from[1]);
        if squares == 0 {
            return 0;
        }
        // 15 bits, twice, and 27 bits: a border has at most 2^12 positions.
        let mean = sum / self.positions;
        mean * mean * sum / squares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_colour_is_continued_and_edges_are_blended() {
        let mut x = Tensor::new(4, 12, 2, (0..4 * 12).flat_map(|_| [700, -9]).collect()).unwrap();
        let whole = x.clone();
        x.view_mut().slice_mut(ndarray::s![.., 4..8, ..]).fill(1234);
        // Two tiles side by side are one gap.
        fill(&mut x, &[4..6, 6..8], None, None).unwrap();
        assert_eq!(x.data(), whole.data());

        let mut x = Tensor::new(1, 12, 1, vec![100, 100, 100, 100, 0, 0, 0, 0, 900, 900, 900, 900]).unwrap();
        let given = 4..8;
        fill(&mut x, &[given], None, None).unwrap();
        let data = x.data();
        assert!(data.is_sorted() && data[4] < 300 && data[7] > 700, "{data:?}");
    }

    #[test]
    fn above_and_below_count_where_they_are_known() {
        let (all, last) = (0..3, 2..3);
        let all = std::slice::from_ref(&all);
        let beside = |row| Some(Beside { row, lost: &[] });
        let mut x = Tensor::zeros(3, 3, 1).unwrap();
        fill(&mut x, all, beside(&[5; 3]), None).unwrap();
        assert_eq!(x.data(), [5; 9]);
        fill(&mut x, all, beside(&[0; 3]), beside(&[800; 3])).unwrap();
        assert_eq!(x.data(), [199, 199, 199, 400, 400, 400, 600, 600, 600]);
        fill(&mut x, all, beside(&[7; 3]), Some(Beside { row: &[9; 3], lost: std::slice::from_ref(&last) })).unwrap();
        assert_eq!(x.data(), [7; 9]);
    }

    #[test]
    fn texture_is_not_continued() {
        let mut x = Tensor::new(
            64,
            9,
            1,
            (0..64 * 9)
                .map(|i| {
                    if i % 9 > 0 {
                        0
                    } else if i % 18 == 0 {
                        900
                    } else {
                        -700
                    }
                })
                .collect(),
        )
        .unwrap();
        let lost = 1..9;
        fill(&mut x, &[lost], None, None).unwrap();
        assert_eq!((x.row(32)[1], x.row(33)[1]), (900, -700));
        assert!(x.row(32)[4..].iter().all(|v| v.abs() < 30), "{:?}", x.row(32));
    }

    #[test]
    fn alone_a_tile_becomes_zero() {
        let mut x = Tensor::new(2, 2, 1, vec![7; 4]).unwrap();
        let all = 0..2;
        fill(&mut x, &[all], None, None).unwrap();
        assert_eq!(x.data(), [0; 4]);
    }
}
