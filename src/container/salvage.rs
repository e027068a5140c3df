//! What can be got out of a damaged file (SPEC 8).

use std::collections::BTreeMap;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian};

use super::chunk::{crc, parse_header};
use super::source::FRAME;
use super::{Container, Extras, Head, Piece, SIGNATURE, Source, TileSpan, check_tile, messages, number_in, parse_index, spans};
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
        let (chunks, end, broken) = sound_chunks(&bytes);
        let head = chunks.iter().find(|c| &c.kind == b"HEAD").map(|c| Head::parse(payload(&bytes, c)));
        let head = match head {
            Some(head) => head?,
            None if bytes.starts_with(&SIGNATURE) => return Err(Error::format("R2.5", "nothing can be saved: the chunk HEAD is damaged or missing")),
            None => return Err(Error::format("R2.1", messages::signature(&bytes))),
        };
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
fn is_sound(bytes: &[u8], kind: &[u8; 4], at: usize, length: usize) -> bool {
    let Some(rest) = at.checked_add(8).and_then(|at| bytes.get(at..)) else { return false };
    let Some((payload, rest)) = rest.split_at_checked(length) else { return false };
    rest.first_chunk().is_some_and(|stated: &[u8; 4]| crc(kind, &[payload]) == u32::from_le_bytes(*stated))
}

/// All chunks of the picture with a right CRC, from the start to its `IEND`, and where that ends; behind damage, the search goes on byte by byte. Then the types of
/// chunks that stand where one should and are broken.
///
/// The chunks of another file inside, which a broken `prev` holds, or behind one whose `IEND` is broken, are not the picture's: from its signature to its `IEND`
/// nothing counts. If that `IEND` is broken too, a tile index shows that the picture goes on (a preview has none), or all up to the next `IEND` is lost: less than
/// there might be, but never another picture's.
fn sound_chunks(bytes: &[u8]) -> (Vec<Sound>, usize, Vec<[u8; 4]>) {
    let (mut chunks, mut broken) = (Vec::<Sound>::new(), Vec::new());
    let mut work = (bytes.len() as u64).saturating_mul(WORK);
    // Where a file begins whose signature is right, the search begins behind it.
    let mut at = if bytes.starts_with(&SIGNATURE) { SIGNATURE.len() } else { 0 };
    let (mut begun, mut nested) = (at > 0, false);
    // Where the next chunk should be.
    let mut expected = SIGNATURE.len();
    while let Some(header) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        if header == &SIGNATURE {
            (nested, begun) = (begun, true);
            at += SIGNATURE.len();
            continue;
        }
        let found = parse_header(header, at as u64).ok().filter(|(_, length)| *length as usize <= bytes.len() - at);
        if let Some((kind, length)) = found {
            let Some(left) = work.checked_sub(length.into()) else { break };
            work = left;
            if is_sound(bytes, &kind, at, length as usize) {
                let chunk = Sound { kind, start: at, length };
                at = chunk.end();
                begun = true;
                if nested && &kind == b"IEND" {
                    nested = false;
                    continue;
                }
                nested &= !is_index(bytes, &chunk, &chunks);
                if !nested {
                    expected = at;
                    chunks.push(chunk);
                    if &kind == b"IEND" {
                        return (chunks, at, broken);
                    }
                }
                continue;
            }
            if at == expected {
                broken.push(kind);
                // If its length is right, the next one stands behind it.
                expected = at + FRAME as usize + length as usize;
            }
        }
        at += 1;
    }
    (chunks, bytes.len(), broken)
}

/// Whether a chunk is the tile index of the picture whose chunks were found so far, which lack it.
fn is_index(bytes: &[u8], chunk: &Sound, chunks: &[Sound]) -> bool {
    if &chunk.kind != b"TIDX" || chunks.iter().any(|c| &c.kind == b"TIDX") {
        return false;
    }
    let head = chunks.iter().find(|c| &c.kind == b"HEAD").and_then(|c| Head::parse(payload(bytes, c)).ok());
    head.is_some_and(|head| parse_index(payload(bytes, chunk), &head.grid()).is_ok())
}

/// Where each tile is. Of a tile that is not there, the place means nothing and the second list has the reason.
fn find_tiles(bytes: &[u8], chunks: &[Sound], end: usize, head: &Head) -> Result<(Vec<TileSpan>, BTreeMap<usize, String>)> {
    let grid = &head.grid();
    let mut found: BTreeMap<usize, TileSpan> = BTreeMap::new();
    let mut note = |start: usize, length: usize| {
        let number = bytes.get(start + 8..).and_then(|rest| rest.first_chunk()).map_or(usize::MAX, |n| number_in(u32::from_le_bytes(*n)) as usize);
        if number < grid.count() && check_tile(&bytes[start + 8..][..length], number, head).is_ok() {
            found.entry(number).or_insert(TileSpan { start: start as u64, length: length as u32 });
        }
    };
    chunks.iter().filter(|c| &c.kind == b"TILE").for_each(|c| note(c.start, c.length as usize));

    // A tile whose type or length is damaged is still whole: the index knows its place,
    let index = chunks.iter().find(|c| &c.kind == b"TIDX");
    let placed = index.and_then(|c| Some(spans(&parse_index(payload(bytes, c), grid).ok()?, c.end() as u64).ok()?.0));
    for span in placed.iter().flatten() {
        if is_sound(bytes, b"TILE", span.start as usize, span.length as usize) {
            note(span.start as usize, span.length as usize);
        }
    }
    // and without an index, it fills the gap between sound chunks.
    let ends: Vec<usize> = [SIGNATURE.len()].into_iter().chain(chunks.iter().map(Sound::end)).collect();
    for (start, end) in ends.iter().zip(chunks.iter().map(|c| c.start).chain([end])) {
        if let Some(length) = end.checked_sub(start + FRAME as usize)
            && is_sound(bytes, b"TILE", *start, length)
        {
            note(*start, length);
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
