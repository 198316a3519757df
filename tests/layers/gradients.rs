//! Every gradient of the reference against central differences, in double precision.

use seq2seq::prelude::*;

use crate::stack::{Form, Given, Stack, everything};

/// Half the distance of the two points; the error of the difference is about its square.
const STEP: f64 = 1e-5;

fn check<S: Stack<f64>>() {
    let given = Given::waves::<S>(2, 3, 2, &[3, 4]);
    let (_, found) = everything::<f64, S>(Form::Reference, &given);
    let analytic = |name: &str| &found.iter().find(|(n, _)| n == name).expect("a gradient").1;
    // Moves every value that `place` finds in a copy of what is given.
    let compare = |name: &str, place: &dyn Fn(&mut Given) -> &mut Vec<f64>| {
        let gradient = analytic(name);
        assert!(gradient.iter().any(|g| g.abs() > 1e-6), "{name} is zero: nothing is tested");
        for (i, gradient) in gradient.iter().enumerate() {
            let loss_at = |offset: f64| {
                let mut moved = given.clone();
                place(&mut moved)[i] += offset;
                everything::<f64, S>(Form::Reference, &moved).0
            };
            let numeric = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
            let error = (gradient - numeric).abs();
            assert!(error < 1e-8, "{name}[{i}]: {gradient} on the tape, {numeric} measured");
        }
    };
    compare("gradient of x", &|given| &mut given.x);
    for l in 0..given.hidden.len() {
        for s in 0..S::STATES {
            let name = format!("gradient of first state {s} of layer {l}");
            compare(&name, &|given| &mut given.first[l][s]);
        }
    }
    let stack = S::build(2, &[3, 4]);
    for (i, (name, _)) in stack.parameters().into_iter().enumerate() {
        compare(&format!("gradient of {name}"), &|given| &mut given.weights[i]);
    }
}

#[test]
fn a_simple_rnn_matches_central_differences() {
    check::<SimpleRnn<f64, Cpu>>();
}

#[test]
fn a_gru_matches_central_differences() {
    check::<Gru<f64, Cpu>>();
}

#[test]
fn an_lstm_matches_central_differences() {
    check::<Lstm<f64, Cpu>>();
}
