"""The device benchmark's jobs, clocks, records and report, on a device that is not there."""

import io
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_fakes import US, FakeDevice, FakeStream
from rich.console import Console

from bench.case import PASSES
from bench.checked import WrongResult
from bench.gpu import checks, clock, jobs, measure, summary
from bench.gpu.measure import Anchor, Bench, DeviceLost
from bench.gpu.precisions import DEFAULT_PRECISIONS, PRECISIONS
from bench.result_file import SCHEMA, ResultFile


def _bench(device: FakeDevice, anchored: tuple[Anchor, ...] = (), algorithm: str = "auto") -> Bench:
    peaks = {p.name: device.peak(p) for p in PRECISIONS.values()}
    return Bench(device, algorithm, anchored, peaks, device.copy_bandwidth())


def _jobs(pattern: str = "resnet50_4", **options: Any) -> tuple[jobs.Job, ...]:
    return jobs.select(["resnet50"], DEFAULT_PRECISIONS, PASSES, pattern + "$", 2**40, **options)


def _records(device: FakeDevice) -> list[measure.Record]:
    return list(_bench(device).run(_jobs(), 1.0, lambda: 0.0))


def test_jobs_are_the_whole_product_and_what_matters_comes_first() -> None:
    chosen = jobs.select(jobs.SUITES[::-1], DEFAULT_PRECISIONS, PASSES, memory=2**40)
    assert len(chosen) == len(set(chosen)) == (20 + 9 + 90 + 15) * 4 * 3
    assert [name for name, _ in itertools.groupby(job.suite for job in chosen)] == [*jobs.SUITES]
    layers = [name for name, _ in itertools.groupby(job.layer.name for job in chosen)]
    assert len(layers) == len(set(layers)), "a layer's figures stand together"
    assert {job.layer.N for job in chosen if job.suite in ("resnet50", "mobilenet_v1_dw")} == {64}
    assert all(not job.layer.note for job in chosen)


def test_layers_shrink_to_the_devices_memory() -> None:
    (job, *_) = jobs.select(["resnet50"], ["tf32"], ["forward"], "resnet50_4$", 2**28)
    assert job.layer.N < 64
    assert job.layer.nbytes() <= 2**28
    assert "instead of 64" in job.layer.note


@pytest.mark.parametrize("count", [0, 1, 2, 5, 20, 90])
def test_every_beginning_is_spread_over_the_whole(count: int) -> None:
    order = jobs.spread(range(count))
    assert sorted(order) == list(range(count))
    for taken in range(1, count):
        gaps = np.diff(sorted(order[:taken]), prepend=-1, append=count)
        assert gaps.max() <= 4 * count / taken + 1


def test_smoke_is_one_tiny_layer_of_each_suite() -> None:
    chosen = jobs.select(jobs.SUITES, ["float16"], ["input"], smoke=True)
    assert [job.suite for job in chosen] == [*jobs.SUITES]
    assert all(job.layer.geometry.flops < 2 * 10**7 for job in chosen)


def test_kernel_time_has_no_gap_and_no_flush_in_it() -> None:
    stream = FakeStream()
    calls = {
        "slow host": lambda: stream.queue(400 * US, 10 * US),
        "slow device": lambda: stream.queue(20 * US, 90 * US),
    }
    times = clock.measure(stream, calls)
    assert times.host_ahead
    # A mark of the host costs the device nothing while it is behind.
    assert times.kernel["slow host"].median == pytest.approx(10 * US)
    assert times.kernel["slow device"].median == pytest.approx(90 * US)
    assert times.call["slow host"].median == pytest.approx(400 * US)
    assert times.call["slow device"].median == pytest.approx(20 * US)
    assert {len(sample.seconds) for sample in times.kernel.values()} == {clock.SHORT_ROUNDS}


def test_long_kernels_run_fewer_rounds() -> None:
    stream = FakeStream()
    times = clock.measure(stream, {"ours": lambda: stream.queue(20 * US, 0.01)})
    assert len(times.kernel["ours"].seconds) == clock.ROUNDS >= 11


