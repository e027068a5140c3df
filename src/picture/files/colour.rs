//! Whether a file's colours are those of sRGB: samples are stored without a profile, so anything else is worth a notice.

use byteorder::{BigEndian, ByteOrder};
use image::ImageResult;

use super::headers::Headers;

/// What the file states, if that is not sRGB.
pub(super) fn stated(profile: ImageResult<Option<Vec<u8>>>, headers: &Headers) -> Option<String> {
    // PNG's cICP goes before its profile.
    if let Some(colours) = &headers.png_colours {
        return Some(colours.clone());
    }
    match profile {
        Ok(None) => None,
        Ok(Some(bytes)) => {
            let profile = Profile(&bytes);
            if profile.is_like_srgb().unwrap_or(false) {
                return None;
            }
            Some(profile.description().map_or_else(|| "an unnamed colour profile".into(), |name| format!("colour profile \"{name}\"")))
        }
        Err(_) => Some("a damaged colour profile".into()),
    }
}

/// An ICC profile. Its functions give `None` where it is cut off or holds something that they do not know.
struct Profile<'a>(&'a [u8]);

/// Media colorants of sRGB, adapted to D50, as all ICC profiles have them.
const SRGB_COLORANTS: [(&[u8; 4], [f64; 3]); 3] =
    [(b"rXYZ", [0.4361, 0.2225, 0.0139]), (b"gXYZ", [0.3851, 0.7169, 0.0971]), (b"bXYZ", [0.1431, 0.0606, 0.7141])];

impl Profile<'_> {
    /// The content of a tag.
    fn tag(&self, name: &[u8; 4]) -> Option<&[u8]> {
        let count = BigEndian::read_u32(self.0.get(128..132)?) as usize;
        let entry = self.0[132..].chunks_exact(12).take(count).find(|entry| entry.starts_with(name))?;
        let (start, length) = (BigEndian::read_u32(&entry[4..]) as usize, BigEndian::read_u32(&entry[8..]) as usize);
        self.0.get(start..start.checked_add(length)?)
    }

    /// The profile's name.
    fn description(&self) -> Option<String> {
        let tag = self.tag(b"desc")?;
        let name = match tag.get(..4)? {
            b"desc" => {
                let length = BigEndian::read_u32(tag.get(8..12)?) as usize;
                String::from_utf8_lossy(tag.get(12..12usize.checked_add(length)?)?).into_owned()
            }
            b"mluc" => {
                // The first language will do.
                let (length, start) = (BigEndian::read_u32(tag.get(20..24)?) as usize, BigEndian::read_u32(tag.get(24..28)?) as usize);
                let units: Vec<u16> = tag.get(start..start.checked_add(length)?)?.chunks_exact(2).map(BigEndian::read_u16).collect();
                String::from_utf16_lossy(&units)
            }
            _ => return None,
        };
        let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    }

    /// Whether its colours can hardly be told from those of sRGB. By its numbers and not by its name, which may be anything.
    fn is_like_srgb(&self) -> Option<bool> {
        // Tables from device to connection space go before colorants and curves.
        if self.tag(b"A2B0").is_some() {
            return Some(false);
        }
        let curves: &[&[u8; 4]] = match self.0.get(16..20)? {
            b"GRAY" => &[b"kTRC"],
            b"RGB " => {
                for (name, srgb) in SRGB_COLORANTS {
                    let tag = self.tag(name)?;
                    let numbers = tag.get(8..20)?.chunks_exact(4).map(fixed);
                    if tag.get(..4)? != b"XYZ " || numbers.zip(srgb).any(|(a, b)| (a - b).abs() > 0.01) {
                        return Some(false);
                    }
                }
                &[b"rTRC", b"gTRC", b"bTRC"]
            }
            _ => return Some(false),
        };
        for name in curves {
            let tag = self.tag(name)?;
            for x in [0.1, 0.25, 0.5, 0.75, 0.9] {
                // A plain gamma of 2.2 is within this, 1.8 and 2.4 are not.
                if (curve(tag, x)? - srgb_curve(x)).abs() > 0.012 {
                    return Some(false);
                }
            }
        }
        Some(true)
    }
}

/// s15Fixed16Number.
fn fixed(bytes: &[u8]) -> f64 {
    f64::from(BigEndian::read_i32(bytes)) / 65536.0
}

fn srgb_curve(x: f64) -> f64 {
    if x <= 0.04045 { x / 12.92 } else { ((x + 0.055) / 1.055).powf(2.4) }
}

