//! Networks loaded into ONNX Runtime, kept warm for the next picture.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{IoBinding, Session};
use ort::value::Tensor;

use super::graph::{self, Direction, Form};
use super::library::{self, Library};
use super::providers::{self, Engine, Plan};
use crate::net::{INPUTS, Model, ModelId};
use crate::{Device, Error, Result};

/// Features from here on are taken for too large for 16 bits, with room for what roundings add up to.
const LARGEST: f32 = 32000.0;

/// Networks that are kept; a program seldom needs more than the two directions of one model.
const WARM: usize = 4;

/// What a warm network is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    source: ModelId,
    direction: Direction,
    device: Device,
    threads: usize,
}

/// A network that is ready to run.
pub(crate) struct Network {
    session: Session,
    device: Device,
    quality: Tensor<i64>,
    /// Memory for one size of input and output, with which most pictures of a series can do.
    bound: Option<Bound>,
}

struct Bound {
    input_dims: [usize; 4],
    input: Tensor<i16>,
    binding: IoBinding,
}

/// Why something did not work: ONNX Runtime's words, or ours.
#[derive(Debug, Clone)]
pub(crate) struct Trouble(pub(crate) String);

/// What an attempt gives.
pub(crate) type Attempt<T> = std::result::Result<T, Trouble>;

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<R> From<ort::Error<R>> for Trouble {
    fn from(error: ort::Error<R>) -> Self {
        // Source files and codes stand in front, a stack of calls behind.
        let text = error.message().lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown failure");
        let text = text.split_once("[ONNXRuntimeError] : ").map_or(text, |(_, rest)| rest.splitn(3, " : ").last().unwrap_or(rest));
        Self(text.chars().take(400).collect())
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        Error::Device(trouble.0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a device computes best in.
fn form(device: Device) -> Form {
    if matches!(device, Device::Cuda | Device::TensorRt) { Form::Half } else { Form::Float }
}

/// Names what a network is made from. A model keeps its id when its analysis changes.
fn source(model: &Model, direction: Direction) -> Result<ModelId> {
    match direction {
        Direction::Analysis => model.analysis_id(),
        Direction::Synthesis => Ok(model.id()),
    }
}

/// The network for these, warm if it has been used before.
///
/// # Errors
/// [`Error::Device`] if the device cannot be used; the model's errors.
pub(crate) fn network(model: &Model, direction: Direction, device: Device) -> Result<Arc<Mutex<Network>>> {
    static NETWORKS: Mutex<VecDeque<(Key, Arc<Mutex<Network>>)>> = Mutex::new(VecDeque::new());
    let key = Key { source: source(model, direction)?, direction, device, threads: rayon::current_num_threads() };
    // Held while a network is loaded, so that none is loaded twice.
    let mut networks = lock(&NETWORKS);
    if let Some((_, network)) = networks.iter().find(|(k, _)| *k == key) {
        return Ok(Arc::clone(network));
    }
    let network = Arc::new(Mutex::new(network_in(model, direction, device, form(device))?));
    if networks.len() == WARM {
        networks.pop_front();
    }
    networks.push_back((key, Arc::clone(&network)));
    Ok(network)
}

/// A network that computes in a certain form.
///
/// # Errors
/// As [`network`].
pub(crate) fn network_in(model: &Model, direction: Direction, device: Device, form: Form) -> Result<Network> {
    let channels = if direction == Direction::Analysis { INPUTS } else { model.header().m };
    let engine = Some(Engine { source: source(model, direction)?, direction, channels });
    let plan = Plan { device, threads: rayon::current_num_threads(), engine };
    Ok(Network::new(open(&graph::build(model, direction, form)?, &plan)?, device)?)
}

/// Finds out whether a device can be used, by running a network of one layer on it. Gives the library that was loaded.
///
/// # Errors
/// What is missing.
pub(crate) fn check(device: Device, model: &Model) -> Attempt<&'static Library> {
    let library = library::load(device).map_err(Trouble)?;
    let session = open(&graph::smallest(model, form(device)), &Plan { device, threads: 1, engine: None })?;
    let mut sum = 0;
    Network::new(session, device)?.run(0, [1, 2, 2, 1], [1, 2, 2, 1], |x| x.fill(3), |out| sum = out.iter().map(|v| i32::from(*v)).sum())?;
    if sum != 24 {
        return Err(Trouble(format!("ONNX Runtime computes wrong numbers on {device}: {sum} instead of 24")));
    }
    Ok(library)
}

/// A session on a device, without fallback.
fn open(graph: &[u8], plan: &Plan) -> Attempt<Session> {
    let device = plan.device;
    library::load(device).map_err(Trouble)?;
    // OpenVINO wants the graph as it is.
    let level = if device == Device::OpenVino { GraphOptimizationLevel::Disable } else { GraphOptimizationLevel::All };
    let mut builder = Session::builder()?.with_optimization_level(level)?;
    if device == Device::OrtCpu {
        // The native entropy network works between two runs: spinning threads would be in its way.
        builder = builder.with_intra_threads(plan.threads)?.with_intra_op_spinning(false)?;
    }
    providers::register(&mut builder, plan)?;
    builder.commit_from_memory(graph).map_err(|e| Trouble(format!("{device} cannot load the network: {}", Trouble::from(e))))
}

impl Network {
    fn new(session: Session, device: Device) -> Attempt<Self> {
        let quality = Tensor::from_array(([1usize], vec![0i64]))?;
        Ok(Self { session, device, quality, bound: None })
    }

    /// Runs the network on `[pieces][rows][columns][channels]`: `fill` writes the input, which may hold anything, and `read` gets the output. Returns whether all
    /// features were small enough for 16 bits; otherwise the native network gives something else, and `read` is not called.
    pub(crate) fn run(
        &mut self,
        quality: u8,
        input_dims: [usize; 4],
        output_dims: [usize; 4],
        fill: impl FnOnce(&mut [i16]),
        read: impl FnOnce(&[i16]),
    ) -> Attempt<bool> {
        let mut bound = match self.bound.take().filter(|bound| bound.input_dims == input_dims) {
            Some(bound) => bound,
            None => self.bind(input_dims, output_dims)?,
        };
        fill(bound.input.try_extract_tensor_mut()?.1);
        self.quality.try_extract_tensor_mut::<i64>()?.1[0] = quality.into();
        // Binding an input is what copies it to the device.
        bound.binding.bind_input("x", &bound.input)?;
        bound.binding.bind_input("quality", &self.quality)?;
        bound.binding.synchronize_inputs()?;
        let outputs = self.session.run_binding(&bound.binding)?;
        bound.binding.synchronize_outputs()?;
        let (_, out) = outputs.get("out").ok_or_else(|| Trouble("the network gave no output".into()))?.try_extract_tensor::<i16>()?;
        if out.len() != output_dims.iter().product::<usize>() {
            return Err(Trouble(format!("the network gave {} numbers, not {output_dims:?}", out.len())));
        }
        let (_, peak) = outputs.get("peak").ok_or_else(|| Trouble("the network gave no peak".into()))?.try_extract_tensor::<f32>()?;
        // Not a number is not below.
        let fits = peak.iter().all(|peak| *peak < LARGEST);
        if fits {
            read(out);
        }
        drop(outputs);
        self.bound = Some(bound);
        Ok(fits)
    }

    /// Memory for input and output, where the device reads and writes it fastest.
    fn bind(&self, input_dims: [usize; 4], output_dims: [usize; 4]) -> Attempt<Bound> {
        let mut binding = self.session.create_binding()?;
        binding.bind_output("out", self.memory(output_dims, MemoryType::CPUOutput)?)?;
        binding.bind_output("peak", Tensor::<f32>::new(&Allocator::default(), [1usize; 4])?)?;
        Ok(Bound { input_dims, input: self.memory(input_dims, MemoryType::CPUInput)?, binding })
    }

    fn memory(&self, dims: [usize; 4], ty: MemoryType) -> Attempt<Tensor<i16>> {
        if matches!(self.device, Device::Cuda | Device::TensorRt) {
            // Pinned memory, which the graphics processor reads by itself. Not every version of ONNX Runtime lets us see it as our own.
            let pinned = MemoryInfo::new(AllocationDevice::CUDA_PINNED, 0, AllocatorType::Device, ty)
                .and_then(|info| Allocator::new(&self.session, info))
                .and_then(|allocator| Tensor::<i16>::new(&allocator, dims));
            if let Some(mut tensor) = pinned.ok().filter(|tensor| tensor.memory_info().is_cpu_accessible())
                && tensor.try_extract_tensor_mut::<i16>().is_ok()
            {
                return Ok(tensor);
            }
        }
        Ok(Tensor::<i16>::new(&Allocator::default(), dims)?)
    }
}
