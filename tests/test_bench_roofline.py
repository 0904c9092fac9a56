"""Why a figure is low: told from geometry where that explains it, and plainly unknown elsewhere."""

from dataclasses import replace
from typing import Any

import pytest

from bench import suites, summary
from bench.roofline import lane_use, low_reason
from bench.run import Row

LAYERS = {layer.name: layer for name in suites.SUITES for layer in suites.read_suite(name)}
LARGE = LAYERS["resnet50_4"]


@pytest.mark.parametrize(
    ("gflops", "bound", "reason"),
    [
        (70.0, 100.0, None),
        (69.0, 100.0, "no reason known"),
        (69.0, 71.0, "no reason known"),
        (30.0, 40.0, "bandwidth bound (at most 40 GFLOP/s)"),
    ],
)
def test_reason_of_a_large_layer(gflops: float, bound: float, reason: str | None) -> None:
    assert low_reason(LARGE, "forward", 16, gflops, 100.0, bound) == reason


def test_small_layers_need_no_reason() -> None:
    assert low_reason(LAYERS["lenet5_c1"], "forward", 16, 1.0, 100.0, 100.0) is None


def test_lanes_that_no_axis_fills() -> None:
    narrow = replace(LARGE, N=1000, C=17, K=17, H=4, W=4, padding=(0, 0))
    assert lane_use(narrow, "forward", 16) == 17 / 32
    assert lane_use(narrow, "input", 16) == 1  # its 16 pixels
    assert lane_use(narrow, "weight", 16) == 153 / 160  # a kernel's weights
    large = replace(narrow, N=20_000)
    assert low_reason(large, "forward", 16, 50.0, 100.0, 60.0) == (
        "bandwidth bound (at most 60 GFLOP/s), lane remainder (at most 53 % of the lanes)"
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet50_4", "3x3, stride 1"),
        ("resnet50_6", "1x1"),
        ("resnet50_1", "other"),
        ("aspp_dilated", "other"),
        ("deepbench_13", "other"),
        ("mobilenet_dw_1", "depthwise"),
        ("resnext_grouped", "grouped"),
    ],
)
def test_kind_of_layer(name: str, kind: str) -> None:
    assert LAYERS[name].kind == kind


def row(**changes: Any) -> Row:
    """A row of plain figures."""
    figures: dict[str, Any] = {
        "layer": "resnet50_4",
        "shape": str(LARGE),
        "kind": LARGE.kind,
        "dtype": "float32",
        "pass_name": "forward",
        "layout": "nchw",
        "threads": 1,
        "algorithm": "direct",
        "count": 3,
        "flops": LARGE.geometry.flops,
        "nbytes": 1000,
        "workspace": 500,
        "note": "",
        "errors": {},
        "first_calls": {"fastconv": 4.0, "torch": 5.0},
        "memory": {"fastconv": 2000, "torch": None},
        "seconds": {"fastconv": 2.0, "torch": 3.0},
        "spread": {"fastconv": 0.1, "torch": 0.2},
        "rounds": {"fastconv": 5, "torch": 5},
        "ratios": {"torch": 1.5},
        "ratio_spread": {"torch": 0.05},
        "best_peer": "torch",
        "gflops": 50.0,
        "peak_gflops": 100.0,
        "copy_gbytes_per_second": 20.0,
        "percent_of_peak": 50.0,
        "bound_gflops": 80.0,
        "percent_of_bound": 62.5,
        "low_reason": None,
    }
    return Row(**(figures | changes))


def test_slower_cases_are_listed_slowest_first() -> None:
    rows = [
        row(),
        row(ratios={"torch": 0.9}),
        row(layer="resnet50_8", pass_name="input", threads=2, ratios={"torch": 0.5}),
        row(ratios={}, best_peer=None),
    ]
    assert list(summary.slower_lines(rows)) == [
        "slower than a peer: 2 of 4",
        "    resnet50_8 input, 2 thr.: 0.50 x torch",
        "    resnet50_4 forward, 1 thr.: 0.90 x torch",
    ]
    assert not list(summary.slower_lines([row()]))


def test_low_layers_are_listed_with_their_reason() -> None:
    rows = [row(), row(low_reason="no reason known")]
    assert list(summary.low_lines(rows)) == [
        "under 70 % of the peak, of more than 50 MFLOP: 1 of 2",
        "    resnet50_4 forward, 1 thr. (direct): 50 % of the peak, 62 % of the bound: "
        "no reason known",
    ]
