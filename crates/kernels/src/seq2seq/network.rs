//! The model's shape, its flat weights, and one tile's way through it.

use super::workspace::Workspace;
use crate::DecoderInput;
use crate::dropout::Dropout;
use crate::layer::{Input, InputGradient};
use crate::level::Level;
use crate::shape::CellKind;
use crate::stack::{Piece, Stack, StackShape, TilePass};
use crate::tile::Tile;

/// The sizes of an encoder-decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkShape {
    /// The cells of all layers.
    pub cell: CellKind,
    /// Features of the past, D.
    pub features: usize,
    /// Features of the future, O.
    pub outputs: usize,
    /// Units of each layer, first to last; the decoder has the same.
    pub hidden: Vec<usize>,
    /// What the decoder reads.
    pub decoder_input: DecoderInput,
}

impl NetworkShape {
    /// Units of the last layer.
    fn top(&self) -> usize {
        self.hidden[self.hidden.len() - 1]
    }

    pub(super) fn encoder(&self) -> StackShape {
        StackShape::new(self.cell, self.features, &self.hidden, None)
    }

    pub(super) fn decoder(&self) -> StackShape {
        let input = match self.decoder_input {
            DecoderInput::RepeatLast => self.top(),
            DecoderInput::Zeros => self.features,
        };
        StackShape::new(self.cell, input, &self.hidden, Some(self.outputs))
    }

    /// How many weights the model has.
    pub fn num_weights(&self) -> usize {
        self.encoder().weights() + self.decoder().weights()
    }

    /// The parts whose gradients are computed one by one, in the order of the flat weights.
    pub(super) fn pieces(&self) -> Vec<(Half, Piece)> {
        let encoder = self.encoder();
        let shift = encoder.weights();
        let shifted = |Piece { place, weights }| Piece {
            place,
            weights: shift + weights.start..shift + weights.end,
        };
        let decoder = self.decoder().pieces().into_iter().map(shifted);
        let encoder = encoder.pieces().into_iter().map(|piece| (Half::Encoder, piece));
        encoder.chain(decoder.map(|piece| (Half::Decoder, piece))).collect()
    }
}

/// One of the two stacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Encoder,
    Decoder,
}

/// An encoder-decoder with packed weights, ready to predict.
///
/// The flat weights are the layers of the encoder, then of the decoder, each in the order of
/// [`RecurrentStack`](crate::recurrent::RecurrentStack), then the dense weight (O, H)
/// and bias (O).
pub struct Network {
    pub(super) shape: NetworkShape,
    pub(super) encoder: Stack,
    /// With the dense layer as its head.
    pub(super) decoder: Stack,
    pub(super) level: Level,
}

/// Below this many weights packing is quicker than waking a thread.
const WORTH_THREADS: usize = 1 << 15;

impl Network {
    /// A network with the given flat weights.
    ///
    /// The sizes must be at least 1 and the weights as many as
    /// [`num_weights`](NetworkShape::num_weights) says.
    pub fn new(shape: NetworkShape, weights: &[f32], level: Level) -> Self {
        let sizes = [shape.features, shape.outputs, shape.hidden.len()];
        assert!(sizes.iter().chain(&shape.hidden).all(|&size| size > 0));
        let (encoder, decoder) = (Stack::new(shape.encoder()), Stack::new(shape.decoder()));
        let mut network = Network { shape, encoder, decoder, level };
        network.set_weights(weights);
        network
    }

    /// The sizes.
    pub fn shape(&self) -> &NetworkShape {
        &self.shape
    }

    /// Takes over new flat weights.
    pub fn set_weights(&mut self, weights: &[f32]) {
        assert_eq!(weights.len(), self.encoder.shape.weights() + self.decoder.shape.weights());
        let (of_encoder, of_decoder) = weights.split_at(self.encoder.shape.weights());
        let Network { encoder, decoder, .. } = self;
        if weights.len() < WORTH_THREADS {
            encoder.pack(of_encoder, false);
            decoder.pack(of_decoder, false);
        } else {
            let pack_encoder = || encoder.pack(of_encoder, true);
            rayon::join(pack_encoder, || decoder.pack(of_decoder, true));
        }
    }
}

/// One tile on its way through the network, in a training step.
#[derive(Clone, Copy)]
pub(super) struct NetworkPass<'a> {
    pub(super) network: &'a Network,
    pub(super) tile: Tile,
    /// Steps of the past, P, and of the future, F.
    pub(super) steps: [usize; 2],
    /// Dropout, and the number of the training step that it is for.
    pub(super) dropout: Option<(Dropout, i32)>,
}

