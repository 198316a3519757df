//! Interrupts: trainings and predictions end early, and no model is lost.
//!
//! Every test runs in a process of its own, because the flag belongs to the process.

use seq2seq::layers::Parameters;
use seq2seq::prelude::*;
use seq2seq::seq2seq_new_cell as new_cell;
use seq2seq::train::End;
use signal_hook::consts::SIGINT;
use signal_hook::low_level::raise;
use std::cell::Cell as Counter;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// This program again, which runs only the test `name`, as a process that runs a notebook's cells or as
/// a plain program.
fn again(name: &str, notebook: bool) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]);
    command.env("IN_A_PROCESS_OF_ITS_OWN", "1").env("RAYON_NUM_THREADS", "2");
    match notebook {
        true => command.env("EVCXR_IS_RUNTIME", "1"),
        false => command.env_remove("EVCXR_IS_RUNTIME"),
    };
    command
}

fn in_a_process_of_its_own() -> bool {
    std::env::var_os("IN_A_PROCESS_OF_ITS_OWN").is_some()
}

/// Runs `test`, which has this name, as a notebook would.
fn as_cells(name: &str, test: impl FnOnce()) {
    if in_a_process_of_its_own() {
        // Installs the handler, so that a signal that comes early ends nothing but the test.
        let (_, validation) = few();
        model(&settings()).predict(&validation).unwrap();
        return test();
    }
    let output = again(name, true).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
}

fn interrupt() {
    raise(SIGINT).unwrap();
}

fn interrupt_after(time: Duration) {
    spawn(move || {
        sleep(time);
        interrupt();
    });
}

fn few() -> (Dataset, Dataset) {
    let data = sine_cosine(SineCosine { series: 120, ..Default::default() }).unwrap();
    WindowScaler::fit_transform(&data).unwrap().1.split(0.25).unwrap()
}

fn settings() -> Hyperparameters {
    Hyperparameters { batch_size: 30, ..Default::default() }
}

fn endless() -> Hyperparameters {
    Hyperparameters { epochs: usize::MAX, ..settings() }
}

fn model(hyperparameters: &Hyperparameters) -> Seq2Seq {
    Seq2Seq::stacked(2, hyperparameters).unwrap()
}

fn weights(model: &impl Parameters<f32, Cpu>) -> Vec<f32> {
    model.parameters().into_iter().flat_map(|(_, parameter)| parameter.to_vec()).collect()
}

#[track_caller]
fn has_learnt(model: &Seq2Seq, before: &Seq2Seq) {
    let (now, before) = (weights(model), weights(before));
    assert_ne!(now, before);
    assert!(now.iter().all(|weight| weight.is_finite()));
}

#[test]
fn fit_ends_and_the_model_keeps_its_weights() {
    as_cells("fit_ends_and_the_model_keeps_its_weights", || {
        let (train, validation) = few();
        let (mut trained, before) = (model(&endless()), model(&endless()));
        interrupt_after(Duration::from_millis(300));
        let error = fit(&mut trained, &train, &validation, &endless()).unwrap_err();
        let Error::Interrupted { epoch, epochs, step, steps } = error else { panic!("{error}") };
        assert!(epoch > 0 && epochs == usize::MAX && step > 0 && step <= steps && steps == 3);
        has_learnt(&trained, &before);
    });
}

