"""What this node knows of who is in the federation, and takes from whoever offers it.

    roster.bin        the chain of epochs, verified under the pin of node.toml at every start
    trust.txt         the keys that exports are verified with, as the newest epoch has them
    leaving           there once the operator wants to leave; the next offer is answered with it

A chain that begins with all of this node's own is taken, whoever brings it: it is written before
its epoch stands in the ledger, and from there on it stands among what witnesses have seen. So an
older chain is refused also where the file was put back, and where the whole folder was, the
ledger's witnesses say so. What a node works with is the epoch that it was built with; a newer one
is taken up by the next, which follows as soon as no order is under way (`clients.succession`).
"""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from clients.errors import NodeSettingsError
from clients.rotation import successor
from clients.settings import NodeSettings
from federation.errors import (
    FederationError,
    ForkedRosterError,
    OlderRosterError,
    UntrustedRosterError,
)
from federation.ledger.entries import Entry, EntryKind
from federation.ledger.epochs import changed
from federation.ledger.trust import Trust
from federation.membership import Roster
from federation.regaining import given
from federation.roster_chain import (
    Remove,
    change_statement,
    extended,
    history,
    open_roster,
    require_successor,
)
from federation.whole_files import replace_file
from policies.parties import PartyId
from secure_compute.canonical import JSON, digest_bytes
from secure_compute.primitives.signature import VerifyKey

if TYPE_CHECKING:
    from clients.books import Books  # which knows databases

log = logging.getLogger(__name__)

MOST_REFUSED: Final = 16
"""How many refused chains one process writes down: who floods this node fills no ledger."""

LEAVING: Final = "leaving"

_BACK: Final = "keep this folder for its ledger, and join under another name to come back"


