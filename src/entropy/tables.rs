//! The model's tables (SPEC 4.2).

use constriction::stream::model::ContiguousCategoricalEntropyModel;

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
    pub(crate) distribution: Distribution,
}

/// One table for each scale index.
#[derive(Debug)]
pub(crate) struct Tables {
    tables: Vec<Table>,
    skip_below: u8,
}

impl Tables {
    pub(crate) fn parse(payload: &[u8], scales: u8, skip_below: u8) -> Result<Self> {
        let invalid = |what: &str| Error::Model(format!("the model is not valid: {what}"));
        let mut r = Reader::new(payload);
        let mut tables = Vec::with_capacity(scales.into());
        for _ in 0..scales {
            let range = r.u16()?;
            if !(1..=8191).contains(&range) {
                return Err(invalid("the range of a table"));
            }
            let probabilities: Vec<u32> = r.u16s(2 * usize::from(range) + 2)?.into_iter().map(u32::from).collect();
            if probabilities.contains(&0) || probabilities.iter().sum::<u32>() != 1 << PRECISION {
                return Err(invalid("a table's probabilities"));
            }
            let distribution = Distribution::from_nonzero_fixed_point_probabilities(&probabilities, false).map_err(|()| invalid("a table"))?;
            tables.push(Table { range: range.into(), distribution });
        }
        r.finish()?;
        Ok(Self { tables, skip_below })
    }

    /// The table for a scale index, or none if values of that index are not coded (R3.6). `index` is below the number of scales.
    #[inline]
    pub(crate) fn get(&self, index: u8) -> Option<&Table> {
        if index < self.skip_below { None } else { self.tables.get(usize::from(index)) }
    }
}
