"""What the keyholder demands before it opens anything: pure, no disk, no clock.

It opens one sum per query, which it adds up itself from at least three organisations' ciphertexts,
each of them the very bytes whose hash its holder signed for this query, this plan and this key.
What the aggregator says the sum is never enters. That a query is opened once, across restarts, is
kept by whoever holds the key on disk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from secure_compute import canonical
from secure_compute.canonical import digest_bytes
from secure_compute.errors import PeerProtocolError
from secure_compute.hequery.messages import Opened, Sealed, Verify
from secure_compute.hequery.scheme import SecretKey

MINIMUM_CONTRIBUTORS: Final = 3
"""Organisations in every opened sum: of two, each would know the other's part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What the signed order lets the keyholder open.

    query, plan: ids of the order and its plan; key: SHA-256 of the public key made for it.
    cohort:      the parties that may contribute; minimum: the fewest that must.
    width:       integers in the answer.
    """

    query: str
    plan: str
    key: str
    cohort: tuple[str, ...]
    minimum: int
    width: int


@dataclass(frozen=True, slots=True)
class Admitted:
    """Ciphertexts that passed every check, sorted by party; `listing` names exactly them."""

    approval: Approval
    contributors: tuple[str, ...]
    ciphertexts: tuple[bytes, ...]
    listing: str


def admit(
    approval: Approval,
    sealed: Sequence[Sealed],
    verify: Verify,
    organisation: Callable[[str], str],
) -> Admitted:
    """Return the parts that may be opened together, after checking all of them.

    Raises:
        BadSignatureError: a party did not sign its commitment.
        PeerProtocolError: too few organisations, a party twice or not of the cohort, or a
            ciphertext that is not what its party committed to for this query.
    """
    ordered = sorted(sealed, key=lambda part: part.commitment.party)
    for part in ordered:
        _require_genuine(approval, part, verify)
    parties = tuple(part.commitment.party for part in ordered)
    if len(set(parties)) != len(parties):
        raise PeerProtocolError("a party stands twice in the sum: leave one out and ask again")
    _require_enough(approval, {organisation(party) for party in parties}, len(parties))
    return Admitted(
        approval, parties, tuple(part.ciphertext for part in ordered), _listing(approval, ordered)
    )


def open_sum(secret: SecretKey, admitted: Admitted) -> Opened:
    """Return the sum of what was admitted; the caller sees to it that this happens once.

    Raises:
        PeerProtocolError: a ciphertext does not belong to this key.
    """
    values = secret.open_sum(admitted.ciphertexts, admitted.approval.width)
    return Opened(admitted.approval.query, admitted.contributors, admitted.listing, values)


def _require_genuine(approval: Approval, part: Sealed, verify: Verify) -> None:
    said = part.commitment
    if said.party not in approval.cohort:
        raise PeerProtocolError(f"{said.party} is not of this query's cohort")
    verify(said.party, part.signature, said.statement())
    wanted = (approval.query, approval.plan, approval.key, approval.width)
    if (said.query, said.plan, said.key, said.width) != wanted:
        raise PeerProtocolError(f"{said.party} committed to another query, plan or key")
    if said.ciphertext != digest_bytes(part.ciphertext):
        raise PeerProtocolError(f"the ciphertext of {said.party} is not the one it committed to")


def _require_enough(approval: Approval, organisations: set[str], parties: int) -> None:
    if len(organisations) < MINIMUM_CONTRIBUTORS:
        raise PeerProtocolError(
            f"{len(organisations)} organisations contribute and {MINIMUM_CONTRIBUTORS} must: "
            "a sum over fewer shows one organisation's part"
        )
    if parties < approval.minimum:
        raise PeerProtocolError(
            f"{parties} parties contribute and the order asks for at least {approval.minimum}"
        )


def _listing(approval: Approval, ordered: Sequence[Sealed]) -> str:
    return canonical.digest(
        {
            "query": approval.query,
            "parts": [[part.commitment.party, part.commitment.ciphertext] for part in ordered],
        }
    )
