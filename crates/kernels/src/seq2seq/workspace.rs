//! The activations of one tile.

use super::network::NetworkShape;
use crate::aligned::Aligned;
use crate::stack::StackShape;

/// Buffers for the passes of one tile, of any width up to the one they were made for.
///
/// A narrower tile uses the front of each buffer.
pub(super) struct Workspace {
    /// (P·D, W).
    pub(super) past: Aligned,
    /// (F·O, W): the true future, then nothing.
    pub(super) future: Aligned,
    /// (F·O, W): the predictions, replaced by their gradients.
    pub(super) output: Aligned,
    /// The buffer of the encoder's [`TilePass`](crate::stack::TilePass).
    pub(super) encoder: Aligned,
    /// The buffer of the decoder's.
    pub(super) decoder: Aligned,
    pub(super) gradients: Option<GradientBuffers>,
    /// The sum of squared errors.
    pub(super) squares: f64,
}

/// What the backward pass needs besides.
pub(super) struct GradientBuffers {
    /// Two of (T, H, W), for the largest T and H: the gradients of a layer's outputs, and of its
    /// inputs.
    pub(super) streams: [Aligned; 2],
    /// (H, W): the gradient of the decoder's constant input.
    pub(super) context: Aligned,
    /// (GATES·H, W): the gates' gradients of the decoder's first layer, summed over time.
    pub(super) summed: Aligned,
}

impl GradientBuffers {
    /// For steps of past and future, and tiles of up to `width` lanes.
    pub(super) fn new(shape: &NetworkShape, steps: [usize; 2], width: usize) -> Self {
        let decoder = shape.decoder();
        let widest = shape.hidden.iter().copied().max().unwrap_or(0);
        let stream = steps[0].max(steps[1]) * widest * width;
        let first = decoder.layers[0];
        GradientBuffers {
            streams: [Aligned::zeros(stream), Aligned::zeros(stream)],
            context: Aligned::zeros(decoder.top() * width),
            summed: Aligned::zeros(first.groups() * first.hidden * width),
        }
    }
}

impl Workspace {
    /// Buffers for a prediction, or a step with dropout or without, of tiles of up to `width` lanes.
    pub(super) fn new(
        shape: &NetworkShape,
        [past, future]: [usize; 2],
        width: usize,
        dropout: bool,
        gradients: Option<GradientBuffers>,
    ) -> Self {
        let stack = |shape: StackShape, steps| Aligned::zeros(shape.rows(steps, dropout) * width);
        Workspace {
            past: Aligned::zeros(past * shape.features * width),
            future: Aligned::zeros(future * shape.outputs * width),
            output: Aligned::zeros(future * shape.outputs * width),
            encoder: stack(shape.encoder(), past),
            decoder: stack(shape.decoder(), future),
            gradients,
            squares: 0.0,
        }
    }
}
