"""The arguments of ``jax.lax.conv_general_dilated``, made one of fastconv's passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fastconv._arguments import Pairs, integer, items_of, one_of, per_axis, sequence, shown
from fastconv._arrays import checked_array, checked_dtype
from fastconv.geometry import forward_geometry, transposed_geometry

from .operation import Axes, Operation, settings_in_force
from .primitive import apply

Ints: TypeAlias = tuple[int, ...]


def conv_general_dilated(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Any:
    """Convolve as ``jax.lax.conv_general_dilated`` does, on the CPU, by fastconv's kernels.

    Parameters
    ----------
    lhs : jax.Array
        Images, signals or volumes: one to three spatial axes.
    rhs : jax.Array
        Kernels, of the dtype of lhs.
    window_strides : sequence of ints
    padding : "SAME", "SAME_LOWER", "VALID" or sequence of pairs of ints
        A negative number crops.
    lhs_dilation : sequence of ints, optional
        With strides of 1 this is a transposed convolution and computed as such; with others,
        zeros are put between the pixels and multiplied.
    rhs_dilation : sequence of ints, optional
    dimension_numbers : tuple of 3 strings or ConvDimensionNumbers, optional
        Where the axes are: ``("NCHW", "OIHW", "NCHW")`` by default; ``("NHWC", "HWIO", "NHWC")``
        and any other order are computed as they lie.
    feature_group_count, batch_group_count : int
    precision : optional
        Any that JAX knows; sums are as exact as the dtype for all of them.
    preferred_element_type : dtype, optional
        The result's dtype. Operands of a narrower one are computed in it.

    Returns
    -------
    jax.Array

    Raises
    ------
    TypeError, ValueError
        As `fastconv.conv2d` does, when the call is traced: also for a result that would be empty,
        which JAX allows.

    Notes
    -----
    Differentiable to any order, in forward and in reverse mode: every derivative is one of
    fastconv's passes. Under ``jax.vmap`` a batch of images makes the batch axis longer, and a
    batch of kernels makes more output channels, or groups. Works under ``jax.jit``, on the CPU
    alone. The settings of `fastconv.options` are those where the call is traced.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from fastconv.jax import conv_general_dilated
    >>> x = jnp.arange(9.0).reshape(1, 1, 3, 3)
    >>> w = jnp.array([[[[1.0, 0.0], [0.0, 1.0]]]])
    >>> conv_general_dilated(x, w, (1, 1), "VALID").tolist()
    [[[[4.0, 6.0], [10.0, 12.0]]]]
    >>> loss = jax.jit(lambda w: conv_general_dilated(x, w, (1, 1), "VALID").sum())
    >>> jax.grad(loss)(w).tolist()
    [[[[8.0, 12.0], [20.0, 24.0]]]]
    """
    x, w = _array(lhs, "lhs"), _array(rhs, "rhs")
    rank = x.ndim - 2
    if rank not in (1, 2, 3):
        raise ValueError(f"lhs must have one to three spatial axes, got shape {x.shape}")
    x_axes, w_axes, y_axes = _axes(x.shape, w.shape, dimension_numbers)
    strides = _integers(window_strides, "window_strides", rank)
    x_steps = _integers(lhs_dilation, "lhs_dilation", rank)
    w_steps = _integers(rhs_dilation, "rhs_dilation", rank)
    _check_precision(precision)
    x, w, result_dtype = _in_one_dtype(x, w, preferred_element_type)
    spatial = _ordered(x, x_axes)[2:], _ordered(w, w_axes)[2:]
    pads = _pads(padding, *spatial, strides, x_steps, w_steps)
    groups = integer(feature_group_count, "feature_group_count", 1)
    batch_groups = integer(batch_group_count, "batch_group_count", 1)
    if batch_groups > 1:
        x, groups = _batch_groups(x, x_axes, batch_groups, groups)
    if max(x_steps) > 1 and max(strides) == 1:
        y = _transposed(x, w, (x_axes, w_axes, y_axes), x_steps, pads, w_steps, groups)
    else:
        x, pads = _dilated_and_cropped(x, x_axes, x_steps, pads)
        shapes = _ordered(x, x_axes), _ordered(w, w_axes)
        g = forward_geometry(*shapes, strides, pads, w_steps, groups, rank, ("lhs", "rhs"))
        layout = (("x", x_axes), ("w", w_axes), ("y", y_axes))
        y = apply(Operation("y", g, layout, settings_in_force()), x, w)
    return y if result_dtype is None else y.astype(result_dtype)


def _array(value: Any, name: str) -> Any:
    """An array of JAX's, or of NumPy's as one."""
    if not (isinstance(value, jax.Array) or type(value) in (np.ndarray, np.memmap)):
        raise TypeError(f"{name} must be a jax.Array or a numpy.ndarray, got {_kind(value)}")
    if isinstance(value, np.ndarray):
        checked_array(value, name)  # JAX makes others of some dtypes
    return jnp.asarray(value)


def _axes(x_shape: Ints, w_shape: Ints, numbers: Any) -> tuple[Axes, Axes, Axes]:
    if len(w_shape) != len(x_shape):
        raise ValueError(f"rhs must have the axes of lhs, of shape {x_shape}, got shape {w_shape}")
    try:
        x, w, y = lax.conv_dimension_numbers(x_shape, w_shape, numbers)
        return tuple(x), tuple(w), tuple(y)
    except Exception as error:  # JAX looks at letters one by one
        raise ValueError(
            "dimension_numbers must be None, three strings such as ('NCHW', 'OIHW', 'NCHW') or "
            f"ConvDimensionNumbers, got {shown(numbers)} ({_kind(numbers)})"
        ) from error


def _integers(value: Sequence[int] | None, name: str, rank: int) -> tuple[int, ...]:
    if value is None:
        return (1,) * rank
    return per_axis(sequence(value, name), name, rank, 1, broadcast=False)


def _check_precision(precision: Any) -> None:
    """Refuse what is no precision of JAX's; the sums here are exact enough for any."""
    items = items_of(precision)
    if items is not None and len(items) != 2:
        raise ValueError(f"precision must be one, or a pair of them, got {shown(precision)}")
    for one in (precision,) if items is None else items:
        if one is None or isinstance(one, (lax.DotAlgorithm, lax.DotAlgorithmPreset)):
            continue
        try:
            lax.Precision(one)
        except Exception as error:
            raise ValueError(
                f"precision must be one that JAX knows, got {shown(one)} ({_kind(one)})"
            ) from error


