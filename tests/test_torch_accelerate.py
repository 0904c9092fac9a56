"""Models under accelerate(): what runs on fastconv, what stays with PyTorch, and equal results."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner

import fastconv

torch = pytest.importorskip("torch")

from torch.nn import functional as peers  # noqa: E402

from bench.resnet18 import resnet18  # noqa: E402
from bench.torch_training import main as training  # noqa: E402
from fastconv.geometry import forward_geometry  # noqa: E402
from fastconv.torch import accelerate, functional, operators, rule, theirs  # noqa: E402

CONVOLUTION = "GeneratedBackwardFor_fastconv_convolution_defaultBackward"
TRANSPOSED = "GeneratedBackwardFor_fastconv_input_gradient_defaultBackward"


def made_of(y: Any) -> Iterator[str]:
    """The names of all steps of a result's backward pass."""
    waiting, seen = [y.grad_fn], set()
    while waiting:
        step = waiting.pop()
        if step is not None and step not in seen:
            seen.add(step)
            yield step.name()
            waiting += [before for before, _ in step.next_functions]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_resnet18(layout: Any) -> None:
    """Outputs and gradients as PyTorch's but for rounding; most layers on fastconv."""
    torch.manual_seed(0)
    model = resnet18(width=64, classes=10).to(memory_format=layout)
    x = torch.randn(2, 3, 64, 64).contiguous(memory_format=layout)
    target = torch.tensor([3, 7])
    results = []
    for ours in (True, False):
        model.zero_grad()
        image = x.clone().requires_grad_()
        if ours:
            with accelerate():
                y = model(image)
            names = list(made_of(y))
            assert names.count(CONVOLUTION) >= 8
        else:
            y = model(image)
            assert CONVOLUTION not in made_of(y)
        peers.cross_entropy(y, target).backward()
        results.append((y, image.grad, *(p.grad.clone() for p in model.parameters())))
    for found, expected in zip(*results, strict=True):
        assert found.stride() == expected.stride()
        # Rounding gives 1e-5; to gradients, where it turns the sign of a ReLU's input, 1e-2.
        allowed = 1e-4 if found.shape == y.shape else 2e-2
        assert (found - expected).norm() <= allowed * expected.norm()


def image(**settings: Any) -> Any:
    return torch.ones(2, 64, 28, 28, **settings)


def kernels(**settings: Any) -> Any:
    return torch.ones(64, 64, 3, 3, **settings)


def runs_on_fastconv(call: Callable[[], Any]) -> bool:
    """Whether anything was put in the place of a call's convolutions."""
    run: list[str] = []

    def spy(*given: Any) -> Any:
        run.append("ours")
        return original(*given)

    original = functional.conv
    with pytest.MonkeyPatch.context() as patch, accelerate():
        patch.setattr(functional, "conv", spy)
        call()
    return bool(run)


class Subclass(torch.Tensor):
    """Not a plain tensor."""


def autocast() -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return peers.conv2d(image(), kernels())


LEFT_ALONE: dict[str, Callable[[], Any]] = {
    "small": lambda: peers.conv2d(torch.ones(1, 2, 5, 5), torch.ones(2, 2, 3, 3)),
    "no images": lambda: peers.conv2d(image()[:0], kernels()),
    "complex": lambda: peers.conv2d(image(dtype=torch.complex64), kernels(dtype=torch.complex64)),
    "meta": lambda: peers.conv2d(image(device="meta"), kernels(device="meta")),
    "subclass": lambda: peers.conv2d(image().as_subclass(Subclass), kernels()),
    "autocast": autocast,
    "traced": lambda: torch.jit.trace(
        lambda x: peers.conv2d(x, kernels()), image(), check_trace=False
    ),
    "3-D": lambda: peers.conv3d(torch.ones(1, 32, 16, 16, 16), torch.ones(32, 32, 3, 3, 3)),
}


