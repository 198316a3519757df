//! The two kernels. A data frame takes minutes to compile, so only the notebook that needs one waits
//! for it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::exercises;
use crate::project::Project;

/// Which features of the crate a kernel has compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// None: for all notebooks but one.
    Core,
    /// `polars`: for the notebook on prices.
    Polars,
}

impl Variant {
    pub(crate) const ALL: [Variant; 2] = [Variant::Core, Variant::Polars];

    /// The name of the kernel, as the notebooks' metadata has it.
    pub(crate) fn kernel(self) -> &'static str {
        match self {
            Variant::Core => "seq2seq-rust",
            Variant::Polars => "seq2seq-rust-polars",
        }
    }

    /// The name of the kernel, as JupyterLab shows it.
    pub(crate) fn display_name(self) -> &'static str {
        match self {
            Variant::Core => "Rust (seq2seq)",
            Variant::Polars => "Rust (seq2seq, polars)",
        }
    }

    /// The `:dep` line of the notebooks, with the path that evcxr makes of theirs.
    pub(crate) fn dependency(self, project: &Project) -> String {
        let features = match self {
            Variant::Core => "",
            Variant::Polars => ", features = [\"polars\"]",
        };
        format!(":dep seq2seq = {{ path = {:?}{features} }}", project.root)
    }

    /// The folder that the variant's kernels start as copies of.
    pub(crate) fn seed(self, project: &Project) -> PathBuf {
        project.state.join(match self {
            Variant::Core => "seed",
            Variant::Polars => "seed-polars",
        })
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
