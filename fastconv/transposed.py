"""Transposed convolutions with torch.nn.functional's signatures."""

# ruff: noqa: A002 - PyTorch calls an argument input

from . import operations
from ._arguments import Ints, Pads
from ._arrays import AnyArray, Stream


def conv_transpose1d(
    input: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Ints = 1,
    padding: Pads = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    padding_mode: str = "zeros",
    out: AnyArray | None = None,
    algorithm: str = "auto",
    stream: Stream = None,
) -> AnyArray:
    """Spread each sample of signals over a kernel: conv1d's gradient with respect to its input.

    `conv_transpose2d` describes the arguments, the errors and the method; here there is
    one spatial axis instead of two.

    Parameters
    ----------
    input : ndarray or device array, shape (N, C, W) or (C, W)
    weight : ndarray or device array, shape (C, K // groups, S)
    bias : ndarray or device array, shape (K,), optional
    stride, output_padding, dilation : int or tuple of 1 int
    padding : int, tuple of 1 int or one pair ``((before, after),)``
    groups : int
    padding_mode : {"zeros"}
    out : ndarray or device array, optional
    algorithm : {"auto", "direct", "im2col", "col2im", "winograd", "depthwise", "listed", "fft"}
    stream : int or stream object, optional

    Returns
    -------
    ndarray or device array, shape (N, K, Q) or (K, Q)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv_transpose1d
    >>> conv_transpose1d(np.array([[1.0, 2.0]]), np.array([[[1.0, 10.0]]]))
    array([[ 1., 12., 20.]])
    """
    settings = stride, padding, output_padding, groups, dilation, padding_mode
    return operations.conv_transpose(1, input, weight, bias, settings, out, algorithm, stream)


def conv_transpose2d(
    input: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Ints = 1,
    padding: Pads = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    padding_mode: str = "zeros",
    out: AnyArray | None = None,
    algorithm: str = "auto",
    stream: Stream = None,
) -> AnyArray:
    """Spread each pixel of images over a kernel: conv2d's gradient with respect to its input.

    Parameters
    ----------
    input : ndarray or device array, shape (N, C, H, W) or (C, H, W)
        A batch of images or one image, as in `conv2d`.
    weight : ndarray or device array, shape (C, K // groups, R, S)
        The kernels, of the input's dtype. Note the order: input channels come first.
    bias : ndarray or device array, shape (K,), optional
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
    padding_mode : {"zeros"}
        As in PyTorch, which knows no other here.
    out : ndarray or device array, optional
        Array for the result, of its shape and dtype and apart from the operands.
    algorithm : {"auto", "direct", "im2col", "col2im", "winograd", "depthwise", "listed", "fft"}
        "auto" chooses by the sizes alone.
    stream : int or stream object, optional
        As in `conv2d`.

    Returns
    -------
    ndarray or device array, shape (N, K, P, Q) or (K, P, Q)
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
    settings = stride, padding, output_padding, groups, dilation, padding_mode
    return operations.conv_transpose(2, input, weight, bias, settings, out, algorithm, stream)


def conv_transpose3d(
    input: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Ints = 1,
    padding: Pads = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    padding_mode: str = "zeros",
    out: AnyArray | None = None,
    algorithm: str = "auto",
    stream: Stream = None,
) -> AnyArray:
    """Spread each voxel of volumes over a kernel: conv3d's gradient with respect to its input.

    `conv_transpose2d` describes the arguments, the errors and the method; here there are
    three spatial axes instead of two.

    Parameters
    ----------
    input : ndarray or device array, shape (N, C, D, H, W) or (C, D, H, W)
    weight : ndarray or device array, shape (C, K // groups, T, R, S)
    bias : ndarray or device array, shape (K,), optional
    stride, output_padding, dilation : int or tuple of 3 ints
    padding : int, tuple of 3 ints or tuple of 3 pairs
    groups : int
    padding_mode : {"zeros"}
    out : ndarray or device array, optional
    algorithm : {"auto", "direct", "im2col", "col2im", "winograd", "depthwise", "listed", "fft"}
    stream : int or stream object, optional

    Returns
    -------
    ndarray or device array, shape (N, K, O, P, Q) or (K, O, P, Q)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv_transpose3d
    >>> conv_transpose3d(np.ones((1, 2, 2, 2, 2)), np.ones((2, 5, 3, 3, 3)), stride=2).shape
    (1, 5, 5, 5, 5)
    """
    settings = stride, padding, output_padding, groups, dilation, padding_mode
    return operations.conv_transpose(3, input, weight, bias, settings, out, algorithm, stream)
