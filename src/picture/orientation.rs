//! The eight ways in which a camera can have been held, as EXIF numbers them.

use super::metadata::{set_upright, set_xmp_upright};
use super::{Picture, Samples, try_filled};
use crate::Result;

/// How stored samples are to be turned for display: the tag `Orientation` of EXIF and TIFF (SPEC 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Orientation {
    /// 1: as stored.
    #[default]
    Normal,
    /// 2: left and right change places.
    FlipHorizontal,
    /// 3: by half a turn.
    Rotate180,
    /// 4: top and bottom change places.
    FlipVertical,
    /// 5: rows and columns change places.
    Transpose,
    /// 6: by a quarter turn clockwise.
    Rotate90,
    /// 7: rows and columns change places, then by half a turn.
    Transverse,
    /// 8: by a quarter turn counter-clockwise.
    Rotate270,
}

impl Orientation {
    /// The orientation of an EXIF value; `None` if it is not 1 to 8.
    pub fn from_exif(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Normal,
            2 => Self::FlipHorizontal,
            3 => Self::Rotate180,
            4 => Self::FlipVertical,
            5 => Self::Transpose,
            6 => Self::Rotate90,
            7 => Self::Transverse,
            8 => Self::Rotate270,
            _ => return None,
        })
    }

    /// The EXIF value, 1 to 8.
    pub fn to_exif(self) -> u8 {
        match self {
            Self::Normal => 1,
            Self::FlipHorizontal => 2,
            Self::Rotate180 => 3,
            Self::FlipVertical => 4,
            Self::Transpose => 5,
            Self::Rotate90 => 6,
            Self::Transverse => 7,
            Self::Rotate270 => 8,
        }
    }

    /// Whether the displayed picture's width is the stored one's height.
    pub fn swaps_sides(self) -> bool {
        matches!(self, Self::Transpose | Self::Rotate90 | Self::Transverse | Self::Rotate270)
    }

    /// Every orientation is "first change rows and columns or not, then mirror": whether to mirror left to right, and top to bottom.
    pub(crate) fn mirrors(self) -> (bool, bool) {
        match self {
            Self::Normal | Self::Transpose => (false, false),
            Self::FlipHorizontal | Self::Rotate90 => (true, false),
            Self::FlipVertical | Self::Rotate270 => (false, true),
            Self::Rotate180 | Self::Transverse => (true, true),
        }
    }
}

/// See [`Picture::upright`].
pub(super) fn upright(mut picture: Picture) -> Result<Picture> {
    picture.metadata.exif.as_deref_mut().map(set_upright);
    if picture.orientation == Orientation::Normal {
        return Ok(picture);
    }
    picture.metadata.xmp.as_deref_mut().map(set_xmp_upright);
    let samples = turned(&picture)?;
    let (width, height) = if picture.orientation.swaps_sides() { (picture.height, picture.width) } else { (picture.width, picture.height) };
    Ok(Picture { width, height, samples, orientation: Orientation::Normal, ..picture })
}

/// The samples of a picture, turned as its orientation says.
pub(super) fn turned(picture: &Picture) -> Result<Samples> {
    Ok(match &picture.samples {
        Samples::U8(samples) => turned_samples(picture, samples)?.into(),
        Samples::U16(samples) => turned_samples(picture, samples)?.into(),
    })
}

fn turned_samples<T: Copy + Default>(picture: &Picture, samples: &[T]) -> Result<Vec<T>> {
    let mut out = try_filled(samples.len(), T::default())?;
    let (width, height) = (picture.width as usize, picture.height as usize);
    match picture.channels.count() {
        1 => turn::<T, 1>(samples.as_chunks().0, out.as_chunks_mut().0, width, height, picture.orientation),
        2 => turn::<T, 2>(samples.as_chunks().0, out.as_chunks_mut().0, width, height, picture.orientation),
        3 => turn::<T, 3>(samples.as_chunks().0, out.as_chunks_mut().0, width, height, picture.orientation),
        _ => turn::<T, 4>(samples.as_chunks().0, out.as_chunks_mut().0, width, height, picture.orientation),
    }
    Ok(out)
}

