use std::fmt;

/// Where a model is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
}

impl Device {
    /// The devices of this machine that the crate can train on, the fastest last.
    pub fn available() -> Vec<Device> {
        vec![Device::Cpu]
    }

    /// The fastest of [`Device::available`].
    pub fn best() -> Device {
        Self::available().pop().unwrap_or_default()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => {
                let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
                write!(f, "CPU, {threads} threads")
            }
        }
    }
}
