//! Parts of the estimates of memory. `tests/memory.rs` compares them with what is used.

use super::BAND;
use crate::net::{Blocks, Header, OUTPUTS, SHARED, kernel};

/// Bytes of so many 16-bit channels at so many positions.
pub(super) fn features(positions: u64, channels: usize) -> u64 {
    positions * channels as u64 * size_of::<i16>() as u64
}

/// What the threads keep for the kernel that share so many positions at 1/8.
fn scratch(h: &Header, positions: u64) -> u64 {
    let inputs = (4 * h.c8.max(h.ce)).max(2 * h.c16).max(h.ce + h.m);
    let threads = (rayon::current_num_threads() as u64).min(positions.div_ceil(SHARED as u64));
    kernel().map_or(0, |kernel| kernel.scratch(inputs) as u64 * threads)
}

/// What a transform with these blocks, analysis or synthesis, of a picture holds that has so many columns of latents: each block its last rows, and five bands of
/// features at 1/8 while a band goes through, with the engine's pool; and what the kernel needs.
pub(super) fn transform(h: &Header, blocks: Blocks, columns: u64) -> u64 {
    let wide = h.c8.max(h.c16 / 2);
    let blocks16 = features(columns, 3 * usize::from(blocks.n16) * h.c16);
    features(2 * columns, wide * (5 * (BAND + 2) + 3 * blocks.n8()) + OUTPUTS * 2 * BAND) + blocks16 + scratch(h, 2 * columns * BAND as u64)
}
