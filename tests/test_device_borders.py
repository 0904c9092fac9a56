"""Padding modes and per-sample gradients of device arrays, kernels included, in the simulator."""

import pytest
from scripts import run_script

SCRIPT = """
import simulator
import numpy as np
from numba import cuda
import fastconv

simulator.share_arrays_safely()
there = cuda.to_device
rng = np.random.default_rng(1)

def drawn(shape, last, dtype="float32"):
    values = rng.integers(-3, 4, shape).astype(dtype)
    if not last:
        return values, there(values)
    inner = np.ascontiguousarray(np.moveaxis(values, 1, -1))
    order = (0, values.ndim - 1, *range(1, values.ndim - 1))
    return values, there(inner).transpose(order)

def check(result, expected):
    np.testing.assert_array_equal(result.copy_to_host(), expected)

CASES = {
    "reflect": ((2, 1, 3), (2, 1, 2), 1, ((2, 1),), 1, False),
    "replicate": ((2, 2, 3, 2), (2, 1, 2, 2), (2, 1), ((1, 2), (2, 0)), 2, False),
    "circular": ((2, 2, 2, 2, 2), (1, 2, 1, 2, 2), 1, ((1, 0), (0, 1), (1, 0)), 1, True),
}
for mode, (x_shape, w_shape, stride, padding, groups, last) in CASES.items():
    rank = len(x_shape) - 2
    forward = getattr(fastconv, f"conv{rank}d")
    weight = getattr(fastconv, f"conv{rank}d_weight")
    inputs = getattr(fastconv, f"conv{rank}d_input")
    how = dict(stride=stride, padding=padding, groups=groups, padding_mode=mode, algorithm="direct")
    x, x_there = drawn(x_shape, last)
    w, w_there = drawn(w_shape, False)
    y = forward(x, w, **how)
    dy, dy_there = drawn(y.shape, last)
    check(forward(x_there, w_there, **how), y)
    check(weight(x_there, w.shape, dy_there, **how), weight(x, w.shape, dy, **how))
    check(inputs(x.shape, w_there, dy_there, **how), inputs(x.shape, w, dy, **how))
    how["per_sample"] = True
    each = weight(x, w.shape, dy, **how)
    for _ in range(2 if last else 1):
        check(weight(x_there, w.shape, dy_there, **how), each)
how["padding_mode"] = "zeros"
each = weight(x, w.shape, dy, **how)
check(weight(x_there, w.shape, dy_there, **how), each)
how["algorithm"] = "im2col"
check(weight(x_there, w.shape, dy_there, **how), each)

out = cuda.device_array((4, *w.shape), x.dtype)[::2]
try:
    weight(x_there, w.shape, dy_there, **how, out=out)
except ValueError as refused:
    assert "out must have its samples one after the other in memory" in str(refused), refused
else:
    raise AssertionError("samples apart in memory")
none = weight(x_there[:0], w.shape, dy_there[:0], **how)
assert none.shape == (0, *w.shape)
mask = (True, False, False)
dx, _, _ = fastconv.convolution_backward(
    dy_there, x_there, w_there, None, (1,), padding, (1,), False, (0,), 1, mask,
    padding_mode="circular", algorithm="direct",
)
check(dx, inputs(x.shape, w, dy, 1, padding, padding_mode="circular"))
print("done")
"""


def test_against_the_host() -> None:
    pytest.importorskip("numba_cuda")
    assert run_script(SCRIPT, NUMBA_ENABLE_CUDASIM="1").strip() == "done"
