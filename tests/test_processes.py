"""Processes that others start: pools of every kind, their workers' own children, data loaders."""

import os
from pathlib import Path

import pytest
from scripts import run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

# The parent computes before it starts workers, on threads, and after they have ended.
COMMON = """
import multiprocessing, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork of a process with threads
from concurrent.futures import ProcessPoolExecutor
from pooled import expected, nested, one, right
assert right()
"""

POOL = """
with multiprocessing.get_context({method!r}).Pool(2) as pool:
    print(pool.map_async(one, range(6)).get(100) == expected())
assert right()
"""

EXECUTOR = """
with ProcessPoolExecutor(2, multiprocessing.get_context({method!r})) as pool:
    print(list(pool.map(one, range(6), timeout=100)) == expected())
assert right()
"""

NESTED = """
with ProcessPoolExecutor(1, multiprocessing.get_context({method!r})) as pool:
    print(pool.submit(nested, {method!r}).result(100) == expected())
assert right()
"""

THREADS = {"NUMBA_NUM_THREADS": "2"}


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_pools(method: str) -> None:
    kinds = POOL, EXECUTOR, *([NESTED] if method == "fork" else [])
    source = COMMON + "".join(kind.format(method=method) for kind in kinds)
    assert run_script(source, **THREADS) == "True\n" * len(kinds)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader(method: str) -> None:
    pytest.importorskip("torch")
    source = f"""
from torch.utils.data import DataLoader
from pooled import Filtered
images = Filtered()
loader = DataLoader(images, batch_size=2, num_workers=2, multiprocessing_context={method!r})
batches = [image.numpy().tobytes() for batch in loader for image in batch]
print(batches == expected()[:1] * 6)
"""
    assert run_script(COMMON + source, **THREADS) == "True\n"


def test_a_fork_while_another_thread_compiles(tmp_path: Path) -> None:
    """The child would find Numba's compiler taken, by a thread that has stayed behind."""
    printed = run_script(
        """
import os, threading, time
import numpy as np
import fastconv
from fastconv.cpu import program

x, w = np.ones((1, 3, 8, 8)), np.ones((4, 3, 3, 3))
compiling, compiled = threading.Event(), program._compiled

def told(*arguments):
    compiling.set()
    return compiled(*arguments)

def first():
    assert fastconv.conv2d(x, w, algorithm="im2col")[0, 0, 0, 0] == 27

program._compiled = told
thread = threading.Thread(target=first)
thread.start()
assert compiling.wait(60)
number = os.fork()
if not number:
    first()
    fastconv.conv2d(x, w, algorithm="direct")
    os._exit(0)
end = time.monotonic() + 100
while time.monotonic() < end and os.waitpid(number, os.WNOHANG) == (0, 0):
    time.sleep(0.01)
thread.join()
try:
    os.kill(number, 9)
    print("hangs")
except ProcessLookupError:
    print("ends")
""",
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    assert printed == "ends\n"
