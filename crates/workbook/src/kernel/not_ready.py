"""Stands in for a kernel whose libraries are still being compiled: answers every cell with what to do.

Its arguments: Jupyter's file, the seed that is being built, and the lock of whoever builds it.
"""

import fcntl
import sys
from pathlib import Path

from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel

connection_file, seed, lock = sys.argv[1:]


def answer():
    if (Path(seed) / "key").exists():
        return "polars is ready. Restart the kernel (menu Kernel, Restart Kernel), and run the cell again."
    with open(lock, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return (
                "This notebook needs polars, which is still being compiled in the background: the first\n"
                "time that takes some minutes. All other notebooks can be used meanwhile. Run this cell\n"
                "again to see whether it is ready."
            )
    return "polars could not be compiled. `cargo workbook setup`, in a terminal, shows why."


class NotReady(Kernel):
    implementation = "not ready"
    implementation_version = "1"
    banner = "polars is still being compiled"
    language_info = {"name": "Rust", "mimetype": "text/rust", "file_extension": ".rs"}

    def do_execute(self, code, silent, *arguments, **named):
        text = answer()
        error = {"ename": "NotReady", "evalue": text, "traceback": [text]}
        if not silent:
            self.send_response(self.iopub_socket, "error", error)
        return {"status": "error", "execution_count": self.execution_count, **error}


IPKernelApp.launch_instance(argv=["-f", connection_file], kernel_class=NotReady)
