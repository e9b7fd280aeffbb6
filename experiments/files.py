"""Files that a command line names: where nothing can be written is one sentence, said early."""

import os
from pathlib import Path

from experiments.errors import UsageError


def write(path: Path, data: bytes) -> None:
    """Write a file that somebody named.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        path.write_bytes(data)
    except OSError as why:
        raise _unwritable(path, why) from why


def make_folder(path: Path) -> None:
    """Make the folder `path` unless it is there, and those around it.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        raise _unwritable(path, why) from why


def require_place(path: Path) -> None:
    """Return if a file can be written at `path`, for who writes it much later; makes its folder.

    Raises:
        UsageError: it cannot be written there.
    """
    make_folder(path.parent)
    if path.is_dir():
        raise UsageError(f"{path} cannot be written: it is a folder; name a file in it")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path} cannot be written: no permission; name another place")


def _unwritable(path: Path, why: OSError) -> UsageError:
    return UsageError(f"{path} cannot be written: {why.strerror}; name another place")
