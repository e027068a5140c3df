//! Any bytes as a model; what is accepted must be able to decode without overflow.
#![no_main]

use aei::{Decoder, DecoderOptions, Encoder, Model, Picture, Quality};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(model) = Model::from_bytes(data.to_vec()) else { return };
    let picture = Picture::rgb(5, 3, (0..45).map(|i| i * 5).collect()).expect("45 samples");
    // A model may lack its analysis.
    let Ok(file) = Encoder::new().model(model.clone()).quality(Quality::index(30).expect("below 64")).encode(&picture) else { return };
    let mut options = DecoderOptions::default();
    options.model = Some(model);
    let decoded = Decoder::with_options(&file[..], options).and_then(|decoder| decoder.decode());
    assert!(decoded.is_ok(), "{decoded:?}");
});
