//! papermill's `-p` for Rust notebooks: a translator that papermill finds in the Python environment.

use std::path::{Path, PathBuf};

/// The files of the Python distribution with the translator, and their contents. `cargo workbook run`
/// imports one of its modules.
pub(crate) fn files(site_packages: &Path) -> Vec<(PathBuf, String)> {
    const FILES: [(&str, &str); 6] = [
        ("seq2seq_papermill.py", include_str!("papermill/seq2seq_papermill.py")),
        ("seq2seq_parameters.py", include_str!("papermill/seq2seq_parameters.py")),
        (
            "seq2seq_papermill-0.1.dist-info/INSTALLER",
            include_str!("papermill/seq2seq_papermill-0.1.dist-info/INSTALLER"),
        ),
        (
            "seq2seq_papermill-0.1.dist-info/METADATA",
            include_str!("papermill/seq2seq_papermill-0.1.dist-info/METADATA"),
        ),
        (
            "seq2seq_papermill-0.1.dist-info/RECORD",
            include_str!("papermill/seq2seq_papermill-0.1.dist-info/RECORD"),
        ),
        (
            "seq2seq_papermill-0.1.dist-info/entry_points.txt",
            include_str!("papermill/seq2seq_papermill-0.1.dist-info/entry_points.txt"),
        ),
    ];
    FILES.map(|(name, content)| (site_packages.join(name), content.to_owned())).into()
}
