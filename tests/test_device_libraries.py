"""How each library's device arrays are read and made.

The device is host memory and its kernels are the oracle; see fake_device.py.
"""

import sys
import types
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from arrays import channels_last, is_channels_last
from fake_device import (
    SETTINGS,
    Array,
    Device,
    JaxArray,
    Lent,
    Plain,
    device,
    empty,
    operands,
    plain,
    torch,
)

import fastconv

__all__ = ["device", "torch"]  # fixtures


def test_interface_versions(device: Device) -> None:
    x, w, _ = operands()
    oldest = Plain(x, version=2, strides=None)
    del oldest.described["strides"]
    expected = fastconv.conv2d(x, w, **SETTINGS)
    for array in (oldest, Plain(x, strides=None), Plain(x, mask=None, stream=None)):
        result = fastconv.conv2d(array, Plain(w), **SETTINGS)
        np.testing.assert_array_equal(result.values, expected)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"mask": object()}, TypeError, "input must have no mask, got a masked Plain"),
        ({"stream": 0}, ValueError, "input must name a stream that is not 0"),
        ({"typestr": "<i4"}, TypeError, "input must have dtype float32, .* bfloat16, got int32"),
        ({"typestr": ">f4"}, TypeError, "input must be in native byte order, got dtype '>f4'"),
        ({"data": (4098, False)}, ValueError, "input must be aligned in memory, got address 0x10"),
        (
            {"strides": (480, 120, 21, 4)},
            ValueError,
            r"input must have strides of whole elements, of 4 bytes",
        ),
        ({"typestr": "<f8"}, TypeError, "weight must have the dtype of input, float64, got float3"),
    ],
)
def test_interface_refusals(
    device: Device, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    x, w, _ = operands()
    if "typestr" in changes:
        changes = {"strides": None, "data": (4096, False), **changes}
    with pytest.raises(error, match=message):
        fastconv.conv2d(Plain(x, **changes), Plain(w), **SETTINGS)


# libraries


class Stream:
    """A stream object of some library."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def test_torch(device: Device, torch: Any) -> None:
    x, w, _ = operands()
    result = fastconv.conv2d(torch.Tensor(channels_last(x)), torch.Tensor(w), **SETTINGS)
    assert type(result) is torch.Tensor
    assert is_channels_last(result.values)
    assert device.runs[-1].stream == result.made_on == 70
    np.testing.assert_array_equal(result.values, fastconv.conv2d(x, w, **SETTINGS))
    result = fastconv.conv2d(torch.Tensor(x), torch.Tensor(w), stream=9, **SETTINGS)
    assert device.runs[-1].stream == result.made_on == 9
    assert not device.waits


def test_torch_half_types(device: Device, torch: Any) -> None:
    x, w, _ = operands("float16")
    bits = [torch.Tensor(array.view(np.uint16), "bfloat16") for array in (x, w)]
    result = fastconv.conv2d(*bits, **SETTINGS)
    assert result.dtype == "torch.bfloat16"
    assert device.runs[-1].operands.kind == "bf16"
    with pytest.raises(TypeError, match="weight must have the dtype of input, bfloat16, got float"):
        fastconv.conv2d(bits[0], torch.Tensor(w), **SETTINGS)
    with pytest.raises(TypeError, match=r"input must have dtype .*, got int32"):
        fastconv.conv2d(torch.Tensor(x, "int32"), bits[1], **SETTINGS)


def test_torch_tensors_that_require_grad(device: Device, torch: Any) -> None:
    x, w, _ = operands()
    weight = torch.Tensor(w)
    weight.requires_grad = True
    with pytest.raises(ValueError, match=r"weight must not require grad.* weight.detach\(\)"):
        fastconv.conv2d(torch.Tensor(x), weight, **SETTINGS)
    torch.is_grad_enabled = lambda: False
    fastconv.conv2d(torch.Tensor(x), weight, **SETTINGS)


def test_torch_tensors_elsewhere(device: Device, torch: Any) -> None:
    x, w, _ = operands()
    host = torch.Tensor(x)
    host.is_cuda, host.device = False, SimpleNamespace(type="xpu")
    with pytest.raises(TypeError, match="input must be in host memory or a CUDA device's, got a t"):
        fastconv.conv2d(host, w, **SETTINGS)
    with pytest.raises(TypeError, match=r"input must be in a CUDA .* as weight is, got Tensor"):
        fastconv.conv2d(host, torch.Tensor(w), **SETTINGS)


def test_dlpack(device: Device, torch: Any) -> None:
    x, w, _ = operands()
    lent = Lent(x.transpose(0, 1, 3, 2)), Lent(w.transpose(0, 1, 3, 2))
    result = fastconv.conv2d(*lent, **SETTINGS)
    expected = fastconv.conv2d(x, w, **SETTINGS)
    np.testing.assert_array_equal(result.values.transpose(0, 1, 3, 2), expected)
    assert [array.asked for array in lent] == [[1], [1]]
    assert len(device.held) == 1
    weight = Lent(w)
    fastconv.conv2d(torch.Tensor(x), weight, **SETTINGS)
    fastconv.conv2d(Plain(x, stream=4), weight, stream=9, **SETTINGS)
    assert weight.asked == [70, 9]
    with pytest.raises(ValueError, match="weight must be on the device of input, CUDA device 0"):
        fastconv.conv2d(Lent(x), Lent(w, device=1), **SETTINGS)


def test_jax(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastconv import _dlpack as dlpack
    from fastconv.cuda import results

    made: list[Array] = []

    def device_array(size: int, dtype: Any) -> Any:
        made.append(np.full(size, 0xFF, dtype))
        pointer = types.SimpleNamespace(value=made[-1].ctypes.data)
        return types.SimpleNamespace(device_ctypes_pointer=pointer)

    def from_dlpack(lender: Any) -> Any:
        assert lender.__dlpack_device__() == (2, 0)
        return dlpack.describe(lender.__dlpack__(stream=33))

    context = types.SimpleNamespace(device=types.SimpleNamespace(id=0))
    fake = types.SimpleNamespace(device_array=device_array, current_context=lambda: context)
    monkeypatch.setattr(results, "cuda", fake)
    monkeypatch.setitem(sys.modules, "jax", types.ModuleType("jax"))
    module: Any = types.ModuleType("jax.dlpack")
    module.from_dlpack = from_dlpack
    monkeypatch.setitem(sys.modules, "jax.dlpack", module)

    x, w, _ = operands()
    x = channels_last(x)
    result = fastconv.conv2d(JaxArray(x), JaxArray(w), **SETTINGS)
    expected = fastconv.conv2d(x, w, **SETTINGS)
    assert (result.shape, result.strides, result.kind) == (expected.shape, (54, 9, 3, 1), "f32")
    np.testing.assert_array_equal(made[-1].view(np.float32), expected.ravel())
    assert device.waits == [(33, 1)]
    with pytest.raises(ValueError, match="out must be writeable, got a JAX array, which never"):
        fastconv.conv2d(*plain(x, w), out=JaxArray(np.ones(expected.shape, "f4")), **SETTINGS)


def numba_array(values: Array, stream: Any = 0) -> Any:
    """A stand-in for Numba's device array."""
    kind = type("DeviceNDArray", (), {"__cuda_ndarray__": True})
    made = kind()
    made.shape, made.strides, made.dtype = values.shape, values.strides, values.dtype
    made.device_ctypes_pointer = types.SimpleNamespace(value=values.ctypes.data or None)
    made.stream, made.values = stream, values
    return made


def test_numba(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastconv.cuda import results

    def device_array(shape: Any, dtype: Any, strides: Any, stream: Any) -> Any:
        return numba_array(empty(shape, strides, dtype), stream)

    entered: list[int] = []

    class Gpu:
        def __init__(self, ordinal: int) -> None:
            self.ordinal = ordinal

        def __enter__(self) -> None:
            entered.append(self.ordinal)

        def __exit__(self, *_: object) -> None:
            pass

    fake = types.SimpleNamespace(
        device_array=device_array,
        current_context=lambda: types.SimpleNamespace(device=types.SimpleNamespace(id=0)),
        external_stream=lambda handle: Stream(handle=handle),
        gpus=[Gpu(0), Gpu(1)],
    )
    monkeypatch.setattr(results, "cuda", fake)
    monkeypatch.setattr(results, "_new_numba", device.new_numba)
    x, w, _ = operands()
    expected = fastconv.conv2d(x, w, **SETTINGS)
    result = fastconv.conv2d(numba_array(channels_last(x)), numba_array(w), **SETTINGS)
    assert is_channels_last(result.values)
    assert result.stream == 0
    np.testing.assert_array_equal(result.values, expected)
    for array in (x, w):
        device.ordinals[array.ctypes.data] = 1
    weight = numba_array(w, Stream(handle=types.SimpleNamespace(value=6)))
    result = fastconv.conv2d(numba_array(x), weight, **SETTINGS)
    assert result.stream.handle == device.runs[-1].stream == 6
    assert entered == [1]


def test_cupy(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    class Array(Plain):
        """A stand-in for CuPy's array, whose current stream is 40."""

        __module__ = "cupy"

        def __init__(self, *arguments: Any) -> None:
            if len(arguments) == 4:
                shape, dtype, memory, strides = arguments
                values = np.ndarray(shape, dtype, memory, 0, strides)
            else:
                (values,) = arguments
            super().__init__(values)
            self.shape, self.strides, self.dtype = values.shape, values.strides, values.dtype
            self.data = types.SimpleNamespace(ptr=values.ctypes.data)
            self.device = current_device

    class Context:
        id = 0

        def __init__(self, handle: int = 0) -> None:
            self.handle = handle

        def __enter__(self) -> None:
            entered.append(self.handle)

        def __exit__(self, *_: object) -> None:
            pass

    entered: list[int] = []
    current_device = Context()
    module: Any = types.ModuleType("cupy")
    module.ndarray = Array
    module.cuda = types.SimpleNamespace(
        get_current_stream=lambda device: types.SimpleNamespace(ptr=40),
        ExternalStream=Context,
        alloc=lambda size: np.full(size, 0xFF, np.uint8),
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    x, w, _ = operands()
    expected = fastconv.conv2d(x, w, **SETTINGS)
    result = fastconv.conv2d(Array(channels_last(x)), Array(w), **SETTINGS)
    assert type(result) is Array
    assert is_channels_last(result.values)
    np.testing.assert_array_equal(result.values, expected)
    fastconv.conv2d(Array(x), Array(w), stream=9, **SETTINGS)
    assert [run.stream for run in device.runs] == [40, 9]
    assert entered == [0, 0, 9]


# DLPack


def test_capsules_are_given_back() -> None:
    pytest.importorskip("numba_cuda")
    from fastconv import _dlpack as dlpack

    class Lender:
        def __init__(self, values: Array) -> None:
            self.values = values

        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

        def __dlpack__(self, **_: Any) -> Any:
            steps = tuple(stride // 8 for stride in self.values.strides)
            described = dlpack.Description(
                self.values.ctypes.data, 0, self.values.shape, steps, "f64", "float64"
            )
            return dlpack.lend(described, 1, self.values)

    values = np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)
    before = sys.getrefcount(values)
    lender = Lender(values)
    taken = np.from_dlpack(lender)  # type: ignore[arg-type]
    np.testing.assert_array_equal(taken, values)
    assert taken.strides == values.strides
    assert sys.getrefcount(values) > before + 1
    del taken
    assert sys.getrefcount(values) == before + 1

    capsule = lender.__dlpack__()
    assert dlpack.describe(capsule).shape == (4, 2, 3)
    del capsule
    assert sys.getrefcount(values) == before + 1
    theirs = dlpack.describe(values.__dlpack__())
    assert theirs == dlpack.describe(lender.__dlpack__())._replace(dtype="float64")


def test_a_dtype_that_dlpack_alone_names() -> None:
    pytest.importorskip("numba_cuda")
    from fastconv import _dlpack as dlpack

    described = dlpack.describe(np.ones(3, np.int16).__dlpack__())
    assert (described.kind, described.dtype) == (None, "int16")
