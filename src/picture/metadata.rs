//! What a picture carries besides its samples: colour profile, EXIF, XMP.

use byteorder::{BigEndian, ByteOrder, LittleEndian};

use super::Orientation;
#[cfg(any(feature = "capi", feature = "image-hook", feature = "python", feature = "wasm"))]
use crate::{Error, Limits, Result};

/// Blocks of metadata. The codec keeps them byte for byte and does not look inside, with one exception: the orientation in an EXIF block is set to 1 when
/// the block is stored, because the file's own header states the orientation ([`Picture::orientation`](crate::Picture::orientation)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Metadata {
    /// An ICC colour profile: what the samples' numbers mean. Without one they are sRGB.
    pub icc: Option<Vec<u8>>,
    /// EXIF: a TIFF block, without the `Exif\0\0` that JPEG files have in front of it.
    pub exif: Option<Vec<u8>>,
    /// An XMP packet: XML in UTF-8.
    pub xmp: Option<Vec<u8>>,
}

impl Metadata {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.icc.is_none() && self.exif.is_none() && self.xmp.is_none()
    }

    /// The orientation that the EXIF block states, if there is one and it does. For pictures from elsewhere: what a [`Decoder`](crate::Decoder) gives says 1.
    pub fn orientation(&self) -> Option<Orientation> {
        let exif = self.exif.as_ref()?;
        Orientation::from_exif(orientation_entry(exif)?.get(exif)?.try_into().ok()?)
    }

    /// Bytes of all blocks together.
    pub fn total_bytes(&self) -> u64 {
        [&self.icc, &self.exif, &self.xmp].into_iter().flatten().map(|block| block.len() as u64).sum()
    }

    /// For doors that know no other limits than the default ones: whether their decoders would take what their encoder writes.
    #[cfg(any(feature = "capi", feature = "image-hook", feature = "python", feature = "wasm"))]
    pub(crate) fn check_size(&self) -> Result<()> {
        let (bytes, most) = (self.total_bytes(), Limits::default().max_metadata_bytes);
        let error = || Error::Parameter(format!("{bytes} bytes of profile, EXIF and XMP: decoders take no more than {most}"));
        if bytes <= most { Ok(()) } else { Err(error()) }
    }

    /// For doors where EXIF's number of an orientation may be stated: that one, or what the EXIF block says.
    #[cfg(any(feature = "python", feature = "wasm"))]
    pub(crate) fn orientation_or(&self, stated: Option<i64>) -> Result<Orientation> {
        let Some(value) = stated else { return Ok(self.orientation().unwrap_or_default()) };
        let known = u8::try_from(value).ok().and_then(Orientation::from_exif);
        known.ok_or_else(|| Error::Parameter(format!("orientation {value}, not 1 to 8")))
    }
}

/// Tag of EXIF and TIFF.
const ORIENTATION: u16 = 0x0112;

/// Sets the orientation of an EXIF block to 1, where it has one. All else stays.
pub(crate) fn set_upright(exif: &mut [u8]) {
    if let Some(place) = orientation_entry(exif) {
        place.set(exif, 1);
    }
}

/// Sets the orientation in an XMP packet to 1, where it has one, for a picture that has been turned: some readers believe it where EXIF says nothing. All else stays.
pub(crate) fn set_xmp_upright(xmp: &mut [u8]) {
    const NAME: &[u8] = b"tiff:Orientation";
    let places: Vec<usize> = xmp.windows(NAME.len()).enumerate().filter(|(_, bytes)| *bytes == NAME).map(|(at, _)| at + NAME.len()).collect();
    for at in places {
        // An attribute or an element.
        if let [b'=', b'"' | b'\'', digit @ b'1'..=b'8', b'"' | b'\'', ..] | [b'>', digit @ b'1'..=b'8', b'<', ..] = &mut xmp[at..] {
            *digit = b'1';
        }
    }
}

/// Where the orientation of an EXIF block is.
struct OrientationEntry {
    big_endian: bool,
    /// TIFF's number for the type of the value.
    kind: u16,
    /// Position of the value.
    at: usize,
}

impl OrientationEntry {
    fn get(&self, exif: &[u8]) -> Option<u32> {
        let value = exif.get(self.at..self.at + 4)?;
        Some(match (self.kind, self.big_endian) {
            (1, _) => value[0].into(),
            (3, false) => LittleEndian::read_u16(value).into(),
            (3, true) => BigEndian::read_u16(value).into(),
            (_, false) => LittleEndian::read_u32(value),
            (_, true) => BigEndian::read_u32(value),
        })
    }

