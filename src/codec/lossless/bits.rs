//! Single bits under probabilities, over constriction's range coder (SPEC 3.4), and probabilities that learn (SPEC 5.6).

use byteorder::{ByteOrder, LittleEndian};
use constriction::stream::Encode;
use constriction::stream::model::{EncoderModel, EntropyModel};
use constriction::stream::queue::DefaultRangeEncoder;
use std::num::NonZeroU32;

use crate::{Error, Result};

/// Probabilities are in units of `2^-PRECISION`.
const PRECISION: usize = 16;

/// Where bits go to, or come from.
pub(super) trait Bits {
    /// Codes a bit that is 1 with the probability `one / 65536`, `1 <= one <= 65535`. Gives the bit; a reader does not look at `given`.
    fn bit(&mut self, one: u32, given: bool) -> Result<bool>;

    /// Called behind the bits of each row.
    fn end_row(&mut self) {}
}

/// The two symbols 0 and 1.
#[derive(Clone, Copy)]
struct Bit {
    one: u32,
}

impl EntropyModel<PRECISION> for Bit {
    type Symbol = bool;
    type Probability = u32;
}

impl Bit {
    /// Cumulative probability and probability of a symbol.
    fn part(self, bit: bool) -> (u32, NonZeroU32) {
        let zero = (1 << PRECISION) - self.one;
        let (left, probability) = if bit { (zero, self.one) } else { (0, zero) };
        (left, NonZeroU32::new(probability).unwrap_or(NonZeroU32::MIN))
    }
}

impl EncoderModel<PRECISION> for Bit {
    fn left_cumulative_and_probability(&self, symbol: impl std::borrow::Borrow<bool>) -> Option<(u32, NonZeroU32)> {
        Some(self.part(*symbol.borrow()))
    }
}

/// Writes bits.
#[derive(Default)]
pub(super) struct Writer(DefaultRangeEncoder);

impl Bits for Writer {
    #[inline]
    fn bit(&mut self, one: u32, given: bool) -> Result<bool> {
        self.0.encode_symbol(given, Bit { one }).map_err(|e| Error::Parameter(format!("a bit has no code: {e}")))?;
        Ok(given)
    }
}

impl Writer {
    /// The words of the stream, as bytes.
    pub(super) fn finish(self) -> Vec<u8> {
        let words = self.0.into_compressed().unwrap_or_else(|never| match never {});
        let mut bytes = vec![0; words.len() * 4];
        LittleEndian::write_u32_into(&words, &mut bytes);
        bytes
    }
}

/// Reads bits: constriction's `DefaultRangeDecoder` for two symbols, which need no division.
pub(super) struct Reader {
    words: std::vec::IntoIter<u32>,
    /// How far the number that the words are is above the beginning of the range.
    offset: u64,
    range: u64,
}

impl Reader {
    /// R3.10, of a stream of whole words.
    pub(super) fn new(stream: &[u8]) -> Self {
        let words: Vec<u32> = stream.chunks_exact(4).map(LittleEndian::read_u32).collect();
        let mut reader = Self { words: words.into_iter(), offset: 0, range: u64::MAX };
        reader.offset = reader.word() << 32 | reader.word();
        reader
    }

    /// The next word; 0 behind the last.
    fn word(&mut self) -> u64 {
        self.words.next().unwrap_or(0).into()
    }

    /// R3.12.
    pub(super) fn finish(self) -> Result<()> {
        if self.words.len() > 0 {
            return Err(Error::format("R3.12", "its coded data is damaged: something is behind its last bit"));
        }
        Ok(())
    }
}

impl Bits for Reader {
    /// R3.11.
    #[inline]
    fn bit(&mut self, one: u32, _given: bool) -> Result<bool> {
        let scale = self.range >> PRECISION;
        let zeros = scale * u64::from((1 << PRECISION) - one);
        let bit = self.offset >= zeros;
        if bit {
            self.offset -= zeros;
            self.range = scale * u64::from(one);
            if self.offset >= self.range {
                return Err(Error::format("R3.11", "its coded data is damaged"));
            }
        } else {
            self.range = zeros;
        }
        if self.range >> 32 == 0 {
            self.range <<= 32;
            self.offset = self.offset << 32 | self.word();
        }
        Ok(bit)
    }
}

/// Adds up what bits cost.
#[derive(Default)]
pub(super) struct Cost {
    /// In units of `2^-COST_BITS` bits.
    sum: u64,
    /// The sum behind each row.
    rows: Vec<u64>,
}

impl Bits for Cost {
    #[inline]
    fn bit(&mut self, one: u32, given: bool) -> Result<bool> {
        let probability = if given { one } else { (1 << PRECISION) - one };
        self.sum += u64::from(cost(probability));
        Ok(given)
    }

    fn end_row(&mut self) {
        self.rows.push(self.sum);
    }
}

impl Cost {
    /// In bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.sum.div_ceil(8 << COST_BITS)
    }

    /// About how many bytes so many rows take, if these are some of them, `together` at a time. What the coder has to learn at first costs but once, and the first
    /// ones of those together have other rows above them than they will have: they count no more than once either.
    pub(super) fn bytes_for(&self, rows: usize, together: usize) -> u64 {
        let seen = self.rows.len();
        let each = |row: usize| self.rows[row] - if row > 0 { self.rows[row - 1] } else { 0 };
        let typical: Vec<_> = (seen / 2..seen).filter(|row| row % together >= together.min(4) / 2).map(each).collect();
        if seen >= rows || typical.is_empty() {
            return self.bytes() * rows as u64 / seen.max(1) as u64;
        }
        let more = typical.iter().sum::<u64>() / typical.len() as u64 * (rows - seen) as u64;
        (self.sum + more).div_ceil(8 << COST_BITS)
    }
}

