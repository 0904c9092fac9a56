"""The benchmarks' own parts: layers, reference, timing, and the refusal to time a wrong kernel."""

import gc
import itertools
import json
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from click.testing import CliRunner

from bench import machine, suites
from bench.__main__ import main
from bench.case import LAYOUTS, PASSES, Case, make_case
from bench.checked import WrongResult, check_anchor, checked
from bench.expected import expect
from bench.peers import Ours, find_peers
from bench.recorder import Recorder
from bench.reference import reference, relative_error
from bench.run import Refusal, Row, Settings, run
from bench.timing import Sample, interleaved, ratio, rest
from fastconv import worked_example
from fastconv.roofs import fma_peak

SMOKE = {layer.name: layer for layer in suites.smoke_suite()}
LAYER = SMOKE["lenet5_c1"]


@pytest.mark.parametrize(
    ("suite", "layers", "occurrences"),
    [
        ("resnet50", 20, 53),
        ("deepbench_train", 90, 90),
        ("mobilenet_v1_dw", 9, 13),
        ("everyday", 15, 15),
    ],
)
def test_suite_is_read_whole(suite: str, layers: int, occurrences: int) -> None:
    rows = suites.read_suite(suite)
    assert len(rows) == layers
    assert sum(row.count for row in rows) == occurrences
    assert all(min(row.geometry.output) > 0 for row in rows)


def test_columns_of_every_table_are_understood() -> None:
    by_name = {row.name: row for suite in suites.SUITES for row in suites.read_suite(suite)}
    assert by_name["resnet50_1"].stride == (2, 2)
    assert by_name["resnet50_1"].N == suites.DEFAULT_BATCH
    assert by_name["deepbench_30"].padding == (3, 3)
    assert by_name["mobilenet_dw_2"].groups == 64
    assert by_name["wavenet_dilated"].dilation == (64, 64)
    assert by_name["physics_f64"].dtype == "float64"


def test_batch_shrinks_to_the_memory_budget_and_says_so() -> None:
    layer = suites.read_suite("resnet50")[3]
    small = suites.within_memory(layer, layer.nbytes() // 3)
    assert small.N == 2
    assert "N=2 instead of 8" in small.note
    assert suites.within_memory(layer) is layer


def test_unknown_suite_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs one of resnet50"):
        suites.read_suite("vgg")


def _integer_case(layer: suites.Layer, layout: str) -> Case:
    case = make_case(layer, layout)
    x, w, dy = (np.rint(4 * array) for array in (case.x, case.w, case.dy))
    return replace(case, x=x, w=w, dy=dy)


@pytest.mark.parametrize("name", ["resnext_grouped", "aspp_dilated", "dw_f64", "mobilenet_dw_2"])
def test_reference_agrees_with_the_oracle(name: str) -> None:
    small = replace(SMOKE[name], H=5, W=6)
    case = _integer_case(small, "nchw")
    g = small.geometry
    pads = tuple((p, p) for p in small.padding)
    rest = (small.stride, pads, small.dilation, small.groups)
    expected = {
        "forward": naive.forward(case.x, case.w, None, *rest),
        "weight": naive.weight_gradient(case.x, case.dy, g.kernel, *rest),
        "input": naive.input_gradient(case.w, case.dy, g.input, *rest),
    }
    for pass_name in PASSES:
        assert np.array_equal(reference(case, pass_name), expected[pass_name])


def test_layout_is_that_of_the_memory() -> None:
    nchw, nhwc = (make_case(suites.read_suite("resnet50", 1)[3], layout) for layout in LAYOUTS)
    assert nchw.x.shape == nhwc.x.shape
    assert nchw.x.flags.c_contiguous
    assert nhwc.x.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize(
    "spoil",
    [
        lambda y: y * 1.001,
        lambda y: np.where(np.arange(y.size).reshape(y.shape) == 0, np.nan, y),
        lambda y: y[..., :-1],
    ],
    ids=["off", "nan", "shape"],
)
def test_wrong_value_is_not_timed(spoil: Callable[[Any], Any]) -> None:
    class Wrong(Ours):
        def prepare(self, case: Case, pass_name: str) -> Callable[[], Any]:
            call = super().prepare(case, pass_name)
            return lambda: spoil(call())

    case = make_case(LAYER)
    with pytest.raises(WrongResult, match="lenet5_c1 forward"):
        checked(Wrong(), case, "forward", expect(case, "forward"))


def test_the_first_call_is_timed_before_a_plan_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []

    def noted(name: str) -> None:
        method = getattr(Ours, name)

        def call(self: Ours, *arguments: Any) -> Any:
            order.append(name)
            return method(self, *arguments)

        monkeypatch.setattr(Ours, name, call)

    for name in ("prepare", "explained"):  # the latter compiles
        noted(name)
    (row,) = run([LAYER], [], Settings(passes=("forward",), budget=0.0))
    assert order == ["prepare", "explained"]
    assert isinstance(row, Row)
    assert row.first_calls["fastconv"] > 0


def test_wrong_anchor_refuses_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(worked_example.EXPECTED, "output", ((36, 47), (69, 81)))
    check_anchor.cache_clear()  # of what other tests found right
    outcomes = list(run([replace(LAYER, dtype="float64")], [], Settings(algorithm="im2col")))
    assert [type(outcome) for outcome in outcomes] == [Refusal] * 3
    assert "worked example's output" in outcomes[0].reason  # type: ignore[union-attr]


def test_rest_lasts_until_no_thread_spins() -> None:
    assert rest()
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            pass

    spinner = threading.Thread(target=spin)
    spinner.start()
    try:
        assert not rest(longest=0.05)
    finally:
        stop.set()
        spinner.join()
    assert rest()


def test_rounds_are_shared_and_interleaved() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in ("ours", "peer")}
    enabled = gc.isenabled()
    samples = interleaved(calls, budget=0.0, min_rounds=4)
    assert gc.isenabled() == enabled
    assert [len(sample.seconds) for sample in samples.values()] == [4, 4]
    changes = sum(a != b for a, b in itertools.pairwise(order))
    assert changes >= 4


