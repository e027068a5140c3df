//! The parts, opened to `benches/parts.rs`. Not part of the public interface: anything here may change at any time.

use std::sync::Arc;

use crate::entropy::{Quantiser, StreamDecoder, Symbols, TileCode, TrellisCode};
use crate::net::kernels::{Branches, Dense, Depthwise, Epilogue, Kernel, Segment, available};
use crate::net::{Engine, INPUTS, Model, Tensor};
use crate::{Error, Quality, Result};

/// Rows of a transform's input at a time, as in the codec.
const BAND: usize = 16;

/// A linear congruential generator (Knuth's constants).
fn random(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 32) as u32
}

/// Numbers of at most `bits` bits and sign.
fn numbers(len: usize, bits: u32) -> Vec<i16> {
    let mut state = 1;
    (0..len).map(|_| (random(&mut state) as i32 >> (31 - bits)) as i16).collect()
}

/// Symbols of all scales in turn, distributed as the model's tables say.
#[derive(Debug)]
pub struct EntropyCoding {
    model: Arc<Model>,
    symbols: Vec<(i32, Quantiser, u8)>,
}

impl EntropyCoding {
    /// So many symbols.
    pub fn new(count: usize) -> Result<Self> {
        let model = Model::embedded()?;
        let mut state = 1;
        // Decoding noise gives symbols with exactly the probabilities of the tables.
        let noise: Vec<u8> = (0..count * 2).flat_map(|_| (random(&mut state) | 1).to_le_bytes()).collect();
        let mut decoder = StreamDecoder::new(TileCode { skip_below: 0, stream: &noise }, model.tables())?;
        let header = model.header();
        let indices = (model.encoder()?.skip_below..header.scales).cycle();
        let quantisers = Quantiser::ALL.into_iter().cycle();
        let symbol = |(index, quantiser)| Ok((decoder.value(quantiser, index)?.unwrap_or(0), quantiser, index));
        let symbols = indices.zip(quantisers).take(count).map(symbol).collect::<Result<_>>()?;
        Ok(Self { model, symbols })
    }

    /// All symbols to a stream.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut list = Symbols::with_capacity(self.symbols.len())?;
        for (value, quantiser, index) in &self.symbols {
            list.push(*value, *quantiser, *index);
        }
        list.into_stream(self.model.tables())
    }

    /// And back.
    pub fn decode(&self, stream: &[u8]) -> Result<()> {
        let mut decoder = StreamDecoder::new(TileCode { skip_below: 0, stream }, self.model.tables())?;
        for (value, quantiser, index) in &self.symbols {
            if decoder.value(*quantiser, *index)? != Some(*value) {
                return Err(Error::Parameter("a symbol has changed".into()));
            }
        }
        decoder.finish()
    }
}

/// The networks of the embedded model, on numbers of an ordinary size.
pub struct Networks {
    model: Arc<Model>,
    quality: u8,
    /// Of the picture, in latents: 16 pixels.
    rows: usize,
    columns: usize,
}

impl Networks {
    /// For pictures of `rows` x `columns` latents (16 x 16 pixels each), multiples of 4.
    pub fn new(rows: usize, columns: usize) -> Result<Self> {
        Ok(Self { model: Model::embedded()?, quality: Quality::default().get(), rows, columns })
    }

    /// Samples to latents.
    pub fn analysis(&self) -> Result<()> {
        let engine = Engine::new(true)?;
        let mut stages = self.model.analysis()?.stages(self.quality);
        let (rows, columns) = (2 * self.rows, 2 * self.columns);
        for first in (0..rows).step_by(BAND) {
            let band = BAND.min(rows - first);
            let cells = tensor(&engine, band, columns, INPUTS, 11)?;
            engine.recycle(stages.push(&engine, cells, first + band == rows)?);
        }
        Ok(())
    }

    /// Latents to hyper-latents.
    pub fn hyper_analysis(&self) -> Result<()> {
        let engine = Engine::new(true)?;
        let y = tensor(&engine, self.rows, self.columns, self.model.header().m, 8)?;
        self.model.analysis()?.hyper(&engine, y).map(drop)
    }

