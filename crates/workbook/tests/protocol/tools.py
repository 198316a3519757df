"""Other tools of Jupyter's run the workbook's notebooks."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from kernel import NAME, expect, scenario


def notebook(folder, name, *sources, parameters=None):
    """Writes a notebook with these cells; the one with the index `parameters` declares parameters."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    if parameters is not None:
        cells[parameters].metadata["tags"] = ["parameters"]
    kernelspec = {"name": NAME, "display_name": "Rust (seq2seq)", "language": "rust"}
    path = Path(folder, name)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec}), path)
    return path


def program(name, *arguments):
    """Runs a program of the Python environment, with time for the kernel to start."""
    command = [sys.executable, Path(sys.prefix, "bin", name), *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)


def tools(path, out):
    """The tools that run a notebook, with the arguments by which they write another."""
    convert = "--to", "notebook", "--execute", "--ExecutePreprocessor.startup_timeout=600"
    return [
        ("jupyter-execute", "--startup_timeout=600", "--output", out, path),
        ("jupyter-nbconvert", *convert, "--output", out, path),
        ("papermill", "--no-progress-bar", "--start-timeout", "600", path, out),
    ]


@scenario
def tools_stop_at_the_first_failing_cell(_kernel, _):
    """jupyter execute, nbconvert and papermill end with an error, name the cell, and run no other."""
    with tempfile.TemporaryDirectory() as folder:
        trace, failing = Path(folder, "trace"), 'panic!("out of luck");'
        cells = "let a = 1;", failing, f'std::fs::write({json.dumps(str(trace))}, "ran")?;'
        path = notebook(folder, "failing.ipynb", *cells)
        for name, *arguments in tools(path, Path(folder, "out.ipynb")):
            ended = program(name, *arguments)
            expect(ended.returncode != 0, f"{name} fails", ended)
            expect("out of luck" in ended.stderr, f"{name} says why", ended.stderr)
            named = "In [2]" if name == "papermill" else failing
            expect(named in ended.stderr, f"{name} names the cell: {named}", ended.stderr)
            expect(not trace.exists(), f"{name} does not run the next cell")


@scenario
def tools_run_a_notebook_that_is_fine(_kernel, _):
    """jupyter execute, nbconvert and papermill succeed, and keep the outputs."""
    with tempfile.TemporaryDirectory() as folder:
        path = notebook(folder, "fine.ipynb", 'eprintln!("a warning");\nprint!("no line end");', "6 * 7")
        out = Path(folder, "out.ipynb")
        for name, *arguments in tools(path, out):
            ended = program(name, *arguments)
            expect(ended.returncode == 0, f"{name} succeeds", ended)
            first, second = nbformat.read(out, 4).cells
            printed = [output.text for output in first.outputs if output.name == "stdout"]
            expect(printed == ["no line end"], f"{name} keeps the text", first.outputs)
            expect(second.outputs[0].data["text/plain"] == "42", f"{name} keeps the result", second.outputs)
            out.unlink()


@scenario
def papermill_sets_parameters(_kernel, _):
    """papermill's -p sets typed values in a cell of its own, and refuses what does not fit."""
    with tempfile.TemporaryDirectory() as folder:
        declared = """\
let hidden_size: usize = 12; // units
let learning_rate: f64 = 0.001;
let seed: u64 = 42;
let name: &str = "none";
let penalty: Option<f64> = None;"""
        shown = """\
let sizes: [usize; 1] = [hidden_size];
println!("{sizes:?} {learning_rate:?} {seed} {name} {penalty:?}");"""
        path, out = notebook(folder, "in.ipynb", declared, shown, parameters=0), Path(folder, "out.ipynb")
        papermill = tools(path, out)[-1]
        ended = program(*papermill, "-p", "hidden_size", "20", "-p", "learning_rate", "1",
                        "-p", "name", 'a "b"', "-p", "penalty", "0.5")
        expect(ended.returncode == 0, "papermill succeeds", ended)
        cells = nbformat.read(out, 4).cells
        expect(cells[1].metadata.tags == ["injected-parameters"], "the injected cell", cells[1])
        printed = cells[2].outputs[0].text
        expect(printed == '[20] 1.0 42 a "b" Some(0.5)\n', "the values", printed)
        ended = program(*papermill, "-p", "hidden_size", "1.5")
        expect(ended.returncode != 0 and "hidden_size has the type usize" in ended.stderr, "refused", ended)
        ended = program("papermill", "--help-notebook", path)
        expect("hidden_size: usize (default 12)" in ended.stdout, "papermill lists them", ended)
