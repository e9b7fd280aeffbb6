"""A node's keys are exchanged for others; until the roster names the new ones the old ones serve.

    begin            keys/opening.next is made; from then on the node opens what is sealed to
                     either. A new key for its streams is made beside it (`renewal.exchange`)
    begin_identity   keys/identity.next is made; the node signs with the old one until the roster
                     names the new one
    successor        the change that enters the public halves into the roster; the node signs it
                     alone, with the identity key that it has and with the new one
    settle           the roster names it: it takes the place of keys/opening.key, which is gone
    hand_over        the roster names it: the ledger goes on under the new identity key, by the word
                     of the old one (`federation.ledger.succession`), then keys/identity.old

The old identity key is gone once a quorum has cosigned that change (`clients.witnessing`). Until
then books that are put back in the place of those are handed over with it in their turn, so that a
wrong copy is no loss of the right one; and no further identity key is offered.
A step that was cut off is taken again at the next start. An identity key is offered while no order
is under way here, and none is made while one holds a price (`experiments.rotating`: it starts the
node anew), so that orders end as they began. An order that waits can be read, and lacks what
this node signed for it with the old key: it is to be countersigned again; a match to which a person
of this party consented, and which has not begun, is to be proposed again. What the old key signed
before stays what it was, and what is asked again is answered as it was, signed with the new key.
The keys for streams and for Flower's server, the certificate and persons' keys are others and stay.
A key that is lost signs for none: other members give its member another one (`regaining`).
"""

import os
from collections.abc import Callable

from clients.renewal import NEXT_KEY
from clients.settings import NodeSettings
from federation import at_rest
from federation.ledger.notes import origin_of
from federation.membership import Roster
from federation.roster_chain import Rekey
from federation.roster_rules import may_rekey_itself
from secure_compute.primitives.hpke import PRIVATE_SIZE
from secure_compute.primitives.node_keys import create_stream_key
from secure_compute.primitives.signature import KEY_SIZE, SigningKey, VerifyKey


def begin(settings: NodeSettings) -> bool:
    """Return whether new keys were made just now; those that wait to be taken up are kept."""
    if settings.stream is not None:
        create_stream_key(settings.folder / "keys" / NEXT_KEY, at_rest.FILES)
    if settings.next_opening.exists():
        return False
    at_rest.write(settings.next_opening, os.urandom(PRIVATE_SIZE))
    return True


def begin_identity(settings: NodeSettings) -> bool:
    """Return whether a new identity key was made just now; one that waits is kept."""
    if settings.next_identity.exists():
        return False
    at_rest.write(settings.next_identity, os.urandom(KEY_SIZE))
    return True


def successor(settings: NodeSettings, roster: Roster, *, idle: bool = True) -> Rekey | None:
    """Return the change that the node wants; None where `roster` names its newest keys already, or
    its own word is not enough (`may_rekey_itself`).

    idle: whether no order is under way here; an identity key waits for that, and until a quorum has
        cosigned the change before.
    """
    own, sealing = roster.find(settings.party), settings.openings[-1].sealing_key
    is_ready = idle and not settings.old_identity.exists()
    identity = settings.identities[-1].verify_key if is_ready else own.identity
    is_resealed = settings.next_opening.exists() and own.sealing != sealing
    if not is_resealed and own.identity == identity:
        return None
    if not may_rekey_itself(roster, settings.party):
        return None
    return Rekey(settings.party, identity, sealing if is_resealed else None)


def settle(settings: NodeSettings, roster: Roster) -> bool:
    """Return whether a new key took the place of the old one: the roster names it."""
    if not settings.next_opening.exists():
        return False
    new = settings.openings[-1]
    if roster.find(settings.party).sealing != new.sealing_key:
        return False
    at_rest.write(settings.folder / "keys" / "opening.key", new.seed)
    settings.next_opening.unlink()
    return True


def hand_over(settings: NodeSettings, roster: Roster, now: Callable[[], float]) -> bool:
    """Return whether a new identity key took the place of the old one: the roster names it.

    The ledger says so first. Books that do not say so yet, since they were put back, are told again
    as long as the old key is kept.

    Raises:
        LedgerMismatchError: the ledger does not go on under the key that this node has.
    """
    named, old, new = (
        roster.find(settings.party).identity,
        settings.identity,
        settings.identities[-1],
    )
    is_taken = settings.next_identity.exists() and named == new.verify_key
    if is_taken and old.verify_key != named:  # else it was cut off after the last step but one
        at_rest.write(settings.old_identity, old.seed)
    if settings.old_identity.exists():
        _go_on(settings, named, now)
    if is_taken:
        at_rest.write(settings.folder / "keys" / "identity.key", new.seed)
        settings.next_identity.unlink()
    return is_taken


def _go_on(settings: NodeSettings, named: VerifyKey, now: Callable[[], float]) -> None:
    """The ledger goes on under `named`, by the word of the key that is kept for that."""
    from clients.books import Books  # which knows databases

    origin = origin_of(settings.federation, settings.party)
    old = SigningKey(at_rest.read(settings.old_identity))
    books = Books(settings.books, origin, old, now)
    books.rotate(named)
    books.disconnect()
