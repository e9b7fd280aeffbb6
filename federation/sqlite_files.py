"""The one way to open an SQLite file: sealed where its folder has a vault (`federation.at_rest`).

SQLCipher is SQLite that encrypts every page, also those of the write-ahead log, with AES-256 and
an HMAC [https://www.zetetic.net/sqlcipher/design]; its key is one of the vault, for the database's
name. Its module raises errors of its own, so whoever catches SQLite's catches these tuples.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

import sqlcipher3.dbapi2 as sqlcipher

from federation.at_rest import vault_of
from federation.errors import SealedFileError
from secure_compute.primitives.vault import Vault

Connection: TypeAlias = sqlite3.Connection
"""Of either module: they have the same methods."""
ANY_ERROR: Final[tuple[type[Exception], ...]] = (sqlite3.Error, sqlcipher.Error)
DATABASE_ERROR: Final[tuple[type[Exception], ...]] = (
    *(sqlite3.DatabaseError, sqlcipher.DatabaseError),
)
OPERATIONAL_ERROR: Final[tuple[type[Exception], ...]] = (
    *(sqlite3.OperationalError, sqlcipher.OperationalError),
)
WAIT: Final = 30.0
"""Seconds for which a transaction waits for another one's end."""
DURABLE: Final = ("journal_mode = WAL", "synchronous = FULL")
"""What is committed is on disk."""
PLAIN_HEADER: Final = b"SQLite format 3\0"


def connect(
    path: Path,
    settings: Iterable[str] = DURABLE,
    *,
    wait: float | None = None,
    any_thread: bool = False,
) -> Connection:
    """Return a connection to the database in a file, whose transactions its caller begins.

    settings: pragmas. wait: seconds, `WAIT` if not said otherwise. any_thread: whether threads
    share the connection.

    Raises:
        SealedFileError: the file does not open under the vault of its folder.
        LockedVaultError: see `at_rest.vault_of`.
    """
    patience = WAIT if wait is None else wait
    options = {"timeout": patience, "isolation_level": None, "check_same_thread": not any_thread}
    return _opened(path, str(path), settings, options)


def look(path: Path) -> Connection:
    """Return a connection that changes no byte of the SQLite file at `path`, and leaves no other.

    A write-ahead file lies beside it while another program is connected, or since one was killed:
    it must not be folded in when this closes, so this one opens for reading alone. Where there is
    none a reader makes one too, and takes it away again only if it may write.
    """
    options = {"timeout": WAIT, "isolation_level": None, "uri": True}
    return _opened(path, reading_uri(path), ["query_only = ON"], options)


def reading_uri(path: Path) -> str:
    """Return how a file is opened by who changes no byte of it."""
    mode = "ro" if path.with_name(f"{path.name}-wal").exists() else "rw"
    return f"{path.resolve().as_uri()}?mode={mode}"


def copied(path: Path) -> Connection:
    """Return a database in memory that holds what the file at `path` does, if there is one.

    No byte there changes.

    Raises:
        SealedFileError: the file does not open under the vault of its folder.
    """
    found = vault_of(path)
    if found is None or not path.exists():
        copy = sqlite3.connect(":memory:", isolation_level=None)
        if path.exists():
            with closing(look(path)) as there:
                there.backup(copy)
        return copy
    look(path).close()
    memory: Connection = sqlcipher.connect(":memory:", isolation_level=None, uri=True)
    memory.execute(f"ATTACH DATABASE ? AS there KEY {_key(found[0], path)}", (reading_uri(path),))
    memory.execute("SELECT sqlcipher_export('main', 'there')")
    memory.execute("DETACH DATABASE there")
    return memory


def module_of(path: Path) -> ModuleType:
    """Return the DB-API module whose connections `connect` gives for a file."""
    return sqlite3 if vault_of(path) is None else sqlcipher


def engine_options(path: Path) -> dict[str, Any]:
    """Return what `sqlalchemy.create_engine` has to be told of an SQLite file, beside its URL."""
    creator = partial(connect, path, (), any_thread=True)
    return {"creator": creator, "module": module_of(path)}


def seal_into(path: Path, vault: Vault, draft: Path) -> None:
    """Write what the plain database at `path`, in use by nobody, holds into a sealed one."""
    db = sqlcipher.connect(path, isolation_level=None)
    try:
        db.execute(f"ATTACH DATABASE ? AS sealed KEY {_key(vault, path)}", (str(draft),))
        db.execute("SELECT sqlcipher_export('sealed')")
        for name in ("user_version", "application_id"):
            (number,) = db.execute(f"PRAGMA main.{name}").fetchone()
            db.execute(f"PRAGMA sealed.{name} = {int(number)}")
        db.execute("DETACH DATABASE sealed")
    finally:
        db.close()


def _opened(path: Path, place: str, settings: Iterable[str], options: dict[str, Any]) -> Connection:
    found = vault_of(path)
    db: Connection = (sqlite3 if found is None else sqlcipher).connect(place, **options)
    if found is not None:
        _unlock(db, found[0], path)
    for setting in settings:
        db.execute(f"PRAGMA {setting}")
    return db


def _unlock(db: Connection, vault: Vault, path: Path) -> None:
    """The pages of a database are readable.

    Raises:
        SealedFileError: the first one does not open.
    """
    db.execute("PRAGMA cipher_log_level = NONE")  # else it talks on stderr
    db.execute(f"PRAGMA key = {_key(vault, path)}")
    try:
        db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except DATABASE_ERROR as why:
        db.close()
        if "not a database" not in str(why):
            raise
        raise SealedFileError(
            f"{path.name} does not open under the vault of {path.parent}: it is damaged, plain, or "
            "of another folder; restore it with the whole folder"
        ) from why


def _key(vault: Vault, path: Path) -> str:
    """Return the raw key of a database as a word of SQLCipher's."""
    return f"\"x'{vault.subkey(f'sqlite:{path.name}').hex()}'\""
