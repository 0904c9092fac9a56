"""What the three pytest-benchmark files share: options, cases, and the check before each time."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from bench import machine, suites
from bench.case import LAYOUTS, Case, make_case
from bench.expected import Expected, expect
from bench.peers import PEERS, Ours, find_peers
from bench.run import WrongResult, check_anchor, checked_error
from fastconv.dispatch import ALGORITHMS

Bench = Callable[[suites.Layer, str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of ``python -m bench`` that make sense here."""
    group = parser.getgroup("fastconv")
    group.addoption("--suite", choices=suites.SUITES, help="default: a few layers of each kind")
    group.addoption("--fc-threads", type=int, default=1, help="threads for ours and each peer")
    group.addoption("--fc-layout", choices=LAYOUTS, default="nchw", help="the arrays' memory")
    group.addoption("--fc-algorithm", choices=ALGORITHMS, default="auto", help="ours")
    group.addoption("--fc-batch", type=int, help="N for every layer, instead of its own")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every layer of the suite, with ours and each peer beside it."""
    if "layer" in metafunc.fixturenames:
        suite, batch = metafunc.config.option.suite, metafunc.config.option.fc_batch
        layers = suites.read_suite(suite, batch) if suite else suites.short_suite(batch)
        contestants = [Ours().name, *(peer.name for peer in find_peers(PEERS)[0])]
        metafunc.parametrize("layer", layers, ids=[layer.name for layer in layers])
        metafunc.parametrize("contestant", contestants)


@functools.lru_cache(maxsize=1)
def _prepared(layer: suites.Layer, layout: str, pass_name: str) -> tuple[Case, Expected]:
    """The arrays and the float64 result: kept for the tests of one group, which follow."""
    case = make_case(layer, layout)
    return case, expect(case, pass_name)


@pytest.fixture(scope="session")
def anchored(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Fail where the worked example is wrong for the dtype: then nothing is timed."""
    algorithm = pytestconfig.option.fc_algorithm

    def check(dtype: str) -> None:
        try:
            check_anchor(dtype, algorithm)
        except WrongResult as error:
            pytest.fail(f"not timed: {error}", pytrace=False)

    return check


@pytest.fixture
def bench(benchmark: Any, pytestconfig: pytest.Config, anchored: Callable[[str], None]) -> Bench:
    """Check one contestant on one layer and pass, then time it."""
    option = pytestconfig.option
    ours = Ours(option.fc_algorithm)
    peers = {peer.name: peer for peer in (ours, *find_peers(PEERS)[0])}

    def run(layer: suites.Layer, contestant: str, pass_name: str) -> None:
        peer = peers[contestant]
        case, expected = _prepared(layer, option.fc_layout, pass_name)
        if not peer.takes(case, pass_name):
            pytest.skip(f"{contestant} does not do this layer")
        anchored(layer.dtype)
        benchmark.group = f"{layer.name} {pass_name}: {layer}"
        with peer.threads(option.fc_threads):
            try:
                call = peer.prepare(case, pass_name)
                error = checked_error(peer, case, pass_name, expected, call)
            except WrongResult as wrong:
                pytest.fail(f"not timed: {wrong}", pytrace=False)
            benchmark(call)
        benchmark.extra_info.update(
            contestant=contestant,
            layout=option.fc_layout,
            threads=option.fc_threads,
            error_vs_float64=error,
            versions=machine.versions(),
            algorithm=ours.explained(case, pass_name).algorithm
            if contestant == ours.name
            else None,
        )
        if benchmark.stats:  # absent under --benchmark-disable
            gflops = layer.geometry.flops / benchmark.stats.stats.median / 1e9
            peak = machine.fma_peak(layer.dtype, option.fc_threads)
            benchmark.extra_info.update(gflops=gflops, percent_of_peak=100 * gflops / peak)

    return run
