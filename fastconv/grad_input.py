"""Gradients of convolutions with respect to their inputs, with torch.nn.grad's signatures."""

from collections.abc import Sequence

from . import operations
from ._arguments import Ints, Pads
from ._arrays import AnyArray, Stream


def conv1d_input(
    input_size: Sequence[int],
    weight: AnyArray,
    grad_output: AnyArray,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    out: AnyArray | None = None,
    algorithm: str = "auto",
    stream: Stream = None,
) -> AnyArray:
    """Return the gradient of `conv1d` with respect to its input.

    `conv2d_input` describes the arguments, the errors and the method; here
    there is one spatial axis instead of two.

    Parameters
    ----------
    input_size : tuple of 3 ints, (N, C, W)
    weight : ndarray or device array, shape (K, C // groups, S)
    grad_output : ndarray or device array, shape (N, K, Q)
    stride, dilation : int or tuple of 1 int
    padding : int, tuple of 1 int or one pair ``((before, after),)``
    groups : int
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
    out : ndarray or device array, optional
    algorithm : {"auto", "direct", "im2col", "col2im", "winograd", "depthwise", "listed", "fft"}
    stream : int or stream object, optional

    Returns
    -------
    ndarray or device array, shape (N, C, W)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv1d_input
    >>> conv1d_input((1, 1, 4), np.array([[[1.0, 10.0]]]), np.ones((1, 1, 3)))
    array([[[ 1., 11., 11., 10.]]])
    """
    settings = stride, padding, dilation, groups, padding_mode
    return operations.input_gradient(
        1, input_size, weight, grad_output, settings, out, algorithm, stream
    )


def conv2d_input(
    input_size: Sequence[int],
    weight: AnyArray,
    grad_output: AnyArray,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    out: AnyArray | None = None,
    algorithm: str = "auto",
    stream: Stream = None,
) -> AnyArray:
    """Return the gradient of `conv2d` with respect to its input.

    Parameters
    ----------
    input_size : tuple of 4 ints
        Shape of the input, (N, C, H, W).
    weight : ndarray or device array, shape (K, C // groups, R, S)
        The kernels, as in `conv2d`.
    grad_output : ndarray or device array, shape (N, K, P, Q)
        Gradient with respect to the output, of the weight's dtype.
    stride, dilation : int or tuple of 2 ints
        As in the convolution.
    padding : int, tuple of 2 ints or tuple of 2 pairs
        As in the convolution, but no name; the pairs that "same" stands for will do.
    groups : int
        As in the convolution.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        As in the convolution.
    out : ndarray or device array, optional
        Array for the result, of its shape and dtype and apart from the operands.
    algorithm : {"auto", "direct", "im2col", "col2im", "winograd", "depthwise", "listed", "fft"}
        "auto" chooses by the sizes alone.
    stream : int or stream object, optional
        As in `conv2d`.

    Returns
    -------
    ndarray or device array, shape (N, C, H, W)
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
    1998. Under a padding mode that shows the image, a pixel also gets what its reflections do.
    Of complex arrays, ``weight`` is conjugated, as in the gradients that PyTorch's
    autograd gives; `conv2d`'s transpose without that is `conv_transpose2d`.

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
    settings = stride, padding, dilation, groups, padding_mode
    return operations.input_gradient(
        2, input_size, weight, grad_output, settings, out, algorithm, stream
    )


def conv3d_input(
    input_size: Sequence[int],
    weight: AnyArray,
    grad_output: AnyArray,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    out: AnyArray | None = None,
    algorithm: str = "auto",
    stream: Stream = None,
) -> AnyArray:
    """Return the gradient of `conv3d` with respect to its input.

    `conv2d_input` describes the arguments, the errors and the method; here
    there are three spatial axes instead of two.

    Parameters
    ----------
    input_size : tuple of 5 ints, (N, C, D, H, W)
    weight : ndarray or device array, shape (K, C // groups, T, R, S)
    grad_output : ndarray or device array, shape (N, K, O, P, Q)
    stride, dilation : int or tuple of 3 ints
    padding : int, tuple of 3 ints or tuple of 3 pairs
    groups : int
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
    out : ndarray or device array, optional
    algorithm : {"auto", "direct", "im2col", "col2im", "winograd", "depthwise", "listed", "fft"}
    stream : int or stream object, optional

    Returns
    -------
    ndarray or device array, shape (N, C, D, H, W)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv3d_input
    >>> kernel, grad_output = np.ones((5, 2, 3, 3, 3)), np.ones((1, 5, 2, 2, 2))
    >>> conv3d_input((1, 2, 4, 4, 4), kernel, grad_output).shape
    (1, 2, 4, 4, 4)
    """
    settings = stride, padding, dilation, groups, padding_mode
    return operations.input_gradient(
        3, input_size, weight, grad_output, settings, out, algorithm, stream
    )
