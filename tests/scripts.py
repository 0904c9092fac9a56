"""Runs a piece of Python in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def run_script(source: str, *, timeout: float = 300, **environment: str) -> str:
    """Return what `source` prints; fail with its last words if it ends in an error or a signal.

    It can import the package and the modules of this folder, whatever the working directory.
    """
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | environment
    process = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        env=variables,
        timeout=timeout,
        check=False,
    )
    code = process.returncode
    ending = f"signal {-code}" if code < 0 else f"exit status {code}"
    assert code == 0, f"{ending}\n{process.stdout[-500:]}\n{process.stderr}"
    return process.stdout
