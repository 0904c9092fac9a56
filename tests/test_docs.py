"""The documentation: its examples give what they show, its commands are taken, its site builds."""

import contextlib
import doctest
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from report_files import rows, write_rows
from scripts import run_script
from test_bench_roofline import row

import fastconv
from bench import auto, compare, in_dask, in_jax, tables, torch_training, variants
from bench import signal as bench_signal
from bench.__main__ import main as bench_command
from bench.gpu.__main__ import main as gpu_command
from bench.report.__main__ import main as report_command
from bench.suites import SUITES
from bench.summary import table
from fastconv.cli import main as fastconv_command

markdown_it = pytest.importorskip("markdown_it")  # comes with Rich

ROOT = Path(__file__).resolve().parent.parent
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"
PAGES = sorted(DOCS.rglob("*.md"))
DEVICE_PAGE = DOCS / "howto" / "gpu.md"
BENCH_PAGE = DOCS / "howto" / "report.md"
SITE = ("sphinx", "furo", "myst_parser", "numpydoc", "sphinx_click", "sphinx_copybutton")
# The libraries that pages of these names are about.
ADAPTERS = {"dask": "dask.array", "jax": "jax", "pytorch": "torch"}

sys.path.insert(0, str(EXAMPLES))

FIGURES = doctest.register_optionflag("FIGURES")  # any number stands for any other
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")
_BORDER = re.compile(r"[─━┏┳┓┡╇┩└┴┘]+")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``line`` is that of its first line of text, counted from 0."""

    language: str
    text: str
    line: int


@cache
def blocks(page: Path) -> list[Block]:
    """The fenced blocks that are no directives."""
    tokens = markdown_it.MarkdownIt().parse(page.read_text(encoding="utf-8"))
    fences = [token for token in tokens if token.type == "fence"]
    return [
        Block(token.info.strip(), token.content, token.map[0] + 1)
        for token in fences
        if not token.info.startswith("{")
    ]


def of_language(language: str) -> list[object]:
    """The blocks of a language as a test's parameters."""
    return [
        pytest.param(block, id=f"{page.relative_to(DOCS)}:{block.line}")
        for page in PAGES
        for block in blocks(page)
        if block.language == language
    ]


class Checker(doctest.OutputChecker):
    """Knows `FIGURES`."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        if optionflags & FIGURES:
            want, got = (_BORDER.sub("-", _NUMBER.sub("#", text)) for text in (want, got))
        return super().check_output(want, got, optionflags)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_block_is_run(page: Path) -> None:
    languages = {block.language for block in blocks(page)}
    device, shown = {"py"} & languages, {"text"} & languages
    assert languages <= {"pycon", "sh", "console", "py", "text"}
    assert page == DEVICE_PAGE or not device, "only test_device_code runs such a block"
    assert page == BENCH_PAGE or not shown, "no test looks at it"


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.language == "pycon" for block in blocks(page))],
    ids=lambda page: str(page.relative_to(DOCS)),
)
def test_examples(page: Path) -> None:
    """The blocks of a page are one session, from the first to the last."""
    if page.stem in ADAPTERS:
        pytest.importorskip(ADAPTERS[page.stem])
    if "import torch" in page.read_text(encoding="utf-8"):
        pytest.importorskip("torch")
    lines = [""] * (page.read_text(encoding="utf-8").count("\n") + 1)
    for block in blocks(page):
        if block.language == "pycon":
            text = block.text.splitlines()
            lines[block.line : block.line + len(text)] = text
    name = str(page.relative_to(ROOT))
    session = doctest.DocTestParser().get_doctest("\n".join(lines), {}, name, str(page), 0)
    assert session.examples
    told = io.StringIO()
    runner = doctest.DocTestRunner(Checker(), verbose=False, optionflags=OPTIONS)
    failed = runner.run(session, out=told.write).failed
    assert not failed, told.getvalue()


@pytest.mark.parametrize("block", of_language("py"))
def test_device_code(block: Block) -> None:
    """Numba's arrays need no GPU: its simulator runs the same kernels."""
    pytest.importorskip("numba_cuda")
    compile(block.text, str(DEVICE_PAGE), "exec")
    if "import torch" in block.text:
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("PyTorch's arrays need a GPU")
        run_script(block.text)
        return
    ready = "import simulator; simulator.share_arrays_safely()\n"
    run_script(ready + block.text, NUMBA_ENABLE_CUDASIM="1")


# Commands, by the words that they begin with.


def _parsed(command: click.Command, name: str, arguments: list[str]) -> None:
    """A usage error where the command does not know the arguments."""
    if isinstance(command, click.Group) and arguments:
        within = command.commands[arguments[0]]
        return _parsed(within, f"{name} {arguments[0]}", arguments[1:])
    if set(arguments) & {"-h", "--help"}:
        return None
    command.make_context(name, list(arguments))
    return None


