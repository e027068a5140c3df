//! Structures that travel between the caller and the library.
//!
//! Each starts with its size, set by the caller with `sizeof`. Fields are only ever added at the end; zero in a new field means what was before.

use std::ffi::c_void;
use std::ptr;

use crate::{Limits, Quality};

/// What a file says about itself.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct AeiInfo {
    /// sizeof(AeiInfo), set by the caller.
    pub size: usize,
    /// Version of the format.
    pub version: u32,
    /// Width in pixels of the coded picture, before its orientation is applied.
    pub width: u32,
    /// Height in pixels, likewise.
    pub height: u32,
    /// Samples per pixel: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.
    pub channels: u32,
    /// Bits per sample that the source had, 1 to 16.
    pub source_depth: u32,
    /// 1 to 8, as EXIF tag 0x0112: how the decoded picture is to be turned for display.
    pub orientation: u32,
    /// Side of a full tile in pixels.
    pub tile_size: u32,
    /// Number of tiles.
    pub tiles: u32,
    /// Quality index, 0 to 63.
    pub quality_index: u32,
    /// 1 if the file was made with the model that is built into this library, and can be decoded; 0 otherwise.
    pub model_built_in: u32,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// Bytes of the colour profile (ICC); 0 if there is none.
    pub icc_bytes: u64,
    /// Bytes of the EXIF block; 0 if there is none.
    pub exif_bytes: u64,
    /// Bytes of the XMP packet; 0 if there is none.
    pub xmp_bytes: u64,
    /// 1 if there is a preview, 0 otherwise.
    pub has_preview: u32,
    /// 1 if the samples are stored as they are, 0 otherwise. A lossless file needs no model; `model_built_in` is 1.
    pub lossless: u32,
}

/// Samples in memory of the caller. A row's samples stand together, pixel by pixel; alpha is straight, never premultiplied.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct AeiImage {
    /// sizeof(AeiImage), set by the caller.
    pub size: usize,
    /// First sample of the first row; for 16 bits aligned to 2 bytes, in the machine's byte order. Only read from when encoding.
    pub samples: *mut c_void,
    /// Bytes from a row to the next; 0 stands for rows without gaps.
    pub stride: usize,
    /// Pixels in a row.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
    /// Samples per pixel: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA. Must be the file's own when decoding.
    pub channels: u32,
    /// Bits per sample: 8 or 16; 0 stands for 8. When decoding, those of the decoder's options, if they state any.
    pub depth: u32,
}

impl Default for AeiImage {
    fn default() -> Self {
        Self { size: size_of::<Self>(), samples: ptr::null_mut(), stride: 0, width: 0, height: 0, channels: 0, depth: 0 }
    }
}

/// Called now and then from any thread, with the rows of pixels done and their total. Anything but 0 stops the work with `AEI_STATUS_CANCELLED`.
/// It has to return: exceptions and `longjmp` must not leave it.
pub type AeiProgress = Option<unsafe extern "C" fn(user_data: *mut c_void, done: u64, total: u64) -> i32>;

/// Options of a decoder; `aei_decode_options_init` fills in the defaults.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct AeiDecodeOptions {
    /// sizeof(AeiDecodeOptions), set by the caller.
    pub size: usize,
    /// Largest number of pixels of the picture, even where a region of it is decoded; 0 stands for 2^28.
    pub max_pixels: u64,
    /// Largest number of bytes for samples, latents and features; 0 stands for 2^31.
    pub max_memory: u64,
    /// Largest size of the file in bytes; 0 stands for 2^30.
    pub max_file_bytes: u64,
    /// Number of threads; 0 stands for one per processor, shared by all calls.
    pub threads: u32,
    /// Bits per decoded sample: 8 or 16; 0 leaves it to the `depth` of each `AeiImage`, so that it may be chosen once `AeiInfo` is known: of a lossless file
    /// with a `source_depth` above 8, 16 bits keep all, for others 8 are what there is to see.
    pub depth: u32,
    /// Told about the progress; may be null.
    pub progress: AeiProgress,
    /// Handed to `progress`.
    pub user_data: *mut c_void,
    /// 1 to decode what is left of a damaged file: tiles that are damaged or missing are then filled from what is around them (with gray in a lossless picture) and are
    /// no error, and neither are damaged metadata, a damaged tile index and a missing end. `aei_decoder_damage` tells what is lost. Without the file's header nothing
    /// can be done.
    pub salvage: u32,
    /// 0; for later versions.
    pub reserved: u32,
}

