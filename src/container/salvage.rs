//! What can be got out of a damaged file (SPEC 8).

use std::collections::BTreeMap;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian};

use super::chunk::{crc, parse_header};
use super::source::FRAME;
use super::{Container, Extras, Head, KNOWN, Piece, SIGNATURE, Source, TileSpan, check_known, check_tile, messages, number_in, parse_index, spans};
use crate::{Error, Result};

/// How many bytes of checksums are computed for each byte of the file. A file made to look like chunks everywhere would cost a second for each kilobyte.
const WORK: u64 = 16;

/// A chunk whose CRC is right, wherever it stands.
#[derive(Debug, Clone, Copy)]
struct Sound {
    kind: [u8; 4],
    start: usize,
    length: u32,
}

impl Sound {
    fn end(&self) -> usize {
        self.start + self.length as usize + FRAME as usize
    }
}

impl Container {
    /// Finds what is left of a damaged file, and tells what is wrong with it at first sight: `None` if nothing is.
    pub(crate) fn salvage(bytes: Arc<Vec<u8>>) -> Result<(Self, Option<String>)> {
        let trouble = match Self::parse(Arc::clone(&bytes)) {
            Ok(container) => return Ok((container, None)),
            // Nothing is damaged: it is another version's.
            Err(Error::Unsupported(message)) => return Err(Error::Unsupported(message)),
            Err(error) => error,
        };
        let Some(first) = own_head(&bytes) else { return Err(headless(&bytes)) };
        let head = Head::parse(payload(&bytes, &first))?;
        let (chunks, end, broken) = sound_chunks(&bytes, first);
        chunks.iter().try_for_each(|chunk| check_known(&chunk.kind))?;
        let (tiles, lost) = find_tiles(&bytes, &chunks, end, &head)?;
        let behind = bytes.len() as u64;
        let mut extras = Extras::default();
        for chunk in &chunks {
            extras.salvage(&Piece { kind: chunk.kind, payload: payload(&bytes, chunk), start: chunk.start as u64 + 8, intact: true }, &head);
        }
        extras.note_broken(&broken);
        Ok((Self { source: Source::Memory(bytes), head, extras, tiles, behind, checked: true, lost }, Some(trouble.to_string())))
    }

    /// Tiles that the file does not hold, or not whole, and why.
    pub(crate) fn lost(&self) -> &BTreeMap<usize, String> {
        &self.lost
    }
}

fn payload<'a>(bytes: &'a [u8], chunk: &Sound) -> &'a [u8] {
    &bytes[chunk.start + 8..][..chunk.length as usize]
}

/// Whether there is a chunk of this type and length at `at` whose CRC is right, whatever the file says there about type and length.
fn is_sound(bytes: &[u8], kind: &[u8; 4], at: u64, length: u32) -> bool {
    // Places that an index gives may be beyond what this machine can address.
    let Some(rest) = usize::try_from(at + 8).ok().and_then(|at| bytes.get(at..)) else { return false };
    let Some((payload, rest)) = rest.split_at_checked(length as usize) else { return false };
    rest.first_chunk().is_some_and(|stated: &[u8; 4]| crc(kind, &[payload]) == u32::from_le_bytes(*stated))
}

/// Type and length of what may be a chunk at `at`, of which the file holds the type and length at least.
fn header_at(bytes: &[u8], at: usize) -> Option<([u8; 4], u32)> {
    let header = bytes.get(at..)?.first_chunk()?;
    parse_header(header, at as u64).ok()
}

/// Whether a chunk of a type that stands behind a preview seems to begin at `at`.
fn goes_on(bytes: &[u8], at: usize) -> bool {
    header_at(bytes, at).is_some_and(|(kind, _)| &kind != b"HEAD" && (&kind == b"prev" || KNOWN.contains(&&kind)))
}

