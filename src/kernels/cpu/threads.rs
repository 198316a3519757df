//! Work shared with other threads.

use rayon::{current_num_threads, in_place_scope};
use std::sync::{Mutex, PoisonError};

/// The most gradients that are summed apart, to be added in the end.
pub(super) const MAX_SHARES: usize = 16;

/// Whether so many multiply-adds are worth to wake another thread.
pub(super) fn worth_threads(multiply_adds: usize) -> bool {
    multiply_adds >= 1 << 19
}

/// Calls `work` with each of `items`; with the other threads of the pool if `worth` it.
///
/// rayon's own loops hand all work over to the pool. Outside of it, where the cells of a notebook
/// run, that takes two changes of thread for each loop, as long as a small layer takes. Here the
/// calling thread begins at once, and others help as soon as they are awake.
pub(super) fn for_each<T: Send>(items: Vec<T>, worth: bool, work: impl Fn(T) + Sync) {
    let helpers = if worth { current_num_threads().min(items.len()).saturating_sub(1) } else { 0 };
    let items = Mutex::new(items.into_iter());
    // The lock is released before the work begins: an item at a time.
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let take_turns = || {
        while let Some(item) = next() {
            work(item);
        }
    };
    if helpers == 0 {
        return take_turns();
    }
    in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| take_turns());
        }
        take_turns();
    });
}
