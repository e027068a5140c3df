//! The preview: a picture of about 1 KB inside the file (SPEC 2.9).

use super::{Decoder, DecoderOptions, Encoder, Quality};
use crate::picture::samples::Sample;
use crate::picture::try_filled;
use crate::{Error, Layout, Picture, Result};

/// Longest side of the previews that this encoder makes, in pixels.
pub(super) const SIDE: u32 = 128;
/// Longest side of a preview in a file (R2.13).
const MAX_SIDE: u32 = 256;
/// Most bytes of the file inside the chunk: 1 KB with the chunk's own.
const MAX_BYTES: usize = 1024 - 12;

impl Encoder {
    /// The file of a preview: as good as fits into 1 KB.
    pub(super) fn preview_file(&self, mut small: Picture) -> Result<Option<Vec<u8>>> {
        let encoder = self.plain();
        loop {
            // The best quality that fits, if size grows with quality; a good one in any case.
            let (mut best, mut low, mut high) = (None, 0, Quality::default().get());
            while low <= high {
                let middle = (low + high) / 2;
                let file = encoder.clone().quality(Quality::index(middle)?).encode(&small)?;
                if file.len() <= MAX_BYTES {
                    (best, low) = (Some(file), middle + 1);
                } else if middle == 0 {
                    break;
                } else {
                    high = middle - 1;
                }
            }
            let side = small.width().max(small.height());
            if best.is_some() || side == 1 {
                return Ok(best);
            }
            let mut shrink = Shrink::new(&Layout::from(&small), side / 2)?;
            shrink.push::<u8>(&small.samples());
            small = shrink.finish()?;
        }
    }
}

impl Decoder {
    /// Decodes the preview, if the file has one: a small picture without alpha and metadata, as stored ([`Picture::upright`] turns it).
    ///
    /// # Errors
    /// As [`Decoder::decode`], about the preview: the picture itself may be whole all the same.
    pub fn preview(&self) -> Result<Option<Picture>> {
        self.preview_decoder()?.map(|decoder| decoder.decode()).transpose()
    }

    /// A decoder of the preview, if the file has one, to ask for its size before decoding. It has this decoder's limits and model, and no progress callback.
    ///
    /// # Errors
    /// As [`Decoder::with_options`], about the preview: the picture itself may be whole all the same.
    pub fn preview_decoder(&self) -> Result<Option<Self>> {
        let Some(file) = self.container.preview().transpose()? else { return Ok(None) };
        let options = DecoderOptions { limits: self.limits, model: self.model.clone(), ..DecoderOptions::default() };
        let decoder = Self::from_vec(file.into_owned(), options)?;
        let info = decoder.info();
        if info.width > MAX_SIDE || info.height > MAX_SIDE {
            return Err(Error::format("R2.13", format!("the preview has {}x{} pixels", info.width, info.height)));
        }
        if info.orientation != self.info().orientation {
            return Err(Error::format("R2.13", format!("the preview has the orientation {}, not the picture's", info.orientation.to_exif())));
        }
        if decoder.container.extras.sizes() != [0; 3] {
            return Err(Error::format("R2.13", "the preview holds metadata, alpha or a preview"));
        }
        Ok(Some(decoder))
    }
}

/// Makes a small picture of a large one's rows, by exact means over areas, without alpha. Pixels count as much as they are opaque.
pub(super) struct Shrink {
    layout: Layout,
    width: usize,
    height: usize,
    /// The next row of the large picture.
    row: usize,
    /// For each pixel the sums of colours times opacity, and of opacity. Sides, samples and opacity are below 2^16 each, so the sums of products of the four fit
    /// 64 bits.
    sums: Vec<[u64; 4]>,
}

impl Shrink {
    /// To sides of at most `side` pixels.
    pub(super) fn new(layout: &Layout, side: u32) -> Result<Self> {
        let longest = layout.width().max(layout.height());
        let fit =
            |v: u32| if longest <= side { v } else { ((u64::from(v) * u64::from(side) + u64::from(longest) / 2) / u64::from(longest)).max(1) as u32 } as usize;
        let (width, height) = (fit(layout.width()), fit(layout.height()));
        Ok(Self { layout: *layout, width, height, row: 0, sums: try_filled(width * height, [0; 4])? })
    }

