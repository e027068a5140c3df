//! Any bytes through both doors of the container: the same file, or the same error.
#![no_main]

use std::io::Cursor;

use aei::{Decoder, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = Decoder::new(data);
    let mut options = aei_fuzz::options();
    options.limits = Limits::default();
    let lazy = Decoder::from_seekable(Cursor::new(data.to_vec()), options);
    if let Ok(decoder) = &whole {
        let info = decoder.info();
        assert!(info.width > 0 && info.height > 0 && info.tiles > 0);
        assert!(lazy.is_ok(), "{lazy:?}");
        let _ = decoder.metadata();
    }
});
