//! Parallel loops over scoped threads. No result depends on which thread ran a task: tasks write to places of their
//! own.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};

/// Run `task(0)` … `task(count - 1)`, each once, on up to that many threads, the calling one among them.
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
    thread::scope(|scope| {
        // When no other thread can be started, this one does all the work.
        let others: Vec<_> = (1..threads.min(count))
            .filter_map(|_| Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        work();
        // The scope would join them too, but in a way that the thread sanitizer cannot see.
        for other in others {
            if let Err(panic) = other.join() {
                resume_unwind(panic);
            }
        }
    });
}

/// Run tasks as `for_each` does, and return their results in order.
pub fn map<T: Default + Send>(
    threads: usize,
    count: usize,
    task: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let made: Vec<Mutex<T>> = (0..count).map(|_| Mutex::default()).collect();
    for_each(threads, count, |index| {
        let result = task(index);
        *lock(&made[index]) = result;
    });
    let made = made.into_iter().map(Mutex::into_inner);
    made.map(Result::unwrap_or_default).collect()
}

/// Return the number of threads worth starting for work that comes in so many parts.
pub fn worth(parts: usize) -> usize {
    let most = thread::available_parallelism().map_or(1, NonZero::get);
    most.min(parts.max(1))
}

/// Lock even when a panic poisoned the mutex: the panic itself ends the call.
#[cfg(not(sanitizer = "thread"))]
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same for the thread sanitizer: the standard library waits in code that was compiled without it, so a lock that
/// was waited for would look like no lock.
#[cfg(sanitizer = "thread")]
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    use std::sync::TryLockError;
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => thread::yield_now(),
        }
    }
}
