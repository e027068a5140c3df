//! Files made chunk by chunk.

use flate2::Compression;
use flate2::read::ZlibEncoder;

use super::*;

fn chunk(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let sum = crc32fast::hash(&[kind, payload].concat());
    [&(payload.len() as u32).to_be_bytes()[..], kind, payload, &sum.to_be_bytes()].concat()
}

fn png(chunks: &[(&[u8; 4], &[u8])]) -> Headers {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    chunks.iter().for_each(|(kind, payload)| bytes.extend(chunk(kind, payload)));
    Headers::read(FileFormat::Png, &bytes)
}

#[test]
fn png_depth_frames_and_late_exif() {
    let gray4 = [0, 0, 0, 1, 0, 0, 0, 1, 4, 0, 0, 0, 0];
    let palette = [0, 0, 0, 1, 0, 0, 0, 1, 4, 3, 0, 0, 0];
    assert_eq!(png(&[(b"IHDR", &gray4)]).depth, Some(4));
    assert_eq!(png(&[(b"IHDR", &palette)]).depth, None);
    assert_eq!(png(&[(b"IHDR", &palette), (b"PLTE", &[0; 768])]).damage, None);
    assert!(png(&[(b"IHDR", &palette), (b"PLTE", &[0; 14])]).damage.is_some());
    assert!(png(&[(b"IHDR", &palette), (b"PLTE", &[0; 771])]).damage.is_some());
    assert_eq!(png(&[(b"acTL", &[0, 0, 0, 7, 0, 0, 0, 0])]).pictures, 7);
    assert_eq!(png(&[(b"eXIf", b"early"), (b"IDAT", b"")]).late_exif, None);
    assert_eq!(png(&[(b"IDAT", b""), (b"eXIf", b"late"), (b"IEND", b"")]).late_exif.as_deref(), Some(&b"late"[..]));
    let xmp = b"XML:com.adobe.xmp\0\0\0en\0\0<x/>";
    assert_eq!(png(&[(b"IDAT", b""), (b"iTXt", xmp), (b"IEND", b"")]).late_xmp.as_deref(), Some(&b"<x/>"[..]));
    assert_eq!(png(&[(b"iTXt", xmp), (b"IDAT", b"")]).late_xmp, None);
    let mut packed = b"XML:com.adobe.xmp\0\x01\0en\0\0".to_vec();
    ZlibEncoder::new(&b"<packed/>"[..], Compression::default()).read_to_end(&mut packed).unwrap();
    assert_eq!(png(&[(b"IDAT", b""), (b"iTXt", &packed)]).late_xmp.as_deref(), Some(&b"<packed/>"[..]));
    assert_eq!(png(&[(b"IDAT", b""), (b"iTXt", &packed[..packed.len() - 8])]).late_xmp, None);
}

#[test]
fn png_colours_by_precedence() {
    let linear: &[u8] = &100_000u32.to_be_bytes();
    let usual: &[u8] = &45455u32.to_be_bytes();
    let other = [31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000];
    let chromaticities = |numbers: [u32; 8]| numbers.into_iter().flat_map(u32::to_be_bytes).collect::<Vec<_>>();
    let measured = |gamma, chromaticities| Some(Stated::Measured { gamma, chromaticities });
    assert_eq!(png(&[(b"gAMA", linear)]).measured, measured(Some(100_000), None));
    assert_eq!(png(&[(b"gAMA", usual)]).measured, None);
    assert_eq!(png(&[(b"gAMA", linear), (b"sRGB", &[0])]).measured, None);
    assert_eq!(png(&[(b"IDAT", b""), (b"gAMA", linear), (b"cICP", &[9, 16, 0, 1])]), Headers::default(), "they stand in front of the pixels");
    let both = png(&[(b"cICP", &[9, 16, 0, 1]), (b"sRGB", &[0]), (b"iCCP", b"x")]);
    assert_eq!((both.code, both.profile), (Some(Stated::Code([9, 16, 0, 1])), true));
    assert_eq!(png(&[(b"cHRM", &chromaticities(SRGB_CHROMATICITIES))]).measured, None);
    assert_eq!(png(&[(b"cHRM", &chromaticities(other))]).measured, measured(None, Some(other)));
    assert_eq!(png(&[(b"gAMA", linear), (b"cHRM", &chromaticities(other))]).measured, measured(Some(100_000), Some(other)));
    let mut damaged = [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"gAMA", linear)].concat();
    damaged[17] ^= 1;
    assert_eq!(Headers::read(FileFormat::Png, &damaged).measured, None);
    assert_eq!(png(&[(b"mDCV", &[0; 24]), (b"cLLI", &[0; 8])]).left_out.len(), 1);
}

