"""Checks what the kernel answers, in Jupyter's own client.

Run by protocol.rs with the workbook's own Python:

    target/workbook/venv/bin/python crates/workbook/tests/protocol GROUP [--only NAME...]

A group is a file of scenarios, which share a kernel. A scenario is a function; its first line says what
is expected. All scenarios run, and the failures are listed at the end.
"""

import argparse
import sys
import time
import traceback

# Nothing is to be left in the folder of the sources.
sys.dont_write_bytecode = True

import bad_input
import interrupts
import outputs
import rows
import sources
import tools
from kernel import SET_UP, Kernel, expect

GROUPS = {module.__name__: module for module in (rows, outputs, interrupts, bad_input, sources, tools)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="the scenarios to run")
    parser.add_argument("--interrupts", type=int, default=12)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=10)
    parser.add_argument("--patience", type=float, default=60, metavar="SECONDS", help="for each cell")
    options = parser.parse_args()
    functions = vars(GROUPS[options.group]).values()
    scenarios = [one for one in functions if getattr(one, "is_scenario", False)]
    chosen = [one for one in scenarios if not options.only or one.__name__ in options.only]
    expect(chosen, f"scenarios of these names are in {options.group}")
    failures, kernel = [], None
    for one in chosen:
        begin = time.monotonic()
        try:
            if kernel is None and options.group != "tools":
                kernel = Kernel(options.patience)
            one(kernel, options)
            leaks = kernel.leaks if kernel else []
            expect(not leaks, "no marks of the kernel in what is shown", leaks)
            print(f"ok: {one.__name__} ({time.monotonic() - begin:.1f} s)", flush=True)
        except Exception as error:
            # The line of the scenario, which `main` has called.
            line = traceback.extract_tb(error.__traceback__)[1].lineno
            failures.append(f"{one.__name__} (line {line}): {error or repr(error)}")
            print(f"NOT ok: {failures[-1]}", flush=True)
            # The next scenario gets a new kernel where this one does not run the first cell again.
            if kernel is not None:
                kernel.leaks.clear()
                try:
                    kernel.ok(SET_UP, timeout=20)
                except AssertionError:
                    kernel.close()
                    kernel = None
    if kernel is not None:
        kernel.close()
    if failures:
        sys.exit(f"{len(failures)} of {len(chosen)} scenarios failed:\n" + "\n".join(failures))
    print(f"{len(chosen)} scenarios: all as expected")


if __name__ == "__main__":
    main()
