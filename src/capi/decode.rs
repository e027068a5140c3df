//! A file to samples.

use std::ptr;

use super::{
    AeiDecodeOptions, AeiError, AeiImage, AeiInfo, AeiStatus, Layout, UserData, bytes, callback, guarded, init, on_threads, reference, required, reserved,
    sized, store,
};
use crate::{Decoder, DecoderOptions, Error, Metadata, Model, Picture, Result, SampleDepth, Samples};

/// A file that has been read and checked. Several threads may use one at a time; it is freed with `aei_decoder_free`.
pub struct AeiDecoder {
    decoder: Decoder,
    metadata: Metadata,
    /// Of all pictures, or else each says its own.
    depth: Option<SampleDepth>,
    threads: u32,
}

/// Fills in the default options. `size` is sizeof(AeiDecodeOptions) as the caller knows it.
///
/// # Safety
/// `options` points to `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aei_decode_options_init(options: *mut AeiDecodeOptions, size: usize) -> AeiStatus {
    // SAFETY: promised by the caller.
    unsafe { init(options, size, &AeiDecodeOptions::default()) }
}

/// Kinds of metadata.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AeiMetadata {
    /// Colour profile.
    Icc = 1,
    /// EXIF block, from its TIFF header on; its orientation tag is 1.
    Exif = 2,
    /// XMP packet.
    Xmp = 3,
}

/// Reads a file from memory and checks everything but its pixels. The bytes are copied. On failure `*decoder` is null.
///
/// Limits of pixels and memory are for what is decoded, and checked then: look at the size in `aei_decoder_info` before you allocate memory for a picture.
///
/// `options` may be null for the defaults, `error` may be null.
///
/// # Safety
/// Pointers are null or valid; structures have their `size` set; `file` points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aei_decoder_new(
    file: *const u8,
    length: usize,
    options: *const AeiDecodeOptions,
    decoder: *mut *mut AeiDecoder,
    error: *mut AeiError,
) -> AeiStatus {
    let body = || {
        if decoder.is_null() {
            return Err(Error::Parameter("decoder is a null pointer".into()));
        }
        // SAFETY: not null, and writable as the caller promised.
        unsafe { decoder.write(ptr::null_mut()) };
        // SAFETY: promised by the caller.
        let (file, options) = unsafe { (bytes(file, length, "file")?, sized(options, "options")?) };
        let depth = match options.depth {
            0 => None,
            8 => Some(SampleDepth::Eight),
            16 => Some(SampleDepth::Sixteen),
            depth => return Err(Error::Parameter(format!("samples of {depth} bits, not 8 or 16"))),
        };
        let salvage = match options.salvage {
            0 => false,
            1 => true,
            other => return Err(Error::Parameter(format!("salvage is {other}, not 0 or 1"))),
        };
        // So that it can be given a meaning: callers leave no leftovers in it.
        if options.reserved != 0 {
            return Err(Error::Parameter(format!("the reserved field of the options is {}, not 0", options.reserved)));
        }
        let decoder_options = DecoderOptions { limits: options.limits(), salvage, ..DecoderOptions::default() };
        let mut made = Decoder::with_options(file, decoder_options)?;
        if options.progress.is_some() {
            made = made.on_progress(callback(options.progress, UserData(options.user_data)));
        }
        // SAFETY: not null, and writable as the caller promised.
        unsafe { decoder.write(Box::into_raw(Box::new(AeiDecoder { metadata: made.metadata()?, decoder: made, depth, threads: options.threads }))) };
        Ok(())
    };
    // SAFETY: promised by the caller.
    unsafe { guarded(error, body) }
}

/// Frees a decoder. A null pointer is ignored.
///
/// # Safety
/// `decoder` is null or from `aei_decoder_new`, was not freed before, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aei_decoder_free(decoder: *mut AeiDecoder) {
    if !decoder.is_null() {
        // SAFETY: made by `Box::into_raw`, and the caller gives it up.
        drop(unsafe { Box::from_raw(decoder) });
    }
}

