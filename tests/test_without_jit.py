"""Under NUMBA_DISABLE_JIT a program's own functions are interpreted, and fastconv's are not."""

from scripts import run_script

SCRIPT = """
import numba
import numpy as np
import fastconv
from fastconv import jit, selfcheck
from fastconv.worked_example import check, run

assert numba.config.DISABLE_JIT
for algorithm in ("auto", "direct", "im2col"):
    check(run("float32", algorithm))


@numba.njit(parallel=True)
def every(images, kernel, out):
    for i in numba.prange(len(images)):
        out[i : i + 1] = jit.conv2d(images[i : i + 1], kernel, padding=1)


images, kernel = np.arange(98.0).reshape(2, 1, 7, 7), np.arange(9.0).reshape(1, 1, 3, 3)
out = np.full_like(images, np.nan)
every(images, kernel, out)
np.testing.assert_array_equal(out, fastconv.conv2d(images, kernel, padding=1))
assert selfcheck.thread_counts().right
assert not hasattr(every, "py_func"), "it was compiled"
"""


def test_calls_are_right() -> None:
    run_script(SCRIPT, NUMBA_DISABLE_JIT="1")
