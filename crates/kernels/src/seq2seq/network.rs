//! The model's shape, its flat weights, their packed form.

use crate::DecoderInput;
use crate::dense::Dense;
use crate::gru::Gru;
use crate::layer::{Packed, Part, Shape};
use crate::level::Level;
use rayon::prelude::*;
use std::ops::Range;

/// The sizes of an encoder-decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkShape {
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
    pub(super) fn top(&self) -> usize {
        self.hidden[self.hidden.len() - 1]
    }

    fn layers(&self, first_input: usize) -> Vec<Shape> {
        let inputs = std::iter::once(&first_input).chain(&self.hidden);
        let layers = inputs.zip(&self.hidden);
        layers.map(|(&input, &hidden)| Shape { input, hidden }).collect()
    }

    pub(super) fn encoder(&self) -> Vec<Shape> {
        self.layers(self.features)
    }

    pub(super) fn decoder(&self) -> Vec<Shape> {
        self.layers(match self.decoder_input {
            DecoderInput::RepeatLast => self.top(),
            DecoderInput::Zeros => self.features,
        })
    }

    /// How many weights the model has.
    pub fn num_weights(&self) -> usize {
        let layers = self.encoder().into_iter().chain(self.decoder());
        let layers: usize = layers.map(|shape| shape.weights::<Gru>()).sum();
        layers + Dense::weights(self.top(), self.outputs)
    }

    /// Where each part lies in the flat weights.
    pub(super) fn parts(&self) -> FlatParts {
        let mut end = 0;
        let mut next = |len: usize| {
            let start = end;
            end += len;
            start..end
        };
        let mut layers = |shapes: Vec<Shape>| -> Vec<Range<usize>> {
            let sizes = shapes.into_iter().map(|shape| shape.weights::<Gru>());
            sizes.map(&mut next).collect()
        };
        let (encoder, decoder) = (layers(self.encoder()), layers(self.decoder()));
        let dense = next(Dense::weights(self.top(), self.outputs));
        FlatParts { encoder, decoder, dense }
    }

    /// The parts whose gradients are computed one by one, in the order of the flat weights.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let mut end = 0;
        let mut next = |place, len| {
            let start = end;
            end += len;
            Piece { place, weights: start..end }
        };
        let mut pieces = Vec::new();
        for (l, shape) in self.encoder().into_iter().enumerate() {
            let parts = Part::of::<Gru>(shape);
            pieces.extend(parts.map(|(part, len)| next(Place::Encoder(l, part), len)));
        }
        for (l, shape) in self.decoder().into_iter().enumerate() {
            let parts = Part::of::<Gru>(shape);
            pieces.extend(parts.map(|(part, len)| next(Place::Decoder(l, part), len)));
        }
        pieces.push(next(Place::Dense, Dense::weights(self.top(), self.outputs)));
        pieces
    }
}

/// A part of the flat weights, and of their gradient.
pub(super) struct Piece {
    pub(super) place: Place,
    pub(super) weights: Range<usize>,
}

/// Which layer, and what of it.
pub(super) enum Place {
    Encoder(usize, Part),
    Decoder(usize, Part),
    /// All of the head.
    Dense,
}

/// Ranges of the flat weights, and of their gradient.
pub(super) struct FlatParts {
    pub(super) encoder: Vec<Range<usize>>,
    pub(super) decoder: Vec<Range<usize>>,
    pub(super) dense: Range<usize>,
}

/// An encoder-decoder with packed weights, ready to predict.
///
/// The flat weights are the layers of the encoder, then of the decoder, each in the order of
/// [`RecurrentStack`](crate::recurrent::RecurrentStack), then the dense weight (O, H)
/// and bias (O).
pub struct Network {
    pub(super) shape: NetworkShape,
    pub(super) parts: FlatParts,
    pub(super) encoder: Vec<Packed<Gru>>,
    pub(super) decoder: Vec<Packed<Gru>>,
    pub(super) dense: Dense,
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
        let pack = |shapes: Vec<Shape>| shapes.into_iter().map(Packed::new).collect();
        let mut network = Network {
            parts: shape.parts(),
            encoder: pack(shape.encoder()),
            decoder: pack(shape.decoder()),
            dense: Dense::new(shape.top(), shape.outputs),
            shape,
            level,
        };
        network.set_weights(weights);
        network
    }

    /// The sizes.
    pub fn shape(&self) -> &NetworkShape {
        &self.shape
    }

    /// Takes over new flat weights.
    pub fn set_weights(&mut self, weights: &[f32]) {
        assert_eq!(weights.len(), self.shape.num_weights());
        let parts = &self.parts;
        let pack = |(layer, part): (&mut Packed<Gru>, &Range<usize>)| {
            layer.pack(&weights[part.clone()]);
        };
        if weights.len() < WORTH_THREADS {
            self.encoder.iter_mut().zip(&parts.encoder).for_each(pack);
            self.decoder.iter_mut().zip(&parts.decoder).for_each(pack);
        } else {
            let encoder = self.encoder.par_iter_mut().zip(&parts.encoder);
            let decoder = self.decoder.par_iter_mut().zip(&parts.decoder);
            encoder.chain(decoder).with_max_len(1).for_each(pack);
        }
        self.dense.pack(&weights[parts.dense.clone()]);
    }
}
