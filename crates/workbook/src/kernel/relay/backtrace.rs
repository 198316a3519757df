//! The lines of cells in a backtrace.
//!
//! A cell is a shared object that was loaded while the process ran, and of those the standard library
//! knows the addresses only: it looks once what is loaded. So the relay looks the addresses up.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use rustix::process::Pid;

/// The file that evcxr compiles, as the compiler calls it in a panic's place.
const COMPILED: &str = "src/lib.rs";

/// Whether the place of a panic is in a cell.
pub(super) fn is_of_a_cell(file: &str) -> bool {
    file == COMPILED
}

/// The lines of the compiled file, counted from 1 and from the innermost frame, that a backtrace with
/// addresses goes through. None where the system does not tell which libraries a process has loaded.
pub(super) fn lines_of_cells(backtrace: &str, process: Option<Pid>) -> Vec<usize> {
    let Some(process) = process else { return Vec::new() };
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.as_raw_nonzero()));
    let libraries = cells(&maps.unwrap_or_default());
    let mut loaders: HashMap<&Path, Option<Loader>> = HashMap::new();
    let mut lines = Vec::new();
    for address in addresses(backtrace) {
        let Some(library) = libraries.iter().find(|library| library.holds(address)) else {
            continue;
        };
        let loader =
            loaders.entry(&library.path).or_insert_with(|| Loader::new(&library.path).ok());
        let Some(loader) = loader else { continue };
        // An address in a backtrace is that after the call.
        let Ok(mut frames) = loader.find_frames(address - library.base - 1) else { continue };
        while let Ok(Some(frame)) = frames.next() {
            if let Some(location) = frame.location
                && location.file.is_some_and(|file| file.ends_with(COMPILED))
                && let Some(line) = location.line
            {
                lines.push(line as usize);
            }
        }
    }
    lines
}

/// A shared object of a cell, at its addresses.
struct Library {
    path: PathBuf,
    base: u64,
    end: u64,
}

impl Library {
    fn holds(&self, address: u64) -> bool {
        (self.base..self.end).contains(&address)
    }
}

/// The shared objects of cells in Linux' list of what is mapped.
fn cells(maps: &str) -> Vec<Library> {
    let mut libraries: Vec<Library> = Vec::new();
    for line in maps.lines() {
        // 7f00-7f08 r-xp 00001000 08:01 42   /path/with spaces/libctx.so
        let mut fields = line.splitn(6, ' ');
        let (Some(range), Some(path)) = (fields.next(), fields.nth(4)) else { continue };
        let path = Path::new(path.trim());
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let Some((start, end)) = range.split_once('-') else { continue };
        let (Some(start), Some(end)) = (number(start), number(end)) else { continue };
        if path.extension().is_none_or(|extension| extension != "so") {
            continue;
        }
        match libraries.iter_mut().find(|library| library.path == path) {
            Some(library) => library.end = end,
            None => libraries.push(Library { path: path.to_owned(), base: start, end }),
        }
    }
    let of_a_cell = |library: &Library| {
        library.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libcode_"))
    };
    libraries.retain(of_a_cell);
    libraries
}

/// The addresses of a backtrace's frames, `   3:     0x7f00dead - name`.
fn addresses(backtrace: &str) -> impl Iterator<Item = u64> {
    backtrace.lines().filter_map(|line| {
        let (number, rest) = line.trim().split_once(':')?;
        number.parse::<u32>().ok()?;
        let address = rest.trim().strip_prefix("0x")?.split(' ').next()?;
        u64::from_str_radix(address, 16).ok()
    })
}
