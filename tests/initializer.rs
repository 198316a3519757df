//! What the weights are drawn from.

use seq2seq::prelude::*;

fn gru(hidden: usize) -> Gru {
    Gru::new(6, &[hidden], &mut Initializer::new(5), &Cpu::default()).unwrap()
}

#[test]
fn the_recurrent_weights_of_each_gate_are_orthogonal() {
    for hidden in [1, 2, 12, 100] {
        let weights = gru(hidden).layers[0].weight_hh.as_vec();
        for gate in weights.chunks(hidden * hidden) {
            for i in 0..hidden {
                for j in 0..hidden {
                    let rows = gate[i * hidden..][..hidden].iter().zip(&gate[j * hidden..]);
                    let product: f32 = rows.map(|(a, b)| a * b).sum();
                    let expected = if i == j { 1.0 } else { 0.0 };
                    assert!((product - expected).abs() < 1e-5, "rows {i} and {j}: {product}");
                }
            }
        }
    }
}

#[test]
fn input_weights_fill_the_glorot_range_and_biases_are_zero() {
    let gru = gru(100);
    let layer = &gru.layers[0];
    let limit = (6.0f32 / (300.0 + 6.0)).sqrt();
    let weights = layer.weight_ih.as_vec();
    let (low, high) = (
        weights.iter().fold(0.0f32, |a, &b| a.min(b)),
        weights.iter().fold(0.0f32, |a, &b| a.max(b)),
    );
    assert!(-limit <= low && low < -0.98 * limit, "{low}");
    assert!(0.98 * limit < high && high <= limit, "{high}");
    let variance = weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32;
    assert!((variance / (limit * limit / 3.0) - 1.0).abs() < 0.1, "uniform, not {variance}");
    assert_eq!(layer.bias_ih.as_vec(), vec![0.0; 300]);
    assert_eq!(layer.bias_hh.shape(), &(300,));
}

#[test]
fn layers_of_one_initializer_differ() {
    let mut init = Initializer::new(5);
    let mut weights = || Dense::new(4, 4, &mut init, &Cpu::default()).unwrap().weight.as_vec();
    assert_ne!(weights(), weights());
}
