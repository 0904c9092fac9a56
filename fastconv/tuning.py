"""Choices that were timed: which algorithm was fastest, remembered across processes.

An SQLite file keeps them: any number of processes may read and write it at once. It is a cache, so
whatever goes wrong with it (no place to write, a file that is no database, one held too long) costs
no more than timing again.
"""

from __future__ import annotations

import hashlib
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from llvmlite import binding
from numba import config
from numba.misc.appdirs import AppDirs

from .cpu import program, simd

_ROUNDS = 5
_SECONDS = 0.05  # for all candidates together, beyond the first round
_PATIENCE = 1.0  # seconds to wait for another process's write
_TABLE = "CREATE TABLE IF NOT EXISTS choices (key TEXT PRIMARY KEY, algorithm TEXT NOT NULL)"

_known: dict[str, str] = {}


def fastest(runs: Mapping[str, Callable[[], None]]) -> str:
    """The name of the run that takes least time: the median of a few rounds, taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # kernels are compiled, memory is paged in
    end = time.perf_counter() + _SECONDS
    for done in range(_ROUNDS):
        if done and time.perf_counter() > end:
            break
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return min(times, key=lambda name: statistics.median(times[name]))


def remembered(what: str, names: tuple[str, ...]) -> str | None:
    """The choice kept for ``what``, if it is one of ``names``."""
    key = _key(what)
    if key not in _known:
        with suppress(sqlite3.Error, OSError), _opened() as file:
            row = file.execute("SELECT algorithm FROM choices WHERE key = ?", (key,)).fetchone()
            if row is not None:
                _known[key] = str(row[0])
    choice = _known.get(key)
    return choice if choice in names else None


def remember(what: str, choice: str) -> None:
    """Keep a choice, for this process and, where a file can be written, for others."""
    key = _key(what)
    _known[key] = choice
    with suppress(sqlite3.Error, OSError), _opened() as file, file:
        # Before the table is looked for: two that have read it cannot both wait to write.
        file.execute("BEGIN IMMEDIATE")
        file.execute(_TABLE)
        file.execute("INSERT OR REPLACE INTO choices VALUES (?, ?)", (key, choice))


def forget() -> None:
    """Forget this process's choices; those in the file stay."""
    _known.clear()


def path() -> Path:
    """The file of choices: beside Numba's cache where that was placed, else the user's."""
    users = AppDirs(appname="fastconv", appauthor=False).user_cache_dir
    return Path(config.CACHE_DIR or users) / "fastconv-choices.sqlite3"


@contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    place = path()
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = _connected(place)
    except sqlite3.OperationalError:  # locked, or not to be opened: not the file's fault
        raise
    except sqlite3.DatabaseError:  # not a database
        place.unlink(missing_ok=True)
        connection = _connected(place)
    with closing(connection):
        yield connection


def _connected(place: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(place, timeout=_PATIENCE)
    try:
        connection.execute("PRAGMA schema_version")  # reads the file
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _key(what: str) -> str:
    """A choice holds for one processor, vector width and version of the kernels."""
    processor = config.CPU_NAME or binding.get_host_cpu_name()
    text = f"{processor} {simd.VECTOR_BITS} {program.sources_hash()} {what}"
    return hashlib.sha256(text.encode()).hexdigest()
