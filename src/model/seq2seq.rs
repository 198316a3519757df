use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{Cpu, SplitTape, Storage, Tape};
use dfdx::tensor_ops::{Device, ReshapeTo};
use std::fmt;

use crate::error::{Error, Result, check_size, check_sizes};
use crate::kernels::DecoderInput;
use crate::kernels::seq2seq::NetworkShape;
use crate::layers::{
    Dense, GruCell, Initializer, Input, LastAndStates, LayerState, Parameter, ParameterMut,
    Parameters, RecurrentCell, RecurrentDevice, Stack, prefixed, reference,
};
use crate::settings::Hyperparameters;
use crate::{Sequence, State};

/// A stacked encoder-decoder, of GRUs or of another kind of cell, C.
///
/// The encoder reads the past, `(B, P, D)`. The decoder starts from **all** of the encoder's states
/// and runs for F steps, whose outputs a dense layer maps to the future, `(B, F, O)`:
///
/// ```text
///     past            encoder           states         decoder         dense     future
///  (B, P, D)  ->  GRU -> ... -> GRU  -> L x (B, H) -> GRU -> ... -> GRU  ->  (B, F, O)
/// ```
///
/// An LSTM has two states a layer, and the decoder starts from both. The parts decide what the cells are:
/// of `Lstm::new` and `Lstm::new` comes a `Seq2Seq<LstmCell>`, which [`fit`](crate::train::fit) trains as
/// it trains one of GRUs.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let mut init = Initializer::new(42);
/// let encoder = Gru::new(2, &[12, 12], &mut init, &dev)?;
/// let decoder = Gru::new(12, &[12, 12], &mut init, &dev)?;
/// let dense = Dense::new(12, 2, &mut init, &dev)?;
/// let model = Seq2Seq::new(encoder, decoder, dense, DecoderInput::RepeatLast)?;
/// println!("{model}");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Seq2Seq<C = GruCell, E: Dtype = f32, D: Storage<E> = Cpu> {
    encoder: Stack<C, E, D>,
    decoder: Stack<C, E, D>,
    dense: Dense<E, D>,
    decoder_input: DecoderInput,
}

impl<C: RecurrentCell, E: Dtype, D: Storage<E>> Seq2Seq<C, E, D> {
    /// Joins the parts of a model.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Shape`] when encoder and decoder do not have the same layers, the
    /// decoder's input is not what `decoder_input` gives it, the dense layer does not fit, or the weights
    /// of a part do not fit one another.
    #[inline(never)]
    pub fn new(
        encoder: Stack<C, E, D>,
        decoder: Stack<C, E, D>,
        dense: Dense<E, D>,
        decoder_input: DecoderInput,
    ) -> Result<Self> {
        encoder.check_weights()?;
        decoder.check_weights()?;
        dense.check_weights()?;
        if encoder.hidden_sizes() != decoder.hidden_sizes() {
            return Err(Error::setting(
                "decoder",
                format!("a stack of {:?} units", decoder.hidden_sizes()),
                format!("{:?} as the encoder, from whose states it starts", encoder.hidden_sizes()),
            ));
        }
        let (what, expected) = match decoder_input {
            DecoderInput::RepeatLast => (
                "the input of the decoder, which reads the encoder's last output,",
                encoder.outputs(),
            ),
            DecoderInput::Zeros => (
                "the input of the decoder, which reads as many zeros as the encoder features,",
                encoder.inputs(),
            ),
        };
        check_size(what, expected, decoder.inputs())?;
        let what = "the input of the dense layer, which reads the decoder's outputs,";
        check_size(what, decoder.outputs(), dense.inputs())?;
        Ok(Self { encoder, decoder, dense, decoder_input })
    }

    /// The encoder.
    pub fn encoder(&self) -> &Stack<C, E, D> {
        &self.encoder
    }

    /// The decoder.
    pub fn decoder(&self) -> &Stack<C, E, D> {
        &self.decoder
    }

