//! What rust-analyzer takes for cargo.
//!
//! It looks for cargo in cargo's home first, so it is told of a home in the kernel's folder, where
//! `bin/cargo` is a link to this program. Seven questions it has each time that it reads a workspace, and
//! the answers to most are those that it got when the seed was made. For the list of packages cargo
//! itself is asked where a cell has added one.

use std::collections::{HashMap, HashSet};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{RECORD, cargo_home, folder, lean};

/// The packages that are read as copies, each with those of its dependencies that its public signatures
/// name. The others are used in the bodies of functions only, and nothing of them is read.
const COPIED: [(&str, &[&str]); 7] = [
    ("dfdx", &["num-traits", "rand", "rand_distr"]),
    ("num-traits", &[]),
    ("rand", &["rand_core"]),
    ("rand_core", &[]),
    ("rand_distr", &["num-traits", "rand"]),
    ("seq2seq", &["dfdx", "seq2seq-kernels"]),
    ("seq2seq-kernels", &[]),
];

/// Stands for the kernel's folder in an answer.
const FOLDER: &str = "{kernel}";

#[derive(Serialize, Deserialize)]
struct Answer {
    code: u8,
    stdout: String,
    stderr: String,
}

/// Answers, where rust-analyzer has started this program as cargo.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = env::args_os();
    let path = PathBuf::from(arguments.next()?);
    let kernel = path.ancestors().nth(4).filter(|_| path.ends_with("analysis/home/bin/cargo"))?;
    match answer(kernel, &arguments.collect::<Vec<_>>()) {
        Ok(answer) => {
            std::io::stderr().write_all(answer.stderr.as_bytes()).ok();
            std::io::stdout().write_all(answer.stdout.as_bytes()).ok();
            Some(ExitCode::from(answer.code))
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            Some(ExitCode::FAILURE)
        }
    }
}

fn answer(kernel: &Path, arguments: &[OsString]) -> Result<Answer> {
    let recorded = record_of(kernel, arguments)?;
    if let Ok(text) = fs::read_to_string(&recorded)
        && let Ok(answer) = serde_json::from_str::<Answer>(&text)
    {
        let in_place = |text: String| text.replace(FOLDER, &kernel.to_string_lossy());
        let (stdout, stderr) = (in_place(answer.stdout), in_place(answer.stderr));
        return Ok(Answer { stdout, stderr, ..answer });
    }
    let mut answer = ask(arguments)?;
    let record = env::var_os(RECORD).is_some();
    if arguments.first().is_some_and(|argument| argument == "metadata")
        && let Ok(metadata) = serde_json::from_str(&answer.stdout)
    {
        answer.stdout =
            with_copies(metadata, &folder(kernel).join("packages"), record)?.to_string();
    }
    if record {
        let anywhere = |text: &str| text.replace(&*kernel.to_string_lossy(), FOLDER);
        let (stdout, stderr) = (anywhere(&answer.stdout), anywhere(&answer.stderr));
        fs::write(recorded, serde_json::to_string(&Answer { stdout, stderr, ..answer })?)?;
        return self::answer(kernel, arguments);
    }
    Ok(answer)
}

/// The file with the answer to a question. What packages there are depends on the file that evcxr writes.
fn record_of(kernel: &Path, arguments: &[OsString]) -> Result<PathBuf> {
    let mut sha = Sha256::new();
    for argument in arguments {
        let argument = argument.to_string_lossy().replace(&*kernel.to_string_lossy(), FOLDER);
        sha.update(argument);
        sha.update([0]);
    }
    sha.update(fs::read(kernel.join("cells/Cargo.toml")).context("cannot read Cargo.toml")?);
    let name = hex::encode(sha.finalize());
    Ok(folder(kernel).join("answers").join(name).with_extension("json"))
}

