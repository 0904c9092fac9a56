"""The command line prints the worked example and the facts about this machine."""

import ctypes
from dataclasses import replace

import numba
import pytest
from arrays import DTYPES
from cases import WITH_AUTO
from scripts import run_script

import fastconv
from fastconv import __main__ as command
from fastconv import machine
from fastconv.worked_example import AnchorError


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    command.main(arguments)
    return capsys.readouterr().out


def test_as_a_module() -> None:
    script = "import runpy; runpy.run_module('fastconv', run_name='__main__')"
    lines = run_script(script).splitlines()
    assert lines[0] == f"fastconv {fastconv.__version__}: the worked example, float32, auto"
    assert all(line == line.rstrip() and len(line) <= 100 for line in lines)


@pytest.mark.parametrize("algorithm", WITH_AUTO)
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers(capsys: pytest.CaptureFixture[str], dtype: str, algorithm: str) -> None:
    text = printed(capsys, "--dtype", dtype, "--algorithm", algorithm)
    assert f"{dtype}, {algorithm}" in text
    for numbers in ("36  47", "69  80", "232", "48   64", "96  112", "2.52  1.36", "0.04  3.88"):
        assert numbers in text
    assert "different" not in text
    assert "Every number is what it must be." in text


def test_pytorch_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    lines = printed(capsys).splitlines()
    compared = [line for line in lines if line.endswith("same")]
    assert len(compared) == 11
    output = next(line for line in compared if line.startswith("output"))
    assert output.count("36  47") == 2


def test_without_pytorch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    text = printed(capsys)
    assert "PyTorch (not installed)" in text
    assert "same" not in text
    assert "Every number is what it must be." in text


def test_a_wrong_number_ends_in_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    example = command.run()
    wrong = replace(example, output=example.output + 1)
    monkeypatch.setattr(command, "run", lambda dtype, algorithm: wrong)
    with pytest.raises(AnchorError, match="output"):
        command.main([])
    assert "37  48" in capsys.readouterr().out


def test_machine_facts(capsys: pytest.CaptureFixture[str]) -> None:
    facts = machine.machine_info()
    text = printed(capsys)
    assert f"{facts.processor} ({facts.target})" in text
    assert f"{facts.vector_bits} bits" in text
    assert facts.threads == numba.get_num_threads()
    assert facts.cache_folder in text


def test_a_machine_with_a_gpu() -> None:
    facts = replace(machine.machine_info(), gpu="Some GPU", features=())
    text = command.describe(facts)
    assert "Some GPU" in text
    assert "none that matter here" in text


def test_gpu_is_asked_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        """A CUDA driver with one device."""

        count = 1

        def cuInit(self, flags: int) -> int:  # noqa: N802
            return 0

        def cuDeviceGetCount(self, count: object) -> int:  # noqa: N802
            count._obj.value = self.count  # type: ignore[attr-defined]
            return 0

        def cuDeviceGetName(self, name: object, size: int, device: int) -> int:  # noqa: N802
            name.value = b"Some GPU"  # type: ignore[attr-defined]
            return 0

    driver = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    assert machine.machine_info().gpu == "Some GPU"
    driver.count = 0
    assert machine.machine_info().gpu is None


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert machine.machine_info().gpu is None
