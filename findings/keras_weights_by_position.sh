#!/usr/bin/env bash
# Keras 3: `load_weights` gives layers of the same names one another's weights, without a warning.
#
# One would expect a file of weights to be read by the names of its layers, or at least to be refused when
# they do not fit. Keras 3 reads a .weights.h5 file by the place of a layer among those of its class, in the
# order of `model.layers`: the names are in the file, and are not compared. In a functional model that order is
# not the one in which the layers were made: they are sorted by the longest way to the output. Below, two
# encoder-decoders have the same layers, made in the same order and under the same names. They differ in what
# the decoder reads: the encoder's last state, or an input of its own. In the second the first layer of the
# decoder is as far from the output as the second one of the encoder, and comes before it.
#
# Seen with keras 3.15.1 on jax 0.10.2, numpy 2.4.6 and Python 3.11, x86-64 Linux.
# Source: `_save_container_state` and `_load_container_state` in keras/src/saving/saving_lib.py;
# `map_graph` in keras/src/ops/function.py for the order.
set -euo pipefail
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 scipy==1.17.1

cat > show.py <<'PYTHON'
import warnings

import keras
import numpy as np

NAMES = ["encoder_0", "encoder_1", "decoder_0", "decoder_1"]


def model(own_input):
    def gru(name):
        return keras.layers.GRU(3, return_sequences=True, return_state=True, name=name)

    past = keras.Input((None, 3))
    first, first_state = gru("encoder_0")(past)
    _, second_state = gru("encoder_1")(first)
    if own_input:
        reads = keras.Input((None, 3))
    else:
        reads = keras.layers.RepeatVector(5)(second_state)
    first, _ = gru("decoder_0")(reads, initial_state=first_state)
    second, _ = gru("decoder_1")(first, initial_state=second_state)
    return keras.Model([past, reads] if own_input else past, second)


saved, loaded = model(own_input=False), model(own_input=True)
saved.save_weights("a.weights.h5")
with warnings.catch_warnings():
    warnings.simplefilter("error", UserWarning)
    loaded.load_weights("a.weights.h5")

origin = {}
for name in NAMES:
    kernel = loaded.get_layer(name).get_weights()[0]
    [origin[name]] = [n for n in NAMES if np.array_equal(saved.get_layer(n).get_weights()[0], kernel)]
    print(f"{name} has the weights of {origin[name]}")
assert origin["encoder_0"] == "encoder_0" and origin["decoder_1"] == "decoder_1"
assert origin["encoder_1"] == "decoder_0" and origin["decoder_0"] == "encoder_1", "names count now"
PYTHON
KERAS_BACKEND=jax venv/bin/python show.py