#[test]
fn jpeg_components_and_end() {
    let frame = |components: u8| [&[0xFF, 0xD8, 0xFF, 0xC2, 0, 8, 8, 0, 1, 0, 1, components][..], &[0xFF, 0xDA, 0, 2, 1, 0xFF, 0, 0xFF, 0xD3, 2]].concat();
    let whole = |components| [frame(components), vec![0xFF, 0xFF, 0xD9]].concat();
    let read = |bytes: &[u8]| Headers::read(FileFormat::Jpeg, bytes);
    assert_eq!(read(&whole(3)), Headers { depth: Some(8), ..Headers::default() });
    assert!(read(&whole(4)).cmyk);
    assert!(read(&frame(3)).incomplete);
    let mut arithmetic = whole(3);
    arithmetic[3] = 0xC9;
    assert_eq!(read(&arithmetic).unknown_coding, Some("arithmetic coding"));
    let mut twelve = whole(3);
    twelve[6] = 12;
    assert_eq!(read(&twelve).unknown_coding, Some("12 bits a sample"));
}

#[test]
fn bmp_profiles_are_found() {
    let header = |kind: &[u8; 4], size: u32, start: u32, length: u32| {
        let mut bytes = [&b"BM"[..], &[0; 12], &size.to_le_bytes(), &[0; 120], b"profile"].concat();
        bytes[70..74].copy_from_slice(&[kind[3], kind[2], kind[1], kind[0]]);
        bytes[126..130].copy_from_slice(&start.to_le_bytes());
        bytes[130..134].copy_from_slice(&length.to_le_bytes());
        Headers::read(FileFormat::Bmp, &bytes)
    };
    assert_eq!(header(b"MBED", 124, 124, 7).own_icc.as_deref(), Some(&b"profile"[..]));
    let beyond = header(b"MBED", 124, 124, 8);
    assert_eq!((beyond.own_icc, beyond.profile), (None, true));
    assert_eq!(header(b"MBED", 124, u32::MAX, u32::MAX).own_icc, None);
    assert_eq!(header(b"MBED", 108, 124, 7), Headers::default());
    assert_eq!(header(b"sRGB", 124, 124, 7), Headers::default());
    assert_eq!(header(b"LINK", 124, 124, 7).left_out.len(), 1);
}

#[test]
fn bmp_calibration_is_told() {
    let header = |ends: [f64; 9], gamma: f64| {
        let mut bytes = [&b"BM"[..], &[0; 12], &108u32.to_le_bytes(), &[0; 104]].concat();
        let fixed = |unit: f64, n: &f64| ((n * unit) as u32).to_le_bytes();
        let numbers = [ends.map(|n| fixed((1u32 << 30) as f64, &n)).as_flattened(), [gamma; 3].map(|n| fixed(65536.0, &n)).as_flattened()].concat();
        bytes[74..122].copy_from_slice(&numbers);
        Headers::read(FileFormat::Bmp, &bytes).left_out.len()
    };
    let srgb = [0.64, 0.33, 0.03, 0.3, 0.6, 0.1, 0.15, 0.06, 0.79];
    let other = [0.64, 0.33, 0.03, 0.21, 0.71, 0.08, 0.15, 0.06, 0.79];
    assert_eq!([header([0.0; 9], 0.0), header(srgb, 2.2), header(srgb, 0.0), header(srgb.map(|n| 0.5 * n), 2.2)], [0; 4]);
    assert_eq!([header(srgb, 1.0), header([0.0; 9], 1.8), header(other, 2.2), header(other, 0.0)], [1; 4]);
}

#[test]
fn comments_are_told() {
    let jpeg = |text: &[u8]| {
        let segment = [&[0xFF, 0xD8, 0xFF, 0xFE, 0, text.len() as u8 + 2][..], text, &[0xFF, 0xD9]].concat();
        Headers::read(FileFormat::Jpeg, &segment).left_out
    };
    let gif = |text: &[u8]| {
        let bytes = [&b"GIF89a\x01\0\x01\0\0\0\0!\xFE"[..], &[text.len() as u8], text, b"\0;"].concat();
        Headers::read(FileFormat::Gif, &bytes).left_out
    };
    for program in [&b"CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90\n"[..], b"Created with GIMP\0", b" ", b"", b"\0\0"] {
        assert!(jpeg(program).is_empty() && gif(program).is_empty());
    }
    assert_eq!((jpeg(b"The cat on the roof"), gif(b"\x01")), (vec!["comment"], vec!["comment"]));
}

