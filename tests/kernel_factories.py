"""Lists the factories of kernels, from the sources, and says which of them no test compiled.

``python tests/kernel_factories.py FOLDER...`` reads what a run of all tests left on disk.
"""

import ast
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent / "fastconv"


def factories(backend: str, mark: str) -> set[str]:
    """Return MODULE.FACTORY of each function of a backend that calls `mark`, or is marked by it.

    Factories in ``cpu`` are marked by `reads`; those in ``cuda`` return a kernel and its `Blocks`.
    """
    return {
        f"{path.stem}.{node.name}"
        for path in (_PACKAGE / backend).glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and any(_calls(part, mark) for part in ast.walk(node))
    }


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def compiled(cache: Path) -> set[str]:
    """Return MODULE.FACTORY of each kernel of ``cpu`` in a cache folder."""
    return {path.name.partition("-")[0] for path in cache.glob("fastconv-kernel/*.kernel")}


if __name__ == "__main__":
    every = factories("cpu", "reads")
    if missing := every.difference(*(compiled(Path(folder)) for folder in sys.argv[1:])):
        sys.exit(f"no test compiled {', '.join(sorted(missing))}")
    print(f"{len(every)} factories of kernels, all compiled")
