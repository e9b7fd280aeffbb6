"""Whether a party masked what it committed to: everything is made again from its set and its seed.

Nobody outside can see that a party used one scalar for its whole list, or that its list is the set
it committed to; it would have to see the set. An auditor whom the party shows both can. Messages
are signed in their envelopes, so a difference is proof against the one who signed.
"""

from secure_compute.errors import FaultyPartyError
from secure_compute.psi.lists import chance, list_message, masked_list
from secure_compute.psi.masking import Spread, alone
from secure_compute.psi.messages import COMMITS, write
from secure_compute.psi.session import receiver_list, sender_reply
from secure_compute.psi.sets import Chosen
from secure_compute.psi.terms import Reveals, Role, Terms
from secure_compute.psi.tokens import disclosing_reply


def require_list(
    terms: Terms, chosen: Chosen, seed: bytes, sent: tuple[bytes, bytes], spread: Spread = alone
) -> None:
    """Return if the receiver's commitment and list, as `sent`, are those of this set and seed.

    Raises:
        FaultyPartyError: one of them is not.
    """
    if terms.reveals is Reveals.SIZE:
        mine, _ = receiver_list(terms, chosen, seed, spread)
    else:
        stream = chance(seed, terms, Role.RECEIVER)
        mine = masked_list(terms, Role.RECEIVER, chosen, stream, spread)
    _require_same(terms, Role.RECEIVER, chosen, sent, list_message(terms, mine))


def require_reply(
    terms: Terms,
    chosen: Chosen,
    seed: bytes,
    sent: tuple[bytes, bytes],
    received: bytes,
    spread: Spread = alone,
) -> None:
    """Return if the sender's commitment and reply to `received` are those of this set and seed.

    Raises:
        FaultyPartyError: one of them is not.
    """
    made = sender_reply if terms.reveals is Reveals.SIZE else disclosing_reply
    again = made(terms, chosen, seed, received, spread)
    _require_same(terms, Role.SENDER, chosen, sent, again)


def _require_same(
    terms: Terms, role: Role, chosen: Chosen, sent: tuple[bytes, bytes], again: bytes
) -> None:
    commitment = write(terms, COMMITS[role], chosen.commitment(terms, role))
    if sent[0] != commitment:
        raise FaultyPartyError(terms.party(role), why="committed to another set than it shows")
    if sent[1] != again:
        raise FaultyPartyError(
            terms.party(role), why="sent another list than its set and seed make"
        )
