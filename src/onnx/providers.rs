//! The execution providers of ONNX Runtime that devices stand for, and how they are set up.

use std::path::PathBuf;

use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProvider, OpenVINO, TensorRT};
use ort::session::builder::SessionBuilder;

use super::graph::{Direction, GRAPH_VERSION};
use super::library;
use super::session::{Attempt, Trouble};
use super::windows::{BATCH, MAX_SIDE};
use crate::Device;
use crate::net::ModelId;

/// What a session is for.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) device: Device,
    pub(crate) threads: usize,
    /// What TensorRT has to know to keep its engines; none are kept without it.
    pub(crate) engine: Option<Engine>,
}

/// Names a compiled network.
#[derive(Debug)]
pub(crate) struct Engine {
    /// What it is made from.
    pub(crate) source: ModelId,
    pub(crate) direction: Direction,
    /// Channels of the input.
    pub(crate) channels: usize,
}

/// Adds the providers of the plan's device, in the order in which they are asked for each operation.
///
/// # Errors
/// What is missing. Not `with_execution_providers`: that goes on without a word.
pub(crate) fn register(builder: &mut SessionBuilder, plan: &Plan) -> Attempt<()> {
    match plan.device {
        Device::OpenVino => {
            // In full precision: what 16-bit floats give differs visibly from the normative pixels. A processor that has them would use them unasked.
            add(builder, plan.device, &OpenVINO::default().with_device_type("CPU").with_precision("FP32").with_num_threads(plan.threads))
        }
        Device::Cuda => add(builder, plan.device, &cuda()),
        Device::TensorRt => {
            add(builder, plan.device, &tensorrt(plan.engine.as_ref())?)?;
            add(builder, plan.device, &cuda())
        }
        Device::OrtCpu | Device::Native | Device::Auto => Ok(()),
    }
}

fn add(builder: &mut SessionBuilder, device: Device, provider: &impl ExecutionProvider) -> Attempt<()> {
    if !provider.is_available()? {
        let library = library::load(device).map_err(Trouble)?;
        return Err(Trouble(format!(
            "this ONNX Runtime ({}) is built without what {device} needs: install another one ({}), or name its library file in ORT_DYLIB_PATH",
            library.path.display(),
            library::package(device)
        )));
    }
    provider.register(builder).map_err(|e| {
        let needs = match device {
            Device::Cuda => "; it takes an NVIDIA graphics processor, its driver, and the versions of CUDA and cuDNN that this ONNX Runtime was built for",
            Device::TensorRt => {
                "; it takes an NVIDIA graphics processor, its driver, and the versions of CUDA, cuDNN and TensorRT that this ONNX Runtime was built for"
            }
            _ => "",
        };
        Trouble(format!("{device} cannot be used: {}{needs}", Trouble::from(e)))
    })
}

fn cuda() -> CUDA {
    // Pictures differ in size: an arena that doubles would soon hold most of the memory.
    CUDA::default().with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
}

/// Engines are kept in the user's cache folder, named after what they are made from, direction and the version of our graphs; TensorRT adds a digest of the names
/// in the graph, not of its weights, and the kind of graphics processor.
fn tensorrt(engine: Option<&Engine>) -> Attempt<TensorRT> {
    let provider = TensorRT::default().with_fp16(true);
    let Some(Engine { source, direction, channels }) = engine else { return Ok(provider) };
    let folder = cache_folder().ok_or_else(|| Trouble("TensorRT needs a folder for its engines: set XDG_CACHE_HOME".into()))?.join("tensorrt");
    std::fs::create_dir_all(&folder).map_err(|e| Trouble(format!("{}: {e}: TensorRT's engines cannot be kept there", folder.display())))?;
    let folder = folder.to_string_lossy();
    // One engine for every size.
    let scale = if *direction == Direction::Analysis { 2 } else { 1 };
    let shape = |pieces: usize, side: usize| format!("x:{pieces}x{}x{}x{channels}", side * scale, side * scale);
    Ok(provider
        .with_engine_cache(true)
        .with_engine_cache_path(&folder)
        .with_engine_cache_prefix(format!("aei_{source}_{}_{GRAPH_VERSION}", direction.name()))
        .with_timing_cache(true)
        .with_timing_cache_path(&folder)
        .with_profile_min_shapes(shape(1, 4))
        .with_profile_opt_shapes(shape(1, MAX_SIDE))
        .with_profile_max_shapes(shape(BATCH, MAX_SIDE)))
}

/// The folder in which programs of this user keep what can be made again.
fn cache_folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = if let Some(folder) = variable("XDG_CACHE_HOME").filter(|f| f.is_absolute()) {
        folder
    } else if cfg!(windows) {
        variable("LOCALAPPDATA")?
    } else if cfg!(target_os = "macos") {
        variable("HOME")?.join("Library/Caches")
    } else {
        variable("HOME")?.join(".cache")
    };
    Some(folder.join("aei"))
}