def test_convolutions_that_run_on_fastconv() -> None:
    for call in (
        lambda: peers.conv2d(image(), kernels()),
        lambda: torch.conv2d(image(), weight=kernels(), padding="same"),
        lambda: torch.nn.Conv2d(64, 64, 3)(image()),
        lambda: torch.nn.Conv2d(64, 64, 3, padding_mode="circular", padding=1)(image()[0]),
        lambda: peers.conv1d(torch.ones(8, 64, 200), torch.ones(64, 64, 3)),
        lambda: torch.func.vmap(lambda x: peers.conv2d(x, kernels()))(image()),
    ):
        assert runs_on_fastconv(call)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", LEFT_ALONE)
def test_left_alone(name: str) -> None:
    assert not runs_on_fastconv(LEFT_ALONE[name])


def test_wrong_arguments_are_pytorchs() -> None:
    for call, message in (
        (lambda: peers.conv2d(image(), kernels()[:, :3]), "to have 3 channels, but got 64"),
        (lambda: peers.conv2d(image(), kernels(dtype=torch.float64)), "should be the same"),
        (lambda: peers.conv2d(image(), kernels(), stride=0), "non-positive stride"),
        (lambda: peers.conv2d(image(), kernels(), None, 1, 0, 1, 1, 1), "too many|takes|received"),
    ):
        with accelerate(), pytest.raises((RuntimeError, TypeError), match=message):
            call()
    assert not runs_on_fastconv(
        lambda: peers.conv2d(image()[:, :, :8, :8], kernels()[:, :, :1, :1])
    )


def test_transposed_convolutions() -> None:
    layer, x = torch.nn.ConvTranspose2d(64, 64, 3, 2, 1, 1), torch.randn(2, 64, 14, 14)
    expected = layer(x)
    with accelerate():
        y = layer(x)
    assert y.grad_fn.next_functions[0][0].name() == TRANSPOSED
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_blocks_nest_and_end() -> None:
    x, w = image(), kernels().requires_grad_()
    with accelerate():
        with accelerate(), contextlib.suppress(KeyError), accelerate():
            assert CONVOLUTION in made_of(peers.conv2d(x, w))
            raise KeyError
        assert CONVOLUTION in made_of(peers.conv2d(x, w))
    assert CONVOLUTION not in made_of(peers.conv2d(x, w))


def test_a_block_is_its_threads() -> None:
    """One block for several threads at once, and none for a thread outside."""
    x, w, block = image(), kernels().requires_grad_(), accelerate()
    both = threading.Barrier(2)
    found: dict[str, bool] = {}

    def inside() -> None:
        with block:
            both.wait()
            found["inside"] = CONVOLUTION in made_of(peers.conv2d(x, w))
            both.wait()

    def outside() -> None:
        both.wait()
        found["outside"] = CONVOLUTION in made_of(peers.conv2d(x, w))
        both.wait()

    running = [threading.Thread(target=target) for target in (inside, outside)]
    for thread in running:
        thread.start()
    with block:
        assert CONVOLUTION in made_of(peers.conv2d(x, w))
    for thread in running:
        thread.join()
    assert found == {"inside": True, "outside": False}


