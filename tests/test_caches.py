"""What is kept on disk: right whatever has happened to it, and never another version's."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripts import TESTS, run_script

from fastconv import _kept_files, _sources
from fastconv._kept_files import Store
from fastconv.cuda import ptx_files

PACKAGE = TESTS.parent / "fastconv"

#: counts how many kernels a process finds on disk, and how many it has to compile
COUNTED = """
from fastconv.cpu import kernel_cache

found = []
load = kernel_cache.KernelCache.load_overload
def counted(self, *how):
    found.append(load(self, *how) is not None)
    return load(self, *how)
kernel_cache.KernelCache.load_overload = counted
"""
#: one small convolution
CALL = f"""
import numpy as np
import fastconv
{COUNTED}
y = fastconv.conv1d(np.array([[[1.0, 2, 4, 8]]]), np.array([[[-1.0, 1]]]))
assert y.tolist() == [[[1, 2, 4]]], y
print(sum(found), len(found) - sum(found))
"""
#: two kernels of one factory, as those of tiles are, which take less time to compile
SMALL = f"""
import ctypes, os
from numba import types
from fastconv.cpu.program import c_function
{COUNTED}
def factory(n):
    def kernel(x):
        return x * 16 + n
    return kernel

def check(n):
    made = c_function(factory(n), (types.int64,), types.int64)
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(made.address)(3) == 48 + n

for n in (1, 2) if os.getpid() % 2 else (2, 1):
    check(n)
print(sum(found), len(found) - sum(found))
"""


def called(script: str, folder: Path | str, **environment: str) -> tuple[int, int]:
    """How many kernels a process found there, and how many it compiled."""
    found, made = map(int, run_script(script, NUMBA_CACHE_DIR=str(folder), **environment).split())
    return found, made


def kernels(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.kernel"))


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".kernel"]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda held: b"",
    "cut short": lambda held: held[: len(held) // 2],
    "its end is gone": lambda held: held[:-1],
    "its head is gone": lambda held: held[32:],
    "zeros": lambda held: bytes(len(held)),
    "one bit": lambda held: held[:2000] + bytes([held[2000] ^ 1]) + held[2001:],
    "longer": lambda held: held + b"more",
    "something else": lambda held: b"not a kernel",
}


def test_damaged_kernels_are_compiled_anew(tmp_path: Path) -> None:
    """Each of the files in another way; then all are whole again."""
    assert called(CALL, tmp_path) == (0, 3)
    files = kernels(tmp_path)
    sizes = [path.stat().st_size for path in files]
    for path, name in zip(files, ("empty", "cut short", "one bit"), strict=True):
        path.write_bytes(DAMAGES[name](path.read_bytes()))
    assert called(CALL, tmp_path) == (0, 3)
    assert [path.stat().st_size for path in kernels(tmp_path)] == pytest.approx(sizes, rel=0.01)
    assert called(CALL, tmp_path) == (3, 0)
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_files_are_whole_or_not_there(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    store = kept_in(tmp_path)
    content = bytes(range(256)) * 20
    store.save("a key", content)
    (path,) = tmp_path.rglob("*.test")
    path.write_bytes(damage(path.read_bytes()))
    assert store.load("a key") is None
    store.save("a key", content)
    assert store.load("a key") == content
    assert store.load("another") is None


def test_a_file_under_the_name_of_another_is_not_taken_for_it(tmp_path: Path) -> None:
    store = kept_in(tmp_path)
    store.save("a key", b"content")
    (path,) = tmp_path.iterdir()
    store.save("another", b"other content")
    (other,) = set(tmp_path.iterdir()) - {path}
    path.replace(other)
    assert store.load("another") is None
    path.mkdir()  # a folder in a file's place
    assert store.load("a key") is None
    store.save("a key", b"content")
    assert not [file for file in tmp_path.iterdir() if file.suffix == ".part"]


def kept_in(*folders: Path) -> Store:
    store = Store("test")
    store.folders = lambda: iter(folders)  # type: ignore[method-assign]
    return store


def test_a_file_is_found_where_only_reading_is_allowed(tmp_path: Path) -> None:
    """As kernels are that were compiled while an image was built."""
    first, second = tmp_path / "first", tmp_path / "second"
    kept_in(first).save("a key", b"early")
    store = kept_in(first, second)
    assert store.load("a key") == b"early"
    shutil.rmtree(first)
    first.write_text("a file in the folder's place")
    store.save("a key", b"late")
    assert store.load("a key") == b"late"
    assert store.place() == second
    assert not leftovers_of(second)


def leftovers_of(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix != ".test"]


def test_nothing_is_left_of_what_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, target: Any) -> None:
        raise OSError(28, "No space left on device")

    def interrupted(path: Path, target: Any) -> None:
        raise KeyboardInterrupt

    store = kept_in(tmp_path)
    monkeypatch.setattr(Path, "replace", full)
    store.save("a key", b"content")
    assert store.load("a key") is None
    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.save("a key", b"content")
    assert list(tmp_path.iterdir()) == []


def test_files_can_be_read_by_other_users(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        kept_in(tmp_path).save("a key", b"content")
    finally:
        os.umask(before)
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("in the folder's place")
    assert called(SMALL, place / "cache") == (0, 2)
    script = "from fastconv.machine import machine_info; print(machine_info().cache_folder)"
    told = run_script(script, NUMBA_CACHE_DIR=str(place / "cache"))
    assert told == "none: no folder can be written\n"
    assert run_script(script, NUMBA_CACHE_DIR=str(tmp_path)) == f"{tmp_path}/fastconv-kernel\n"
    assert not list((tmp_path / "fastconv-kernel").iterdir())


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="needs to be root")
def test_another_user_who_may_only_read(open_folder: Path) -> None:
    """And has no home: what is there is found, and nothing is written, nor beside the package."""
    # What is imported may be closed to others; it is imported before.
    imports = "import numba, os, fastconv.cpu.program; numba.njit(lambda x: x + 1)(1)\n"
    user = f"{imports}os.setgid(65534); os.setuid(65534)\n"
    root = f"{imports}\n"  # of as many lines, which kernels are known by
    homeless = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent/cache"}
    assert called(root + SMALL, open_folder) == (0, 2)
    before = sorted(open_folder.rglob("*"))
    assert called(user + SMALL, open_folder, **homeless) == (2, 0)
    assert sorted(open_folder.rglob("*")) == before
    assert called(user + SMALL, "", **homeless) == (0, 2)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limits")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """No file may grow beyond a kilobyte: what is compiled runs, and nothing is left."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
    assert called(limit + SMALL, tmp_path) == (0, 2)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_eight_processes_that_start_at_once(tmp_path: Path) -> None:
    """All are right, whoever is first and whatever it compiles first; and so is what they leave."""
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: called(SMALL, tmp_path), range(8)))
    assert {sum(count) for count in counts} == {2}
    assert called(SMALL, tmp_path) == (2, 0)
    assert len(kernels(tmp_path)) == 2
    assert not leftovers(tmp_path)


