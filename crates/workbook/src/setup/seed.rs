//! The seed: the folder that every kernel starts as a copy of, with all dependencies compiled.
//!
//! ```text
//! seed/cells/            evcxr's folder: it writes Cargo.toml and src/lib.rs anew for each cell
//!      config/           what evcxr runs before the kernel answers, and the repository's Cargo.lock
//!      analysis/         what rust-analyzer reads
//!      helper.so         what the process that runs the cells loads first
//!      base, key         what the seed was made from
//! ```
//! evcxr itself compiles and checks the seed, in the same way as a kernel does later, so that cargo
//! finds nothing left to compile. Cargo tells changed files by their times, so copies keep the times.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

use crate::analysis;
use crate::commands::cuda;
use crate::console::step;
use crate::kernel;
use crate::memory;
use crate::project::{self, Project, clean_command};
use crate::setup::toolchain;
use crate::variant::Variant;

const SPACE_MB: u64 = 2000;

/// The lock of whoever builds the seed with polars.
pub(crate) const POLARS_LOCK: &str = "polars-lock";

/// Runs first in every kernel, followed by the `:dep` line.
///
/// evcxr has by then compiled a package without dependencies, and cargo has emptied the Cargo.lock
/// beside it. So this one is put in place just before cargo asks for versions.
const RESTORE_LOCK: &str = "!cp \"$EVCXR_CONFIG_DIR/Cargo.lock\" \"$EVCXR_TMPDIR/Cargo.lock\"";

/// Runs last before a kernel answers.
///
/// The first variable takes seven seconds, in which rust-analyzer reads all that it needs to tell its
/// type: better before the learner's first cell than in it. And at the first `?` evcxr has to find out
/// that there is one, and shows a picture of the same cell as text. Nothing may be printed here (nobody
/// reads it yet, and evcxr waits until somebody does), and no variable stays behind.
///
/// What does stay is the macro. Where an error leaves a cell at a `?`, evcxr's code for that prints it
/// with `eprintln!("{}", error)`, and here that tells the relay where the error came from, too.
const PRELUDE: &str = r#"
macro_rules! eprintln {
    ("{}", $error:ident) => {
        if stringify!($error) == "error" {
            let from = ::std::backtrace::Backtrace::force_capture();
            ::std::eprint!("{}", ::std::format!("\u{1e}SEQ2SEQ_ERROR\u{1f}{}\u{1f}{from:#}\u{1e}", $error))
        } else {
            ::std::eprintln!("{}", $error)
        }
    };
    ($($arguments:tt)*) => { ::std::eprintln!($($arguments)*) };
}
let warm_up: String = "ready".parse()?;
drop(warm_up);
"#;

/// What the compiler would keep of the crate for another compilation of it is a hundred megabytes, which
/// each kernel would copy. A cell compiles no slower without.
const INCREMENTAL: (&str, &str) = ("CARGO_INCREMENTAL", "0");

/// A cell that is only checked. After a mistake in a cell evcxr asks `cargo check` where it is, which
/// does not share what `cargo build` has compiled: left to the learner, the first mistake in each
/// kernel would take minutes.
const CHECKED: &str = "drop(String::new());";

/// What a seed is made from.
struct Key {
    /// The compiler: with another, nothing of an older seed is of use.
    base: String,
    /// Everything.
    full: String,
    /// When the sources last changed. Cargo compiles a package again when a file is newer than the
    /// build, even with the same content.
    newest: SystemTime,
}

