//! The fused dense layer against the same in plain dfdx operations.

use proptest::prelude::*;
use seq2seq::prelude::*;

use crate::stack::{numbers, wave};

/// The outputs, and the gradients of x, weight and bias, one after the other.
fn everything(dense: &Dense, x: &Sequence, fused: bool) -> Vec<f32> {
    let traced = x.leaky_trace();
    let y = if fused { dense.forward(traced) } else { dense.forward_reference(traced) }.unwrap();
    let outputs = y.as_vec();
    let weight: Sequence =
        Cpu::default().tensor_from_vec(numbers(&wave(outputs.len(), 0.9, 1.0)), *y.shape());
    let gradients = (y * weight).sum::<(), _>().backward();
    let of_weights = [gradients.get(&dense.weight).as_vec(), gradients.get(&dense.bias).as_vec()];
    [outputs, gradients.get(x).as_vec(), of_weights.concat()].concat()
}

fn given(batch: usize, time: usize, inputs: usize, outputs: usize) -> (Dense, Sequence) {
    let dev = Cpu::default();
    let mut dense = Dense::new(inputs, outputs, &mut Initializer::new(3), &dev).unwrap();
    dense.bias.copy_from(&numbers::<f32>(&wave(outputs, 0.2, 1.0)));
    let x = numbers(&wave(batch * time * inputs, 0.5, 1.0));
    (dense, dev.tensor_from_vec(x, (batch, time, inputs)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn outputs_and_gradients_equal_the_reference(
        batch in 1..40usize, time in 1..12usize, inputs in 1..40usize, outputs in 1..20usize,
    ) {
        let (dense, x) = given(batch, time, inputs, outputs);
        let (fused, reference) = (everything(&dense, &x, true), everything(&dense, &x, false));
        prop_assert_eq!(fused.len(), reference.len());
        for (f, r) in fused.iter().zip(&reference) {
            let scale = r.abs().max((batch * time) as f32 / 10.0).max(1.0);
            prop_assert!((f - r).abs() < 1e-5 * scale, "{f} is not {r}");
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (dense, x) = given(600, 30, 20, 7); // more tiles than are summed apart
            everything(&dense, &x, true)
        })
    };
    assert_eq!(run(1), run(2));
}
