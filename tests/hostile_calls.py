"""Calls of public functions, made from their signatures, and how they refuse an argument."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

_LONGEST = 1000  # characters of a message


@dataclass(frozen=True)
class Call:
    """A public function, arguments by their names that it takes, and the kind of each."""

    name: str
    function: Callable[..., Any]
    good: dict[str, Any]
    kinds: dict[str, str]

    def __str__(self) -> str:
        return self.name

    def run(self, **changes: Any) -> Any:
        """Call it."""
        return self.function(**{**self.good, **changes})

    def refusal(self, errors: tuple[type[Exception], ...], **changes: Any) -> str:
        """What is wrong with how it refuses changed arguments; empty if nothing is."""
        out = self.good.get("out")
        if out is not None:
            out[...] = np.nan
        try:
            self.run(**changes)
        except errors as error:
            text = str(error)
            if not any(re.search(rf"\b{name}\b", text[:300]) for name in self.good):
                return f"{type(error).__name__} names no argument: {text[:200]}"
            if len(text) > _LONGEST:
                return f"{type(error).__name__} of {len(text)} characters"
            if out is not None and not np.isnan(out).all():
                return "written to out"
            return ""
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
        return "taken"


def calls(
    module: Any,
    make: Callable[[str, int], dict[str, Any]],
    kinds: dict[str, str],
    names: Any = None,
) -> Iterator[Call]:
    """The public functions of a module that take arguments."""
    for name in names or module.__all__:
        function = getattr(module, name)
        parameters = inspect.signature(function).parameters if callable(function) else ()
        digit = re.search(r"\d", name)
        given = make(name, int(digit[0]) if digit else 2)
        label = f"{module.__name__}.{name}"
        unknown = [each for each in parameters if each not in kinds or each not in given]
        assert not unknown, f"{label} has parameters that no kind is known of: {unknown}"
        if parameters:
            good_ones = {each: given[each] for each in parameters}
            yield Call(label, function, good_ones, {each: kinds[each] for each in parameters})
