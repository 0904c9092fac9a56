"""Device arrays that lie of their memory, and streams that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_device import SETTINGS, Array, Device, Lent, Plain, device, operands
from hostile import NO_ARRAYS, WRONG, Index
from test_hostile_memory import LIES

import fastconv
from fastconv import _dlpack

__all__ = ["device"]  # a fixture

INTERFACES = {name: make for name, make in NO_ARRAYS.items() if name.startswith("interface: ")}


class Owner:
    """An object with CUDA's array interface, which is not its own."""

    def __init__(self, host: Any) -> None:
        self.values, self.__cuda_array_interface__ = host, host.__array_interface__


@pytest.mark.parametrize("make", INTERFACES.values(), ids=INTERFACES)
def test_interfaces_that_lie(device: Device, make: Callable[[Array], Any]) -> None:
    x, w, _ = operands()
    with pytest.raises((TypeError, ValueError), match=r"^input must "):
        fastconv.conv2d(Owner(make(x)), Plain(w), **SETTINGS)
    with pytest.raises((TypeError, ValueError), match=r"^weight must "):
        fastconv.conv2d(Plain(x), Owner(make(w)), **SETTINGS)
    assert not device.runs


def test_streams_that_interfaces_name(device: Device) -> None:
    x, w, _ = operands()
    for stream in ("7", 1.0, float("nan"), -1, 2**64, 10**5000, Index("1"), b"1"):
        with pytest.raises((TypeError, ValueError), match=r"^input must "):
            fastconv.conv2d(Plain(x, stream=stream), Plain(w), **SETTINGS)


class Capsules(Lent):
    """An array whose capsule is changed before it is handed out."""

    def __init__(self, values: Array, change: Callable[[Any], None]) -> None:
        super().__init__(values)
        self.change = change

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        capsule = super().__dlpack__(stream=stream)
        self.change(_dlpack._tensor_in(capsule)[0])
        return capsule


def on_the_host(tensor: Any) -> None:
    tensor.device = _dlpack._Device(1, 0)


@pytest.mark.parametrize(
    "lie",
    [*(lie for name, lie in LIES.items() if name != "another device"), on_the_host],
    ids=[*(name for name in LIES if name != "another device"), "on the host"],
)
def test_capsules_that_lie(device: Device, lie: Callable[[Any], None]) -> None:
    x, w, _ = operands()
    with pytest.raises((TypeError, ValueError), match=r"^input must "):
        fastconv.conv2d(Capsules(x, lie), Lent(w), **SETTINGS)
    assert not device.runs


STREAMS = {
    **{label: make for label, make in WRONG["none"].items() if label != "past 64 bits"},
    "a pair too short": lambda _: type("S", (), {"__cuda_stream__": lambda self: (0,)})(),
    "no pair": lambda _: type("S", (), {"__cuda_stream__": 5})(),
    "a handle that is text": lambda _: type("S", (), {"cuda_stream": "spam"})(),
    "a handle that is nan": lambda _: type("S", (), {"ptr": float("nan")})(),
}


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_what_is_no_stream(device: Device, make: Callable[[Any], Any]) -> None:
    x, w, _ = operands()
    with pytest.raises((TypeError, ValueError), match=r"^stream must be "):
        fastconv.conv2d(Plain(x), Plain(w), stream=make(None), **SETTINGS)
    assert not device.runs


def test_integers_of_the_same_text_are_not_the_same_call(device: Device) -> None:
    """A call on device arrays is known again by its arguments' values, not by how they look."""
    x, w, _ = operands()

    class Same(Index):
        def __repr__(self) -> str:
            return "1"

    for stride in (1, 2, 1):
        there = fastconv.conv2d(Plain(x), Plain(w), stride=Same(stride), groups=2)
        here = fastconv.conv2d(x, w, stride=stride, groups=2)
        np.testing.assert_array_equal(there.values, here)
