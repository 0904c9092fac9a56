"""Settings shared by every test: cores, where compiled kernels are kept, and guarded arrays."""

import gc
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import instruction_sets
import pytest
from arrays import Arena
from hypothesis import settings
from sampling import Sample

_ROOT = Path(__file__).resolve().parent.parent
_KEPT = 6
# More would mostly compile the same kernels at the same time.
_MOST_WORKERS = 8
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0))  # in one of them, how many there are


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fastconv")
    group.addoption(
        "--isa",
        choices=instruction_sets.NAMES,
        default=instruction_sets.NATIVE,
        help="hold the kernels of the CPU to an instruction set",
    )
    group.addoption(
        "--sample",
        action="store_true",
        help="of the tests that compute passes, a few that cover their parameters",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.option.sample:
        config.pluginmanager.register(Sample())


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Say in the environment how Numba is to compile; choose how many processes run the tests."""
    assert "numba" not in sys.modules, "Numba reads its variables when it is imported"
    if _workers:  # in the environment of the process that started it
        _share_cores()
        return
    held = config.option.isa
    if lacking := instruction_sets.missing(held):
        raise pytest.UsageError(f"--isa {held}: this processor lacks {', '.join(lacking)}")
    os.environ.update(instruction_sets.variables(held))
    _use_kernel_cache(held)
    _spread(config)


def _spread(config: pytest.Config) -> None:
    """Run the whole suite on all cores, and what is named on the command line in this process.

    Each core works through neighbouring tests, which share kernels; one that is done takes half of
    what another has left. Any ``-n`` goes before: ``-n0`` for one process, ``-n4`` for four.
    """
    option = config.option
    if not config.pluginmanager.hasplugin("xdist"):
        return
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS and option.numprocesses is None:
        option.numprocesses = "auto"
        option.maxprocesses = option.maxprocesses or _MOST_WORKERS
        option.dist = "worksteal"


def _share_cores() -> None:
    """Keep the threads of all workers to the cores, with two or more for each to test threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("NUMBA_NUM_THREADS", str(max(2, (cores or 1) // _workers)))


def _sources_hash() -> str:
    """Return a hash of every source file of the package, and of Numba's version."""
    digest = hashlib.sha256(version("numba").encode())
    for path in sorted((_ROOT / "fastconv").rglob("*.py")):
        digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _use_kernel_cache(held: str) -> None:
    """Give Numba a cache folder of these sources and this instruction set, for children too.

    Numba looks for changes in a kernel's own file only, so a kernel would stay as it was when
    the file of its intrinsics changed.
    """
    caches = _ROOT / ".pytest_cache" / "kernels"
    native = held == instruction_sets.NATIVE
    current = caches / (_sources_hash() + ("" if native else f"-{held}"))
    current.mkdir(parents=True, exist_ok=True)
    os.utime(current)
    newest_first = sorted(caches.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for stale in newest_first[_KEPT:]:
        shutil.rmtree(stale, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(current)


# Compiling makes objects by the million, no garbage: looking for it took a tenth of the time.
gc.freeze()
gc.set_threshold(50_000, 20, 100)

# `pytest --hypothesis-profile nightly` draws many more, and other ones each time.
settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True, database=None)
settings.register_profile("nightly", max_examples=5000, deadline=None)
settings.load_profile("ci")


@pytest.fixture
def arena() -> Iterator[Arena]:
    """Arrays between guard zones, which are looked at when the test ends."""
    guarded = Arena()
    yield guarded
    guarded.check()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases the fuzz runs went through."""
    reports = (r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, ()))
    counts = [n for r in reports for name, n in r.user_properties if name == "fuzz cases"]
    if counts:
        terminalreporter.write_line(f"fuzz: {sum(counts)} cases")
