//! What the `image` crate does not tell about a file, found by walking its headers.
//!
//! Nothing here decides whether a file is valid: that is the decoder's part. A walk that meets something odd stops, with what it has found so far.

use std::io::Read as _;

use byteorder::{BigEndian, ByteOrder, LittleEndian};
use flate2::read::ZlibDecoder;

use super::FileFormat;
use super::colours::{SRGB_CHROMATICITIES, Stated};

/// What a file says about itself besides its pixels.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Headers {
    /// Bits per sample, where that is not simply what the decoder gives.
    pub(super) depth: Option<u8>,
    /// Number of pictures in the file; 0 where it has not been counted.
    pub(super) pictures: u32,
    /// Four channels of ink.
    pub(super) cmyk: bool,
    /// A way of coding that the decoder takes for damage.
    pub(super) unknown_coding: Option<&'static str>,
    /// Damage that the decoder does not notice before it panics.
    pub(super) damage: Option<&'static str>,
    /// The data end before the end mark.
    pub(super) incomplete: bool,
    /// A colour profile in a BMP file, which the decoder leaves alone.
    pub(super) own_icc: Option<Vec<u8>>,
    /// EXIF data behind the pixels, where the decoder does not look.
    pub(super) late_exif: Option<Vec<u8>>,
    /// XMP behind the pixels of a PNG file, likewise.
    pub(super) late_xmp: Option<Vec<u8>>,
    /// There is a colour profile, whatever state it is in.
    pub(super) profile: bool,
    /// There is EXIF in a TIFF file, likewise.
    pub(super) exif: bool,
    /// The code of colours that PNG's `cICP` states. It counts before a colour profile.
    pub(super) code: Option<Stated>,
    /// Colours that PNG's older chunks or QOI's header state, if they are not those of sRGB. A colour profile counts before them.
    pub(super) measured: Option<Stated>,
    /// Colours are multiplied by alpha.
    pub(super) premultiplied: bool,
    /// Where a TIFF file says how its samples make colours (PhotometricInterpretation).
    pub(super) photometric: Option<usize>,
    /// What aei has no place for.
    pub(super) left_out: Vec<&'static str>,
}

impl Headers {
    pub(super) fn read(format: FileFormat, bytes: &[u8]) -> Self {
        let mut headers = Self::default();
        // The walks use `?` to stop.
        let _ = match format {
            FileFormat::Gif => headers.walk_gif(bytes),
            FileFormat::Jpeg => headers.walk_jpeg(bytes),
            FileFormat::Png => headers.walk_png(bytes),
            FileFormat::Tiff => headers.walk_tiff(bytes),
            FileFormat::WebP => headers.walk_webp(bytes),
            FileFormat::Pnm => headers.walk_pnm(bytes),
            FileFormat::Qoi => headers.walk_qoi(bytes),
            FileFormat::Bmp => headers.walk_bmp(bytes),
        };
        headers
    }

    fn walk_gif(&mut self, bytes: &[u8]) -> Option<()> {
        let table = |flags: u8| if flags & 0x80 != 0 { 3 << ((flags & 7) + 1) } else { 0 };
        let mut at = 13 + table(*bytes.get(10)?);
        loop {
            match bytes.get(at)? {
                // Extension: label, then blocks; of a comment the first one tells who wrote it.
                0x21 => {
                    let block = at + 3..at + 3 + usize::from(*bytes.get(at + 2)?);
                    if bytes.get(at + 1) == Some(&0xFE) && bytes.get(block).is_some_and(is_comment) {
                        self.leave_out("comment");
                    }
                    at += 2;
                }
                // Image: place and size, flags, colour table, code size, then blocks.
                0x2C => {
                    self.pictures += 1;
                    at += 11 + table(*bytes.get(at + 9)?);
                }
                _ => return None,
            }
            while let length @ 1.. = usize::from(*bytes.get(at)?) {
                at += 1 + length;
            }
            at += 1;
        }
    }

