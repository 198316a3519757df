use dfdx::shapes::HasShape;
use std::fmt;

use super::Seq2Seq;
use crate::data::Dataset;
use crate::error::{Error, Result, check_size};
use crate::forecast::Forecast;
use crate::interrupt;
use crate::kernels::level::Level;
use crate::kernels::seq2seq::Network;
use crate::layers::{LayerState, Parameter, Parameters, RecurrentCell, flat_weights};

/// A trained model with its weights laid out for the fused kernels, once for many predictions.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let model = Seq2Seq::stacked(2, &Hyperparameters::default())?;
/// let data = sine_cosine(SineCosine { series: 3, ..Default::default() })?;
/// let predictor = model.predictor();
/// assert_eq!(predictor.predict(&data)?, model.predict(&data)?);
/// # Ok::<(), Error>(())
/// ```
pub struct Predictor {
    network: Network,
}

impl<C: RecurrentCell> Seq2Seq<C> {
    /// Lays the weights out for predictions, as they are now.
    pub fn predictor(&self) -> Predictor {
        let network = Network::new(self.network_shape(), &flat_weights(self), Level::best());
        Predictor { network }
    }

    /// Predicts the F future steps of every series of `data`. For one series again and again, ask a
    /// [`Predictor`].
    ///
    /// # Errors
    /// [`Error::Shape`] when the features of `data` are not those of the model,
    /// [`Error::PredictionInterrupted`] after an interrupt.
    pub fn predict(&self, data: &Dataset) -> Result<Forecast> {
        self.predictor().predict(data)
    }

    /// What the encoder keeps of every series of `data`: the last states of all of its layers side by
    /// side, from the bottom up, `(n, H + … + H)`, row-major; in an LSTM the hidden and the cell state of
    /// each. It is all that the decoder gets to know of the past.
    ///
    /// # Errors
    /// [`Error::Shape`] when the features of `data` are not those of the model,
    /// [`Error::PredictionInterrupted`] after an interrupt.
    pub fn encoder_states(&self, data: &Dataset) -> Result<Vec<f32>> {
        let work = interrupt::watch();
        let chunk = chunk(self.encoder().parameter_count(), data.past_steps());
        let mut all = Vec::new();
        for first in (0..data.len()).step_by(chunk) {
            if work.interrupted() {
                return Err(Error::PredictionInterrupted);
            }
            let part = data.select(first..data.len().min(first.saturating_add(chunk)))?;
            let (_, states) = self.encode(part.past_tensor())?;
            let tensors = states.iter().flat_map(LayerState::tensors);
            let states: Vec<_> =
                tensors.map(|(_, s)| (s.shape().1, Parameter::Matrix(s).to_vec())).collect();
            let of = |series: usize| {
                let layers = states.iter();
                layers.flat_map(move |(size, values)| &values[series * size..][..*size])
            };
            all.extend((0..part.len()).flat_map(of).copied());
        }
        Ok(all)
    }
}

impl Predictor {
    /// Predicts the F future steps of every series of `data`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the features of `data` are not those of the model,
    /// [`Error::PredictionInterrupted`] after an interrupt.
    pub fn predict(&self, data: &Dataset) -> Result<Forecast> {
        let what = "the number of features of the data";
        check_size(what, self.network.shape().features, data.features())?;
        let work = interrupt::watch();
        let values = predict_while(&self.network, data, false, &|| !work.interrupted())?;
        Forecast::new(values, data.future_steps(), self.network.shape().outputs)
    }
}

/// Predicts every series of `data`, `(n, F, O)`. Where it `yields`, it enters the thread pool for a part of the
/// series at a time, so that other work can come between.
///
/// # Errors
/// [`Error::PredictionInterrupted`] when `go_on` returns false before the last one.
pub(crate) fn predict_while(
    network: &Network,
    data: &Dataset,
    yields: bool,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<f32>> {
    let (past_steps, future_steps) = (data.past_steps(), data.future_steps());
    let predict = |past: &[f32]| {
        let predicted = network.predict_while(past, past_steps, future_steps, go_on);
        predicted.ok_or(Error::PredictionInterrupted)
    };
    if !yields {
        return predict(data.past());
    }
    let chunk = chunk(network.shape().num_weights(), past_steps + future_steps);
    let (of_series, _) = data.sizes();
    let parts = data.past().chunks(chunk.saturating_mul(of_series));
    Ok(parts.map(predict).collect::<Result<Vec<_>>>()?.concat())
}

/// The number of series to compute between two looks at the interrupt flag, by a network that uses each
/// of its `weights` at every one of `steps` steps. The size of a chunk does not change the results.
pub(crate) fn chunk(weights: usize, steps: usize) -> usize {
    /// Multiply-adds: a tenth of a second of one core, or less.
    const WORK: usize = 2_000_000_000;
    /// Series of the largest tile.
    const TILE: usize = 32;
    let series = WORK / weights.saturating_mul(steps).max(1);
    // Every thread has a tile.
    let least = rayon::current_num_threads() * TILE;
    series.max(least).next_multiple_of(TILE)
}

impl fmt::Debug for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Predictor").field(self.network.shape()).finish()
    }
}
