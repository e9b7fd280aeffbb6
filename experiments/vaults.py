"""Which files of a node and of an aggregator are sealed at rest, and what an operator does to them.

Whatever holds a key, the books, or values made of rows is sealed. Not sealed: certificates, signed
words of others and settings; rows, which lie as their owner laid them down; and what other programs
write: Flower's own database, logs, captures.
"""

import os
from pathlib import Path
from typing import Any, Final

import click

from aggregator.people import NAME as PEOPLE
from aggregator.tables import KINDS
from clients.match_file import NAME as MATCHED
from experiments.errors import UsageError
from experiments.unlocking import NAMED
from federation import at_rest
from federation.errors import LockedVaultError
from federation.key_sources import Passphrase, Unwrapper, require_strong, source_of
from federation.vault_file import NAME
from federation.vaulting import Contents, change_source, opened_anew, plain_files, seal_folder
from federation.whole_files import keep_file

NODE: Final = Contents(
    databases=(
        *("outbox.sqlite", "books.sqlite", "ingestion.sqlite", "keys.sqlite", "answers.sqlite"),
        MATCHED,
    ),
    files=(
        *(f"keys/{name}.key" for name in ("identity", "opening", "ingestion", "approver")),
        *("keys/stream.key", "keys/stream.next.key", "keys/opening.next"),
        *("keys/identity.next", "keys/identity.old", "keys/flower"),
        *(f"lost/keys/{name}" for name in ("identity.key", "opening.key", "stream.key", "flower")),
    ),
)
"""By name: a key that a partner laid into keys/ for its own database is read by that's program."""
AGGREGATOR: Final = Contents(
    databases=("ledger.sqlite", PEOPLE, *(kind.file for kind in KINDS)),
    files=(
        *("keys/*.key", "keys/*.token", "keys/*.secret", "answers/*.bin"),
        *("models/*.npz", "models/*/*.safetensors", "models/*/*.json"),
    ),
)
_NEW: Final = "ENTREPOT_NEW_PASSPHRASE"


def contents_of(folder: Path) -> Contents:
    """Return which files of a folder are sealed."""
    return NODE if at_rest.settings_path(folder).name == "node.toml" else AGGREGATOR


def begin(folder: Path, key: str) -> dict[str, Any]:
    """Seal a folder, or go on with it; return what is to be told.

    Raises:
        UsageError: the source of the key is none.
        LockedVaultError: see `vaulting.seal_folder`.
    """
    source, is_new = _source(key), not (folder / NAME).exists()
    secret = _fresh(source, folder, NAMED) if is_new else source.secret(folder)
    done = seal_folder(folder, contents_of(folder), source, secret)
    names = [path.relative_to(folder.resolve()).as_posix() for path in done]
    return {"schema": "entrepot.vault.init/1", "key": source.text, "sealed": names}


def change(folder: Path, key: str) -> dict[str, Any]:
    """Let another secret open the vault; return what is to be told.

    Raises:
        UsageError: the source of the key is none.
        LockedVaultError: see `vaulting.change_source`.
    """
    source = _source(key)
    vault = opened_anew(folder)  # before: who does not know the old one is not asked for another
    change_source(folder, vault, source, _fresh(source, folder, _NEW))
    return {"schema": "entrepot.vault.change/1", "key": source.text}


def show(folder: Path) -> dict[str, Any]:
    """Return whether a folder has a vault, how it opens, and what of its contents is plain."""
    plain = [p.relative_to(folder).as_posix() for p in plain_files(folder, contents_of(folder))]
    head = {"schema": "entrepot.vault.show/1", "vault": (folder / NAME).exists(), "plain": plain}
    if not head["vault"]:
        return {**head, "key": "none"}
    file = at_rest.vault_file(folder)
    wraps = [{"source": wrap.source, "scrypt": wrap.cost} for wrap in file.wraps]
    cut = {"cut_off": file.converting}
    return {**head, **cut, "key": at_rest.source_named(folder).text, "wraps": wraps}


def spoken(value: dict[str, Any]) -> str:
    """Return what `show` found, in a sentence."""
    if not value["vault"]:
        return "no vault: keys and books lie plain; switch it on with `vault init`"
    if value["cut_off"]:
        return "sealing was cut off; run `vault init` again, which goes on"
    said = f"sealed with AES-256; the key comes from {value['key']}"
    return said + (f"; NOT sealed: {', '.join(value['plain'])}" if value["plain"] else "")


def export(path: Path, to: Path) -> None:
    """Write what a sealed file holds to a new file, plain, for whoever it is handed to.

    Raises:
        UsageError: there is something already.
        SealedFileError: see `at_rest.read`.
    """
    if to.exists():
        raise UsageError(f"{to} is there already; name a new file")
    keep_file(to, at_rest.read(path))


def _source(key: str) -> Unwrapper:
    try:
        source = source_of(key)
    except ValueError as why:
        raise UsageError(f"--key: {why}") from why
    if source is None:
        raise UsageError("a vault has a key: name where it comes from with --key")
    return source


def _fresh(source: Unwrapper, folder: Path, named: str) -> bytes:
    """Return the secret that is to open the vault from now on."""
    if not source.weak:
        return source.secret(folder)
    if named in os.environ or f"{named}_FD" in os.environ:
        return require_strong(Passphrase(named).secret(folder))
    try:
        words = click.prompt(
            f"New passphrase of {folder}", hide_input=True, confirmation_prompt=True, err=True
        )
    except click.Abort as why:
        raise LockedVaultError(
            f"nobody is there to be asked for a new passphrase: set {named}_FD or {named}"
        ) from why
    return require_strong(str(words).encode())
