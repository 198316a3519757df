//! The form of the notebooks. What they do in the kernel is tested with the launcher, in
//! `crates/workbook`.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine;
use serde_json::{Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn notebooks_are_valid_and_readable() {
    for path in exercises().into_iter().chain(solutions()) {
        let name = path.display();
        let notebook = read(&path);
        assert_eq!((&notebook["nbformat"], &notebook["nbformat_minor"]), (&json!(4), &json!(5)));
        let (kernel, display_name) = if path.ends_with("exercise_4_bitcoin.ipynb") {
            ("seq2seq-rust-polars", "Rust (seq2seq, polars)")
        } else {
            ("seq2seq-rust", "Rust (seq2seq)")
        };
        assert_eq!(
            notebook["metadata"]["kernelspec"],
            json!({"display_name": display_name, "language": "rust", "name": kernel}),
            "{name}"
        );
        let cells = cells(&notebook);
        let mut ids: Vec<_> = cells.iter().map(|cell| cell["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{name}: two cells have one id");

        let mut lengths = Vec::new();
        for (index, cell) in cells.iter().enumerate().filter(|(_, cell)| is_code(cell)) {
            let place = format!("{name}, cell {}", index + 1);
            let source = source(cell);
            assert!(source.is_ascii(), "{place}: a character that is not ASCII");
            assert!(index > 0 && !is_code(&cells[index - 1]), "{place}: no sentence before it");
            let lines = source.lines().count();
            assert!(lines <= 40, "{place}: {lines} lines, and 40 are allowed");
            lengths.push(lines);
        }
        lengths.sort_unstable();
        let median = lengths[lengths.len() / 2];
        assert!(median <= 6, "{name}: half of the cells have {median} lines or more, not 6");
    }
}

#[test]
fn exercises_have_no_outputs_and_solutions_have_all() {
    for path in exercises() {
        for cell in cells(&read(&path)).iter().filter(|cell| is_code(cell)) {
            assert_eq!(cell["outputs"], json!([]), "{}", path.display());
            assert_eq!(cell["execution_count"], Value::Null, "{}", path.display());
        }
    }
    for path in solutions() {
        let mut outputs = 0;
        for cell in cells(&read(&path)).iter().filter(|cell| is_code(cell)) {
            assert!(cell["execution_count"].is_u64(), "{}: run it with --save", path.display());
            outputs += cell["outputs"].as_array().unwrap().len();
        }
        assert!(outputs > 0, "{}: run it with --save", path.display());
    }
}

/// The runs that are saved reach every target, and every task has a check behind it.
#[test]
fn every_check_in_a_solution_passes() {
    for path in solutions() {
        let name = path.display();
        let (mut checks, mut unchecked) = (0, Vec::new());
        for cell in cells(&read(&path)).iter().filter(|cell| is_code(cell)) {
            let printed: String = cell["outputs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|output| text(&output["text"]))
                .collect();
            assert!(!printed.contains("not yet"), "{name}, cell {}: {printed}", cell["id"]);
            let passed = |line: &str| line.starts_with("passed:") || line == "the same";
            if printed.lines().any(passed) {
                checks += 1;
                unchecked.clear();
            }
            if cell["metadata"]["exercise"].is_string() {
                unchecked.push(cell["id"].clone());
            }
        }
        let file = path.file_stem().unwrap().to_string_lossy();
        assert!(checks > 0 || file.starts_with("0_"), "{name} has no check");
        // Exercise 4 asks for a choice of columns. It is for the learner to judge, without a target.
        let allowed: &[Value] =
            if file.starts_with("exercise_4") { &[json!("e4-26")] } else { &[] };
        assert_eq!(unchecked, allowed, "{name}: tasks without a check");
    }
}

/// JupyterLab shows one of the two, and so does GitHub: SVG in a trusted notebook, else PNG.
#[test]
fn every_picture_is_one_bundle_of_svg_and_png() {
    for path in solutions() {
        let name = path.display();
        let mut pictures = 0;
        for cell in cells(&read(&path)).iter().filter(|cell| is_code(cell)) {
            for output in cell["outputs"].as_array().unwrap() {
                let Some(data) = output["data"].as_object() else { continue };
                if !data.keys().any(|kind| kind.starts_with("image/")) {
                    assert!(!text(&output["data"]["text/html"]).contains("<svg"), "{name}");
                    continue;
                }
                pictures += 1;
                let svg = text(&data["image/svg+xml"]);
                let document = roxmltree::Document::parse(&svg).unwrap();
                assert_eq!(document.root_element().tag_name().name(), "svg", "{name}");

                let base64 = text(&data["image/png"]).split_whitespace().collect::<String>();
                let bytes = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
                let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().unwrap();
                let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
                let frame = reader.next_frame(&mut pixels).unwrap();
                let pixels = &pixels[..frame.buffer_size()];
                assert!(pixels.iter().any(|&pixel| pixel != pixels[0]), "{name}: an empty picture");
            }
        }
        assert!(pictures > 0, "{name} has no picture");
    }
}

/// What `-p` of `cargo workbook run` and of papermill sets.
#[test]
fn every_exercise_declares_its_parameters_with_their_types() {
    let types = ["usize", "u64", "i64", "u32", "i32", "f32", "f64", "bool", "&str", "String"];
    for path in exercises() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("exercise_") {
            continue;
        }
        let notebook = read(&path);
        let tagged: Vec<_> = cells(&notebook)
            .iter()
            .filter(|cell| {
                let tags = cell["metadata"]["tags"].as_array();
                tags.is_some_and(|tags| tags.iter().any(|tag| tag == "parameters"))
            })
            .collect();
        assert_eq!(tagged.len(), 1, "{name}: cells with the tag `parameters`");
        assert!(is_code(tagged[0]), "{name}: the cell with the tag `parameters` is no code");
        let source = source(tagged[0]);
        let lines = source.lines().map(str::trim);
        let lines: Vec<_> =
            lines.filter(|line| !line.is_empty() && !line.starts_with("//")).collect();
        assert!(!lines.is_empty(), "{name} declares no parameter");
        let mut names = Vec::new();
        for line in lines {
            let declaration = line.strip_prefix("let ").and_then(|rest| {
                let (declared, value) = rest.split_once(" = ")?;
                let (parameter, kind) = declared.split_once(": ")?;
                value.contains(';').then_some((parameter, kind))
            });
            let Some((parameter, kind)) = declaration else {
                panic!("{name}: this is not `let name: type = value;`: {line}");
            };
            let inner = kind.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>'));
            let kind = inner.unwrap_or(kind);
            assert!(types.contains(&kind), "{name}: nobody can set the type of: {line}");
            assert!(!names.contains(&parameter), "{name}: declared twice: {line}");
            names.push(parameter);
        }
    }
}

// ---- help ------------------------------------------------------------------------------------

fn notebooks_in(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(Path::new(ROOT).join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ipynb"))
        .collect();
    assert!(!paths.is_empty(), "no notebook in {folder}");
    paths.sort();
    paths
}

fn exercises() -> Vec<PathBuf> {
    notebooks_in("notebooks")
}

fn solutions() -> Vec<PathBuf> {
    notebooks_in("notebooks/solutions")
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn cells(notebook: &Value) -> &[Value] {
    notebook["cells"].as_array().unwrap()
}

fn is_code(cell: &Value) -> bool {
    cell["cell_type"] == "code"
}

fn source(cell: &Value) -> String {
    text(&cell["source"])
}

/// A text, which a notebook keeps as one string or as a list of lines.
fn text(value: &Value) -> String {
    match value {
        Value::Array(lines) => lines.iter().map(|line| line.as_str().unwrap()).collect(),
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}