    /// The dense layer that makes the prediction.
    pub fn dense(&self) -> &Dense<E, D> {
        &self.dense
    }

    /// What the decoder reads.
    pub fn decoder_input(&self) -> DecoderInput {
        self.decoder_input
    }

    /// The same model, with copies of its weights on another device.
    pub fn to_device<To: Device<E>>(&self, device: &To) -> Seq2Seq<C, E, To> {
        Seq2Seq {
            encoder: self.encoder.to_device(device),
            decoder: self.decoder.to_device(device),
            dense: self.dense.to_device(device),
            decoder_input: self.decoder_input,
        }
    }
}

impl Seq2Seq {
    /// The model of exercise 1, for series of D `features`: `num_layers` layers of `hidden_size` GRUs
    /// on both sides, on the CPU, with weights drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is impossible.
    pub fn stacked(features: usize, hyperparameters: &Hyperparameters) -> Result<Self> {
        Self::stacked_of_cell(features, hyperparameters)
    }
}

impl<C: RecurrentCell> Seq2Seq<C> {
    /// As [`Seq2Seq::stacked`], of any kind of cell.
    ///
    /// ```
    /// use seq2seq::layers::LstmCell;
    /// use seq2seq::prelude::*;
    ///
    /// let model = Seq2Seq::<LstmCell>::stacked_of_cell(2, &Hyperparameters::default())?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Seq2Seq::stacked`].
    pub fn stacked_of_cell(features: usize, hyperparameters: &Hyperparameters) -> Result<Self> {
        hyperparameters.check()?;
        let Hyperparameters { hidden_size, num_layers, seed, .. } = *hyperparameters;
        let dev = Cpu::default();
        let mut init = Initializer::new(seed);
        let hidden_sizes = vec![hidden_size; num_layers];
        let encoder = Stack::new(features, &hidden_sizes, &mut init, &dev)?;
        let decoder = Stack::new(hidden_size, &hidden_sizes, &mut init, &dev)?;
        let dense = Dense::new(hidden_size, features, &mut init, &dev)?;
        Self::new(encoder, decoder, dense, DecoderInput::RepeatLast)
    }

    /// The sizes, for the fused kernels.
    pub(crate) fn network_shape(&self) -> NetworkShape {
        NetworkShape {
            cell: C::KIND,
            features: self.encoder.inputs(),
            outputs: self.dense.outputs(),
            hidden: self.encoder.hidden_sizes(),
            decoder_input: self.decoder_input,
        }
    }
}

impl<C: RecurrentCell, E: Dtype, D: RecurrentDevice<E>> Seq2Seq<C, E, D> {
    /// Predicts `future_steps` steps, `(B, F, O)`, from the past, `(B, P, D)`. F is free: it may
    /// differ from the horizon that the model was trained on.
    ///
    /// # Errors
    /// [`Error::Shape`] when the past has another number of features than the model, and
    /// [`Error::Setting`] when there is no past or no future step.
    #[inline(never)]
    pub fn forward<T: Tape<E, D>>(
        &self,
        past: Sequence<E, D, T>,
        future_steps: usize,
    ) -> Result<Sequence<E, D, T>> {
        let (last, states) = self.encode(past)?;
        let (last, tape) = last.split_tape();
        let input = self.decoder_reads(last, future_steps)?;
        self.decoder.forward_dense(input, Some(&states), &self.dense, tape, D::run)
    }

    /// The first half: reads the past, `(B, P, D)`, and returns what the decoder gets of it, namely
    /// the encoder's last output, `(B, H)`, with the tape, and the states of all layers, `(B, H)`
    /// each, in an LSTM two of them.
    ///
    /// ```
    /// use seq2seq::prelude::*;
    ///
    /// let model = Seq2Seq::stacked(1, &Hyperparameters::default())?;
    /// let data = two_sines(TwoSines { series: 3, ..Default::default() })?;
    /// let (last, mut states) = model.encode(data.past_tensor())?;
    /// let (first_step, next_states) = model.step(last.clone(), &states)?; // (3, 1)
    /// states = next_states;
    /// let (second_step, _) = model.step(last, &states)?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Seq2Seq::forward`].
    #[allow(clippy::type_complexity)] // pairs of named types
    #[inline(never)]
    pub fn encode<T: Tape<E, D>>(
        &self,
        past: Sequence<E, D, T>,
    ) -> Result<LastAndStates<E, D, T, C::State<E, D>>> {
        self.encoder.forward_last(past, None)
    }

