//! The symbols of a tile in their order (SPEC 3.3), encoder and decoder side by side.

use super::coder::{StreamDecoder, Symbols};
use super::rounding::Rounding;
use crate::Result;
use crate::net::{Analysis, EntropyNet, Model, Parameters, Tensor, phase_group, sat16, stages::Engine};

/// Size of a tile in latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TileShape {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl TileShape {
    fn hyper(self) -> (usize, usize) {
        (self.rows / 4, self.columns / 4)
    }
}

/// A tile's coded data, as the file has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TileCode<'a> {
    /// Values whose scale index is below this are not coded (R3.6).
    pub(crate) skip_below: u8,
    /// The words of the entropy coder (section 3.1).
    pub(crate) stream: &'a [u8],
}

/// What [`encode_tile`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CodedTile {
    pub(crate) skip_below: u8,
    pub(crate) stream: Vec<u8>,
}

impl CodedTile {
    #[cfg(test)]
    pub(crate) fn code(&self) -> TileCode<'_> {
        TileCode { skip_below: self.skip_below, stream: &self.stream }
    }
}

/// The four steps of z (R3.7), the same for both directions: `code` gets the place of a number in `[rows][columns][nz]`, its scale index and its mean, and gives
/// z in units of `2^-z_shift`. What comes out is the input of the hyper-synthesis.
pub(crate) fn hyper_steps(
    net: &EntropyNet,
    engine: &Engine,
    model: &Model,
    quality: u8,
    (rows, columns): (usize, usize),
    mut code: impl FnMut(usize, u8, i16) -> Result<i32>,
) -> Result<Tensor> {
    let header = model.header();
    let (indices, group_len) = (model.z_index(quality), header.nz / 4);
    let (half, highest) = (1 << (header.index_shift - 1), i32::from(header.scales) - 1);
    let mut context = Tensor::zeros(rows, columns, header.nz)?;
    for step in 0..4 {
        let parameters = if step == 0 { None } else { Some(net.hyper_step(engine, step, &context)?) };
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let first = phase_group(step, row, column) * group_len;
            let here = (row * columns + column) * header.nz + first;
            let numbers = parameters.as_ref().map(|x| x.row(row)[column * x.channels()..][..x.channels()].split_at(header.nz));
            for (k, index) in indices[first..first + group_len].iter().enumerate() {
                // R5.17
                let (mean, raw) = numbers.map_or((0, 0), |(means, raws)| (means[first + k], raws[first + k]));
                let index = (i32::from(*index) + ((i32::from(raw) + half) >> header.index_shift)).clamp(0, highest);
                context.data_mut()[here + k] = sat16(code(here + k, index as u8, mean)?.into());
            }
        }
        if let Some(parameters) = parameters {
            engine.recycle(parameters);
        }
    }
    Ok(context)
}

/// The four steps of R3.8, the same for both directions: `code` gets what the network says and gives the latent of each channel, in units of
/// `2^-y_fraction`; `done` takes all latents of a position's channel group.
fn steps(
    net: &EntropyNet,
    engine: &Engine,
    model: &Model,
    shape: TileShape,
    z: Tensor,
    mut code: impl FnMut(Place, u8, i16) -> Result<i32>,
    mut done: impl FnMut(Place, &[i32]),
) -> Result<()> {
    let header = model.header();
    let group_len = header.m / 4;
    let features = net.hyper(engine, z)?;
    let mut context = Tensor::zeros(shape.rows, shape.columns, header.m)?;
    let mut latents = vec![0; group_len];
    let (half, highest) = (1 << (header.index_shift - 1), i32::from(header.scales) - 1);
    for step in 0..4 {
        let parameters: Parameters = net.step(engine, step, &features, &context)?;
        let mut positions = context.data_mut().chunks_exact_mut(header.m);
        for row in 0..shape.rows {
            for (column, context) in (0..shape.columns).zip(&mut positions) {
                let first = phase_group(step, row, column) * group_len;
                let (means, raws) = parameters.at(row, column);
                let context = &mut context[first..first + group_len];
                for (k, (((latent, context), mean), raw)) in latents.iter_mut().zip(context).zip(means).zip(raws).enumerate() {
                    // R5.15
                    let index = (((i32::from(*raw) + half) >> header.index_shift) + header.index_offset).clamp(0, highest);
                    *latent = code(Place { row, column, channel: first + k }, index as u8, *mean)?;
                    *context = sat16((*latent).into());
                }
                done(Place { row, column, channel: first }, &latents);
            }
        }
        parameters.recycle(engine);
    }
    engine.recycle(features);
    Ok(())
}

/// Where a latent is in its tile.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    column: usize,
    channel: usize,
}

/// R3.7: z of a tile, as the hyper-synthesis takes it.
pub(crate) fn decode_hyper(decoder: &mut StreamDecoder<'_>, model: &Model, engine: &Engine, quality: u8, shape: TileShape) -> Result<Tensor> {
    let z_shift = model.header().z_shift;
    let value = |_: usize, index: u8, mean: i16| Ok((decoder.value(index)? << z_shift) + i32::from(mean));
    hyper_steps(model.entropy()?, engine, model, quality, shape.hyper(), value)
}

