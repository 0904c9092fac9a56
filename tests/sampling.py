"""A sample of the tests that take a geometry, chosen by a rule: ``python -m pytest --sample``.

Of each it keeps as few parameter sets as have every value of each parameter, and let every two
values meet of those with two: layouts, dtypes, algorithms. Geometries take turns. A sample of the
whole suite fails unless it has run every kernel of the CPU backend, by some of its constants.
"""

import gc
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import kernel_factories
import pytest

_FEW = 2  # values of a parameter whose pairs with others are to meet
_KERNELS = "kernels"


def sampled(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The tests to keep."""
    groups: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if any(map(_is_geometry, _parameters(item).values())):
            groups[item.nodeid.partition("[")[0]].append(item)
    return [item for group in groups.values() for item in _covering(group)]


def _is_geometry(value: Any) -> bool:
    from cases import Case  # which imports Numba

    return isinstance(value, Case)


def _parameters(item: pytest.Item) -> dict[str, Any]:
    """A test's parameters, by name."""
    call = getattr(item, "callspec", None)
    return {} if call is None else dict(call.params)


def _covering(items: list[pytest.Item]) -> list[pytest.Item]:
    """A few of one test's items, in which all values occur and pairs of short parameters meet."""
    settings = [{name: str(value) for name, value in _parameters(item).items()} for item in items]
    values: dict[str, set[str]] = defaultdict(set)
    for setting in settings:
        for name, value in setting.items():
            values[name].add(value)
    geometries = {n for item in items for n, v in _parameters(item).items() if _is_geometry(v)}
    names = [name for name in values if name not in geometries]
    short = [name for name in names if len(values[name]) <= _FEW]
    wanted = [(name,) for name in names] + list(combinations(short, 2)) or [()]
    met = [
        {tuple((name, setting.get(name)) for name in few) for few in wanted} for setting in settings
    ]
    missing = set().union(*met)
    used: Counter[Any] = Counter()
    kept: list[int] = []
    while missing:
        # Most that is new, and of values that have been met as seldom as can be.
        best = max(
            range(len(items)),
            key=lambda i: (len(met[i] & missing), -sum(used[v] for v in settings[i].items())),
        )
        missing -= met[best]
        used.update(settings[best].items())
        kept.append(best)
    return [items[i] for i in sorted(kept)]


def factories() -> set[str]:
    """The names of the kernels of the CPU backend that this processor can run."""
    from fastconv.cpu import simd

    names = kernel_factories.factories("cpu", "reads")
    return names if simd.MULTIPLIES_PAIRS else names - {"bfloat_pairs.zip_rows"}


def compiled() -> set[str]:
    """The names of the kernels that this process has compiled, or loaded from disk."""
    from fastconv.cpu.program import Kernel

    # Not isinstance, which would have other libraries' proxies look for what they stand for.
    return {thing.name for thing in gc.get_objects() if type(thing) is Kernel}


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
        elif (
            config.args_source is pytest.Config.ArgsSource.TESTPATHS
            and not config.option.collectonly
        ):
            self._left = factories() - self._found - compiled()
            if self._left and not session.exitstatus:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._left:
            terminalreporter.write_line(f"kernels not run: {', '.join(sorted(self._left))}")
