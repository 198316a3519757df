//! What the notebooks do in the real kernel, and what the launcher says.
//!
//! A kernel takes its time to start, and most of a gigabyte, so the tests share kernels where they
//! can, and take turns.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::{Value, json};

mod common;

use common::{expect_success, python, root};

// ---- in the kernel ---------------------------------------------------------------------------

/// The checks of tasks, which are not solved here, do not pass; all others do.
#[test]
fn every_notebook_runs_as_shipped_and_its_tasks_are_unsolved() {
    let _turn = turn();
    let ran = |path: &Path| {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("as_shipped").join(path.file_name().unwrap())
    };
    fs::create_dir_all(ran(&exercises()[0]).parent().unwrap()).unwrap();
    let run = |path: PathBuf| {
        let output = path_text(ran(&path));
        vec!["run".to_owned(), "--output".to_owned(), output, path_text(path)]
    };
    expect_successes(exercises().into_iter().map(run).collect());

    let mut tasks = 0;
    for (path, solution) in exercises().iter().zip(solutions()) {
        let (name, notebook, solution) = (path.display(), read(&ran(path)), read(&solution));
        let mut task_is_next = false;
        for (index, cell) in cells(&notebook).iter().enumerate() {
            let is_task = |other: &Value| {
                other["id"] == cell["id"] && other["metadata"]["exercise"].is_string()
            };
            task_is_next |= cells(&solution).iter().any(is_task);
            let verdicts = verdicts(cell);
            if !verdicts.is_empty() {
                let expected = !task_is_next;
                assert!(
                    verdicts.iter().all(|&passed| passed == expected),
                    "{name}, cell {}: the checks say {verdicts:?}, and each should be {expected}: an \
                     unsolved task must not pass, and everything else must",
                    index + 1
                );
                tasks += usize::from(task_is_next);
                task_is_next = false;
            }
        }
    }
    assert!(tasks >= 4, "only {tasks} tasks were found");
}

/// One edit a notebook, as somebody in a class would make it. In the solutions, whose other cells are
/// those of the notebooks above.
#[test]
fn every_notebook_runs_with_an_edited_hyperparameter() {
    let _turn = turn();
    let edits: [(&str, &[&str]); 7] = [
        ("0_start_here", &["--replace", "seed: 42", "seed: 43"]),
        ("1_recurrent_networks", &["--replace", "batch_size: 32", "batch_size: 64"]),
        ("2_encoder_decoder", &["--replace", "batch_size: 512", "batch_size: 1024"]),
        ("exercise_1_sine_cosine", &["-p", "hidden_size=7"]),
        ("exercise_2_two_sines", &["-p", "hidden_size=20"]),
        ("exercise_3_denoising", &["-p", "hidden_size=20", "-p", "learning_rate=0.01"]),
        ("exercise_4_bitcoin", &["-p", "hidden_size=24"]),
    ];
    let paths = solutions();
    let names: Vec<_> =
        paths.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    let edited: Vec<_> = edits.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, edited, "a notebook without an edit, or an edit without a notebook");
    let run = |(name, edit): (&str, &[&str])| {
        let path = format!("notebooks/solutions/{name}.ipynb");
        [&["run"], edit, &[path.as_str()]].concat().into_iter().map(str::to_owned).collect()
    };
    expect_successes(edits.into_iter().map(run).collect());
}

