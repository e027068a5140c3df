//! Where ONNX Runtime is, and loading it. A process loads one library, once.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::Device;

/// An ONNX Runtime on this machine. Nothing has been loaded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// The file.
    pub path: PathBuf,
    /// Its version, as far as names of files and folders tell.
    pub version: Option<String>,
    /// Where it was found.
    pub place: &'static str,
}

impl Library {
    fn new(path: PathBuf, place: &'static str) -> Self {
        let version = version_of(&path);
        Self { path, version, place }
    }

    /// Whether the library comes with what `device` needs: providers other than the processor's are libraries of their own, beside it.
    fn suits(&self, device: Device) -> bool {
        let part = match device {
            Device::OpenVino => "openvino",
            Device::Cuda | Device::Auto => "cuda",
            Device::TensorRt => "tensorrt",
            Device::Native | Device::OrtCpu => return true,
        };
        let name = format!("{}onnxruntime_providers_{part}{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
        let target = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        [&self.path, &target].iter().filter_map(|p| p.parent()).any(|folder| folder.join(&name).is_file())
    }
}

/// `1.24.1` of `libonnxruntime.so.1.24.1` or of `onnxruntime_gpu-1.24.1.dist-info` beside a Python package.
fn version_of(path: &Path) -> Option<String> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = target.file_name()?.to_string_lossy().into_owned();
    let numbers = |text: &str| {
        let text = text.trim_matches('.');
        (text.split('.').count() >= 2 && text.split('.').all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))).then(|| text.to_owned())
    };
    let stem = name.trim_end_matches(env::consts::DLL_SUFFIX).trim_start_matches("libonnxruntime").trim_start_matches(".so");
    if let Some(version) = numbers(stem) {
        return Some(version);
    }
    let packages = target.parent()?.parent()?.parent()?;
    names(packages).iter().filter_map(|n| n.strip_prefix("onnxruntime")?.strip_suffix(".dist-info")?.rsplit('-').next().and_then(numbers)).next()
}

/// Names of what is in a folder, sorted; nothing where there is no folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// The library in a folder: the plain name, else the newest with a version in it.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    let plain = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    let path = folder.join(&plain);
    if path.is_file() {
        return Some(path);
    }
    if cfg!(windows) {
        return None;
    }
    let versioned = |name: &String| {
        let rest = name.strip_prefix("libonnxruntime.")?;
        let rest = rest.strip_prefix("so.").or_else(|| rest.strip_suffix(".dylib"))?;
        rest.split('.').map(|n| n.parse().ok()).collect::<Option<Vec<u32>>>()
    };
    names(folder).into_iter().filter(|name| versioned(name).is_some()).max_by_key(versioned).map(|name| folder.join(name))
}

/// Folders for packages of the Python installations that a user's `python3` and environment variables lead to.
fn python_packages() -> Vec<PathBuf> {
    let mut prefixes: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(env::var_os).map(PathBuf::from).collect();
    for folder in env::var_os("PATH").iter().flat_map(env::split_paths) {
        for name in ["python3", "python", "python.exe"] {
            let python = folder.join(name);
            if python.is_file() {
                // A virtual environment is where its link is, not where that leads.
                for python in [Some(python.clone()), python.canonicalize().ok()].into_iter().flatten() {
                    let folder = python.parent().map(Path::to_owned).unwrap_or_default();
                    prefixes.push(if folder.ends_with("bin") || folder.ends_with("Scripts") { folder.join("..") } else { folder });
                }
            }
        }
    }
    prefixes.extend(["HOME", "APPDATA"].iter().filter_map(env::var_os).flat_map(|home| [Path::new(&home).join(".local"), Path::new(&home).join("Python")]));
    let mut found = Vec::new();
    for prefix in prefixes {
        let mut folders = vec![prefix.join("Lib/site-packages")];
        for lib in [prefix.join("lib"), prefix.join("lib64"), prefix.join("local/lib"), prefix.clone()] {
            for name in names(&lib).into_iter().filter(|n| n.to_ascii_lowercase().starts_with("python3")) {
                folders.extend(["site-packages", "dist-packages"].map(|packages| lib.join(&name).join(packages)));
            }
        }
        found.extend(folders.into_iter().filter_map(|folder| folder.canonicalize().ok()));
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|folder| folder.is_dir() && seen.insert(folder.clone()));
    found
}

/// The library that `ORT_DYLIB_PATH` names.
fn named() -> Option<PathBuf> {
    let path = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from)?;
    // A bare name is for the system's loader, which does not look into the current folder: nothing is to be loaded from there because it happens to be there.
    Some(if is_bare(&path) { path } else { std::path::absolute(&path).unwrap_or(path) })
}

