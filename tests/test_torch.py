"""fastconv.torch beside PyTorch: values, gradients, layouts, dtypes, and PyTorch's own checks.

Values are small integers, so that results are equal bit by bit.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from arrays import bfloat16_bits

import fastconv
from fastconv import worked_example
from fastconv.cpu import threads

torch = pytest.importorskip("torch")

from torch.nn import functional as peers  # noqa: E402

import fastconv.torch as ours  # noqa: E402
from fastconv.torch import operators, sizes  # noqa: E402
from fastconv.torch.layout import channels_last  # noqa: E402
from fastconv.torch.passes import FUNCTIONS, OPERATORS  # noqa: E402

pytestmark = [
    # An even "same" padding makes PyTorch warn of the copy it takes.
    pytest.mark.filterwarnings("ignore:Using padding='same'"),
    # PyTorch's forward mode compiles a few decompositions on its first use.
    pytest.mark.filterwarnings("ignore:`torch.jit.script.*:DeprecationWarning"),
]

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def integers(*shape: int, dtype: Any = None, seed: int = 0) -> Any:
    """Small integers, of PyTorch's default dtype."""
    values = np.random.default_rng([seed, *shape]).integers(-4, 5, shape)
    return torch.from_numpy(values).to(dtype or torch.float64)


def reals(*shape: int, dtype: Any = None) -> Any:
    """Random numbers that require grad."""
    made = torch.randn(shape, dtype=dtype or torch.float64, generator=torch.Generator())
    return made.requires_grad_()


def last(tensor: Any) -> Any:
    return tensor.contiguous(memory_format=FORMATS[tensor.ndim])


def sliced(tensor: Any) -> Any:
    """Every second element of a larger tensor."""
    larger = tensor.new_full([2 * size + 1 for size in tensor.shape], torch.nan)
    view = larger[tuple(slice(1, None, 2) for _ in tensor.shape)]
    return view.copy_(tensor)


def turned(tensor: Any) -> Any:
    """The same numbers, the axes in memory the other way round."""
    return tensor.permute(*range(tensor.ndim)[::-1]).contiguous().permute(*range(tensor.ndim)[::-1])


def gradients(y: Any, *leaves: Any) -> tuple[Any, ...]:
    """Of the sum of y with other small integers as factors."""
    return torch.autograd.grad(y, leaves, integers(*y.shape, seed=1).to(y.dtype))


def assert_alike(call: Callable[..., Any], peer: Callable[..., Any], *given: Any) -> None:
    """The same values, gradients and strides."""
    tensors = [tensor.detach().requires_grad_() for tensor in given]
    y, expected = call(*tensors), peer(*tensors)
    assert torch.equal(y, expected)
    assert y.dtype == expected.dtype
    if y.ndim == 5 and channels_last(*(tensor for tensor in given if tensor.ndim == 5)):
        assert y.is_contiguous(memory_format=FORMATS[5])  # which PyTorch gives but sometimes
    elif y.numel():
        assert y.stride() == expected.stride()
    found = gradients(y, *tensors)
    for gradient, other, tensor in zip(found, gradients(expected, *tensors), tensors, strict=True):
        assert torch.equal(gradient, other)
        assert gradient.shape == tensor.shape


def with_settings(call: Callable[..., Any], settings: tuple[Any, ...], *given: Any) -> Any:
    return call(*given, *settings)


