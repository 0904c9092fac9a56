"""Device arrays where no device can be used, and NumPy arrays there."""

import types
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
from fake_device import SETTINGS, Plain, operands, plain
from scripts import run_script

import fastconv
from fastconv import devices


def test_the_cpu_is_used_without_cuda() -> None:
    script = """
import sys, numpy as np, fastconv
fastconv.conv1d(np.ones((1, 1, 4)), np.ones((1, 1, 2)))
fastconv.clear_cache()
print([name for name in ("numba.cuda", "numba_cuda", "cuda", "fastconv.cuda.call", "torch")
       if name in sys.modules])
"""
    assert run_script(script).strip() == "[]"


def test_without_numba_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    devices.backend.cache_clear()
    x, w, _ = plain(*operands())
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"need numba-cuda, .*: run pip install 'fastconv\[cuda"):
        fastconv.conv2d(x, w, **SETTINGS)


def test_versions_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise AttributeError("module 'numba.core' has no attribute 'spam'\nand more")

    devices.backend.cache_clear()
    monkeypatch.setattr(devices, "find_spec", lambda name: True)
    monkeypatch.setattr(devices, "import_module", broken)
    with pytest.raises(RuntimeError, match=r"numba [\d.]+.* do not import .*spam'\): run pip") as e:
        fastconv.unfold(Plain(operands()[0]), 2)
    assert "\n" not in str(e.value)


def test_parts_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise PackageNotFoundError(name)

    devices.backend.cache_clear()
    monkeypatch.setattr(devices, "find_spec", lambda name: True)
    monkeypatch.setattr(devices, "version", missing)
    monkeypatch.setattr(devices, "import_module", missing)
    with pytest.raises(RuntimeError, match=r"cuda-bindings \(not installed\) do not import"):
        fastconv.unfold(Plain(operands()[0]), 2)


def test_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = types.SimpleNamespace(missing_device=lambda: "no driver was found")
    devices.backend.cache_clear()
    monkeypatch.setattr(devices, "find_spec", lambda name: True)
    monkeypatch.setattr(devices, "import_module", lambda name: driver)
    with pytest.raises(RuntimeError, match="and no driver was found: install the driver"):
        fastconv.unfold(Plain(operands()[0]), 2)
