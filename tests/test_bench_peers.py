"""The benchmarks' contestants: right values, the layouts they take, and the threads they use."""

import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from scripts import run_script

from bench import suites
from bench.case import LAYOUTS, PASSES, make_case
from bench.checked import checked
from bench.expected import expect
from bench.peers import PEERS, Ours, Peer, algorithms, find_peers, jax

SMOKE = {layer.name: layer for layer in suites.smoke_suite()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pass_name", PASSES)
def test_every_peer_computes_what_the_reference_does(layout: str, pass_name: str) -> None:
    peers, _ = find_peers(PEERS)
    for layer in SMOKE.values():
        case = make_case(layer, layout)
        expected = expect(case, pass_name)
        for peer in (Ours("direct"), *peers):
            if peer.takes(case, pass_name):
                with peer.threads(2):
                    checked(peer, case, pass_name, expected)


@pytest.mark.parametrize("pass_name", PASSES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_peers_that_take_halves(dtype: str, pass_name: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    peers, _ = find_peers(PEERS)
    case = make_case(replace(SMOKE["lenet5_c1"], dtype=dtype))
    expected = expect(case, pass_name)
    able = [peer for peer in peers if peer.takes(case, pass_name)]
    for peer in (Ours(), *able):
        checked(peer, case, pass_name, expected)
    assert [peer.name for peer in able] in ([], ["torch"])


def test_a_missing_library_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    # JAX is started once a process, before or after this test.
    monkeypatch.setattr(jax, "_started", jax._started.__wrapped__)
    for module in ("torch", "jax", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    peers, missing = find_peers(PEERS)
    assert {peer.name for peer in peers} == {"scipy fft", "scipy", "numpy"}
    assert missing == [
        f"{name} is not installed: no figures beside it" for name in ("torch", "jax", "onnxruntime")
    ]


def test_ours_takes_what_its_algorithm_can_do() -> None:
    case = make_case(SMOKE["lenet5_c1"])
    assert not Ours("listed").takes(case, "forward")
    assert Ours("im2col").takes(case, "forward")
    assert Ours().takes(case, "forward")
    assert "winograd" in algorithms(make_case(SMOKE["physics_f64"]), "weight")


def _peer(name: str) -> Peer:
    pytest.importorskip(name)
    peers, missing = find_peers((name,))
    assert not missing
    return peers[0]


def test_jax_workers_keep_to_as_many_cores_as_threads() -> None:
    peer = _peer("jax")
    cores = os.sched_getaffinity(0)
    workers = peer._workers  # type: ignore[attr-defined]
    assert workers
    with peer.threads(1):
        assert {len(os.sched_getaffinity(worker)) for worker in workers} == {1}
    assert all(os.sched_getaffinity(worker) == cores for worker in workers)
    assert os.sched_getaffinity(0) == cores


def test_onnx_runtime_makes_as_many_threads_as_it_is_given() -> None:
    peer = _peer("onnxruntime")
    case = make_case(SMOKE["batch_of_one"])
    before = len(os.listdir("/proc/self/task"))
    with peer.threads(1):
        one = peer.prepare(case, "forward")
        assert len(os.listdir("/proc/self/task")) == before
    with peer.threads(3):
        three = peer.prepare(case, "forward")
        assert len(os.listdir("/proc/self/task")) == before + 2  # the caller is the third
    assert np.array_equal(one(), three())


def test_onnx_runtime_takes_what_it_has_an_operator_for() -> None:
    peer = _peer("onnxruntime")
    single, double = SMOKE["batch_of_one"], SMOKE["physics_f64"]
    assert [peer.takes(make_case(single), name) for name in PASSES] == [True, False, True]
    assert not peer.takes(make_case(single, "nhwc"), "forward")
    assert not peer.takes(make_case(double), "forward")


@pytest.mark.isa
def test_held_to_avx2_in_a_child_process() -> None:
    script = """
import sys
from bench.isa import held, run_held
print(held(), flush=True)
sys.exit(run_held("avx2", "tests.held_child", []))
"""
    lines = run_script(script).splitlines()
    assert lines == ["native", "avx2 256"]