impl Key {
    fn of(project: &Project, variant: Variant) -> Result<Key> {
        let mut sha = Sha256::new();
        sha.update(toolchain::rustc(&["-vV"])?);
        // evcxr links with lld when it finds it, which changes the flags of every crate.
        sha.update([u8::from(is_on_path("lld"))]);
        sha.update(variant.dependency(project));
        let read = |name: &str| {
            fs::read(project.root.join(name)).with_context(|| format!("cannot read {name}"))
        };
        let base = hex::encode(sha.clone().finalize());
        sha.update(read(".cargo/config.toml")?);
        sha.update(read("Cargo.lock")?);
        let texts = [RESTORE_LOCK, PRELUDE, CHECKED, kernel::HELPER, INCREMENTAL.1].into_iter();
        for text in texts.chain(analysis::SOURCES) {
            sha.update(text);
        }

        let mut files = Vec::new();
        for (manifest, sources) in [
            ("Cargo.toml", "src"),
            ("crates/kernels/Cargo.toml", "crates/kernels/src"),
            ("crates/kernels-cuda/Cargo.toml", "crates/kernels-cuda/src"),
        ] {
            files.push(project.root.join(manifest));
            list_sources(&project.root.join(sources), &mut files)?;
        }
        files.sort();
        let mut newest = SystemTime::UNIX_EPOCH;
        for path in files {
            let content =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            sha.update(path.as_os_str().as_encoded_bytes());
            sha.update((content.len() as u64).to_le_bytes());
            sha.update(content);
            newest = newest.max(fs::metadata(&path)?.modified()?);
        }
        let full = hex::encode(sha.finalize());
        Ok(Key { base, full, newest })
    }

    fn matches(&self, folder: &Path) -> bool {
        let path = folder.join("key");
        fs::read_to_string(&path).is_ok_and(|text| text == self.full)
            && fs::metadata(&path)
                .and_then(|data| data.modified())
                .is_ok_and(|built| self.newest <= built)
    }

    fn has_base_of(&self, folder: &Path) -> bool {
        fs::read_to_string(folder.join("base")).is_ok_and(|text| text == self.base)
    }
}

fn is_on_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|paths| env::split_paths(&paths).any(|path| path.join(program).is_file()))
}

/// The files below a folder.
fn list_sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if !path.is_dir() {
            files.push(path);
        } else {
            list_sources(&path, files)?;
        }
    }
    Ok(())
}

/// What makes evcxr work in `folder`.
///
/// Cells name Rust's own libraries by a relative path, which leads astray where the repository and
/// the toolchain are in the same home.
pub(crate) fn environment(
    project: &Project,
    variant: Variant,
    folder: &Path,
) -> Result<Vec<(&'static str, OsString)>> {
    let mut libraries = vec![toolchain::libraries()?];
    let mut variables = vec![
        ("EVCXR_TMPDIR", folder.join("cells").into()),
        ("EVCXR_CONFIG_DIR", folder.join("config").into()),
        (INCREMENTAL.0, INCREMENTAL.1.into()),
    ];
    variables.extend(analysis::environment(folder)?);
    if variant == Variant::Cuda {
        let cuda = cuda::ensure(project, false)?;
        libraries.extend(cuda.libraries);
        variables.extend([("CUDA_PATH", cuda.root.into()), ("PATH", cuda.path)]);
    }
    libraries.extend(project::library_paths());
    variables.push(("LD_LIBRARY_PATH", env::join_paths(libraries)?));
    Ok(variables)
}

/// What the seed of a variant was made from, and when. None when it is missing or out of date.
pub(crate) fn current(project: &Project, variant: Variant) -> Result<Option<String>> {
    let (key, seed) = (Key::of(project, variant)?, variant.seed(project));
    if !key.matches(&seed) {
        return Ok(None);
    }
    let built = fs::metadata(seed.join("key"))?.modified()?;
    let built = built.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
    Ok(Some(format!("{} {built}", key.full)))
}

/// Builds the seed of a variant, unless it is there and made from the present sources. When another
/// process is at it, waits for that one.
pub(crate) fn ensure(project: &Project, variant: Variant) -> Result<()> {
    if variant == Variant::Polars {
        return ensure_polars(project);
    }
    let _lock = project.lock()?;
    ensure_locked(project, variant)
}

/// As [`ensure`], for whoever holds the project's lock.
fn ensure_locked(project: &Project, variant: Variant) -> Result<()> {
    let key = Key::of(project, variant)?;
    if key.matches(&variant.seed(project)) {
        return Ok(());
    }
    if variant != Variant::Core {
        ensure_locked(project, Variant::Core)?;
    }
    let new = prepare(project, variant, &key)?;
    build(project, variant, &key, &new)?;
    replace(project, variant, &new)
}

