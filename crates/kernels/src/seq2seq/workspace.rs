//! The activations of one tile.

use super::network::NetworkShape;
use crate::aligned::Aligned;
use crate::stack::StackShape;

/// Buffers for the passes of one tile in a training step, of any width up to the one they were made for.
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
    /// Two of (T, H, W), for the largest T and H: the gradients of a layer's outputs, and of its
    /// inputs.
    pub(super) streams: [Aligned; 2],
    /// (H, W): the gradient of the decoder's constant input.
    pub(super) context: Aligned,
    /// (GATES·H, W): the gates' gradients of the decoder's first layer, summed over time.
    pub(super) summed: Aligned,
    /// The sum of squared errors.
    pub(super) squares: f64,
}

impl Workspace {
    /// Buffers for a step with dropout or without, of tiles of up to `width` lanes.
    pub(super) fn new(
        shape: &NetworkShape,
        [past, future]: [usize; 2],
        width: usize,
        dropout: bool,
    ) -> Self {
        let (encoder, decoder) = (shape.encoder(), shape.decoder());
        let stack = |shape: &StackShape, steps| Aligned::zeros(shape.rows(steps, dropout) * width);
        let widest = shape.hidden.iter().copied().max().unwrap_or(0);
        let stream = past.max(future) * widest * width;
        let first = decoder.layers[0];
        Workspace {
            past: Aligned::zeros(past * shape.features * width),
            future: Aligned::zeros(future * shape.outputs * width),
            output: Aligned::zeros(future * shape.outputs * width),
            encoder: stack(&encoder, past),
            decoder: stack(&decoder, future),
            streams: [Aligned::zeros(stream), Aligned::zeros(stream)],
            context: Aligned::zeros(decoder.top() * width),
            summed: Aligned::zeros(first.groups() * first.hidden * width),
            squares: 0.0,
        }
    }
}
