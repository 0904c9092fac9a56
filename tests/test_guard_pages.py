"""Nothing is read or written outside an array: beyond its ends lies memory that kills the process.

Guard zones show what is written and what is used; a guard page shows every access, also of
a vector whose surplus lanes are thrown away. The cases run in a process of their own.
"""

import sys

import pytest
from scripts import run_script

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no mprotect on Windows")

TOUCHES_THE_PAGE = """
import numpy as np
from guard_pages import beside_guard_page
from numpy.lib.stride_tricks import as_strided

at_end = {at_end}
array = beside_guard_page(np.ones(5), at_end=at_end)
outside = as_strided(array, (6,)) if at_end else as_strided(array, (2,), (-8,))
print(array.sum(), flush=True)
print(outside.sum())
"""

CASES = """
import numpy as np
from cases import ALGORITHMS, EDGES, PASSES, compute, grid, result_shape, solved
from arrays import channels_last
from guard_pages import beside_guard_page

def place(values, dtype, layout):
    # The array's memory lies beside the page in the order of its layout.
    swap = layout == "channels_last" and values.ndim > 2
    memory = np.moveaxis(values, 1, -1) if swap else values
    array = beside_guard_page(np.ascontiguousarray(memory, dtype), at_end={at_end})
    return np.moveaxis(array, -1, 1) if swap else array

rows = [row for rank in (1, 2, 3) for row in grid(rank)[::6]]
rows += [(case, "float32", "channels_first") for case in EDGES.values()]
for case, dtype, layout in rows:
    for which in PASSES:
        given, expected = solved(case, which)
        for algorithm in ALGORITHMS:
            arrays = [place(values, dtype, layout) for values in given]
            out = place(np.full(result_shape(case, which), np.nan), dtype, layout)
            print(case, dtype, layout, which, algorithm, flush=True)
            compute(case, which, *arrays, out=out, algorithm=algorithm)
            np.testing.assert_array_equal(out, expected)
"""


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
def test_the_page_kills(at_end: bool) -> None:
    with pytest.raises(AssertionError, match="signal"):
        run_script(TOUCHES_THE_PAGE.format(at_end=at_end))


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
def test_cases(at_end: bool) -> None:
    printed = run_script(CASES.format(at_end=at_end)).splitlines()
    assert len(printed) > 300
