"""Files that are kept for other processes: found whole, or not at all.

They are a cache, so whatever goes wrong (no place to write, a full disk, a file cut short or
changed, several processes at once) costs no more than making their content anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from numba import config
from numba.misc.appdirs import AppDirs

from . import _sources

_DIGEST = hashlib.sha256().digest_size


class Store:
    """Files of one kind, each named by a hash of what its content depends on, after a word or two.

    A file is looked for in each of the folders, and written to the first that can be: kernels that
    were compiled while an image was built are found where only reading is allowed.
    """

    def __init__(self, kind: str) -> None:
        self._kind, self._name = kind, f"fastconv-{kind}"

    def load(self, key: str, words: str = "") -> bytes | None:
        """What was saved under a key and these words, if it is all there and as it was."""
        for folder in self.folders():
            content = _read(self._path(folder, key, words), key)
            if content is not None:
                return content
        return None

    def save(self, key: str, content: bytes, words: str = "") -> None:
        """Keep content under a key, unless this package has been replaced since it was imported.

        ``words`` tell whoever looks into the folder what a file is.
        """
        if _sources.unchanged():
            any(_written(self._path(folder, key, words), key, content) for folder in self.folders())

    def folders(self) -> Iterator[Path]:
        """The folder that Numba was given; if none was, one in the package, then one of the user's.

        There is none where the package has no source files to know its versions by.
        """
        if not _sources.HASH:
            return
        if config.CACHE_DIR:
            yield Path(config.CACHE_DIR) / self._name
            return
        yield Path(__file__).parent / "__pycache__" / self._name
        users = Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)
        if users.is_absolute():  # as it is not for who has no home
            yield users / self._name

    def place(self) -> Path | None:
        """The folder that files are written to now."""
        for folder in self.folders():
            probe = folder / f"{uuid4().hex}.probe"
            if _written(probe, "", b""):
                probe.unlink(missing_ok=True)
                return folder
        return None

    def _path(self, folder: Path, key: str, words: str) -> Path:
        digest = hashlib.sha256(f"{_sources.HASH} {key}".encode()).hexdigest()
        return folder / f"{words}{'-' * bool(words)}{digest[:40]}.{self._kind}"


def _digest(key: str, content: bytes) -> bytes:
    """What stands before the content, so that neither can be another's."""
    return hashlib.sha256(key.encode() + b"\0" + content).digest()


def _read(path: Path, key: str) -> bytes | None:
    try:
        held = path.read_bytes()
    except OSError:
        return None
    digest, content = held[:_DIGEST], held[_DIGEST:]
    return content if _digest(key, content) == digest else None


def _written(path: Path, key: str, content: bytes) -> bool:
    # Written aside and renamed, so that no other process reads half a file; and not by `tempfile`,
    # whose files other users could not read.
    aside = path.with_name(f"{path.name}.{uuid4().hex[:16]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "xb") as file:
            file.write(_digest(key, content) + content)
        aside.replace(path)
    except BaseException as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise  # a signal's
        return False
    return True
