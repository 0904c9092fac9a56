"""The benchmark of auto's choices: what it times, how it scores, when it fails."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import auto, suites
from bench.auto import Choice, judge, summary
from bench.case import make_case
from bench.expected import expect
from bench.run import Settings
from bench.timing import Sample

LAYER = {layer.name: layer for layer in suites.smoke_suite()}["physics_f64"]
COMMAND = ["--suite", "everyday", "--layers", "lenet5_c3", "--layout", "nchw", "--budget", "0"]


def _judged(monkeypatch: pytest.MonkeyPatch, slowness: dict[str, float]) -> Choice:
    """A choice on a clock by which each contestant takes the seconds given."""

    def interleaved(calls: dict[str, Any], *_: Any, **__: Any) -> dict[str, Sample]:
        return {name: Sample((slowness[name],) * 3) for name in calls}

    monkeypatch.setattr("bench.run.interleaved", interleaved)
    case = make_case(LAYER)
    return judge("everyday", case, "forward", expect(case, "forward"), 1, Settings())


def test_every_other_algorithm_is_timed_and_the_best_found(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = _judged(monkeypatch, {"auto": 4.0, "direct": 9.0, "im2col": 3.0, "winograd": 8.0})
    assert choice.chosen not in choice.seconds
    assert set(choice.seconds) | {choice.chosen} == {"auto", "direct", "im2col", "winograd"}
    assert (choice.best, choice.score) == ("im2col", 0.75)


def test_the_fastest_choice_scores_one(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = _judged(monkeypatch, {"auto": 4.0, "direct": 9.0, "im2col": 5.0, "winograd": 8.0})
    assert (choice.best, choice.score) == (choice.chosen, 1.0)


def _choice(score: float) -> Choice:
    best = "direct" if score == 1 else "im2col"
    return Choice("s", "layer", "", "forward", "nchw", 1, "direct", best, score, {"auto": 1.0})


def test_summary_is_of_all_cases() -> None:
    assert summary([_choice(1.0), _choice(0.25)]) == {
        "cases": 2,
        "mean": 0.5,
        "minimum": 0.25,
        "fastest chosen": 1,
    }


@pytest.mark.parametrize(
    ("scores", "options", "status"),
    [
        ((1.0, 0.95), (), 0),
        ((1.0, 0.79), (), 1),
        ((0.94, 0.94), (), 1),
        ((1.0, 0.5), ("--mean", "0.7", "--minimum", "0.5"), 0),
        ((), (), 1),
    ],
)
def test_exit_status(
    scores: tuple[float, ...],
    options: tuple[str, ...],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auto, "choices", lambda *_: (_choice(score) for score in scores))
    assert CliRunner().invoke(auto.main, [*COMMAND, *options]).exit_code == status


def test_command_line_times_and_writes(tmp_path: Path) -> None:
    path = tmp_path / "auto.json"
    bounds = ["--mean", "0", "--minimum", "0"]
    result = CliRunner().invoke(auto.main, [*COMMAND, *bounds, "--json", str(path)])
    assert result.exit_code == 0, result.output
    read = json.loads(path.read_text())
    assert read["summary"]["cases"] == 3
    assert {row["layer"] for row in read["choices"]} == {"lenet5_c3"}
    assert all(0 < row["score"] <= 1 and row["seconds"]["auto"] > 0 for row in read["choices"])


def test_wrong_value_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.checked.tolerance", lambda layer, pass_name: -1.0)
    result = CliRunner().invoke(auto.main, [*COMMAND, "--mean", "0", "--minimum", "0"])
    assert result.exit_code == 1
    assert "not timed" in result.output
