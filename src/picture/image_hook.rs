//! aei as a format of the `image` crate (feature `image-hook`).

use std::io::{Read, Write};

use image::error::{
    DecodingError, EncodingError, ImageFormatHint, LimitError, LimitErrorKind, ParameterError, ParameterErrorKind, UnsupportedError, UnsupportedErrorKind,
};
use image::{ColorType, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageResult};

use crate::container::SIGNATURE;
use crate::{Channels, Decoder, Encoder, Error, Metadata, Picture, SampleDepth, Samples};

/// Makes `image::open`, `image::ImageReader` and `image::load_from_memory` read `.aei` files, for the rest of the process. `false` if a hook for `aei` was there already.
///
/// ```
/// aei::register_image_hook();
/// # let picture = aei::Picture::rgb(20, 10, vec![90; 600])?;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("photo.aei");
/// # std::fs::write(&path, aei::Encoder::new().encode(&picture)?)?;
/// let photo = image::open(path)?;
/// assert_eq!((photo.width(), photo.height()), (20, 10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn register_image_hook() -> bool {
    let new = image::hooks::register_decoding_hook("aei".into(), Box::new(|reader| Ok(Box::new(AeiDecoder::new(reader)?))));
    if new {
        image::hooks::register_format_detection_hook("aei".into(), &SIGNATURE, None);
    }
    new
}

/// Decodes a file for the `image` crate.
///
/// Samples are as stored; [`ImageDecoder::orientation`] tells how they are to be turned for display, which `DynamicImage::apply_orientation` does.
#[derive(Debug)]
pub struct AeiDecoder {
    decoder: Decoder,
    limits: crate::Limits,
}

impl AeiDecoder {
    /// Reads a file with default limits, which [`ImageDecoder::set_limits`] replaces.
    ///
    /// # Errors
    /// `Decoding` if it is not an aei file, or damaged; `Unsupported` if it is of a newer kind; `Limits` if it is too large; `IoError` if reading fails.
    pub fn new(reader: impl Read) -> ImageResult<Self> {
        Ok(Self { decoder: Decoder::new(reader).map_err(reading)?, limits: crate::Limits::default() })
    }
}

impl ImageDecoder for AeiDecoder {
    fn dimensions(&self) -> (u32, u32) {
        (self.decoder.info().width, self.decoder.info().height)
    }

    fn color_type(&self) -> ColorType {
        let info = self.decoder.info();
        match (info.channels, info.source_depth > 8) {
            (Channels::Gray, false) => ColorType::L8,
            (Channels::GrayAlpha, false) => ColorType::La8,
            (Channels::Rgb, false) => ColorType::Rgb8,
            (Channels::Rgba, false) => ColorType::Rgba8,
            (Channels::Gray, true) => ColorType::L16,
            (Channels::GrayAlpha, true) => ColorType::La16,
            (Channels::Rgb, true) => ColorType::Rgb16,
            (Channels::Rgba, true) => ColorType::Rgba16,
        }
    }

    fn icc_profile(&mut self) -> ImageResult<Option<Vec<u8>>> {
        Ok(self.decoder.metadata().map_err(reading)?.icc)
    }

    fn exif_metadata(&mut self) -> ImageResult<Option<Vec<u8>>> {
        Ok(self.decoder.metadata().map_err(reading)?.exif)
    }

    fn xmp_metadata(&mut self) -> ImageResult<Option<Vec<u8>>> {
        Ok(self.decoder.metadata().map_err(reading)?.xmp)
    }

    fn orientation(&mut self) -> ImageResult<image::metadata::Orientation> {
        let orientation = image::metadata::Orientation::from_exif(self.decoder.info().orientation.to_exif());
        Ok(orientation.unwrap_or(image::metadata::Orientation::NoTransforms))
    }

    fn set_limits(&mut self, limits: image::Limits) -> ImageResult<()> {
        limits.check_support(&image::LimitSupport::default())?;
        let (width, height) = self.dimensions();
        limits.check_dimensions(width, height)?;
        // Whoever states limits of memory, or none, means those and no other ones of pixels.
        self.limits = match limits.max_alloc {
            Some(bytes) => crate::Limits { max_memory: bytes, max_pixels: u64::MAX, ..self.limits },
            None => crate::Limits::none(),
        };
        Ok(())
    }

    fn read_image(self, buf: &mut [u8]) -> ImageResult<()> {
        assert_eq!(buf.len() as u64, self.total_bytes(), "the buffer has another size than the picture");
        let decoder = self.decoder.limits(self.limits);
        if decoder.info().source_depth <= 8 {
            return decoder.decode_into(buf).map_err(reading);
        }
        let picture = decoder.depth(SampleDepth::Sixteen).decode().map_err(reading)?;
        for (bytes, sample) in buf.chunks_exact_mut(2).zip(picture.samples16().iter()) {
            bytes.copy_from_slice(&sample.to_ne_bytes());
        }
        Ok(())
    }

