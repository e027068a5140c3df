use super::*;

const EMBEDDED: &[u8] = super::EMBEDDED.unwrap().0;
const EMBEDDED_ID: &str = super::EMBEDDED.unwrap().1;

#[test]
fn embedded_model_has_the_stated_digest_and_loads_whole() {
    let whole = Model::from_bytes(EMBEDDED.to_vec()).unwrap();
    assert_eq!(whole.id(), Model::embedded().unwrap().id());
    assert_eq!(whole.id().to_string(), EMBEDDED_ID.trim());
}

/// The chunks of the embedded model, without those that `left_out` says.
fn chunks_but(left_out: impl Fn(&[u8; 4]) -> bool) -> Vec<u8> {
    let (mut chunks, mut bytes) = (chunks_of(EMBEDDED).unwrap(), SIGNATURE.to_vec());
    while let Ok(chunk) = chunks.next_chunk() {
        if !left_out(&chunk.kind) {
            crate::container::chunk::write(&mut bytes, &chunk.kind, &[chunk.payload]).unwrap();
        }
    }
    bytes
}

#[test]
fn s4_the_id_is_of_what_decodes() {
    assert_eq!(chunks_but(|_| false), EMBEDDED);
    let bare = chunks_but(|kind| kind[0].is_ascii_lowercase());
    let digest: String = Sha256::digest(&bare).iter().take(8).map(|b| format!("{b:02x}")).collect();
    assert_eq!(digest, EMBEDDED_ID.trim());

    let whole = Model::embedded().unwrap();
    assert_eq!(whole.file(), EMBEDDED);
    assert_eq!(whole.decoder_file(), chunks_but(|kind| kind == b"enco"));
    let decoder = Model::from_bytes(bare.clone()).unwrap();
    assert_eq!(decoder.decoder_file(), bare);
    assert_eq!(decoder.id(), Model::embedded().unwrap().id());
    let picture = crate::Picture::new(16, 16, crate::Channels::Rgb, vec![90; 768]).unwrap();
    let file = crate::Encoder::new().encode(&picture).unwrap();
    let options = crate::DecoderOptions { model: Some(Arc::clone(&decoder)), ..Default::default() };
    let decoded = crate::Decoder::with_options(&file[..], options).unwrap().decode().unwrap();
    assert_eq!(decoded.samples(), crate::Decoder::new(&file[..]).unwrap().decode().unwrap().samples());
    assert!(matches!(crate::Encoder::new().model(decoder).encode(&picture), Err(Error::Unsupported(_))));

    // Whatever is critical counts.
    let mut chunks = chunks_of(EMBEDDED).unwrap();
    let mut header = chunks.next_chunk().unwrap().payload.to_vec();
    *header.last_mut().unwrap() ^= 1;
    let mut other = SIGNATURE.to_vec();
    crate::container::chunk::write(&mut other, b"MHDR", &[&header]).unwrap();
    other.extend_from_slice(&EMBEDDED[other.len()..]);
    assert_ne!(Model::from_bytes(other).unwrap().id(), Model::embedded().unwrap().id());
}

const TINY: &[u8] = include_bytes!("../../../format-spec/vectors/tiny.aem");

/// The payload of a chunk of the tiny model.
fn payload(kind: &[u8; 4]) -> Option<&'static [u8]> {
    let mut chunks = chunks_of(TINY).unwrap();
    std::iter::from_fn(|| chunks.next_chunk().ok()).find(|chunk| &chunk.kind == kind).map(|chunk| chunk.payload)
}

/// The tiny model with these chunks, some of them with other payloads.
fn of(kinds: &[&[u8; 4]], payloads: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    for kind in kinds {
        let other = payloads.iter().find(|(changed, _)| changed == kind).map(|(_, payload)| *payload);
        crate::container::chunk::write(&mut bytes, kind, &[other.or_else(|| payload(kind)).unwrap_or(b"?")]).unwrap();
    }
    bytes
}

