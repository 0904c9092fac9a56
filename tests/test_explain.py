"""What `explain` tells is what the plan does."""

import numpy as np
import pytest

import fastconv
from fastconv.explain import DIRECTIONS

# ResNet-50's 3x3 layers: (channels, height and width).
LAYERS = [(64, 56), (128, 28), (256, 14), (512, 7)]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("channels", "size"), LAYERS)
def test_im2col_stays_small(channels: int, size: int, layout: str, direction: str) -> None:
    plan = fastconv.explain(
        (8, channels, size, size),
        (channels, channels, 3, 3),
        padding=1,
        direction=direction,
        layout=layout,
        algorithm="im2col",
    )
    assert 0 < sum(stage.thread_bytes for stage in plan.stages) < 4 * 2**20


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("channels", "size"), LAYERS)
def test_work_is_cut_for_many_threads(
    channels: int, size: int, direction: str, algorithm: str
) -> None:
    plan = fastconv.explain(
        (8, channels, size, size),
        (channels, channels, 3, 3),
        padding=1,
        direction=direction,
        algorithm=algorithm,
    )
    main = max(plan.stages, key=lambda stage: stage.thread_bytes)
    assert main.units >= (32 if algorithm == "im2col" else 64)


def test_counts() -> None:
    plan = fastconv.explain((2, 6, 9, 10), (8, 3, 3, 5), groups=2, dtype=np.float64)
    assert plan.geometry.output_shape == (2, 8, 7, 6)
    assert plan.flops == 2 * 2 * 8 * 7 * 6 * 3 * 3 * 5
    assert plan.bytes == 8 * (2 * 6 * 9 * 10 + 8 * 3 * 3 * 5 + 2 * 8 * 7 * 6)
    assert plan.intensity == plan.flops / plan.bytes


def test_roofline_is_the_lower_roof() -> None:
    plan = fastconv.explain((1, 1, 8, 8), (1, 1, 1, 1))
    assert plan.roofline(100.0, 1.0) == plan.intensity
    assert plan.roofline(0.01, 1.0) == 0.01


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_text_names_what_runs(algorithm: str) -> None:
    text = str(fastconv.explain((1, 4, 8, 8), (16, 4, 3, 3), algorithm=algorithm))
    assert f"forward by {algorithm}: (1, 4, 8, 8) * (16, 4, 3, 3) -> (1, 16, 6, 6)" in text
    assert "correlate" in text
    assert "on 1 thread:" in text


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"direction": "back"}, ValueError, "direction must be"),
        ({"layout": "CHWN"}, ValueError, "layout must be"),
        ({"algorithm": "gemm"}, ValueError, "algorithm must be"),
        ({"dtype": bool}, TypeError, "dtype must be .* or a complex one, got bool"),
        ({"weight_shape": (1, 1)}, ValueError, "weight_shape must have 3, 4 or 5 sizes"),
        ({"weight_shape": (1, 2, 3, 3)}, ValueError, "weight_shape"),
    ],
)
def test_refusals(changes: dict[str, object], error: type[Exception], message: str) -> None:
    arguments: dict[str, object] = {"input_shape": (1, 1, 8, 8), "weight_shape": (1, 1, 3, 3)}
    with pytest.raises(error, match=message):
        fastconv.explain(**(arguments | changes))


@pytest.mark.parametrize(
    ("x", "w", "layout", "direction", "chosen"),
    [
        ((8, 64, 3, 3), (64, 64, 3, 3), "NCHW", "forward", "winograd"),
        ((8, 64, 3, 3), (64, 64, 3, 3), "NHWC", "weight_gradient", "winograd"),
        ((8, 64, 3, 3), (64, 64, 3, 3), "NHWC", "input_gradient", "winograd"),
        ((8, 256, 28, 28), (512, 256, 1, 1), "NCHW", "forward", "im2col"),
        ((8, 256, 28, 28), (512, 256, 1, 1), "NHWC", "forward", "direct"),
        ((8, 256, 28, 28), (512, 256, 1, 1), "NCHW", "weight_gradient", "direct"),
        ((8, 64, 56, 56), (64, 1, 3, 3), "NCHW", "forward", "depthwise"),
        ((8, 3, 224, 224), (64, 3, 7, 7), "NHWC", "input_gradient", "col2im"),
        ((1, 1, 3, 3), (1, 1, 2, 2), "NCHW", "forward", "listed"),
    ],
)
def test_auto_goes_by_geometry(
    x: tuple[int, ...], w: tuple[int, ...], layout: str, direction: str, chosen: str
) -> None:
    groups = x[1] // w[1]
    plan = fastconv.explain(
        x, w, padding=w[2] // 2 % 2, groups=groups, direction=direction, layout=layout
    )
    assert plan.algorithm == chosen


@pytest.mark.parametrize(
    ("layout", "direction", "chosen"),
    [
        ("NCHW", "forward", "im2col"),
        ("NCHW", "input_gradient", "im2col"),
        ("NCHW", "weight_gradient", "direct"),
        ("NHWC", "forward", "direct"),
    ],
)
def test_auto_takes_columns_for_one_tap_of_large_planes(
    layout: str, direction: str, chosen: str
) -> None:
    shapes = (2, 64, 56, 56), (64, 64, 1, 1)
    assert fastconv.explain(*shapes, direction=direction, layout=layout).algorithm == chosen
