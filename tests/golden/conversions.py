"""Writes models of Keras, Flax and ONNX with what they compute, for the tests of
examples/convert_weights.py, and the files that it makes of them.

    python tests/golden/conversions.py

With Python 3.11, keras 3.15.1 (on jax), flax 0.12.8, jax 0.10.2, torch 2.15.0, onnx 1.23.2,
onnxruntime 1.32.0, h5py 3.16.0, msgpack 1.2.4, safetensors 0.8.0, numpy 2.4.6, scipy 1.17.1.

Into tests/golden/conversions/:

    NAME.keras, NAME.msgpack, NAME.onnx   a model of the framework, all of whose biases are random
    NAME.safetensors                      what the converter makes of it
    conversions.json                      of each model the past, the output, and the converter's
                                          arguments
"""

import json
import os
import pathlib
import subprocess
import sys
import warnings
import zipfile

os.environ["KERAS_BACKEND"] = "jax"
warnings.simplefilter("ignore")

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import keras
import numpy as np
import onnxruntime
import torch

HERE = pathlib.Path(__file__).parent / "conversions"
CONVERTER = pathlib.Path(__file__).parents[2] / "examples/convert_weights.py"
BATCH, PAST, FUTURE = 3, 4, 3
random = np.random.default_rng(7)
cases = {}


def draw(shape):
    """Large enough that no gate is near linear."""
    return (0.7 * random.normal(size=shape)).astype(np.float32)


def keep(name, suffix, past, output, arguments=()):
    output = np.asarray(output)
    cases[name] = {
        "source": name + suffix,
        "arguments": list(arguments),
        "past": {"shape": past.shape, "values": [float(v) for v in past.ravel()]},
        "output": {"shape": output.shape, "values": [float(v) for v in output.ravel()]},
    }


# ---- Keras -----------------------------------------------------------------------------------


def keep_keras(name, model, arguments=()):
    model.set_weights([draw(weights.shape) for weights in model.get_weights()])
    path = HERE / f"{name}.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {part: archive.read(part) for part in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # a fifth of the size
        for part, data in parts.items():
            archive.writestr(zipfile.ZipInfo(part), data, zipfile.ZIP_DEFLATED)
    past = draw((BATCH, PAST, model.inputs[0].shape[-1]))
    zeros = [np.zeros((BATCH, FUTURE, more.shape[-1]), np.float32) for more in model.inputs[1:]]
    output = model.predict([past, *zeros] if zeros else past, verbose=0)
    keep(name, ".keras", past, output, arguments)


def keras_model(features, outputs, hidden, repeat_last, names=True):
    def gru(part, index, units, **settings):
        name = f"{part}_{index}" if names else None
        return keras.layers.GRU(units, return_sequences=True, name=name, **settings)

    past = keras.Input((None, features))
    inputs, values, states = [past], past, []
    for index, units in enumerate(hidden):
        values, state = gru("encoder", index, units, return_state=True)(values)
        states.append(state)
    if repeat_last:
        values = keras.layers.RepeatVector(FUTURE)(states[-1])
    else:
        values = keras.Input((None, features))
        inputs.append(values)
    for index, (units, state) in enumerate(zip(hidden, states)):
        values = gru("decoder", index, units)(values, initial_state=state)
    return keras.Model(inputs, keras.layers.Dense(outputs)(values))


keep_keras("keras_repeat_last", keras_model(2, 2, [4, 3], True))
# Without names, and all of one size, so that nothing but the names tells the layers apart.
keras.utils.clear_session()
keep_keras(
    "keras_zeros",
    keras_model(3, 2, [3, 3], False, names=False),
    "--encoder gru,gru_1 --decoder gru_2,gru_3 --decoder-input Zeros".split(),
)
for kind in ("GRU", "LSTM", "SimpleRNN"):
    keras.utils.clear_session()
    stack = [getattr(keras.layers, kind)(units, return_sequences=True) for units in (4, 3)]
    lower, upper = [layer.name for layer in stack]
    model = keras.Sequential([keras.Input((None, 2)), *stack])
    keep_keras(f"keras_{kind.lower()}", model, ["--layers", f"{lower},{upper}"])


# ---- Flax ------------------------------------------------------------------------------------


