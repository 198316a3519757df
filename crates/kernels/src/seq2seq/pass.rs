//! Forward and backward of one tile through all layers.

use super::network::{Network, Place};
use super::workspace::{GradientBuffers, Workspace};
use crate::DecoderInput;
use crate::cell::Cell;
use crate::dense;
use crate::gru::Gru;
use crate::layer::{Backward, Forward, Input, InputGradient, Traces, Weights};
use crate::level::{Isa, Kernel};

/// From the past in the workspace to the predictions in its `output`. Returns false when `go_on` did,
/// which is called before each layer; the output then has no meaning.
pub(super) struct ForwardPass<'a> {
    pub(super) network: &'a Network,
    pub(super) work: &'a mut Workspace,
    /// Registers of a row.
    pub(super) vectors: usize,
    pub(super) go_on: &'a (dyn Fn() -> bool + Sync),
}

impl Kernel for ForwardPass<'_> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) -> bool {
        let ForwardPass { network, work, vectors, go_on } = self;
        let width = vectors * S::F32_LANES;
        let (past_steps, future_steps) = (work.past_steps, work.future_steps);
        let past = &work.past[..past_steps * network.shape.features * width];

        for (l, layer) in network.encoder.iter().enumerate() {
            if !go_on() {
                return false;
            }
            let (below, rest) = work.encoder.split_at_mut(l);
            let buffers = &mut rest[0];
            buffers.hidden[..buffers.units * width].fill(0.0);
            isa.call(Forward {
                layer,
                vectors,
                input: Input::Sequence(match below.last() {
                    Some(below) => below.outputs(past_steps, width),
                    None => past,
                }),
                gates: &mut buffers.gates[..past_steps * layer.shape.gates::<Gru>() * width],
                hidden: &mut buffers.hidden,
                carried: &mut [],
            });
        }

        let context = work.encoder[work.encoder.len() - 1].last(past_steps, width);
        for (l, layer) in network.decoder.iter().enumerate() {
            if !go_on() {
                return false;
            }
            let (below, rest) = work.decoder.split_at_mut(l);
            let buffers = &mut rest[0];
            let state = work.encoder[l].last(past_steps, width);
            buffers.hidden[..state.len()].copy_from_slice(state);
            isa.call(Forward {
                layer,
                vectors,
                input: match (below.last(), network.shape.decoder_input) {
                    (Some(below), _) => Input::Sequence(below.outputs(future_steps, width)),
                    (None, DecoderInput::RepeatLast) => Input::Constant(context),
                    (None, DecoderInput::Zeros) => Input::Zeros,
                },
                gates: &mut buffers.gates[..future_steps * layer.shape.gates::<Gru>() * width],
                hidden: &mut buffers.hidden,
                carried: &mut [],
            });
        }

        isa.call(dense::Forward {
            dense: &network.dense,
            vectors,
            input: work.decoder[work.decoder.len() - 1].outputs(future_steps, width),
            output: &mut work.output[..future_steps * network.shape.outputs * width],
        });
        true
    }
}

/// Replaces predictions by the gradient of the loss, `scale` times the error; returns the sum of
/// squared errors.
pub(super) struct Residual<'a> {
    /// (F·O, W).
    pub(super) output: &'a mut [f32],
    /// (F·O, W).
    pub(super) target: &'a [f32],
    /// Lanes of a row.
    pub(super) width: usize,
    /// Lanes that hold a series.
    pub(super) count: usize,
    pub(super) scale: f32,
}

impl Kernel for Residual<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) -> f64 {
        let mut sum = 0.0;
        let rows = self.output.chunks_exact_mut(self.width);
        for (output, target) in rows.zip(self.target.chunks_exact(self.width)) {
            let mut squares = isa.splat_f32s(0.0);
            let (output, idle) = output.split_at_mut(self.count);
            let chunks = output.chunks_mut(S::F32_LANES);
            for (output, target) in chunks.zip(target[..self.count].chunks(S::F32_LANES)) {
                let error =
                    isa.sub_f32s(isa.partial_load_f32s(output), isa.partial_load_f32s(target));
                squares = isa.fma(error, error, squares);
                isa.partial_store_f32s(output, isa.mul_f32s(error, isa.splat_f32s(self.scale)));
            }
            idle.fill(0.0);
            sum += f64::from(isa.reduce_sum_f32s(squares));
        }
        sum
    }
}

/// From the gradient of the predictions in the workspace to those of all gates.
pub(super) struct BackwardPass<'a> {
    pub(super) network: &'a Network,
    pub(super) work: &'a mut Workspace,
    /// Registers of a row.
    pub(super) vectors: usize,
}

