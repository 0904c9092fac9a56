"""Nopython code in processes of its own: kept on disk, in any order of imports, threads, forks."""

import os
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from scripts import run_script

ROOT = Path(__file__).resolve().parent.parent

TWO_THREADS = {"NUMBA_NUM_THREADS": "2"}

USER = """
import numpy as np
from numba import njit, prange
import fastconv

@njit(cache=True)
def blurred(image, kernel):
    return fastconv.conv2d(image, kernel, padding=1)

@njit(cache=True, parallel=True)
def each(images, kernel, out):
    for i in prange(images.shape[0]):
        fastconv.conv2d(images[i : i + 1], kernel, padding=1, out=out[i : i + 1])
"""

USES = """
import numpy as np
import {module} as user

x = np.arange(98, dtype=np.float32).reshape(2, 1, 7, 7)
w = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
y = user.blurred(x, w)
out = np.full_like(y, np.nan)
user.each(x, w, out)
import fastconv
expected = fastconv.conv2d(x, w, padding=1)
np.testing.assert_array_equal(y, expected)
np.testing.assert_array_equal(out, expected)
try:
    user.blurred(x, w[0])
except ValueError as error:
    print(error)
for function in (user.blurred, user.each):
    print(sum(function.stats.cache_hits.values()), sum(function.stats.cache_misses.values()))
"""


def test_machine_code_is_found_on_disk_and_right_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "user_of_fastconv.py").write_text(USER)
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    script += USES.format(module="user_of_fastconv")
    error = "weight must be 4-D for 2 spatial axes, got shape (1, 3, 3)"
    first, second = (run_script(script, **TWO_THREADS).splitlines() for _ in range(2))
    # The call that is refused is of other types, and compiled for itself.
    assert first == [error, "0 2", "0 1"]
    assert second == [error, "2 0", "1 0"]


@pytest.mark.parametrize(
    "imports",
    ["import fastconv", "from fastconv import conv2d", "import fastconv.jit"],
)
def test_fastconv_may_be_imported_after_numba_has_compiled(imports: str) -> None:
    name = "conv2d" if "conv2d" in imports else "fastconv.conv2d"
    run_script(f"""
import warnings
warnings.simplefilter("error")
import numba
import numpy as np

@numba.njit
def before(x):
    return x + 1

before(1)
{imports}

@numba.njit
def after(x, w):
    return {name}(x, w)

x = np.ones((1, 1, 3, 3))
assert after(x, x).item() == 9
""")


def test_entry_point_imports_nothing() -> None:
    run_script("""
import sys
before = set(sys.modules)
import _fastconv_numba
_fastconv_numba.init()
assert set(sys.modules) - before == {"_fastconv_numba"}, set(sys.modules) - before
import fastconv
_fastconv_numba.init()
""")


def test_entry_point_is_declared_and_installed() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert declared == {"numba_extensions": {"init": "_fastconv_numba:init"}}
    installed = [e.value for e in entry_points(group="numba_extensions")]
    if "_fastconv_numba:init" not in installed:
        pytest.skip("this copy of fastconv is not installed")
    run_script("""
import sys
import numba
numba.njit(lambda x: x)(1)
assert "_fastconv_numba" in sys.modules
assert "fastconv" not in sys.modules
""")


def test_new_shapes_from_all_threads_of_a_loop_at_once() -> None:
    """Misses race, on two workers that Python knows nothing of; then all is found."""
    run_script(
        """
import numpy as np
from numba import njit, prange
import fastconv
from fastconv._nopython.answers import answers

@njit(parallel=True)
def ramps(x, w, out):
    for i in prange(out.shape[0]):
        size = 3 + i // 4
        out[i] = fastconv.conv2d(x[:, :, :size, : size + i % 2], w, padding=2).sum()

x = np.arange(3600, dtype=np.float64).reshape(1, 1, 60, 60)
w = np.arange(9, dtype=np.float64).reshape(1, 1, 3, 3)
out = np.full(80, np.nan)
expected = [
    fastconv.conv2d(x[:, :, : 3 + i // 4, : 3 + i // 4 + i % 2], w, padding=2).sum()
    for i in range(80)
]
for _ in range(3):
    ramps(x, w, out)
    np.testing.assert_array_equal(out, expected)
    assert answers.kept() == 40
    out[:] = np.nan
fastconv.clear_cache()
assert answers.kept() == 0
ramps(x, w, out)
np.testing.assert_array_equal(out, expected)
""",
        **TWO_THREADS,
    )


