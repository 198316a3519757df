use dfdx::shapes::{Axes3, Axis, Dtype, HasShape};
use dfdx::tensor::{Cpu, PutTape, SplitTape, Storage, Tape};
use dfdx::tensor_ops::{Device, PermuteTo, ReshapeTo, TryConcatAlong, TryStack};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::fmt;
use std::iter::repeat_n;

use crate::error::{Error, Result, check_shape, check_sizes};
use crate::interrupt;
use crate::layers::RecurrentDevice;
use crate::layers::reference::at;
use crate::layers::{
    Attention, Dense, Dropout, Gru, Initializer, Parameter, ParameterMut, Parameters, prefixed,
};
use crate::random::{Stream, stream};
use crate::{Sequence, State};

/// Settings of an [`Autoregressive`] model.
///
/// | field | default | range | what it does |
/// | --- | --- | --- | --- |
/// | `features` | 1 | 1 or more | features of the series, D |
/// | `encoder_sizes` | `[35, 35]` | 1 or more each | hidden size of each encoder layer |
/// | `decoder_sizes` | `[35, 35]` | as many layers | hidden size of each decoder layer |
/// | `context` | false | | the encoder's last output, beside the input, at every step |
/// | `attention` | false | | the decoder looks back at all outputs of the encoder |
/// | `dropout` | 0 | 0 to below 1 | part of the decoder's outputs that training drops |
/// | `seed` | 42 | any | draws the first weights, and what is dropped |
#[derive(Clone, Debug, PartialEq)]
pub struct AutoregressiveSettings {
    /// Features of the series, D.
    pub features: usize,
    /// Hidden size of each layer of the encoder, from the input up.
    pub encoder_sizes: Vec<usize>,
    /// Hidden size of each layer of the decoder. Where they differ from the encoder's, a dense layer
    /// turns the encoder's state into the decoder's.
    pub decoder_sizes: Vec<usize>,
    /// Whether the decoder reads the encoder's last output at every step, beside the last value
    /// (the constant context vector of Cho et al., 2014).
    pub context: bool,
    /// Whether the decoder attends to the outputs of the encoder ([`Attention`]).
    pub attention: bool,
    /// Part of the decoder's outputs that is set to 0 while training ([`Dropout`]).
    pub dropout: f64,
    /// Draws the first weights, and what is dropped.
    pub seed: u64,
}

impl Default for AutoregressiveSettings {
    fn default() -> Self {
        Self {
            features: 1,
            encoder_sizes: vec![35, 35],
            decoder_sizes: vec![35, 35],
            context: false,
            attention: false,
            dropout: 0.0,
            seed: 42,
        }
    }
}

/// An encoder-decoder whose decoder reads, at every step, the value of the step before. It trains on
/// dfdx's tape.
///
/// ```text
///  past                                            value t-1    value t
///    |                                                  |          ^
/// encoder -> states -> (dense, if sizes differ) -> decoder -> dense
///    |                                                  ^
///    +--- all outputs (attention), last output (context)
/// ```
///
/// The first value that it reads is the last one of the past. After that [`Feeding`] decides: its
/// own output, the truth, or a draw between the two.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let model = Autoregressive::new(AutoregressiveSettings { attention: true, ..Default::default() })?;
/// let data = two_sines(TwoSines { series: 5, ..Default::default() })?;
/// let prediction = model.forward(data.past_tensor(), 20, Feeding::Own)?; // any number of steps
/// assert_eq!(prediction.shape(), &(5, 20, 1));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Autoregressive<E: Dtype = f32, D: Storage<E> = Cpu> {
    encoder: Gru<E, D>,
    /// One a layer, or none where encoder and decoder have the same sizes.
    bridge: Vec<Dense<E, D>>,
    decoder: Gru<E, D>,
    attention: Option<Attention<E, D>>,
    dense: Dense<E, D>,
    context: bool,
    dropout: Dropout,
}

/// What a decoder is fed from the second step on.
#[derive(Debug)]
pub enum Feeding<'a, E: Dtype = f32, D: Storage<E> = Cpu> {
    /// Its own output of the step before: all that there is when it predicts. Gradients flow back
    /// through it.
    Own,
    /// The true value of the step before, of a future `(B, F, D)`: teacher forcing (Williams and
    /// Zipser, 1989).
    Truth(&'a Sequence<E, D>),
    /// For each series and step the truth with this probability, else its own output: scheduled
    /// sampling (Bengio et al., 2015). Lower the probability from epoch to epoch.
    Sampled {
        /// The true future, `(B, F, D)`.
        future: &'a Sequence<E, D>,
        /// Probability of the truth, 0 to 1.
        truth: f64,
        /// Draws which; another one for each batch.
        seed: u64,
    },
}

// Derived, these would ask the device to be `Copy`.
impl<E: Dtype, D: Storage<E>> Clone for Feeding<'_, E, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: Dtype, D: Storage<E>> Copy for Feeding<'_, E, D> {}