class FlaxModel(nn.Module):
    hidden: tuple
    features: int
    outputs: int
    repeat_last: bool

    def setup(self):
        self.encoder = [nn.RNN(nn.GRUCell(units), return_carry=True) for units in self.hidden]
        self.decoder = [nn.RNN(nn.GRUCell(units), return_carry=True) for units in self.hidden]
        self.dense = nn.Dense(self.outputs)

    def __call__(self, past):
        values, states = past, []
        for layer in self.encoder:
            state, values = layer(values)
            states.append(state)
        if self.repeat_last:
            values = jnp.repeat(values[:, -1:], FUTURE, axis=1)
        else:
            values = jnp.zeros((past.shape[0], FUTURE, self.features))
        for layer, state in zip(self.decoder, states):
            _, values = layer(values, initial_carry=state)
        return self.dense(values)


class FlaxStack(nn.Module):
    cell: type
    hidden: tuple

    @nn.compact
    def __call__(self, values):
        for units in self.hidden:
            values = nn.RNN(self.cell(units))(values)
        return values


def keep_flax(name, model, features, arguments=()):
    past = draw((BATCH, PAST, features))
    variables = model.init(jax.random.key(0), past)
    variables = jax.tree_util.tree_map(lambda leaf: jnp.asarray(draw(leaf.shape)), variables)
    (HERE / f"{name}.msgpack").write_bytes(flax.serialization.to_bytes(variables))
    keep(name, ".msgpack", past, model.apply(variables, past), arguments)


keep_flax("flax_repeat_last", FlaxModel((4, 3), 2, 2, True), 2)
keep_flax("flax_zeros", FlaxModel((4, 3), 2, 1, False), 2)
for cell in (nn.GRUCell, nn.OptimizedLSTMCell, nn.SimpleCell):
    short = {"GRUCell": "gru", "OptimizedLSTMCell": "lstm", "SimpleCell": "simplernn"}[
        cell.__name__
    ]
    names = f"{cell.__name__}_0,{cell.__name__}_1"
    keep_flax(f"flax_{short}", FlaxStack(cell, (4, 3)), 2, ["--layers", names])


# ---- ONNX, from PyTorch ----------------------------------------------------------------------


class TorchModel(torch.nn.Module):
    def __init__(self, features, outputs, hidden, repeat_last):
        super().__init__()
        self.features, self.repeat_last = features, repeat_last
        self.encoder = self.stack(features, hidden)
        self.decoder = self.stack(hidden[-1] if repeat_last else features, hidden)
        self.dense = torch.nn.Linear(hidden[-1], outputs)

    def stack(self, first, hidden):
        sizes = [first, *hidden]
        layers = [torch.nn.GRU(*pair, batch_first=True) for pair in zip(sizes, sizes[1:])]
        return torch.nn.ModuleList(layers)

    def forward(self, past):
        values, states = past, []
        for layer in self.encoder:
            values, state = layer(values)
            states.append(state)
        if self.repeat_last:
            values = values[:, -1:].expand(-1, FUTURE, -1)
        else:
            values = torch.zeros(past.shape[0], FUTURE, self.features)
        for layer, state in zip(self.decoder, states):
            values, _ = layer(values, state)
        return self.dense(values)


class TorchStack(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.lower = getattr(torch.nn, kind)(2, 4, batch_first=True)
        self.upper = getattr(torch.nn, kind)(4, 3, batch_first=True)

    def forward(self, past):
        return self.upper(self.lower(past)[0])[0]


def keep_onnx(name, model, features, arguments=()):
    path = HERE / f"{name}.onnx"
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(draw(tuple(parameter.shape))))
    past = draw((BATCH, PAST, features))
    settings = {"dynamo": False, "input_names": ["past"], "output_names": ["future"]}
    torch.onnx.export(model.eval(), (torch.from_numpy(past),), path, **settings)
    session = onnxruntime.InferenceSession(path)
    keep(name, ".onnx", past, session.run(None, {"past": past})[0], arguments)


keep_onnx("onnx_repeat_last", TorchModel(2, 2, [4, 3], True), 2)
zeros = TorchModel(3, 2, [3, 3], False)
keep_onnx("onnx_zeros", zeros, 3, ["--decoder-input", "Zeros"])
for kind in ("GRU", "LSTM", "RNN"):
    short = "simplernn" if kind == "RNN" else kind.lower()
    names = f"/lower/{kind},/upper/{kind}"
    keep_onnx(f"onnx_{short}", TorchStack(kind), 2, ["--layers", names])


for name, case in cases.items():
    paths = [str(HERE / case["source"]), str(HERE / f"{name}.safetensors")]
    subprocess.run([sys.executable, CONVERTER, *paths, *case["arguments"]], check=True)
lines = [f" {json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items()]
(HERE / "conversions.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
