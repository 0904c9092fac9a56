"""The same calls to PyTorch and to fastconv: both return the same, or both refuse."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from arrays import Array, integers

import fastconv

torch = pytest.importorskip("torch")

# An even "same" padding makes PyTorch warn of the copy it takes.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

# Spatial sizes of an image, of a kernel that fits, and of a kernel that needs padding.
IMAGE, KERNEL, WIDE = (5, 6, 4), (3, 2, 2), (8, 2, 2)

STEPS: list[Any] = [1, 2, 7, (2,), [2], np.int64(2), 0, -1, 1.0, True, None, "1", (), 2**63]
PADDINGS: list[Any] = [
    0,
    1,
    4,
    (1,),
    [1],
    np.int32(1),
    -1,
    1.0,
    False,
    None,
    (),
    "valid",
    "same",
    "x",
]
FORWARD: list[dict[str, Any]] = [
    *({"stride": value} for value in STEPS),
    *({"dilation": value} for value in STEPS),
    *({"padding": value} for value in PADDINGS),
    *({"groups": value} for value in (2, 3, 4, 0, -1, 1.0, True, None, (1,))),
    {"padding": "same", "dilation": 3},
    {"padding": "same", "stride": 2},
    {"padding": "same", "stride": (1,)},
    {"padding": "valid", "stride": 2},
]


def per_axis(rank: int) -> list[dict[str, Any]]:
    """Settings with one value for each axis, for one too many and for one too few."""
    names = ("stride", "padding", "dilation")
    lengths = (rank, rank + 1, rank - 1) if rank > 2 else (rank, rank + 1)
    return [{name: (2, 1, 1, 1)[:length]} for name, length in product(names, lengths)]


def shapes(rank: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]]:
    """Input and weight shapes with settings: fitting, empty, misfitting, of another rank."""
    image, kernel, wide = IMAGE[:rank], KERNEL[:rank], WIDE[:rank]
    empty, padded = (0, *image[1:]), {"padding": 4}
    yield (2, 4, *image), (6, 4, *kernel), {}
    yield (4, *image), (6, 4, *kernel), {}
    yield (2, 4, *image), (6, 2, *kernel), {"groups": 2}
    yield (2, 4, *image), (4, 1, *kernel), {"groups": 4}
    yield (2, 4, *image), (3, 2, *kernel), {"groups": 2}
    yield (2, 4, *image), (1, 2, *kernel), {"groups": 2}
    yield (2, 4, *image), (6, 3, *kernel), {}
    yield (2, 4, *image), (6, 4, *wide), {}
    yield (2, 4, *image), (6, 4, *wide), padded
    yield (0, 4, *image), (6, 4, *kernel), {}
    yield (0, 4, *image), (6, 4, *wide), {}
    yield (0, 4, *empty), (6, 4, *kernel), padded
    yield (2, 4, *empty), (6, 4, *kernel), padded
    yield (4, *empty), (6, 4, *kernel), padded
    yield (2, 4, *image), (0, 4, *kernel), {}
    yield (2, 4, *image), (6, 4, *kernel[1:], 0), {}
    yield (2, 4, *image, 3), (6, 4, *kernel, 1), {}
    yield image, (6, 4, *kernel), {}
    yield (2, 4, *image), (6, 4, *kernel, 1), {}
    yield (2, 4, *image), (6, *kernel), {}


def rows(rank: int) -> list[Any]:
    """All calls of one rank: shapes with their settings, and settings with fitting shapes."""
    fitting = (2, 4, *IMAGE[:rank]), (6, 4, *KERNEL[:rank])
    changed = [(*fitting, changes) for changes in FORWARD + per_axis(rank)]
    return [(rank, *row) for row in (*shapes(rank), *changed)]


ROWS = [row for rank in (1, 2, 3) for row in rows(rank)]
TRANSPOSED: list[dict[str, Any]] = [
    *({"output_padding": value} for value in (0, 1, (0,), -1, 1.0, True, None, ())),
    {"output_padding": 1, "stride": 2},
    {"output_padding": 2, "stride": 2},
    {"output_padding": 1, "dilation": 2},
    {"output_padding": 2, "stride": 2, "dilation": 3},
    {"output_padding": (1,), "stride": 3, "padding": 2},
    {"padding": 2},
    {"padding": 9},
]
TRANSPOSED_ROWS = ROWS + [
    (rank, (batch, 4, *IMAGE[:rank]), (4, 3, *KERNEL[:rank]), changes)
    for rank in (1, 2, 3)
    for batch in (0, 2)
    for changes in TRANSPOSED
]


# Ours must be one of the first two.
REFUSALS = (TypeError, ValueError, RuntimeError, IndexError)


def theirs(call: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """Return the result of PyTorch's function as a tuple of arrays, or None if it refuses."""
    given = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arguments]
    try:
        return as_arrays(call(*given, **settings))
    except REFUSALS:
        return None


