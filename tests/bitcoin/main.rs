//! Prices of bitcoin: what is loaded and what is refused, the inputs computed from them, and the
//! fetching, from a server on this machine that misbehaves.

mod fetching;
mod inputs;
mod loading;
mod server;
mod simulated;

use sha2::{Digest, Sha256};

/// The checksum of a file's content, in hexadecimal.
fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