/// As [`ensure`], of [`Variant::Polars`]. The project's lock is held for moments only, so that kernels
/// of the other variants can start meanwhile.
fn ensure_polars(project: &Project) -> Result<()> {
    let _alone = project.lock_file(POLARS_LOCK)?;
    let key = Key::of(project, Variant::Polars)?;
    let lock = project.lock()?;
    if key.matches(&Variant::Polars.seed(project)) {
        return Ok(());
    }
    ensure_locked(project, Variant::Core)?;
    let new = prepare(project, Variant::Polars, &key)?;
    drop(lock);
    build(project, Variant::Polars, &key, &new)?;
    let _lock = project.lock()?;
    replace(project, Variant::Polars, &new)
}

/// Whether there is a seed of a variant, of whatever sources.
pub(crate) fn exists(project: &Project, variant: Variant) -> bool {
    variant.seed(project).join("key").exists()
}

/// Whether the seed of [`Variant::Polars`] is there, or at least so much of it that it takes no longer
/// to renew than the other one.
pub(crate) fn has_polars(project: &Project) -> Result<bool> {
    let key = Key::of(project, Variant::Polars)?;
    Ok(key.has_base_of(&Variant::Polars.seed(project)))
}

/// The folder in which a new seed is built, beside the old one.
///
/// An interrupted build is taken up where it stopped. With the same compiler it starts from the old
/// seed, so that cargo compiles only what has changed; and the first one with a feature from the one
/// without.
fn prepare(project: &Project, variant: Variant, key: &Key) -> Result<PathBuf> {
    let seed = variant.seed(project);
    let new = seed.with_extension("new");
    if key.matches(&new) {
        return Ok(new);
    }
    project.ensure_space(SPACE_MB, "compiling what the notebooks need")?;
    if new.exists() && !key.has_base_of(&new) {
        fs::remove_dir_all(&new)?;
    }
    if !new.exists() {
        if key.has_base_of(&seed) {
            copy(&seed, &new)?;
        } else if variant != Variant::Core {
            copy(&Variant::Core.seed(project), &new)?;
        }
    }
    Ok(new)
}

/// Puts a complete new seed in the place of the old one. The caller holds the project's lock.
fn replace(project: &Project, variant: Variant, new: &Path) -> Result<()> {
    let seed = variant.seed(project);
    if seed.exists() {
        fs::remove_file(seed.join("key")).ok();
        fs::remove_dir_all(&seed).with_context(|| format!("cannot remove {}", seed.display()))?;
    }
    fs::rename(new, &seed).with_context(|| format!("cannot create {}", seed.display()))
}

fn build(project: &Project, variant: Variant, key: &Key, folder: &Path) -> Result<()> {
    if key.matches(folder) {
        return Ok(());
    }
    step(variant.title(), || compile(project, variant, key, folder))
}

fn compile(project: &Project, variant: Variant, key: &Key, folder: &Path) -> Result<()> {
    let dependency = variant.dependency(project);
    let lock = fs::read_to_string(project.root.join("Cargo.lock"))?;
    for (name, content) in [
        ("config/Cargo.lock", &lock),
        (
            "config/init.evcxr",
            &format!("{}\n{RESTORE_LOCK}\n{dependency}\n", analysis::first_lines()),
        ),
        ("config/prelude.rs", &PRELUDE.to_owned()),
        // Last: from here on, an interrupted build can be continued.
        ("base", &key.base),
    ] {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }

    // That of an older build may be broken, and evcxr's first package needs none.
    fs::remove_file(folder.join("cells/Cargo.lock")).ok();
    compile_helper(folder)?;
    analysis::make(folder)?;
    let started = SystemTime::now();
    let launcher = env::current_exe().context("cannot tell the path of the launcher")?;
    let status = clean_command(launcher)
        .arg("warm")
        .envs(environment(project, variant, folder)?)
        .envs([analysis::recording()])
        .env("CARGO_BUILD_JOBS", memory::jobs().to_string())
        .current_dir(folder)
        .status()
        .context("cannot run the launcher")?;
    ensure!(
        status.success(),
        "the crate could not be compiled for the notebooks; `cargo build` shows more"
    );

    let path = folder.join("key");
    fs::write(&path, &key.full)?;
    File::options().write(true).open(&path)?.set_modified(started)?;
    Ok(())
}

