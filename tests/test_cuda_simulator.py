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
    """Half of them in each of two processes, for a simulated kernel keeps only one core busy."""
    file = str(TESTS / "test_cuda_device.py")
    half = "weight_gradient or bias_gradient or fold or rounding"
    halves = half, f"not ({half})"
    processes = [start(file, "-m", "not slow", "-k", chosen) for chosen in halves]
    try:
        for process in processes:
            check(process)
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_slow_device_cases() -> None:
    check(start(str(TESTS / "test_cuda_device.py"), "-m", "slow"))
