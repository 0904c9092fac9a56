"""The self-test passes where all is right, and finds what is wrong."""

import os
import sys
from collections.abc import Callable
from itertools import islice
from typing import Any

import naive
import numpy as np
import pytest

from fastconv import selfcheck

PASSES = {
    "forward": lambda p, how: naive.forward(p.x, p.w, None, *how),
    "weight gradient": lambda p, how: naive.weight_gradient(p.x, p.dy, p.g.kernel, *how),
    "input gradient": lambda p, how: naive.input_gradient(p.w, p.dy, p.g.input, *how),
}
FORK_WARNS = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.mark.parametrize("problem", list(islice(selfcheck.problems(3), 6)), ids=str)
def test_what_is_expected_agrees_with_the_oracle(problem: selfcheck.Problem) -> None:
    g = problem.g
    how = g.stride, problem.pads, g.dilation, g.groups
    expected = problem.expected()
    for name, solve in PASSES.items():
        np.testing.assert_array_equal(expected[name], solve(problem, how))


@FORK_WARNS
def test_all_checks_pass() -> None:
    for name, check in selfcheck.checks(seconds=0).items():
        outcome = check()
        assert outcome.right, name
        assert outcome.cases > 0 or outcome.skipped
        assert outcome.told in ("right", outcome.skipped)


def test_problems_are_the_same_for_the_same_seed() -> None:
    first, again = (next(iter(selfcheck.problems(7))) for _ in range(2))
    assert first.g == again.g
    np.testing.assert_array_equal(first.x, again.x)
    assert next(iter(selfcheck.problems(8))).g != first.g


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], bool]], None]:
    """Adds one to an element of each forward pass for which a condition holds."""

    def spoil(condition: Callable[[], bool]) -> None:
        def wrong(conv: Any) -> Any:
            def spoiled_conv(*given: Any, **named: Any) -> Any:
                y = conv(*given, **named)
                if condition():
                    y.flat[0] += 1
                return y

            return spoiled_conv

        monkeypatch.setattr(selfcheck, "CONV", tuple(map(wrong, selfcheck.CONV)))

    return spoil


def test_a_wrong_convolution_is_found(spoiled: Any) -> None:
    spoiled(lambda: True)
    outcome = selfcheck.random_convolutions(0, 0)
    assert not outcome.right
    assert outcome.told.startswith("WRONG: forward of ")
    assert "gradient" not in outcome.told


@pytest.mark.parametrize("check", [selfcheck.thread_counts, selfcheck.concurrent_calls])
def test_results_that_differ_are_found(check: Any, spoiled: Any) -> None:
    calls = iter(range(1000))
    spoiled(lambda: next(calls) == 1)
    assert check().wrong[0].startswith("forward")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
@FORK_WARNS
def test_a_child_that_differs_is_found(spoiled: Any) -> None:
    parent = os.getpid()
    spoiled(lambda: os.getpid() != parent)
    assert selfcheck.forked().wrong == ("in the child",)


def test_no_fork_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork", raising=False)
    assert selfcheck.forked().told == "this system has no fork"


def test_a_wrong_anchor_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(example: object) -> None:
        raise selfcheck.worked_example.AnchorError("the loss is 5")

    monkeypatch.setattr(selfcheck.worked_example, "check", fail)
    outcome = selfcheck.anchors()
    assert len(outcome.wrong) == outcome.cases
    assert outcome.wrong[0].endswith("the loss is 5")
