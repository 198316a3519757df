#!/usr/bin/env bash
# oneDNN: the library of `pip install onednn` has no engine for the CPU, and calls that "invalid arguments".
#
# One would expect a library for processors to compute on one when it and all that it depends on are installed.
# The wheel is built for SYCL. Its CPU engine is a SYCL device, OpenCL's driver for CPUs, which comes along as
# intel-opencl-rt. OpenCL finds a driver by a file of one line. The wheel's names a folder where nothing is: the
# placeholder that conda replaces when it installs a package, and pip does not. So there is no device, and
# `dnnl_engine_create` returns status 2, `dnnl_invalid_arguments`; a line that the library prints says more.
# OCL_ICD_FILENAMES with the driver's right place helps. Nor has the library a search path for its dependencies,
# though they lie in the same folder: they are loaded first here.
#
# Seen with onednn 2026.1.0 (oneDNN 3.13.2), intel-opencl-rt 2026.2.0 and Python 3.11, x86-64 Linux; the packages
# take 2 GB. The older onednn-cpu-gomp 2023.2.0 is built for OpenMP and needs none of this.
set -euo pipefail
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check onednn==2026.1.0 dpcpp-cpp-rt==2026.2.0 \
    intel-opencl-rt==2026.2.0 intel-sycl-rt==2026.2.0 tbb==2023.2.0 umf==1.2.0

cat > show.py <<'PYTHON'
import ctypes
import pathlib
import sys

folder = pathlib.Path(sys.prefix, "lib")
try:
    ctypes.CDLL(folder / "libdnnl.so.3")
    sys.exit("the library finds its dependencies now")
except OSError as error:
    print(error)
for name in ("libtbb.so.12", "libintlc.so.5", "libimf.so", "libsvml.so", "libsycl.so.9"):
    ctypes.CDLL(folder / name, mode=ctypes.RTLD_GLOBAL)
dnnl = ctypes.CDLL(folder / "libdnnl.so.3")
cpu, engine = 1, ctypes.c_void_p()
status = dnnl.dnnl_engine_create(ctypes.byref(engine), cpu, ctypes.c_size_t(0))
print("dnnl_engine_create for a CPU returns", status)
sys.exit(0 if status == int(sys.argv[1]) else "another status than was expected")
PYTHON
unset OCL_ICD_FILENAMES LD_LIBRARY_PATH
drivers=venv/etc/OpenCL/vendors/intel-cpu.icd
echo "$drivers says: $(cat $drivers)"
[ ! -e "$(cat $drivers)" ]
venv/bin/python show.py 2
echo "and with OCL_ICD_FILENAMES:"
OCL_ICD_FILENAMES=$PWD/venv/lib/libintelocl.so venv/bin/python show.py 0