fn is_bare(path: &Path) -> bool {
    path.parent().is_none_or(|folder| folder.as_os_str().is_empty())
}

/// Every ONNX Runtime that can be found, in the order in which they are tried. `ORT_DYLIB_PATH`, where set, is the only one.
pub fn libraries() -> Vec<Library> {
    if let Some(path) = named() {
        return vec![Library::new(path, "ORT_DYLIB_PATH")];
    }
    let mut found: Vec<Library> = Vec::new();
    let mut look = |folder: &Path, place| {
        if let Some(path) = in_folder(folder) {
            let target = path.canonicalize().ok();
            if !found.iter().any(|library| library.path.canonicalize().ok() == target) {
                found.push(Library::new(path, place));
            }
        }
    };
    if let Some(folder) = env::current_exe().ok().as_deref().and_then(Path::parent) {
        look(folder, "beside the program");
        look(&folder.join("../lib"), "beside the program");
    }
    let variables = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", if cfg!(windows) { "PATH" } else { "LIBRARY_PATH" }];
    for folder in variables.iter().filter_map(env::var_os).collect::<Vec<OsString>>().iter().flat_map(env::split_paths) {
        look(&folder, "library path");
    }
    // Before the system's folders: who installs a Python package wants its providers.
    for packages in python_packages() {
        look(&packages.join("onnxruntime/capi"), "Python package");
    }
    for folder in ["/usr/local/lib", "/usr/lib", "/usr/lib64", "/lib64", "/opt/onnxruntime/lib", "/opt/homebrew/lib"] {
        look(Path::new(folder), "system");
    }
    let multiarch = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
    look(Path::new(&multiarch), "system");
    found
}

/// The library that this process has loaded, or why none of those that were found could be.
static LOADED: OnceLock<Result<Library, Vec<String>>> = OnceLock::new();

/// Loads the library that suits `device` best. The first call decides for the whole process.
///
/// # Errors
/// What to do to get one.
pub(crate) fn load(device: Device) -> Result<&'static Library, String> {
    LOADED.get_or_init(|| load_one_of(libraries(), device)).as_ref().map_err(|reasons| explain(reasons, device))
}

fn explain(reasons: &[String], device: Device) -> String {
    if reasons.is_empty() {
        return format!("no ONNX Runtime was found: install it ({}), or name the library file in ORT_DYLIB_PATH", package(device));
    }
    let advice = match named() {
        Some(path) if is_bare(&path) => "name the file in ORT_DYLIB_PATH with its folder, or unset it and have another one installed",
        Some(_) => "correct ORT_DYLIB_PATH, or unset it and have another one installed",
        None => "install another one",
    };
    format!("{}: {advice} ({})", reasons.join("; "), package(device))
}

/// Whether it is worth trying: a library is there that comes with what `device` needs.
pub(crate) fn is_likely(device: Device) -> bool {
    match LOADED.get() {
        Some(Ok(library)) => library.suits(device),
        Some(Err(_)) => false,
        None => libraries().iter().any(|library| library.suits(device)),
    }
}

/// What `ort` does after an attempt that failed is not defined, in the version that we use (its `OnceLock` takes itself for filled): so nothing of it is called
/// again in this process, and all that can be checked before the one attempt is checked.
fn load_one_of(mut candidates: Vec<Library>, device: Device) -> Result<Library, Vec<String>> {
    candidates.sort_by_key(|library| !library.suits(device));
    let mut reasons = Vec::new();
    for library in candidates {
        let too_old = |version: &str| format!("{} is ONNX Runtime {version}, and aei needs 1.{} or newer", library.path.display(), ort::MINOR_VERSION);
        let minor = |version: &str| version.strip_prefix("1.").and_then(|v| v.split('.').next()).and_then(|v| v.parse::<u32>().ok());
        if let Some(version) = library.version.as_deref().filter(|v| minor(v).is_some_and(|minor| minor < ort::MINOR_VERSION)) {
            reasons.push(too_old(version));
            continue;
        }
        if let Err(error) = ort::util::preload_dylib(library.path.as_path()) {
            // What the system says is in the source, and names the file, but for Windows.
            let text = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let path = library.path.display().to_string();
            let text = if text.contains(&path) { text } else { format!("{path}: {text}") };
            reasons.push(format!("ONNX Runtime cannot be loaded ({}): {text}", library.place));
            continue;
        }
        match ort::init_from(&library.path) {
            Ok(environment) => {
                if matches!(device, Device::Cuda | Device::TensorRt | Device::Auto) {
                    preload_nvidia(&library.path);
                }
                environment.with_name("aei").with_telemetry(false).commit();
                return Ok(library);
            }
            Err(ort::LoadDynamicError::BadVersion { version_str, .. }) => reasons.push(too_old(&version_str)),
            Err(error) => reasons.push(format!("{} is not an ONNX Runtime library ({error})", library.path.display())),
        }
        break;
    }
    Err(reasons)
}

