"""oneDNN's GRU cell (`lbr_gru`, the variant of PyTorch and of this crate) forward and backward, through the
library's C interface. Its names are those of oneapi/dnnl/dnnl.h, without the prefix.

    pip install onednn               # the newest, with the runtime of SYCL: 2 GB on disk
    pip install onednn-cpu-gomp      # oneDNN 3.2 of 2023, on OpenMP: 160 MB

Both put the same file into the environment's `lib`: install one of them.
"""

import ctypes
import os
import pathlib
import sys
from ctypes import byref, c_int, c_int64, c_size_t, c_uint, c_void_p

CPU, IN_ORDER, F32, ALLOCATE = 1, 1, 3, c_void_p(-1)  # engine, stream, data type, memory
FORWARD, BACKWARD, LEFT_TO_RIGHT = 64, 128, 1
ANY, PLAIN = 1, {3: 4, 4: 5}  # format tags: what suits the primitive; `abc` and `abcd`
MEMORY_OF_ARGUMENT = 255  # what a primitive is asked for
# Arguments of a primitive, in the order in which it is created: source, its first state, weights of
# the input and of the state, bias, output, last state. A gradient's number is 128 more.
LAYER = (1, 2, 33, 34, 41, 17, 18)
WORKSPACE = 64
GRADIENT = 128


class Argument(ctypes.Structure):
    _fields_ = [("number", c_int), ("memory", c_void_p)]


class OneDnn:
    def __init__(self):
        folder = pathlib.Path(sys.prefix, "lib")
        if not (folder / "libdnnl.so.3").exists():
            raise ImportError("oneDNN", name="onednn")
        # See findings/onednn_wheel_without_cpu.sh.
        os.environ.setdefault("OCL_ICD_FILENAMES", str(folder / "libintelocl.so"))
        for name in ("tbb.so.12", "intlc.so.5", "imf.so", "svml.so", "sycl.so.9"):
            if (folder / f"lib{name}").exists():
                ctypes.CDLL(folder / f"lib{name}", mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(folder / "libdnnl.so.3")
        self.library.dnnl_primitive_desc_query_md.restype = c_void_p
        self.library.dnnl_memory_desc_get_size.restype = c_size_t
        self.engine = self.create("engine", CPU, c_size_t(0))
        self.stream = self.create("stream", self.engine, IN_ORDER)

    def call(self, function, *arguments):
        status = getattr(self.library, f"dnnl_{function}")(*arguments)
        if status:
            raise RuntimeError(f"dnnl_{function}: status {status}")

    def create(self, what, *arguments, how="create"):
        made = c_void_p()
        self.call(f"{what}_{how}", byref(made), *arguments)
        return made

    def described(self, *sizes, tag=None):
        sizes, count = (c_int64 * len(sizes))(*sizes), len(sizes)
        tag = tag or PLAIN[count]
        return self.create("memory_desc", count, sizes, F32, tag, how="create_with_tag")

    def filled(self, description):
        """Memory with small numbers: the time does not depend on the values."""
        memory, data = self.create("memory", description, self.engine, ALLOCATE), c_void_p()
        self.call("memory_get_data_handle", memory, byref(data))
        count = self.library.dnnl_memory_desc_get_size(description) // 4
        values = (ctypes.c_float * count).from_address(data.value)
        values[:] = [0.01 * (i % 13 - 6) for i in range(count)]
        return memory

    def cell(self, batch, steps, inputs, hidden):
        """The calls that take the layer forward and backward once."""
        weights = (self.described(1, 1, n, 3, hidden, tag=ANY) for n in (inputs, hidden))
        state = self.described(1, 1, batch, hidden)
        layer = (self.described(steps, batch, inputs), state, *weights,
                 self.described(1, 1, 4, hidden), self.described(steps, batch, hidden), state)
        kinds = [self.engine, FORWARD, LEFT_TO_RIGHT]
        how = "forward_primitive_desc_create"
        forward = self.create("lbr_gru", *kinds, *layer, c_uint(0), None, how=how)
        kinds[1], how = BACKWARD, "backward_primitive_desc_create"
        backward = self.create("lbr_gru", *kinds, *layer, *layer, c_uint(0), forward, None, how=how)
        gradients = tuple(number + GRADIENT for number in LAYER)
        memories, calls = [], []
        for description, numbers in ((forward, LAYER), (backward, LAYER + gradients)):
            arguments = []
            for number in (*numbers, WORKSPACE):
                wanted = c_void_p(self.library.dnnl_primitive_desc_query_md(
                    description, MEMORY_OF_ARGUMENT, number))
                # Both directions share what they want in the same order: all but the weights.
                for known, order, memory in memories:
                    if known == number and self.library.dnnl_memory_desc_equal(order, wanted):
                        break
                else:
                    memory = self.filled(wanted)
                    memories.append((number, wanted, memory))
                arguments.append(Argument(number, memory))
            primitive = self.create("primitive", description)
            arguments = (Argument * len(arguments))(*arguments)
            calls.append((primitive, self.stream, len(arguments), arguments))
        return calls

    def step(self, calls):
        for call in calls:
            self.call("primitive_execute", *call)
        self.call("stream_wait", self.stream)
