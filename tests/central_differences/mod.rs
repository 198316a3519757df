//! Every gradient of a model against central differences, in double precision.

use dfdx::tensor::OwnedTape;
use seq2seq::layers::{Parameter, Parameters};
use seq2seq::prelude::*;

/// Half the distance of the two points; the error of the difference is about its square.
const STEP: f64 = 1e-5;

/// Holds the gradient of `loss_of` with respect to every weight against what it does when the weight
/// moves.
pub(crate) fn check<M: Parameters<f64, Cpu>>(
    model: &mut M,
    loss_of: impl Fn(&M) -> Tensor<(), f64, Cpu, OwnedTape<f64, Cpu>>,
) {
    let gradients = loss_of(model).backward();
    for index in 0..model.parameters().len() {
        let (name, parameter) = model.parameters()[index].clone();
        let analytic = match parameter {
            Parameter::Vector(weight) => gradients.get(weight).as_vec(),
            Parameter::Matrix(weight) => gradients.get(weight).as_vec(),
        };
        let values = parameter.to_vec();
        for i in 0..values.len() {
            let mut loss_at = |offset: f64| {
                let mut moved = values.clone();
                moved[i] += offset;
                model.parameters_mut()[index].1.copy_from(&moved);
                loss_of(model).array()
            };
            let numeric = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
            let error = (analytic[i] - numeric).abs();
            assert!(error < 1e-8, "{name}[{i}]: {} on the tape, {numeric} measured", analytic[i]);
        }
        model.parameters_mut()[index].1.copy_from(&values);
    }
}
