"""Many threads at once: the bits that each call gives alone, whatever the others do meanwhile."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
from cases import PASSES
from numba import njit, prange
from scripts import run_script
from storm import CASES, alone, bits, jobs, reals, storm

import fastconv
from fastconv.cpu import program


@njit(parallel=True)
def each_image(x, w, y):
    for i in prange(x.shape[0]):
        fastconv.conv2d(x[i : i + 1], w, padding=1, algorithm="direct", out=y[i : i + 1])


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Have another thread do something again and again; an error of its is raised at the end."""
    stop, errors = threading.Event(), []

    def run() -> None:
        try:
            while not stop.is_set():
                work()
                time.sleep(0.001)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not errors, errors


def loop_of_my_own() -> None:
    x, w, _ = reals(CASES["3x3"], "forward")
    y = np.full((5, 40, 30, 29), np.nan, np.float32)
    each_image(x, w, y)
    # One sample at a time: direct sums are the same in any batch.
    alone = fastconv.conv2d(x, w, padding=1, algorithm="direct")
    assert bits(y) == bits(alone)


def open_options() -> None:
    with fastconv.options(threads=1, winograd=False), fastconv.options(bfloat16_bits=True):
        time.sleep(0.001)


def storm_beside(seconds: float) -> int:
    work = jobs()
    expected = alone(work)
    calls = 0
    for other in (None, fastconv.clear_cache, open_options, loop_of_my_own):
        with nullcontext() if other is None else meanwhile(other):
            calls += storm(work, expected, seconds)
    return calls


def test_sixteen_threads() -> None:
    assert storm_beside(0.1) > 4 * 16 * 20


@pytest.mark.slow
def test_sixteen_threads_for_a_minute() -> None:
    print(storm_beside(15), "calls")


def test_threads_that_time_algorithms(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Whatever each finds fastest, while others forget it, results are right."""
    monkeypatch.setattr(fastconv.tuning.config, "CACHE_DIR", str(tmp_path))
    case = CASES["strided"]
    given = [np.rint(2 * values) for values in reals(case, "forward")]  # exact by any algorithm
    call = partial(fastconv.conv2d, *given, stride=2, padding=1)
    expected = bits(call(algorithm="direct"))

    def timed(_: int) -> bytes:
        with fastconv.options(autotune=True, winograd=False):
            return bits(call())

    with meanwhile(fastconv.clear_cache), ThreadPoolExecutor(8) as pool:
        assert set(pool.map(timed, range(24))) == {expected}


def test_a_kernel_is_compiled_by_one_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait for it: compiling takes seconds, and is done by one thread at a time."""
    made: list[Any] = []

    def compile_slowly(factory: Any, constants: tuple[int, ...]) -> Any:
        time.sleep(0.05)
        made.append(constants)
        return object()

    monkeypatch.setattr(program, "_compiled", compile_slowly)
    monkeypatch.setattr(program, "_kernels", {})
    with ThreadPoolExecutor(16) as pool:
        kernels = set(pool.map(lambda i: program.compiled(len, i % 2), range(16)))
    assert sorted(made) == [(0,), (1,)]
    assert len(kernels) == 2


def test_first_calls_of_a_process_from_sixteen_threads() -> None:
    """All at once: modules are imported, threads started, kernels loaded, functions compiled."""
    run_script(
        """
from storm import alone, jobs, storm
work = jobs()[::3]
from concurrent.futures import ThreadPoolExecutor
import threading
start = threading.Barrier(16)
def first(number):
    start.wait()
    return alone(work[number % 4 :] + work[: number % 4])
with ThreadPoolExecutor(16) as pool:
    results = list(pool.map(first, range(16)))
expected = results[0]
for number, found in enumerate(results):
    turn = len(work) - number % 4
    assert found[turn:] + found[:turn] == expected, number
assert alone(work) == expected
""",
        NUMBA_NUM_THREADS="2",
    )


def test_calls_while_the_interpreter_ends() -> None:
    """A thread that outlives the main one computes on, also where that takes threads of Python."""
    printed = run_script(
        """
import threading
from storm import CASES, LARGE_KERNEL, bits, job_of
work = [job_of(LARGE_KERNEL, "forward", "fft"), job_of(CASES["3x3"], "forward")]
expected = [bits(job()) for job in work]
def later():
    threading.main_thread().join()
    print([bits(job()) for job in work] == expected)
threading.Thread(target=later).start()
""",
        NUMBA_NUM_THREADS="2",
    )
    assert printed == "True\n"


def test_an_error_in_a_worker_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the threads that a call starts in Python; all have ended when it does."""
    pytest.importorskip("scipy")
    from fastconv.cpu.fft import FourierProgram

    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 1, 60, 60)), rng.standard_normal((1, 1, 15, 15))
    call = partial(fastconv.conv2d, x, w, algorithm="fft")
    expected = bits(call())
    own = FourierProgram.places

    def failing(self: Any, number: int) -> Any:
        if number == 1:
            raise MemoryError("no more")
        return own(self, number)

    threads = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(FourierProgram, "places", failing)
        with pytest.raises(MemoryError, match="no more"):
            call()
    assert threading.active_count() == threads
    assert bits(call()) == expected


@pytest.mark.parametrize("which", PASSES)
def test_from_another_thread_and_from_compiled_code(which: str) -> None:
    """The bits of a call do not depend on who makes it."""
    from nopython import ALONE

    case = CASES["3x3"]
    given = reals(case, which)
    function = ALONE[which][1]
    if which == "forward":
        arguments = (*given, *case.how)
        call = partial(fastconv.conv2d, *arguments)
    elif which == "weight_gradient":
        arguments = (given[0], case.weight_shape, given[1], *case.how)
        call = partial(fastconv.conv2d_weight, *arguments)
    else:
        arguments = (case.input_shape, *given, *case.how)
        call = partial(fastconv.conv2d_input, *arguments)
    expected = bits(call())
    with ThreadPoolExecutor(1) as pool:
        assert bits(pool.submit(call).result()) == expected
        assert bits(pool.submit(function, *arguments).result()) == expected
    assert bits(function(*arguments)) == expected