/// A tile's stream to the features that synthesis takes (R3.7 to R3.9 and the gain of R5.9): `[rows][columns][m]`.
pub(crate) fn decode_tile(code: TileCode<'_>, model: &Model, engine: &Engine, quality: u8, shape: TileShape) -> Result<Tensor> {
    let (net, synthesis, header) = (model.entropy()?, model.synthesis()?, model.header());
    let mut decoder = StreamDecoder::new(code, model.tables())?;
    let z = decode_hyper(&mut decoder, model, engine, quality, shape)?;
    let mut features = Tensor::zeros(shape.rows, shape.columns, header.m)?;
    let (columns, m, y_fraction) = (shape.columns, header.m, header.y_fraction);
    let out = features.data_mut();
    let value = |_: Place, index: u8, mean: i16| Ok((decoder.value(index)? << y_fraction) + i32::from(mean));
    steps(net, engine, model, shape, z, value, |place, latents| {
        let out = &mut out[(place.row * columns + place.column) * m + place.channel..][..latents.len()];
        synthesis.gain(quality, place.channel, latents).zip(out).for_each(|(x, out)| *out = x);
    })?;
    decoder.finish()?;
    Ok(features)
}

/// A tile's latents, `[rows][columns][m]` in units of `2^-y_input_fraction`, to its stream (SPEC 6).
///
/// `skip_below` is the threshold of R3.6. If there is none, it is the model's, unless leaving out what that says would cost more than it saves, which happens in
/// pictures unlike any photograph: then all is coded.
pub(crate) fn encode_tile(
    y: &[i32],
    model: &Model,
    analysis: &Analysis,
    engine: &Engine,
    quality: u8,
    shape: TileShape,
    skip_below: Option<u8>,
) -> Result<CodedTile> {
    let z = hyper_latents(y, model, analysis, engine, shape)?;
    encode_tile_under(y, &z, model, engine, quality, shape, skip_below)
}

/// As [`encode_tile`], with hyper-latents that are chosen already, in units of `2^-z_shift`.
pub(crate) fn encode_tile_under(
    y: &[i32],
    z: &[i32],
    model: &Model,
    engine: &Engine,
    quality: u8,
    shape: TileShape,
    skip_below: Option<u8>,
) -> Result<CodedTile> {
    if let Some(skip_below) = skip_below {
        let (symbols, _) = code_tile(y, z, model, engine, quality, shape, skip_below)?;
        return Ok(CodedTile { skip_below, stream: symbols.into_stream(model.tables())? });
    }
    let skip_below = model.encoder()?.skip_below;
    let (symbols, skipped) = code_tile(y, z, model, engine, quality, shape, skip_below)?;
    if !skipped.is_too_much() {
        return Ok(CodedTile { skip_below, stream: symbols.into_stream(model.tables())? });
    }
    drop(symbols);
    let (symbols, _) = code_tile(y, z, model, engine, quality, shape, 0)?;
    Ok(CodedTile { skip_below: 0, stream: symbols.into_stream(model.tables())? })
}

/// What an encoder has left out of a tile.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    count: u64,
    /// Sum of the squares of the symbols beyond +-1.
    squares: u64,
}

impl Skipped {
    /// Counts a symbol that is not coded, and gives back what the decoder takes it for.
    pub(crate) fn add(&mut self, symbol: i32) -> i32 {
        self.count += 1;
        if symbol.unsigned_abs() >= 2 {
            self.squares = self.squares.saturating_add(u64::from(symbol.unsigned_abs()).pow(2));
        }
        0
    }

    /// At high rates one bit is worth about 0.1155 squared quantisation steps, and a skipped value saves about 0.005 bits: 0.0006 squares. A lone +-1 costs
    /// more bits than it is worth.
    pub(crate) fn is_too_much(&self) -> bool {
        self.squares.saturating_mul(1000) > self.count
    }
}

/// The symbols of a tile under a threshold, and what it left out.
fn code_tile(y: &[i32], z: &[i32], model: &Model, engine: &Engine, quality: u8, shape: TileShape, skip_below: u8) -> Result<(Symbols, Skipped)> {
    let (net, header) = (model.entropy()?, model.header());
    let mut symbols = Symbols::with_capacity(y.len() + z.len())?;
    let mut skipped = Skipped::default();
    let z_shift = header.z_shift;
    let z_hat = hyper_steps(net, engine, model, quality, shape.hyper(), |at, index, mean| {
        let symbol = nearest(z[at] - i32::from(mean), z_shift);
        let symbol = if index < skip_below { skipped.add(symbol) } else { symbols.push(symbol, index) };
        Ok((symbol << z_shift) + i32::from(mean))
    })?;
    let (columns, m) = (shape.columns, header.m);
    let y_fraction = model.encoder()?.y_input_fraction;
    let finer = y_fraction - header.y_fraction;
    let rounding = Rounding::new(model.tables(), y_fraction);
    let code = |place: Place, index: u8, mean: i16| {
        let y = y[(place.row * columns + place.column) * m + place.channel];
        let residual = y - (i32::from(mean) << finer);
        let symbol = if index < skip_below { skipped.add(rounding.nearest(residual)) } else { symbols.push(rounding.value(residual, index), index) };
        Ok((symbol << header.y_fraction) + i32::from(mean))
    };
    steps(net, engine, model, shape, z_hat, code, |_, _| ())?;
    Ok((symbols, skipped))
}

/// `x / 2^shift`, rounded.
pub(crate) fn nearest(x: i32, shift: u32) -> i32 {
    (x + (1 << shift >> 1)) >> shift
}

/// z of a tile, not rounded, in units of `2^-z_shift`.
pub(crate) fn hyper_latents(y: &[i32], model: &Model, analysis: &Analysis, engine: &Engine, shape: TileShape) -> Result<Vec<i32>> {
    let header = model.header();
    let mut input = engine.tensor(shape.rows, shape.columns, header.m)?;
    let finer = model.encoder()?.y_input_fraction - header.y_fraction;
    input.data_mut().iter_mut().zip(y).for_each(|(x, y)| *x = sat16(nearest(*y, finer).into()));
    let v = analysis.hyper(engine, input)?;
    let z = v.data().iter().map(|v| (*v).into()).collect();
    engine.recycle(v);
    Ok(z)
}
