//! Statuses and messages.

use std::ffi::c_char;

use crate::Error;

/// How a call went. More values may be added.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AeiStatus {
    /// All went well.
    Ok = 0,
    /// A mistake in aei.
    Internal = 1,
    /// An argument makes no sense: a mistake in the calling program.
    Parameter = 2,
    /// Reading or writing failed.
    Io = 3,
    /// The file is damaged, truncated or of another kind.
    Format = 4,
    /// The picture is beyond the limits, or memory has run out.
    Limits = 5,
    /// The file needs something that this version cannot do.
    Unsupported = 6,
    /// The model is damaged, or not the one that the file was made with.
    Model = 7,
    /// A callback asked to stop.
    Cancelled = 8,
}

impl AeiStatus {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Parameter(_) => Self::Parameter,
            Error::Io(_) => Self::Io,
            Error::Format(_) => Self::Format,
            Error::Limits(_) => Self::Limits,
            Error::Unsupported(_) | Error::Device(_) => Self::Unsupported,
            Error::Model(_) => Self::Model,
            Error::Cancelled => Self::Cancelled,
        }
    }
}

/// Bytes of a message, with the zero at its end.
pub const AEI_MESSAGE_SIZE: usize = 256;

/// What went wrong, in memory of the caller.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct AeiError {
    /// sizeof(AeiError), set by the caller.
    pub size: usize,
    /// The same as the function returned.
    pub status: AeiStatus,
    /// One line of UTF-8 that ends in a zero byte; empty if all went well.
    pub message: [c_char; AEI_MESSAGE_SIZE],
}

impl AeiError {
    /// Fills in the caller's structure, if there is one and it is large enough.
    ///
    /// # Safety
    /// `error` is null or points to as many writable bytes as the `usize` at its start says.
    pub(super) unsafe fn tell(error: *mut Self, status: AeiStatus, message: &str) {
        if error.is_null() {
            return;
        }
        let mut text = [0 as c_char; AEI_MESSAGE_SIZE];
        // A message that is too long is cut between characters.
        let end = (0..AEI_MESSAGE_SIZE).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0).min(message.len());
        for (to, from) in text.iter_mut().zip(&message.as_bytes()[..end]) {
            *to = *from as c_char;
        }
        let filled = Self { size: size_of::<Self>(), status, message: text };
        // SAFETY: promised by the caller. A structure whose size is not set is left alone: the status is returned anyway.
        let _ = unsafe { super::store(error, &filled, "error") };
    }
}
