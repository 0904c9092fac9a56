"""Kernels of the GPU benchmark are compiled ahead where there is no GPU."""

from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

from bench.case import PASSES
from bench.gpu.jobs import select
from bench.gpu.prepare import kernels_of, main
from fastconv.cuda.ptx import SIMULATED

if SIMULATED:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)


def test_every_pass_has_kernels_and_none_is_named_twice() -> None:
    jobs = select(("resnet50", "mobilenet_v1_dw"), ("float32", "float16"), PASSES)
    named = kernels_of(jobs, (9, 0))
    modules = {module for module, _, _ in named}
    assert modules >= {"simt", "simt_gradient", "hopper", "hopper_gradient", "depthwise", "staging"}
    assert len(set(named)) == len(named)
    assert "hopper" not in {module for module, _, _ in kernels_of(jobs, (8, 0))}


def test_compiled_kernels_lie_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The processes that compile read the variable when they start.
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    options = ["--suite", "resnet50", "--precision", "float32", "--capability", "8.0", "--smoke"]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0, result.output
    count = int(result.output.split()[0])
    assert len(list(tmp_path.rglob("*.ptx"))) == count >= 3
