"""Runs notebooks in the workbook's kernel, and stops at the first thing that fails.

evcxr answers "ok" to a cell that panicked and to one that ended at a `?`; all that tells is what the
cell wrote to stderr. So everything there is a failure, but the lines in which cargo says what it
compiles.
"""

import argparse
import os
import queue
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager

ANSI = re.compile(r"\x1b\[[0-9;]*m")
COMPILING = re.compile(r"^\s*Compiling \w")
MEANT_TO_FAIL = "raises-exception"
# The kernel reads stderr and the cell's answer from two pipes: the end of a cell can overtake its
# last words.
GRACE_SECONDS = 0.05


class Failure(Exception):
    """What is wrong with a notebook, or with one of its cells."""


class Kernel:
    """A running kernel; what its cells write is collected by cell."""

    def __init__(self, name, folder, timeout):
        self.timeout = timeout
        self.outputs = {}
        self.manager = KernelManager(kernel_name=name)
        # evcxr tells there which settings it found; what goes wrong is on stderr.
        self.manager.start_kernel(cwd=str(folder), stdout=subprocess.DEVNULL)
        self.client = self.manager.client()
        try:
            self.client.start_channels()
            self.client.wait_for_ready(timeout=1800)
        except BaseException as error:
            self.close()
            if isinstance(error, RuntimeError):
                raise Failure(f"the kernel did not start: {error}") from None
            raise

    def close(self):
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel()

    def execute(self, source):
        """Runs a cell, and returns its outputs, which may still grow, and the kernel's answer."""
        request = self.client.execute(source, allow_stdin=False)
        outputs = self.outputs[request] = []
        deadline = time.monotonic() + self.timeout
        while self.receive(0.1) != ("idle", request):
            if time.monotonic() > deadline:
                raise Failure(f"takes longer than {self.timeout} s")
            if not self.manager.is_alive():
                raise Failure("the kernel died")
        while True:
            reply = self.client.get_shell_msg(timeout=10)
            if reply["parent_header"].get("msg_id") == request:
                return outputs, reply["content"]["status"]

    def drain(self):
        """Takes in what arrives after a cell's end."""
        while self.receive(GRACE_SECONDS) is not None:
            pass

    def receive(self, seconds):
        """Takes in one message, and returns the kernel's state if it tells one, and whose it is."""
        try:
            message = self.client.get_iopub_msg(timeout=seconds)
        except queue.Empty:
            return None
        kind, content = message["msg_type"], message["content"]
        request = message["parent_header"].get("msg_id")
        outputs = self.outputs.get(request)
        if kind == "status":
            return content["execution_state"], request
        if outputs is not None and kind in ("stream", "execute_result", "display_data", "error"):
            last = outputs[-1] if outputs else {}
            if kind == "stream" and last.get("name") == content["name"]:
                last["text"] += content["text"]
            else:
                outputs.append(nbformat.v4.output_from_msg(message))
        return kind, request

    def memory(self):
        """The peak resident memory, in MB, of the kernel and of the process that runs the cells."""
        kernel = self.manager.provisioner.pid
        cells = [peak(process) for process in family(kernel) if process != kernel]
        return {"kernel": peak(kernel), "cells": max(cells, default=0)}


class SessionMemory(threading.Thread):
    """Samples the memory of this process and everything that it has started: the kernel, the process
    that runs the cells, and the compiler. A page that several of them share counts once."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak = self.resident = 0
        self.stopped = threading.Event()
        self.start()

    def run(self):
        while not self.stopped.wait(0.1):
            processes = list(family(os.getpid()))
            # As sets, for a process that is about to become another program still has its parent's.
            resident = sum(set(map(resident_memory, processes)))
            # To ask how pages are shared stops a process for a moment, so only at a new peak.
            if resident > self.resident:
                self.resident = resident
                self.peak = max(self.peak, sum(set(map(proportional_memory, processes))))

    def take(self):
        """The peak since it was last asked for, in MB."""
        peak, self.peak, self.resident = self.peak, 0, 0
        return peak


def family(process):
    """A process and all that it has started, directly or not."""
    yield process
    folder = Path(f"/proc/{process}/task")
    try:
        tasks = os.listdir(folder)
    except OSError:  # it has ended
        return
    for task in tasks:
        for child in read(folder / task / "children").split():
            yield from family(int(child))


def read(path):
    """The text of a file below /proc, empty when its process has ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def resident_memory(process):
    """The resident set size of a process, in kB."""
    return kilobytes(Path(f"/proc/{process}/status"), "VmRSS")


def proportional_memory(process):
    """The proportional set size of a process, in MB."""
    return kilobytes(Path(f"/proc/{process}/smaps_rollup"), "Pss") / 1000


