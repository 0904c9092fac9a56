"""Which kernels plans choose, from geometry, dtype and compute capability alone."""

from typing import Any

import pytest
from cases import Case, simple

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

from cuda_cases import geometry

from fastconv.cuda.convolution import Operands, Plan, make_plan
from fastconv.cuda.tiles import MULTIPROCESSORS, SIMT, HopperTile, SimtTile, quickest

LAYER = simple(64, 128, 128, (28, 28), (3, 3), pad=1)
DEPTHWISE = simple(64, 96, 96, (56, 56), (3, 3), pad=1, groups=96)


def plan(
    case: Case,
    which: str = "forward",
    kind: str = "f32",
    last: bool = False,
    algorithm: str = "auto",
    **how: Any,
) -> Plan:
    g = geometry(case)
    x, w, y = (_steps(shape, last) for shape in (g.input_shape, g.weight_shape, g.output_shape))
    taken = {"forward": (x, w, y), "weight_gradient": (x, y, w), "input_gradient": (y, w, x)}
    return make_plan(which, g, Operands(kind, *taken[which], **how), algorithm)


def _steps(shape: tuple[int, ...], last: bool) -> tuple[int, ...]:
    order = [0, *range(2, len(shape)), 1] if last else list(range(len(shape)))
    steps, step = [0] * len(shape), 1
    for axis in reversed(order):
        steps[axis], step = step, step * shape[axis]
    return tuple(steps)


def kernels(made: Plan) -> list[str]:
    return [step.kernel.name for step in made.program.steps]


def test_float32_stays_on_the_ordinary_cores() -> None:
    assert kernels(plan(LAYER)) == ["staging.pack_weights", "simt.correlate"]


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((8, 0), "tensor.correlate"), ((9, 0), "hopper.correlate"), ((10, 0), "tensor.correlate")],
)
def test_half_kinds_take_the_tensor_cores_of_the_device(
    capability: tuple[int, int], expected: str
) -> None:
    made = plan(LAYER, kind="f16", last=True, capability=capability)
    assert kernels(made) == [expected]  # these weights need no packing


def test_tf32_takes_the_tensor_cores_only_when_allowed() -> None:
    assert "simt.correlate" in kernels(plan(LAYER, tf32=False))
    assert "hopper.correlate" in kernels(plan(LAYER, tf32=True))


def test_channels_first_half_images_are_turned_around_first() -> None:
    names = kernels(plan(LAYER, kind="bf16"))
    assert names == ["staging.channels_last", "staging.pack_blocks", "hopper.correlate"]


def test_unaligned_arrays_are_not_read_in_vectors() -> None:
    names = kernels(plan(LAYER, kind="f16", last=True, aligned=False))
    assert names[0] == "staging.channels_last"
    (_, simt) = plan(LAYER, last=True, aligned=False).program.steps
    assert dict(simt.kernel.constants)["vector"] == 1


def test_tf32_gradients_keep_to_what_every_tensor_core_can() -> None:
    assert "tensor_gradient.weight_gradient" in kernels(plan(LAYER, "weight_gradient", tf32=True))


@pytest.mark.parametrize("which", ["forward", "weight_gradient", "input_gradient"])
def test_depthwise_convolutions_are_computed_directly(which: str) -> None:
    made = plan(DEPTHWISE, which)
    assert made.algorithm == "direct"
    assert all(name.startswith(("depthwise", "staging")) for name in kernels(made))


def test_one_channel_is_no_depthwise_convolution() -> None:
    made = plan(simple(1, 1, 1, (9, 9), (3, 3)), algorithm="direct")
    assert kernels(made) == ["direct.correlation"]


def test_arrays_beyond_32_bits_are_computed_directly() -> None:
    made = plan(simple(1, 2, 1, (40000, 40000), (3, 3)))
    assert made.algorithm == "direct"


def test_large_batches_leave_the_tensor_cores_but_not_im2col() -> None:
    made = plan(simple(4096, 64, 64, (112, 112), (3, 3), pad=1), kind="f16", last=True)
    assert made.algorithm == "im2col"
    assert "simt.correlate" in kernels(made)


