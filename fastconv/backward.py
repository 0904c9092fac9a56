"""All gradients of a convolution at once, with aten's signature."""

# ruff: noqa: A002 - PyTorch calls an argument input

from collections.abc import Sequence

from ._arguments import flag, one_of, per_axis, sequence, shown, sizes
from ._arrays import AnyArray, Stream
from .dispatch import open_call
from .geometry import ConvGeometry, gradient_geometry, transposed_gradient_geometry


def convolution_backward(
    grad_output: AnyArray,
    input: AnyArray,
    weight: AnyArray,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int] | Sequence[Sequence[int]],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
    *,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    stream: Stream = None,
) -> tuple[AnyArray | None, AnyArray | None, AnyArray | None]:
    """Return the gradients of a convolution with respect to input, weight and bias.

    Argument for argument ``torch.ops.aten.convolution_backward``; shapes below are those
    for two spatial axes, one and three work alike.

    Parameters
    ----------
    grad_output : ndarray or device array, shape (N, K, P, Q)
        Gradient with respect to the output, of the input's dtype.
    input : ndarray or device array, shape (N, C, H, W)
        What was convolved, as in `conv2d`.
    weight : as input, shape (K, C // groups, R, S), or (C, K // groups, R, S) if transposed
        The kernels, of the input's dtype.
    bias_sizes : tuple of ints or None
        Not used, as in PyTorch: the bias gradient has one number per output channel.
    stride, dilation : tuple of 1 or 2 ints
    padding : tuple of 1 or 2 ints, or of 2 pairs
        As in the convolution; one integer in a tuple holds for all axes.
    transposed : bool
        Whether the convolution was a transposed one.
    output_padding : tuple of 1 or 2 ints
        As in the transposed convolution; 0 for any other.
    groups : int
    output_mask : tuple of 3 bools
        Which of the three gradients to compute.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        As in `conv2d`; a transposed convolution has zeros alone.
    algorithm : {"auto", "direct", "im2col"}
    stream : int or stream object, optional
        As in `conv2d`.

    Returns
    -------
    tuple of 3 arrays of the input's kind
        Gradients with respect to input, weight and bias; None for each not asked for.

    Raises
    ------
    TypeError, ValueError
        As for `conv2d_weight` and `conv_transpose2d`; an integer is no tuple here.

    Notes
    -----
    Of complex arrays, ``input`` and ``weight`` are conjugated where they are multiplied by
    ``grad_output``, as in the gradients that PyTorch's autograd gives; its own
    ``convolution_backward`` refuses them.

    A transposed convolution is an input gradient. So its own is a convolution of
    ``grad_output``, and in its weight gradient ``input`` and ``grad_output`` change places.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import convolution_backward
    >>> x, w, dy = np.ones((1, 1, 4)), np.ones((1, 1, 2)), np.ones((1, 1, 3))
    >>> mask = (False, True, True)
    >>> convolution_backward(dy, x, w, (1,), (1,), (0,), (1,), False, (0,), 1, mask)
    (None, array([[[3., 3.]]]), array([3.]))
    """
    settings: dict[str, object] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "output_padding": output_padding,
    }
    others = transposed, groups, output_mask, bias_sizes
    arguments = (*settings.values(), *others, padding_mode, algorithm)
    arrays = {"input": input, "weight": weight, "grad_output": grad_output}
    call = open_call("backward", arrays, arguments, stream=stream)
    known = call.repeat()
    if known is not None:
        results = iter(known)
        first, second, third = (next(results) if want else None for want in output_mask)
        return first, second, third
    x, w, dy = call.operands()
    algorithm = one_of(algorithm, "algorithm", call.algorithms)
    want_input, want_weight, want_bias = _mask(output_mask)
    adjoint = flag(transposed, "transposed")
    if bias_sizes is not None:
        sizes(bias_sizes, "bias_sizes")
    g = _backward_geometry(x.shape, w.shape, dy.shape, settings, groups, adjoint, padding_mode)
    dx = dw = db = None
    if want_input:
        pass_name = "forward" if adjoint else "input_gradient"
        dx = call.run(pass_name, g, "grad_output", "weight", algorithm)
    if want_weight:
        image, result = ("grad_output", "input") if adjoint else ("input", "grad_output")
        dw = call.run("weight_gradient", g, image, result, algorithm)
    if want_bias:
        db = call.bias_gradient("grad_output")
    call.keep()
    return dx, dw, db


def _mask(output_mask: object) -> tuple[bool, bool, bool]:
    values = sequence(output_mask, "output_mask", "3 bools")
    if len(values) != 3:
        raise ValueError(f"output_mask must be a tuple of 3 bools, got {shown(values)}")
    first, second, third = (flag(value, "output_mask") for value in values)
    return first, second, third


def _backward_geometry(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    grad_shape: tuple[int, ...],
    settings: dict[str, object],
    groups: object,
    transposed: bool,
    padding_mode: object,
) -> ConvGeometry:
    """Return the geometry of the convolution, or of the one a transposed one is adjoint to."""
    rank = len(weight_shape) - 2
    if rank not in (1, 2, 3):
        raise ValueError(f"weight must be 3-D, 4-D or 5-D, got shape {weight_shape}")
    stride, padding, dilation, output_padding = (sequence(v, k) for k, v in settings.items())
    shapes = (input_shape, weight_shape, grad_shape)
    if transposed:
        return transposed_gradient_geometry(
            *shapes, stride, padding, output_padding, groups, dilation, rank, padding_mode
        )
    extra = per_axis(output_padding, "output_padding", rank, 0)
    if any(extra):
        raise ValueError(f"output_padding must be 0 unless transposed is true, got {extra}")
    window = stride, padding, dilation, groups
    return gradient_geometry(*shapes, *window, rank, padding_mode=padding_mode)
