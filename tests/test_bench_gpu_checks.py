"""What the device benchmark checks before it times: values on the host, and other processes."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_fakes import HostBackend

from bench import suites
from bench.case import PASSES
from bench.checked import WrongResult
from bench.gpu import anchor, checks, jobs, small_cases, workload
from bench.gpu.precisions import PRECISIONS
from bench.reference import reference
from fastconv.options import current


def test_check_tells_how_a_process_ended(tmp_path: Path) -> None:
    def ended(source: str, limit: float = 60.0, **environment: str) -> checks.Check:
        return checks.run("it", [sys.executable, "-c", source], limit, tmp_path, **environment)

    assert ended("print('1 passed')").status == "passed"
    failed = ended("import sys; print('a'); print('b'); sys.exit(3)")
    assert (failed.status, failed.summary) == ("failed", "exit status 3: b")
    assert failed.output == ("a", "b")
    stopped = ended("import time; print('begun', flush=True); time.sleep(60)", 2.0)
    assert (stopped.status, stopped.summary) == ("failed", "stopped after 2 s")
    assert stopped.output == ("begun",)
    assert ended("import os; print(os.environ['WORD'])", WORD="given").summary == "given"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("def test_it(): assert 1 == 1", "passed"),
        ("def test_it(): assert 1 == 2", "failed"),
        ("import pytest\n@pytest.mark.skip\ndef test_it(): pass", "not run"),
        (None, "not run"),
    ],
)
def test_cuda_tests_are_run_and_read(tmp_path: Path, body: str | None, status: str) -> None:
    (tmp_path / "tests").mkdir()
    if body is not None:
        (tmp_path / checks.TESTS).write_text(body)
    assert checks.cuda_tests(60, tmp_path).status == status


def test_sanitizer_runs_the_small_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {check.status for check in checks.sanitizers(10)} == {"not run"}
    program = tmp_path / checks.SANITIZER
    program.write_text('#!/bin/sh\necho "$@ with $PYTORCH_NO_CUDA_MEMORY_CACHING"\n')
    program.chmod(0o755)
    memcheck, racecheck = checks.sanitizers(10)
    assert memcheck.status == racecheck.status == "passed"
    assert "--tool memcheck" in memcheck.summary
    assert "--tool racecheck" in racecheck.summary
    assert "-m bench.gpu.small_cases with 1" in racecheck.summary
    memcheck, racecheck = checks.sanitizers(10, few=True)
    assert "-m bench.gpu.small_cases --few with 1" in racecheck.summary
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import time; time.sleep(60)'\n")
    found = checks.sanitizers(1, few=True)
    assert {(check.status, check.summary) for check in found} == {
        ("stopped", "stopped after 1 s; see --sanitize")
    }


@pytest.fixture
def on_host(monkeypatch: pytest.MonkeyPatch) -> Callable[..., HostBackend]:
    """Put fastconv's place in the benchmark to a backend of the host."""

    def use(*arguments: Any) -> HostBackend:
        backend = HostBackend(*arguments)
        monkeypatch.setattr(workload, "fastconv", backend)
        monkeypatch.setattr(anchor, "fastconv", backend)
        return backend

    return use


def _small(suite: str) -> suites.Layer:
    return jobs.select([suite], ["tf32"], ["forward"], smoke=True)[0].layer


@pytest.mark.parametrize("suite", jobs.SUITES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_right_values_pass_both_checks(
    suite: str, precision: str, on_host: Callable[..., HostBackend]
) -> None:
    on_host()
    tensors = workload.LayerTensors(_small(suite), "cpu")
    for pass_name in PASSES:
        ready = workload.Workload(tensors, PRECISIONS[precision], pass_name, "direct")
        errors = ready.check()
        bound = PRECISIONS[precision].tolerance(tensors.layer, pass_name)
        assert errors[workload.OURS] <= bound
        assert errors[workload.PEER] <= bound, "PyTorch's own result is right, too"
        assert ready.calls[workload.OURS]().dtype == ready.calls[workload.PEER]().dtype


@pytest.mark.parametrize("pass_name", PASSES)
def test_reference_is_exact_on_integers(pass_name: str) -> None:
    torch = pytest.importorskip("torch")
    layer = _small("mobilenet_v1_dw")
    case = small_cases.integer_case(layer)
    tensors = workload.mapped(case, "nchw", torch.from_numpy)
    found = workload.reference(torch, tensors, pass_name)
    assert np.array_equal(found.numpy(), reference(case, pass_name))


def _one_off(result: Any) -> Any:
    result.view(-1)[-1] += 1
    return result


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_one_off, "on integers 1 of"),
        (lambda result: result.fill_(float("nan")), "NaN"),
    ],
    ids=["one element", "nan"],
)
def test_wrong_values_are_refused(
    spoil: Callable[[Any], Any], message: str, on_host: Callable[..., HostBackend]
) -> None:
    on_host(spoil)
    tensors = workload.LayerTensors(_small("resnet50"), "cpu")
    ready = workload.Workload(tensors, PRECISIONS["float32"], "forward", "direct")
    with pytest.raises(WrongResult, match=message):
        ready.check()


