//! The file in which Jupyter says how to reach a kernel.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// The addresses of a kernel's five sockets, and the key that signs its messages.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::kernel) struct Connection {
    pub(super) transport: String,
    pub(super) ip: String,
    pub(super) shell_port: u16,
    pub(super) iopub_port: u16,
    pub(super) stdin_port: u16,
    pub(super) control_port: u16,
    pub(super) hb_port: u16,
    pub(super) key: String,
    #[serde(default = "hmac_sha256")]
    pub(super) signature_scheme: String,
}

fn hmac_sha256() -> String {
    "hmac-sha256".to_owned()
}

impl Connection {
    pub(in crate::kernel) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let connection: Self = serde_json::from_str(&text)
            .with_context(|| format!("cannot understand {}", path.display()))?;
        for (name, found, allowed) in [
            ("transport", &connection.transport, "tcp"),
            ("signature_scheme", &connection.signature_scheme, "hmac-sha256"),
        ] {
            ensure!(
                found == allowed,
                "{}: the {name} is {found:?}, but this kernel knows only {allowed:?}",
                path.display()
            );
        }
        Ok(connection)
    }

    /// A connection of its own for evcxr, which nobody but the relay knows.
    pub(super) fn for_evcxr() -> Result<Self> {
        // Not those that the system gives away: until evcxr listens, another program could get them. Each
        // process looks from a place of its own.
        const FIRST: u32 = 10_000;
        const COUNT: u32 = 20_000;
        let own = std::process::id() % (COUNT / 8) * 8;
        let mut free = (0..COUNT)
            .filter_map(|index| u16::try_from(FIRST + (own + index) % COUNT).ok())
            .filter(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok());
        let mut ports = [0; 5];
        for port in &mut ports {
            *port = free.next().context("no port is free between 10000 and 29999")?;
        }
        let [shell_port, iopub_port, stdin_port, control_port, hb_port] = ports;
        Ok(Self {
            transport: "tcp".to_owned(),
            ip: "127.0.0.1".to_owned(),
            shell_port,
            iopub_port,
            stdin_port,
            control_port,
            hb_port,
            key: uuid::Uuid::new_v4().to_string(),
            signature_scheme: hmac_sha256(),
        })
    }

    /// Writes the file for nobody else's eyes: the key in it lets whoever reads it run cells.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = file.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(file.write_all(serde_json::to_string(self)?.as_bytes())?)
    }

    pub(super) fn address(&self, port: u16) -> String {
        format!("{}://{}:{port}", self.transport, self.ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_is_an_error_that_names_it() {
        let folder = std::env::temp_dir().join(format!("connection-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("connection.json");
        let mut connection = Connection::for_evcxr().unwrap();
        connection.write(&path).unwrap();
        assert_eq!(Connection::read(&path).unwrap().key, connection.key);

        fs::remove_file(&path).unwrap();
        connection.signature_scheme = "hmac-md5".to_owned();
        connection.write(&path).unwrap();
        let message = Connection::read(&path).err().unwrap().to_string();
        assert!(message.contains("signature_scheme is \"hmac-md5\""), "{message}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