/// The picture's `HEAD`. It stands behind a signature, damaged or not, and nothing else: further on there is another file's, such as that of a preview.
fn own_head(bytes: &[u8]) -> Option<Sound> {
    // Line ends that became longer in text mode add two bytes.
    (0..=SIGNATURE.len() + 2).find_map(|start| {
        let (kind, length) = header_at(bytes, start)?;
        let behind_others = bytes.get(1..start).is_some_and(|before| before.ends_with(&SIGNATURE));
        (&kind == b"HEAD" && !behind_others && is_sound(bytes, &kind, start as u64, length)).then_some(Sound { kind, start, length })
    })
}

/// Says that there is no `HEAD`.
fn headless(bytes: &[u8]) -> Error {
    let other = bytes.windows(SIGNATURE.len()).position(|window| window == SIGNATURE);
    match other {
        None => Error::format("R2.1", messages::signature(bytes)),
        Some(0) => Error::format("R2.5", "nothing can be saved: the chunk HEAD is damaged or missing"),
        Some(at) => Error::format(
            "R2.5",
            format!(
                "nothing can be saved: the chunk HEAD is damaged or missing. What begins at byte {at} is the preview, or a file with other bytes in front of it"
            ),
        ),
    }
}

/// All chunks of the picture with a right CRC, from its `HEAD` to its `IEND`, and where that ends; behind damage, the search goes on byte by byte. Then the types
/// of chunks that stand where one should and are broken.
///
/// The chunks of another file inside, which a broken `prev` holds, or behind one whose `IEND` is broken, are not the picture's. Where a broken chunk's length leads
/// to another chunk, what is in it is not looked at. Elsewhere nothing counts from a signature or another `HEAD` to the next `IEND`. If that `IEND` is broken too,
/// a tile index shows that the picture goes on (a preview has none), or all up to the next `IEND` is lost: less than there might be, but not another picture's.
/// Where both signature and `HEAD` of a preview are damaged, the picture that goes on behind its `IEND` shows what it was.
fn sound_chunks(bytes: &[u8], head: Sound) -> (Vec<Sound>, usize, Vec<[u8; 4]>) {
    let (mut at, mut chunks, mut broken) = (head.end(), vec![head], Vec::new());
    let mut work = (bytes.len() as u64).saturating_mul(WORK);
    let mut nested = false;
    // Where the next chunk should be, and how many chunks there were when one was found elsewhere.
    let (mut expected, mut astray) = (at, None);
    // The number of the first of them that is the tile index or a tile.
    let mut first_tile: Option<usize> = None;
    while let Some(header) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        if header == &SIGNATURE {
            nested = true;
            at += SIGNATURE.len();
            continue;
        }
        let found = header_at(bytes, at).filter(|(_, length)| *length as usize <= bytes.len() - at);
        let Some((kind, length)) = found else {
            at += 1;
            continue;
        };
        let Some(left) = work.checked_sub(length.into()) else { break };
        work = left;
        let chunk = Sound { kind, start: at, length };
        if !is_sound(bytes, &kind, at as u64, length) {
            if at == expected {
                broken.push(kind);
                // If its length is right, the next one stands behind it.
                expected = chunk.end();
                if goes_on(bytes, expected) {
                    at = expected;
                    continue;
                }
            }
            at += 1;
            continue;
        }
        let in_place = at == expected;
        at = chunk.end();
        if &kind == b"HEAD" {
            // Unless it is a copy of the picture's own.
            nested |= !in_place || payload(bytes, &chunk) != payload(bytes, &head);
        } else if in_place || first_tile.is_none() && is_index(bytes, &chunk, &head) {
            nested = false;
        }
        if !in_place && !nested {
            astray = Some(chunks.len());
        }
        if &kind == b"IEND" && (nested || astray.is_some()) {
            // Behind a preview's end stands the sum of its chunk, and the picture goes on.
            let inside = goes_on(bytes, at + 4);
            if inside {
                at += 4;
                expected = at;
                chunks.truncate(astray.take().filter(|_| !nested).unwrap_or(chunks.len()));
                first_tile = first_tile.filter(|number| *number < chunks.len());
            }
            if nested || inside {
                nested = false;
                continue;
            }
        }
        if nested {
            continue;
        }
        expected = at;
        if matches!(&kind, b"TIDX" | b"TILE") {
            first_tile.get_or_insert(chunks.len());
        }
        chunks.push(chunk);
        if &kind == b"IEND" {
            return (chunks, at, broken);
        }
    }
    (chunks, bytes.len(), broken)
}

