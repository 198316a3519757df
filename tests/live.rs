//! What a cell shows while it runs: marks for the workbook's kernel, lines for everybody else.

use seq2seq::plot::Picture;
use seq2seq::prelude::*;
use serde_json::Value;
use std::process::Command;
use std::thread::{sleep, spawn};
use std::time::Duration;

const MARK: &str = "SEQ2SEQ_DISPLAY ";

/// What the test `name` prints when it runs in a process of its own, in which these variables are set.
fn output_of(name: &str, variables: &[&str]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]).env("IN_A_PROCESS_OF_ITS_OWN", "1");
    for variable in ["SEQ2SEQ_NOTEBOOK", "EVCXR_IS_RUNTIME"] {
        match variables.contains(&variable) {
            true => command.env(variable, "1"),
            false => command.env_remove(variable),
        };
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn in_a_process_of_its_own() -> bool {
    std::env::var_os("IN_A_PROCESS_OF_ITS_OWN").is_some()
}

/// The marks in `text`, and the text without them.
fn marks(text: &str) -> (Vec<Value>, String) {
    let (mut marks, mut rest) = (Vec::new(), String::new());
    for line in text.split_inclusive('\n') {
        match line.split_once(MARK) {
            Some((before, json)) => {
                marks.push(serde_json::from_str(json).unwrap());
                rest += before;
            }
            None => rest += line,
        }
    }
    (marks, rest)
}

fn data(series: usize) -> (Dataset, Dataset) {
    let data = sine_cosine(SineCosine { series, ..Default::default() }).unwrap();
    WindowScaler::fit_transform(&data).unwrap().1.split(0.25).unwrap()
}

fn train(hyperparameters: &Hyperparameters) -> Result<History> {
    let (train, validation) = data(200);
    let mut model = Seq2Seq::stacked(2, hyperparameters).unwrap();
    fit(&mut model, &train, &validation, hyperparameters)
}

fn svg(mark: &Value) -> &str {
    mark["data"]["image/svg+xml"].as_str().unwrap()
}

/// One output, first shown and then renewed; only its last state has a bitmap.
#[track_caller]
fn check_one_output(marks: &[Value]) {
    let (last, before) = marks.split_last().unwrap();
    for (index, mark) in marks.iter().enumerate() {
        assert_eq!(mark["update"], index > 0);
        assert_eq!(mark["display_id"], marks[0]["display_id"]);
        assert!(!mark["display_id"].as_str().unwrap().is_empty());
        assert!(mark["data"]["text/plain"].is_string());
        let alt = mark["metadata"]["image/svg+xml"]["alt"].as_str().unwrap();
        assert!(alt.starts_with("Training: "), "{alt}");
        let svg = roxmltree::Document::parse(svg(mark)).unwrap();
        assert_eq!(svg.root_element().attribute("aria-label"), Some(alt));
    }
    for mark in before {
        assert!(mark["data"].get("image/png").is_none());
    }
    assert!(last["data"]["image/png"].as_str().unwrap().starts_with("iVBOR"));
    assert_eq!(last["metadata"]["image/png"]["alt"], last["metadata"]["image/svg+xml"]["alt"]);
}

#[test]
fn in_a_notebook_fit_is_one_output_that_is_renewed() {
    let seconds = 1.5;
    if in_a_process_of_its_own() {
        let limit = Some(seconds);
        let long = Hyperparameters { epochs: 1_000_000, max_seconds: limit, ..Default::default() };
        train(&long).unwrap();
        return;
    }
    let name = "in_a_notebook_fit_is_one_output_that_is_renewed";
    let (marks, text) = marks(&output_of(name, &["SEQ2SEQ_NOTEBOOK"]));
    check_one_output(&marks);
    // Four a second, and the last state.
    assert!((2..=4 * 2 + 1).contains(&marks.len()), "{} marks", marks.len());
    assert!(svg(&marks[0]).contains("s to go"));
    assert!(text.contains("training part") && text.contains("best validation MSE"), "{text}");
    assert!(!text.contains("/1000000 ["), "a line an epoch: {text}");
}

#[test]
fn a_short_training_shows_its_last_state_only() {
    if in_a_process_of_its_own() {
        train(&Hyperparameters { epochs: 3, ..Default::default() }).unwrap();
        return;
    }
    let name = "a_short_training_shows_its_last_state_only";
    let (marks, _) = marks(&output_of(name, &["SEQ2SEQ_NOTEBOOK"]));
    check_one_output(&marks);
    assert_eq!(marks.len(), 1);
    let text = marks[0]["data"]["text/plain"].as_str().unwrap();
    assert!(text.starts_with("epoch 3/3 [###############]  train MSE "), "{text}");
    assert!(svg(&marks[0]).contains("epoch 3 of 3, train MSE"), "{}", svg(&marks[0]));
}

#[test]
fn an_interrupted_training_shows_how_far_it_came() {
    if in_a_process_of_its_own() {
        spawn(|| {
            sleep(Duration::from_millis(700));
            signal_hook::low_level::raise(signal_hook::consts::SIGINT).unwrap();
        });
        let endless = Hyperparameters { epochs: usize::MAX, ..Default::default() };
        assert!(matches!(train(&endless), Err(Error::Interrupted { .. })));
        // What begins afterwards in the same cell shows nothing.
        assert!(matches!(train(&endless), Err(Error::Interrupted { .. })));
        return;
    }
    let name = "an_interrupted_training_shows_how_far_it_came";
    let (marks, text) = marks(&output_of(name, &["SEQ2SEQ_NOTEBOOK", "EVCXR_IS_RUNTIME"]));
    check_one_output(&marks);
    let last = marks.last().unwrap();
    assert!(last["data"]["text/plain"].as_str().unwrap().starts_with("interrupted "));
    assert!(svg(last).contains("interrupted ") && svg(last).contains("validation MSE"));
    assert_eq!(text.matches("training part").count(), 1, "{text}");
}

#[test]
fn a_training_that_diverges_shows_how_far_it_came() {
    if in_a_process_of_its_own() {
        let (train, validation) = data(200);
        let huge = train.future().iter().map(|value| value * 1e25).collect();
        let train = Dataset::new(train.past().to_vec(), huge, 10, 10, 2).unwrap();
        let hyperparameters = Hyperparameters { epochs: 3, ..Default::default() };
        let mut model = Seq2Seq::stacked(2, &hyperparameters).unwrap();
        let error = fit(&mut model, &train, &validation, &hyperparameters).unwrap_err();
        assert!(error.to_string().contains("diverged"), "{error}");
        return;
    }
    let name = "a_training_that_diverges_shows_how_far_it_came";
    let (marks, _) = marks(&output_of(name, &["SEQ2SEQ_NOTEBOOK"]));
    check_one_output(&marks);
    let text = marks.last().unwrap()["data"]["text/plain"].as_str().unwrap();
    assert!(text.starts_with("ended by an error "), "{text}");
}

#[test]
fn elsewhere_fit_prints_a_line_an_epoch() {
    if in_a_process_of_its_own() {
        train(&Hyperparameters::default()).unwrap();
        return;
    }
    for variables in [&[][..], &["EVCXR_IS_RUNTIME"]] {
        let text = output_of("elsewhere_fit_prints_a_line_an_epoch", variables);
        assert!(!text.contains(MARK.trim()), "{text}");
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("epoch ")).collect();
        assert_eq!(lines.len(), 15, "{text}");
        assert!(lines[2].starts_with("epoch  3/15 [###------------]  train MSE 0."), "{text}");
        assert!(lines[2].contains("  validation MSE 0.") && lines[2].ends_with(" s"), "{text}");
        assert!(text.contains("best validation MSE"), "{text}");
    }
}

