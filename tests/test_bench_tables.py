"""Result files and the README's tables made of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_bench_roofline import row

from bench.recorder import Recorder, result_name
from bench.run import Refusal, Settings
from bench.tables import END, RESULTS, START, main, read_reports, tables

README = Path(__file__).resolve().parent.parent / "README.md"
MACHINE = {
    "host": "znver9",
    "isa": "avx512",
    "cpu": "Some CPU (znver9, 512-bit vectors)",
    "cores": 4,
    "held_to": "native",
    "versions": {"numba": "1.2.3", "torch": "9.8.7+cpu"},
}


def _record(folder: Path, finish: bool = True, **machine: Any) -> Path:
    described = MACHINE | machine
    path = folder / result_name("resnet50", "nchw", described)
    recorder = Recorder(path, "resnet50", described, Settings())
    recorder.add(row(ratios={"torch": 4.0}))
    recorder.add(row(layer="resnet50_8", ratios={"torch": 1.0}))
    recorder.add(row(layer="resnet50_6", kind="1x1", ratios={"torch": 0.5}))
    recorder.add(row(layer="resnet50_6", kind="1x1", pass_name="weight", threads=2))
    recorder.add(Refusal("resnet50_1", "forward", 1, "wrong"))
    if finish:
        recorder.finish()
    return path


def test_file_is_named_for_what_it_answers(tmp_path: Path) -> None:
    assert _record(tmp_path).name == "resnet50-nchw-avx512-znver9.json"


def test_cut_run_keeps_its_rows_and_replaces_nothing(tmp_path: Path) -> None:
    path = _record(tmp_path)
    before = path.read_bytes()
    _record(tmp_path, finish=False)
    assert path.read_bytes() == before
    cut = json.loads((tmp_path / "resnet50-nchw-avx512-znver9.partial.json").read_text())
    assert not cut["complete"]
    assert [row["layer"] for row in cut["rows"]][:2] == ["resnet50_4", "resnet50_8"]
    assert cut["refused"][0]["layer"] == "resnet50_1"
    assert len(read_reports(tmp_path)) == 1


def test_newer_run_replaces_an_older(tmp_path: Path) -> None:
    _record(tmp_path)
    path = _record(tmp_path, cpu="the same one, later")
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_text())["machine"]["cpu"] == "the same one, later"


def test_table_has_a_line_a_suite_and_a_kind(tmp_path: Path) -> None:
    _record(tmp_path)
    lines = tables(read_reports(tmp_path)).splitlines()
    assert lines[0] == (
        "| layers | layout | forward, 1 thr. | forward, 2 thr. | weight gradient, 1 thr. | "
        "weight gradient, 2 thr. | input gradient, 1 thr. | input gradient, 2 thr. |"
    )
    assert lines[2:5] == [
        "| **ResNet-50**, all 3 | NCHW | 1.26 (0.50) |  |  | 1.50 |  |  |",
        "| 3x3, stride 1 (2) | NCHW | 2.00 (1.00) |  |  |  |  |  |",
        "| 1x1 (1) | NCHW | 0.50 |  |  | 1.50 |  |  |",
    ]
    caption = " ".join(lines[6:])
    assert caption.startswith("Some CPU (znver9, 512-bit vectors), 4 cores, Numba 1.2.3, 20")
    assert "PyTorch 9.8.7 (4)" in caption
    assert "Of 4 cases 1 are under 1.00." in caption
    assert "bound is 1.39 times the fastest peer, and fastconv 0.87 times." in caption
    assert "`direct` reaches 50 % of the measured multiply-add peak (median of 4)" in caption


def test_each_machine_and_instruction_set_has_a_table(tmp_path: Path) -> None:
    _record(tmp_path)
    _record(tmp_path, isa="avx2", held_to="avx2")
    _record(tmp_path, host="znver8")
    text = tables(read_reports(tmp_path))
    assert text.count("| layers | layout |") == 3
    assert text.count("4 cores, ours and the peers held to avx2") == 1


def test_readme_is_written_and_checked(tmp_path: Path) -> None:
    _record(tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{START}\nold\n{END}\n\nafter\n")

    def command(action: str) -> int:
        arguments = ["--results", str(tmp_path), action, str(readme)]
        return CliRunner().invoke(main, arguments).exit_code

    assert command("--check") == 1
    assert command("--write") == 0
    assert command("--check") == 0
    text = readme.read_text()
    assert text.startswith(f"before\n\n{START}\n| layers")
    assert text.endswith(f"\n{END}\n\nafter\n")
    readme.write_text("no marks")
    assert command("--check") == 2


def test_this_readme_is_what_the_results_make_of_it() -> None:
    result = CliRunner().invoke(main, ["--check", str(README)])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_kept_results_are_named_by_the_scheme(path: Path) -> None:
    read = json.loads(path.read_text())
    assert read["complete"]
    assert path.name == result_name(read["suite"], read["settings"]["layout"], read["machine"])
