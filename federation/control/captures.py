"""A capture: every payload one party sent, in order, written down before it was sent.

    PARTY.cap     every message as its sender signed it
    PARTY.wire    the same as it left: sealed

Each record is the payload's length (8 bytes, big endian) and the payload. A record that was
cut short by a crash was never sent; it is removed when the capture is opened again.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

WIRE = ".wire"
"""How the name of a capture ends in which payloads stand as they left."""

_HEADER = 8


class Capture:
    """An append-only capture file; several threads may share one object, processes may not."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.ftruncate(self._file, _whole_length(path))

    def append(self, payload: bytes) -> None:
        """The payload is in the file: a crash of this process can no longer lose it."""
        record = memoryview(len(payload).to_bytes(_HEADER, "big") + payload)
        with self._lock:
            while record:
                record = record[os.write(self._file, record) :]

    def close(self) -> None:
        """The file is closed."""
        os.close(self._file)


def captures(folder: Path, party: str) -> tuple[Capture, Capture]:
    """Return the captures of a party's folder: of what it signs, and of what leaves."""
    own = folder / "captures"
    return Capture(own / f"{party}.cap"), Capture(own / f"{party}{WIRE}")


def read_capture(path: Path) -> Iterator[bytes]:
    """Every whole record of the file, oldest first; a record cut short at the end is left out."""
    with path.open("rb") as file:
        while len(header := file.read(_HEADER)) == _HEADER:
            length = int.from_bytes(header, "big")
            if length > os.fstat(file.fileno()).st_size - file.tell():
                return
            yield file.read(length)


def _whole_length(path: Path) -> int:
    return sum(_HEADER + len(payload) for payload in read_capture(path))
