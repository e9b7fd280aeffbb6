"""Sealed answers as files, `answers/ORDER.bin`: what they hold, only who asked can read."""

from pathlib import Path

from federation import at_rest
from federation.kept_answers import KeptAnswer


def keep_answer(folder: Path, order: str, kept: KeptAnswer) -> None:
    """Leave the whole answer in its file, mode 0600, or none; doing so again changes nothing."""
    folder.mkdir(mode=0o700, exist_ok=True)
    at_rest.write(_path(folder, order), kept.to_bytes())


def fetch_answer(folder: Path, order: str) -> KeptAnswer:
    """Return the answer of an order.

    Raises:
        FileNotFoundError: there is none.
        MalformedMessageError: the file is damaged.
        SealedFileError: see `at_rest.read`.
    """
    return KeptAnswer.read(at_rest.read(_path(folder, order)))


def _path(folder: Path, order: str) -> Path:
    return folder / f"{order}.bin"
