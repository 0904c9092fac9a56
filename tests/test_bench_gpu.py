"""The device benchmark's command line, without a device: its run, its exit status, its file."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from device_fakes import FakeDevice
from scripts import run_script

from bench.checked import WrongResult
from bench.gpu import __main__ as command
from bench.gpu import checks
from bench.gpu.device import NoDevice


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    fake = FakeDevice()
    monkeypatch.setattr(command, "find_device", lambda: fake)
    return fake


def _invoke(path: Path, *arguments: str) -> Any:
    return CliRunner().invoke(command.main, ["--no-tests", "--json", str(path), *arguments])


def test_command_measures_and_reports(device: FakeDevice, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    result = _invoke(path, "--smoke")
    assert result.exit_code == 0, result.output
    read = json.loads(path.read_text())
    assert read["complete"]
    assert read["machine_info"]["device"]["name"] == "Fake"
    assert set(read) >= {"schema", "datetime", "clocks", "settings", "worked_example"}
    assert len(read["benchmarks"]) == 3 * 4 * 3 * 2
    assert "refused" not in read
    assert read["peak_tflops"]["float16"] == 1000
    assert len(read["geometric_means"]) == 3 * 4 * 3
    assert read["cut"] == []
    assert "geometric means" in result.output
    assert "worked example: exact for 16 of 16" in result.output


def test_command_names_what_the_budget_cut(device: FakeDevice, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    result = _invoke(path, "--smoke", "--budget", "0", "--precision", "tf32", "--suite", "resnet50")
    assert result.exit_code == 0, result.output
    read = json.loads(path.read_text())
    assert read["benchmarks"] == []
    assert len(read["cut"]) == 3
    assert read["cut_reason"] == "the budget was spent"
    assert "not measured, the budget was spent: 3 figures" in result.output


def test_command_exits_1_when_a_value_is_wrong(device: FakeDevice, tmp_path: Path) -> None:
    device.errors = {("resnet50_4", "tf32"): WrongResult("off")}
    filters = ["--layers", "resnet50_4$", "--passes", "weight", "--precision", "tf32,float16"]
    result = _invoke(tmp_path / "results.json", *filters)
    assert result.exit_code == 1
    assert "WRONG: resnet50_4 tf32 weight" in result.output
    read = json.loads((tmp_path / "results.json").read_text())
    wrong = {"what": "resnet50_4 tf32 weight", "status": "WRONG", "reason": "off"}
    assert read["refused"] == [wrong]
    assert [one["param"] for one in read["benchmarks"]] == [
        "resnet50_4-float16-fastconv",
        "resnet50_4-float16-torch",
    ]


@pytest.mark.parametrize("where", ["worked example", "layer"])
def test_command_ends_with_the_device(device: FakeDevice, tmp_path: Path, where: str) -> None:
    error = RuntimeError("illegal address")
    device.answers = False
    if where == "layer":
        device.errors = {("resnet50_4", "tf32"): error}
    else:
        device.anchor_errors = {("tf32", "im2col"): error}
    path = tmp_path / "results.json"
    result = _invoke(path, "--layers", "resnet50_4$")
    assert result.exit_code == 1
    read = json.loads(path.read_text())
    timed = len(read["benchmarks"]) // 2
    assert timed == (3 if where == "layer" else 0)
    assert timed + len(read["cut"]) == 12
    assert "the device was lost at" in read["cut_reason"]
    assert "illegal address" in result.output


def test_failed_cuda_tests_exit_1(
    device: FakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []
    stopped = tuple(checks.Check(tool, "stopped", "", 45.0) for tool in checks.TOOLS)

    def failing(limit: float) -> checks.Check:
        limits.append(limit)
        return checks.Check("pytest", "failed", "exit status 1: 1 failed")

    monkeypatch.setattr(checks, "cuda_tests", failing)
    monkeypatch.setattr(checks, "sanitizers", lambda limit, few: stopped if few else ())
    path = tmp_path / "results.json"
    result = CliRunner().invoke(command.main, ["--smoke", "--json", str(path), "--budget", "100"])
    assert result.exit_code == 1
    assert limits == [pytest.approx(30)]
    read = json.loads(path.read_text())["checks"]
    assert [check["status"] for check in read] == ["failed", "stopped", "stopped"]


@pytest.mark.parametrize(
    ("statuses", "exit_code"),
    [
        (("passed", "passed"), 0),
        (("passed", "failed"), 1),
        (("not run", "not run"), 2),
    ],
)
def test_sanitize_times_nothing(
    device: FakeDevice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    statuses: tuple[str, ...],
    exit_code: int,
) -> None:
    found = tuple(checks.Check(status, status, "summary") for status in statuses)
    monkeypatch.setattr(checks, "sanitizers", lambda limit: found)
    result = _invoke(tmp_path / "results.json", "--sanitize")
    assert result.exit_code == exit_code
    read = json.loads((tmp_path / "results.json").read_text())
    assert [check["status"] for check in read["checks"]] == list(statuses)
    assert read["benchmarks"] == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--passes", "backward"], "forward,weight,input"),
        (["--precision", "int8"], "float32,tf32"),
        (["--suite", "vgg"], "resnet50"),
        (["--algorithm", "winograd"], "needs one of auto, direct"),
        (["--layers", "nosuch"], "matches no layer"),
    ],
)
def test_command_refuses(
    device: FakeDevice, tmp_path: Path, arguments: list[str], word: str
) -> None:
    result = _invoke(tmp_path / "results.json", *arguments)
    assert result.exit_code == 2
    assert word in result.output
    assert not (tmp_path / "results.json").exists()


def _has_device() -> bool:
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


@pytest.mark.skipif(_has_device(), reason="there is a device here")
@pytest.mark.parametrize("options", [[], ["--sanitize"], ["--smoke"]])
def test_no_device_is_one_line_and_status_2(options: list[str], tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    result = _invoke(path, *options)
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith("bench.gpu needs a CUDA device and a PyTorch built for CUDA: PyTorch")
    assert line.endswith("; nothing was measured")
    assert not path.exists()


def test_no_pytorch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NoDevice, match=r"PyTorch is not installed$"):
        command.find_device()


def test_no_cuda_backend_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with_device = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", with_device)
    monkeypatch.setitem(sys.modules, "fastconv.cuda.convolution", None)
    with pytest.raises(NoDevice, match="needs fastconv's CUDA backend: ModuleNotFoundError"):
        command.find_device()


def test_importing_the_benchmark_imports_no_framework() -> None:
    source = (
        "import sys, bench.gpu.__main__, bench.gpu.small_cases\n"
        "print(sorted({'torch', 'numba.cuda', 'cupy'} & set(sys.modules)))"
    )
    assert run_script(source).strip() == "[]"
