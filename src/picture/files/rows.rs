//! Picture files row by row, where their format allows it: for pictures that are too large to hold in memory.

use std::borrow::Cow;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};

use image::codecs::png::PngDecoder;
use image::codecs::pnm::{PnmDecoder, PnmSubtype, SampleEncoding};
use png::{BitDepth, ColorType};

use super::colours::code_in;
use super::embed::XMP_IN_PNG;
use super::headers::Headers;
use super::write::{kept, pnm_header};
use super::{
    FileFormat, Notice, check_size, damaged, fitting, head_error, head_of_png, metadata, not_read, one_line, orientation, png_colour, read_error,
    too_much_memory,
};
use crate::picture::metadata::set_upright;
use crate::{Channels, Error, Layout, Limits, Metadata, Orientation, Result, SampleDepth};

/// The rows of a picture file, from the top. Gives the samples, the [`Layout`] and the notices that [`read_picture`](crate::read_picture) would give.
pub struct PictureRows<R: Read + Seek> {
    layout: Layout,
    metadata: Metadata,
    notices: Vec<Notice>,
    /// Rows that have not been read yet.
    left: u32,
    source: Source<R>,
}

enum Source<R: Read + Seek> {
    Png(Box<png::Reader<BufReader<R>>>),
    Pnm(BufReader<R>),
}

impl<R: Read + Seek> PictureRows<R> {
    /// Opens a file, if its rows can be read one after the other and need no more than to be copied: PNG that is not interlaced and binary PNM, of 8 bits,
    /// without palette or animation, and one picture alone. `None` for all others, whether they are pictures or not.
    ///
    /// # Errors
    /// As [`read_picture`](crate::read_picture), as far as the file's head tells.
    pub fn open(mut reader: R, limits: &Limits) -> Result<Option<Self>> {
        let mut start = Vec::new();
        reader.by_ref().take(64).read_to_end(&mut start)?;
        reader.rewind()?;
        match FileFormat::guess(&start) {
            Some(FileFormat::Png) => Self::open_png(reader, limits),
            Some(FileFormat::Pnm) => Self::open_pnm(reader, limits),
            _ => Ok(None),
        }
    }

    fn open_png(mut reader: R, limits: &Limits) -> Result<Option<Self>> {
        let format = FileFormat::Png;
        let Some(chunks) = chunks_but_pixels(&mut reader)? else { return Ok(None) };
        let headers = Headers::read(format, &chunks);
        if headers.damage.is_some() || headers.pictures > 0 {
            return Ok(None);
        }
        reader.rewind()?;
        let mut decoder = PngDecoder::with_limits(BufReader::new(&mut reader), head_of_png(limits)).map_err(|e| head_error(e, format, limits))?;
        let mut notices = Vec::new();
        let metadata = metadata(&mut decoder, &headers, &mut notices);
        let orientation = orientation(&mut decoder, format, &metadata).map_err(|e| read_error(e, format, limits))?;
        drop(decoder);

        reader.rewind()?;
        let bytes = usize::try_from(limits.max_memory).unwrap_or(usize::MAX);
        let mut reader = png::Decoder::new_with_limits(BufReader::new(reader), png::Limits { bytes });
        // They have been read.
        reader.set_ignore_text_chunk(true);
        reader.set_ignore_iccp_chunk(true);
        let reader = reader.read_info().map_err(|e| png_error(e, limits))?;
        let info = reader.info();
        let channels = match info.color_type {
            ColorType::Grayscale => Channels::Gray,
            ColorType::GrayscaleAlpha => Channels::GrayAlpha,
            ColorType::Rgb => Channels::Rgb,
            ColorType::Rgba => Channels::Rgba,
            ColorType::Indexed => return Ok(None),
        };
        if info.bit_depth != BitDepth::Eight || info.interlaced || info.trns.is_some() || info.animation_control.is_some() {
            return Ok(None);
        }
        let (width, height) = (info.width, info.height);
        check_size(width, height, format, limits)?;
        let layout = Layout::new(width, height, channels)?.with_orientation(orientation);
        let metadata = fitting(metadata, &headers, channels, limits, &mut notices)?;
        Ok(Some(Self { layout, metadata, notices, left: height, source: Source::Png(Box::new(reader)) }))
    }

