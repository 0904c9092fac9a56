"""A fuzz run: calls drawn by Hypothesis, each array beside a page of memory that kills.

No access lies out of bounds, nothing outside of the result is written and nothing of it left
unwritten, operands stay as they are, and integers are summed exactly. Whatever the library
allocates is poison before it is used. The report counts the calls.

A few hundred calls run by default, of few kernels. A night's run draws any kernel, dtype and
instruction set::

    python -m pytest tests/test_fuzz.py -m "" --hypothesis-profile nightly
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from cases import PASSES
from fuzz_trials import EVERY_PASS, NARROW, WIDE, Space, Trial, filter_trials, trials
from fuzz_worker import Worker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llvmlite import binding as llvm
from scipy_cases import DTYPES
from test_instruction_sets import TARGETS

if sys.platform == "win32":
    pytest.skip("there is no mprotect on Windows", allow_module_level=True)

from fuzz_calls import run, run_filter

from fastconv.cpu.convolution import ALGORITHMS

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """A process that runs trials."""
    with Worker() as made:
        yield made


def fuzz(
    worker: Worker,
    drawn: st.SearchStrategy[Any],
    record: Record,
    share: float = 1.0,
    function: Callable[[Any], str] = run,
) -> None:
    """Run as many trials as the profile says, or a share of them, and report how many they were."""
    before = worker.counts.total()

    @settings(
        max_examples=max(1, round(settings.default.max_examples * share)),
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn)
    def each(trial: Any) -> None:
        worker.run(function, trial)

    try:
        each()
    finally:
        record("fuzz cases", worker.counts.total() - before)


def drawn(space: Space, which: str) -> st.SearchStrategy[Trial]:
    """Trials of a pass, by every algorithm."""
    only = which in ("unfold", "fold")
    return trials(space, which, ("auto",) if only else ("auto", *ALGORITHMS))


@pytest.mark.parametrize("which", EVERY_PASS)
def test_pass(which: str, worker: Worker, record_property: Record) -> None:
    fuzz(worker, drawn(NARROW, which), record_property, 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("which", EVERY_PASS)
def test_pass_of_any_kernel(which: str, worker: Worker, record_property: Record) -> None:
    fuzz(worker, drawn(WIDE, which), record_property)


@pytest.mark.slow
@pytest.mark.parametrize("which", EVERY_PASS[:-2])
@pytest.mark.parametrize("name", TARGETS)
def test_instruction_set(name: str, which: str, record_property: Record) -> None:
    cpu, needed, _ = TARGETS[name]
    if not all(llvm.get_host_cpu_features().get(feature) for feature in needed):
        pytest.skip("this processor lacks it")
    with Worker(NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES="") as other:
        fuzz(other, drawn(WIDE, which), record_property, 0.3)


def compiled(trial: Trial) -> Trial:
    """The trial as a plain call from nopython code, which takes no unaligned arrays."""
    size = trial.itemsize
    x, w, *_, y = (replace(p, shift=p.shift // size * size) for p in trial.placements)
    case = replace(trial.case, bias=False)
    return replace(
        trial, case=case, placements=(x, w, y), mode="zeros", activation=None, nopython=True
    )


def test_nopython(worker: Worker, record_property: Record) -> None:
    always = trials(NARROW, "forward", ("auto",)).map(
        lambda trial: replace(compiled(trial), given=True)
    )
    fuzz(worker, always, record_property, 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("which", PASSES)
def test_nopython_of_any_kernel(which: str, worker: Worker, record_property: Record) -> None:
    space = replace(WIDE, ranks=(2,), dtypes=("float32", "float64"))
    fuzz(worker, trials(space, which, ("auto",)).map(compiled), record_property, 0.3)


@pytest.mark.slow
def test_filters(worker: Worker, record_property: Record) -> None:
    fuzz(worker, filter_trials(DTYPES), record_property, function=run_filter)