def kilobytes(path, name):
    """A number out of a file below /proc; 0 when its process has ended."""
    match = re.search(rf"^{name}:\s+(\d+) kB", read(path), re.MULTILINE)
    return int(match[1]) if match else 0


def peak(process):
    """The peak of a process's resident set size, in MB."""
    return kilobytes(Path(f"/proc/{process}/status"), "VmHWM") / 1000


def complaint(outputs):
    """What the outputs of a cell say about a failure, or None."""
    for output in outputs:
        if output["output_type"] == "error":
            lines = output["traceback"] or [output["evalue"]]
            return ANSI.sub("", "\n".join(lines))
        if output.get("name") == "stderr":
            lines = [line for line in output["text"].splitlines() if not COMPILING.match(line)]
            if lines:
                return "\n".join(lines)
    return None


def verdict(cell, outputs):
    """What is wrong with a cell that has run, or None. A lesson can be about a failure: the cell then
    has Jupyter's own tag for it."""
    message = complaint(outputs)
    if MEANT_TO_FAIL not in cell.metadata.get("tags", []):
        return message
    return None if message else f"has the tag {MEANT_TO_FAIL}, but did not fail"


def run(path, arguments):
    """Runs one notebook, and returns what is wrong with it, cell by cell."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:
        raise Failure(f"is not a valid notebook: {error}") from None
    numbered = [(n, cell) for n, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]
    sources = [cell.source for _, cell in numbered]
    for old, new in arguments.replace:
        if not any(old in source for source in sources):
            raise Failure(f"no code cell contains {old!r}, which --replace is to replace")
        sources = [source.replace(old, new) for source in sources]

    session = SessionMemory() if arguments.timings else None
    started = time.monotonic()
    name = notebook.metadata.kernelspec.name
    kernel = Kernel(name, path.parent.resolve(), arguments.timeout)
    try:
        starting = time.monotonic() - started
        if arguments.timings:
            print(f"{path}: kernel up after {starting:.1f} s", flush=True)
            largest = session.take()
        results, busy, failures = [], 0, []
        for (number, _), source in zip(numbered, sources):
            begin = time.monotonic()
            try:
                outputs, status = kernel.execute(source)
            except Failure as failure:
                raise Failure(f"cell {number}: {failure}") from None
            seconds = time.monotonic() - begin
            busy += seconds
            kernel.drain()
            results.append(outputs)
            if arguments.timings:
                first, megabytes = next(iter(source.splitlines()), ""), session.take()
                largest = max(largest, megabytes)
                print(
                    f"  cell {number:3} {seconds:7.2f} s {megabytes:5.0f} MB  {first[:60]}",
                    flush=True,
                )
            if status != "ok" and complaint(outputs) is None:
                outputs.append(nbformat.v4.new_output("error", evalue=f"the answer is {status!r}"))
            # All of them, since the last words of a cell can arrive during the next.
            failures = [
                f"cell {n}: {message}"
                for (n, cell), outputs in zip(numbered, results)
                if (message := verdict(cell, outputs))
            ]
            if failures and not arguments.keep_going:
                return failures
        if failures:
            return failures
        if arguments.timings:
            for name, megabytes in kernel.memory().items():
                print(f"  peak memory of the {name} process: {megabytes:.0f} MB", flush=True)
            print(f"  peak memory of all, compiler included: {largest:.0f} MB", flush=True)
        print(f"{path}: ok, kernel {starting:.1f} s, cells {busy:.1f} s", flush=True)
    finally:
        kernel.close()
        if session:
            session.stopped.set()
    if arguments.save:
        save(path, notebook, [cell for _, cell in numbered], results)
    return []


def save(path, notebook, cells, results):
    """Writes the outputs back, less everything that only says when and where it ran."""
    for number, cell in enumerate(notebook.cells, 1):
        cell.setdefault("id", f"cell-{number:02}")
        cell.metadata.pop("execution", None)
    for number, (cell, outputs) in enumerate(zip(cells, results), 1):
        cell.execution_count = number
        cell.outputs = [
            output
            for output in outputs
            if output.get("name") != "stderr" or verdict(cell, outputs) is None and complaint([output])
        ]
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = number
    nbformat.validate(notebook)
    beside = path.with_suffix(".part")
    beside.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", encoding="utf-8")
    os.replace(beside, path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--timeout", type=int, required=True)
    for flag in "--keep-going", "--save", "--timings":
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--replace", nargs=2, action="append", default=[])
    parser.add_argument("notebooks", nargs="+", type=Path)
    arguments = parser.parse_args()
    failed = False
    for path in arguments.notebooks:
        try:
            failures = run(path, arguments)
        except Failure as failure:
            failures = [failure]
        for failure in failures:
            print(f"{path}: {failure}", file=sys.stderr, flush=True)
        failed = failed or bool(failures)
        if failed and not arguments.keep_going:
            break
    sys.exit(failed)


main()
