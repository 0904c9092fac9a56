"""The weight gradient: ours and each peer, grouped by layer."""

from bench.conftest import Bench
from bench.suites import Layer


def test_weight_gradient(bench: Bench, layer: Layer, contestant: str) -> None:
    bench(layer, contestant, "weight")