impl Default for AeiDecodeOptions {
    fn default() -> Self {
        Self {
            size: size_of::<Self>(),
            max_pixels: 0,
            max_memory: 0,
            max_file_bytes: 0,
            threads: 0,
            depth: 0,
            progress: None,
            user_data: ptr::null_mut(),
            salvage: 0,
            reserved: 0,
        }
    }
}

impl AeiDecodeOptions {
    pub(super) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        for (stated, limit) in
            [(self.max_pixels, &mut limits.max_pixels), (self.max_memory, &mut limits.max_memory), (self.max_file_bytes, &mut limits.max_file_bytes)]
        {
            if stated != 0 {
                *limit = stated;
            }
        }
        limits
    }
}

/// Options of encoding; `aei_encode_options_init` fills in the defaults.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct AeiEncodeOptions {
    /// sizeof(AeiEncodeOptions), set by the caller.
    pub size: usize,
    /// Quality index: 0 (smallest file) to 63 (closest to the original).
    pub quality_index: u32,
    /// Side of the tiles in pixels, a power of two from 256 to 4096; 0 stands for 1024.
    pub tile_size: u32,
    /// 1 to 8, as EXIF tag 0x0112: how the picture is to be turned for display; 0 stands for what the EXIF block says.
    pub orientation: u32,
    /// Bits per sample that the source had, 1 to 16, for information; 0 stands for those of the samples.
    pub source_depth: u32,
    /// Number of threads; 0 stands for one per processor, shared by all calls.
    pub threads: u32,
    /// 1 to store a preview of about 1 KB.
    pub preview: u32,
    /// Colour profile (ICC) to store, or null.
    pub icc: *const u8,
    /// Its length in bytes.
    pub icc_length: usize,
    /// EXIF block to store, from its TIFF header on, or null.
    pub exif: *const u8,
    /// Its length in bytes.
    pub exif_length: usize,
    /// XMP packet to store, or null.
    pub xmp: *const u8,
    /// Its length in bytes.
    pub xmp_length: usize,
    /// Told about the progress; may be null.
    pub progress: AeiProgress,
    /// Handed to `progress`.
    pub user_data: *mut c_void,
    /// When to store samples as they are: 0 where it is worth it, as for screenshots and icons; 1 always; 2 never.
    pub lossless: u32,
    /// How much work goes into a small file: 0 (least) to 5. Decoding is the same for all.
    pub effort: u32,
    /// What an effort above 0 is for: 0 the PSNR, 1 the look.
    pub tune: u32,
    /// 1 to keep the colours of transparent pixels as well as the quality keeps any, for programs that use colours without alpha.
    pub keep_invisible: u32,
    /// If not 0, the file becomes the best one of at most so many bytes, whatever `quality_index` is. This takes several times as long. Where no file is as small, the status
    /// is `AEI_STATUS_PARAMETER`.
    pub max_bytes: u64,
    /// Largest number of bytes that encoding may take besides the samples, by an estimate; 0 stands for no bound.
    pub max_memory: u64,
    /// As `max_bytes`, in bits for each pixel of the picture. Of `max_bytes`, this, `psnr` and `ssimulacra2` one at most may be other than 0.
    pub bits_per_pixel: f64,
    /// If not 0, the file becomes the smallest one whose decoded picture has a PSNR, over red, green and blue, of at least so many decibels, whatever `quality_index` is. This
    /// takes several times as long. Where no file reaches it, which may be if `lossless` is 2, the status is `AEI_STATUS_PARAMETER`.
    pub psnr: f64,
    /// The same with SSIMULACRA2, whose best score is 100: 90 is a difference that is not visible, 70 high quality, 50 medium quality. Takes 150 bytes of memory a pixel.
    pub ssimulacra2: f64,
}

impl Default for AeiEncodeOptions {
    fn default() -> Self {
        Self {
            size: size_of::<Self>(),
            quality_index: Quality::default().get().into(),
            tile_size: 1024,
            orientation: 0,
            source_depth: 0,
            threads: 0,
            preview: 0,
            icc: ptr::null(),
            icc_length: 0,
            exif: ptr::null(),
            exif_length: 0,
            xmp: ptr::null(),
            xmp_length: 0,
            progress: None,
            user_data: ptr::null_mut(),
            lossless: 0,
            effort: 0,
            tune: 0,
            keep_invisible: 0,
            max_bytes: 0,
            max_memory: 0,
            bits_per_pixel: 0.0,
            psnr: 0.0,
            ssimulacra2: 0.0,
        }
    }
}
