"""A member whose identity key is lost, or in other hands, goes on with one that members gave it.

    enter       it enrols with new keys, all of them, in a folder of its own: a new one, or `lost/`
                in the one that it has, whose books, answers and rows stay where they are
    move_in     members have signed: what was made in `lost/` takes the place of what is lost, the
                identity key last; from then on `lost/` says nothing, and is cleared away
    take_over   at the start: the ledger goes on under the new key (`federation.ledger.succession`)

The old key signs nothing more from the epoch on in which the roster names the new one. Whatever is
cut off is done again, in the same order, and never over a later key. The books are the member's
memory of what it has spent: without them it does not go on, since its account would begin anew;
with an old copy of them its witnesses, who know the log and not the key, stop it as they stop every
node that was put back. Orders that were under way here are over at the start, and paid whole
(`clients.recording`).
"""

import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from clients.errors import NodeSettingsError
from clients.joining import LOST, Entrant, ForeignFolderError, has_joined
from clients.settings import NodeSettings, load_settings
from federation import at_rest
from federation.enrolment import Offer
from federation.errors import FederationError, SealedFileError
from federation.ledger.notes import origin_of
from federation.ledger.trust import Trust
from federation.membership import Roster
from federation.regaining import given
from federation.roster_chain import history
from federation.whole_files import keep_file
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.signature import SigningKey

log = logging.getLogger(__name__)

_SECRET: Final = ("stream.key", "flower", "opening.key", "identity.key")
_PUBLIC: Final = ("ca.crt", "stream.crt", "flower.pub")
_STALE: Final = (
    *("stream.next.key", "stream.next.crt", "opening.next", "identity.next", "identity.old"),
)
_JOINED: Final = ("offer.json", "enrolment.bin")
_UNREADABLE: Final = (NodeSettingsError, SealedFileError, LocalProtocolError)
"""What reading a key raises that is lost: missing, damaged, or of another length."""
_PLACE: Final = "lost"
_DONE: Final = ".lost"
"""What is left of it once everything stands in its place."""


class LostBooksError(NodeSettingsError):
    """A member that was given another identity key has no books to go on with."""

    exit_code = 30


def place_of(folder: Path) -> Path:
    """Return where the entry lies by which the node in `folder` gets other keys."""
    return folder / _PLACE


def is_regaining(folder: Path) -> bool:
    """Return whether the node in `folder` has asked for other keys, and has not moved in yet."""
    return has_joined(folder) and (place_of(folder) / "offer.json").exists()


def enter(entrant: Entrant) -> None:
    """Its operator has said that the key of this seat is lost; the node's own law stands for it.

    Raises:
        ForeignFolderError: the token is for another seat than that of the node in the folder.
    """
    home = entrant.folder.parent
    if is_regaining(home):
        _require_seat(load_settings(home), entrant.offer)
        _keep_law(home / "policy", entrant.folder)
    keep_file(entrant.folder / LOST, b"")


def move_in(entrant: Entrant, chain: bytes, roster: Roster) -> Path:
    """The keys that members gave stand in the node's folder, which is returned.

    The identity key is put there last: where the node has it, or had it, nothing is put
    there again.
    """
    home = entrant.folder.parent
    if not _is_in(load_settings(home)):
        _put(entrant, chain, roster)
    _clear(home)
    return home


def _put(entrant: Entrant, chain: bytes, roster: Roster) -> None:
    home, made = entrant.folder.parent, entrant.folder / "keys"
    for name in _STALE:
        (home / "keys" / name).unlink(missing_ok=True)
    for name in _PUBLIC:
        keep_file(home / "keys" / name, (made / name).read_bytes(), 0o644)
    *others, identity = _SECRET
    for name in others:
        at_rest.write(home / "keys" / name, at_rest.read(made / name))
    for name in _JOINED:
        keep_file(home / name, (entrant.folder / name).read_bytes())
    keep_file(home / "trust.txt", str(Trust.of(roster)).encode(), 0o644)
    keep_file(home / "roster.bin", chain, 0o644)
    at_rest.write(home / "keys" / identity, at_rest.read(made / identity))


