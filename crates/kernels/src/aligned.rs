//! Buffers that start on a cache line.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Bytes of a cache line, and of the widest vector register.
const LINE: usize = 64;

/// A fixed number of floats that starts on a cache line, so that no vector load crosses two.
///
/// Speed alone rests on the alignment: the vector types accept any address.
#[derive(Default)]
pub(crate) struct Aligned {
    storage: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let storage = vec![0.0; len + LINE / size_of::<f32>()];
        let start = storage.as_ptr().align_offset(LINE).min(LINE / size_of::<f32>());
        Aligned { storage, start, len }
    }

    /// The most floats that there is room for.
    fn capacity(&self) -> usize {
        self.storage.len() - self.start
    }
}

impl Deref for Aligned {
    type Target = [f32];
    #[inline(always)]
    fn deref(&self) -> &[f32] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

/// A buffer that is used again: at first it holds what its last user has left.
///
/// The operations of a tape are made anew in every step and cannot keep their buffers. Memory fresh
/// from the system costs more than what a small layer does with it.
pub struct Recycled(Aligned);

/// Buffers without a user, the one that was left last at the end.
static UNUSED: Mutex<VecDeque<Aligned>> = Mutex::new(VecDeque::new());

/// The most floats that lie there unused: 128 MB.
const MOST_UNUSED: usize = 1 << 25;

impl Recycled {
    /// A buffer of `len` floats.
    pub fn new(len: usize) -> Self {
        let mut unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = unused.iter().enumerate().filter(|(_, buffer)| buffer.capacity() >= len);
        let smallest = fitting.min_by_key(|(_, buffer)| buffer.capacity()).map(|(i, _)| i);
        let found = smallest.and_then(|i| unused.remove(i));
        drop(unused);
        Recycled(match found {
            Some(buffer) => Aligned { len, ..buffer },
            None => Aligned::zeros(len),
        })
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        let mut unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner);
        unused.push_back(buffer);
        while unused.iter().map(Aligned::capacity).sum::<usize>() > MOST_UNUSED {
            unused.pop_front();
        }
    }
}

impl Deref for Recycled {
    type Target = [f32];
    #[inline(always)]
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Recycled {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}