def test_plans_are_forgotten_while_loops_use_them() -> None:
    """What a call under way reads stays in memory, and nothing stays for ever."""
    run_script(
        """
import threading
import numpy as np
from numba import njit, prange
import fastconv
from fastconv._nopython.answers import answers

@njit(nogil=True)
def often(x, w, n):
    wrong = 0
    for i in range(n):
        size = 3 + i % 7
        y = fastconv.conv2d(x[:, :, :size, :size], w, padding=1)
        wrong += y.shape[3] != size or y[0, 0, 1, 1] != 9
    return wrong

x, w = np.ones((1, 1, 10, 10)), np.ones((1, 1, 3, 3))
assert often(x, w, 20) == 0
wrong = []
threads = [threading.Thread(target=lambda: wrong.append(often(x, w, 400))) for _ in range(3)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    fastconv.clear_cache()
for thread in threads:
    thread.join()
assert wrong == [0] * 3, wrong
fastconv.clear_cache()
assert answers.kept() == 0
""",
        **TWO_THREADS,
    )


def test_more_shapes_than_are_kept() -> None:
    run_script("""
import numpy as np
from numba import njit
import fastconv
from fastconv._nopython.answers import answers
from fastconv.cpu.entries import MOST

@njit
def padded(x, w, before, after):
    return fastconv.conv1d(x, w, padding=((before, after),))

x, w = np.arange(3.0).reshape(1, 1, 3), np.ones((1, 1, 1))
for round in range(2):
    for before in range(34):
        for after in range(34):
            y = padded(x, w, before, after)
            assert y.shape == (1, 1, 3 + before + after)
            assert y[0, 0, before + 1] == 1 and y[0, 0, before + 2] == 2
assert 0 < answers.kept() <= MOST
""")


def test_settings_hold_in_threads_without_a_context() -> None:
    """A loop's workers run under the block that was opened last; a nested one under its own."""
    run_script(
        """
import threading
import numpy as np
from numba import njit, prange
import fastconv

@njit(parallel=True)
def loop(x, w, out):
    for i in prange(out.shape[0]):
        fastconv.conv2d(x, w, padding=1, out=out[i])

@njit
def alone(x, w):
    return fastconv.conv2d(x, w, padding=1)

rng = np.random.default_rng(0)
x = rng.standard_normal((1, 64, 14, 14), np.float32)
w = rng.standard_normal((64, 64, 3, 3), np.float32)
direct = fastconv.conv2d(x, w, padding=1, algorithm="direct").tobytes()
winograd = fastconv.conv2d(x, w, padding=1).tobytes()
assert direct != winograd
out = np.empty((6, *x.shape), np.float32)

def all_are(expected):
    out[:] = np.nan
    loop(x, w, out)
    return all(y.tobytes() == expected for y in out)

assert all_are(winograd)
with fastconv.options(winograd=False):
    assert all_are(direct)
    with fastconv.options(winograd=True):
        assert all_are(winograd)
    assert all_are(direct)
    # Another thread of Python has a context of its own.
    other = []
    thread = threading.Thread(target=lambda: other.append(alone(x, w).tobytes()))
    thread.start()
    thread.join()
    assert other == [winograd]
assert all_are(winograd)
""",
        **TWO_THREADS,
    )


