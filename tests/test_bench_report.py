"""The report's page: its numbers are the files', it needs no other file, bad files are refused."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from device_fakes import FakeDevice
from report_files import FIGURES, FLOPS, Page, rows, unrecorded, write_benchmarks, write_rows
from scripts import run_script
from test_bench_roofline import row

from bench.gpu import __main__ as gpu
from bench.report.__main__ import main
from bench.report.changes import compare
from bench.report.files import Unreadable, read
from bench.report.sets import mean, sets
from bench.report.tables import calls, errors, memory, ratios, roofline, shares
from bench.report.text import number
from bench.run import Refusal
from bench.tables import PASS_NAMES, RESULTS


def _report(*files: Path) -> str:
    output = files[0].with_name("report.html")
    result = CliRunner().invoke(main, [*map(str, files), "-o", str(output)])
    assert result.exit_code == 0, result.output
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A page of each form of file."""
    folder = tmp_path_factory.mktemp("files")
    by_rows = write_rows(folder / "run.json", [*rows(), Refusal("four", "forward", 1, "wrong")])
    by_benchmarks = write_benchmarks(folder / "pytest.json", rows())
    return {"rows": _report(by_rows), "benchmarks": _report(by_benchmarks)}


@pytest.fixture(params=["rows", "benchmarks"])
def page(request: pytest.FixtureRequest, made: dict[str, str]) -> Page:
    return Page(made[request.param])


def test_numbers_are_those_of_the_file(page: Page) -> None:
    speeds = [gflops for gflops, _ in FIGURES.values()]
    seconds = [FLOPS / gflops / 1e9 for gflops in speeds]
    best = [min(ratios.values(), default=None) for _, ratios in FIGURES.values()]
    near = pytest.approx
    assert page.numbers("Ratios", "fastconv") == near(seconds)
    assert page.numbers("Ratios", "ratio") == near(best)
    assert page.numbers("Ratios", "beside torch") == near([2.0, 0.5, 3.0, 4.0, None])
    assert page.numbers("Ratios", "beside scipy fft") == near([8.0, None, None, None, None])
    assert page.numbers("Share", "GFLOP/s") == near(speeds)
    assert page.numbers("Share", "of the peak") == near(speeds)  # of 100
    assert page.numbers("Speed", "flops a byte") == near([100 / n for n in range(1, 6)])
    assert page.numbers("Speed", "roofline") == near([100.0] * 5)
    assert page.numbers("Largest", "error") == near([1e-7] * 5)
    assert page.numbers("Largest", "its error") == near([2e-7, 2e-7, 3e-7, 2e-7, None])
    assert page.numbers("First", "first call") == near([3 * s for s in seconds])
    assert page.numbers("First", "warm, median") == near(seconds)
    assert page.numbers("Memory", "measured") == near([n * 2**20 for n in range(1, 6)])
    assert page.numbers("Memory", "planned workspace") == near([n * 1e5 for n in range(1, 6)])


def test_means_are_geometric(page: Page) -> None:
    table = {one["beside"][0]: one for one in page.tables[next(iter(page.tables))]}
    assert list(table) == ["the fastest", "torch", "onnxruntime", "scipy fft"]
    assert float(table["the fastest"]["forward"][1]) == pytest.approx(math.sqrt(2.0 * 1.125))
    assert float(table["torch"]["forward"][1]) == pytest.approx(math.sqrt(2.0 * 3.0))
    assert float(table["torch"]["input gradient"][1]) == pytest.approx(4.0)
    assert table["scipy fft"]["weight gradient"] == ("-", "")
    ratios = [min(ratios.values()) for _, ratios in FIGURES.values() if ratios]
    assert (
        page.terms.items()
        >= {
            "figures": "5",
            "geometric mean beside the fastest peer": f"{math.prod(ratios) ** (1 / 4):.2f}",
            "faster than every peer": "3 of 4",
            "lowest ratio": "0.50",
        }.items()
    )


def test_every_figure_is_a_mark_that_says_what_it_is(page: Page) -> None:
    speeds = [title for title in page.titles if "flop" in title.lower() and "peak" in title]
    for (layer, pass_name), (gflops, _) in FIGURES.items():
        start = f"{layer} {PASS_NAMES[pass_name]} ("
        (said,) = {title for title in speeds if title.startswith(start)}  # narrow and wide agree
        assert f"{number(gflops)} GFLOP/s" in said
    bars = [title for title in page.titles if " x " in title and "±" in title]
    assert [bar.partition(",")[0] for bar in bars] == [
        "two: 1.12 x onnxruntime",
        "one: 2.00 x torch",
        "one: 0.50 x torch",
        "two: 4.00 x torch",
    ]
    assert "three" in page.svg_texts, "text is text"


