use nalgebra::{DMatrix, SymmetricEigen};

use crate::data::Dataset;
use crate::error::{Error, Result, check_size};

/// The naive forecast: every future step is the last value of the past. `(n, F, D)`.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = Dataset::new(vec![1.0, 2.0], vec![3.0, 4.0, 5.0], 2, 3, 1)?;
/// assert_eq!(repeat_last(&data), [2.0, 2.0, 2.0]);
/// # Ok::<(), Error>(())
/// ```
pub fn repeat_last(data: &Dataset) -> Vec<f32> {
    let d = data.features();
    let one = |past: &[f32]| past[past.len() - d..].repeat(data.future_steps());
    data.past().chunks(data.past_steps() * d).flat_map(one).collect()
}

/// Linear regression of the whole future on the whole past, with an intercept, by exact least
/// squares: the best that any linear model can do on the training part.
///
/// Where several solutions fit equally well, it takes the one with the smallest weights.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = sine_cosine(SineCosine::default())?;
/// let line = LeastSquares::fit(&data)?;
/// assert!(mse(&line.predict(&data)?, &data)? < 1e-6); // a sine is linear in its own past
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LeastSquares {
    /// (P·D + 1, F·D), the last row being the intercept
    weights: DMatrix<f64>,
    outputs: (usize, usize),
}

impl LeastSquares {
    /// Solves the normal equations on `train`.
    ///
    /// # Errors
    /// [`Error::Data`] when the values are too large to be squared and added.
    pub fn fit(train: &Dataset) -> Result<Self> {
        let x = inputs(train);
        let (_, outputs) = train.sizes();
        let y = DMatrix::from_row_iterator(
            train.len(),
            outputs,
            train.future().iter().map(|&v| f64::from(v)),
        );
        let gram = x.tr_mul(&x);
        if gram.iter().any(|v| !v.is_finite()) {
            return Err(Error::Data("the squares of its values are not finite".into()));
        }
        // The pseudo-inverse: directions of the past that never vary get no weight. A past of
        // noiseless sines lies in a few directions, so that the equations alone are singular.
        let eigen = SymmetricEigen::new(gram);
        let threshold = eigen.eigenvalues.max() * 1e-11;
        let inverse = eigen.eigenvalues.map(|v| if v > threshold { 1.0 / v } else { 0.0 });
        let v = &eigen.eigenvectors;
        let projected = v.tr_mul(&x.tr_mul(&y));
        let weights = v * DMatrix::from_diagonal(&inverse) * projected;
        Ok(Self { weights, outputs: (train.future_steps(), train.features()) })
    }

    /// The prediction for every series of `data`, `(n, F, D)`.
    ///
    /// # Errors
    /// [`Error::Shape`] when `data` has other sizes than the data that was fitted.
    pub fn predict(&self, data: &Dataset) -> Result<Vec<f32>> {
        let (steps, features) = self.outputs;
        check_size("the number of future steps", steps, data.future_steps())?;
        check_size("the number of features", features, data.features())?;
        let past = (self.weights.nrows() - 1) / features;
        check_size("the number of past steps", past, data.past_steps())?;
        let y = inputs(data) * &self.weights;
        Ok(y.transpose().iter().map(|&v| v as f32).collect())
    }
}

/// The flattened past of each series with a 1 behind it for the intercept, (n, P·D + 1).
fn inputs(data: &Dataset) -> DMatrix<f64> {
    let (past, _) = data.sizes();
    DMatrix::from_fn(data.len(), past + 1, |series, i| {
        if i < past { f64::from(data.past()[series * past + i]) } else { 1.0 }
    })
}