/// Whether a chunk is the tile index of a picture that lacks one and has no tiles yet.
fn is_index(bytes: &[u8], chunk: &Sound, head: &Sound) -> bool {
    &chunk.kind == b"TIDX" && Head::parse(payload(bytes, head)).is_ok_and(|head| parse_index(payload(bytes, chunk), &head.grid()).is_ok())
}

/// Where each tile is. Of a tile that is not there, the place means nothing and the second list has the reason.
fn find_tiles(bytes: &[u8], chunks: &[Sound], end: usize, head: &Head) -> Result<(Vec<TileSpan>, BTreeMap<usize, String>)> {
    let grid = &head.grid();
    let index = chunks.iter().find(|c| &c.kind == b"TIDX");
    let lengths = index.and_then(|c| parse_index(payload(bytes, c), grid).ok()).unwrap_or_default();
    let placed = index.and_then(|c| Some(spans(&lengths, c.end() as u64).ok()?.0)).filter(|spans| !spans.is_empty());
    let mut found: BTreeMap<usize, TileSpan> = BTreeMap::new();
    let mut note = |start: usize, length: u32, any_length: bool| {
        let number = bytes.get(start + 8..).and_then(|rest| rest.first_chunk()).map_or(usize::MAX, |n| number_in(u32::from_le_bytes(*n)) as usize);
        if number < grid.count()
            && (any_length || lengths.get(number) == Some(&length))
            && check_tile(&bytes[start + 8..][..length as usize], number, head).is_ok()
        {
            found.entry(number).or_insert(TileSpan { start: start as u64, length });
        }
    };
    // What the index says, in place and length, goes before what stands elsewhere, and that in front of what is shorter or longer. A tile whose type or length is
    // damaged is still whole: the index knows its place,
    for span in placed.iter().flatten() {
        if is_sound(bytes, b"TILE", span.start, span.length) {
            note(span.start as usize, span.length, false);
        }
    }
    for any_length in [false, true] {
        chunks.iter().filter(|c| &c.kind == b"TILE").for_each(|c| note(c.start, c.length, any_length));
    }
    // and without an index, it fills the gap between sound chunks.
    let ends: Vec<usize> = [SIGNATURE.len()].into_iter().chain(chunks.iter().map(Sound::end)).collect();
    for (start, end) in ends.iter().zip(chunks.iter().map(|c| c.start).chain([end])) {
        if let Some(length) = end.checked_sub(start + FRAME as usize).and_then(|length| u32::try_from(length).ok())
            && is_sound(bytes, b"TILE", *start as u64, length)
        {
            note(*start, length, true);
        }
    }

    let nowhere = TileSpan { start: 0, length: 4 };
    let mut tiles = Vec::new();
    tiles.try_reserve_exact(grid.count()).map_err(|_| Error::Limits("there is no memory for the tile index".into()))?;
    tiles.extend((0..grid.count()).map(|number| found.get(&number).copied().unwrap_or(nowhere)));
    let lost = (0..grid.count()).filter(|number| !found.contains_key(number)).map(|number| (number, reason(bytes, placed.as_deref(), number)));
    Ok((tiles, lost.collect()))
}

/// Why a tile was not found.
fn reason(bytes: &[u8], placed: Option<&[TileSpan]>, number: usize) -> String {
    let Some(span) = placed.and_then(|spans| spans.get(number)) else { return "it is damaged or missing".into() };
    let end = span.start + FRAME + u64::from(span.length);
    if end > bytes.len() as u64 {
        return "the file ends before it does".into();
    }
    let stated = bytes.get(span.start as usize + 8..).filter(|rest| rest.len() >= 4).map(LittleEndian::read_u32);
    if stated.map(number_in) == Some(number as u32) { "its checksum is wrong".into() } else { "something else stands in its place".into() }
}