    fn open_pnm(reader: R, limits: &Limits) -> Result<Option<Self>> {
        let decoder = PnmDecoder::new(BufReader::new(reader)).map_err(|e| read_error(e, FileFormat::Pnm, limits))?;
        let channels = match decoder.subtype() {
            PnmSubtype::Graymap(SampleEncoding::Binary) => Channels::Gray,
            PnmSubtype::Pixmap(SampleEncoding::Binary) => Channels::Rgb,
            _ => return Ok(None),
        };
        let (mut reader, header) = decoder.into_inner();
        if header.maximal_sample() != 255 {
            return Ok(None);
        }
        check_size(header.width(), header.height(), FileFormat::Pnm, limits)?;
        let layout = Layout::new(header.width(), header.height(), channels)?.with_orientation(Orientation::Normal);
        let samples = reader.stream_position()?;
        let mut behind = Vec::new();
        reader.seek(SeekFrom::Start(samples.saturating_add(layout.row_len() as u64 * u64::from(layout.height()))))?;
        reader.by_ref().take(1).read_to_end(&mut behind)?;
        if behind == b"P" {
            return Ok(None); // another picture, it seems
        }
        reader.seek(SeekFrom::Start(samples))?;
        Ok(Some(Self { layout, metadata: Metadata::default(), notices: Vec::new(), left: layout.height(), source: Source::Pnm(reader) }))
    }

