"""A vault is opened by a supervisor, for the processes that it starts; loads next to nothing."""

import os
from pathlib import Path
from typing import Final

from federation import at_rest
from federation.vault_file import NAME

NAMED: Final = "ENTREPOT_PASSPHRASE"
"""The variable that a vault's passphrase is read from."""


def hand_on(folder: Path) -> None:
    """Open the vault of a folder here, so that child processes open it without anybody being asked.

    Raises:
        LockedVaultError: its key is not to be had.
    """
    if not (folder / NAME).exists():
        return
    source = at_rest.source_named(folder)
    if source.weak:
        os.environ[NAMED] = source.secret(folder).decode(errors="surrogateescape")
        os.environ.pop(f"{NAMED}_FD", None)
    at_rest.unlock(folder)
