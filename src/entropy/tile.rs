//! The symbols of a tile in their order (SPEC 3.3), encoder and decoder side by side.

use super::coder::{StreamDecoder, Symbols};
use super::trellis::{Code, Quantiser, State, Trellis};
use crate::net::{Analysis, EntropyNet, Header, Model, Parameters, Synthesis, Tensor, phase_group, sat16, stages::Engine};
use crate::{Error, Result};

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

/// How all tiles of a file are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coding {
    /// Index of the quality.
    pub(crate) quality: u8,
    pub(crate) code: Code,
}

#[cfg(test)]
impl Coding {
    /// With the first code.
    pub(crate) fn of(quality: u8) -> Self {
        Self { quality, code: Code::default() }
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

/// What a step of R3.8 codes, in its order.
pub(crate) struct Step<'a> {
    number: usize,
    header: &'a Header,
    shape: TileShape,
    parameters: &'a Parameters,
}

impl<'a> Step<'a> {
    pub(crate) fn new(number: usize, header: &'a Header, shape: TileShape, parameters: &'a Parameters) -> Self {
        Self { number, header, shape, parameters }
    }

    /// The channel group of each position: where it begins, in `[rows][columns][m]`, and its means and scale indices (R5.15).
    #[inline]
    fn groups(&self) -> impl Iterator<Item = (usize, impl Iterator<Item = (i16, u8)> + use<'a>)> + use<'a> {
        let (header, parameters, number, columns) = (self.header, self.parameters, self.number, self.shape.columns);
        let (half, highest) = (1 << (header.index_shift - 1), i32::from(header.scales) - 1);
        (0..self.shape.rows).flat_map(move |row| (0..columns).map(move |column| (row, column))).map(move |(row, column)| {
            let first = (row * columns + column) * header.m + phase_group(number, row, column) * (header.m / 4);
            let (means, raws) = parameters.at(row, column);
            let index = move |raw: i16| (((i32::from(raw) + half) >> header.index_shift) + header.index_offset).clamp(0, highest) as u8;
            (first, means.iter().zip(raws).map(move |(mean, raw)| (*mean, index(*raw))))
        })
    }

    /// Where each value is, in `[rows][columns][m]`, its mean and its scale index.
    #[inline]
    pub(crate) fn values(&self) -> impl Iterator<Item = (usize, i16, u8)> + use<'a> {
        self.groups().flat_map(|(first, group)| group.enumerate().map(move |(k, (mean, index))| (first + k, mean, index)))
    }

