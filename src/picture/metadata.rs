//! What a picture carries besides its samples: colour profile, EXIF, XMP.

use byteorder::{BigEndian, ByteOrder, LittleEndian};

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

    /// Bytes of all blocks together.
    pub fn total_bytes(&self) -> u64 {
        [&self.icc, &self.exif, &self.xmp].into_iter().flatten().map(|block| block.len() as u64).sum()
    }
}

/// Tag of EXIF and TIFF.
const ORIENTATION: u16 = 0x0112;

/// Sets the orientation of an EXIF block to 1, where it has one. All else stays.
pub(crate) fn set_upright(exif: &mut [u8]) {
    match exif.get(..4) {
        Some(b"II*\0") => set_orientation::<LittleEndian>(exif),
        Some(b"MM\0*") => set_orientation::<BigEndian>(exif),
        _ => None,
    };
}

/// `None` if the first directory cannot be read or has no orientation.
fn set_orientation<E: ByteOrder>(exif: &mut [u8]) -> Option<()> {
    const ENTRY: usize = 12;
    let start = E::read_u32(exif.get(4..8)?) as usize;
    let count = usize::from(E::read_u16(exif.get(start..start.checked_add(2)?)?));
    let entry = exif.get_mut(start + 2..)?.chunks_exact_mut(ENTRY).take(count).find(|entry| E::read_u16(entry) == ORIENTATION)?;
    // Type, then number of values, then the value at the start of four bytes.
    match (E::read_u16(&entry[2..]), E::read_u32(&entry[4..])) {
        (1, 1) => entry[8] = 1,
        (3, 1) => E::write_u16(&mut entry[8..], 1),
        (4, 1) => E::write_u32(&mut entry[8..], 1),
        _ => return None,
    }
    Some(())
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
            set_upright(&mut exif);
            assert_eq!(exif, block(little, kind, one));
        }
        let strange = block(true, 2, [6; 4]);
        let mut same = strange.clone();
        set_upright(&mut same);
        assert_eq!(same, strange);
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
