//! Learned image compression that decodes to the same bits on every machine.
//!
//! A neural *analysis* network turns a picture into integers, an entropy coder packs them into an `.aei` file, and a *synthesis* network gives the
//! picture back. One embedded model serves every quality. The decoder uses integer arithmetic alone, from the first byte to the last pixel, so that a file
//! means the same picture on every processor; `format-spec/SPEC.md` says exactly which.
//!
//! ```
//! use aei::{Decoder, Encoder, Picture, Quality};
//!
//! let samples = (0..64 * 48 * 3).map(|i| (i % 251) as u8).collect();
//! let picture = Picture::rgb(64, 48, samples)?;
//! let file = Encoder::new().quality(Quality::percent(60)?).encode(&picture)?;
//! let decoded = Decoder::new(&file[..])?.decode()?;
//! assert_eq!((decoded.width(), decoded.height()), (64, 48));
//! # Ok::<(), aei::Error>(())
//! ```
//!
//! Parts of large files, and pictures that do not fit into memory:
//!
//! ```
//! # use aei::{Channels, Decoder, Encoder, Layout};
//! # let path = std::env::temp_dir().join(format!("aei-doctest-{}.aei", std::process::id()));
//! let mut next_row = 0;
//! let file = Encoder::new().encode_rows(Layout::new(300, 500, Channels::Gray)?, |rows| {
//!     rows.chunks_exact_mut(300).for_each(|row| {
//!         row.fill((next_row / 2) as u8);
//!         next_row += 1;
//!     });
//!     Ok(())
//! })?;
//! # std::fs::write(&path, &file)?;
//!
//! let decoder = Decoder::open(&path)?; // reads the header and the tile index
//! let part = decoder.decode_region(100, 400, 64, 64)?; // reads the tiles around the part
//! let mut rows_done = 0;
//! decoder.decode_rows(|first_row, rows| {
//!     assert_eq!(first_row as usize, rows_done);
//!     rows_done += rows.len() / 300;
//!     Ok(())
//! })?;
//! assert_eq!((part.width(), rows_done), (64, 500));
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), aei::Error>(())
//! ```
//!
//! Work is spread over the current `rayon` thread pool: call from within `ThreadPool::install` to choose the number of threads.
//!
//! # Parts
//! | module | stage |
//! |---|---|
//! | `picture` | pixels, padding, tiles; picture files through the `image` crate (feature `files`) |
//! | `net` | the integer networks and the model file |
//! | `entropy` | integers to bytes and back |
//! | `container` | the chunks of a file |
//! | `codec` | one picture through all of it, [`Encoder`] and [`Decoder`] |
//! | `onnx` | the transforms through ONNX Runtime instead (feature `onnx`) |
//! | `metrics` | how alike two pictures are, and what a codec saves (feature `metrics`) |
//!
//! # Other doors
//! `image::open` and the `image` crate's traits: `register_image_hook` (feature `image-hook`). C: feature `capi`, `src/capi/README.md`. Python: feature
//! `python`, `src/python/README.md`. Web pages: feature `wasm`, `src/wasm/README.md`.
//!
//! The model is part of the crate with the feature `embedded-model`, which the program and all of these doors but the last have with them.

#[cfg(all(test, not(feature = "embedded-model")))]
compile_error!("the tests need a model: add `--features embedded-model`");

#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub mod bench_internals;
#[cfg(feature = "capi")]
#[allow(unsafe_code, reason = "a C interface")]
pub mod capi;
mod codec;
mod container;
mod entropy;
mod error;
#[cfg(feature = "metrics")]
pub mod metrics;
mod net;
#[cfg(feature = "onnx")]
mod onnx;
mod picture;
#[cfg(feature = "python")]
mod python;
#[cfg(any(feature = "capi", feature = "python"))]
mod threads;
#[cfg(feature = "wasm")]
mod wasm;

pub use codec::{
    Breakdown, Damage, Decoder, DecoderOptions, Device, Encoder, Layout, Limits, Lossless, LostAlpha, LostMetadata, LostTile, Quality, Target, Tune,
};
pub use container::Info;
pub use error::{Error, FormatError, Result};
pub use net::{Model, ModelId, kernel_name, kernel_names};
#[cfg(feature = "onnx")]
pub use onnx::{Library, check_device, export_onnx, libraries};
#[cfg(feature = "files")]
pub use picture::files::{FileFormat, Notice, PictureRows, read_picture, write_notices, write_picture, write_rows, write_rows_with};
#[cfg(feature = "image-hook")]
pub use picture::image_hook::{AeiDecoder, AeiEncoder, register_image_hook};
pub use picture::{Channels, Metadata, Orientation, Picture, SampleDepth, Samples};
