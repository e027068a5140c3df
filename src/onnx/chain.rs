//! The devices that may do the work, the wanted one first.

use std::sync::{Arc, Mutex, PoisonError};

use super::graph::Direction;
use super::library;
use super::session::{self, Trouble};
use super::windows::{BATCH, Shared};
use crate::net::Model;
use crate::{Device, Error, Result};

/// Gets a line for the user about something that went on in another way than asked for.
pub(crate) type Warn = Option<Arc<dyn Fn(&str) + Send + Sync>>;

/// Why a device was given up in this process. It is not tried again, and nobody is told twice.
static GIVEN_UP: Mutex<Vec<Device>> = Mutex::new(Vec::new());

fn is_given_up(device: Device) -> bool {
    GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner).contains(&device)
}

/// Devices in the order in which they are tried.
pub(crate) struct Chain {
    /// The last is native if all others may fail.
    devices: Vec<Device>,
    network: Option<Shared>,
    batch: usize,
    warn: Warn,
}

impl Chain {
    /// For `device` alone, or for what `auto` stands for on this machine.
    pub(crate) fn new(device: Device, warn: Warn) -> Self {
        let devices = match device {
            Device::Auto if library::is_likely(Device::Cuda) && !is_given_up(Device::Cuda) => vec![Device::Cuda, Device::Native],
            Device::Auto => vec![Device::Native],
            device => vec![device],
        };
        Self { devices, network: None, batch: BATCH, warn }
    }

    #[cfg(test)]
    pub(crate) fn of(devices: &[Device], warn: Warn) -> Self {
        Self { devices: devices.to_vec(), network: None, batch: BATCH, warn }
    }

    /// The device whose turn it is.
    pub(crate) fn device(&self) -> Device {
        self.devices.first().copied().unwrap_or_default()
    }

    /// The network of the present device; `None` stands for the native one.
    pub(crate) fn network(&self) -> Option<Shared> {
        self.network.clone()
    }

    /// How many windows the present device gets at once.
    pub(crate) fn batch(&self) -> usize {
        match self.device() {
            Device::Cuda | Device::TensorRt => self.batch,
            _ => 1,
        }
    }

    /// Loads the network of the first device that can be used.
    ///
    /// # Errors
    /// [`Error::Device`] if there is none.
    pub(crate) fn prepare(&mut self, model: &Model, direction: Direction) -> Result<()> {
        loop {
            let device = self.device();
            if device == Device::Native {
                self.network = None;
                return Ok(());
            }
            match session::network(model, direction, device) {
                Ok(network) => {
                    self.network = Some(network);
                    return Ok(());
                }
                Err(Error::Device(why)) => self.give_up(&Trouble(why))?,
                Err(other) => return Err(other),
            }
        }
    }

    /// The present device failed: tries it with one window at a time, where it had more, then the next one.
    ///
    /// # Errors
    /// [`Error::Device`] if there is nothing left to try.
    pub(crate) fn after(&mut self, trouble: &Trouble, model: &Model, direction: Direction) -> Result<()> {
        if self.batch() > 1 {
            self.batch = 1;
            return Ok(());
        }
        self.give_up(&Trouble(format!("{} failed: {trouble}", self.device())))?;
        self.prepare(model, direction)
    }

    fn give_up(&mut self, trouble: &Trouble) -> Result<()> {
        let Some(next) = self.devices.get(1) else { return Err(Error::Device(trouble.0.clone())) };
        if let Some(warn) = &self.warn {
            warn(&format!("{trouble}; going on with {next}"));
        }
        let mut given_up = GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner);
        if !given_up.contains(&self.devices[0]) {
            given_up.push(self.devices[0]);
        }
        self.devices.remove(0);
        self.network = None;
        Ok(())
    }
}
