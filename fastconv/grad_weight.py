"""Gradients of convolutions with respect to their weights, with torch.nn.grad's signatures."""

# ruff: noqa: A002 - PyTorch calls an argument input

from collections.abc import Sequence

from . import operations
from ._arguments import Ints, Pads
from ._arrays import AnyArray, Stream


def conv1d_weight(
    input: AnyArray,
    weight_size: Sequence[int],
    grad_output: AnyArray,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    per_sample: bool = False,
    out: AnyArray | None = None,
    algorithm: str = "auto",
    stream: Stream = None,
) -> AnyArray:
    """Return the gradient of `conv1d` with respect to its weight.

    `conv2d_weight` describes the arguments, the errors and the method; here
    there is one spatial axis instead of two.

    Parameters
    ----------
    input : ndarray or device array, shape (N, C, W)
    weight_size : tuple of 3 ints, (K, C // groups, S)
    grad_output : ndarray or device array, shape (N, K, Q)
    stride, dilation : int or tuple of 1 int
    padding : int, tuple of 1 int or one pair ``((before, after),)``
    groups : int
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
    per_sample : bool
    out : ndarray or device array, optional
    algorithm : {"auto", "direct", "im2col", "col2im", "winograd", "depthwise", "listed", "fft"}
    stream : int or stream object, optional

    Returns
    -------
    ndarray or device array, shape (K, C // groups, S); (N, K, C // groups, S) if per_sample

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv1d_weight
    >>> signal = np.array([[[1.0, 2.0, 4.0, 8.0]]])
    >>> conv1d_weight(signal, (1, 1, 2), np.ones((1, 1, 3)))
    array([[[ 7., 14.]]])
    """
    settings = stride, padding, dilation, groups, padding_mode
    return operations.weight_gradient(
        1, input, weight_size, grad_output, settings, per_sample, out, algorithm, stream
    )


def conv2d_weight(
    input: AnyArray,
    weight_size: Sequence[int],
    grad_output: AnyArray,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    per_sample: bool = False,
    out: AnyArray | None = None,
    algorithm: str = "auto",
    stream: Stream = None,
) -> AnyArray:
    """Return the gradient of `conv2d` with respect to its weight.

    Parameters
    ----------
    input : ndarray or device array, shape (N, C, H, W)
        The images that were convolved, as in `conv2d`.
    weight_size : tuple of 4 ints
        Shape of the weight, (K, C // groups, R, S).
    grad_output : ndarray or device array, shape (N, K, P, Q)
        Gradient with respect to the output, of the input's dtype.
    stride, dilation : int or tuple of 2 ints
        As in the convolution.
    padding : int, tuple of 2 ints or tuple of 2 pairs
        As in the convolution, but no name; the pairs that "same" stands for will do.
    groups : int
        As in the convolution.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        As in the convolution.
    per_sample : bool
        Whether each sample of the batch has a gradient of its own, as training with
        differential privacy needs, instead of their sum. On NumPy arrays it has the bits
        that it has in a call on the sample alone.
    out : ndarray or device array, optional
        Array for the result, of its shape and dtype and apart from the operands.
    algorithm : {"auto", "direct", "im2col", "col2im", "winograd", "depthwise", "listed", "fft"}
        "auto" chooses by the sizes alone.
    stream : int or stream object, optional
        As in `conv2d`.

    Returns
    -------
    ndarray or device array, shape (K, C // groups, R, S); (N, K, C // groups, R, S) if per_sample
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
    recognition", 1998. Of complex arrays, ``input`` is conjugated, as in the gradients that
    PyTorch's autograd gives (its ``torch.nn.grad`` refuses them).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv2d_weight
    >>> image = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv2d_weight(image, (1, 1, 2, 2), np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.],
             [20., 24.]]]])
    >>> two = np.concatenate([image, -image])
    >>> each = conv2d_weight(two, (1, 1, 2, 2), np.ones((2, 1, 2, 2)), per_sample=True)
    >>> each[1]
    array([[[[ -8., -12.],
             [-20., -24.]]]])
    """
    settings = stride, padding, dilation, groups, padding_mode
    return operations.weight_gradient(
        2, input, weight_size, grad_output, settings, per_sample, out, algorithm, stream
    )


def conv3d_weight(
    input: AnyArray,
    weight_size: Sequence[int],
    grad_output: AnyArray,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    per_sample: bool = False,
    out: AnyArray | None = None,
    algorithm: str = "auto",
    stream: Stream = None,
) -> AnyArray:
    """Return the gradient of `conv3d` with respect to its weight.

    `conv2d_weight` describes the arguments, the errors and the method; here
    there are three spatial axes instead of two.

    Parameters
    ----------
    input : ndarray or device array, shape (N, C, D, H, W)
    weight_size : tuple of 5 ints, (K, C // groups, T, R, S)
    grad_output : ndarray or device array, shape (N, K, O, P, Q)
    stride, dilation : int or tuple of 3 ints
    padding : int, tuple of 3 ints or tuple of 3 pairs
    groups : int
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
    per_sample : bool
    out : ndarray or device array, optional
    algorithm : {"auto", "direct", "im2col", "col2im", "winograd", "depthwise", "listed", "fft"}
    stream : int or stream object, optional

    Returns
    -------
    ndarray or device array, shape (K, C // groups, T, R, S); with N in front if per_sample

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv3d_weight
    >>> volume, grad_output = np.ones((1, 2, 4, 4, 4)), np.ones((1, 5, 2, 2, 2))
    >>> conv3d_weight(volume, (5, 2, 3, 3, 3), grad_output).shape
    (5, 2, 3, 3, 3)
    """
    settings = stride, padding, dilation, groups, padding_mode
    return operations.weight_gradient(
        3, input, weight_size, grad_output, settings, per_sample, out, algorithm, stream
    )
