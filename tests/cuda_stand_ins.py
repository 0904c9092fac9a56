"""The stand-ins for PTX instructions, in Numba's simulator; `test_cuda_simulator.py` runs this."""

from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import simulator
from numba import cuda

from fastconv.cuda import ptx
from fastconv.cuda.ptx import Pointer, simulated
from fastconv.cuda.ptx.matrix import MULTIPLY

simulator.share_arrays_safely()
LANES = range(32)


def by_warp(work: Callable[[int], Any]) -> list[Any]:
    """What each lane of one warp gets from ``work(lane)``."""
    results: list[Any] = [None] * 32
    box = SimpleNamespace(work=work, results=results)

    @cuda.jit
    def kernel(unused: Any) -> None:
        lane = cuda.threadIdx.x
        box.results[lane] = box.work(lane)

    kernel[1, 32](np.zeros(1))
    return results


@pytest.mark.parametrize("turned", [False, True])
def test_load_matrices(turned: bool) -> None:
    """Register i of a lane: two neighbours of matrix i, in row lane // 4 (turned: a column)."""
    halves = np.arange(4 * 8 * 8, dtype=np.uint16).reshape(4, 8, 8)
    start = Pointer.over(aligned(halves))
    load = ptx.load_matrices_turned if turned else ptx.load_matrices
    given = by_warp(lambda lane: load(start + 16 * lane))
    for lane in LANES:
        for i in range(4):
            matrix = halves[i].T if turned else halves[i]
            pair = matrix[lane // 4, 2 * (lane % 4) :][:2]
            assert np.array_equal(np.array([given[lane][i]], np.int32).view(np.uint16), pair)


def as_words(values: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """Rows of numbers as rows of 32-bit registers."""
    if kind == "bf16":
        return simulated.to_bfloat16(values).view(np.int32)
    return values.astype(np.float16 if kind == "f16" else np.float32).view(np.int32)


@pytest.mark.parametrize("kind", MULTIPLY)
def test_multiply(kind: str) -> None:
    """Sums + A B, each lane with its parts of the three as PTX lays them out."""
    rng = np.random.default_rng(0)
    length = 8 if kind == "tf32" else 16
    a, b = rng.integers(-8, 9, (16, length)) * 1.0, rng.integers(-8, 9, (length, 8)) * 1.0
    c = rng.integers(-8, 9, (16, 8)) * 1.0
    rows, columns = as_words(a, kind), as_words(np.ascontiguousarray(b.T), kind)

    def work(lane: int) -> Any:
        row, word = divmod(lane, 4)
        parts_a = [rows[row + r, word + half] for half in (0, 4) for r in (0, 8)]
        parts_b = [columns[row, word + half] for half in (0, 4)]
        sums = [c[row + r, 2 * word + i] for r in (0, 8) for i in (0, 1)]
        return MULTIPLY[kind](*parts_a, *parts_b, *sums)

    given = by_warp(work)
    expected = c + a @ b
    for lane in LANES:
        row, word = divmod(lane, 4)
        wanted = [expected[row + r, 2 * word + i] for r in (0, 8) for i in (0, 1)]
        assert list(given[lane]) == wanted


def aligned(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy of an array that starts at a multiple of 16 bytes."""
    room = np.empty(values.nbytes + 16, np.uint8)
    start = -room.ctypes.data % 16
    copy = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def test_pointer_reaches_its_own_memory_alone() -> None:
    values = aligned(np.arange(8, dtype=np.float32))
    memory = values.view(np.uint8)
    start = Pointer(memory, 0, memory.ctypes.data)
    assert list((start + 16).read(np.float32, 4)) == [4, 5, 6, 7]
    assert int(16 + start) == memory.ctypes.data + 16
    for outside in (-4, 32):
        with pytest.raises(IndexError, match=f"at offset {outside} of a memory of 32"):
            (start + outside).read(np.float32)
        with pytest.raises(IndexError, match="of a memory of 32"):
            (start + outside).write([0], np.float32)
    with pytest.raises(IndexError, match="at offset 28"):
        (start + 28).read(np.float32, 2)


@pytest.mark.parametrize(("dtype", "count"), [("f4", 1), ("f4", 4), ("f8", 2), ("u2", 4)])
def test_pointer_checks_alignment(dtype: str, count: int) -> None:
    memory = aligned(np.zeros(64, np.uint8))
    size = np.dtype(dtype).itemsize * count
    start = Pointer(memory, 0, memory.ctypes.data)
    (start + size).read(dtype, count)
    for late in (1, size // 2):
        with pytest.raises(IndexError, match=f"an address of {size} bytes' alignment"):
            (start + late).read(dtype, count)


def test_pointer_over_a_view_reaches_the_whole_buffer() -> None:
    whole = aligned(np.arange(10, dtype=np.float64))
    start = Pointer.over(whole[8:2:-2])
    assert start.read(np.float64) == whole[8]
    assert (start + -16).read(np.float64) == whole[6]


def test_unwanted_elements_are_not_read() -> None:
    nowhere = Pointer(np.zeros(0, np.uint8))
    for kind in ptx.KINDS.values():
        assert kind.load_if(nowhere, 0) == 0
        assert tuple(kind.load4_if(nowhere, 0)) == (0, 0, 0, 0)


_EDGES = [0, 1, 2, 3, 5, 7, 31, 32, 33, 640, 65535, 65536, 65537, 2**30, 2**31 - 2, 2**31 - 1]


@pytest.mark.parametrize("divisor", _EDGES[1:])
def test_divide(divisor: int) -> None:
    magic, shift = ptx.magic_of(divisor)
    assert 0 < magic < 2**32
    assert 31 <= shift < 64
    near = [k * divisor + d for k in (1, 2, 3, 1000, 2**31 // divisor) for d in (-1, 0, 1)]
    for value in [*_EDGES, *(v for v in near if 0 <= v < 2**31)]:
        # As the instruction does: 32-bit factors, the sign bit of the factor no sign.
        assert ptx.divide(value, np.int64(magic), shift) == value // divisor


@pytest.mark.parametrize("divisor", [0, -1, 2**31])
def test_no_factor_for_a_divisor_out_of_range(divisor: int) -> None:
    with pytest.raises(ValueError, match=f"divisor must be in .*, got {divisor}"):
        ptx.magic_of(divisor)


def reals() -> np.ndarray[Any, Any]:
    """float32 of all sizes, halfway cases, and those that are no numbers."""
    bits = np.random.default_rng(0).integers(0, 2**32, 4096, np.uint64).astype(np.uint32)
    halfway = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, 3.4e38, 1e-45], np.float32)
    return np.concatenate([bits.view(np.float32), halfway.view(np.float32), special])


def ordinary() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Numbers that no rounding takes out of range; their fractions in 0.5 .. 1, and exponents."""
    values = reals()
    values = values[np.isfinite(values) & (np.abs(values) > 1e-30) & (np.abs(values) < 1e38)]
    return values, *np.frexp(values.astype(np.float64))


def test_bfloat16_rounds_to_the_nearest() -> None:
    """To 7 bits of fraction, ties to even; NaN and infinities stay what they are."""
    values, fraction, exponent = ordinary()
    expected = np.ldexp(np.rint(fraction * 2**8), exponent - 8)
    assert np.array_equal(simulated.from_bfloat16(simulated.to_bfloat16(values)), expected)
    special = np.array([np.inf, -np.inf, np.nan, 0.0], np.float32)
    got = simulated.from_bfloat16(simulated.to_bfloat16(special))
    assert np.array_equal(got, special, equal_nan=True)


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_bfloat16_rounds_as_pytorch() -> None:
    import torch

    values = reals()
    got = simulated.from_bfloat16(simulated.to_bfloat16(values))
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    assert np.array_equal(got, expected, equal_nan=True)


def test_tf32_rounds_to_the_nearest() -> None:
    """To 10 bits of fraction, ties away from zero."""
    values, fraction, exponent = ordinary()
    nearest = np.copysign(np.floor(np.abs(fraction) * 2**11 + 0.5), fraction)
    expected = np.ldexp(nearest, exponent - 11)
    assert np.array_equal(simulated.to_tf32(values), expected)
    special = np.array([np.inf, -np.inf, np.nan, 0.0], np.float32)
    assert np.array_equal(simulated.to_tf32(special), special, equal_nan=True)
