//! Planted faults, which show that a sanitizer sees them: `make sanitize` runs them one by one and wants each to fail.

#![allow(unsafe_code, reason = "planted faults need it")]

use std::hint::black_box;

#[test]
#[ignore = "reads beyond its buffer"]
fn overflow() {
    let bytes = vec![7u8; black_box(64)];
    // SAFETY: none: the address sanitizer has to find it.
    let beyond = unsafe { *bytes.as_ptr().add(black_box(64)) };
    black_box(beyond);
}

#[test]
#[ignore = "loses memory"]
fn leak() {
    black_box(vec![7u8; black_box(64)]).leak();
}

#[test]
#[ignore = "writes from two threads at once"]
fn race() {
    struct Shared(*mut u64);
    // SAFETY: none: the thread sanitizer has to find it.
    unsafe impl Sync for Shared {}
    let mut count = 0u64;
    let shared = &Shared(&raw mut count);
    // Neither thread begins before the other is there: on a busy machine one of them would do all the work alone.
    let both = std::sync::Barrier::new(2);
    upswell_kernel::threads::for_each(2, 2, |_| {
        both.wait();
        for _ in 0..1000 {
            // SAFETY: none, as above.
            unsafe { *black_box(shared.0) += 1 };
        }
    });
    black_box(count);
}

#[test]
#[should_panic(expected = "overflow")]
fn sums_that_overflow_stop_every_test() {
    let most = black_box(u64::MAX);
    black_box(most + black_box(1));
}
