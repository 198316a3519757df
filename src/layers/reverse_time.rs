use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::Tape;
use dfdx::tensor_ops::{Device, GatherTo};

use crate::Sequence;

/// The steps of x, `(B, T, D)`, from the last to the first. A layer that reads them so knows at each
/// step what comes after it: beside one that reads forward, it makes a *bidirectional* network.
///
/// Source: M. Schuster and K. Paliwal, *Bidirectional recurrent neural networks*, 1997.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let x: Sequence = dev.tensor_from_vec(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (1, 3, 2));
/// assert_eq!(reverse_time(x).as_vec(), [5.0, 6.0, 3.0, 4.0, 1.0, 2.0]);
/// ```
#[inline(never)]
pub fn reverse_time<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Sequence<E, D, T>,
) -> Sequence<E, D, T> {
    let (batch, time, _) = *x.shape();
    let steps: Vec<usize> = (0..batch).flat_map(|_| (0..time).rev()).collect();
    let steps = x.device().tensor_from_vec(steps, (batch, time));
    x.gather(steps)
}
