//! A stack of layers over one tile, with a dense head if it has one: forward, backward, and the gradients
//! of the weights. The operation on a tape ([`recurrent`](super::recurrent)) is made of one stack, the
//! encoder-decoder ([`seq2seq`](super::seq2seq)) of two.
//!
//! What is kept of a tile lies in one buffer, layer after layer:
//!
//! ```text
//! hidden   (T + 1, H, W)     row 0 is the initial state
//! gates    (T, SAVED·H, W)   what the backward pass needs, overwritten by the gradients
//! carry    (H, W)            the gradient of the hidden state, from the last one to the first
//! carried  (CARRIED·H, W)    what is carried beside the output, then its gradient
//! dropped  (T, H, W)         the outputs after dropout, where the layer has one
//! ```

use super::dense::{self, Dense};
use super::dropout::Mask;
use super::layer::{
    Backward, Forward, Input, InputGradient, LayerKernel, Packed, Part, Traces, Weights,
};
use super::product::Columns;
use super::shape::{CellKind, Shape};
use super::tile::{Tile, TileKernel};
use rayon::prelude::*;
use std::mem::swap;
use std::ops::Range;

/// The sizes of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StackShape {
    /// Features of the input, D.
    pub(crate) input: usize,
    /// The layers, from the input up. Without any, the head reads the input.
    pub(crate) layers: Vec<Shape>,
    /// Features that a dense head makes of the last layer's outputs, O.
    pub(crate) head: Option<usize>,
}

/// A part of the flat weights, and of their gradient, that is computed on its own.
pub(crate) struct Piece {
    pub(crate) place: Place,
    pub(crate) weights: Range<usize>,
}

/// Which part.
pub(crate) enum Place {
    /// A part of a layer.
    Layer(usize, Part),
    /// All of the head.
    Head,
}

impl StackShape {
    /// Layers of so many units each, of which the first reads `input` features; all at least 1.
    pub(crate) fn new(cell: CellKind, input: usize, hidden: &[usize], head: Option<usize>) -> Self {
        let mut below = input;
        let layer = |&hidden: &usize| {
            assert!(below > 0 && hidden > 0, "a layer needs features and units");
            let shape = Shape { cell, input: below, hidden };
            below = hidden;
            shape
        };
        StackShape { input, layers: hidden.iter().map(layer).collect(), head }
    }

    /// Features of what the head reads, or of the outputs if there is none.
    pub(crate) fn top(&self) -> usize {
        self.layers.last().map_or(self.input, |shape| shape.hidden)
    }

    /// Features of the outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.head.unwrap_or(self.top())
    }

    /// The largest number of features that any part of it reads or computes.
    pub(crate) fn widest(&self) -> usize {
        let hidden = self.layers.iter().map(|shape| shape.hidden);
        hidden.chain([self.input, self.outputs()]).max().unwrap_or(0)
    }

    /// Weights of each layer, then of the head.
    fn parts(&self) -> impl Iterator<Item = usize> {
        let head = self.head.map(|outputs| Dense::weights(self.top(), outputs));
        self.layers.iter().map(|shape| shape.weights()).chain(head)
    }

    /// How many weights the stack has.
    pub(crate) fn weights(&self) -> usize {
        self.parts().sum()
    }

    /// The parts of the flat weights whose gradients are computed one by one, in their order.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        let layers = self.layers.iter().enumerate().flat_map(|(l, &shape)| {
            Part::of(shape).map(move |(part, len)| (Place::Layer(l, part), len))
        });
        let head = self.head.map(|outputs| (Place::Head, Dense::weights(self.top(), outputs)));
        let mut end = 0;
        let piece = |(place, len)| {
            end += len;
            Piece { place, weights: end - len..end }
        };
        layers.chain(head).map(piece).collect()
    }

    /// Rows of the buffer of the layers below layer `l`, over so many steps.
    fn rows_below(&self, l: usize, steps: usize, dropout: bool) -> usize {
        let below = self.layers[..l].iter().enumerate();
        below.map(|(l, shape)| self.rows_of(l, *shape, steps, dropout).iter().sum::<usize>()).sum()
    }

    /// Rows of the five parts of a layer.
    fn rows_of(&self, l: usize, shape: Shape, steps: usize, dropout: bool) -> [usize; 5] {
        let Shape { hidden, .. } = shape;
        let dropped = if dropout && l + 1 < self.layers.len() { steps * hidden } else { 0 };
        [(steps + 1) * hidden, steps * shape.gates(), hidden, shape.carried(), dropped]
    }

    /// Rows of the buffer of a tile over so many steps.
    pub(crate) fn rows(&self, steps: usize, dropout: bool) -> usize {
        self.rows_below(self.layers.len(), steps, dropout)
    }
}