    fn walk_jpeg(&mut self, bytes: &[u8]) -> Option<()> {
        self.incomplete = true;
        let mut at = 2;
        loop {
            // A marker: any number of FF, then something else.
            at += bytes.get(at..)?.iter().position(|b| *b == 0xFF)?;
            at += bytes.get(at..)?.iter().position(|b| *b != 0xFF)?;
            let marker = bytes[at];
            at += 1;
            match marker {
                // FF00 in coded data, restart marks, and marks without content.
                0x00 | 0x01 | 0xD0..=0xD8 => continue,
                0xD9 => break,
                // Start of frame: length, precision, height, width, number of components.
                0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                    self.depth = Some(*bytes.get(at + 2)?).filter(|bits| (1..=16).contains(bits));
                    self.cmyk = *bytes.get(at + 7)? == 4;
                    self.unknown_coding = match marker {
                        0xC0..=0xC2 if self.depth == Some(12) => Some("12 bits a sample"),
                        0xC0..=0xC2 => None,
                        0xC3 | 0xC7 | 0xCB | 0xCF => Some("lossless JPEG"),
                        0xC9.. => Some("arithmetic coding"),
                        _ => Some("hierarchical JPEG"),
                    };
                }
                _ => {}
            }
            let length = usize::from(BigEndian::read_u16(bytes.get(at..at + 2)?));
            let segment = bytes.get(at + 2..at + length).unwrap_or_default();
            self.profile |= marker == 0xE2 && segment.starts_with(b"ICC_PROFILE\0");
            if let Some(what) = without_place(marker, segment) {
                self.leave_out(what);
            }
            at += length;
        }
        self.incomplete = false;
        Some(())
    }

    fn walk_png(&mut self, bytes: &[u8]) -> Option<()> {
        const PALETTE: u8 = 3;
        let (mut gamma, mut primaries, mut srgb, mut pixels) = (None, None, false, false);
        let mut rest = bytes.get(8..)?;
        while rest.len() >= 12 {
            let length = BigEndian::read_u32(rest) as usize;
            let Some(payload) = rest.get(8..8usize.saturating_add(length)) else { break };
            // What states colours counts in front of the pixels, and undamaged.
            let sound = || {
                !pixels && rest.get(8 + length..).and_then(|r| r.first_chunk()).is_some_and(|sum| *sum == crc32fast::hash(&rest[4..8 + length]).to_be_bytes())
            };
            match &rest[4..8] {
                b"IHDR" if length >= 10 => self.depth = (payload[9] != PALETTE).then_some(payload[8]).filter(|bits| (1..=16).contains(bits)),
                // Without a palette to need it, PLTE is but a suggestion.
                b"PLTE" if self.depth.is_none() && (!length.is_multiple_of(3) || length > 3 * 256) => self.damage = Some("a palette of impossible length"),
                b"acTL" if length >= 4 => self.pictures = BigEndian::read_u32(payload),
                b"gAMA" if length == 4 && sound() => gamma = Some(BigEndian::read_u32(payload)),
                b"cHRM" if length == 32 && sound() => primaries = Some(payload),
                b"cICP" if length == 4 && sound() => self.code = payload.first_chunk().map(|code| Stated::Code(*code)),
                b"sRGB" if sound() => srgb = true,
                b"iCCP" if !pixels => self.profile = true,
                b"mDCV" | b"cLLI" => self.leave_out("description of the display (mDCV, cLLI)"),
                b"tEXt" | b"zTXt" | b"iTXt" if would_be_missed(payload) => self.leave_out("text (title, comment or the like)"),
                b"IDAT" => pixels = true,
                b"eXIf" if pixels => self.late_exif = Some(payload.to_vec()),
                b"iTXt" if pixels => self.late_xmp = self.late_xmp.take().or_else(|| xmp_in(payload)),
                _ => {}
            }
            rest = rest.get(12usize.saturating_add(length)..).unwrap_or_default();
        }
        if !srgb {
            const SRGB_GAMMA: u32 = 45455;
            let far = |a: u32, b: u32| a.abs_diff(b) > 1500;
            let gamma = gamma.filter(|g| *g > 0 && far(*g, SRGB_GAMMA));
            let chromaticities = primaries
                .map(|p| std::array::from_fn(|i| BigEndian::read_u32(&p[4 * i..])))
                .filter(|p: &[u32; 8]| p.iter().zip(SRGB_CHROMATICITIES).any(|(a, b)| far(*a, b)));
            self.measured = (gamma.is_some() || chromaticities.is_some()).then_some(Stated::Measured { gamma, chromaticities });
        }
        Some(())
    }

    fn leave_out(&mut self, what: &'static str) {
        if !self.left_out.contains(&what) {
            self.left_out.push(what);
        }
    }

    fn walk_tiff(&mut self, bytes: &[u8]) -> Option<()> {
        if bytes.starts_with(b"II") { self.walk_ifds::<LittleEndian>(bytes) } else { self.walk_ifds::<BigEndian>(bytes) }
    }

    /// Counts directories. A file may lead in a circle, hence the bound.
    fn walk_ifds<E: ByteOrder>(&mut self, bytes: &[u8]) -> Option<()> {
        const MOST: u32 = 65535;
        const PHOTOMETRIC_SHORT: (u16, u16) = (262, 3);
        let big = E::read_u16(bytes.get(2..4)?) == 43;
        let offset = |at: usize| {
            let offset = if big { E::read_u64(bytes.get(at..at.checked_add(8)?)?) } else { E::read_u32(bytes.get(at..at.checked_add(4)?)?).into() };
            usize::try_from(offset).ok().filter(|o| *o != 0)
        };
        let mut at = offset(if big { 8 } else { 4 })?;
        while self.pictures < MOST {
            let rest = bytes.get(at..)?;
            let (entries, first, size) = if big { (E::read_u64(rest.get(..8)?), 8, 20) } else { (E::read_u16(rest.get(..2)?).into(), 2, 12) };
            self.pictures += 1;
            if self.pictures == 1 {
                let values = if big { 12 } else { 8 };
                for (number, entry) in rest.get(first..)?.chunks_exact(size).take(usize::try_from(entries).ok()?).enumerate() {
                    self.tiff_entry(E::read_u16(entry), E::read_u16(&entry[values..]));
                    if (E::read_u16(entry), E::read_u16(&entry[2..])) == PHOTOMETRIC_SHORT {
                        self.photometric = Some(at + first + number * size + values);
                    }
                }
            }
            at = at.checked_add(usize::try_from(entries).ok()?.checked_mul(size)?.checked_add(first)?)?;
            at = offset(at)?;
        }
        Some(())
    }

    /// A tag of the first directory, and the first 16 bits of its values if they are in their place.
    fn tiff_entry(&mut self, tag: u16, value: u16) {
        match tag {
            // ExtraSamples; 1 is associated alpha.
            338 => self.premultiplied = value == 1,
            34675 => self.profile = true,
            34665 | 34853 => self.exif = true,
            33723 => self.leave_out("IPTC block"),
            _ => {}
        }
    }

    fn walk_webp(&mut self, bytes: &[u8]) -> Option<()> {
        let mut rest = bytes.get(12..)?;
        loop {
            let length = LittleEndian::read_u32(rest.get(4..8)?) as usize;
            match &rest[..4] {
                b"ANMF" => self.pictures += 1,
                b"ICCP" => self.profile = true,
                _ => {}
            }
            rest = rest.get(8usize.checked_add(length)?.checked_add(length % 2)?..)?;
        }
    }

    /// The fourth version of the header has a place for primaries and gamma, the fifth one for a colour profile, in the file or beside it.
    fn walk_bmp(&mut self, bytes: &[u8]) -> Option<()> {
        const HEADER: usize = 14;
        const CALIBRATED: [u8; 4] = [0; 4];
        let number = |at: usize| Some(LittleEndian::read_u32(bytes.get(at..at + 4)?) as usize);
        let size = number(HEADER)?;
        if size < 108 {
            return None;
        }
        match &(number(HEADER + 56)? as u32).to_be_bytes() {
            &CALIBRATED if far_from_srgb(bytes.get(HEADER + 60..HEADER + 108)?) => self.leave_out("set of primaries and gamma in its header"),
            _ if size < 124 => {}
            b"MBED" => {
                self.profile = true;
                let start = number(HEADER + 112)?.checked_add(HEADER)?;
                self.own_icc = bytes.get(start..start.checked_add(number(HEADER + 116)?)?).map(<[u8]>::to_vec);
            }
            b"LINK" => self.leave_out("colour profile, a file of its own,"),
            _ => {}
        }
        Some(())
    }

    /// The last byte of the header is 1 where all channels are linear, and 0 for sRGB.
    fn walk_qoi(&mut self, bytes: &[u8]) -> Option<()> {
        const LINEAR: Stated = Stated::Measured { gamma: Some(100_000), chromaticities: None };
        self.measured = (*bytes.get(13)? == 1).then_some(LINEAR);
        Some(())
    }

    /// Bits that the largest sample value needs: `P5 640 480 4095` has 12. Binary files may have one picture behind the other.
    fn walk_pnm(&mut self, bytes: &[u8]) -> Option<()> {
        // Of bits, whatever else their head says.
        self.depth = matches!(bytes.get(1)?, b'1' | b'4').then_some(1);
        let first = PnmHead::parse(bytes)?;
        self.depth = Some((16 - first.largest.leading_zeros()) as u8).filter(|bits| *bits > 0 && bytes[1] != b'7');
        let mut next = first.end;
        self.pictures = 1;
        while let Some(head) = next.and_then(|at| PnmHead::parse(bytes.get(at..)?)) {
            self.pictures += 1;
            next = next.zip(head.end).and_then(|(at, length)| at.checked_add(length));
        }
        Some(())
    }
}

