//! Files that crashed something once, here or in a library, or were made to: `tests/crashes`, each through every door, whatever its name says it is.
#![cfg(feature = "files")]

mod common;

use aei::{Decoder, DecoderOptions, Limits, Model, Picture};
use common::tiny_options;

fn decode(file: &[u8], options: DecoderOptions) -> bool {
    let Ok(decoder) = Decoder::with_options(file, options) else { return false };
    let _ = (decoder.metadata(), decoder.preview(), decoder.breakdown());
    let rows = decoder.decode_rows(|_, _| Ok(()));
    let whole = decoder.decode();
    assert_eq!(rows.is_ok(), whole.is_ok());
    whole.is_ok()
}

#[test]
fn nothing_crashes_again() {
    let mut count = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crashes")).unwrap() {
        let path = entry.unwrap().path();
        let file = std::fs::read(&path).unwrap();
        println!("{}", path.display());
        let mut salvage = tiny_options();
        salvage.salvage = true;
        salvage.limits.max_pixels = 1 << 20;
        decode(&file, salvage);
        let accepted = [decode(&file, tiny_options()), decode(&file, DecoderOptions::default())].contains(&true)
            | Model::from_bytes(file.clone()).is_ok()
            | Picture::from_file_bytes(&file, &Limits::default()).is_ok();
        assert!(!accepted, "it is damaged, and somebody should have said so");
        count += 1;
    }
    assert!(count > 0);
}
