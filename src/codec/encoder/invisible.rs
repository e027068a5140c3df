//! Colours of pixels that are transparent, or nearly so (SPEC 6).
//!
//! Nobody sees them, but they have to be coded. What programs leave there, white, black, or what was cut away, makes edges and texture that cost bits. Here it is
//! what the visible pixels around are on average: near them over few pixels, further away over many, which costs next to nothing. That is push-pull
//! interpolation (Gortler, Grzeszczuk, Szeliski, Cohen: The Lumigraph, 1996), of opacity as the weight. What is nearly transparent changes by less than one level of 255
//! over any background. Where colours go on smoothly as they are, as where a mask hides a part of a gradient, they stay.

use crate::picture::samples::Sample;
use crate::picture::try_filled;
use crate::{Channels, Result, SampleDepth};

/// Weight of what is known for certain.
const WHOLE: u32 = 255;
/// Weights of pixels that may change are smaller: a quarter of opaque.
const CLEAR: u16 = 64;
/// Where nothing is visible at all.
const MIDDLE: u16 = 0x8080;

/// Fills what is invisible, band by band from the top.
#[derive(Debug)]
pub(super) struct Fill {
    width: usize,
    channels: Channels,
    /// The last row above, as it was filled, so that bands go on in one another. None at the top.
    above: Vec<Cell>,
}

/// A colour of up to three channels, and how sure it is, 0 to [`WHOLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cell {
    colour: [u16; 3],
    weight: u16,
}

impl Fill {
    pub(super) fn new(width: usize, channels: Channels) -> Self {
        Self { width, channels, above: Vec::new() }
    }

    /// Gives the pixels of the next rows that are transparent, or nearly so, other colours, if these are smoother. There is an alpha channel.
    ///
    /// # Errors
    /// [`Error::Limits`](crate::Error::Limits) if memory runs out.
    pub(super) fn rows<S: Sample>(&mut self, samples: &mut [S]) -> Result<()> {
        let count = self.channels.count();
        if samples.chunks_exact(count).any(|pixel| cell(pixel).weight < CLEAR) {
            let mut filled = try_filled(samples.len(), S::default())?;
            filled.copy_from_slice(samples);
            self.fill(&mut filled)?;
            if self.roughness(&filled) <= self.roughness(samples) {
                samples.copy_from_slice(&filled);
            }
        }
        let last = samples.chunks_exact(self.width * count).next_back().unwrap_or_default();
        self.above.clear();
        self.above.extend(last.chunks_exact(count).map(|pixel| Cell { weight: WHOLE as u16, ..cell(pixel) }));
        Ok(())
    }

    fn fill<S: Sample>(&self, samples: &mut [S]) -> Result<()> {
        let count = self.channels.count();
        let (first, rows) = self.extent(samples);
        let known = &*samples;
        let mut levels = vec![Plane::of((rows, self.width), |row, column| self.at(known, row, column))?];
        while let Some(finer) = levels.last().filter(|plane| plane.rows > 1 || plane.columns > 1) {
            let coarser = Plane::of((finer.rows, finer.columns), |row, column| finer.cells[row * finer.columns + column])?;
            levels.push(coarser);
        }
        // The only cell of the last one is all that is known.
        let mut coarser = levels.pop().unwrap_or_default();
        coarser.cells.iter_mut().filter(|cell| cell.weight == 0).for_each(|cell| cell.colour = [MIDDLE; 3]);
        while let Some(mut finer) = levels.pop() {
            for row in 0..finer.rows {
                for column in 0..finer.columns {
                    let cell = &mut finer.cells[row * finer.columns + column];
                    *cell = mixed(*cell, coarser.between(row, column));
                }
            }
            coarser = finer;
        }
        for (row, line) in samples.chunks_exact_mut(self.width * count).enumerate() {
            for (column, pixel) in line.chunks_exact_mut(count).enumerate() {
                let (own, room) = (cell(pixel), room(pixel[count - 1].to_u16()));
                if own.weight >= CLEAR {
                    continue;
                }
                let around = mixed(own, coarser.between(row + first, column)).colour;
                for (c, sample) in pixel[..count - 1].iter_mut().enumerate() {
                    let v = around[c].clamp(own.colour[c].saturating_sub(room), own.colour[c].saturating_add(room));
                    *sample = S::from_stored(v, SampleDepth::Sixteen);
                }
            }
        }
        Ok(())
    }

    /// How many rows above are known, and how many there are with them.
    fn extent<S>(&self, samples: &[S]) -> (usize, usize) {
        let first = usize::from(!self.above.is_empty());
        (first, samples.len() / self.channels.count() / self.width + first)
    }

    fn at<S: Sample>(&self, samples: &[S], row: usize, column: usize) -> Cell {
        let (count, (first, _)) = (self.channels.count(), self.extent(samples));
        row.checked_sub(first).map_or_else(|| self.above[column], |row| cell(&samples[(row * self.width + column) * count..][..count]))
    }

