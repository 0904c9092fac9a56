"""A large result is held against a few channels and a sum of all: no wrong element goes unseen."""

from dataclasses import replace

import numpy as np
import pytest

from bench import suites
from bench.case import LAYOUTS, PASSES, Array, make_case
from bench.expected import FEW, expect
from bench.peers import Ours
from bench.reference import reference, tolerance

LAYER = replace(suites.read_suite("resnet50", 2)[3], C=37, K=41, H=9, W=7)
GROUPED = replace(LAYER, C=60, K=81, groups=3, stride=(2, 1))


def _right(layer: suites.Layer, layout: str, pass_name: str) -> tuple[Array, Array]:
    case = make_case(layer, layout)
    return Ours("direct").prepare(case, pass_name)(), reference(case, pass_name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pass_name", PASSES)
@pytest.mark.parametrize("layer", [LAYER, GROUPED], ids=["plain", "grouped"])
def test_right_result_passes(layer: suites.Layer, pass_name: str, layout: str) -> None:
    result, whole = _right(layer, layout, pass_name)
    expected = expect(make_case(layer, layout), pass_name, whole_flops=0)
    assert expected.mixes is not None
    assert expected.mixes.shape[:2] == (layer.groups, FEW + 1)
    assert expected.error(whole) < 1e-14
    assert 0 < expected.error(result) < tolerance(layer, pass_name)


@pytest.mark.parametrize("pass_name", PASSES)
def test_any_wrong_element_shows(pass_name: str) -> None:
    result, _ = _right(GROUPED, "nchw", pass_name)
    expected = expect(make_case(GROUPED), pass_name, whole_flops=0)
    scale = np.abs(result).max()
    for place in range(0, result.size, 97):
        spoilt = result.copy()
        spoilt.flat[place] += 0.01 * scale
        assert expected.error(spoilt) > tolerance(GROUPED, pass_name), place


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_nan_or_infinity_shows(value: float) -> None:
    result, _ = _right(LAYER, "nchw", "forward")
    expected = expect(make_case(LAYER), "forward", whole_flops=0)
    result[1, 20, 3, 3] = value
    assert expected.error(result) == np.inf


def test_swapped_channels_show() -> None:
    result, _ = _right(LAYER, "nchw", "forward")
    expected = expect(make_case(LAYER), "forward", whole_flops=0)
    assert expected.error(result[:, ::-1]) > 0.1
    assert expected.error(result[..., :-1]) == np.inf


def test_small_layers_are_compared_whole() -> None:
    case = make_case(LAYER)
    assert expect(case, "forward").mixes is None
    assert np.array_equal(expect(case, "forward").values, reference(case, "forward"))
    few = replace(LAYER, K=2 * FEW)
    assert expect(make_case(few), "forward", whole_flops=0).mixes is None
