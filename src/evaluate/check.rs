use std::fmt;

/// The result of an exercise beside what it is compared with. Lower is better in all of them.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let check = Check { score: 0.005, target: 0.0076, baseline: 0.4, noise_floor: Some(0.0) };
/// assert!(check.passed());
/// println!("{check}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Check {
    /// What was reached, on data that the model has not seen.
    pub score: f64,
    /// What passes.
    pub target: f64,
    /// What a forecast without any learning reaches.
    pub baseline: f64,
    /// What no forecast can get below, where it is known.
    pub noise_floor: Option<f64>,
}

impl Check {
    /// Whether the score reaches the target.
    pub fn passed(&self) -> bool {
        self.score <= self.target
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "score        {:.6}", self.score)?;
        writeln!(f, "target       {:.6}", self.target)?;
        let times = self.baseline / self.score;
        writeln!(f, "baseline     {:.6}  ({times:.1} times the score)", self.baseline)?;
        if let Some(noise_floor) = self.noise_floor {
            writeln!(f, "noise floor  {noise_floor:.6}")?;
        }
        match self.passed() {
            true => write!(f, "passed: the score is at or below the target"),
            false => write!(f, "not yet: the score is above the target"),
        }
    }
}