def _is_in(settings: NodeSettings) -> bool:
    """Return whether the node has the key that was made in `lost/`, or has a later one already."""
    made = SigningKey(at_rest.read(place_of(settings.folder) / "keys" / "identity.key"))
    with suppress(*_UNREADABLE):
        if settings.identity == made:
            return True
    with suppress(NodeSettingsError, FederationError):
        return made.verify_key in settings.roster().keys_of(settings.party)[:-1]
    return False


def _clear(home: Path) -> None:
    """Nothing is left of the entry: it is gone at once, and its files one after the other."""
    _sweep(home)
    with suppress(FileNotFoundError):  # the node, which starts, was faster
        place_of(home).rename(home / _DONE)
    _sweep(home)


def _sweep(home: Path) -> None:
    shutil.rmtree(home / _DONE, ignore_errors=True)


def _finish(settings: NodeSettings) -> None:
    """An entry that was cut off after its last step but one is over.

    Keys there that cannot be read stop no node whose own are good.
    """
    home = settings.folder
    _sweep(home)
    try:
        if (place_of(home) / "keys" / "identity.key").exists() and _is_in(settings):
            _clear(home)
    except _UNREADABLE as why:
        log.warning("the keys that this node asked for cannot be read, and wait: %s", why)
    (home / LOST).unlink(missing_ok=True)


def take_over(settings: NodeSettings, roster: Roster, now: Callable[[], float]) -> bool:
    """Return whether the ledger goes on under another key from here on: members gave it that one.

    Books that do not say so, since they were put back, are told again; witnesses tell old ones.

    Raises:
        LostBooksError: there is no ledger that could go on.
        LedgerMismatchError: the ledger had other keys than the roster says.
    """
    from clients.books import Books  # which knows databases

    _finish(settings)
    if not is_due(settings, now):
        return False
    origin = origin_of(settings.federation, settings.party)
    books = Books(settings.books, origin, settings.identity, now)
    books.replace(roster.keys_of(settings.party)[0])
    Trust.of(roster).find(origin).following(books.succession())
    books.disconnect()
    return True


def is_due(settings: NodeSettings, now: Callable[[], float]) -> bool:
    """Return whether members gave this node its key, and its ledger does not say so yet.

    Raises:
        LostBooksError: there is no ledger that could go on.
    """
    from clients.books import Books  # which knows databases

    epoch = given(history(settings.chain(), settings.pin), settings.party)
    if epoch is None or epoch.by_itself:
        return False
    origin, key = origin_of(settings.federation, settings.party), settings.identity
    there = Books.existing(settings.books, origin, key, now)
    if there is None or there.head().size == 0:
        raise LostBooksError(_no_books(settings))
    changes = there.succession().changes
    there.disconnect()
    return not changes or changes[-1].identity != key.verify_key


def _no_books(settings: NodeSettings) -> str:
    return (
        f"{settings.party} has another identity key, and no books: its account would begin anew, "
        "as if nothing had been spent. Put the newest copy of books.sqlite into its folder, or "
        "name the database with `books` in node.toml. If there is none, it does not go on under "
        "this name: ask the aggregator's operator to suspend it, and join under another one"
    )


def _require_seat(settings: NodeSettings, offer: Offer) -> None:
    own = (settings.federation, settings.party, settings.organisation, settings.role)
    if own != (offer.federation, offer.party, offer.organisation, offer.role):
        raise ForeignFolderError(
            f"the token is for {offer.party} of {offer.federation}, and the folder is that of "
            f"{settings.party} of {settings.federation}; nothing of it was sent"
        )
    if offer.pin != settings.pin:
        raise ForeignFolderError(
            "the token is for a federation that was founded anew: its pin is not that of the "
            "folder; nothing was sent, ask the aggregator why"
        )


def _keep_law(policy: Path, place: Path) -> None:
    """The node's own law is what it asks with; the whole of it, or none yet."""
    draft = place / ".policy.draft"
    if (place / "policy").exists() or not policy.exists():
        return
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(policy, draft)
    draft.rename(place / "policy")