/// Two kernels at once, each with a notebook of its own.
///
/// The one builds a model in a cell and trains it in another, and has to end with the same weights as
/// the same code in one cell. This guards against the following: dfdx numbers its tensors with a static
/// counter, and in a statically linked notebook each cell has its own, so that a weight and an
/// activation can have one number, and share a gradient. To see it fail, build the crate as
/// `crate-type = ["rlib"]` in Cargo.toml.
///
/// The other stops at the first cell that fails. A third kernel runs the code in one cell.
#[test]
fn two_kernels_at_once_and_tensors_keep_their_numbers_across_cells() {
    let _turn = turn();
    let uses = "use seq2seq::dfdx::prelude::*;\nuse seq2seq::prelude::*;";
    // The weights come first in their cell, and the activations in theirs: where each cell counts
    // from 0, these numbers meet.
    let model = "\
        let dev = Cpu::default();
        let values = vec![0.1, -0.2, 0.3, 0.4, 0.5, -0.6];
        let mut weight: Tensor<(usize, usize), f32, Cpu> = dev.tensor_from_vec(values, (3, 2));
        let mut bias: Tensor<(usize,), f32, Cpu> = dev.tensor_from_vec(vec![0.1, 0.2], (2,));

        let data = sine_cosine(SineCosine { series: 200, ..Default::default() })?;
        let (train, validation) = data.split(0.15)?;
        let hyperparameters = Hyperparameters { epochs: 2, ..Default::default() };
        let mut model = Seq2Seq::stacked(data.features(), &hyperparameters)?;";
    let by_hand = "\
        for step in 0..3 {
            let values = (0..12).map(|i| (i + step) as f32 / 10.0).collect();
            let x: Tensor<(usize, usize), f32, Cpu> = dev.tensor_from_vec(values, (4, 3));
            let product = x.leaky_trace().matmul(weight.clone());
            let output = (product + bias.clone().broadcast_like::<_, Axis<0>>(&(4, 2))).tanh();
            let gradients = output.square().mean().backward();
            weight = weight.clone() - gradients.get(&weight) * 0.5;
            bias = bias.clone() - gradients.get(&bias) * 0.5;
        }
        let learnt: Vec<f32> = [weight.as_vec(), bias.as_vec()].concat();";
    let by_fit =
        "let history = fit_with(&mut model, &train, &validation, &hyperparameters, |_, _| {})?;";
    let show = "println!(\"{:?}\", (learnt, history.last().validation_mse));";

    let one = temporary("one_cell", &[uses, &[model, by_hand, by_fit, show].join("\n")]);
    let trap = temporary("id_trap", &[uses, model, by_hand, by_fit, show]);
    let failing = temporary("first_failure", &["let a = 1;", "let b = a + c;", "panic!(\"2\");"]);
    let children = [
        command(&["run", "--save", trap.to_str().unwrap()]).spawn().unwrap(),
        command(&["run", failing.to_str().unwrap()]).spawn().unwrap(),
    ];
    let [trap_output, failing_output] = children.map(|child| child.wait_with_output().unwrap());

    expect_success(&trap_output);
    expect_success(&workbook(&["run", "--save", one.to_str().unwrap()]));
    let [printed, expected] =
        [trap, one].map(|path| notebook_outputs(&read(&path)).collect::<Vec<_>>());
    assert!(expected.len() == 1 && expected[0].starts_with("(["), "{expected:?}");
    assert_eq!(printed, expected);

    let message = expect_failure(&failing_output);
    assert!(message.contains("first_failure.ipynb: cell 3: "), "{message}");
    assert!(message.contains("cannot find value `c`"), "{message}");
    assert!(!message.contains("panicked"), "{message}");
}

