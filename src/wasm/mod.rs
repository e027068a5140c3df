//! The module for web pages (feature `wasm`): decoding and encoding for JavaScript. `aei/` beside it holds what pages import; see README.md there.
//!
//! The model is given and not embedded: a page fetches it once, whatever happens to the code.

use std::sync::Arc;

use js_sys::{JsString, Object, Reflect, Uint8Array};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{Channels, DecoderOptions, Encoder, Error, FileFormat, Limits, Lossless, Metadata, Picture, Quality, Target, Tune, write_picture};

/// An `Error` with the properties `name` ("AeiError") and `kind`.
impl From<Error> for JsValue {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Io(_) => "io",
            Error::Format(_) => "format",
            Error::Parameter(_) => "parameter",
            Error::Limits(_) => "limits",
            Error::Unsupported(_) => "unsupported",
            Error::Model(_) => "model",
            _ => "other",
        };
        let made = js_sys::Error::new(&error.to_string());
        made.set_name("AeiError");
        // An ordinary object takes any property.
        let _ = Reflect::set(&made, &JsString::from("kind"), &JsString::from(kind));
        made.into()
    }
}

type Result<T> = std::result::Result<T, JsValue>;

/// A model file (`.aem`).
#[wasm_bindgen]
#[derive(Debug)]
pub struct Model(Arc<crate::Model>);

#[wasm_bindgen]
impl Model {
    /// Reads a model file and checks it.
    #[wasm_bindgen(constructor)]
    pub fn new(file: Vec<u8>) -> Result<Model> {
        Ok(Self(crate::Model::from_bytes(file)?))
    }

    /// The id by which files name their model: 16 hexadecimal digits.
    #[wasm_bindgen(getter)]
    pub fn id(&self) -> String {
        self.0.id().to_string()
    }
}

/// An `.aei` file. Samples are those of the picture as stored: rows from the top, pixels from the left, `channels` samples of 8 bits each.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Decoder(crate::Decoder);

#[wasm_bindgen]
impl Decoder {
    /// Reads a file and checks all of it but the streams of its tiles.
    #[wasm_bindgen(constructor)]
    pub fn new(file: &[u8], model: &Model, max_pixels: Option<f64>) -> Result<Decoder> {
        let mut limits = Limits::default();
        if let Some(pixels) = max_pixels {
            limits.max_pixels = pixels as u64;
        }
        let options = DecoderOptions { limits, model: Some(Arc::clone(&model.0)), ..DecoderOptions::default() };
        Ok(Self(crate::Decoder::with_options(file, options)?))
    }

