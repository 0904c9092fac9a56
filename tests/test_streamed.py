"""Large results go past the caches: line by line where they are whole lines, and else as always."""

from collections.abc import Iterator

import numpy as np
import pytest
from arrays import Arena, Array
from cases import Case, compute, operands, oracle, result_shape, simple

import fastconv
from fastconv.cpu import depthwise_open
from fastconv.cpu import operands as plans
from fastconv.cpu.convolution import plan_steps
from fastconv.cpu.operands import Operands
from fastconv.cpu.views import Workspace

CASES = {
    "one tap": (simple(3, 9, 64, (6, 14), (1, 1), bias=True), "direct"),
    "one tap, panels": (simple(3, 9, 33, (8, 48), (1, 1), bias=True), "im2col"),
    "few channels": (simple(2, 5, 3, (7, 64), (3, 3), pad=1), "direct"),
    "depthwise": (simple(2, 32, 32, (9, 10), (3, 3), pad=1, groups=32), "depthwise"),
    "strided": (simple(2, 48, 48, (9, 10), (3, 3), pad=1, stride=2, groups=48), "depthwise"),
}


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every result is too large for the caches."""
    fastconv.clear_cache()
    monkeypatch.setattr(plans, "_STREAMED", 0)
    monkeypatch.setattr(depthwise_open, "_FROM_MEMORY", 0)
    yield
    fastconv.clear_cache()


def on_lines(shape: tuple[int, ...], layout: str, offset: int) -> tuple[Array, Array]:
    """An array of NaN that starts ``offset`` bytes into a cache line, and the memory around it."""
    size = int(np.prod(shape))
    memory = np.full(size + 64, np.nan, np.float32)
    start = (-memory.ctypes.data % 64 + offset) // 4 + 16
    array = memory[start : start + size]
    if layout == "channels_last":
        return np.moveaxis(array.reshape(shape[0], *shape[2:], shape[1]), -1, 1), memory
    return array.reshape(shape), memory


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("offset", [0, 16, 4])
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("which", ["forward", "input_gradient", "weight_gradient"])
@pytest.mark.parametrize(("case", "algorithm"), CASES.values(), ids=CASES)
def test_results_are_whole(
    case: Case, algorithm: str, which: str, layout: str, offset: int, arena: Arena
) -> None:
    given = operands(case, which)
    arrays = [arena.place(values, "float32", layout) for values in given]
    expected = oracle(case, which, *given)
    for threads in (1, 3):
        out, memory = on_lines(result_shape(case, which), layout, offset)
        with fastconv.options(threads=threads):
            compute(case, which, *arrays, out=out, algorithm=algorithm)
        np.testing.assert_array_equal(out, expected)
        assert np.isnan(memory).sum() == 64, "written outside the output"


@pytest.mark.parametrize(("n", "near"), [(1, 1), (8, 0)])
def test_only_large_results_do(n: int, near: int) -> None:
    """Whoever reads a small result next finds it in the caches."""
    shapes = (n, 64, 56, 56), (256, 64, 1, 1), (n, 256, 56, 56)
    arrays = Operands(32, *(np.broadcast_to(np.float32(0), s).copy().strides for s in shapes))
    g = fastconv.explain(*shapes[:2]).geometry
    for algorithm in ("direct", "im2col"):
        _, steps, _ = plan_steps("forward", g, arrays, algorithm, False, Workspace())
        assert isinstance(steps, list)
        assert [s.constants["near"] for s in steps if "near" in s.constants] == [near]
