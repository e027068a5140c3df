//! Colours that PNG states by chunks of its own, and colour profiles: an aei file knows colours by their profile alone (SPEC 2.7), so one is made of such chunks,
//! and a code in a profile becomes PNG's again.

use std::fmt;

use moxcms::{
    Chromaticity, CicpColorPrimaries, CicpProfile, ColorPrimaries, ColorProfile, DataColorSpace, LocalizableString, MatrixCoefficients, ProfileClass,
    ProfileText, RenderingIntent, ToneReprCurve, TransferCharacteristics, WHITE_POINT_D50, XyY, adaption_matrix_d,
};

use super::profile;

/// Gamma and chromaticities are in units of this.
const UNIT: f64 = 100_000.0;
/// White, red, green, blue, each x and y: what PNG says of sRGB.
pub(super) const SRGB_CHROMATICITIES: [u32; 8] = [31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000];
/// The code of sRGB: its primaries and transfer function, no matrix, all of the range.
const SRGB_CODE: [u8; 4] = [1, 13, 0, 1];

/// What a PNG file's chunks say about its colours, where they are not sRGB and no profile counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stated {
    /// `cICP`: primaries, transfer function, matrix (0 in PNG), whether the whole range is used (ITU-T H.273).
    Code([u8; 4]),
    /// `gAMA` and `cHRM`, as far as they are not those of sRGB, in hundred thousandths: the exponent that encoded, and chromaticities of white, red, green and blue.
    Measured { gamma: Option<u32>, chromaticities: Option<[u32; 8]> },
}

impl fmt::Display for Stated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code([primaries, transfer, matrix, _]) => write!(f, "cICP {primaries}-{transfer}-{matrix}"),
            Self::Measured { gamma: Some(gamma), .. } => write!(f, "gamma {:.2}", UNIT / f64::from(*gamma)),
            Self::Measured { gamma: None, .. } => f.write_str("other primaries"),
        }
    }
}

impl Stated {
    /// Whether it only repeats what samples without a profile are.
    pub(super) fn is_srgb(self) -> bool {
        self == Self::Code(SRGB_CODE)
    }

    /// A colour profile that says the same; `None` where none can: for codes that are reserved or say "unknown", for samples that use a part of the range, and for
    /// impossible numbers.
    pub(super) fn to_profile(self, gray: bool) -> Option<Vec<u8>> {
        let (white, primaries, curve, code) = match self {
            Self::Code(code) => {
                let cicp = cicp_of(code)?;
                (white_of(cicp.color_primaries)?, cicp.color_primaries.try_into().ok()?, curve_of(cicp.transfer_characteristics)?, Some(cicp))
            }
            Self::Measured { gamma, chromaticities } => {
                let [white, red, green, blue] = points(chromaticities.unwrap_or(SRGB_CHROMATICITIES))?;
                let curve = match gamma {
                    Some(gamma) => ToneReprCurve::Parametric(vec![exponent(gamma)?]),
                    None => curve_of(TransferCharacteristics::Srgb)?,
                };
                (white, ColorPrimaries { red, green, blue }, curve, None)
            }
        };
        let white = XyY::new(white.x.into(), white.y.into(), 1.0);
        let mut made = ColorProfile::default();
        (made.profile_class, made.rendering_intent, made.pcs) = (ProfileClass::DisplayDevice, RenderingIntent::Perceptual, DataColorSpace::Xyz);
        // In version 4 of ICC profiles white is what colours are adapted to; how they were is stated besides.
        (made.white_point, made.media_white_point) = (WHITE_POINT_D50.to_xyzd(), Some(WHITE_POINT_D50.to_xyzd()));
        (made.description, made.copyright) = (Some(text(&self.to_string())), Some(text("No copyright")));
        if gray {
            (made.color_space, made.gray_trc) = (DataColorSpace::Gray, Some(curve));
        } else {
            made.color_space = DataColorSpace::Rgb;
            made.update_rgb_colorimetry(white, primaries);
            let colorants = [made.red_colorant, made.green_colorant, made.blue_colorant];
            if colorants.iter().any(|c| [c.x, c.y, c.z].iter().any(|v| !v.is_finite() || v.abs() > 4.0)) {
                return None;
            }
            (made.red_trc, made.green_trc, made.blue_trc) = (Some(curve.clone()), Some(curve.clone()), Some(curve));
            made.cicp = code;
        }
        made.chromatic_adaptation = Some(adaption_matrix_d(white.to_xyz(), WHITE_POINT_D50.to_xyz()));
        let mut bytes = made.encode().ok()?;
        // The time of making, which would make every file another one.
        bytes[24..36].fill(0);
        Some(bytes)
    }
}