def test_page_needs_no_other_file(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    assert page.references
    assert {reference[0] for reference in page.references} == {"#"}
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert not {"link", "img", "iframe", "object"} & set(page.elements)
    assert page.elements.count("script") == page.elements.count("style") == 1


def test_colours_are_the_pages(made: dict[str, str]) -> None:
    html = made["rows"]
    used = set(re.findall(r"var\(--([a-z]+)\)", html))
    defined = [set(re.findall(r"--([a-z]+):", block)) for block in html.split("@media")[:2]]
    assert used <= defined[0]
    assert defined[0] == defined[1], "light and dark define the same colours"
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert not re.findall(r"#[0-9a-f]{6}\b", drawn)


def test_refused_figures_are_named(made: dict[str, str]) -> None:
    assert "four forward, 1 thr.: wrong" in Page(made["rows"]).text


def test_names_are_escaped(tmp_path: Path) -> None:
    name = "<script>alert('$x$')</script> & \"$\\frac\""
    path = write_rows(tmp_path / "a<b&c.json", [row(layer=name)], cpu=name)
    page = Page(_report(path))
    assert page.elements.count("script") == 1
    assert name in page.svg_texts
    assert any(title.startswith(name) for title in page.titles)
    tables = [table for caption, table in page.tables.items() if caption.startswith("Ratios")]
    assert tables[0][0]["layer"] == (name, name)
    assert "a<b&c" in page.text


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ratios": {}, "best_peer": None, "seconds": {"fastconv": 2.0}},
        {"errors": {"fastconv": 0.0, "torch": 0.0}},
        {"memory": {"fastconv": 0, "torch": 0}},
    ],
    ids=["plain", "no peer", "exact", "no memory"],
)
def test_one_row_is_a_report(tmp_path: Path, changes: dict[str, Any]) -> None:
    page = Page(_report(write_rows(tmp_path / "one.json", [row(**changes)])))
    assert page.numbers("Share", "of the peak") == [pytest.approx(LARGE_GFLOPS)]
    assert ("Ratios: ResNet-50, NCHW, 1 thread, float32" in page.tables) == (
        "ratios" not in changes
    )


LARGE_GFLOPS = row().flops / 2.0 / 1e9  # of a peak of 100, in 2 seconds


def test_what_was_not_recorded_is_left_out(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "old.json", [unrecorded(one) for one in rows()])
    page = Page(_report(path))
    captions = " ".join(page.tables)
    assert "Memory" not in captions
    assert "First" not in captions
    assert "Ratios" in captions
    # 95 % of two medians whose rounds are not known to be more than five.
    noise = 1.96 * 1.2533 / 1.349 * 0.02 / math.sqrt(5) * math.sqrt(2)
    assert page.numbers("Ratios", "noise")[0] == pytest.approx(noise)


def test_two_runs_show_what_changed(tmp_path: Path) -> None:
    old = write_rows(tmp_path / "old.json", rows())
    new = write_rows(tmp_path / "new.json", rows(scale=1.25)[1:], cpu="Another CPU")
    page = Page(_report(old, new))
    assert page.numbers("From old to new", "new / old") == [pytest.approx(0.8)] * 3
    assert page.numbers("From old to new", "old ratio") == [0.5, 1.125, 4.0]
    (changes,) = (rows for caption, rows in page.tables.items() if caption.startswith("From"))
    assert {one["verdict"][0] for one in changes} == {"slower"}
    assert "different machines: Some CPU (znver9, 512-bit vectors); Another CPU" in page.text
    assert "only in old: 1" in page.text
    assert "one forward (float32, NCHW, 1 thr.)" in page.text
    assert "no peer in common: 1" in page.text


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = []
    for folder in ("before", "after"):
        (tmp_path / folder).mkdir()
        paths.append(write_rows(tmp_path / folder / "run.json", [row()]))
    text = Page(_report(*paths)).text
    assert "before/run" in text
    assert "after/run" in text


def test_one_page_shows_a_gpu_beside_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_device", FakeDevice)
    path = tmp_path / "gpu.json"
    command = ["--no-tests", "--json", str(path), "--layers", "resnet50_4$", "--suite", "resnet50"]
    result = CliRunner().invoke(gpu.main, [*command, "--precision", "float32,tf32"])
    assert result.exit_code == 0, result.output
    page = Page(_report(write_rows(tmp_path / "cpu.json", [row()]), path))
    titles = ("NCHW, 1 thread, float32", "NCHW, float32", "NCHW, tf32")
    for title in titles:
        assert f"Ratios: ResNet-50, {title}" in page.tables
    caption = "Ratios: ResNet-50, NCHW, tf32"
    assert page.numbers(caption, "ratio") == [pytest.approx(3.0)] * 3  # the fake's 300 us by 100
    assert page.numbers(caption, "fastconv") == [pytest.approx(1e-4)] * 3
    waits = page.numbers("First and warm calls: ResNet-50, NCHW, tf32", "host waits")
    assert waits == [pytest.approx(3e-5)] * 3
    assert "Fake" in page.text
    assert not any(caption.startswith("From") for caption in page.tables)


