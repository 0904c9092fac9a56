"""Arrays of other libraries in host memory: taken where they lie, or refused by name."""

import array
import ctypes
import gc
import sys
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from arrays import Array

import fastconv
from fastconv import _dlpack, _host_arrays, calls, devices
from fastconv._arrays import checked_array
from fastconv._host_arrays import viewed

SHAPE = (2, 3, 5, 4)
VALUES = (np.arange(120) % 7 - 3).astype(np.float32).reshape(SHAPE)
KERNEL = (np.arange(54) % 5 - 2).astype(np.float32).reshape(2, 3, 3, 3)
EXPECTED = fastconv.conv2d(VALUES, KERNEL)


class Described:
    """An object that has the array interface and nothing else."""

    def __init__(self, values: Array, **changes: Any) -> None:
        self.values = values
        self.__array_interface__ = values.__array_interface__ | changes


class Lent:
    """An object that has DLPack and nothing else: of a NumPy array, or of bits of bfloat16."""

    def __init__(self, values: Array, kind: str = "f32", device: int = 1) -> None:
        self.values, self.kind, self.device = values, kind, device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0

    def __dlpack__(self, **asked: Any) -> Any:
        if self.kind == "f32":
            return self.values.__dlpack__()
        size = self.values.itemsize
        strides = tuple(step // size for step in self.values.strides)
        address, shape = self.values.ctypes.data, self.values.shape
        described = _dlpack.Description(address, 0, shape, strides, self.kind, "")
        return _dlpack.lend(described, self.device, self.values)


def _array_array(values: Array) -> memoryview:
    flat = array.array("f", values.ravel())
    return memoryview(flat).cast("B").cast("f", values.shape)


def _ctypes_array(values: Array) -> Any:
    kind: Any = ctypes.c_float
    for size in reversed(values.shape):
        kind = kind * size
    return kind.from_buffer_copy(np.ascontiguousarray(values))


HOLDERS: dict[str, Callable[[Array], Any]] = {
    "array interface": Described,
    "DLPack": Lent,
    "memoryview": memoryview,
    "array.array": _array_array,
    "ctypes": _ctypes_array,
    "recarray": lambda values: values.view(np.recarray),
}


def address(holder: Any) -> int:
    """Where an object's memory begins."""
    if isinstance(holder, (Described, Lent)):
        return int(holder.values.ctypes.data)
    return int(np.asarray(holder).ctypes.data)


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_memory_is_not_copied(hold: Callable[[Array], Any]) -> None:
    holder = hold(VALUES.copy())
    view = checked_array(holder, "input")
    assert type(view) is np.ndarray
    assert view.ctypes.data == address(holder)
    np.testing.assert_array_equal(view, VALUES)


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_every_argument(hold: Callable[[Array], Any]) -> None:
    x, w, bias = hold(VALUES.copy()), hold(KERNEL.copy()), hold(np.float32([1, 2]))
    for _ in range(2):
        result = fastconv.conv2d(x, w, bias)
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, EXPECTED + np.float32([[[1]], [[2]]]))
    dy = hold(EXPECTED.copy())
    dw = fastconv.conv2d_weight(x, KERNEL.shape, dy)
    np.testing.assert_array_equal(dw, fastconv.conv2d_weight(VALUES, KERNEL.shape, EXPECTED))
    dx = fastconv.conv2d_input(SHAPE, w, dy)
    np.testing.assert_array_equal(dx, fastconv.conv2d_input(SHAPE, KERNEL, EXPECTED))
    mask = (False, False, True)
    *_, db = fastconv.convolution_backward(
        *(dy, x, w, None, (1, 1), (0, 0), (1, 1), False, (0, 0), 1, mask)
    )
    np.testing.assert_array_equal(db, EXPECTED.sum((0, 2, 3)))
    columns = fastconv.unfold(x, 3)
    np.testing.assert_array_equal(columns, fastconv.unfold(VALUES, 3))
    np.testing.assert_array_equal(
        fastconv.fold(hold(columns), (5, 4), 3), fastconv.fold(columns, (5, 4), 3)
    )


