"""The command line: the worked example, facts, plans and the self-test, as they are printed."""

import ctypes
from dataclasses import replace
from importlib.metadata import entry_points

import numba
import pytest
from arrays import DTYPES
from cases import WITH_AUTO
from click.testing import CliRunner, Result
from scripts import run_script

import fastconv
from fastconv import __main__ as entry
from fastconv import machine, selfcheck
from fastconv.cli import main
from fastconv.cli.example import pytorch_example
from fastconv.worked_example import AnchorError, run


def invoked(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def printed(*arguments: str) -> str:
    result = invoked(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def line(text: str, start: str) -> str:
    """The words of the line that starts so, without a table's borders."""
    words = (" ".join(row.replace("│", " ").split()) for row in text.splitlines())
    return next(row for row in words if row.startswith(start))


def test_as_a_module() -> None:
    script = (
        "import runpy, sys; sys.argv = ['fastconv', 'example'];"
        "runpy.run_module('fastconv', run_name='__main__')"
    )
    text = run_script(script)
    assert f"fastconv {fastconv.__version__}: the worked example, float32, auto" in text
    assert all(len(row) <= 100 for row in text.splitlines())


def test_as_a_script() -> None:
    (script,) = entry_points(group="console_scripts", name="fastconv")
    assert script.load() is entry.main


def test_without_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "NEEDED", ("no_such_library",))
    with pytest.raises(SystemExit, match=r"needs no_such_library: pip install 'fastconv\[cli\]'"):
        entry.main()


def test_version_and_help() -> None:
    assert fastconv.__version__ in printed("--version")
    text = printed("-h")
    for command in ("example", "info", "explain", "check"):
        assert f"\n  {command} " in text


@pytest.mark.parametrize("algorithm", WITH_AUTO)
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers(dtype: str, algorithm: str) -> None:
    text = printed("example", "--dtype", dtype, "--algorithm", algorithm)
    assert f"{dtype}, {algorithm}" in text
    for numbers in ("36  47", "69  80", "232", "48   64", "96  112", "2.52  1.36", "0.04  3.88"):
        assert numbers in text
    assert "different" not in text
    assert "Every number is what it must be." in text


def test_pytorch_beside_it() -> None:
    pytest.importorskip("torch")
    text = printed("example")
    assert text.count(" same ") == 11
    assert line(text, "output").count("36 47") == 2


def test_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastconv.cli.example.find_spec", lambda name: None)
    assert pytorch_example("float32") is None
    text = printed("example")
    assert "PyTorch (not installed)" in text
    assert " same " not in text
    assert "Every number is what it must be." in text


def test_a_wrong_number_ends_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    example = run()
    wrong = replace(example, output=example.output + 1)
    monkeypatch.setattr("fastconv.cli.example.run", lambda dtype, algorithm: wrong)
    result = invoked("example")
    assert result.exit_code == 1
    assert isinstance(result.exception, AnchorError)
    assert "37  48" in result.output


HOSTILE = [
    ("explain", "1,1,5", "1,1,2", "--stride", "0"),
    ("explain", "1,1,5", "1,1,2", "--stride", "-1"),
    ("explain", "1,1,5", "1,1,2", "--stride", "nan"),
    ("explain", "1,1,5", "1,1,2", "--padding", "9" * 30),
    ("explain", "1,1,5", "1,1,2", "--dilation", "9" * 5000),
    ("explain", "1,1,5", "1,1,2", "--groups", "9" * 5000),
    ("explain", "1,1,5", "1,1,2", "--groups", "9" * 30),
    ("explain", "1,1,5", "1,1,2", "--dtype", "object"),
    ("explain", "1,1,5", "1,1,2", "--layout", ""),
    ("explain", "1,1,5", "1,1,2", "--algorithm", "AUTO"),
    ("explain", "", "1,1,2"),
    ("explain", "1,1,5", "x"),
    ("explain", "1,1,\u0665\u00b2", "1,1,2"),
    ("explain", "1," * 500 + "1", "1,1,2"),
    ("explain", "1,1,5"),
    ("explain", "1,1,5", "1,1,2", "3"),
    ("example", "--dtype", "int3"),
    ("example", "--algorithm", "sorcery"),
    ("check", "--seconds", "nan"),
    ("check", "--seconds", "-1"),
    ("check", "--seconds", "soon"),
    ("check", "--seed", "-1"),
    ("check", "--seed", "1.5"),
    ("info", "more"),
    ("sorcery",),
    ("--sorcery",),
]


@pytest.mark.parametrize("arguments", HOSTILE, ids=lambda arguments: "_".join(arguments)[:60])
def test_hostile_arguments_are_refused_in_a_line(arguments: tuple[str, ...]) -> None:
    result = invoked(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Error: " in result.output
    assert "Traceback" not in result.output


def test_machine_facts() -> None:
    facts = machine.machine_info()
    text = printed("info")
    assert line(text, "processor") == f"processor {facts.processor} ({facts.target})"
    assert line(text, "vector width").startswith(f"vector width {facts.vector_bits} bits")
    assert line(text, "threads") == f"threads {facts.threads} ({facts.threading_layer})"
    assert facts.threads == numba.config.NUMBA_NUM_THREADS
    assert facts.cache_folder in text
    assert line(text, "numba") == f"numba {numba.__version__}"


def test_a_machine_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = replace(machine.machine_info(), gpu="Some GPU", features=())
    monkeypatch.setattr("fastconv.cli.info.machine_info", lambda: facts)
    text = printed("info")
    assert line(text, "GPU") == "GPU Some GPU"
    assert "none that matter here" in text


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastconv.cli.info._BESIDE", ("no-such-package",))
    assert line(printed("info"), "no-such-package") == "no-such-package not installed"


@pytest.fixture
def roofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 100 GFLOP/s and 10 GB/s a thread."""
    monkeypatch.setattr("fastconv.cli.explain.fma_peak", lambda dtype, threads: 100.0 * threads)
    monkeypatch.setattr("fastconv.cli.explain.copy_bandwidth", lambda threads: 10.0 * threads)


@pytest.mark.usefixtures("roofs")
def test_explain_tells_plans_and_the_roofline() -> None:
    with fastconv.options(threads=1):
        text = printed("explain", "8,64,56,56", "64,64,3,3", "--padding", "1")
        plan = fastconv.explain((8, 64, 56, 56), (64, 64, 3, 3), padding=1)
    workspace = f"{plan.workspace / 1e6:.2f} MB"
    # 1.85 GFLOP at 100 GFLOP/s
    forward = f"forward winograd 1 {workspace} 100 GFLOP/s 18.5 ms 100 GFLOP/s"
    assert line(text, "forward win") == forward
    assert line(text, "(8, 64, 56, 56) * (64, 64, 3, 3) -> (8, 64, 56, 56): 1.85 GFLOP, 13 MB")
    for stage in plan.stages:
        assert f"  {stage.name} (" in text


@pytest.mark.usefixtures("roofs")
def test_explain_of_what_memory_bounds() -> None:
    sizes = "explain", "8x32x112x112", "32x1x3x3"
    with fastconv.options(threads=1):
        text = printed(*sizes, "--padding", "1,1", "--groups", "32", "--layout", "NHWC")
    assert line(text, "forward dep").endswith("10 GB/s")


@pytest.mark.usefixtures("roofs")
def test_explain_of_borders_and_samples() -> None:
    options = "--padding", "same", "--padding-mode", "reflect", "--per-sample"
    text = printed("explain", "4,3,12,12", "5,3,3,3", *options)
    assert "borders.pad_rows" in text
    plan = fastconv.explain(
        (4, 3, 12, 12), (5, 3, 3, 3), padding="same", padding_mode="reflect", per_sample=True,
        direction="weight_gradient",
    )  # fmt: skip
    assert f"{plan.workspace / 1e6:.2f} MB" in line(text, "weight gradient")


@pytest.mark.usefixtures("roofs")
def test_explain_of_no_images() -> None:
    assert "0 ns" in printed("explain", "0,3,8,8", "4,3,3,3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("8,64,56", "64,64,3,3"), "input_shape"),
        (("8,64,a,56", "64,64,3,3"), "needs whole numbers, as in 8,64,56,56"),
        (("8,64,56,56", "64,32,3,3"), "weight_shape"),
        (("8,64,56,56", "64,64,3,3", "--stride", "0"), "stride"),
    ],
)
def test_explain_refuses_what_a_call_refuses(arguments: tuple[str, ...], message: str) -> None:
    result = invoked("explain", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_check_tells_each_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = {
        "right": selfcheck.Outcome(7),
        "wrong": selfcheck.Outcome(2, ("forward of something",)),
        "left out": selfcheck.Outcome(0, skipped="no GPU"),
    }
    asked = []

    def checks(seconds: float, seed: int) -> object:
        asked.append((seconds, seed))
        return {name: lambda outcome=outcome: outcome for name, outcome in outcomes.items()}

    monkeypatch.setattr(selfcheck, "checks", checks)
    result = invoked("check", "--seconds", "3", "--seed", "5")
    assert asked == [(3.0, 5)]
    assert result.exit_code == 1
    assert line(result.output, "right").startswith("right 7 ")
    assert line(result.output, "wrong").endswith("WRONG: forward of something")
    assert line(result.output, "left out").endswith("no GPU")
    del outcomes["wrong"]
    assert invoked("check").exit_code == 0


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
