"""What lies in a node's or an aggregator's folder is sealed where the folder has a vault.

A folder with a `vault.json` has one. Whoever reads or writes a secret names its path alone; the
vault is opened when it is first needed in a process, from the source that the folder's settings
name, and stays open while the process lives. There is no reading around it: in such a folder a
plain file is refused as a damaged one is, and without the vault a sealed file is.

A file is sealed as what it is, by its place in the folder, so no file can be put in another's
place; a database by its name (`federation.sqlite_files`).
"""

import os
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from federation.errors import LockedVaultError, SealedFileError
from federation.key_sources import NONE, Unwrapper, source_of
from federation.vault_file import NAME, VaultFile
from federation.whole_files import keep_file
from secure_compute.errors import UnopenedError
from secure_compute.primitives.node_keys import locked_pem
from secure_compute.primitives.vault import Vault, is_sealed

SETTINGS: Final = ("node.toml", "aggregator.toml")
_DEEPEST: Final = 4
"""How many folders above it a file's own folder is looked for."""
_LOCK: Final = threading.RLock()
_HELD: Final[dict[Path, Vault]] = {}


def vault_of(path: Path) -> tuple[Vault, str] | None:
    """Return the vault of the folder that a file is in, and the file's place there; None: no vault.

    Raises:
        LockedVaultError: there is one, and its key is not to be had.
    """
    place = os.path.abspath(path)  # noqa: PTH100  a link is where it stands, not where it leads
    for folder, vault, settings in _folders(place):
        if vault.exists() or (_HELD and folder.resolve() in _HELD):
            return unlock(folder), Path(place).relative_to(folder).as_posix()
        if any(name.exists() for name in settings):
            return None
    return None


@lru_cache(maxsize=1024)
def _folders(place: str) -> tuple[tuple[Path, Path, tuple[Path, ...]], ...]:
    """Return the folders above a file, and where the vault and the settings of each would lie."""
    above = Path(place).parents[:_DEEPEST]
    return tuple((one, one / NAME, tuple(one / name for name in SETTINGS)) for one in above)


def read(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        FileNotFoundError: there is none.
        LockedVaultError: see `vault_of`.
        SealedFileError: it does not open under the vault of its folder, or is not sealed.
    """
    return opened(path, path.read_bytes())


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put a whole file in its place, durably, sealed where its folder has a vault."""
    keep_file(path, sealed(path, data), mode)


def sealed(path: Path, data: bytes) -> bytes:
    """Return the bytes that lie on disk for a file that holds `data`."""
    found = vault_of(path)
    return data if found is None else found[0].seal(f"file:{found[1]}", data)


def opened(path: Path, data: bytes) -> bytes:
    """Return what a file holds whose bytes on disk are `data`; see `read`."""
    found = vault_of(path)
    if found is None and is_sealed(data):
        raise SealedFileError(
            f"{path} is sealed, and no {NAME} lies in its folder; restore the whole folder"
        )
    if found is None:
        return data
    if not is_sealed(data):
        raise SealedFileError(
            f"{path} is not sealed, and this folder has a vault: whoever put it there wrote past "
            "it; if it was you, run `vault init` of this folder again"
        )
    try:
        return found[0].open(f"file:{found[1]}", data)
    except UnopenedError as why:
        raise SealedFileError(f"{path} {why}; restore it from a copy of this folder") from why


class SealedFiles:
    """Private keys as `read` and `write` of this module lay them down."""

    def read(self, path: Path) -> bytes:
        """Return what the file holds."""
        return read(path)

    def write(self, path: Path, data: bytes) -> None:
        """Put a whole file in its place."""
        write(path, data)


FILES: Final = SealedFiles()


@contextmanager
def loadable(key: Path) -> Iterator[tuple[Path, bytes | None]]:
    """Give a private key, PEM, to a library that reads files only: a path, and its password.

    A sealed key is laid beside itself for the while, under a password made up for it; plain it
    never lies.
    """
    if vault_of(key) is None:
        yield key, None
        return
    pem, password = locked_pem(read(key))
    with TemporaryDirectory(dir=key.parent, prefix=".lent-") as name:
        path = Path(name) / key.name
        keep_file(path, pem)
        yield path, password


def unlock(folder: Path) -> Vault:
    """Return the vault of a folder that has one; its source is asked once in a process.

    Raises:
        LockedVaultError: its key is not to be had, or sealing the folder was cut off.
    """
    folder = folder.resolve()
    with _LOCK:
        if folder not in _HELD:
            file, source = vault_file(folder), source_named(folder)
            if file.converting:
                raise LockedVaultError(
                    f"sealing {folder} was cut off; run its `vault init` again, which goes on"
                )
            _HELD[folder] = file.unwrapped(source, folder)
        return _HELD[folder]


def hold(folder: Path, vault: Vault) -> None:
    """Take `vault` for that of a folder, in this process."""
    _HELD[folder.resolve()] = vault


def forget(folder: Path) -> None:
    """Ask again for the key of a folder's vault when it is needed next."""
    _HELD.pop(folder.resolve(), None)


def vault_file(folder: Path) -> VaultFile:
    """Return what a folder's `vault.json` says, of this folder.

    Raises:
        LockedVaultError: it is missing, damaged, or another folder's.
    """
    try:
        file = VaultFile.from_bytes((folder / NAME).read_bytes())
    except FileNotFoundError as why:
        raise LockedVaultError(f"{folder / NAME} is missing; restore it from a copy") from why
    if file.whose != whose(folder):
        raise LockedVaultError(
            f"{folder / NAME} is of {file.whose}, and this folder of {whose(folder)}; restore the "
            "one that belongs here"
        )
    return file


def require_vault(folder: Path, key: str) -> None:
    """Accept settings that say where a vault's key comes from if there is a vault, and only then.

    Raises:
        LockedVaultError: there is none, or the settings do not know of it.
    """
    is_there = (folder / NAME).exists()
    if key != NONE and not is_there and folder.resolve() not in _HELD:
        raise LockedVaultError(
            f"the settings of {folder} say that it is sealed ([at_rest] key = {key!r}), and "
            f"{NAME} is missing; restore it from a copy"
        )


def whose(folder: Path) -> str:
    """Return whose folder it is, as its settings say."""
    value = _settings(folder)
    return f"{value.get('party')} @ {value.get('federation')}"


def source_named(folder: Path) -> Unwrapper:
    """Return where the key of a folder's vault comes from, as its settings say.

    Raises:
        LockedVaultError: they do not.
    """
    found = _settings(folder).get("at_rest", {})
    try:
        source = source_of(found.get("key", NONE))
    except (ValueError, AttributeError) as why:
        raise LockedVaultError(f"the settings of {folder}: {why}") from why
    if source is None:
        raise LockedVaultError(
            f"{folder} has a vault, and its settings do not say where the key comes from: if "
            "`vault init` was cut off run it again, else restore [at_rest] there"
        )
    return source


def settings_path(folder: Path) -> Path:
    """Return the file of a folder's settings.

    Raises:
        LockedVaultError: there is none.
    """
    for name in SETTINGS:
        if (folder / name).exists():
            return folder / name
    raise LockedVaultError(f"{folder} is no folder of a node or an aggregator: it has no settings")


def _settings(folder: Path) -> dict[str, Any]:
    path = settings_path(folder)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as why:
        raise LockedVaultError(f"{path} is not TOML: {why}") from why
