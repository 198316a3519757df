use dfdx::shapes::{Dtype, HasShape, Shape};
use dfdx::tensor::{Storage, Tensor};
use dfdx::tensor_ops::{Device, ReshapeTo};

/// A read-only view of one weight tensor.
#[derive(Clone, Debug)]
pub enum Parameter<'a, E: Dtype, D: Storage<E>> {
    /// A bias.
    Vector(&'a Tensor<(usize,), E, D>),
    /// A weight matrix.
    Matrix(&'a Tensor<(usize, usize), E, D>),
}

/// One weight tensor that an optimiser or a loader may change.
#[derive(Debug)]
pub enum ParameterMut<'a, E: Dtype, D: Storage<E>> {
    /// A bias.
    Vector(&'a mut Tensor<(usize,), E, D>),
    /// A weight matrix.
    Matrix(&'a mut Tensor<(usize, usize), E, D>),
}

/// Anything with trainable weights. Names and order are the same in both methods.
pub trait Parameters<E: Dtype, D: Storage<E>> {
    /// The weights, with PyTorch's names.
    fn parameters(&self) -> Vec<(String, Parameter<'_, E, D>)>;

    /// The weights, to be changed, with PyTorch's names.
    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, E, D>)>;

    /// How many numbers there are to train.
    fn parameter_count(&self) -> usize {
        let count = |(_, parameter): &(String, Parameter<'_, E, D>)| {
            parameter.shape().iter().product::<usize>()
        };
        self.parameters().iter().map(count).sum()
    }
}

impl<E: Dtype, D: Device<E>> Parameter<'_, E, D> {
    /// The values, row by row, also of a weight that was permuted or broadcast.
    pub fn to_vec(&self) -> Vec<E> {
        let mut values = vec![E::default(); self.shape().iter().product()];
        // `copy_into` reads in the order of the memory; without a need to, `contiguous` copies nothing.
        match *self {
            Self::Vector(tensor) => tensor.clone().contiguous().copy_into(&mut values),
            Self::Matrix(tensor) => tensor.clone().contiguous().copy_into(&mut values),
        }
        values
    }
}

impl<E: Dtype, D: Storage<E>> Parameter<'_, E, D> {
    /// The device that holds the values.
    pub(crate) fn device(&self) -> &D {
        match self {
            Self::Vector(tensor) => tensor.device(),
            Self::Matrix(tensor) => tensor.device(),
        }
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Vector(tensor) => vec![tensor.shape().0],
            Self::Matrix(tensor) => vec![tensor.shape().0, tensor.shape().1],
        }
    }
}

impl<E: Dtype, D: Storage<E>> ParameterMut<'_, E, D> {
    /// The sizes of the axes.
    pub fn shape(&self) -> Vec<usize> {
        self.as_ref().shape()
    }

    /// The read-only view.
    pub fn as_ref(&self) -> Parameter<'_, E, D> {
        match self {
            Self::Vector(tensor) => Parameter::Vector(tensor),
            Self::Matrix(tensor) => Parameter::Matrix(tensor),
        }
    }
}

impl<E: Dtype, D: Device<E>> ParameterMut<'_, E, D> {
    /// Replaces all values, given row by row.
    ///
    /// # Panics
    /// When `values` does not hold as many numbers as the tensor.
    pub fn copy_from(&mut self, values: &[E]) {
        match self {
            Self::Vector(tensor) => copy_rows(tensor, values),
            Self::Matrix(tensor) => copy_rows(tensor, values),
        }
    }
}

/// Replaces the values of a tensor, given row by row. A contiguous tensor stays the same one, to which
/// gradients and the state of an optimiser belong; another one is replaced.
fn copy_rows<S: Shape, E: Dtype, D: Device<E>>(tensor: &mut Tensor<S, E, D>, values: &[E]) {
    *tensor = tensor.clone().contiguous();
    tensor.copy_from(values);
}

/// A network that a cell has put together: its weights are those of its parts, `0.…` and `1.…`.
impl<E, D, A, B> Parameters<E, D> for (A, B)
where
    E: Dtype,
    D: Storage<E>,
    A: Parameters<E, D>,
    B: Parameters<E, D>,
{
    fn parameters(&self) -> Vec<(String, Parameter<'_, E, D>)> {
        prefixed("0", self.0.parameters()).chain(prefixed("1", self.1.parameters())).collect()
    }

    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, E, D>)> {
        let (a, b) = (self.0.parameters_mut(), self.1.parameters_mut());
        prefixed("0", a).chain(prefixed("1", b)).collect()
    }
}

/// All weights one after the other, in the order of [`Parameters`].
pub(crate) fn flat_weights<D: Device<f32>>(model: &(impl Parameters<f32, D> + ?Sized)) -> Vec<f32> {
    model.parameters().iter().flat_map(|(_, parameter)| parameter.to_vec()).collect()
}

/// Takes over all weights of a model, in the same order.
pub(crate) fn set_flat_weights<D: Device<f32>>(
    parameters: Vec<(String, ParameterMut<'_, f32, D>)>,
    mut weights: &[f32],
) {
    for (_, mut parameter) in parameters {
        let (values, others) = weights.split_at(parameter.shape().iter().product());
        parameter.copy_from(values);
        weights = others;
    }
}

/// Puts the name of a part before the names of its weights: `encoder.weight_ih_l0`.
pub(crate) fn prefixed<P>(
    part: &str,
    parameters: Vec<(String, P)>,
) -> impl Iterator<Item = (String, P)> {
    parameters.into_iter().map(move |(name, parameter)| (format!("{part}.{name}"), parameter))
}
