//! Work on scoped threads. Which thread does what never shows in a result: tasks write to places of their own.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Do `task(0)` … `task(count - 1)`, each once, on up to that many threads, this one among them.
pub fn for_each(threads: usize, count: usize, task: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            task(index);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            // Without another thread the work is done all the same.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
}

/// How many threads are worth their start for work that has that many parts beyond the first.
pub fn worth(parts: usize) -> usize {
    let most = std::thread::available_parallelism().map_or(1, NonZero::get);
    most.min(parts + 1)
}

/// Lock, whatever a panic elsewhere left: the panic itself ends the call.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
