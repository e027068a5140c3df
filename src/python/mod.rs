//! The Python module `aei._aei` (feature `python`). It moves bytes; the package `aei` beside it speaks numpy and Pillow.

use pyo3::exceptions::{PyMemoryError, PyNotImplementedError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict};

use crate::{
    Channels, Decoder, DecoderOptions, Encoder, Error, Info, Lossless, Metadata, Orientation, Picture, Quality, Result, SampleDepth, Samples, Tune, threads,
};

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Io(_) => PyOSError::new_err(message),
            Error::Limits(_) => PyMemoryError::new_err(message),
            Error::Unsupported(_) | Error::Model(_) | Error::Device(_) => PyNotImplementedError::new_err(message),
            _ => PyValueError::new_err(message),
        }
    }
}

/// An argument as the library takes it, or an error that names it.
fn within<T: TryFrom<i64>>(value: i64, what: &str) -> Result<T> {
    T::try_from(value).map_err(|_| Error::Parameter(format!("{what} {value} does not exist")))
}

/// Bytes in Python's memory. `PyBytes::new` panics where that has run out.
fn to_python<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, bytes.len(), |copy| {
        copy.copy_from_slice(bytes);
        Ok(())
    })
}

/// An array of so many samples, or an error where memory has run out.
fn collected<T>(count: usize, samples: impl Iterator<Item = T>) -> Result<Vec<T>> {
    let mut all = Vec::new();
    all.try_reserve_exact(count).map_err(|_| Error::Limits("there is no memory for the samples".into()))?;
    all.extend(samples);
    Ok(all)
}

/// Samples in native byte order to a file.
#[pyfunction]
#[pyo3(signature = (samples, width, height, channels, depth, quality, tile_size, orientation, icc, exif, xmp, preview, lossless, effort, tune, keep_invisible))]
#[expect(clippy::too_many_arguments, reason = "called by the package alone, by name")]
fn encode<'py>(
    py: Python<'py>,
    samples: &[u8],
    width: u32,
    height: u32,
    channels: u8,
    depth: u8,
    quality: i64,
    tile_size: i64,
    orientation: Option<i64>,
    icc: Option<Vec<u8>>,
    exif: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
    preview: bool,
    lossless: Option<bool>,
    effort: i64,
    tune: &str,
    keep_invisible: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let work = || -> Result<Vec<u8>> {
        let channels = Channels::from_count(channels).ok_or_else(|| Error::Parameter(format!("{channels} channels, not 1 to 4")))?;
        let samples = match depth {
            16 => Samples::U16(collected(samples.len() / 2, samples.chunks_exact(2).map(|s| u16::from_ne_bytes([s[0], s[1]])))?),
            _ => Samples::U8(collected(samples.len(), samples.iter().copied())?),
        };
        let metadata = Metadata { icc, exif, xmp };
        metadata.check_size()?;
        let orientation = match orientation {
            Some(value) => {
                let orientation = u8::try_from(value).ok().and_then(Orientation::from_exif);
                orientation.ok_or_else(|| Error::Parameter(format!("orientation {value}, not 1 to 8")))?
            }
            None => metadata.orientation().unwrap_or_default(),
        };
        let picture = Picture::from_samples(width, height, channels, samples)?.with_orientation(orientation).with_metadata(metadata);
        let lossless = lossless.map_or(Lossless::Auto, |wanted| if wanted { Lossless::Always } else { Lossless::Never });
        let tune = match tune {
            "psnr" => Tune::Psnr,
            "visual" => Tune::Visual,
            other => return Err(Error::Parameter(format!("tune \"{other}\" does not exist: \"psnr\" or \"visual\""))),
        };
        let encoder =
            Encoder::new().quality(Quality::index(within(quality, "quality index")?)?).lossless(lossless).effort(within(effort, "effort")?)?.tune(tune);
        encoder.tile_size(within(tile_size, "a tile size of")?)?.preview(preview).keep_invisible(keep_invisible).encode(&picture)
    };
    let file = py.detach(|| threads::on_shared(work))?;
    to_python(py, &file)
}

/// Samples in native byte order, width, height, channels, orientation.
type Decoded<'py> = (Bound<'py, PyByteArray>, u32, u32, usize, u8);

/// A file to samples.
#[pyfunction]
fn decode<'py>(py: Python<'py>, file: &[u8], depth: i64, region: Option<(i64, i64, i64, i64)>) -> PyResult<Decoded<'py>> {
    let work = || -> Result<Picture> {
        let depth = match depth {
            8 => SampleDepth::Eight,
            16 => SampleDepth::Sixteen,
            depth => return Err(Error::Parameter(format!("samples of {depth} bits, not 8 or 16"))),
        };
        let options = DecoderOptions { depth, ..DecoderOptions::default() };
        let decoder = Decoder::with_options(file, options)?;
        match region {
            Some((x, y, width, height)) => {
                let number = |value| within(value, "a region with");
                decoder.decode_region(number(x)?, number(y)?, number(width)?, number(height)?)
            }
            None => decoder.decode(),
        }
    };
    let picture = py.detach(|| threads::on_shared(work))?;
    let samples = match picture.data() {
        Samples::U8(samples) => PyByteArray::new_with(py, samples.len(), |bytes| {
            bytes.copy_from_slice(samples);
            Ok(())
        })?,
        Samples::U16(samples) => PyByteArray::new_with(py, samples.len() * 2, |bytes| {
            for (to, from) in bytes.chunks_exact_mut(2).zip(samples) {
                to.copy_from_slice(&from.to_ne_bytes());
            }
            Ok(())
        })?,
    };
    Ok((samples, picture.width(), picture.height(), picture.channels().count(), picture.orientation().to_exif()))
}

/// What a file says about itself.
#[pyfunction]
fn info<'py>(py: Python<'py>, file: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let (info, metadata) = py.detach(|| -> Result<(Info, Metadata)> {
        let decoder = Decoder::new(file)?;
        Ok((*decoder.info(), decoder.metadata()?))
    })?;
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| to_python(py, bytes)).transpose();
    let dict = PyDict::new(py);
    dict.set_item("width", info.width)?;
    dict.set_item("height", info.height)?;
    dict.set_item("channels", info.channels.count())?;
    dict.set_item("source_depth", info.source_depth)?;
    dict.set_item("orientation", info.orientation.to_exif())?;
    dict.set_item("lossless", info.lossless)?;
    dict.set_item("quality_index", info.quality.get())?;
    dict.set_item("tile_size", info.tile_size)?;
    dict.set_item("tiles", info.tiles)?;
    dict.set_item("file_bytes", info.file_bytes)?;
    dict.set_item("icc", bytes(&metadata.icc)?)?;
    dict.set_item("exif", bytes(&metadata.exif)?)?;
    dict.set_item("xmp", bytes(&metadata.xmp)?)?;
    Ok(dict)
}

/// The index for a quality of 0 to 100, or the default one for none.
#[pyfunction]
#[pyo3(signature = (quality=None))]
fn quality_index(quality: Option<i64>) -> PyResult<u8> {
    let percent = |quality| Quality::percent(within(quality, "quality")?);
    Ok(quality.map_or_else(|| Ok(Quality::default()), percent)?.get())
}

/// `aei._aei`.
#[pymodule]
fn _aei(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(encode, module)?)?;
    module.add_function(wrap_pyfunction!(decode, module)?)?;
    module.add_function(wrap_pyfunction!(info, module)?)?;
    module.add_function(wrap_pyfunction!(quality_index, module)?)
}
