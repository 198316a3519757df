//! Generic functions, compiled here for what the notebooks call them with.
//!
//! A generic function is compiled by whoever calls it: in a notebook by every cell anew, while the
//! learner waits, and without optimisation. The compiler takes one from another crate instead if it is
//! marked `#[inline(never)]` and that crate has used it with the same types.

use dfdx::tensor::{Cpu, Gradients, NoneTape, OwnedTape, Tape};
use std::hint::black_box;

use crate::data::Dataset;
use crate::error::Result;
use crate::layers::{Attention, Dense, Gru, Lstm, Parameters, Recurrent, SimpleRnn, reverse_time};
use crate::model::{Autoregressive, Feeding, Seq2Seq};
use crate::train::{
    Adam, History, Hyperparameters, RmsProp, Sgd, fit_at_every_step, fit_on_tape, predict_with,
};
use crate::{Sequence, State};

#[used]
static INSTANCES: fn() = || {
    with_tape::<NoneTape>();
    with_tape::<OwnedTape<f32, Cpu>>();

    // One model stands for all: their weights are vectors and matrices.
    type Update<O> = fn(&mut O, &mut Seq2Seq, Gradients<f32, Cpu>) -> Result<()>;
    black_box::<Update<Adam>>(|adam, model, gradients| adam.update(model, gradients));
    black_box::<Update<RmsProp>>(|rms_prop, model, gradients| rms_prop.update(model, gradients));
    black_box::<Update<Sgd>>(|sgd, model, gradients| sgd.update(model, gradients));

    // And one network of a cell for all: what they share is compiled here.
    type Fit = fn(&mut Dense, &Dataset, &Dataset, &Hyperparameters) -> Result<History>;
    black_box::<Fit>(|dense, train, validation, hyperparameters| {
        fit_on_tape(dense, train, validation, hyperparameters, Dense::forward)
    });
    black_box::<Fit>(|dense, train, validation, hyperparameters| {
        fit_at_every_step(dense, train, validation, hyperparameters, Dense::forward)
    });
    black_box(Recurrent::<Cpu>::new as fn(_, _, &_, &mut _, &_) -> _);
    black_box::<fn(&Recurrent) -> usize>(|stack| stack.parameters().len());
    black_box::<fn(&mut Recurrent) -> usize>(|stack| stack.parameters_mut().len());

    type Predict = fn(&Dense, &Dataset) -> Result<crate::Forecast>;
    black_box::<Predict>(|dense, data| predict_with(dense, data, Dense::forward));
};

fn with_tape<T: Tape<f32, Cpu>>() {
    black_box(Seq2Seq::forward as fn(&_, Sequence<f32, Cpu, T>, _) -> _);
    black_box(Seq2Seq::encode as fn(&_, Sequence<f32, Cpu, T>) -> _);
    black_box(Seq2Seq::step as fn(&_, State<f32, Cpu, T>, &[_]) -> _);
    black_box(Autoregressive::forward as fn(&_, Sequence<f32, Cpu, T>, _, Feeding<'_>) -> _);

    black_box(SimpleRnn::forward as fn(&_, Sequence<f32, Cpu, T>, Option<&[_]>) -> _);
    black_box(SimpleRnn::forward_last as fn(&_, Sequence<f32, Cpu, T>, Option<&[_]>) -> _);
    black_box(Gru::forward as fn(&_, Sequence<f32, Cpu, T>, Option<&[_]>) -> _);
    black_box(Gru::forward_last as fn(&_, Sequence<f32, Cpu, T>, Option<&[_]>) -> _);
    black_box(Lstm::forward as fn(&_, Sequence<f32, Cpu, T>, Option<&[_]>) -> _);
    black_box(Lstm::forward_last as fn(&_, Sequence<f32, Cpu, T>, Option<&[_]>) -> _);
    black_box(Recurrent::forward as fn(&_, Sequence<f32, Cpu, T>) -> _);
    black_box(Recurrent::forward_last as fn(&_, Sequence<f32, Cpu, T>) -> _);
    black_box(Dense::forward as fn(&_, Sequence<f32, Cpu, T>) -> _);
    black_box(Dense::forward_step as fn(&_, State<f32, Cpu, T>) -> _);
    black_box(Attention::forward as fn(&_, Sequence<f32, Cpu, T>, &_) -> _);
    black_box(reverse_time::<f32, Cpu, T> as fn(_) -> _);
}
