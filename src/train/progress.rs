//! The progress of a training on standard output: one output that is renewed in a notebook, a bar on a terminal, and
//! lines of text elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::engine::Step;
use crate::error::Result;
use crate::history::{Epoch, History};
use crate::notebook::{self, Bundle, Display, SVG};
use crate::plot::TrainingState;
use crate::settings::Hyperparameters;

/// Characters of the bar of progress.
const BAR: usize = 15;
/// The time after which a long epoch prints a line.
const SILENCE: Duration = Duration::from_secs(2);
/// The shortest time between two pictures.
const PICTURE: Duration = Duration::from_millis(250);
/// Drawing takes at most one part in so many of a training's time.
const SHARE: u32 = 33;
/// The shortest time between two states of a bar on a terminal.
const REDRAW: Duration = Duration::from_millis(100);

/// Shows how far a training is.
pub(super) struct Progress {
    facts: Facts,
    out: Out,
}

enum Out {
    /// The workbook's kernel: a picture that is renewed.
    Notebook { display: Display, next: Instant },
    /// A terminal.
    Terminal { bar: ProgressBar, shown: Instant },
    /// Anything else, such as a pipe: lines.
    Lines(Lines),
}

/// How far a training is: what all three show, and a [`Training`](super::Training) as well.
pub(super) struct Facts {
    hyperparameters: Hyperparameters,
    started: Instant,
    /// Epochs that were done when it started.
    first: usize,
    /// All that are done.
    pub(super) epochs: Vec<Epoch>,
    /// The step that was taken last: number of its epoch, number in it, steps of an epoch.
    step: Option<(usize, usize, usize)>,
}

impl Progress {
    /// The progress of a training that begins, or goes on after `epochs`, on standard output.
    pub(super) fn new(hyperparameters: &Hyperparameters, epochs: &[Epoch]) -> Self {
        let now = Instant::now();
        let out = if notebook::reads_marks() {
            Out::Notebook { display: Display::new(), next: now + PICTURE }
        } else if std::io::stdout().is_terminal() && !notebook::runs_cells() {
            Out::Terminal { bar: terminal_bar(), shown: now }
        } else {
            Out::Lines(Lines { shown: now, total: 0.0, steps: 0 })
        };
        Self { facts: Facts::new(hyperparameters, epochs), out }
    }

    pub(super) fn after_step(&mut self, step: &Step) {
        self.facts.after_step(step);
        match &mut self.out {
            Out::Lines(lines) => lines.after_step(step, &self.facts),
            _ => self.refresh(),
        }
    }

    pub(super) fn after_epoch(&mut self, number: usize, epoch: &Epoch) {
        self.facts.epochs.push(*epoch);
        match &mut self.out {
            Out::Lines(_) => println!("{}", self.facts.epoch_line(number, epoch)),
            _ => self.refresh(),
        }
    }

    /// Renews the picture or the bar, if it is old enough.
    fn refresh(&mut self) {
        let now = Instant::now();
        match &mut self.out {
            Out::Notebook { display, next } if now >= *next => {
                let headline = self.facts.headline();
                let state = self.facts.state(&headline);
                if let Ok((svg, alt)) = state.svg() {
                    display.show(&Bundle::text(headline).with_image(SVG, svg, &alt));
                }
                let pause = (now.elapsed() * (SHARE - 1)).max(PICTURE);
                *next = Instant::now() + pause;
            }
            Out::Terminal { bar, shown } if now - *shown >= REDRAW => {
                bar.set_position((self.facts.part() * BAR_STEPS as f64) as u64);
                bar.set_message(self.facts.headline());
                *shown = now;
            }
            _ => {}
        }
    }

    /// Shows how the training ended.
    pub(super) fn end(self, outcome: &Result<History>) {
        let Self { facts, out } = self;
        match out {
            Out::Notebook { mut display, .. } => {
                if !facts.has_begun() && !display.is_shown() {
                    return;
                }
                let headline = facts.last_headline(outcome);
                let line = match (outcome, facts.epochs.last()) {
                    (Ok(_), Some(epoch)) => facts.epoch_line(facts.epochs.len(), epoch),
                    _ => headline.clone(),
                };
                if let Ok(picture) = facts.state(&headline).picture() {
                    display.show(&picture.bundle_with(line));
                }
            }
            Out::Terminal { bar, .. } => {
                bar.finish_and_clear();
                match (outcome, facts.epochs.last()) {
                    (Ok(_), Some(epoch)) => {
                        println!("{}", facts.epoch_line(facts.epochs.len(), epoch));
                    }
                    _ if facts.has_begun() => println!("{}", facts.last_headline(outcome)),
                    _ => {}
                }
            }
            Out::Lines(_) => {}
        }
    }
}

impl Facts {
    /// Of a training that begins, or goes on after `epochs`.
    pub(super) fn new(hyperparameters: &Hyperparameters, epochs: &[Epoch]) -> Self {
        Self {
            hyperparameters: *hyperparameters,
            started: Instant::now(),
            first: epochs.len(),
            epochs: epochs.to_vec(),
            step: None,
        }
    }

    pub(super) fn after_step(&mut self, step: &Step) {
        self.step = Some((step.epoch, step.number, step.steps));
    }

    /// Whether a step was taken.
    pub(super) fn has_begun(&self) -> bool {
        self.step.is_some()
    }

