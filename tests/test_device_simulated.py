"""Numba's device arrays through the public functions, kernels included, in Numba's simulator."""

import pytest
from scripts import run_script

SCRIPT = """
import simulator
import numpy as np
from numba import cuda
import fastconv
from fastconv.worked_example import EXPECTED, INPUT, KERNEL

simulator.share_arrays_safely()

ALGORITHM = {algorithm!r}
x, w = (np.array([[values]], "float32") for values in (INPUT, KERNEL))
dy = np.full((1, 1, 2, 2), 4, "float32")
there = cuda.to_device

y = fastconv.conv2d(there(x), there(w), algorithm=ALGORITHM)
assert type(y) is type(there(x)), type(y)
np.testing.assert_array_equal(y.copy_to_host()[0, 0], EXPECTED["output"])
dw = fastconv.conv2d_weight(there(x), w.shape, there(dy), algorithm=ALGORITHM)
np.testing.assert_array_equal(dw.copy_to_host()[0, 0], EXPECTED["kernel_gradient"])
dx = fastconv.conv2d_input(x.shape, there(w), there(dy), algorithm=ALGORITHM)
np.testing.assert_array_equal(dx.copy_to_host()[0, 0], EXPECTED["input_gradient"])

last = np.moveaxis(np.arange(24, dtype="float64").reshape(1, 3, 4, 2), -1, 1)
v, bias = np.arange(8, dtype="float64").reshape(4, 2, 1, 1), np.arange(8.0)
strided = there(bias)[::2]
images = there(np.ascontiguousarray(np.moveaxis(last, 1, -1))).transpose((0, 3, 1, 2))
for _ in range(2):
    result = fastconv.conv2d(images, there(v), strided, algorithm=ALGORITHM)
    host = fastconv.conv2d(last, v, bias[::2])
    assert result.strides == host.strides
    np.testing.assert_array_equal(result.copy_to_host(), host)
out = cuda.device_array((4, 3, 4), "float64")
assert fastconv.conv2d(images[0], there(v), out=out, stream=cuda.stream()) is out
np.testing.assert_array_equal(out.copy_to_host(), fastconv.conv2d(last[0], v))
_, _, db = fastconv.convolution_backward(
    there(dy), there(x), there(w), None, (1,), (0,), (1,), False, (0,), 1, (False, False, True)
)
np.testing.assert_array_equal(db.copy_to_host(), [16])
columns = fastconv.unfold(there(x), 2, padding=1)
np.testing.assert_array_equal(columns.copy_to_host(), fastconv.unfold(x, 2, padding=1))
images = fastconv.fold(columns, (3, 3), 2, padding=1)
np.testing.assert_array_equal(
    images.copy_to_host(), fastconv.fold(columns.copy_to_host(), (3, 3), 2, padding=1)
)
none = fastconv.conv2d_weight(there(x[:0]), w.shape, there(dy[:0]), algorithm=ALGORITHM)
np.testing.assert_array_equal(none.copy_to_host(), 0 * w)
fastconv.clear_cache()
print("done")
"""


@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col", "columns"])
def test_numba_arrays(algorithm: str) -> None:
    pytest.importorskip("numba_cuda")
    printed = run_script(SCRIPT.format(algorithm=algorithm), NUMBA_ENABLE_CUDASIM="1")
    assert printed.strip() == "done"