/// What the text in front of a PNM picture says.
struct PnmHead {
    /// The largest sample value.
    largest: u16,
    /// Where the picture ends, if it is binary.
    end: Option<usize>,
}

impl PnmHead {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (b'P', kind @ b'1'..=b'7') = (*bytes.first()?, *bytes.get(1)?) else { return None };
        if !PnmWords::ends(bytes.get(2)?) {
            return None;
        }
        let mut words = PnmWords { bytes: &bytes[..bytes.len().min(4096)], at: 2 };
        let (mut width, mut height, mut channels, mut largest) = (0, 0, if matches!(kind, b'3' | b'6') { 3 } else { 1 }, 1);
        if kind == b'7' {
            loop {
                let value = match words.next()? {
                    b"WIDTH" => &mut width,
                    b"HEIGHT" => &mut height,
                    b"DEPTH" => &mut channels,
                    b"MAXVAL" => &mut largest,
                    b"ENDHDR" => break,
                    _ => continue, // TUPLTYPE, and its words
                };
                *value = words.number()?;
            }
        } else {
            (width, height) = (words.number()?, words.number()?);
            if !matches!(kind, b'1' | b'4') {
                largest = words.number()?;
            }
        }
        let largest = u16::try_from(largest).ok()?;
        let row = if kind == b'4' { width.div_ceil(8) } else { width.checked_mul(channels)?.checked_mul(if largest > 255 { 2 } else { 1 })? };
        // One byte of white space stands between text and samples.
        let end = row.checked_mul(height)?.checked_add(words.at + 1)?;
        Some(Self { largest, end: (kind >= b'4').then_some(end) })
    }
}

