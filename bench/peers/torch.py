"""PyTorch, whose CPU convolutions are oneDNN's."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from bench.case import Array, Case
from bench.peers.base import Call, Peer, conv_arguments
from bench.suites import DTYPES


class Torch(Peer):
    """PyTorch; channels_last tensors where the case's arrays are NHWC in memory."""

    name = "torch"
    dtypes = DTYPES

    def __init__(self) -> None:
        self.torch = importlib.import_module("torch")

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        before = self.torch.get_num_threads()
        self.torch.set_num_threads(count)
        try:
            yield
        finally:
            self.torch.set_num_threads(before)

    def array(self, result: Any, case: Case, pass_name: str) -> Array:
        if result.dtype == self.torch.bfloat16:  # a type that NumPy does not know
            result = result.float()
        array: Array = result.numpy()
        return array

    def _tensor(self, array: Array) -> Any:
        if array.dtype.name == "bfloat16":  # a type that torch.from_numpy does not know
            return self.torch.from_numpy(array.view(np.uint16)).view(self.torch.bfloat16)
        return self.torch.from_numpy(array)

    def _tensors(self, case: Case) -> tuple[Any, Any, Any]:
        x, w, dy = map(self._tensor, (case.x, case.w, case.dy))
        if case.layout == "nhwc":
            w = w.to(memory_format=self.torch.channels_last)
        return x, w, dy

    def forward(self, case: Case) -> Call:
        x, w, _ = self._tensors(case)
        conv2d, rest = self.torch.nn.functional.conv2d, conv_arguments(case.layer)
        return lambda: conv2d(x, w, None, *rest)

    def _backward(self, case: Case, which: int) -> Call:
        x, w, dy = self._tensors(case)
        stride, padding, dilation, groups = conv_arguments(case.layer)
        backward = self.torch.ops.aten.convolution_backward
        mask = [which == 0, which == 1, False]
        rest = (None, stride, padding, dilation, False, (0, 0), groups, mask)
        return lambda: backward(dy, x, w, *rest)[which]

    def weight_gradient(self, case: Case) -> Call:
        return self._backward(case, 1)

    def input_gradient(self, case: Case) -> Call:
        return self._backward(case, 0)