/// Type of a chunk, a place in its payload, what is put there, and the rule that this breaks (empty if it has no label).
type Case<'a> = (&'a [u8; 4], usize, &'a [u8], Option<&'a str>);

#[test]
fn s4_records_that_break_a_rule_are_refused() {
    // The first layer of ENTR has 16 inputs and 64 outputs; SYNT begins with a gain. The bounds themselves are allowed.
    let weights = 6 + 64 * 5;
    let largest = [i16::MAX.to_le_bytes(), [0, 0x80]].concat();
    let cases: [Case<'_>; 25] = [
        (b"TABL", 0, &[0, 0], Some("")),
        (b"TABL", 0, &[0, 0x20], Some("")),
        (b"TABL", 2, &[0, 0], Some("")),
        (b"TABL", 2, &[9, 9], Some("")),
        (b"ZIDX", 9, &[63], None),
        (b"ZIDX", 9, &[64], Some("")),
        (b"ENTR", 0, &[3], Some("")),
        (b"ENTR", 1, &[1], Some("")),
        (b"ENTR", 2, &[63], Some("")),
        (b"ENTR", 4, &[32], Some("")),
        (b"ENTR", 6, &[0], Some("R4.1")),
        (b"ENTR", 6, &[1], None),
        (b"ENTR", 6, &[24], None),
        (b"ENTR", 6, &[25], Some("R4.1")),
        (b"ENTR", 6 + 64, &i32::MIN.to_le_bytes(), Some("R4.1")),
        (b"ENTR", weights, &[0; 32], None),
        (b"ENTR", weights, &largest, Some("R4.1")),
        (b"SYNT", 0, &[0], Some("")),
        (b"SYNT", 0, &[40], None),
        (b"SYNT", 0, &[41], Some("")),
        (b"SYNT", 1, &[1], Some("")),
        (b"SYNT", 2, &[63], Some("")),
        (b"SYNT", 4, &[255, 255, 255, 0], None),
        (b"SYNT", 4, &[0, 0, 0, 1], Some("R4.2")),
        (b"enco", 6 + 1, &[1], Some("")),
    ];
    for (kind, at, new, rule) in cases {
        let mut changed = payload(kind).unwrap().to_vec();
        changed[at..][..new.len()].copy_from_slice(new);
        let outcome = Model::from_bytes(of(&KNOWN, &[(kind, &changed)])).map(|_| ());
        match (outcome, rule) {
            (Ok(()), None) => {}
            (Err(Error::Model(message)), Some(rule)) if message.contains(rule) => {}
            (outcome, _) => panic!("{} {at} {new:?}: {outcome:?}", kind.escape_ascii()),
        }
    }
    for kind in [b"MHDR", b"TABL", b"ZIDX", b"ENTR", b"SYNT", b"enco"] {
        let whole = payload(kind).unwrap();
        for other in [&whole[..whole.len() - 1], &[whole, &[0]].concat()] {
            assert!(Model::from_bytes(of(&KNOWN, &[(kind, other)])).is_err());
        }
    }
}