/// The code in a colour profile that PNG can state by `cICP`: its numbers have to mean something, the matrix has to be none, and the range the whole one.
pub(super) fn code_in(icc: &[u8]) -> Option<[u8; 4]> {
    profile::code(icc).filter(|code| cicp_of(*code).is_some())
}

/// A code that a profile can hold and say the same of.
fn cicp_of([primaries, transfer, matrix, whole]: [u8; 4]) -> Option<CicpProfile> {
    let cicp = CicpProfile {
        color_primaries: CicpColorPrimaries::try_from(primaries).ok()?,
        transfer_characteristics: TransferCharacteristics::try_from(transfer).ok()?,
        matrix_coefficients: MatrixCoefficients::Identity,
        full_range: true,
    };
    (matrix == 0 && whole == 1 && white_of(cicp.color_primaries).is_some() && curve_of(cicp.transfer_characteristics).is_some()).then_some(cicp)
}

/// A text of an even number of characters, which keeps what follows it at multiples of four bytes.
fn text(text: &str) -> ProfileText {
    let value = if text.len().is_multiple_of(2) { text.to_owned() } else { format!("{text} ") };
    ProfileText::Localizable(vec![LocalizableString::new("en".into(), "US".into(), value)])
}

/// The exponent that decodes. Beyond these bounds lies no display; ICC profiles have 16 bits for it.
fn exponent(gamma: u32) -> Option<f32> {
    let exponent = UNIT / f64::from(gamma);
    (0.1..=10.0).contains(&exponent).then_some(exponent as f32)
}

/// Chromaticities as points, if light can have them.
fn points(numbers: [u32; 8]) -> Option<[Chromaticity; 4]> {
    let mut points = [Chromaticity::D65; 4];
    for (point, [x, y]) in points.iter_mut().zip(numbers.as_chunks::<2>().0) {
        let (x, y) = (f64::from(*x) / UNIT, f64::from(*y) / UNIT);
        // Wide gamuts have primaries that no light has (ACES: x = 0.0001, y = -0.077, which PNG cannot say), but not far beyond.
        if x > 1.0 || y > 1.0 || x + y > 1.1 {
            return None;
        }
        *point = Chromaticity { x: x as f32, y: y as f32 };
    }
    (points[0].y > 0.0).then_some(points)
}

/// White of a code's primaries (ITU-T H.273, table 2).
fn white_of(primaries: CicpColorPrimaries) -> Option<Chromaticity> {
    use CicpColorPrimaries as P;
    Some(match primaries {
        P::Reserved | P::Unspecified => return None,
        P::Bt709 | P::Bt470Bg | P::Bt601 | P::Smpte240 | P::Bt2020 | P::Smpte432 | P::Ebu3213 => Chromaticity::D65,
        P::Bt470M | P::GenericFilm => Chromaticity { x: 0.310, y: 0.316 },
        P::Xyz => Chromaticity { x: 1.0 / 3.0, y: 1.0 / 3.0 },
        P::Smpte431 => Chromaticity { x: 0.314, y: 0.351 },
    })
}

