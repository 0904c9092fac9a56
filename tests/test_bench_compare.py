"""What fails between two runs: a ratio that fell by more than its noise, and nothing else."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from report_files import rows, write_benchmarks, write_rows
from test_bench_roofline import row

from bench.compare import main
from bench.report.changes import Shift, compare, mean_shifts
from bench.report.files import read
from bench.run import Refusal, Row


def _status(old: Path, new: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(old), str(new), *options])
    return result.exit_code, " ".join(result.output.split())


def _files(folder: Path, old: list[Any], new: list[Any], **machine: Any) -> tuple[Path, Path]:
    before = write_rows(folder / "old.json", old)
    return before, write_rows(folder / "new.json", new, **machine)


def test_equal_runs_pass(tmp_path: Path) -> None:
    status, output = _status(*_files(tmp_path, rows(), rows()))
    assert status == 0
    assert "below 0.9: 0 of 4 cases and 0 of 3 means" in output


def _slower(one: Row, factor: float) -> Row:
    """As on a day when the machine was so many times slower, ours and the peers alike."""
    return replace(one, seconds={name: factor * s for name, s in one.seconds.items()})


def test_absolute_times_count_nothing(tmp_path: Path) -> None:
    status, _ = _status(*_files(tmp_path, rows(), [_slower(one, 3.0) for one in rows()]))
    assert status == 0


@pytest.mark.parametrize("form", [write_rows, write_benchmarks])
def test_a_loss_beyond_the_noise_fails(tmp_path: Path, form: Any) -> None:
    old, new = form(tmp_path / "old.json", rows()), form(tmp_path / "new.json", rows(scale=1.25))
    status, output = _status(old, new)
    assert status == 1
    assert "below 0.9: 4 of 4 cases and 3 of 3 means" in output
    assert _status(old, new, "--fail-below", "0.7")[0] == 0
    assert _status(new, old)[0] == 0, "a gain is no loss"


def test_a_loss_within_the_noise_passes(tmp_path: Path) -> None:
    # 1.82 x 40 % / sqrt(25), of two medians, is 21 %: the upper end of 0.8 is above 0.9.
    status, output = _status(*_files(tmp_path, rows(spread=0.4), rows(1.25, spread=0.4)))
    assert status == 0
    assert "below 0.9: 0 of 4 cases and 0 of 3 means" in output


def test_a_small_loss_in_many_cases_fails(tmp_path: Path) -> None:
    def many(ratio: float) -> list[Row]:
        figures = {"ratios": {"torch": ratio}, "ratio_spread": {"torch": 0.3}}
        return [row(layer=f"layer {i}", **figures) for i in range(40)]

    status, output = _status(*_files(tmp_path, many(2.0), many(1.7)))
    assert status == 1
    assert "below 0.9: 0 of 40 cases and 1 of 1 means" in output


def test_noise_is_that_of_both_medians() -> None:
    ours = Shift(0.85, 0.05)
    assert (ours.low, ours.high) == (
        pytest.approx(0.85 / math.exp(0.05)),
        pytest.approx(0.85 * math.exp(0.05)),
    )
    assert ours.below(0.9)
    assert not ours.below(0.89)
    assert ours.verdict == "slower"
    assert Shift(1.02, 0.05).verdict == "as before"
    assert Shift(1.1, 0.05).verdict == "faster"


def test_means_are_geometric_and_less_noisy(tmp_path: Path) -> None:
    old = [row(layer="one"), row(layer="two")]
    new = [
        row(layer="one", ratios={"torch": 3.0}),  # twice what it was
        row(layer="two", ratios={"torch": 12.0}),  # eight times
    ]
    found = compare(*map(read, _files(tmp_path, old, new)))
    (shift,) = mean_shifts(found.changes).values()
    assert shift.value == pytest.approx(4.0)
    of_one = 1.96 * 1.2533 / 1.349 * 0.05 / math.sqrt(5)
    assert found.changes[0].shift.noise == pytest.approx(math.sqrt(2) * of_one)
    assert shift.noise == pytest.approx(of_one)


def test_both_sides_have_the_same_peer(tmp_path: Path) -> None:
    def beside(**ratios: float) -> Row:
        seconds = {"fastconv": 1.0, **ratios}
        spread = dict.fromkeys(ratios, 0.0)
        best = min(ratios, key=ratios.__getitem__)
        return row(seconds=seconds, ratios=ratios, ratio_spread=spread, best_peer=best,
                   rounds=dict.fromkeys(seconds, 9))  # fmt: skip

    old = beside(torch=2.0, scipy=3.0)
    # SciPy is the fastest now, and onnxruntime was not there before: neither is the measure.
    new = beside(torch=2.0, scipy=1.0, onnxruntime=0.5)
    (change,) = compare(*map(read, _files(tmp_path, [old], [new]))).changes
    assert change.peer == "torch"
    assert change.shift.value == 1.0


def test_cases_of_one_file_only_are_named(tmp_path: Path) -> None:
    old, new = rows()[:3], [*rows()[1:3], row(layer="five")]
    status, output = _status(*_files(tmp_path, old, new))
    assert status == 0
    assert "only in the old file: 1 one forward (float32, NCHW, 1 thr.)" in output
    assert "only in the new file: 1 five forward (float32, NCHW, 1 thr.)" in output


def test_another_peers_version_and_machine_are_told(tmp_path: Path) -> None:
    versions = {"numba": "1.2.3", "torch": "10.0"}
    _, output = _status(*_files(tmp_path, rows(), rows(), versions=versions, cpu="Another"))
    assert "torch is 9.8.7+cpu in the old run and 10.0 in the new one" in output
    assert "different machines: Some CPU (znver9, 512-bit vectors); Another" in output


def test_a_wrong_value_fails(tmp_path: Path) -> None:
    files = _files(tmp_path, rows(), [*rows()[1:], Refusal("one", "forward", 1, "NaN")])
    status, output = _status(*files)
    assert status == 1
    assert "wrong in the new run: one forward, 1 thr.: NaN" in output


def test_forms_may_be_compared_with_each_other(tmp_path: Path) -> None:
    old = write_rows(tmp_path / "old.json", rows())
    new = write_benchmarks(tmp_path / "new.json", rows())
    status, output = _status(old, new)
    assert status == 0
    assert "0 of 4 cases" in output


@pytest.mark.parametrize(
    ("new", "options", "message"),
    [
        ([row(layer="other")], (), "no case with a peer in common"),
        ([row(ratios={}, best_peer=None)], (), "no case with a peer in common"),
        ([row()], ("--fail-below", "0"), "--fail-below"),
        ([row()], ("--fail-below", "much"), "--fail-below"),
    ],
)
def test_usage_errors_exit_2(
    tmp_path: Path, new: list[Row], options: tuple[str, ...], message: str
) -> None:
    status, output = _status(*_files(tmp_path, [row()], new), *options)
    assert status == 2
    assert message in output


def test_unreadable_files_exit_2(tmp_path: Path) -> None:
    good, bad = write_rows(tmp_path / "good.json", [row()]), tmp_path / "bad.json"
    bad.write_text(json.dumps({"benchmarks": []}))
    for files in ((good, bad), (bad, good), (good, tmp_path / "absent.json")):
        assert _status(*files)[0] == 2