def test_hold_grows_until_the_host_is_ahead() -> None:
    stream, calls = FakeStream(), itertools.count()

    def slower_after_warm_up() -> None:
        late = next(calls) > clock.WARMUPS
        stream.queue((500 if late else 50) * US, 10 * US)

    times = clock.measure(stream, {"ours": slower_after_warm_up})
    assert len(stream.holds) > 1
    assert stream.holds == sorted(stream.holds)
    assert times.host_ahead
    assert times.kernel["ours"].median == pytest.approx(10 * US)


def test_host_that_cannot_keep_ahead_is_told_of() -> None:
    stream = FakeStream()
    times = clock.measure(stream, {"ours": lambda: stream.queue(0.1, 10 * US)})
    assert not times.host_ahead
    assert len(stream.holds) == clock.ATTEMPTS
    assert max(stream.holds) == clock.LONGEST_HOLD


def test_calls_take_turns_and_none_is_timed_cold() -> None:
    stream, order = FakeStream(), []
    calls = {name: (lambda name=name: order.append(name)) for name in ("ours", "peer")}
    clock.measure(stream, calls)
    assert order[: 2 * clock.WARMUPS] == ["ours"] * clock.WARMUPS + ["peer"] * clock.WARMUPS
    rounds = order[2 * clock.WARMUPS + 2 :][: 2 * clock.SHORT_ROUNDS]
    pairs = set(zip(rounds[::2], rounds[1::2], strict=True))
    assert pairs == {("ours", "peer"), ("peer", "ours")}


def test_record_says_what_the_clocks_did() -> None:
    record = _records(FakeDevice())[0]
    layer = _jobs()[0].layer
    assert (record.status, record.layer, record.precision) == ("timed", "resnet50_4", "float32")
    assert record.ratio == pytest.approx(3.0)
    assert record.call_ratio == pytest.approx(0.5)
    assert record.tflops == pytest.approx(layer.geometry.flops / 100e-6 / 1e12)
    assert record.percent_of_peak == pytest.approx(record.tflops)
    assert record.bytes == 4 * (2 * 64 * 64 * 56 * 56 + 64 * 64 * 9)
    assert record.percent_of_copy == pytest.approx(100 * record.bytes / 100e-6 / 4e12)
    assert record.kernel_seconds["torch"] == pytest.approx(3e-4)
    assert record.first_call == pytest.approx(130 * US)  # 30 to queue it, 100 to run
    assert record.ratio_spread == pytest.approx(0)


def test_half_types_count_their_own_bytes() -> None:
    records = {record.precision: record for record in _records(FakeDevice())}
    assert records["tf32"].bytes == 2 * records["float16"].bytes == 2 * records["bfloat16"].bytes
    assert [records[name].layout for name in DEFAULT_PRECISIONS] == ["nchw"] * 2 + ["nhwc"] * 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (WrongResult("off"), "WRONG"),
        (ValueError("algorithm: got 'direct'"), "refused"),
        (RuntimeError("out of memory\nand more"), "failed"),
    ],
)
def test_what_goes_wrong_is_recorded_and_not_timed(error: Exception, status: str) -> None:
    device = FakeDevice({("resnet50_4", "tf32"): error})
    records = _records(device)
    assert [record.status for record in records] == ["timed"] * 3 + [status] * 3 + ["timed"] * 6
    bad = records[3]
    assert str(error).splitlines()[0] in bad.reason
    assert "and more" not in bad.reason
    assert bad.tflops is None
    assert not bad.kernel_seconds


def test_peer_that_fails_leaves_ours() -> None:
    device = FakeDevice()
    device.peer = False
    record = _records(device)[0]
    assert record.tflops is not None
    assert record.ratio is record.call_ratio is None


def test_wrong_worked_example_is_not_timed() -> None:
    device = FakeDevice()
    device.anchor_errors = {
        ("tf32", "auto"): WrongResult("output is 37"),
        ("float16", "columns"): ValueError("algorithm: columns cannot"),
        ("bfloat16", "direct"): RuntimeError("no kernel"),
    }
    precisions = [PRECISIONS[name] for name in DEFAULT_PRECISIONS]
    anchored = measure.anchors(device, precisions, device.algorithms())
    assert len(anchored) == 16
    assert sorted(a.status for a in anchored if a.status != "exact") == [
        "WRONG",
        "failed",
        "refused",
    ]
    records = list(_bench(device, anchored).run(_jobs(), 1.0, lambda: 0.0))
    assert {record.precision for record in records if record.status == "WRONG"} == {"tf32"}
    assert "output is 37" in next(r for r in records if r.status == "WRONG").reason
    assert {record.precision for record in records if record.status == "timed"} == {
        *("float32", "float16", "bfloat16")
    }


