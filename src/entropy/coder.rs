//! Symbols and escapes over constriction's ANS coder (SPEC 3.1, 3.2).

use byteorder::{ByteOrder, LittleEndian};
use constriction::stream::model::UniformModel;
use constriction::stream::stack::DefaultAnsCoder;
use constriction::stream::{Code, Decode, Encode};

use super::TileCode;
use super::tables::{PRECISION, Table, Tables};
use super::trellis::Quantiser;
use crate::{Error, Result};

/// Longest prefix of an escape (R3.5).
const MAX_PREFIX: u32 = 20;
/// Largest distance of a value from zero that every table can code.
pub(crate) const MAX_VALUE: i32 = (1 << MAX_PREFIX) - 1;

/// R3.3.
fn bit() -> UniformModel<u32, PRECISION> {
    UniformModel::new(2)
}

fn damaged(what: &str) -> Error {
    Error::format("R3.4", format!("its coded data is damaged: {what}"))
}

/// What an encoder has decided to write, in the order of decoding.
#[derive(Debug, Default)]
pub(crate) struct Symbols(Vec<(i32, Quantiser, u8)>);

impl Symbols {
    /// Appends a value under the quantiser's table of a scale index and gives back what the decoder will read: the value, brought into the range that has codes. The
    /// caller leaves out what is skipped.
    #[inline]
    pub(crate) fn push(&mut self, value: i32, quantiser: Quantiser, index: u8) -> i32 {
        let value = value.clamp(-MAX_VALUE, MAX_VALUE);
        self.0.push((value, quantiser, index));
        value
    }

    /// The same for values that no encoder needs, up to the largest that the format has codes for, and beyond.
    #[cfg(test)]
    pub(crate) fn push_beyond(&mut self, value: i32, quantiser: Quantiser, index: u8) {
        self.0.push((value, quantiser, index));
    }

    pub(crate) fn with_capacity(symbols: usize) -> Result<Self> {
        let mut list = Vec::new();
        list.try_reserve_exact(symbols).map_err(|_| Error::Limits("there is no memory for the symbols of a tile".into()))?;
        Ok(Self(list))
    }

    /// The words of the stream, as bytes.
    pub(crate) fn into_stream(self, tables: &Tables) -> Result<Vec<u8>> {
        let impossible = |_| Error::Parameter("a symbol has no code".into());
        let mut coder = DefaultAnsCoder::new();
        // What is pushed last is decoded first.
        for (value, quantiser, index) in self.0.into_iter().rev() {
            let Some(table) = tables.get(quantiser, index) else { continue };
            let excess = value.unsigned_abs() as i32 - table.range - 1;
            if excess < 0 {
                coder.encode_symbol((value + table.range) as usize, &table.distribution).map_err(|e| impossible(e.to_string()))?;
                continue;
            }
            let prefix = (excess + 1).ilog2();
            let rest = excess + 1 - (1 << prefix);
            let bits = std::iter::repeat_n(1, prefix as usize)
                .chain([0])
                .chain((0..prefix).rev().map(|b| (rest >> b) as usize & 1))
                .chain([usize::from(value < 0)])
                .collect::<Vec<_>>();
            for b in bits.into_iter().rev() {
                coder.encode_symbol(b, bit()).map_err(|e| impossible(e.to_string()))?;
            }
            coder.encode_symbol(2 * table.range as usize + 1, &table.distribution).map_err(|e| impossible(e.to_string()))?;
        }
        let words = coder.into_compressed().unwrap_or_else(|never| match never {});
        let mut bytes = vec![0; words.len() * 4];
        LittleEndian::write_u32_into(&words, &mut bytes);
        Ok(bytes)
    }
}

/// Takes values from a stream.
#[derive(Debug)]
pub(crate) struct StreamDecoder<'t> {
    coder: DefaultAnsCoder,
    tables: &'t Tables,
    /// Values of smaller scale indices are not coded (R3.6).
    skip_below: u8,
}

impl<'t> StreamDecoder<'t> {
    /// R3.1. The stream has whole words.
    pub(crate) fn new(code: TileCode<'_>, tables: &'t Tables) -> Result<Self> {
        if usize::from(code.skip_below) > tables.scales() {
            let message = format!("its skip threshold is {}, but the model has {} scale indices", code.skip_below, tables.scales());
            return Err(Error::format("R3.6", message));
        }
        let words = code.stream.chunks_exact(4).map(LittleEndian::read_u32).collect();
        let coder = DefaultAnsCoder::from_compressed(words).map_err(|_| Error::format("R3.1", "its coded data ends in a zero"))?;
        Ok(Self { coder, tables, skip_below: code.skip_below })
    }

    /// The next value under a quantiser and a scale index, unless that index is skipped (R3.6).
    #[inline]
    pub(crate) fn value(&mut self, quantiser: Quantiser, index: u8) -> Result<Option<i32>> {
        if index < self.skip_below {
            return Ok(None);
        }
        let Some(table) = self.tables.get(quantiser, index) else { return Ok(None) };
        let symbol = match self.coder.decode_symbol(&table.lookup) {
            Ok(symbol) => symbol as i32,
            Err(never) => match never {},
        };
        if symbol <= 2 * table.range { Ok(Some(symbol - table.range)) } else { self.escape(table).map(Some) }
    }

    fn bit(&mut self) -> i32 {
        match self.coder.decode_symbol(bit()) {
            Ok(bit) => bit as i32,
            Err(never) => match never {},
        }
    }

