"""Print pip's constraints that hold what this project needs to the lowest versions it allows.

``python .ci/lowest.py EXTRA...``: of the dependencies, and of these extras.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement

_PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def lowest(extras: Iterable[str]) -> Iterator[str]:
    """A line for each requirement that holds here and has a lower bound."""
    project = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    for requirement in map(Requirement, lines):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        bounds = [bound.version for bound in requirement.specifier if bound.operator == ">="]
        if bounds:
            yield f"{requirement.name}=={bounds[0]}"


if __name__ == "__main__":
    print("\n".join(lowest(sys.argv[1:])))
