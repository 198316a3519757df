//! The kernels. A data frame takes minutes to compile, and a GPU not everybody has, so only the notebooks
//! that want them wait for them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::project::Project;

/// Which features of the crate a kernel has compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Variant {
    /// None: for all notebooks but one.
    Core,
    /// `polars`: for the notebook on prices.
    Polars,
    /// `cuda`: for notebooks that are to compute on an NVIDIA GPU; only where it was asked for.
    Cuda,
}

impl Variant {
    pub(crate) const ALL: [Variant; 3] = [Variant::Core, Variant::Polars, Variant::Cuda];

    /// The name of the kernel, as the notebooks' metadata has it.
    pub(crate) fn kernel(self) -> &'static str {
        match self {
            Variant::Core => "seq2seq-rust",
            Variant::Polars => "seq2seq-rust-polars",
            Variant::Cuda => "seq2seq-rust-cuda",
        }
    }

    /// The name of the kernel, as JupyterLab shows it.
    pub(crate) fn display_name(self) -> &'static str {
        match self {
            Variant::Core => "Rust (seq2seq)",
            Variant::Polars => "Rust (seq2seq, polars)",
            Variant::Cuda => "Rust (seq2seq, CUDA)",
        }
    }

    /// The `:dep` line of the notebooks, with the path that evcxr makes of theirs.
    pub(crate) fn dependency(self, project: &Project) -> String {
        let features = match self {
            Variant::Core => "",
            Variant::Polars => ", features = [\"polars\"]",
            Variant::Cuda => ", features = [\"cuda\"]",
        };
        format!(":dep seq2seq = {{ path = {:?}{features} }}", project.root)
    }

    /// The folder that the variant's kernels start as copies of.
    pub(crate) fn seed(self, project: &Project) -> PathBuf {
        project.state.join(match self {
            Variant::Core => "seed",
            Variant::Polars => "seed-polars",
            Variant::Cuda => "seed-cuda",
        })
    }

    /// What compiling the seed is called where somebody waits for it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Variant::Core => "Compiling what every notebook needs",
            Variant::Polars => "Compiling polars for the notebook on prices",
            Variant::Cuda => "Compiling the notebooks' crate for NVIDIA GPUs",
        }
    }

    /// The variant whose kernel a notebook names in its metadata.
    pub(crate) fn of_notebook(path: &Path) -> Result<Variant> {
        let notebook = exercises::read(path)?;
        let name = &notebook["metadata"]["kernelspec"]["name"];
        Variant::ALL.into_iter().find(|variant| name == variant.kernel()).with_context(|| {
            let names = Variant::ALL.map(Variant::kernel).join(" or ");
            format!("{} names the kernel {name}; it must be {names}", path.display())
        })
    }
}
