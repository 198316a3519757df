//! A stack with a dense head against the stack and the head one after the other.

use crate::reference::Numbers;
use seq2seq::kernels::level::Level;
use seq2seq::kernels::recurrent::{CellKind, Input, RecurrentStack, States, Upstream};

const SIZES: [usize; 9] = [1, 2, 3, 5, 8, 12, 17, 33, 50];

#[test]
fn a_head_is_a_dense_map_of_the_outputs() {
    for seed in 0..60 {
        let mut numbers = Numbers(seed);
        let [batch, steps, features, hidden, outputs] = [(); 5].map(|()| numbers.pick(&SIZES));
        let layers = &[hidden; 2][..if seed % 5 < 3 { 1 } else { 2 }];
        // So many series that shares have several tiles.
        let (batch, steps) = if seed < 3 { (600, 2) } else { (batch, steps) };
        let kind = [CellKind::SimpleRnn, CellKind::Gru, CellKind::Lstm][seed as usize % 3];
        let repeated = seed % 2 == 0;
        let first = (seed % 4 < 2).then(|| numbers.vec(batch * hidden, 0.9));
        let first: Vec<_> =
            first.iter().map(|h| States { hidden: Some(&h[..]), cell: None }).collect();
        let first: Vec<_> = layers.iter().flat_map(|_| &first).copied().collect();
        let x = numbers.vec(batch * features * if repeated { 1 } else { steps }, 1.0);
        let input = if repeated { Input::Repeated(&x, steps) } else { Input::Sequence(&x) };
        let of_y = numbers.vec(batch * steps * outputs, 1.0);

        for level in Level::available() {
            let stack = RecurrentStack::new(kind, features, layers, level);
            let with_head = stack.clone().with_head(outputs);
            let weights = numbers.vec(with_head.num_weights(), 0.5);
            let (of_layers, of_head) = weights.split_at(stack.num_weights());

            let (hidden_states, saved) = stack.forward(of_layers, input, &first, batch, true);
            let head = RecurrentStack::new(kind, hidden, &[], level).with_head(outputs);
            let states = Input::Sequence(&hidden_states.every_step);
            let (expected, saved_head) = head.forward(of_head, states, &[], batch, true);
            let expected = expected.every_step;
            let upstream = Upstream { every_step: Some(&of_y), last: &[] };
            let mut of_states = vec![0.0; batch * steps * hidden];
            let expected_of_head =
                head.backward(saved_head, upstream, Some(&mut of_states)).weights;
            let upstream = Upstream { every_step: Some(&of_states), last: &[] };
            let mut expected_of_x = vec![0.0; x.len()];
            let expected_gradients = stack.backward(saved, upstream, Some(&mut expected_of_x));

            let (actual, saved) = with_head.forward(&weights, input, &first, batch, true);
            let upstream = Upstream { every_step: Some(&of_y), last: &[] };
            let mut of_x = vec![0.0; x.len()];
            let gradients = with_head.backward(saved, upstream, Some(&mut of_x));

            let name = format!(
                "seed {seed}, {kind:?}, {level:?}, B {batch} T {steps} D {features} H {layers:?} \
                 O {outputs}, repeated {repeated}"
            );
            assert_eq!(actual.every_step, expected, "{name}, outputs");
            assert!(actual.last.is_empty(), "{name}");
            assert_eq!(of_x, expected_of_x, "{name}, gradient of the input");
            assert_eq!(gradients.initial, expected_gradients.initial, "{name}, first states");
            assert_eq!(gradients.initial.len(), first.len(), "{name}");
            let expected = [expected_gradients.weights, expected_of_head].concat();
            assert_eq!(gradients.weights, expected, "{name}, gradient of the weights");
        }
    }
}