/// What decodes a code's transfer function. Pure powers as such, which takes fewer bytes than a table of one.
fn curve_of(transfer: TransferCharacteristics) -> Option<ToneReprCurve> {
    use TransferCharacteristics as T;
    Some(match transfer {
        T::Linear => ToneReprCurve::Parametric(vec![1.0]),
        T::Bt470M => ToneReprCurve::Parametric(vec![2.2]),
        T::Bt470Bg => ToneReprCurve::Parametric(vec![2.8]),
        other => other.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use moxcms::{Layout, TransformOptions};

    use super::*;

    /// What a profile's samples are in sRGB.
    fn in_srgb(profile: &[u8], rgb: [u8; 3]) -> [u8; 3] {
        let (from, to) = (ColorProfile::new_from_slice(profile).unwrap(), ColorProfile::new_srgb());
        let mut out = [0; 3];
        from.create_transform_8bit(Layout::Rgb, &to, Layout::Rgb, TransformOptions::default()).unwrap().transform(&rgb, &mut out).unwrap();
        out
    }

    #[test]
    fn profiles_mean_what_the_chunks_say() {
        let near = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 1);
        for (stated, rgb, expected) in [
            // 0.5 of the light is 188 in sRGB; 100 of 255 by a power of 1.8 is 0.1856 of it, 119.7.
            (Stated::Measured { gamma: Some(100_000), chromaticities: None }, [128, 0, 255], [188, 0, 255]),
            (Stated::Measured { gamma: Some(55556), chromaticities: None }, [100; 3], [120; 3]),
            (Stated::Measured { gamma: None, chromaticities: Some(SRGB_CHROMATICITIES) }, [200, 100, 7], [200, 100, 7]),
            // Red and green changed for each other.
            (Stated::Measured { gamma: None, chromaticities: Some([31270, 32900, 30000, 60000, 64000, 33000, 15000, 6000]) }, [200, 100, 7], [100, 200, 7]),
            (Stated::Code([1, 8, 0, 1]), [128, 0, 255], [188, 0, 255]),
            // Display P3: white stays white; the other by the linear matrix [1.2249 -0.2247 0; -0.0420 1.0419 0; -0.0197 -0.0786 1.0979].
            (Stated::Code([12, 13, 0, 1]), [255; 3], [255; 3]),
            (Stated::Code([12, 13, 0, 1]), [200, 100, 100], [215, 93, 97]),
            (Stated::Code([9, 1, 0, 1]), [255; 3], [255; 3]),
        ] {
            let profile = stated.to_profile(false).unwrap();
            assert!(near(in_srgb(&profile, rgb), expected), "{stated}: {:?}", in_srgb(&profile, rgb));
            assert_eq!(profile::misfit(&profile, crate::Channels::Rgb), None);
            assert_eq!(profile, stated.to_profile(false).unwrap(), "the same every time");
            // The parts of a profile stand at multiples of four bytes, inside it.
            let word = |at: usize| u32::from_be_bytes(profile[at..at + 4].try_into().unwrap()) as usize;
            assert_eq!(word(0), profile.len());
            assert!((0..word(128)).all(|tag| word(136 + 12 * tag) % 4 == 0 && word(136 + 12 * tag) + word(140 + 12 * tag) <= profile.len()), "{stated}");
        }
    }

    #[test]
    fn codes_come_back() {
        for primaries in [1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22] {
            for transfer in [1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18] {
                let code = [primaries, transfer, 0, 1];
                let profile = Stated::Code(code).to_profile(false).unwrap();
                assert_eq!(code_in(&profile), Some(code));
                assert_eq!(code_in(&Stated::Code(code).to_profile(true).unwrap()), None, "profiles of gray have no codes");
            }
        }
        // A profile that says "unspecified", as some programs write it.
        let mut unspecified = Stated::Code([1, 13, 0, 1]).to_profile(false).unwrap();
        let at = unspecified.windows(8).rposition(|bytes| bytes == b"cicp\0\0\0\0").unwrap() + 8;
        unspecified[at..at + 2].fill(2);
        assert_eq!((profile::code(&unspecified), code_in(&unspecified)), (Some([2, 2, 0, 1]), None));
        assert_eq!(code_in(&Stated::Measured { gamma: Some(55556), chromaticities: None }.to_profile(false).unwrap()), None);
    }

    #[test]
    fn gray_has_a_curve_alone() {
        let profile = Stated::Measured { gamma: Some(100_000), chromaticities: Some(SRGB_CHROMATICITIES) }.to_profile(true).unwrap();
        assert_eq!(profile::misfit(&profile, crate::Channels::GrayAlpha), None);
        let (from, mut out) = (ColorProfile::new_from_slice(&profile).unwrap(), [0; 3]);
        let transform = from.create_transform_8bit(Layout::Gray, &ColorProfile::new_srgb(), Layout::Rgb, TransformOptions::default()).unwrap();
        transform.transform(&[128], &mut out).unwrap();
        assert_eq!(out, [188; 3]);
    }

    #[test]
    fn what_means_nothing_is_no_profile() {
        let primaries = |chromaticities| Stated::Measured { gamma: None, chromaticities: Some(chromaticities) };
        for stated in [
            Stated::Code([2, 13, 0, 1]),
            Stated::Code([1, 2, 0, 1]),
            Stated::Code([3, 13, 0, 1]),
            Stated::Code([9, 255, 0, 1]),
            Stated::Code([9, 16, 9, 1]),
            Stated::Code([9, 16, 0, 0]),
            Stated::Measured { gamma: Some(1), chromaticities: None },
            Stated::Measured { gamma: Some(u32::MAX), chromaticities: None },
            primaries([0; 8]),
            primaries([u32::MAX; 8]),
            // No area between the primaries.
            primaries([31270, 32900, 64000, 33000, 64000, 33000, 15000, 6000]),
            primaries([31270, 0, 64000, 33000, 30000, 60000, 15000, 6000]),
        ] {
            assert_eq!(stated.to_profile(false), None, "{stated}");
        }
    }
}
