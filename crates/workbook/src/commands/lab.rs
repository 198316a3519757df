//! `cargo workbook lab`: JupyterLab on the notebooks.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use super::cuda;
use crate::kernel;
use crate::project::Project;
use crate::setup::{self, seed};
use crate::variant::Variant;

pub(crate) fn run(project: &Project, arguments: &[OsString]) -> Result<()> {
    let port = value_of(arguments, &["--port", "--ServerApp.port"])
        .map(|text| {
            text.parse::<u16>()
                .with_context(|| format!("{text:?} is not a port: a number from 0 to 65535"))
        })
        .transpose()?;
    let host = value_of(arguments, &["--ip", "--ServerApp.ip"]).unwrap_or("localhost".to_owned());
    let ensure_port = || port.map_or(Ok(()), |port| ensure_free(&host, port));
    // At once, and again after a set-up that can take minutes.
    ensure_port()?;
    setup::ensure(project, Variant::Core)?;
    ensure_port()?;
    if !seed::has_polars(project)? {
        eprintln!("Compiling polars in the background; its notebook will say when it is ready.");
        kernel::prepare_polars(project)?;
    }

    if !Variant::Cuda.seed(project).exists() && cuda::has_gpu() {
        eprintln!(
            "For a kernel that uses the GPU: `cargo workbook setup --cuda` (see docs/gpu.md)."
        );
    }

    let mut lab = project.jupyter();
    lab.args(["-m", "jupyterlab"])
        .arg("--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate");
    if value_of(arguments, &["--ServerApp.root_dir", "--notebook-dir"]).is_none() {
        lab.arg(format!("--ServerApp.root_dir={}", project.notebooks().display()));
    }
    if port.is_some() {
        // Otherwise Jupyter silently takes another port than the one asked for.
        lab.arg("--ServerApp.port_retries=0");
    }
    if rustix::process::geteuid().is_root() {
        // In a container there is often nobody else.
        lab.arg("--allow-root");
    }
    if let Err(error) = kernel::keeper::start(project) {
        eprintln!("warning: no kernel is started ahead of the first notebook: {error:#}");
    }
    let error = lab.args(arguments).exec();
    Err(error).context("cannot start JupyterLab")
}

/// The value of an option in JupyterLab's arguments, `--name value` or `--name=value`.
fn value_of(arguments: &[OsString], names: &[&str]) -> Option<String> {
    let texts: Vec<_> = arguments.iter().map(|text| text.to_string_lossy()).collect();
    texts.iter().enumerate().rev().find_map(|(index, text)| {
        names.iter().find_map(|name| match text.strip_prefix(name)? {
            "" => texts.get(index + 1).map(|value| value.to_string()),
            rest => rest.strip_prefix('=').map(str::to_owned),
        })
    })
}

fn ensure_free(host: &str, port: u16) -> Result<()> {
    // Jupyter's name for all addresses.
    let host = if host.is_empty() || host == "*" { "0.0.0.0" } else { host };
    TcpListener::bind((host, port)).map(drop).with_context(|| {
        format!("port {port} on {host} is not available: name another with --port, or none")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(arguments: &[&str]) -> Option<String> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        value_of(&arguments, &["--port", "--ServerApp.port"])
    }

    #[test]
    fn the_port_is_found_in_every_form() {
        assert_eq!(port(&["--no-browser", "--port", "8899"]).as_deref(), Some("8899"));
        assert_eq!(port(&["--port=8899"]).as_deref(), Some("8899"));
        assert_eq!(port(&["--ServerApp.port=1", "--port=2"]).as_deref(), Some("2"));
        assert_eq!(port(&["--portable", "--port"]), None);
    }

    #[test]
    fn a_port_in_use_is_an_error_that_names_it() {
        let taken = TcpListener::bind(("localhost", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let message = format!("{:#}", ensure_free("localhost", port).unwrap_err());
        assert!(message.contains(&format!("port {port} on localhost")), "{message}");
        drop(taken);
        // A program that another test starts at this moment has the socket until it runs.
        for _ in 0..100 {
            if ensure_free("localhost", port).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        ensure_free("localhost", port).unwrap();
    }
}