def test_budget_ends_the_run_between_two_figures() -> None:
    times = iter([0.0, 1.0, 2.0, 3.0])
    records = list(_bench(FakeDevice()).run(_jobs(), 3.0, lambda: next(times)))
    assert len(records) == 3


def test_lost_device_ends_the_run() -> None:
    device = FakeDevice({("resnet50_4", "float16"): RuntimeError("illegal address")})
    device.answers = False
    run = _bench(device).run(_jobs(), 1.0, lambda: 0.0)
    assert len(list(itertools.islice(run, 6))) == 6
    with pytest.raises(DeviceLost, match="resnet50_4 float16 forward: RuntimeError: illegal"):
        next(run)


def _text(*parts: Any) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(*parts, markup=False)
    return console.file.getvalue()


def test_means_are_geometric_and_by_suite_precision_and_pass() -> None:
    record = _records(FakeDevice())[0]
    other = replace(record, ratio=12.0, call_ratio=None)
    wrong = replace(record, status="WRONG", ratio=None)
    found = summary.means([record, other, wrong])
    assert list(found) == [("resnet50", "float32", "forward")]
    mean = found["resnet50", "float32", "forward"]
    assert mean["layers"] == 2
    assert mean["ratio"] == pytest.approx(6.0)
    assert mean["call_ratio"] == pytest.approx(0.5)
    assert summary.means_json(found)[0]["pass_name"] == "forward"
    assert "6.00 (" in _text(summary.means_table(found))


def test_tables_show_every_figure_and_every_reason() -> None:
    records = _records(FakeDevice({("resnet50_4", "tf32"): WrongResult("3 elements")}))
    text = _text(summary.table(records))
    assert text.count("resnet50_4") == 9
    assert "100 us" in text
    assert "300 us" in text
    assert "host late" not in text
    assert "host late" in _text(summary.table([replace(records[0], host_ahead=False)]))
    noted = [replace(record, note="N=8 instead of 64") for record in records[:3]]
    assert list(summary.note_lines(noted)) == ["resnet50_4: N=8 instead of 64"]
    untimed = list(summary.untimed_lines(records))
    assert len(untimed) == 3
    assert untimed[0].startswith("WRONG: resnet50_4 tf32 forward (64->64 3x3 @ 56x56, N=64)")


def test_cut_is_named() -> None:
    cut = _jobs("resnet50_[45]")
    text = "\n".join(summary.cut_lines(cut, "the budget was spent"))
    assert "not measured, the budget was spent: 24 figures" in text
    assert "resnet50, 2 layers: " in text
    assert len(summary.cut_json(cut)) == 24
    assert not list(summary.cut_lines((), "the budget was spent"))


def test_failed_checks_are_told_with_their_last_words() -> None:
    check = checks.Check("pytest", "failed", "exit status 1: 2 failed", 1.0, ("assert 1 == 2",))
    anchors = (
        Anchor("tf32", "auto", "exact"),
        Anchor("tf32", "direct", "WRONG", "output is 37"),
        Anchor("float16", "direct", "WRONG", "output is 37"),
    )
    text = "\n".join(summary.check_lines([check], anchors))
    assert "assert 1 == 2" in text
    assert "exact for 1 of 3" in text
    assert "tf32 direct, float16 direct: WRONG: output is 37" in text


def test_file_is_whole_after_every_record(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    file = ResultFile(path, {"device": {"name": "Fake"}}, "cases")
    assert json.loads(path.read_text())["cases"] == []
    for number in range(3):
        file.add({"layer": str(number)})
        read = json.loads(path.read_text())
        assert [case["layer"] for case in read["cases"]] == [str(n) for n in range(number + 1)]
        assert not read["complete"]
    file.finish({"cut": []})
    read = json.loads(path.read_text())
    assert read["schema"] == SCHEMA
    assert read["complete"]
    assert read["cut"] == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]