@pytest.mark.parametrize("name", [name for name in HOLDERS if name != "DLPack"])
def test_out_is_written_to_and_returned(name: str) -> None:
    """But not by DLPack before its version 1.0, which does not say whether it may be."""
    out = HOLDERS[name](np.full(EXPECTED.shape, np.nan, np.float32))
    assert fastconv.conv2d(Described(VALUES), KERNEL, out=out) is out
    np.testing.assert_array_equal(viewed(out, "out"), EXPECTED)


def test_memory_that_may_not_be_written_to() -> None:
    values = np.zeros(EXPECTED.shape, np.float32)
    read_only = values.__array_interface__ | {"data": (values.ctypes.data, True)}
    for out in (
        memoryview(values).toreadonly(),
        SimpleNamespace(__array_interface__=read_only, owner=values),
        Lent(np.zeros(EXPECTED.shape, np.uint16), "bf16"),
    ):
        with pytest.raises(
            (ValueError, TypeError), match=r"out must (be writeable|have the dtype)"
        ):
            fastconv.conv2d(VALUES, KERNEL, out=out)  # type: ignore[type-var]


def test_memory_lives_as_long_as_a_view() -> None:
    for hold in (Described, Lent):
        holder = hold(VALUES.copy())
        known, view = weakref.ref(holder.values), viewed(holder, "input")
        del holder
        gc.collect()
        assert known() is not None
        np.testing.assert_array_equal(view, VALUES)
        del view
        gc.collect()
        assert known() is None


def test_strides_and_mixtures() -> None:
    backwards = VALUES[:, ::-1, ::2].copy()[:, ::-1]
    described = Described(backwards)
    np.testing.assert_array_equal(viewed(described, "input"), backwards)
    np.testing.assert_array_equal(
        fastconv.conv2d(Described(VALUES.swapaxes(2, 3)), Lent(KERNEL)),
        fastconv.conv2d(VALUES.swapaxes(2, 3), KERNEL),
    )


def test_known_calls_are_found_again() -> None:
    """A call on other arrays is found where the same call on NumPy's was kept."""
    fastconv.clear_cache()
    fastconv.conv2d(Described(VALUES), KERNEL)
    assert calls.known.find(
        *("conv", fastconv.options.__globals__["current"]().planning, VALUES, KERNEL, None, 2),
        *((1, 0, 1, 1, "zeros"), "auto", None),
    )


def test_a_buffer_in_place_of_an_address() -> None:
    raw = bytearray(8) + bytearray(VALUES.tobytes())
    described = {"shape": SHAPE, "typestr": "<f4", "data": raw, "offset": 8, "version": 3}
    holder = SimpleNamespace(__array_interface__=described)
    np.testing.assert_array_equal(viewed(holder, "input"), VALUES)
    described["offset"] = 9
    with pytest.raises(TypeError, match=r"input must lend its memory as an array, .*: "):
        viewed(holder, "input")


LIES: list[dict[str, Any]] = [
    {"shape": (-1, 3, 5, 4)},
    {"shape": (2, 3, 5, "4")},
    {"shape": 120},
    {"shape": None},
    {"shape": (2**40, 2**40)},
    {"shape": (2.0, 3.0)},
    {"typestr": "x9"},
    {"typestr": 4},
    {"typestr": None},
    {"strides": (4,)},
    {"strides": ("a",) * 4},
    {"strides": (2**62, 4, 4, 4)},
    {"strides": (-(2**62), 4, 4, 4)},
    {"data": (0, False)},
    {"data": (-8, False)},
    {"data": (2**64, False)},
    {"data": ("there", False)},
    {"data": ()},
    {"data": 7},
    {"data": b"short"},
    {"mask": np.zeros(SHAPE, bool)},
]


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_what_cannot_be_is_refused(lie: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"input must lend its memory as an array, which this Desc"):
        fastconv.conv2d(Described(VALUES, **lie), KERNEL)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="out must lend its memory as an array"):
        fastconv.conv2d(VALUES, KERNEL, out=Described(VALUES, **lie))  # type: ignore[type-var]