    /// Epochs that are done, and the part of the next one.
    fn done(&self) -> f64 {
        match self.step {
            Some((epoch, number, steps)) if epoch > self.epochs.len() => {
                (epoch - 1) as f64 + number as f64 / steps as f64
            }
            _ => self.epochs.len() as f64,
        }
    }

    /// The part of the training that is done, 0 to 1.
    fn part(&self) -> f64 {
        self.done() / self.hyperparameters.epochs as f64
    }

    /// How long the training still takes, as fast as it has been so far.
    fn seconds_left(&self) -> f64 {
        let Hyperparameters { epochs, max_seconds, .. } = self.hyperparameters;
        let (elapsed, done) = (self.started.elapsed().as_secs_f64(), self.done());
        let left = elapsed / (done - self.first as f64) * (epochs as f64 - done);
        left.min(max_seconds.map_or(f64::INFINITY, |seconds| seconds - elapsed)).max(0.0)
    }

    /// The epoch that the last step belongs to.
    fn epoch(&self) -> usize {
        self.step.map_or(self.epochs.len(), |(epoch, ..)| epoch)
    }

    /// The epoch, both errors, and the time that is left.
    fn headline(&self) -> String {
        let Hyperparameters { epochs, .. } = self.hyperparameters;
        let left = self.seconds_left();
        format!("epoch {} of {epochs}{}, {left:.0} s to go", self.epoch(), self.errors())
    }

    fn last_headline(&self, outcome: &Result<History>) -> String {
        let epochs = self.hyperparameters.epochs;
        let how = match outcome {
            Ok(_) => {
                let seconds = self.started.elapsed().as_secs_f64();
                let done = self.epochs.len();
                return format!("epoch {done} of {epochs}{}, {seconds:.1} s", self.errors());
            }
            Err(error) if error.is_interrupted() => "interrupted",
            Err(_) => "ended by an error",
        };
        let epoch = self.epoch();
        match self.step {
            Some((_, number, steps)) if number < steps => {
                format!(
                    "{how} in epoch {epoch} of {epochs}, step {number} of {steps}{}",
                    self.errors()
                )
            }
            _ => format!("{how} after epoch {epoch} of {epochs}{}", self.errors()),
        }
    }

    /// A line for one who looks at the training.
    pub(super) fn line(&self, is_running: bool) -> String {
        let (done, epochs) = (self.done(), self.hyperparameters.epochs);
        let line = format!("epoch {done:.1} of {epochs}{}", self.errors());
        if !is_running {
            return line + ", ended";
        }
        let line = format!("{line}, {:.0} s so far", self.started.elapsed().as_secs_f64());
        match done > self.first as f64 {
            true => format!("{line}, {:.0} s to go", self.seconds_left()),
            false => line,
        }
    }

    /// The errors of the last epoch that is done.
    fn errors(&self) -> String {
        self.epochs.last().map_or(String::new(), |epoch| errors(epoch, ", "))
    }

    fn epoch_line(&self, number: usize, epoch: &Epoch) -> String {
        let label = label(number, number as f64, self.hyperparameters.epochs);
        format!("{label}{}  {:.3} s", errors(epoch, "  "), epoch.seconds)
    }

    fn state<'a>(&'a self, headline: &'a str) -> TrainingState<'a> {
        TrainingState {
            headline,
            part: self.part(),
            epochs: &self.epochs,
            wanted: self.hyperparameters.epochs,
        }
    }
}

/// Lines within an epoch that takes its time.
struct Lines {
    shown: Instant,
    total: f64,
    steps: usize,
}

impl Lines {
    fn after_step(&mut self, step: &Step, facts: &Facts) {
        if step.number == 1 {
            self.begin();
        }
        self.total += step.loss;
        self.steps += 1;
        if self.shown.elapsed() >= SILENCE && step.number < step.steps {
            println!(
                "{}  loss {:.5} (half the sum of squares)  {:.0} s to go",
                label(step.epoch, facts.done(), facts.hyperparameters.epochs),
                self.total / self.steps as f64,
                facts.seconds_left()
            );
            self.begin();
        }
    }

    fn begin(&mut self) {
        *self = Self { shown: Instant::now(), total: 0.0, steps: 0 };
    }
}

/// Steps of a bar on a terminal.
const BAR_STEPS: u64 = 1000;

fn terminal_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stdout());
    // A template that cannot be parsed would leave the default style.
    if let Ok(style) = ProgressStyle::with_template("[{bar:15}] {wide_msg}") {
        bar.set_style(style.progress_chars("##-"));
    }
    bar
}

/// The errors of an epoch on the parts that there are, each after `before`.
fn errors(epoch: &Epoch, before: &str) -> String {
    let Epoch { train_mse, validation_mse, .. } = epoch;
    let train = format!("{before}train MSE {train_mse:.5}");
    match epoch.is_validated() {
        true => format!("{train}{before}validation MSE {validation_mse:.5}"),
        false => train,
    }
}

/// The number of the epoch, and a bar for the epochs that are done.
fn label(epoch: usize, done: f64, epochs: usize) -> String {
    let bar = "#".repeat((done * BAR as f64 / epochs as f64) as usize);
    let width = epochs.to_string().len();
    format!("epoch {epoch:>width$}/{epochs} [{bar:-<BAR$}]")
}
