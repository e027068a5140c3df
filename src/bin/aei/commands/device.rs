//! What computes the transforms, as the command line says it.

use std::fmt;

use aei::{Device, Picture};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde_json::{Value, json};

use crate::failure::Failure;

/// Arguments of the commands that run the transforms.
#[derive(Args, Clone, Copy)]
pub(crate) struct DeviceArgs {
    /// What computes the pictures: "native" is exact and needs nothing, the others need ONNX Runtime (see `aei devices`), "auto" is a graphics processor
    /// where there is a usable one and native otherwise [default: native, or what the environment variable AEI_DEVICE says]
    #[arg(long, value_name = "DEVICE", value_parser = PossibleValuesParser::new(Device::ALL.map(Device::name)).try_map(|name| name.parse::<Device>()))]
    device: Option<Device>,
    /// The exact arithmetic of the format, whatever the device: the same as --device native
    #[arg(long)]
    exact: bool,
}

impl DeviceArgs {
    /// The device to use.
    pub(crate) fn device(self) -> Result<Device, Failure> {
        match (self.exact, self.device, std::env::var_os("AEI_DEVICE")) {
            (true, _, _) => Ok(Device::Native),
            (false, Some(device), _) => Ok(device),
            // What is not Unicode is no device either.
            (false, None, Some(name)) if !name.is_empty() => name.to_string_lossy().parse().map_err(|e| Failure::usage(format!("AEI_DEVICE: {e}"))),
            _ => Ok(Device::default()),
        }
    }
}

/// How much a device's samples differ from the exact ones, in levels of 8 bits.
pub(crate) struct Differences {
    max: u8,
    mean: f64,
    /// Share of the samples that differ at all.
    samples: f64,
}

impl Differences {
    pub(crate) fn new(a: &Picture, b: &Picture) -> Self {
        let (a, b) = (a.samples(), b.samples());
        let differences = || a.iter().zip(&*b).map(|(a, b)| a.abs_diff(*b));
        let len = a.len() as f64;
        Self {
            max: differences().max().unwrap_or(0),
            mean: differences().map(f64::from).sum::<f64>() / len,
            samples: differences().filter(|d| *d > 0).count() as f64 / len,
        }
    }

    pub(crate) fn as_json(&self) -> Value {
        json!({ "max": self.max, "mean": self.mean, "samples": self.samples })
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max, mean, samples } = self;
        write!(f, "differs from the exact pixels by {max} at most, {mean:.4} on average; {:.2} % of samples differ", 100.0 * samples)
    }
}
