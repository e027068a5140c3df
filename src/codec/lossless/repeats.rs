//! Whole pixels that repeat others, in graphics (R5.19).

use super::bits::Bits;
use super::context::{Colour, N, NE, NN, NW, W, WW};
use crate::Result;
use crate::picture::try_filled;

/// The probability of 1 of a decision about a whole pixel (R5.19), in units of 1/65536.
#[derive(Clone, Copy)]
struct Chance(u16);

impl Chance {
    #[inline]
    fn code(&mut self, bits: &mut impl Bits, given: bool) -> Result<bool> {
        let bit = bits.bit(self.0.into(), given)?;
        if bit {
            self.0 += (65520 - self.0) >> 5
        } else {
            self.0 -= (self.0 - 16) >> 5
        }
        Ok(bit)
    }
}

/// A colour that followed a context (R5.19).
#[derive(Clone, Copy)]
struct Seen {
    colour: Colour,
    check: u16,
    /// How often it was right. 0: nothing has been seen.
    count: u8,
}

impl Seen {
    fn learn(&mut self, check: u16, colour: Colour) {
        if self.count == 0 || self.check != check {
            *self = Self { colour, check, count: 1 };
        } else if self.colour == colour {
            self.count = (self.count + 1).min(15);
        } else if self.count > 2 {
            self.count /= 2;
        } else {
            (self.colour, self.count) = (colour, 1);
        }
    }
}

/// R5.19.
fn hash(colours: &[Colour]) -> u32 {
    const FACTORS: [u32; 3] = [0x9E37_79B1, 0x85EB_CA6B, 0xC2B2_AE35];
    colours.iter().fold(0, |h, colour| {
        let folded = colour.iter().zip(FACTORS).fold(0, |f, (v, factor)| f ^ (*v as u32).wrapping_mul(factor));
        let h = (h ^ folded).wrapping_mul(FACTORS[0]);
        h ^ h >> 15
    })
}

/// Entries of a table, which the upper 14 bits of a hash choose from.
const SLOTS: usize = 1 << 14;

/// What has been learnt of whole pixels, for graphics.
pub(super) struct Repeats {
    /// By six neighbours, and by two.
    seen: [Vec<Seen>; 2],
    by_seen: Vec<Chance>,
    by_neighbour: Vec<Chance>,
    /// Whether the last pixels were repeats, the last in the lowest bit.
    history: usize,
}

impl Repeats {
    pub(super) const BYTES: u64 = 2 * (SLOTS * size_of::<Seen>()) as u64;

    pub(super) fn new() -> Result<Self> {
        let nothing = Seen { colour: [0; 3], check: 0, count: 0 };
        Ok(Self {
            seen: [try_filled(SLOTS, nothing)?, try_filled(SLOTS, nothing)?],
            by_seen: try_filled(2 * 16 * 8 * 4, Chance(1 << 15))?,
            by_neighbour: try_filled(4 * 32 * 4, Chance(1 << 15))?,
            history: 0,
        })
    }

    /// R5.19: the pixel's colour if it is one of those that are tried, and how many were.
    pub(super) fn code(&mut self, bits: &mut impl Bits, around: &[Colour; 6], given: Colour) -> Result<(Option<Colour>, usize)> {
        let same = |a: usize, b: usize| usize::from(around[a] == around[b]);
        let flat = same(W, N) + 2 * same(W, NW) + 4 * same(N, NE);
        let pattern = flat + 8 * same(W, WW) + 16 * same(N, NN);
        let history = self.history & 3;
        let hashes = [hash(around), hash(&around[..2])];
        let mut tried = [[0; 3]; 6];
        let mut count = 0;
        let mut found = None;
        for (level, hash) in hashes.into_iter().enumerate() {
            let seen = self.seen[level][(hash >> 18) as usize];
            if found.is_some() || seen.count == 0 || seen.check != hash as u16 || tried[..count].contains(&seen.colour) {
                continue;
            }
            let chance = &mut self.by_seen[((level * 16 + usize::from(seen.count)) * 8 + flat) * 4 + history];
            if chance.code(bits, seen.colour == given)? {
                found = Some(seen.colour);
            }
            tried[count] = seen.colour;
            count += 1;
        }
        for (place, neighbour) in [W, N, NE, NW].into_iter().enumerate() {
            let colour = around[neighbour];
            if found.is_some() || tried[..count].contains(&colour) {
                continue;
            }
            if self.by_neighbour[(place * 32 + pattern) * 4 + history].code(bits, colour == given)? {
                found = Some(colour);
            }
            tried[count] = colour;
            count += 1;
        }
        self.history = self.history << 1 | usize::from(found.is_some());
        Ok((found, count))
    }

    pub(super) fn learn(&mut self, around: &[Colour; 6], colour: Colour) {
        for (seen, hash) in self.seen.iter_mut().zip([hash(around), hash(&around[..2])]) {
            seen[(hash >> 18) as usize].learn(hash as u16, colour);
        }
    }
}
