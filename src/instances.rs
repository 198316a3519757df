//! Generic functions, compiled here for what the notebooks call them with.
//!
//! A generic function is compiled by whoever calls it: in a notebook by every cell anew, while the
//! learner waits, and without optimisation. The compiler takes one from another crate instead if it is
//! marked `#[inline(never)]` and that crate has used it with the same types. That is not documented:
//! `tests/instances.rs` fails when it is not so.

use dfdx::tensor::{Cpu, Gradients, NoneTape, OwnedTape, Tape};
use std::hint::black_box;

use crate::data::Dataset;
use crate::layers::{
    Attention, Dense, Gru, Lstm, Parameter, Parameters, Recurrent, SimpleRnn, reverse_time,
};
use crate::model::{Autoregressive, Feeding, Seq2Seq};
use crate::train::{
    Descent, History, Hyperparameters, fit, fit_at_every_step, fit_on_tape, predict_with,
};
use crate::{Forecast, Result, Sequence, State};

/// Where the functions are that no cell compiles.
pub fn addresses() -> Vec<usize> {
    type Named = fn(&Recurrent) -> Vec<(String, Parameter<'_, f32, Cpu>)>;
    let others = [
        Dataset::past_tensor as fn(&_) -> Sequence as usize,
        Dataset::future_tensor as fn(&_) -> Sequence as usize,
        Recurrent::<Cpu>::new as fn(_, _, &_, &mut _, &_) -> _ as usize,
        Recurrent::parameters as Named as usize,
    ];
    let of_tapes = [with_tape::<NoneTape>(), with_tape::<OwnedTape<f32, Cpu>>()];
    of_tapes.into_iter().flatten().chain(others).collect()
}

fn with_tape<T: Tape<f32, Cpu>>() -> [usize; 16] {
    type Layer<T, S> = fn(&S, Sequence<f32, Cpu, T>) -> Result<Sequence<f32, Cpu, T>>;
    [
        <Seq2Seq>::forward as fn(&_, Sequence<f32, Cpu, T>, _) -> _ as usize,
        <Seq2Seq>::encode as fn(&_, Sequence<f32, Cpu, T>) -> _ as usize,
        <Seq2Seq>::step as fn(&_, State<f32, Cpu, T>, &[_]) -> _ as usize,
        Autoregressive::forward as fn(&_, Sequence<f32, Cpu, T>, _, Feeding<'_>) -> _ as usize,
        SimpleRnn::forward as fn(&_, Sequence<f32, Cpu, T>, Option<&[_]>) -> _ as usize,
        SimpleRnn::forward_last as fn(&_, Sequence<f32, Cpu, T>, Option<&[_]>) -> _ as usize,
        Gru::forward as fn(&_, Sequence<f32, Cpu, T>, Option<&[_]>) -> _ as usize,
        Gru::forward_last as fn(&_, Sequence<f32, Cpu, T>, Option<&[_]>) -> _ as usize,
        Lstm::forward as fn(&_, Sequence<f32, Cpu, T>, Option<&[_]>) -> _ as usize,
        Lstm::forward_last as fn(&_, Sequence<f32, Cpu, T>, Option<&[_]>) -> _ as usize,
        Recurrent::forward as Layer<T, Recurrent> as usize,
        Recurrent::forward_last as fn(&_, Sequence<f32, Cpu, T>) -> _ as usize,
        Dense::forward as Layer<T, Dense> as usize,
        Dense::forward_step as fn(&_, State<f32, Cpu, T>) -> _ as usize,
        Attention::forward as fn(&_, Sequence<f32, Cpu, T>, &_) -> _ as usize,
        reverse_time::<f32, Cpu, T> as fn(_) -> _ as usize,
    ]
}

/// These differ with the network that a cell has put together. What they share is compiled here, by one
/// network for all.
#[used]
static SHARED: fn() = || {
    type FitSeq2Seq = fn(&mut Seq2Seq, &Dataset, &Dataset, &Hyperparameters) -> Result<History>;
    black_box(fit as FitSeq2Seq);
    black_box(<Seq2Seq>::predict as fn(&Seq2Seq, &Dataset) -> Result<Forecast>);
    type Update = fn(&mut Descent, &mut Seq2Seq, Gradients<f32, Cpu>) -> Result<f64>;
    black_box::<Update>(|descent, model, gradients| descent.update(model, gradients));

    type Fit = fn(&mut Dense, &Dataset, &Dataset, &Hyperparameters) -> Result<History>;
    black_box::<Fit>(|dense, train, validation, hyperparameters| {
        fit_on_tape(dense, train, validation, hyperparameters, Dense::forward)
    });
    black_box::<Fit>(|dense, train, validation, hyperparameters| {
        fit_at_every_step(dense, train, validation, hyperparameters, Dense::forward)
    });
    black_box::<fn(&mut Recurrent) -> usize>(|stack| stack.parameters_mut().len());

    type Predict = fn(&Dense, &Dataset) -> Result<Forecast>;
    black_box::<Predict>(|dense, data| predict_with(dense, data, Dense::forward));
};
