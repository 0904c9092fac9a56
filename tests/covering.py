"""Choose few combinations of many settings so that every pair of values meets at least once."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

Row = dict[str, Any]
Pair = tuple[tuple[str, int], tuple[str, int]]

_CANDIDATES = 12


def pairwise(
    factors: Mapping[str, Sequence[Any]],
    allowed: Callable[[Row], bool],
    seed: int = 0,
    apart: Collection[tuple[str, str]] = (),
    candidates: int = _CANDIDATES,
) -> list[Row]:
    """Return rows in which each pair of values of two factors occurs, where `allowed` permits it.

    Greedy: take a pair not yet seen, complete it at random a few times, and keep the completion
    that covers most of what is left. The same seed gives the same rows. Factors that are `apart`
    need not meet: two names, in the order of the alphabet.
    """
    rng = random.Random(seed)
    names = sorted(factors)
    levels = {name: range(len(factors[name])) for name in names}
    missing = {
        ((a, i), (b, j)): None
        for a, b in combinations(names, 2)
        if (a, b) not in apart
        for i in levels[a]
        for j in levels[b]
    }
    rows: list[Row] = []
    while missing:
        wanted = next(iter(missing))
        best: dict[str, int] = {}
        best_pairs: list[Pair] = []
        for _ in range(candidates):
            choice = {name: rng.choice(levels[name]) for name in names} | dict(wanted)
            if not allowed({name: factors[name][i] for name, i in choice.items()}):
                continue
            pairs = [pair for pair in combinations(choice.items(), 2) if pair in missing]
            if len(pairs) > len(best_pairs):
                best, best_pairs = choice, pairs
        for pair in best_pairs or [wanted]:
            del missing[pair]
        if best:
            rows.append({name: factors[name][i] for name, i in best.items()})
    return rows


def graded(
    factors: Mapping[str, Sequence[Any]],
    allowed: Callable[[Row], bool],
    apart: Collection[tuple[str, str]],
    seed: int = 0,
) -> tuple[list[Row], list[Row]]:
    """Return rows for every run, in which factors `apart` need not meet, and more for long ones.

    The pass, ``which``, is a factor like others in every run; in long ones each row has all passes.
    """
    rows = pairwise(factors, allowed, seed, apart, candidates=40)
    others = {name: values for name, values in factors.items() if name != "which"}
    every = [
        {**row, "which": which} for row in pairwise(others, allowed) for which in factors["which"]
    ]
    return rows, [row for row in every if row not in rows]