class Rosters:
    """The chain of one node; threads may share it.

    roster: the epoch that this node works with.
    """

    def __init__(
        self, settings: NodeSettings, roster: Roster, books: "Books", now: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._books = books
        self._now = now
        self._lock = threading.Lock()
        self._refused: set[str] = set()

    @property
    def working(self) -> Roster:
        """The epoch that this node works with."""
        return self._roster

    def known(self) -> Roster:
        """Return the newest epoch that this node has."""
        return open_roster(self._settings.chain(), self._settings.pin)

    def take(self, offered: bytes, by: PartyId) -> Roster:
        """Return the newest epoch after `by` offered a chain; a longer one is on disk by then.

        Raises:
            FederationError: it does not begin with this node's own, or is none; who offered it
                stands in the log and the ledger.
        """
        with self._lock:
            own = self._settings.chain()
            try:
                found = require_successor(own, offered, self._settings.pin)
            except FederationError as why:
                self._refuse(offered, by, why)
                raise
            if found.digest != open_roster(own, self._settings.pin).digest:
                # The chain comes last: cut off in between, both are written at the next offer.
                replace_file(self._settings.folder / "trust.txt", str(Trust.of(found)).encode())
                replace_file(self._settings.folder / "roster.bin", offered)
                self._books.note(changed(found, int(self._now())))
                log.info("epoch %d of the roster came from %s", found.epoch, by)
            return found

    def brought(self, epoch: JSON, digest: JSON, *, idle: bool = True) -> bytes | None:
        """Return a longer chain than that of somebody who works with this epoch, if there is one.

        It is this node's own, the one in which it leaves, or the one with its new keys.

        idle: whether no order is under way here.
        """
        known = self.known()
        if type(epoch) is int and epoch < known.epoch:
            return self._settings.chain()
        return self.leaving() or self.rotating(idle=idle) if digest == known.digest else None

    def leaving(self) -> bytes | None:
        """Return the chain in which this node has left, if its operator wants that.

        That it leaves stands in its ledger before anybody is told.
        """
        if not (self._settings.folder / LEAVING).exists():
            return None
        with self._lock:
            own, me = self._settings.chain(), self._settings.party
            roster = open_roster(own, self._settings.pin)
            said = self._settings.identity.sign(change_statement(roster, Remove(me)))
            gone = extended(own, self._settings.pin, Remove(me), {me: said})
            body: dict[str, JSON] = {"party": me, "epoch": roster.epoch + 1}
            entry = Entry(EntryKind.LEFT, int(self._now()), "", body)
            if not any(_says(one, entry) for one in self._books.entries()):
                self._books.note(entry)
            return gone

    def rotating(self, *, idle: bool = True) -> bytes | None:
        """Return the chain in which the roster names this node's new keys, if it has made any."""
        with self._lock:
            own, me = self._settings.chain(), self._settings.party
            roster = open_roster(own, self._settings.pin)
            change = successor(self._settings, roster, idle=idle)
            if change is None:
                return None
            said, keys = change_statement(roster, change), self._settings.identities
            (new,) = (key for key in keys if key.verify_key == change.identity)
            both = new.sign(said) + self._settings.identity.sign(said)
            return extended(own, self._settings.pin, change, {me: both})

    def _refuse(self, offered: bytes, by: PartyId, why: FederationError) -> None:
        log.error("a roster that %s offers is refused: %s", by, why)
        digest = digest_bytes(offered)
        if digest in self._refused or len(self._refused) >= MOST_REFUSED:
            return
        self._refused.add(digest)
        body: dict[str, JSON] = {"party": by, "digest": digest, "reason": _reason(why)}
        entry = Entry(EntryKind.ROSTER_REFUSED, int(self._now()), "", body)
        if not any(_says(one, entry) for one in self._books.entries()):
            self._books.note(entry)


def require_member(settings: NodeSettings, roster: Roster) -> None:
    """Return if this node is a member under the key it has, or has made to be its next.

    Raises:
        NodeSettingsError: it left or was removed, or its keys are others.
    """
    if any(member.party == settings.party for member in roster.former) and not any(
        member.party == settings.party for member in roster.members
    ):
        raise NodeSettingsError(_gone(settings, roster))
    own = roster.find(settings.party)
    keys = {key.verify_key for key in settings.identities}
    if own.identity not in keys:
        raise NodeSettingsError(_other_key(settings, roster, keys))
    opened = {key.sealing_key for key in settings.openings}
    if own.sealing is not None and own.sealing not in opened:
        raise NodeSettingsError(
            f"keys/opening.key does not open what is sealed to {settings.party}; restore it"
        )


def require_stayed(settings: NodeSettings, roster: Roster, entries: Iterable[Entry]) -> None:
    """Return if this node did not say that it leaves; the others need not tell it that it has.

    entries: of its ledger.

    Raises:
        NodeSettingsError: it did, at the epoch that it knows.
    """
    if has_said(settings, roster, entries):
        raise NodeSettingsError(left(settings))


def has_said(settings: NodeSettings, roster: Roster, entries: Iterable[Entry]) -> bool:
    """Return whether this node said, at the epoch that it knows, that it leaves."""
    body: dict[str, JSON] = {"party": settings.party, "epoch": roster.epoch + 1}
    return any(entry.kind is EntryKind.LEFT and entry.body == body for entry in entries)


def left(settings: NodeSettings) -> str:
    """Return what is said of a party that left by its own word."""
    return f"{settings.party} has left {settings.federation}; {_BACK}"


def _gone(settings: NodeSettings, roster: Roster) -> str:
    """Return how a party ended that is a member no more, and what its operator may do."""
    party, where = settings.party, roster.federation
    chain = history(settings.chain(), settings.pin)
    last = [epoch for epoch in chain if epoch.change == Remove(party)][-1:]
    for epoch in (one for one in last if party not in one.signers):
        number, by = epoch.roster.epoch, ", ".join(epoch.signers)
        return f"{party} was removed from {where} at epoch {number}, by the word of {by}; {_BACK}"
    return left(settings)


def _other_key(settings: NodeSettings, roster: Roster, keys: set[VerifyKey]) -> str:
    """Return what is wrong where the roster names a key that this node has not."""
    party = settings.party
    epoch = given(history(settings.chain(), settings.pin), party)
    if epoch is None or not keys & set(roster.keys_of(party)):
        return f"keys/identity.key is not the key of {party} on the roster; restore it"
    by = ", ".join(epoch.signers if epoch.by_itself else sorted(set(epoch.signers) - {party}))
    return (
        f"{party} has another identity key since epoch {epoch.roster.epoch} of the roster, by the "
        f"word of {by}, and this folder has the one before, which signs nothing more. If you asked "
        "for that, go on where the new key is, or finish it here with `entrepot node found`; if "
        "you did not, somebody else has the seat: tell the operators of those who signed"
    )


def _says(one: Entry, other: Entry) -> bool:
    return (one.kind, one.body) == (other.kind, other.body)


def _reason(why: FederationError) -> str:
    match why:
        case OlderRosterError():
            return "older"
        case ForkedRosterError():
            return "forked"
        case UntrustedRosterError():
            return "unsigned"
    return "malformed"
