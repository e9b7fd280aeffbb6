"""When an answer that was charged may be given back: when nobody can ever open the round.

A masked answer leaves the node and is charged; if the round is abandoned, no node knows on its own
whether others helped to open it. Each party may sign "I did not and will not answer for this
release". Let t of n parties together be able to open, and up to c organisations lie, each with all
its parties. If n - t + 1 words are left without those of whichever c organisations gave the most,
then at most t - 1 parties can have answered, and the round stays closed for ever. Where every
organisation is one party these are n - t + 1 + c words.

A party that has signed keeps its word like an answer: it refuses that release from then on.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from federation.errors import (
    MalformedMessageError,
    TooFewStatementsError,
    UntrustedNoteError,
)
from federation.ledger.trust import COLLUDING
from federation.membership import Roster
from policies.evidence import Minted
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.errors import BadSignatureError, NotCanonicalError
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey

_WITHHELD: Final = b"entrepot withheld/1\n"


@dataclass(frozen=True, slots=True)
class GiveBack(metaclass=Minted):
    """So many parties withheld their answers that `release` of `order` can never be opened.

    statements: the SHA-256 of each signed statement, sorted; they go into the ledger.
    """

    order: str
    release: str
    statements: tuple[str, ...]


def sign_withheld(order: str, release: str, party: PartyId, key: SigningKey) -> bytes:
    """Return the signed word of `party` that it did not and will not answer for `release`."""
    body = canonical.encode({"order": order, "party": party, "release": release})
    return key.sign(_WITHHELD + body) + body


def open_withheld(wire: bytes, roster: Roster, order: str, release: str) -> PartyId:
    """Return who says that it did not and will not answer for `release` of `order`.

    Raises:
        MalformedMessageError: the bytes are no such statement, or one about another release.
        UnknownPartyError: the party is not on the roster.
        UntrustedNoteError: the party did not sign it.
    """
    body = wire[SIGNATURE_SIZE:]
    try:
        value = canonical.decode(body)
    except NotCanonicalError as why:
        raise MalformedMessageError("a statement of a withheld answer is malformed") from why
    match value:
        case {"order": str(of), "party": str(party), "release": str(what), **rest} if not rest:
            if (of, what) != (order, release):
                raise MalformedMessageError(f"{party} withheld its answer for another release")
            member = roster.find(PartyId(party))
        case _:
            raise MalformedMessageError("a statement of a withheld answer is malformed")
    try:
        member.identity.verify(wire[:SIGNATURE_SIZE], _WITHHELD + body)
    except BadSignatureError as why:
        raise UntrustedNoteError(
            f"{member.party} did not sign that it withheld its answer"
        ) from why
    return member.party


def unopenable(
    statements: Sequence[bytes],
    roster: Roster,
    *,
    order: str,
    release: str,
    cohort: Sequence[PartyId],
    threshold: int,
    colluding: int = COLLUDING,
) -> GiveBack:
    """Return the proof that `release` can never be opened.

    Args:
        statements: what `sign_withheld` returned, from different parties.
        roster: whose keys count.
        order: the work order.
        release: the key under which the answer was charged.
        cohort: the n parties that hold a share.
        threshold: t, how many of them open together.
        colluding: c, how many organisations may lie.

    Raises:
        MalformedMessageError, UnknownPartyError, UntrustedNoteError: a statement is not genuine.
        TooFewStatementsError: without the c organisations that said it most often, fewer than
            n - t + 1 parties of the cohort say so.
    """
    cohort = sorted(set(cohort))
    said = {open_withheld(wire, roster, order, release) for wire in statements} & set(cohort)
    words = Counter(roster.find(party).organisation for party in said)
    honest = len(said) - sum(count for _, count in words.most_common(colluding))
    needed = len(cohort) - threshold + 1
    if not 1 <= threshold <= len(cohort) or honest < needed:
        raise TooFewStatementsError(
            f"{len(said)} parties say that they withheld their answer, {honest} of them even if "
            f"{colluding} organisations lie; {needed} are needed before a release of order "
            f"{order[:12]} is given back"
        )
    digests = sorted(canonical.digest_bytes(wire) for wire in statements)
    return GiveBack._mint(order, release, tuple(digests))  # noqa: SLF001  their home
