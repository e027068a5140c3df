//! Samples to a file.

use std::ptr;

use super::{AeiEncodeOptions, AeiError, AeiImage, AeiStatus, Layout, UserData, bytes, callback, guarded, init, on_threads, required, reserved, sized};
use crate::{Channels, Encoder, Error, Lossless, Metadata, Orientation, Picture, Quality, Result, Samples, Target, Tune};

/// Fills in the default options. `size` is sizeof(AeiEncodeOptions) as the caller knows it.
///
/// # Safety
/// `options` points to `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aei_encode_options_init(options: *mut AeiEncodeOptions, size: usize) -> AeiStatus {
    // SAFETY: promised by the caller.
    unsafe { init(options, size, &AeiEncodeOptions::default()) }
}

/// Encodes a picture. On success `*file` points to `*length` bytes, to be freed with `aei_free`; on failure it is null.
///
/// `options` may be null for the defaults, `error` may be null.
///
/// # Safety
/// Pointers are null or valid; structures have their `size` set; `image->samples` points to `height` rows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aei_encode(
    image: *const AeiImage,
    options: *const AeiEncodeOptions,
    file: *mut *mut u8,
    length: *mut usize,
    error: *mut AeiError,
) -> AeiStatus {
    let body = || {
        if file.is_null() || length.is_null() {
            return Err(Error::Parameter("file or length is a null pointer".into()));
        }
        // SAFETY: not null, and writable as the caller promised.
        unsafe {
            file.write(ptr::null_mut());
            length.write(0);
        }
        // SAFETY: promised by the caller.
        let (image, options) = unsafe { (required(image, "image")?, sized(options, "options")?) };
        // SAFETY: promised by the caller.
        let picture = unsafe { picture(&image, &options)? };
        let quality = u8::try_from(options.quality_index).map_err(|_| Error::Parameter(format!("quality index {}", options.quality_index)))?;
        let lossless = match options.lossless {
            0 => Lossless::Auto,
            1 => Lossless::Always,
            2 => Lossless::Never,
            other => return Err(Error::Parameter(format!("lossless is {other}, not 0 to 2"))),
        };
        let effort = u8::try_from(options.effort).map_err(|_| Error::Parameter(format!("effort {}", options.effort)))?;
        let tune = match options.tune {
            0 => Tune::Psnr,
            1 => Tune::Visual,
            other => return Err(Error::Parameter(format!("tune is {other}, not 0 or 1"))),
        };
        let mut encoder = Encoder::new()
            .quality(Quality::index(quality)?)
            .lossless(lossless)
            .effort(effort)?
            .tune(tune)
            .tile_size(if options.tile_size == 0 { 1024 } else { options.tile_size })?
            .preview(options.preview != 0)
            .keep_invisible(options.keep_invisible != 0);
        if options.max_memory != 0 {
            encoder = encoder.max_memory(options.max_memory);
        }
        if options.progress.is_some() {
            encoder = encoder.on_progress(callback(options.progress, UserData(options.user_data)));
        }
        let target = target(&options)?;
        let work = || match target {
            Some(target) => encoder.encode_to(&picture, target),
            None => encoder.encode(&picture),
        };
        let coded = on_threads(options.threads, work)?.into_boxed_slice();
        // SAFETY: not null, and writable as the caller promised.
        unsafe {
            length.write(coded.len());
            file.write(Box::into_raw(coded).cast());
        }
        Ok(())
    };
    // SAFETY: promised by the caller.
    unsafe { guarded(error, body) }
}

/// What decides the quality in place of an index, if anything does.
fn target(options: &AeiEncodeOptions) -> Result<Option<Target>> {
    let wanted = [
        ("max_bytes", Target::Bytes(options.max_bytes), options.max_bytes != 0),
        ("bits_per_pixel", Target::BitsPerPixel(options.bits_per_pixel), options.bits_per_pixel != 0.0),
        ("psnr", Target::Psnr(options.psnr), options.psnr != 0.0),
        ("ssimulacra2", Target::Ssimulacra2(options.ssimulacra2), options.ssimulacra2 != 0.0),
    ];
    let wanted: Vec<_> = wanted.into_iter().filter(|(.., is_wanted)| *is_wanted).collect();
    match wanted[..] {
        [] => Ok(None),
        [(_, target, _)] => Ok(Some(target)),
        _ => {
            let names: Vec<_> = wanted.iter().map(|(name, ..)| *name).collect();
            Err(Error::Parameter(format!("give one of these, not several: {}", names.join(", "))))
        }
    }
}

/// Copies the caller's samples, since rows may have gaps.
///
/// # Safety
/// `image.samples` is null or points to the rows that the other fields describe; the metadata pointers go with their lengths.
unsafe fn picture(image: &AeiImage, options: &AeiEncodeOptions) -> Result<Picture> {
    let channels =
        u8::try_from(image.channels).ok().and_then(Channels::from_count).ok_or_else(|| Error::Parameter(format!("{} channels, not 1 to 4", image.channels)))?;
    let layout = Layout::new(image, channels)?;
    // What cannot be stored is not copied first.
    crate::Layout::new(image.width, image.height, channels)?;
    let depth = if image.depth == 0 { 8 } else { image.depth };
    let picture = if depth == 16 {
        let mut copy = reserved::<u16>(layout.row_samples, image.height)?;
        for row in 0..image.height as usize {
            // SAFETY: within the rows that the caller promised; aligned as checked.
            copy.extend_from_slice(unsafe {
                std::slice::from_raw_parts(image.samples.cast::<u8>().add(row * layout.stride).cast::<u16>(), layout.row_samples)
            });
        }
        Picture::from_samples(image.width, image.height, channels, Samples::U16(copy))?
    } else {
        let mut copy = reserved::<u8>(layout.row_samples, image.height)?;
        for row in 0..image.height as usize {
            // SAFETY: within the rows that the caller promised.
            copy.extend_from_slice(unsafe { std::slice::from_raw_parts(image.samples.cast::<u8>().add(row * layout.stride), layout.row_samples) });
        }
        Picture::from_samples(image.width, image.height, channels, Samples::U8(copy))?
    };
    let source_depth = if options.source_depth == 0 { depth } else { options.source_depth };
    let source_depth = u8::try_from(source_depth).map_err(|_| Error::Parameter(format!("a source depth of {source_depth}")))?;
    // SAFETY: promised by the caller.
    let metadata = unsafe {
        Metadata {
            icc: some(bytes(options.icc, options.icc_length, "icc")?)?,
            exif: some(bytes(options.exif, options.exif_length, "exif")?)?,
            xmp: some(bytes(options.xmp, options.xmp_length, "xmp")?)?,
        }
    };
    metadata.check_size()?;
    let orientation = match u8::try_from(options.orientation) {
        Ok(0) => metadata.orientation().unwrap_or_default(),
        value => value.ok().and_then(Orientation::from_exif).ok_or_else(|| Error::Parameter(format!("orientation {}, not 0 to 8", options.orientation)))?,
    };
    Ok(picture.with_source_depth(source_depth)?.with_orientation(orientation).with_metadata(metadata))
}

/// No bytes are no metadata.
fn some(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut copy = reserved(bytes.len(), 1)?;
    copy.extend_from_slice(bytes);
    Ok((!copy.is_empty()).then_some(copy))
}
