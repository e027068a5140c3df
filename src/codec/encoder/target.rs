//! Encoding to a wanted size or quality: a search over the quality indices.

use std::collections::HashMap;

use super::Encoder;
use super::Lossless;
use super::reuse::{MAX_PIXELS, Reuse};
use super::search::{Enclosed, Measured, approach, enclose, enclose_below};
use crate::codec::{Device, Quality};
use crate::{Error, Model, Picture, Result};

/// What a file is to be like, for [`Encoder::encode_to`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// The whole file has at most so many bytes, and as few less as can be.
    Bytes(u64),
    /// The same, in bits for each pixel of the picture.
    BitsPerPixel(f64),
    /// The decoded picture's PSNR over red, green and blue is at least so many decibels, and the file as small as can be.
    #[cfg(feature = "metrics")]
    Psnr(f64),
    /// The same with SSIMULACRA2, whose best score is 100.
    #[cfg(feature = "metrics")]
    Ssimulacra2(f64),
}

impl Target {
    /// The most bytes that the file of a picture of so many pixels may have, if this is about bytes.
    fn check(self, pixels: u64) -> Result<Option<u64>> {
        match self {
            Self::Bytes(bytes) => Ok(Some(bytes)),
            Self::BitsPerPixel(bits) if bits >= 0.0 && bits.is_finite() => Ok(Some(bytes_for(bits, pixels))),
            Self::BitsPerPixel(bits) => Err(Error::Parameter(format!("{bits} bits per pixel cannot be"))),
            #[cfg(feature = "metrics")]
            Self::Psnr(score) | Self::Ssimulacra2(score) if score.is_nan() => Err(Error::Parameter(format!("a quality of {score} cannot be"))),
            #[cfg(feature = "metrics")]
            Self::Ssimulacra2(score) if score > 100.0 => Err(Error::Parameter(format!("an SSIMULACRA2 score of {score} cannot be reached: 100 is the best"))),
            #[cfg(feature = "metrics")]
            Self::Psnr(_) | Self::Ssimulacra2(_) => Ok(None),
        }
    }
}

fn bytes_for(bits_per_pixel: f64, pixels: u64) -> u64 {
    (bits_per_pixel * pixels as f64 / 8.0).floor() as u64
}

/// By how much the size rises from one index to the next, as a logarithm: measured on photographs.
const SIZE_STEP: f64 = 0.054;
/// What each step of the skip threshold saves: the logarithm falls with the third power of the steps, and this is its cube root. Measured likewise.
const SKIP_STEP: f64 = 0.058;
/// How many skip thresholds above the model's own are tried between two indices. Further ones cost more quality than the next lower index.
const FINE_STEPS: u8 = 10;
/// By how much an effort changes the size, in the middle of efforts and pictures, as a logarithm.
const EFFORT_SIZE: f64 = -0.02;
/// What the PSNR takes for each pixel: both pictures as measures see them.
#[cfg(feature = "metrics")]
const PSNR_BYTES: u64 = 6;
/// What SSIMULACRA2 takes for each pixel: the same, and 150 bytes, as measured.
#[cfg(feature = "metrics")]
const SSIMULACRA2_BYTES: u64 = PSNR_BYTES + 150;