    /// Hyper-latents to the parameters of all latents: the hyper-synthesis and the four steps.
    pub fn entropy(&self) -> Result<()> {
        let (engine, header, net) = (Engine::new(true)?, self.model.header(), self.model.entropy()?);
        let (rows, columns) = (self.rows / 4, self.columns / 4);
        let z = tensor(&engine, rows, columns, header.nz, 9)?;
        for step in 1..4 {
            engine.recycle(net.hyper_step(&engine, step, &z)?);
        }
        let features = net.hyper(&engine, z)?;
        let context = tensor(&engine, self.rows, self.columns, header.m, 7)?;
        for step in 0..4 {
            net.step(&engine, step, &features, &context)?.recycle(&engine);
        }
        Ok(())
    }

    /// Latents to samples.
    pub fn synthesis(&self) -> Result<()> {
        let engine = Engine::new(true)?;
        let mut stages = self.model.synthesis()?.stages(self.quality);
        for first in (0..self.rows).step_by(BAND / 2) {
            let band = (BAND / 2).min(self.rows - first);
            let y = tensor(&engine, band, self.columns, self.model.header().m, 8)?;
            engine.recycle(stages.push(&engine, y, first + band == self.rows)?);
        }
        Ok(())
    }
}

fn tensor(engine: &Engine, rows: usize, columns: usize, channels: usize, bits: u32) -> Result<Tensor> {
    let mut tensor = engine.tensor(rows, columns, channels)?;
    let row = numbers(columns * channels, bits);
    tensor.data_mut().chunks_exact_mut(row.len()).for_each(|line| line.copy_from_slice(&row));
    Ok(tensor)
}

/// One instruction set's kernel with a layer of each kind, as wide as the embedded model's at 1/8.
pub struct KernelBench {
    kernel: &'static dyn Kernel,
    dense: Dense,
    depthwise: Depthwise,
    channels: usize,
    input: Vec<i16>,
    output: Vec<i16>,
    branches: Vec<Branches>,
    metrics: Vec<i16>,
    decisions: Vec<u8>,
}

/// Positions of a [`KernelBench`].
const POSITIONS: usize = 96;
/// Values of a [`KernelBench`].
const VALUES: usize = 512;

impl KernelBench {
    /// All that this machine can run.
    pub fn all() -> Result<Vec<Self>> {
        let channels = Model::embedded()?.header().c8;
        let (bias, shift) = (vec![0; channels], vec![10; channels]);
        let benches = available().into_iter().map(|kernel| Self {
            kernel,
            dense: Dense::new(channels, channels, &numbers(channels * channels, 7), &bias, &shift),
            depthwise: Depthwise::new(channels, &numbers(9 * channels, 7), &bias, &shift),
            channels,
            input: numbers(POSITIONS * channels, 11),
            output: vec![0; POSITIONS * channels],
            branches: numbers(4 * VALUES, 11).chunks_exact(4).map(|costs| std::array::from_fn(|i| costs[i] & 1023)).collect(),
            metrics: Vec::new(),
            decisions: Vec::new(),
        });
        Ok(benches.collect())
    }

    /// Name of the instruction set.
    pub fn name(&self) -> &'static str {
        self.kernel.name()
    }

    /// Products that [`KernelBench::dense`] computes.
    pub fn dense_products(&self) -> u64 {
        (POSITIONS * self.channels * self.channels) as u64
    }

    /// Products that [`KernelBench::depthwise`] computes.
    pub fn depthwise_products(&self) -> u64 {
        (9 * POSITIONS * self.channels) as u64
    }

    /// A 1x1 convolution.
    pub fn dense(&mut self) -> &[i16] {
        let input = Segment { data: &self.input, stride: self.channels, len: self.channels };
        self.kernel.dense(&self.dense, &[input], POSITIONS, &mut self.output, self.channels, Epilogue::Store);
        &self.output
    }

    /// Values that [`KernelBench::viterbi`] looks at.
    pub fn values(&self) -> u64 {
        VALUES as u64
    }

    /// Numbers of states that there are codes of.
    pub fn states() -> impl Iterator<Item = usize> {
        TrellisCode::ALL.into_iter().map(TrellisCode::states)
    }

    /// The best ways through a trellis of so many states.
    pub fn viterbi(&mut self, states: usize) -> &[u8] {
        let code = TrellisCode::ALL.into_iter().find(|code| code.states() == states).unwrap_or_default();
        self.metrics.clear();
        self.metrics.resize(2 * code.states(), 0);
        self.decisions.resize(VALUES * code.states() / 8, 0);
        self.kernel.viterbi(code, &mut self.metrics, &self.branches, &mut self.decisions);
        &self.decisions
    }

    /// A row of a depthwise 3x3 convolution.
    pub fn depthwise(&mut self) -> &[i16] {
        self.kernel.depthwise(&self.depthwise, [&self.input; 3], POSITIONS, &mut self.output);
        &self.output
    }
}

