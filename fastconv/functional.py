"""Convolutions with torch.nn.functional's signatures, and the padding modes of its modules."""

# ruff: noqa: A002 - PyTorch calls an argument input

from . import operations
from ._arguments import Ints, Padding
from ._arrays import AnyArray, Stream


def conv1d(
    input: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: str | None = None,
    out: AnyArray | None = None,
    algorithm: str = "auto",
    stream: Stream = None,
) -> AnyArray:
    """Convolve signals with kernels (cross-correlation, as in neural networks).

    `conv2d` describes the arguments, the errors and the method; here there is one
    spatial axis instead of two.

    Parameters
    ----------
    input : ndarray or device array, shape (N, C, W) or (C, W)
    weight : ndarray or device array, shape (K, C // groups, S)
    bias : ndarray or device array, shape (K,), optional
    stride, dilation : int or tuple of 1 int
    padding : int, tuple of 1 int, one pair ``((before, after),)``, "valid" or "same"
    groups : int
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
    activation : {None, "relu"}
    out : ndarray or device array, optional
    algorithm : {"auto", "direct", "im2col", "col2im", "winograd", "depthwise", "listed", "fft"}
    stream : int or stream object, optional

    Returns
    -------
    ndarray or device array, shape (N, K, Q) or (K, Q)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv1d
    >>> signal = np.array([[1.0, 2.0, 4.0, 8.0]])
    >>> conv1d(signal, np.array([[[-1.0, 1.0]]]))
    array([[1., 2., 4.]])
    """
    settings = stride, padding, dilation, groups, padding_mode
    return operations.conv(1, input, weight, bias, settings, activation, out, algorithm, stream)


def conv2d(
    input: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: str | None = None,
    out: AnyArray | None = None,
    algorithm: str = "auto",
    stream: Stream = None,
) -> AnyArray:
    """Convolve images with kernels (cross-correlation, as in neural networks).

    Parameters
    ----------
    input : ndarray or device array, shape (N, C, H, W) or (C, H, W)
        A batch of images or one image, any strides. A NumPy array of any of the dtypes
        below, or another library's in host memory, which is not copied: a CPU tensor of
        PyTorch, or what has ``__array_interface__``, the buffer protocol or DLPack. Or a
        CUDA array of Numba, CuPy, PyTorch, JAX or any library that has
        ``__cuda_array_interface__`` or DLPack, of float16, bfloat16, float32 or float64.
    weight : as input, shape (K, C // groups, R, S)
        The kernels, of the input's dtype and on its device.
    bias : as input, shape (K,), optional
        Added to each output channel; of the input's dtype and on its device.
    stride : int or tuple of 2 ints
        Step from one kernel position to the next, per axis.
    padding : int, tuple of 2 ints, tuple of 2 pairs, "valid" or "same"
        Pixels added at both ends of each axis. A pair ``(before, after)`` per axis, which
        PyTorch does not have, sets the two ends apart. "valid" is 0; "same" gives
        output the input's size, needs stride 1, and puts an odd pixel at the end.
    dilation : int or tuple of 2 ints
        Step from one kernel element to the next, per axis.
    groups : int
        Number of equal parts into which the channels are cut; the k-th part of the
        output sees only the k-th part of the input.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the added pixels show, as in PyTorch's modules: zeros; the image mirrored about
        its outermost pixels, of which it must have more than are added; its outermost pixels;
        or what lies at its other end, so that at most its size is added.
    activation : {None, "relu"}
        "relu" makes negative results zero on their way to memory, after the bias: Keras'
        argument, in the time of the convolution alone. NaN stays NaN. For NumPy arrays.
    out : as input, optional
        Array for the result, of its shape and dtype and apart from the operands.
    algorithm : {"auto", "direct", "im2col", "col2im", "winograd", "depthwise", "listed", "fft"}
        "auto" chooses by the sizes alone. Another that cannot do a call says why not. Device
        arrays take "direct", "im2col" and "columns": im2col with the columns stored, there for
        comparison.
    stream : int or stream object of PyTorch, CuPy, Numba or cuda.core, optional
        For device arrays: the CUDA stream to run on, by its handle or as an object, after
        what the arrays' own streams have been given. The caller orders it with others.
        Otherwise the stream that the first array names, or its library's current one.
        The host never waits.

    Returns
    -------
    ndarray or the input's kind of array, shape (N, K, P, Q) or (K, P, Q)
        ``out`` if given. Else a new array, a Numba device array for libraries other than
        those named, with its channels contiguous in memory if the input's are (NHWC), in
        C order otherwise. Along each axis
        ``P = (H + before + after - dilation * (R - 1) - 1) // stride + 1``.

    Raises
    ------
    TypeError
        For an argument of a wrong kind: no array (as a list is none), a masked array, a
        dtype other than those above, mixed dtypes, host and device arrays mixed, a bool or
        float for an integer.
    ValueError
        For a wrong value: shapes that do not fit each other, an empty axis other than
        N, a kernel larger than the padded input, an ``out`` that cannot be used, device
        arrays on different devices, a tensor that requires grad.
    RuntimeError
        For device arrays where the GPU, its driver or the ``cuda`` extra is missing.

    Notes
    -----
    The result has the operands' dtype. On NumPy arrays:

    - float32 and float64 are computed as they are.
    - float16 and bfloat16 (ml_dtypes' type, or uint16 under
      ``options(bfloat16_bits=True)``) are added up in float32 and rounded once, to nearest
      even: an error of half a unit in the last place, and float32's own beside it. Where
      the processor multiplies pairs of bfloat16 (AVX512-BF16), "auto" and "direct" may use
      that instruction, which takes subnormal factors for zeros.
    - Integers, signed or not, of 8 to 64 bits are exact modulo 2 to the number of bits: sums
      wrap as NumPy's do, in int8 beyond 127. bool is refused.
    - complex64 and complex128 are not conjugated.

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
    >>> conv2d(image, kernel, padding=((1, 0), (0, 0)), padding_mode="circular")
    array([[[[ 7.,  9.],
             [ 4.,  6.],
             [10., 12.]]]])
    """
    settings = stride, padding, dilation, groups, padding_mode
    return operations.conv(2, input, weight, bias, settings, activation, out, algorithm, stream)


def conv3d(
    input: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: str | None = None,
    out: AnyArray | None = None,
    algorithm: str = "auto",
    stream: Stream = None,
) -> AnyArray:
    """Convolve volumes with kernels (cross-correlation, as in neural networks).

    `conv2d` describes the arguments, the errors and the method; here there are three
    spatial axes instead of two.

    Parameters
    ----------
    input : ndarray or device array, shape (N, C, D, H, W) or (C, D, H, W)
    weight : ndarray or device array, shape (K, C // groups, T, R, S)
    bias : ndarray or device array, shape (K,), optional
    stride, dilation : int or tuple of 3 ints
    padding : int, tuple of 3 ints, tuple of 3 pairs, "valid" or "same"
    groups : int
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
    activation : {None, "relu"}
    out : ndarray or device array, optional
    algorithm : {"auto", "direct", "im2col", "col2im", "winograd", "depthwise", "listed", "fft"}
    stream : int or stream object, optional

    Returns
    -------
    ndarray or device array, shape (N, K, O, P, Q) or (K, O, P, Q)

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import conv3d
    >>> conv3d(np.ones((1, 2, 4, 4, 4)), np.ones((5, 2, 3, 3, 3)), padding=1).shape
    (1, 5, 4, 4, 4)
    """
    settings = stride, padding, dilation, groups, padding_mode
    return operations.conv(3, input, weight, bias, settings, activation, out, algorithm, stream)
