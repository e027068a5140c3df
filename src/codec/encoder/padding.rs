//! What a picture is extended by, to the right and downwards, to multiples of 64 pixels (SPEC 6).
//!
//! Nobody sees it, but it has to be coded. Repeating the edge would make stripes of all its texture; here it fades to what it is on average nearby, which is
//! smooth, and costs next to nothing.

/// Pixels over which the edge fades.
const FADE: usize = 8;
/// Pixels that make an average.
const SPAN: usize = 32;
/// Fractional bits of the average that goes from row to row.
const FRACTION: u32 = 8;
/// What a row adds to that average is its difference over two to the power of this.
const INERTIA: u32 = 3;

/// Red, green and blue, as the analysis takes them.
pub(super) type Pixel = [i16; 3];

/// A sum with one pixel more.
fn plus(sum: [i64; 3], pixel: Pixel) -> [i64; 3] {
    std::array::from_fn(|c| sum[c] + i64::from(pixel[c]))
}

/// The right edge, row by row from the top.
#[derive(Debug, Default)]
pub(super) struct RightEdge {
    /// In units of `2^-FRACTION`.
    average: Option<[i32; 3]>,
}

impl RightEdge {
    /// How the next row goes on, whose pixels `pixel` tells.
    pub(super) fn next(&mut self, width: usize, pixel: impl Fn(usize) -> Pixel) -> Margin {
        let first = width.saturating_sub(SPAN);
        let total = (first..width).map(&pixel).fold([0; 3], plus);
        let here = total.map(|v| ((v << FRACTION) / (width - first) as i64) as i32);
        let average = self.average.map_or(here, |old| std::array::from_fn(|c| old[c] + ((here[c] - old[c]) >> INERTIA)));
        self.average = Some(average);
        Margin { edge: pixel(width - 1), average: average.map(|v| (v >> FRACTION) as i16) }
    }
}

/// What is beyond the edge of one row, or of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Margin {
    edge: Pixel,
    average: Pixel,
}

impl Margin {
    /// The pixel `distance` pixels behind the first.
    pub(super) fn pixel(&self, distance: usize) -> Pixel {
        let (part, whole) = ((distance + 1).min(FADE) as i32, FADE as i32);
        let mixed = |c: usize| i32::from(self.edge[c]) * (whole - part) + i32::from(self.average[c]) * part;
        std::array::from_fn(|c| ((mixed(c) + whole / 2).div_euclid(whole)) as i16)
    }
}

/// How the columns go on below the last row, which is extended to the right already.
pub(super) fn bottom_edge(last: &[Pixel]) -> Vec<Margin> {
    let mut sums = Vec::with_capacity(last.len() + 1);
    sums.push([0; 3]);
    for pixel in last {
        sums.push(plus(sums[sums.len() - 1], *pixel));
    }
    let margin = |(column, edge): (usize, &Pixel)| {
        let (first, end) = (column.saturating_sub(SPAN / 2), (column + SPAN / 2).min(last.len()));
        let average = std::array::from_fn(|c| ((sums[end][c] - sums[first][c]) / (end - first) as i64) as i16);
        Margin { edge: *edge, average }
    };
    last.iter().enumerate().map(margin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_pictures_stay_flat() {
        for value in [-16320, -7, 0, 16320] {
            let mut right = RightEdge::default();
            for width in [100, 100, 3] {
                let margin = right.next(width, |_| [value; 3]);
                assert!((0..63).all(|d| margin.pixel(d) == [value; 3]));
            }
            assert!(bottom_edge(&[[value; 3]; 70]).iter().all(|m| m.pixel(0) == [value; 3] && m.pixel(62) == [value; 3]));
        }
    }

    #[test]
    fn edges_fade_to_averages() {
        let stripes = |x: usize| if x.is_multiple_of(2) { [1000, -1000, 0] } else { [3000, 1000, 0] };
        let margin = RightEdge::default().next(64, stripes);
        assert_eq!(margin, Margin { edge: [3000, 1000, 0], average: [2000, 0, 0] });
        assert_eq!([0, 3, 7, 30].map(|d| margin.pixel(d)), [[2875, 875, 0], [2500, 500, 0], [2000, 0, 0], [2000, 0, 0]]);
        let last: Vec<Pixel> = (0..64).map(stripes).collect();
        let below = bottom_edge(&last);
        assert_eq!((below[31].pixel(0), below[31].pixel(7), below[0].pixel(8)), ([2875, 875, 0], [2000, 0, 0], [2000, 0, 0]));
        // From row to row the average follows slowly.
        let mut right = RightEdge::default();
        right.next(64, |_| [0; 3]);
        let averages: Vec<i16> = (0..40).map(|_| right.next(64, |_| [8000; 3]).average[0]).collect();
        assert_eq!(averages[0], 1000);
        assert!(averages.is_sorted() && averages[39] > 7900);
    }

    #[test]
    fn small_pictures_have_edges_too() {
        assert_eq!(RightEdge::default().next(1, |_| [5, 6, 7]), Margin { edge: [5, 6, 7], average: [5, 6, 7] });
        assert_eq!(bottom_edge(&[[5, 6, 7]]), [Margin { edge: [5, 6, 7], average: [5, 6, 7] }]);
    }
}
