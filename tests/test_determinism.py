"""The same bits from run to run, for any number of threads, wherever arrays lie, in any batch."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, VIEWS, Array, channels_last
from cases import ALGORITHMS, EDGES, PASSES, Case, compute, grid, simple
from scripts import run_script
from storm import CASES, LARGE_KERNEL, SMALL, alone, bits, jobs, reals

import fastconv


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_threads_do_not_change_a_bit(
    case: Case, dtype: str, layout: str, which: str, algorithm: str
) -> None:
    arrays = reals(case, which, dtype, layout)
    first = bits(compute(case, which, *arrays, algorithm=algorithm))
    assert first == bits(compute(case, which, *arrays, algorithm=algorithm))
    for threads in (1, 2, 3, 7):
        with fastconv.options(threads=threads):
            assert first == bits(compute(case, which, *arrays, algorithm=algorithm))


def test_concurrent_callers_of_a_new_shape() -> None:
    """Eight threads that meet at a shape no plan exists for yet."""
    case = simple(2, 11, 13, (18, 23), (3, 3), pad=1)
    fastconv.clear_cache()
    arrays = reals(case, "forward", "float32")
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(compute, case, "forward", *arrays, algorithm="direct") for _ in range(16)
        ]
    assert len({bits(call.result()) for call in calls}) == 1


def shifted(values: Array, elements: int) -> Array:
    """A copy that begins so many elements behind a cache line, and is laid out as ``values`` is."""
    order = np.argsort([-stride for stride in values.strides], kind="stable")
    memory = np.zeros(values.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + elements * values.itemsize
    inner = memory[start : start + values.nbytes].view(values.dtype)
    view = inner.reshape([values.shape[axis] for axis in order]).transpose(np.argsort(order))
    view[...] = values
    assert view.ctypes.data % 64 == elements * values.itemsize
    assert view.strides == values.strides
    return view


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_arrays_begin_does_not_change_a_bit(layout: str, which: str, algorithm: str) -> None:
    for case in CASES.values():
        given = [shifted(a, 0) for a in reals(case, which, "float32", layout)]
        y = compute(case, which, *given, algorithm=algorithm)
        for first, second, out in ((1, 1, 1), (3, 5, 0), (0, 7, 15), (13, 0, 2)):
            moved = shifted(given[0], first), shifted(given[1], second), *given[2:]
            place = shifted(np.full_like(y, np.nan), out)
            compute(case, which, *moved, out=place, algorithm=algorithm)
            assert bits(place) == bits(y), (case, first, second, out)


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("view", ["sliced", "cropped", "reversed", "unaligned", "fortran"])
def test_strides_do_not_change_a_bit(view: str, which: str) -> None:
    """By direct convolution, which sums in one order wherever numbers lie."""
    for name in ("3x3", "depthwise"):
        given = reals(CASES[name], which)
        expected = bits(compute(CASES[name], which, *given, algorithm="direct"))
        seen = [VIEWS[view](values) if values.ndim > 1 else values for values in given]
        assert bits(compute(CASES[name], which, *seen, algorithm="direct")) == expected


def test_another_process_gives_the_same() -> None:
    """Of another number of threads, another threading layer and another seed of Python's hashes."""
    script = """
import hashlib
from storm import alone, jobs
print(hashlib.sha256(b"".join(alone(jobs()))).hexdigest())
"""
    here = hashlib.sha256(b"".join(alone(jobs()))).hexdigest()
    settings = (
        {"NUMBA_NUM_THREADS": "1", "PYTHONHASHSEED": "1"},
        {"NUMBA_NUM_THREADS": "5", "PYTHONHASHSEED": "2"},
        {"NUMBA_NUM_THREADS": "3", "NUMBA_THREADING_LAYER": "workqueue"},
    )
    for variables in settings:
        assert run_script(script, **variables).strip() == here


# Algorithms that sum each result in one order whatever batch it is part of, and cases for them.
IN_ANY_BATCH = {
    "direct": (CASES["3x3"], CASES["one by one"], CASES["strided"]),
    "im2col": (CASES["3x3"], CASES["few channels"], simple(2, 300, 90, (11, 11), (1, 1))),
    "winograd": (CASES["3x3"],),
    "depthwise": (CASES["depthwise"],),
    "listed": (SMALL,),
    "fft": (LARGE_KERNEL,),
}


def compare_batches(
    case: Case, which: str, algorithm: str, dtype: str = "float32", layout: str = LAYOUTS[0]
) -> None:
    """Compare samples by themselves with the same ones in batches, first, last and repeated."""
    given = reals(replace(case, n=3), which, dtype, layout)[:2]
    samples, weights = given if which == "forward" else reversed(given)
    laid_out = channels_last if layout == "channels_last" else np.ascontiguousarray

    def batch(*order: int) -> list[bytes]:
        some = laid_out(samples[list(order)])
        operands = (some, weights) if which == "forward" else (weights, some)
        results = compute(replace(case, n=len(order)), which, *operands, algorithm=algorithm)
        return [bits(y) for y in results]

    alone = [*batch(0), *batch(1), *batch(2)]
    for order in ((2, 0, 1), (1, 1, 1, 1, 1, 1, 1, 0)):
        assert batch(*order) == [alone[n] for n in order], (case, order, dtype, layout)


@pytest.mark.parametrize("algorithm", IN_ANY_BATCH)
@pytest.mark.parametrize("which", ["forward", "input_gradient"])
def test_a_sample_has_its_bits_in_any_batch(which: str, algorithm: str) -> None:
    if algorithm == "fft":
        pytest.importorskip("scipy")
    for case in IN_ANY_BATCH[algorithm]:
        compare_batches(case, which, algorithm)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", IN_ANY_BATCH)
@pytest.mark.parametrize("which", ["forward", "input_gradient"])
def test_a_sample_has_its_bits_in_any_batch_on_the_grid(which: str, algorithm: str) -> None:
    done = 0
    for case in (*EDGES.values(), *(row[0] for rank in (1, 2, 3) for row in grid(rank))):
        for layout, dtype in product(LAYOUTS, ("float32", "float64", "float16")):
            try:
                compare_batches(case, which, algorithm, dtype, layout)
            except ValueError:
                continue  # not for such sizes
            done += 1
    print(algorithm, which, done, "cases")
    assert done > 4
