//! What several tests need.
#![allow(dead_code)]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use aei::{Channels, Decoder, DecoderOptions, Encoder, Lossless, Model, Picture};

/// A model with few channels: fast.
pub(crate) fn tiny() -> Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    let load = || Model::from_bytes(std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors/tiny.aem")).unwrap()).unwrap();
    Arc::clone(MODEL.get_or_init(load))
}

pub(crate) fn tiny_options() -> DecoderOptions {
    let mut options = DecoderOptions::default();
    options.model = Some(tiny());
    options
}

pub(crate) fn tiny_encoder(tile: u32) -> Encoder {
    Encoder::new().lossless(Lossless::Never).model(tiny()).tile_size(tile).unwrap()
}

pub(crate) fn tiny_decoder(file: &[u8]) -> Decoder {
    Decoder::with_options(file, tiny_options()).unwrap()
}

/// Gradients, edges and noise that differ everywhere.
pub(crate) fn scene(width: u32, height: u32, channels: Channels, seed: u64) -> Picture {
    let mut state = seed;
    let mut samples = Vec::with_capacity(width as usize * height as usize * channels.count());
    for y in 0..height {
        for x in 0..width {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let edge = if (x / 37 + y / 29) % 3 == 0 { 70 } else { 0 };
            let grain = (state >> 60) as u32;
            for c in 0..channels.count() as u32 {
                samples.push((20 + edge + grain + c * 25 + (x * 2 + y * 3) % 97) as u8);
            }
        }
    }
    Picture::new(width, height, channels, samples).unwrap()
}

/// The part of a picture that a region is.
pub(crate) fn crop(picture: &Picture, x: u32, y: u32, width: u32, height: u32) -> Vec<u8> {
    let channels = picture.channels().count();
    let row_len = picture.width() as usize * channels;
    let samples = picture.samples();
    let rows = samples.chunks_exact(row_len).skip(y as usize).take(height as usize);
    rows.flat_map(|row| &row[x as usize * channels..][..width as usize * channels]).copied().collect()
}

/// Samples of the decoded rows, put together again.
pub(crate) fn rows_joined(decoder: &Decoder) -> aei::Result<Vec<u8>> {
    let mut all = Vec::new();
    let row_len = decoder.info().width as usize * decoder.info().channels.count();
    decoder.decode_rows(|first, rows| {
        assert!(!rows.is_empty() && rows.len() % row_len == 0);
        assert_eq!(first as usize, all.len() / row_len);
        all.extend_from_slice(rows);
        Ok(())
    })?;
    Ok(all)
}