/// `width` and `height` are those of `input`.
fn turn<T: Copy, const N: usize>(input: &[[T; N]], out: &mut [[T; N]], width: usize, height: usize, orientation: Orientation) {
    let (mirror_x, mirror_y) = orientation.mirrors();
    let swap = orientation.swaps_sides();
    let (out_width, out_height) = if swap { (height, width) } else { (width, height) };
    // A band of output rows at a time, all its rows for one column before the next column: where rows become columns, the input is then read in
    // short runs along its rows, and not one pixel from each row.
    const BAND: usize = 16;
    for (band_number, band) in out.chunks_mut(BAND * out_width).enumerate() {
        let first = band_number * BAND;
        let rows = band.len() / out_width;
        let source_y = |y: usize| if mirror_y { out_height - 1 - y } else { y };
        let source_x = |x: usize| if mirror_x { out_width - 1 - x } else { x };
        if swap {
            for x in 0..out_width {
                let row = &input[source_x(x) * width..][..width];
                for y in 0..rows {
                    band[y * out_width + x] = row[source_y(first + y)];
                }
            }
        } else {
            for (y, out_row) in band.chunks_exact_mut(out_width).enumerate() {
                out_row.copy_from_slice(&input[source_y(first + y) * width..][..width]);
                if mirror_x {
                    out_row.reverse();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channels;

    /// The 3x2 picture `a b c / d e f`, turned.
    fn turned_letters(exif: u8) -> (u32, u32, String) {
        let picture = Picture::gray(3, 2, b"abcdef".to_vec()).unwrap().with_orientation(Orientation::from_exif(exif).unwrap());
        let upright = picture.upright().unwrap();
        assert_eq!(upright.orientation(), Orientation::Normal);
        (upright.width(), upright.height(), String::from_utf8(upright.into_samples()).unwrap())
    }

    #[test]
    fn the_eight_orientations_by_hand() {
        assert_eq!(turned_letters(1), (3, 2, "abcdef".into()));
        assert_eq!(turned_letters(2), (3, 2, "cbafed".into()));
        assert_eq!(turned_letters(3), (3, 2, "fedcba".into()));
        assert_eq!(turned_letters(4), (3, 2, "defabc".into()));
        assert_eq!(turned_letters(5), (2, 3, "adbecf".into()));
        assert_eq!(turned_letters(6), (2, 3, "daebfc".into()));
        assert_eq!(turned_letters(7), (2, 3, "fcebda".into()));
        assert_eq!(turned_letters(8), (2, 3, "cfbead".into()));
    }

    #[test]
    fn exif_values_come_back() {
        for value in 1..=8 {
            assert_eq!(Orientation::from_exif(value).unwrap().to_exif(), value);
        }
        assert_eq!(Orientation::from_exif(0), None);
        assert_eq!(Orientation::from_exif(9), None);
    }

    #[test]
    fn an_orientation_and_its_inverse_give_the_picture_back() {
        // More rows than a band, and sides that are no multiple of it.
        for (width, height) in [(1, 1), (1, 40), (40, 1), (37, 21), (16, 33)] {
            for channels in [Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba] {
                let samples: Vec<u8> = (0..width as usize * height as usize * channels.count()).map(|i| (i * 7 % 251) as u8).collect();
                for value in 1..=8 {
                    // All are their own inverse but the quarter turns.
                    let inverse = match value {
                        6 => 8,
                        8 => 6,
                        other => other,
                    };
                    let there = Picture::new(width, height, channels, samples.clone()).unwrap().with_orientation(Orientation::from_exif(value).unwrap());
                    let back = there.upright().unwrap().with_orientation(Orientation::from_exif(inverse).unwrap()).upright().unwrap();
                    assert_eq!((back.width(), back.height()), (width, height));
                    assert_eq!(back.samples(), samples, "{width}x{height}, orientation {value}");
                }
            }
        }
    }
}
