"""Memory: what `explain` states is what a call takes, and what is kept between calls is bounded."""

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import PASSES, Case, compute, operands, result_shape, simple
from scripts import run_script

import fastconv
from fastconv.cpu import workspaces
from fastconv.cpu.convolution import ALGORITHMS

CASES = (
    simple(2, 24, 40, (57, 61), (3, 3), pad=1),
    simple(2, 70, 35, (28, 30), (3, 3), pad=1, stride=2, bias=True),
    simple(1, 1, 1, (500, 600), (15, 15), pad=7),
    simple(2, 40, 40, (40, 41), (5, 5), pad=2, groups=40),
    simple(2, 300, 130, (20, 21), (1, 1)),
    simple(1, 3, 2, (4000,), (64,), pad=5),
)


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> None:
    workspaces.forget()


def stated(case: Case, which: str, algorithm: str) -> int | None:
    """What `explain` states for float32, or None where an algorithm refuses a case."""
    try:
        return fastconv.explain(
            case.input_shape, case.weight_shape, *case.how, direction=which, algorithm=algorithm
        ).workspace
    except ValueError:
        return None


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_peak_is_as_stated(algorithm: str, which: str, threads: int) -> None:
    for case in (*CASES, simple(1, 2, 2, (5, 5), (2, 2))):
        if (most := stated(case, which, algorithm)) is None:
            continue
        given = [values.astype("f4") for values in operands(case, which)]
        out = np.empty(result_shape(case, which), "f4")
        with fastconv.options(threads=threads):
            compute(case, which, *given, out=out, algorithm=algorithm)
            workspaces.forget()
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                compute(case, which, *given, out=out, algorithm=algorithm)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        # Beside arrays, some Python objects are counted, too.
        assert peak - before <= most + 65536, (case, peak - before, most)
        # The FFT's threads each take theirs as they run, so that not all may meet.
        least = most // 4 if algorithm == "fft" else most
        assert peak - before >= least, (case, peak - before, most)


RESIDENT = """
import numpy as np
import fastconv
from pathlib import Path
from test_workspaces import CASES, stated
from cases import PASSES, compute, operands, result_shape

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

for algorithm in {algorithms}:
    for which in PASSES:
        for case in CASES:
            most = stated(case, which, algorithm)
            if most is None:
                continue
            given = [values.astype("f4") for values in operands(case, which)]
            out = np.zeros(result_shape(case, which), "f4")
            compute(case, which, *given, out=out, algorithm=algorithm)
            fastconv.clear_cache()
            compute(case, which, *given, out=out, algorithm=algorithm)
            fastconv.clear_cache()
            stated(case, which, algorithm)
            Path("/proc/self/clear_refs").write_text("5")
            before = status("VmRSS")
            compute(case, which, *given, out=out, algorithm=algorithm)
            print(algorithm, which, case, status("VmHWM") - before, most)
"""


def test_resident_memory_stays_within_it() -> None:
    """The same of the process as the system sees it: no kernel takes memory of its own."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pytest.skip("the system does not tell a process's peak anew")
    printed = run_script(RESIDENT.format(algorithms=ALGORITHMS)).splitlines()
    assert len(printed) > 40
    for line in printed:
        grown, most = map(int, line.split()[-2:])
        assert grown <= most + (3 << 20), line


def test_kept_bytes_are_bounded() -> None:
    sizes = [workspaces.MOST_BYTES // 3] * 5 + [100] * 40 + [workspaces.MOST_BYTES + 1]
    for taken in [[workspaces.take(size) for size in sizes] for _ in range(2)]:
        for workspace in taken:
            workspaces.give_back(workspace)
            assert workspaces.kept_bytes() <= workspaces.MOST_BYTES
    assert workspaces.kept_bytes() > 0
    fastconv.clear_cache()
    assert workspaces.kept_bytes() == 0


def test_a_workspace_is_kept_for_what_fits_it() -> None:
    large, small = workspaces.take(1000), workspaces.take(10)
    workspaces.give_back(large)
    workspaces.give_back(small)
    assert workspaces.take(500) is large
    assert workspaces.take(10) is small
    assert workspaces.take(10) is not small


def test_no_two_calls_share_a_workspace() -> None:
    used: set[int] = set()
    guard, start = threading.Lock(), threading.Barrier(4)

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        start.wait()
        for _ in range(300):
            mine = workspaces.take(int(rng.integers(1, 5000)))
            with guard:
                assert id(mine) not in used
                used.add(id(mine))
            with guard:
                used.remove(id(mine))
            workspaces.give_back(mine)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert workspaces.kept_bytes() <= 16 * 5000