    /// How much colours bend, over three pixels in a row or column of which one at least may change: the sum of squares.
    fn roughness<S: Sample>(&self, samples: &[S]) -> u64 {
        let (_, rows) = self.extent(samples);
        let bend = |three: [Cell; 3]| -> u64 {
            if three.iter().all(|cell| cell.weight >= CLEAR) {
                return 0;
            }
            let [a, b, c] = three.map(|cell| cell.colour.map(i64::from));
            // Sixteenths are enough, and fit for bands of any width.
            (0..3).map(|i| ((a[i] - 2 * b[i] + c[i]).unsigned_abs() >> 4).pow(2)).sum()
        };
        let mut sum = 0;
        for row in 0..rows {
            for column in 0..self.width {
                if column >= 2 {
                    sum += bend([2, 1, 0].map(|back| self.at(samples, row, column - back)));
                }
                if row >= 2 {
                    sum += bend([2, 1, 0].map(|back| self.at(samples, row - back, column)));
                }
            }
        }
        sum
    }
}

/// How much a colour with this alpha may change, all in 16 bits: less than one level of 255 is seen of it, even after rounding to 8 bits.
fn room(alpha: u16) -> u16 {
    const LEVEL: u32 = 257;
    (u32::from(u16::MAX) * LEVEL).checked_div(u32::from(alpha)).map_or(u16::MAX, |most| most.saturating_sub(LEVEL).min(u32::from(u16::MAX)) as u16)
}

/// A pixel with alpha. What is nearly transparent counts as little, of a pixel that is wholly so its colour not at all.
fn cell<S: Sample>(pixel: &[S]) -> Cell {
    let (mut colour, alpha) = ([0; 3], pixel[pixel.len() - 1].to_u16());
    colour.iter_mut().zip(&pixel[..pixel.len() - 1]).for_each(|(v, sample)| *v = sample.to_u16());
    Cell { colour, weight: if alpha == 0 { 0 } else { (alpha >> 8).max(1) } }
}

/// What is not sure of a cell comes from what is around it.
fn mixed(cell: Cell, around: [u16; 3]) -> Cell {
    let weight = u32::from(cell.weight);
    let colour = std::array::from_fn(|c| ((u32::from(cell.colour[c]) * weight + u32::from(around[c]) * (WHOLE - weight) + WHOLE / 2) / WHOLE) as u16);
    Cell { colour, weight: WHOLE as u16 }
}

/// Cells that stand for two by two of the next finer plane each.
#[derive(Debug, Default)]
struct Plane {
    rows: usize,
    columns: usize,
    cells: Vec<Cell>,
}

impl Plane {
    /// The averages of a finer plane of `rows` and `columns`.
    fn of((rows, columns): (usize, usize), finer: impl Fn(usize, usize) -> Cell) -> Result<Self> {
        let mut plane = Self { rows: rows.div_ceil(2), columns: columns.div_ceil(2), cells: Vec::new() };
        plane.cells = try_filled(plane.rows * plane.columns, Cell::default())?;
        for row in 0..plane.rows {
            for column in 0..plane.columns {
                let (mut sum, mut weights) = ([0; 3], 0);
                for y in row * 2..(row * 2 + 2).min(rows) {
                    for x in column * 2..(column * 2 + 2).min(columns) {
                        let Cell { colour, weight } = finer(y, x);
                        sum.iter_mut().zip(colour).for_each(|(sum, v)| *sum += u32::from(v) * u32::from(weight));
                        weights += u32::from(weight);
                    }
                }
                if weights > 0 {
                    let colour = sum.map(|v| ((v + weights / 2) / weights) as u16);
                    plane.cells[row * plane.columns + column] = Cell { colour, weight: weights.min(WHOLE) as u16 };
                }
            }
        }
        Ok(plane)
    }

