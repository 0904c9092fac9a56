"""A sample of the tests that compute passes, chosen by a rule: ``python -m pytest --sample``.

Of each test it keeps as few parameter sets as let every two values of any two parameters meet; the
geometries, of which a test has too many for that, take turns. A sample of the whole suite fails
unless it has run every kernel of the CPU backend, by some of its constants.
"""

import gc
import pkgutil
from collections import Counter, defaultdict
from collections.abc import Iterable
from importlib import import_module
from itertools import combinations
from typing import Any

import pytest

_FEW = 8  # a parameter of more values takes turns
_KERNELS = "kernels"


def sampled(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The tests to keep."""
    groups: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if hasattr(getattr(item, "module", None), "compute"):  # of `cases`
            groups[item.nodeid.partition("[")[0]].append(item)
    return [item for group in groups.values() for item in _covering(group)]


def _covering(items: list[pytest.Item]) -> list[pytest.Item]:
    """A few of one test's items, in which every pair of values of its short parameters meets."""
    settings = [_settings(item) for item in items]
    values: dict[str, set[str]] = defaultdict(set)
    for setting in settings:
        for name, value in setting.items():
            values[name].add(value)
    short = [name for name in values if len(values[name]) <= _FEW]
    pairs = [
        {tuple((name, setting.get(name)) for name in few) for few in _twos(short)}
        for setting in settings
    ]
    missing = set().union(*pairs)
    used: Counter[Any] = Counter()
    kept: list[int] = []
    while missing:
        # Most that is new, and of values that have been met as seldom as can be.
        best = max(
            range(len(items)),
            key=lambda i: (len(pairs[i] & missing), -sum(used[v] for v in settings[i].items())),
        )
        missing -= pairs[best]
        used.update(settings[best].items())
        kept.append(best)
    return [items[i] for i in sorted(kept)]


def _settings(item: pytest.Item) -> dict[str, str]:
    """A test's parameters, by name; values as text."""
    call = getattr(item, "callspec", None)
    return {} if call is None else {name: str(value) for name, value in call.params.items()}


def _twos(names: list[str]) -> list[tuple[str, ...]]:
    """All pairs of names, or all names where they are less than two."""
    return list(combinations(names, 2)) or [tuple(names)]


def factories() -> set[str]:
    """The names of the kernels of the CPU backend that this processor can run."""
    import fastconv.cpu
    from fastconv.cpu import simd

    names = set()
    for found in pkgutil.iter_modules(fastconv.cpu.__path__):
        module = import_module(f"fastconv.cpu.{found.name}")
        for name, value in vars(module).items():
            if hasattr(value, "fields") and getattr(value, "__module__", "") == module.__name__:
                names.add(f"{found.name}.{name}")
    return names if simd.MULTIPLIES_PAIRS else names - {"bfloat_pairs.zip_rows"}


def compiled() -> set[str]:
    """The names of the kernels that this process has compiled, or loaded from disk."""
    from fastconv.cpu.program import Kernel

    return {thing.name for thing in gc.get_objects() if isinstance(thing, Kernel)}


class Sample:
    """The plugin that keeps the sample, and looks at which kernels it has run."""

    def __init__(self) -> None:
        self._found: set[str] = set()
        self._left: set[str] = set()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        keep = set(sampled(items))
        config.hook.pytest_deselected(items=[item for item in items if item not in keep])
        items[:] = [item for item in items if item in keep]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist has ended."""
        self._found |= set(getattr(node, "workeroutput", {}).get(_KERNELS, ()))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        config = session.config
        if hasattr(config, "workeroutput"):
            config.workeroutput[_KERNELS] = sorted(compiled())
        elif config.args_source is pytest.Config.ArgsSource.TESTPATHS and session.testscollected:
            self._left = factories() - self._found - compiled()
            if self._left and not session.exitstatus:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._left:
            terminalreporter.write_line(f"kernels not run: {', '.join(sorted(self._left))}")