    fn read_image_boxed(self: Box<Self>, buf: &mut [u8]) -> ImageResult<()> {
        (*self).read_image(buf)
    }
}

/// Encodes for the `image` crate.
///
/// ```
/// # let photo = image::DynamicImage::new_rgb8(20, 10);
/// let mut file = Vec::new();
/// photo.write_with_encoder(aei::AeiEncoder::new(&mut file, aei::Encoder::new()))?;
/// assert_eq!(aei::Decoder::new(&file[..])?.info().width, 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AeiEncoder<W> {
    writer: W,
    encoder: Encoder,
    metadata: Metadata,
}

impl<W: Write> AeiEncoder<W> {
    /// Writes to `writer` with the options of `encoder`. Its [`Encoder::metadata`] are stored, but for those that are set afterwards; `image` has no way to set XMP.
    pub fn new(writer: W, encoder: Encoder) -> Self {
        let metadata = encoder.stated_metadata().clone();
        Self { writer, encoder, metadata }
    }
}

impl<W: Write> ImageEncoder for AeiEncoder<W> {
    fn write_image(mut self, buf: &[u8], width: u32, height: u32, color_type: ExtendedColorType) -> ImageResult<()> {
        let (channels, sixteen) = match color_type {
            ExtendedColorType::L8 => (Channels::Gray, false),
            ExtendedColorType::La8 => (Channels::GrayAlpha, false),
            ExtendedColorType::Rgb8 => (Channels::Rgb, false),
            ExtendedColorType::Rgba8 => (Channels::Rgba, false),
            ExtendedColorType::L16 => (Channels::Gray, true),
            ExtendedColorType::La16 => (Channels::GrayAlpha, true),
            ExtendedColorType::Rgb16 => (Channels::Rgb, true),
            ExtendedColorType::Rgba16 => (Channels::Rgba, true),
            other => return Err(ImageError::Unsupported(UnsupportedError::from_format_and_kind(hint(), UnsupportedErrorKind::Color(other)))),
        };
        let samples = if sixteen { Samples::U16(buf.chunks_exact(2).map(|s| u16::from_ne_bytes([s[0], s[1]])).collect()) } else { Samples::U8(buf.to_vec()) };
        let picture = Picture::from_samples(width, height, channels, samples).map_err(writing)?;
        self.metadata.check_size().map_err(writing)?;
        let picture = picture.with_orientation(self.metadata.orientation().unwrap_or_default()).with_metadata(self.metadata);
        let file = self.encoder.encode(&picture).map_err(writing)?;
        Ok(self.writer.write_all(&file)?)
    }

    fn set_icc_profile(&mut self, icc_profile: Vec<u8>) -> Result<(), UnsupportedError> {
        self.metadata.icc = Some(icc_profile);
        Ok(())
    }

    fn set_exif_metadata(&mut self, exif: Vec<u8>) -> Result<(), UnsupportedError> {
        self.metadata.exif = Some(exif);
        Ok(())
    }
}

fn hint() -> ImageFormatHint {
    ImageFormatHint::Name("aei".into())
}

fn reading(error: Error) -> ImageError {
    match error {
        Error::Io(error) => ImageError::IoError(error),
        Error::Limits(_) => ImageError::Limits(LimitError::from_kind(LimitErrorKind::InsufficientMemory)),
        Error::Unsupported(message) | Error::Model(message) => {
            ImageError::Unsupported(UnsupportedError::from_format_and_kind(hint(), UnsupportedErrorKind::GenericFeature(message)))
        }
        other => ImageError::Decoding(DecodingError::new(hint(), other)),
    }
}

fn writing(error: Error) -> ImageError {
    match error {
        Error::Io(error) => ImageError::IoError(error),
        Error::Limits(_) => ImageError::Limits(LimitError::from_kind(LimitErrorKind::InsufficientMemory)),
        Error::Parameter(message) => ImageError::Parameter(ParameterError::from_kind(ParameterErrorKind::Generic(message))),
        other => ImageError::Encoding(EncodingError::new(hint(), other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    #[test]
    fn limits_of_image_stand_in_for_those_of_pixels() {
        let file = Encoder::new().encode(&Picture::gray(3, 2, vec![7; 6]).unwrap()).unwrap();
        let limits = |limits: image::Limits| {
            let mut decoder = AeiDecoder::new(&file[..]).unwrap();
            decoder.set_limits(limits).unwrap();
            decoder.limits
        };
        assert_eq!(limits(image::Limits::default()), Limits { max_memory: 512 << 20, max_pixels: u64::MAX, ..Limits::default() });
        assert_eq!(limits(image::Limits::no_limits()), Limits::none());
    }
}
