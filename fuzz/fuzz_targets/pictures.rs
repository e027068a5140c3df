//! Any bytes as a picture file of another format.
#![no_main]

use aei::{Limits, Picture};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut limits = Limits::default();
    limits.max_pixels = 1 << 20;
    limits.max_memory = 64 << 20;
    let _ = Picture::from_file_bytes(data, &limits);
});