    /// The colour at a place of the next finer plane, interpolated.
    fn between(&self, row: usize, column: usize) -> [u16; 3] {
        // The centres of the finer cells lie a quarter beside those of these.
        let near = |at: usize, len: usize| (at / 2, if at.is_multiple_of(2) { (at / 2).saturating_sub(1) } else { (at / 2 + 1).min(len - 1) });
        let ((row, other_row), (column, other_column)) = (near(row, self.rows), near(column, self.columns));
        let at = |row: usize, column: usize| self.cells[row * self.columns + column].colour;
        let corners = [at(row, column), at(row, other_column), at(other_row, column), at(other_row, other_column)];
        std::array::from_fn(|c| {
            let [a, b, c, d] = corners.map(|colour| u32::from(colour[c]));
            ((9 * a + 3 * b + 3 * c + d + 8) / 16) as u16
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise whose alpha goes from nothing to a quarter and on, and what is made of it.
    fn noise<S: Sample>(depth: SampleDepth, fill: bool) -> Vec<S> {
        let values = (0..64 * 30 * 4u32).map(|i| {
            let noise = i.wrapping_mul(2_654_435_761) >> 16;
            S::from_stored(if i % 4 == 3 { (i / 4 % 64 * 300) as u16 } else { noise as u16 }, depth)
        });
        let mut samples: Vec<S> = values.collect();
        if fill {
            Fill::new(64, Channels::Rgba).rows(&mut samples).unwrap();
        }
        samples
    }

    #[test]
    fn what_is_visible_stays() {
        fn check<S: Sample>() {
            let (old, new) = (noise::<S>(SampleDepth::Sixteen, false), noise::<S>(SampleDepth::Sixteen, true));
            let (mut changed, mut kept) = (0, 0);
            for (new, old) in new.chunks_exact(4).zip(old.chunks_exact(4)) {
                let [new, old] = [new, old].map(|pixel| [0, 1, 2, 3].map(|c| u64::from(pixel[c].to_u16())));
                assert_eq!(new[3], old[3]);
                for c in 0..3 {
                    // Less than one level of 255 over any background.
                    assert!(new[c].abs_diff(old[c]) * old[3] < 257 * 65535, "{old:?} {new:?}");
                }
                changed += usize::from(new != old);
                kept += usize::from(old[3] >= 0x4000);
                assert!(old[3] < 0x4000 || new == old);
            }
            assert!(changed > 1000 && kept > 200, "{changed} {kept}");
        }
        check::<u8>();
        check::<u16>();
    }

    #[test]
    fn flat_colours_go_on_as_they_are() {
        // One visible pixel, and a row of bands that have none.
        for place in [0, 3 * 50 + 7, 20 * 50 - 1] {
            let mut fill = Fill::new(50, Channels::Rgba);
            let mut samples = [9u16, 9, 9, 0].repeat(50 * 20);
            samples[place * 4..][..4].copy_from_slice(&[60000, 1234, 77, 300]);
            fill.rows(&mut samples).unwrap();
            assert!(samples.chunks_exact(4).all(|pixel| pixel[..3] == [60000, 1234, 77]), "{place}");
            let mut next = [65535u16, 0, 65535, 0].repeat(50 * 3);
            fill.rows(&mut next).unwrap();
            assert!(next.chunks_exact(4).all(|pixel| pixel == [60000, 1234, 77, 0]), "{place}");
        }
    }

    #[test]
    fn what_goes_on_smoothly_stays() {
        // A slope behind stripes; then noise behind them.
        let mut fill = Fill::new(160, Channels::GrayAlpha);
        let stripes = |colour: fn(u32) -> u32| -> Vec<u8> { (0..160 * 64).flat_map(|i| [colour(i) as u8, if i / 8 % 2 == 0 { 0 } else { 255 }]).collect() };
        let slope = stripes(|i| i % 160 + i / 160);
        let mut samples = slope.clone();
        fill.rows(&mut samples).unwrap();
        assert!(samples == slope);
        let noise = stripes(|i| i.wrapping_mul(2_654_435_761) >> 24);
        let mut samples = noise.clone();
        fill.rows(&mut samples).unwrap();
        assert!(samples != noise);
    }

    #[test]
    fn where_nothing_is_visible_it_is_the_middle() {
        for rows in [1, 2, 31] {
            let mut samples = [200u8, 0].repeat(13 * rows);
            Fill::new(13, Channels::GrayAlpha).rows(&mut samples).unwrap();
            assert!(samples.chunks_exact(2).all(|pixel| pixel == [128, 0]));
        }
    }

    #[test]
    fn it_is_smooth() {
        // Left black and right white, with a gap, in two bands.
        let (width, gap) = (200, 60..140);
        let mut fill = Fill::new(width, Channels::GrayAlpha);
        let mut last: Vec<u8> = Vec::new();
        for _ in 0..2 {
            let row = (0..width).flat_map(|x| if gap.contains(&x) { [(x * 97) as u8, 0] } else { [if x < 100 { 0 } else { 255 }, 255] });
            let mut samples: Vec<u8> = row.collect::<Vec<_>>().repeat(64);
            fill.rows(&mut samples).unwrap();
            let gray: Vec<u8> = samples.chunks_exact(2).map(|pixel| pixel[0]).collect();
            for row in gray.chunks_exact(width) {
                let steps = row.windows(2).map(|two| two[0].abs_diff(two[1]));
                assert!(steps.clone().max() < Some(16), "{row:?}");
            }
            let rows: Vec<&[u8]> = gray.chunks_exact(width).collect();
            assert!(rows.windows(2).all(|two| two[0].iter().zip(two[1]).all(|(a, b)| a.abs_diff(*b) < 24)));
            if !last.is_empty() {
                assert!(last.iter().zip(rows[0]).all(|(a, b)| a.abs_diff(*b) < 24));
            }
            last = rows[63].to_vec();
        }
    }
}