impl Encoder {
    /// Encodes a picture to a wanted size or quality, in place of [`Encoder::quality`]. Takes 3 to 8 encodings as a rule, and up to 20 of small and flat pictures, whose
    /// sizes and scores do not rise evenly. All but the first are shorter: the first half of the analysis is the same for all qualities and kept (8 bytes a pixel, up to
    /// 2^26 pixels).
    ///
    /// With an [`Encoder::effort`] these are done without it, and one to three with it follow: what it changes is much the same for all files near by. What is
    /// found then is the best that was made, and now and then the next one would have been a little better.
    ///
    /// With [`Lossless::Auto`], what fits without loss is stored so; so is a picture for which no quality index gives a wanted score.
    ///
    /// The quality index is searched for. For sizes, what is left to the next index is used by coding fewer of the values that are nearly certain.
    ///
    /// ```
    /// # use aei::{Encoder, Picture, Target};
    /// # let picture = Picture::rgb(64, 64, (0..12288u32).map(|i| (i * i / 97) as u8).collect())?;
    /// let file = Encoder::new().encode_to(&picture, Target::Bytes(2000))?;
    /// assert!(file.len() <= 2000);
    /// # Ok::<(), aei::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Encoder::encode`]; [`Error::Parameter`] if the target cannot be reached, with what can.
    pub fn encode_to(&self, picture: &Picture, target: Target) -> Result<Vec<u8>> {
        let limit = target.check(u64::from(picture.width()) * u64::from(picture.height()))?;
        #[cfg(feature = "metrics")]
        self.check_scoring(picture, target)?;
        match (self.lossless, limit) {
            (Lossless::Never, _) => self.reusing(picture).search(picture, target),
            (Lossless::Always, None) => self.encode(picture),
            (Lossless::Always, Some(bytes)) => {
                let file = self.encode(picture)?;
                let error = || format!("without loss the file has {} bytes, not {bytes}: allow losses or make the picture smaller", file.len());
                if file.len() as u64 <= bytes { Ok(file) } else { Err(Error::Parameter(error())) }
            }
            // Nothing is better than what fits without loss. Whether it does is known early, for most pictures.
            (Lossless::Auto, Some(bytes)) => match (Self { most: bytes, ..self.clone().lossless(Lossless::Always) }).encode(picture) {
                Ok(file) if file.len() as u64 <= bytes => Ok(file),
                Ok(_) | Err(Error::Parameter(_)) => self.reusing(picture).search(picture, target),
                Err(error) => Err(error),
            },
            // Any score is reached without loss.
            (Lossless::Auto, None) => {
                let file = self.clone().lossless(Lossless::Always).encode(picture)?;
                if self.is_smallest(picture, &file)? {
                    return Ok(file);
                }
                match self.reusing(picture).search(picture, target) {
                    Ok(latents) if latents.len() < file.len() => Ok(latents),
                    Ok(_) | Err(Error::Parameter(_)) => Ok(file),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Keeps what is the same at all qualities.
    fn reusing(&self, picture: &Picture) -> Self {
        let pixels = u64::from(picture.width()) * u64::from(picture.height());
        let reuse = (self.transforms.device == Device::Native && pixels <= MAX_PIXELS).then(Reuse::default);
        Self { reuse, ..self.clone().lossless(Lossless::Never) }
    }

    /// Whether there is memory for a look at the decoded picture, if this is about a score.
    #[cfg(feature = "metrics")]
    fn check_scoring(&self, picture: &Picture, target: Target) -> Result<()> {
        let bytes = match target {
            Target::Psnr(_) => PSNR_BYTES,
            Target::Ssimulacra2(_) => SSIMULACRA2_BYTES,
            Target::Bytes(_) | Target::BitsPerPixel(_) => return Ok(()),
        };
        if self.lossless == Lossless::Always {
            return Ok(());
        }
        // What is kept, the decoded picture, and what the measure takes.
        let each = 8 + (picture.channels().count() * picture.depth().bytes()) as u64 + bytes;
        let scoring = u64::from(picture.width()) * u64::from(picture.height()) * each;
        let limits = crate::Limits { max_memory: self.max_memory, ..crate::Limits::none() };
        limits.check_memory("looking for a score", self.reusing(picture).memory_for_rows(picture.into())?.max(scoring))
    }

    fn search(&self, picture: &Picture, target: Target) -> Result<Vec<u8>> {
        match target {
            Target::Bytes(bytes) => self.encode_to_size(picture, bytes),
            Target::BitsPerPixel(bits) => {
                let pixels = u64::from(picture.width()) * u64::from(picture.height());
                self.encode_to_size(picture, bytes_for(bits, pixels))
            }
            #[cfg(feature = "metrics")]
            Target::Psnr(decibels) => self.encode_to_score(picture, decibels, 0.45, "a PSNR of", PSNR_BYTES, |a, b| Ok(Some(crate::metrics::psnr(a, b)?.rgb))),
            #[cfg(feature = "metrics")]
            Target::Ssimulacra2(score) => self.encode_to_score(picture, score, 1.0, "an SSIMULACRA2 score of", SSIMULACRA2_BYTES, crate::metrics::ssimulacra2),
        }
    }

    /// Whether a lossless file, whose score is the highest, is as small as any of latents. What takes more than half a bit per pixel is not, with few exceptions.
    fn is_smallest(&self, picture: &Picture, lossless: &[u8]) -> Result<bool> {
        let few = lossless.len() as u64 * 16 <= u64::from(picture.width()) * u64::from(picture.height());
        Ok(few && lossless.len() <= self.clone().lossless(Lossless::Never).at_index(0)?.encode(picture)?.len())
    }

    fn at(&self, setting: Setting) -> Result<Self> {
        Ok(Self { skip_below: setting.skip_below, ..self.clone().quality(Quality::index(setting.index)?) })
    }

    fn at_index(&self, index: u8) -> Result<Self> {
        self.at(Setting::plain(index))
    }

    fn encode_to_size(&self, picture: &Picture, bytes: u64) -> Result<Vec<u8>> {
        let model = self.model.clone().map_or_else(Model::embedded, Ok)?;
        let sizes = Sizes { default: model.encoder()?.skip_below, scales: model.header().scales };
        let limit = (bytes as f64).ln();
        let (mut best, mut smallest) = (None::<(Rank, Vec<u8>)>, u64::MAX);
        let mut encode = |setting: Setting| {
            let file = self.at(setting)?.encode(picture)?;
            let size = file.len() as u64;
            smallest = smallest.min(size);
            let rank = setting.rank(size);
            if size <= bytes && best.as_ref().is_none_or(|(best, _)| *best < rank) {
                best = Some((rank, file));
            }
            Ok((size as f64).ln())
        };
        if self.effort == 0 {
            sizes.largest(limit, &mut encode)?;
        } else {
            let (quick, mut known) = (Self { effort: 0, ..self.clone() }, HashMap::new());
            let mut quick_size = |setting| match known.get(&setting) {
                Some(size) => Ok(*size),
                None => {
                    let size = (quick.at(setting)?.encode(picture)?.len() as f64).ln();
                    known.insert(setting, size);
                    Ok(size)
                }
            };
            let choose = |limit| match sizes.largest(limit, &mut quick_size)? {
                Some(found) => Ok(found),
                None => Ok((sizes.lowest(), quick_size(sizes.lowest())?)),
            };
            approach(limit, EFFORT_SIZE, choose, |setting| encode(*setting))?;
        }
        best.map(|(_, file)| file).ok_or_else(|| too_small(bytes, smallest))
    }

    #[cfg(feature = "metrics")]
    fn encode_to_score(
        &self,
        picture: &Picture,
        score: f64,
        slope: f64,
        what: &str,
        pixel_bytes: u64,
        measure: impl Fn(&crate::metrics::Rgb<'_>, &crate::metrics::Rgb<'_>) -> Result<Option<f64>>,
    ) -> Result<Vec<u8>> {
        use crate::metrics::Rgb;
        let scored = |encoder: &Self, index| -> Result<(f64, Vec<u8>)> {
            let file = encoder.at_index(index)?.encode(picture)?;
            let options = crate::DecoderOptions { limits: crate::Limits::none(), model: self.model.clone(), ..Default::default() };
            let mut decoder = crate::Decoder::with_options(&file[..], options)?;
            if let Some(progress) = encoder.progress.clone() {
                // Nothing new is done, but it may be asked to end.
                decoder = decoder.on_progress(move |_, total| progress(total, total));
            }
            let decoded = decoder.decode()?;
            drop(decoder);
            check_room(u64::from(picture.width()) * u64::from(picture.height()) * pixel_bytes)?;
            let (original, decoded) = if self.keep_invisible { (Rgb::new(picture), Rgb::new(&decoded)) } else { Rgb::visible(picture, &decoded)? };
            let reached = measure(&original, &decoded)?;
            let reached = reached.ok_or_else(|| Error::Parameter("the picture is too small for this measure".into()))?;
            Ok((reached, file))
        };
        let (mut smallest, mut top) = (None::<Vec<u8>>, Measured { at: 0, value: f64::NAN });
        let mut at = |index| {
            let (reached, file) = scored(self, index)?;
            if index >= top.at {
                top = Measured { at: index, value: reached };
            }
            if reached >= score && smallest.as_ref().is_none_or(|smallest| file.len() < smallest.len()) {
                smallest = Some(file);
            }
            Ok(reached)
        };
        // A score that is reached exactly is reached.
        if self.effort == 0 {
            enclose(score.next_down(), slope, &mut at)?;
        } else {
            let (quick, mut known) = (Self { effort: 0, ..self.clone() }, HashMap::new());
            let mut quick_score = |index| match known.get(&index) {
                Some(reached) => Ok(*reached),
                None => {
                    let (reached, _) = scored(&quick, index)?;
                    known.insert(index, reached);
                    Ok(reached)
                }
            };
            // The lowest score that is high enough is, with the sign changed, the largest of at most a limit.
            let choose = |limit: f64| match enclose((-limit).next_down(), slope, &mut quick_score)?.above {
                Some(found) => Ok((found.at, -found.value)),
                None => Ok((63, -quick_score(63)?)),
            };
            approach(-score, 0.0, choose, |index| Ok(-at(*index)?))?;
        }
        if let Some(file) = smallest {
            return Ok(file);
        }
        // Of patterns and noise that the networks fail at, files of low qualities may give more than those of high ones.
        let mut best = top.value;
        for index in [48, 32, 16, 0] {
            let (reached, file) = scored(self, index)?;
            if reached >= score {
                return Ok(file);
            }
            // As it is with all others.
            if reached < best {
                break;
            }
            best = reached;
        }
        Err(Error::Parameter(format!("{what} {score} cannot be reached with this picture: {best:.2} is the best that was found")))
    }
}

/// What the size of a file depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Setting {
    index: u8,
    /// As [`Encoder::skip_below`].
    skip_below: Option<u8>,
}

impl Setting {
    fn plain(index: u8) -> Self {
        Self { index, skip_below: None }
    }

    /// Of files that fit the one of the highest rank is the best: the largest. Of small or flat pictures many have one size: of these it is one that leaves nothing
    /// out for its size, and of the highest index.
    fn rank(self, size: u64) -> Rank {
        (size, self.skip_below.is_none(), self.index)
    }
}

/// Bytes, whether the skip threshold is the model's own, and the quality index.
type Rank = (u64, bool, u8);

/// The settings that are tried for sizes.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// The model's own skip threshold.
    default: u8,
    /// Its number of scales, which no threshold is above.
    scales: u8,
}

impl Sizes {
    /// Gives the smallest files of all.
    fn lowest(self) -> Setting {
        Setting { index: 0, skip_below: Some(self.scales) }
    }

    /// The setting whose file is the largest of at most `limit`, and its size. Sizes are natural logarithms of bytes.
    fn largest(self, limit: f64, mut size: impl FnMut(Setting) -> Result<f64>) -> Result<Option<(Setting, f64)>> {
        let Enclosed { below, above } = enclose(limit, SIZE_STEP, |index| size(Setting::plain(index)))?;
        let lower = below.map(|m| (Setting::plain(m.at), m.value));
        let Some(above) = above else { return Ok(lower) };
        // The next index with a higher threshold may fit. Where even the lowest index does not, any threshold will do.
        let highest = if lower.is_some() { self.default.saturating_add(FINE_STEPS).min(self.scales) } else { self.scales };
        let skipping = |position| Setting { index: above.at, skip_below: Some(highest - position) };
        let saved = |size: f64| -(above.value - size).max(0.0).cbrt();
        let mut seen = Vec::new();
        let unskipped = Measured { at: highest.saturating_sub(self.default), value: 0.0 };
        let found = enclose_below(unskipped, saved(limit), SKIP_STEP, |position| {
            seen.push((skipping(position), size(skipping(position))?));
            Ok(seen.last().map_or(0.0, |(_, size)| saved(*size)))
        })?;
        let fine = found.below.and_then(|m| seen.into_iter().find(|(setting, _)| *setting == skipping(m.at)));
        // The lower index is the better picture unless the other file is larger.
        Ok(fine.filter(|fine| lower.is_none_or(|lower| lower.1 < fine.1)).or(lower))
    }
}

/// Whether there is memory for a measure, which takes it without asking: where it is refused, the process ends.
#[cfg(feature = "metrics")]
fn check_room(bytes: u64) -> Result<()> {
    let mut room = Vec::<u8>::new();
    let there = usize::try_from(bytes).is_ok_and(|bytes| room.try_reserve_exact(bytes).is_ok());
    // Compilers may leave out memory that nobody looks at.
    std::hint::black_box(&room);
    there.then_some(()).ok_or_else(|| Error::Limits("there is no memory for a look at the decoded picture".into()))
}

fn too_small(bytes: u64, smallest: u64) -> Error {
    Error::Parameter(format!("the file cannot be made as small as {bytes} bytes; {smallest} can be reached: make the picture smaller"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "metrics")]
    #[test]
    fn looks_at_decoded_pictures_can_be_ended() {
        use std::ops::ControlFlow;
        use std::sync::{Arc, Mutex};

        let picture = Picture::rgb(40, 600, (0..40 * 600 * 3u32).map(|i| (i / 120 % 200) as u8).collect()).unwrap();
        let calls_until = |most: usize, target: Option<Target>| {
            let calls = Arc::new(Mutex::new(Vec::new()));
            let heard = calls.clone();
            let encoder = Encoder::new().lossless(Lossless::Never).tile_size(256).unwrap().on_progress(move |done, total| {
                let mut heard = heard.lock().unwrap();
                heard.push((done, total));
                if heard.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            let result = target.map_or_else(|| encoder.encode(&picture), |target| encoder.encode_to(&picture, target));
            let calls = calls.lock().unwrap().clone();
            (result, calls)
        };
        let (_, encoding) = calls_until(usize::MAX, None);
        for target in [Target::Psnr(35.0), Target::Ssimulacra2(60.0)] {
            let (result, calls) = calls_until(encoding.len() + 1, Some(target));
            assert!(matches!(result, Err(Error::Cancelled)));
            // Not the next encoding, which would begin anew.
            assert_eq!(calls.last(), Some(&(600, 600)));
        }
    }

    #[test]
    fn of_files_of_one_size_the_best_picture_is_found() {
        // Of small and flat pictures many files have one size.
        let small = Picture::rgb(3, 2, (0..18).map(|i| i * 13 % 97 + 60).collect()).unwrap();
        let flat = Picture::rgb(64, 64, [77; 64 * 64 * 3].to_vec()).unwrap();
        let encoder = Encoder::new().lossless(Lossless::Never);
        for picture in [small, flat] {
            let files: Vec<_> = (0..64).map(|index| encoder.at_index(index).unwrap().encode(&picture).unwrap()).collect();
            for bytes in (files[0].len()..files[63].len()).step_by(4).chain([100_000]) {
                let found = encoder.encode_to(&picture, Target::Bytes(bytes as u64)).unwrap();
                // All that are below it fit, too: a search ends there or beyond.
                let last = files.iter().position(|file| file.len() > bytes).unwrap_or(64) - 1;
                let index = crate::Decoder::new(&found[..]).unwrap().info().quality.get();
                assert!((found.len(), usize::from(index)) >= (files[last].len(), last), "{bytes} bytes: {} at {index}, not {last}", found.len());
            }
        }
    }

    #[test]
    fn the_file_is_that_of_its_quality() {
        let samples =
            |i: u32| (60.0 + 50.0 * (f64::from(i / 3 % 300) / 5.0).sin() * (f64::from(i / 900) / 7.0).cos() + f64::from(i % 3 * 40 + i / 3 * 37 % 11)) as u8;
        let picture = Picture::rgb(300, 270, (0..300 * 270 * 3).map(samples).collect()).unwrap();
        let alpha =
            picture.samples().chunks_exact(3).enumerate().flat_map(|(i, p)| [p[0], p[1], p[2], if i % 300 < 100 { (i % 7 * 40) as u8 } else { 255 }]).collect();
        let with_alpha = Picture::rgba(300, 270, alpha).unwrap();
        for (picture, tile) in [(&picture, 256), (&picture, 1024), (&with_alpha, 256)] {
            let encoder = Encoder::new().lossless(Lossless::Never).tile_size(tile).unwrap();
            for index in [0, 20, 45, 63] {
                let plain = encoder.at_index(index).unwrap().encode(picture).unwrap();
                // What fits exactly is the file itself, though its analysis comes in two halves and the first may be an earlier one's.
                let found = encoder.encode_to(picture, Target::Bytes(plain.len() as u64)).unwrap();
                assert!(found == plain, "index {index}");
            }
        }
    }
}
