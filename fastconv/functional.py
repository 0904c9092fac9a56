"""Convolutions and transposed convolutions with torch.nn.functional's signatures."""

# ruff: noqa: A002 - PyTorch calls an argument input

import numpy as np

from . import calls, dispatch
from ._arguments import Ints, Padding, Pads, one_of
from ._arrays import Array, check_out, checked_bias, checked_pair
from .geometry import forward_geometry, transposed_geometry


def conv1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Convolve signals with kernels (cross-correlation, as in neural networks).

    `conv2d` describes the arguments, the errors and the method; here there is one
    spatial axis instead of two.

    Parameters
    ----------
    input : ndarray, shape (N, C, W) or (C, W)
    weight : ndarray, shape (K, C // groups, S)
    bias : ndarray, shape (K,), optional
    stride, dilation : int or tuple of 1 int
    padding : int, tuple of 1 int, one pair ``((before, after),)``, "valid" or "same"
    groups : int
    out : ndarray, optional
    algorithm : {"auto", "direct", "im2col"}

    Returns
    -------
    ndarray, shape (N, K, Q) or (K, Q)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv1d
    >>> signal = np.array([[1.0, 2.0, 4.0, 8.0]])
    >>> conv1d(signal, np.array([[[-1.0, 1.0]]]))
    array([[1., 2., 4.]])
    """
    return _conv(
        1, input, weight, bias, stride, padding, dilation, groups, out=out, algorithm=algorithm
    )


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Convolve images with kernels (cross-correlation, as in neural networks).

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W) or (C, H, W)
        A batch of images or one image, float32 or float64, any strides.
    weight : ndarray, shape (K, C // groups, R, S)
        The kernels, of the input's dtype.
    bias : ndarray, shape (K,), optional
        Added to each output channel; of the input's dtype.
    stride : int or tuple of 2 ints
        Step from one kernel position to the next, per axis.
    padding : int, tuple of 2 ints, tuple of 2 pairs, "valid" or "same"
        Zeros at both ends of each axis. A pair ``(before, after)`` per axis, which
        PyTorch does not have, sets the two ends apart. "valid" is 0; "same" gives
        output the input's size, needs stride 1, and puts an odd zero at the end.
    dilation : int or tuple of 2 ints
        Step from one kernel element to the next, per axis.
    groups : int
        Number of equal parts into which the channels are cut; the k-th part of the
        output sees only the k-th part of the input.
    out : ndarray, optional
        Array for the result, of its shape and dtype and apart from the operands.
    algorithm : {"auto", "direct", "im2col"}
        "auto" chooses by the sizes alone.

    Returns
    -------
    ndarray, shape (N, K, P, Q) or (K, P, Q)
        ``out`` if given. Else a new array, with its channels contiguous in memory if
        the input's are (NHWC), in C order otherwise. Along each axis
        ``P = (H + before + after - dilation * (R - 1) - 1) // stride + 1``.

    Raises
    ------
    TypeError
        For an argument of a wrong kind: no NumPy array, a dtype other than float32
        and float64, mixed dtypes, a bool or float for an integer.
    ValueError
        For a wrong value: shapes that do not fit each other, an empty axis other than
        N, a kernel larger than the padded input, an ``out`` that cannot be used.

    Notes
    -----
    The size arithmetic is that of Dumoulin and Visin, "A guide to convolution
    arithmetic for deep learning", arXiv:1603.07285. im2col is described by Chellapilla,
    Puri and Simard, "High performance convolutional neural networks for document
    processing", 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv2d
    >>> image = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> kernel = np.array([[[[1.0, 0.0], [0.0, 1.0]]]])
    >>> conv2d(image, kernel)
    array([[[[ 4.,  6.],
             [10., 12.]]]])
    >>> conv2d(image, kernel, padding=((1, 0), (0, 0)))
    array([[[[ 1.,  2.],
             [ 4.,  6.],
             [10., 12.]]]])
    """
    return _conv(
        2, input, weight, bias, stride, padding, dilation, groups, out=out, algorithm=algorithm
    )


def conv3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Convolve volumes with kernels (cross-correlation, as in neural networks).

    `conv2d` describes the arguments, the errors and the method; here there are three
    spatial axes instead of two.

    Parameters
    ----------
    input : ndarray, shape (N, C, D, H, W) or (C, D, H, W)
    weight : ndarray, shape (K, C // groups, T, R, S)
    bias : ndarray, shape (K,), optional
    stride, dilation : int or tuple of 3 ints
    padding : int, tuple of 3 ints, tuple of 3 pairs, "valid" or "same"
    groups : int
    out : ndarray, optional
    algorithm : {"auto", "direct", "im2col"}

    Returns
    -------
    ndarray, shape (N, K, O, P, Q) or (K, O, P, Q)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv3d
    >>> conv3d(np.ones((1, 2, 4, 4, 4)), np.ones((5, 2, 3, 3, 3)), padding=1).shape
    (1, 5, 4, 4, 4)
    """
    return _conv(
        3, input, weight, bias, stride, padding, dilation, groups, out=out, algorithm=algorithm
    )


def conv_transpose1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: Pads = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Spread each sample of signals over a kernel: conv1d's gradient with respect to its input.

    `conv_transpose2d` describes the arguments, the errors and the method; here there is
    one spatial axis instead of two.

    Parameters
    ----------
    input : ndarray, shape (N, C, W) or (C, W)
    weight : ndarray, shape (C, K // groups, S)
    bias : ndarray, shape (K,), optional
    stride, output_padding, dilation : int or tuple of 1 int
    padding : int, tuple of 1 int or one pair ``((before, after),)``
    groups : int
    out : ndarray, optional
    algorithm : {"auto", "direct", "im2col"}

    Returns
    -------
    ndarray, shape (N, K, Q) or (K, Q)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv_transpose1d
    >>> conv_transpose1d(np.array([[1.0, 2.0]]), np.array([[[1.0, 10.0]]]))
    array([[ 1., 12., 20.]])
    """
    return _conv_transpose(
        1,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        out=out,
        algorithm=algorithm,
    )


def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: Pads = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Spread each pixel of images over a kernel: conv2d's gradient with respect to its input.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W) or (C, H, W)
        A batch of images or one image, float32 or float64, any strides.
    weight : ndarray, shape (C, K // groups, R, S)
        The kernels, of the input's dtype. Note the order: input channels come first.
    bias : ndarray, shape (K,), optional
        Added to each output channel; of the input's dtype.
    stride : int or tuple of 2 ints
        Step between the positions to which neighbouring pixels go, per axis.
    padding : int, tuple of 2 ints or tuple of 2 pairs
        What is cut off at both ends of each axis; a pair ``(before, after)`` per axis,
        which PyTorch does not have, sets the two ends apart.
    output_padding : int or tuple of 2 ints
        What is added at the end of each axis; less than stride or dilation.
    groups : int
        Number of equal parts into which the channels are cut; the k-th part of the
        output sees only the k-th part of the input.
    dilation : int or tuple of 2 ints
        Step from one kernel element to the next, per axis.
    out : ndarray, optional
        Array for the result, of its shape and dtype and apart from the operands.
    algorithm : {"auto", "direct", "im2col"}
        "auto" chooses by the sizes alone.

    Returns
    -------
    ndarray, shape (N, K, P, Q) or (K, P, Q)
        ``out`` if given, else a new array laid out as `conv2d` does. Along each axis
        ``P = (H - 1) * stride - before - after + dilation * (R - 1) + output_padding + 1``.

    Raises
    ------
    TypeError, ValueError
        As for `conv2d`; also for a named padding and for an output that would be empty.

    Notes
    -----
    Computed as the input gradient of the convolution with the same weight, stride,
    padding and dilation: Dumoulin and Visin, "A guide to convolution arithmetic for deep
    learning", arXiv:1603.07285, chapter 4.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv_transpose2d
    >>> conv_transpose2d(np.array([[[1.0, 2.0]]]), np.ones((1, 1, 1, 2)), stride=(1, 2))
    array([[[1., 1., 2., 2.]]])
    """
    return _conv_transpose(
        2,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        out=out,
        algorithm=algorithm,
    )


def conv_transpose3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: Pads = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Spread each voxel of volumes over a kernel: conv3d's gradient with respect to its input.

    `conv_transpose2d` describes the arguments, the errors and the method; here there are
    three spatial axes instead of two.

    Parameters
    ----------
    input : ndarray, shape (N, C, D, H, W) or (C, D, H, W)
    weight : ndarray, shape (C, K // groups, T, R, S)
    bias : ndarray, shape (K,), optional
    stride, output_padding, dilation : int or tuple of 3 ints
    padding : int, tuple of 3 ints or tuple of 3 pairs
    groups : int
    out : ndarray, optional
    algorithm : {"auto", "direct", "im2col"}

    Returns
    -------
    ndarray, shape (N, K, O, P, Q) or (K, O, P, Q)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv_transpose3d
    >>> conv_transpose3d(np.ones((1, 2, 2, 2, 2)), np.ones((2, 5, 3, 3, 3)), stride=2).shape
    (1, 5, 5, 5, 5)
    """
    return _conv_transpose(
        3,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        out=out,
        algorithm=algorithm,
    )


def _conv(
    rank: int,
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int,
    *,
    out: Array | None,
    algorithm: str,
) -> Array:
    arguments = (rank, stride, padding, dilation, groups, algorithm)
    key = calls.key_of("conv", input, weight, bias, arguments) if out is None else None
    if (ready := calls.find(key)) is not None:
        return ready(input, weight, bias)
    x, w = checked_pair({"input": input, "weight": weight})
    g = forward_geometry(x.shape, w.shape, stride, padding, dilation, groups, rank)
    b = checked_bias(bias, g.K, x)
    one_of(algorithm, "algorithm", dispatch.ALGORITHMS)
    target = _target(out, g.output_shape, rank, x, w, b)
    batch = _batched(x, rank)
    y = dispatch.forward(g, batch, w, b, target, algorithm)
    result = _delivered(y, out, x, rank)
    dispatch.keep_call(key, "forward", g, (batch, w, y), b, algorithm, result)
    return result


def _conv_transpose(
    rank: int,
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: Ints,
    padding: Pads,
    output_padding: Ints,
    groups: int,
    dilation: Ints,
    *,
    out: Array | None,
    algorithm: str,
) -> Array:
    arguments = (rank, stride, padding, output_padding, groups, dilation, algorithm)
    key = calls.key_of("conv_transpose", input, weight, bias, arguments) if out is None else None
    if (ready := calls.find(key)) is not None:
        return ready(input, weight, bias)
    x, w = checked_pair({"input": input, "weight": weight})
    g = transposed_geometry(
        x.shape, w.shape, stride, padding, output_padding, groups, dilation, rank
    )
    b = checked_bias(bias, g.C, x)
    one_of(algorithm, "algorithm", dispatch.ALGORITHMS)
    target = _target(out, g.input_shape, rank, x, w, b)
    batch = _batched(x, rank)
    y = dispatch.input_gradient(g, w, batch, b, target, algorithm)
    result = _delivered(y, out, x, rank)
    dispatch.keep_call(key, "input_gradient", g, (batch, w, y), b, algorithm, result)
    return result


def _batched(array: Array, rank: int) -> Array:
    return array if array.ndim == rank + 2 else array[np.newaxis]


def _target(
    out: Array | None, shape: tuple[int, ...], rank: int, x: Array, w: Array, b: Array | None
) -> Array | None:
    """Return ``out`` with a batch axis, checked."""
    if out is None:
        return None
    expected = shape if x.ndim == rank + 2 else shape[1:]
    operands = {"input": x, "weight": w}
    if b is not None:
        operands["bias"] = b
    check_out(out, expected, operands)
    return _batched(out, rank)


def _delivered(y: Array, out: Array | None, x: Array, rank: int) -> Array:
    if out is not None:
        return out
    return y if x.ndim == rank + 2 else y[0]
