#!/usr/bin/env python3
"""Converts weights between the files of this crate and those of Keras 3, Flax and ONNX.

    python examples/convert_weights.py SOURCE                lists the layers of a file
    python examples/convert_weights.py SOURCE TARGET         converts; the suffixes tell the formats

From .weights.h5, .keras, .msgpack (Flax) and .onnx to .safetensors, and from .safetensors to
.keras, .weights.h5 and .onnx. Needs numpy and safetensors, and h5py, msgpack or onnx for the format
at hand. docs/weights.md says more.
"""

from __future__ import annotations

import argparse
import importlib
import io
import itertools
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Tensors = dict[str, Array]

# The gates in the order of their blocks of rows, under PyTorch's letters. Keras and ONNX call n and
# g h and c. Flax has a matrix of its own for each gate.
GATES = {
    "GRU": {"ours": "rzn", "keras": "zrn", "onnx": "zrn"},
    "LSTM": {"ours": "ifgo", "keras": "ifgo", "onnx": "iofg"},
    "RNN": {"ours": "n", "keras": "n", "onnx": "n"},
}
RECURRENT = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
DECODER_INPUTS = ("RepeatLast", "Zeros")
SUFFIXES = (".safetensors", ".weights.h5", ".keras", ".msgpack", ".onnx")


class Refusal(Exception):
    """What is wrong with a file or an argument, in one line."""


@dataclass
class Layer:
    """One layer of a file, with the weights as this crate has them."""

    name: str
    kind: str  # GRU, LSTM, RNN or dense
    weights: Tensors
    problem: str = ""  # why this crate cannot compute what the layer computes
    place: str = ""  # its group in an HDF5 file

    @property
    def inputs(self) -> int:
        return int(self.weights["weight" if self.kind == "dense" else "weight_ih"].shape[1])

    @property
    def outputs(self) -> int:
        if self.kind == "dense":
            return int(self.weights["weight"].shape[0])
        return int(self.weights["weight_hh"].shape[1])


# ---- layers ----------------------------------------------------------------------------------


def reorder(rows: Array, kind: str, source: str, target: str) -> Array:
    """The blocks of rows of one format in the order of another."""
    blocks = dict(zip(GATES[kind][source], np.split(rows, len(GATES[kind][source]))))
    return np.concatenate([blocks[gate] for gate in GATES[kind][target]])


def floats(name: str, values: Any) -> Array:
    """The values in single precision, contiguous because safetensors writes memory as it lies."""
    array = np.asarray(values)
    if array.dtype.kind != "f":
        raise Refusal(f"{name} holds {array.dtype}; allowed are float16, float32 and float64")
    if not np.isfinite(array).all():
        raise Refusal(f"{name} holds a value that is not finite")
    return np.ascontiguousarray(array, dtype=np.float32)


def recurrent_layer(
    name: str,
    kind: str,
    source: str,
    weights: list[Array | None],
    problem: str = "",
    place: str = "",
) -> Layer:
    """Makes a layer of weight_ih, weight_hh and both biases, with the rows of `source`."""
    w_ih, w_hh = weights[0], weights[1]
    if w_ih is None or w_hh is None or w_ih.ndim != 2 or w_hh.ndim != 2:
        raise Refusal(f"{name} lacks one of its two weight matrices")
    hidden, rows = w_hh.shape[1], w_hh.shape[1] * len(GATES[kind]["ours"])
    expected = [(rows, w_ih.shape[1]), (rows, hidden), (rows,), (rows,)]
    layer = Layer(name, kind, {}, problem, place)
    for suffix, values, shape in zip(RECURRENT, weights, expected):
        array = np.zeros(rows) if values is None else values
        if array.shape != shape:
            raise Refusal(f"{name}: {suffix} is {array.shape}, but {shape} is needed")
        layer.weights[suffix] = floats(name, reorder(array, kind, source, "ours"))
    return layer


def dense_layer(
    name: str, weight: Array, bias: Array | None, problem: str = "", place: str = ""
) -> Layer:
    """Makes a dense layer of a weight with a row an output."""
    bias = np.zeros(weight.shape[0]) if bias is None else bias
    if bias.shape != weight.shape[:1]:
        raise Refusal(f"{name}: the bias is {bias.shape}, but {weight.shape[:1]} is needed")
    weights = {"weight": floats(name, weight), "bias": floats(name, bias)}
    return Layer(name, "dense", weights, problem, place)