def _installed(arguments: list[str]) -> None:
    assert arguments[0] == "install"
    given = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = given["optional-dependencies"]
    for argument in arguments[1:]:
        name, _, asked = argument.rstrip("]").partition("[")
        assert name in ("-e", ".", given["name"]), argument
        assert set(filter(None, asked.split(","))) <= set(extras), argument


@cache
def _pytest_help() -> str:
    command = [sys.executable, "-m", "pytest", "bench", "--help", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _tested(arguments: list[str]) -> None:
    for argument in arguments:
        if argument.startswith("-"):
            option = argument.partition("=")[0]
            assert re.search(rf"{option}\b", _pytest_help()), argument
        else:
            value = argument in SUITES or argument.isdecimal()  # of the option before
            assert value or (ROOT / argument).exists(), argument


def _python(arguments: list[str]) -> None:
    if arguments[0] != "-m":
        assert (ROOT / arguments[0]).exists(), arguments
    elif arguments[1] == "pytest":
        _tested(arguments[2:])
    elif arguments[1] == "fastconv":
        _parsed(fastconv_command, "fastconv", arguments[2:])
    elif arguments[1] != "venv":
        _parsed(BENCHMARKS[arguments[1]], arguments[1], arguments[2:])


def _site_built(arguments: list[str]) -> None:
    assert arguments[-2:] == ["docs", "docs/_build"]


BENCHMARKS: dict[str, click.Command] = {
    "bench": bench_command,
    "bench.auto": auto.main,
    "bench.compare": compare.main,
    "bench.gpu": gpu_command,
    "bench.in_dask": in_dask.main,
    "bench.in_jax": in_jax.main,
    "bench.report": report_command,
    "bench.signal": bench_signal.main,
    "bench.tables": tables.main,
    "bench.torch_training": torch_training.main,
    "bench.variants": variants.main,
}
COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "fastconv": lambda arguments: _parsed(fastconv_command, "fastconv", arguments),
    "pip": _installed,
    "pytest": _tested,
    "python": _python,
    "sphinx-build": _site_built,
}
VARIABLES = ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a block, without the variables that are set for it."""
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            assert words.pop(0).partition("=")[0] in VARIABLES
        if words:
            yield words


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: two files of benchmarks in it, a machine of 100 GFLOP/s around it."""
    write_rows(tmp_path / "old.json", rows())
    write_rows(tmp_path / "new.json", rows())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fastconv.cli.explain.fma_peak", lambda dtype, threads: 100.0 * threads)
    monkeypatch.setattr("fastconv.cli.explain.copy_bandwidth", lambda threads: 20.0 * threads)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("block", of_language("sh"))
def test_commands_are_taken(block: Block) -> None:
    """They are parsed by what they call: most would take minutes, or install something."""
    found = list(commands(block.text))
    assert found
    for program, *arguments in found:
        COMMANDS[program](arguments)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("block", of_language("console"))
def test_commands_print_what_is_shown(block: Block) -> None:
    """The first line is a command, the others what it prints but for numbers."""
    first, _, shown = block.text.partition("\n")
    (words,) = commands(first.removeprefix("$ "))
    flags = OPTIONS | FIGURES
    printed = _printed(words)
    assert Checker().check_output(shown, printed, flags), printed


def _printed(words: list[str]) -> str:
    if words[0] == "python" and words[1] != "-m":
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")
        return printed.getvalue()
    command, arguments = fastconv_command, words[1:]
    if words[0] == "python":
        command, arguments = BENCHMARKS[words[2]], words[3:]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_benchmark_table_has_the_headings_shown() -> None:
    (shown,) = (block.text for block in blocks(BENCH_PAGE) if block.language == "text")
    headings = [str(column.header) for column in table([row()]).columns]
    assert shown.splitlines()[0].split() == " ".join(headings).split()


# The site.


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as continuous integration builds it: a warning is an error."""
    for name in (*SITE, *ADAPTERS.values()):
        pytest.importorskip(name, reason=f"the docs need {name}: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    ended = subprocess.run(
        [*command, "-d", str(folder / "doctrees"), str(DOCS), str(folder / "html")],
        cwd=ROOT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder / "html"


def test_site_describes_every_public_name(site: Path) -> None:
    text = "".join(page.read_text() for page in (site / "reference").glob("*.html"))
    missing = [name for name in fastconv.__all__ if f'id="fastconv.{name}"' not in text]
    assert not missing


def test_site_needs_no_network(site: Path) -> None:
    fetched = re.compile(r'<(?:link|script|img|iframe|source)\b[^>]*?(?:href|src)="([^"]*)"')
    for page in site.rglob("*.html"):
        for reference in fetched.findall(page.read_text()):
            assert not re.match(r"(?:[a-z]+:)?//", reference), f"{page.name} fetches {reference}"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text()
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:[a-z]+:)?//", text), sheet.name


def test_site_is_of_the_pages_here(site: Path) -> None:
    made = {page.relative_to(site).with_suffix("") for page in site.rglob("*.html")}
    assert {page.relative_to(DOCS).with_suffix("") for page in PAGES} <= made
