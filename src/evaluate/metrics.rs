use crate::data::Dataset;
use crate::error::{Error, Result, check_size};

/// Mean squared error of a prediction, `(n, F, D)`, over all series, steps and features.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = Dataset::new(vec![0.0], vec![1.0, 3.0], 1, 2, 1)?;
/// assert_eq!(mse(&[1.0, 1.0], &data)?, 2.0);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] when `prediction` is not as large as the future of `data`.
pub fn mse(prediction: &[f32], data: &Dataset) -> Result<f64> {
    check_size("the number of predicted values", data.future().len(), prediction.len())?;
    let squares = prediction.iter().zip(data.future());
    Ok(mean(squares.map(|(p, y)| f64::from(p - y).powi(2))))
}

/// Mean squared error of one feature, over all series and steps. The source reports feature 0.
///
/// # Errors
/// [`Error::Shape`] as for [`mse`], [`Error::Setting`] when there is no such feature.
pub fn mse_of_feature(prediction: &[f32], data: &Dataset, feature: usize) -> Result<f64> {
    check_size("the number of predicted values", data.future().len(), prediction.len())?;
    let features = data.features();
    if feature >= features {
        let allowed = format!("below {features}, the number of features");
        return Err(Error::setting("feature", feature, allowed));
    }
    let squares = prediction.iter().zip(data.future()).skip(feature).step_by(features);
    Ok(mean(squares.map(|(p, y)| f64::from(p - y).powi(2))))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), v| (sum + v, count + 1));
    sum / f64::from(count)
}
