"""Files exchanged whole: a crash leaves the old one or the new one."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Put a whole file in its place, durably: a crash leaves the old one or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    sync(path.parent)


def keep_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """`replace_file` of what is its owner's alone unless said otherwise; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content, mode)


def sync(path: Path) -> None:
    """What is in a file, or which names are in a folder, is on disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
