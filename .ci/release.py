"""Build the sdist and the wheel, and try the wheel as its users will.

``python .ci/release.py FOLDER`` leaves both in FOLDER. It fails unless the wheel, which is built
from the sdist, holds the package and nothing else, says of itself what an index asks for, and works
in a fresh environment from outside of the source tree.
"""

import email
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from configparser import ConfigParser
from pathlib import Path

from packaging.metadata import Metadata

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ("fastconv", "_fastconv_numba.py")  # what is installed
SOURCES = (
    *(*PACKAGE, "tests", "bench", "docs", "examples", "pyproject.toml", "setup.cfg"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
)
SCRIPTS = {
    "console_scripts": {"fastconv": "fastconv.__main__:main"},
    "numba_extensions": {"init": "_fastconv_numba:init"},
}


def tracked(*paths: str) -> set[str]:
    """The files under version control in these places; all of them where git knows of none."""
    command = ["git", "ls-files", "-z", "--", *paths]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return {name for path in paths for name in _below(ROOT / path)}
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}


def _below(path: Path) -> set[str]:
    """A file, or those in a folder that Python has not left there."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    names = {file.relative_to(ROOT).as_posix() for file in files}
    return {name for name in names if "__pycache__" not in name}


def built(folder: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def same(what: str, found: set[str], expected: set[str]) -> None:
    """Fail where two sets of files differ."""
    missing, more = sorted(expected - found), sorted(found - expected)
    if missing or more:
        sys.exit(f"{what} lacks {missing} and has {more} beside")


def check_sdist(sdist: Path) -> None:
    """Look at the names in an sdist."""
    with tarfile.open(sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    same("the sdist", found - {"PKG-INFO", ".gitignore"}, tracked(*SOURCES))


def check_wheel(wheel: Path) -> None:
    """Look at a wheel's files, entry points and metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        about = metadata.removesuffix("METADATA")
        same(
            "the wheel",
            {name for name in names if not name.startswith(about)},
            tracked(*PACKAGE),
        )
        if f"{about}licenses/LICENSE" not in names or "fastconv/py.typed" not in names:
            sys.exit("the wheel lacks its licence or the mark of its types")
        entries = ConfigParser()
        entries.read_string(archive.read(f"{about}entry_points.txt").decode())
        if {name: dict(entries[name]) for name in entries.sections()} != SCRIPTS:
            sys.exit(f"the wheel's entry points are {entries.sections()}")
        text = archive.read(metadata)
    told = Metadata.from_email(text, validate=True)  # as an index would
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    if told.description_content_type != "text/markdown" or told.description != readme:
        sys.exit("the description is not the README")
    if email.message_from_bytes(text).get_all("Requires-Dist") is None:
        sys.exit("the wheel needs nothing")


def try_wheel(wheel: Path, folder: Path) -> None:
    """Install a wheel in a new environment, and run it in another folder."""
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    python, elsewhere = str(scripts / "python"), folder / "elsewhere"
    elsewhere.mkdir()
    imported = f"import sys, fastconv; sys.exit(not fastconv.__file__.startswith({str(folder)!r}))"
    for command in (
        [python, "-m", "pip", "install", "--quiet", f"fastconv[cli] @ {wheel.as_uri()}"],
        [python, "-m", "pip", "check"],
        [python, "-W", "error", "-c", imported],
        [str(scripts / "fastconv"), "info"],
        [str(scripts / "fastconv"), "example"],
        [str(scripts / "fastconv"), "check", "--seconds", "0"],
    ):
        print("+", *command, flush=True)
        subprocess.run(command, cwd=elsewhere, check=True)


def main(folder: Path) -> None:
    """Build and check everything."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        sys.exit(f"{folder} is not empty")
    sdist, wheel = built(folder)
    check_sdist(sdist)
    check_wheel(wheel)
    with tempfile.TemporaryDirectory() as elsewhere:
        try_wheel(wheel, Path(elsewhere))
    print(f"{sdist.name} and {wheel.name} are ready")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
