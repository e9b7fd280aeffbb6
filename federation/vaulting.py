"""Giving a folder a vault, and opening the vault another way.

A plain folder is sealed file by file: what each holds is written sealed beside it, is on disk, and
takes its place. Until the last one is, `vault.json` says that this goes on, and nothing opens the
folder but `seal_folder`, which goes on where it was cut off. What disks keep of files that were
replaced is not in its power.
"""

import re
import sqlite3
import stat
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from federation import at_rest
from federation.errors import LockedVaultError
from federation.key_sources import Unwrapper
from federation.sqlite_files import PLAIN_HEADER, seal_into
from federation.vault_file import NAME, VaultFile, new_vault, wrapped
from federation.whole_files import replace_file, sync
from secure_compute.primitives.vault import MAGIC, SCRYPT_COST, Vault, is_sealed

_PATIENCE: Final = 2.0
"""Seconds that another program may still hold a database."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Which files of a folder hold secrets: names of databases, and patterns of other files."""

    databases: tuple[str, ...]
    files: tuple[str, ...]

    def paths(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Return the databases and the other files that are there."""
        databases = [path for name in self.databases if (path := folder / name).is_file()]
        return databases, sorted({p for form in self.files for p in folder.glob(form)})


def seal_folder(
    folder: Path,
    contents: Contents,
    source: Unwrapper,
    secret: bytes,
    cost: int = SCRYPT_COST,
) -> list[Path]:
    """Seal what is plain among the contents of a folder that nobody uses; return what was.

    secret: of `source`; it opens the vault that is there already, if sealing was cut off.
    cost:   of scrypt, where the secret is a person's and the vault is new.

    Raises:
        LockedVaultError: another program holds a file; or the vault that is there has another key.
    """
    folder = folder.resolve()
    databases, files = contents.paths(folder)
    _require_own((*databases, *files))
    plain = [path for path in databases if _begins(path) == PLAIN_HEADER]
    for path in plain:
        _fold(path)
    vault, file = _vault(folder, source, secret, cost)
    _keep(folder, replace(file, converting=True))
    name_source(folder, source)
    done = [*plain, *(path for path in files if not is_sealed(path.read_bytes()))]
    for path in done:
        seal = _seal_database if path in plain else _seal_file
        seal(folder, path, vault)
    _keep(folder, replace(file, converting=False))
    at_rest.hold(folder, vault)
    return done


def opened_anew(folder: Path) -> Vault:
    """Return the vault of a folder, its source asked although this process may know it.

    Raises:
        LockedVaultError: its key is not to be had.
    """
    at_rest.forget(folder)
    return at_rest.unlock(folder)


def change_source(
    folder: Path, vault: Vault, source: Unwrapper, secret: bytes, cost: int = SCRYPT_COST
) -> None:
    """Let another secret open the vault of a folder from now on, and the old one no more.

    A process that is killed on the way leaves a vault that opens as its settings then say.
    """
    folder, file = folder.resolve(), at_rest.vault_file(folder)
    new = wrapped(vault, file.whose, source, secret, cost=cost)
    others = tuple(wrap for wrap in file.wraps if wrap.source != source.text)
    _keep(folder, replace(file, wraps=(*others, new)))
    name_source(folder, source)
    _keep(folder, replace(file, wraps=(new,)))


def name_source(folder: Path, source: Unwrapper) -> None:
    """Leave the settings of a folder saying where its vault's key comes from.

    Raises:
        LockedVaultError: [at_rest] there is written in a way that only its writer can change.
    """
    path = at_rest.settings_path(folder)
    text, line = path.read_text(encoding="utf-8"), f"key = {_quoted(source.text)}"
    found = re.search(r"^\[at_rest\][ \t]*\r?\n(key[ \t]*=.*)$", text, re.MULTILINE)
    if found is not None:
        changed = text[: found.start(1)] + line + text[found.end(1) :]
    else:
        changed = f"{text.rstrip()}\n\n[at_rest]\n{line}\n"
    try:
        said = tomllib.loads(changed)["at_rest"]["key"]
    except (tomllib.TOMLDecodeError, KeyError, TypeError):
        said = None
    if said != source.text:
        raise LockedVaultError(
            f"write `[at_rest]` and `{line}` into {path} by hand, then try again"
        )
    if changed != text:
        replace_file(path, changed.encode(), stat.S_IMODE(path.stat().st_mode))


def plain_files(folder: Path, contents: Contents) -> list[Path]:
    """Return which files of the contents are not sealed."""
    databases, files = contents.paths(folder)
    return [
        *(path for path in databases if _begins(path) == PLAIN_HEADER),
        *(path for path in files if not is_sealed(_begins(path))),
    ]


def _require_own(paths: Iterable[Path]) -> None:
    """Accept files that lie in the folder; sealing a link would leave what it leads to plain."""
    for path in paths:
        if path.is_symlink():
            raise LockedVaultError(
                f"{path} is a link; put the file itself there, then seal the folder"
            )


def _vault(folder: Path, source: Unwrapper, secret: bytes, cost: int) -> tuple[Vault, VaultFile]:
    """Return the vault that sealing was begun with, or a new one."""
    if (folder / NAME).exists():
        file = at_rest.vault_file(folder)
        return file.unwrapped(_Known(source, secret), folder), file
    vault, whose = new_vault(), at_rest.whose(folder)
    return vault, VaultFile(whose, (wrapped(vault, whose, source, secret, cost=cost),))


@dataclass(frozen=True, slots=True)
class _Known:
    """A source that was asked already."""

    source: Unwrapper
    known: bytes

    @property
    def text(self) -> str:
        return self.source.text

    @property
    def weak(self) -> bool:
        return self.source.weak

    def secret(self, _: Path) -> bytes:
        return self.known


def _keep(folder: Path, file: VaultFile) -> None:
    replace_file(folder / NAME, file.to_bytes(), 0o600)


def _begins(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(max(len(PLAIN_HEADER), len(MAGIC)))


def _fold(path: Path) -> None:
    """The write-ahead log is folded into the database, which nobody else holds."""
    try:
        with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.DatabaseError as why:
        raise LockedVaultError(
            f"{path.name} cannot be sealed ({why}); end every program that uses {path.parent}, "
            "and try again"
        ) from why


def _seal_database(_: Path, path: Path, vault: Vault) -> None:
    _fold(path)  # once more: from now on nobody opens it, and whoever did just before is met here
    draft = path.with_name(f".{path.name}.sealing")
    for stale in _drafts(draft):
        stale.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    seal_into(path, vault, draft)
    sync(draft)
    draft.replace(path)
    sync(path.parent)


def _drafts(draft: Path) -> Iterator[Path]:
    yield draft
    yield from (draft.with_name(draft.name + end) for end in ("-journal", "-wal", "-shm"))


def _seal_file(folder: Path, path: Path, vault: Vault) -> None:
    place = path.relative_to(folder).as_posix()
    mode = stat.S_IMODE(path.stat().st_mode)
    replace_file(path, vault.seal(f"file:{place}", path.read_bytes()), mode)


def _quoted(text: str) -> str:
    """Return a string as TOML writes it."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'
