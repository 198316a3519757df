"""A kernel, a client for it, and what the scenarios expect of its answers."""

import json
import os
import queue
import re
import subprocess
import time
from pathlib import Path

from jupyter_client.manager import KernelManager

ROOT = Path(__file__).resolve().parents[4]
STATE = ROOT / "target/workbook"
NAME = "seq2seq-rust"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
MARKS = "EVCXR_", "SEQ2SEQ_"
# Of the frames in a backtrace, those that are not the learner's.
FRAMES = "stack backtrace", "rust_begin_unwind", "core::panicking", "run_user_code", "evcxr", "libc_start"

SET_UP = "use seq2seq::prelude::*;\nlet kept_value = 41;"
TRAINING = """\
let data = sine_cosine(SineCosine { series: 300, ..Default::default() })?;
let (train, validation) = data.split(0.15)?;
let short = Hyperparameters { epochs: 3, ..Default::default() };
let endless = Hyperparameters { epochs: 1_000_000, ..Default::default() };
let mut model = Seq2Seq::stacked(2, &endless)?;"""
# For cells that wait until somebody stops them.
SLEEP = "loop { std::thread::sleep(std::time::Duration::from_millis(50)); }"
FLUSH = "std::io::Write::flush(&mut std::io::stdout())?;"


def scenario(function):
    """Marks what the runner calls, with a kernel and the options of the command line."""
    function.is_scenario = True
    return function


def expect(truth, wanted, found=""):
    if not truth:
        raise AssertionError(f"{wanted}; found: {str(found)[:2000]}" if found != "" else wanted)


def pause(seconds):
    """The code of a cell that waits."""
    return f"std::thread::sleep(std::time::Duration::from_secs_f64({float(seconds)}));"


class Cell:
    """What has come back for a request: the reply's content, and messages with the time of arrival."""

    def __init__(self):
        self.reply = self.idle = None
        self.arrivals = []
        self.begin = time.monotonic()

    def all(self, kind):
        return [content for _, one, content in self.arrivals if one == kind]

    def outputs(self):
        kinds = "stream", "display_data", "update_display_data", "execute_result", "error", "clear_output"
        return [(kind, content) for _, kind, content in self.arrivals if kind in kinds]

    def text(self, name="stdout"):
        return "".join(content["text"] for content in self.all("stream") if content["name"] == name)

    def everything(self):
        """All that a person may read."""
        return ANSI.sub("", json.dumps([self.reply, self.outputs()], default=str))

    def seconds_of(self, text):
        """When a text was there, since the request."""
        seen = ""
        for seconds, kind, content in self.arrivals:
            seen += content["text"] if kind == "stream" else ""
            if text in seen:
                return seconds
        raise AssertionError(f"the text {text!r} did not come; found: {seen!r}")