def test_long_rounds_are_few_and_beaten_contestants_sit_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("bench.timing.time.perf_counter", lambda: now[0])

    def taking(seconds: float) -> Callable[[], None]:
        return lambda: now.__setitem__(0, now[0] + seconds)

    peers = {"peer": taking(1.0), "near": taking(2.0), "far": taking(4.0)}
    for ours in (0.125, 9.0):  # whichever it is, the peers are compared with each other
        calls = {"ours": taking(ours), **peers}
        samples = interleaved(calls, budget=5.0, stays="ours")
        rounds = {name: len(sample.seconds) for name, sample in samples.items()}
        assert rounds == {"ours": 3, "peer": 3, "near": 3, "far": 2}
        assert ratio(samples["ours"], samples["far"]) == pytest.approx(4 / ours)
    patient = interleaved(calls, budget=33.0, stays="ours")
    assert {len(sample.seconds) for sample in patient.values()} == {5}


def test_ratio_is_the_median_of_the_rounds() -> None:
    ours, peer = Sample((1.0, 2.0, 4.0)), Sample((2.0, 2.0, 12.0))
    assert ratio(ours, peer) == 2.0
    assert ours.median == 2.0
    assert ours.spread == pytest.approx(0.75)


def test_peak_is_of_a_plausible_size() -> None:
    single, double = (fma_peak(dtype, 1) for dtype in ("float32", "float64"))
    assert single > 1
    assert single > double


def test_a_run_is_reported_whole(tmp_path: Path) -> None:
    peers, _ = find_peers(("numpy",))
    rows = list(run([LAYER], peers, Settings(budget=0.0)))
    assert all(isinstance(row, Row) and row.ratio and row.percent_of_peak for row in rows)
    path = tmp_path / "figures.json"
    described = machine.describe(("float32",), (1,))
    recorder = Recorder(path, "everyday", described, Settings())
    for outcome in (*rows, Refusal("layer", "forward", 1, "wrong")):
        recorder.add(outcome)
    recorder.finish()
    read = json.loads(path.read_text())
    assert len(read["rows"]) == len(PASSES)
    assert read["rows"][0]["best_peer"] == "numpy"
    for name in ("seconds", "spread", "rounds", "first_calls", "memory", "errors"):
        assert set(read["rows"][0][name]) == {"fastconv", "numpy"}
    assert set(read["rows"][0]["ratio_spread"]) == {"numpy"}
    assert read["rows"][0]["workspace"] == rows[0].workspace >= 0
    g = LAYER.geometry
    elements = sum(math.prod(shape) for shape in (g.input_shape, g.weight_shape, g.output_shape))
    assert read["rows"][0]["nbytes"] == 4 * elements
    assert set(read["geometric_means"]) == {f"{name}, 1 thread" for name in PASSES}
    assert read["refused"][0]["reason"] == "wrong"
    assert read["machine"]["peak_gflops"]["float32"]["1"] > 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--passes", "backward"], "forward,weight,input"),
        (["--threads", "0"], "above 0"),
        (["--layers", "nosuch"], "matches no layer"),
        (["--layers", "("], "no regular expression"),
        (["--suite", "vgg"], "resnet50"),
        (["--suite", "all", "--json", "figures.json"], "one suite"),
        (["--suite", "everyday", "--layers", "image", "--results", "figures"], "whole suites"),
    ],
)
def test_command_line_refuses(arguments: list[str], word: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert word in result.output


def test_command_line_times_and_exits_0(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    command = ["--layers", "worked_example", "--budget", "0", "--peers", "numpy", "--json", path]
    result = CliRunner().invoke(main, [str(part) for part in command])
    assert result.exit_code == 0, result.output
    assert "geometric mean of the ratios, weight, 1 thread" in result.output
    assert len(json.loads(path.read_text())["rows"]) == len(PASSES)


def test_several_suites_make_a_table_each(tmp_path: Path) -> None:
    command = ["--suite", "resnet50,everyday", "--layers", "lenet|_20", "--passes", "forward"]
    result = CliRunner().invoke(
        main, [*command, "--batch", "1", "--budget", "0", "--peers", "numpy"]
    )
    assert result.exit_code == 0, result.output
    assert result.output.index("resnet50_20") < result.output.index("lenet5_c3")
    assert result.output.count("geometric mean of the ratios, forward, 1 thread") == 2


def test_what_an_algorithm_cannot_do_is_left_out() -> None:
    layers = [SMOKE["physics_f64"], SMOKE["convnext_dw7"]]
    outcomes = list(run(layers, [], Settings(algorithm="winograd", timed=False)))
    assert [outcome.layer for outcome in outcomes] == ["physics_f64"] * 3
    assert all(isinstance(outcome, Row) for outcome in outcomes)


def test_command_line_exits_1_when_a_value_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.checked.tolerance", lambda layer, pass_name: -1.0)
    command = ["--layers", "worked_example", "--budget", "0", "--passes", "forward"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "not timed" in result.output


def test_relative_error_of_nothing_is_zero() -> None:
    assert relative_error(np.zeros((0, 3)), np.zeros((0, 3))) == 0.0