/// A warning on stderr is none.
#[test]
fn every_kind_of_failure_is_reported_with_its_cell() {
    let _turn = turn();
    let path = temporary(
        "failures",
        &[
            "let kept_value = 1;",
            "let b: u32 = \"a text\";",
            "panic!(\"out of luck\");",
            "\"a word\".parse::<u32>()?;",
            "eprintln!(\"a warning\");",
            "println!(\"fine: {kept_value}\");",
            "std::process::exit(3);",
            "println!(\"another process\");",
        ],
    );
    let before = fs::read_to_string(&path).unwrap();
    let output = workbook(&["run", "--keep-going", "--save", path.to_str().unwrap()]);
    let message = expect_failure(&output);
    for (cell, text) in [
        (3, "mismatched types"),
        (4, "out of luck"),
        (5, "invalid digit"),
        // With the variables that are lost.
        (8, "kept_value"),
    ] {
        let place = format!("failures.ipynb: cell {cell}: ");
        let at = message.find(&place).unwrap_or_else(|| panic!("no {place:?} in:\n{message}"));
        let rest = &message[at + place.len()..];
        let own = rest.split("failures.ipynb: cell").next().unwrap();
        assert!(own.contains(text), "cell {cell} has no {text:?} in:\n{own}");
    }
    for cell in [2, 6, 7, 9] {
        assert!(!message.contains(&format!("cell {cell}:")), "{message}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), before, "a failed run was saved");
}

#[test]
fn warnings_are_not_saved_and_renewed_outputs_are_saved_as_they_end() {
    let _turn = turn();
    let path = temporary(
        "saved",
        &[
            "use seq2seq::prelude::*;",
            "eprintln!(\"a warning\");\nfor i in 0..4 { print!(\"\\rstep {i}\"); }\nprintln!();",
            "let data = sine_cosine(SineCosine::default())?;
             let shown = plot::show(&plot::examples(&data, 1)?);
             shown.update(&plot::examples(&data, 2)?);",
            "plot::examples(&data, 2)?",
        ],
    );
    expect_success(&workbook(&["run", "--save", path.to_str().unwrap()]));
    let notebook = read(&path);
    let [_, _, printed, renewed, result] = cells(&notebook) else { panic!("{notebook}") };
    let counts: Vec<_> =
        cells(&notebook).iter().map(|cell| cell["execution_count"].as_u64()).collect();
    assert_eq!(counts, [1, 2, 3, 4, 5].map(Some));
    assert_eq!(printed["outputs"].as_array().unwrap().len(), 1, "{printed}");
    assert_eq!(text(&printed["outputs"][0]["text"]), "step 3\n");
    assert_eq!(renewed["outputs"].as_array().unwrap().len(), 1, "{renewed}");
    let [last, expected] =
        [renewed, result].map(|cell| text(&cell["outputs"][0]["data"]["image/svg+xml"]));
    assert!(expected.contains("<svg"), "{result}");
    assert_eq!(last, expected, "the first picture was saved");
}

/// By papermill's conventions, with values of the declared types.
#[test]
fn parameters_are_set_in_a_cell_after_the_one_that_declares_them() {
    let _turn = turn();
    let path = with_parameters("parameters");
    let before = fs::read_to_string(&path).unwrap();
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("parameters_set.ipynb");
    let arguments = ["hidden_size=20", "learning_rate=1", "penalty=0.5", "name=a \"b\"=c\\"];
    let arguments = arguments.iter().flat_map(|argument| ["-p", argument]);
    let files = ["--output", output.to_str().unwrap(), path.to_str().unwrap()];
    let arguments: Vec<&str> = ["run"].into_iter().chain(arguments).chain(files).collect();
    expect_success(&workbook(&arguments));

    let notebook = read(&output);
    let [_, declared, injected, shown, _] = cells(&notebook) else { panic!("{notebook}") };
    assert_eq!(declared["metadata"]["tags"], json!(["parameters"]));
    assert_eq!(injected["metadata"]["tags"], json!(["injected-parameters"]));
    assert_eq!(
        source(injected),
        "// Parameters\nlet hidden_size: usize = 20;\nlet learning_rate: f64 = 1.0;\n\
         let penalty: Option<f64> = Some(0.5);\nlet name: &str = \"a \\\"b\\\"=c\\\\\";"
    );
    let printed = text(&shown["outputs"][0]["text"]);
    assert_eq!(printed, "[20] 1.0 42 Some(0.5) a \"b\"=c\\\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), before, "the notebook itself was changed");

    // The cells have the numbers that they have in the notebook.
    let message = expect_failure(&workbook(&["run", "-p", "seed=0", path.to_str().unwrap()]));
    assert!(message.contains("parameters.ipynb: cell 4: "), "{message}");
}

#[test]
fn parameters_that_do_not_fit_are_refused() {
    let path = with_parameters("refused");
    let path = path.to_str().unwrap();
    let plain = temporary("no_parameters", &["let a = 1;"]);
    for (arguments, expected) in [
        (&["hidden=20"][..], "no parameter hidden; there are: hidden_size: usize, learning_rate"),
        (&["hidden_size=1.5"], "hidden_size has the type usize, and '1.5' does not fit"),
        (&["hidden_size=-1"], "allowed: 0 to"),
        (&["learning_rate=fast"], "learning_rate has the type f64, and 'fast' does not fit"),
        (&["learning_rate=inf"], "not a finite number"),
        (&["penalty="], "penalty has the type Option<f64>"),
        (&["seed=1", "seed=2"], "the parameter seed is set twice"),
        (&["seed"], "NAME=VALUE"),
        (&["=1"], "no name before the `=`"),
    ] {
        let set = arguments.iter().flat_map(|argument| ["-p", argument]);
        let arguments: Vec<&str> = ["run"].into_iter().chain(set).chain([path]).collect();
        let message = expect_failure(&workbook(&arguments));
        assert!(message.contains(expected), "{arguments:?} says:\n{message}");
    }
    let message = expect_failure(&workbook(&["run", "-p", "seed=1", plain.to_str().unwrap()]));
    assert!(message.contains("no cell has the tag `parameters`"), "{message}");
    let message = expect_failure(&workbook(&["run", "--output", path, path]));
    assert!(message.contains("would overwrite the notebook itself"), "{message}");
    let message = expect_failure(&workbook(&["run", "--output", "new.ipynb", path, path]));
    assert!(message.contains("--output is for one notebook"), "{message}");
}

/// A lesson can be about a failure: its cell has the tag for it, and then has to fail.
#[test]
fn a_cell_that_is_meant_to_fail_has_to_fail() {
    let _turn = turn();
    let tagged = |name: &str, cells: &[&str]| {
        let path = temporary(name, cells);
        let mut notebook = read(&path);
        // The first cell loads the crate, and does not fail.
        for cell in notebook["cells"].as_array_mut().unwrap().iter_mut().skip(1) {
            cell["metadata"] = json!({"tags": ["raises-exception"]});
        }
        fs::write(&path, notebook.to_string()).unwrap();
        path
    };
    let failing = tagged("meant", &["panic!(\"out of luck\");", "let b: u32 = \"a text\";"]);
    expect_success(&workbook(&["run", "--save", failing.to_str().unwrap()]));
    let saved = fs::read_to_string(&failing).unwrap();
    assert!(saved.contains("out of luck") && saved.contains("mismatched types"), "{saved}");

    let fine = tagged("not_meant", &["let a = 1;"]);
    let message = expect_failure(&workbook(&["run", fine.to_str().unwrap()]));
    assert!(message.contains("has the tag raises-exception, but did not fail"), "{message}");
}

/// The kernels work on one pool of threads, however often a cell trains.
#[test]
#[cfg(target_os = "linux")] // counts the threads in /proc
fn fifty_trainings_in_fifty_cells_leave_no_thread_behind() {
    let _turn = turn();
    let set_up = "\
        use seq2seq::prelude::*;
        let hyperparameters = Hyperparameters { epochs: 1, ..Default::default() };
        let data = sine_cosine(SineCosine { series: 200, ..Default::default() })?;
        let (train, validation) = data.split(0.15)?;
        fn threads() -> usize {
            std::fs::read_dir(\"/proc/self/task\").map_or(0, |tasks| tasks.count())
        }";
    let training = "\
        let mut model = Seq2Seq::stacked(2, &hyperparameters)?;
        fit_with(&mut model, &train, &validation, &hyperparameters, |_, _| {})?;
        println!(\"{}\", threads());";
    let mut cells = vec![set_up];
    cells.extend([training; 50]);
    let path = temporary("fifty_cells", &cells);
    expect_success(&workbook(&["run", "--save", path.to_str().unwrap()]));
    let notebook = read(&path);
    let threads: Vec<usize> =
        notebook_outputs(&notebook).map(|printed| printed.trim().parse().unwrap()).collect();
    assert_eq!(threads.len(), 50);
    assert!(threads[0] > 1, "no pool, or nothing was counted: {threads:?}");
    assert!(threads.iter().all(|&count| count == threads[0]), "{threads:?}");
}

// ---- bad input -------------------------------------------------------------------------------

#[test]
fn wrong_arguments_say_what_is_allowed() {
    for (arguments, expected) in [
        (&["run", "notebooks/none.ipynb"][..], "there is no notebook notebooks/none.ipynb"),
        (&["run", "Cargo.toml"], "Cargo.toml is not a notebook"),
        (&["run"], "NOTEBOOK"),
        (&["run", "--save", "--replace", "a", "b", "x.ipynb"], "cannot be used with"),
        (&["run", "--save", "-p", "a=1", "x.ipynb"], "cannot be used with"),
        (&["run", "--save", "--output", "y.ipynb", "x.ipynb"], "cannot be used with"),
        (&["run", "--replace", "a"], "2 values required"),
        (&["fly"], "unrecognized subcommand"),
        (&["lab", "--port", "many"], "\"many\" is not a port"),
    ] {
        let message = expect_failure(&workbook(arguments));
        assert!(message.contains(expected), "{arguments:?} says:\n{message}");
    }
}

#[test]
fn a_text_to_replace_must_occur() {
    let path = temporary("replace", &["let a = 1;"]);
    let output = workbook(&["run", "--replace", "let z", "let y", path.to_str().unwrap()]);
    let message = expect_failure(&output);
    assert!(message.contains("no code cell contains 'let z'"), "{message}");
}

#[test]
fn a_port_in_use_is_refused() {
    let taken = TcpListener::bind(("localhost", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let message = expect_failure(&workbook(&["lab", "--no-browser", "--port", &port]));
    assert!(message.contains(&format!("port {port} on localhost is not available")), "{message}");
}

/// What `setup` says on a machine that has nothing but the given scripts, by name, in a folder of its
/// own.
#[cfg(unix)]
fn setup_with(name: &str, scripts: &[(&str, &str)]) -> (PathBuf, String) {
    use std::os::unix::fs::PermissionsExt;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let programs = folder.join("programs");
    fs::create_dir_all(&programs).unwrap();
    for (program, script) in scripts {
        let program = programs.join(program);
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let state = folder.join("state");
    let output = command(&["setup"])
        .env("PATH", &programs)
        .env("SEQ2SEQ_WORKBOOK_STATE", &state)
        .output()
        .unwrap();
    (state, expect_failure(&output))
}

#[test]
#[cfg(unix)]
fn set_up_says_what_is_wrong_with_python() {
    let (_, message) = setup_with("no_python", &[]);
    assert!(message.contains("Python is not installed"), "{message}");
    let (_, message) = setup_with("old_python", &[("python3", "echo 3 8")]);
    assert!(message.contains("Python 3.8") && message.contains("3.11 or newer"), "{message}");
    let (state, message) = setup_with("no_venv", &[("python3", "echo 3 12; exit 1")]);
    assert!(message.contains("apt install python3-venv"), "{message}");
    assert!(!state.join("venv").exists(), "something was written");
}

/// The Python here is a script that plays venv and pip; the set-up that comes through with Python
/// stops at Rust, which is not there, and then lacks the sources that the kernel reads.
#[test]
#[cfg(unix)]
fn an_interrupted_set_up_is_completed_by_the_next() {
    let pip = |what: &str| {
        format!(
            "case \"$*\" in \
               '-m venv '*) /bin/mkdir -p \"$3/bin\" && /bin/cp \"$0\" \"$3/bin/python\";; \
               '-m pip '*) {what};; \
               *) echo 3 12;; \
             esac"
        )
    };
    let name = "interrupted";
    fs::remove_dir_all(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)).ok();
    let (state, message) = setup_with(name, &[("python3", &pip("echo no network; exit 1"))]);
    assert!(message.contains("pip failed") && message.contains("no network"), "{message}");
    assert!(state.join("venv").exists() && !state.join("venv/complete").exists());

    let (state, message) = setup_with(name, &[("python3", &pip("echo Collecting all==1.0"))]);
    assert!(message.contains("cannot run rustc"), "{message}");
    assert!(state.join("venv/complete").exists());

    let (_, message) = setup_with(name, &[("rustc", "echo /no/such/toolchain")]);
    assert!(message.contains("/no/such/toolchain has none"), "{message}");
    assert!(message.contains("rustup component add rust-src"), "{message}");
}

/// Reads the environment that an image brings along, and leaves it as it is when it does not fit.
#[test]
fn a_python_environment_from_outside_has_to_have_jupyterlab() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_environment");
    let output = command(&["setup"])
        .env("SEQ2SEQ_WORKBOOK_STATE", folder.join("state"))
        .env("SEQ2SEQ_WORKBOOK_PYTHON", &folder)
        .output()
        .unwrap();
    let message = expect_failure(&output);
    assert!(message.contains("no Python environment with JupyterLab"), "{message}");
}

/// Somebody opens the notebook on prices too early.
#[test]
#[cfg(unix)]
fn the_kernel_for_prices_says_when_it_is_not_ready() {
    let _turn = turn();
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand_in");
    fs::remove_dir_all(&state).ok();
    fs::create_dir_all(&state).unwrap();
    let venv = root().join("target/workbook/venv");
    std::os::unix::fs::symlink(&venv, state.join("venv")).unwrap();
    let output =
        python("stand_in.py").arg(&state).env("SEQ2SEQ_WORKBOOK_STATE", &state).output().unwrap();
    expect_success(&output);
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let expected = ["still being compiled", "could not be compiled", "polars is ready. Restart"];
    assert_eq!(answers.len(), expected.len());
    for (answer, expected) in answers.iter().zip(expected) {
        assert_eq!(answer["status"], "error", "{answer}");
        assert!(text(&answer["evalue"]).contains(expected), "{answer}");
    }
}

// ---- help ------------------------------------------------------------------------------------

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn command<T: AsRef<str>>(arguments: &[T]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workbook"));
    command
        .args(arguments.iter().map(AsRef::as_ref))
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn workbook<T: AsRef<str>>(arguments: &[T]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs the launcher with each of these arguments, two at a time: while one compiles a cell, another
/// can train.
fn expect_successes(runs: Vec<Vec<String>>) {
    let runs = Mutex::new(runs.into_iter());
    let next = || runs.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(arguments) = next() {
                    expect_success(&workbook(&arguments));
                }
            });
        }
    });
}

fn expect_failure(output: &Output) -> String {
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "this should have failed, and said:\n{message}");
    message
}

fn notebooks_in(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root().join(folder))
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

fn path_text(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn cells(notebook: &Value) -> &[Value] {
    notebook["cells"].as_array().unwrap()
}

/// What the cells of a saved notebook printed, cell by cell; silent cells are left out.
fn notebook_outputs(notebook: &Value) -> impl Iterator<Item = String> {
    let printed = |cell: &Value| {
        let outputs = cell["outputs"].as_array()?;
        let texts: String = outputs.iter().map(|output| text(&output["text"])).collect();
        (!texts.is_empty()).then_some(texts)
    };
    cells(notebook).iter().filter_map(printed)
}

/// What the checks in the output of a cell say: whether the target is reached.
fn verdicts(cell: &Value) -> Vec<bool> {
    let outputs = cell["outputs"].as_array().into_iter().flatten();
    let printed: Vec<String> = outputs.map(|output| text(&output["text"])).collect();
    let verdict = |line: &str| {
        let unsolved = line.starts_with("not yet");
        (unsolved || line.starts_with("passed:") || line == "the same").then_some(!unsolved)
    };
    printed.iter().flat_map(|printed| printed.lines()).filter_map(verdict).collect()
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

/// Writes a notebook that declares parameters, shows them, and fails where the seed is 0.
fn with_parameters(name: &str) -> PathBuf {
    let declared = "\
        let hidden_size: usize = 12; // units
        let learning_rate: f64 = 0.001;
        let seed: u64 = 42;
        let penalty: Option<f64> = None;
        let name: &str = \"none\";";
    let shown = "\
        let sizes: [usize; 1] = [hidden_size];
        println!(\"{sizes:?} {learning_rate:?} {seed} {penalty:?} {name}\");";
    let path = temporary(name, &[declared, shown, "assert_ne!(seed, 0);"]);
    let mut notebook = read(&path);
    notebook["cells"][1]["metadata"] = json!({"tags": ["parameters"]});
    fs::write(&path, notebook.to_string()).unwrap();
    path
}

/// Writes a notebook with the `:dep` line and these cells, which start to count at 2.
fn temporary(name: &str, sources: &[&str]) -> PathBuf {
    let dependency = format!(":dep seq2seq = {{ path = {:?} }}", root());
    let cells: Vec<Value> = std::iter::once(dependency.as_str())
        .chain(sources.iter().copied())
        .enumerate()
        .map(|(index, source)| {
            json!({
                "cell_type": "code", "id": format!("cell-{index}"), "metadata": {},
                "execution_count": null, "outputs": [], "source": source,
            })
        })
        .collect();
    let notebook = json!({
        "cells": cells,
        "metadata": {"kernelspec": {
            "display_name": "Rust (seq2seq)", "language": "rust", "name": "seq2seq-rust",
        }},
        "nbformat": 4, "nbformat_minor": 5,
    });
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.ipynb"));
    fs::write(&path, notebook.to_string()).unwrap();
    path
}
