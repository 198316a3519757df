//! What every training minimises, on fused kernels and on the tape:
//!
//! ```text
//! loss     the mean over the batch of ½ Σ (prediction − future)², summed over the F steps and O targets
//! penalty  λ · ½ Σ w², over all weights; λ is the weight decay
//! ```
//!
//! A network that predicts the future at every step of the past has the mean of the loss over the P steps.
//!
//! The tape computes the loss here, in [`half_of_squares`]. The fused kernels compute [`LOSS`], with its
//! gradient, where a tile has its predictions: in `Residual` of `crates/kernels/src/seq2seq/step.rs`, and on a
//! GPU in `train_step.cu` and `operations.cu` of `crates/kernels-cuda/src`.

use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{Tape, Tensor};
use dfdx::tensor_ops::{Device, SumTo};

use crate::Sequence;
use crate::error::{Result, check_shape};
use crate::kernels::seq2seq::Loss;

/// The name of the loss among the fused kernels.
pub(super) const LOSS: Loss = Loss::HalfSum;

/// The loss that [`fit`](crate::train::fit) minimises, without the penalty: the mean over the batch of
/// ½ Σ (prediction − future)², summed over the time steps and features. Both are `(B, F, O)`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when the two have different shapes.
pub fn loss<E: Dtype + From<f32>, D: Device<E>, T: Tape<E, D>>(
    prediction: Sequence<E, D, T>,
    future: Sequence<E, D>,
) -> Result<Tensor<(), E, D, T>> {
    let (batch, ..) = *future.shape();
    half_of_squares(prediction, future, batch)
}

/// Half the sum of all squared differences, divided by `count`.
pub(super) fn half_of_squares<E: Dtype + From<f32>, D: Device<E>, T: Tape<E, D>>(
    prediction: Sequence<E, D, T>,
    truth: Sequence<E, D>,
    count: usize,
) -> Result<Tensor<(), E, D, T>> {
    check_shape("the prediction", *truth.shape(), *prediction.shape())?;
    Ok((prediction - truth).square().sum() / E::from(2.0 * count as f32))
}

/// The penalty on the weights.
pub(super) fn penalty(weights: &[f32], weight_decay: f64) -> f64 {
    let squares = weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>();
    weight_decay * 0.5 * squares
}
