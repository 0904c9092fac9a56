"""Runs trials of a fuzz run in a process of its own, which an access out of bounds may kill.

The tests draw a trial, send it, and hear how it went: a process that is killed leaves the trial at
which it was, and Hypothesis goes on with another one to find the smallest trial that kills.
"""

import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from scripts import TESTS

_MOST_SECONDS = 300  # for one trial, which may compile kernels


class Worker:
    """A process that runs trials one by one; started again after it was killed.

    Attributes
    ----------
    counts : Counter
        How many trials ended how: "exact", "close" or "refused".
    """

    def __init__(self, **environment: str) -> None:
        paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
        path = os.pathsep.join(filter(None, paths))
        # What the C library allocates is no number that could be right.
        self._environment = os.environ | {"PYTHONPATH": path, "MALLOC_PERTURB_": "128"}
        self._environment |= environment
        self._process: subprocess.Popen[bytes] | None = None
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, function: Callable[[Any], str], trial: Any) -> None:
        """Have ``function`` run a trial; fail, with its traceback or the signal, if it did."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(_MOST_SECONDS, process.kill)
        late.start()
        try:
            pickle.dump((function, trial), process.stdin)
            process.stdin.flush()
            ending, text = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError):
            self.close()
            raise AssertionError(f"status {process.returncode} at {trial}") from None
        finally:
            late.cancel()
        assert ending != "failed", text
        self.counts[ending] += 1

    def _start(self) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "fuzz_worker"],
            env=self._environment,
            **pipes,  # type: ignore[call-overload]
        )
        return process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with process, suppress(BrokenPipeError):
                process.communicate()


def _serve() -> None:
    """Run the trials that come in, until there are no more."""
    from fuzz_calls import prepare

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints goes elsewhere
    prepare()
    while True:
        try:
            function, trial = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = function(trial), ""
        except Exception:  # whatever it is, whoever drew the trial is told
            answer = "failed", traceback.format_exc()
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