#[test]
fn png_texts_are_told() {
    assert!(png(&[(b"tEXt", b"Software\0x"), (b"tEXt", b"date:create\0x"), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>")]).left_out.is_empty());
    for (kind, text) in [(b"tEXt", &b"Title\0x"[..]), (b"zTXt", b"Comment\0\0x"), (b"iTXt", b"parameters\0\0\0\0\0x")] {
        assert_eq!(png(&[(b"IDAT", b""), (kind, text), (kind, text)]).left_out, ["text (title, comment or the like)"]);
    }
}

#[test]
fn qoi_says_whether_it_is_linear() {
    let linear = |colours: u8| Headers::read(FileFormat::Qoi, &[b"qoif\0\0\0\x01\0\0\0\x01\x03", &[colours][..]].concat()).measured;
    assert_eq!((linear(0), linear(1)), (None, Some(Stated::Measured { gamma: Some(100_000), chromaticities: None })));
}

#[test]
fn gif_frames() {
    let mut bytes = b"GIF89a\x01\0\x01\0\x80\0\0".to_vec();
    bytes.extend([0; 6]);
    for _ in 0..3 {
        bytes.extend(b"\x21\xF9\x04\0\0\0\0\0");
        bytes.extend(b"\x2C\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0");
    }
    bytes.push(0x3B);
    assert_eq!(Headers::read(FileFormat::Gif, &bytes).pictures, 3);
}

#[test]
fn webp_frames() {
    let mut bytes = b"RIFF\0\0\0\0WEBPVP8X\x03\0\0\0abc\0".to_vec();
    bytes.extend(b"ANMF\x02\0\0\0ab".repeat(2));
    assert_eq!(Headers::read(FileFormat::WebP, &bytes).pictures, 2);
}

#[test]
fn tiff_pages_even_in_a_circle() {
    let page = |next: u32| [&[0, 0][..], &next.to_le_bytes()].concat();
    let file = |second: u32| [b"II*\0\x08\0\0\0".to_vec(), page(14), page(second)].concat();
    assert_eq!(Headers::read(FileFormat::Tiff, &file(0)).pictures, 2);
    assert_eq!(Headers::read(FileFormat::Tiff, &file(8)).pictures, 65535);
    let tags = |tags: &[(u16, u16)]| {
        let mut file = [&b"II*\0\x08\0\0\0"[..], &(tags.len() as u16).to_le_bytes()].concat();
        for (tag, value) in tags {
            file.extend([&tag.to_le_bytes()[..], &[3, 0, 1, 0, 0, 0], &value.to_le_bytes(), &[0; 2]].concat());
        }
        Headers::read(FileFormat::Tiff, &[file, vec![0; 4]].concat())
    };
    assert!(tags(&[(338, 1)]).premultiplied && !tags(&[(338, 2)]).premultiplied && !tags(&[(339, 1)]).premultiplied);
    assert_eq!(tags(&[(33723, 9)]).left_out, ["IPTC block"]);
    assert!(tags(&[(34675, 9)]).profile && tags(&[(34665, 9)]).exif && tags(&[(34853, 9)]).exif);
    let big = b"MM\0+\0\x08\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(Headers::read(FileFormat::Tiff, big).pictures, 1);
}

#[test]
fn pnm_depth() {
    let depth = |text: &str| Headers::read(FileFormat::Pnm, text.as_bytes()).depth;
    assert_eq!(depth("P4\n8 8\nx"), Some(1));
    assert_eq!(depth("P5 # size 9\n8 8\n255\nabc"), Some(8));
    assert_eq!(depth("P6\n8 8\n# a comment\n4095\nabc"), Some(12));
    assert_eq!(depth("P2 8"), None);
    assert_eq!(depth("P5#size\n8 8#\n15\nabc"), Some(4));
    assert_eq!(depth(&format!("P4\n#{}\n8 8\nx", " ".repeat(5000))), Some(1));
}

#[test]
fn pnm_pictures() {
    let count = |parts: &[&[u8]]| Headers::read(FileFormat::Pnm, &parts.concat()).pictures;
    let bits: &[u8] = b"P4 9 2\nabcd";
    let gray: &[u8] = b"P5\n2 2 # two by two\n255\nabcd";
    let wide: &[u8] = b"P6 1 1 300\nabcdef";
    let any: &[u8] = b"P7\nWIDTH 1\n# comment\nHEIGHT 2\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\nabcdefgh";
    for one in [bits, gray, wide, any] {
        assert_eq!(count(&[one]), 1);
        assert_eq!(count(&[one, b"\n"]), 1);
        assert_eq!(count(&[one, one]), 2);
    }
    assert_eq!(count(&[bits, gray, wide, any, b"P5 and so on"]), 4);
    assert_eq!(count(&[b"P2 1 1 255 7\n", gray]), 1); // samples as text have no known length
    assert_eq!(count(&[b"P5 18446744073709551615 1 255\n", gray]), 0); // no such picture
    assert_eq!(count(&[b"P5 18446744073709551583 1 255\n", gray]), 1);
}

/// Every walk ends, without a panic, wherever a file is cut.
#[test]
fn anything_goes() {
    let mut state = 1u32;
    for round in 0..2000 {
        let bytes: Vec<u8> = (0..round % 97)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Many bytes that mean something.
                if state >> 30 == 0 { 0xFF } else { (state >> 24) as u8 }
            })
            .collect();
        for format in
            [FileFormat::Bmp, FileFormat::Gif, FileFormat::Jpeg, FileFormat::Png, FileFormat::Pnm, FileFormat::Qoi, FileFormat::Tiff, FileFormat::WebP]
        {
            Headers::read(format, &bytes);
        }
    }
}
