"""A second organisation's name under a work order: what it signs, and how it rides with the order.

    signature of the proposer, 64 bytes | order | 0x00 | list

The list is canonical JSON, one entry a countersigner, sorted by party; an order that nobody
countersigned ends with its own bytes, as orders always did. What is signed names the order by the
SHA-256 of all that it says, so that a countersignature is for one order and for nothing else.

Whoever proposes an order cannot countersign it, nor can anybody of the same organisation, and the
aggregator's organisation is asked by nobody: it carries orders.
"""

from collections.abc import Mapping
from typing import Final

from federation.errors import MalformedOrderError, UntrustedOrderError
from federation.membership import Roster
from policies.parties import PartyId, Role
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import BadSignatureError, NotCanonicalError
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey

SEPARATOR: Final = b"\x00"
"""No canonical JSON holds it: there it is spelled out."""

MOST: Final = 16


def countersign(federation: str, order: str, party: PartyId, key: SigningKey) -> bytes:
    """Return a member's signature under the order with this id; `key` is its identity."""
    return key.sign(_statement(federation, order, party))


def attached(wire: bytes, given: Mapping[PartyId, bytes]) -> bytes:
    """Return a signed order with these countersignatures instead of those that it had."""
    plain, _ = divided(wire)
    if not given:
        return plain
    items: list[JSON] = [{"party": p, "signature": given[p].hex()} for p in sorted(given)]
    return plain + SEPARATOR + canonical.encode(items)


def taken_apart(wire: bytes) -> tuple[bytes, dict[PartyId, bytes]]:
    """Return the order as its proposer signed it, and the countersignatures, not yet verified.

    Raises:
        MalformedOrderError: what follows the order is no list of countersignatures.
    """
    plain, rest = divided(wire)
    return plain, {} if rest is None else listed(rest)


def divided(wire: bytes) -> tuple[bytes, bytes | None]:
    """Return the order as its proposer signed it, and what follows it, unread; None for nothing."""
    plain, separator, rest = wire[SIGNATURE_SIZE:].partition(SEPARATOR)
    return wire[:SIGNATURE_SIZE] + plain, rest if separator else None


def listed(rest: bytes) -> dict[PartyId, bytes]:
    """Return the countersignatures of a list, by party, not yet verified.

    Raises:
        MalformedOrderError: it is no such list, or another spelling of one.
    """
    try:
        items = canonical.decode(rest)
    except NotCanonicalError as why:
        raise MalformedOrderError("its countersignatures are not in canonical form") from why
    pairs = list(map(_read_one, items)) if isinstance(items, list) else []
    names = [party for party, _ in pairs]
    if not 1 <= len(names) <= MOST or names != sorted(set(names)):
        raise MalformedOrderError(
            f"an order is countersigned by 1 to {MOST} parties, each once, in the order of names"
        )
    return dict(pairs)


def require_genuine(
    roster: Roster, order: str, proposer: PartyId, given: Mapping[PartyId, bytes]
) -> tuple[PartyId, ...]:
    """Return who countersigned, each of an organisation of its own.

    Raises:
        UnknownPartyError: a party is not on the roster.
        UntrustedOrderError: it did not sign, or is of the proposer's, the aggregator's or another
            countersigner's organisation.
    """
    taken = {roster.find(proposer).organisation}
    taken |= {member.organisation for member in roster.with_role(Role.AGGREGATOR)}
    for party, signature in given.items():
        member = roster.find(party)
        if member.organisation in taken:
            raise UntrustedOrderError(
                f"{party} may not countersign: a countersignature is of an organisation that has "
                "neither proposed the order, nor carries it, nor signed it already"
            )
        taken.add(member.organisation)
        try:
            member.identity.verify(signature, _statement(roster.federation, order, party))
        except BadSignatureError as why:
            raise UntrustedOrderError(f"{party} did not countersign this order") from why
    return tuple(given)


def _statement(federation: str, order: str, party: PartyId) -> bytes:
    return canonical.encode(
        {
            "statement": "entrepot.countersignature",
            "v": 1,
            "federation": federation,
            "order": order,
            "party": party,
        }
    )


def _read_one(item: JSON) -> tuple[PartyId, bytes]:
    match item:
        case {"party": str(party), "signature": str(signature), **rest} if not rest:
            try:
                found = bytes.fromhex(signature)
            except ValueError as why:
                raise MalformedOrderError("a countersignature is not in hexadecimal") from why
            if len(found) == SIGNATURE_SIZE and found.hex() == signature:
                return PartyId(party), found
    raise MalformedOrderError("a countersignature names its party and its 64 bytes")
