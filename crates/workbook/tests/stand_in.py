"""Prints what the kernel for prices answers a cell while its library is being compiled, when nobody is
compiling it, and when it is there.

Its argument: the launcher's folder, in which no library is.
"""

import fcntl
import json
import sys
from pathlib import Path

from jupyter_client.manager import start_new_kernel

state = Path(sys.argv[1])
answers = []


def ask():
    answers.append(client.execute("1 + 1", reply=True, stop_on_error=False, timeout=60)["content"])


with open(state / "polars-lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    manager, client = start_new_kernel(kernel_name="seq2seq-rust-polars")
    ask()
ask()
(state / "seed-polars").mkdir()
(state / "seed-polars" / "key").touch()
ask()
client.stop_channels()
manager.shutdown_kernel()
print(json.dumps(answers))
