//! The Python module `aei._aei` (feature `python`). It moves bytes; the package `aei` beside it speaks numpy and Pillow.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyMemoryError, PyNotImplementedError, PyOSError, PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict};

use crate::{
    Channels, Decoder, DecoderOptions, Encoder, Error, Info, Limits, Lossless, Metadata, Picture, Quality, Result, SampleDepth, Samples, Target, Tune, threads,
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

/// An integer of Python, which has any size: what is beyond 64 bits is beyond every bound, and becomes the one nearest to it.
#[derive(Clone, Copy)]
struct Number(i64);

impl<'py> FromPyObject<'_, 'py> for Number {
    type Error = PyErr;

    fn extract(number: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match number.extract::<i64>() {
            Err(error) if error.is_instance_of::<PyOverflowError>(number.py()) => Ok(Self(if number.lt(0)? { i64::MIN } else { i64::MAX })),
            value => value.map(Self),
        }
    }
}

impl Number {
    /// As the library takes it, or an error that names it.
    fn within<T: TryFrom<i64>>(self, what: &str) -> Result<T> {
        T::try_from(self.0).map_err(|_| Error::Parameter(format!("{what} {} does not exist", self.0)))
    }
}

/// A number of Python. Integers that no floating-point number is as large as become infinite.
#[derive(Clone, Copy)]
struct Real(f64);

impl<'py> FromPyObject<'_, 'py> for Real {
    type Error = PyErr;

    fn extract(number: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match number.extract::<f64>() {
            Err(error) if error.is_instance_of::<PyOverflowError>(number.py()) => Ok(Self(if number.lt(0)? { f64::NEG_INFINITY } else { f64::INFINITY })),
            value => value.map(Self),
        }
    }
}

/// Does `work` on the threads that all calls share, without the interpreter's lock. `work` is given what asks it to stop, which is done once Python has a signal whose
/// handler raises, as for control-C. Only its main thread sees signals.
fn watched<T: Send>(py: Python<'_>, work: impl FnOnce(Arc<AtomicBool>) -> Result<T> + Send) -> PyResult<T> {
    let stop = Arc::new(AtomicBool::new(false));
    let (mut raised, told) = (None, Arc::clone(&stop));
    let outcome = py.detach(|| {
        threads::on_shared_watched(
            || work(told),
            || {
                // Threads may be at work while the interpreter ends.
                if let Some(Err(error)) = Python::try_attach(|py| py.check_signals()) {
                    stop.store(true, Ordering::Relaxed);
                    raised = Some(error);
                }
            },
        )
    });
    match raised {
        Some(error) => Err(error),
        None => Ok(outcome?),
    }
}

/// For `on_progress`.
fn until(stop: Arc<AtomicBool>) -> impl Fn(u64, u64) -> ControlFlow<()> + Send + Sync + 'static {
    move |_, _| if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
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
#[pyo3(signature = (samples, width, height, channels, depth, quality, tile_size, orientation, icc, exif, xmp, preview, lossless, effort, tune, keep_invisible, max_bytes, bits_per_pixel, psnr, ssimulacra2))]
#[expect(clippy::too_many_arguments, reason = "called by the package alone, by name")]
fn encode<'py>(
    py: Python<'py>,
    samples: &[u8],
    width: u32,
    height: u32,
    channels: u8,
    depth: u8,
    quality: Number,
    tile_size: Number,
    orientation: Option<Number>,
    icc: Option<Vec<u8>>,
    exif: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
    preview: bool,
    lossless: Option<bool>,
    effort: Number,
    tune: &str,
    keep_invisible: bool,
    max_bytes: Option<Number>,
    bits_per_pixel: Option<Real>,
    psnr: Option<Real>,
    ssimulacra2: Option<Real>,
) -> PyResult<Bound<'py, PyBytes>> {
    let work = |stop| -> Result<Vec<u8>> {
        let channels = Channels::from_count(channels).ok_or_else(|| Error::Parameter(format!("{channels} channels, not 1 to 4")))?;
        let samples = match depth {
            16 => Samples::U16(collected(samples.len() / 2, samples.chunks_exact(2).map(|s| u16::from_ne_bytes([s[0], s[1]])))?),
            _ => Samples::U8(collected(samples.len(), samples.iter().copied())?),
        };
        let metadata = Metadata { icc, exif, xmp };
        metadata.check_size()?;
        let orientation = metadata.orientation_or(orientation.map(|number| number.0))?;
        let picture = Picture::from_samples(width, height, channels, samples)?.with_orientation(orientation).with_metadata(metadata);
        let lossless = lossless.map_or(Lossless::Auto, |wanted| if wanted { Lossless::Always } else { Lossless::Never });
        let tune = match tune {
            "psnr" => Tune::Psnr,
            "visual" => Tune::Visual,
            other => return Err(Error::Parameter(format!("tune \"{other}\" does not exist: \"psnr\" or \"visual\""))),
        };
        let encoder = Encoder::new().quality(Quality::index(quality.within("quality index")?)?).lossless(lossless).effort(effort.within("effort")?)?.tune(tune);
        let encoder = encoder.tile_size(tile_size.within("a tile size of")?)?.preview(preview).keep_invisible(keep_invisible).on_progress(until(stop));
        let bytes = max_bytes.map(|bytes| bytes.within("a file of at most so many bytes:")).transpose()?;
        // The package gives one at most.
        let target = bytes
            .map(Target::Bytes)
            .or(bits_per_pixel.map(|Real(bits)| Target::BitsPerPixel(bits)))
            .or(psnr.map(|Real(decibels)| Target::Psnr(decibels)))
            .or(ssimulacra2.map(|Real(score)| Target::Ssimulacra2(score)));
        match target {
            Some(target) => encoder.encode_to(&picture, target),
            None => encoder.encode(&picture),
        }
    };
    let file = watched(py, work)?;
    to_python(py, &file)
}