@pytest.mark.parametrize("described", [None, 3, {}, {"shape": (1,)}, "shape"])
def test_an_interface_that_is_none(described: Any) -> None:
    holder = SimpleNamespace(__array_interface__=described)
    with pytest.raises(TypeError, match=r"input must "):
        viewed(holder, "input")


def test_an_interface_that_raises() -> None:
    class Broken:
        @property
        def __array_interface__(self) -> Any:
            raise RuntimeError("not\ntoday")

    with pytest.raises(TypeError, match=r"input must lend .* this Broken does not: not$"):
        viewed(Broken(), "input")


def test_dlpack_of_another_kind_or_place() -> None:
    with pytest.raises(TypeError, match=r"input must lend .* in neither host memory .* on 8"):
        viewed(Lent(VALUES, device=8), "input")
    silent = SimpleNamespace()
    kind = type("Silent", (), {"__dlpack__": None, "__dlpack_device__": lambda self: None})
    for holder in (kind(), type("Half", (), {"__dlpack__": None})()):
        assert not devices.on_device(holder)
        with pytest.raises(TypeError, match=r"input must lend its memory as an array"):
            viewed(holder, "input")
    with pytest.raises(TypeError, match=r"input must be a numpy.ndarray or an array of another"):
        viewed(silent, "input")


@pytest.mark.parametrize(
    "value", [[1.0], (1.0,), 3.0, np.float32(3), None, "array", np.float32, {"data": 1}, range(3)]
)
def test_what_is_no_array(value: object) -> None:
    with pytest.raises(TypeError, match=r"input must be a numpy.ndarray or an array of another"):
        viewed(value, "input")


def test_subclasses() -> None:
    class Quantity(np.ndarray):
        """An array with a unit."""

    with pytest.raises(
        TypeError, match=r"input must be a plain numpy.ndarray, got its subclass Quantity, .*view\("
    ):
        fastconv.conv2d(VALUES.view(Quantity), KERNEL)
    row = fastconv.conv1d(VALUES[0, 0].view(np.matrix), KERNEL[:, :1, 0].repeat(5, 1))
    assert type(row) is np.ndarray
    records = np.zeros(SHAPE, [("a", "f4")]).view(np.recarray)
    with pytest.raises(TypeError, match=r"input must have a floating-point dtype"):
        fastconv.conv2d(records, KERNEL)


def test_masks_are_never_ignored() -> None:
    masked = np.ma.masked_less(VALUES, 0)
    for plain in (masked, np.ma.array(VALUES)):
        with pytest.raises(TypeError, match=r"input must have no mask, .* input.filled\(0\)"):
            fastconv.conv2d(plain, KERNEL)
        with pytest.raises(TypeError, match="weight must have no mask"):
            fastconv.conv2d(VALUES, plain)
        with pytest.raises(TypeError, match="out must have no mask"):
            fastconv.conv2d(VALUES, KERNEL, out=plain)
    np.testing.assert_array_equal(
        fastconv.conv2d(masked.filled(0), KERNEL), fastconv.conv2d(np.maximum(VALUES, 0), KERNEL)
    )


def test_memmap(tmp_path: Any) -> None:
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=SHAPE)
    mapped[:] = VALUES
    assert viewed(mapped, "input").ctypes.data == mapped.ctypes.data
    out = np.memmap(tmp_path / "y", np.float32, "w+", shape=EXPECTED.shape)
    assert fastconv.conv2d(mapped, KERNEL, out=out) is out
    np.testing.assert_array_equal(out, EXPECTED)


def test_bfloat16_by_dlpack(monkeypatch: pytest.MonkeyPatch) -> None:
    bits = (VALUES.view(np.uint32) >> 16).astype(np.uint16)
    with fastconv.options(bfloat16_bits=True):
        view = viewed(Lent(bits, "bf16"), "input")
        assert view.dtype == np.uint16
        assert view.ctypes.data == bits.ctypes.data
        np.testing.assert_array_equal(view, bits)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(TypeError, match="input holds bfloat16, for which NumPy needs ml_dtypes"):
        viewed(Lent(bits, "bf16"), "input")
    monkeypatch.undo()
    ml_dtypes = pytest.importorskip("ml_dtypes")
    view = viewed(Lent(bits, "bf16"), "input")
    assert view.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(view.astype(np.float32), VALUES)