/// Bits that a probability stands for, in units of `2^-COST_BITS`. Of a table, since what is chosen by it has to be the same on every machine, and logarithms of
/// floating-point numbers are not.
#[inline]
fn cost(probability: u32) -> u32 {
    let whole = probability.max(1).ilog2();
    // From 1 to 2 in units of 2^-31, without the one: lines from entry to entry.
    let mantissa = (probability << (31 - whole)) & (u32::MAX >> 1);
    let (entry, behind) = ((mantissa >> LINE_BITS) as usize, u64::from(mantissa & ((1 << LINE_BITS) - 1)));
    let (from, to) = (LOGARITHMS[entry], LOGARITHMS[entry + 1]);
    ((PRECISION as u32 - whole) << COST_BITS) - from - ((u64::from(to - from) * behind) >> LINE_BITS) as u32
}

/// Fine enough for what is nearly certain: `2^-16` of a bit and a half.
const COST_BITS: u32 = 24;
const ENTRY_BITS: u32 = 10;
const LINE_BITS: u32 = 31 - ENTRY_BITS;
/// Binary logarithms of numbers from 1 to 2, both included, in units of `2^-COST_BITS`.
static LOGARITHMS: [u32; (1 << ENTRY_BITS) + 1] = {
    let mut table = [1 << COST_BITS; (1 << ENTRY_BITS) + 1];
    let mut i = 0;
    while i < 1 << ENTRY_BITS {
        // In units of 2^-31; its square is 2 or more where the next bit of the logarithm is one.
        let mut mantissa = (1 << 31) + ((i as u64) << LINE_BITS);
        let mut bit = 0;
        table[i] = 0;
        while bit < COST_BITS {
            mantissa = (mantissa * mantissa) >> 31;
            let next = mantissa >> 32;
            table[i] = 2 * table[i] + next as u32;
            mantissa >>= next;
            bit += 1;
        }
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use constriction::stream::Decode as _;
    use constriction::stream::model::DecoderModel;
    use constriction::stream::queue::DefaultRangeDecoder;

    use super::*;

    impl DecoderModel<PRECISION> for Bit {
        fn quantile_function(&self, quantile: u32) -> (bool, u32, NonZeroU32) {
            let bit = quantile >= (1 << PRECISION) - self.one;
            let (left, probability) = self.part(bit);
            (bit, left, probability)
        }
    }

    #[test]
    fn costs_are_logarithms() {
        for probability in 1..1 << PRECISION {
            let exact = 16.0 - f64::from(probability).log2();
            let error = (f64::from(cost(probability)) / f64::from(1 << COST_BITS) - exact).abs();
            assert!(error < 1e-6 && error < 0.03 * exact, "{probability}: {error}");
        }
    }

    #[test]
    fn what_is_learnt_at_first_costs_once() {
        let mut cost = Cost::default();
        for row in 0..8 {
            (0..if row == 0 { 80 } else { 8 }).for_each(|_| assert!(cost.bit(32768, true).unwrap()));
            cost.end_row();
        }
        assert_eq!(cost.bytes(), 17);
        assert_eq!((cost.bytes_for(8, 8), cost.bytes_for(64, 8)), (17, 17 + 56));
    }

    fn noise(i: u32) -> u32 {
        i.wrapping_mul(2_654_435_761).rotate_left(11).wrapping_mul(2_246_822_519) >> 7
    }

    #[test]
    fn r3_11_bits_are_those_of_constriction() {
        for count in [0, 1, 2, 5, 40, 5000] {
            // Of all sizes: what is likely mostly comes.
            let one = |i| [1, 16, 300, 32768, 65000, 65535][noise(i) as usize % 6];
            let bits: Vec<(u32, bool)> = (0..count).map(|i| (one(i), noise(i + 77_777) % 65536 < one(i))).collect();
            let mut writer = Writer::default();
            bits.iter().for_each(|(one, bit)| assert_eq!(writer.bit(*one, *bit).unwrap(), *bit));
            let stream = writer.finish();
            let words: Vec<u32> = stream.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
            let (mut reader, mut theirs) = (Reader::new(&stream), DefaultRangeDecoder::from_compressed(words).unwrap());
            for (one, bit) in bits {
                assert_eq!(reader.bit(one, false).unwrap(), bit);
                assert_eq!(theirs.decode_symbol(Bit { one }).unwrap(), bit);
            }
            reader.finish().unwrap();
            let mut reader = Reader::new(&[&stream[..], &[0; 12]].concat());
            (0..count).for_each(|i| assert!([true, false].contains(&reader.bit(one(i), false).unwrap())));
            assert!(matches!(reader.finish(), Err(Error::Format(e)) if e.rule() == "R3.12"));
        }
    }

    #[test]
    fn r3_11_what_is_beyond_the_range_is_refused() {
        let refused = |one| matches!(Reader::new(&[0xFF; 8]).bit(one, false), Err(Error::Format(e)) if e.rule() == "R3.11");
        assert!([1, 32768, 65535].map(refused) == [true; 3]);
        assert!(Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0xFF, 0xFF]).bit(1, false).is_err());
        assert!(Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF]).bit(1, false).unwrap());
    }
}