/// Words between white space; what is between `#` and the end of a line is a comment.
struct PnmWords<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> PnmWords<'a> {
    /// Whether a word ends in front of this byte.
    fn ends(byte: &u8) -> bool {
        byte.is_ascii_whitespace() || *byte == b'#'
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.bytes.get(self.at..)?;
            self.at += match rest.first()? {
                b'#' => rest.iter().position(|b| *b == b'\n')?,
                byte if byte.is_ascii_whitespace() => 1,
                _ => {
                    let length = rest.iter().position(Self::ends)?;
                    self.at += length;
                    return Some(&rest[..length]);
                }
            };
        }
    }

    fn number(&mut self) -> Option<usize> {
        std::str::from_utf8(self.next()?).ok()?.parse().ok()
    }
}

/// Whether the calibration of a BMP header is that of other colours than sRGB's: X, Y and Z of red, green and blue in 2^-30, then three gammas in 2^-16.
/// Zeros say nothing.
fn far_from_srgb(calibration: &[u8]) -> bool {
    const GAMMA: u32 = (2.2 * 65536.0) as u32;
    let numbers: Vec<u32> = calibration.chunks_exact(4).map(LittleEndian::read_u32).collect();
    let (ends, gammas) = numbers.split_at(9);
    let far = ends.chunks_exact(3).zip(SRGB_CHROMATICITIES[2..].chunks_exact(2)).any(|(end, known)| {
        let sum: u64 = end.iter().map(|n| u64::from(*n)).sum();
        let off = |n: u32, known: u32| (u64::from(n) * 100_000 / sum).abs_diff(known.into()) > 1500;
        sum > 0 && (off(end[0], known[0]) || off(end[1], known[1]))
    });
    far || gammas.iter().any(|g| *g > 0 && g.abs_diff(GAMMA) > GAMMA / 20)
}

