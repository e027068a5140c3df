//! What encoding a picture again at another quality need not compute again: the analysis before its first gain, and alpha.

use std::sync::{Arc, Mutex, PoisonError};

use crate::Result;
use crate::codec::transforms::Stages;
use crate::entropy::CodedTile;
use crate::net::{Analysis, AnalysisStages, Engine, Tensor};

/// Pictures of more pixels than this are computed anew each time: features take 8 bytes a pixel.
pub(super) const MAX_PIXELS: u64 = 1 << 26;

/// Features of a picture, band by band, as the first encoding left them.
#[derive(Default)]
struct Bands {
    bands: Vec<Tensor>,
    /// Whether all bands are there; a first encoding that failed leaves only some.
    complete: bool,
}

/// Shared by all encodings of one picture.
#[derive(Clone, Default)]
pub(super) struct Reuse {
    bands: Arc<Mutex<Bands>>,
    /// Of all tiles, once an encoding has come to its end.
    alpha: Arc<Mutex<Option<Vec<CodedTile>>>>,
}

impl Reuse {
    /// An analysis that keeps its first half, or takes it from here.
    pub(super) fn analysis<'n>(&self, analysis: &'n Analysis, quality: u8) -> Reused<'n> {
        let mut bands = self.bands.lock().unwrap_or_else(PoisonError::into_inner);
        if !bands.complete {
            bands.bands.clear();
        }
        Reused { front: (!bands.complete).then(|| analysis.front()), back: analysis.back(quality), shared: self.clone(), next: 0 }
    }

    /// The alpha that an earlier encoding left here.
    pub(super) fn alpha(&self) -> Option<Vec<CodedTile>> {
        self.alpha.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves alpha for the next one.
    pub(super) fn keep_alpha(&self, tiles: Option<&Vec<CodedTile>>) {
        *self.alpha.lock().unwrap_or_else(PoisonError::into_inner) = tiles.cloned();
    }
}

/// An analysis under way.
pub(super) struct Reused<'n> {
    /// `None` if its results are known.
    front: Option<AnalysisStages<'n>>,
    back: AnalysisStages<'n>,
    shared: Reuse,
    next: usize,
}

impl Stages for Reused<'_> {
    fn push(&mut self, engine: &Engine, x: Tensor, last: bool) -> Result<Tensor> {
        let features = match &mut self.front {
            Some(front) => {
                let features = front.push(engine, x, last)?;
                let mut shared = self.shared.bands.lock().unwrap_or_else(PoisonError::into_inner);
                shared.bands.push(features.rows_from(engine, 0, features.rows())?);
                shared.complete = last;
                features
            }
            None => {
                // The same picture comes in the same bands.
                engine.recycle(x);
                let shared = self.shared.bands.lock().unwrap_or_else(PoisonError::into_inner);
                let known = &shared.bands[self.next];
                known.rows_from(engine, 0, known.rows())?
            }
        };
        self.next += 1;
        self.back.push(engine, features, last)
    }
}