    /// The second half, one step of it: from the decoder's input, `(B, K)`, and the states before,
    /// the predicted step, `(B, O)`, with the tape, and the states after. K is what the decoder
    /// reads: [`Seq2Seq::decoder`]`().inputs()`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the input or a state does not fit the decoder.
    #[allow(clippy::type_complexity)] // pairs of named types
    #[inline(never)]
    pub fn step<T: Tape<E, D>>(
        &self,
        input: State<E, D, T>,
        states: &[C::State<E, D>],
    ) -> Result<LastAndStates<E, D, T, C::State<E, D>>> {
        let (batch, width) = *input.shape();
        let input = input.reshape_like(&(batch, 1, width));
        let (output, states) = self.decoder.forward(input, Some(states))?;
        let predicted = self.dense.forward(output)?;
        Ok((predicted.reshape_like(&(batch, self.dense.outputs())), states))
    }
}

impl<C: RecurrentCell, E: Dtype, D: Device<E>> Seq2Seq<C, E, D> {
    /// As [`Seq2Seq::forward`], in plain dfdx operations: what the fast kernels are tested against.
    ///
    /// # Errors
    /// As [`Seq2Seq::forward`].
    pub fn forward_reference<T: Tape<E, D>>(
        &self,
        past: Sequence<E, D, T>,
        future_steps: usize,
    ) -> Result<Sequence<E, D, T>> {
        let (outputs, states) = self.encoder.forward_reference(past, None)?;
        let (_, tape) = outputs.split_tape();
        let input = self.decoder_reads(states[states.len() - 1].output().clone(), future_steps)?;
        self.decoder.forward_dense(input, Some(&states), &self.dense, tape, reference::run)
    }

    /// What the decoder reads, from the encoder's last output, `(B, H)`.
    fn decoder_reads(&self, last: State<E, D>, future_steps: usize) -> Result<Input<E, D>> {
        check_sizes([("future_steps", future_steps)])?;
        Ok(match self.decoder_input {
            DecoderInput::RepeatLast => Input::Repeated(last, future_steps),
            DecoderInput::Zeros => {
                let shape = (last.shape().0, future_steps, self.decoder.inputs());
                Input::Sequence(last.device().zeros_like(&shape))
            }
        })
    }
}

impl<C: RecurrentCell, E: Dtype, D: Storage<E>> Parameters<E, D> for Seq2Seq<C, E, D> {
    #[inline(never)]
    fn parameters(&self) -> Vec<(String, Parameter<'_, E, D>)> {
        prefixed("encoder", self.encoder.parameters())
            .chain(prefixed("decoder", self.decoder.parameters()))
            .chain(prefixed("dense", self.dense.parameters()))
            .collect()
    }

    #[inline(never)]
    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, E, D>)> {
        prefixed("encoder", self.encoder.parameters_mut())
            .chain(prefixed("decoder", self.decoder.parameters_mut()))
            .chain(prefixed("dense", self.dense.parameters_mut()))
            .collect()
    }
}

impl<C: RecurrentCell, E: Dtype, D: Storage<E>> fmt::Display for Seq2Seq<C, E, D> {
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Seq2Seq, {} parameters", self.parameter_count())?;
        writeln!(f, "  encoder  {}", self.encoder)?;
        writeln!(f, "  decoder  {}, input {:?}", self.decoder, self.decoder_input)?;
        write!(f, "  dense    {}", self.dense)
    }
}
