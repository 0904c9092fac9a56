"""Numba's threading layers: under each, calls end and are right, from many threads and after forks.

What a layer cannot do, calls do on the calling thread alone. Each test is a process of its own: a
layer is chosen once, and what it does not survive ends the process.
"""

import os
import sys

import pytest
from scripts import run_script

LAYERS = ("tbb", "omp", "workqueue")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="layers differ by system")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

# Each script begins with this: two calls that are worth threads, and what they give alone.
COMMON = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork of a process with threads
import numpy as np
import fastconv
from fastconv.cpu import program
from fastconv.machine import machine_info
from storm import CASES, alone, bits, job_of, jobs, storm

work = [job_of(CASES["3x3"], "forward", "direct"), job_of(CASES["one by one"], "weight_gradient")]

def right():
    return alone(work) == expected

def on_threads():
    '''Whether a call made here and now runs on several threads.'''
    shared, own = [], program.Program.run_on_threads
    def counted(*arguments):
        shared.append(own(*arguments))
        return shared[-1]
    program.Program.run_on_threads = counted
    try:
        assert right()
    finally:
        program.Program.run_on_threads = own
    return any(shared)

def child(function):
    '''What a forked child's function returns, as an exit status, within a minute.'''
    number = os.fork()
    if not number:
        status = 99
        try:
            status = int(function())
        finally:
            os._exit(status)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(number, 9)
    os.waitpid(number, 0)
    return "hangs"

def in_a_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]

with fastconv.options(threads=1):
    expected = alone(work)
"""


def run(layer: str, source: str, threads: int = 3) -> str:
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": str(threads)}
    return run_script(COMMON + source, timeout=300, **environment)


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if name == "omp":
        pytest.importorskip("numba.np.ufunc.omppool")
    return name


def test_one_python_thread_has_all_of_them(layer: str) -> None:
    printed = run(
        layer,
        """
print(on_threads(), machine_info().threads, machine_info().threading_layer)
print(machine_info().alone)
""",
    )
    words = {
        "tbb": "in a process forked after the first parallel call",
        "omp": "after a fork",
        "workqueue": "while there is more than one Python thread, and after a fork",
    }
    assert printed == f"True 3 {layer}\n{words[layer]}\n"


def test_many_python_threads(layer: str) -> None:
    """Also where a loop of the user's own runs all the time, which fastconv cannot know of."""
    printed = run(
        layer,
        """
from numba import njit, prange
from cases import operands
from test_concurrency import meanwhile

@njit(parallel=True, nogil=True)
def many(x, w, y):
    for i in prange(y.shape[0]):
        n = i % x.shape[0]
        fastconv.conv2d(x[n : n + 1], w, padding=1, algorithm="direct", out=y[i : i + 1])

x, w, _ = (values.astype("f4") for values in operands(CASES["3x3"], "forward"))
exact = fastconv.conv2d(x, w, padding=1, algorithm="direct")

def own_loop():
    y = np.empty((50, *exact.shape[1:]), "f4")
    many(x, w, y)
    assert all(np.array_equal(y[i], exact[i % 5]) for i in range(50))

every = jobs()[:9]
given = alone(every)
own_loop()
with meanwhile(own_loop):
    print(storm(every, given, 0.1, threads=6) >= 6 * 9, on_threads())
""",
    )
    # Of the two Python threads that are left, workqueue would survive one.
    assert printed == f"True {layer != 'workqueue'}\n"


@forks
def test_forks(layer: str) -> None:
    """Before the first call and after it, from another thread, of a child; calls in its threads."""
    printed = run(
        layer,
        """
def first_use():
    found = on_threads()
    again = child(right)  # a child of this child, which has the layer from it
    return found + 2 * (again == 1) + 4 * in_a_thread(right)

print("before", child(first_use))
print("threads", on_threads())
print("after", child(right), child(lambda: in_a_thread(right)), child(lambda: not on_threads()))
print("of a child", child(lambda: child(right)))
print("from a thread", in_a_thread(lambda: child(right)))
print("in a thread", in_a_thread(lambda: child(lambda: in_a_thread(right))))
with fastconv.options(threads=2):
    print("told", child(lambda: machine_info().alone == "always, as this process was forked"))
print("goes on", right(), on_threads())
""",
    )
    lines = [
        f"before {6 + (layer == 'tbb')}",
        *("threads True", "after 1 1 1", "of a child 1", "from a thread 1", "in a thread 1"),
        *("told 1", "goes on True True", ""),
    ]
    assert printed == "\n".join(lines)


@forks
def test_forks_while_other_threads_are_in_calls(layer: str) -> None:
    """Whatever the threads that stay behind are doing, the child waits for none of them."""
    printed = run(
        layer,
        """
from test_concurrency import meanwhile
every = jobs()[:9]
given = alone(every)

def calls():
    storm(every, given, 0.2, threads=4)

def all_right():
    return alone(every) == given and storm(every, given, 0, threads=2) > 0

with meanwhile(calls):
    time.sleep(0.1)
    print([child(all_right) for _ in range(6)])
    print([in_a_thread(lambda: child(all_right)) for _ in range(6)])
""",
    )
    # Numba itself prints, too: that tbb's threads cannot be joined.
    assert [line for line in printed.splitlines() if line.startswith("[")] == [f"{[1] * 6}"] * 2


@forks
def test_a_process_on_one_core_that_forked_ends() -> None:
    """With threads but no core for them, Numba's tbb by itself waits for ever for a lost task."""
    printed = run(
        "tbb",
        """
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
print(on_threads(), child(right))
""",
        threads=2,
    )
    assert printed == "True 1\n"


@forks
def test_a_process_of_one_thread_starts_no_layer() -> None:
    printed = run(
        "tbb",
        "print(on_threads(), machine_info().threading_layer, machine_info().alone, child(right))",
        threads=1,
    )
    assert printed == "False none always, as NUMBA_NUM_THREADS is 1 1\n"


def test_without_any_layer_calls_run_alone() -> None:
    printed = run(
        "none_such",
        "print(on_threads(), machine_info().threads, machine_info().alone)",
    )
    assert printed == "False 1 always, as Numba found no threading layer\n"
