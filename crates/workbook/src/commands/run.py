"""Runs notebooks in the workbook's kernel, and stops at the first cell that fails."""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from seq2seq_parameters import declarations, let

ANSI = re.compile(r"\x1b\[[0-9;]*m")
MEANT_TO_FAIL = "raises-exception"
PARAMETERS = "parameters"
INJECTED = "injected-parameters"


class Failure(Exception):
    """What is wrong with a notebook, or with one of its cells."""


class Client(NotebookClient):
    """A client that joins the pieces in which the kernel sends text, and remembers the last reply."""

    def __init__(self, notebook, folder, timeout):
        super().__init__(
            notebook,
            # A failed cell is judged by its reply.
            allow_errors=True,
            iopub_timeout=60,
            on_cell_executed=self.remember,
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
            startup_timeout=1800,
            timeout=timeout,
        )
        self.reply = None

    def remember(self, cell, cell_index, execute_reply):
        self.reply = execute_reply["content"]

    def run(self, cell, index):
        """Runs a cell, and returns the message of its failure, or None."""
        # An empty cell gets no reply.
        self.reply = {"status": "ok"}
        cell.outputs = []
        try:
            self.execute_cell(cell, index)
        except CellTimeoutError:
            raise Failure(f"takes longer than {self.timeout} s") from None
        except DeadKernelError:
            raise Failure("the kernel died") from None
        meant = MEANT_TO_FAIL in cell.metadata.get("tags", [])
        if self.reply["status"] == "ok":
            return f"has the tag {MEANT_TO_FAIL}, but did not fail" if meant else None
        if meant:
            return None
        lines = self.reply.get("traceback") or [self.reply.get("evalue") or f"is {self.reply['status']}"]
        return ANSI.sub("", "\n".join(lines))

    def output(self, outs, msg, display_id, cell_index):
        output = super().output(outs, msg, display_id, cell_index)
        if output and output.output_type == "stream":
            if len(outs) > 1 and outs[-2].get("name") == output.name:
                piece, output = outs.pop(), outs[-1]
                output.text += piece.text
            output.text = renewed(output.text)
        return output

    def memory(self):
        """The peak resident memory, in MB, of the kernel and of the process that runs the cells."""
        kernel = self.km.provisioner.pid
        cells = [peak(process) for process in family(kernel) if process != kernel]
        return {"kernel": peak(kernel), "cells": max(cells, default=0)}


def renewed(text):
    """The text as it is shown: without what a carriage return in the middle of a line takes back."""
    if "\r" not in text:
        return text
    lines = (line.rstrip("\r").rpartition("\r")[2] + "\r" * line.endswith("\r") for line in text.split("\n"))
    return "\n".join(lines)


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
            # As sets, because a process that is about to become another program still has its parent's.
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


def inject(notebook, parameters):
    """Sets parameters by papermill's conventions, in a cell after the one that declares them. Returns the
    index of the new cell."""
    tagged = [i for i, cell in enumerate(notebook.cells) if PARAMETERS in cell.metadata.get("tags", [])]
    if not tagged:
        raise Failure(f"no cell has the tag `{PARAMETERS}`, so there is nothing that -p can set")
    declared = declarations(notebook.cells[tagged[0]].source)
    lines = ["// Parameters"]
    for name, value in parameters:
        if name not in declared:
            known = ", ".join(f"{name}: {declaration.type}" for name, declaration in declared.items())
            raise Failure(f"there is no parameter {name}; there are: {known or 'none'}")
        try:
            lines.append(let(name, declared[name].type, value))
        except ValueError as error:
            raise Failure(error) from None
    cell = nbformat.v4.new_code_cell("\n".join(lines), metadata={"tags": [INJECTED]})
    index = tagged[0] + 1
    if index < len(notebook.cells) and INJECTED in notebook.cells[index].metadata.get("tags", []):
        notebook.cells[index] = cell
    else:
        notebook.cells.insert(index, cell)
    return index


def run(path, arguments):
    """Runs one notebook, and returns what is wrong with it, cell by cell."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:
        raise Failure(f"is not a valid notebook: {error}") from None
    before = len(notebook.cells)
    injected = inject(notebook, arguments.parameter) if arguments.parameter else before
    added = len(notebook.cells) - before
    code = [(index, cell) for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    for old, new in arguments.replace:
        if not any(old in cell.source for _, cell in code):
            raise Failure(f"no code cell contains {old!r}, which --replace is to replace")
        for _, cell in code:
            cell.source = cell.source.replace(old, new)

    session = SessionMemory() if arguments.timings else None
    client = Client(notebook, path.parent.resolve(), arguments.timeout)
    started = time.monotonic()
    busy, failures = 0, []
    with contextlib.ExitStack() as stack:
        if session:
            stack.callback(session.stopped.set)
        try:
            # evcxr tells on stdout which settings it found; what goes wrong is on stderr.
            stack.enter_context(client.setup_kernel(stdout=subprocess.DEVNULL))
        except RuntimeError as error:
            raise Failure(f"the kernel did not start: {error}") from None
        starting = time.monotonic() - started
        if session:
            print(f"{path}: kernel up after {starting:.1f} s", flush=True)
            largest = session.take()
        for index, cell in code:
            # As in the notebook on disk: an added cell has the number of the cell before it.
            number = index + 1 - (added if index >= injected else 0)
            begin = time.monotonic()
            try:
                message = client.run(cell, index)
            except Failure as failure:
                return [*failures, f"cell {number}: {failure}"]
            seconds = time.monotonic() - begin
            busy += seconds
            if session:
                first, megabytes = next(iter(cell.source.splitlines()), ""), session.take()
                largest = max(largest, megabytes)
                print(f"  cell {number:3} {seconds:7.2f} s {megabytes:5.0f} MB  {first[:60]}", flush=True)
            if message:
                failures.append(f"cell {number}: {message}")
                if not arguments.keep_going:
                    break
        if failures:
            return failures
        if session:
            for name, megabytes in client.memory().items():
                print(f"  peak memory of the {name} process: {megabytes:.0f} MB", flush=True)
            print(f"  peak memory of all, compiler included: {largest:.0f} MB", flush=True)
    target = path if arguments.save else arguments.output
    if target:
        save(target, notebook)
    print(f"{path}: ok, kernel {starting:.1f} s, cells {busy:.1f} s", flush=True)
    return []


def save(path, notebook):
    """Writes the notebook, less everything that only says when and where it ran."""
    for number, cell in enumerate(notebook.cells, 1):
        cell.setdefault("id", f"cell-{number:02}")
        cell.metadata.pop("execution", None)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, 1):
        cell.execution_count = number
        if MEANT_TO_FAIL not in cell.metadata.get("tags", []):
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
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
    parser.add_argument(
        "--parameter", type=lambda text: text.split("=", 1), action="append", default=[]
    )
    parser.add_argument("--output", type=Path)
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