def _kind(value: Any) -> str:
    return type(value).__name__


def _in_one_dtype(x: Any, w: Any, preferred: Any) -> tuple[Any, Any, Any]:
    """The operands in the dtype to compute in, and the result's dtype if it is another."""
    if x.dtype != w.dtype:
        raise TypeError(
            f"rhs must have the dtype of lhs, {x.dtype}, got {w.dtype}: "
            f"convert it, for example with rhs.astype(lhs.dtype)"
        )
    checked_dtype(x.dtype, "lhs")
    if preferred is None:
        return x, w, None
    wanted = jax.dtypes.canonicalize_dtype(checked_dtype(preferred, "preferred_element_type"))
    wide = jnp.promote_types(x.dtype, wanted)
    return x.astype(wide), w.astype(wide), None if wide == wanted else wanted


def _pads(
    padding: Any, x_size: Ints, w_size: Ints, strides: Ints, x_steps: Ints, w_steps: Ints
) -> Pairs:
    """The padding of each axis, as JAX reads it."""
    items = items_of(padding)
    if items is not None:
        pairs = [items_of(item) or () for item in items]
        if len(pairs) != len(x_size) or any(len(pair) != 2 for pair in pairs):
            need = f"{len(x_size)} (low, high) pairs"
            raise ValueError(f"padding must be {need}, got {shown(padding)}")
        least, need = -(2**62), "(low, high) pairs of integers"
        low_high = (tuple(integer(n, "padding", least, need) for n in pair) for pair in pairs)
        return tuple((low, high) for low, high in low_high)
    name = str.upper(padding) if issubclass(type(padding), str) else padding
    padding = one_of(name, "padding", ("SAME", "SAME_LOWER", "VALID"))
    if max(x_steps) > 1:
        raise ValueError(f"padding must be (low, high) pairs with lhs_dilation, got {padding!r}")
    reach = [(size - 1) * step + 1 for size, step in zip(w_size, w_steps, strict=True)]
    return tuple(lax.padtype_to_pads(x_size, reach, strides, padding))