impl<'a> NetworkPass<'a> {
    fn encoder<'b>(self, past: &'b [f32]) -> TilePass<'b>
    where
        'a: 'b,
    {
        let NetworkPass { network, tile, steps: [steps, _], dropout } = self;
        let dropout = dropout.map(|(dropout, step)| dropout.mask(step, 0));
        let input = Input::Sequence(&past[..steps * network.shape.features * tile.width()]);
        TilePass { stack: &network.encoder, tile, steps, input, dropout }
    }

    fn decoder<'b>(self, input: Input<'b>) -> TilePass<'b>
    where
        'a: 'b,
    {
        let NetworkPass { network, tile, steps: [_, steps], dropout } = self;
        let dropout = dropout.map(|(dropout, step)| dropout.mask(step, 1));
        TilePass { stack: &network.decoder, tile, steps, input, dropout }
    }

    /// What the decoder reads after an encoder with this buffer.
    fn decoder_input<'b>(self, encoder: TilePass<'_>, buffer: &'b [f32]) -> Input<'b> {
        match self.network.shape.decoder_input {
            DecoderInput::RepeatLast => Input::Constant(encoder.last(self.top(), buffer)),
            DecoderInput::Zeros => Input::Zeros,
        }
    }

    /// Index of the last layer.
    fn top(self) -> usize {
        self.network.shape.hidden.len() - 1
    }

    /// Floats of the gates' gradients of the decoder's first layer, summed over time.
    fn summed_len(self) -> usize {
        let first = self.network.decoder.shape.layers[0];
        first.groups() * first.hidden * self.tile.width()
    }

    /// Floats of the past, and of the future.
    pub(super) fn lens(self) -> [usize; 2] {
        let NetworkShape { features, outputs, .. } = self.network.shape;
        [self.steps[0] * features, self.steps[1] * outputs].map(|rows| rows * self.tile.width())
    }

    /// From the past in the workspace to the predictions in its `output`.
    pub(super) fn forward(self, work: &mut Workspace) {
        let Workspace { past, encoder: of_encoder, decoder: of_decoder, output, .. } = work;
        let encoder = self.encoder(past);
        for l in 0..=self.top() {
            let own = encoder.layer(l, of_encoder);
            let state = self.network.shape.hidden[l] * self.tile.width();
            own.hidden[..state].fill(0.0);
            own.carried.fill(0.0);
        }
        encoder.forward(of_encoder);
        let decoder = self.decoder(self.decoder_input(encoder, of_encoder));
        for l in 0..=self.top() {
            let (own, state) = (decoder.layer(l, of_decoder), encoder.last(l, of_encoder));
            own.hidden[..state.len()].copy_from_slice(state);
            own.carried.copy_from_slice(encoder.carried(l, of_encoder));
        }
        decoder.forward(of_decoder);
        decoder.head(of_decoder, &mut output[..self.lens()[1]]);
    }

    /// From the gradient of the predictions in `output` to those of all gates.
    pub(super) fn backward(self, work: &mut Workspace) {
        let output_len = self.lens()[1];
        let Workspace { past, encoder: of_encoder, decoder: of_decoder, output, .. } = work;
        let Workspace { streams: [first, second], context, summed, .. } = work;
        let encoder = self.encoder(past);
        let context = &mut context[..self.network.shape.top() * self.tile.width()];
        let summed = &mut summed[..self.summed_len()];

        let decoder = self.decoder(Input::Zeros); // which is not read on the way back
        decoder.head_backward(&output[..output_len], first);
        for l in 0..=self.top() {
            let own = decoder.layer(l, of_decoder);
            own.carry.fill(0.0);
            own.carried.fill(0.0);
        }
        context.fill(0.0);
        let input = match self.network.shape.decoder_input {
            DecoderInput::RepeatLast => InputGradient::Constant { gradient: &mut *context, summed },
            DecoderInput::Zeros => InputGradient::Unused,
        };
        decoder.backward(of_decoder, [first, second], true, input);

        // Nothing but the encoder's last states was used: the decoder began with them, and read that of
        // the top layer.
        for l in 0..=self.top() {
            let own = encoder.layer(l, of_encoder);
            own.carry.copy_from_slice(decoder.carry(l, of_decoder));
            own.carried.copy_from_slice(decoder.carried(l, of_decoder));
            if l == self.top() {
                own.carry.iter_mut().zip(&*context).for_each(|(to, from)| *to += from);
            }
        }
        encoder.backward(of_encoder, [first, second], false, InputGradient::Unused);
    }

    /// The gradient of one part of the weights, after [`backward`](NetworkPass::backward), added to
    /// `gradient`.
    pub(super) fn weights(
        self,
        (half, piece): &(Half, Piece),
        work: &Workspace,
        gradient: &mut [f32],
        scratch: &mut [f32],
    ) {
        let encoder = self.encoder(&work.past);
        let besides = [&work.output[..self.lens()[1]], &work.summed[..self.summed_len()]];
        let (pass, buffer) = match half {
            Half::Encoder => (encoder, &work.encoder),
            Half::Decoder => {
                let input = self.decoder_input(encoder, &work.encoder);
                (self.decoder(input), &work.decoder)
            }
        };
        pass.weights(&piece.place, buffer, besides, gradient, scratch);
    }
}