def test_a_large_call_uses_threads_unless_it_is_in_a_loop() -> None:
    run_script(
        """
import numpy as np
from numba import njit, prange
import fastconv
from fastconv.cpu import program

asked = []
original = program.Program.run_on_threads
def counted(self, *objects):
    asked.append(original(self, *objects))
    return asked[-1]
program.Program.run_on_threads = counted

@njit
def alone(x, w):
    return fastconv.conv2d(x, w, padding=1)

@njit(nogil=True)
def unlocked(x, w):
    return fastconv.conv2d(x, w, padding=1)

@njit(parallel=True)
def loop(x, w, out):
    for i in prange(out.shape[0]):
        fastconv.conv2d(x, w, padding=1, out=out[i])

rng = np.random.default_rng(0)
x = rng.standard_normal((2, 48, 20, 20), np.float32)
w = rng.standard_normal((48, 48, 3, 3), np.float32)
expected = fastconv.conv2d(x, w, padding=1).tobytes()
assert asked == [True]
assert alone(x, w).tobytes() == expected
assert asked == [True] * 2
with fastconv.options(threads=1):
    assert alone(x, w).tobytes() == expected
assert asked == [True, True, False]
assert unlocked(x, w).tobytes() == expected
out = np.empty((4, 2, 48, 20, 20), np.float32)
loop(x, w, out)
assert all(y.tobytes() == expected for y in out)
assert len(asked) == 3
""",
        **TWO_THREADS,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_after_a_fork() -> None:
    run_script("""
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import numpy as np
from numba import njit
import fastconv

@njit
def alone(x, w):
    return fastconv.conv2d(x, w, padding=1)

x, w = np.ones((2, 48, 20, 20), np.float32), np.ones((48, 48, 3, 3), np.float32)
expected = fastconv.conv2d(x, w, padding=1)
np.testing.assert_array_equal(alone(x, w), expected)
child = os.fork()
if not child:
    code = 1
    try:
        np.testing.assert_array_equal(alone(x, w), expected)
        y = alone(x[:, :, 1:], w)
        np.testing.assert_array_equal(y, fastconv.conv2d(x[:, :, 1:], w, padding=1))
        code = 0
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
np.testing.assert_array_equal(alone(x, w), expected)
""")


def test_errors_in_a_loop_are_shown() -> None:
    """Numba drops errors of threads that Python does not know: here they can be seen at least."""
    printed = run_script(
        """
import sys
import numpy as np
from numba import njit, prange
import fastconv

seen = []
sys.unraisablehook = lambda what: seen.append(what.exc_value)

@njit(parallel=True)
def loop(x, w, done):
    for i in prange(done.shape[0]):
        fastconv.conv2d(x, w, stride=i - i)
        done[i] = True

x, done = np.ones((1, 1, 3, 3)), np.zeros(8, bool)
try:
    loop(x, x, done)
except SystemError as error:  # of the chunks that the calling thread ran
    seen.append(error.__cause__)
assert seen and not done.any()
print(*{f"{type(error).__name__}: {error}" for error in seen})
""",
        **TWO_THREADS,
    )
    assert printed == "ValueError: stride must be at least 1, got 0\n"


def test_transforms_of_scipy_run_too() -> None:
    pytest.importorskip("scipy")
    run_script(
        """
import numpy as np
from numba import njit, prange
import fastconv

@njit(parallel=True)
def loop(x, w, out):
    for i in prange(out.shape[0]):
        fastconv.conv2d(x, w, algorithm="fft", out=out[i])

@njit
def alone(x, w):
    return fastconv.conv2d(x, w, algorithm="fft")

rng = np.random.default_rng(0)
x, w = rng.standard_normal((1, 1, 60, 60)), rng.standard_normal((1, 1, 15, 15))
expected = fastconv.conv2d(x, w, algorithm="fft").tobytes()
assert alone(x, w).tobytes() == expected
out = np.empty((4, 1, 1, 46, 46))
loop(x, w, out)
assert all(y.tobytes() == expected for y in out)
""",
        **TWO_THREADS,
    )


def test_blocks_of_adapters_are_not_told() -> None:
    """Threads without a context go by users' blocks, not by those that an adapter opens."""
    printed = run_script(
        """
import numpy as np
from dataclasses import replace
from numba import njit
import fastconv
from fastconv.options import Block, current

@njit(nogil=True)
def one(x, w):
    return fastconv.conv2d(x, w)

x, w = np.full((1, 1, 2, 2), 3, np.uint16), np.full((1, 1, 2, 2), 5, np.uint16)
from concurrent.futures import ThreadPoolExecutor
with Block(replace(current(), bfloat16_bits=True)), ThreadPoolExecutor(1) as pool:
    print(pool.submit(one, x, w).result().ravel())
"""
    )
    assert printed == "[60]\n"
