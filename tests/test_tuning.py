"""Choices by time: taken once, kept across processes, safe against a bad file and other writers."""

import multiprocessing
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import Array
from cases import PASSES, compute, operands, oracle, simple

import fastconv
from fastconv import tuning

CASE = simple(2, 20, 24, (12, 13), (3, 3), pad=1)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of choices for each test."""
    file = tmp_path / "choices" / "file.sqlite3"
    monkeypatch.setattr(tuning, "path", lambda: file)
    fastconv.clear_cache()
    return file


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The candidates of each choice that is timed; the second always wins."""
    seen: list[tuple[str, ...]] = []

    def second(runs: dict[str, Any]) -> str:
        seen.append(tuple(runs))
        for run in runs.values():
            run()
        return list(runs)[1]

    monkeypatch.setattr(tuning, "fastest", second)
    return seen


def given(which: str) -> list[Array]:
    return [values.astype("float32") for values in operands(CASE, which)]


@pytest.mark.parametrize("which", PASSES)
def test_each_call_is_timed_once(which: str, timed: list[tuple[str, ...]]) -> None:
    arrays, exact = given(which), oracle(CASE, which, *operands(CASE, which))
    with fastconv.options(autotune=True):
        for _ in range(3):
            np.testing.assert_array_equal(compute(CASE, which, *arrays), exact)
    every = ("direct", "im2col", "col2im", "winograd")
    assert timed == [tuple(n for n in every if n != "col2im" or which == "input_gradient")]
    compute(CASE, which, *arrays)
    assert len(timed) == 1


def test_the_choice_is_kept_for_other_processes(timed: list[tuple[str, ...]]) -> None:
    arrays = given("forward")
    with fastconv.options(autotune=True):
        compute(CASE, "forward", *arrays)
        fastconv.clear_cache()  # as a new process would start
        compute(CASE, "forward", *arrays)
    assert len(timed) == 1


def test_winograd_is_no_candidate_where_it_is_forbidden(timed: list[tuple[str, ...]]) -> None:
    arrays = given("forward")
    with fastconv.options(autotune=True, winograd=False):
        compute(CASE, "forward", *arrays)
    with fastconv.options(autotune=True):
        compute(CASE, "forward", *arrays)
    assert timed == [("direct", "im2col"), ("direct", "im2col", "winograd")]


def test_the_fastest_is_chosen() -> None:
    waits = {"slow": 0.02, "fast": 0.001, "slower": 0.03}

    def waiting(seconds: float) -> Any:
        return lambda: __import__("time").sleep(seconds)

    runs = {name: waiting(seconds) for name, seconds in waits.items()}
    assert tuning.fastest(runs) == "fast"


@pytest.mark.parametrize(
    "content", [b"", b"no database at all, but long enough to be read as one" * 9]
)
def test_a_spoilt_file_is_made_anew(place: Path, content: bytes) -> None:
    place.parent.mkdir()
    place.write_bytes(content)
    tuning.remember("a call", "direct")
    tuning.forget()
    assert tuning.remembered("a call", ("direct",)) == "direct"


def test_a_file_damaged_inside_is_made_anew(place: Path) -> None:
    """Its head is right, so that it opens, and fails where it is read or written."""
    for number in range(200):
        tuning.remember(f"call {number}", "direct")
    held = place.read_bytes()
    for damaged in (held[:4096] + b"?" * (len(held) - 4096), held[:5000]):
        place.write_bytes(damaged)
        tuning.forget()
        assert tuning.remembered("call 100", ("direct",)) is None
        tuning.remember("call 100", "im2col")
        tuning.forget()
        assert tuning.remembered("call 100", ("im2col",)) == "im2col"


def test_a_choice_of_no_known_name_is_none(place: Path) -> None:
    tuning.remember("a call", "direct")
    with sqlite3.connect(place) as file:
        file.execute("UPDATE choices SET algorithm = 'sorcery'")
    tuning.forget()
    assert tuning.remembered("a call", ("direct", "im2col")) is None


def test_nowhere_to_write(place: Path, timed: list[tuple[str, ...]]) -> None:
    place.parent.write_text("a file where the folder should be")
    with fastconv.options(autotune=True):
        compute(CASE, "forward", *given("forward"))
        compute(CASE, "forward", *given("forward"))
    assert len(timed) == 1


def test_a_file_that_another_process_holds(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_PATIENCE", 0.01)
    tuning.remember("a call", "direct")
    with sqlite3.connect(place) as file:
        file.execute("BEGIN EXCLUSIVE")
        tuning.remember("another", "im2col")
    tuning.forget()
    assert tuning.remembered("a call", ("direct",)) == "direct"
    assert tuning.remembered("another", ("im2col",)) is None


def _write(place: Path, number: int) -> None:
    tuning.path = lambda: place  # type: ignore[assignment]
    tuning._PATIENCE = 60  # on a busy machine another writer may be long at it
    for i in range(10):
        tuning.remember(f"call {number} {i}", "direct")


def test_eight_writers_at_once(place: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(place, number)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
    kept = [tuning.remembered(f"call {n} {i}", ("direct",)) for n in range(8) for i in range(10)]
    assert kept == ["direct"] * 80
