"""What the three pytest-benchmark files share: options, cases, and the check before each time."""

import functools
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from bench import machine, suites
from bench.benchmark_json import without_clock
from bench.case import LAYOUTS, Case, make_case
from bench.checked import WrongResult, check_anchor, checked
from bench.expected import Expected, expect
from bench.figure import speed, subject
from bench.peers import PEERS, Ours, find_peers
from fastconv.dispatch import ALGORITHMS

Bench = Callable[[suites.Layer, str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of ``python -m bench`` that make sense here."""
    group = parser.getgroup("fastconv")
    group.addoption(
        "--suite",
        choices=(*suites.SUITES, suites.SHORT_SUITE),
        default=suites.SHORT_SUITE,
        help="default: a few layers of each kind",
    )
    group.addoption("--fc-threads", type=int, default=1, help="threads for ours and each peer")
    group.addoption("--fc-layout", choices=LAYOUTS, default="nchw", help="the arrays' memory")
    group.addoption("--fc-algorithm", choices=ALGORITHMS, default="auto", help="ours")
    group.addoption("--fc-batch", type=int, help="N for every layer, instead of its own")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every layer of the suite, with ours and each peer beside it."""
    if "layer" in metafunc.fixturenames:
        suite, batch = metafunc.config.option.suite, metafunc.config.option.fc_batch
        names = [layer.name for layer in suites.read_suite(suite, batch)]
        contestants = [Ours().name, *(peer.name for peer in find_peers(PEERS)[0])]
        metafunc.parametrize("layer", names, indirect=True)  # --benchmark-group-by param:layer
        metafunc.parametrize("contestant", contestants)


@pytest.fixture
def layer(request: pytest.FixtureRequest) -> suites.Layer:
    """The layer of a name, from the suite asked for."""
    option = request.config.option
    layers = suites.read_suite(option.suite, option.fc_batch)
    return next(layer for layer in layers if layer.name == request.param)


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Say what the report needs of the machine, all of it the same from run to run."""
    what = machine.identity()
    machine_info.update(without_clock(machine_info), device=what.pop("device"), fastconv=what)


@functools.lru_cache(maxsize=1)
def _prepared(layer: suites.Layer, layout: str, pass_name: str) -> tuple[Case, Expected]:
    """The arrays and the float64 result: kept for the tests of one group, which follow."""
    case = make_case(layer, layout)
    return case, expect(case, pass_name)


@pytest.fixture
def bench(benchmark: Any, pytestconfig: pytest.Config) -> Bench:
    """Check one contestant on one layer and pass, then time it."""
    option = pytestconfig.option
    threads = option.fc_threads
    ours = Ours(option.fc_algorithm)
    peers = {peer.name: peer for peer in (ours, *find_peers(PEERS)[0])}

    def run(layer: suites.Layer, contestant: str, pass_name: str) -> None:
        peer = peers[contestant]
        case, expected = _prepared(layer, option.fc_layout, pass_name)
        if not (ours.takes(case, pass_name) and peer.takes(case, pass_name)):
            pytest.skip(f"{contestant} does not do this layer")
        benchmark.group = f"{layer.name} {pass_name}: {layer}"
        with peer.threads(threads), ours.threads(threads):
            try:
                found = checked(peer, case, pass_name, expected, weighed=benchmark.enabled)
                plan = ours.explained(case, pass_name)
                for algorithm in dict.fromkeys((ours.algorithm, plan.algorithm)):
                    check_anchor(layer.dtype, algorithm)
            except WrongResult as wrong:
                pytest.fail(f"not timed: {wrong}", pytrace=False)
            benchmark(found.call)
        benchmark.extra_info.update(
            asdict(subject(case, pass_name, threads, plan)),
            suite=option.suite,
            contestant=contestant,
            error=found.error,
            first_call=found.first_call,
            memory=found.memory,
        )
        if benchmark.stats:  # absent under --benchmark-disable
            seconds = benchmark.stats.stats.median
            benchmark.extra_info.update(asdict(speed(case, pass_name, threads, plan, seconds)))

    return run