    /// R3.5.
    #[cold]
    fn escape(&mut self, table: &Table) -> Result<i32> {
        let mut prefix = 0;
        while self.bit() == 1 {
            prefix += 1;
            if prefix > MAX_PREFIX {
                return Err(Error::format("R3.5", "its coded data is damaged: an escape is too long"));
            }
        }
        let rest = (0..prefix).fold(0, |rest, _| 2 * rest + self.bit());
        let magnitude = table.range + (1 << prefix) + rest;
        Ok(if self.bit() == 1 { -magnitude } else { magnitude })
    }

    /// Bits not taken yet, rounded up to whole bits.
    pub(crate) fn bits_left(&self) -> usize {
        self.coder.num_valid_bits()
    }

    /// R3.4.
    pub(crate) fn finish(self) -> Result<()> {
        if self.coder.bulk().is_empty() && self.coder.state() == 0 { Ok(()) } else { Err(damaged("something is left at the end of the tile")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tables: index 0 is skipped, index 1 has range 1, index 2 range 3.
    fn tables() -> Tables {
        Tables::of(&[&[1, 65533, 1, 1], &[16384, 32768, 16000, 384], &[1, 2, 3, 65520, 4, 3, 2, 1]])
    }

    fn code(stream: &[u8]) -> TileCode<'_> {
        TileCode { skip_below: 1, stream }
    }

    fn round_trip(values: &[(i32, u8)]) -> Vec<u8> {
        let tables = tables();
        let mut symbols = Symbols::default();
        values.iter().filter(|(_, i)| *i > 0).for_each(|(v, i)| assert_eq!(symbols.push(*v, Quantiser::Hyper, *i), *v));
        let stream = symbols.into_stream(&tables).unwrap();
        let mut decoder = StreamDecoder::new(code(&stream), &tables).unwrap();
        for (value, index) in values {
            assert_eq!(decoder.value(Quantiser::Hyper, *index).unwrap(), (*index > 0).then_some(*value));
        }
        decoder.finish().unwrap();
        stream
    }

    #[test]
    fn r3_2_values_come_back() {
        assert!(round_trip(&[]).is_empty());
        let values: Vec<(i32, u8)> = (0..3000).map(|i| (i * 7919 % 7 - 3, 1 + (i % 2) as u8)).collect();
        round_trip(&values);
    }

    #[test]
    fn r3_2_stream_is_the_one_of_the_specification() {
        // By hand: state 0, then value 0 of table 1 (cumulative 16384, probability 32768) leaves 16384 = one word.
        assert_eq!(round_trip(&[(0, 1)]), [0, 0x40, 0, 0]);
    }

    #[test]
    fn r3_5_escapes_of_every_length() {
        let values: Vec<(i32, u8)> =
            (0..20).flat_map(|b| [((1 << b) + 1, 1), (-(1 << b) - 1, 2), (1 << b, 2)]).chain([(MAX_VALUE, 1), (-MAX_VALUE, 2)]).collect();
        round_trip(&values);
    }

    #[test]
    fn r3_5_endless_escape_is_refused() {
        let tables = tables();
        // All bits set: the escape of table 1, then ones.
        let mut decoder = StreamDecoder::new(code(&[0xFF; 64]), &tables).unwrap();
        let error = (0..10).find_map(|_| decoder.value(Quantiser::Hyper, 1).err()).unwrap();
        assert!(matches!(error, Error::Format(e) if e.rule() == "R3.5"));
    }

    #[test]
    fn r3_1_and_r3_4_damage_is_refused() {
        let tables = tables();
        assert!(matches!(StreamDecoder::new(code(&[1, 0, 0, 0, 0, 0, 0, 0]), &tables), Err(Error::Format(e)) if e.rule() == "R3.1"));
        let mut decoder = StreamDecoder::new(code(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]), &tables).unwrap();
        decoder.value(Quantiser::Hyper, 1).unwrap();
        assert!(matches!(decoder.finish(), Err(Error::Format(e)) if e.rule() == "R3.4"));
    }

    #[test]
    fn r3_6_skipped_values_are_not_coded_and_cost_nothing() {
        assert_eq!(round_trip(&[(0, 0), (0, 1), (0, 0)]), round_trip(&[(0, 1)]));
    }

    #[test]
    fn r3_6_the_threshold_is_the_tiles_own() {
        let tables = tables();
        let value = |skip_below, stream, index| StreamDecoder::new(TileCode { skip_below, stream }, &tables)?.value(Quantiser::Even, index);
        // A stream of ones is the last symbol of any table, an escape without end.
        assert!(value(0, &[0xFF; 64], 0).is_err());
        assert_eq!(value(1, &[0xFF; 64], 0).unwrap(), None);
        assert_eq!(value(3, &[0xFF; 64], 2).unwrap(), None);
        assert!(matches!(value(4, &[], 0), Err(Error::Format(e)) if e.rule() == "R3.6"));
    }

    #[test]
    fn r3_13_each_quantiser_has_its_tables() {
        let tables = |probabilities: [[u16; 4]; 3]| {
            let payload: Vec<u8> = probabilities.iter().flat_map(|table| [1].iter().chain(table)).flat_map(|n| n.to_le_bytes()).collect();
            Tables::parse(&payload, 1).unwrap()
        };
        let tables = tables([[16384, 32768, 16000, 384], [32768, 16384, 16000, 384], [16000, 384, 32768, 16384]]);
        let values = Quantiser::ALL.map(|quantiser| {
            // A state of 16384, of which the value that the quantiser's table has there is decoded.
            let mut decoder = StreamDecoder::new(TileCode { skip_below: 0, stream: &[0, 0x40, 0, 0] }, &tables).unwrap();
            decoder.value(quantiser, 0).unwrap()
        });
        assert_eq!(values, [Some(0), Some(-1), Some(1)]);
    }
}