impl Kernel for BackwardPass<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        let BackwardPass { network, work, vectors } = self;
        let width = vectors * S::F32_LANES;
        let (past_steps, future_steps) = (work.past_steps, work.future_steps);
        let Some(gradients) = &mut work.gradients else { return };
        let GradientBuffers { streams: [upstream, downstream], carry, context, summed } = gradients;
        let (mut upstream, mut downstream) = (upstream, downstream);
        let top = network.encoder.len() - 1;
        let context = &mut context[..network.shape.top() * width];
        let summed = &mut summed[..Gru::GATES * network.shape.hidden[0] * width];

        isa.call(dense::Backward {
            dense: &network.dense,
            vectors,
            upstream: &work.output[..future_steps * network.shape.outputs * width],
            input_gradient: &mut upstream[..future_steps * network.shape.top() * width],
        });

        carry.iter_mut().for_each(|carry| carry.fill(0.0));
        context.fill(0.0);
        for (l, layer) in network.decoder.iter().enumerate().rev() {
            let input = match (l, network.shape.decoder_input) {
                (1.., _) => InputGradient::Sequence(downstream),
                (0, DecoderInput::RepeatLast) => {
                    InputGradient::Constant { gradient: context, summed }
                }
                (0, DecoderInput::Zeros) => InputGradient::Unused,
            };
            let buffers = &mut work.decoder[l];
            let gates = &mut buffers.gates[..future_steps * layer.shape.gates::<Gru>() * width];
            let hidden = &buffers.hidden[..(future_steps + 1) * layer.shape.hidden * width];
            isa.call(Backward {
                layer,
                vectors,
                gates,
                hidden,
                upstream: Some(upstream),
                carry: &mut carry[l],
                carried: &mut [],
                input,
            });
            std::mem::swap(&mut upstream, &mut downstream);
        }

        for (to, from) in carry[top].iter_mut().zip(context.iter()) {
            *to += from;
        }
        for (l, layer) in network.encoder.iter().enumerate().rev() {
            let input = match l {
                1.. => InputGradient::Sequence(downstream),
                0 => InputGradient::Unused,
            };
            let buffers = &mut work.encoder[l];
            let gates = &mut buffers.gates[..past_steps * layer.shape.gates::<Gru>() * width];
            let hidden = &buffers.hidden[..(past_steps + 1) * layer.shape.hidden * width];
            isa.call(Backward {
                layer,
                vectors,
                gates,
                hidden,
                // Nothing but the last state of the top layer was used.
                upstream: (l < top).then_some(&upstream[..]),
                carry: &mut carry[l],
                carried: &mut [],
                input,
            });
            std::mem::swap(&mut upstream, &mut downstream);
        }
    }
}

/// The gradient of one part of the weights, after [`BackwardPass`], added to `gradient`.
pub(super) struct WeightsPass<'a> {
    pub(super) network: &'a Network,
    pub(super) work: &'a Workspace,
    /// Registers of a row.
    pub(super) vectors: usize,
    pub(super) place: &'a Place,
    /// As many as the part has weights.
    pub(super) gradient: &'a mut [f32],
    pub(super) scratch: &'a mut [f32],
}

impl Kernel for WeightsPass<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        let WeightsPass { network, work, vectors, place, gradient, scratch } = self;
        let width = vectors * S::F32_LANES;
        let (past_steps, future_steps) = (work.past_steps, work.future_steps);
        let context = work.encoder[work.encoder.len() - 1].last(past_steps, width);
        let (layer, buffers, steps, input, part) = match place {
            Place::Encoder(l, part) => {
                let input = match l.checked_sub(1) {
                    Some(below) => work.encoder[below].outputs(past_steps, width),
                    None => &work.past[..past_steps * network.shape.features * width],
                };
                let input = Input::Sequence(input);
                (&network.encoder[*l], &work.encoder[*l], past_steps, input, part)
            }
            Place::Decoder(l, part) => {
                let input = match (l.checked_sub(1), network.shape.decoder_input) {
                    (Some(below), _) => {
                        Input::Sequence(work.decoder[below].outputs(future_steps, width))
                    }
                    (None, DecoderInput::RepeatLast) => Input::Constant(context),
                    (None, DecoderInput::Zeros) => Input::Zeros,
                };
                (&network.decoder[*l], &work.decoder[*l], future_steps, input, part)
            }
            Place::Dense => {
                return isa.call(dense::Weights {
                    dense: &network.dense,
                    vectors,
                    input: work.decoder[work.decoder.len() - 1].outputs(future_steps, width),
                    upstream: &work.output[..future_steps * network.shape.outputs * width],
                    gradient,
                    scratch,
                });
            }
        };
        let shape = layer.shape;
        let summed = match (&work.gradients, input) {
            (Some(buffers), Input::Constant(_)) => {
                &buffers.summed[..Gru::GATES * shape.hidden * width]
            }
            _ => &[],
        };
        let traces = Traces {
            shape,
            vectors,
            gates: &buffers.gates[..steps * shape.gates::<Gru>() * width],
            hidden: &buffers.hidden[..(steps + 1) * shape.hidden * width],
            input,
            summed,
        };
        isa.call(Weights::<Gru>::new(traces, part.clone(), gradient, scratch));
    }
}