/// Tells what the file says about itself.
///
/// # Safety
/// Pointers are null or valid; structures have their `size` set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aei_decoder_info(decoder: *const AeiDecoder, info: *mut AeiInfo, error: *mut AeiError) -> AeiStatus {
    let body = || {
        // SAFETY: promised by the caller.
        let it = unsafe { reference(decoder, "decoder") }?;
        let from = it.decoder.info();
        let metadata = &it.metadata;
        let bytes = |kind: &Option<Vec<u8>>| kind.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let filled = AeiInfo {
            size: size_of::<AeiInfo>(),
            version: from.version.into(),
            width: from.width,
            height: from.height,
            channels: from.channels.count() as u32,
            source_depth: from.source_depth.into(),
            orientation: from.orientation.to_exif().into(),
            tile_size: from.tile_size,
            tiles: from.tiles,
            quality_index: from.quality.get().into(),
            model_built_in: (from.lossless || Model::embedded_id().is_ok_and(|id| id == from.model_id)).into(),
            file_bytes: from.file_bytes,
            icc_bytes: bytes(&metadata.icc),
            exif_bytes: bytes(&metadata.exif),
            xmp_bytes: bytes(&metadata.xmp),
            has_preview: from.preview_bytes.is_some().into(),
            lossless: from.lossless.into(),
        };
        // SAFETY: promised by the caller.
        unsafe { store(info, &filled, "info") }
    };
    // SAFETY: promised by the caller.
    unsafe { guarded(error, body) }
}

/// Decodes the picture, as stored: before its orientation is applied. `image` states where to, and must be of the file's size and channels.
///
/// # Safety
/// Pointers are null or valid; structures have their `size` set; `image->samples` has room for `height` rows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aei_decoder_decode(decoder: *const AeiDecoder, image: *const AeiImage, error: *mut AeiError) -> AeiStatus {
    let body = || {
        // SAFETY: promised by the caller.
        let (it, image) = unsafe { (reference(decoder, "decoder")?, required(image, "image")?) };
        let info = it.decoder.info();
        if (image.width, image.height) != (info.width, info.height) {
            return Err(Error::Parameter(format!("the picture has {}x{} pixels, not {}x{}", info.width, info.height, image.width, image.height)));
        }
        // SAFETY: promised by the caller.
        unsafe { fill(&image, it, |decoder, depth| decoder.decode_at(depth)) }
    };
    // SAFETY: promised by the caller.
    unsafe { guarded(error, body) }
}

/// Decodes a part of the picture: the rectangle at (`x`, `y`), from the top left of the picture as stored, of the size that `image` has. The samples equal
/// those of the whole; only the tiles that are needed are decoded.
///
/// # Safety
/// As `aei_decoder_decode`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aei_decoder_decode_region(decoder: *const AeiDecoder, x: u32, y: u32, image: *const AeiImage, error: *mut AeiError) -> AeiStatus {
    let body = || {
        // SAFETY: promised by the caller.
        let (it, image) = unsafe { (reference(decoder, "decoder")?, required(image, "image")?) };
        // SAFETY: promised by the caller.
        unsafe { fill(&image, it, |decoder, depth| decoder.decode_region_at([x, y, image.width, image.height], depth)) }
    };
    // SAFETY: promised by the caller.
    unsafe { guarded(error, body) }
}

/// Makes a decoder of the preview: `aei_decoder_info` tells its size, `aei_decoder_decode` decodes it, to 8 bits unless
/// the image says 16, whatever the options were. It lives on its own and is freed like any other.
/// Null if the file has no preview. A preview may be damaged where the picture is whole.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aei_decoder_preview(decoder: *const AeiDecoder, preview: *mut *mut AeiDecoder, error: *mut AeiError) -> AeiStatus {
    let body = || {
        if preview.is_null() {
            return Err(Error::Parameter("preview is a null pointer".into()));
        }
        // SAFETY: not null, and writable as the caller promised.
        unsafe { preview.write(ptr::null_mut()) };
        // SAFETY: promised by the caller.
        let it = unsafe { reference(decoder, "decoder") }?;
        if let Some(decoder) = it.decoder.preview_decoder()? {
            let made = AeiDecoder { decoder, metadata: Metadata::default(), depth: None, threads: it.threads };
            // SAFETY: as above.
            unsafe { preview.write(Box::into_raw(Box::new(made))) };
        }
        Ok(())
    };
    // SAFETY: promised by the caller.
    unsafe { guarded(error, body) }
}

