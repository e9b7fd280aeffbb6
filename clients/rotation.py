"""A node's opening key is exchanged for another one, and what was sealed to the old one stays shut.

    begin       keys/opening.next is made; from then on the node opens what is sealed to either.
                A new key for its streams is made beside it (`renewal.exchange`)
    successor   the change that enters its other half into the roster; the node signs it alone
    settle      the roster names it: it takes the place of keys/opening.key, which is gone

The identity key stays: the node's ledger and all that it signed depend on it. A step that was cut
off is taken again at the next start.
"""

import os

from clients.renewal import NEXT_KEY
from clients.settings import NodeSettings
from federation import at_rest
from federation.membership import Roster
from federation.roster_chain import Rekey
from secure_compute.primitives.hpke import PRIVATE_SIZE
from secure_compute.primitives.node_keys import create_stream_key


def begin(settings: NodeSettings) -> bool:
    """Return whether new keys were made just now; those that wait to be taken up are kept."""
    if settings.stream is not None:
        create_stream_key(settings.folder / "keys" / NEXT_KEY, at_rest.FILES)
    if settings.next_opening.exists():
        return False
    at_rest.write(settings.next_opening, os.urandom(PRIVATE_SIZE))
    return True


def successor(settings: NodeSettings, roster: Roster) -> Rekey | None:
    """Return the change that the node wants; None where `roster` names its newest key already."""
    own, new = roster.find(settings.party), settings.openings[-1].sealing_key
    if not settings.next_opening.exists() or own.sealing == new:
        return None
    if settings.party in roster.suspended:  # its own word is not enough while it is
        return None
    return Rekey(settings.party, own.identity, new)


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
