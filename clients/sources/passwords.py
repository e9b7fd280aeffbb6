"""A password, read at the moment it is needed from where `node.toml` says it is."""

import os
from collections.abc import Mapping
from pathlib import Path

from clients.errors import NodeSettingsError
from clients.sources.declared import Database


def password_of(
    place: Database, folder: Path, environment: Mapping[str, str] = os.environ
) -> str | None:
    """Return the password of a database's user; None where the operator names none.

    Raises:
        NodeSettingsError: it is not where it is said to be, or others can read it.
    """
    if place.password is None:
        return None
    way, _, name = place.password.partition(":")
    if way == "file":
        return _in_file(folder / name)
    if not environment.get(name):
        raise NodeSettingsError(
            f"the environment variable {name}, where the password of {place.user} for "
            f"{place.spoken} should be, is not set; set it and start again"
        )
    return environment[name]


def _in_file(path: Path) -> str:
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise NodeSettingsError(
            f"{path}, where a password should be, cannot be read as text; write it again"
        ) from None
    if mode & 0o077:
        raise NodeSettingsError(
            f"{path} holds a password and others can read it; chmod 600 it, and change the password"
        )
    return text.rstrip("\r\n")
