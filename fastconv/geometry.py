"""The geometry of a convolution: every size derived once, every misfit refused here.

The size functions are plain integer arithmetic that Numba can compile as well. The
constructors check what the caller gave and return a `ConvGeometry`; code that holds
one needs no further check.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

from . import borders
from ._arguments import (
    INT64_MAX,
    Pairs,
    integer,
    one_of,
    padding_pairs,
    per_axis,
    plural,
    shown,
)

_ITEM_BYTES = 16  # of the widest dtype, complex128: arrays are held below 2**63 bytes


def output_size(
    size: int, kernel: int, stride: int, dilation: int, pad_before: int, pad_after: int
) -> int:
    """Return how many kernel positions fit along one axis (0 or less: none)."""
    return (size + pad_before + pad_after - dilation * (kernel - 1) - 1) // stride + 1


def transposed_size(
    size: int,
    kernel: int,
    stride: int,
    dilation: int,
    pad_before: int,
    pad_after: int,
    output_padding: int,
) -> int:
    """Return a transposed convolution's output size along one axis."""
    reach = (size - 1) * stride + dilation * (kernel - 1) + 1
    return reach + output_padding - pad_before - pad_after


def same_padding(kernel: int, dilation: int) -> tuple[int, int]:
    """Return the (before, after) padding that keeps a size; an odd one goes after."""
    total = dilation * (kernel - 1)
    return total // 2, total - total // 2


