"""Benchmark files of plain figures in each form, and a page of them taken apart again."""

import json
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from test_bench_roofline import row

from bench.benchmark_json import entry, header
from bench.recorder import Recorder
from bench.run import Refusal, Row, Settings

MACHINE = {
    "host": "znver9",
    "isa": "avx512",
    "cpu": "Some CPU (znver9, 512-bit vectors)",
    "cores": 4,
    "system": "Linux x86_64",
    "held_to": "native",
    "environment": {},
    "versions": {"numba": "1.2.3", "torch": "9.8.7+cpu"},
    "blas": ["openblas 1"],
    "peak_gflops": {"float32": {"1": 100.0}},
    "copy_gbytes_per_second": {"1": 20.0},
}
# GFLOP/s of ours and three peers' times over ours, for each of three layers and passes.
FIGURES = {
    ("one", "forward"): (50.0, {"torch": 2.0, "scipy fft": 8.0}),
    ("one", "weight"): (40.0, {"torch": 0.5}),
    ("two", "forward"): (80.0, {"torch": 3.0, "onnxruntime": 1.125}),
    ("two", "input"): (5.0, {"torch": 4.0}),
    ("three", "forward"): (120.0, {}),
}
FLOPS = 10**9


def rows(scale: float = 1.0, spread: float = 0.02, **changes: Any) -> list[Row]:
    """The figures as rows; ours takes ``scale`` times as long, and its peers do not."""
    made = []
    for number, ((layer, pass_name), (gflops, ratios)) in enumerate(FIGURES.items(), 1):
        ours = FLOPS / gflops / 1e9
        seconds = {"fastconv": scale * ours} | {name: r * ours for name, r in ratios.items()}
        figures: dict[str, Any] = {
            "layer": layer,
            "pass_name": pass_name,
            "flops": FLOPS,
            "nbytes": number * 10**7,
            "workspace": number * 10**5,
            "errors": {name: (i + 1) * 1e-7 for i, name in enumerate(seconds)},
            "first_calls": {name: 3 * s for name, s in seconds.items()},
            "memory": {name: (i + number) * 2**20 for i, name in enumerate(seconds)},
            "seconds": seconds,
            "spread": dict.fromkeys(seconds, spread),
            "rounds": dict.fromkeys(seconds, 25),
            "ratios": {name: r / scale for name, r in ratios.items()},
            "ratio_spread": dict.fromkeys(ratios, spread),
            "best_peer": min(ratios, key=ratios.__getitem__, default=None),
        }
        made.append(row(**(figures | changes)))
    return made


def write_rows(
    path: Path, made: Sequence[Row | Refusal], suite: str = "resnet50", **machine: Any
) -> Path:
    """The file that ``python -m bench`` writes of the rows."""
    recorder = Recorder(path, suite, MACHINE | machine, Settings())
    for one in made:
        recorder.add(one)
    recorder.finish()
    return path


def write_benchmarks(path: Path, made: Sequence[Row], suite: str = "resnet50") -> Path:
    """The file that pytest-benchmark writes of them: four rounds around each median."""
    device = {"kind": "cpu", "name": "Some CPU"}
    facts = {name: MACHINE[name] for name in ("cpu", "cores", "system", "versions")}
    entries = []
    for one in made:
        for contestant, seconds in one.seconds.items():
            info = {
                **{name: getattr(one, name) for name in Row.__dataclass_fields__},
                "suite": suite,
                "contestant": contestant,
                "error": one.errors[contestant],
                "first_call": one.first_calls[contestant],
                "memory": one.memory[contestant],
            }
            where = f"bench/test_{one.pass_name}.py::test_{one.pass_name}"
            params = {"layer": one.layer, "contestant": contestant}
            rounds = [seconds * factor for factor in (0.98, 1.0, 1.0, 1.02)]
            entries.append(entry(where, params, one.layer, info, rounds, "perf_counter"))
    path.write_text(json.dumps(header(device, facts) | {"benchmarks": entries}))
    return path


def unrecorded(one: Row) -> Row:
    """A row of before first calls, memory and rounds were recorded."""
    return replace(one, first_calls={}, memory={}, rounds={}, ratio_spread={})


class Page(HTMLParser):
    """The parts of a page: its terms and tables, what its marks say, its ids and references."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[dict[str, tuple[str, str]]]] = {}
        self.terms: dict[str, str] = {}
        self.titles: list[str] = []
        self.svg_texts: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.elements: list[str] = []
        self.text = ""
        self._path: list[str] = []
        self._caption = ""
        self._headings: list[str] = []
        self._cells: list[tuple[str, str]] = []
        self._value = ""
        self._said = self._term = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.elements.append(tag)
        if tag not in ("meta", "br"):
            self._path.append(tag)
        if tag != "small":
            self._said = ""
        if "id" in given:
            self.ids.append(given["id"])
        self.references += [given[n] for n in ("href", "src", "xlink:href") if n in given]
        self.references += [
            value[value.index("url(") + 4 : value.rindex(")")]
            for value in given.values()
            if "url(" in value
        ]
        if tag == "table":
            self._headings = []
        if tag == "tr":
            self._cells = []
        if tag in ("td", "th"):
            self._value = given.get("data-value", "")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        self._path.pop()

    def handle_data(self, data: str) -> None:
        self._said += data
        if "style" not in self._path and "script" not in self._path:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        assert self._path.pop() == tag, "the elements do not nest"
        if tag == "caption":
            self._caption = self._said
            self.tables[self._caption] = []
        elif tag == "button":
            self._headings.append(self._said)
        elif tag in ("td", "th") and "tbody" in self._path:
            self._cells.append((self._said, self._value))
        elif tag == "tr" and "tbody" in self._path:
            self.tables[self._caption].append(dict(zip(self._headings, self._cells, strict=True)))
        elif tag == "title" and "svg" in self._path:
            self.titles.append(self._said)
        elif tag == "dt":
            self._term = self._said
        elif tag == "dd":
            self.terms.setdefault(self._term, self._said)
        elif tag == "text":
            self.svg_texts.append(self._said)

    def numbers(self, caption: str, heading: str) -> list[float | None]:
        """A column of the table whose caption begins so, as what it is sorted by."""
        (table,) = (rows for name, rows in self.tables.items() if name.startswith(caption))
        values = [one[heading][1] for one in table]
        return [float(value) if value else None for value in values]