#[test]
fn r4_3_chunks_stand_in_their_order() {
    let parse = |bytes: Vec<u8>| Model::from_bytes(bytes).map(|model| (model.id, model.encoder.is_some()));
    let id = id_of(TINY).unwrap();
    let all = KNOWN;
    assert_eq!(parse(of(&all, &[])).unwrap(), (id, true));
    assert_eq!(parse([of(&all, &[]), b"behind the end".to_vec()].concat()).unwrap(), (id, true));
    for left_out in 0..8 {
        let some: Vec<_> = (0..8).filter(|i| *i != left_out).map(|i| all[i]).collect();
        assert_eq!(parse(of(&some, &[])).is_ok(), left_out == 5 || left_out == 6, "without {left_out}");
    }
    // What stands behind MEND is not looked at.
    for (from, kind) in all.iter().enumerate().take(7) {
        for to in 0..8 {
            let mut kinds = all.to_vec();
            kinds.insert(to, kind);
            assert!(parse(of(&kinds, &[])).is_err(), "{from} at {to} and in its place");
            kinds.remove(from + usize::from(to <= from));
            assert_eq!(parse(of(&kinds, &[])).is_ok(), to == from || to == from + 1, "{from} at {to}");
        }
    }
    for to in 0..8 {
        let with = |kind| {
            let mut kinds = all.to_vec();
            kinds.insert(to, kind);
            parse(of(&kinds, &[]))
        };
        assert_eq!(with(b"abcd").unwrap(), (id, true));
        assert_eq!(with(b"prev").unwrap(), (id, true));
        assert!(with(b"Abcd").is_err());
    }
    for (kind, payload, good) in [(b"MEND", &b"!"[..], false), (b"note", b"\xff\xfe", false), (b"note", "ä: ö".as_bytes(), true), (b"note", b"", true)] {
        assert_eq!(parse(of(&all, &[(kind, payload)])).is_ok(), good, "{payload:?}");
    }
    // R2.3 has no exception here.
    let mut preview = of(&[b"prev"], &[]);
    *preview.last_mut().unwrap() ^= 1;
    assert!(parse([&preview[..], &TINY[8..]].concat()).is_err());
}

#[test]
fn values_of_the_header_have_bounds() {
    let length = u32::from_le_bytes(EMBEDDED[12..16].try_into().unwrap()) as usize;
    let good = &EMBEDDED[16..16 + length];
    let parse = |at: usize, value: u8| {
        let mut payload = good.to_vec();
        payload[at] = value;
        Header::parse(&payload)
    };
    let h = parse(12, 4).unwrap();
    assert_eq!((h.synthesis.n8(), h.synthesis.n16, h.synthesis.margin()), (7, 4, 8));
    for blocks in 12..17 {
        assert!(parse(blocks, 0).is_ok() && parse(blocks, 16).is_ok() && parse(blocks, 17).is_err(), "{blocks}");
    }
    for (at, least, most) in [(17, 64, 64), (18, 1, 64), (19, 0, 6), (20, 1, 63), (21, 0, 8), (22, 1, 14), (23, 0, 63), (24, 1, 6)] {
        assert!(parse(at, least).is_ok() && parse(at, most).is_ok() && parse(at, most + 1).is_err(), "{at}");
        assert!(least == 0 || parse(at, least - 1).is_err(), "{at}");
    }
    for at in [2, 4, 6, 8, 10] {
        assert!(parse(at, good[at] + 8).is_err(), "{at}");
    }
    assert!(matches!(parse(0, 2), Err(Error::Unsupported(_))));
    assert!(parse(25, 0).is_err() && parse(25, good[25] + 1).is_err() && parse(26, 0xff).is_err());

    // The beginning of `enco`.
    let read = |bytes: [u8; 6]| EncoderHeader::read(&mut Reader::new(&bytes), &h);
    let good = [3, 4, 2, 2, 6, 8];
    assert_eq!(read(good).unwrap().analysis.margin(), 6);
    for (at, least, most) in [(0, 0, 16), (1, 0, 16), (2, 0, 16), (3, 0, h.scales), (4, 0, 6), (5, h.y_fraction as u8, 12)] {
        let with = |value| read(std::array::from_fn(|i| if i == at { value } else { good[i] }));
        assert!(with(least).is_ok() && with(most).is_ok() && with(most + 1).is_err(), "{at}");
        assert!(least == 0 || with(least - 1).is_err(), "{at}");
    }
}

#[test]
fn damaged_models_are_refused() {
    let mut bytes = EMBEDDED.to_vec();
    bytes[5000] ^= 1;
    assert!(matches!(Model::from_bytes(bytes), Err(Error::Model(_))));
    for length in [0, 7, 8, 20, 100, EMBEDDED.len() - 1] {
        assert!(matches!(Model::from_bytes(EMBEDDED[..length].to_vec()), Err(Error::Model(_))), "{length} bytes");
    }
}
