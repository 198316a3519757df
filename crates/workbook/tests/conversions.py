"""Shows that examples/convert_weights.py and the frameworks agree.

Of the models in tests/golden/conversions/: each file becomes the stored weights; the weights become
models that Keras and onnxruntime run, with the stored outputs; and what cannot be converted is
refused. Prints the largest difference each way.
"""

import copy
import json
import os
import re
import subprocess
import sys
import tempfile
import types
import zipfile
from pathlib import Path


class Absent(types.ModuleType):
    """Stands for a package that Keras imports on numpy, and that no recurrent layer uses."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(name)


os.environ["KERAS_BACKEND"] = "numpy"
for name in ("jax", "scipy.linalg", "keras.src.backend.jax", "keras.src.backend.jax.math"):
    sys.modules[name] = Absent(name)
sys.modules["scipy"] = Absent("scipy")

import keras
import msgpack
import numpy as np
import onnx
import onnxruntime
import safetensors

TOLERANCE = 1e-5
GOLDEN = Path("tests/golden/conversions").resolve()
CONVERTER = Path("examples/convert_weights.py").resolve()
CASES = json.loads((GOLDEN / "conversions.json").read_text())
largest = {}


def run(*arguments):
    command = [sys.executable, CONVERTER, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def convert(*arguments):
    result = run(*arguments)
    assert result.returncode == 0, (arguments, result.stderr)
    return result.stdout


def refused(why, *arguments):
    """The command fails with one line, which has this text."""
    result = run(*arguments)
    lines = result.stderr.splitlines()
    assert result.returncode == 1 and len(lines) == 1, (arguments, result)
    assert lines[0].startswith("error: ") and why in lines[0], f"{why!r} is not in {lines[0]!r}"


def read(path):
    with safetensors.safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def array(case, what):
    return np.array(case[what]["values"], np.float32).reshape(case[what]["shape"])


def close(way, found, case):
    expected = array(case, "output")
    way = f"{way}, of {case['source'].split('_')[0]}"
    assert found.shape == expected.shape, (way, found.shape, expected.shape)
    difference = float(np.abs(found - expected).max())
    largest[way] = max(largest.get(way, 0.0), difference)
    assert difference <= TOLERANCE, f"{way}: off by {difference}"


# ---- to this crate ---------------------------------------------------------------------------


def each_file_becomes_the_stored_weights(folder):
    for name, case in CASES.items():
        source, target = GOLDEN / case["source"], folder / f"{name}.safetensors"
        convert(source, target, *case["arguments"])
        stored = GOLDEN / f"{name}.safetensors"
        compare(read(target), read(stored))
        if source.suffix == ".keras":  # the same, of what save_weights writes
            weights = folder / f"{name}.weights.h5"
            with zipfile.ZipFile(source) as archive:
                weights.write_bytes(archive.read("model.weights.h5"))
            convert(weights, target, *case["arguments"])
            compare(read(target), read(stored))


def compare(found, stored):
    assert found[1] == stored[1], (found[1], stored[1])
    assert found[0].keys() == stored[0].keys(), (found[0].keys(), stored[0].keys())
    for key, values in stored[0].items():
        assert values.dtype == np.float32 and np.array_equal(found[0][key], values), key


# ---- and back --------------------------------------------------------------------------------


def models():
    return {name: case for name, case in CASES.items() if "--layers" not in case["arguments"]}


def onnxruntime_agrees(folder):
    for name, case in models().items():
        target = folder / f"{name}.onnx"
        steps = case["output"]["shape"][1]
        convert(GOLDEN / f"{name}.safetensors", target, "--steps", str(steps))
        session = onnxruntime.InferenceSession(target)
        close("onnxruntime", session.run(None, {"past": array(case, "past")})[0], case)
        # The graph's own names are enough to come back.
        again = folder / f"{name}.safetensors"
        convert(target, again, "--decoder-input", read(GOLDEN / again.name)[1]["decoder_input"])
        compare(read(again), read(GOLDEN / again.name))


def keras_agrees(folder):
    for name, case in models().items():
        target = folder / f"{name}.keras"
        steps = case["output"]["shape"][1]
        convert(GOLDEN / f"{name}.safetensors", target, "--steps", str(steps))
        model = keras.models.load_model(target)
        close("Keras, .keras", model.predict(array(case, "past"), verbose=0), case)
        model.save(target)  # and as Keras writes it
        again = folder / f"{name}.safetensors"
        convert(target, again, "--decoder-input", read(GOLDEN / again.name)[1]["decoder_input"])
        compare(read(again), read(GOLDEN / again.name))


def a_model_of_keras_is_filled(folder):
    for name, case in CASES.items():
        if not name.startswith("keras"):
            continue
        keras.utils.clear_session()
        model = keras.models.load_model(GOLDEN / case["source"])
        model.set_weights([np.zeros_like(values) for values in model.get_weights()])
        past = array(case, "past")
        inputs = [past]
        for more in model.inputs[1:]:
            shape = (past.shape[0], case["output"]["shape"][1], more.shape[-1])
            inputs.append(np.zeros(shape, np.float32))
        for suffix in (".weights.h5", ".keras"):
            empty, filled = folder / f"empty{suffix}", folder / f"filled{suffix}"
            (model.save if suffix == ".keras" else model.save_weights)(empty)
            stored = GOLDEN / f"{name}.safetensors"
            convert(stored, filled, "--like", empty, *case["arguments"])
            if suffix == ".keras":
                model = keras.models.load_model(filled)
            else:
                model.load_weights(filled)
            close(f"Keras, --like {suffix}", model.predict(inputs, verbose=0), case)
            model.set_weights([np.zeros_like(values) for values in model.get_weights()])


# ---- refusals --------------------------------------------------------------------------------


def keras_refusals(folder):
    target, layers = folder / "refused.safetensors", keras.layers
    for layer, why in [
        (layers.GRU(3, name="a", reset_after=False), "a: reset_after is False; allowed is True"),
        (layers.GRU(3, name="a", go_backwards=True), "a: go_backwards is True; allowed is False"),
        (layers.GRU(3, name="a", activation="relu"), "a: activation is relu; allowed is tanh"),
        (
            layers.LSTM(3, name="a", recurrent_activation="hard_sigmoid"),
            "a: recurrent_activation is hard_sigmoid; allowed is sigmoid",
        ),
    ]:
        model = keras.Sequential([keras.Input((None, 2)), layer])
        model.save(folder / "refused.keras")
        refused(why, folder / "refused.keras", target, "--layers", "a")
        model.save_weights(folder / "refused.weights.h5")
        if "reset_after" in why:
            refused(why, folder / "refused.weights.h5", target, "--layers", "a")
    lstm = [keras.Input((None, 3)), layers.LSTM(3, name="a"), layers.Dense(3, name="b")]
    keras.Sequential(lstm).save(folder / "refused.keras")
    parts = ["--encoder=a", "--decoder=a", "--dense=b", "--decoder-input=Zeros"]
    refused(
        "a is of kind LSTM; allowed in a model is GRU", folder / "refused.keras", target, *parts
    )
    both = layers.Bidirectional(layers.GRU(3, name="a"))
    model = keras.Sequential([keras.Input((None, 2)), both])
    model.save_weights(folder / "refused.weights.h5")
    listed = convert(folder / "refused.weights.h5")
    name = re.match(r"(.*): GRU", listed)[1]
    why = "it is bidirectional; allowed is one direction"
    refused(why, folder / "refused.weights.h5", target, "--layers", name)
    model = keras.Sequential([keras.Input((None, 2)), layers.GRU(3, name="a", use_bias=False)])
    model.save(folder / "refused.keras")
    convert(folder / "refused.keras", target, "--layers", "a")
    model.save_weights(folder / "refused.weights.h5")
    why = "a: it has no bias, and this file does not tell reset_after"
    refused(why, folder / "refused.weights.h5", target, "--layers", "a")


def onnx_refusals(folder):
    path, target = folder / "refused.onnx", folder / "refused.safetensors"
    arguments = ["--layers", "/lower/GRU,/upper/GRU"]

    def with_settings(why, **settings):
        model = copy.deepcopy(stored)
        node = next(node for node in model.graph.node if node.op_type == "GRU")
        kept = [a for a in node.attribute if a.name not in settings]
        del node.attribute[:]
        node.attribute.extend(kept)
        for name, value in settings.items():
            if value is not None:
                node.attribute.append(onnx.helper.make_attribute(name, value))
        onnx.save(model, path)
        refused(why, path, target, *arguments)

    stored = onnx.load(GOLDEN / "onnx_gru.onnx")
    why = "/lower/GRU: linear_before_reset is 0; allowed is 1"
    with_settings(why, linear_before_reset=None)
    with_settings(why, linear_before_reset=0)
    with_settings("/lower/GRU: direction is reverse; allowed is forward", direction="reverse")
    with_settings("/lower/GRU: direction is bidirectional", direction="bidirectional")
    with_settings("/lower/GRU: activations are Relu, Tanh", activations=["Relu", "Tanh"])
    with_settings("/lower/GRU: clip, input_forget or peepholes are set", clip=3.0)
    node = next(node for node in stored.graph.node if node.op_type == "GRU")
    start, node.input[5] = node.input[5], "ones"
    ones = onnx.numpy_helper.from_array(np.ones((1, 3, 4), np.float32), "ones")
    stored.graph.initializer.append(ones)
    with_settings("/lower/GRU: the initial state is a constant other than zeros")
    node.input[5] = start
    weights = next(tensor for tensor in stored.graph.initializer if tensor.name == node.input[1])
    stored.graph.initializer.remove(weights)
    with_settings(f"/lower/GRU: {weights.name} is computed in the graph")


def other_refusals(folder):
    target = folder / "refused.safetensors"
    kernel = msgpack.ExtType(1, msgpack.packb([[2, 3], "float32", bytes(24)]))
    cell = {name: {"kernel": kernel} for name in ("if", "in", "hf", "hn")}
    (folder / "mgu.msgpack").write_bytes(msgpack.packb({"params": {"cell_0": cell}}))
    refused("cell_0 is an MGUCell; allowed are", folder / "mgu.msgpack", target)

    tree = msgpack.unpackb((GOLDEN / "flax_repeat_last.msgpack").read_bytes())
    both = {"forward_rnn": tree["params"]["encoder_0"], "backward_rnn": tree["params"]["encoder_0"]}
    tree["params"]["encoder_0"] = both
    (folder / "both.msgpack").write_bytes(msgpack.packb(tree))
    why = "encoder_0/backward_rnn: it is bidirectional; allowed is one direction"
    refused(why, folder / "both.msgpack", target)

    gru = GOLDEN / "keras_repeat_last.keras"
    ours = GOLDEN / "onnx_zeros.safetensors"
    unnamed = GOLDEN / "keras_zeros.keras"
    every = "gru, gru_1, gru_2, gru_3"
    refused("there is no file nowhere.keras", "nowhere.keras", target)
    refused("which layers are --encoder? Allowed are dense, " + every, unnamed, target)
    refused("no layer first; allowed are", gru, target, "--encoder", "first")
    refused(
        "fit both decoder inputs", unnamed, target, "--encoder=gru,gru_1", "--decoder=gru_2,gru_3"
    )
    refused("reads 3 values, which is not Zeros", gru, target, "--decoder-input", "Zeros")
    refused(
        "decoder_0 reads 3 values, but encoder_0 gives 4",
        gru,
        target,
        "--layers=encoder_0,decoder_0",
    )
    refused("needs --steps", ours, folder / "model.onnx")
    refused("needs --like", ours, folder / "model.weights.h5")
    refused("can be read only", ours, folder / "model.msgpack", "--steps", "3")
    refused("none of the suffixes", ours, folder / "model.pt")
    refused(
        "encoder_0 of keras_repeat_last.keras is (2, 12), but encoder_0 is (3, 9)",
        ours,
        folder / "a.keras",
        "--like",
        gru,
    )
    for suffix in (".keras", ".weights.h5", ".msgpack", ".onnx", ".safetensors"):
        broken = folder / f"broken{suffix}"
        broken.write_bytes(b"a letter, not a model")
        other = folder / "model.onnx" if suffix == ".safetensors" else target
        refused(f"broken{suffix} cannot be read as {suffix}", broken, other, "--steps", "3")
    assert not target.exists(), "a file is left"


for check in (
    each_file_becomes_the_stored_weights,
    onnxruntime_agrees,
    keras_agrees,
    a_model_of_keras_is_filled,
    keras_refusals,
    onnx_refusals,
    other_refusals,
):
    with tempfile.TemporaryDirectory() as temporary:
        check(Path(temporary))
for way, difference in largest.items():
    print(f"{way}: off by {difference:.1e} at most")
print("all as expected")
