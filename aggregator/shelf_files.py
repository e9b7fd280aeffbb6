"""Pieces of a model's file: read and hashed whole once, then each piece by itself.

    ShelfFiles().piece(path, digest, 0)

A file that was found to be what it should be is that as long as nothing of it changed: neither its
size, nor its times, nor which file it is. A sealed file opens as a whole alone, every time.
"""

import os
from pathlib import Path
from threading import Lock
from typing import Final, TypeAlias

from aggregator import handing_out
from aggregator.errors import BrokenLineageError, MalformedModelError
from aggregator.stored import read_bytes
from federation import at_rest
from secure_compute import canonical
from secure_compute.canonical import JSON

_Mark: TypeAlias = tuple[int, ...]
_MOST: Final = 1000


class ShelfFiles:
    """Which files were found to be whole; threads may share it."""

    def __init__(self) -> None:
        self._found: dict[Path, tuple[_Mark, str]] = {}
        self._lock = Lock()

    def piece(self, path: Path, digest: str, begin: int) -> dict[str, JSON]:
        """Return a piece of the file that has this digest.

        Raises:
            BrokenLineageError: another one lies there.
            MalformedModelError: see `read_bytes`.
            MalformedMessageError: it begins nowhere.
        """
        part = self._known(path, digest, begin)
        return self._whole(path, digest, begin) if part is None else part

    def _known(self, path: Path, digest: str, begin: int) -> dict[str, JSON] | None:
        """Return a piece of a file that did not change since it was read whole."""
        if at_rest.vault_of(path) is not None or path not in self._found:
            return None
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if self._found.get(path) != (_mark(status), digest):
                    return None
                handing_out.require_within(begin, status.st_size)
                file.seek(begin)
                return handing_out.told(file.read(handing_out.PIECE), status.st_size, digest)
        except OSError as why:
            raise MalformedModelError(f"{path} cannot be read: {why.strerror}") from why

    def _whole(self, path: Path, digest: str, begin: int) -> dict[str, JSON]:
        try:
            mark = _mark(path.stat())  # before it is read: never that of a later file
        except OSError as why:
            raise MalformedModelError(f"{path} cannot be read: {why.strerror}") from why
        data = read_bytes(path)
        if canonical.digest_bytes(data) != digest:
            raise BrokenLineageError("another model lies there")
        with self._lock:
            if len(self._found) >= _MOST:
                self._found.clear()
            self._found[path] = (mark, digest)
        return handing_out.piece(data, begin)


def _mark(status: os.stat_result) -> _Mark:
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_dev, status.st_ino, status.st_size, *times)
