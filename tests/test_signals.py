"""Interrupts: an error that a signal's handler raises ends a call, and spoils nothing after it."""

import gc
import signal
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nopython import forward2
from scripts import run_script
from storm import CASES, LARGE_KERNEL, bits, job_of, reals

import fastconv
from fastconv._nopython import known
from fastconv._nopython.answers import answers
from fastconv.cpu import recall, workspaces

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs interval timers")

ROUNDS = 25


class Rung(Exception):
    """What the handler here raises, as Python's own raises KeyboardInterrupt."""


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Have `Rung` raised after a while, unless the block has ended.

    Then again and again: Python reports what a handler raises within a finalizer, and goes on.
    """

    def ring(number: int, frame: object) -> None:
        raise Rung

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("threads", [1, None])
@pytest.mark.parametrize(
    "call",
    [
        job_of(CASES["3x3"], "forward", "direct"),
        job_of(CASES["3x3"], "weight_gradient", "direct"),
        job_of(LARGE_KERNEL, "forward", "fft"),
    ],
    ids=["forward", "weight gradient", "fft"],
)
def test_a_call_that_is_interrupted(call: Callable[[], Any], threads: int | None) -> None:
    """It ends with the error, gives its workspace back, and the next one is right."""
    expected = bits(call())
    rung = lost = 0
    with fastconv.options(threads=threads):
        for number in range(ROUNDS):
            assert bits(call()) == expected
            kept = workspaces.kept_bytes()
            try:
                with alarm(2e-4 * (number + 1)):
                    while True:
                        call()
            except Rung:
                rung += 1
            lost += workspaces.kept_bytes() < kept
    assert rung == ROUNDS
    assert lost <= 2  # one that is interrupted before it has looked at what it took


def test_what_is_remembered_is_held_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that knows an object by its address alone would outlive it."""

    class Value:
        pass

    def interrupted(function: Any) -> Callable[..., Any]:
        def call(*arguments: Any) -> None:
            own(function)(*arguments)
            raise Rung

        return call

    own, memory, value = recall.entry, recall.Memory(), Value()
    image = np.zeros((1, 1, 3, 3))
    memory.remember(Value(), "a", 1, image, image, None, 2, (), "auto", None)
    call = "b", 1, image, image, None, 2, (), "auto", None
    monkeypatch.setattr(recall, "entry", interrupted)
    with suppress(Rung):
        memory.remember(value, *call)
    reference = weakref.ref(value)
    del value
    gc.collect()
    assert reference() is not None
    assert memory.find(*call) is reference()


def test_forgetting_that_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What compiled code can still find is not freed."""
    arguments = *reals(CASES["3x3"], "forward"), *CASES["3x3"].how
    fastconv.clear_cache()
    expected = bits(forward2(*arguments))
    assert answers.kept() == 1

    def interrupted(generation: object) -> None:
        raise Rung

    with monkeypatch.context() as patch:
        patch.setattr(known._Generation, "__init__", interrupted)
        with pytest.raises(Rung):
            fastconv.clear_cache()
    assert answers._known is not None
    answers._known._sweep()
    assert answers.kept() == 1
    assert bits(forward2(*arguments)) == expected
    fastconv.clear_cache()
    assert answers.kept() == 0


def test_interrupts_that_come_before_compiled_code_asks_python() -> None:
    """Python raises them as it begins to answer: neither lost, nor taken for an answer."""
    printed = run_script(
        """
import os, signal, threading, time
import numpy as np
from numba import njit

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by who is run in the background
import fastconv
from fastconv import conv2d

@njit
def slowly(x, w, n):
    total = 0.0
    for i in range(n):
        total += np.sin(i * 0.5)
    return conv2d(x, w, padding=1), total

x, w = np.ones((2, 24, 30, 32), np.float32), np.ones((40, 24, 3, 3), np.float32)
slowly.compile((slowly.typeof_pyval(x), slowly.typeof_pyval(w), slowly.typeof_pyval(1)))
slowly.compile((slowly.typeof_pyval(x[..., 1:]), slowly.typeof_pyval(w), slowly.typeof_pyval(1)))
started = time.perf_counter()
np.sin(np.arange(3e6) * 0.5).sum()
count = int(3e6 * 0.2 / (time.perf_counter() - started))

def interrupt():
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

def ends(x):
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        slowly(x, w, count)
        time.sleep(10)  # the loop was shorter than that
    except KeyboardInterrupt:
        return "interrupted"
    finally:
        thread.join()
    return "returned"

print("first", ends(x))
for i in range(3):
    print("a new shape", ends(x[..., i + 1 :]))
expected = conv2d(x, w, padding=1)
for i in range(3):
    y, _ = slowly(x, w, 1)
    print("on threads", np.array_equal(y, expected), ends(x))
""",
        NUMBA_NUM_THREADS="2",
    )
    lines = ["first", *["a new shape"] * 3, *["on threads True"] * 3]
    assert printed == "".join(f"{line} interrupted\n" for line in lines)


def test_compiling_that_is_interrupted(tmp_path: Path) -> None:
    """Wherever that happens, the next call compiles what it needs, on this and on other threads."""
    printed = run_script(
        """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import fastconv
from test_signals import Rung, alarm

x, w = np.ones((1, 3, 8, 8)), np.ones((4, 3, 3, 3))
rung = 0
for seconds in (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4):
    try:
        with alarm(seconds):
            fastconv.conv2d(x, w, algorithm="im2col")
    except Rung:
        rung += 1
with ThreadPoolExecutor(1) as pool:
    there = pool.submit(fastconv.conv2d, x, w, algorithm="im2col").result(60)
here = fastconv.conv2d(x, w, algorithm="direct")
print(rung > 2, np.array_equal(there, here), here[0, 0, 0, 0])
""",
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    assert printed == "True True 27.0\n"
