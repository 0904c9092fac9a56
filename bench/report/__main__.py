"""``python -m bench.report``: benchmark files as one page."""

from pathlib import Path

import click

from bench.report.files import Unreadable, read_all


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    default=Path("report.html"),
    show_default=True,
)
def main(files: tuple[Path, ...], output: Path) -> None:
    """Make one HTML page of benchmark files: pictures, and a table behind each.

    Files are those of python -m bench, of pytest bench --benchmark-json (or --benchmark-save), and
    of python -m bench.gpu. Where two of them have cases in common, the page says what became
    faster or slower, each beside the last one before it. The page needs no other file and no
    network.
    """
    try:
        runs = read_all(files)
    except Unreadable as error:
        raise click.UsageError(str(error)) from error
    try:
        from bench.report.page import page
    except ImportError as error:
        package = (error.name or "more").partition(".")[0]
        sentence = f"a report needs {package}: pip install 'fastconv[report]'"
        raise click.ClickException(sentence) from error
    output.write_text(page(runs), encoding="utf-8")
    click.echo(f"written to {output}")


if __name__ == "__main__":
    main()