@pytest.mark.parametrize("pass_name", PASSES)
def test_float32_that_rounds_as_tf32_does_is_refused(
    pass_name: str, on_host: Callable[..., HostBackend]
) -> None:
    """Integers do not show it: the reals do."""
    backend = on_host()
    torch = backend.torch
    exact = {name: getattr(backend, name) for name in ("conv2d", "conv2d_weight", "conv2d_input")}

    def rounded(a: Any) -> Any:
        if not isinstance(a, torch.Tensor):
            return a
        return ((a.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)

    for name, function in exact.items():

        def call(*arguments: Any, function: Any = function, **keywords: Any) -> Any:
            return function(*map(rounded, arguments), **keywords)

        setattr(backend, name, call)
    tensors = workload.LayerTensors(_small("resnet50"), "cpu")
    workload.Workload(tensors, PRECISIONS["tf32"], pass_name, "direct").check()
    with pytest.raises(WrongResult, match="on reals"):
        workload.Workload(tensors, PRECISIONS["float32"], pass_name, "direct").check()


def test_peer_that_raises_is_left_out(
    monkeypatch: pytest.MonkeyPatch, on_host: Callable[..., HostBackend]
) -> None:
    on_host()
    tensors = workload.LayerTensors(_small("resnet50"), "cpu")
    ready = workload.Workload(tensors, PRECISIONS["float32"], "forward", "direct")

    def fail() -> None:
        raise RuntimeError("cuDNN has no engine\nfor this")

    ready.calls[workload.PEER] = fail
    assert list(ready.check()) == [workload.OURS]
    assert list(ready.calls) == [workload.OURS]
    assert ready.note == "torch: RuntimeError: cuDNN has no engine"


def test_layouts_are_those_of_the_precision() -> None:
    torch = pytest.importorskip("torch")
    tensors = workload.LayerTensors(_small("resnet50"), "cpu")
    half, full = (tensors.reals(PRECISIONS[name]) for name in ("bfloat16", "tf32"))
    assert half.x.is_contiguous(memory_format=torch.channels_last)
    assert half.w.is_contiguous(memory_format=torch.channels_last)
    assert full.x.is_contiguous()
    assert (half.x.dtype, full.x.dtype) == (torch.bfloat16, torch.float32)


def test_arithmetic_is_set_and_put_back(on_host: Callable[..., HostBackend]) -> None:
    torch = on_host().torch

    def state() -> tuple[bool, ...]:
        cudnn = torch.backends.cudnn
        return cudnn.benchmark, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = state()
    for name in ("float32", "tf32"):
        with workload.arithmetic(torch, PRECISIONS[name]):
            assert state() == (True, name == "tf32", name == "tf32")
    assert state() == before


def test_tf32_is_allowed_to_ours_too() -> None:
    torch = pytest.importorskip("torch")
    for name in ("float32", "tf32"):
        with workload.arithmetic(torch, PRECISIONS[name]):
            assert current().tf32 == (name == "tf32")
    assert not current().tf32


@pytest.mark.parametrize("precision", PRECISIONS)
def test_worked_example_is_checked_on_tensors(
    precision: str, on_host: Callable[..., HostBackend]
) -> None:
    on_host()
    anchor.check_anchor(PRECISIONS[precision], "im2col", "cpu")
    on_host(_one_off)
    with pytest.raises(WrongResult, match="the worked example's output is"):
        anchor.check_anchor(PRECISIONS[precision], "im2col", "cpu")


def test_small_cases_compare_every_kernel(on_host: Callable[..., HostBackend]) -> None:
    on_host()
    precisions = (PRECISIONS["float32"], PRECISIONS["bfloat16"])
    outcomes = list(small_cases.mismatches("cpu", precisions, ("direct", "im2col")))
    layers = small_cases.small_layers()
    assert len(outcomes) == len(layers) * 2 * 2 * len(PASSES)
    assert not [what for _, what in outcomes if what]
    on_host(_one_off)
    outcomes = list(small_cases.mismatches("cpu", precisions[:1], ("direct",)))
    assert all(what.startswith("1 of ") for _, what in outcomes)


def test_small_cases_go_on_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, on_host: Callable[..., HostBackend]
) -> None:
    backend = on_host()

    def fail(*arguments: Any, **keywords: Any) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(backend, "conv2d", fail)
    outcomes = list(small_cases.mismatches("cpu", (PRECISIONS["tf32"],), ("direct",)))
    failed = [name for name, what in outcomes if what == "RuntimeError: no kernel"]
    assert len(failed) == len(small_cases.small_layers())
    assert all(name.endswith("forward") for name in failed)