def test_strided_input_gradients_multiply_no_zeros() -> None:
    made = plan(simple(8, 64, 64, (28, 28), (3, 3), pad=1, stride=2), "input_gradient")
    products = [s for s in made.program.steps if s.kernel.name == "simt.correlate"]
    assert sorted(step.sizes["slices"] * 8 // 64 for step in products) == [1, 2, 2, 4]


def test_weight_gradients_are_split_by_geometry_alone() -> None:
    (product, total) = plan(LAYER, "weight_gradient").program.steps
    splits = product.grid[2]
    assert splits > 1
    assert total.sizes["splits"] == splits
    size = product.sizes["split_pixels"]
    assert (splits - 1) * size < product.sizes["pixels"] <= splits * size
    # One round of two blocks a multiprocessor, and nearly a whole one.
    assert 0.9 < product.grid[0] * splits / (2 * MULTIPROCESSORS) <= 1


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [(100_000, 128, SimtTile(2, 4)), (100_000, 64, SimtTile(2, 2)), (100_000, 32, SimtTile(4, 1))],
)
def test_tiles_fit_the_channels(rows: int, columns: int, expected: SimtTile) -> None:
    assert quickest(SIMT, rows, columns, 1) == expected


def test_few_blocks_take_smaller_tiles() -> None:
    tiles = {HopperTile(2, 256, 4): 1.0, HopperTile(2, 64, 4): 0.65}
    assert quickest(tiles, 3136, 256, 1) == HopperTile(2, 64, 4)
    assert quickest(tiles, 1_000_000, 256, 1) == HopperTile(2, 256, 4)


@pytest.mark.parametrize("which", ["forward", "weight_gradient"])
def test_a_product_of_too_many_pixels_is_refused(which: str) -> None:
    case = simple(65536, 1, 1, (256, 256), (3, 3), pad=1)
    with pytest.raises(ValueError, match=r"algorithm must be 'direct' .* got 'im2col'"):
        plan(case, which, kind="f16", algorithm="im2col")
    assert plan(case, which, kind="f16").algorithm == "direct"


def test_a_product_of_too_many_groups_is_refused() -> None:
    case = simple(1, 70000, 70000, (4, 4), (3, 3), groups=70000)
    with pytest.raises(ValueError, match="more than 65535 groups"):
        plan(case, algorithm="columns")
    assert plan(case).algorithm == "direct"


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            simple(1, 2, 1, (30000, 30000), (3, 3)),
            "elements from a padded image's first to its last",
        ),
        (
            Case(1, 2, 1, 1, (9, 1024), (3, 3), (2**27, 1), ((2**28, 0), (1, 1)), (1, 1)),
            "elements from a padded image's first to its last",
        ),
        # Rows past the last pixel are marked by a place that such an image would have.
        (simple(1, 1, 1, (2**29 + 8, 1), (3, 1)), "elements along an axis and its padding"),
        (
            Case(1, 1, 1, 1, (2**29 - 8, 1), (30, 1), (1, 1), ((9, 0), (0, 0)), (1, 1)),
            "elements along an axis and its padding",
        ),
    ],
)
@pytest.mark.parametrize("algorithm", ["im2col", "columns"])
def test_images_beyond_a_products_indices_are_refused(
    case: Case, message: str, algorithm: str
) -> None:
    with pytest.raises(ValueError, match=f"algorithm must be 'direct' for .* {message}, got"):
        plan(case, algorithm=algorithm)
    assert plan(case).algorithm == "direct"


@pytest.mark.parametrize("kind", ["f32", "f16"])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col", "columns"])
def test_weights_beyond_32_bits_are_refused(algorithm: str, kind: str) -> None:
    g = geometry(simple(1, 8, 8, (9, 9), (3, 3)))
    arrays = Operands(kind, (648, 1, 72, 8), (2**33, 1, 2**31, 8), (392, 1, 56, 8))
    with pytest.raises(ValueError, match=r"weight must have .* less than 2\*\*31 apart in memory"):
        make_plan("forward", g, arrays, algorithm)


@pytest.mark.parametrize(
    ("capability", "most"), [((8, 0), 163), ((8, 6), 99), ((8, 9), 99), ((12, 0), 99)]
)
def test_tiles_fit_into_the_shared_memory_of_the_device(
    capability: tuple[int, int], most: int
) -> None:
    for which in ("forward", "weight_gradient"):
        made = plan(LAYER, which, kind="f16", last=True, capability=capability)
        assert max(step.shared for step in made.program.steps) <= most << 10