class Kernel:
    """A running kernel and a client. Backtraces are switched on, and must not be seen."""

    def __init__(self, patience, **environment):
        self.patience = patience
        self.cells = {}
        self.leaks = []
        self.manager = KernelManager(kernel_name=NAME)
        environment = {**os.environ, "RUST_BACKTRACE": "full", **environment}
        self.manager.start_kernel(stdout=subprocess.DEVNULL, env=environment)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=600)
        self.first = self.run(SET_UP, timeout=120)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def send(self, code, **options):
        options = {"allow_stdin": False, **options}
        request = self.client.execute(code, **options)
        self.cells[request] = Cell()
        return request

    def receive(self, seconds=0.05):
        """Takes in the messages that are there, and waits a moment for one."""
        readers = self.client.get_iopub_msg, self.client.get_shell_msg, self.client.get_stdin_msg
        for reader, timeout in zip(readers, (seconds, 0, 0)):
            while True:
                try:
                    message = reader(timeout=timeout)
                except queue.Empty:
                    break
                timeout = 0
                self.sort(message)

    def sort(self, message):
        kind, content = message["msg_type"], message["content"]
        if kind not in ("execute_input", "history_reply", "status"):
            text = json.dumps(content, default=str)
            self.leaks += [f"{kind}: {text[:500]}" for mark in MARKS if mark in text]
        cell = self.cells.get(message["parent_header"].get("msg_id"))
        if cell is None:
            return
        if kind == "status":
            cell.idle = content["execution_state"] == "idle"
        elif kind.endswith("_reply"):
            cell.reply = content
        cell.arrivals.append((time.monotonic() - cell.begin, kind, content))

    def until(self, what, condition, timeout=None):
        """Takes messages in until the condition holds."""
        end = time.monotonic() + (timeout or self.patience)
        while not condition():
            expect(time.monotonic() < end, f"waited {timeout or self.patience} s for {what}")
            expect(self.manager.is_alive(), f"the kernel lives until {what}")
            self.receive()

    def finish(self, request, timeout=None):
        cell = self.cells[request]
        self.until("the end of a cell", lambda: cell.reply is not None and cell.idle, timeout)
        return cell

    def run(self, code, timeout=None, **options):
        return self.finish(self.send(code, **options), timeout)

    def ok(self, code, **options):
        """Runs a cell that must succeed."""
        cell = self.run(code, **options)
        expect(cell.reply["status"] == "ok", f"this cell succeeds: {code}", cell.everything())
        return cell

    def starts(self, code, **options):
        """Sends a cell, and waits until it has printed `started`."""
        request = self.send(f'println!("started");\n{code}', **options)
        self.until("a cell to start", lambda: "started" in self.cells[request].text())
        return request

    def ask(self, method, *arguments, **options):
        """The content of the reply to another request."""
        request = getattr(self.client, method)(*arguments, **options)
        cell = self.cells[request] = Cell()
        self.until(f"the reply to {method}", lambda: cell.reply is not None)
        return cell.reply

    def interrupt(self):
        """Asks for an interrupt, as JupyterLab's button does."""
        message = self.client.session.msg("interrupt_request", {})
        self.client.control_channel.send(message)
        reply = self.client.get_control_msg(timeout=10)
        expect(reply["msg_type"] == "interrupt_reply", "an interrupt_reply", reply["msg_type"])

    def expect_kept(self):
        cell = self.ok('println!("{}", kept_value + 1);')
        expect(cell.text() == "42\n", "the variables of other cells are kept", cell.everything())

    def runtime(self):
        """The process that runs the cells."""
        for process in family(self.manager.provisioner.pid):
            if b"EVCXR_IS_RUNTIME=" in read_bytes(f"/proc/{process}/environ"):
                return process
        raise AssertionError("a process runs the cells")


def family(process):
    yield process
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        for child in read_bytes(path).split():
            yield from family(int(child))


def read_bytes(path):
    try:
        return Path(path).read_bytes()
    except OSError:  # the process has ended
        return b""


def expect_error(cell, name, *texts):
    """One error, told in the same words by the reply and by one output."""
    reply = cell.reply
    expect(reply["status"] == "error", "the reply is an error", cell.everything())
    errors = cell.all("error")
    expect(len(errors) == 1, "one error output", cell.everything())
    for key in "ename", "evalue", "traceback":
        expect(reply.get(key), f"the reply has {key}", reply)
        expect(errors[0][key] == reply[key], f"reply and output agree on {key}", errors[0])
    expect(reply["ename"] == name, f"the name {name}", reply)
    shown = ANSI.sub("", "\n".join(reply["traceback"]))
    for text in texts:
        expect(text in shown, f"the traceback contains {text!r}", shown)
    for frame in FRAMES:
        expect(frame not in shown, f"no frames of the kernel ({frame!r})", shown)
    return shown


def expect_lost(kernel):
    """The next cells run, and say that the variable was lost. Then it is made again."""
    cell = kernel.run('println!("{}", kept_value);')
    shown = expect_error(cell, "CompileError", "kept_value")
    expect("lost" in shown and re.search(r"\[\d+\]", shown), "it was lost, and in which cell", shown)
    kernel.ok(SET_UP)
    kernel.expect_kept()