/// The value of a tone curve (types `curv` and `para`).
fn curve(tag: &[u8], x: f64) -> Option<f64> {
    match tag.get(..4)? {
        b"curv" => {
            let count = BigEndian::read_u32(tag.get(8..12)?) as usize;
            let table = tag.get(12..12usize.checked_add(count.checked_mul(2)?)?)?;
            let value = |i: usize| f64::from(BigEndian::read_u16(&table[2 * i..]));
            Some(match count {
                0 => x,
                // One number is a gamma, in units of 1/256.
                1 => x.powf(value(0) / 256.0),
                _ => {
                    let place = x * (count - 1) as f64;
                    let (low, part) = (place as usize, place.fract());
                    let high = (low + 1).min(count - 1);
                    (value(low) * (1.0 - part) + value(high) * part) / 65535.0
                }
            })
        }
        b"para" => {
            let kind = BigEndian::read_u16(tag.get(8..10)?);
            let p = |i: usize| tag.get(12 + 4 * i..16 + 4 * i).map(fixed);
            let g = p(0)?;
            Some(match kind {
                0 => x.powf(g),
                1 => {
                    if x >= -p(2)? / p(1)? {
                        (p(1)? * x + p(2)?).powf(g)
                    } else {
                        0.0
                    }
                }
                2 => {
                    if x >= -p(2)? / p(1)? {
                        (p(1)? * x + p(2)?).powf(g) + p(3)?
                    } else {
                        p(3)?
                    }
                }
                3 => {
                    if x >= p(4)? {
                        (p(1)? * x + p(2)?).powf(g)
                    } else {
                        p(3)? * x
                    }
                }
                4 => {
                    if x >= p(4)? {
                        (p(1)? * x + p(2)?).powf(g) + p(5)?
                    } else {
                        p(3)? * x + p(6)?
                    }
                }
                _ => return None,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A profile with the colorants of sRGB (in the order given by `order`) and one tone curve.
    fn profile(space: &[u8; 4], order: [usize; 3], curve: &[u8], extra: Option<&[u8; 4]>) -> Vec<u8> {
        let mut tags: Vec<([u8; 4], Vec<u8>)> = vec![(*b"desc", b"desc\0\0\0\0\0\0\0\x05Test\0".to_vec())];
        for (i, (name, _)) in SRGB_COLORANTS.iter().enumerate() {
            let numbers = SRGB_COLORANTS[order[i]].1.iter().flat_map(|v| ((v * 65536.0) as i32).to_be_bytes());
            tags.push((**name, b"XYZ \0\0\0\0".iter().copied().chain(numbers).collect()));
        }
        tags.extend([b"rTRC", b"gTRC", b"bTRC", b"kTRC"].map(|name| (*name, curve.to_vec())));
        tags.extend(extra.map(|name| (*name, vec![0; 8])));
        let mut bytes = vec![0; 128];
        bytes[16..20].copy_from_slice(space);
        bytes.extend((tags.len() as u32).to_be_bytes());
        let mut at = bytes.len() + 12 * tags.len();
        for (name, content) in &tags {
            bytes.extend(name);
            bytes.extend((at as u32).to_be_bytes());
            bytes.extend((content.len() as u32).to_be_bytes());
            at += content.len();
        }
        tags.iter().for_each(|(_, content)| bytes.extend(content));
        bytes
    }

    fn gamma(value: f64) -> Vec<u8> {
        [b"curv\0\0\0\0\0\0\0\x01".to_vec(), ((value * 256.0) as u16).to_be_bytes().to_vec()].concat()
    }

    fn parametric() -> Vec<u8> {
        let numbers = [2.4, 1.0 / 1.055, 0.055 / 1.055, 1.0 / 12.92, 0.04045];
        [b"para\0\0\0\0\0\x03\0\0".to_vec(), numbers.iter().flat_map(|v| ((v * 65536.0) as i32).to_be_bytes()).collect()].concat()
    }

    fn notice(profile: Vec<u8>) -> Option<String> {
        stated(Ok(Some(profile)), &Headers::default())
    }

    #[test]
    fn srgb_in_several_forms_is_recognised() {
        let table: Vec<u8> = (0..1024u32).flat_map(|i| ((srgb_curve(f64::from(i) / 1023.0) * 65535.0) as u16).to_be_bytes()).collect();
        let table = [b"curv\0\0\0\0\0\0\x04\0".to_vec(), table].concat();
        for curve in [gamma(2.2), parametric(), table] {
            assert_eq!(notice(profile(b"RGB ", [0, 1, 2], &curve, None)), None);
            assert_eq!(notice(profile(b"GRAY", [0, 1, 2], &curve, None)), None);
        }
    }

    #[test]
    fn other_colours_are_named() {
        let named = Some("colour profile \"Test\"".to_owned());
        assert_eq!(notice(profile(b"RGB ", [1, 2, 0], &parametric(), None)), named);
        assert_eq!(notice(profile(b"RGB ", [0, 1, 2], &gamma(1.8), None)), named);
        assert_eq!(notice(profile(b"GRAY", [0, 1, 2], &gamma(1.0), None)), named);
        assert_eq!(notice(profile(b"CMYK", [0, 1, 2], &parametric(), None)), named);
        assert_eq!(notice(profile(b"RGB ", [0, 1, 2], &parametric(), Some(b"A2B0"))), named);
    }

    #[test]
    fn cut_profiles_are_no_srgb_and_no_panic() {
        let whole = profile(b"RGB ", [0, 1, 2], &parametric(), None);
        for length in 0..whole.len() - parametric().len() {
            assert!(notice(whole[..length].to_vec()).is_some(), "{length} bytes");
        }
    }
}
