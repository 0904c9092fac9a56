"""What Numba loads before it first compiles anything: the entry point `numba_extensions`.

Everyone who has fastconv installed and uses Numba loads this, whether or not they use fastconv. So
it stands beside the package, whose import takes a tenth of a second, and imports nothing.
"""

import sys


def init() -> None:
    """Have Numba know fastconv's functions, if fastconv has been imported.

    Its own import sees to that as well, so that neither order is wrong, and a copy of fastconv that
    was never installed does the same.
    """
    if "fastconv" in sys.modules:
        import fastconv.jit  # noqa: F401 - which does it
