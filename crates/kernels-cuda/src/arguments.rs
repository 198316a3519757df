//! What the kernels are told at each step: `Step` in `formulas.cu`.

use seq2seq_kernels::optimizer::{BETA_1, BETA_2, EPSILON, Optimizer, Settings};

/// The arguments that change from step to step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arguments {
    /// Of the batch, in the order of the windows.
    pub(crate) first: i32,
    /// Series of the batch.
    pub(crate) count: i32,
    /// Where the loss goes.
    pub(crate) loss: i32,
    /// Threads that add up the gradient of four weights.
    pub(crate) parts: i32,
    optimizer: i32,
    /// The loss as a multiple of the squared errors.
    pub(crate) factor: f32,
    rate: f32,
    weight_decay: f32,
    root: f32,
    keep_momentum: f32,
    add_momentum: f32,
    keep_square: f32,
    add_square: f32,
    epsilon: f32,
    clip_norm: f64,
}

impl Arguments {
    /// Those of the optimiser in step t = 1, 2, …; the others are zeros.
    pub(crate) fn new(settings: Settings, step: i32) -> Self {
        let Settings { optimizer, learning_rate: rate, weight_decay, clip_norm } = settings;
        // A clipping to nothing, which `clip_norm: 0` is not, as to a length that no gradient has.
        let clip_norm = clip_norm.map_or(0.0, |most| most.max(f64::MIN_POSITIVE));
        let all = Arguments { rate, weight_decay, epsilon: EPSILON, clip_norm, ..Self::default() };
        match optimizer {
            Optimizer::Adam => {
                let correction_1 = 1.0 - f64::from(BETA_1).powi(step);
                let correction_2 = 1.0 - f64::from(BETA_2).powi(step);
                Arguments {
                    rate: (f64::from(rate) / correction_1) as f32,
                    root: (1.0 / correction_2.sqrt()) as f32,
                    keep_momentum: BETA_1,
                    add_momentum: 1.0 - BETA_1,
                    keep_square: BETA_2,
                    add_square: 1.0 - BETA_2,
                    ..all
                }
            }
            Optimizer::RmsProp { decay, momentum } => Arguments {
                optimizer: 1,
                keep_momentum: momentum as f32,
                keep_square: decay as f32,
                add_square: (1.0 - decay) as f32,
                ..all
            },
            Optimizer::Sgd { momentum } => {
                Arguments { optimizer: 2, keep_momentum: momentum as f32, ..all }
            }
        }
    }

    /// As it lies in memory, on any machine that CUDA runs on.
    pub(crate) fn words(&self) -> [u32; 16] {
        let clip_norm = self.clip_norm.to_bits();
        [
            self.first as u32,
            self.count as u32,
            self.loss as u32,
            self.parts as u32,
            self.optimizer as u32,
            self.factor.to_bits(),
            self.rate.to_bits(),
            self.weight_decay.to_bits(),
            self.root.to_bits(),
            self.keep_momentum.to_bits(),
            self.add_momentum.to_bits(),
            self.keep_square.to_bits(),
            self.add_square.to_bits(),
            self.epsilon.to_bits(),
            clip_norm as u32,
            (clip_norm >> 32) as u32,
        ]
    }
}

/// Threads that add up the gradient of four weights: as many as have nothing else to do.
///
/// `elements` are shared by the blocks of the grid, of which `blocks` have a gradient.
pub(crate) fn parts(elements: usize, threads: usize, grid: usize, blocks: usize) -> usize {
    let chunk = (elements / 4).div_ceil(grid);
    let fits = |&parts: &usize| parts <= blocks && chunk * parts <= threads;
    [16, 8, 4, 2].into_iter().find(fits).unwrap_or(1)
}
