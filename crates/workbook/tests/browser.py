"""Opens JupyterLab in headless Chromium and works there as a learner would.

Run by browser.rs, with the workbook's own Python:

    target/workbook/venv/bin/python crates/workbook/tests/browser.py [--screenshots docs | --time NOTEBOOK... --wait 60]

It works on copies of the notebooks in a folder of its own, which are trusted only as far as JupyterLab
trusts a file that somebody has sent.
"""

import argparse
import base64
import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import websocket

ROOT = Path(__file__).resolve().parents[3]
EXERCISE = "exercise_1_sine_cosine.ipynb"
# On two busy cores a kernel can take a minute.
PATIENCE = 300
# Of the DevTools protocol.
SHIFT = 8

# Names for what the checks below ask the page.
HELPERS = """
window.panel = () => [...jupyterapp.shell.widgets('main')].find(widget => widget.context);
window.kernel = () => panel().context.sessionContext.session?.kernel;
window.cells = () => panel().content.widgets;
window.cell = text => cells().find(cell => cell.model.sharedModel.getSource().includes(text));
window.outputs = cell => cell.model.toJSON().outputs ?? [];
window.busy = () => cells().some(cell => cell.model.executionState == 'running' || cell.prompt == '*');
window.show = async cell => {
    const notebook = panel().content;
    notebook.activeCellIndex = notebook.widgets.indexOf(cell);
    await notebook.scrollToCell(cell);
    cell.node.scrollIntoView();
};
// Adds a cell at the end, starts it, and does not wait for it.
window.start = async source => {
    const {content} = panel();
    content.activeCellIndex = content.widgets.length - 1;
    await jupyterapp.commands.execute('notebook:insert-cell-below');
    content.activeCell.model.sharedModel.setSource(source);
    jupyterapp.commands.execute('notebook:run-cell');
};
window.last = () => cells()[cells().length - 1];
window.text = cell => outputs(cell).flatMap(output => output.text ?? []).join('');
// The text below a cell as it is drawn.
window.drawn = cell => cell.node.querySelector('.jp-OutputArea-output')?.textContent.trim() ?? '';
window.errors = cell => outputs(cell).filter(output => output.output_type == 'error');
"""

# A notebook in which the kernel is tried out.
TRIALS = [
    f':dep seq2seq = {{ path = "{ROOT}" }}\nuse seq2seq::prelude::*;\nlet kept_value = 41;',
    'panic!("out of luck");',
    'println!("ran");',
]
TRAINING = """\
let data = sine_cosine(SineCosine::default())?;
let (train, validation) = data.split(0.15)?;
let long = Hyperparameters { epochs: 1000, ..Default::default() };
let endless = Hyperparameters { epochs: 1_000_000, ..long };
let mut model = Seq2Seq::stacked(2, &long)?;"""


