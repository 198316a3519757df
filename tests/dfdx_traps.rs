//! What notebook 1 says of dfdx 0.13: a newer version may do better, and then the notebook has to say so.

use seq2seq::dfdx::tensor::{OwnedTape, TensorFrom};
use seq2seq::prelude::*;
use std::panic::catch_unwind;

fn numbers() -> Tensor<(usize,), f32, Cpu> {
    Cpu::default().tensor_from_vec(vec![1.0, 2.0, 3.0, 4.0], (4,))
}

#[test]
fn a_tensor_times_its_clone_panics_on_the_tape_and_square_does_not() {
    let product = || {
        let x = numbers();
        (x.leaky_trace() * x).sum().backward()
    };
    let panic = catch_unwind(product).expect_err("a tensor times its clone panics no more");
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.contains("assertion `left != right` failed"), "{message}");

    let x = numbers();
    let gradients = x.leaky_trace().square().sum().backward();
    assert_eq!(gradients.get(&x).as_vec(), [2.0, 4.0, 6.0, 8.0]);
}

/// Each number in the middle is in both parts, so that its gradient is 2.
#[test]
fn overlapping_slices_lose_gradients_and_select_adds_them() {
    type Taped = OwnedTape<f32, Cpu>;
    let (x, dev) = (numbers(), Cpu::default());
    let both = x.leaky_trace().slice((..3,)).sum::<(), _>();
    let both = both + x.retaped::<Taped>().slice((1..,)).sum::<(), _>();
    assert_eq!(both.backward().get(&x).as_vec(), [1.0, 1.0, 1.0, 1.0]);

    let at = |index: usize| x.retaped::<Taped>().select(dev.tensor(index));
    let both = [1, 2, 1, 2, 3].into_iter().fold(at(0), |sum, index| sum + at(index));
    assert_eq!(both.backward().get(&x).as_vec(), [1.0, 2.0, 2.0, 1.0]);
}
