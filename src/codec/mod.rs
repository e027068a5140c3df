//! One picture through the whole flow; [`encoder`] and [`decoder`] mirror each other.

mod alpha;
mod decoder;
mod encoder;
mod limits;
mod preview;
mod quality;

use std::sync::Arc;

pub use decoder::{Breakdown, Decoder, DecoderOptions};
pub use encoder::Encoder;
pub use limits::Limits;
pub use quality::Quality;

/// Rows of 8 x 8 pixel cells that go through the transforms at a time. More keep more threads busy, fewer need less memory and stay in the cache.
const BAND: usize = 16;

/// Told how far the work has come: steps done, steps in all.
type Progress = Option<Arc<dyn Fn(u64, u64) + Send + Sync>>;

/// Tells how many rows of pixels are done.
fn report(progress: &Progress, done: u32, total: u32) {
    if let Some(progress) = progress {
        progress(done.into(), total.into());
    }
}

#[cfg(test)]
mod tests;
