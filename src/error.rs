//! Errors, by whose fault it is.

use std::io;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing failed. The file may be fine: try again, or look at the disk.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file breaks the format: it is damaged, truncated, or not what it claims to be. The message names the rule of the
    /// specification or, where a picture file is read, its format.
    #[error("{0}")]
    Format(FormatError),
    /// The caller asked for something that does not exist, for example a quality index of 64. A mistake in the calling program.
    #[error("{0}")]
    Parameter(String),
    /// The file is valid as far as looked at, but beyond the [`Limits`](crate::Limits) in force. Raise them if the file is to be trusted.
    #[error("{0}")]
    Limits(String),
    /// The file uses something this version of the crate cannot do. A newer version may.
    #[error("{0}")]
    Unsupported(String),
    /// The work was stopped because a progress callback returned [`ControlFlow::Break`](std::ops::ControlFlow::Break). Nobody's fault.
    #[error("the work was stopped")]
    Cancelled,
    /// The [`Device`](crate::Device) that was asked for cannot be used, or failed. Install what the message names, or choose another one.
    #[error("{0}")]
    Device(String),
    /// The model file is damaged, or not the one that the picture was made with.
    #[error("{0}")]
    Model(String),
}

/// What exactly breaks the format, and where. Opaque but for its message, so that checks can be added.
#[derive(Debug, thiserror::Error)]
#[error("{message} ({rule})")]
pub struct FormatError {
    rule: &'static str,
    message: String,
}

impl FormatError {
    /// Label of the rule of `format-spec/SPEC.md` that is broken, such as `R2.3`; for a picture file, the name of its
    /// format, such as `PNG`.
    pub fn rule(&self) -> &'static str {
        self.rule
    }

    /// What is wrong, without the rule.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl Error {
    /// A broken rule of the picture format.
    pub(crate) fn format(rule: &'static str, message: impl Into<String>) -> Self {
        Error::Format(FormatError { rule, message: message.into() })
    }
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;