/// Tells what is known to be lost of a file that is read with `salvage`: of the file as a whole and its metadata at once, of its tiles what has turned out when something
/// was decoded. `*lines` becomes UTF-8 text of one line for each loss, that ends in a line feed, and a zero byte behind the last. `*length` counts all of these bytes; they are to be
/// freed with `aei_free`. Null and 0 if nothing is lost, and on failure. Places are those in the picture as stored.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aei_decoder_damage(decoder: *const AeiDecoder, lines: *mut *mut u8, length: *mut usize, error: *mut AeiError) -> AeiStatus {
    let body = || {
        if lines.is_null() || length.is_null() {
            return Err(Error::Parameter("lines or length is a null pointer".into()));
        }
        // SAFETY: not null, and writable as the caller promised.
        unsafe {
            lines.write(ptr::null_mut());
            length.write(0);
        }
        // SAFETY: promised by the caller.
        let damage = unsafe { reference(decoder, "decoder") }?.decoder.damage();
        if damage.is_none() {
            return Ok(());
        }
        let bytes: usize = damage.lines().map(|line| line.len() + 1).sum();
        let mut text = reserved(bytes + 1, 1)?;
        damage.lines().for_each(|line| text.extend_from_slice(format!("{line}\n").as_bytes()));
        text.push(0);
        let text = text.into_boxed_slice();
        // SAFETY: not null, and writable as the caller promised.
        unsafe {
            length.write(text.len());
            lines.write(Box::into_raw(text).cast());
        }
        Ok(())
    };
    // SAFETY: promised by the caller.
    unsafe { guarded(error, body) }
}

/// Stores a pointer to a piece of metadata, and its length. It points into memory of the decoder, which lives until that is freed. Null and 0 if there is none, and on
/// failure.
/// `kind` is an `AeiMetadata`.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aei_decoder_metadata(
    decoder: *const AeiDecoder,
    kind: i32,
    metadata: *mut *const u8,
    length: *mut usize,
    error: *mut AeiError,
) -> AeiStatus {
    let body = || {
        if metadata.is_null() || length.is_null() {
            return Err(Error::Parameter("metadata or length is a null pointer".into()));
        }
        // SAFETY: not null, and writable as the caller promised.
        unsafe {
            metadata.write(ptr::null());
            length.write(0);
        }
        // SAFETY: promised by the caller.
        let all = &unsafe { reference(decoder, "decoder") }?.metadata;
        let found = match kind {
            kind if kind == AeiMetadata::Icc as i32 => &all.icc,
            kind if kind == AeiMetadata::Exif as i32 => &all.exif,
            kind if kind == AeiMetadata::Xmp as i32 => &all.xmp,
            kind => return Err(Error::Parameter(format!("there is no metadata of kind {kind}"))),
        };
        // SAFETY: not null, and writable as the caller promised.
        unsafe {
            metadata.write(found.as_ref().map_or(ptr::null(), |bytes| bytes.as_ptr()));
            length.write(found.as_ref().map_or(0, Vec::len));
        }
        Ok(())
    };
    // SAFETY: promised by the caller.
    unsafe { guarded(error, body) }
}

/// Decodes and copies to the caller's rows.
///
/// # Safety
/// `image.samples` is null or has room for the rows that the other fields describe.
unsafe fn fill(image: &AeiImage, it: &AeiDecoder, decode: impl FnOnce(&Decoder, SampleDepth) -> Result<Picture> + Send) -> Result<()> {
    let channels = it.decoder.info().channels;
    if image.channels as usize != channels.count() {
        return Err(Error::Parameter(format!("the picture has {} channels, not {}", channels.count(), image.channels)));
    }
    let layout = Layout::new(image, channels)?;
    // The layout knows no others.
    let depth = if image.depth == 16 { SampleDepth::Sixteen } else { SampleDepth::Eight };
    if let Some(stated) = it.depth.filter(|stated| *stated != depth) {
        return Err(Error::Parameter(format!("the decoder was made for samples of {} bits, not {}", stated.bits(), depth.bits())));
    }
    let picture = on_threads(it.threads, || decode(&it.decoder, depth))?;
    let rows = image.samples.cast::<u8>();
    match picture.data() {
        Samples::U8(samples) => {
            for (i, row) in samples.chunks_exact(layout.row_samples).enumerate() {
                // SAFETY: within the rows that the caller promised.
                unsafe { ptr::copy_nonoverlapping(row.as_ptr(), rows.add(i * layout.stride), row.len()) };
            }
        }
        Samples::U16(samples) => {
            for (i, row) in samples.chunks_exact(layout.row_samples).enumerate() {
                // SAFETY: within the rows that the caller promised; the layout has been checked to be aligned.
                unsafe { ptr::copy_nonoverlapping(row.as_ptr(), rows.add(i * layout.stride).cast::<u16>(), row.len()) };
            }
        }
    }
    Ok(())
}