impl Autoregressive {
    /// A model on the CPU, with weights drawn from the seed.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is outside its range.
    pub fn new(settings: AutoregressiveSettings) -> Result<Self> {
        Self::of_dtype(settings, &Cpu::default())
    }
}

impl<E: Dtype + From<f32>, D: Device<E>> Autoregressive<E, D> {
    /// As [`Autoregressive::new`], for any type of number and any device.
    ///
    /// # Errors
    /// As [`Autoregressive::new`].
    #[inline(never)]
    pub fn of_dtype(settings: AutoregressiveSettings, device: &D) -> Result<Self> {
        let AutoregressiveSettings { features, encoder_sizes, decoder_sizes, .. } = settings;
        if encoder_sizes.len() != decoder_sizes.len() {
            let value = format!("{} layers {decoder_sizes:?}", decoder_sizes.len());
            let allowed = format!("as many layers as the encoder has, {}", encoder_sizes.len());
            return Err(Error::setting("decoder_sizes", value, allowed));
        }
        let dropout = Dropout::new(settings.dropout, settings.seed)?;
        let mut init = Initializer::new(settings.seed);
        let encoder = Gru::of_dtype(features, &encoder_sizes, &mut init, device)?;
        let context_size = if settings.context { encoder.outputs() } else { 0 };
        let decoder = Gru::of_dtype(features + context_size, &decoder_sizes, &mut init, device)?;
        let sizes = encoder_sizes.iter().zip(&decoder_sizes);
        let bridge = match encoder_sizes == decoder_sizes {
            true => Vec::new(),
            false => sizes
                .map(|(&from, &to)| Dense::of_dtype(from, to, &mut init, device))
                .collect::<Result<_>>()?,
        };
        let (queries, memory) = (decoder.outputs(), encoder.outputs());
        let attention = settings
            .attention
            .then(|| Attention::of_dtype(queries, memory, &mut init, device))
            .transpose()?;
        let dense = Dense::of_dtype(queries, features, &mut init, device)?;
        Ok(Self { encoder, bridge, decoder, attention, dense, context: settings.context, dropout })
    }
}

impl<E: Dtype, D: Storage<E>> Autoregressive<E, D> {
    /// The same model, with copies of its weights on another device.
    pub fn to_device<To: Device<E>>(&self, device: &To) -> Autoregressive<E, To> {
        Autoregressive {
            encoder: self.encoder.to_device(device),
            bridge: self.bridge.iter().map(|dense| dense.to_device(device)).collect(),
            decoder: self.decoder.to_device(device),
            attention: self.attention.as_ref().map(|attention| attention.to_device(device)),
            dense: self.dense.to_device(device),
            context: self.context,
            dropout: self.dropout.clone(),
        }
    }
}

impl<E: Dtype, D: RecurrentDevice<E>> Autoregressive<E, D> {
    /// Predicts `future_steps` steps, `(B, F, D)`, from the past, `(B, P, D)`. F is free.
    ///
    /// [`Dropout`] is active where the past is traced and nothing is measured, that is while training.
    ///
    /// # Errors
    /// [`Error::Shape`] when the past, or the future of `feeding`, does not fit; [`Error::Setting`]
    /// when there is no past or no future step, or a probability is not between 0 and 1;
    /// [`Error::PredictionInterrupted`] after an interrupt, unless the past is traced.
    #[inline(never)]
    pub fn forward<T: Tape<E, D>>(
        &self,
        past: Sequence<E, D, T>,
        future_steps: usize,
        feeding: Feeding<'_, E, D>,
    ) -> Result<Sequence<E, D, T>> {
        check_sizes([("future_steps", future_steps)])?;
        let (batch, past_steps, _) = *past.shape();
        let features = self.dense.outputs();
        let mut teacher = Teacher::new(feeding, (batch, future_steps, features))?;

        // One tape runs through all of it; what is used twice is used once without its tape, and is
        // known to the tape by its number.
        let (past, tape) = past.split_tape();
        let (outputs, mut states) = self.encoder.forward(past.clone().put_tape(tape), None)?;
        let (memory, tape) = outputs.split_tape();
        let context = states[states.len() - 1].clone();
        let (mut value, mut tape) = step_of(past.put_tape(tape), past_steps - 1).split_tape();
        for (dense, state) in self.bridge.iter().zip(&mut states) {
            let bridged = dense.forward_step(state.clone().put_tape(tape))?;
            (*state, tape) = bridged.split_tape();
        }

        // While training, the training itself looks for interrupts.
        let work = (!T::OWNS_TAPE).then(interrupt::watch);
        let mut values = Vec::with_capacity(future_steps);
        for t in 0..future_steps {
            if work.as_ref().is_some_and(|work| work.interrupted()) {
                return Err(Error::PredictionInterrupted);
            }
            let mut input = teacher.choose(t, value.clone().put_tape(tape));
            if self.context {
                input = (input, context.clone()).concat_along(Axis::<1>);
            }
            let (_, width) = *input.shape();
            let (mut output, after) =
                self.decoder.forward(input.reshape_like(&(batch, 1, width)), Some(&states))?;
            states = after;
            if let Some(attention) = &self.attention {
                (output, _) = attention.forward(output, &memory)?;
            }
            let output = self.dropout.forward(output);
            let predicted = self.dense.forward(output)?.reshape_like(&(batch, features));
            (value, tape) = predicted.split_tape();
            values.push(value.retaped::<T>());
        }
        values[future_steps - 1] = value.put_tape(tape);
        Ok(values.stack().permute::<_, Axes3<1, 0, 2>>().contiguous())
    }
}