CASES: dict[str, tuple[int, tuple[Any, ...], dict[str, Any]]] = {
    "1d": (1, ((2, 4, 9), (6, 2, 3)), {"stride": 2, "padding": 1, "groups": 2}),
    "2d": (2, ((2, 4, 7, 6), (6, 2, 3, 2)), {"stride": (2, 1), "padding": (1, 2), "groups": 2}),
    "3d": (3, ((1, 2, 4, 5, 6), (3, 2, 2, 3, 2)), {"dilation": (1, 1, 2), "padding": 1}),
    "same": (2, ((2, 3, 7, 6), (4, 3, 4, 3)), {"padding": "same"}),
    "depthwise": (2, ((2, 4, 7, 6), (4, 1, 3, 3)), {"groups": 4, "padding": 1}),
    "pointwise": (2, ((2, 4, 7, 6), (5, 4, 1, 1)), {"stride": 2}),
    "no images": (2, ((0, 4, 7, 6), (6, 2, 3, 2)), {"groups": 2}),
    "one channel": (2, ((2, 1, 7, 6), (5, 1, 3, 3)), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_convolutions(name: str) -> None:
    rank, (size, weight_size), settings = CASES[name]
    x, w, b = (
        integers(*shape, dtype=torch.float32) for shape in (size, weight_size, weight_size[:1])
    )

    def call(*given: Any) -> Any:
        return getattr(ours, f"conv{rank}d")(*given, **settings)

    def peer(*given: Any) -> Any:
        return getattr(peers, f"conv{rank}d")(*given, **settings)

    assert_alike(call, peer, x, w, b)
    if rank > 1:
        assert_alike(call, peer, last(x), w, b)
    if name == "2d":
        assert_alike(call, peer, x, w)
        assert_alike(call, peer, sliced(x), turned(w), sliced(b))
        assert_alike(call, peer, x[0], w, b)
        assert_alike(call, peer, x[:1].expand(size), w, b)
    if name in ("2d", "one channel"):
        assert_alike(call, peer, x, last(w), b)
        assert_alike(call, peer, last(x), last(w), b)


def test_a_signal_with_its_channels_last_gives_one_in_c_order() -> None:
    x, w = (
        integers(2, 9, 4, dtype=torch.float32).transpose(1, 2),
        integers(6, 4, 3, dtype=torch.float32),
    )
    assert_alike(ours.conv1d, peers.conv1d, x, w)
    assert ours.conv1d(x, w).is_contiguous()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolutions(rank: int) -> None:
    x, w = integers(2, 4, *(4, 5, 3)[:rank]), integers(4, 3, *(2, 3, 1)[:rank])
    b = integers(6)
    call, peer = (getattr(module, f"conv_transpose{rank}d") for module in (ours, peers))
    every = [(1, 2, 1, 1), (0, 1, 0, 1), (3, 2, 1, 4), (3, 1, 0, 4)]
    for extra, stride, padding, dilation in every if rank == 2 else every[:1]:
        settings = stride, padding, extra, 2, dilation
        mine, theirs = (partial(with_settings, function, settings) for function in (call, peer))
        assert_alike(mine, theirs, x, w, b)
    with pytest.raises(ValueError, match="output_padding must be smaller"):
        call(x, w, None, 1, 0, 1)
    with pytest.raises(ValueError, match=r"bias must have shape \(6,\), got \(5,\)"):
        call(x, w, b[:5], groups=2)
    with pytest.raises(TypeError, match=r"bias must have the dtype of input, torch.float64, got"):
        call(x, w, b.float(), groups=2)
    assert torch.equal(call(x[0], w), peer(x[0], w))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex64", "uint16"])
def test_dtypes(dtype: str) -> None:
    kind = getattr(torch, dtype)
    x, w = (integers(*shape).abs().to(kind) for shape in ((2, 4, 7, 6), (6, 4, 3, 2)))
    wide = torch.complex128 if kind.is_complex else torch.float64
    expected = peers.conv2d(x.to(wide), w.to(wide), padding=1)
    for layout in (torch.contiguous_format, torch.channels_last):
        with fastconv.options(bfloat16_bits=True):  # which is about NumPy's arrays alone
            y = ours.conv2d(x.contiguous(memory_format=layout), w, padding=1)
        assert y.dtype == kind
        assert torch.equal(y, expected.to(kind))
        assert y.is_contiguous(memory_format=layout)


def test_bfloat16_is_the_bits_of_fastconvs() -> None:
    x, w = torch.randn(2, 4, 7, 6).bfloat16(), torch.randn(6, 4, 3, 2).bfloat16()
    bits = [bfloat16_bits(tensor.float().numpy()) for tensor in (x, w)]
    with fastconv.options(bfloat16_bits=True):
        expected = fastconv.conv2d(*bits)
    np.testing.assert_array_equal(ours.conv2d(x, w).view(torch.uint16).numpy(), expected)


def test_conjugates_and_negatives_that_are_marks_of_a_tensor() -> None:
    x, w = (
        torch.complex(integers(*shape), integers(*shape, seed=2))
        for shape in ((2, 4, 7), (6, 4, 3))
    )
    assert torch.equal(ours.conv1d(x.conj(), w.conj()), ours.conv1d(x, w).conj())
    negative = x.conj().imag
    assert negative.is_neg()
    assert torch.equal(ours.conv1d(negative, w.real), -ours.conv1d(x.imag, w.real))


def test_memory_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """No copy on the way in, none on the way out."""
    taken: list[Any] = []

    def spy(*given: Any, **settings: Any) -> Any:
        result = fastconv.conv2d(*given, **settings)
        taken.extend((*given[:3], result))
        return result

    monkeypatch.setattr(operators, "_FORWARD", (None, spy, None))
    for x in (integers(2, 4, 7, 6), last(integers(2, 4, 7, 6)), integers(2, 4, 7, 6).bfloat16()):
        taken.clear()
        w, b = integers(6, 4, 3, 2).to(x.dtype), integers(6).to(x.dtype)
        y = ours.conv2d(x, w, b)
        for tensor, array in zip((x, w, b, y), taken, strict=True):
            assert tensor.data_ptr() == array.__array_interface__["data"][0]


class OnDevice(torch.Tensor):
    """A tensor that says it is on a GPU."""

    is_cuda = True


def test_device_tensors_go_to_fastconv_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its backend for devices reads PyTorch's tensors and makes them; none may require grad."""
    given: list[Any] = []

    def call(*arguments: Any, out: Any = None, **settings: Any) -> Any:
        given.extend(a for a in arguments if isinstance(a, torch.Tensor))
        return settings["algorithm"]

    monkeypatch.setattr(operators, "_FORWARD", (None, call, None))
    x, w, b = (reals(*shape).as_subclass(OnDevice) for shape in ((2, 4, 7, 6), (6, 4, 3, 2), (6,)))
    settings = [1, 1], [0, 0, 0, 0], [1, 1], 1
    assert operators._convolution(x, w, b, *settings, "im2col") == "im2col"
    for tensor, original in zip(given, (x, w, b), strict=True):
        assert tensor.data_ptr() == original.data_ptr()
        assert type(tensor) is OnDevice
        assert not tensor.requires_grad
    registered = torch._C._dispatch_has_kernel_for_dispatch_key
    assert all(registered(f"fastconv::{name}", "CUDA") for name in OPERATORS._fields)


# PyTorch's own checks.

SETTINGS = [2, 1], [1, 0, 2, 1], [1, 1], 2, "auto"
OPERANDS = (2, 4, 7, 6), (6, 2, 3, 2), (2, 6, 3, 8)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", OPERATORS._fields)
def test_operators_pass_opcheck(name: str, layout: Any) -> None:
    x, w, dy = (reals(*shape).detach().contiguous(memory_format=layout) for shape in OPERANDS)
    for tensor in (x, w, dy):
        tensor.requires_grad_()
    arguments = {
        "convolution": (x, w, reals(6)),
        "input_gradient": (list(x.shape), w, dy),
        "weight_gradient": (x, list(w.shape), dy),
    }[name]
    torch.library.opcheck(getattr(OPERATORS, name), (*arguments, *SETTINGS))


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks_pass_opcheck(rank: int) -> None:
    x, w = reals(2, 2, *(4,) * rank), reals(3, 2, *(2,) * rank)
    settings = [1] * rank, [1, 0] * rank, [1] * rank, 1, "auto"
    utils = "test_schema", "test_autograd_registration", "test_faketensor"
    torch.library.opcheck(OPERATORS.convolution, (x, w, None, *settings), test_utils=utils)


def strided(x: Any, w: Any, b: Any) -> Any:
    return ours.conv2d(x, w, b, (2, 1), ((1, 0), (2, 1)), 1, 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradcheck(dtype: Any) -> None:
    leaves = [reals(*shape, dtype=dtype) for shape in ((1, 2, 4, 3), (4, 1, 2, 2), (4,))]
    assert torch.autograd.gradcheck(strided, leaves, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(strided, leaves)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_gradcheck_of_every_rank(rank: int) -> None:
    x, w, b = reals(2, 2, *(3,) * rank), reals(2, 2, *(2,) * rank), reals(2)
    for transposed in (False, True):
        call = getattr(ours, f"conv{'_transpose' * transposed}{rank}d")
        strides = partial(call, stride=2, padding=1)
        assert torch.autograd.gradcheck(strides, (x, w, b))
        assert torch.autograd.gradgradcheck(strides, (x, w, b))


# Transforms of functions.


@pytest.mark.parametrize("groups", [1, 2])
def test_vmap(groups: int) -> None:
    """A batch in any of the operands, and in the gradients."""
    batch, func = 3, torch.func

    def put(shape: tuple[int, ...], axis: int | None) -> Any:
        return integers(*shape) if axis is None else integers(*shape[:axis], batch, *shape[axis:])

    def both(call: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
        def forward(*given: Any) -> Any:
            return call(*given, (2, 1), (1, 2), 1, groups)

        def gradient(*given: Any) -> Any:
            return func.grad(lambda *g: (forward(*g) ** 2).sum(), argnums=(0, 1, 2))(*given)

        return forward, gradient

    shapes = (2, 4, 7, 6), (6, 4 // groups, 3, 2), (6,)
    for axes in ((0, None, None), (None, 1, None), (2, 1, 0), (2, None, 0), (None, None, 0)):
        if any(axis is not None for axis in axes):
            operands = [put(shape, axis) for shape, axis in zip(shapes, axes, strict=True)]
            for mine, theirs_ in zip(both(ours.conv2d), both(peers.conv2d), strict=True):
                found = func.vmap(mine, axes)(*operands)
                expected = func.vmap(theirs_, axes)(*operands)
                found, expected = (r if isinstance(r, tuple) else (r,) for r in (found, expected))
                assert all(map(torch.equal, found, expected)), axes


def test_per_sample_gradients() -> None:
    layer, x = ours.Conv2d(3, 4, 3).double(), integers(5, 3, 6, 6)
    parameters = {name: value.detach() for name, value in layer.named_parameters()}

    def loss(values: Any, image: Any) -> Any:
        return (torch.func.functional_call(layer, values, image.unsqueeze(0)) ** 2).sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    for i, image in enumerate(x):
        expected = torch.autograd.grad(
            loss(dict(layer.named_parameters()), image), layer.parameters()
        )
        for found, gradient in zip(each.values(), expected, strict=True):
            torch.testing.assert_close(found[i], gradient)


def test_forward_mode_and_hessian() -> None:
    x, w, dx, dw = (integers(*s, seed=i) for i, s in enumerate([(1, 2, 4), (2, 2, 2)] * 2))
    for name in ("conv1d", "conv_transpose1d"):
        call, peer = getattr(ours, name), getattr(peers, name)
        found, expected = (torch.func.jvp(c, (x, w), (dx, dw)) for c in (call, peer))
        assert all(map(torch.equal, found, expected))

    def hessian(call: Callable[..., Any]) -> Any:
        return torch.func.hessian(lambda k: (call(x, k) ** 2).sum())(w)

    assert torch.equal(hessian(ours.conv1d), hessian(peers.conv1d))


def test_forward_mode_of_the_gradients() -> None:
    x, w, dy = integers(1, 2, 4), integers(3, 2, 2), integers(1, 3, 3)
    settings = [1], [0, 0], [1], 1, "auto"

    def of_input(w: Any, dy: Any) -> Any:
        return FUNCTIONS.input_gradient([1, 2, 4], w, dy, *settings)

    def of_weight(x: Any, dy: Any) -> Any:
        return FUNCTIONS.weight_gradient(x, [3, 2, 2], dy, *settings)

    for call, given in ((of_input, (w, dy)), (of_weight, (x, dy))):
        _, change = torch.func.jvp(call, given, given)
        assert torch.equal(change, 2 * call(*given))  # linear in each of the two


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_compiled(layout: Any) -> None:
    """In one graph, for all sizes, with the same bits and strides, backwards too."""
    layers = (
        ours.Conv2d(3, 8, 3, padding="same", padding_mode="reflect"),
        ours.Conv2d(8, 4, 3, 2, 1),
    )
    model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1]).to(memory_format=layout)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for size in ((2, 3, 12, 14), (5, 3, 16, 9)):
            x = integers(*size, dtype=torch.float32).contiguous(memory_format=layout)
            leaves = x.requires_grad_(), *model.parameters()
            y, expected = compiled(x), model(x)
            assert torch.equal(y, expected)
            assert y.stride() == expected.stride()
            assert all(map(torch.equal, gradients(y, *leaves), gradients(expected, *leaves)))


@pytest.mark.slow
def test_compiled_by_inductor() -> None:
    """With PyTorch's own compiler, which needs one for C++."""
    torch._dynamo.reset()
    model = torch.nn.Sequential(ours.Conv2d(3, 8, 3), torch.nn.ReLU(), ours.Conv2d(8, 4, 3))
    x = last(torch.randn(2, 3, 12, 14))
    y, expected = torch.compile(model, fullgraph=True)(x), model(x)
    torch.testing.assert_close(y, expected)
    assert y.stride() == expected.stride()


# Layers.


@pytest.mark.parametrize(
    ("rank", "padding", "mode"),
    [
        *product((2,), (1, "same", "valid"), ("zeros", "reflect", "replicate", "circular")),
        (1, "same", "reflect"),
        (3, 1, "circular"),
    ],
)
def test_layers(rank: int, padding: Any, mode: str) -> None:
    """Those of PyTorch, whose state they load."""
    name = f"Conv{rank}d"
    settings = {"padding": padding, "padding_mode": mode, "groups": 2, "dtype": torch.float64}
    layer, peer = (getattr(m, name)(2, 4, 2, **settings) for m in (ours, torch.nn))
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.copy_(integers(*parameter.shape))
    layer.load_state_dict(peer.state_dict())
    x = integers(1, 2, *(4,) * rank)
    assert_alike(layer, peer, x)
    assert torch.equal(layer(x[0]), peer(x[0]))
    for found, other in zip(layer.parameters(), peer.parameters(), strict=True):
        assert torch.equal(gradients(layer(x), found)[0], gradients(peer(x), other)[0])
    assert repr(layer) == repr(peer)
    peer.load_state_dict(layer.state_dict())


def test_a_layer_of_one_algorithm() -> None:
    layer = ours.Conv2d(2, 4, 3, algorithm="direct")
    assert "algorithm=direct" in repr(layer)
    layer(torch.zeros(1, 2, 4, 4)).sum().backward()
    layer.algorithm = "listed"
    with pytest.raises(ValueError, match="'listed'"):
        layer(torch.zeros(8, 2, 40, 40))


class Example(torch.nn.Module):
    """The worked example's convolution and the sum of its output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = ours.Conv2d(1, 1, 2, bias=False)
        self.conv.load_state_dict({"weight": torch.tensor([[worked_example.KERNEL]]).float()})

    def forward(self, x: Any) -> Any:
        return self.conv(x).sum()


def test_worked_example() -> None:
    """As PyTorch's users write it: a Module, MSELoss, and SGD, beside the update by hand."""
    expected = worked_example.EXPECTED
    model, criterion = Example(), torch.nn.MSELoss()
    x = torch.tensor([[worked_example.INPUT]], dtype=torch.float32, requires_grad=True)
    y = model.conv(x)
    y.retain_grad()
    total = y.sum()
    total.retain_grad()
    loss = criterion(total, torch.tensor(float(worked_example.TARGET)))
    loss.backward()
    (kernel,) = model.parameters()
    found = {
        "output": y,
        "total": total,
        "loss": loss,
        "total_gradient": total.grad,
        "grad_output": y.grad,
        "kernel_gradient": kernel.grad,
        "input_gradient": x.grad,
    }
    for name, tensor in found.items():
        assert torch.equal(tensor.squeeze(), torch.tensor(expected[name]).float()), name
    by_hand = kernel - worked_example.LEARNING_RATE * kernel.grad
    torch.optim.SGD(model.parameters(), worked_example.LEARNING_RATE).step()
    for updated in (by_hand, kernel):
        torch.testing.assert_close(updated[0, 0], torch.tensor(expected["sgd_step"]))
    assert float(model(x).detach()) == pytest.approx(
        float(by_hand.detach().mul(y.new_tensor([[12, 16], [24, 28]])).sum())
    )


# Circumstances.


def test_threads_are_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than PyTorch's, and than the caller's options; the same bits from any number."""
    if threads.most() < 2:
        pytest.skip("needs two threads")
    seen: list[int] = []

    def spy(*given: Any, **settings: Any) -> Any:
        seen.append(threads.allowed())
        return fastconv.conv2d(*given, **settings)

    monkeypatch.setattr(operators, "_FORWARD", (None, spy, None))
    x, w = torch.randn(2, 16, 20, 20), torch.randn(16, 16, 3, 3)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        y = ours.conv2d(x, w)
        with fastconv.options(threads=1):
            ours.conv2d(x, w)
        torch.set_num_threads(1)
        assert torch.equal(ours.conv2d(x, w), y)
    finally:
        torch.set_num_threads(before)
    assert seen == [2, 1, 1]


def test_without_gradients() -> None:
    x, w = reals(1, 2, 4), reals(3, 2, 2)
    with torch.no_grad():
        assert not ours.conv1d(x, w).requires_grad
    with torch.inference_mode():
        assert ours.conv1d(torch.ones(1, 2, 4).double(), w).is_inference()
    assert gradients(ours.conv1d(x.detach(), w), w)[0].shape == w.shape
    assert gradients(ours.conv1d(x, w.detach()), x)[0].shape == x.shape


def test_autocast() -> None:
    """Operands become its dtype, but for those of 64 bits."""
    x, w, b = torch.ones(1, 2, 4, 4).bfloat16(), reals(3, 2, 2, 2, dtype=torch.float32), None
    with torch.autocast("cpu", torch.bfloat16):
        for call in (ours.conv2d, ours.conv_transpose2d):
            kernel = w if call is ours.conv2d else w[:2]
            y, expected = call(x, kernel, b), getattr(peers, call.__name__)(x, kernel, b)
            assert y.dtype is expected.dtype is torch.bfloat16
        assert ours.conv2d(x.double(), w.double()).dtype is torch.float64
    y.sum().backward()
    assert w.grad.dtype is torch.float32


def test_errors_are_fastconvs() -> None:
    x, w = torch.ones(1, 2, 4, 4), torch.ones(3, 2, 2, 2)
    with pytest.raises(ValueError, match="input must have 2 channels to go with weight"):
        ours.conv2d(x[:, :1], w)
    with pytest.raises(ValueError, match="grad_output must have shape"):
        OPERATORS.weight_gradient(x, [3, 2, 2, 2], x, [1, 1], [0] * 4, [1, 1], 1, "auto")
    with pytest.raises(
        TypeError, match="weight must have the dtype of input, float32, got float64"
    ):
        ours.conv2d(x, w.double())
    with pytest.raises(TypeError, match="stride must be an integer"):
        ours.conv2d(x, w, stride=1.0)
    with pytest.raises(ValueError, match="algorithm must be one of"):
        ours.conv2d(x, w, algorithm="fast")
    with pytest.raises(NotImplementedError, match="fastconv::convolution"):
        ours.conv2d(x.to_sparse(), w)


def test_arguments_that_equal_known_ones_are_looked_at() -> None:
    x, w = torch.ones(1, 2, 4, 4), torch.ones(3, 2, 2, 2)
    for _ in range(2):
        assert ours.conv2d(x, w, stride=1).shape == (1, 3, 3, 3)
        for wrong in (True, 1.0, (1.0, 1)):
            with pytest.raises(TypeError, match="stride must be"):
                ours.conv2d(x, w, stride=wrong)


def test_few_sizes_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "_MOST", 2)
    monkeypatch.setattr(sizes, "_known", {})
    for width in (4, 5, 6, 4):
        assert ours.conv1d(torch.ones(1, 1, width), torch.ones(1, 1, 2)).shape[2] == width - 1
        assert len(sizes._known) <= 2


@contextmanager
def all_left_to_pytorch() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators.rule, "ours", lambda *sizes: False)
        yield


@pytest.mark.parametrize("name", ["1d", "2d", "3d", "pointwise", "one channel"])
def test_fastest_leaves_single_passes_to_pytorch(name: str) -> None:
    rank, shapes, settings = CASES[name]
    x, w = (integers(*shape, dtype=torch.float32) for shape in shapes)
    call, peer = (getattr(module, f"conv{rank}d") for module in (ours, peers))
    formats = (lambda t: t, last) if rank > 1 else (lambda t: t,)
    for place in formats:
        with all_left_to_pytorch():
            assert_alike(
                lambda *given: call(*given, algorithm="fastest", **settings),
                lambda *given: peer(*given, **settings),
                place(x),
                w,
            )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_samples_of_pytorchs_own_tests() -> None:
    """Values and gradients on every sample that PyTorch tests its functions with; its errors."""
    pytest.importorskip("expecttest", reason="PyTorch's tests need it")
    from torch.testing._internal.common_methods_invocations import op_db

    known = {op.name: op for op in op_db}
    done = 0
    for name in ("conv1d", "conv2d", "conv3d", *(f"conv_transpose{rank}d" for rank in (1, 2, 3))):
        op, call = known[f"nn.functional.{name}"], getattr(ours, name)
        for dtype in (torch.float64, torch.complex128):
            for sample in op.sample_inputs("cpu", dtype, requires_grad=True):
                given = (sample.input, *sample.args)
                y, expected = call(*given, **sample.kwargs), op(*given, **sample.kwargs)
                torch.testing.assert_close(y, expected)
                leaves = [
                    t
                    for t in (*given, *sample.kwargs.values())
                    if isinstance(t, torch.Tensor) and t.requires_grad
                ]
                found, other = (gradients(result, *leaves) for result in (y, expected))
                torch.testing.assert_close(found, other)
                done += 1
        for wrong in op.error_inputs("cpu") if op.error_inputs_func else ():
            sample = wrong.sample_input
            with pytest.raises((TypeError, ValueError, RuntimeError)):
                call(sample.input, *sample.args, **sample.kwargs)
    assert done > 100


def test_transforms_around_compiled_code() -> None:
    x, w = integers(2, 3, 6, 6), integers(4, 3, 3, 3)
    plain = lambda w: ours.conv2d(x, w).sum()  # noqa: E731
    compiled = torch.compile(plain, backend="aot_eager")
    expected = torch.func.grad(plain)(w)
    torch.testing.assert_close(torch.func.grad(compiled)(w), expected)
    tangent = torch.func.jvp(compiled, (w,), (w,))[1]
    torch.testing.assert_close(tangent, torch.func.jvp(plain, (w,), (w,))[1])


def test_transforms_inside_compiled_code_break_the_graph() -> None:
    """PyTorch's operators would give tangents of zero there: see `passes`."""
    x, w = integers(2, 3, 6, 6), integers(4, 3, 3, 3)
    tangent = lambda w: torch.func.jvp(lambda w: ours.conv2d(x, w), (w,), (w,))[1]  # noqa: E731
    gradient = torch.func.grad(lambda w: ours.conv2d(x, w).square().sum())
    for plain in (tangent, gradient):
        torch.testing.assert_close(torch.compile(plain, backend="aot_eager")(w), plain(w))
    with pytest.raises(Exception, match="compil"):
        torch.compile(tangent, backend="aot_eager", fullgraph=True)(w)


def test_a_tangent_of_the_gradient_alone() -> None:
    """The forward pass ran before there was any forward mode."""
    x, w = integers(2, 3, 6, 6), integers(4, 3, 3, 3).requires_grad_()
    results = []
    for conv in (ours.conv2d, peers.conv2d):
        y = conv(x, w)
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(torch.ones_like(y), y.detach())
            (dw,) = torch.autograd.grad(y, w, dual)
            results.append(torch.autograd.forward_ad.unpack_dual(dw).tangent)
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64])
def test_fastest_for_what_pytorch_does_not_know(dtype: Any) -> None:
    x, w = integers(2, 3, 6, 6, dtype=dtype), integers(4, 3, 3, 3, dtype=dtype)
    y = ours.conv2d(x, w, algorithm="fastest")
    torch.testing.assert_close(y, ours.conv2d(x, w))
    z = ours.conv_transpose2d(y, w, algorithm="fastest")
    torch.testing.assert_close(z, ours.conv_transpose2d(y, w))


def test_all_of_a_transposed_result_beyond_the_kernel() -> None:
    x, w, b = integers(1, 2, 1, 1), integers(2, 3, 1, 1), integers(3)
    settings = {"dilation": 3, "output_padding": 2, "padding": 1}
    made = ours.conv_transpose2d(x, w, b, **settings)
    torch.testing.assert_close(made, peers.conv_transpose2d(x, w, b, **settings))
