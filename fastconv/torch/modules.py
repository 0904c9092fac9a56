"""Convolution layers by fastconv: torch.nn's, but for what computes them."""

# ruff: noqa: A002 - PyTorch calls an argument input

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad

from ..geometry import same_padding
from .functional import conv


class _ByFastconv:
    """What a layer of torch.nn becomes before its own class: its forward pass is ours."""

    #: any of fastconv's, or "fastest": as in `conv2d`
    algorithm = "auto"

    def __init__(self, *arguments: Any, algorithm: str = "auto", **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.algorithm = algorithm

    def forward(self: Any, input: Any) -> Any:
        """Return the layer's output."""
        image, padding = input, self.padding
        if self.padding_mode != "zeros":
            image, padding = pad(input, self._edges(), mode=self.padding_mode), 0
        return conv(
            len(self.kernel_size),
            image,
            self.weight,
            self.bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            self.algorithm,
        )

    def _edges(self: Any) -> list[int]:
        """What is added before and after, from the last axis to the first."""
        if self.padding == "same":
            sides = [*map(same_padding, self.kernel_size, self.dilation)]
        elif self.padding == "valid":
            sides = [(0, 0) for _ in self.kernel_size]
        else:
            sides = [(width, width) for width in self.padding]
        return [side for pair in reversed(sides) for side in pair]

    def extra_repr(self) -> str:
        """Return the layer's settings as text."""
        text: str = super().extra_repr()  # type: ignore[misc]  # of the class after this
        return text if self.algorithm == "auto" else f"{text}, algorithm={self.algorithm}"


class Conv1d(_ByFastconv, torch.nn.Conv1d):
    """A convolution layer over signals: `Conv2d` with one spatial axis in place of two."""


class Conv2d(_ByFastconv, torch.nn.Conv2d):
    """A convolution layer over images: torch.nn.Conv2d by fastconv.

    It is a subclass, with the same parameters under the same names: either loads the other's
    state dict.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        As in torch.nn.Conv2d.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        Other than zeros, it takes a padded copy of the input.
    device, dtype
        As in torch.nn.Conv2d.
    algorithm : str
        As in `fastconv.torch.conv2d`.

    Examples
    --------
    >>> import torch
    >>> from fastconv.torch import Conv2d
    >>> layer = Conv2d(3, 8, 3, padding=1)
    >>> layer(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 8, 16, 16])
    >>> layer.load_state_dict(torch.nn.Conv2d(3, 8, 3).state_dict())
    <All keys matched successfully>
    """


class Conv3d(_ByFastconv, torch.nn.Conv3d):
    """A convolution layer over volumes: `Conv2d` with three spatial axes in place of two."""