/// Samples in native byte order, bytes of each, width, height, channels, orientation.
type Decoded<'py> = (Bound<'py, PyByteArray>, usize, u32, u32, usize, u8);

/// A file to samples, and what of them is lost. Without a depth it is the one that keeps all of a lossless picture.
#[pyfunction]
#[pyo3(signature = (file, depth, region, max_pixels, max_memory, salvage))]
fn decode<'py>(
    py: Python<'py>,
    file: &[u8],
    depth: Option<Number>,
    region: Option<(Number, Number, Number, Number)>,
    max_pixels: Option<Number>,
    max_memory: Option<Number>,
    salvage: bool,
) -> PyResult<(Decoded<'py>, Vec<String>)> {
    let work = |stop| -> Result<(Picture, Vec<String>)> {
        let mut limits = Limits::default();
        for (stated, limit, what) in
            [(max_pixels, &mut limits.max_pixels, "a limit of pixels of"), (max_memory, &mut limits.max_memory, "a limit of memory of")]
        {
            if let Some(stated) = stated {
                *limit = stated.within(what)?;
            }
        }
        let decoder = Decoder::with_options(file, DecoderOptions { limits, salvage, ..DecoderOptions::default() })?;
        let depth = match depth {
            None if decoder.info().lossless && decoder.info().source_depth > 8 => SampleDepth::Sixteen,
            None | Some(Number(8)) => SampleDepth::Eight,
            Some(Number(16)) => SampleDepth::Sixteen,
            Some(Number(depth)) => return Err(Error::Parameter(format!("samples of {depth} bits, not 8 or 16"))),
        };
        let decoder = decoder.depth(depth).on_progress(until(stop));
        let picture = match region {
            Some((x, y, width, height)) => {
                let number = |value: Number| value.within("a region with");
                decoder.decode_region(number(x)?, number(y)?, number(width)?, number(height)?)?
            }
            None => decoder.decode()?,
        };
        Ok((picture, decoder.damage().lines().collect()))
    };
    let (picture, lost) = watched(py, work)?;
    Ok((decoded(py, &picture)?, lost))
}

/// The preview of a file, if it has one.
#[pyfunction]
fn preview<'py>(py: Python<'py>, file: &[u8]) -> PyResult<Option<Decoded<'py>>> {
    let picture = py.detach(|| threads::on_shared(|| Decoder::new(file)?.preview()))?;
    picture.map(|picture| decoded(py, &picture)).transpose()
}

fn decoded<'py>(py: Python<'py>, picture: &Picture) -> PyResult<Decoded<'py>> {
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
    Ok((samples, picture.depth().bytes(), picture.width(), picture.height(), picture.channels().count(), picture.orientation().to_exif()))
}

/// What a file says about itself.
#[pyfunction]
#[pyo3(signature = (file, salvage=false))]
fn info<'py>(py: Python<'py>, file: &[u8], salvage: bool) -> PyResult<Bound<'py, PyDict>> {
    let (info, metadata) = py.detach(|| -> Result<(Info, Metadata)> {
        let decoder = Decoder::with_options(file, DecoderOptions { salvage, ..DecoderOptions::default() })?;
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
    dict.set_item("model_id", info.model_id.to_string())?;
    dict.set_item("file_bytes", info.file_bytes)?;
    dict.set_item("preview_bytes", info.preview_bytes)?;
    dict.set_item("icc", bytes(&metadata.icc)?)?;
    dict.set_item("exif", bytes(&metadata.exif)?)?;
    dict.set_item("xmp", bytes(&metadata.xmp)?)?;
    Ok(dict)
}

/// The index for a quality of 0 to 100, or the default one for none.
#[pyfunction]
#[pyo3(signature = (quality=None))]
fn quality_index(quality: Option<Number>) -> PyResult<u8> {
    let percent = |quality: Number| Quality::percent(quality.within("quality")?);
    Ok(quality.map_or_else(|| Ok(Quality::default()), percent)?.get())
}

/// `aei._aei`.
#[pymodule]
fn _aei(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(encode, module)?)?;
    module.add_function(wrap_pyfunction!(decode, module)?)?;
    module.add_function(wrap_pyfunction!(preview, module)?)?;
    module.add_function(wrap_pyfunction!(info, module)?)?;
    module.add_function(wrap_pyfunction!(quality_index, module)?)
}
