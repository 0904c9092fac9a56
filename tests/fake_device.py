"""A CUDA device that is made of host memory: arrays of several libraries, and plans by the oracle.

It stands in for what needs a GPU (memory, streams, kernels), so that everything else that happens
to a device array in a call is the package's own code.
"""

from __future__ import annotations

import ctypes
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import naive
import numpy as np
import pytest
from arrays import integers

import fastconv
from fastconv import devices

Array = np.ndarray[Any, Any]
SIZES = {"f32": np.float32, "f64": np.float64, "f16": np.float16}

SETTINGS: dict[str, Any] = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
FULL = (2, 2), ((1, 1), (1, 1)), (1, 1), 2


class Plain:
    """An array of a library that nobody knows, with the CUDA array interface."""

    def __init__(self, values: Array, **changes: Any) -> None:
        self.values = values
        self.described = {
            "shape": values.shape,
            "strides": values.strides,
            "typestr": values.dtype.str,
            "data": (values.ctypes.data, not values.flags.writeable),
            "version": 3,
            **changes,
        }

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.described


class Lent:
    """An array of a library that has DLPack alone."""

    def __init__(self, values: Array, device: int = 0) -> None:
        self.values, self.device, self.asked = values, device, []

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        from fastconv import _dlpack as dlpack

        self.asked.append(stream)
        kind = {value: key for key, value in SIZES.items()}[self.values.dtype.type]
        steps = tuple(stride // self.values.itemsize for stride in self.values.strides)
        described = dlpack.Description(
            self.values.ctypes.data, self.device, self.values.shape, steps, kind, ""
        )
        return dlpack.lend(described, 2, self.values)


def operands(dtype: str = "float32") -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    shapes = (2, 4, 6, 5), (6, 2, 3, 2), (6,)
    x, w, b = (integers(rng, shape, dtype) for shape in shapes)
    return x, w, b


def plain(*arrays: Array) -> tuple[Plain, ...]:
    return tuple(Plain(array) for array in arrays)


JaxArray = type("ArrayImpl", (Lent,), {"__module__": "jaxlib._jax"})


class Run(NamedTuple):
    """One run of a plan."""

    pass_name: str
    operands: Any
    algorithm: str
    stream: int


class Device:
    """What happened on the device."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.plans = 0
        self.waits: list[tuple[int, int]] = []
        self.ordinals: dict[int, int] = {}
        self.held: list[Any] = []
        self.new_numba: Any = None  # the package's own
        self._scratch: dict[int, Array] = {}

    def make_plan(self, pass_name: str, g: Any, operands: Any, algorithm: str) -> Any:
        self.plans += 1

        def run(x: int, w: int, y: int, bias: int = 0, stream: int = 0, device: int = 0) -> None:
            self.runs.append(Run(pass_name, operands, algorithm, stream))
            _compute(pass_name, g, operands, (x, w, y, bias))

        return types.SimpleNamespace(algorithm=algorithm, program=types.SimpleNamespace(run=run))

    def allocate(self, size: int, stream: int, ordinal: int) -> int:
        memory = np.full(size, 0xFF, np.uint8)
        self._scratch[memory.ctypes.data] = memory
        return memory.ctypes.data

    def release(self, address: int, stream: int) -> None:
        del self._scratch[address]


def _compute(pass_name: str, g: Any, operands: Any, addresses: tuple[int, ...]) -> None:
    """Do a pass by the oracle, on arrays at these addresses; bfloat16 is beyond NumPy."""
    if operands.kind not in SIZES:
        return
    columns = (g.N, g.C, *g.kernel, *g.output)
    shapes: tuple[tuple[int, ...], ...] = {
        "forward": (g.input_shape, g.weight_shape, g.output_shape),
        "weight_gradient": (g.input_shape, g.output_shape, g.weight_shape),
        "input_gradient": (g.output_shape, g.weight_shape, g.input_shape),
        "bias_gradient": (g.output_shape, (), (g.K,)),
        "unfold": (g.input_shape, (), columns),
        "fold": (columns, (), g.input_shape),
    }[pass_name]
    steps = operands.x, operands.w, operands.y
    x, w, y = (
        at(address, shape, step, operands.kind) if shape else np.empty(0)
        for address, shape, step in zip(addresses, shapes, steps, strict=False)
    )
    channels = y.shape[1] if pass_name in ("forward", "input_gradient") else 0
    bias = (
        at(addresses[3], (channels,), (1,), operands.kind) if addresses[3] else np.zeros(channels)
    )
    settings = g.stride, tuple(zip(g.pad_before, g.pad_after, strict=True)), g.dilation, g.groups
    along = (slice(None), *[None] * g.rank)
    if pass_name == "forward":
        y[...] = naive.forward(x, w, bias, *settings)
    elif pass_name == "weight_gradient":
        y[...] = naive.weight_gradient(x, w, g.kernel, *settings)
    elif pass_name == "input_gradient":
        y[...] = naive.input_gradient(w, x, g.input, *settings) + bias[along]
    elif pass_name == "bias_gradient":
        y[...] = x.sum(axis=(0, *range(2, x.ndim)))
    elif pass_name == "unfold":
        y[...] = fastconv.unfold(
            x.astype(np.float64), g.kernel, g.dilation, pads_of(g), g.stride
        ).reshape(columns)
    else:
        flat = x.astype(np.float64).reshape(g.N, g.K, -1)
        y[...] = fastconv.fold(flat, g.input, g.kernel, g.dilation, pads_of(g), g.stride)


def pads_of(g: Any) -> tuple[tuple[int, int], ...]:
    return tuple(zip(g.pad_before, g.pad_after, strict=True))


def at(address: int, shape: tuple[int, ...], steps: tuple[int, ...], kind: str) -> Array:
    """The array of these element strides at an address."""
    dtype = np.dtype(SIZES[kind])
    described = {
        "data": (address, False),
        "shape": shape,
        "strides": tuple(step * dtype.itemsize for step in steps),
        "typestr": dtype.str,
        "version": 3,
    }
    return np.asarray(types.SimpleNamespace(__array_interface__=described))


def empty(shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any) -> Array:
    """An array of these byte strides, full of NaN."""
    made = np.zeros(int(np.prod(shape)), dtype)
    made.view(np.uint8)[...] = 0xFF
    return np.lib.stride_tricks.as_strided(made, shape, strides)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """The device, in place of a real one."""
    pytest.importorskip("numba_cuda")
    from fastconv.cuda import call, convolution, driver, program, results, streams

    fake = Device()
    fake.new_numba = results._new_numba
    fastconv.clear_cache()

    def new_numba(shape: Any, strides: Any, like: Any, stream: int) -> tuple[Any, int]:
        made = Plain(empty(shape, strides, SIZES[like.kind]))
        return made, made.values.ctypes.data

    for module, name, value in (
        (devices, "backend", lambda: call),
        (convolution, "make_plan", fake.make_plan),
        (driver, "capability", lambda ordinal: (9, 0)),
        (driver, "current", lambda ordinal: nullcontext()),
        (driver, "allocate", fake.allocate),
        (driver, "release", fake.release),
        (driver, "trim", lambda: None),
        (program, "fill_zero", lambda start, size, stream: ctypes.memset(start, 0, size)),
        (results, "_new_numba", new_numba),
        (streams, "device_of", lambda address: fake.ordinals.get(address, 0)),
        (streams, "wait", lambda waiting, other: fake.waits.append((waiting, other))),
        (streams, "hold", lambda leases, stream: fake.held.append((leases, stream))),
    ):
        monkeypatch.setattr(module, name, value, raising=False)
    yield fake
    fastconv.clear_cache()


class Tensor:
    """A tensor of the stand-in for PyTorch."""

    requires_grad = False
    is_cuda = True

    def __init__(self, values: Array, dtype: str = "", device: int = 0) -> None:
        self.values, self.ordinal = values, device
        self.dtype = f"torch.{dtype or values.dtype.name}"
        self.layout, self.shape = "strided", values.shape
        self.device = f"cuda:{device}"
        self.made_on: int | None = None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise RuntimeError("Can't get __cuda_array_interface__ of this tensor")

    def data_ptr(self) -> int:
        return self.values.ctypes.data

    def stride(self) -> tuple[int, ...]:
        return tuple(stride // self.values.itemsize for stride in self.values.strides)

    def get_device(self) -> int:
        return self.ordinal

    def is_neg(self) -> bool:
        return False

    def is_conj(self) -> bool:
        return False


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for PyTorch, whose current stream is 70."""
    module: Any = types.ModuleType("torch")
    kind = type("Tensor", (Tensor,), {"__module__": "torch"})
    current = [70]

    @contextmanager
    def on_stream(stream: Any) -> Iterator[None]:
        before, current[0] = current[0], stream.cuda_stream
        yield
        current[0] = before

    def empty_strided(shape: Any, steps: Any, *, dtype: str, device: str) -> Any:
        name = dtype.removeprefix("torch.")
        size = np.dtype("u2" if name == "bfloat16" else name)
        made = kind(empty(shape, tuple(step * size.itemsize for step in steps), size), name)
        made.made_on, made.device = current[0], device
        return made

    module.Tensor, module.strided, module.empty_strided = kind, "strided", empty_strided
    module.is_grad_enabled = lambda: True
    module.cuda = types.SimpleNamespace(
        current_stream=lambda device: types.SimpleNamespace(cuda_stream=current[0]),
        ExternalStream=lambda handle, device: types.SimpleNamespace(cuda_stream=handle),
        stream=on_stream,
    )
    monkeypatch.setitem(sys.modules, "torch", module)
    return module
