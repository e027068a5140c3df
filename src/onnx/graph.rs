//! The transforms as ONNX graphs, made from the integers of the model file.
//!
//! Numbers in a graph are the integers of the native network, without its roundings: a layer's weights and biases are divided by `2^shift`, features keep
//! their unit. So a graph belongs to its model by construction, and nothing has to be trained, exported or stored for it.

use super::proto::{Attribute, Dim, Message, Type, half_bits, node, tensor, value_info};
use crate::Result;
use crate::net::{BlockRecord, Gain, INPUTS, Layer, Model, OUTPUTS, QUALITIES, Reader};

/// Version of the operators that the graphs use; ONNX Runtime 1.12 is the first to know them all.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;
/// Changes with anything here that changes a graph: caches of compiled graphs are named after it.
pub(crate) const GRAPH_VERSION: u32 = 1;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    /// Samples to features of latents.
    Analysis,
    /// Features of latents to samples.
    Synthesis,
}

impl Direction {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Analysis => "analysis",
            Self::Synthesis => "synthesis",
        }
    }

    /// How far what it depends on is from an output, in latents (R5.10).
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] of a model without an analysis.
    pub(crate) fn margin(self, model: &Model) -> Result<usize> {
        Ok(match self {
            Self::Analysis => model.encoder()?.analysis.margin(),
            Self::Synthesis => model.header().synthesis.margin(),
        })
    }
}

/// What the numbers are, and what goes in and out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// For our own use: `x` and `out` are tensors of the native network, `[pieces][rows][columns][channels]` of 16-bit integers; `peak`
    /// is the size of the largest feature. Computes in 32 bits.
    Float,
    /// As `Float`, but computes in 16-bit floats.
    Half,
    /// What `Half` computes, done in 32 bits with every number rounded to 16: for processors without 16-bit floats, to measure with.
    #[cfg(all(test, feature = "files"))]
    Rounded,
    /// For others: pixels and latents as anyone would have them. Weights are stored as the model's 16-bit integers with a scale for each output, which
    /// is exact and half the size.
    Public,
}

/// The graph of a transform as an ONNX file.
///
/// # Errors
/// [`crate::Error::Unsupported`] for the analysis of a model that has none.
pub(crate) fn build(model: &Model, direction: Direction, form: Form) -> Result<Vec<u8>> {
    let graph = Graph { form, nodes: Message::default(), initializers: Message::default(), values: 0, peaks: Vec::new() };
    match direction {
        Direction::Analysis => analysis(graph, model),
        Direction::Synthesis => synthesis(graph, model),
    }
}

/// A graph of one channel that doubles its input, with the operations that every provider has to know: to try one.
pub(crate) fn smallest(model: &Model, form: Form) -> Vec<u8> {
    let mut g = Graph { form, nodes: Message::default(), initializers: Message::default(), values: 0, peaks: Vec::new() };
    let x = g.features_in(&Layer { inputs: 1, weights: vec![4], biases: vec![0], shifts: vec![1] });
    let x = g.gain(&x, &Gain { shift: 1, channels: 1, values: vec![2; QUALITIES] }, 0);
    g.features_out(&x);
    let ends = [false, true].map(|out| value_info(if out { "out" } else { "x" }, Type::Int16, &cell_dims(1, out)));
    g.finish(model, Direction::Synthesis, &ends[0], &ends[1])
}

/// The order of a cell's samples in our tensors, `[row][pixel][red, green, blue]`, as indices of the model file's order (R5.7).
fn cell_order() -> Vec<usize> {
    (0..8).flat_map(|i| (0..8).flat_map(move |j| (0..3).map(move |c| (c * 8 + i) * 8 + j))).collect()
}