/// Compiles what the process that runs the cells loads first, against the cells' standard library.
fn compile_helper(folder: &Path) -> Result<()> {
    let source = folder.join("helper.rs");
    fs::write(&source, kernel::HELPER)?;
    let output = clean_command("rustc")
        .args(["--edition=2024", "--crate-type=cdylib", "-Cprefer-dynamic", "-Copt-level=2", "-o"])
        .args([&kernel::helper(folder), &source])
        .output()
        .context("cannot run rustc: is Rust on the PATH?")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the kernel's helper could not be compiled:\n{errors}");
    Ok(())
}

/// Does in the current folder what a kernel does before it answers.
pub(crate) fn warm() -> Result<()> {
    let (mut context, outputs) = evcxr::CommandContext::new().map_err(|error| describe(&error))?;
    // evcxr waits for a reader of its output.
    thread::spawn(move || outputs.stdout.into_iter().for_each(drop));
    let stderr = thread::spawn(move || outputs.stderr.into_iter().collect::<Vec<_>>());
    context.execute(":load_config --quiet").map_err(|error| describe(&error))?;
    let errors = context.check(CHECKED).map_err(|error| describe(&error))?;
    ensure!(errors.is_empty(), "{}", texts(&errors));
    drop(context);
    let lines = stderr.join().map_err(|_| anyhow!("lost the output of the warm-up"))?;
    if !lines.is_empty() {
        bail!("the warm-up failed:\n{}", lines.join("\n"));
    }
    Ok(())
}

fn describe(error: &evcxr::Error) -> anyhow::Error {
    match error {
        evcxr::Error::CompilationErrors(errors) => anyhow!("{}", texts(errors)),
        other => anyhow!("{other}"),
    }
}

fn texts(errors: &[evcxr::CompilationError]) -> String {
    // The compiler's errors come with their rendering; those of a `:dep` line do not.
    let texts = errors.iter().map(|error| match error.rendered() {
        text if text.is_empty() => error.message(),
        text => text,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// Takes away what evcxr runs first, for a kernel that must do without the crate, but for what
/// rust-analyzer needs.
pub(crate) fn cool(folder: &Path) -> Result<()> {
    for name in ["init.evcxr", "prelude.rs"] {
        match fs::remove_file(folder.join("config").join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    analysis::cool(folder)
}

/// Copies a seed, less its keys. What is never written into is linked instead, since a file takes longer to
/// copy than to link, and there are thousands: what the compiler has written, which replaces a file where it
/// writes it anew; what cargo notes of packages from the registry, which are compiled once; and the sources
/// for rust-analyzer. The others are copied, since a kernel must not write into the seed.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    if !from.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != "base" && name != "key" {
            let is_only_read = name == "analysis";
            copy_entry(&entry.path(), &to.join(name), is_only_read)?;
        }
    }
    Ok(())
}

fn copy_entry(from: &Path, to: &Path, is_only_read: bool) -> Result<()> {
    let data = fs::symlink_metadata(from)?;
    if data.is_symlink() {
        return Ok(()); // those that a kernel needs are made for each
    }
    if data.is_dir() {
        fs::create_dir_all(to)?;
        let holds_packages =
            [".fingerprint", "build", "deps"].iter().any(|name| from.ends_with(name));
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_only_read = is_only_read || holds_packages && !changes(&name.to_string_lossy());
            copy_entry(&entry.path(), &to.join(name), is_only_read)?;
        }
        return Ok(());
    }
    let is_executable = data.permissions().mode() & 0o111 != 0;
    let compiled = ["a", "o", "rlib", "rmeta", "so"].map(OsStr::new);
    let is_compiled = from.extension().is_some_and(|extension| compiled.contains(&extension));
    if (is_only_read || is_executable || is_compiled) && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    File::options().write(true).open(to)?.set_modified(data.modified()?)?;
    Ok(())
}

/// Whether a file of cargo's is of a package that can change: the cells, or one of the repository.
fn changes(name: &str) -> bool {
    let name = name.strip_prefix("lib").unwrap_or(name);
    ["ctx", "seq2seq"].iter().any(|package| name.starts_with(package))
}
