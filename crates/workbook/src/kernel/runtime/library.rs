//! The shared objects that the process loads: the only unsafe code of this package.
#![allow(unsafe_code)] // code that was compiled later can be called in no other way

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Context, Result};

/// A shared object that stays loaded.
pub(super) struct Library(&'static libloading::Library);

/// Where the cells keep their variables.
pub(super) struct Variables(*mut c_void);

impl Variables {
    pub(super) fn none() -> Self {
        Self(ptr::null_mut())
    }
}

impl Library {
    pub(super) fn open(path: &Path) -> Result<Self> {
        // SAFETY: its initialisers are those of Rust libraries, which do nothing that needs care. It is
        // never unloaded: destructors of its thread-local variables may run when the process ends.
        let library = unsafe { libloading::Library::new(path) };
        let library = library.with_context(|| format!("cannot load {}", path.display()))?;
        Ok(Self(Box::leak(Box::new(library))))
    }

    /// A function without arguments, of this library or one that it needs.
    pub(super) fn function(&self, name: &str) -> Option<extern "C" fn()> {
        // SAFETY: the names that are asked for are exported with this signature, by runtime/helper.rs
        // and by the crate `seq2seq`.
        unsafe { self.0.get::<extern "C" fn()>(name.as_bytes()).ok().map(|symbol| *symbol) }
    }

    /// Runs a cell.
    pub(super) fn run(&self, name: &str, variables: &mut Variables) -> Result<()> {
        // SAFETY: evcxr generates the function with this signature, and every cell with the same type
        // of variables.
        unsafe {
            let cell = self.0.get::<extern "C" fn(*mut c_void) -> *mut c_void>(name.as_bytes())?;
            variables.0 = cell(variables.0);
        }
        Ok(())
    }
}

static CLOSED_IN_CHILDREN: [AtomicI32; 3] = [const { AtomicI32::new(-1) }; 3];

/// Has a process that a cell forks close these files: otherwise nobody would notice when this one
/// ends.
pub(super) fn close_in_children(files: [BorrowedFd<'_>; 3]) {
    extern "C" fn close() {
        for file in &CLOSED_IN_CHILDREN {
            // SAFETY: the child has no other use of these files; see `run_cells`.
            unsafe { libc::close(file.load(Ordering::Relaxed)) };
        }
    }
    for (closed, file) in CLOSED_IN_CHILDREN.iter().zip(files) {
        closed.store(file.as_raw_fd(), Ordering::Relaxed);
    }
    // SAFETY: the handler calls nothing but `close`, which may be called between fork and exec.
    unsafe { libc::pthread_atfork(None, None, Some(close)) };
}
