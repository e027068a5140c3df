//! What stands in for lost tiles (SPEC 8).
//!
//! Each feature is a mean of the nearest ones to the left, to the right and above, weighted by nearness, and each of these is a mean along the tile's border, over
//! as many positions as it is away: near the border the picture goes on as it was, and further inside only its colour does.

use std::ops::Range;

use crate::Result;
use crate::net::Tensor;
use crate::picture::try_filled;

/// Fills the lost columns of a row of tiles. `above` is the row of features over it, as wide as `x`, if there is one.
pub(super) fn fill(x: &mut Tensor, lost: &[Range<usize>], above: Option<&Tensor>) -> Result<()> {
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
        let above = above.map(|above| Border::new(above.columns(), m, |c| &above.row(0)[c * m..][..m])).transpose()?;
        let row_len = x.row_len();
        for (r, row) in x.data_mut().chunks_exact_mut(row_len).enumerate() {
            for c in run.clone() {
                let near = [(&left, r, c + 1 - run.start), (&right, r, run.end - c), (&above, c, r + 1)];
                let near = near.map(|(border, at, distance)| border.as_ref().map(|border| border.around(at, distance)));
                for (k, out) in row[c * m..][..m].iter_mut().enumerate() {
                    let (mut sum, mut weights) = (0i64, 0i64);
                    for stretch in near.iter().flatten() {
                        sum += stretch.weight * stretch.mean(k);
                        weights += stretch.weight;
                    }
                    *out = if weights > 0 { (sum / weights) as i16 } else { 0 };
                }
            }
        }
    }
    Ok(())
}

/// A line of features beside a lost tile: running sums of each channel.
struct Border {
    sums: Vec<i32>,
    channels: usize,
}

/// Part of a border, as seen from a position in the lost tile.
struct Stretch<'a> {
    from: &'a [i32],
    to: &'a [i32],
    positions: i64,
    weight: i64,
}

impl Border {
    fn new<'a>(len: usize, channels: usize, at: impl Fn(usize) -> &'a [i16]) -> Result<Self> {
        // No line is longer than 2^12 positions of 16 bits.
        let mut sums = try_filled((len + 1) * channels, 0)?;
        for i in 0..len {
            let (before, after) = sums.split_at_mut((i + 1) * channels);
            let before = &before[i * channels..];
            after.iter_mut().zip(before).zip(at(i)).for_each(|((sum, before), x)| *sum = before + i32::from(*x));
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
    fn mean(&self, channel: usize) -> i64 {
        i64::from(self.to[channel] - self.from[channel]) / self.positions
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
        fill(&mut x, &[4..6, 6..8], None).unwrap();
        assert_eq!(x.data(), whole.data());

        let mut x = Tensor::new(1, 12, 1, vec![100, 100, 100, 100, 0, 0, 0, 0, 900, 900, 900, 900]).unwrap();
        let given = 4..8;
        fill(&mut x, &[given], None).unwrap();
        let data = x.data();
        assert!(data.is_sorted() && data[4] < 300 && data[7] > 700, "{data:?}");
        let above = Tensor::new(1, 3, 1, vec![5, 5, 5]).unwrap();
        let mut x = Tensor::zeros(2, 3, 1).unwrap();
        let all = 0..3;
        fill(&mut x, &[all], Some(&above)).unwrap();
        assert_eq!(x.data(), [5; 6]);
    }

    #[test]
    fn alone_a_tile_becomes_zero() {
        let mut x = Tensor::new(2, 2, 1, vec![7; 4]).unwrap();
        let all = 0..2;
        fill(&mut x, &[all], None).unwrap();
        assert_eq!(x.data(), [0; 4]);
    }
}
