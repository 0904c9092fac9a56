"""Memory of a call: what it adds at its peak, and nothing where the system does not tell."""

import sys
from pathlib import Path

import numpy as np
import pytest

from bench.case import make_case
from bench.checked import checked
from bench.expected import expect
from bench.memory import peak_growth
from bench.peers import Ours
from bench.suites import smoke_suite

MEBIBYTE = 2**20
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="no /proc")


@LINUX
def test_a_result_and_what_is_freed_before_it_both_count() -> None:
    size = 64 * MEBIBYTE

    def call() -> np.ndarray:
        return np.ones(size // 2, np.uint8) if np.ones(size, np.uint8)[0] else np.empty(0)

    grown = peak_growth(call)
    assert grown is not None
    # The one array is freed before or after the other is made.
    assert size - MEBIBYTE < grown < 1.5 * size + MEBIBYTE


@LINUX
def test_what_was_allocated_before_does_not_count() -> None:
    held = np.ones(64 * MEBIBYTE, np.uint8)
    grown = peak_growth(lambda: np.ones(8 * MEBIBYTE, np.uint8))
    assert grown is not None
    assert abs(grown - 8 * MEBIBYTE) < MEBIBYTE
    assert held[-1] == 1


def test_no_process_folder_is_no_figure(tmp_path: Path) -> None:
    called = []
    assert peak_growth(lambda: called.append(1), tmp_path / "absent") is None
    (tmp_path / "status").write_text("Name:\tpython\n")
    assert peak_growth(lambda: called.append(1), tmp_path) is None


@LINUX
def test_ours_is_weighed_without_what_it_kept() -> None:
    layer = next(layer for layer in smoke_suite() if layer.name == "lenet5_c1")
    case = make_case(layer)
    found = checked(Ours(), case, "forward", expect(case, "forward"), weighed=True)
    assert found.memory is not None
    assert found.memory < 16 * MEBIBYTE
    assert found.first_call > 0