def test_another_processor_has_kernels_of_its_own(tmp_path: Path) -> None:
    assert called(SMALL, tmp_path) == (0, 2)
    assert called(SMALL, tmp_path, NUMBA_CPU_NAME="nocona") == (0, 2)
    assert len(kernels(tmp_path)) == 4
    assert called(SMALL, tmp_path) == (2, 0)


# An upgrade, and functions of users


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package, and a module that calls it in nopython code."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "site" / "fastconv", ignore=ignored)
    (tmp_path / "site" / "user_of_fastconv.py").write_text(USER)
    return tmp_path / "site"


USER = """
from numba import njit
import fastconv

@njit(cache=True)
def inner(x, w):
    return fastconv.conv1d(x, w)

@njit(cache=True)
def outer(x, w):
    return 2 * inner(x, w)
"""
USES = """
import sys
sys.path.insert(0, {site!r})
import numba
import user_of_fastconv as user
assert user.fastconv.__file__.startswith({site!r})
{small}
arrays = numba.float64[:, :, ::1]
user.outer.compile((arrays, arrays))
print(*(sum(f.stats.cache_hits.values()) for f in (user.inner, user.outer)))
"""


def test_an_upgrade_finds_nothing_of_another_version(copy: Path, tmp_path: Path) -> None:
    """Neither kernels nor users' functions, whose own sources have not changed."""
    script = USES.format(site=str(copy), small=SMALL)
    folder = str(tmp_path / "cache")
    assert run_script(script, NUMBA_CACHE_DIR=folder) == "0 2\n0 0\n"
    assert run_script(script, NUMBA_CACHE_DIR=folder) == "2 0\n0 1\n"
    jit = copy / "fastconv" / "jit.py"  # which no kernel is made of, and users' functions are
    jit.write_text(jit.read_text() + "\n# another version\n")
    assert run_script(script, NUMBA_CACHE_DIR=folder) == "0 2\n0 0\n"
    assert run_script(script, NUMBA_CACHE_DIR=folder) == "2 0\n0 1\n"


def test_a_process_that_outlives_an_upgrade_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What it compiles is of sources that are gone, and may not be taken for the new ones'."""
    store = kept_in(tmp_path)
    store.save("a key", b"content")
    assert store.load("a key") == b"content"
    monkeypatch.setattr(_sources, "_hash", lambda: "the hash of another version")
    store.save("another", b"content")
    assert store.load("another") is None


def test_a_package_without_sources_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sources, "HASH", "")
    assert list(Store("test").folders()) == []
    assert not _sources.unchanged()


def test_every_source_file_counts(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = copy / "fastconv"
    monkeypatch.setattr(_sources, "_PACKAGE", package)
    assert _sources._hash() == _sources.HASH
    for name in ("_arguments.py", "lowering.py", "jit.py", "_nopython/forms.py", "cuda/simt.py"):
        path = package / name
        before = path.read_bytes()
        path.write_bytes(before + b"#")
        assert _sources._hash() != _sources.HASH, name
        path.write_bytes(before)
    (package / "columns.py").rename(package / "rows.py")
    assert _sources._hash() != _sources.HASH


def test_a_witness_is_read_back_under_its_own_sources_alone() -> None:
    from fastconv.cpu.witness import WITNESS, OutdatedError, read_back

    read, arguments = WITNESS.__reduce__()
    assert read is read_back
    assert read_back(*arguments) is WITNESS
    for other in ("", "another hash"):
        with pytest.raises(OutdatedError):
            read_back(other)
    assert issubclass(OutdatedError, OSError)  # which Numba takes for a file that is gone


def test_machine_code_of_another_version_is_an_error_if_it_runs_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fastconv._nopython import forms

    text = forms.Schema("conv", 1, True, ()).text
    here = forms.key(text)
    monkeypatch.setattr(_sources, "HASH", "another hash")
    assert forms.key(text) != here


# PTX


def test_ptx_that_is_damaged_is_compiled_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_kept_files, "config", SimpleNamespace(CACHE_DIR=str(tmp_path)))
    text = ".entry text\n" * 400
    assert ptx_files.save("a kernel", text) == text
    assert ptx_files.load("a kernel") == text
    (path,) = tmp_path.rglob("*.ptx")
    for damage in DAMAGES.values():
        path.write_bytes(damage(path.read_bytes()))
        assert ptx_files.load("a kernel") is None
        ptx_files.save("a kernel", text)
        assert ptx_files.load("a kernel") == text