/// A network on the tape, and no validation part.
#[test]
fn every_training_shows_its_progress() {
    if in_a_process_of_its_own() {
        let (train, _) = data(200);
        let hyperparameters = Hyperparameters { epochs: 3, ..Default::default() };
        let mut dense = Dense::new(2, 2, &mut Initializer::new(1), &Cpu::default()).unwrap();
        let trainer = Trainer::new(&hyperparameters);
        trainer.fit_on_tape(&mut dense, &train, Dense::forward).unwrap();
        return;
    }
    let name = "every_training_shows_its_progress";
    let text = output_of(name, &[]);
    assert!(text.contains("training on dfdx's tape") && !text.contains("validation MSE"), "{text}");
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("epoch ")).collect();
    assert!(lines.len() == 3 && lines[2].starts_with("epoch 3/3 [###############]  train MSE "));
    let (marks, _) = marks(&output_of(name, &["SEQ2SEQ_NOTEBOOK"]));
    check_one_output(&marks);
    assert!(!svg(&marks[0]).contains("alidation"), "{}", svg(&marks[0]));
}

fn two_pictures() -> [Picture; 2] {
    [1, 2].map(|steps| plot::unrolled(&[3], steps).unwrap())
}

#[test]
fn a_picture_is_shown_and_replaced_in_the_middle_of_a_cell() {
    let [first, second] = two_pictures();
    if in_a_process_of_its_own() {
        print!("an unfinished line ");
        let shown = plot::show(&first);
        println!("between");
        shown.update(&second);
        plot::show(&first);
        second.evcxr_display();
        shown.evcxr_display();
        println!("end");
        return;
    }
    let name = "a_picture_is_shown_and_replaced_in_the_middle_of_a_cell";
    let in_notebook = output_of(name, &["SEQ2SEQ_NOTEBOOK", "EVCXR_IS_RUNTIME"]);
    assert!(!in_notebook.contains("EVCXR_BEGIN"), "{in_notebook}");
    let (marks, text) = marks(&in_notebook);
    assert!(text.contains("an unfinished line between\nend"), "{text}");
    assert_eq!(marks.len(), 4);
    for (mark, picture) in marks.iter().zip([&first, &second, &first, &second]) {
        assert_eq!(svg(mark), picture.svg());
        assert_eq!(mark["metadata"]["image/svg+xml"]["alt"], picture.alt());
        assert_eq!(mark["metadata"]["image/png"]["alt"], picture.alt());
        assert_eq!(mark["data"]["text/plain"], picture.alt());
        assert!(mark["data"]["image/png"].is_string());
    }
    let updates: Vec<_> = marks.iter().map(|mark| mark["update"].as_bool().unwrap()).collect();
    assert_eq!(updates, [false, true, false, false]);
    assert_eq!(marks[0]["display_id"], marks[1]["display_id"]);
    assert_ne!(marks[0]["display_id"], marks[2]["display_id"]);
    assert!(marks[3].get("display_id").is_none());

    let with_another_kernel = output_of(name, &["EVCXR_IS_RUNTIME"]);
    assert!(!with_another_kernel.contains(MARK.trim()));
    assert_eq!(with_another_kernel.matches("EVCXR_BEGIN_CONTENT image/png").count(), 4);

    let in_a_program = output_of(name, &[]);
    assert_eq!(in_a_program.matches("EVCXR_BEGIN_CONTENT image/png").count(), 1, "asked for");
    assert!(!in_a_program.contains(MARK.trim()));
}
