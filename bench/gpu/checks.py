"""Checks that run in processes of their own: the CUDA tests, and compute-sanitizer."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = "tests/test_cuda_device.py"
SMALL_CASES = "bench.gpu.small_cases"
TOOLS = ("memcheck", "racecheck")
SANITIZER = "compute-sanitizer"
SANITIZER_OPTIONS = ("--error-exitcode", "9", "--report-api-errors", "no")
LINES_KEPT = 20
PASSED, FAILED, NOT_RUN, STOPPED = "passed", "failed", "not run", "stopped"


@dataclass(frozen=True, slots=True)
class Check:
    """How a check ended, with the last lines that it printed."""

    name: str
    status: str
    summary: str
    seconds: float = 0.0
    output: tuple[str, ...] = ()


def cuda_tests(limit: float, root: Path = ROOT) -> Check:
    """Run the tests that need a device, for at most ``limit`` seconds."""
    name = f"pytest {TESTS}"
    if not (root / TESTS).exists():
        return Check(name, NOT_RUN, f"there is no {TESTS} beside this copy of the benchmarks")
    check = run(name, [sys.executable, "-m", "pytest", TESTS, "-q"], limit, root)
    if check.status == PASSED and not re.search(r"\d+ passed", check.summary):
        return Check(name, NOT_RUN, check.summary, check.seconds, check.output)
    return check


def sanitizers(limit: float, *, few: bool = False) -> tuple[Check, ...]:
    """Run the small cases under each tool of compute-sanitizer, each for ``limit`` seconds.

    A ``few`` of them are run by both tools at once, and to be stopped is then no failure.
    """
    with ThreadPoolExecutor(len(TOOLS) if few else 1) as pool:
        return tuple(pool.map(lambda tool: _sanitized(tool, limit, few), TOOLS))


def _sanitized(tool: str, limit: float, few: bool) -> Check:
    name, program = f"{SANITIZER} {tool}", shutil.which(SANITIZER)
    if program is None:
        return Check(name, NOT_RUN, f"{SANITIZER} is not on the PATH")
    cases = [sys.executable, "-m", SMALL_CASES, *(["--few"] if few else [])]
    command = [program, "--tool", tool, *SANITIZER_OPTIONS, *cases]
    # Else PyTorch hands out parts of one large block, whose own ends nothing oversteps.
    check = run(name, command, limit, ROOT, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
    if few and check.summary.startswith(STOPPED):
        return replace(check, status=STOPPED, summary=f"{check.summary}; see --sanitize")
    return check


def run(name: str, command: Sequence[str], limit: float, folder: Path, **environment: str) -> Check:
    """Run a command to its end or its time limit."""
    start = time.perf_counter()
    try:
        ended = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as stopped:
        printed: bytes = stopped.stdout or b""  # bytes here even where text was asked for
        last = _last(printed.decode(errors="replace"))
        return Check(name, FAILED, f"{STOPPED} after {limit:.0f} s", limit, last)
    lines = _last(ended.stdout)
    seconds = round(time.perf_counter() - start, 1)
    status = PASSED if ended.returncode == 0 else FAILED
    summary = lines[-1] if lines else "it printed nothing"
    if status == FAILED:
        summary = f"exit status {ended.returncode}: {summary}"
    return Check(name, status, summary, seconds, lines)


def _last(text: str) -> tuple[str, ...]:
    return tuple(line for line in text.splitlines() if line.strip())[-LINES_KEPT:]
