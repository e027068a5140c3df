//! The C interface with any file, any sizes and any options: statuses, never crashes.
#![no_main]

use std::ffi::c_void;
use std::ptr;

use aei::capi::*;
use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    image: [u8; 5],
    gap: u8,
    options: [u32; 4],
    exif: Vec<u8>,
    region: [u16; 4],
    kind: i32,
    samples: Vec<u8>,
    file: Vec<u8>,
}

/// Stops the work now and then.
unsafe extern "C" fn progress(user_data: *mut c_void, done: u64, _total: u64) -> i32 {
    (done + user_data as u64).is_multiple_of(251).into()
}

fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else { return };
    let mut error = AeiError { size: size_of::<AeiError>(), status: AeiStatus::Ok, message: [0; AEI_MESSAGE_SIZE] };
    // SAFETY: what the header asks for: sizes are set, memory is as large as stated.
    unsafe {
        let mut options = AeiEncodeOptions::default();
        aei_encode_options_init(&mut options, size_of::<AeiEncodeOptions>());
        [options.quality_index, options.tile_size, options.orientation, options.preview] = input.options;
        (options.exif, options.exif_length) = (input.exif.as_ptr(), input.exif.len());
        options.progress = Some(progress);
        options.user_data = usize::from(input.gap) as *mut c_void;
        let [width, height, channels, depth, _] = input.image.map(u32::from);
        let (width, height) = (width % 20, height % 20);
        let depth = if depth % 2 == 0 { 8 } else { 16 };
        let stride = (width * channels * depth / 8) as usize + usize::from(input.gap);
        let mut memory = input.samples.clone();
        memory.resize(stride * height as usize + 2, 77);
        let aligned = memory.as_mut_ptr().add(memory.as_ptr().align_offset(2));
        let image = AeiImage { size: size_of::<AeiImage>(), samples: aligned.cast(), stride, width, height, channels, depth };
        let (mut file, mut length) = (ptr::null_mut(), 0);
        let status = aei_encode(&image, &options, &mut file, &mut length, &mut error);
        assert_eq!(status == AeiStatus::Ok, !file.is_null());
        let coded = if file.is_null() { input.file } else { std::slice::from_raw_parts(file, length).to_vec() };
        aei_free(file, length);

        let mut limits = AeiDecodeOptions::default();
        limits.max_pixels = 1 << 12;
        let mut decoder = ptr::null_mut();
        if aei_decoder_new(coded.as_ptr(), coded.len(), &limits, &mut decoder, &mut error) != AeiStatus::Ok {
            assert!(decoder.is_null() && error.message[0] != 0);
            return;
        }
        let mut info: AeiInfo = std::mem::zeroed();
        info.size = size_of::<AeiInfo>() - usize::from(input.gap % 8) * 8;
        aei_decoder_info(decoder, &mut info, &mut error);
        let [x, y, w, h] = input.region.map(|v| u32::from(v % 24));
        let mut memory = vec![0u8; (w * h * 4) as usize];
        let part = AeiImage { size: size_of::<AeiImage>(), samples: memory.as_mut_ptr().cast(), stride: 0, width: w, height: h, channels, depth: 8 };
        aei_decoder_decode_region(decoder, x, y, &part, &mut error);
        let mut preview = ptr::null_mut();
        let status = aei_decoder_preview(decoder, &mut preview, &mut error);
        assert!(status == AeiStatus::Ok || preview.is_null());
        aei_decoder_free(preview);
        let (mut metadata, mut length) = (ptr::null(), 0);
        aei_decoder_metadata(decoder, input.kind, &mut metadata, &mut length, &mut error);
        aei_decoder_free(decoder);
    }
});
