//! Rows in the caller's memory, the caller's threads and callbacks.

use std::ops::ControlFlow;

use super::UserData;
use super::types::{AeiImage, AeiProgress};
use crate::{Channels, Error, Result, threads};

/// Where rows of samples stand, checked not to overflow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Bytes from a row to the next.
    pub(super) stride: usize,
    /// Samples in a row.
    pub(super) row_samples: usize,
}

impl Layout {
    pub(super) fn new(image: &AeiImage, channels: Channels) -> Result<Self> {
        let depth = match image.depth {
            0 | 8 => 1,
            16 => 2,
            depth => return Err(Error::Parameter(format!("samples of {depth} bits, not 8 or 16"))),
        };
        // No more than 32 bits of pixels, but where pointers have 32 bits too, their bytes may be more.
        let too_wide = || Error::Parameter("a row is larger than memory".into());
        let row_samples = (image.width as usize).checked_mul(channels.count()).ok_or_else(too_wide)?;
        let row_bytes = row_samples.checked_mul(depth).ok_or_else(too_wide)?;
        let stride = if image.stride == 0 { row_bytes } else { image.stride };
        if stride < row_bytes {
            return Err(Error::Parameter(format!("a stride of {stride} bytes is less than the {row_bytes} bytes of a row")));
        }
        if image.samples.is_null() {
            return Err(Error::Parameter("image->samples is a null pointer".into()));
        }
        if depth == 2 && !(image.samples as usize).is_multiple_of(2) || !stride.is_multiple_of(depth) {
            return Err(Error::Parameter("16-bit samples have to stand at even addresses".into()));
        }
        let all = stride.checked_mul(image.height as usize).and_then(|all| isize::try_from(all).ok());
        all.ok_or_else(|| Error::Parameter("stride times height is larger than memory".into()))?;
        Ok(Self { stride, row_samples })
    }
}

/// An empty vector with room for the samples of `rows` rows.
pub(super) fn reserved<T>(row_samples: usize, rows: u32) -> Result<Vec<T>> {
    let mut samples = Vec::new();
    let count = row_samples.checked_mul(rows as usize);
    let room = count.and_then(|count| samples.try_reserve_exact(count).ok());
    room.ok_or_else(|| Error::Limits("there is no memory for the samples".into()))?;
    Ok(samples)
}

/// Does `work` on a pool of its own with so many threads, or on the shared one for 0.
pub(super) fn on_threads<T: Send>(threads: u32, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    match threads {
        0 => threads::on_shared(work),
        1..=1024 => threads::on_own(threads as usize, work),
        _ => Err(Error::Parameter(format!("{threads} threads, not 0 to 1024"))),
    }
}

/// The library's callback from the caller's.
pub(super) fn callback(progress: AeiProgress, user_data: UserData) -> impl Fn(u64, u64) -> ControlFlow<()> + Send + Sync + 'static {
    move |done, total| {
        // Takes the whole, so that the closure holds the wrapper, which may cross threads, and not the bare pointer.
        let UserData(user_data) = UserData::clone(&user_data);
        // SAFETY: the caller promised a function that may be called from any thread with what it gave.
        let stop = progress.is_some_and(|progress| unsafe { progress(user_data, done, total) } != 0);
        if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
