"""Benchmark files from disk, in any of the forms they come in, or a sentence that says why not."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.report import benchmarks, rows
from bench.report.model import Run
from bench.report.values import Malformed

FORMS = {"rows": rows.read, "benchmarks": benchmarks.read}  # by the list that tells a form


class Unreadable(Exception):
    """A file that holds no figures; the message names it."""


def read(path: Path, name: str = "") -> Run:
    """The run that a file holds: from ``python -m bench``, ``pytest bench`` or ``bench.gpu``.

    It is called ``name``, or as the file is.
    """
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise Unreadable(f"{path}: not JSON: {error}") from error
    try:
        run = _form(loaded)(name or path.stem, loaded)
    except Malformed as error:
        raise Unreadable(f"{path}: {error}") from error
    if not run.figures:
        raise Unreadable(f"{path}: holds no figure of fastconv's")
    return run


def read_all(paths: Sequence[Path]) -> list[Run]:
    """Every file, in the order given; names that occur twice are told apart by their folders."""
    counts = Counter(path.stem for path in paths)
    return [
        read(path, path.stem if counts[path.stem] == 1 else f"{path.parent.name}/{path.stem}")
        for path in paths
    ]


def _form(loaded: Any) -> Callable[[str, dict[str, Any]], Run]:
    if not isinstance(loaded, dict):
        raise Malformed("no benchmark file: it holds no JSON object")
    for name, reader in FORMS.items():
        if isinstance(loaded.get(name), list):
            return reader
    raise Malformed(
        'no benchmark file: it has neither the "rows" of python -m bench nor the "benchmarks" of '
        "pytest-benchmark"
    )