    /// Width in pixels, as stored.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> u32 {
        self.0.info().width
    }

    /// Height in pixels, as stored.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> u32 {
        self.0.info().height
    }

    /// Samples per pixel: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.
    #[wasm_bindgen(getter)]
    pub fn channels(&self) -> u32 {
        self.0.info().channels.count() as u32
    }

    /// How the picture is to be turned for display: 1 to 8, as in EXIF.
    #[wasm_bindgen(getter)]
    pub fn orientation(&self) -> u32 {
        self.0.info().orientation.to_exif().into()
    }

    /// Side of the tiles in pixels.
    #[wasm_bindgen(getter, js_name = tileSize)]
    pub fn tile_size(&self) -> u32 {
        self.0.info().tile_size
    }

    /// Quality index, 0 to 63.
    #[wasm_bindgen(getter, js_name = qualityIndex)]
    pub fn quality_index(&self) -> u32 {
        self.0.info().quality.get().into()
    }

    /// Whether the samples are stored as they are.
    #[wasm_bindgen(getter)]
    pub fn lossless(&self) -> bool {
        self.0.info().lossless
    }

    /// Id of the model that the file was made with.
    #[wasm_bindgen(getter, js_name = modelId)]
    pub fn model_id(&self) -> String {
        self.0.info().model_id.to_string()
    }

    /// The samples of a part of the picture, which are exactly those of the whole.
    pub fn samples(&self, x: u32, y: u32, width: u32, height: u32) -> Result<Vec<u8>> {
        let decoder = &self.0;
        if (x, y, width, height) == (0, 0, decoder.info().width, decoder.info().height) {
            return Ok(decoder.decode()?.into_samples());
        }
        Ok(decoder.decode_region(x, y, width, height)?.into_samples())
    }

    /// Samples of the whole picture for display: upright, RGBA.
    pub fn rgba(&self, samples: Vec<u8>) -> Result<Vec<u8>> {
        let picture = self.picture(samples)?.upright()?;
        let samples = picture.samples();
        Ok(match picture.channels() {
            Channels::Gray => samples.iter().flat_map(|&gray| [gray, gray, gray, 255]).collect(),
            Channels::GrayAlpha => samples.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect(),
            Channels::Rgb => samples.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect(),
            Channels::Rgba => samples.into_owned(),
        })
    }

    /// Samples of the whole picture as a PNG file: upright, with the colour profile and other metadata.
    pub fn png(&self, samples: Vec<u8>) -> Result<Vec<u8>> {
        Ok(write_picture(&self.picture(samples)?, FileFormat::Png)?)
    }

    /// The preview as a PNG file, if there is one.
    pub fn preview(&self) -> Result<Option<Vec<u8>>> {
        Ok(match self.0.preview()? {
            Some(picture) => Some(write_picture(&picture, FileFormat::Png)?),
            None => None,
        })
    }

    /// An object with the blocks of metadata that there are: `icc`, `exif`, `xmp`.
    pub fn metadata(&self) -> Result<Object> {
        let (metadata, blocks) = (self.0.metadata()?, Object::new());
        for (name, block) in [("icc", metadata.icc), ("exif", metadata.exif), ("xmp", metadata.xmp)] {
            if let Some(block) = block {
                // An ordinary object takes any property.
                let _ = Reflect::set(&blocks, &JsString::from(name), &Uint8Array::from(&block[..]));
            }
        }
        Ok(blocks)
    }

    fn picture(&self, samples: Vec<u8>) -> Result<Picture> {
        let info = self.0.info();
        let picture = Picture::new(info.width, info.height, info.channels, samples)?;
        Ok(picture.with_orientation(info.orientation).with_metadata(self.0.metadata()?))
    }
}

/// Makes a file from samples of 8 bits. The model must have its analysis. `lossless` is undefined where the encoder may choose, `orientation` where EXIF tells it, and
/// `max_bytes` where the quality counts.
#[wasm_bindgen]
#[expect(clippy::too_many_arguments, unreachable_pub, reason = "called by aei/index.js alone; exported to JavaScript")]
pub fn encode(
    samples: Vec<u8>,
    width: u32,
    height: u32,
    channels: u32,
    model: &Model,
    quality: u32,
    effort: u32,
    lossless: Option<bool>,
    preview: bool,
    icc: Option<Vec<u8>>,
    exif: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
    orientation: Option<u32>,
    visual: bool,
    keep_invisible: bool,
    tile_size: u32,
    max_bytes: Option<u32>,
) -> Result<Vec<u8>> {
    // What is beyond 8 bits is beyond every bound.
    let [channels, quality, effort] = [channels, quality, effort].map(|number| u8::try_from(number).unwrap_or(u8::MAX));
    let channels = Channels::from_count(channels).ok_or_else(|| Error::Parameter(format!("{channels} channels, not 1 to 4")))?;
    let metadata = Metadata { icc, exif, xmp };
    metadata.check_size()?;
    let orientation = metadata.orientation_or(orientation.map(i64::from))?;
    let picture = Picture::new(width, height, channels, samples)?.with_orientation(orientation).with_metadata(metadata);
    let lossless = lossless.map_or(Lossless::Auto, |wanted| if wanted { Lossless::Always } else { Lossless::Never });
    let encoder = Encoder::new().model(Arc::clone(&model.0)).quality(Quality::percent(quality)?).effort(effort)?.lossless(lossless).preview(preview);
    let encoder = encoder.tune(if visual { Tune::Visual } else { Tune::Psnr }).keep_invisible(keep_invisible).tile_size(tile_size)?;
    Ok(match max_bytes {
        Some(bytes) => encoder.encode_to(&picture, Target::Bytes(bytes.into()))?,
        None => encoder.encode(&picture)?,
    })
}
