//! What the targets share.

use std::sync::{Arc, LazyLock};

use aei::{DecoderOptions, Limits, Model};

/// A model of a few kilobytes: the same code as with the embedded one, a thousand times faster.
pub static TINY: LazyLock<Arc<Model>> =
    LazyLock::new(|| Model::from_bytes(include_bytes!("../../format-spec/vectors/tiny.aem").to_vec()).expect("the model of the vectors is valid"));

/// Decodes with the small model what is small enough to be done in milliseconds.
pub fn options() -> DecoderOptions {
    let mut limits = Limits::default();
    limits.max_pixels = 1 << 16;
    limits.max_memory = 64 << 20;
    let mut options = DecoderOptions::default();
    options.limits = limits;
    options.model = Some(TINY.clone());
    options
}
