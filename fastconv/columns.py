"""unfold and fold with torch.nn.functional's signatures: images to columns and back."""

# ruff: noqa: A002 - PyTorch calls an argument input

from typing import Any

from ._arguments import Ints, Pads
from ._arrays import AnyArray, Stream
from .dispatch import open_call
from .geometry import fold_geometry, unfold_geometry


def unfold(
    input: AnyArray,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Pads = 0,
    stride: Ints = 1,
    *,
    stream: Stream = None,
) -> AnyArray:
    """Copy what a kernel sees at each of its positions into one column each.

    Parameters
    ----------
    input : ndarray or device array, shape (N, C, H, W) or (C, H, W)
        A batch of images or one image, as in `conv2d`.
    kernel_size : int or tuple of 2 ints
        R and S.
    dilation : int or tuple of 2 ints
        Step from one kernel element to the next, per axis.
    padding : int, tuple of 2 ints or tuple of 2 pairs
        Zeros at both ends of each axis; a pair ``(before, after)`` per axis, which
        PyTorch does not have, sets the two ends apart.
    stride : int or tuple of 2 ints
        Step from one kernel position to the next, per axis.
    stream : int or stream object, optional
        As in `conv2d`.

    Returns
    -------
    ndarray or device array, shape (N, C * R * S, L) or (C * R * S, L)
        A new array in C order; L is the number of kernel positions. Rows are ordered by
        channel, kernel row and kernel column, columns by row and column of the position.

    Raises
    ------
    TypeError
        For an argument of a wrong kind: no array that `conv2d` takes, a bool or float
        for an integer.
    ValueError
        For a wrong value: a shape that is not an image's, an empty axis other than N,
        a kernel larger than the padded input.

    Notes
    -----
    The columns are those of im2col: Chellapilla, Puri and Simard, "High performance
    convolutional neural networks for document processing", 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import unfold
    >>> unfold(np.arange(6.0).reshape(1, 2, 3), kernel_size=2)
    array([[0., 1.],
           [1., 2.],
           [3., 4.],
           [4., 5.]])
    """
    settings = kernel_size, dilation, padding, stride
    call = open_call("unfold", {"input": input}, settings, stream=stream)
    if (known := call.repeat()) is not None:
        return known[0]
    (x,) = call.operands()
    columns: Any = call.unfold(unfold_geometry(x.shape, *settings))
    call.keep()
    return columns


def fold(
    input: AnyArray,
    output_size: Ints,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Pads = 0,
    stride: Ints = 1,
    *,
    stream: Stream = None,
) -> AnyArray:
    """Add columns, one per kernel position, back into images.

    Each pixel is the sum of all column elements that `unfold` would have copied from it,
    so ``fold`` is the gradient of ``unfold``, and not its inverse where positions overlap.

    Parameters
    ----------
    input : ndarray or device array, shape (N, C * R * S, L) or (C * R * S, L)
        Columns as `unfold` gives them, in the forms of arrays that `conv2d` takes.
    output_size : int or tuple of 2 ints
        H and W.
    kernel_size, dilation, padding, stride, stream
        As for `unfold`.

    Returns
    -------
    ndarray or device array, shape (N, C, H, W) or (C, H, W)
        A new array in C order.

    Raises
    ------
    TypeError
        As for `unfold`.
    ValueError
        For a wrong value: rows that are no multiple of R * S, a number of columns other
        than the number of kernel positions, an empty axis other than N.

    Notes
    -----
    Terms are added in the order of the kernel's elements, so results are the same from
    run to run.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import fold
    >>> fold(np.ones((4, 2)), output_size=(2, 3), kernel_size=2)
    array([[[1., 2., 1.],
            [1., 2., 1.]]])
    """
    settings = output_size, kernel_size, dilation, padding, stride
    call = open_call("fold", {"input": input}, settings, stream=stream)
    if (known := call.repeat()) is not None:
        return known[0]
    (x,) = call.operands()
    images: Any = call.fold(fold_geometry(x.shape, *settings))
    call.keep()
    return images