    /// Size and kind of the picture.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Colour profile, EXIF and XMP: for [`Encoder::metadata`](crate::Encoder::metadata).
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// What did not make it into the rows.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Reads the next rows: `rows` has the length of one or several.
    ///
    /// # Errors
    /// [`Error::Format`] if the file is damaged or ends; [`Error::Io`] if it cannot be read; [`Error::Parameter`] if `rows` is not whole rows.
    pub fn read(&mut self, rows: &mut [u8]) -> Result<()> {
        let row_len = self.layout.row_len();
        if !rows.len().is_multiple_of(row_len) {
            return Err(Error::Parameter(format!("{} samples are no whole rows of {row_len}", rows.len())));
        }
        match &mut self.source {
            Source::Pnm(reader) => reader.read_exact(rows).map_err(|e| io_error(e, FileFormat::Pnm)),
            Source::Png(reader) => {
                for out in rows.chunks_exact_mut(row_len) {
                    let row = reader.next_row().map_err(|e| png_error(e, &Limits::none()))?;
                    let row = row.as_ref().map(|row| row.data()).filter(|row| row.len() == row_len);
                    out.copy_from_slice(row.ok_or_else(|| damaged(FileFormat::Png, "it has too few rows"))?);
                    self.left = self.left.saturating_sub(1);
                    if self.left == 0 {
                        // There is none, but the last chunk of pixels is read to its end, and its sum is checked.
                        reader.next_row().map_err(|e| png_error(e, &Limits::none()))?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// A PNG file without its pixels: what tells about them stands in other chunks. `None` if that is much.
fn chunks_but_pixels(reader: &mut (impl Read + Seek)) -> Result<Option<Vec<u8>>> {
    const MOST: u64 = 1 << 24;
    let mut chunks = Vec::new();
    reader.by_ref().take(8).read_to_end(&mut chunks)?;
    loop {
        let at = chunks.len();
        if reader.by_ref().take(8).read_to_end(&mut chunks)? < 8 {
            chunks.truncate(at);
            return Ok(Some(chunks));
        }
        let length = u32::from_be_bytes([chunks[at], chunks[at + 1], chunks[at + 2], chunks[at + 3]]);
        if [&b"IDAT"[..], b"fdAT"].contains(&&chunks[at + 4..]) {
            chunks[at..at + 4].fill(0);
            chunks.extend([0; 4]);
            reader.seek(SeekFrom::Current(i64::from(length) + 4))?;
        } else {
            if chunks.len() as u64 + u64::from(length) > MOST {
                return Ok(None);
            }
            reader.by_ref().take(u64::from(length) + 4).read_to_end(&mut chunks)?;
        }
    }
}

fn io_error(error: std::io::Error, format: FileFormat) -> Error {
    if error.kind() == ErrorKind::UnexpectedEof { Error::format(format.name(), "the file is truncated") } else { Error::Io(error) }
}

fn png_error(error: png::DecodingError, limits: &Limits) -> Error {
    match error {
        png::DecodingError::IoError(error) => io_error(error, FileFormat::Png),
        png::DecodingError::LimitsExceeded => too_much_memory(limits),
        png::DecodingError::Parameter(e) => not_read(FileFormat::Png, &one_line(&e)),
        png::DecodingError::Format(e) => damaged(FileFormat::Png, &one_line(&e)),
    }
}

/// Writes a picture file row by row: PNG or PNM, whose samples are those that [`write_picture`](crate::write_picture) writes. `rows` gets a function to call with
/// the next rows, one or several, in the order of [`Picture::new`](crate::Picture::new). Of the layout only size and channels count: the rows are those of an
/// upright picture.
///
/// ```
/// use aei::{Channels, FileFormat, Layout, write_rows};
///
/// let mut file = Vec::new();
/// write_rows(&mut file, FileFormat::Pnm, Layout::new(2, 2, Channels::Gray)?, |write| {
///     write(&[1, 2])?;
///     write(&[3, 4])
/// })?;
/// assert_eq!(file, b"P5\n2 2\n255\n\x01\x02\x03\x04");
/// # Ok::<(), aei::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if writing fails; what `rows` returns; [`Error::Parameter`] if [`FileFormat::has_rows`] says no, or there are too few rows or too many.
pub fn write_rows(out: impl Write, format: FileFormat, layout: Layout, rows: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>) -> Result<()> {
    write_rows_with(out, format, layout, &Metadata::default(), rows)
}

/// As [`write_rows`], with metadata as far as the format has them ([`write_notices`](crate::write_notices)).
///
/// # Errors
/// As [`write_rows`].
pub fn write_rows_with(
    out: impl Write,
    format: FileFormat,
    layout: Layout,
    metadata: &Metadata,
    rows: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let mut out = Remembering { out, failed: None };
    let result = write_all(&mut out, format, layout, metadata, rows);
    // What the output said first is what is wrong, however the encoder tells of it.
    match out.failed.take() {
        Some(error) => Err(Error::Io(error)),
        None => result.and_then(|()| Ok(out.flush()?)),
    }
}

fn write_all(
    out: &mut Remembering<impl Write>,
    format: FileFormat,
    layout: Layout,
    metadata: &Metadata,
    rows: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let (width, height) = (layout.width(), layout.height());
    let mut missing = layout.row_len() as u64 * u64::from(height);
    let wrong = || Error::Parameter(format!("the rows given are not those of {width}x{height} pixels"));
    let mut count = |rows: &[u8]| {
        missing = missing.checked_sub(rows.len() as u64).ok_or_else(wrong)?;
        Ok::<_, Error>(())
    };
    match format {
        FileFormat::Png => {
            let kept = kept(metadata, layout.channels(), format);
            let mut info = png::Info::with_size(width, height);
            info.icc_profile = kept.icc.map(Cow::Borrowed);
            info.exif_metadata = kept.exif.map(|exif| {
                let mut exif = exif.to_vec();
                set_upright(&mut exif);
                exif.into()
            });
            let mut encoder = png::Encoder::with_info(&mut *out, info).map_err(write_error)?;
            encoder.set_color(png_colour(layout.channels()));
            encoder.set_depth(BitDepth::Eight);
            // As `write_picture` does.
            encoder.set_compression(png::Compression::Fast);
            encoder.set_filter(png::Filter::Adaptive);
            let mut writer = encoder.write_header().map_err(write_error)?;
            if let Some(code) = kept.icc.and_then(code_in) {
                writer.write_chunk(png::chunk::cICP, &code).map_err(write_error)?;
            }
            if let Some(xmp) = kept.xmp {
                writer.write_chunk(png::chunk::iTXt, &[XMP_IN_PNG, xmp].concat()).map_err(write_error)?;
            }
            let mut stream = writer.stream_writer_with_size(1 << 16).map_err(write_error)?;
            rows(&mut |rows| {
                count(rows)?;
                Ok(stream.write_all(rows)?)
            })?;
            if missing > 0 {
                return Err(wrong());
            }
            stream.finish().map_err(write_error)?;
            writer.finish().map_err(write_error)?;
        }
        FileFormat::Pnm => {
            out.write_all(pnm_header(width, height, layout.channels(), SampleDepth::Eight).as_bytes())?;
            rows(&mut |rows| {
                count(rows)?;
                Ok(out.write_all(rows)?)
            })?;
            if missing > 0 {
                return Err(wrong());
            }
        }
        other => return Err(Error::Parameter(format!("{other} cannot be written row by row"))),
    }
    Ok(())
}

/// An error that says the same: there is no other way to have one twice.
fn copy_of(error: &std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => std::io::Error::new(error.kind(), error.to_string()),
    }
}

/// Keeps the first failure: the PNG encoder's last writes happen where it cannot tell of theirs.
struct Remembering<W> {
    out: W,
    failed: Option<std::io::Error>,
}

impl<W: Write> Write for Remembering<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write(bytes).inspect_err(|error| {
            // The call is made again after this one.
            if error.kind() != ErrorKind::Interrupted {
                self.failed.get_or_insert_with(|| copy_of(error));
            }
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl FileFormat {
    /// Whether [`write_rows`] writes files of this format.
    pub fn has_rows(self) -> bool {
        matches!(self, Self::Png | Self::Pnm)
    }
}

fn write_error(error: png::EncodingError) -> Error {
    match error {
        png::EncodingError::IoError(error) => Error::Io(error),
        other => Error::Io(std::io::Error::other(one_line(&other))),
    }
}

#[cfg(test)]
mod tests;