/// What is in a JPEG file's segment, where it is something that people would miss and aei cannot store.
fn without_place(marker: u8, segment: &[u8]) -> Option<&'static str> {
    let has = |part: &[u8]| segment.windows(part.len()).any(|bytes| bytes == part);
    match marker {
        0xE1 if segment.starts_with(b"http://ns.adobe.com/xmp/extension/\0") => Some("extended XMP, the part behind the first 64 KB,"),
        0xE2 if segment.starts_with(b"MPF\0") => Some("set of further pictures (MPF)"),
        // By Adobe's way, which phones took over, XMP announces it, by ISO 21496-1 a segment of its own does.
        0xE1 if segment.starts_with(b"http://ns.adobe.com/xap/1.0/\0") && has(b"hdrgm:Version") => Some("gain map for HDR displays"),
        0xE2 if segment.starts_with(b"urn:iso:std:iso:ts:21496:-1\0") => Some("gain map for HDR displays"),
        // A resource of Photoshop: signature, number.
        0xED if segment.starts_with(b"Photoshop 3.0\0") && has(b"8BIM\x04\x04") => Some("IPTC block"),
        0xFE if is_comment(segment) => Some("comment"),
        _ => None,
    }
}

/// Whether a comment is more than what programs say of themselves.
fn is_comment(text: &[u8]) -> bool {
    const PROGRAMS: [&str; 9] =
        ["CREATOR: ", "Created with ", "Created by ", "File written by ", "Optimized by ", "Compressed by ", "LEAD Technologies", "Lavc", "AppleMark"];
    let text = text.trim_ascii();
    !text.iter().all(|byte| *byte == 0) && !PROGRAMS.iter().any(|program| text.starts_with(program.as_bytes()))
}

/// Whether a chunk of text in a PNG file holds more than XMP or what programs say of themselves.
fn would_be_missed(payload: &[u8]) -> bool {
    let keyword = payload.split(|byte| *byte == 0).next().unwrap_or_default();
    !(matches!(keyword, b"XML:com.adobe.xmp" | b"Software" | b"Creation Time" | b"") || keyword.starts_with(b"date:"))
}

/// XMP from a chunk of text: keyword, a zero, whether it is compressed and how, then language and translated keyword, each with a zero behind it.
fn xmp_in(payload: &[u8]) -> Option<Vec<u8>> {
    // Compressed text may claim to be anything.
    const MOST: u64 = 1 << 24;
    let (packed, rest) = payload.strip_prefix(b"XML:com.adobe.xmp\0")?.split_first_chunk::<2>()?;
    let text = rest.splitn(3, |byte| *byte == 0).nth(2)?;
    match packed {
        [0, _] => Some(text.to_vec()),
        [1, 0] => {
            let mut xmp = Vec::new();
            ZlibDecoder::new(text).take(MOST + 1).read_to_end(&mut xmp).ok().filter(|len| *len as u64 <= MOST)?;
            Some(xmp)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
