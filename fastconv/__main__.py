"""``fastconv`` and ``python -m fastconv``: hand over to the command line, where it is installed."""

import sys
from importlib.util import find_spec

NEEDED = ("click", "rich")


def main() -> None:
    """Run the command line."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(f"the command line needs {' and '.join(missing)}: pip install 'fastconv[cli]'")
    from .cli import main as commands

    commands(prog_name="fastconv")


if __name__ == "__main__":
    main()
