"""The benchmark of padding modes and per-sample gradients: what it times is right, and checked."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from bench import suites, variants
from bench.case import make_case
from bench.timing import Sample

pytest.importorskip("torch")

LAYER = replace(suites.read_suite("everyday")[1], N=3, C=2, H=6, W=7, K=3, R=3, S=3, padding=(1, 2))


def test_ours_and_pytorchs_agree() -> None:
    case = make_case(LAYER)
    found = [e for name in ("circular", variants.PER_SAMPLE) for e in variants.entries(case, name)]
    assert [entry.name for entry in found] == [
        *("circular, forward", "circular, weight", "circular, input", "per sample, weight"),
    ]
    assert all(variants.agree(entry) for entry in found)
    assert np.asarray(found[-1].calls["torch, grouped"]()).shape == (3, 3, 2, 3, 3)


def test_without_padding_there_is_no_mode_to_time() -> None:
    case = make_case(replace(LAYER, padding=(0, 0)))
    assert not list(variants.entries(case, "reflect"))


@pytest.mark.parametrize(("right", "status"), [(True, 0), (False, 1)])
def test_the_command(monkeypatch: pytest.MonkeyPatch, right: bool, status: int) -> None:
    monkeypatch.setattr(variants, "suite_layers", lambda *_: {"everyday": (LAYER,)})
    monkeypatch.setattr(variants, "agree", lambda entry: right)
    seconds = {variants.OURS: 1.0, variants.ZEROS: 0.5, "torch": 3.0}
    monkeypatch.setattr(
        variants, "interleaved", lambda calls, _: {n: Sample((seconds[n],) * 3) for n in calls}
    )
    outcome = CliRunner().invoke(variants.main, ["--variants", "reflect"])
    assert outcome.exit_code == status, outcome.output
    assert ("3.00" in outcome.output) is right
    assert ("results differ" in outcome.output) is not right