def test_passes_are_chosen_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward pass on fastconv whose weight gradient PyTorch calculates."""
    left: list[str] = []

    def spy(*given: Any) -> Any:
        left.append("weight_gradient")
        return original(*given)

    original = theirs.weight_gradient
    monkeypatch.setattr(theirs, "weight_gradient", spy)
    x = torch.randn(4, 3, 64, 64).contiguous(memory_format=torch.channels_last).requires_grad_()
    w = torch.randn(64, 3, 7, 7, requires_grad=True)
    g = forward_geometry((4, 3, 64, 64), (64, 3, 7, 7), 1, 3, 1, 1, 2)
    assert rule.passes(g, torch.float32, True) == ("forward", "input_gradient")
    with accelerate():
        y = peers.conv2d(x, w, padding=3)
    dy = torch.randn_like(y)
    found = torch.autograd.grad(y, (x, w), dy)
    expected = torch.autograd.grad(peers.conv2d(x, w, padding=3), (x, w), dy)
    for gradient, other in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-3, atol=1e-2)
    assert left == ["weight_gradient"]


def sizes(C: int, K: int, size: int, kernel: int, groups: int = 1, N: int = 8) -> Any:
    return forward_geometry(
        (N, C, size, size), (K, C // groups, kernel, kernel), 1, kernel // 2, 1, groups, 2
    )


def test_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    every, none = rule.PASSES, ()
    f32, f64, bf16 = torch.float32, torch.float64, torch.bfloat16
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert rule.passes(sizes(64, 64, 56, 3), f32, False) == every
    assert rule.passes(sizes(64, 64, 56, 3), f32, True) == every
    assert rule.passes(sizes(64, 64, 7, 3, N=1), f32, False) == none
    assert rule.passes(sizes(64, 256, 56, 1), f32, True) == every
    assert rule.passes(sizes(64, 64, 14, 1), f32, False) == none
    assert rule.passes(sizes(256, 256, 56, 3, groups=32), f32, True) == ("weight_gradient",)
    assert rule.passes(sizes(96, 96, 56, 7, groups=96), f32, True) == every
    assert rule.passes(sizes(64, 256, 56, 1), f64, False) == none
    assert rule.passes(sizes(64, 64, 14, 3), bf16, True) == none
    assert rule.passes(sizes(64, 64, 14, 3), torch.complex64, False) == none
    with fastconv.options(winograd=False):
        assert rule.passes(sizes(64, 64, 56, 3), f32, False) == none
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert rule.passes(sizes(64, 256, 56, 1), f32, True) == none
    assert rule.passes(sizes(64, 256, 56, 1), f32, False) == every


def test_without_gradients_the_forward_pass_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule, "passes", lambda *given: ("weight_gradient",))
    assert runs_on_fastconv(lambda: peers.conv2d(image(), kernels()))
    with torch.no_grad():
        assert not runs_on_fastconv(lambda: peers.conv2d(image(), kernels()))


def test_fastest_on_a_gpu_is_pytorchs() -> None:
    class OnDevice(torch.Tensor):
        is_cuda = True

    x, settings = image().as_subclass(OnDevice), ([1, 1], [1, 1, 1, 1], [1, 1], 1)
    assert not rule.ours("forward", x.shape, (64, 64, 3, 3), settings, x, False)


def test_compiled() -> None:
    """fastconv's operators in the compiled graph, which decide when they run."""
    torch._dynamo.reset()
    model = torch.nn.Sequential(torch.nn.Conv2d(64, 64, 3, padding=1), torch.nn.ReLU())
    x, graphs = torch.randn(2, 64, 28, 28), []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=backend, fullgraph=True)
    with accelerate():
        y = compiled(x)
    (graph,) = graphs
    assert "fastconv.convolution" in graph.code
    torch.testing.assert_close(y, model(x), rtol=1e-4, atol=1e-5)
    assert operators.FASTEST in graph.code


def test_benchmark() -> None:
    result = CliRunner().invoke(training, ["--smoke", "--layout", "nchw"])
    assert result.exit_code == 0, result.output


def test_forward_mode_in_compiled_code_is_left_alone() -> None:
    x, w = torch.randn(4, 64, 28, 28), torch.randn(64, 64, 3, 3)

    def tangent(w: Any) -> Any:
        return torch.func.jvp(lambda w: peers.conv2d(x, w), (w,), (w,))[1]

    expected = tangent(w)
    with accelerate():
        found = torch.compile(tangent, backend="aot_eager")(w)
    torch.testing.assert_close(found, expected)


def test_a_wrong_bias_is_pytorchs_to_refuse() -> None:
    x, w = torch.zeros(8, 64, 56, 56), torch.zeros(64, 64, 3, 3)
    with accelerate(), pytest.raises(RuntimeError, match="bias"):
        peers.conv2d(x, w, torch.zeros(5), 1, 1)