def ours(call: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """Return the result of fastconv's function as a tuple of arrays, or None if it refuses."""
    try:
        return as_arrays(call(*arguments, **settings))
    except REFUSALS[:2]:
        return None


def as_arrays(result: Any) -> tuple[Array | None, ...]:
    results = result if isinstance(result, tuple) else (result,)
    return tuple(None if r is None else np.asarray(r) for r in results)


def assert_agree(expected: Any, actual: Any) -> None:
    """Both refused, or the same arrays to the bit (the operands are small integers)."""
    assert (actual is None) == (expected is None), f"PyTorch: {expected}, fastconv: {actual}"
    if expected is None:
        return
    for theirs, ours in zip(expected, actual, strict=True):
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs, strict=True)


def arrays(*shape_list: tuple[int, ...]) -> list[Array]:
    rng = np.random.default_rng(0)
    return [integers(rng, shape) for shape in shape_list]


@pytest.mark.parametrize(("rank", "input_shape", "weight_shape", "settings"), ROWS)
def test_conv(rank: int, input_shape: Any, weight_shape: Any, settings: dict[str, Any]) -> None:
    name, operands = f"conv{rank}d", arrays(input_shape, weight_shape, weight_shape[:1])
    assert_agree(
        theirs(getattr(torch.nn.functional, name), *operands, **settings),
        ours(getattr(fastconv, name), *operands, **settings),
    )


@pytest.mark.parametrize(("rank", "input_shape", "weight_shape", "settings"), TRANSPOSED_ROWS)
def test_conv_transpose(
    rank: int, input_shape: Any, weight_shape: Any, settings: dict[str, Any]
) -> None:
    groups = settings.get("groups")
    factor = groups if isinstance(groups, int) else 1
    if weight_shape[0] == 6:
        weight_shape = (4, 3, *weight_shape[2:])
    name, bias_shape = f"conv_transpose{rank}d", (weight_shape[1] * max(factor, 0),)
    operands = arrays(input_shape, weight_shape, bias_shape)
    assert_agree(
        theirs(getattr(torch.nn.functional, name), *operands, **settings),
        ours(getattr(fastconv, name), *operands, **settings),
    )


def grad_shape(rank: int, input_shape: Any, weight_shape: Any, settings: dict[str, Any]) -> Any:
    """The shape of the convolution's output; where there is none, any shape will do."""
    operands = arrays(input_shape, weight_shape)
    result = theirs(getattr(torch.nn.functional, f"conv{rank}d"), *operands, **settings)
    return (2, 6, *IMAGE[:rank]) if result is None else result[0].shape


@pytest.mark.parametrize(("rank", "input_shape", "weight_shape", "settings"), ROWS)
def test_gradients(
    rank: int, input_shape: Any, weight_shape: Any, settings: dict[str, Any]
) -> None:
    grad = grad_shape(rank, input_shape, weight_shape, settings)
    x, w, dy = arrays(input_shape, weight_shape, grad)
    weight, image = f"conv{rank}d_weight", f"conv{rank}d_input"
    assert_agree(
        theirs(getattr(torch.nn.grad, weight), x, w.shape, dy, **settings),
        ours(getattr(fastconv, weight), x, w.shape, dy, **settings),
    )
    assert_agree(
        theirs(getattr(torch.nn.grad, image), x.shape, w, dy, **settings),
        ours(getattr(fastconv, image), x.shape, w, dy, **settings),
    )


