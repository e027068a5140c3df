//! What users are told about files that are not ours, or newer.

use super::SIGNATURE;

/// Says what a file that is not ours seems to be.
pub(super) fn signature(bytes: &[u8]) -> String {
    let guess: Option<&str> = match bytes {
        [] => return "the file is empty".into(),
        [0x89, b'P', b'N', b'G', ..] => Some("a PNG picture"),
        [0xFF, 0xD8, 0xFF, ..] => Some("a JPEG picture"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("a WebP picture"),
        [b'G', b'I', b'F', b'8', ..] => Some("a GIF picture"),
        [b'B', b'M', ..] => Some("a BMP picture"),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some("a TIFF picture"),
        [0x89, b'A', b'E', b'M', ..] => Some("an aei model"),
        _ => None,
    };
    match guess {
        Some(guess) => format!("this is {guess}, not an aei file"),
        None if bytes.len() < 8 && SIGNATURE.starts_with(bytes) => "the file is truncated: it ends within the signature".into(),
        None if bytes.starts_with(b"\x89AEI") => "the file was damaged in transfer: its line ends were changed, as in text mode".into(),
        None => "this is not an aei file".into(),
    }
}

/// Says what a critical chunk is that is not known.
pub(super) fn unknown(kind: &[u8; 4]) -> String {
    format!("the file needs a decoder that knows the chunk {}; a newer version of aei may (R2.4)", kind.escape_ascii())
}
