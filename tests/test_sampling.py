"""A sample lets every two values meet, of parameters that have few, and gives the others turns."""

from collections import Counter
from itertools import combinations, product
from types import SimpleNamespace
from typing import Any

from sampling import sampled

DTYPES, LAYOUTS, PASSES = ("f4", "f8"), ("first", "last"), ("forward", "weights", "input")
CASES = range(30)


def _items(name: str, module: Any, *values: Any) -> list[Any]:
    names = ("case", "dtype", "layout", "which")
    return [
        SimpleNamespace(
            nodeid=f"{name}[{i}]",
            module=module,
            callspec=SimpleNamespace(params=dict(zip(names, row, strict=False))),
        )
        for i, row in enumerate(product(*values))
    ]


COMPUTES, OTHER = SimpleNamespace(compute=None), SimpleNamespace()


def test_pairs_meet_and_cases_take_turns() -> None:
    items = _items("test_grid", COMPUTES, CASES, DTYPES, LAYOUTS, PASSES)
    kept = [item.callspec.params for item in sampled(items)]
    for one, other in combinations(("dtype", "layout", "which"), 2):
        met = {(row[one], row[other]) for row in kept}
        assert met == set(product(*({r[n] for r in kept} for n in (one, other))))
    assert {row["which"] for row in kept} == set(PASSES)
    assert len(kept) < 12
    assert max(Counter(row["case"] for row in kept).values()) == 1


def test_one_parameter_and_none() -> None:
    assert len(sampled(_items("test_of_few", COMPUTES, range(3)))) == 3
    assert len(sampled(_items("test_of_many", COMPUTES, CASES))) == 1
    plain = SimpleNamespace(nodeid="test_plain", module=COMPUTES)
    assert sampled([plain]) == [plain]


def test_others_are_left_out() -> None:
    assert sampled(_items("test_grid", OTHER, CASES, DTYPES)) == []
