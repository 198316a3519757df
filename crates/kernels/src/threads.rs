//! Work shared with other threads.

use rayon::{current_num_threads, in_place_scope};
use std::hint::spin_loop;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The most shares of a batch: what so many threads can work on at once. Fixed, so that the result
/// does not depend on the number of threads; small, since each share has a gradient of its own.
pub(crate) const MAX_SHARES: usize = 16;

/// Cuts so many tiles into at most `most` shares, each of which adds up their gradients: as many tiles
/// to a share as to the others, or one more.
pub(crate) fn shares(tiles: usize, most: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    let shares = tiles.min(most);
    (0..shares).map(move |i| i * tiles / shares..(i + 1) * tiles / shares)
}

/// The sum of gradients of `len` weights each, in their order.
pub(super) fn sum_of_shares(gradients: &[f32], len: usize) -> Vec<f32> {
    let mut sum = vec![0.0; len];
    for gradient in gradients.chunks_exact(len) {
        sum.iter_mut().zip(gradient).for_each(|(to, from)| *to += from);
    }
    sum
}

/// Whether so many multiply-adds are worth to wake another thread.
pub(super) fn worth_threads(multiply_adds: usize) -> bool {
    multiply_adds >= 1 << 19
}

/// How often the calling thread looks whether the others are done before it sleeps: for some 50 us.
const SPINS: usize = 2000;

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
    let busy = AtomicUsize::new(0);
    in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| {
                busy.fetch_add(1, Ordering::Relaxed);
                take_turns();
                busy.fetch_sub(1, Ordering::Relaxed);
            });
        }
        take_turns();
        // To fall asleep and be woken takes longer than the last item of another thread.
        let mut spins = SPINS;
        while spins > 0 && busy.load(Ordering::Relaxed) > 0 {
            spin_loop();
            spins -= 1;
        }
    });
}
