//! The model's tables (SPEC 4.2).

use std::num::NonZeroU32;

use constriction::stream::model::{ContiguousCategoricalEntropyModel, DecoderModel, EntropyModel};

use super::trellis::Quantiser;
use crate::net::Reader;
use crate::{Error, Result};

/// Bits of precision of every probability.
pub(crate) const PRECISION: usize = 16;

/// A table as the coder takes it.
pub(crate) type Distribution = ContiguousCategoricalEntropyModel<u32, Vec<u32>, PRECISION>;

/// Probabilities of the values `-range ..= range` and of the escape.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) range: i32,
    /// For encoding.
    pub(crate) distribution: Distribution,
    /// For decoding: the same table, searched faster.
    pub(crate) lookup: Lookup,
}

/// A table that finds symbols from a first guess: for each of 256 parts of the range of cumulative probabilities, the symbol at its start.
#[derive(Debug)]
pub(crate) struct Lookup {
    /// `cum` of R3.2.
    cumulative: Vec<u32>,
    first: [u16; 1 << GUESS_BITS],
}

/// Bits of a cumulative probability that choose the first guess.
const GUESS_BITS: usize = 8;

impl Lookup {
    /// `probabilities` are above zero and add up to 2^16.
    fn new(probabilities: &[u32]) -> Self {
        let sums = probabilities.iter().scan(0, |sum, p| {
            *sum += p;
            Some(*sum)
        });
        let cumulative: Vec<u32> = std::iter::once(0).chain(sums).collect();
        let first = std::array::from_fn(|part| (cumulative.partition_point(|c| *c <= (part as u32) << (PRECISION - GUESS_BITS)) - 1) as u16);
        Self { cumulative, first }
    }

    /// In units of 1/65536; 0 for a symbol that the table does not have.
    pub(super) fn probability(&self, symbol: usize) -> u32 {
        self.cumulative.get(symbol..symbol + 2).map_or(0, |ends| ends[1] - ends[0])
    }
}

impl EntropyModel<PRECISION> for Lookup {
    type Symbol = usize;
    type Probability = u32;
}

impl DecoderModel<PRECISION> for Lookup {
    #[inline]
    fn quantile_function(&self, quantile: u32) -> (usize, u32, NonZeroU32) {
        let mut symbol = usize::from(self.first[(quantile >> (PRECISION - GUESS_BITS)) as usize]);
        // Ends: a quantile is below 2^16, the last of the cumulative probabilities.
        while self.cumulative[symbol + 1] <= quantile {
            symbol += 1;
        }
        let left = self.cumulative[symbol];
        (symbol, left, NonZeroU32::new(self.cumulative[symbol + 1] - left).unwrap_or(NonZeroU32::MIN))
    }
}

/// For each [`Quantiser`] one table for each scale index.
#[derive(Debug)]
pub(crate) struct Tables {
    tables: Vec<Table>,
    scales: usize,
}

impl Tables {
    pub(crate) fn parse(payload: &[u8], scales: u8) -> Result<Self> {
        let invalid = |what: &str| Error::Model(format!("the model is not valid: {what}"));
        let mut r = Reader::new(payload);
        let scales = usize::from(scales);
        let mut tables = Vec::with_capacity(Quantiser::ALL.len() * scales);
        for _ in 0..Quantiser::ALL.len() * scales {
            let range = r.u16()?;
            if !(1..=8191).contains(&range) {
                return Err(invalid("the range of a table"));
            }
            let probabilities: Vec<u32> = r.u16s(2 * usize::from(range) + 2)?.into_iter().map(u32::from).collect();
            if probabilities.contains(&0) || probabilities.iter().sum::<u32>() != 1 << PRECISION {
                return Err(invalid("a table's probabilities"));
            }
            let distribution = Distribution::from_nonzero_fixed_point_probabilities(&probabilities, false).map_err(|()| invalid("a table"))?;
            tables.push(Table { range: range.into(), distribution, lookup: Lookup::new(&probabilities) });
        }
        r.finish()?;
        Ok(Self { tables, scales })
    }

    /// Tables of these probabilities, the same for each quantiser.
    #[cfg(test)]
    pub(crate) fn of(tables: &[&[u16]]) -> Self {
        let mut payload = Vec::new();
        for probabilities in Quantiser::ALL.iter().flat_map(|_| tables) {
            payload.extend(((probabilities.len() as u16 - 2) / 2).to_le_bytes());
            payload.extend(probabilities.iter().flat_map(|p| p.to_le_bytes()));
        }
        Self::parse(&payload, tables.len() as u8).unwrap()
    }

    /// The table for a scale index; there is one for each index below the number of scales.
    #[inline]
    pub(crate) fn get(&self, quantiser: Quantiser, index: u8) -> Option<&Table> {
        self.of_quantiser(quantiser).get(usize::from(index))
    }

    /// All tables of a quantiser, from scale index 0.
    #[inline]
    pub(crate) fn of_quantiser(&self, quantiser: Quantiser) -> &[Table] {
        &self.tables[quantiser as usize * self.scales..][..self.scales]
    }

    /// Number of scale indices.
    pub(crate) fn scales(&self) -> usize {
        self.scales
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r3_2_lookup_finds_what_the_plain_table_finds() {
        for probabilities in [vec![1, 1, 65533, 1], vec![16384; 4], (0..255).map(|_| 256).chain([255, 1]).collect(), vec![1; 65536]] {
            let lookup = Lookup::new(&probabilities);
            let plain = Distribution::from_nonzero_fixed_point_probabilities(&probabilities, false).unwrap();
            for quantile in 0..1 << PRECISION {
                assert_eq!(lookup.quantile_function(quantile), plain.quantile_function(quantile));
            }
        }
    }
}
