"""``pytest bench`` as pytest-benchmark's users know it: on the tiniest layer, in a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from report_files import Page, rows, write_benchmarks

from bench.compare import main as compare
from bench.report.__main__ import main as report
from bench.report.files import read

ROOT = Path(__file__).resolve().parent.parent
LAYER = "worked_example"
QUICK = ("--benchmark-max-time=0.005", "--benchmark-min-rounds=2")


def _pytest(storage: Path, *options: str) -> str:
    """What ``pytest bench`` prints for one forward pass beside NumPy."""
    command = [
        *(sys.executable, "-m", "pytest", "bench/test_forward.py", "-p", "no:cacheprovider"),
        *("--suite", "everyday", "-k", f"{LAYER} and (fastconv or numpy)"),
        *(f"--benchmark-storage={storage}", *QUICK, *options),
    ]
    # A run of its own, not part of the one that may have started this process as a worker.
    kept = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    environment = kept | {"COLUMNS": "160"}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two runs left their files: one saved by name and drawn, one compared with it."""
    folder = tmp_path_factory.mktemp("pytest")
    storage, histogram = folder / "storage", folder / "histogram"
    first = _pytest(
        storage,
        f"--benchmark-json={folder / 'first.json'}",
        "--benchmark-save=first",
        f"--benchmark-histogram={histogram / 'drawn'}",
    )
    second = _pytest(
        storage,
        "--benchmark-compare",
        "--benchmark-autosave",
        "--benchmark-columns=median,rounds",
        "--benchmark-sort=name",
        "--benchmark-group-by=param:layer",
        "--benchmark-compare-fail=median:100000%",
    )
    (folder / "first.txt").write_text(first)
    (folder / "second.txt").write_text(second)
    return folder


def test_groups_are_layers_and_passes(folder: Path) -> None:
    text = (folder / "first.txt").read_text()
    assert f"benchmark '{LAYER} forward: 1->1 2x2 @ 3x3, N=1': 2 tests" in text


def test_histogram_is_drawn(folder: Path) -> None:
    (drawn,) = (folder / "histogram").iterdir()
    assert drawn.name.startswith(f"drawn-{LAYER}_forward")
    assert f"{LAYER}-fastconv" in drawn.read_text()


def test_compare_finds_the_saved_run(folder: Path) -> None:
    text = (folder / "second.txt").read_text()
    assert "Comparing against benchmarks from:" in text
    assert "0001_first.json" in text
    assert "machine_info is different" not in text
    assert f"benchmark 'layer={LAYER}': 4 tests" in text
    names = [line.split()[:2] for line in text.splitlines() if line.startswith("test_forward[")]
    assert [name for name, _ in names] == sorted(name for name, _ in names)
    assert {run for _, run in names} == {"(0001_first)", "(NOW)"}
    (headings,) = {
        tuple(line.split()) for line in text.splitlines() if line.startswith("Name (time")
    }
    assert headings[-2:] == ("Median", "Rounds")


def test_saved_files_hold_the_record(folder: Path) -> None:
    paths = sorted((folder / "storage").rglob("*.json"))
    assert [path.name[:5] for path in paths] == ["0001_", "0002_"]
    for path in (folder / "first.json", *paths):
        (figure,) = read(path).figures
        assert figure.case.layer == LAYER
        assert set(figure.timings) == {"fastconv", "numpy"}
        for timing in figure.timings.values():
            assert timing.seconds > 0
            assert timing.first_call
            assert timing.rounds
            assert timing.error == pytest.approx(0, abs=1e-6)
            assert timing.memory is not None or sys.platform != "linux"
        assert figure.peak > 1
        assert figure.bandwidth > 0
        assert (figure.algorithm, figure.workspace) == ("listed", 0)
    machine = json.loads((folder / "first.json").read_text())["machine_info"]
    assert machine["device"]["kind"] == "cpu"
    assert machine["fastconv"]["versions"]["fastconv"]
    assert not [name for name in machine["cpu"] if "hz_actual" in name]


def test_the_report_reads_what_pytest_wrote(folder: Path) -> None:
    files = [folder / "first.json", *sorted((folder / "storage").rglob("0002_*.json"))]
    output = folder / "report.html"
    result = CliRunner().invoke(report, [*map(str, files), "-o", str(output)])
    assert result.exit_code == 0, result.output
    page = Page(output.read_text(encoding="utf-8"))
    recorded = json.loads(files[0].read_text())["benchmarks"]
    medians = {one["params"]["contestant"]: one["stats"]["median"] for one in recorded}
    (changes,) = (table for caption, table in page.tables.items() if caption.startswith("From"))
    assert float(changes[0]["old median"][1]) == medians["fastconv"]
    ratio = float(changes[0]["old ratio"][1])
    assert ratio == pytest.approx(medians["numpy"] / medians["fastconv"])


def test_two_runs_are_compared_by_ratio(folder: Path) -> None:
    paths = sorted((folder / "storage").rglob("*.json"))
    result = CliRunner().invoke(compare, [*map(str, paths), "--fail-below", "0.01"])
    assert result.exit_code == 0, result.output
    assert f"{LAYER} forward" in result.output


def test_disabled_benchmarks_check_the_values_alone(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    text = _pytest(tmp_path, "--benchmark-disable", f"--benchmark-json={path}")
    assert "2 passed" in text
    assert not path.exists()


def test_pytest_benchmarks_own_command_reads_our_form(tmp_path: Path) -> None:
    path = write_benchmarks(tmp_path / "ours.json", rows())
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(path), "--columns=median"]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ
    )
    assert ended.returncode == 0, ended.stderr
    assert "test_forward[one-fastconv]" in ended.stdout
