"""A run of one suite on disk: its name says which question it answers, a newer one replaces it.

``SUITE-LAYOUT-ISA-MACHINE.json`` in ``bench/results/``, as in ``resnet50-nchw-avx2-znver4.json``.
While a run lasts its rows are in ``....partial.json``, whole after each; that file takes the name
of the finished one when the run ends, so that a cut run keeps what it has and replaces nothing.
"""

import dataclasses
import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.result_file import ResultFile
from bench.run import Refusal, Row, Settings
from bench.summary import geometric_means

RESULTS = Path(__file__).parent / "results"
PARTIAL = ".partial.json"


def result_name(suite: str, layout: str, machine: dict[str, Any]) -> str:
    """The file that holds a suite's figures for one layout on one kind of machine."""
    return f"{suite}-{layout}-{machine['isa']}-{machine['host']}.json"


class Recorder:
    """The JSON file of one suite's run: the machine, the settings, and each row as it comes."""

    def __init__(
        self, path: Path, suite: str, machine: dict[str, Any], settings: Settings | dict[str, Any]
    ) -> None:
        self.path = path
        self._rows: list[Row] = []
        self._refusals: list[Refusal] = []
        chosen = dataclasses.asdict(settings) if isinstance(settings, Settings) else settings
        facts = {"suite": suite, "date": _now(), "machine": machine, "settings": chosen}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = ResultFile(path.with_suffix(PARTIAL), facts, "rows")

    def add(self, outcome: Row | Refusal) -> None:
        """Write a row, or why there is none."""
        if isinstance(outcome, Row):
            self._rows.append(outcome)
            self._file.add(dataclasses.asdict(outcome) | {"ratio": outcome.ratio})
        else:
            self._refusals.append(outcome)
            self._file.note({"refused": _records(self._refusals)})

    def finish(self) -> None:
        """Add the means, and take the finished run's name."""
        means = geometric_means(self._rows)
        refused = _records(self._refusals)
        self._file.finish({"geometric_means": means, "refused": refused, "finished": _now()})
        os.replace(self._file.path, self.path)


def _records(refusals: Sequence[Refusal]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(refusal) for refusal in refusals]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
