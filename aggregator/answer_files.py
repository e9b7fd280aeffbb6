"""Sealed answers as files, `answers/ORDER.bin`: what they hold, only who asked can read."""

import os
from pathlib import Path

from federation.kept_answers import KeptAnswer


def keep_answer(folder: Path, order: str, kept: KeptAnswer) -> None:
    """Leave the whole answer in its file, mode 0600, or none; doing so again changes nothing."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = _path(folder, order)
    draft = path.with_suffix(".draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(kept.to_bytes())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    above = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(above)
    finally:
        os.close(above)


def fetch_answer(folder: Path, order: str) -> KeptAnswer:
    """Return the answer of an order.

    Raises:
        FileNotFoundError: there is none.
        MalformedMessageError: the file is damaged.
    """
    return KeptAnswer.read(_path(folder, order).read_bytes())


def _path(folder: Path, order: str) -> Path:
    return folder / f"{order}.bin"
