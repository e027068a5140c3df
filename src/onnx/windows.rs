//! A transform on windows of the picture: what the native stages do row by row, a graph does piece by piece.
//!
//! A result depends on inputs at most `margin` latents away (R5.10), so windows that overlap by twice that give the picture's numbers without seams. All
//! windows of a picture have the same size, so that a device compiles and keeps memory for one: at the lower and right edge they are moved back instead of cut.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::chain::Chain;
use super::graph::Direction;
use super::session::{Attempt, Network};
use crate::net::{Engine, INPUTS, Model, OUTPUTS, Tensor};
use crate::{Device, Error, Result};

/// Largest side of a graphics processor's windows in latents: with a halo of 5, it computes 16 % twice.
pub(crate) const MAX_SIDE: usize = 138;
/// The same for the processor. More is computed twice, but more of it in the cache: twice the side takes 20 % longer, and 300 MB more.
const MAX_CPU_SIDE: usize = 58;
/// Most windows that a graphics processor gets at once.
pub(crate) const BATCH: usize = 4;

fn max_side(device: Device) -> usize {
    if matches!(device, Device::Cuda | Device::TensorRt) { MAX_SIDE } else { MAX_CPU_SIDE }
}

/// A window's first position, and the positions for which its results count.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    start: usize,
    core: Range<usize>,
}

/// The side of windows of at most `max` that cover `0 .. total`, as few and as small as will do.
fn even_side(total: usize, max: usize, halo: usize) -> usize {
    let count = total.saturating_sub(2 * halo).div_ceil(max - 2 * halo).max(1);
    (total + (count - 1) * 2 * halo).div_ceil(count)
}

/// Covers `0 .. total` with windows of `side`, or with one if that is enough.
fn places(total: usize, side: usize, halo: usize) -> Vec<Place> {
    let (mut places, mut done) = (Vec::new(), 0);
    while done < total {
        let start = done.saturating_sub(halo).min(total.saturating_sub(side));
        let end = if start + side >= total { total } else { start + side - halo };
        places.push(Place { start, core: done..end });
        done = end;
    }
    places
}

/// A transform under way. Takes rows as the native stages do, and gives the same.
pub(crate) struct Windows<'m> {
    chain: Chain,
    model: &'m Model,
    direction: Direction,
    quality: u8,
    /// Size of the whole in latents.
    columns: usize,
    /// A window's size in latents.
    side: [usize; 2],
    /// Windows from the top that have not been computed.
    bands: std::vec::IntoIter<Place>,
    next: Option<Place>,
    across: Vec<Place>,
    /// Rows of the input from the first that is needed again.
    rows: Vec<i16>,
    first_row: usize,
}

/// Numbers at a latent's place on each side, channels, in the input or the output.
#[derive(Debug, Clone, Copy)]
struct Layout {
    scale: usize,
    channels: usize,
}

impl Layout {
    fn dims(self, pieces: usize, side: [usize; 2]) -> [usize; 4] {
        [pieces, side[0] * self.scale, side[1] * self.scale, self.channels]
    }
}

impl<'m> Windows<'m> {
    /// A transform of `rows x columns` latents. Networks are loaded here.
    ///
    /// # Errors
    /// [`Error::Device`] if the chain has no device that can be used.
    pub(crate) fn new(chain: Chain, model: &'m Model, direction: Direction, quality: u8, rows: usize, columns: usize) -> Result<Self> {
        let side = max_side(chain.device());
        Self::with_side(chain, model, direction, quality, [rows, columns], side)
    }

    /// With windows of another size, more than two halos.
    pub(super) fn with_side(mut chain: Chain, model: &'m Model, direction: Direction, quality: u8, [rows, columns]: [usize; 2], side: usize) -> Result<Self> {
        let halo = direction.margin(model)?;
        // A model of many blocks needs a wide halo.
        let most = side.max(4 * halo);
        chain.prepare(model, direction)?;
        let side = [rows, columns].map(|total| even_side(total, most, halo));
        let mut bands = places(rows, side[0], halo).into_iter();
        let next = bands.next();
        let across = places(columns, side[1], halo);
        Ok(Self { chain, model, direction, quality, columns, side, bands, next, across, rows: Vec::new(), first_row: 0 })
    }

