use dfdx::shapes::HasShape;
use dfdx::tensor::Cpu;
use std::fmt;

use super::Seq2Seq;
use crate::data::Dataset;
use crate::error::{Result, check_size};
use crate::kernels::cpu::level::Level;
use crate::kernels::cpu::seq2seq::Network;
use crate::kernels::values;
use crate::layers::flat_weights;

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

impl Seq2Seq {
    /// Lays the weights out for predictions, as they are now.
    pub fn predictor(&self) -> Predictor {
        let network = Network::new(self.network_shape(), &flat_weights(self), Level::best());
        Predictor { network }
    }

    /// Predicts the F future steps of every series of `data`: `(n, F, D)`, row-major. For one
    /// series again and again, ask a [`Predictor`].
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the features of `data` are not those of the model.
    pub fn predict(&self, data: &Dataset) -> Result<Vec<f32>> {
        self.predictor().predict(data)
    }
}

impl Seq2Seq {
    /// What the encoder keeps of every series of `data`: the last states of all of its layers side by
    /// side, from the bottom up, `(n, H + … + H)`, row-major. It is all that the decoder gets to know
    /// of the past.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the features of `data` are not those of the model.
    pub fn encoder_states(&self, data: &Dataset) -> Result<Vec<f32>> {
        let (_, states) = self.encode(data.past_tensor(&Cpu::default()))?;
        let states: Vec<_> = states.iter().map(|state| (state.shape().1, values(state))).collect();
        let of = |series: usize| {
            let layers = states.iter();
            layers.flat_map(move |(size, values)| &values[series * size..][..*size])
        };
        Ok((0..data.len()).flat_map(of).copied().collect())
    }
}

impl Predictor {
    /// Predicts the F future steps of every series of `data`: `(n, F, D)`, row-major.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the features of `data` are not those of the model.
    pub fn predict(&self, data: &Dataset) -> Result<Vec<f32>> {
        let what = "the number of features of the data";
        check_size(what, self.network.shape().features, data.features())?;
        Ok(self.network.predict(data.past(), data.past_steps(), data.future_steps()))
    }
}

impl fmt::Debug for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Predictor").field(self.network.shape()).finish()
    }
}
