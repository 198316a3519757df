#!/usr/bin/env python3
"""Times whole training steps of this crate, PyTorch, Keras and JAX, and prints one Markdown table.

    cargo build --release --example time_step
    pip install torch keras jax onednn
    python3 benches/peers.py [--threads 2] [--seconds 2] [--rounds 4] [--peers PyTorch,JAX] [NAME ...]

A step is forward, loss, backward and Adam with L2, in f32, on data that lies ready: the same
configurations, read from `time_step`. The contestants take turns, `rounds` times for `seconds`
each, so that what else the machine does falls on all of them. The smallest time of a step is what
the code costs; the median tells how disturbed the run was. The last column compares smallest times.
A share of the peak is that of the multiply-adds a second that all threads reach on registers alone,
measured between the turns.

Beside them stands oneDNN's GRU cell, forward and backward: one layer of the last one's size, with as
many inputs as units. It is not a training step: there is no dense layer, no loss, no optimiser, and no
change of the weights' layout. What compares it with the crate is the share of the peak, on one thread:
each is given the multiply-adds that it does.

Run it on a quiet machine: PyTorch's threads wait for each other after every operation, so that one
that is held up elsewhere costs it tens of milliseconds; this would flatter the crate. PyTorch is
timed eagerly and compiled; what is not installed, or fails, is said and left out.

    cargo workbook cuda build --release --example time_step
    python3 benches/peers.py --cuda [--seconds 2] [--rounds 4] [NAME ...]

compares the training step on the first GPU with PyTorch and cuDNN there, eager and captured as a CUDA
graph. Many steps are queued before anybody waits, so that what counts is the GPU's own time. PyTorch
computes in full f32, without TF32, as the crate does.
"""

import argparse
import importlib.metadata
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

L2 = 1e-4
RATE = 1e-3
ROOT = pathlib.Path(__file__).parent.parent


