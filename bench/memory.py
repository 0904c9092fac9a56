"""How much memory a call takes at its peak, measured alike for every library."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESET_PEAK = "5"  # what Linux takes as: let the highest resident size start from now


def peak_growth(call: Callable[[], Any], process: Path = Path("/proc/self")) -> int | None:
    """Bytes by which the process's resident memory grows at its peak within ``call``.

    The result is counted, and whatever the library allocates beside it. None where the system
    does not tell: anywhere but on Linux. Memory that an allocator kept from earlier calls would
    not show, so glibc is asked to give back what it can beforehand.
    """
    try:
        _trim()
        (process / "clear_refs").write_text(RESET_PEAK)
        before = _resident(process, "VmRSS")
        result = call()
        peak = _resident(process, "VmHWM")
    except (OSError, KeyError):
        return None
    del result
    return max(0, peak - before)


def _trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)


def _resident(process: Path, name: str) -> int:
    """One of the sizes in ``status``, which gives them in KiB."""
    lines = (process / "status").read_text().splitlines()
    sizes = dict(line.split(":", 1) for line in lines)
    return 1024 * int(sizes[name].split()[0])