    /// What an encoder codes of latents `y`, in units of `2^-y_input_fraction`: the symbols of all values that are not skipped, in their order.
    pub(crate) fn symbols(&self, y: &[i32], y_input_fraction: u32, skip_below: u8, trellis: &Trellis<'_>, engine: &Engine) -> Result<Vec<(i32, u8)>> {
        let finer = y_input_fraction - self.header.y_fraction;
        let mut values = Vec::new();
        values.try_reserve_exact(y.len() / 4).map_err(|_| Error::Limits("there is no memory for the values of a tile".into()))?;
        let coded = self.values().filter(|(_, _, index)| *index >= skip_below);
        values.extend(coded.map(|(at, mean, index)| (y[at] - (i32::from(mean) << finer), index)));
        trellis.choose(engine.kernel, &mut values)?;
        Ok(values)
    }
}

/// One direction of [`steps`].
trait Direction {
    /// Before the values of a step.
    fn begin(&mut self, step: &Step<'_>) -> Result<()>;

    /// The symbol of the value at a place in `[rows][columns][m]`, and its quantiser; `None` if it is skipped.
    fn symbol(&mut self, at: usize, mean: i16, index: u8) -> Result<Option<(i32, Quantiser)>>;

    /// Takes all latents of a position's channel group, in units of `2^-y_fraction`, and the place of the first.
    fn done(&mut self, at: usize, latents: &[i32]);
}

/// The four steps of R3.8, the same for both directions.
fn steps(net: &EntropyNet, engine: &Engine, model: &Model, shape: TileShape, z: Tensor, direction: &mut impl Direction) -> Result<()> {
    let header = model.header();
    let features = net.hyper(engine, z)?;
    let mut context = Tensor::zeros(shape.rows, shape.columns, header.m)?;
    let mut latents = vec![0; header.m / 4];
    for number in 0..4 {
        let parameters: Parameters = net.step(engine, number, &features, &context)?;
        let step = Step::new(number, header, shape, &parameters);
        direction.begin(&step)?;
        for (first, group) in step.groups() {
            let context = &mut context.data_mut()[first..first + latents.len()];
            for ((k, (mean, index)), (latent, context)) in group.enumerate().zip(latents.iter_mut().zip(context)) {
                // R3.9
                let value = direction.symbol(first + k, mean, index)?.map_or(0, |(symbol, quantiser)| quantiser.halves(symbol) * header.y_half_step);
                *latent = value + i32::from(mean);
                *context = sat16((*latent).into());
            }
            direction.done(first, &latents);
        }
        parameters.recycle(engine);
    }
    engine.recycle(features);
    Ok(())
}

/// R3.7: z of a tile, as the hyper-synthesis takes it.
pub(crate) fn decode_hyper(decoder: &mut StreamDecoder<'_>, model: &Model, engine: &Engine, quality: u8, shape: TileShape) -> Result<Tensor> {
    let z_shift = model.header().z_shift;
    let value = |_: usize, index: u8, mean: i16| Ok((decoder.value(Quantiser::Hyper, index)?.unwrap_or(0) << z_shift) + i32::from(mean));
    hyper_steps(model.entropy()?, engine, model, quality, shape.hyper(), value)
}

/// A tile's stream to the features that synthesis takes (R3.7 to R3.9, R3.13 and the gain of R5.9): `[rows][columns][m]`.
pub(crate) fn decode_tile(tile: TileCode<'_>, model: &Model, engine: &Engine, coding: Coding, shape: TileShape) -> Result<Tensor> {
    let (net, synthesis, m) = (model.entropy()?, model.synthesis()?, model.header().m);
    let mut stream = StreamDecoder::new(tile, model.tables())?;
    let z = decode_hyper(&mut stream, model, engine, coding.quality, shape)?;
    let mut features = Tensor::zeros(shape.rows, shape.columns, m)?;
    let mut decoding = Decoding { stream, state: State::first(coding.code), coding, synthesis, m, features: features.data_mut() };
    steps(net, engine, model, shape, z, &mut decoding)?;
    decoding.stream.finish()?;
    Ok(features)
}

/// From a stream to features.
struct Decoding<'a> {
    stream: StreamDecoder<'a>,
    state: State,
    coding: Coding,
    synthesis: &'a Synthesis,
    m: usize,
    features: &'a mut [i16],
}

impl Direction for Decoding<'_> {
    fn begin(&mut self, _: &Step<'_>) -> Result<()> {
        self.state = State::first(self.coding.code);
        Ok(())
    }

    #[inline]
    fn symbol(&mut self, _: usize, _: i16, index: u8) -> Result<Option<(i32, Quantiser)>> {
        let quantiser = self.state.quantiser();
        Ok(self.stream.value(quantiser, index)?.map(|symbol| {
            self.state = self.state.next(symbol);
            (symbol, quantiser)
        }))
    }

    #[inline]
    fn done(&mut self, at: usize, latents: &[i32]) {
        let out = &mut self.features[at..at + latents.len()];
        self.synthesis.gain(self.coding.quality, at % self.m, latents).zip(out).for_each(|(x, out)| *out = x);
    }
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
    coding: Coding,
    shape: TileShape,
    skip_below: Option<u8>,
) -> Result<CodedTile> {
    let z = hyper_latents(y, model, analysis, engine, shape)?;
    encode_tile_under(y, &z, model, engine, coding, shape, skip_below)
}