    /// For tests: the present device fails.
    #[cfg(test)]
    pub(super) fn fail(&mut self) -> Result<()> {
        self.chain.after(&super::session::Trouble("it has run out of memory".into()), self.model, self.direction)
    }

    fn input(&self) -> Layout {
        match self.direction {
            Direction::Analysis => Layout { scale: 2, channels: INPUTS },
            Direction::Synthesis => Layout { scale: 1, channels: self.model.header().m },
        }
    }

    fn output(&self) -> Layout {
        match self.direction {
            Direction::Analysis => Layout { scale: 1, channels: self.model.header().m },
            Direction::Synthesis => Layout { scale: 2, channels: OUTPUTS },
        }
    }

    /// Takes the next rows, possibly none, and gives those that are finished, possibly none.
    ///
    /// # Errors
    /// [`Error::Device`] if the last device of the chain fails, [`Error::Limits`] if memory runs out.
    pub(crate) fn push(&mut self, engine: &Engine, x: Tensor) -> Result<Tensor> {
        let (input, output) = (self.input(), self.output());
        let input_row = self.columns * input.scale * input.channels;
        let len = x.data().len();
        self.rows.try_reserve(len).map_err(|_| Error::Limits("there is no memory for the rows of a window".into()))?;
        self.rows.extend_from_slice(x.data());
        engine.recycle(x);
        let mut out = engine.tensor(0, self.columns * output.scale, output.channels)?;
        while let Some(place) = self.next.clone().filter(|p| self.first_row + self.rows.len() / input_row >= (p.start + self.side[0]) * input.scale) {
            let band = self.band(engine, &place)?;
            out = engine.join(Some(out), band)?;
            self.next = self.bands.next();
            // What the next window does not reach back to.
            let keep = self.next.as_ref().map_or(self.first_row + self.rows.len() / input_row, |next| next.start * input.scale);
            self.rows.drain(..(keep - self.first_row) * input_row);
            self.first_row = keep;
        }
        Ok(out)
    }

    /// The results of a row of windows.
    fn band(&mut self, engine: &Engine, place: &Place) -> Result<Tensor> {
        let (input, output) = (self.input(), self.output());
        let mut out = engine.tensor(place.core.len() * output.scale, self.columns * output.scale, output.channels)?;
        let across = std::mem::take(&mut self.across);
        let mut rest = &across[..];
        while !rest.is_empty() {
            let most = self.chain.batch().min(rest.len());
            let (now, later) = rest.split_at(most);
            let first = (place.start * input.scale - self.first_row) * self.columns * input.scale * input.channels;
            let source = Source { rows: &self.rows[first..], row_len: self.columns * input.scale * input.channels };
            let dims = [input.dims(now.len(), self.side), output.dims(now.len(), self.side)];
            let run = Run { places: now, dims, source, output, band: place, row_len: self.columns * output.scale * output.channels };
            match self.chain.network() {
                Some(network) => {
                    let mut network = network.lock().unwrap_or_else(PoisonError::into_inner);
                    let result = run.on(&mut network, self.quality, input, out.data_mut());
                    drop(network);
                    match result {
                        Ok(true) => (),
                        Ok(false) => run.natively(engine, self.model, self.direction, self.quality, input, out.data_mut())?,
                        Err(trouble) => {
                            // Fewer at a time first, then another device; the same windows again.
                            self.chain.after(&trouble, self.model, self.direction)?;
                            continue;
                        }
                    }
                }
                None => run.natively(engine, self.model, self.direction, self.quality, input, out.data_mut())?,
            }
            rest = later;
        }
        self.across = across;
        Ok(out)
    }
}

/// Rows of the input from a window's first row on.
#[derive(Clone, Copy)]
struct Source<'a> {
    rows: &'a [i16],
    row_len: usize,
}

/// Some windows of a band, computed at once.
struct Run<'a> {
    places: &'a [Place],
    /// Of input and output.
    dims: [[usize; 4]; 2],
    source: Source<'a>,
    output: Layout,
    band: &'a Place,
    /// Numbers in a row of the result.
    row_len: usize,
}

