"""A sample lets every two values meet, of parameters that have two, and gives the others turns."""

from collections import Counter
from itertools import product
from types import SimpleNamespace
from typing import Any

from cases import simple
from sampling import sampled

CASES = [simple(1, 1, k, (5, 5), (2, 2)) for k in range(1, 31)]
DTYPES, LAYOUTS, PASSES = ("f4", "f8"), ("first", "last"), ("forward", "weights", "input")


def _items(name: str, **parameters: Any) -> list[Any]:
    return [
        SimpleNamespace(
            nodeid=f"{name}[{i}]",
            callspec=SimpleNamespace(params=dict(zip(parameters, row, strict=True))),
        )
        for i, row in enumerate(product(*parameters.values()))
    ]


def test_pairs_meet_and_geometries_take_turns() -> None:
    short = {"dtype": DTYPES, "layout": LAYOUTS, "which": PASSES}
    kept = [item.callspec.params for item in sampled(_items("test_grid", case=CASES, **short))]
    assert {(row["dtype"], row["layout"]) for row in kept} == set(product(DTYPES, LAYOUTS))
    assert {row["which"] for row in kept} == set(PASSES)
    assert len(kept) < 12
    assert max(Counter(row["case"] for row in kept).values()) == 1


def test_few_geometries_take_turns_too() -> None:
    kept = [item.callspec.params for item in sampled(_items("t", case=CASES[:2], which=PASSES))]
    assert sorted(row["which"] for row in kept) == sorted(PASSES)
    assert {row["case"] for row in kept} == set(CASES[:2])


def test_one_of_many_and_tests_of_their_own() -> None:
    assert len(sampled([*_items("one", case=CASES), *_items("two", case=CASES)])) == 2


def test_without_a_geometry_none() -> None:
    assert sampled([*_items("test_other", dtype=DTYPES), SimpleNamespace(nodeid="plain")]) == []
