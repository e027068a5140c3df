//! Integers to bytes and back (SPEC 3).

mod coder;
mod tables;
mod tile;
mod trellis;

pub(crate) use coder::StreamDecoder;
#[cfg(any(test, feature = "bench-internals"))]
pub(crate) use coder::Symbols;
pub(crate) use tables::{Table, Tables};
pub(crate) use tile::{
    CodedTile, Coding, Skipped, Step, TileCode, TileShape, decode_hyper, decode_tile, encode_tile, encode_tile_under, hyper_latents, hyper_steps, nearest,
};
pub(crate) use trellis::{COST_FRACTION, Code as TrellisCode, Quantiser, State, Trellis, cost, search_bytes};
