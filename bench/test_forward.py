"""The forward: ours and each peer, grouped by layer."""

from bench.conftest import Bench
from bench.suites import Layer


def test_forward(bench: Bench, layer: Layer, contestant: str) -> None:
    bench(layer, contestant, "forward")