/// For the fuzzer: symbols under any tables come back, and any stream decodes to symbols or an error.
pub fn check_entropy(symbols: &[(i32, u8)], stream: &[u8]) {
    let model = Model::embedded().expect("the model is valid");
    let scales = model.header().scales;
    let mut list = Symbols::with_capacity(symbols.len()).expect("few symbols");
    let push = |((value, index), quantiser): (&(i32, u8), Quantiser)| (list.push(*value, quantiser, index % scales), quantiser, index % scales);
    let pushed: Vec<(i32, Quantiser, u8)> = symbols.iter().zip(Quantiser::ALL.into_iter().cycle()).map(push).collect();
    let coded = list.into_stream(model.tables()).expect("every value has a code");
    let mut decoder = StreamDecoder::new(TileCode { skip_below: 0, stream: &coded }, model.tables()).expect("our own stream");
    for (value, quantiser, index) in &pushed {
        assert_eq!(decoder.value(*quantiser, *index).expect("our own stream"), Some(*value));
    }
    decoder.finish().expect("our own stream");
    let Ok(mut decoder) = StreamDecoder::new(TileCode { skip_below: 0, stream }, model.tables()) else { return };
    for (_, quantiser, index) in &pushed {
        if decoder.value(*quantiser, *index).is_err() {
            return;
        }
    }
    let _ = decoder.finish();
}

/// For the fuzzer: all kernels of this machine compute what the scalar one does, on a layer and features made from `data`.
pub fn check_kernels(data: &[u8]) {
    let Some((shape, data)) = data.split_at_checked(4) else { return };
    let (inputs, outputs) = ((usize::from(shape[0] % 8) + 1) * 16, (usize::from(shape[1] % 8) + 1) * 16);
    let positions = usize::from(shape[2] % 9) + 1;
    let bits = u32::from(shape[3] % 12) + 1;
    let mut next = data.iter().copied().cycle();
    let mut byte = || next.next().unwrap_or(1);
    let mut number = |bits: u32| ((i32::from(byte()) << 8 | i32::from(byte())) as i16) >> (16 - bits.min(16));
    // Within R4.1: 128 inputs of 12 bits, 2^7 * 2^11 * 2^15 is below 2^31 only for weights of up to 8 bits.
    let weights: Vec<i16> = (0..inputs * outputs).map(|_| number(bits.min(8))).collect();
    let taps: Vec<i16> = (0..9 * inputs).map(|_| number(bits)).collect();
    let bias: Vec<i32> = (0..inputs.max(outputs)).map(|_| i32::from(number(16))).collect();
    let shift: Vec<u8> = (0..inputs.max(outputs)).map(|_| (number(4).unsigned_abs() as u8 % 12) + 1).collect();
    let input: Vec<i16> = (0..3 * positions * inputs).map(|_| number(16)).collect();
    let dense = Dense::new(inputs, outputs, &weights, &bias[..outputs], &shift[..outputs]);
    let depthwise = Depthwise::new(inputs, &taps, &bias[..inputs], &shift[..inputs]);
    let mut expected: Option<(Vec<i16>, Vec<i16>)> = None;
    for kernel in available() {
        let (mut a, mut b) = (vec![0; positions * outputs], vec![0; positions * inputs]);
        let segment = Segment { data: &input[..positions * inputs], stride: inputs, len: inputs };
        kernel.dense(&dense, &[segment], positions, &mut a, outputs, Epilogue::Store);
        let rows: Vec<&[i16]> = input.chunks_exact(positions * inputs).collect();
        kernel.depthwise(&depthwise, [rows[0], rows[1], rows[2]], positions, &mut b);
        match &expected {
            Some(expected) => assert!(*expected == (a, b), "{} differs", kernel.name()),
            None => expected = Some((a, b)),
        }
    }
}