/// How to get what `device` needs.
pub(crate) fn package(device: Device) -> &'static str {
    match device {
        Device::OpenVino => "pip install onnxruntime-openvino",
        Device::Cuda | Device::Auto => "pip install onnxruntime-gpu[cuda,cudnn]",
        Device::TensorRt => "pip install onnxruntime-gpu[cuda,cudnn] tensorrt",
        Device::Native | Device::OrtCpu => "pip install onnxruntime",
    }
}

/// Loads NVIDIA's libraries from Python packages beside `library`: the system's loader does not look there, and a library that is loaded is not looked for.
/// What fails here is missed, and named, by the provider.
fn preload_nvidia(library: &Path) {
    let Some(packages) = library.ancestors().nth(3) else { return };
    let mut folders: Vec<PathBuf> =
        names(&packages.join("nvidia")).iter().flat_map(|n| ["lib", "bin"].map(|l| packages.join("nvidia").join(n).join(l))).collect();
    folders.push(packages.join("tensorrt_libs"));
    let files: Vec<PathBuf> = folders.iter().flat_map(|folder| names(folder).into_iter().map(|name| folder.join(name))).collect();
    // Each after those that it needs.
    for part in ["cudart", "nvJitLink", "nvrtc", "cublasLt", "cublas", "cufft", "curand", "cudnn_graph", "cudnn", "nvinfer", "nvonnxparser"] {
        for file in files.iter().filter(|f| f.file_name().is_some_and(|n| n.to_string_lossy().trim_start_matches("lib").starts_with(part))) {
            let _ = ort::util::preload_dylib(file.as_path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_from_names() {
        let folder = tempfile::tempdir().unwrap();
        let capi = folder.path().join("onnxruntime/capi");
        fs::create_dir_all(&capi).unwrap();
        let touch = |name: &str| fs::write(capi.join(name), b"no library").unwrap();
        assert_eq!(in_folder(&capi), None);
        if cfg!(target_os = "linux") {
            touch("libonnxruntime.so.1.9.2");
            touch("libonnxruntime.so.1.24.1");
            touch("libonnxruntime.so.1.24.1.bak");
            let path = in_folder(&capi).unwrap();
            assert_eq!(path.file_name().unwrap(), "libonnxruntime.so.1.24.1");
            assert_eq!(version_of(&path).as_deref(), Some("1.24.1"));
        }
        let plain = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
        touch(&plain);
        let path = in_folder(&capi).unwrap();
        assert_eq!((path.file_name().unwrap().to_str(), version_of(&path)), (Some(&*plain), None));
        fs::create_dir(folder.path().join("onnxruntime_gpu-1.31.0.dist-info")).unwrap();
        assert_eq!(version_of(&path).as_deref(), Some("1.31.0"));
        let library = Library::new(path, "test");
        assert!(library.suits(Device::OrtCpu) && !library.suits(Device::Cuda));
        touch(&format!("{}onnxruntime_providers_cuda{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX));
        assert!(library.suits(Device::Cuda) && library.suits(Device::Auto) && !library.suits(Device::TensorRt));
    }

    #[test]
    fn what_is_missing_is_said() {
        let library = |path: &str, version: Option<&str>| Library { path: path.into(), version: version.map(str::to_owned), place: "test" };
        let explained = |candidates: Vec<Library>, device| explain(&load_one_of(candidates, device).unwrap_err(), device);
        let error = explained(vec![library("/nowhere/old.so", Some("1.9.0")), library("/nowhere/new.so", Some("1.20.0"))], Device::OrtCpu);
        assert!(error.contains("/nowhere/old.so is ONNX Runtime 1.9.0, and aei needs 1.17 or newer"), "{error}");
        assert!(error.contains("cannot be loaded (test): ") && error.contains("/nowhere/new.so"), "{error}");
        let error = explained(vec![], Device::OpenVino);
        assert!(error.contains("no ONNX Runtime was found") && error.contains("pip install onnxruntime-openvino"), "{error}");
    }
}