@pytest.mark.parametrize(
    ("weight_size", "grad_size"),
    [
        ((6, 4, 3, 2), (2, 6, 3, 5)),
        ([6, 4, 3, 2], (2, 6, 3, 5)),
        ((np.int64(6), 4, 3, 2), (2, 6, 3, 5)),
        ((6, 4, 3, 2), (2, 6, 3, 4)),
        ((6, 4, 3, 2), (2, 5, 3, 5)),
        ((6, 4, 3, 2), (6, 3, 5)),
        ((6, 4, 3), (2, 6, 3, 5)),
        ((6, 4, -3, 2), (2, 6, 3, 5)),
        ((6, 4, 3.0, 2), (2, 6, 3, 5)),
        ((True, 4, 3, 2), (2, 1, 3, 5)),
        (6, (2, 6, 3, 5)),
        (None, (2, 6, 3, 5)),
    ],
)
def test_weight_size(weight_size: Any, grad_size: Any) -> None:
    x, dy = arrays((2, 4, 5, 6), grad_size)
    assert_agree(
        theirs(torch.nn.grad.conv2d_weight, x, weight_size, dy),
        ours(fastconv.conv2d_weight, x, weight_size, dy),
    )


BACKWARD: dict[str, Any] = {
    "bias_sizes": [6],
    "stride": (1, 1),
    "padding": (0, 0),
    "dilation": (1, 1),
    "transposed": False,
    "output_padding": (0, 0),
    "groups": 1,
    "output_mask": (True, True, True),
}
MASKS = [{"output_mask": mask} for mask in product((False, True), repeat=3)]
BACKWARD_ROWS: list[dict[str, Any]] = [
    *MASKS,
    {"output_mask": (1, 0, 1)},
    {"output_mask": (True, True)},
    {"output_mask": True},
    *({"bias_sizes": value} for value in (None, [0], [4], [], (6,), 6, "6")),
    *({name: 1} for name in ("stride", "padding", "dilation", "output_padding")),
    {"stride": (1,)},
    {"stride": (1, 1, 1)},
    {"stride": (0, 1)},
    {"padding": "valid"},
    {"padding": (-1, 0)},
    {"output_padding": (0,)},
    {"output_padding": (1, 1)},
    {"output_padding": (-1, 0)},
    {"output_padding": (0, 0, 0)},
    {"transposed": 0},
    {"groups": 0},
    {"groups": 2},
]


@pytest.mark.parametrize("changes", BACKWARD_ROWS)
@pytest.mark.parametrize("transposed", [False, True])
def test_convolution_backward(changes: dict[str, Any], transposed: bool) -> None:
    weight, grad = ((4, 6, 3, 2), (2, 6, 7, 7)) if transposed else ((6, 4, 3, 2), (2, 6, 3, 5))
    operands = arrays(grad, (2, 4, 5, 6), weight)
    settings = {**BACKWARD, "transposed": transposed, **changes}
    assert_agree(
        theirs(torch.ops.aten.convolution_backward, *operands, **settings),
        ours(fastconv.convolution_backward, *operands, **settings),
    )


@pytest.mark.parametrize(
    ("batch", "stride", "output_padding", "dilation", "size"),
    [
        (2, 1, 0, 1, 7),
        (2, 2, 1, 1, 12),
        (0, 2, 1, 1, 12),
        (2, 2, 1, 1, 11),
        (2, 2, 0, 2, 13),
        (2, 2, 2, 3, 17),
        (0, 2, 2, 3, 17),
        (2, 2, 2, 1, 13),
        (0, 2, 2, 1, 13),
    ],
)
def test_backward_of_transposed_geometries(
    batch: int, stride: int, output_padding: int, dilation: int, size: int
) -> None:
    operands = arrays((batch, 6, size), (batch, 4, 5), (4, 3, 3))
    arguments = ([6], [stride], [0], [dilation], True, [output_padding], 2, (True, True, True))
    assert_agree(
        theirs(torch.ops.aten.convolution_backward, *operands, *arguments),
        ours(fastconv.convolution_backward, *operands, *arguments),
    )


@pytest.mark.parametrize("ranks", [(0, 1, 1, 1), (1, 0, 0, 0), (3, 3, 3, 1), (4, 4, 4, 4)])
def test_backward_of_other_ranks(ranks: tuple[int, int, int, int]) -> None:
    grad, image, weight, settings = ranks
    operands = arrays((2, 6, 3, 3, 3, 3)[: grad + 2], (2, 4, 5, 5, 5, 5)[: image + 2])
    operands += arrays((6, 4, 3, 3, 3, 3)[: weight + 2])
    ones, zeros = [1] * settings, [0] * settings
    arguments = (None, ones, zeros, ones, False, zeros, 1, (True, True, True))
    assert_agree(
        theirs(torch.ops.aten.convolution_backward, *operands, *arguments),
        ours(fastconv.convolution_backward, *operands, *arguments),
    )