/// Asks cargo itself: that of the toolchain, if rust-analyzer names it.
fn ask(arguments: &[OsString]) -> Result<Answer> {
    let named = env::var_os("RUSTUP_TOOLCHAIN").map(|folder| Path::new(&folder).join("bin/cargo"));
    let cargo = named.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("cargo"));
    let output = Command::new(&cargo)
        .args(arguments)
        .env("CARGO_HOME", cargo_home())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", cargo.display()))?;
    let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(Answer { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// Cargo's list of packages, with the copies instead of the packages of which there are, and without what
/// only the bodies of their functions use. Copies of the packages in [`COPIED`] are made where that is
/// asked for.
fn with_copies(mut metadata: Value, copies: &Path, make: bool) -> Result<Value> {
    if metadata["resolve"].is_null() {
        return Ok(metadata); // the question was about the workspace alone
    }
    let mut names = HashMap::new();
    let mut copied = HashMap::new();
    for package in items(&mut metadata["packages"]) {
        let (id, name) = (text(&package["id"]), text(&package["name"]));
        let copy = copies.join(format!("{name}-{}", text(&package["version"])));
        if let Some((_, named)) = COPIED.iter().find(|(copied, _)| *copied == name)
            && (make || copy.exists())
        {
            copied.insert(id.clone(), (copy, named));
        }
        names.insert(id, name);
    }
    for node in items(&mut metadata["resolve"]["nodes"]) {
        if let Some((_, named)) = copied.get(&text(&node["id"])) {
            let stays =
                |id: &Value| names.get(&text(id)).is_some_and(|name| named.contains(&&**name));
            retain(&mut node["deps"], |dependency| stays(&dependency["pkg"]));
            retain(&mut node["dependencies"], stays);
        }
    }
    keep_what_is_reached(&mut metadata);
    for package in items(&mut metadata["packages"]) {
        if let Some((copy, _)) = copied.get(&text(&package["id"])) {
            read_copy(package, copy)?;
        }
    }
    Ok(metadata)
}

/// Takes the packages away that no other depends on any more.
fn keep_what_is_reached(metadata: &mut Value) {
    let mut dependencies = HashMap::new();
    for node in items(&mut metadata["resolve"]["nodes"]) {
        let ids: Vec<String> = items(&mut node["dependencies"]).map(|id| text(id)).collect();
        dependencies.insert(text(&node["id"]), ids);
    }
    let mut reached = HashSet::new();
    let mut next: Vec<String> =
        items(&mut metadata["workspace_members"]).map(|id| text(id)).collect();
    while let Some(id) = next.pop() {
        if let Some(ids) = dependencies.get(&id)
            && reached.insert(id)
        {
            next.extend(ids.iter().cloned());
        }
    }
    let is_reached = |item: &Value| reached.contains(&text(&item["id"]));
    retain(&mut metadata["packages"], is_reached);
    retain(&mut metadata["resolve"]["nodes"], is_reached);
}

/// Has a package read from its copy, which is made where there is none.
fn read_copy(package: &mut Value, copy: &Path) -> Result<()> {
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
    let original = manifest.parent().context("cargo has named no manifest")?;
    if !copy.exists() {
        lean::copy(&original.join("src"), &copy.join("src"))?;
    }
    let of_copy = |path: &Value| -> Value {
        let path = Path::new(path.as_str().unwrap_or_default());
        copy.join(path.strip_prefix(original).unwrap_or(path)).to_string_lossy().into()
    };
    package["manifest_path"] = of_copy(&package["manifest_path"]);
    retain(&mut package["targets"], |target| {
        let mut kinds = target["kind"].as_array().into_iter().flatten().filter_map(Value::as_str);
        kinds.any(|kind| ["lib", "rlib", "dylib"].contains(&kind))
    });
    for target in items(&mut package["targets"]) {
        target["src_path"] = of_copy(&target["src_path"]);
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn items(array: &mut Value) -> impl Iterator<Item = &mut Value> {
    array.as_array_mut().into_iter().flatten()
}

fn retain(array: &mut Value, stays: impl Fn(&Value) -> bool) {
    if let Some(items) = array.as_array_mut() {
        items.retain(stays);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The cells depend on two packages, one of which is copied; both use others.
    #[test]
    fn what_only_the_copies_use_is_not_read() {
        let folder = env::temp_dir().join(format!("copies-{}", std::process::id()));
        let sources = folder.join("original/src");
        fs::create_dir_all(&sources).unwrap();
        fs::write(sources.join("lib.rs"), "pub fn f() { 1 }").unwrap();
        let package = |name: &str| {
            json!({
                "id": name, "name": name, "version": "1.0.0",
                "manifest_path": folder.join("original/Cargo.toml"),
                "targets": [
                    {"kind": ["lib"], "src_path": sources.join("lib.rs")},
                    {"kind": ["custom-build"], "src_path": folder.join("original/build.rs")},
                ],
            })
        };
        let node = |name: &str, dependencies: &[&str]| {
            let deps: Vec<_> = dependencies.iter().map(|name| json!({"pkg": name})).collect();
            json!({"id": name, "dependencies": dependencies, "deps": deps, "features": []})
        };
        let packages = ["ctx", "dfdx", "rand", "gemm", "ndarray", "rayon"].map(package);
        let metadata = json!({
            "workspace_members": ["ctx"],
            "packages": packages,
            "resolve": {"nodes": [
                node("ctx", &["dfdx", "ndarray"]),
                node("dfdx", &["rand", "gemm"]),
                node("gemm", &["rayon"]),
                node("rand", &[]),
                node("ndarray", &["rayon"]),
                node("rayon", &[]),
            ]},
        });

        let copies = folder.join("copies");
        let lean = with_copies(metadata.clone(), &copies, true).unwrap();
        let names = |list: &Value| -> Vec<String> {
            let items = list.as_array().unwrap().iter();
            items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
        };
        let expected = ["ctx", "dfdx", "rand", "ndarray", "rayon"];
        assert_eq!(names(&lean["packages"]), expected);
        let dfdx = lean["resolve"]["nodes"].as_array().unwrap().iter().find(|n| n["id"] == "dfdx");
        assert_eq!(dfdx.unwrap()["dependencies"], json!(["rand"]));
        let copy = copies.join("dfdx-1.0.0/src/lib.rs");
        assert_eq!(fs::read_to_string(&copy).unwrap(), "pub fn f() {}");
        assert_eq!(lean["packages"][1]["targets"], json!([{"kind": ["lib"], "src_path": copy}]));
        let unchanged = json!({"kind": ["lib"], "src_path": sources.join("lib.rs")});
        assert_eq!(lean["packages"][3]["targets"][0], unchanged);

        // In a kernel no copies are made: a package without one is read as it is.
        fs::remove_dir_all(&copies).unwrap();
        let full = with_copies(metadata.clone(), &copies, false).unwrap();
        assert_eq!(full, metadata);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_list_of_the_workspace_alone_stays() {
        let metadata = json!({"packages": [{"name": "dfdx"}], "resolve": null});
        assert_eq!(with_copies(metadata.clone(), Path::new("/no"), true).unwrap(), metadata);
    }
}
