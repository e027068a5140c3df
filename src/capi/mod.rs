//! The C interface, `libaei` (feature `capi`). `src/capi/include/aei.h` is made from this module; `src/capi/README.md` says how to build, link and rely on it.
//!
//! Every function catches panics, checks its pointers for null, and touches no global state but a thread pool, so that threads may call at will.

mod decode;
mod encode;
mod error;
mod layout;
mod types;

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Error, Result};

pub use decode::*;
pub use encode::*;
pub use error::*;
pub use types::*;

use layout::{Layout, callback, on_threads, reserved};

/// Version of the library, such as "0.1.0". Static memory: not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn aei_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Frees bytes that the library has allocated. A null pointer is ignored.
///
/// # Safety
/// `bytes` is null or what `aei_encode` or `aei_decoder_damage` stored, with the same `length`, and was not freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aei_free(bytes: *mut u8, length: usize) {
    if !bytes.is_null() {
        // SAFETY: made by `Box::into_raw` of a slice of this length, and the caller gives it up.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(bytes, length)) });
    }
}

/// Runs the body of a function: its result, an error or a panic becomes a status and a message.
///
/// # Safety
/// `error` is null or points to an `AeiError` whose field `size` is set.
unsafe fn guarded(error: *mut AeiError, body: impl FnOnce() -> Result<()>) -> AeiStatus {
    let outcome = catch_unwind(AssertUnwindSafe(body));
    let (status, message) = match outcome {
        Ok(Ok(())) => (AeiStatus::Ok, String::new()),
        Ok(Err(error)) => (AeiStatus::of(&error), error.to_string()),
        Err(_) => (AeiStatus::Internal, "unexpected failure, a mistake in aei".to_owned()),
    };
    // SAFETY: promised by the caller.
    unsafe { AeiError::tell(error, status, &message) };
    status
}

/// A reference from a pointer, or an error that names the argument.
///
/// # Safety
/// `pointer` is null or points to a valid `T` that outlives `'a` and is not written to meanwhile.
unsafe fn reference<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: promised by the caller.
    unsafe { pointer.as_ref() }.ok_or_else(|| Error::Parameter(format!("{name} is a null pointer")))
}

/// A slice from pointer and length; null goes with length 0.
///
/// # Safety
/// `pointer` is null or points to `length` bytes that outlive `'a` and are not written to meanwhile.
unsafe fn bytes<'a>(pointer: *const u8, length: usize, name: &str) -> Result<&'a [u8]> {
    if pointer.is_null() {
        return if length == 0 { Ok(&[]) } else { Err(Error::Parameter(format!("{name} is a null pointer, but its length is {length}"))) };
    }
    if isize::try_from(length).is_err() {
        return Err(Error::Parameter(format!("{name} has an impossible length")));
    }
    // SAFETY: promised by the caller, and not larger than a slice may be.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// A caller's structure that may be of an older or newer version: what it has beyond ours is ignored, what it lacks stays at its default.
///
/// # Safety
/// `pointer` is null or points to `size` readable bytes, where `size` is the `usize` they start with; `T` is `repr(C)`, starts with that `usize`, and any
/// bytes that a C program can store in its fields are valid.
unsafe fn sized<T: Copy + Default>(pointer: *const T, name: &str) -> Result<T> {
    let mut value = T::default();
    if pointer.is_null() {
        return Ok(value);
    }
    // SAFETY: there is a `usize` at least; the caller promised so.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size < size_of::<usize>() {
        return Err(Error::Parameter(format!("{name}: its field size is not set")));
    }
    // A compiler's `sizeof` is a multiple of the alignment: what is not would end within a field. That is the alignment of the caller's structure, a `usize`'s at least:
    // where one of 8 bytes is larger than that, those that came later have made ours larger.
    let length = size.min(size_of::<T>()) / align_of::<usize>() * align_of::<usize>();
    // SAFETY: the source has `size` bytes and the target `size_of::<T>()`, and `length` is no more than either.
    unsafe { std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast::<u8>(), length) };
    Ok(value)
}

/// A structure that has to be there.
///
/// # Safety
/// As [`sized`].
unsafe fn required<T: Copy + Default>(pointer: *const T, name: &str) -> Result<T> {
    if pointer.is_null() {
        return Err(Error::Parameter(format!("{name} is a null pointer")));
    }
    // SAFETY: promised by the caller.
    unsafe { sized(pointer, name) }
}

/// Writes as much of `value` as the caller's structure has room for, but for its `size`.
///
/// # Safety
/// `pointer` points to `size` writable bytes, where `size` is the `usize` they start with; `T` is `repr(C)` without padding that matters and starts with
/// that `usize`.
unsafe fn store<T: Copy>(pointer: *mut T, value: &T, name: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(Error::Parameter(format!("{name} is a null pointer")));
    }
    let head = size_of::<usize>();
    // SAFETY: there is a `usize` at least; the caller promised so.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size < head {
        return Err(Error::Parameter(format!("{name}: its field size is not set")));
    }
    let length = size.min(size_of::<T>()) - head;
    // SAFETY: both sides have `head + length` bytes and do not overlap.
    unsafe { std::ptr::copy_nonoverlapping((&raw const *value).cast::<u8>().add(head), pointer.cast::<u8>().add(head), length) };
    Ok(())
}

/// Fills a caller's options with the defaults; what an older library does not know becomes zero.
///
/// # Safety
/// `options` is null or points to `size` writable bytes; `T` is as for [`store`].
unsafe fn init<T: Copy>(options: *mut T, size: usize, default: &T) -> AeiStatus {
    let body = || {
        if options.is_null() || size < size_of::<usize>() {
            return Err(Error::Parameter("options is a null pointer or has no size".into()));
        }
        // SAFETY: the caller promised `size` bytes.
        unsafe {
            options.cast::<u8>().write_bytes(0, size);
            options.cast::<usize>().write_unaligned(size);
            store(options, default, "options")
        }
    };
    // SAFETY: there is no structure for a message.
    unsafe { guarded(std::ptr::null_mut(), body) }
}

/// What is handed back to a callback untouched. It crosses threads since callbacks are called from worker threads: the header says so.
#[derive(Clone, Copy)]
struct UserData(*mut c_void);
// SAFETY: the pointer is never followed here; the header asks callers for callbacks that may be called from any thread.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands for a field of 64 bits where pointers have 32.
    #[derive(Debug, Clone, Copy, Default)]
    #[repr(C, align(16))]
    struct Wide(u8);

    #[derive(Debug, Clone, Copy, Default)]
    #[repr(C)]
    struct Known {
        size: usize,
        first: usize,
        last: usize,
        added: Wide,
    }

    #[test]
    fn structures_of_older_callers_are_read_to_their_end() {
        let mut older = Known { size: 3 * size_of::<usize>(), first: 1, last: 2, added: Wide(3) };
        // SAFETY: there are as many bytes as `size` says, and more.
        let known = unsafe { sized(&raw const older, "older") }.unwrap();
        assert_eq!((known.first, known.last, known.added.0), (1, 2, 0));
        // What ends within a field does not have it.
        older.size -= 1;
        // SAFETY: as above.
        let known = unsafe { sized(&raw const older, "older") }.unwrap();
        assert_eq!((known.first, known.last), (1, 0));
    }
}