UNFOLD_ROWS: list[tuple[Any, dict[str, Any]]] = [
    *(
        ((2, 3, 5, 6), {"kernel_size": value})
        for value in (2, (2,), (2, 3), (2, 3, 1), (), 0, 6, 2.0)
    ),
    *(((2, 3, 5, 6), {"kernel_size": 2, "stride": value}) for value in STEPS),
    *(((2, 3, 5, 6), {"kernel_size": 2, "dilation": value}) for value in STEPS),
    *(((2, 3, 5, 6), {"kernel_size": 2, "padding": value}) for value in PADDINGS),
    *((shape, {"kernel_size": 2}) for shape in ((3, 5, 6), (0, 3, 5, 6), (2, 0, 5, 6), (0, 5, 6))),
    *((shape, {"kernel_size": 2, "padding": 2}) for shape in ((2, 3, 0, 6), (3, 0, 6))),
    *((shape, {"kernel_size": 2}) for shape in ((5, 6), (1, 2, 3, 5, 6))),
    (
        (2, 3, 5, 6),
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)},
    ),
]


@pytest.mark.parametrize(("shape", "settings"), UNFOLD_ROWS)
def test_unfold(shape: Any, settings: dict[str, Any]) -> None:
    operands = arrays(shape)
    assert_agree(
        theirs(torch.nn.functional.unfold, *operands, **settings),
        ours(fastconv.unfold, *operands, **settings),
    )


FOLD_ROWS: list[tuple[Any, dict[str, Any]]] = [
    *(
        ((2, 12, 20), {"output_size": value})
        for value in ((5, 6), [5, 6], 5, (5,), (5, 6, 1), 0, -1, 5.0)
    ),
    *(((2, 12, 20), {"stride": value}) for value in (1, (1,), (1, 1), (1, 1, 1), 0, True, 2)),
    *(((2, 12, 20), {"dilation": value}) for value in (1, (1,), 0, 2)),
    *(((2, 12, 20), {"padding": value}) for value in (0, (0, 0), (0,), -1, 1, "same")),
    *(((2, 12, 20), {"kernel_size": value}) for value in (2, (2,), (2, 2), (3, 2), 0, 9)),
    *(
        (shape, {})
        for shape in ((12, 20), (0, 12, 20), (2, 0, 20), (2, 12, 0), (20,), (1, 2, 12, 20))
    ),
    *((shape, {}) for shape in ((2, 11, 20), (2, 12, 19), (12, 19))),
    ((2, 12, 6), {"stride": (2, 3), "padding": (1, 2), "dilation": (2, 1), "kernel_size": (2, 2)}),
    ((2, 12, 12), {"stride": (2, 2), "padding": (1, 1)}),
]


@pytest.mark.parametrize(("shape", "changes"), FOLD_ROWS)
def test_fold(shape: Any, changes: dict[str, Any]) -> None:
    operands = arrays(shape)
    settings = {"output_size": (5, 6), "kernel_size": 2, **changes}
    assert_agree(
        theirs(torch.nn.functional.fold, *operands, **settings),
        ours(fastconv.fold, *operands, **settings),
    )


@pytest.mark.parametrize("bias_shape", [(6,), (4,), (1,), (), (6, 1), (0,)])
def test_bias(bias_shape: tuple[int, ...]) -> None:
    operands = arrays((2, 4, 5), (6, 4, 3), bias_shape)
    assert_agree(
        theirs(torch.nn.functional.conv1d, *operands),
        ours(fastconv.conv1d, *operands),
    )


@pytest.mark.parametrize("position", [0, 1, 2])
def test_mixed_dtypes(position: int) -> None:
    operands = arrays((2, 4, 5), (6, 4, 3), (6,))
    operands[position] = operands[position].astype(np.float32)
    assert_agree(
        theirs(torch.nn.functional.conv1d, *operands),
        ours(fastconv.conv1d, *operands),
    )


# Where fastconv refuses what PyTorch takes, on purpose.


