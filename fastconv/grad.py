"""Gradients of convolutions with torch.nn.grad's and aten's signatures."""

# ruff: noqa: A002 - PyTorch calls an argument input

from collections.abc import Sequence

import numpy as np

from . import calls, dispatch
from ._arguments import Ints, Pads, flag, one_of, per_axis, sequence, sizes
from ._arrays import Array, check_out, checked_like, checked_pair
from .geometry import ConvGeometry, gradient_geometry, transposed_gradient_geometry


def conv1d_weight(
    input: Array,
    weight_size: Sequence[int],
    grad_output: Array,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return the gradient of `conv1d` with respect to its weight.

    `conv2d_weight` describes the arguments, the errors and the method; here
    there is one spatial axis instead of two.

    Parameters
    ----------
    input : ndarray, shape (N, C, W)
    weight_size : tuple of 3 ints, (K, C // groups, S)
    grad_output : ndarray, shape (N, K, Q)
    stride, dilation : int or tuple of 1 int
    padding : int, tuple of 1 int or one pair ``((before, after),)``
    groups : int
    out : ndarray, optional
    algorithm : {"auto", "direct", "im2col"}

    Returns
    -------
    ndarray, shape (K, C // groups, S)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv1d_weight
    >>> signal = np.array([[[1.0, 2.0, 4.0, 8.0]]])
    >>> conv1d_weight(signal, (1, 1, 2), np.ones((1, 1, 3)))
    array([[[ 7., 14.]]])
    """
    return _weight(
        1,
        input,
        weight_size,
        grad_output,
        stride,
        padding,
        dilation,
        groups,
        out=out,
        algorithm=algorithm,
    )


def conv2d_weight(
    input: Array,
    weight_size: Sequence[int],
    grad_output: Array,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return the gradient of `conv2d` with respect to its weight.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        The images that were convolved, float32 or float64, any strides.
    weight_size : tuple of 4 ints
        Shape of the weight, (K, C // groups, R, S).
    grad_output : ndarray, shape (N, K, P, Q)
        Gradient with respect to the output, of the input's dtype.
    stride, dilation : int or tuple of 2 ints
        As in the convolution.
    padding : int, tuple of 2 ints or tuple of 2 pairs
        As in the convolution, but no name; the pairs that "same" stands for will do.
    groups : int
        As in the convolution.
    out : ndarray, optional
        Array for the result, of its shape and dtype and apart from the operands.
    algorithm : {"auto", "direct", "im2col"}
        "auto" chooses by the sizes alone.

    Returns
    -------
    ndarray, shape (K, C // groups, R, S)
        ``out`` if given, else a new array.

    Raises
    ------
    TypeError, ValueError
        As for `conv2d`; also for arrays without a batch axis, as in PyTorch, and for a
        ``grad_output`` that does not have the output's shape.

    Notes
    -----
    Element [k, c, r, s] is the sum over the batch and all kernel positions of
    grad_output's channel k times the input pixel of channel c under kernel element (r, s):
    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
    recognition", 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv2d_weight
    >>> image = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv2d_weight(image, (1, 1, 2, 2), np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.],
             [20., 24.]]]])
    """
    return _weight(
        2,
        input,
        weight_size,
        grad_output,
        stride,
        padding,
        dilation,
        groups,
        out=out,
        algorithm=algorithm,
    )


def conv3d_weight(
    input: Array,
    weight_size: Sequence[int],
    grad_output: Array,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return the gradient of `conv3d` with respect to its weight.

    `conv2d_weight` describes the arguments, the errors and the method; here
    there are three spatial axes instead of two.

    Parameters
    ----------
    input : ndarray, shape (N, C, D, H, W)
    weight_size : tuple of 5 ints, (K, C // groups, T, R, S)
    grad_output : ndarray, shape (N, K, O, P, Q)
    stride, dilation : int or tuple of 3 ints
    padding : int, tuple of 3 ints or tuple of 3 pairs
    groups : int
    out : ndarray, optional
    algorithm : {"auto", "direct", "im2col"}

    Returns
    -------
    ndarray, shape (K, C // groups, T, R, S)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv3d_weight
    >>> volume, grad_output = np.ones((1, 2, 4, 4, 4)), np.ones((1, 5, 2, 2, 2))
    >>> conv3d_weight(volume, (5, 2, 3, 3, 3), grad_output).shape
    (5, 2, 3, 3, 3)
    """
    return _weight(
        3,
        input,
        weight_size,
        grad_output,
        stride,
        padding,
        dilation,
        groups,
        out=out,
        algorithm=algorithm,
    )


def conv1d_input(
    input_size: Sequence[int],
    weight: Array,
    grad_output: Array,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return the gradient of `conv1d` with respect to its input.

    `conv2d_input` describes the arguments, the errors and the method; here
    there is one spatial axis instead of two.

    Parameters
    ----------
    input_size : tuple of 3 ints, (N, C, W)
    weight : ndarray, shape (K, C // groups, S)
    grad_output : ndarray, shape (N, K, Q)
    stride, dilation : int or tuple of 1 int
    padding : int, tuple of 1 int or one pair ``((before, after),)``
    groups : int
    out : ndarray, optional
    algorithm : {"auto", "direct", "im2col"}

    Returns
    -------
    ndarray, shape (N, C, W)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv1d_input
    >>> conv1d_input((1, 1, 4), np.array([[[1.0, 10.0]]]), np.ones((1, 1, 3)))
    array([[[ 1., 11., 11., 10.]]])
    """
    return _input(
        1,
        input_size,
        weight,
        grad_output,
        stride,
        padding,
        dilation,
        groups,
        out=out,
        algorithm=algorithm,
    )


def conv2d_input(
    input_size: Sequence[int],
    weight: Array,
    grad_output: Array,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return the gradient of `conv2d` with respect to its input.

    Parameters
    ----------
    input_size : tuple of 4 ints
        Shape of the input, (N, C, H, W).
    weight : ndarray, shape (K, C // groups, R, S)
        The kernels, float32 or float64, any strides.
    grad_output : ndarray, shape (N, K, P, Q)
        Gradient with respect to the output, of the weight's dtype.
    stride, dilation : int or tuple of 2 ints
        As in the convolution.
    padding : int, tuple of 2 ints or tuple of 2 pairs
        As in the convolution, but no name; the pairs that "same" stands for will do.
    groups : int
        As in the convolution.
    out : ndarray, optional
        Array for the result, of its shape and dtype and apart from the operands.
    algorithm : {"auto", "direct", "im2col"}
        "auto" chooses by the sizes alone.

    Returns
    -------
    ndarray, shape (N, C, H, W)
        ``out`` if given. Else a new array, with its channels contiguous in memory if
        grad_output's are (NHWC), in C order otherwise.

    Raises
    ------
    TypeError, ValueError
        As for `conv2d`; also for arrays without a batch axis, as in PyTorch, and for a
        ``grad_output`` that does not have the output's shape.

    Notes
    -----
    Each pixel is the sum, over all kernel positions that see it, of grad_output there
    times the kernel element on the pixel, for all output channels of its group: LeCun,
    Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
    1998.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv2d_input
    >>> kernel = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> conv2d_input((1, 1, 3, 3), kernel, np.ones((1, 1, 2, 2)))
    array([[[[ 1.,  3.,  2.],
             [ 4., 10.,  6.],
             [ 3.,  7.,  4.]]]])
    """
    return _input(
        2,
        input_size,
        weight,
        grad_output,
        stride,
        padding,
        dilation,
        groups,
        out=out,
        algorithm=algorithm,
    )


def conv3d_input(
    input_size: Sequence[int],
    weight: Array,
    grad_output: Array,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return the gradient of `conv3d` with respect to its input.

    `conv2d_input` describes the arguments, the errors and the method; here
    there are three spatial axes instead of two.

    Parameters
    ----------
    input_size : tuple of 5 ints, (N, C, D, H, W)
    weight : ndarray, shape (K, C // groups, T, R, S)
    grad_output : ndarray, shape (N, K, O, P, Q)
    stride, dilation : int or tuple of 3 ints
    padding : int, tuple of 3 ints or tuple of 3 pairs
    groups : int
    out : ndarray, optional
    algorithm : {"auto", "direct", "im2col"}

    Returns
    -------
    ndarray, shape (N, C, D, H, W)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv3d_input
    >>> kernel, grad_output = np.ones((5, 2, 3, 3, 3)), np.ones((1, 5, 2, 2, 2))
    >>> conv3d_input((1, 2, 4, 4, 4), kernel, grad_output).shape
    (1, 2, 4, 4, 4)
    """
    return _input(
        3,
        input_size,
        weight,
        grad_output,
        stride,
        padding,
        dilation,
        groups,
        out=out,
        algorithm=algorithm,
    )


def convolution_backward(
    grad_output: Array,
    input: Array,
    weight: Array,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int] | Sequence[Sequence[int]],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
    *,
    algorithm: str = "auto",
) -> tuple[Array | None, Array | None, Array | None]:
    """Return the gradients of a convolution with respect to input, weight and bias.

    Argument for argument ``torch.ops.aten.convolution_backward``; shapes below are those
    for two spatial axes, one and three work alike.

    Parameters
    ----------
    grad_output : ndarray, shape (N, K, P, Q)
        Gradient with respect to the output, of the input's dtype.
    input : ndarray, shape (N, C, H, W)
        What was convolved, float32 or float64, any strides.
    weight : ndarray, shape (K, C // groups, R, S), or (C, K // groups, R, S) if transposed
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
    algorithm : {"auto", "direct", "im2col"}

    Returns
    -------
    tuple of 3 ndarrays
        Gradients with respect to input, weight and bias; None for each not asked for.

    Raises
    ------
    TypeError, ValueError
        As for `conv2d_weight` and `conv_transpose2d`; an integer is no tuple here.

    Notes
    -----
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
    x, w = checked_pair({"input": input, "weight": weight})
    dy = checked_like(grad_output, "grad_output", x, "input")
    one_of(algorithm, "algorithm", dispatch.ALGORITHMS)
    want_input, want_weight, want_bias = _mask(output_mask)
    adjoint = flag(transposed, "transposed")
    if bias_sizes is not None:
        sizes(bias_sizes, "bias_sizes")
    settings: dict[str, object] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "output_padding": output_padding,
    }
    g = _backward_geometry(x.shape, w.shape, dy.shape, settings, groups, adjoint)
    dx = dw = None
    if want_input and adjoint:
        dx = dispatch.forward(g, dy, w, algorithm=algorithm)
    elif want_input:
        dx = dispatch.input_gradient(g, w, dy, algorithm=algorithm)
    if want_weight:
        image, result = (dy, x) if adjoint else (x, dy)
        dw = dispatch.weight_gradient(g, image, result, algorithm=algorithm)
    return dx, dw, _bias_gradient(dy) if want_bias else None


def _weight(
    rank: int,
    input: Array,
    weight_size: Sequence[int],
    grad_output: Array,
    stride: Ints,
    padding: Pads,
    dilation: Ints,
    groups: int,
    *,
    out: Array | None,
    algorithm: str,
) -> Array:
    arguments = (rank, weight_size, stride, padding, dilation, groups, algorithm)
    key = calls.key_of("weight", input, grad_output, None, arguments) if out is None else None
    if (ready := calls.find(key)) is not None:
        return ready(input, grad_output)
    x, dy = checked_pair({"input": input, "grad_output": grad_output})
    size = sizes(weight_size, "weight_size")
    names = ("input", "weight_size")
    g = gradient_geometry(x.shape, size, dy.shape, stride, padding, dilation, groups, rank, names)
    one_of(algorithm, "algorithm", dispatch.ALGORITHMS)
    if out is not None:
        check_out(out, g.weight_shape, {"input": x, "grad_output": dy})
    dw = dispatch.weight_gradient(g, x, dy, out, algorithm)
    dispatch.keep_call(key, "weight_gradient", g, (x, dy, dw), None, algorithm, dw)
    return dw


def _input(
    rank: int,
    input_size: Sequence[int],
    weight: Array,
    grad_output: Array,
    stride: Ints,
    padding: Pads,
    dilation: Ints,
    groups: int,
    *,
    out: Array | None,
    algorithm: str,
) -> Array:
    arguments = (rank, input_size, stride, padding, dilation, groups, algorithm)
    key = calls.key_of("input", grad_output, weight, None, arguments) if out is None else None
    if (ready := calls.find(key)) is not None:
        return ready(grad_output, weight)
    w, dy = checked_pair({"weight": weight, "grad_output": grad_output})
    size = sizes(input_size, "input_size")
    names = ("input_size", "weight")
    g = gradient_geometry(size, w.shape, dy.shape, stride, padding, dilation, groups, rank, names)
    one_of(algorithm, "algorithm", dispatch.ALGORITHMS)
    if out is not None:
        check_out(out, g.input_shape, {"weight": w, "grad_output": dy})
    dx = dispatch.input_gradient(g, w, dy, None, out, algorithm)
    dispatch.keep_call(key, "input_gradient", g, (dy, w, dx), None, algorithm, dx)
    return dx


def _mask(output_mask: object) -> tuple[bool, bool, bool]:
    values = sequence(output_mask, "output_mask", "3 bools")
    if len(values) != 3:
        raise ValueError(f"output_mask must be a tuple of 3 bools, got {output_mask!r}")
    first, second, third = (flag(value, "output_mask") for value in values)
    return first, second, third


def _backward_geometry(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    grad_shape: tuple[int, ...],
    settings: dict[str, object],
    groups: object,
    transposed: bool,
) -> ConvGeometry:
    """Return the geometry of the convolution, or of the one a transposed one is adjoint to."""
    rank = len(weight_shape) - 2
    if rank not in (1, 2, 3):
        raise ValueError(f"weight must be 3-D, 4-D or 5-D, got shape {weight_shape}")
    stride, padding, dilation, output_padding = (sequence(v, k) for k, v in settings.items())
    shapes = (input_shape, weight_shape, grad_shape)
    if transposed:
        return transposed_gradient_geometry(
            *shapes, stride, padding, output_padding, groups, dilation, rank
        )
    if any(per_axis(output_padding, "output_padding", rank, 0)):
        raise ValueError(
            f"output_padding must be 0 unless transposed is true, got {output_padding!r}"
        )
    return gradient_geometry(*shapes, stride, padding, dilation, groups, rank)


def _bias_gradient(grad_output: Array) -> Array:
    axes = (0, *range(2, grad_output.ndim))
    # Summed in float64: a float32 sum over the strided axes would round at each step.
    total: Array = grad_output.sum(axis=axes, dtype=np.float64)
    return total.astype(grad_output.dtype, copy=False)