/// Hands the decoder its inputs.
struct Teacher<'a, E: Dtype, D: Storage<E>> {
    future: Option<&'a Sequence<E, D>>,
    truth: f64,
    rng: ChaCha8Rng,
}

impl<'a, E: Dtype, D: Device<E>> Teacher<'a, E, D> {
    fn new(feeding: Feeding<'a, E, D>, shape: (usize, usize, usize)) -> Result<Self> {
        let (future, truth, seed) = match feeding {
            Feeding::Own => (None, 0.0, 0),
            Feeding::Truth(future) => (Some(future), 1.0, 0),
            Feeding::Sampled { future, truth, seed } => (Some(future), truth, seed),
        };
        if !(0.0..=1.0).contains(&truth) {
            return Err(Error::setting("truth", truth, "a probability, from 0 to 1"));
        }
        future.map_or(Ok(()), |future| check_shape("the future", shape, *future.shape()))?;
        Ok(Self { future, truth, rng: stream(seed, Stream::Feeding) })
    }

    /// The input of step `t`, `own` being the output of the step before: `(B, D)`.
    fn choose<T: Tape<E, D>>(&mut self, t: usize, own: State<E, D, T>) -> State<E, D, T> {
        let Some(future) = self.future.filter(|_| t > 0 && self.truth > 0.0) else { return own };
        let truth = step_of(future.clone(), t - 1);
        let (batch, features) = *own.shape();
        let (own, tape) = own.split_tape();
        if self.truth >= 1.0 {
            return truth.put_tape(tape);
        }
        // One draw a series, alike for all of its features: 1 takes the truth, 0 its own output.
        let draws: Vec<_> = (0..batch).map(|_| self.rng.random_bool(self.truth)).collect();
        let mask = |taken: bool| -> State<E, D> {
            let number = |draw: bool| if draw == taken { E::ONE } else { E::default() };
            let values = draws.iter().flat_map(|&draw| repeat_n(number(draw), features)).collect();
            truth.device().tensor_from_vec(values, (batch, features))
        };
        let (keep, take) = (mask(false), mask(true));
        own.put_tape(tape) * keep + truth * take
    }
}

/// `x[:, t, :]`, for x `(B, T, D)`: `(B, D)`.
fn step_of<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Sequence<E, D, T>,
    t: usize,
) -> State<E, D, T> {
    at(x.permute::<_, Axes3<1, 0, 2>>(), t)
}

impl<E: Dtype, D: Storage<E>> Parameters<E, D> for Autoregressive<E, D> {
    #[inline(never)]
    fn parameters(&self) -> Vec<(String, Parameter<'_, E, D>)> {
        let mut all: Vec<_> = prefixed("encoder", self.encoder.parameters()).collect();
        for (layer, dense) in self.bridge.iter().enumerate() {
            all.extend(prefixed(&format!("bridge.{layer}"), dense.parameters()));
        }
        all.extend(prefixed("decoder", self.decoder.parameters()));
        if let Some(attention) = &self.attention {
            all.extend(prefixed("attention", attention.parameters()));
        }
        all.extend(prefixed("dense", self.dense.parameters()));
        all
    }

    #[inline(never)]
    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, E, D>)> {
        let mut all: Vec<_> = prefixed("encoder", self.encoder.parameters_mut()).collect();
        for (layer, dense) in self.bridge.iter_mut().enumerate() {
            all.extend(prefixed(&format!("bridge.{layer}"), dense.parameters_mut()));
        }
        all.extend(prefixed("decoder", self.decoder.parameters_mut()));
        if let Some(attention) = &mut self.attention {
            all.extend(prefixed("attention", attention.parameters_mut()));
        }
        all.extend(prefixed("dense", self.dense.parameters_mut()));
        all
    }
}

impl<E: Dtype, D: Storage<E>> fmt::Display for Autoregressive<E, D> {
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Autoregressive, {} parameters", self.parameter_count())?;
        writeln!(f, "  encoder    {}", self.encoder)?;
        for dense in &self.bridge {
            writeln!(f, "  bridge     {dense}")?;
        }
        let reads = if self.context { "the last value and the context" } else { "the last value" };
        writeln!(f, "  decoder    {}, reads {reads}", self.decoder)?;
        if let Some(attention) = &self.attention {
            writeln!(f, "  attention  {attention}")?;
        }
        write!(f, "  dense      {}, dropout {}", self.dense, self.dropout.rate())
    }
}