impl Run<'_> {
    fn on(&self, network: &mut Network, quality: u8, input: Layout, out: &mut [i16]) -> Attempt<bool> {
        let [input_dims, output_dims] = self.dims;
        let piece = |dims: [usize; 4]| dims[1..].iter().product::<usize>();
        network.run(
            quality,
            input_dims,
            output_dims,
            |x| x.chunks_exact_mut(piece(input_dims)).zip(self.places).for_each(|(x, place)| self.gather(place, input, x)),
            |y| y.chunks_exact(piece(output_dims)).zip(self.places).for_each(|(y, place)| self.scatter(place, y, out)),
        )
    }

    /// The same, by the native network.
    fn natively(&self, engine: &Engine, model: &Model, direction: Direction, quality: u8, input: Layout, out: &mut [i16]) -> Result<()> {
        let [_, rows, columns, channels] = self.dims[0];
        for place in self.places {
            let mut x = engine.tensor(rows, columns, channels)?;
            self.gather(place, input, x.data_mut());
            let y = match direction {
                Direction::Analysis => model.analysis()?.stages(quality).push(engine, x, true)?,
                Direction::Synthesis => model.synthesis()?.stages(quality).push(engine, x, true)?,
            };
            self.scatter(place, y.data(), out);
            engine.recycle(y);
        }
        Ok(())
    }

    /// Copies a window from the rows of the input.
    fn gather(&self, place: &Place, input: Layout, window: &mut [i16]) {
        let len = self.dims[0][2] * input.channels;
        for (to, from) in window.chunks_exact_mut(len).zip(self.source.rows.chunks_exact(self.source.row_len)) {
            to.copy_from_slice(&from[place.start * input.scale * input.channels..][..len]);
        }
    }

    /// Copies a window's core to its place among the results.
    fn scatter(&self, place: &Place, window: &[i16], out: &mut [i16]) {
        let Layout { scale, channels } = self.output;
        let skip = (self.band.core.start - self.band.start) * scale;
        let from = (place.core.start - place.start) * scale * channels;
        let (to, len) = (place.core.start * scale * channels, place.core.len() * scale * channels);
        for (line, window) in out.chunks_exact_mut(self.row_len).zip(window.chunks_exact(self.dims[1][2] * channels).skip(skip)) {
            line[to..to + len].copy_from_slice(&window[from..from + len]);
        }
    }
}

/// A network of a chain.
pub(crate) type Shared = Arc<Mutex<Network>>;

/// About how many bytes of the processor's memory a device needs: the rows that wait and those that are done, features of 32 bits for a window, weights.
pub(crate) fn memory(model: &Model, device: Device, rows: usize, columns: usize) -> u64 {
    if device == Device::Native {
        return 0;
    }
    let side = max_side(device);
    let (h, rows, columns) = (model.header(), rows.min(side) as u64, columns as u64);
    let waiting = rows * columns * 2 * (h.m + 4 * OUTPUTS) as u64;
    let features = 4 * rows * columns.min(side as u64) * h.c8 as u64 * 4 * FEATURES;
    waiting + features + 2 * model.network_bytes(false)
}

/// Tensors of features that ONNX Runtime holds at a time, as measured.
const FEATURES: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_as_few_and_as_small_as_will_do() {
        for halo in [0, 1, 5] {
            for max in [4 * halo + 1, 58, 138] {
                for total in 1..300 {
                    let side = even_side(total, max, halo);
                    let count = places(total, side, halo).len();
                    assert!(side <= max.min(total) && count <= places(total, max, halo).len(), "{total} {max} {halo}: {side}");
                }
            }
        }
    }

    #[test]
    fn windows_cover_everything_once_with_their_halos() {
        for (total, side, halo) in [(1, 138, 5), (138, 138, 5), (139, 138, 5), (1000, 138, 5), (137, 20, 5), (4, 4, 1), (9, 4, 1), (64, 10, 4), (12, 16, 4)] {
            let places = places(total, side, halo);
            let mut done = 0;
            for place in &places {
                assert_eq!(place.core.start, done);
                assert!(!place.core.is_empty());
                done = place.core.end;
                let end = place.start + side.min(total);
                assert!(end <= total && place.core.end <= end);
                assert!(place.start == 0 || place.core.start >= place.start + halo, "{place:?} of {total}");
                assert!(end == total || place.core.end + halo <= end, "{place:?} of {total}");
            }
            assert_eq!(done, total);
        }
    }
}