def _spoiled(form: str, folder: Path, spoil: Any) -> Path:
    writer = write_rows if form == "rows" else write_benchmarks
    path = writer(folder / "spoiled.json", rows())
    loaded = json.loads(path.read_text())
    spoil(loaded)
    path.write_text(json.dumps(loaded))
    return path


@pytest.mark.parametrize(
    ("form", "spoil", "message"),
    [
        ("rows", lambda f: f["rows"].clear(), "holds no figure"),
        ("rows", lambda f: f.pop("rows"), 'neither the "rows"'),
        ("rows", lambda f: f.pop("machine"), "'machine' is missing"),
        ("rows", lambda f: f["rows"][1].pop("flops"), "row 2: 'flops' is missing"),
        ("rows", lambda f: f["rows"][0].update(layer=3), "row 1: 'layer' is 3, needs a text"),
        (
            "rows",
            lambda f: f["rows"][2]["seconds"].update(torch=math.nan),
            "row 3: 'torch' is nan, needs a finite number above 0",
        ),
        ("rows", lambda f: f["rows"][2]["seconds"].pop("fastconv"), "row 3: 'fastconv' is missing"),
        ("rows", lambda f: f["rows"].append(7), "row 6: "),
        ("benchmarks", lambda f: f["benchmarks"].clear(), "holds no figure"),
        ("benchmarks", lambda f: f["machine_info"].pop("device"), "by no benchmark of fastconv's"),
        (
            "benchmarks",
            lambda f: f["benchmarks"][1].update(extra_info={}),
            "benchmark 2: its extra_info is not that of fastconv's benchmarks",
        ),
        (
            "benchmarks",
            lambda f: f["benchmarks"][0]["stats"].update(median=0),
            "benchmark 1: 'median' is 0, needs a finite number above 0",
        ),
        (
            "benchmarks",
            lambda f: f["benchmarks"][0]["extra_info"].update(flops="many"),
            "'flops' is 'many', needs a finite number above 0",
        ),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, form: str, spoil: Any, message: str) -> None:
    path = _spoiled(form, tmp_path, spoil)
    result = CliRunner().invoke(main, [str(path), "-o", str(tmp_path / "report.html")])
    assert result.exit_code == 2
    output = " ".join(result.output.split())
    assert f"{path}: " in output
    assert message in output
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[]", "no JSON object")])
def test_what_is_no_benchmark_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    result = CliRunner().invoke(main, [str(path)])
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_kept_results_are_read_with_their_means(path: Path) -> None:
    found = {}
    for one in sets(read(path)):
        threads = one.title.split(", ")[2]
        found |= {f"{name}, {threads}": mean(one.of_pass(name)).value for name in PASS_NAMES}
    assert found == pytest.approx(json.loads(path.read_text())["geometric_means"])


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a JSON document, objects and lists included."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(part, (*path, name))


@pytest.mark.parametrize("form", [write_rows, write_benchmarks])
def test_no_value_whatever_ends_in_a_traceback(tmp_path: Path, form: Any) -> None:
    good, path = form(tmp_path / "good.json", rows()[:1]), tmp_path / "spoiled.json"
    text = good.read_text()
    refused = 0
    for leaf in _leaves(json.loads(text)):
        for value in (None, [], {}, "x", -1, 1e400, True):
            loaded = json.loads(text)
            place = loaded
            for name in leaf[:-1]:
                place = place[name]
            place[leaf[-1]] = value
            path.write_text(json.dumps(loaded))
            try:
                run = read(path)
            except Unreadable:
                refused += 1
                continue
            for one in sets(run):
                for table in (roofline, ratios, shares, errors, calls, memory):
                    table(one)
            compare(run, read(good))
    assert refused > 100


def test_peers_without_ours_are_counted(tmp_path: Path) -> None:
    path = write_benchmarks(tmp_path / "run.json", rows())
    loaded = json.loads(path.read_text())
    loaded["benchmarks"] = loaded["benchmarks"][1:]  # the first is ours
    path.write_text(json.dumps(loaded))
    assert read(path).without_ours == 1
    assert "1 cases have peers' times only" in Page(_report(path)).text


def test_matplotlib_is_asked_for_only_where_it_is_used(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "run.json", [row()])
    source = f"""
import sys
import bench.compare, bench.__main__
assert not {{"matplotlib", "jinja2"}} & set(sys.modules)
sys.modules["matplotlib"] = None
from click.testing import CliRunner
from bench.report.__main__ import main
result = CliRunner().invoke(main, [{str(path)!r}, "-o", {str(tmp_path / "report.html")!r}])
print(result.exit_code, result.output)
"""
    output = run_script(source)
    assert output.startswith("1 ")
    assert "a report needs matplotlib: pip install 'fastconv[report]'" in output
