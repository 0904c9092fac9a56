"""Every vector width builds and is right, whatever this machine's own is."""

import pytest
from llvmlite import binding as llvm
from scripts import run_script

from fastconv.machine import machine_info

# What Numba compiles for, the features that takes, and the vector width that must come of it.
TARGETS = {
    "AVX-512": ("skylake-avx512", {"avx512f", "avx512dq", "avx512bw", "avx512vl"}, 512),
    "AVX2": ("haswell", {"avx2", "fma"}, 256),
    "portable": ("generic", set(), 128),
}

SCRIPT = """
from cases import ALGORITHMS, EDGES, PASSES, grid, simple
from fastconv.machine import machine_info
from test_grid import check
import test_depthwise, test_dtypes, test_winograd
from arrays import LAYOUTS, Arena

def guarded(run, *arguments):
    arena = Arena()
    run(*arguments, arena)
    arena.check()

rows = [row for rank in (1, 2, 3) for row in grid(rank)[::40]]
for row in rows:
    for which in PASSES:
        for algorithm in ALGORITHMS:
            guarded(check, row[0], which, *row[1:], algorithm)
edges = list(EDGES.values())[::2]
for i, case in enumerate(edges):
    guarded(check, case, PASSES[i % 3], "float32", "channels_first", ALGORITHMS[i // 3 % 2])
    dtype = test_dtypes.ALL[i % len(test_dtypes.ALL)]
    test_dtypes.check(case, PASSES[i % 3], dtype, "channels_first", ALGORITHMS[i % 2])
planes = [
    simple(2, 18, 18, (7, 9), (3, 3), groups=18, pad=1),
    simple(2, 5, 5, (21, 40), (7, 7), groups=5, pad=3),
    simple(1, 3, 3, (20, 41), (3, 3), groups=3, pad=1, stride=2),
]
filters = [simple(2, 17, 24, (13, 17), (3, 3), pad=1), simple(1, 9, 10, (12, 20), (5, 5), pad=2)]
for which in PASSES:
    for i, layout in enumerate(LAYOUTS):
        for case in planes:
            guarded(test_depthwise.test_grid, case, "float32", layout, which)
        guarded(test_winograd.test_grid, filters[i], "float32", layout, which)
for dtype in test_dtypes.HALVES:
    test_dtypes.test_every_half_passes_unchanged(dtype, "forward")
    for step in (1, 7):
        test_dtypes.test_rounding_to_nearest_even(dtype, step)
print(machine_info().vector_bits, len(rows) + len(edges))
"""


@pytest.mark.isa
@pytest.mark.parametrize("name", TARGETS)
def test_target(name: str) -> None:
    cpu, needed, bits = TARGETS[name]
    present = llvm.get_host_cpu_features()
    if missing := sorted(feature for feature in needed if not present.get(feature)):
        pytest.skip(f"this processor lacks {', '.join(missing)}")
    if machine_info().vector_bits == bits:
        pytest.skip("every other test runs on it")
    # An empty feature list leaves the features to the processor's name.
    found, cases = run_script(SCRIPT, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES="").split()
    assert int(found) == bits
    assert int(cases) > 10
