"""The CUDA kernels in Numba's simulator, and the stand-ins for PTX that they run on there.

The simulator must be asked for before Numba is imported, so all of this runs in other processes.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
LIMIT = 1200  # seconds: on a busy machine; about 200 on an idle one

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start pytest with the simulator."""
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *arguments],
        cwd=TESTS.parent,
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def check(process: subprocess.Popen[str]) -> None:
    """All tests must have run and passed."""
    try:
        said, _ = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode == 0, said[-20000:]
    assert re.search(r"\d+ passed", said), said
    skipped = [line for line in said.splitlines() if line.startswith("SKIPPED")]
    assert all("PyTorch is not installed" in line for line in skipped), said


def test_stand_ins() -> None:
    check(start(str(TESTS / "cuda_stand_ins.py")))


def test_device_cases() -> None:
    """On all cores, for a simulated kernel keeps only one of them busy."""
    spread = "-n", "auto", "--maxprocesses", "8", "--dist", "worksteal"
    check(start(str(TESTS / "test_cuda_device.py"), "-m", "not slow", *spread))


@pytest.mark.slow
def test_slow_device_cases() -> None:
    check(start(str(TESTS / "test_cuda_device.py"), "-m", "slow"))