    fn set(&self, exif: &mut [u8], orientation: u8) {
        let Some(value) = exif.get_mut(self.at..self.at + 4) else { return };
        match (self.kind, self.big_endian) {
            (1, _) => value[0] = orientation,
            (3, false) => LittleEndian::write_u16(value, orientation.into()),
            (3, true) => BigEndian::write_u16(value, orientation.into()),
            (_, false) => LittleEndian::write_u32(value, orientation.into()),
            (_, true) => BigEndian::write_u32(value, orientation.into()),
        }
    }
}

/// `None` if the first directory cannot be read or has no orientation.
fn orientation_entry(exif: &[u8]) -> Option<OrientationEntry> {
    match exif.get(..4)? {
        b"II*\0" => find::<LittleEndian>(exif, false),
        b"MM\0*" => find::<BigEndian>(exif, true),
        _ => None,
    }
}

fn find<E: ByteOrder>(exif: &[u8], big_endian: bool) -> Option<OrientationEntry> {
    const ENTRY: usize = 12;
    let start = E::read_u32(exif.get(4..8)?) as usize;
    let count = usize::from(E::read_u16(exif.get(start..start.checked_add(2)?)?));
    let (number, entry) = exif.get(start + 2..)?.chunks_exact(ENTRY).take(count).enumerate().find(|(_, entry)| E::read_u16(entry) == ORIENTATION)?;
    // Type, then number of values, then the value at the start of four bytes.
    let kind = E::read_u16(&entry[2..]);
    let known = matches!(kind, 1 | 3 | 4) && E::read_u32(&entry[4..]) == 1;
    known.then_some(OrientationEntry { big_endian, kind, at: start + 2 + number * ENTRY + 8 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An EXIF block of two tags.
    fn block(little: bool, kind: u16, value: [u8; 4]) -> Vec<u8> {
        let u16b = |v: u16| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let u32b = |v: u32| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let mut bytes = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        bytes.extend(u32b(8));
        bytes.extend(u16b(2));
        for (tag, kind, value) in [(0x0100, 4, [7; 4]), (ORIENTATION, kind, value)] {
            bytes.extend(u16b(tag));
            bytes.extend(u16b(kind));
            bytes.extend(u32b(1));
            bytes.extend(value);
        }
        bytes.extend(b"\0\0\0\0the rest");
        bytes
    }

    #[test]
    fn orientation_becomes_one_and_nothing_else_changes() {
        for (little, kind, value, one) in [
            (true, 3, [6, 0, 9, 9], [1, 0, 9, 9]),
            (false, 3, [0, 6, 9, 9], [0, 1, 9, 9]),
            (true, 4, [8, 0, 0, 0], [1, 0, 0, 0]),
            (false, 1, [3; 4], [1, 3, 3, 3]),
        ] {
            let mut exif = block(little, kind, value);
            let metadata = Metadata { exif: Some(exif.clone()), ..Metadata::default() };
            let stated = value.into_iter().find(|v| (1..=8).contains(v)).and_then(Orientation::from_exif);
            assert_eq!(metadata.orientation(), stated);
            set_upright(&mut exif);
            assert_eq!(exif, block(little, kind, one));
        }
        let strange = block(true, 2, [6; 4]);
        let mut same = strange.clone();
        set_upright(&mut same);
        assert_eq!(same, strange);
    }

    #[test]
    fn orientation_in_xmp_becomes_one() {
        for (before, after) in [
            ("<a tiff:Orientation=\"6\" x=\"6\"/>", "<a tiff:Orientation=\"1\" x=\"6\"/>"),
            ("<a tiff:Orientation='3'/>", "<a tiff:Orientation='1'/>"),
            ("<tiff:Orientation>8</tiff:Orientation>", "<tiff:Orientation>1</tiff:Orientation>"),
            ("<tiff:Orientation>12</tiff:Orientation>", "<tiff:Orientation>12</tiff:Orientation>"),
            ("tiff:Orientation", "tiff:Orientation"),
            ("", ""),
        ] {
            let mut xmp = before.as_bytes().to_vec();
            set_xmp_upright(&mut xmp);
            assert_eq!(xmp, after.as_bytes());
        }
    }

    #[test]
    fn damaged_blocks_stay_as_they_are() {
        let whole = block(true, 3, [6, 0, 0, 0]);
        for length in 0..34 {
            let mut cut = whole[..length].to_vec();
            set_upright(&mut cut);
            assert_eq!(cut, whole[..length]);
        }
        let mut far = whole;
        far[4..8].fill(0xFF);
        let before = far.clone();
        set_upright(&mut far);
        assert_eq!(far, before);
    }
}
