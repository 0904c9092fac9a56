"""Every vector width builds and is right, whatever this machine's own is."""

import pytest
from llvmlite import binding as llvm
from scripts import run_script

# What Numba compiles for, the features that takes, and the vector width that must come of it.
TARGETS = {
    "AVX-512": ("skylake-avx512", {"avx512f", "avx512dq", "avx512bw", "avx512vl"}, 512),
    "AVX2": ("haswell", {"avx2", "fma"}, 256),
    "portable": ("generic", set(), 128),
}

SCRIPT = """
from cases import ALGORITHMS, EDGES, PASSES, grid
from fastconv.machine import machine_info
from test_grid import check
import test_dtypes
from arrays import Arena

rows = [row for rank in (1, 2, 3) for row in grid(rank)[::9]]
rows += [(case, "float32", "channels_first") for case in EDGES.values()]
for case, dtype, layout in rows:
    for which in PASSES:
        for algorithm in ALGORITHMS:
            arena = Arena()
            check(case, which, dtype, layout, algorithm, arena)
            arena.check()
for i, case in enumerate(EDGES.values()):
    dtype = test_dtypes.ALL[i % len(test_dtypes.ALL)]
    test_dtypes.check(case, PASSES[i % 3], dtype, "channels_first", ALGORITHMS[i % 2])
for dtype in test_dtypes.HALVES:
    test_dtypes.test_every_half_passes_unchanged(dtype, "forward")
    for step in (1, 7):
        test_dtypes.test_rounding_to_nearest_even(dtype, step)
print(machine_info().vector_bits, len(rows))
"""


@pytest.mark.isa
@pytest.mark.parametrize("name", TARGETS)
def test_target(name: str) -> None:
    cpu, needed, bits = TARGETS[name]
    present = llvm.get_host_cpu_features()
    if missing := sorted(feature for feature in needed if not present.get(feature)):
        pytest.skip(f"this processor lacks {', '.join(missing)}")
    # An empty feature list leaves the features to the processor's name.
    found, cases = run_script(SCRIPT, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES="").split()
    assert int(found) == bits
    assert int(cases) > 50
