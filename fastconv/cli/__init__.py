"""The command line, ``fastconv`` or ``python -m fastconv``: one module a command."""

import click

from .. import __version__
from . import check, example, explain, info


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fastconv")
def main() -> None:
    """Convolutions and their gradients, compiled by Numba on this machine."""


for command in (example.example, info.info, explain.explain, check.check):
    main.add_command(command)
