"""Folders with a vault, for tests: one that holds next to nothing, and cheap sources."""

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from federation import at_rest
from federation.key_sources import Passphrase
from federation.sqlite_files import connect
from federation.vaulting import Contents, seal_folder
from secure_compute.primitives.vault import LEAST_COST

CONTENTS = Contents(("a.sqlite", "b.sqlite"), ("keys/*.key", "keys/flower"))
PASSPHRASE = b"correct horse battery"
CANARY = b"a canary that nobody else sings"
TOML = '# mine\nparty = "acme"\nfederation = "lanes"\n\n[aggregator]\naddress = "here:1"\n'


@dataclass(frozen=True)
class Given:
    """A source that gives what it was told."""

    given: bytes
    text: str = "passphrase"
    weak: bool = True

    def secret(self, folder: Path) -> bytes:
        return self.given


def plain_folder(path: Path, toml: str = TOML) -> Path:
    """A folder with two databases, one of them in use by nobody and with a log, and two keys."""
    (path / "keys").mkdir(parents=True)
    (path / "node.toml").write_text(toml)
    for name in ("identity.key", "flower", "flower.pub"):
        (path / "keys" / name).write_bytes(CANARY + name.encode())
        (path / "keys" / name).chmod(0o600)
    for name in CONTENTS.databases:
        with closing(connect(path / name)) as db:
            db.execute("CREATE TABLE said (word BLOB)")
            db.execute(
                "CREATE TRIGGER kept BEFORE DELETE ON said BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
            db.execute("INSERT INTO said VALUES (?)", (CANARY + name.encode(),))
            db.execute("PRAGMA user_version = 7")
    return path


def seal(folder: Path, secret: bytes = PASSPHRASE) -> list[Path]:
    """Seal a folder with a passphrase, cheaply."""
    return seal_folder(folder, CONTENTS, Passphrase(), secret, LEAST_COST)


def said(path: Path) -> tuple[list[tuple[bytes]], int]:
    """What a database of such a folder holds, and its version."""
    with closing(connect(path)) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        return db.execute("SELECT word FROM said").fetchall(), version


def files_with(folder: Path, needle: bytes, but: tuple[str, ...] = ()) -> set[str]:
    """The files anywhere in a folder that have these bytes, but those in `but`, by their place."""
    found = set()
    for path in folder.rglob("*"):
        place = path.relative_to(folder).as_posix()
        if path.is_file() and not place.startswith(but) and needle in path.read_bytes():
            found.add(place)
    return found


def as_by_another_process(folder: Path) -> None:
    """What this process knows of the folder's vault is forgotten."""
    at_rest.forget(folder)
    os.environ.pop("ENTREPOT_PASSPHRASE", None)