/// A stack with packed weights.
///
/// The flat weights are one layer after the other, each in the order `weight_ih` (G·H, D), `weight_hh`
/// (G·H, H), `bias_ih` (G·H), `bias_hh` (G·H), each row-major, then those of the head: its matrix (O, H)
/// and its bias (O).
pub(crate) struct Stack {
    pub(crate) shape: StackShape,
    pub(crate) layers: Vec<Packed>,
    pub(crate) head: Option<Dense>,
    /// Where the weights of each layer lie.
    of_layers: Vec<Range<usize>>,
}

impl Stack {
    /// Space for the weights; [`pack`](Stack::pack) fills it.
    pub(crate) fn new(shape: StackShape) -> Self {
        let mut end = 0;
        let next = |shape: &Shape| {
            end += shape.weights();
            end - shape.weights()..end
        };
        Stack {
            of_layers: shape.layers.iter().map(next).collect(),
            layers: shape.layers.iter().copied().map(Packed::new).collect(),
            head: shape.head.map(|outputs| Dense::new(shape.top(), outputs)),
            shape,
        }
    }

    /// Takes over new weights, layer by layer or with the pool's threads.
    pub(crate) fn pack(&mut self, weights: &[f32], with_threads: bool) {
        let pack = |(layer, part): (&mut Packed, &Range<usize>)| layer.pack(&weights[part.clone()]);
        if with_threads {
            self.layers.par_iter_mut().zip(&self.of_layers).with_max_len(1).for_each(pack);
        } else {
            self.layers.iter_mut().zip(&self.of_layers).for_each(pack);
        }
        if let Some(head) = &mut self.head {
            head.pack(&weights[self.of_layers.last().map_or(0, |part| part.end)..]);
        }
    }
}

/// One tile on its way through a stack.
#[derive(Clone, Copy)]
pub(crate) struct TilePass<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) tile: Tile,
    /// Steps, T.
    pub(crate) steps: usize,
    /// What the first layer reads; a sequence where there is no layer.
    pub(crate) input: Input<'a>,
    /// What is dropped between the layers.
    pub(crate) dropout: Option<Mask>,
}

/// What a layer keeps of a tile: see the module.
pub(crate) struct LayerBuffers<'b> {
    pub(crate) hidden: &'b mut [f32],
    gates: &'b mut [f32],
    pub(crate) carry: &'b mut [f32],
    pub(crate) carried: &'b mut [f32],
    dropped: &'b mut [f32],
}

impl<'a> TilePass<'a> {
    /// Where the five parts of layer `l` lie in the buffer.
    fn places(self, l: usize) -> [Range<usize>; 5] {
        let (shape, dropout, width) =
            (&self.stack.shape, self.dropout.is_some(), self.tile.width());
        let mut end = shape.rows_below(l, self.steps, dropout) * width;
        shape.rows_of(l, shape.layers[l], self.steps, dropout).map(|rows| {
            end += rows * width;
            end - rows * width..end
        })
    }

