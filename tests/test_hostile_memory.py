"""Memory that is lent with a lie about it, and results that go where they must not."""

from __future__ import annotations

import ctypes
import itertools
import mmap
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from arrays import Array
from hostile import Changing, Owner, Theirs, array, described

import fastconv
from fastconv import _dlpack, ndimage, signal
from fastconv._host_arrays import viewed

X, W = array(1, 2, 3, 3), array(2, 2, 2, 2)
Y = fastconv.conv2d(X, W)


class Capsules:
    """An object that lends by DLPack: a capsule of its memory, changed before it is handed out."""

    def __init__(
        self,
        values: Array,
        change: Callable[[Any], None],
        device: Any = (1, 0),
        kind: str = "f32",
    ) -> None:
        self.values, self.change, self.device, self.kind = values, change, device, kind

    def __dlpack_device__(self) -> Any:
        return self.device

    def __dlpack__(self, **asked: Any) -> Any:
        size = self.values.itemsize
        strides = tuple(step // size for step in self.values.strides)
        address, shape = self.values.ctypes.data, self.values.shape
        told = _dlpack.Description(address, 0, shape, strides, self.kind, "")
        capsule = _dlpack.lend(told, 1, self.values)
        self.change(_dlpack._tensor_in(capsule)[0])
        return capsule


def setting(**fields: Any) -> Callable[[Any], None]:
    def change(tensor: Any) -> None:
        for name, value in fields.items():
            setattr(tensor, name, value)

    return change


def sizes(*numbers: int) -> Any:
    return ctypes.cast((ctypes.c_int64 * len(numbers))(*numbers), ctypes.POINTER(ctypes.c_int64))


KEPT = [sizes(-1, 2, 3, 3), sizes(2**40, 2**40, 2, 2), sizes(18, 2**61, 3, 1)]
NOWHERE = ctypes.POINTER(ctypes.c_int64)()
LIES: dict[str, Callable[[Any], None]] = {
    "no memory": setting(data=None),
    "negative axes": setting(ndim=-1),
    "many axes": setting(ndim=2**31 - 1),
    "65 axes": setting(ndim=65),
    "no shape": setting(shape=NOWHERE),
    "negative size": setting(shape=KEPT[0]),
    "huge sizes": setting(shape=KEPT[1]),
    "huge strides": setting(strides=KEPT[2]),
    "offset past all memory": setting(byte_offset=2**64 - 4096),
    "another device": setting(device=_dlpack._Device(2, 0)),
    "a device of no library": setting(device=_dlpack._Device(-5, 0)),
    "lanes": setting(dtype=_dlpack._DataType(2, 32, 4)),
    "no lanes": setting(dtype=_dlpack._DataType(2, 32, 0)),
    "half a byte": setting(dtype=_dlpack._DataType(0, 4, 1)),
    "no bits": setting(dtype=_dlpack._DataType(2, 0, 1)),
    "unknown code": setting(dtype=_dlpack._DataType(77, 32, 1)),
    "handles": setting(dtype=_dlpack._DataType(3, 64, 1)),
    "long floats": setting(dtype=_dlpack._DataType(2, 128, 1)),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_capsules_that_lie(lie: Callable[[Any], None]) -> None:
    for kind in ("f32", "bf16"):
        with pytest.raises(TypeError, match=r"^input must (lend|have)"):
            fastconv.conv2d(Capsules(X, lie, kind=kind), W)
    with pytest.raises(TypeError, match=r"^in1 (must lend|and in2 must have)"):
        signal.correlate(Capsules(X, lie), W)


@pytest.mark.parametrize(
    "device", [None, (), ("cpu", 0), (1.0, 0), 1, (10**5000, 0), (-1, 0), (3.5,), {1: 0}]
)
def test_devices_that_are_none(device: Any) -> None:
    with pytest.raises(TypeError, match=r"^input must lend its memory"):
        fastconv.conv2d(Capsules(X, setting(), device), W)


@pytest.mark.parametrize(
    "capsule",
    [None, 5, object(), "dltensor", b"dltensor", lambda: None],
    ids=["None", "number", "object", "text", "bytes", "function"],
)
def test_what_is_no_capsule(capsule: Any) -> None:
    kind = type(
        "Lender",
        (),
        {"__dlpack_device__": lambda self: (1, 0), "__dlpack__": lambda self, **asked: capsule},
    )
    with pytest.raises(TypeError, match=r"^input must lend its memory .* this Lender does not"):
        fastconv.conv2d(kind(), W)


def test_a_capsule_that_has_been_taken() -> None:
    taken = Capsules(X, setting())
    capsule = taken.__dlpack__()
    np.testing.assert_array_equal(
        np.from_dlpack(
            SimpleNamespace(__dlpack__=lambda **asked: capsule, __dlpack_device__=lambda: (1, 0))
        ),
        X,
    )
    kind = type(
        "Lender",
        (),
        {"__dlpack_device__": lambda self: (1, 0), "__dlpack__": lambda self, **asked: capsule},
    )
    with pytest.raises(TypeError, match=r"^input must lend its memory"):
        fastconv.conv2d(kind(), W)


class Versioned:
    """An object that lends by DLPack 1 alone."""

    def __init__(self, values: Array) -> None:
        self.values = values

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, *, max_version: tuple[int, int] | None = None) -> Any:
        return self.values.__dlpack__(max_version=max_version)


def test_capsules_of_version_1_say_whether_they_may_be_written_to() -> None:
    out = Versioned(np.full(Y.shape, np.nan, np.float32))
    assert fastconv.conv2d(Versioned(X), Versioned(W), out=out) is out  # type: ignore[type-var]
    np.testing.assert_array_equal(out.values, Y)
    frozen = Y.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writeable"):
        fastconv.conv2d(X, W, out=Versioned(frozen))  # type: ignore[type-var]


def test_a_capsule_of_a_version_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(Versioned):
        def __dlpack__(self, *, max_version: tuple[int, int] | None = None) -> Any:
            capsule = super().__dlpack__(max_version=max_version)
            at = _dlpack._pointer_in(capsule, b"dltensor_versioned")
            ctypes.c_uint32.from_address(at).value = 2
            return capsule

    with pytest.raises(TypeError, match=r"^input must lend .*its capsule is of DLPack 2"):
        fastconv.conv2d(Later(X), W)


def test_dtypes_by_dlpack() -> None:
    for name in ("float16", "float32", "float64", "int8", "uint64", "complex64", "complex128"):
        values = np.arange(6).astype(name).reshape(2, 3)[:, ::-1]
        view = viewed(Versioned(values), "input")
        assert view.dtype == name
        assert view.strides == values.strides
        np.testing.assert_array_equal(view, values)
    assert viewed(Versioned(np.zeros((0, 3))), "input").shape == (0, 3)


def test_buffers_of_addresses() -> None:
    buffers = pytest.importorskip(
        "_testbuffer", reason="this Python has no buffers with suboffsets"
    )
    indirect = buffers.ndarray(list(range(6)), shape=[2, 3], format="f", flags=buffers.ND_PIL)
    assert any(offset >= 0 for offset in memoryview(indirect).suboffsets)
    for call in (lambda a: fastconv.conv1d(a, W[:, :, 0]), lambda a: signal.correlate(a, a)):
        with pytest.raises(TypeError, match=r"^(input|in1) must lend .* has suboffsets"):
            call(indirect)


def test_memory_that_is_gone() -> None:
    view = memoryview(bytearray(X.nbytes)).cast("f", X.shape)
    view.release()
    closed = mmap.mmap(-1, 4096)
    closed.close()
    for gone in (view, closed):
        with pytest.raises(TypeError, match=r"^input must lend its memory"):
            fastconv.conv2d(gone, W)
        with pytest.raises(TypeError, match=r"^out must lend its memory"):
            fastconv.conv2d(X, W, out=gone)  # type: ignore[type-var]


def test_an_interface_that_changes_is_read_once() -> None:
    other = np.zeros(1, np.int8)
    changing = Changing(X, other, other, other)
    np.testing.assert_array_equal(fastconv.conv2d(changing, W), Y)
    out = np.full(Y.shape, np.nan, np.float32)
    lying = Changing(out, other, other, other)
    assert fastconv.conv2d(X, W, out=lying) is lying  # type: ignore[type-var]
    np.testing.assert_array_equal(out, Y)


def test_an_interface_of_scipys_arguments() -> None:
    """NumPy would read what is there, at no address or at any."""
    for lie in ({"data": (0, False)}, {"shape": (-3, 3)}, {"strides": (2**61, 4)}):
        with pytest.raises(TypeError, match=r"^in2 must lend its memory"):
            signal.correlate2d(array(3, 3), described(array(3, 3), **lie))
        with pytest.raises(TypeError, match=r"^fillvalue must lend its memory"):
            signal.correlate2d(array(3, 3), array(2, 2), fillvalue=described(array(3, 3), **lie))
    np.testing.assert_array_equal(ndimage.correlate(described(array(3, 3)), [[1.0]]), array(3, 3))


def test_a_cuda_interface_without_a_gpu() -> None:
    """A lie of what is no dict is nothing; any other is answered by what is missing here."""
    for nothing in (None, 5, "data", [1], Theirs):
        with pytest.raises(TypeError, match=r"^input must be a numpy.ndarray or an array"):
            fastconv.conv2d(SimpleNamespace(__cuda_array_interface__=nothing), W)


# Where a result may not go

BASE = np.zeros(4096, np.float32)


def strided(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    return np.lib.stride_tricks.as_strided(BASE[offset:], shape, [4 * s for s in strides])


def refused_outs() -> dict[str, Any]:
    shape, n = Y.shape, Y.size
    x = BASE[:18].reshape(1, 2, 3, 3)
    frozen = np.zeros(shape, np.float32)
    frozen.flags.writeable = False
    masked = np.ma.zeros(shape, np.float32)
    subclass = np.zeros(shape, np.float32).view(type("Quantity", (np.ndarray,), {}))
    return {
        "the input's memory": (x, strided(0, shape, (8, 4, 2, 1))),
        "its last element": (x, strided(17, shape, (8, 4, 2, 1))),
        "its first element": (BASE[7:25].reshape(x.shape), strided(0, shape, (8, 4, 2, 1))),
        "every other element of it": (x, strided(1, shape, (8, 8, 4, 2))),
        "backwards": (x, strided(n - 1, shape, (-8, -4, -2, -1))),
        "bytes between": (x, BASE.view(np.uint8)[71 : 71 + 4 * n].view(np.float32).reshape(shape)),
        "one element for all": (X, strided(0, shape, (0, 0, 0, 0))),
        "one row for all": (X, strided(0, shape, (8, 4, 0, 1))),
        "rows that overlap": (X, strided(0, shape, (8, 4, 1, 1))),
        "read-only": (X, frozen),
        "a broadcast": (X, np.broadcast_to(np.float32(0), shape)),
        "doubles": (X, np.zeros(shape)),
        "bytes swapped": (X, np.zeros(shape, np.dtype(np.float32).newbyteorder())),
        "integers of its size": (X, np.zeros(shape, np.int32)),
        "a longer axis": (X, np.zeros((1, 2, 2, 3), np.float32)),
        "an axis more": (X, np.zeros((1, *shape), np.float32)),
        "flat": (X, np.zeros(n, np.float32)),
        "nothing": (X, np.zeros(0, np.float32)),
        "masked": (X, masked),
        "a subclass": (X, subclass),
        "a read-only interface": (X, described(Y.copy(), data=(Y.ctypes.data, True))),
    }


@pytest.mark.parametrize("name", refused_outs())
def test_out_is_refused_before_anything_is_written(name: str) -> None:
    x, out = refused_outs()[name]
    BASE[:] = np.arange(len(BASE))
    held = out.values if isinstance(out, Owner) else out
    before = (BASE.copy(), np.array(held))
    for algorithm in ("auto", "direct"):
        with pytest.raises((TypeError, ValueError), match=r"^out must "):
            fastconv.conv2d(x, W, out=out, algorithm=algorithm)
    for now, then in zip((BASE, held), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_out_between_the_elements_of_an_operand_is_taken() -> None:
    """Memory is shared where a byte is, and not where one lies within the reach of another."""
    both = np.zeros((1, 2, 3, 6), np.float32)
    x, rest = both[..., ::2], both[..., 1::2]
    x[...] = X
    out = rest[:, :, :2, :2]
    assert fastconv.conv2d(x, W, out=out) is out
    np.testing.assert_array_equal(out, Y)
    np.testing.assert_array_equal(x, X)


def test_an_output_of_ndimage_is_refused_before_anything_is_done() -> None:
    x = array(3, 3)
    frozen = np.zeros((3, 3), np.float32)
    frozen.flags.writeable = False
    for output, words in (
        (frozen, "must be writeable"),
        (np.ma.zeros((3, 3)), "must have no mask"),
        (strided(0, (3, 3), (0, 1)), "must have an element of its own"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^output {words}"):
            ndimage.correlate(x, np.ones((3, 3)), output=output)
    assert ndimage.correlate(x, [[2.0]], output=x) is x
    np.testing.assert_array_equal(x, 2 * array(3, 3))


def test_arguments_are_left_as_they_were() -> None:
    for forms in itertools.product((np.asarray, np.asfortranarray), repeat=2):
        x, w = (form(values.copy()) for form, values in zip(forms, (X, W), strict=True))
        for frozen in (x, w):
            frozen.flags.writeable = False
        np.testing.assert_array_equal(fastconv.conv2d(x, w), Y)
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(w, W)
