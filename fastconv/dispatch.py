"""Which backend runs a call, by the type of its arrays."""

from __future__ import annotations

import sys
from typing import Any, Protocol

from . import devices, host
from ._nopython.answers import answers
from .geometry import ConvGeometry

ALGORITHMS = host.ALGORITHMS


class Call(Protocol):
    """A public function's call on the arrays of one backend, which go by their arguments' names.

    In order: ``repeat``, and for a call that is new ``operands``, the passes, ``keep``.
    """

    algorithms: tuple[str, ...]

    def repeat(self) -> tuple[Any, ...] | None:
        """The results of a call like one before, or None."""

    def operands(self) -> tuple[Any, ...]:
        """The arrays, checked to belong together."""

    def run(
        self,
        pass_name: str,
        g: ConvGeometry,
        source: str,
        weights: str,
        algorithm: str,
        activation: str | None = None,
    ) -> Any:
        """The result of "forward", with its activation, "weight_gradient" or "input_gradient"."""

    def bias_gradient(self, source: str) -> Any:
        """The sum over batch and pixels of an output gradient."""

    def unfold(self, g: ConvGeometry) -> Any:
        """The columns of the images."""

    def fold(self, g: ConvGeometry) -> Any:
        """The images that the columns add up to."""

    def keep(self) -> None:
        """Let ``repeat`` know this call."""


def open_call(
    kind: str,
    arrays: dict[str, Any],
    arguments: tuple[Any, ...],
    *,
    bias: Any = None,
    out: Any = None,
    stream: Any = None,
) -> Call:
    """The call ``kind`` on these arrays; ``arguments`` are all others that its outcome hangs on."""
    given = {**arrays}
    if bias is not None:
        given["bias"] = bias
    if out is not None:
        given["out"] = out
    there = [devices.on_device(array) for array in given.values()]
    if any(there):
        backend = devices.backend()
        if not all(there):
            backend.refuse_mixed(given)
        return backend.DeviceCall(kind, given, len(arrays), stream, arguments)
    return host.HostCall(kind, arrays, bias, out, stream, arguments)


def clear_cache() -> None:
    """Forget all plans and free the memory kept between calls; kernels on disk stay.

    Plans that a call in another thread still uses are freed when it has ended.

    Kept are workspaces, and what large results (of 1 MiB or more) leave when they are gone, for
    the next results of their size: at most 256 MiB of either.
    """
    host.forget()
    answers.forget()
    device = sys.modules.get("fastconv.cuda.call")
    if device is not None:
        device.forget()
