//! Threads for callers that bring none of their own: C and Python programs.

use std::sync::{Arc, Mutex, PoisonError};
#[cfg(any(feature = "python", test))]
use std::{sync::mpsc, time::Duration};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Error, Result};

/// With the process that it was made in.
type Shared = Mutex<Option<(u32, Arc<ThreadPool>)>>;

static SHARED: Shared = Mutex::new(None);

/// A worker that waits for a part of one picture may take up another picture meanwhile, on top of the first one's stack. Only what is touched takes memory.
const STACK: usize = 16 << 20;

/// Does `work` on one pool for all calls of the process, with a thread per processor.
///
/// It is not rayon's global pool: that one does not outlive a `fork`, after which whoever uses it waits for ever, and where its threads could not be started once,
/// it is never tried again.
///
/// # Errors
/// [`Error::Limits`] if the threads cannot be started, and those of `work`.
pub(crate) fn on_shared<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    shared(&SHARED, std::process::id())?.install(work)
}

/// As [`on_shared`], while the calling thread calls `look` ten times a second.
#[cfg(any(feature = "python", test))]
pub(crate) fn on_shared_watched<T: Send>(work: impl FnOnce() -> Result<T> + Send, mut look: impl FnMut()) -> Result<T> {
    let (done, waiting) = mpsc::sync_channel(1);
    let outcome = shared(&SHARED, std::process::id())?.in_place_scope(|scope| {
        scope.spawn(move |_| {
            // Somebody waits for it, below.
            let _ = done.send(work());
        });
        loop {
            match waiting.recv_timeout(Duration::from_millis(100)) {
                Ok(outcome) => return Some(outcome),
                Err(mpsc::RecvTimeoutError::Timeout) => look(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            }
        }
    });
    outcome.expect("work without an outcome has panicked, and so has the scope")
}

/// As [`on_shared`], on a pool for this call alone.
#[cfg(feature = "capi")]
pub(crate) fn on_own<T: Send>(threads: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    pool(threads)?.install(work)
}

/// The lock is never held for long, so that it is unlikely to be held while a process forks.
fn shared(place: &Shared, process: u32) -> Result<Arc<ThreadPool>> {
    let known = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match known {
        Some((of, pool)) if of == process => return Ok(pool),
        // Its threads are the parent's, and cannot be told to end from here.
        Some((_, pool)) => std::mem::forget(pool),
        None => {}
    }
    let made = Arc::new(pool(0)?);
    let mut shared = place.lock().unwrap_or_else(PoisonError::into_inner);
    match &*shared {
        // Another thread was faster.
        Some((of, pool)) if *of == process => Ok(pool.clone()),
        _ => {
            *shared = Some((process, made.clone()));
            Ok(made)
        }
    }
}

/// With a thread per processor for 0.
fn pool(threads: usize) -> Result<ThreadPool> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK).build();
    pool.map_err(|error| Error::Limits(format!("the threads cannot be started: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pool_for_a_process_and_another_for_its_child() {
        let place = Mutex::new(None);
        let first = shared(&place, 1).unwrap();
        assert!(Arc::ptr_eq(&first, &shared(&place, 1).unwrap()));
        let child = shared(&place, 2).unwrap();
        assert!(!Arc::ptr_eq(&first, &child));
        assert!(Arc::ptr_eq(&child, &shared(&place, 2).unwrap()));
        assert!(on_shared(|| Ok(rayon::current_thread_index().is_some())).unwrap());
    }

    #[test]
    fn work_is_watched_until_it_ends() {
        let (stop, stopped) = mpsc::channel();
        let work = move || stopped.recv_timeout(Duration::from_secs(60)).map_err(|_| Error::Cancelled);
        let mut looks = 0;
        let outcome = on_shared_watched(work, || {
            looks += 1;
            // The work may have ended since.
            let _ = stop.send(looks);
        });
        assert!(matches!(outcome, Ok(1)), "{outcome:?}");
        assert!(matches!(on_shared_watched(|| Err::<(), _>(Error::Cancelled), || {}), Err(Error::Cancelled)));
        let panics = std::panic::catch_unwind(|| on_shared_watched::<()>(|| panic!("on purpose"), || {}));
        assert_eq!(panics.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
    }

    #[test]
    fn errors_go_through() {
        assert!(matches!(on_shared(|| Err::<(), _>(Error::Cancelled)), Err(Error::Cancelled)));
    }
}
