//! What `cargo workbook` does, a file for each command; `setup` has a folder of its own.

pub(crate) mod cuda;
pub(crate) mod fetch_prices;
pub(crate) mod lab;
pub(crate) mod papermill;
pub(crate) mod run;
pub(crate) mod test;