    /// The buffers of layer `l`.
    pub(crate) fn layer<'b>(self, l: usize, buffer: &'b mut [f32]) -> LayerBuffers<'b> {
        self.split(l, buffer).1
    }

    /// The buffers of all layers below layer `l`, and its own.
    fn split<'b>(self, l: usize, buffer: &'b mut [f32]) -> (&'b [f32], LayerBuffers<'b>) {
        let places = self.places(l);
        let (below, mut rest) = buffer.split_at_mut(places[0].start);
        let [hidden, gates, carry, carried, dropped] =
            places.map(|place| rest.split_off_mut(..place.len()).expect("the buffer of a tile"));
        (below, LayerBuffers { hidden, gates, carry, carried, dropped })
    }

    /// The hidden state of layer `l` after the last step, (H, W).
    pub(crate) fn last(self, l: usize, buffer: &[f32]) -> &[f32] {
        let [hidden, ..] = self.places(l);
        let len = self.stack.shape.layers[l].hidden * self.tile.width();
        &buffer[hidden.end - len..hidden.end]
    }

    /// What layer `l` carries beside its output, (CARRIED·H, W), or its gradient.
    pub(crate) fn carried(self, l: usize, buffer: &[f32]) -> &[f32] {
        let [.., carried, _] = self.places(l);
        &buffer[carried]
    }

    /// The gradient of the hidden state of layer `l`, (H, W).
    pub(crate) fn carry(self, l: usize, buffer: &[f32]) -> &[f32] {
        let [_, _, carry, ..] = self.places(l);
        &buffer[carry]
    }

    /// What layer `l` reads, or the head where that is the number of layers.
    fn read<'b>(self, l: usize, buffer: &'b [f32]) -> Input<'b>
    where
        'a: 'b,
    {
        let Some(below) = l.checked_sub(1) else { return self.input };
        let [hidden, .., dropped] = self.places(below);
        if !dropped.is_empty() {
            return Input::Sequence(&buffer[dropped]);
        }
        let first = self.stack.shape.layers[below].hidden * self.tile.width();
        Input::Sequence(&buffer[hidden.start + first..hidden.end])
    }

    /// The outputs of the last layer after each step, (T, H, W), or the input if there is none.
    pub(crate) fn top<'b>(self, buffer: &'b [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        match self.read(self.stack.layers.len(), buffer) {
            Input::Sequence(rows) => rows,
            Input::Constant(_) | Input::Zeros => &[],
        }
    }

    /// Forward, from the initial states in the buffer.
    pub(crate) fn forward(self, buffer: &mut [f32]) {
        for (l, layer) in self.stack.layers.iter().enumerate() {
            let (below, LayerBuffers { hidden, gates, carried, dropped, .. }) =
                self.split(l, buffer);
            let input = self.read(l, below);
            Forward { layer, input, gates, hidden, carried }.run(self.tile);
            if let Some(mask) = self.dropout.filter(|_| !dropped.is_empty()) {
                dropped.copy_from_slice(&hidden[hidden.len() - dropped.len()..]);
                mask.apply(l, self.tile, dropped);
            }
        }
    }

    /// What the head makes of the last layer's outputs, (T·O, W).
    pub(crate) fn head(self, buffer: &[f32], output: &mut [f32]) {
        if let Some(dense) = &self.stack.head {
            let output = Columns::whole(output, self.stack.shape.outputs());
            dense::Forward { dense, input: self.top(buffer), output }.run(self.tile);
        }
    }

    /// From the gradient of the head's outputs, (T·O, W), to that of what it reads, (T·H, W).
    pub(crate) fn head_backward(self, upstream: &[f32], input_gradient: &mut [f32]) {
        if let Some(dense) = &self.stack.head {
            let input_gradient = &mut input_gradient[..self.row_len(self.stack.shape.top())];
            dense::Backward { dense, upstream, input_gradient }.run(self.tile);
        }
    }

    /// Backward, from the gradients of the last states in the buffer (`carry` and `carried`) to those of the
    /// initial ones, and of all gates.
    ///
    /// The first of two `streams`, each as long as the widest sequence, has the gradient of the last layer's
    /// outputs if `from_outputs`; what is in them afterwards has no meaning.
    pub(crate) fn backward(
        self,
        buffer: &mut [f32],
        [mut outputs, mut inputs]: [&mut [f32]; 2],
        from_outputs: bool,
        input: InputGradient<'_>,
    ) {
        let mut input = Some(input);
        let layers = self.stack.layers.len();
        for (l, layer) in self.stack.layers.iter().enumerate().rev() {
            let LayerBuffers { hidden, gates, carry, carried, .. } = self.layer(l, buffer);
            // Its own gradient goes where the caller wants it; that of the others' inputs into the stream.
            let len = if l > 0 { self.row_len(layer.shape.input) } else { 0 };
            let of_input = &mut inputs[..len];
            Backward {
                layer,
                gates,
                hidden,
                upstream: (l + 1 < layers || from_outputs)
                    .then_some(&outputs[..self.row_len(layer.shape.hidden)]),
                carry,
                carried,
                input: match l {
                    0 => input.take().unwrap_or(InputGradient::Unused),
                    _ => InputGradient::Sequence(&mut *of_input),
                },
            }
            .run(self.tile);
            if let (Some(mask), Some(below)) = (self.dropout, l.checked_sub(1)) {
                mask.apply(below, self.tile, of_input);
            }
            swap(&mut outputs, &mut inputs);
        }
    }

    /// Floats of a sequence of so many features.
    fn row_len(self, features: usize) -> usize {
        self.steps * features * self.tile.width()
    }

    /// The gradient of one part of the weights, after [`backward`](TilePass::backward), added to `gradient`.
    /// It takes the gradient of the head's outputs, (T·O, W), and what [`InputGradient::Constant`] left.
    pub(crate) fn weights(
        self,
        place: &Place,
        buffer: &[f32],
        [upstream, summed]: [&[f32]; 2],
        gradient: &mut [f32],
        scratch: &mut [f32],
    ) {
        match place {
            Place::Layer(l, part) => {
                let [hidden, gates, ..] = self.places(*l);
                let traces = Traces {
                    shape: self.stack.layers[*l].shape,
                    gates: &buffer[gates],
                    hidden: &buffer[hidden],
                    input: self.read(*l, buffer),
                    summed,
                };
                Weights { traces, part: part.clone(), gradient, scratch }.run(self.tile);
            }
            Place::Head => {
                let Some(dense) = &self.stack.head else { return };
                let input = self.top(buffer);
                dense::Weights { dense, input, upstream, gradient, scratch }.run(self.tile);
            }
        }
    }
}