    /// Takes the next rows.
    pub(super) fn push<S: Sample>(&mut self, rows: &[S]) {
        let (from_width, from_height, channels) = (self.layout.width() as usize, self.layout.height() as usize, self.layout.channels());
        let (count, colours) = (channels.count(), channels.without_alpha().count());
        for line in rows.chunks_exact(self.layout.row_len()) {
            for (y, part) in shares(self.row, self.height, from_height) {
                for (column, pixel) in line.chunks_exact(count).enumerate() {
                    let opacity = if channels.has_alpha() { u64::from(pixel[count - 1].to_u16()) } else { 1 };
                    for (x, share) in shares(column, self.width, from_width) {
                        let weight = part * share * opacity;
                        let sum = &mut self.sums[y * self.width + x];
                        sum.iter_mut().zip(&pixel[..colours]).for_each(|(sum, v)| *sum += weight * u64::from(v.to_u16()));
                        sum[3] += weight;
                    }
                }
            }
            self.row += 1;
        }
    }

    /// The small picture, when all rows have been taken.
    pub(super) fn finish(self) -> Result<Picture> {
        let channels = self.layout.channels().without_alpha();
        let mut samples = try_filled(self.width * self.height * channels.count(), 0)?;
        for (pixel, sum) in samples.chunks_exact_mut(channels.count()).zip(&self.sums) {
            // What is wholly transparent has no colour: the middle costs least.
            let level = |v: u64| v.checked_div(sum[3]).map_or(128, |v| ((v + 128) / 257) as u8);
            pixel.iter_mut().zip(sum).for_each(|(out, v)| *out = level(*v));
        }
        Ok(Picture::new(self.width as u32, self.height as u32, channels, samples)?.with_orientation(self.layout.orientation()))
    }
}

/// In which output positions an input position is, and how much of it, where `from` input positions become `to`: (output, amount in units of `1 / from`).
fn shares(input: usize, to: usize, from: usize) -> impl Iterator<Item = (usize, u64)> {
    // Input positions are `to` units wide, output positions `from`.
    let (start, end) = (input * to, (input + 1) * to);
    (start / from..end.div_ceil(from)).map(move |i| (i, (end.min((i + 1) * from) - start.max(i * from)) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Channels, Samples};

    fn shrunk(picture: &Picture, side: u32) -> Result<Picture> {
        let mut shrink = Shrink::new(&Layout::from(picture), side)?;
        match picture.data() {
            Samples::U8(samples) => shrink.push(samples),
            Samples::U16(samples) => shrink.push(samples),
        }
        shrink.finish()
    }

    #[test]
    fn areas_are_averaged_exactly() {
        // Three columns to two: each output pixel is one and a half input pixels.
        let picture = Picture::gray(3, 1, vec![0, 90, 240]).unwrap();
        assert_eq!(shrunk(&picture, 2).unwrap().samples(), vec![30, 190]);
        let picture = Picture::rgb(2, 2, vec![0, 10, 255, 100, 10, 255, 0, 30, 255, 100, 30, 255]).unwrap();
        assert_eq!(shrunk(&picture, 1).unwrap().samples(), vec![50, 20, 255]);
        let wide = Picture::from_samples(300, 2, Channels::Gray, vec![65535u16; 600].into()).unwrap();
        let small = shrunk(&wide, 128).unwrap();
        assert_eq!((small.width(), small.height()), (128, 1));
        assert!(small.samples().iter().all(|v| *v == 255));
    }

    #[test]
    fn transparent_pixels_do_not_count() {
        let picture = Picture::rgba(2, 1, vec![200, 100, 50, 255, 9, 9, 9, 0]).unwrap();
        let small = shrunk(&picture, 1).unwrap();
        assert_eq!((small.channels(), &small.samples()[..]), (Channels::Rgb, &[200, 100, 50][..]));
        let nothing = Picture::new(2, 1, Channels::GrayAlpha, vec![7, 0, 9, 0]).unwrap();
        assert_eq!(shrunk(&nothing, 1).unwrap().samples(), vec![128]);
    }

    #[test]
    fn r2_13_previews_fit_and_come_back() {
        let samples: Vec<u8> = (0..400 * 300 * 4u32).map(|i| (i / 4 % 400 / 2 + i % 4 * 9 + (i.wrapping_mul(2_654_435_761) >> 28)) as u8).collect();
        let picture = Picture::rgba(400, 300, samples).unwrap().with_orientation(crate::Orientation::Rotate90);
        let file = Encoder::new().preview(true).encode(&picture).unwrap();
        let decoder = Decoder::new(&file[..]).unwrap();
        let preview = decoder.preview().unwrap().unwrap();
        assert!(decoder.info().preview_bytes.unwrap() <= 1012);
        assert_eq!((preview.width(), preview.height(), preview.channels(), preview.orientation()), (128, 96, Channels::Rgb, picture.orientation()));
        let expected = shrunk(&picture, 128).unwrap();
        let error: u64 = preview.samples().iter().zip(expected.samples().iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(error < 20 * preview.samples().len() as u64, "{error}");
        let without = Encoder::new().encode(&picture).unwrap();
        assert!(Decoder::new(&without[..]).unwrap().preview().unwrap().is_none());
    }
}
