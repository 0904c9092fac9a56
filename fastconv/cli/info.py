"""``fastconv info``: what was found on this machine."""

from importlib.metadata import PackageNotFoundError, version

import click
from rich.console import Console
from rich.table import Table

from .. import __version__
from ..machine import Machine, machine_info

_BESIDE = ("numba", "llvmlite", "numpy", "scipy", "ml_dtypes", "numba-cuda", "torch")


@click.command()
def info() -> None:
    """Say what was found on this machine."""
    table = Table.grid(padding=(0, 2))
    told = facts(machine_info())
    for name, value in told.items():
        table.add_row(name, value)
    # As wide as it is, so that a path is never cut in two.
    width = sum(max(map(len, column)) + 2 for column in (told.keys(), told.values()))
    Console(highlight=False, soft_wrap=True, width=width).print(table)


def facts(machine: Machine) -> dict[str, str]:
    """The facts about a machine, and the versions of what fastconv runs on, in words."""
    return {
        "fastconv": __version__,
        "processor": f"{machine.processor} ({machine.target})",
        "features": " ".join(machine.features) or "none that matter here",
        "vector width": f"{machine.vector_bits} bits, {machine.vector_bits // 32} float32",
        "threads": f"{machine.threads} ({machine.threading_layer})",
        "one thread": machine.alone,
        "GPU": machine.gpu or "none",
        "kernel cache": machine.cache_folder,
        **{package: _installed(package) for package in _BESIDE},
    }


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