/// The weights are those after the step that it was in, to the last bit.
#[test]
fn the_current_step_is_the_last() {
    as_cells("the_current_step_is_the_last", || {
        let (train, validation) = few();
        let after = |epochs: usize, batch_size: usize| {
            let hyperparameters = Hyperparameters { epochs, batch_size, ..settings() };
            let mut trained = model(&hyperparameters);
            fit_with(&mut trained, &train, &validation, &hyperparameters, |_, _| {}).unwrap();
            weights(&trained)
        };
        let interrupted = |batch_size: usize| {
            let hyperparameters = Hyperparameters { batch_size, ..endless() };
            let mut trained = model(&hyperparameters);
            let after_third = |epoch, _: &_| {
                if epoch == 3 {
                    interrupt();
                }
            };
            let ended = fit_with(&mut trained, &train, &validation, &hyperparameters, after_third);
            new_cell();
            (weights(&trained), ended.unwrap_err().to_string())
        };
        // One step an epoch.
        let all = train.len();
        let (found, error) = interrupted(all);
        assert!(error.starts_with("interrupted after epoch 4 of"), "{error}");
        assert!(error.ends_with("the model keeps the weights it had then"), "{error}");
        assert_eq!(found, after(4, all));
        // Three steps an epoch.
        let (found, error) = interrupted(30);
        assert!(error.starts_with("interrupted in epoch 4 of"), "{error}");
        assert!(error.contains("after step 1 of 3: "), "{error}");
        assert_ne!(found, after(3, 30));
        assert_ne!(found, after(4, 30));
    });
}

#[test]
fn trainings_on_the_tape_end() {
    as_cells("trainings_on_the_tape_end", || {
        let (train, validation) = few();
        let steps = Counter::new(0);
        // 3 steps and 2 predictions an epoch.
        for (interrupt_at, expected) in [
            (2, "interrupted in epoch 1 of 9, after step 2 of 3"),
            (3, "interrupted after epoch 1 of 9"),
            (4, "interrupted after epoch 1 of 9"),
            (6, "interrupted in epoch 2 of 9, after step 1 of 3"),
        ] {
            let hyperparameters = Hyperparameters { epochs: 9, ..settings() };
            let (mut trained, before) = (model(&hyperparameters), model(&hyperparameters));
            steps.set(0);
            let forward = |model: &Seq2Seq, past: Traced| {
                steps.set(steps.get() + 1);
                if steps.get() == interrupt_at {
                    interrupt();
                }
                model.forward(past, 10)
            };
            let ended = fit_on_tape(&mut trained, &train, &validation, &hyperparameters, forward);
            let error = ended.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{interrupt_at}: {error}");
            assert!(steps.get() <= interrupt_at + 1, "{} steps", steps.get());
            has_learnt(&trained, &before);
            new_cell();
        }
    });
}

#[test]
fn a_training_at_every_step_ends() {
    as_cells("a_training_at_every_step_ends", || {
        let (train, validation) = few();
        let mut init = Initializer::new(42);
        let device = Cpu::default();
        let gru = Gru::new(2, &[8], &mut init, &device).unwrap();
        let dense = Dense::new(8, 20, &mut init, &device).unwrap();
        let mut network = (gru, dense);
        let before = weights(&network);
        interrupt_after(Duration::from_millis(300));
        let ended =
            fit_at_every_step(&mut network, &train, &validation, &endless(), |network, past| {
                let (outputs, _) = network.0.forward(past, None)?;
                network.1.forward(outputs)
            });
        let error = ended.unwrap_err();
        assert!(matches!(error, Error::Interrupted { .. }), "{error}");
        assert_ne!(weights(&network), before);
    });
}

#[test]
fn a_loop_over_trainings_ends_and_the_next_cell_trains() {
    as_cells("a_loop_over_trainings_ends_and_the_next_cell_trains", || {
        let (train, validation) = few();
        let hyperparameters = Hyperparameters { epochs: 2, ..settings() };
        let mut epochs = 0;
        let mut ends = Vec::new();
        for _ in 0..5 {
            let mut trained = model(&hyperparameters);
            let ended = fit_with(&mut trained, &train, &validation, &hyperparameters, |_, _| {
                epochs += 1;
                if epochs == 3 {
                    interrupt();
                }
            });
            ends.push(ended.map(|_| ()).map_err(|error| error.to_string()));
        }
        assert_eq!((epochs, &ends[0]), (3, &Ok(())));
        assert!(ends[1].as_ref().unwrap_err().starts_with("interrupted in epoch 2 of 2"));
        for end in &ends[2..] {
            let error = end.as_ref().unwrap_err();
            assert!(error.starts_with("interrupted before the first step of epoch 1 of 2"));
        }
        new_cell();
        let mut trained = model(&hyperparameters);
        fit(&mut trained, &train, &validation, &hyperparameters).unwrap();
    });
}