def natural(name: str) -> list[tuple[int, str]]:
    """A key that puts gru_2 before gru_10, and gru before gru_1."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


# ---- files -----------------------------------------------------------------------------------


def library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.split(".")[0]
        raise Refusal(f"this format needs {package}: pip install {package}") from None


def suffix_of(path: Path) -> str:
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return suffix
    raise Refusal(f"{path.name} has none of the suffixes {', '.join(SUFFIXES)}")


def read_layers(path: Path) -> list[Layer]:
    """All layers of a file of another framework that have a place in this crate."""
    suffix = suffix_of(path)
    if suffix == ".safetensors":
        raise Refusal(
            f"{path.name} is a file of this crate: name a target .keras, .weights.h5 or .onnx"
        )
    readers = {".onnx": read_onnx, ".msgpack": read_flax}
    try:
        layers = readers.get(suffix, read_keras)(path)
    except (Refusal, MemoryError):
        raise
    except Exception as error:  # each library has errors of its own for a broken file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Refusal(f"{path.name} cannot be read as {suffix}: {reason}") from error
    if not layers:
        raise Refusal(f"{path.name} holds no GRU, LSTM, simple RNN or dense layer")
    return layers


# ---- Keras -----------------------------------------------------------------------------------


KERAS_SETTINGS: dict[str, dict[str, Any]] = {
    "GRU": {
        "reset_after": True,
        "go_backwards": False,
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
    },
    "LSTM": {"go_backwards": False, "activation": "tanh", "recurrent_activation": "sigmoid"},
    "SimpleRNN": {"go_backwards": False, "activation": "tanh"},
    "Dense": {"activation": "linear"},
}


def read_keras(path: Path) -> list[Layer]:
    h5py = library("h5py")
    problems: dict[str, str] = {}
    data: Any = path
    if suffix_of(path) == ".keras":
        with zipfile.ZipFile(path) as archive:
            problems = dict(keras_problems(json.loads(archive.read("config.json"))))
            data = io.BytesIO(archive.read("model.weights.h5"))
    layers: list[Layer] = []

    def visit(place: str, group: Any) -> None:
        cell = place.endswith("/cell")
        if not isinstance(group, h5py.Group) or not isinstance(group.get("vars"), h5py.Group):
            return
        weights = [np.asarray(group["vars"][key]) for key in sorted(group["vars"], key=natural)]
        place = place.removesuffix("/cell")
        parts = place.split("/")
        # The layer's own name is an attribute; the group is called after the class.
        named = file[place + "/vars"] if place + "/vars" in file else group["vars"]
        name = str(named.attrs.get("name", parts[-1]))
        problem = problems.get(name, "")
        for part in parts:
            if part in ("forward_layer", "backward_layer"):
                name, problem = f"{name} ({part})", "it is bidirectional; allowed is one direction"
        if cell and len(weights) >= 2:
            layers.append(keras_layer(name, weights, problem, place, bool(problems)))
        elif len(weights) in (1, 2) and weights[0].ndim == 2 and weights[-1].ndim in (1, 2):
            bias = weights[1] if len(weights) == 2 else None
            if bias is None or bias.shape == weights[0].shape[1:]:
                layers.append(dense_layer(name, weights[0].T, bias, problem, place))

    with h5py.File(data, "r") as file:
        file.visititems(visit)
    return sorted(layers, key=lambda layer: natural(layer.name))


def keras_layer(
    name: str, weights: list[Array], problem: str, place: str, configured: bool
) -> Layer:
    hidden = weights[1].shape[0]
    gates = weights[1].shape[1] // hidden
    kind = {3: "GRU", 4: "LSTM", 1: "RNN"}.get(gates)
    if kind is None:
        raise Refusal(f"{name} has {gates} gates; allowed are GRU, LSTM and SimpleRNN")
    bias = weights[2] if len(weights) > 2 else None
    if kind == "GRU" and bias is None and not configured:
        problem = problem or (
            "it has no bias, and this file does not tell reset_after; allowed is a .keras file"
        )
    b_ih, b_hh = bias, None
    if kind == "GRU" and bias is not None:
        if bias.ndim == 1:
            problem = problem or "reset_after is False; allowed is True"
            b_ih, b_hh = bias, None
        else:
            b_ih, b_hh = bias
    return recurrent_layer(
        name, kind, "keras", [weights[0].T, weights[1].T, b_ih, b_hh], problem, place
    )


def keras_problems(config: Any) -> Iterator[tuple[str, str]]:
    """For each layer of a configuration its name, and what this crate cannot compute."""
    if isinstance(config, list):
        for item in config:
            yield from keras_problems(item)
    if not isinstance(config, dict):
        return
    settings = config.get("config")
    allowed = KERAS_SETTINGS.get(str(config.get("class_name")))
    if allowed is not None and isinstance(settings, dict):
        wrong = [key for key, value in allowed.items() if settings.get(key, value) != value]
        problem = "; ".join(f"{key} is {settings[key]}; allowed is {allowed[key]}" for key in wrong)
        yield str(settings["name"]), problem
    for value in config.values():
        yield from keras_problems(value)


def keras_arrays(layer: Layer) -> list[Array]:
    """The variables of a Keras layer, in its order."""
    if layer.kind == "dense":
        return [layer.weights["weight"].T, layer.weights["bias"]]
    w_ih, w_hh, b_ih, b_hh = (
        reorder(layer.weights[suffix], layer.kind, "ours", "keras") for suffix in RECURRENT
    )
    bias = np.stack([b_ih, b_hh]) if layer.kind == "GRU" else b_ih + b_hh
    return [w_ih.T, w_hh.T, bias]


def fill_keras(like: Path, target: Path, pairs: list[tuple[Layer, Layer]]) -> None:
    """Writes a copy of `like`, with the weights of the first of each pair in the second."""
    h5py = library("h5py")
    if suffix_of(like) != suffix_of(target):
        raise Refusal(f"--like {like.name} and {target.name} are not of one format")
    packed = suffix_of(like) == ".keras"
    parts: dict[str, bytes] = {"model.weights.h5": like.read_bytes()}
    if packed:
        with zipfile.ZipFile(like) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
    data = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(data, "r+") as file:
        for ours, theirs in pairs:
            folder = theirs.place + ("/vars" if theirs.kind == "dense" else "/cell/vars")
            arrays = keras_arrays(ours)
            if len(file[folder]) != len(arrays):
                raise Refusal(f"{theirs.name} of {like.name} has no bias; allowed is use_bias=True")
            for index, values in enumerate(arrays):
                there = file[f"{folder}/{index}"]
                if there.shape != values.shape:
                    raise Refusal(
                        f"{theirs.name} of {like.name} is {there.shape}, "
                        f"but {ours.name} is {values.shape}"
                    )
                there[...] = values
    parts["model.weights.h5"] = data.getvalue()
    write_keras_parts(target, parts, packed)


def write_keras_parts(target: Path, parts: dict[str, bytes], packed: bool) -> None:
    if not packed:
        target.write_bytes(parts["model.weights.h5"])
        return
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def write_keras(target: Path, model: Model, steps: int) -> None:
    """Writes a complete .keras file, whose model predicts `steps` steps."""
    h5py = library("h5py")
    layers: list[dict[str, Any]] = []

    def tensor(name: str, index: int, shape: list[int | None]) -> dict[str, Any]:
        history = {"shape": shape, "dtype": "float32", "keras_history": [name, 0, index]}
        return {"class_name": "__keras_tensor__", "config": history}

    def add(kind: str, name: str, reads: Any, state: Any = None, **settings: Any) -> None:
        kwargs = {} if state is None else {"initial_state": state}
        nodes = [] if reads is None else [{"args": [reads], "kwargs": kwargs}]
        config = {"name": name, "dtype": "float32", **settings}
        entry = {"module": "keras.layers", "class_name": kind, "config": config, "name": name}
        layers.append({**entry, "registered_name": None, "inbound_nodes": nodes})

    features, depth = model.encoder[0].inputs, len(model.encoder)
    add("InputLayer", "past", None, batch_shape=[None, None, features])
    reads = past = tensor("past", 0, [None, None, features])
    states = []
    for layer in model.encoder:
        sizes = {"units": layer.outputs, "return_sequences": True, "return_state": True}
        add("GRU", layer.name, reads, **sizes)
        reads = tensor(layer.name, 0, [None, None, layer.outputs])
        states.append(tensor(layer.name, 1, [None, layer.outputs]))
    if model.decoder_input == "RepeatLast":
        reads, width = states[-1], model.encoder[-1].outputs
    else:
        # Zeros of the width of the past, for any number of series.
        add("GlobalAveragePooling1D", "mean", past)
        add("Rescaling", "zero", tensor("mean", 0, [None, features]), scale=0.0, offset=0.0)
        reads, width = tensor("zero", 0, [None, features]), features
    add("RepeatVector", "decoder_input", reads, n=steps)
    reads = tensor("decoder_input", 0, [None, steps, width])
    for layer, state in zip(model.decoder, states):
        add("GRU", layer.name, reads, state, units=layer.outputs, return_sequences=True)
        reads = tensor(layer.name, 0, [None, steps, layer.outputs])
    add("Dense", "dense", reads, units=model.dense.outputs)
    config = {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "registered_name": "Functional",
        "config": {
            "name": "seq2seq",
            "trainable": True,
            "layers": layers,
            "input_layers": [["past", 0, 0]],
            "output_layers": [["dense", 0, 0]],
        },
    }

    # Keras finds the weights by the place of a layer among those of its class, sorted by the
    # longest way to the output. With zeros a decoder's layer is as far from it as the encoder's next
    # one, and comes first.
    order = model.encoder + model.decoder
    if model.decoder_input == "Zeros":
        order = [part[k] for k in range(depth) for part in (model.encoder, model.decoder)]
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for index, layer in enumerate(order):
            group = f"layers/gru_{index}" if index else "layers/gru"
            file.create_group(f"{group}/vars").attrs["name"] = layer.name
            for key, values in enumerate(keras_arrays(layer)):
                file[f"{group}/cell/vars/{key}"] = values
        file.create_group("layers/dense/vars").attrs["name"] = "dense"
        for key, values in enumerate(keras_arrays(model.dense)):
            file[f"layers/dense/vars/{key}"] = values
    about = {"keras_version": "3.0.0", "date_saved": ""}
    parts = {
        "metadata.json": json.dumps(about).encode(),
        "config.json": json.dumps(config).encode(),
    }
    write_keras_parts(target, {**parts, "model.weights.h5": data.getvalue()}, packed=True)


# ---- Flax ------------------------------------------------------------------------------------

FLAX_CELLS = {
    frozenset({"ir", "iz", "in", "hr", "hz", "hn"}): "GRU",
    frozenset({"ii", "if", "ig", "io", "hi", "hf", "hg", "ho"}): "LSTM",
    frozenset({"i", "h"}): "RNN",
}


def read_flax(path: Path) -> list[Layer]:
    msgpack = library("msgpack")

    def extension(code: int, data: bytes) -> Any:
        if code != 1:
            return None
        shape, dtype, values = msgpack.unpackb(data, raw=True)
        if dtype == b"bfloat16":
            raise Refusal("an array holds bfloat16; allowed are float16, float32 and float64")
        return np.frombuffer(values, dtype=np.dtype(dtype.decode())).reshape(shape)

    tree = msgpack.unpackb(path.read_bytes(), ext_hook=extension, strict_map_key=False)
    if isinstance(tree, dict) and isinstance(tree.get("params"), dict):
        tree = tree[
            "params"
        ]  # beside it can be an optimiser's state, with arrays of the same names
    return sorted(flax_layers("", tree), key=lambda layer: natural(layer.name))


def flax_layers(name: str, tree: Any) -> Iterator[Layer]:
    if not isinstance(tree, dict):
        return
    if isinstance(tree.get("kernel"), np.ndarray) and set(tree) <= {"kernel", "bias"}:
        if tree["kernel"].ndim == 2:
            yield dense_layer(name, tree["kernel"].T, tree.get("bias"))
        return
    kind = FLAX_CELLS.get(frozenset(tree))
    if set(tree) == {"if", "in", "hf", "hn"}:
        raise Refusal(f"{name} is an MGUCell; allowed are GRUCell, LSTMCell and SimpleCell")
    if kind is None:
        for key, value in tree.items():
            # nn.RNN keeps its cell one level below.
            yield from flax_layers(name if key == "cell" else f"{name}/{key}".lstrip("/"), value)
        return
    letters = [""] if kind == "RNN" else GATES[kind]["ours"]
    weights: list[Array | None] = []
    for what in ("kernel", "bias"):
        for side in ("i", "h"):
            hidden = tree["h" + letters[0]]["kernel"].shape[1]
            zeros = np.zeros(hidden, np.float32)  # most gates have one of the two biases
            parts = [tree[side + letter].get(what, zeros).T for letter in letters]
            weights.append(np.concatenate(parts))
    both_ways = re.search(r"(^|/)(forward|backward)_rnn(/|$)", name)
    problem = "it is bidirectional; allowed is one direction" if both_ways else ""
    yield recurrent_layer(name, kind, "ours", weights, problem)


# ---- ONNX ------------------------------------------------------------------------------------


def read_onnx(path: Path) -> list[Layer]:
    onnx = library("onnx")
    graph = onnx.load(str(path)).graph
    known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            known[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    layers = []
    for index, node in enumerate(graph.node):
        name = node.name or f"{node.op_type}_{index}"
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        inputs = [*node.input, *[""] * 8]

        def value(place: int) -> Array | None:
            if inputs[place] and inputs[place] not in known:
                raise Refusal(
                    f"{name}: {inputs[place]} is computed in the graph; allowed is a constant "
                    "(export with constant folding)"
                )
            return known.get(inputs[place])

        if node.op_type in GATES:
            starts = [known[key] for key in inputs[5:7] if key in known]
            layers.append(onnx_layer(name, node.op_type, settings, value, inputs, starts))
        elif node.op_type == "Gemm" and inputs[1] in known:
            weight = known[inputs[1]] if settings.get("transB", 0) else known[inputs[1]].T
            problem = onnx_activation(graph, node.output[0])
            if settings.get("alpha", 1.0) != 1.0 or settings.get("beta", 1.0) != 1.0:
                problem = "alpha or beta of Gemm is set; allowed is 1"
            layers.append(dense_layer(name, weight, value(2), problem))
        elif node.op_type == "MatMul" and inputs[1] in known and known[inputs[1]].ndim == 2:
            bias, output = None, node.output[0]
            for other in graph.node:
                constants = [known[i] for i in other.input if i in known]
                if other.op_type == "Add" and output in other.input and constants:
                    bias, output = constants[0], other.output[0]
            problem = onnx_activation(graph, output)
            layers.append(dense_layer(name, known[inputs[1]].T, bias, problem))
    return layers


def onnx_activation(graph: Any, output: str) -> str:
    """What is wrong with a dense layer whose output an activation reads."""
    for node in graph.node:
        if output in node.input and node.op_type in ("Relu", "Sigmoid", "Softmax", "Tanh"):
            return f"activation is {node.op_type}; allowed is none"
    return ""


def onnx_layer(
    name: str,
    kind: str,
    settings: dict[str, Any],
    value: Any,
    inputs: list[str],
    starts: list[Array],
) -> Layer:
    text = {key: item.decode() for key, item in settings.items() if isinstance(item, bytes)}
    activations = [item.decode() for item in settings.get("activations", [])]
    usual = {"GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "RNN": ["Tanh"]}[kind]
    problem = ""
    if text.get("direction", "forward") == "bidirectional":
        raise Refusal(f"{name}: direction is bidirectional; allowed is forward")
    if text.get("direction", "forward") != "forward":
        problem = f"direction is {text['direction']}; allowed is forward"
    elif kind == "GRU" and settings.get("linear_before_reset", 0) != 1:
        problem = "linear_before_reset is 0; allowed is 1"
    elif activations and activations != usual:
        problem = f"activations are {', '.join(activations)}; allowed are {', '.join(usual)}"
    elif "clip" in settings or settings.get("input_forget", 0) or inputs[7]:
        problem = "clip, input_forget or peepholes are set; allowed is none of these"
    elif inputs[4]:
        problem = "sequence_lens are set; allowed are series of one length"
    elif any(values.any() for values in starts):
        problem = "the initial state is a constant other than zeros; allowed are zeros"
    w_ih, w_hh, bias = (value(place) for place in (1, 2, 3))
    if w_ih is None or w_hh is None:
        raise Refusal(f"{name} lacks one of its two weight matrices")
    b_ih, b_hh = (None, None) if bias is None else np.split(bias[0], 2)
    return recurrent_layer(name, kind, "onnx", [w_ih[0], w_hh[0], b_ih, b_hh], problem)


def write_onnx(target: Path, model: Model, steps: int) -> None:
    """Writes a complete graph that predicts `steps` steps, of any number of series and past steps."""
    onnx = library("onnx")
    make, nodes, constants = onnx.helper.make_node, [], []

    def constant(name: str, values: Array) -> str:
        constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def gru(layer: Layer, reads: str, state: str) -> str:
        w_ih, w_hh, b_ih, b_hh = (
            reorder(layer.weights[suffix], "GRU", "ours", "onnx") for suffix in RECURRENT
        )
        inputs = [reads, constant(f"{layer.name}.W", w_ih[None])]
        inputs.append(constant(f"{layer.name}.R", w_hh[None]))
        inputs += [constant(f"{layer.name}.B", np.concatenate([b_ih, b_hh])[None]), "", state]
        outputs = [f"{layer.name}.Y", f"{layer.name}.Y_h"]
        settings = {"hidden_size": layer.outputs, "linear_before_reset": 1}
        nodes.append(make("GRU", inputs, outputs, layer.name, **settings))
        nodes.append(make("Squeeze", [outputs[0], "one"], [f"{layer.name}.outputs"]))
        return f"{layer.name}.outputs"

    constant("one", np.array([1]))
    nodes.append(make("Transpose", ["past"], ["past_steps_first"], perm=[1, 0, 2]))
    reads = "past_steps_first"
    for layer in model.encoder:
        reads = gru(layer, reads, "")
    if model.decoder_input == "RepeatLast":
        last = f"{model.encoder[-1].name}.Y_h"
        nodes.append(
            make("Expand", [last, constant("steps", np.array([steps, 1, 1]))], ["decoder_input"])
        )
    else:
        constant("steps", np.array([steps]))
        constant("features", np.array([model.encoder[0].inputs]))
        nodes.append(make("Shape", ["past"], ["series"], start=0, end=1))
        nodes.append(make("Concat", ["steps", "series", "features"], ["shape"], axis=0))
        nodes.append(make("ConstantOfShape", ["shape"], ["decoder_input"]))
    reads = "decoder_input"
    for encoder, layer in zip(model.encoder, model.decoder):
        reads = gru(layer, reads, f"{encoder.name}.Y_h")
    weight = constant("dense.weight", model.dense.weights["weight"].T)
    bias = constant("dense.bias", model.dense.weights["bias"])
    nodes.append(make("MatMul", [reads, weight], ["product"], "dense"))
    nodes.append(make("Add", ["product", bias], ["future_steps_first"]))
    nodes.append(make("Transpose", ["future_steps_first"], ["future"], perm=[1, 0, 2]))

    kind, info = onnx.TensorProto.FLOAT, onnx.helper.make_tensor_value_info
    past = info("past", kind, ["series", "past_steps", model.encoder[0].inputs])
    future = info("future", kind, ["series", steps, model.dense.outputs])
    graph = onnx.helper.make_graph(nodes, "seq2seq", [past], [future], constants)
    opsets = [onnx.helper.make_opsetid("", 17)]
    made = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(made)
    target.write_bytes(made.SerializeToString())


# ---- files of this crate ---------------------------------------------------------------------


@dataclass
class Model:
    """The parts of an encoder-decoder."""

    encoder: list[Layer]
    decoder: list[Layer]
    dense: Layer
    decoder_input: str


def read_ours(path: Path) -> tuple[Tensors, str | None]:
    safetensors = library("safetensors")
    try:
        with safetensors.safe_open(path, "np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            named = (file.metadata() or {}).get("decoder_input")
    except (OSError, safetensors.SafetensorError) as error:
        raise Refusal(f"{path.name} cannot be read as .safetensors: {error}") from error
    return {name: floats(name, values) for name, values in tensors.items()}, named


def stack_of(path: Path, tensors: Tensors, prefix: str, label: str) -> list[Layer]:
    layers: list[Layer] = []
    while f"{prefix}weight_hh_l{len(layers)}" in tensors:
        index = len(layers)
        names = [f"{prefix}{suffix}_l{index}" for suffix in RECURRENT]
        missing = [name for name in names if name not in tensors]
        if missing:
            raise Refusal(f"{path.name} lacks {missing[0]}")
        rows, hidden = tensors[names[1]].shape
        kind = {3: "GRU", 4: "LSTM", 1: "RNN"}.get(rows // hidden, "GRU")
        weights: list[Array | None] = [tensors[name] for name in names]
        layers.append(recurrent_layer(f"{label}_{index}", kind, "ours", weights))
    if not layers:
        raise Refusal(f"{path.name} lacks {prefix}weight_hh_l0")
    return layers


def model_of(path: Path, tensors: Tensors, decoder_input: str | None) -> Model:
    encoder = stack_of(path, tensors, "encoder.", "encoder")
    decoder = stack_of(path, tensors, "decoder.", "decoder")
    for name in ("dense.weight", "dense.bias"):
        if name not in tensors:
            raise Refusal(f"{path.name} lacks {name}")
    dense = dense_layer("dense", tensors["dense.weight"], tensors["dense.bias"])
    return checked(Model(encoder, decoder, dense, decoder_input or ""))


def checked(model: Model) -> Model:
    """The model, whose parts fit; its decoder input where only one is possible."""
    for part in (model.encoder, model.decoder):
        for layer in part:
            if layer.kind != "GRU":
                raise Refusal(
                    f"{layer.name} is of kind {layer.kind}; allowed in a model is GRU, "
                    "and others in --layers"
                )
        check_stack(part)
    sizes = [[layer.outputs for layer in part] for part in (model.encoder, model.decoder)]
    if sizes[0] != sizes[1]:
        raise Refusal(
            f"the encoder has {sizes[0]} units and the decoder {sizes[1]}; allowed are the same"
        )
    top, reads = model.encoder[-1].outputs, model.decoder[0].inputs
    if model.dense.inputs != top:
        raise Refusal(
            f"{model.dense.name} reads {model.dense.inputs} values, not the decoder's {top}"
        )
    widths = {"RepeatLast": top, "Zeros": model.encoder[0].inputs}
    possible = [name for name, width in widths.items() if width == reads]
    if not possible:
        raise Refusal(
            f"{model.decoder[0].name} reads {reads} values; allowed are {top} (RepeatLast) and "
            f"{widths['Zeros']} (Zeros)"
        )
    if not model.decoder_input:
        if len(possible) > 1:
            raise Refusal(
                "the sizes fit both decoder inputs: add --decoder-input RepeatLast or Zeros"
            )
        model.decoder_input = possible[0]
    if model.decoder_input not in possible:
        raise Refusal(
            f"{model.decoder[0].name} reads {reads} values, which is not {model.decoder_input}"
        )
    return model


def check_stack(layers: list[Layer]) -> None:
    for below, above in itertools.pairwise(layers):
        if above.kind != below.kind:
            raise Refusal(
                f"{below.name} is {below.kind} and {above.name} {above.kind}; allowed is one kind"
            )
        if above.inputs != below.outputs:
            raise Refusal(
                f"{above.name} reads {above.inputs} values, but {below.name} gives {below.outputs}"
            )


def write_ours(path: Path, parts: dict[str, list[Layer]], decoder_input: str | None) -> None:
    numpy = library("safetensors.numpy")
    tensors = {}
    for prefix, layers in parts.items():
        for index, layer in enumerate(layers):
            for suffix, values in layer.weights.items():
                name = f"{prefix}{suffix}" + ("" if layer.kind == "dense" else f"_l{index}")
                tensors[name] = np.ascontiguousarray(values)
    metadata = None if decoder_input is None else {"decoder_input": decoder_input}
    path.write_bytes(
        numpy.save(tensors, metadata)
    )  # save_file makes files that only their owner reads


# ---- the command -----------------------------------------------------------------------------


def choose(path: Path, layers: list[Layer], options: argparse.Namespace) -> dict[str, list[Layer]]:
    """The layers of each part, by the names in the options or by those in the file."""
    every = ", ".join(layer.name for layer in layers)

    def named(part: str, names: str | None) -> list[Layer]:
        if names is None:
            found = [x for x in layers if re.search(rf"(^|/){part}", x.name)]
            if part == "dense" and not found:
                found = [x for x in layers if x.kind == "dense"]
            found = [x for x in found if (x.kind == "dense") == (part == "dense")]
            if not found or (part == "dense" and len(found) > 1):
                raise Refusal(
                    f"{path.name}: which layers are --{part}? "
                    f"Allowed are {every}, from the input up"
                    + (" (or --layers for a stack without a decoder)" if part != "dense" else "")
                )
            return found
        found = []
        for name in names.split(","):
            matching = [layer for layer in layers if layer.name == name]
            if len(matching) != 1:
                what = "no layer" if not matching else "more than one layer"
                raise Refusal(f"{path.name} has {what} {name}; allowed are {every}")
            if (matching[0].kind == "dense") != (part == "dense"):
                raise Refusal(f"{name} is a {matching[0].kind} layer, which cannot be in --{part}")
            found += matching
        return found

    if options.layers is not None:
        parts = {"": named("layers", options.layers)}
    else:
        parts = {
            f"{part}.": named(part, vars(options)[part]) for part in ("encoder", "decoder", "dense")
        }
    for chosen in parts.values():
        for layer in chosen:
            if layer.problem:
                raise Refusal(f"{layer.name}: {layer.problem}")
    if len(parts.get("dense.", [0])) != 1:
        raise Refusal("--dense is one layer")
    return parts


def convert(options: argparse.Namespace) -> None:
    source, target = Path(options.source), Path(options.target) if options.target else None
    if not source.is_file():
        raise Refusal(f"there is no file {source}")
    if target is None:
        if suffix_of(source) == ".safetensors":
            for name, values in read_ours(source)[0].items():
                print(name, list(values.shape))
        else:
            for layer in read_layers(source):
                sizes = f"{layer.inputs} -> {layer.outputs}"
                print(
                    f"{layer.name}: {layer.kind}, {sizes}"
                    + (f"; {layer.problem}" if layer.problem else "")
                )
        return
    formats = suffix_of(source), suffix_of(target)
    if (formats[0] == ".safetensors") == (formats[1] == ".safetensors"):
        raise Refusal(
            "one of SOURCE and TARGET is a .safetensors file of this crate, the other is not"
        )

    if formats[1] == ".safetensors":
        parts = choose(source, read_layers(source), options)
        decoder_input = None
        if options.layers is not None:
            check_stack(parts[""])
        else:
            model = Model(
                parts["encoder."],
                parts["decoder."],
                parts["dense."][0],
                options.decoder_input or "",
            )
            decoder_input = checked(model).decoder_input
        write_ours(target, parts, decoder_input)
        if formats[0] in (".weights.h5", ".msgpack"):
            print(
                "note: this format does not tell activations or a direction; the usual are assumed"
            )
        return

    tensors, decoder_input = read_ours(source)
    if options.like is not None:
        if formats[1] not in (".weights.h5", ".keras"):
            raise Refusal("--like is for .weights.h5 and .keras")
        like = Path(options.like)
        if not like.is_file():
            raise Refusal(f"there is no file {like}")
        theirs = choose(like, read_layers(like), options)
        if options.layers is not None:
            ours = {"": stack_of(source, tensors, "", "layer")}
        else:
            model = model_of(source, tensors, options.decoder_input or decoder_input)
            ours = {"encoder.": model.encoder, "decoder.": model.decoder, "dense.": [model.dense]}
        pairs = []
        for part, layers in ours.items():
            if [x.kind for x in layers] != [x.kind for x in theirs[part]]:
                what = "the stack" if part == "" else f"the {part.removesuffix('.')}"
                raise Refusal(f"{what} of {like.name} has other layers than that of {source.name}")
            pairs += list(zip(layers, theirs[part]))
        fill_keras(like, target, pairs)
    elif formats[1] == ".weights.h5":
        raise Refusal(
            "a .weights.h5 file needs --like FILE, which the model to be filled has saved"
        )
    elif formats[1] == ".msgpack":
        raise Refusal("files of Flax can be read only; allowed are .keras, .weights.h5 and .onnx")
    elif options.steps is None or options.steps < 1:
        raise Refusal(
            "a complete model needs --steps, the number of steps that it predicts, at least 1"
        )
    else:
        model = model_of(source, tensors, options.decoder_input or decoder_input)
        (write_keras if formats[1] == ".keras" else write_onnx)(target, model, options.steps)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("target", metavar="TARGET", nargs="?")
    names = "names of the other framework's layers, from the input up, with commas between"
    parser.add_argument("--encoder", metavar="A,B", help=names)
    parser.add_argument("--decoder", metavar="C,D", help=names)
    parser.add_argument("--dense", metavar="E", help="name of its dense layer")
    parser.add_argument(
        "--layers", metavar="A,B", help="a stack alone, without decoder and dense layer"
    )
    parser.add_argument(
        "--decoder-input", choices=DECODER_INPUTS, help="where the sizes do not tell"
    )
    parser.add_argument(
        "--steps", type=int, metavar="F", help="steps that a complete model predicts"
    )
    parser.add_argument(
        "--like", metavar="FILE", help="file of the Keras model that is to be filled"
    )
    try:
        convert(parser.parse_args())
    except (Refusal, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