def test_nothing_is_imported_to_look_at_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_host_arrays, "import_module", lambda name: pytest.fail(name))
    for hold in HOLDERS.values():
        viewed(hold(VALUES.copy()), "input")


def test_tensors_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x, w = torch.from_numpy(VALUES.copy()), torch.from_numpy(KERNEL.copy())
    assert viewed(x, "input").ctypes.data == x.data_ptr()
    result = fastconv.conv2d(x, w)
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, EXPECTED)
    out = torch.full(EXPECTED.shape, torch.nan)
    assert fastconv.conv2d(x, KERNEL, out=out) is out
    np.testing.assert_array_equal(out.numpy(), EXPECTED)
    last = x.to(memory_format=torch.channels_last)
    nhwc = fastconv.conv2d(last, w)
    np.testing.assert_array_equal(nhwc, EXPECTED)
    assert np.moveaxis(nhwc, 1, -1).flags.c_contiguous
    for kind in (torch.int32, torch.complex64, torch.float16, torch.float64):
        got = fastconv.conv2d(x.to(kind), w.to(kind))
        np.testing.assert_array_equal(got, EXPECTED.astype(got.dtype))


def test_bfloat16_tensors() -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(VALUES).to(torch.bfloat16)
    with fastconv.options(bfloat16_bits=True):
        view = viewed(x, "input")
        assert (view.dtype, view.ctypes.data) == (np.uint16, x.data_ptr())
    ml_dtypes = pytest.importorskip("ml_dtypes")
    w = torch.from_numpy(KERNEL).to(torch.bfloat16)
    result = fastconv.conv2d(x, w)
    assert result.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(result, EXPECTED.astype(ml_dtypes.bfloat16))
    out = torch.zeros(EXPECTED.shape, dtype=torch.bfloat16)
    fastconv.conv2d(x, w, out=out)
    np.testing.assert_array_equal(out.float().numpy(), result.astype(np.float32))


def test_tensors_that_are_refused() -> None:
    torch = pytest.importorskip("torch")
    x, w = torch.from_numpy(VALUES), torch.from_numpy(KERNEL.copy()).requires_grad_()
    message = (
        r"weight must not require grad, .* pass weight.detach\(\), or call under torch.no_grad"
    )
    with pytest.raises(ValueError, match=message):
        fastconv.conv2d(x, w)
    np.testing.assert_array_equal(fastconv.conv2d(x, w.detach()), EXPECTED)
    with torch.no_grad():
        np.testing.assert_array_equal(fastconv.conv2d(x, w), EXPECTED)
    z = torch.zeros(SHAPE, dtype=torch.complex64)
    for tensor, words in (
        (z.conj(), r"a plain strided tensor, got a conjugate view, which its resolve_conj\(\)"),
        (torch._neg_view(x), r"a plain strided tensor, got a negative view, .*resolve_neg\(\)"),
        (x.to_sparse(), "a plain strided tensor, got torch.sparse_coo"),
        (x.to("meta"), "in host memory or a CUDA device's, got a tensor on meta"),
        (x > 0, "a floating-point dtype .*, got bool"),
    ):
        with pytest.raises(TypeError, match=r"input must (be|have) " + words):
            fastconv.conv2d(tensor, KERNEL)


def test_arrays_of_jax() -> None:
    jnp = pytest.importorskip("jax.numpy")
    x, w = jnp.asarray(VALUES), jnp.asarray(KERNEL)
    assert viewed(x, "input").ctypes.data == x.unsafe_buffer_pointer()
    np.testing.assert_array_equal(fastconv.conv2d(x, w), EXPECTED)
    with pytest.raises(ValueError, match="out must be writeable, got a read-only array"):
        fastconv.conv2d(x, w, out=jnp.zeros(EXPECTED.shape))
    half = jnp.asarray(VALUES, jnp.bfloat16)
    view = viewed(half, "input")
    assert view.ctypes.data == half.unsafe_buffer_pointer()
    np.testing.assert_array_equal(view.astype(np.float32), VALUES)