#[test]
fn an_interrupted_training_is_resumed() {
    as_cells("an_interrupted_training_is_resumed", || {
        let (train, validation) = few();
        let hyperparameters = Hyperparameters { epochs: 1000, ..settings() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("training.safetensors");
        let wanted = path.clone();
        spawn(move || {
            while !wanted.exists() {
                sleep(Duration::from_millis(1));
            }
            interrupt();
        });
        let mut trained = model(&hyperparameters);
        let ended = fit_with_checkpoint(&mut trained, &train, &validation, &hyperparameters, &path);
        assert!(matches!(ended, Err(Error::Interrupted { .. })), "{ended:?}");
        assert!(matches!(resume(&path, &train, &validation), Err(Error::Interrupted { .. })));
        new_cell();
        let (resumed, _) = resume(&path, &train, &validation).unwrap();
        let mut whole = model(&hyperparameters);
        fit_with(&mut whole, &train, &validation, &hyperparameters, |_, _| {}).unwrap();
        assert_eq!(weights(&resumed), weights(&whole));
    });
}

#[test]
fn a_training_in_the_background_stops_for_whoever_waits_and_is_kept() {
    as_cells("a_training_in_the_background_stops_for_whoever_waits_and_is_kept", || {
        let (train, validation) = few();
        let before = model(&endless());
        let training = Training::spawn(&before, &train, &validation, &endless()).unwrap();
        interrupt_after(Duration::from_millis(300));
        let (trained, history) = training.finish().unwrap();
        assert_eq!(history.end(), End::Stopped);
        has_learnt(&trained, &before);
    });
}

#[test]
fn a_training_in_the_background_goes_on_when_nobody_waits() {
    as_cells("a_training_in_the_background_goes_on_when_nobody_waits", || {
        let (train, validation) = few();
        let before = model(&endless());
        let training = Training::spawn(&before, &train, &validation, &endless()).unwrap();
        interrupt();
        let epochs = || training.history().map_or(0, |history| history.epochs().len());
        let (seen, start) = (epochs(), Instant::now());
        while epochs() < seen + 5 {
            assert!(training.is_running() && start.elapsed() < Duration::from_secs(60));
            sleep(Duration::from_millis(5));
        }
        new_cell();
        training.stop();
        training.finish().unwrap();
    });
}

#[test]
fn predictions_end() {
    as_cells("predictions_end", || {
        let large = Hyperparameters { hidden_size: 500, num_layers: 3, ..settings() };
        let data = sine_cosine(SineCosine { series: 5000, ..Default::default() }).unwrap();
        let trained = model(&large);
        interrupt_after(Duration::from_millis(200));
        let ended = trained.predict(&data);
        assert!(matches!(ended, Err(Error::PredictionInterrupted)), "not interrupted");
        assert_eq!(ended.unwrap_err().to_string(), "interrupted: nothing was predicted");
        // It stays so to the end of the cell.
        let few = data.select(0..3).unwrap();
        assert!(matches!(trained.predict(&few), Err(Error::PredictionInterrupted)));
        assert!(matches!(trained.encoder_states(&few), Err(Error::PredictionInterrupted)));
        new_cell();
        trained.predict(&few).unwrap();

        interrupt_after(Duration::from_millis(200));
        let ended = trained.encoder_states(&data);
        assert!(matches!(ended, Err(Error::PredictionInterrupted)), "not interrupted");
        new_cell();

        let small = model(&settings());
        let calls = Counter::new(0);
        let ended = predict_with(&small, &data, |model, past| {
            calls.set(calls.get() + 1);
            interrupt();
            model.forward(past, 10)
        });
        assert!(matches!(ended, Err(Error::PredictionInterrupted)), "not interrupted");
        assert_eq!(calls.get(), 1);

        let settings = AutoregressiveSettings { features: 2, ..Default::default() };
        let autoregressive = Autoregressive::new(settings).unwrap();
        let past = few.past_tensor();
        let ended = autoregressive.forward(past.clone(), 3, Feeding::Own);
        assert!(matches!(ended, Err(Error::PredictionInterrupted)), "not interrupted");
        new_cell();
        autoregressive.forward(past, 3, Feeding::Own).unwrap();
    });
}

/// Series are computed in chunks, so that they can be interrupted; the result is the same, bit for bit.
#[test]
fn chunks_change_nothing() {
    as_cells("chunks_change_nothing", || {
        let large = Hyperparameters { hidden_size: 400, num_layers: 2, ..settings() };
        let data = sine_cosine(SineCosine { series: 300, ..Default::default() }).unwrap();
        let trained = model(&large);
        let (_, states) = trained.encode(data.past_tensor()).unwrap();
        let layers: Vec<Vec<f32>> = states.iter().map(|state| state.as_vec()).collect();
        let series = |series: usize| {
            layers.iter().flat_map(move |layer| layer[series * 400..][..400].iter().copied())
        };
        let at_once: Vec<f32> = (0..300).flat_map(series).collect();
        assert_eq!(trained.encoder_states(&data).unwrap(), at_once);

        let at_once = trained.forward(data.past_tensor(), 10).unwrap();
        let chunked = predict_with(&trained, &data, |model, past| model.forward(past, 10));
        assert_eq!(chunked.unwrap(), Forecast::try_from(at_once).unwrap());
    });
}

/// Starts the test `name` again as a plain program, and waits until it prints `sign`.
fn start(name: &str, sign: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = again(name, false).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(sign) {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended without {sign}");
    }
    (child, lines)
}

fn press_ctrl_c(child: &Child) {
    let done = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(done.success());
}

fn end_of(mut child: Child, lines: BufReader<std::process::ChildStdout>) -> (ExitStatus, String) {
    // Read to the end, so that it does not wait for a reader.
    let text: Vec<String> = lines.lines().map(|line| line.unwrap()).collect();
    (child.wait().unwrap(), text.join("\n"))
}

#[test]
fn in_a_program_the_first_ctrl_c_ends_the_training() {
    if in_a_process_of_its_own() {
        let (train, validation) = few();
        let mut trained = model(&endless());
        let error = fit(&mut trained, &train, &validation, &endless()).unwrap_err();
        println!("{error}");
        // The next training is a new piece of work.
        let one = Hyperparameters { epochs: 1, ..settings() };
        fit_with(&mut trained, &train, &validation, &one, |_, _| {}).unwrap();
        std::process::exit(7);
    }
    let (child, lines) = start("in_a_program_the_first_ctrl_c_ends_the_training", "epoch");
    press_ctrl_c(&child);
    let (status, text) = end_of(child, lines);
    assert_eq!(status.code(), Some(7), "{text}");
    assert!(text.contains("the model keeps the weights it had then"), "{text}");
}

#[test]
fn in_a_program_the_second_ctrl_c_ends_the_program() {
    if in_a_process_of_its_own() {
        let (train, _) = few();
        let _ = predict_with(&model(&settings()), &train, |_, _| {
            println!("at work");
            sleep(Duration::from_secs(600));
            Err(Error::Data("nobody ended it".into()))
        });
        return;
    }
    let (child, lines) = start("in_a_program_the_second_ctrl_c_ends_the_program", "at work");
    press_ctrl_c(&child);
    sleep(Duration::from_millis(200));
    press_ctrl_c(&child);
    let (status, text) = end_of(child, lines);
    assert_eq!(status.code(), Some(130), "{text}");
}

#[test]
fn in_a_program_ctrl_c_does_what_it_did_when_no_work_is_under_way() {
    if in_a_process_of_its_own() {
        let (train, _) = few();
        model(&settings()).predict(&train).unwrap();
        println!("idle");
        sleep(Duration::from_secs(600));
        return;
    }
    let name = "in_a_program_ctrl_c_does_what_it_did_when_no_work_is_under_way";
    let (child, lines) = start(name, "idle");
    press_ctrl_c(&child);
    let (status, text) = end_of(child, lines);
    assert_eq!(status.signal(), Some(SIGINT), "{text}");
}
