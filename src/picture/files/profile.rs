//! What there is to know about an ICC profile without using it.

use byteorder::{BigEndian, ByteOrder};

use crate::Channels;

/// Why a profile cannot belong to a picture of these channels, if so.
pub(super) fn misfit(profile: &[u8], channels: Channels) -> Option<String> {
    let (wanted, kind) = if channels.is_gray() { (b"GRAY", "gray") } else { (b"RGB ", "RGB") };
    if profile.len() < 132 || profile[36..40] != *b"acsp" {
        return Some("it is damaged".into());
    }
    let space = &profile[16..20];
    let name = description(profile).map(|name| format!(" \"{name}\"")).unwrap_or_default();
    (space != wanted).then(|| format!("the colour profile{name} is for {} and the picture is {kind}", String::from_utf8_lossy(space).trim()))
}

/// Whether it describes four inks.
pub(super) fn is_cmyk(profile: &[u8]) -> bool {
    profile.get(16..20) == Some(b"CMYK")
}

/// The content of a tag; `None` if it is not there or the profile is damaged.
fn tag<'a>(profile: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    let count = BigEndian::read_u32(profile.get(128..132)?) as usize;
    let entry = profile[132..].chunks_exact(12).take(count).find(|entry| entry.starts_with(name))?;
    let (start, length) = (BigEndian::read_u32(&entry[4..]) as usize, BigEndian::read_u32(&entry[8..]) as usize);
    profile.get(start..start.checked_add(length)?)
}

/// The code of the colours (ITU-T H.273) in a profile that states one: primaries, transfer function, matrix, whether the range is whole.
pub(super) fn code(profile: &[u8]) -> Option<[u8; 4]> {
    let tag = tag(profile, b"cicp")?;
    tag.get(8..12)?.try_into().ok().filter(|_| tag.starts_with(b"cicp"))
}

/// The profile's name.
fn description(profile: &[u8]) -> Option<String> {
    let tag = tag(profile, b"desc")?;
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The beginning of a profile: as much of one as is looked at here.
    pub(crate) fn profile(space: &[u8; 4]) -> Vec<u8> {
        let desc = b"desc\0\0\0\0\0\0\0\x05Test\0";
        let mut bytes = vec![0; 128];
        bytes[16..20].copy_from_slice(space);
        bytes[36..40].copy_from_slice(b"acsp");
        for word in [1, u32::from_be_bytes(*b"desc"), 144, desc.len() as u32] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(desc);
        bytes
    }

    #[test]
    fn profiles_fit_or_are_named() {
        assert_eq!(misfit(&profile(b"RGB "), Channels::Rgba), None);
        assert_eq!(misfit(&profile(b"GRAY"), Channels::Gray), None);
        assert_eq!(misfit(&profile(b"CMYK"), Channels::Rgb).unwrap(), "the colour profile \"Test\" is for CMYK and the picture is RGB");
        assert!(misfit(&profile(b"RGB "), Channels::GrayAlpha).unwrap().contains("is gray"));
        assert!(is_cmyk(&profile(b"CMYK")) && !is_cmyk(b""));
    }

    #[test]
    fn cut_profiles_are_no_panic() {
        let whole = profile(b"RGB ");
        for length in 0..whole.len() {
            assert_eq!(misfit(&whole[..length], Channels::Rgb).is_some(), length < 132, "{length} bytes");
            description(&whole[..length]);
        }
    }
}
