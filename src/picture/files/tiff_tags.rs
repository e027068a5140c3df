//! Metadata of TIFF files. The `image` crate lets no tag be longer than the picture's samples, which is too short for small pictures.

use std::io::Cursor;

use tiff::decoder::{Decoder, Limits as TiffLimits};
use tiff::tags::Tag;

use crate::{Limits, Metadata};

/// Where Adobe's programs put XMP.
const XMP: Tag = Tag::Unknown(700);

/// Colour profile and XMP of the first picture, as far as they can be read.
pub(super) fn metadata(bytes: &[u8], limits: &Limits) -> Metadata {
    let Ok(decoder) = Decoder::new(Cursor::new(bytes)) else { return Metadata::default() };
    let mut decoder = decoder.with_limits(bounds(limits));
    let mut tag = |tag| decoder.get_tag_u8_vec(tag).ok().filter(|block| !block.is_empty());
    Metadata { icc: tag(Tag::IccProfile), exif: None, xmp: tag(XMP) }
}

/// What reading may allocate.
pub(super) fn bounds(limits: &Limits) -> TiffLimits {
    let mut bounds = TiffLimits::default();
    let most = usize::try_from(limits.max_memory).unwrap_or(usize::MAX);
    (bounds.decoding_buffer_size, bounds.intermediate_buffer_size, bounds.ifd_value_size) = (most, most, most);
    bounds
}
