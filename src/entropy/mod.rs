//! Integers to bytes and back (SPEC 3).

mod coder;
mod rounding;
mod tables;
mod tile;

pub(crate) use coder::StreamDecoder;
#[cfg(any(test, feature = "bench-internals"))]
pub(crate) use coder::Symbols;
pub(crate) use rounding::{COST_FRACTION, Rounding, cost};
pub(crate) use tables::{Table, Tables};
pub(crate) use tile::{
    CodedTile, Skipped, TileCode, TileShape, decode_hyper, decode_tile, encode_tile, encode_tile_under, hyper_latents, hyper_steps, nearest,
};
