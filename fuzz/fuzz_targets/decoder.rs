//! Any bytes through the whole decoder, with a small model: whole, by rows, a region, salvaged.
#![no_main]

use aei::Decoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut options = aei_fuzz::options();
    options.salvage = true;
    if let Ok(salvaged) = Decoder::with_options(data, options) {
        let _ = salvaged.decode();
    }
    let Ok(decoder) = Decoder::with_options(data, aei_fuzz::options()) else { return };
    let info = decoder.info().clone();
    let _ = decoder.preview();
    let mut rows = Vec::new();
    let by_rows = decoder.decode_rows(|_, samples| {
        rows.extend_from_slice(samples);
        Ok(())
    });
    match decoder.decode() {
        Ok(picture) => {
            by_rows.expect("the whole could be decoded");
            assert_eq!(picture.samples(), rows);
            let (x, y) = (info.width / 3, info.height / 2);
            let region = decoder.decode_region(x, y, info.width - x, 1).expect("the whole could be decoded");
            let channels = info.channels.count();
            let start = (y as usize * info.width as usize + x as usize) * channels;
            assert_eq!(region.samples()[..], rows[start..][..(info.width - x) as usize * channels]);
        }
        // Metadata come with the whole alone.
        Err(_) => assert!(by_rows.is_err() || decoder.metadata().is_err()),
    }
});
