//! The activations of one tile.

use super::network::NetworkShape;
use crate::aligned::Aligned;
use crate::cell::Cell;
use crate::gru::Gru;
use crate::layer::Shape;

/// Buffers for the passes of one tile, of any width up to the one they were made for.
///
/// A narrower tile uses the front of each buffer.
pub(super) struct Workspace {
    /// Steps of the past, P.
    pub(super) past_steps: usize,
    /// Steps of the future, F.
    pub(super) future_steps: usize,
    /// (P·D, W).
    pub(super) past: Aligned,
    /// (F·O, W): the true future, then nothing.
    pub(super) future: Aligned,
    /// (F·O, W): the predictions, replaced by their gradients.
    pub(super) output: Aligned,
    pub(super) encoder: Vec<LayerBuffers>,
    pub(super) decoder: Vec<LayerBuffers>,
    pub(super) gradients: Option<GradientBuffers>,
    /// The sum of squared errors.
    pub(super) squares: f64,
}

/// What a layer keeps over time.
pub(super) struct LayerBuffers {
    /// (T, SAVED·H, W).
    pub(super) gates: Aligned,
    /// (T + 1, H, W).
    pub(super) hidden: Aligned,
    /// Units, H.
    pub(super) units: usize,
}

/// What the backward pass needs besides.
pub(super) struct GradientBuffers {
    /// Two of (T, H, W), for the largest T and H: the gradients of a layer's outputs, and of its
    /// inputs.
    pub(super) streams: [Aligned; 2],
    /// (H, W) a layer: the gradient of the decoder's initial, the encoder's final state.
    pub(super) carry: Vec<Aligned>,
    /// (H, W): the gradient of the decoder's constant input.
    pub(super) context: Aligned,
    /// (GATES·H, W): the gates' gradients of the decoder's first layer, summed over time.
    pub(super) summed: Aligned,
}

impl LayerBuffers {
    fn new(shape: Shape, steps: usize, width: usize) -> Self {
        LayerBuffers {
            gates: Aligned::zeros(steps * shape.gates::<Gru>() * width),
            hidden: Aligned::zeros((steps + 1) * shape.hidden * width),
            units: shape.hidden,
        }
    }

    /// The states after each step, (T, H, W).
    pub(super) fn outputs(&self, steps: usize, width: usize) -> &[f32] {
        &self.hidden[self.units * width..(steps + 1) * self.units * width]
    }

    /// The state after the last step, (H, W).
    pub(super) fn last(&self, steps: usize, width: usize) -> &[f32] {
        &self.hidden[steps * self.units * width..(steps + 1) * self.units * width]
    }
}

impl Workspace {
    /// Buffers for tiles of up to `width` lanes; those of the backward pass only if it is to run.
    pub(super) fn new(
        shape: &NetworkShape,
        past_steps: usize,
        future_steps: usize,
        width: usize,
        backward: bool,
    ) -> Self {
        let layers = |shapes: Vec<Shape>, steps| {
            let layers = shapes.into_iter();
            layers.map(|shape| LayerBuffers::new(shape, steps, width)).collect()
        };
        let widest = shape.hidden.iter().copied().max().unwrap_or(0);
        let stream = past_steps.max(future_steps) * widest * width;
        Workspace {
            past_steps,
            future_steps,
            past: Aligned::zeros(past_steps * shape.features * width),
            future: Aligned::zeros(future_steps * shape.outputs * width),
            output: Aligned::zeros(future_steps * shape.outputs * width),
            encoder: layers(shape.encoder(), past_steps),
            decoder: layers(shape.decoder(), future_steps),
            squares: 0.0,
            gradients: backward.then(|| GradientBuffers {
                streams: [Aligned::zeros(stream), Aligned::zeros(stream)],
                carry: shape.hidden.iter().map(|units| Aligned::zeros(units * width)).collect(),
                context: Aligned::zeros(shape.top() * width),
                summed: Aligned::zeros(Gru::GATES * shape.hidden[0] * width),
            }),
        }
    }
}
