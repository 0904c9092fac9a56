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
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from llvmlite import binding
from numba import config
from numba.misc.appdirs import AppDirs

from . import _sources
from .cpu import simd

_ROUNDS = 5
_SECONDS = 0.05  # for all candidates together, beyond the first round
_PATIENCE = 1.0  # seconds to wait for another process's write
_TABLE = "CREATE TABLE IF NOT EXISTS choices (key TEXT PRIMARY KEY, algorithm TEXT NOT NULL)"

Answer = TypeVar("Answer")

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
        query = "SELECT algorithm FROM choices WHERE key = ?"
        row = _asked(lambda file: file.execute(query, (key,)).fetchone())
        if row is not None:
            _known[key] = str(row[0])
    choice = _known.get(key)
    return choice if choice in names else None


def remember(what: str, choice: str) -> None:
    """Keep a choice, for this process and, where a file can be written, for others."""
    key = _key(what)
    _known[key] = choice

    def write(file: sqlite3.Connection) -> None:
        with file:
            # Before the table is looked for: two that have read it cannot both wait to write.
            file.execute("BEGIN IMMEDIATE")
            file.execute(_TABLE)
            file.execute("INSERT OR REPLACE INTO choices VALUES (?, ?)", (key, choice))

    _asked(write)


def forget() -> None:
    """Forget this process's choices; those in the file stay."""
    _known.clear()


def path() -> Path:
    """The file of choices: beside Numba's cache where that was placed, else the user's."""
    users = AppDirs(appname="fastconv", appauthor=False).user_cache_dir
    folder = Path(config.CACHE_DIR).absolute() if config.CACHE_DIR else Path(users)
    return folder / "fastconv-choices.sqlite3"


def _asked(query: Callable[[sqlite3.Connection], Answer]) -> Answer | None:
    """The answer to a query of the file, or None; a damaged file is replaced and asked again."""
    place = path()
    if not place.is_absolute():  # of a user who has no home
        return None
    for _ in range(2):
        with suppress(OSError, sqlite3.Error):
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                with closing(sqlite3.connect(place, timeout=_PATIENCE)) as file:
                    return query(file)
            except sqlite3.OperationalError:  # locked, or not to be opened: not the file's fault
                return None
            except sqlite3.DatabaseError:  # no database, or a damaged one
                place.unlink(missing_ok=True)
    return None


def _key(what: str) -> str:
    """A choice holds for one processor, vector width and version of the kernels."""
    processor = config.CPU_NAME or binding.get_host_cpu_name()
    text = f"{processor} {simd.VECTOR_BITS} {_sources.HASH} {what}"
    return hashlib.sha256(text.encode()).hexdigest()