def product(binary, *arguments):
    command = [binary, *map(str, arguments)]
    # Where the launcher has put NVIDIA's libraries, if it has.
    libraries = [str(ROOT / "target/workbook/cuda/lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, libraries))}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return run.stdout


class Configuration:
    def __init__(self, line):
        name, cell, batch, steps, features, hidden, decoder_input, multiply_adds = line.split()
        self.name, self.cell = name, cell.upper()  # GRU or LSTM
        self.batch, self.steps, self.features = int(batch), int(steps), int(features)
        self.hidden = [int(size) for size in hidden.split(",")]
        self.repeat = decoder_input == "RepeatLast"
        self.multiply_adds = float(multiply_adds)

    def layers(self):
        """Inputs and units of each layer, the encoder's and then the decoder's."""
        first = self.hidden[-1] if self.repeat else self.features
        encoder = zip([self.features, *self.hidden], self.hidden)
        return [*encoder, *zip([first, *self.hidden], self.hidden)]

    def cell_multiply_adds(self):
        """Those of one GRU layer with as many inputs as units, forward and backward."""
        return 3 * self.batch * self.steps * 3 * 2 * self.hidden[-1] ** 2


def torch_step(c, compiled):
    import torch

    layers, size, layer = len(c.hidden), c.hidden[0], getattr(torch.nn, c.cell)
    encoder = layer(c.features, size, layers, batch_first=True)
    decoder = layer(size if c.repeat else c.features, size, layers, batch_first=True)
    dense = torch.nn.Linear(size, c.features)
    modules = torch.nn.ModuleList([encoder, decoder, dense])
    adam = torch.optim.Adam(modules.parameters(), RATE, eps=1e-7, weight_decay=L2)
    x, y = (torch.randn(c.batch, c.steps, c.features) for _ in range(2))
    zeros = torch.zeros(c.batch, c.steps, c.features)

    def loss():
        out, state = encoder(x)
        inputs = out[:, -1:].expand(-1, c.steps, -1) if c.repeat else zeros
        out, _ = decoder(inputs, state)
        return (dense(out) - y).square().sum() / (2 * c.batch)

    if compiled:
        loss = torch.compile(loss)

    def step():
        adam.zero_grad()
        loss().backward()
        adam.step()

    return step


def keras_step(c):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras
    import numpy as np

    layer = getattr(keras.layers, c.cell)
    x = past = keras.Input((c.steps, c.features))
    states = []
    for size in c.hidden:
        x, *state = layer(size, return_sequences=True, return_state=True)(x)
        states.append(state)
    x = keras.layers.RepeatVector(c.steps)(state[0]) if c.repeat else keras.ops.zeros_like(past)
    for size, state in zip(c.hidden, states):
        x = layer(size, return_sequences=True)(x, initial_state=state)
    model = keras.Model(past, keras.layers.Dense(c.features)(x))
    # An L2 regulariser in the loss is what weight_decay is in PyTorch's Adam.
    for layer in model.layers:
        for name in ("kernel_regularizer", "recurrent_regularizer", "bias_regularizer"):
            target = getattr(layer, "cell", layer)
            if hasattr(target, name):
                setattr(target, name, keras.regularizers.L2(L2 / 2))
    model.compile(optimizer=keras.optimizers.Adam(RATE, epsilon=1e-7), loss="mse")
    x, y = (np.random.randn(c.batch, c.steps, c.features).astype("f") for _ in range(2))
    return lambda: model.train_on_batch(x, y)


def jax_step(c):
    import jax
    import jax.numpy as jnp
    import numpy as np

    lstm = c.cell == "LSTM"

    def matrix(*shape):
        return jnp.asarray(np.random.uniform(-0.1, 0.1, shape), jnp.float32)

    def layer_weights(inputs, hidden):
        rows = (4 if lstm else 3) * hidden
        return matrix(inputs, rows), matrix(hidden, rows), matrix(rows), matrix(rows)

    def layer(weights, x, state):  # x: (T, B, D)
        w_ih, w_hh, b_ih, b_hh = weights

        def gru_cell(h, gates):
            i_r, i_z, i_n = jnp.split(gates, 3, -1)
            h_r, h_z, h_n = jnp.split(h @ w_hh + b_hh, 3, -1)
            r, z = jax.nn.sigmoid(i_r + h_r), jax.nn.sigmoid(i_z + h_z)
            n = jnp.tanh(i_n + r * h_n)
            h = (1 - z) * n + z * h
            return h, h

        def lstm_cell(state, gates):
            h, memory = state
            i, f, g, o = jnp.split(gates + h @ w_hh + b_hh, 4, -1)
            memory = jax.nn.sigmoid(f) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(memory)
            return (h, memory), h

        return jax.lax.scan(lstm_cell if lstm else gru_cell, state, x @ w_ih + b_ih)

    layers = [layer_weights(*sizes) for sizes in c.layers()]
    weights = (
        layers[: len(c.hidden)],
        layers[len(c.hidden) :],
        (jnp.full((c.hidden[-1], c.features), 0.1), jnp.zeros(c.features)),
    )

    def loss(weights, x, y):
        encoder, decoder, (w, b) = weights
        states = []
        for one, size in zip(encoder, c.hidden):
            zeros = jnp.zeros((c.batch, size))
            state, x = layer(one, x, (zeros, zeros) if lstm else zeros)
            states.append(state)
        if c.repeat:
            x = jnp.broadcast_to(x[-1], (c.steps, *x[-1].shape))
        else:
            x = jnp.zeros_like(y)
        for one, state in zip(decoder, states):
            _, x = layer(one, x, state)
        return jnp.square(x @ w + b - y).sum() / (2 * c.batch)

    @jax.jit
    def update(weights, mean, square, t, x, y):
        value, gradient = jax.value_and_grad(loss)(weights, x, y)
        tree = jax.tree_util.tree_map
        gradient = tree(lambda g, w: g + L2 * w, gradient, weights)
        mean = tree(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
        square = tree(lambda v, g: 0.999 * v + 0.001 * g * g, square, gradient)
        c_1, c_2 = 1 - 0.9**t, 1 - 0.999**t
        step = lambda w, m, v: w - RATE / c_1 * m / (jnp.sqrt(v / c_2) + 1e-7)
        return value, tree(step, weights, mean, square), mean, square

    zeros = jax.tree_util.tree_map(jnp.zeros_like, weights)
    state = [weights, zeros, zeros, 0.0]
    shape = (c.steps, c.batch, c.features)
    x, y = (jnp.asarray(np.random.randn(*shape), jnp.float32) for _ in range(2))

    def step():
        state[3] += 1
        value, *state[:3] = update(*state, x, y)
        value.block_until_ready()

    return step


def onednn_step(c):
    if c.cell != "GRU":
        return None
    from onednn import OneDnn

    onednn, size = OneDnn(), c.hidden[-1]
    calls = onednn.cell(c.batch, c.steps, size, size)
    return lambda: onednn.step(calls)


def torch_on_gpu(c, captured):
    """A step on the GPU, which is started and not waited for."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    layers, size, gpu = len(c.hidden), c.hidden[0], torch.device("cuda")
    encoder = torch.nn.GRU(c.features, size, layers, batch_first=True)
    decoder = torch.nn.GRU(size if c.repeat else c.features, size, layers, batch_first=True)
    dense = torch.nn.Linear(size, c.features)
    modules = torch.nn.ModuleList([encoder, decoder, dense]).to(gpu)
    adam = torch.optim.Adam(
        modules.parameters(), RATE, eps=1e-7, weight_decay=L2, fused=True, capturable=captured
    )
    x, y = (torch.randn(c.batch, c.steps, c.features, device=gpu) for _ in range(2))
    zeros = torch.zeros(c.batch, c.steps, c.features, device=gpu)

    def step():
        adam.zero_grad(set_to_none=True)
        out, state = encoder(x)
        inputs = out[:, -1:].expand(-1, c.steps, -1) if c.repeat else zeros
        out, _ = decoder(inputs, state)
        loss = (dense(out) - y).square().sum() / (2 * c.batch)
        loss.backward()
        adam.step()

    if not captured:
        return step
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    adam.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        step()
    def replay(keep=step):  # what the graph reads lives as long as the step
        graph.replay()

    return replay


def times_on_gpu(step, seconds):
    """Milliseconds of a step, the mean of each 100 in a queue."""
    import torch

    def hundred():
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(100):
            step()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) * 10

    hundred()  # the first ones compile and choose algorithms
    found, end = [], time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        found.append(hundred())
    return found


def compare_on_gpu(a):
    try:
        import torch
    except ImportError:
        sys.exit("PyTorch is not installed.")
    if not torch.cuda.is_available():
        sys.exit("PyTorch finds no GPU.")
    binary = a.binary or ROOT / "target/cuda/release/examples/time_step"
    peers = {"PyTorch": False, "PyTorch, CUDA graph": True}
    print(f"Milliseconds of a training step on {torch.cuda.get_device_name()}, smallest (median) of the "
          f"means of many in a queue; f32 without TF32; PyTorch {torch.__version__}, cuDNN "
          f"{torch.backends.cudnn.version()}.\n")
    print("| | this crate |", " | ".join(f"{p} | ratio" for p in peers), "|")
    print("|---" * (2 + 2 * len(peers)) + "|")
    for c in map(Configuration, product(binary).splitlines()):
        if a.names and c.name not in a.names or c.cell != "GRU":
            continue
        ours, theirs = [], {}
        for _ in range(a.rounds):
            try:
                ours += [float(line) for line in product(binary, "cuda", c.name, 5).split()]
            except subprocess.CalledProcessError as error:
                print(f"{c.name}: {error.stderr.strip()}"[:300], file=sys.stderr)
                break
            for name, captured in peers.items():
                try:
                    step = torch_on_gpu(c, captured)
                    theirs.setdefault(name, []).extend(times_on_gpu(step, a.seconds))
                except Exception as error:  # a peer that fails must not end the comparison
                    print(f"{name} on {c.name}: {error}"[:300], file=sys.stderr)
        if not ours:
            continue
        cells = [c.name, f"{min(ours):.4f} ({statistics.median(ours):.4f})"]
        for name in peers:
            found = theirs.get(name)
            cells += [f"{min(found):.3f} ({statistics.median(found):.3f})",
                      f"{min(found) / min(ours):.1f}"] if found else ["–", "–"]
        print("|", " | ".join(cells), "|", flush=True)


CELL = "oneDNN cell"
PEERS = {
    CELL: onednn_step,
    "PyTorch": lambda c: torch_step(c, False),
    "PyTorch compiled": lambda c: torch_step(c, True),
    "Keras": keras_step,
    "JAX": jax_step,
}


def times(step, seconds):
    """Milliseconds of each step."""
    found, end = [], time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        found.append((time.perf_counter() - start) * 1e3)
    return found


def prepare(c, peers):
    """The step of each peer, after its first calls, which compile."""
    steps = {}
    for name in peers:
        try:
            step = PEERS[name](c)
            if step is None:  # it has no such cell
                continue
            for _ in range(3):
                step()
            steps[name] = step
        except ImportError as error:
            print(f"{name}: not installed ({error.name})", file=sys.stderr)
        except Exception as error:  # a peer that fails must not end the comparison
            print(f"{name} on {c.name}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
    return steps


def machine():
    """The processor, and those of its instruction sets that products depend on."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    about = dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)
    wanted = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")
    found = about.get("flags", about.get("Features", "")).split()
    return " ".join([about.get("model name", platform.machine()), *(f for f in wanted if f in found)])


def versions():
    found = []
    for package in ("torch", "keras", "jax", "onednn", "onednn-cpu-gomp"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            pass
    command = ["git", "-C", ROOT, "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return ", ".join([f"this crate at {commit}", *found, f"Python {platform.python_version()}"])


def row(c, peers, a):
    """Measures a configuration, and returns the cells of its row."""
    steps = prepare(c, peers)
    ours, theirs, peak = [], {name: [] for name in steps}, 0.0
    repetitions = 3
    for _ in range(a.rounds):
        peak = max(peak, float(product(a.binary, "peak", 0.1)))
        ours += [float(line) for line in product(a.binary, c.name, repetitions).split()]
        repetitions = max(3, int(a.seconds * 1e3 / min(ours)))
        for name, step in steps.items():
            theirs[name] += times(step, a.seconds)

    def milliseconds(found, digits):
        return f"{min(found):.{digits}f} ({statistics.median(found):.{digits}f})" if found else "–"

    def share(multiply_adds, found):
        return f"{multiply_adds / min(found) * 1e3 / peak:.0%}" if found else "–"

    cells = [c.name, milliseconds(ours, 3), share(c.multiply_adds, ours)]
    for name in peers:
        cells.append(milliseconds(theirs.get(name), 2))
        if name == CELL:
            cells.append(share(c.cell_multiply_adds(), theirs.get(name)))
    others = [min(found) for name, found in theirs.items() if name != CELL]
    return [*cells, f"{min(others) / min(ours):.3g}" if others else "–"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", help="of time_step, where it is not in target/")
    parser.add_argument("--cuda", action="store_true", help="compare on the first GPU")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="a turn")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--peers", default=",".join(PEERS), help="some of %(default)s")
    parser.add_argument("names", nargs="*", metavar="NAME", help="configurations; all if none")
    a = parser.parse_args()
    if a.cuda:
        return compare_on_gpu(a)
    a.binary = a.binary or ROOT / "target/release/examples/time_step"

    for variable in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(a.threads)
    # JAX and TBB have no setting for it: as many threads as the cores that the process may use.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: a.threads])
    try:
        import torch

        torch.set_num_threads(a.threads)
    except ImportError:
        pass

    configurations = [Configuration(line) for line in product(a.binary).splitlines()]
    peers = a.peers.split(",")
    for chosen, known in ((a.names, [c.name for c in configurations]), (peers, list(PEERS))):
        for name in chosen:
            if name not in known:
                sys.exit(f"{name} is none of {', '.join(known)}.")
    if os.getloadavg()[0] > 0.5:
        print("The machine is busy: the peers' times are too long.", file=sys.stderr)
    print(f"Milliseconds of a training step in f32, smallest (median) of {a.rounds} rounds of {a.seconds} s, "
          f"{a.threads} threads, load {os.getloadavg()[0]:.1f} at the start.\n{machine()}; {versions()}.\n")
    columns = ["", "this crate", "share of peak"]
    for name in peers:
        columns += [name, "share of peak"] if name == CELL else [name]
    columns.append("times the fastest of the others")
    print("|", " | ".join(columns), "|")
    print("|---" * len(columns) + "|")
    for c in configurations:
        if not a.names or c.name in a.names:
            print("|", " | ".join(row(c, peers, a)), "|", flush=True)


if __name__ == "__main__":
    main()