def test_no_channels() -> None:
    """PyTorch's result has no output channels, whatever the weight says."""
    x, w = arrays((2, 0, 5), (6, 0, 3))
    (result,) = theirs(torch.nn.functional.conv1d, x, w)
    assert result.shape == (2, 0, 3)
    with pytest.raises(ValueError, match="input must have no empty axis but N"):
        fastconv.conv1d(x, w)


@pytest.mark.parametrize(("batch", "grad_shape"), [(1, (2, 6, 3)), (0, (0, 6, 2))])
def test_output_gradients_that_do_not_fit(batch: int, grad_shape: tuple[int, ...]) -> None:
    """PyTorch compares no batch sizes, and no sizes at all where the batch is empty."""
    x, dy = arrays((batch, 4, 5), grad_shape)
    (result,) = theirs(torch.nn.grad.conv1d_weight, x, (6, 4, 3), dy)
    assert result.shape == (6, 4, 3)
    with pytest.raises(ValueError, match="grad_output must have shape"):
        fastconv.conv1d_weight(x, (6, 4, 3), dy)


def test_rank_of_a_gradient() -> None:
    """PyTorch takes the rank from the weight and not from the function's name."""
    x, dy = arrays((2, 4, 5, 5), (2, 6, 3, 3))
    (result,) = theirs(torch.nn.grad.conv1d_weight, x, (6, 4, 3, 3), dy)
    assert result.shape == (6, 4, 3, 3)
    with pytest.raises(ValueError, match=r"input must be 3-D \(N, C, W\)"):
        fastconv.conv1d_weight(x, (6, 4, 3, 3), dy)


def _same_numbers(dtype: str, *shapes: tuple[int, ...]) -> tuple[list[Array], list[Any]]:
    """Small integers of a dtype, as our arrays and as tensors; bfloat16 as its bits."""
    rng = np.random.default_rng(7)
    kind = getattr(torch, dtype)
    tensors = [torch.from_numpy(integers(rng, shape)).to(kind) for shape in shapes]
    if dtype.startswith("complex"):
        tensors = [t + 1j * torch.from_numpy(integers(rng, t.shape)) for t in tensors]
        tensors = [t.to(kind) for t in tensors]
    return [_array(t) for t in tensors], tensors


def _array(tensor: Any) -> Array:
    bits = tensor.dtype == torch.bfloat16
    return (tensor.detach().view(torch.uint16) if bits else tensor.detach()).numpy()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "int64", "uint8", "complex64"])
def test_dtypes_agree(dtype: str) -> None:
    (x, w, wt), (tx, tw, twt) = _same_numbers(dtype, (2, 6, 7, 9), (20, 6, 3, 2), (6, 4, 2, 3))
    functional = torch.nn.functional
    with fastconv.options(bfloat16_bits=dtype == "bfloat16"):
        for stride, padding in ((1, 0), (2, 1)):
            ours = fastconv.conv2d(x, w, None, stride, padding)
            np.testing.assert_array_equal(
                ours, _array(functional.conv2d(tx, tw, None, stride, padding))
            )
            if dtype in ("int8", "uint8"):  # PyTorch has no transposed convolution of these
                continue
            ours = fastconv.conv_transpose2d(x, wt, None, stride, padding)
            np.testing.assert_array_equal(
                ours, _array(functional.conv_transpose2d(tx, twt, None, stride, padding))
            )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex128"])
@pytest.mark.parametrize("transposed", [False, True])
def test_gradients_agree_with_autograd(transposed: bool, dtype: str) -> None:
    weight = (6, 4, 3, 2) if transposed else (20, 6, 3, 2)
    (x, w), tensors = _same_numbers(dtype, (2, 6, 7, 9), weight)
    for tensor in tensors:
        tensor.requires_grad_()
    functional = torch.nn.functional
    forward = functional.conv_transpose2d if transposed else functional.conv2d
    y = forward(*tensors, None, 2, 1)
    (dy,), (grad,) = _same_numbers(dtype, tuple(y.shape))
    expected = torch.autograd.grad(y, tensors, grad)
    steps = (2, 2), (1, 1), (1, 1)
    mask = (True, True, False)
    with fastconv.options(bfloat16_bits=dtype == "bfloat16"):
        ours = fastconv.convolution_backward(dy, x, w, None, *steps, transposed, (0, 0), 1, mask)
    for mine, tensor in zip(ours[:2], expected, strict=True):
        np.testing.assert_array_equal(mine, _array(tensor))
