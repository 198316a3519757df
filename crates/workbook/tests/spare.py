"""Checks how a spare kernel is kept, taken and ended, in Jupyter's own client.

Run by spare.rs with the workbook's own Python:

    target/workbook/venv/bin/python crates/workbook/tests/spare.py

It works in a folder of its own beside the workbook's, with the same seed, so that a lab that is open is
not disturbed.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).resolve().parents[3]
LAUNCHER = ROOT / "target/release/workbook"
SEED = ROOT / "target/workbook/seed"
# As deep as the workbook's: shared objects name their libraries by relative paths.
STATE = ROOT / "target/workbook-spare"
KERNELS = ROOT / "target/workbook/venv/share/jupyter/kernels"
ENVIRONMENT = {**os.environ, "SEQ2SEQ_WORKBOOK_STATE": str(STATE)}
# On two busy cores a kernel can take a minute.
PATIENCE = 120
# What has to end with the test.
STARTED = []


def expect(truth, what, found=""):
    if not truth:
        raise AssertionError(f"not so: {what} {found}")
    print(f"ok: {what}", flush=True)


def wait(what, condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s in vain for: {what}\n{log()}")


def log():
    with contextlib.suppress(OSError):
        return (STATE / "keeper.log").read_text()


def lives(process):
    """Whether a process runs; one that has ended, and was not asked for that, does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def parent_is(process, condition):
    with contextlib.suppress(OSError):
        return condition(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return False


def family(process):
    yield process
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                yield from family(int(child))


def folders():
    return sorted(STATE.glob("kernel-*"))


def spares():
    """The folders of the kernels that wait for somebody."""
    return [path for path in folders() if (path / "handover/socket").exists()]


def number(folder):
    return int(folder.name.removeprefix("kernel-"))


class Keeper:
    """A keeper, and a process that stands for the lab."""

    def __init__(self, *options):
        script = '"$@" & exec sleep 1000'
        self.lab = subprocess.Popen(
            ["sh", "-c", script, "sh", LAUNCHER, "spare", *options],
            env=ENVIRONMENT, stdin=subprocess.DEVNULL, stderr=(STATE / "keeper.log").open("a"))
        STARTED.append(self.lab)
        self.process = wait("the keeper", lambda: list(family(self.lab.pid))[1:], 10)[0]

    def end_lab(self):
        """Ends the lab, and waits until its keeper and the kernel that nobody has taken have followed."""
        is_taken = lambda process: (STATE / f"kernel-{process}/handover/taken").exists()
        ending = [process for process in family(self.process) if not is_taken(process)]
        ending = [process for process in ending if not parent_is(process, is_taken)]
        self.lab.kill()
        self.lab.wait()
        wait("the keeper's end", lambda: not any(map(lives, ending)), 20)

    def spare(self):
        return wait("a spare kernel", spares)[0]


class Kernel:
    """What Jupyter makes of a kernel, in a folder."""

    def __init__(self, folder, **environment):
        specs = KernelSpecManager(kernel_dirs=[str(KERNELS)])
        self.manager = KernelManager(kernel_name="seq2seq-rust", kernel_spec_manager=specs)
        self.manager.start_kernel(
            cwd=str(folder), env={**ENVIRONMENT, **environment}, stdout=subprocess.DEVNULL)
        STARTED.append(self.manager.provisioner.process)
        self.pid = self.manager.provisioner.pid
        self.client = self.manager.client()
        self.client.start_channels()

    def connect(self):
        self.client.wait_for_ready(timeout=PATIENCE)
        return self

    def run(self, code):
        """What a cell prints, or the name of its error."""
        printed = []

        def take(message):
            if message["msg_type"] == "clear_output":
                printed.clear()
            elif message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                printed.append(message["content"]["text"])

        reply = self.client.execute_interactive(
            code, output_hook=take, allow_stdin=False, timeout=PATIENCE)["content"]
        return "".join(printed).strip() if reply["status"] == "ok" else reply["ename"]

    def folder(self):
        """The folder of the kernel that answers."""
        return Path(self.run('println!("{}", std::env::var("SEQ2SEQ_WORKBOOK_KERNEL")?);'))

    def here(self):
        return self.run('println!("{}", std::env::current_dir()?.display());')

    def is_cold(self):
        return STATE / f"kernel-{self.pid}" in folders()

    def interrupt(self):
        self.client.control_channel.send(self.client.session.msg("interrupt_request", {}))

    def shut_down(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)

    def kill(self):
        """Ends the process that Jupyter has started, and nothing else."""
        self.client.stop_channels()
        os.kill(self.pid, signal.SIGKILL)
        self.manager.provisioner.process.wait()


def expect_gone(processes, folder, what):
    wait(f"{what}: no process is left", lambda: not any(map(lives, processes)), 20)
    wait(f"{what}: no folder is left", lambda: not folder.exists(), 20)
    print(f"ok: {what}: nothing is left", flush=True)


def a_taken_one(folder):
    """The spare kernel answers as one that was started for the notebook."""
    keeper, second = Keeper(), Keeper()
    spare = keeper.spare()
    wait("the spare kernel to be ready", (spare / "handover/ready").exists)
    expect(spares() == [spare], "two keepers keep one spare kernel", spares())
    kernel = Kernel(folder).connect()
    expect(kernel.folder() == spare, "the spare kernel answers")
    expect(not spares(), "nobody else can take it")
    expect(kernel.here() == str(folder), "a cell is in the folder of the notebook", kernel.here())
    expect(kernel.run(':dep seq2seq = { path = "../../.." }') == "", "a relative path is found")
    expect(kernel.run(':dep seq2seq = { path = ".." }') != "", "and not from another folder")
    kernel.run("use seq2seq::prelude::*;\nlet kept = 41;")
    expect(kernel.run('println!("{}", kept + 1);') == "42", "variables are kept")

    second.end_lab()
    keeper.end_lab()
    expect(kernel.run('println!("{}", kept + 1);') == "42", "a kernel that was taken outlives its keeper")

    # A first interrupt of such a cell is in vain, and the second one ends the process.
    endless = kernel.client.execute(
        'println!("begun"); loop { std::thread::sleep(std::time::Duration::from_millis(50)); }',
        allow_stdin=False)
    until(kernel, endless, "begun")
    kernel.interrupt()
    until(kernel, endless, "not responded")
    kernel.interrupt()
    until(kernel, endless, "ProcessEnded")
    expect(kernel.here() == str(folder), "a new process of the cells is there, too", kernel.here())

    processes = [kernel.pid, *family(number(spare))]
    expect(len(processes) >= 3, "kernel, cells and the process of Jupyter's run", processes)
    kernel.shut_down()
    expect_gone(processes, spare, "after a shutdown")


def until(kernel, request, text):
    """Waits for a text among the outputs of a request."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        message = kernel.client.get_iopub_msg(timeout=PATIENCE)
        is_output = message["msg_type"] in ("stream", "error")
        if is_output and message["parent_header"].get("msg_id") == request:
            if text in json.dumps(message["content"]):
                return
    raise AssertionError(f"{text!r} did not come")


def one_that_is_not_ready(folder):
    """A spare kernel is taken while it warms up. When its holder is killed, it ends."""
    keeper = Keeper()
    spare = keeper.spare()
    kernel = Kernel(folder).connect()
    expect(not (spare / "handover/ready").exists(), "Jupyter has an answer before the kernel is ready")
    expect(kernel.folder() == spare, "a spare kernel that was warming up answers")
    expect(kernel.here() == str(folder), "a cell is in the folder of the notebook", kernel.here())
    kernel.run('std::process::Command::new("sleep").arg("600").spawn()?;')
    processes = list(family(number(spare)))
    expect(len(processes) >= 3, "kernel, cells, and what a cell has started", processes)
    kernel.kill()
    expect_gone(processes, spare, "after the kernel's process was killed")
    keeper.end_lab()


def those_that_are_not_taken(folder):
    """Without a spare kernel that fits, one starts as it always did."""
    keeper = Keeper("--once")
    spare = keeper.spare()
    os.kill(number(spare), signal.SIGKILL)
    wait("the end of the only spare kernel", lambda: not lives(keeper.process), 20)
    expect(spares() == [spare], "a killed kernel leaves its socket")
    cold = Kernel(folder).connect()
    expect(cold.folder().name == f"kernel-{cold.pid}", "another kernel starts")
    expect(not spare.exists(), "and removes what was left")
    keeper.end_lab()

    keeper = Keeper("--once")
    spare = keeper.spare()
    other = Kernel(folder, RUST_LOG="debug")
    wait("a kernel with other variables", other.is_cold)
    expect(spares() == [spare], "a kernel with other variables leaves the spare one alone")
    other.manager.shutdown_kernel(now=True)
    # As if the seed had been built anew.
    os.utime(STATE / "seed/key")
    newer = Kernel(folder)
    wait("a kernel of the new seed", newer.is_cold)
    expect_gone([number(spare), keeper.process], spare, "a spare kernel of an older seed")
    newer.manager.shutdown_kernel(now=True)
    keeper.end_lab()
    expect(cold.run('println!("{}", 6 * 7);') == "42", "the other kernel still answers")
    processes = list(family(cold.pid))
    folder = STATE / f"kernel-{cold.pid}"
    cold.shut_down()
    expect_gone(processes, folder, "after the shutdown of a kernel that was not a spare one")


def one_that_nobody_wants(_):
    """A spare kernel ends with the lab, however its keeper ends."""
    keeper = Keeper()
    spare = keeper.spare()
    processes = [keeper.process, *family(number(spare))]
    keeper.end_lab()
    expect_gone(processes, spare, "after the end of the lab")
    keeper = Keeper()
    spare = keeper.spare()
    processes = list(family(number(spare)))
    os.kill(keeper.process, signal.SIGKILL)
    expect_gone(processes, spare, "after the keeper was killed")
    keeper.end_lab()
    switched_off = subprocess.run(
        [LAUNCHER, "spare"], env={**ENVIRONMENT, "SEQ2SEQ_WORKBOOK_SPARE": "0"}, timeout=20)
    expect(switched_off.returncode == 0, "the keeper can be switched off")


def one_that_is_interrupted_while_it_starts(folder):
    """The cells that wait for a kernel can be given up, and so can the kernel."""
    kernel = Kernel(folder).connect()
    cells = [kernel.client.execute(code, allow_stdin=False) for code in ("let a = 1;", "let b = 1;")]
    time.sleep(1)
    kernel.interrupt()
    replies = {}
    while not replies.keys() >= set(cells):
        message = kernel.client.get_shell_msg(timeout=PATIENCE)
        replies[message["parent_header"].get("msg_id")] = message["content"]
    first, second = [replies[cell] for cell in cells]
    expect(first["status"] == "error" and "has run" in first["evalue"], "the first cell has not run", first)
    expect(second["status"] == "aborted", "the other one is aborted", second)
    processes, own = list(family(kernel.pid)), STATE / f"kernel-{kernel.pid}"
    kernel.shut_down()
    expect_gone(processes, own, "after a shutdown while the kernel starts")


def main():
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir()
    try:
        subprocess.run(["cp", "--archive", "--link", SEED, STATE / "seed"], check=True)
        # Not the workbook's own file: one of the tests changes its time.
        key = STATE / "seed/key"
        shutil.copy2(SEED / "key", STATE / "key")
        key.unlink()
        shutil.move(STATE / "key", key)
        folder = STATE / "a notebook"
        folder.mkdir()
        checks = [
            a_taken_one,
            one_that_is_not_ready,
            those_that_are_not_taken,
            one_that_nobody_wants,
            one_that_is_interrupted_while_it_starts,
        ]
        for check in checks:
            begin = time.monotonic()
            check(folder)
            print(f"{check.__name__}: {time.monotonic() - begin:.0f} s", flush=True)
    except BaseException:
        print(log(), flush=True)
        raise
    finally:
        for process in STARTED:
            process.kill()
        wait("the end of all kernels", lambda: not spares(), 20)
        shutil.rmtree(STATE, ignore_errors=True)
    print("all as expected")


if __name__ == "__main__":
    # Nothing is to be left in the folder of the sources.
    sys.dont_write_bytecode = True
    main()
