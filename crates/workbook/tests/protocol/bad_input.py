"""Cells and messages that nobody should send leave the kernel alive."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager

from kernel import FLUSH, NAME, expect, expect_error, expect_lost, pause, read_bytes, scenario


@scenario
def text_that_is_no_text(kernel, _):
    """Bytes that are not UTF-8 are replaced, and a character that comes in two pieces is whole."""
    write = "std::io::Write::write_all(&mut std::io::stdout(), {})?;"
    cell = kernel.ok(write.format('b"a\\xff\\xfeb\\n"'))
    expect(re.fullmatch("a\ufffd+b\n", cell.text()), "replaced", repr(cell.text()))
    halves = [write.format(f'b"{half}"') + FLUSH for half in ("\\xc3", "\\xa9")]
    cell = kernel.ok(f"{halves[0]}\n{pause(0.3)}\n{halves[1]}")
    expect(cell.text() == "\u00e9", "one character", repr(cell.text()))
    kernel.ok(write.format('b"\\xc3"'))
    kernel.expect_kept()


@scenario
def text_without_a_line_end(kernel, options):
    """Megabytes in one line arrive, or a message says that they were cut, and variables are kept."""
    size = options.megabytes * 1_000_000
    cell = kernel.ok(f'print!("{{}}", "x".repeat({size}));', timeout=300)
    found = cell.text().count("x")
    print(f"    {found} of {size} characters in {len(cell.all('stream'))} messages, "
          f"{cell.arrivals[-1][0]:.1f} s, {kernel_memory(kernel)} MB")
    told = re.search(r"\d MB", cell.text("stderr"))
    expect(found == size or found >= 100_000 and told, "all of it, or a message", cell.text("stderr"))
    kernel.expect_kept()


def kernel_memory(kernel):
    status = read_bytes(f"/proc/{kernel.manager.provisioner.pid}/status").decode()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1000


@scenario
def a_cell_that_ends_the_process(kernel, _):
    """`exit(0)` is an error that names the lost variables, and the next cell runs."""
    endless = "fn deep(n: u64) -> u64 { if n == 0 { 0 } else { deep(n + 1) + n } }\ndeep(1)"
    for code in "std::process::exit(0);", "std::process::abort();", endless:
        cell = kernel.run(code, timeout=60)
        expect_error(cell, "ProcessEnded", "kept_value")
        expect_lost(kernel)


@scenario
def a_cell_that_closes_its_outputs(kernel, _):
    """A cell that closes stdout harms itself only."""
    for number in 1, 2:
        kernel.ok("use std::os::fd::FromRawFd;\n"
                  f"drop(unsafe {{ std::fs::File::from_raw_fd({number}) }});", timeout=20)
        kernel.expect_kept()
    cell = kernel.ok('eprintln!("still there");')
    expect(cell.text("stderr") == "still there\n", "stderr is back", cell.everything())
    kernel.ok("use std::os::fd::FromRawFd;\ndrop(unsafe { std::fs::File::from_raw_fd(0) });", timeout=20)
    kernel.expect_kept()


@scenario
def a_program_that_outlives_the_cell(kernel, _):
    """A program that goes on in the background, with the cell's outputs, keeps nobody waiting."""
    cell = kernel.ok('let mut program = std::process::Command::new("sleep").arg("60").spawn()?;', timeout=20)
    expect(cell.arrivals[-1][0] < 10, "the cell ends", cell.arrivals[-1][0])
    kernel.expect_kept()
    kernel.ok("program.kill()?; program.wait()?;")


@scenario
def a_fork(kernel, _):
    """A process that a cell splits off does not take part in the kernel's work."""
    kernel.ok('unsafe extern "C" { fn fork() -> i32; }\nfn split() -> i32 { unsafe { fork() } }')
    kernel.ok(f'if split() == 0 {{ {pause(2)} std::process::exit(0); }}', timeout=20)
    kernel.expect_kept()
    # The child comes back from the cell, as its parent does.
    kernel.run("let process = split();", timeout=20)
    for number in range(3):
        cell = kernel.ok(f'println!("{{}}", kept_value + {number});', timeout=20)
        expect(cell.text() == f"{41 + number}\n", "one answer", cell.everything())


@scenario
def a_key_of_an_unknown_scheme(kernel, _):
    """A connection file with another scheme of signatures is refused by name."""
    with open(kernel.manager.connection_file) as file:
        connection = json.load(file)
    connection["signature_scheme"] = "hmac-md5"
    for port in "shell_port", "iopub_port", "stdin_port", "control_port", "hb_port":
        connection[port] = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "connection.json")
        path.write_text(json.dumps(connection))
        spec = KernelSpecManager().get_kernel_spec(NAME)
        argv = [part.replace("{connection_file}", str(path)) for part in spec.argv]
        ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    expect(ended.returncode != 0, "it ends with an error", ended)
    expect("hmac-md5" in ended.stderr and "panicked" not in ended.stderr, "it says why", ended.stderr)
