"""Whether a party masked what it committed to: everything is made again from its set and its seed.

Nobody outside can see that a party used one scalar for its whole list, or that its list is the set
it committed to; it would have to see the set. An auditor whom the party shows both can. Messages
are signed in their envelopes, so a difference is proof against the one who signed.
"""

from secure_compute.errors import FaultyPartyError
from secure_compute.psi.amounts import Amounts
from secure_compute.psi.lists import chance, list_message, masked_list
from secure_compute.psi.masking import Spread, alone
from secure_compute.psi.messages import COMMITS, write
from secure_compute.psi.opening import commitment_of
from secure_compute.psi.session import Blinded, receiver_list, sender_reply
from secure_compute.psi.sets import Chosen
from secure_compute.psi.summing import choice, released, summing_reply
from secure_compute.psi.terms import Reveals, Role, Terms
from secure_compute.psi.tokens import disclosing_reply


def require_list(
    terms: Terms, chosen: Chosen, seed: bytes, sent: tuple[bytes, bytes], spread: Spread = alone
) -> None:
    """Return if the receiver's commitment and list, as `sent`, are those of this set and seed.

    Raises:
        FaultyPartyError: one of them is not.
    """
    if not terms.discloses:
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
    amounts: Amounts | None = None,
) -> None:
    """Return if the sender's commitment and reply to `received` are those of this set and seed.

    amounts: the numbers of its set, for a sum.

    Raises:
        FaultyPartyError: one of them is not.
    """
    if amounts is not None:
        again = summing_reply(terms, chosen, amounts, seed, received, spread)
    else:
        made = sender_reply if terms.reveals is Reveals.SIZE else disclosing_reply
        again = made(terms, chosen, seed, received, spread)
    _require_same(terms, Role.SENDER, chosen, sent, again, amounts)


def require_choice(
    terms: Terms,
    chosen: Chosen,
    seed: bytes,
    sent: tuple[bytes, bytes],
    received: bytes,
    spread: Spread = alone,
) -> None:
    """Return if the receiver's commitment and choice are those of this set, seed and reply.

    Whoever weighs one person more than another, or adds less noise than it pays for, is found.

    Raises:
        FaultyPartyError: one of them is not.
    """
    mine, added = receiver_list(terms, chosen, seed, spread)
    blinded = Blinded(terms=terms, scalar=mine.scalar, added=added, seed=seed)
    again = choice(blinded, received, spread)[1]
    _require_same(terms, Role.RECEIVER, chosen, sent, again)


def require_release(terms: Terms, seed: bytes, sent: bytes, received: bytes) -> None:
    """Return if the sum that the sender told is what it opened, with its own noise.

    received: the receiver's choice.

    Raises:
        FaultyPartyError: it is not.
    """
    if released(terms, seed, received)[1] != sent:
        raise FaultyPartyError(terms.sender, why="told another sum than it opened")


def _require_same(
    terms: Terms,
    role: Role,
    chosen: Chosen,
    sent: tuple[bytes, bytes],
    again: bytes,
    amounts: Amounts | None = None,
) -> None:
    commitment = write(terms, COMMITS[role], commitment_of(terms, role, chosen, amounts))
    if sent[0] != commitment:
        raise FaultyPartyError(terms.party(role), why="committed to another set than it shows")
    if sent[1] != again:
        raise FaultyPartyError(
            terms.party(role), why="sent another list than its set and seed make"
        )