def _batch_groups(x: Any, axes: Axes, count: int, groups: int) -> tuple[Any, int]:
    """Groups of images as groups of channels: of both, the kernels of a group see one each."""
    if groups != 1:
        raise ValueError(
            f"feature_group_count must be 1 for batch_group_count={count}, got {groups}"
        )
    if x.shape[axes[0]] % count:
        raise ValueError(
            f"lhs must have a batch divisible by batch_group_count={count}, got shape {x.shape}"
        )
    at, channels = axes[:2]
    split = x.reshape(*x.shape[:at], count, x.shape[at] // count, *x.shape[at + 1 :])
    moved = jnp.moveaxis(split, at, channels)
    both = count * x.shape[channels]
    return moved.reshape(*moved.shape[:channels], both, *moved.shape[channels + 2 :]), count


def _dilated_and_cropped(x: Any, axes: Axes, steps: Ints, pads: Pairs) -> tuple[Any, Pairs]:
    """The images with zeros between their pixels and without what a negative padding crops."""
    if max(steps) == 1 and min(map(min, pads)) >= 0:
        return x, pads
    edges = [(0, 0, 0)] * x.ndim
    for axis, step, (low, high) in zip(axes[2:], steps, pads, strict=True):
        edges[axis] = (min(low, 0), min(high, 0), step - 1)
    changed = lax.pad(x, jnp.zeros((), x.dtype), edges)
    return changed, tuple((max(low, 0), max(high, 0)) for low, high in pads)


def _transposed(
    x: Any,
    w: Any,
    axes: tuple[Axes, Axes, Axes],
    steps: Ints,
    pads: Pairs,
    dilation: Ints,
    groups: int,
) -> Any:
    """The convolution of images with zeros between their pixels, none of which is multiplied.

    It is the input gradient of a convolution of stride ``steps`` whose kernels are these, turned
    round, with input and output channels exchanged.
    """
    x_axes, w_axes, y_axes = axes
    w, w_axes = _exchanged(lax.rev(w, w_axes[2:]), w_axes, groups)
    w_shape = _ordered(w, w_axes)
    reach = [(size - 1) * step for size, step in zip(w_shape[2:], dilation, strict=True)]
    cut = tuple(
        (max(r - low, 0), max(r - high, 0)) for r, (low, high) in zip(reach, pads, strict=True)
    )
    x_shape, rank = _ordered(x, x_axes), len(steps)
    g = transposed_geometry(x_shape, w_shape, steps, cut, 0, groups, dilation, rank)
    layout = (("x", y_axes), ("w", w_axes), ("y", x_axes))
    y = apply(Operation("x", g, layout, settings_in_force()), x, w)
    edges = [(0, 0, 0)] * y.ndim  # of zeros that no kernel element reaches
    for axis, r, (low, high) in zip(y_axes[2:], reach, pads, strict=True):
        edges[axis] = (max(low - r, 0), max(high - r, 0), 0)
    return y if not any(map(any, edges)) else lax.pad(y, jnp.zeros((), y.dtype), edges)


def _exchanged(w: Any, axes: Axes, groups: int) -> tuple[Any, Axes]:
    """Kernels with output and input channels exchanged, within each group, and their axes."""
    if groups == 1:
        return w, (axes[1], axes[0], *axes[2:])
    ordered = w.transpose(axes)
    K, C, *kernel = ordered.shape
    split = ordered.reshape(groups, K // groups, C, *kernel).swapaxes(1, 2)
    return split.reshape(groups * C, K // groups, *kernel), tuple(range(w.ndim))


def _ordered(array: Any, axes: Axes) -> tuple[int, ...]:
    """The shape of an array with its axes in the order (N, C, ...)."""
    return tuple(array.shape[axis] for axis in axes)
