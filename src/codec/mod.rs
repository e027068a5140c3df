//! One picture through the whole flow; [`encoder`] and [`decoder`] mirror each other.

mod alpha;
mod decoder;
mod device;
mod encoder;
mod filtered;
mod limits;
mod lossless;
mod memory;
mod preview;
mod quality;
mod transforms;

use std::ops::ControlFlow;
use std::sync::Arc;

pub use decoder::{Breakdown, Damage, Decoder, DecoderOptions, LostAlpha, LostMetadata, LostTile};
pub use device::Device;
pub use encoder::{Encoder, Layout, Lossless, Target, Tune};
pub use limits::Limits;
pub use quality::Quality;

use crate::{Error, Result};

/// Rows of 8 x 8 pixel cells that go through the transforms at a time. More keep more threads busy, fewer need less memory and stay in the cache.
const BAND: usize = 16;

/// Whether each of a row's tiles is one thread's work: where there are enough of them. Else all threads work on one tile after the other.
fn by_tile(tiles: usize) -> bool {
    tiles > 1 && tiles >= rayon::current_num_threads()
}

/// Told how far the work has come, steps done and steps in all; says whether to go on.
type Progress = Option<Arc<dyn Fn(u64, u64) -> ControlFlow<()> + Send + Sync>>;

/// Tells how many rows of pixels are done. An error if the work is to end.
fn report(progress: &Progress, done: u32, total: u32) -> Result<()> {
    match progress.as_ref().map(|progress| progress(done.into(), total.into())) {
        Some(ControlFlow::Break(())) => Err(Error::Cancelled),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
