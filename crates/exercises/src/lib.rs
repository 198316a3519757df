//! An exercise is its solution, less the answers.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Value, json};

/// Generates the exercises in a folder from the solutions in its folder `solutions`. With `check` it writes
/// nothing, and fails when an exercise is not what its solution generates.
pub fn generate(notebooks: &Path, check: bool) -> Result<()> {
    let solutions = notebooks.join("solutions");
    let mut names: Vec<String> = fs::read_dir(&solutions)
        .with_context(|| format!("cannot read {}", solutions.display()))?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".ipynb"))
        .collect();
    ensure!(!names.is_empty(), "there is no notebook in {}", solutions.display());
    names.sort();
    for name in names {
        let exercise = exercise_of(&read(&solutions.join(&name))?)
            .with_context(|| format!("notebooks/solutions/{name}"))?;
        let path = notebooks.join(&name);
        if check {
            compare(&exercise, &path).with_context(|| {
                format!(
                    "notebooks/{name} is not what its solution generates; run `cargo exercises`"
                )
            })?;
        } else {
            write(&path, &print(&exercise)?)?;
            println!("notebooks/{name}");
        }
    }
    Ok(())
}

/// Replaces a file at once: whoever reads it sees the old content or the new, never a part.
pub fn write(path: &Path, content: &str) -> Result<()> {
    let replace = || -> Result<()> {
        let mut beside = tempfile::Builder::new();
        #[cfg(unix)]
        beside.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the mask
        let mut file = beside.tempfile_in(path.parent().context("it has no folder")?)?;
        file.write_all(content.as_bytes())?;
        file.persist(path)?;
        Ok(())
    };
    replace().with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a notebook.
pub fn read(path: &Path) -> Result<Value> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a notebook", path.display()))
}

/// The text of a notebook, in the form in which Jupyter saves it.
fn print(notebook: &Value) -> Result<String> {
    use serde::Serialize;
    let mut bytes = Vec::new();
    notebook.serialize(&mut Serializer::with_formatter(
        &mut bytes,
        PrettyFormatter::with_indent(b" "),
    ))?;
    bytes.push(b'\n');
    Ok(String::from_utf8(bytes)?)
}

/// What a learner gets:
/// - no outputs;
/// - no cell with the tag `solution`;
/// - instead of a cell with a text `exercise` in its metadata, that text;
/// - paths that start one folder further up.
fn exercise_of(solution: &Value) -> Result<Value> {
    let mut exercise = solution.clone();
    let cells = exercise["cells"].as_array_mut().ok_or_else(|| anyhow!("has no cells"))?;
    cells.retain(|cell| {
        !cell["metadata"]["tags"]
            .as_array()
            .is_some_and(|tags| tags.iter().any(|tag| tag == "solution"))
    });
    for cell in cells {
        let metadata =
            cell["metadata"].as_object_mut().ok_or_else(|| anyhow!("a cell has no metadata"))?;
        let source = match metadata.remove("exercise") {
            Some(Value::String(text)) => text,
            Some(other) => bail!("the `exercise` of a cell is {other}: it must be a text"),
            None => source_of(cell)?,
        };
        let source = if cell["cell_type"] == "code" {
            cell["outputs"] = json!([]);
            cell["execution_count"] = Value::Null;
            let lines = source.split_inclusive('\n').map(|line| {
                if line.starts_with(":dep") {
                    line.replace("\"../..\"", "\"..\"")
                } else {
                    line.to_owned()
                }
            });
            lines.collect()
        } else {
            source.replace("](../", "](").replace("src=\"../", "src=\"")
        };
        cell["source"] = source.split_inclusive('\n').collect();
    }
    Ok(exercise)
}

/// The text of a cell, which a notebook keeps as one string or as a list of lines.
fn source_of(cell: &Value) -> Result<String> {
    match &cell["source"] {
        Value::String(text) => Ok(text.clone()),
        Value::Array(lines) => lines
            .iter()
            .map(|line| line.as_str().ok_or_else(|| anyhow!("a line of a cell is {line}")))
            .collect(),
        other => bail!("the source of a cell is {other}"),
    }
}

fn compare(expected: &Value, path: &Path) -> Result<()> {
    let present = read(path)?;
    let none = Vec::new();
    let expected_cells = expected["cells"].as_array().unwrap_or(&none);
    let present_cells = present["cells"].as_array().unwrap_or(&none);
    for index in 0..expected_cells.len().max(present_cells.len()) {
        let (expected, present) = (expected_cells.get(index), present_cells.get(index));
        if expected != present {
            let text = |cell: Option<&Value>| match cell {
                Some(cell) => source_of(cell).unwrap_or_else(|error| error.to_string()),
                None => "no such cell".to_owned(),
            };
            bail!(
                "cell {} differs\n--- in the notebook ---\n{}\n--- from the solution ---\n{}",
                index + 1,
                text(present),
                text(expected)
            );
        }
    }
    ensure!(
        fs::read_to_string(path)? == print(expected)?,
        "all cells agree, but the notebook's metadata or layout differs"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solution() -> Value {
        json!({
            "cells": [
                {
                    "cell_type": "code", "id": "a", "execution_count": 3, "metadata": {},
                    "outputs": [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}],
                    "source": [":dep seq2seq = { path = \"../..\" }\n", "let p = \"../..\";"],
                },
                {
                    "cell_type": "markdown", "id": "b", "metadata": {},
                    "source": "[data](../../data/README.md), [next](../exercise_2.ipynb)",
                },
                {
                    "cell_type": "code", "id": "c", "execution_count": 4, "outputs": [],
                    "metadata": {"exercise": "// your turn\nlet x = 0;", "tags": ["x"]},
                    "source": ["let x = 42;"],
                },
                {
                    "cell_type": "markdown", "id": "d", "metadata": {"tags": ["solution"]},
                    "source": ["The answer is 42."],
                },
            ],
            "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
        })
    }

    #[test]
    fn answers_and_outputs_are_dropped_and_paths_shortened() {
        let exercise = exercise_of(&solution()).unwrap();
        let cells = exercise["cells"].as_array().unwrap();
        let ids: Vec<_> = cells.iter().map(|cell| cell["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        assert_eq!(cells[0]["outputs"], json!([]));
        assert_eq!(cells[0]["execution_count"], Value::Null);
        assert_eq!(
            cells[0]["source"],
            json!([":dep seq2seq = { path = \"..\" }\n", "let p = \"../..\";"])
        );
        assert_eq!(
            cells[1]["source"],
            json!(["[data](../data/README.md), [next](exercise_2.ipynb)"])
        );
        assert_eq!(cells[2]["source"], json!(["// your turn\n", "let x = 0;"]));
        assert_eq!(cells[2]["metadata"], json!({"tags": ["x"]}));
    }

    #[test]
    fn exercises_are_what_their_solutions_generate() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        generate(&package.ancestors().nth(2).unwrap().join("notebooks"), true).unwrap();
    }

    #[test]
    fn a_drift_is_named_by_its_cell() {
        let folder = std::env::temp_dir().join(format!("exercises-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.ipynb");
        let mut exercise = exercise_of(&solution()).unwrap();
        fs::write(&path, print(&exercise).unwrap()).unwrap();
        compare(&exercise, &path).unwrap();
        exercise["cells"][1]["source"] = json!(["another text"]);
        let message = compare(&exercise, &path).unwrap_err().to_string();
        assert!(message.starts_with("cell 2 differs"), "{message}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