@dataclass(frozen=True, slots=True)
class ConvGeometry:
    """Sizes of one convolution, checked and complete; hashable, so a key for plans.

    Spatial fields hold one integer per axis. `output` is at most what `output_size`
    gives; it is less only for a transposed convolution whose output_padding reaches
    its stride. `padding_mode` is "zeros" where there is no padding.
    """

    N: int
    C: int
    K: int
    groups: int
    input: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pad_before: tuple[int, ...]
    pad_after: tuple[int, ...]
    output: tuple[int, ...]
    padding_mode: str = "zeros"

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(N, C, *input)."""
        return (self.N, self.C, *self.input)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(K, C // groups, *kernel)."""
        return (self.K, self.C // self.groups, *self.kernel)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(N, K, *output)."""
        return (self.N, self.K, *self.output)

    @property
    def padded(self) -> "ConvGeometry":
        """The same convolution of the padded image, which needs no padding."""
        image = tuple(map(sum, zip(self.pad_before, self.input, self.pad_after, strict=True)))
        none = (0,) * self.rank
        return replace(self, input=image, pad_before=none, pad_after=none, padding_mode="zeros")

    @property
    def flops(self) -> int:
        """Twice the multiply-adds of one pass, the same for all three passes."""
        return 2 * prod(self.output_shape) * prod(self.weight_shape[1:])


def forward_geometry(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: object,
    padding: object,
    dilation: object,
    groups: object,
    rank: int,
    names: tuple[str, str] = ("input", "weight"),
    padding_mode: object = "zeros",
) -> ConvGeometry:
    """Return the geometry of a convolution; an ``input_shape`` without N is one image.

    ``names`` are what messages call the input and the weight.
    """
    read = _read(input_shape, weight_shape, stride, dilation, groups, rank, names)
    C = weight_shape[1] * read.groups
    _check_channels(input_shape, read.channels, C, weight_shape, read.groups, names)
    pads = _forward_padding(padding, read)
    mode = borders.checked_mode(padding_mode, read.spatial, pads, names[0])
    output = _fitted_output(read, pads, names)
    g = _complete(read, C, weight_shape[0], read.spatial, pads, output, mode)
    _check_int64(g, (*names, "output"))
    return g


def transposed_geometry(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: object,
    padding: object,
    output_padding: object,
    groups: object,
    dilation: object,
    rank: int,
    padding_mode: object = "zeros",
) -> ConvGeometry:
    """Return the geometry of the convolution whose input gradient a transposed one is.

    Its K and output are the transposed convolution's input channels and sizes, its C and
    input the transposed convolution's output channels and sizes; the weight is the same.
    """
    mode = one_of(padding_mode, "padding_mode", borders.MODES)
    if mode != "zeros":
        raise ValueError(f"padding_mode must be 'zeros' for a transposed convolution, got {mode!r}")
    names = ("input", "weight")
    read = _read(input_shape, weight_shape, stride, dilation, groups, rank, names)
    _check_channels(input_shape, read.channels, weight_shape[0], weight_shape, read.groups, names)
    pads = padding_pairs(padding, rank)
    extra = per_axis(output_padding, "output_padding", rank, 0)
    result = _transposed_output(read, pads, extra)
    C = weight_shape[1] * read.groups
    g = _complete(read, C, weight_shape[0], result, pads, read.spatial)
    _check_int64(g, ("output", "weight", "input"))
    return g


def gradient_geometry(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    grad_shape: tuple[int, ...],
    stride: object,
    padding: object,
    dilation: object,
    groups: object,
    rank: int,
    names: tuple[str, str] = ("input", "weight"),
    padding_mode: object = "zeros",
) -> ConvGeometry:
    """Return the geometry of the convolution that ``grad_shape`` is an output gradient of."""
    _check_batched(input_shape, rank, names[0])
    pads = padding_pairs(padding, rank)
    settings = stride, pads, dilation, groups
    g = forward_geometry(input_shape, weight_shape, *settings, rank, names, padding_mode)
    _check_grad_output(grad_shape, g.output_shape)
    return g


def check_samples(g: ConvGeometry, name: str) -> None:
    """Refuse weight gradients of each sample that 64 bits do not count."""
    _check_bytes(f"{name} of all samples", (g.N, *g.weight_shape))


def transposed_gradient_geometry(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    grad_shape: tuple[int, ...],
    stride: object,
    padding: object,
    output_padding: object,
    groups: object,
    dilation: object,
    rank: int,
    padding_mode: object = "zeros",
) -> ConvGeometry:
    """Return `transposed_geometry`, with ``grad_shape`` checked to be its result's."""
    _check_batched(input_shape, rank, "input")
    settings = stride, padding, output_padding, groups, dilation
    g = transposed_geometry(input_shape, weight_shape, *settings, rank, padding_mode)
    _check_grad_output(grad_shape, g.input_shape)
    return g


def unfold_geometry(
    input_shape: tuple[int, ...],
    kernel_size: object,
    dilation: object,
    padding: object,
    stride: object,
    names: tuple[str, str] = ("input", "kernel_size"),
) -> ConvGeometry:
    """Return the geometry of the depthwise convolution that copies each tap to a channel.

    It has C groups and K = C * R * S: unfold is its forward with one-hot kernels, and fold
    its input gradient.
    """
    kernel = per_axis(kernel_size, "kernel_size", 2, 1, broadcast=False)
    steps = per_axis(stride, "stride", 2, 1, broadcast=False)
    spacing = per_axis(dilation, "dilation", 2, 1, broadcast=False)
    pads = padding_pairs(padding, 2, broadcast=False)
    C = _split_shape(input_shape, 2, names[0])[1]
    weight_shape = (C * prod(kernel), 1, *kernel)
    return forward_geometry(input_shape, weight_shape, steps, pads, spacing, C, 2, names)


def fold_geometry(
    input_shape: tuple[int, ...],
    output_size: object,
    kernel_size: object,
    dilation: object,
    padding: object,
    stride: object,
) -> ConvGeometry:
    """Return the geometry of the unfold whose columns have ``input_shape``."""
    image = per_axis(output_size, "output_size", 2, 1, broadcast=False)
    kernel = per_axis(kernel_size, "kernel_size", 2, 1, broadcast=False)
    taps = prod(kernel)
    if len(input_shape) not in (2, 3) or 0 in input_shape[-2:]:
        raise ValueError(
            "input must be (C * R * S, L) or (N, C * R * S, L) with no empty axis but N, "
            f"got shape {input_shape}"
        )
    if input_shape[-2] % taps:
        raise ValueError(
            f"input must have a multiple of {taps} rows for kernel_size={shown(kernel_size)}, "
            f"got shape {input_shape}"
        )
    image_shape = (*input_shape[:-2], input_shape[-2] // taps, *image)
    names = ("output_size", "kernel_size")
    g = unfold_geometry(image_shape, kernel, dilation, padding, stride, names)
    if input_shape[-1] != prod(g.output):
        raise ValueError(
            f"input must have {plural(prod(g.output), 'column')}, one for each of the "
            f"{g.output} kernel positions, got shape {input_shape}"
        )
    return g


class _Read(NamedTuple):
    """What a forward and a transposed convolution read alike from their arguments."""

    N: int
    channels: int
    spatial: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def _read(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: object,
    dilation: object,
    groups: object,
    rank: int,
    names: tuple[str, str],
) -> _Read:
    N, channels, spatial = _split_shape(input_shape, rank, names[0])
    if channels == 0 or (N > 0 and 0 in spatial):
        raise ValueError(f"{names[0]} must have no empty axis but N, got shape {input_shape}")
    group_count = integer(groups, "groups", 1)
    _check_weight(weight_shape, rank, group_count, names[1])
    return _Read(
        N=N,
        channels=channels,
        spatial=spatial,
        kernel=weight_shape[2:],
        stride=per_axis(stride, "stride", rank, 1),
        dilation=per_axis(dilation, "dilation", rank, 1),
        groups=group_count,
    )


def _split_shape(shape: tuple[int, ...], rank: int, name: str) -> tuple[int, int, tuple[int, ...]]:
    if len(shape) == rank + 1:
        return 1, shape[0], shape[1:]
    if len(shape) == rank + 2:
        return shape[0], shape[1], shape[2:]
    raise ValueError(
        f"{name} must be {rank + 2}-D {_axes('N, C', rank)} or {rank + 1}-D {_axes('C', rank)}, "
        f"got shape {shape}"
    )


def _axes(leading: str, rank: int) -> str:
    return f"({leading}, {', '.join('DHW'[-rank:])})"


def _check_grad_output(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise ValueError(f"grad_output must have shape {expected}, the output's, got {shape}")


def _check_batched(shape: tuple[int, ...], rank: int, name: str) -> None:
    if len(shape) != rank + 2:
        raise ValueError(
            f"{name} must be {rank + 2}-D {_axes('N, C', rank)} with its batch axis, "
            f"got shape {shape}"
        )


def _check_weight(shape: tuple[int, ...], rank: int, groups: int, name: str) -> None:
    if len(shape) != rank + 2:
        raise ValueError(f"{name} must be {rank + 2}-D for {rank} spatial axes, got shape {shape}")
    if 0 in shape:
        raise ValueError(f"{name} must have no empty axis, got shape {shape}")
    if shape[0] % groups:
        raise ValueError(
            f"{name} must have a first axis divisible by groups={groups}, got shape {shape}"
        )


def _check_channels(
    input_shape: tuple[int, ...],
    channels: int,
    expected: int,
    weight_shape: tuple[int, ...],
    groups: int,
    names: tuple[str, str],
) -> None:
    if channels != expected:
        raise ValueError(
            f"{names[0]} must have {plural(expected, 'channel')} to go with {names[1]} of shape "
            f"{weight_shape} and groups={groups}, got shape {input_shape}"
        )


def _forward_padding(padding: object, read: _Read) -> Pairs:
    rank = len(read.kernel)
    if not isinstance(padding, str):
        return padding_pairs(padding, rank)
    if one_of(padding, "padding", ("valid", "same")) == "valid":
        return ((0, 0),) * rank
    if any(step != 1 for step in read.stride):
        raise ValueError(f"stride must be 1 for padding='same', got {read.stride}")
    return tuple(same_padding(k, d) for k, d in zip(read.kernel, read.dilation, strict=True))


def _split_pairs(pads: Pairs) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(before for before, _ in pads), tuple(after for _, after in pads)


def _fitted_output(read: _Read, pads: Pairs, names: tuple[str, str]) -> tuple[int, ...]:
    sizes = (read.spatial, read.kernel, read.stride, read.dilation)
    output = tuple(map(output_size, *sizes, *_split_pairs(pads)))
    if any(size < 1 for size in output):
        reach = tuple(d * (k - 1) + 1 for k, d in zip(read.kernel, read.dilation, strict=True))
        padded = tuple(n + sum(pad) for n, pad in zip(read.spatial, pads, strict=True))
        raise ValueError(
            f"{names[1]} must fit into the padded {names[0]}: the kernel spans {reach} "
            f"and the padded sizes are {padded}"
        )
    return output


def _transposed_output(read: _Read, pads: Pairs, extra: tuple[int, ...]) -> tuple[int, ...]:
    limits = tuple(map(max, read.stride, read.dilation))
    # An empty batch may go past the limit and may have empty images, as in PyTorch.
    if read.N > 0 and any(e >= limit for e, limit in zip(extra, limits, strict=True)):
        raise ValueError(
            "output_padding must be smaller than stride or dilation, that is less than "
            f"{limits} per axis, got {extra}"
        )
    sizes = (read.spatial, read.kernel, read.stride, read.dilation)
    result = tuple(map(transposed_size, *sizes, *_split_pairs(pads), extra))
    if min(result) < min(read.N, 1):
        raise ValueError(f"padding must leave an output of at least 1 per axis, got {result}")
    return result


def _complete(
    read: _Read,
    C: int,
    K: int,
    image: tuple[int, ...],
    pads: Pairs,
    output: tuple[int, ...],
    mode: str = "zeros",
) -> ConvGeometry:
    before, after = _split_pairs(pads)
    return ConvGeometry(
        N=read.N,
        C=C,
        K=K,
        groups=read.groups,
        input=image,
        kernel=read.kernel,
        stride=read.stride,
        dilation=read.dilation,
        pad_before=before,
        pad_after=after,
        output=output,
        padding_mode=mode,
    )


def _check_int64(g: ConvGeometry, names: tuple[str, str, str]) -> None:
    """Refuse what 64 bits do not count; ``names`` are those of image, weight and output."""
    image, weight, output = names
    padded = tuple(map(sum, zip(g.pad_before, g.input, g.pad_after, strict=True)))
    _check_bytes(image, g.input_shape)
    _check_bytes(weight, g.weight_shape)
    _check_bytes(output, g.output_shape)
    _check_bytes(f"padded {image}", (g.N, g.C, *padded))
    if g.flops // 2 > INT64_MAX:
        raise ValueError(
            f"{image} and {weight} must make less than 2**63 products, "
            f"got shapes {g.input_shape} and {g.weight_shape}"
        )


def _check_bytes(name: str, shape: tuple[int, ...]) -> None:
    if prod([max(size, 1) for size in shape]) * _ITEM_BYTES > INT64_MAX:
        raise ValueError(f"{name} must take less than 2**63 bytes, got shape {shape}")