/// As [`encode_tile`], with hyper-latents that are chosen already, in units of `2^-z_shift`.
pub(crate) fn encode_tile_under(
    y: &[i32],
    z: &[i32],
    model: &Model,
    engine: &Engine,
    coding: Coding,
    shape: TileShape,
    skip_below: Option<u8>,
) -> Result<CodedTile> {
    if let Some(skip_below) = skip_below {
        let (symbols, _) = code_tile(y, z, model, engine, coding, shape, skip_below)?;
        return Ok(CodedTile { skip_below, stream: symbols.into_stream(model.tables())? });
    }
    let skip_below = model.encoder()?.skip_below;
    let (symbols, skipped) = code_tile(y, z, model, engine, coding, shape, skip_below)?;
    if !skipped.is_too_much() {
        return Ok(CodedTile { skip_below, stream: symbols.into_stream(model.tables())? });
    }
    drop(symbols);
    let (symbols, _) = code_tile(y, z, model, engine, coding, shape, 0)?;
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
fn code_tile(y: &[i32], z: &[i32], model: &Model, engine: &Engine, coding: Coding, shape: TileShape, skip_below: u8) -> Result<(Symbols, Skipped)> {
    let (net, header, y_fraction) = (model.entropy()?, model.header(), model.encoder()?.y_input_fraction);
    let mut symbols = Symbols::with_capacity(y.len() + z.len())?;
    let mut skipped = Skipped::default();
    let z_shift = header.z_shift;
    let z_hat = hyper_steps(net, engine, model, coding.quality, shape.hyper(), |at, index, mean| {
        let symbol = nearest(z[at] - i32::from(mean), z_shift);
        let symbol = if index < skip_below { skipped.add(symbol) } else { symbols.push(symbol, Quantiser::Hyper, index) };
        Ok((symbol << z_shift) + i32::from(mean))
    })?;
    let trellis = Trellis::new(model, coding.code)?;
    let mut encoding = Encoding {
        y,
        y_fraction,
        finer: y_fraction - header.y_fraction,
        skip_below,
        trellis,
        engine,
        chosen: Vec::new().into_iter(),
        code: coding.code,
        state: State::first(coding.code),
        symbols,
        skipped,
    };
    steps(net, engine, model, shape, z_hat, &mut encoding)?;
    Ok((encoding.symbols, encoding.skipped))
}

/// From latents to symbols.
struct Encoding<'a> {
    /// In units of `2^-y_fraction`; these are finer than the model's by `finer` bits.
    y: &'a [i32],
    y_fraction: u32,
    finer: u32,
    skip_below: u8,
    trellis: Trellis<'a>,
    engine: &'a Engine,
    /// Those of the step that are left.
    chosen: std::vec::IntoIter<(i32, u8)>,
    code: Code,
    state: State,
    symbols: Symbols,
    skipped: Skipped,
}

impl Direction for Encoding<'_> {
    fn begin(&mut self, step: &Step<'_>) -> Result<()> {
        self.chosen = step.symbols(self.y, self.y_fraction, self.skip_below, &self.trellis, self.engine)?.into_iter();
        self.state = State::first(self.code);
        Ok(())
    }

    #[inline]
    fn symbol(&mut self, at: usize, mean: i16, index: u8) -> Result<Option<(i32, Quantiser)>> {
        if index < self.skip_below {
            self.skipped.add(nearest(self.y[at] - (i32::from(mean) << self.finer), self.y_fraction));
            return Ok(None);
        }
        let (symbol, quantiser) = (self.chosen.next().map_or(0, |(symbol, _)| symbol), self.state.quantiser());
        let symbol = self.symbols.push(symbol, quantiser, index);
        self.state = self.state.next(symbol);
        Ok(Some((symbol, quantiser)))
    }

    fn done(&mut self, _: usize, _: &[i32]) {}
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
