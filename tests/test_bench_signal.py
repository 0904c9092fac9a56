"""The benchmark beside SciPy: which cases it has, how it checks and scores, when it fails."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bench import signal as bench_signal
from bench.signal import OURS, Figure, Problem, contestants, measure, problems, summary
from bench.timing import Sample

pytest.importorskip("scipy.signal")


def test_problems_cover_every_function_and_rank() -> None:
    all_of_them = list(problems(("float32", "complex64")))
    assert len({problem.name for problem in all_of_them}) == len(all_of_them)
    functions = {(problem.function, len(problem.image)) for problem in all_of_them}
    assert functions == {
        *(("correlate", rank) for rank in (1, 2, 3)),
        *((name, 2) for name in ("correlate2d", "ndimage.correlate", "ndimage.correlate1d")),
    }
    assert all(
        k <= n
        for problem in all_of_them
        for n, k in zip(problem.image, problem.kernel, strict=False)
    )


@pytest.mark.parametrize("dtype", ["float32", "complex64", "uint8"])
def test_contestants_agree(dtype: str) -> None:
    """All of them, on one problem of each function."""
    for function, kernel, edges in (
        ("correlate", (3, 3), ""),
        ("correlate2d", (3, 3), "wrap"),
        ("ndimage.correlate", (3, 3), "reflect"),
        ("ndimage.correlate1d", (3,), "reflect"),
    ):
        calls = contestants(Problem(function, (8, 8), kernel, dtype, edges))
        assert len(calls) >= 2
        made = calls.pop(OURS)()
        for call in calls.values():
            np.testing.assert_allclose(call(), made, rtol=1e-4, atol=1e-4)


def test_a_figure_is_beside_the_fastest_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    def interleaved(calls: dict[str, Callable[[], Any]], *_: Any, **__: Any) -> dict[str, Sample]:
        seconds = {OURS: 2.0, "correlate": 8.0, "fftconvolve": 4.0}
        return {name: Sample((seconds.get(name, 16.0),) * 3) for name in calls}

    monkeypatch.setattr(bench_signal, "interleaved", interleaved)
    figure = measure(Problem("correlate", (8, 8), (3, 3), "float32"), 0.0)
    assert figure is not None
    assert (figure.best_peer, figure.ratio) == ("fftconvolve", 2.0)


def test_summary_tells_what_is_slower() -> None:
    figures = [
        Figure(f"correlate {i}", "fftconvolve", value, {OURS: 1.0, "fftconvolve": value})
        for i, value in enumerate((4.0, 0.25, 0.5))
    ]
    means, count, worst, other = summary(figures)
    assert means.startswith("correlate: 0.8 x SciPy's fastest")
    assert count == "slower than a peer: 2 of 3"
    assert "correlate 1: 0.25" in worst
    assert "correlate 2: 0.50" in other


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = tmp_path / "figures.json"
    arguments = ["--cases", "^correlate2d 32x32 3x3 ", "--dtypes", "float32", "--budget", "0"]
    outcome = CliRunner().invoke(bench_signal.main, [*arguments, "--json", str(written)])
    assert outcome.exit_code == 0, outcome.output
    assert "correlate2d 32x32 3x3 float32 fill" in outcome.output
    assert len(json.loads(written.read_text())["figures"]) == 3
    wrong = bench_signal.signal.convolve2d  # not what the case asks for
    monkeypatch.setattr(bench_signal.signal, "correlate2d", wrong)
    outcome = CliRunner().invoke(bench_signal.main, arguments)
    assert outcome.exit_code == 1
    assert "wrong: correlate2d 32x32 3x3 float32 fill: off by" in outcome.output


def test_no_case_is_an_error() -> None:
    outcome = CliRunner().invoke(bench_signal.main, ["--cases", "nothing"])
    assert outcome.exit_code == 2
    assert "matches no case" in outcome.output
