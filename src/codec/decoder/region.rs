//! A part of a picture.

use super::pass::{Area, Pass};
use super::stored::StoredRows;
use super::{Decoder, Purpose};
use crate::{Error, Info, Picture, Result, SampleDepth};

impl Decoder {
    /// Decodes a part of the picture: `width` x `height` pixels from column `x` and row `y` on. Only the tiles are read and decoded that the part and the 80
    /// pixels around it touch (with the embedded model), and its samples are exactly those of the whole picture.
    ///
    /// Coordinates are those of the coded picture, before its orientation is applied; [`Info::coded_region`] gives them for a part of the upright picture,
    /// and [`Picture::upright`] turns the result.
    ///
    /// ```
    /// # let file = aei::Encoder::new().encode(&aei::Picture::gray(300, 200, vec![90; 60000])?)?;
    /// let decoder = aei::Decoder::new(&file[..])?;
    /// let part = decoder.decode_region(40, 10, 100, 50)?;
    /// assert_eq!((part.width(), part.height()), (100, 50));
    /// # Ok::<(), aei::Error>(())
    /// ```
    ///
    /// After damage, with [`DecoderOptions::salvage`](super::DecoderOptions::salvage), a lost tile is filled from those of its neighbours that the part
    /// touches, so that it may look different from the whole's.
    ///
    /// # Errors
    /// As [`Decoder::decode`], and [`Error::Parameter`] if the part is empty or reaches beyond the picture.
    pub fn decode_region(&self, x: u32, y: u32, width: u32, height: u32) -> Result<Picture> {
        self.decode_picture(self.area(x, y, width, height)?, self.depth)
    }

    /// As [`Decoder::decode_region`], with samples of another depth than that of the options.
    #[cfg(feature = "capi")]
    pub(crate) fn decode_region_at(&self, [x, y, width, height]: [u32; 4], depth: SampleDepth) -> Result<Picture> {
        self.decode_picture(self.area(x, y, width, height)?, depth)
    }

    /// As [`Decoder::decode_region`], to memory of the caller: `width * height * channels.count()` bytes in the order of [`Picture::new`].
    ///
    /// # Errors
    /// As [`Decoder::decode_region`], and [`Error::Parameter`] if `samples` has another length.
    pub fn decode_region_into(&self, x: u32, y: u32, width: u32, height: u32, samples: &mut [u8]) -> Result<()> {
        let area = self.area(x, y, width, height)?;
        let needed = area.width * area.height * self.info.channels.count();
        if samples.len() != needed {
            return Err(Error::Parameter(format!("the samples need {needed} bytes, not {}", samples.len())));
        }
        let model = self.model_for_file(Purpose::Rows(SampleDepth::Eight), area)?;
        self.decode_area(model.as_deref(), area, samples)
    }

    fn area(&self, x: u32, y: u32, width: u32, height: u32) -> Result<Area> {
        check_region(self.info.width, self.info.height, [x, y, width, height])?;
        Ok(Area { x: x as usize, y: y as usize, width: width as usize, height: height as usize })
    }

    /// Decodes an area to samples in one piece.
    pub(super) fn decode_area<S: super::Sample>(&self, model: Option<&crate::Model>, area: Area, mut samples: &mut [S]) -> Result<()> {
        let Some(model) = model else { return self.lossless_area(area, samples) };
        let pass = Pass::new(self, model, area);
        let (output, mut alpha) = (pass.output(), StoredRows::alpha(self, area));
        pass.run(|finished| {
            let (now, later) = std::mem::take(&mut samples).split_at_mut(finished.rows * output.row_len());
            output.store(finished.engine, finished.cells, finished.first, now);
            alpha.iter_mut().try_for_each(|alpha| alpha.store(now))?;
            samples = later;
            Ok(())
        })?;
        self.check_end(area)
    }
}

impl Info {
    /// The part of the coded picture that shows as this part (`x`, `y`, `width`, `height`) of the upright picture: what [`Decoder::decode_region`] takes.
    ///
    /// # Errors
    /// [`Error::Parameter`] if the part is empty or reaches beyond the upright picture.
    pub fn coded_region(&self, x: u32, y: u32, width: u32, height: u32) -> Result<[u32; 4]> {
        let swap = self.orientation.swaps_sides();
        let (all_width, all_height) = if swap { (self.height, self.width) } else { (self.width, self.height) };
        check_region(all_width, all_height, [x, y, width, height])?;
        let [x, y] = self.mirrored([all_width, all_height], [x, y, width, height]);
        Ok(if swap { [y, x, height, width] } else { [x, y, width, height] })
    }

    /// Where this part of the coded picture shows in the upright one: the inverse of [`Info::coded_region`].
    ///
    /// # Errors
    /// [`Error::Parameter`] if the part is empty or reaches beyond the coded picture.
    pub fn upright_region(&self, x: u32, y: u32, width: u32, height: u32) -> Result<[u32; 4]> {
        check_region(self.width, self.height, [x, y, width, height])?;
        let swap = self.orientation.swaps_sides();
        let all = if swap { [self.height, self.width] } else { [self.width, self.height] };
        let [x, y, width, height] = if swap { [y, x, height, width] } else { [x, y, width, height] };
        let [x, y] = self.mirrored(all, [x, y, width, height]);
        Ok([x, y, width, height])
    }

    /// The corner of a part of a picture of so many columns and rows, which is mirrored as the upright picture is.
    fn mirrored(&self, [all_width, all_height]: [u32; 2], [x, y, width, height]: [u32; 4]) -> [u32; 2] {
        let (mirror_x, mirror_y) = self.orientation.mirrors();
        [if mirror_x { all_width - x - width } else { x }, if mirror_y { all_height - y - height } else { y }]
    }
}

fn check_region(all_width: u32, all_height: u32, [x, y, width, height]: [u32; 4]) -> Result<()> {
    let fits = |at: u32, len: u32, all: u32| len > 0 && at.checked_add(len).is_some_and(|end| end <= all);
    if fits(x, width, all_width) && fits(y, height, all_height) {
        return Ok(());
    }
    let what = if width == 0 || height == 0 { "is empty" } else { "reaches beyond the picture" };
    Err(Error::Parameter(format!("the region {x},{y},{width},{height} {what}: the picture has {all_width}x{all_height} pixels")))
}
