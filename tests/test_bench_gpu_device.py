"""The device as PyTorch shows it, PyTorch's device calls put on a clock of the test's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from device_fakes import US, FakeStream, HostBackend, use_fake_cuda

from bench.case import PASSES
from bench.gpu import __main__ as command
from bench.gpu import anchor, device, jobs, small_cases, workload
from bench.gpu.precisions import PRECISIONS


@pytest.fixture
def stream() -> FakeStream:
    return FakeStream()


@pytest.fixture
def torch(stream: FakeStream, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """PyTorch with a fake device, and fastconv's place taken: 20 us a call, 100 us a kernel."""
    torch = use_fake_cuda(monkeypatch, stream)

    def take_time(result: Any) -> Any:
        stream.queue(20 * US, 100 * US)
        return result

    backend = HostBackend(take_time)
    monkeypatch.setattr(workload, "fastconv", backend)
    monkeypatch.setattr(anchor, "fastconv", backend)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine more would wait for each other at each tiny layer
    yield torch
    torch.set_num_threads(threads)


def test_the_whole_run_on_a_fake_device(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    arguments = ["--smoke", "--no-tests", "--precision", ",".join(PRECISIONS), "--json", str(path)]
    result = CliRunner().invoke(command.main, arguments)
    assert result.exit_code == 0, result.output
    read = json.loads(path.read_text())
    assert read["complete"]
    assert {anchor["status"] for anchor in read["worked_example"]} == {"exact"}
    assert len(read["worked_example"]) == 5 * len(("auto", "direct"))
    assert len(read["benchmarks"]) == 3 * 5 * 3 * 2
    for one in read["benchmarks"]:
        assert one["extra_info"]["host_ahead"]
        if one["params"]["contestant"] == "fastconv":
            # The fake's event is a microsecond long.
            assert one["stats"]["median"] == pytest.approx(101 * US, rel=1e-3)
    assert set(read["machine_info"]["fastconv"]["versions"]) >= {
        "fastconv",
        "torch",
        "driver",
        "cudnn",
    }


def test_wait_is_as_long_as_asked(torch: Any, stream: FakeStream) -> None:
    found = device.find_device()
    start = found.stream.mark()
    found.stream.hold(0.25)
    end = found.stream.mark()
    assert found.stream.seconds(start, end) == pytest.approx(0.25, rel=1e-3)
    assert not found.stream.passed(end)
    found.stream.drain()
    assert found.stream.passed(end)


def test_flush_writes_twice_the_cache(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    empty = torch.empty

    def recorded(size: int, **keywords: Any) -> Any:
        sizes.append(size)
        return empty(size, **keywords)

    monkeypatch.setattr(torch, "empty", recorded)
    stream = device.CudaStream(torch, 2**12)
    stream.flush()
    assert sizes == [2**13]


def test_layers_tensors_are_kept_for_its_passes(torch: Any) -> None:
    found = device.find_device()
    first, second = jobs.select(["resnet50"], ["float32"], ["forward", "input"], smoke=True)
    with found.workload(first, "direct") as one, found.workload(second, "direct") as two:
        assert one._tensors is two._tensors
    other = jobs.select(["mobilenet_v1_dw"], ["float32"], ["forward"], smoke=True)[0]
    with found.workload(other, "direct") as three:
        assert three._tensors.layer == other.layer


def test_lack_of_memory_gives_the_tensors_back(torch: Any) -> None:
    found = device.find_device()
    job = jobs.select(["resnet50"], ["float32"], ["forward"], smoke=True)[0]
    with pytest.raises(torch.OutOfMemoryError), found.workload(job, "direct"):
        raise torch.OutOfMemoryError("no room")
    assert found._tensors is None


def test_lost_device_does_not_answer(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = device.find_device()
    assert found.alive()

    def fail() -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", fail)
    assert not found.alive()


def test_driver_and_clocks_are_asked_of_this_device(
    torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = device.find_device()
    assert found.clocks() == {}
    assert found.versions()["driver"] == "unknown"
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$3" = --id=GPU-1234 ] && echo "1, 2, 3, 4, 5"\n')
    program.chmod(0o755)
    assert found.clocks() == dict(zip(device.CLOCKS, "12345", strict=True))
    assert found.versions()["driver"] == "1"
    program.write_text("#!/bin/sh\nexit 6\n")
    assert found.clocks() == {}


def test_small_cases_print_and_exit(
    torch: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(small_cases, "PRECISIONS", {"tf32": PRECISIONS["tf32"]})
    assert small_cases.main() == 0
    last = capsys.readouterr().out.splitlines()[-1]
    count = len(small_cases.small_layers()) * len(("auto", "direct")) * len(PASSES)
    assert last == f"{count} right, 0 wrong"
    assert small_cases.main(few=True) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{2 * len(PASSES)} right, 0 wrong"