const PIXELS: [Dim<'static>; 4] = [Dim::Any("n"), Dim::Fixed(3), Dim::Any("height"), Dim::Any("width")];
const LATENT_DIMS: [Dim<'static>; 4] = [Dim::Any("n"), Dim::Fixed(0), Dim::Any("latent_rows"), Dim::Any("latent_columns")];

fn latent_dims(m: usize) -> [Dim<'static>; 4] {
    let mut dims = LATENT_DIMS;
    dims[1] = Dim::Fixed(m);
    dims
}

fn cell_dims(channels: usize, out: bool) -> [Dim<'static>; 4] {
    let (rows, columns) = if out { ("out_rows", "out_columns") } else { ("rows", "columns") };
    [Dim::Any("n"), Dim::Any(rows), Dim::Any(columns), Dim::Fixed(channels)]
}

fn analysis(mut g: Graph, model: &Model) -> Result<Vec<u8>> {
    let (h, encoder, mut r) = (model.header(), model.encoder()?, model.analysis_records()?);
    let stem = r.dense(INPUTS, h.c8)?;
    let (mut x, input) = if g.form == Form::Public {
        let x = g.cast("pixels", Type::Float);
        let x = g.scale(&x, f32::from(2u16 << encoder.input_shift), -f32::from(255u16 << encoder.input_shift));
        // An unshuffle and a dense layer are a convolution with a stride.
        (g.convolution(&x, &stem, &[3, 8, 8], &[Attribute::Ints("strides", &[8, 8])]), value_info("pixels", Type::Uint8, &PIXELS))
    } else {
        (g.features_in(&stem.inputs(&cell_order())), value_info("x", Type::Int16, &cell_dims(INPUTS, false)))
    };
    x = g.blocks(x, &mut r, encoder.analysis.n8_first, h.c8)?;
    x = g.gain(&x, &r.gain(h.c8)?, 0);
    x = g.blocks(x, &mut r, encoder.analysis.n8_second, h.c8)?;
    x = g.convolution(&x, &r.dense(4 * h.c8, h.c16)?, &[h.c8, 2, 2], &[Attribute::Ints("strides", &[2, 2])]);
    x = g.blocks(x, &mut r, encoder.analysis.n16, h.c16)?;
    x = g.dense(&x, &r.dense(h.c16, h.m)?);
    let output = if g.form == Form::Public {
        // In quantisation steps.
        let y = g.gain(&x, &r.gain(h.m)?, encoder.y_input_fraction as i32);
        g.node("Identity", &[&y], "y", &[]);
        value_info("y", Type::Float, &latent_dims(h.m))
    } else {
        g.features_out(&x);
        value_info("out", Type::Int16, &cell_dims(h.m, true))
    };
    Ok(g.finish(model, Direction::Analysis, &input, &output))
}

fn synthesis(mut g: Graph, model: &Model) -> Result<Vec<u8>> {
    let (h, mut r) = (model.header(), model.synthesis_records());
    let gain = r.gain(h.m)?;
    let head = r.dense(h.m, h.c16)?;
    let (mut x, input) = if g.form == Form::Public {
        let x = g.gain("y_hat", &gain, -(h.y_fraction as i32));
        (g.dense(&x, &head), value_info("y_hat", Type::Float, &latent_dims(h.m)))
    } else {
        (g.features_in(&head), value_info("x", Type::Int16, &cell_dims(h.m, false)))
    };
    x = g.blocks(x, &mut r, h.synthesis.n16, h.c16)?;
    x = g.dense(&x, &r.dense(h.c16, 4 * h.c8)?);
    x = g.shuffle(&x, 2);
    x = g.blocks(x, &mut r, h.synthesis.n8_first, h.c8)?;
    x = g.gain(&x, &r.gain(h.c8)?, 0);
    x = g.blocks(x, &mut r, h.synthesis.n8_second, h.c8)?;
    let last = r.dense(h.c8, OUTPUTS)?;
    let output = if g.form == Form::Public {
        let x = g.dense(&x, &last);
        let x = g.shuffle(&x, 8);
        let x = g.scale(&x, power(-(h.pixel_fraction as i32)), 0.0);
        g.integers(&x, 0.0, 255.0, Type::Uint8, "pixels");
        value_info("pixels", Type::Uint8, &PIXELS)
    } else {
        let x = g.dense(&x, &last.outputs(cell_order().into_iter()));
        g.features_out(&x);
        value_info("out", Type::Int16, &cell_dims(OUTPUTS, true))
    };
    Ok(g.finish(model, Direction::Synthesis, &input, &output))
}

/// `2^exponent`.
fn power(exponent: i32) -> f32 {
    2f32.powi(exponent)
}

/// A graph that grows from its inputs to its outputs. Operations take and give names of values.
struct Graph {
    form: Form,
    nodes: Message,
    initializers: Message,
    values: usize,
    /// Names of the largest numbers of features, see [`Graph::watch`].
    peaks: Vec<String>,
}

impl Graph {
    fn name(&mut self) -> String {
        self.values += 1;
        format!("v{}", self.values)
    }

    fn node(&mut self, operator: &str, inputs: &[&str], output: &str, attributes: &[Attribute<'_>]) {
        self.nodes = std::mem::take(&mut self.nodes).message(1, &node(operator, inputs, &[output], attributes));
    }

    fn apply(&mut self, operator: &str, inputs: &[&str], attributes: &[Attribute<'_>]) -> String {
        let output = self.name();
        self.node(operator, inputs, &output, attributes);
        #[cfg(all(test, feature = "files"))]
        if self.form == Form::Rounded && operator != "Cast" {
            let short = self.cast(&output, Type::Half);
            return self.cast(&short, Type::Float);
        }
        output
    }

    fn constant(&mut self, ty: Type, dims: &[usize], data: &[u8]) -> String {
        let name = self.name();
        self.initializers = std::mem::take(&mut self.initializers).message(5, &tensor(&name, ty, dims, data));
        name
    }

    /// Numbers in the type in which the graph computes.
    fn numbers(&mut self, dims: &[usize], numbers: impl Iterator<Item = f32>) -> String {
        match self.form {
            #[cfg(all(test, feature = "files"))]
            Form::Rounded => {
                let short = self.constant(Type::Half, dims, &numbers.flat_map(|x| half_bits(x).to_le_bytes()).collect::<Vec<_>>());
                self.cast(&short, Type::Float)
            }
            Form::Half => self.constant(Type::Half, dims, &numbers.flat_map(|x| half_bits(x).to_le_bytes()).collect::<Vec<_>>()),
            _ => self.constant(Type::Float, dims, &numbers.flat_map(f32::to_le_bytes).collect::<Vec<_>>()),
        }
    }

    fn cast(&mut self, x: &str, to: Type) -> String {
        self.apply("Cast", &[x], &[Attribute::Int("to", to as i64)])
    }

    /// `x * factor + offset`.
    fn scale(&mut self, x: &str, factor: f32, offset: f32) -> String {
        let factor = self.numbers(&[], [factor].into_iter());
        let x = self.apply("Mul", &[x, &factor], &[]);
        if offset == 0.0 {
            return x;
        }
        let offset = self.numbers(&[], [offset].into_iter());
        self.apply("Add", &[&x, &offset], &[])
    }

    fn clip(&mut self, x: &str, low: f32, high: f32) -> String {
        let (low, high) = (self.numbers(&[], [low].into_iter()), self.numbers(&[], [high].into_iter()));
        self.apply("Clip", &[x, &low, &high], &[])
    }

    /// R5.1 or R5.2 but for rounding and saturation; `kernel` is the shape of an output's weights.
    fn convolution(&mut self, x: &str, layer: &Layer, kernel: &[usize], attributes: &[Attribute<'_>]) -> String {
        let scales: Vec<f32> = layer.shifts.iter().map(|s| power(-i32::from(*s))).collect();
        self.scaled_convolution(x, layer, &scales, 0..layer.biases.len(), kernel, attributes)
    }

    /// A convolution of some of a layer's outputs, each with its scale.
    fn scaled_convolution(
        &mut self,
        x: &str,
        layer: &Layer,
        scales: &[f32],
        outputs: std::ops::Range<usize>,
        kernel: &[usize],
        attributes: &[Attribute<'_>],
    ) -> String {
        let (first, count) = (outputs.start, outputs.len());
        let dims = [&[count], kernel].concat();
        let weights = &layer.weights[first * layer.inputs..][..count * layer.inputs];
        let scales = &scales[outputs];
        let weights = if self.form == Form::Public {
            let data: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
            let integers = self.constant(Type::Int16, &dims, &data);
            let floats = self.cast(&integers, Type::Float);
            let scale = self.numbers(&[count, 1, 1, 1], scales.iter().copied());
            self.apply("Mul", &[&floats, &scale], &[])
        } else {
            let rows = weights.chunks_exact(layer.inputs).zip(scales);
            self.numbers(&dims, rows.flat_map(|(row, scale)| row.iter().map(move |w| f32::from(*w) * scale)))
        };
        let biases = layer.biases[first..first + count].iter().zip(scales).map(|(b, scale)| *b as f32 * scale);
        let biases = self.numbers(&[count], biases);
        self.apply("Conv", &[x, &weights, &biases], attributes)
    }

    fn dense(&mut self, x: &str, layer: &Layer) -> String {
        self.convolution(x, layer, &[layer.inputs, 1, 1], &[])
    }

    /// R5.8.
    fn block(&mut self, x: &str, block: &BlockRecord) -> String {
        let channels = block.input.biases.len();
        let branch = self.dense(x, &block.input);
        let branch = self.apply("LeakyRelu", &[&branch], &[Attribute::Float("alpha", 0.125)]);
        let around = [Attribute::Int("group", channels as i64), Attribute::Ints("pads", &[1, 1, 1, 1])];
        let branch = self.convolution(&branch, &block.depth, &[1, 3, 3], &around);
        let branch = self.dense(&branch, &block.out);
        let x = self.apply("Add", &[x, &branch], &[]);
        // R5.4: both halves are layers of their own, so that the clamp can be part of the second one.
        let fraction = power(-(block.gate_fraction as i32));
        let scales = block.gate.shifts.iter().enumerate();
        let scales: Vec<f32> = scales.map(|(o, s)| power(-i32::from(*s)) * if o < channels { 1.0 } else { fraction }).collect();
        let kernel = [channels, 1, 1];
        let values = self.scaled_convolution(&x, &block.gate, &scales, 0..channels, &kernel, &[]);
        let gates = self.scaled_convolution(&x, &block.gate, &scales, channels..2 * channels, &kernel, &[]);
        let gates = self.clip(&gates, -1.0, 1.0);
        let branch = self.apply("Mul", &[&values, &gates], &[]);
        let branch = self.dense(&branch, &block.mix);
        self.apply("Add", &[&x, &branch], &[])
    }

    /// Blocks, and how large their residual stream has become.
    fn blocks(&mut self, mut x: String, r: &mut Reader<'_>, count: u8, channels: usize) -> Result<String> {
        for _ in 0..count {
            x = self.block(&x, &r.block_record(channels)?);
        }
        Ok(self.watch(&x))
    }

    /// Takes note of how large features get, and gives them back. Natively they are limited to 16 bits, which a graph does not imitate: it would have to after
    /// every operation. Files that come from pictures stay below; what is not is computed natively (see `windows`). A residual stream that has become too large
    /// stays so to its end, where this looks.
    fn watch(&mut self, x: &str) -> String {
        if self.form == Form::Public {
            return x.to_owned();
        }
        let highest = self.apply("ReduceMax", &[x], &[]);
        let lowest = self.apply("ReduceMin", &[x], &[]);
        let lowest = self.apply("Neg", &[&lowest], &[]);
        let peak = self.apply("Max", &[&highest, &lowest], &[]);
        // What follows has to wait for it: ONNX Runtime would do it at the end, and keep the features until then.
        let zero = self.numbers(&[], [0.0].into_iter());
        let nothing = self.apply("Mul", &[&peak, &zero], &[]);
        self.peaks.push(peak);
        self.apply("Add", &[x, &nothing], &[])
    }

    /// R5.6 for the quality that is the graph's second input; the result is divided by `2^shift` in addition.
    fn gain(&mut self, x: &str, gain: &Gain, shift: i32) -> String {
        let scale = power(-(gain.shift as i32) - shift);
        let table = self.numbers(&[QUALITIES, gain.channels, 1, 1], gain.values.iter().map(|g| *g as f32 * scale));
        let gains = self.apply("Gather", &[&table, "quality"], &[]);
        self.apply("Mul", &[x, &gains], &[])
    }

    /// R5.7.
    fn shuffle(&mut self, x: &str, by: i64) -> String {
        self.apply("DepthToSpace", &[x], &[Attribute::Int("blocksize", by), Attribute::Text("mode", "CRD")])
    }

    /// From `x` of our own form to the first layer.
    fn features_in(&mut self, first: &Layer) -> String {
        let ty = if self.form == Form::Half { Type::Half } else { Type::Float };
        let x = self.cast("x", ty);
        let x = self.apply("Transpose", &[&x], &[Attribute::Ints("perm", &[0, 3, 1, 2])]);
        self.dense(&x, first)
    }

    /// To `out` and `peak` of our own form.
    fn features_out(&mut self, x: &str) {
        let x = self.watch(x);
        let peaks = std::mem::take(&mut self.peaks);
        let peaks = self.apply("Concat", &peaks.iter().map(String::as_str).collect::<Vec<_>>(), &[Attribute::Int("axis", 0)]);
        let peak = self.apply("ReduceMax", &[&peaks], &[]);
        self.node("Cast", &[&peak], "peak", &[Attribute::Int("to", Type::Float as i64)]);
        let x = self.apply("Transpose", &[&x], &[Attribute::Ints("perm", &[0, 2, 3, 1])]);
        let x = if self.form == Form::Half { self.cast(&x, Type::Float) } else { x };
        let form = std::mem::replace(&mut self.form, Form::Float);
        self.integers(&x, f32::from(i16::MIN), f32::from(i16::MAX), Type::Int16, "out");
        self.form = form;
    }

    /// Rounds, limits and converts.
    fn integers(&mut self, x: &str, low: f32, high: f32, ty: Type, output: &str) {
        let x = self.apply("Round", &[x], &[]);
        let x = self.clip(&x, low, high);
        self.node("Cast", &[&x], output, &[Attribute::Int("to", ty as i64)]);
    }

    fn finish(self, model: &Model, direction: Direction, input: &Message, output: &Message) -> Vec<u8> {
        let quality = value_info("quality", Type::Int64, &[Dim::Fixed(1)]);
        let (nodes, initializers) = (self.nodes.into_bytes(), self.initializers.into_bytes());
        let ends = Message::default().text(2, direction.name()).message(11, input).message(11, &quality).message(12, output);
        let peak = value_info("peak", Type::Float, &[Dim::Fixed(1); 4]);
        let ends = if self.form == Form::Public { ends } else { ends.message(12, &peak) };
        // Fields may come in any order, and messages are joined by joining their bytes.
        let graph = [nodes, initializers, ends.into_bytes()].concat();
        let property = |key: &str, value: String| Message::default().text(1, key).text(2, &value);
        Message::default()
            .int(1, IR_VERSION)
            .text(2, "aei")
            .text(3, env!("CARGO_PKG_VERSION"))
            .bytes(7, &graph)
            .message(8, &Message::default().text(1, "").int(2, OPSET))
            .message(14, &property("model", model.name().to_owned()))
            .message(14, &property("model_id", model.id().to_string()))
            .into_bytes()
    }
}
