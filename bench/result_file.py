"""The results' file, whole after every record, so that a run cut short still leaves it."""

import json
import os
from pathlib import Path
from typing import Any

SCHEMA = 1


class ResultFile:
    """A JSON file: facts about the run, and one record a line under the name ``records``.

    Its ``complete`` is false until `finish`: whoever reads it can tell a run that was ended.
    """

    def __init__(self, path: Path, facts: dict[str, Any], records: str) -> None:
        self.path = path
        self.facts = {"schema": SCHEMA, "complete": False} | facts
        self._records = records
        self._lines: list[str] = []
        self._write()

    def add(self, record: dict[str, Any]) -> None:
        """Append a record."""
        self._lines.append(json.dumps(record))
        self._write()

    def note(self, facts: dict[str, Any]) -> None:
        """Add facts that were not known before."""
        self.facts |= facts
        self._write()

    def finish(self, facts: dict[str, Any]) -> None:
        """Add what is known at the end only."""
        self.note({"complete": True} | facts)

    def _write(self) -> None:
        # Encoding the records once keeps the time of a write from growing with their number.
        facts = json.dumps(self.facts, indent=1).removesuffix("\n}")
        lines = ",\n  ".join(self._lines)
        beside = self.path.with_name(self.path.name + ".part")
        text = f'{facts},\n "{self._records}": [\n  {lines}\n ]\n}}\n'
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, self.path)  # never half a file, whenever the run is ended
