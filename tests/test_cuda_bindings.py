"""Calls through the real bindings and Numba's real arrays, to a driver whose kernels do nothing.

The driver (bench/gpu/null_driver.c) refuses what a real one would: a grid or shared memory beyond
the limits, a pool of other properties, arguments that cannot be read. It must be loaded before any
other, so each script has a process of its own.
"""

import json
import shutil
from pathlib import Path

import pytest
from scripts import run_script

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
if not (shutil.which("cc") or shutil.which("gcc")):
    pytest.skip("there is no C compiler", allow_module_level=True)

SETUP = """
import ctypes, gc
from pathlib import Path
from bench.gpu import launch

driver = launch.install(Path({folder!r}))

def value(name, kind=ctypes.c_longlong):
    return kind.in_dll(driver, name).value

import numpy as np
import fastconv
from numba import cuda

there = lambda shape, dtype="float32": cuda.to_device(np.zeros(shape, dtype))
address = lambda array: array.device_ctypes_pointer.value
"""

EVERY_FUNCTION = """
from fastconv.cuda import program

def empty(kernel, capability):
    arguments = ", ".join(f".param .u64 a{i}" for i in range(6 + len(kernel.sizes)))
    return program.Assembly("nothing", f".visible .entry nothing({arguments})")

program.Kernel.assembly = empty  # what is compiled is tested elsewhere, and takes minutes

def calls(rank, dtype, algorithm):
    spatial, taps = (9, 6, 5)[:rank], (3, 2, 1)[:rank]
    x, w = there((2, 4, *spatial), dtype), there((6, 2, *taps), dtype)
    bias, how = there((6,), dtype), dict(stride=2, padding=1, groups=2, algorithm=algorithm)
    named = lambda name: getattr(fastconv, name.replace("N", str(rank)))
    y = named("convNd")(x, w, bias, **how)
    yield "convNd", y
    yield "convNd_weight", named("convNd_weight")(x, w.shape, y, **how)
    yield "convNd_input", named("convNd_input")(x.shape, w, y, **how)
    v = there((4, 3, *taps), dtype)
    yield "conv_transposeNd", named("conv_transposeNd")(x, v, bias, **how)
    settings = None, (2,) * rank, (1,) * rank, (1,) * rank, False, (0,) * rank, 2, (1, 1, 1)
    yield "backward", *fastconv.convolution_backward(y, x, w, *settings, algorithm=algorithm)
    if rank == 2:
        columns = fastconv.unfold(x, taps, padding=1)
        yield "unfold", columns
        yield "fold", fastconv.fold(columns, spatial, taps, padding=1)

kind = type(there(1))
for tf32 in (False, True):
    for rank in (1, 2, 3):
        for dtype in ("float32", "float64", "float16"):
            for algorithm in ("auto", "direct", "im2col", "columns"):
                with fastconv.options(tf32=tf32, autotune=True):
                    results = calls(rank, dtype, algorithm)
                    before = value("null_launches")
                    for name, *made in results:
                        now = value("null_launches")
                        assert now > before, (name, rank, dtype, algorithm)
                        before = now
                        assert {(type(one), str(one.dtype)) for one in made} == {(kind, dtype)}
print(value("null_launches"))
"""

ARGUMENTS = """
x, w, y = there((2, 64, 8, 8)), there((64, 64, 3, 3)), there((2, 64, 8, 8))
bias = there((64,))
assert fastconv.conv2d(x, w, bias, padding=1, out=y) is y
last = list((ctypes.c_longlong * value("null_argument_count", ctypes.c_int)).in_dll(
    driver, "null_arguments"))
assert last[0] == address(x) and last[2:4] == [address(y), address(bias)], last
scratch, table = last[4:6]
assert last[1] == scratch and table
from fastconv.cuda import call
(job,) = next(iter(call._known.values()))
expected = job.program.steps[-1]
assert tuple(last[6:]) == expected.integers
words = expected.table.size
assert (ctypes.c_int32 * words).from_address(table)[:] == expected.table.ravel().tolist()
assert value("null_threads", ctypes.c_int) == expected.kernel.threads
assert value("null_shared", ctypes.c_int) == expected.shared
assert tuple((ctypes.c_int * 3).in_dll(driver, "null_grid")) == expected.grid

held = value("null_living")
for stream in (None, 0, 2, cuda.stream()):
    fastconv.conv2d(x, w, bias, padding=1, out=y, stream=stream)
assert value("null_living") == held, "scratch memory is given back"
fastconv.clear_cache()
del job, expected
gc.collect()
assert value("null_living") == 4, "tables are freed with their plans"

fastconv.conv2d(x, w, bias, padding=1)
waits = value("null_waits")
for stream in (None, 0, 2, cuda.stream()):
    fastconv.conv2d(x, w, bias, padding=1, stream=stream)
assert value("null_waits") == waits, "nothing waits for the device, and nothing is copied"
print("done")
"""

LARGE_SHARED = """
x, w = there((64, 256, 14, 14), "float16"), there((256, 256, 3, 3), "float16")
y = fastconv.conv2d(x, w, padding=1)
assert value("null_shared", ctypes.c_int) > 48 << 10
fastconv.conv2d_weight(x, w.shape, y, padding=1)
print("done")
"""

REFUSED = """
from fastconv.cuda import driver as ours, program, staging
step = program.Step(program.compiled(staging.add_splits, "f32"), (1, 65536, 1),
    dict(sums=0, splits=0, rows=0, pairs=0, y_row=0))
ours.device()
try:
    program.Program([step]).run(1, 2, 3)
except RuntimeError as error:
    print(error)
"""


def _run(script: str, folder: Path) -> str:
    return run_script(SETUP.format(folder=str(folder)) + script)


def test_every_function_on_every_kind_of_array(tmp_path: Path) -> None:
    assert int(_run(EVERY_FUNCTION, tmp_path)) > 500


def test_arguments_and_memory(tmp_path: Path) -> None:
    assert _run(ARGUMENTS, tmp_path).strip() == "done"


def test_kernels_are_allowed_the_shared_memory_they_take(tmp_path: Path) -> None:
    assert _run(LARGE_SHARED, tmp_path).strip() == "done"


def test_a_refused_launch_is_an_error(tmp_path: Path) -> None:
    assert _run(REFUSED, tmp_path).startswith("CUDA: NULL_DRIVER_REFUSED")


def test_the_launch_path_is_timed(tmp_path: Path) -> None:
    """The fastest of many rounds; the limit is for who runs it on an idle machine."""
    path = tmp_path / "figures.json"
    script = f"""
from bench.gpu import launch
try:
    launch.main(["--seconds", "0.1", "--json", {str(path)!r}], standalone_mode=False)
except SystemExit:
    pass  # the medians, which a busy machine spoils
"""
    run_script(script)
    read = json.loads(path.read_text())
    assert len(read["figures"]) == 6
    for figure in read["figures"]:
        assert figure["launches"] >= 2
        assert 0 < figure["fastest_launch"] < figure["fastest_call"], figure
