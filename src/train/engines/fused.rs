//! The stock model on the fused kernels.

use crate::Device;
use crate::data::Dataset;
use crate::error::{Error, Result, check_size};
use crate::history::History;
use crate::kernels::level::Level;
use crate::kernels::recurrent::CellKind;
use crate::kernels::seq2seq::{Dropout, TrainStep, Windows};
use crate::layers::{RecurrentCell, flat_weights};
use crate::model::{Layout, Seq2Seq, predict_while};
use crate::settings::Hyperparameters;
use crate::train::checkpoint::Found;
use crate::train::descent::{Descent, Memory};
use crate::train::engine::{Engine, Steps, Watch};
use crate::train::loss::LOSS;
use crate::train::run::{Job, Trainable, run, with_weights};

impl<C: RecurrentCell> Trainable for Seq2Seq<C> {
    fn check(
        &self,
        train: &Dataset,
        validation: Option<&Dataset>,
        hyperparameters: &Hyperparameters,
    ) -> Result<()> {
        let Hyperparameters { device, dropout, .. } = *hyperparameters;
        if device != Device::Cpu && (C::KIND != CellKind::Gru || dropout > 0.0) {
            let allowed = "Device::Cpu for other cells than the GRU and with dropout";
            return Err(Error::setting("device", device, allowed));
        }
        for (part, data) in [("training", Some(train)), ("validation", validation)] {
            let Some(data) = data else { continue };
            let what = format!("the number of features of the {part} part");
            check_size(what, self.encoder().inputs(), data.features())?;
            let what = "the number of outputs of the model's dense layer";
            check_size(what, data.targets(), self.dense().outputs())?;
        }
        Ok(())
    }

    fn layout(&self) -> Layout {
        self.layout()
    }

    fn load(&mut self, found: &Found) -> Result<()> {
        found.file.load_into(self)
    }

    fn describe(&self, hyperparameters: &Hyperparameters) -> [String; 2] {
        let found = Device::available().iter().map(|device| format!("  {device}\n")).collect();
        let found: String = found;
        let device = hyperparameters.device;
        let mut place = format!("devices found:\n{found}training on: {device}");
        if device == Device::Cpu {
            let reason = match Device::Cuda(0).check() {
                Err(Error::Device { reason, .. }) if cfg!(feature = "cuda") => reason,
                _ => "the crate is built without feature `cuda`".to_owned(),
            };
            place += &format!("\n(no GPU is used: {reason})");
        }
        [place, self.to_string()]
    }

    fn train(&mut self, job: &mut Job<'_>, watch: &mut Watch<'_>) -> Result<History> {
        let (train, yields) = (job.train, watch.yields);
        with_weights(self, |model, weights| match job.hyperparameters.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(gpu) => crate::device::cuda::guarded(gpu, || {
                run(&mut super::gpu::engine(gpu, model, job, yields)?, weights, job, watch)
            }),
            _ => {
                let step = step(model, train, job.hyperparameters);
                run(&mut Fused { step, train, yields }, weights, job, watch)
            }
        })
    }
}

/// The step of the kernels that trains a model on this part.
pub(super) fn step<C: RecurrentCell>(
    model: &Seq2Seq<C>,
    train: &Dataset,
    hyperparameters: &Hyperparameters,
) -> TrainStep {
    let Hyperparameters { dropout, seed, .. } = *hyperparameters;
    let step = TrainStep::new(
        model.network_shape(),
        flat_weights(model),
        train.past_steps(),
        train.future_steps(),
        LOSS,
        Descent::of(hyperparameters).settings(),
        Level::best(),
    );
    step.with_dropout(Dropout { rate: dropout as f32, seed })
}

/// The fused kernels on the CPU.
struct Fused<'a> {
    step: TrainStep,
    train: &'a Dataset,
    /// Whether other work on the thread pool comes first.
    yields: bool,
}

impl Engine for Fused<'_> {
    fn train(&mut self, steps: &mut Steps<'_>) -> Result<()> {
        let windows = Windows { past: self.train.past(), future: self.train.future() };
        // Enters the thread pool once, and not for every step.
        rayon::scope(|_| {
            while let Some((batch, learning_rate)) = steps.next() {
                self.step.settings.learning_rate = learning_rate as f32;
                steps.took(self.step.train(windows, batch));
            }
        });
        Ok(())
    }

    fn predict(&self, data: &Dataset, interrupted: &(dyn Fn() -> bool + Sync)) -> Result<Vec<f32>> {
        predict_while(self.step.network(), data, self.yields, &|| !interrupted())
    }

    fn weights(&self) -> Vec<f32> {
        self.step.weights().to_vec()
    }

    fn memory(&self) -> Memory {
        let (momentum, square, steps) = self.step.memory();
        Memory { momentum: momentum.to_vec(), square: square.to_vec(), steps }
    }

    fn set_memory(&mut self, Memory { momentum, square, steps }: Memory) {
        self.step.set_memory(&momentum, &square, steps);
    }
}