class Page:
    """A tab of a Chromium of its own, spoken to in the DevTools protocol."""

    def __init__(self, browser, profile):
        port = free_port()
        self.process = subprocess.Popen(
            [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--window-size=1280,1000", f"--remote-debugging-port={port}", "--remote-allow-origins=*",
             f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pages = wait("the browser", lambda: [
            page for page in json.load(urllib.request.urlopen(f"http://localhost:{port}/json"))
            if page["type"] == "page"])
        self.socket = websocket.create_connection(pages[0]["webSocketDebuggerUrl"], timeout=PATIENCE)
        self.number = 0

    def command(self, method, **parameters):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.number:
                return answer["result"]

    def ask(self, script):
        """The value of a piece of JavaScript; what it throws is thrown here."""
        answer = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def open(self, url):
        """Opens a notebook and waits for its kernel."""
        self.command("Page.navigate", url=url)
        wait("JupyterLab", lambda: self.ask("Boolean(window.jupyterapp)"))
        self.ask(HELPERS)
        wait("the notebook", lambda: self.ask("Boolean(window.panel() && window.panel().content.model)"))
        wait("the kernel", lambda: self.ask("kernel()?.status == 'idle'"))

    def run(self, command):
        """Runs a command of JupyterLab, and waits until the kernel has nothing left to do."""
        self.ask(f"jupyterapp.commands.execute('{command}').then(() => 1)")
        wait(command, lambda: self.ask("kernel().status == 'idle' && !busy()"))

    def screenshot(self, path):
        Path(path).write_bytes(base64.b64decode(self.command("Page.captureScreenshot")["data"]))

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def wait(what, condition):
    """Asks until the answer is yes."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError, RuntimeError):
            answer = condition()
            if answer:
                return answer
        time.sleep(0.2)
    sys.exit(f"waited {PATIENCE} s in vain for: {what}")


def expect(truth, what):
    if not truth:
        sys.exit(f"not so: {what}")
    print(f"ok: {what}", flush=True)


def copy_notebook(source, target):
    """A copy that finds the crate from everywhere, and that JupyterLab does not know."""
    text = re.sub(r'path = \\"[./]+\\"', f'path = \\\\"{ROOT}\\\\"', source.read_text())
    target.write_text(text)


def write_notebook(sources, target):
    code = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    cells = [{**code, "id": f"cell-{i}", "source": source} for i, source in enumerate(sources)]
    kernelspec = {"name": "seq2seq-rust", "display_name": "Rust (seq2seq)", "language": "rust"}
    target.write_text(json.dumps(
        {"cells": cells, "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 5}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--browser", default=shutil.which("chromium") or "google-chrome")
    parser.add_argument("--launcher", default=ROOT / "target/release/workbook")
    parser.add_argument("--screenshots", metavar="FOLDER", help="where to put the README's pictures")
    parser.add_argument("--time", metavar="NOTEBOOK", nargs="+", type=Path, default=[],
                        help="tell the seconds that these take, instead of testing")
    parser.add_argument("--wait", metavar="SECONDS", type=float, default=0,
                        help="before they are opened: the kernel that starts with JupyterLab warms up meanwhile")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        notebooks = Path(folder, "notebooks")
        notebooks.mkdir()
        copy_notebook(ROOT / "notebooks" / EXERCISE, notebooks / EXERCISE)
        copy_notebook(ROOT / "notebooks/solutions" / EXERCISE, notebooks / "solution.ipynb")
        write_notebook(TRIALS, notebooks / "trials.ipynb")
        for i, notebook in enumerate(arguments.time):
            copy_notebook(notebook, notebooks / f"{i}.ipynb")
        port = free_port()
        lab = subprocess.Popen(
            [arguments.launcher, "lab", "--no-browser", "--port", str(port),
             f"--ServerApp.root_dir={notebooks}", "--IdentityProvider.token=",
             "--LabApp.expose_app_in_browser=True"],
            stdout=subprocess.DEVNULL, stderr=Path(folder, "lab.log").open("w"))
        stack.callback(lab.wait)
        stack.callback(lab.terminate)
        url = f"http://localhost:{port}"
        wait("the server", lambda: urllib.request.urlopen(f"{url}/api").status == 200)
        page = Page(arguments.browser, Path(folder, "profile"))
        stack.callback(page.close)
        time.sleep(arguments.wait)
        for i, notebook in enumerate(arguments.time):
            print(f"{notebook}: {measure(page, f'{url}/lab/tree/{i}.ipynb?reset')}", flush=True)
        if not arguments.time:
            work(page, url, arguments.screenshots)


def measure(page, url):
    """What somebody waits for who opens a notebook and runs it."""
    started = time.monotonic()
    seconds = lambda: f"{time.monotonic() - started:.0f} s"
    page.open(url)
    kernel = seconds()
    page.ask("jupyterapp.commands.execute('notebook:clear-all-cell-outputs').then(() => 1)")
    page.ask("Boolean(jupyterapp.commands.execute('notebook:run-all-cells'))")
    wait("a picture", lambda: page.ask(
        "cells().flatMap(outputs).some(output => output.data?.['image/svg+xml'])"))
    picture = seconds()
    wait("the last cell", lambda: page.ask("kernel().status == 'idle' && !busy()"))
    page.ask("panel().context.sessionContext.shutdown().then(() => 1)")
    # Otherwise the page asks whether to leave it.
    page.ask("panel().context.save().then(() => 1)")
    return f"kernel after {kernel}, a picture after {picture}, all cells after {seconds()}"


def work(page, url, screenshots):
    page.open(f"{url}/lab/tree/{EXERCISE}?reset")
    expect(page.ask("kernel().name") == "seq2seq-rust", "an exercise opens on the warm kernel")

    page.run("notebook:run-all-cells")
    errors = page.ask("cells().flatMap(outputs).filter(output => output.output_type == 'error')")
    expect(errors == [], "all cells run without an error")
    pictures = page.ask("cells().flatMap(outputs).filter(output => output.data?.['image/svg+xml']).length")
    expect(pictures >= 5, f"there are pictures ({pictures})")
    expect(shown(page, "plot::losses(&history)"), "the picture of a cell that has run is drawn")
    sheet = "[...document.styleSheets].find(sheet => sheet.href?.endsWith('/custom/custom.css'))"
    expect(page.ask(f"{sheet}?.cssRules.length > 0"), "the compiler's messages have the launcher's colours")
    if screenshots:
        page.ask("jupyterapp.commands.execute('application:toggle-left-area').then(() => 1)")
        page.ask("show(cell('plot::predictions'))")
        time.sleep(1)
        page.screenshot(Path(screenshots, "jupyterlab.png"))

    curve = "JSON.stringify(outputs(cell('plot::losses(&history)')))"
    before = page.ask(curve)
    edited = """(() => {
        const source = cell('let hidden_size: usize = 12;').model.sharedModel;
        source.setSource(source.getSource().replace('usize = 12;', 'usize = 24;'));
        return cell('let hidden_size: usize = 24;') != null;
    })()"""
    expect(page.ask(edited), "the hidden size is edited")
    started = time.monotonic()
    page.run("notebook:run-all-cells")
    expect(page.ask(curve) not in (before, "[]"), "another hidden size gives another curve")
    print(f"    the whole notebook again: {time.monotonic() - started:.1f} s")

    # As somebody types: the start of a name, then Tab.
    page.ask("""(async () => {
        const {content, context} = panel();
        content.activeCellIndex = content.widgets.length - 1;
        await jupyterapp.commands.execute('notebook:insert-cell-below');
        content.activeCell.model.sharedModel.setSource('WindowSca');
        await jupyterapp.commands.execute('notebook:enter-edit-mode');
        content.activeCell.editor.focus();
        content.activeCell.editor.setCursorPosition({line: 0, column: 9});
    })()""")
    press(page, "Tab", 9)
    texts = "[...document.querySelectorAll('.jp-Completer-item')].map(item => item.textContent)"
    wait("the completions", lambda: any("WindowScaler" in text for text in page.ask(texts)))
    expect(True, "Tab completes a name of the crate")
    press(page, "Escape", 27)

    # In the middle of a name, where evcxr by itself has no answer.
    page.ask("""(async () => {
        const training = cell('= fit(');
        await show(training);
        await jupyterapp.commands.execute('notebook:enter-edit-mode');
        training.editor.focus();
        const index = training.model.sharedModel.getSource().indexOf('fit(') + 1;
        training.editor.setCursorPosition(training.editor.getPositionAt(index));
    })()""")
    press(page, "Tab", 9, SHIFT)
    tooltip = "document.querySelector('.jp-Tooltip')?.textContent ?? ''"
    wait("the documentation", lambda: words(documentation_of("fit")) in words(page.ask(tooltip)))
    expect(True, "Shift-Tab shows the documentation of a function of the crate")
    press(page, "Escape", 27)

    # Otherwise the page asks whether to leave it.
    page.ask("panel().context.save()")
    page.open(f"{url}/lab/tree/solution.ipynb?reset")
    untrusted = "cells().filter(cell => cell.model.type == 'code' && !cell.model.trusted).length"
    expect(page.ask(untrusted) > 0, "a notebook that comes from elsewhere is not trusted")
    expect(shown(page, "plot::losses(&history)"), "its pictures are drawn all the same")

    page.ask("panel().context.save()")
    page.open(f"{url}/lab/tree/trials.ipynb?reset")
    run_all_stops_at_a_failing_cell(page)
    start(page, TRAINING)
    wait_for_cells(page)
    many_lines_and_a_picture_are_there(page)
    a_counter_moves(page)
    the_stop_button_keeps_variables(page)
    the_loss_curve_grows(page)


def start(page, source):
    page.ask(f"start({json.dumps(source)})")


def wait_for_cells(page):
    wait("the last cell", lambda: page.ask("kernel().status == 'idle' && !busy()"))


def run_all_stops_at_a_failing_cell(page):
    page.run("notebook:run-all-cells")
    names = page.ask("errors(cell('out of luck')).map(error => error.ename)")
    expect(names == ["Panic"], f"a panic is an error ({names})")
    expect(page.ask("outputs(last())") == [], "Run All stops at a cell that fails")


def many_lines_and_a_picture_are_there(page):
    start(page, 'for i in 0..5000 { println!("line {i}"); }\nplot::examples(&data, 1)?')
    wait("the picture", lambda: page.ask("outputs(last()).some(output => output.data?.['image/svg+xml'])"))
    expected = "".join(f"line {i}\n" for i in range(5000))
    expect(page.ask("text(last())") == expected, "5000 lines are there")
    expect(shown(page, "line {i}"), "the picture after them is drawn")


def a_counter_moves(page):
    start(page, """\
for i in 0..40 {
    print!("\\rstep {i:02}");
    std::io::Write::flush(&mut std::io::stdout())?;
    std::thread::sleep(std::time::Duration::from_millis(100));
}""")
    seen = {wait("the counter", lambda: page.ask("busy() && drawn(last())"))}
    wait("the next step", lambda: page.ask("busy()") and (seen.add(page.ask("drawn(last())")) or len(seen) > 1))
    expect(all(re.fullmatch(r"step \d\d", text) for text in seen), f"a counter is seen to move ({sorted(seen)})")
    wait_for_cells(page)
    expect(page.ask("drawn(last())") == "step 39", "its last step stays")


def the_stop_button_keeps_variables(page):
    start(page, 'println!("started");\nlet history = fit(&mut model, &train, &validation, &endless)?;')
    wait("the training", lambda: page.ask("text(last()).includes('started')"))
    started = time.monotonic()
    page.ask("Boolean(jupyterapp.commands.execute('notebook:interrupt-kernel'))")
    wait_for_cells(page)
    names = page.ask("errors(last()).map(error => error.ename)")
    expect(names == ["Interrupted"], f"the stop button ends a training ({time.monotonic() - started:.1f} s, {names})")
    start(page, 'println!("{} {}", kept_value, model.predict(&validation)?.len() > 0);')
    wait_for_cells(page)
    expect(page.ask("text(last())") == "41 true\n", "the variables and the model are kept")


def the_loss_curve_grows(page):
    start(page, "let history = fit(&mut model, &train, &validation, &long)?;")
    # In the notebook, and on the page.
    state = "[JSON.stringify(outputs(last()).filter(output => output.data)), last().outputArea.node.innerHTML]"
    first = wait("the curve", lambda: page.ask("busy()") and (now := page.ask(state))[0] != "[]" and now)
    wait("a longer curve", lambda: page.ask("busy()") and all(
        one != other for one, other in zip(first, page.ask(state))))
    expect(True, "the loss curve is seen to grow")
    wait_for_cells(page)
    expect(page.ask("outputs(last()).filter(output => output.data).length") == 1, "it is one output at the end")


def shown(page, source):
    """Whether the cell's picture is drawn: an image with a size."""
    script = f"""(async () => {{
        const wanted = cell({json.dumps(source)});
        await show(wanted);
        const image = wanted.node.querySelector('.jp-OutputArea-output img');
        const svg = wanted.node.querySelector('.jp-OutputArea-output svg');
        return (image?.naturalWidth ?? 0) > 100 || (svg?.getBoundingClientRect().width ?? 0) > 100;
    }})()"""
    return wait(f"the picture of {source}", lambda: page.ask(script))


def documentation_of(function):
    """The first line of a function's documentation, as it stands in the crate."""
    source = (ROOT / "src/train/fit.rs").read_text()
    return re.search(rf"\n\n/// (.*)\n(?:///.*\n)*pub fn {function}\b", source)[1]


def words(text):
    """Without the marks that a page leaves out."""
    return " ".join(re.findall(r"\w+", text))


def press(page, key, code, modifiers=0):
    for kind in ["rawKeyDown", "keyUp"]:
        page.command("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                     modifiers=modifiers)


if __name__ == "__main__":
    main()
