#!/usr/bin/env bash
# safetensors: `safetensors.numpy.save_file` writes another matrix when the array is a transposed one.
#
# One would expect the file to hold the array that was given, or an error: `safetensors.torch.save_file`
# refuses a tensor that is not contiguous. With numpy the shape is written from the array, and the values as
# they lie in memory, so that the transposed matrix comes back with its values in other places. The docstring
# asks for contiguous arrays, and nothing checks it. The file loads everywhere without an error. Whoever
# converts weights meets this, because `kernel.T` is how a kernel of Keras or Flax becomes a weight of PyTorch.
# `numpy.ascontiguousarray(kernel.T)` is right.
#
# Seen with safetensors 0.8.0 and numpy 2.4.6 on Python 3.11, x86-64 Linux.
# Source: `_flatten` in safetensors/numpy.py, which takes the shape and the address of the data, and not the
# strides.
set -euo pipefail
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6

cat > show.py <<'PYTHON'
import numpy as np
from safetensors.numpy import load_file, save_file

kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
save_file({"view": kernel.T, "copy": np.ascontiguousarray(kernel.T)}, "file.safetensors")
loaded = load_file("file.safetensors")
print("given:                ", kernel.T.tolist())
print("read, of the view:    ", loaded["view"].tolist())
print("read, of a real copy: ", loaded["copy"].tolist())
assert np.array_equal(loaded["copy"], kernel.T)
assert loaded["view"].shape == (3, 2)
assert np.array_equal(loaded["view"], kernel.reshape(3, 2)), "the view is written as it is now"
PYTHON
venv/bin/python show.py
