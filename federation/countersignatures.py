"""A second organisation's name under a work order: what it signs, and how it rides with the order.

    signature of the proposer, 64 bytes | order | 0x00 | list

The list is canonical JSON, one entry a countersigner, sorted by party; an order that nobody
countersigned ends with its own bytes, as orders always did. What is signed names the order by the
SHA-256 of all that it says, so that a countersignature is for one order and for nothing else.

A member signs with its identity key, or a person for it, with a key of its own and the member's
mandate for that key (`federation.mandates`), which rides along; no key signs for two members.

Whoever proposes an order cannot countersign it, nor can anybody of the same organisation, and the
aggregator's organisation is asked by nobody: it carries orders. No key that is, or was, a member's
of either signs for another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from federation.errors import MalformedMessageError, MalformedOrderError, UntrustedOrderError
from federation.mandates import Mandate, mandate_of
from federation.membership import Roster
from policies.parties import PartyId, Role
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import BadSignatureError, NotCanonicalError
from secure_compute.primitives.signature import (
    SIGNATURE_SIZE,
    SigningKey,
    VerifyKey,
    verify_by_one,
)

SEPARATOR: Final = b"\x00"
"""No canonical JSON holds it: there it is spelled out."""

MOST: Final = 16


@dataclass(frozen=True, slots=True)
class ByPerson:
    """A person's signature for a member, and that member's mandate for the person's key."""

    signature: bytes = field(repr=False)
    mandate: Mandate


Given: TypeAlias = bytes | ByPerson
"""A member's own signature, 64 bytes, or a person's for it."""


def countersign(federation: str, order: str, party: PartyId, key: SigningKey) -> bytes:
    """Return a member's signature under the order with this id; `key` is its identity."""
    return key.sign(_statement(federation, order, party))


def countersign_for(federation: str, order: str, mandate: Mandate, key: SigningKey) -> ByPerson:
    """Return a person's signature under the order with this id; `key` is the mandate's."""
    return ByPerson(key.sign(_statement(federation, order, mandate.party, key.verify_key)), mandate)


def attached(wire: bytes, given: Mapping[PartyId, Given]) -> bytes:
    """Return a signed order with these countersignatures instead of those that it had."""
    plain, _ = divided(wire)
    if not given:
        return plain
    items: list[JSON] = [item_of(party, given[party]) for party in sorted(given)]
    return plain + SEPARATOR + canonical.encode(items)


def taken_apart(wire: bytes) -> tuple[bytes, dict[PartyId, Given]]:
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


def listed(rest: bytes) -> dict[PartyId, Given]:
    """Return the countersignatures of a list, by party, not yet verified.

    Raises:
        MalformedOrderError: it is no such list, or another spelling of one.
    """
    try:
        items = canonical.decode(rest)
    except NotCanonicalError as why:
        raise MalformedOrderError("its countersignatures are not in canonical form") from why
    pairs = list(map(given_of, items)) if isinstance(items, list) else []
    names = [party for party, _ in pairs]
    if not 1 <= len(names) <= MOST or names != sorted(set(names)):
        raise MalformedOrderError(
            f"an order is countersigned by 1 to {MOST} parties, each once, in the order of names"
        )
    return dict(pairs)


def require_genuine(
    roster: Roster, order: str, proposer: PartyId, expires: int, given: Mapping[PartyId, Given]
) -> tuple[PartyId, ...]:
    """Return who countersigned, each of an organisation of its own and with a key of its own.

    expires: when the order is over, in seconds since 1970: no mandate ends before it.

    A countersignature by a key that its member has given up since is genuine and authorises nothing
    any more: the order can be read, as what it was, and that member is not among those returned.

    Raises:
        UnknownPartyError: a party is not on the roster.
        UntrustedOrderError: it did not sign, or is of the proposer's, the aggregator's or another
            countersigner's organisation; or a person signed without its mandate, or for two.
    """
    counted: list[PartyId] = []
    taken = {roster.find(proposer).organisation}
    taken |= {member.organisation for member in roster.with_role(Role.AGGREGATOR)}
    used = roster.keys_of_organisations(taken)
    for party, one in given.items():
        member = roster.find(party)
        if member.organisation in taken:
            raise UntrustedOrderError(
                f"{party} may not countersign: a countersignature is of an organisation that has "
                "neither proposed the order, nor carries it, nor signed it already"
            )
        taken.add(member.organisation)
        by, key = _signed(roster, order, expires, party, one)
        if key in used:
            raise UntrustedOrderError(f"whoever signed for {party} signed the order already")
        used.add(key)
        if by == member.identity:
            counted.append(party)
    return tuple(counted)


def _signed(
    roster: Roster, order: str, expires: int, party: PartyId, given: Given
) -> tuple[VerifyKey, VerifyKey]:
    """Return by which identity key a member countersigned, and with which key that was done."""
    identities = roster.keys_of(party)
    try:
        if isinstance(given, bytes):
            said = _statement(roster.federation, order, party)
            by = verify_by_one(identities, given, said)
            return by, by
        mandate = given.mandate
        by = mandate.require_genuine(roster.federation, *identities)
        said = _statement(roster.federation, order, party, mandate.key)
        mandate.key.verify(given.signature, said)
    except BadSignatureError as why:
        raise UntrustedOrderError(f"{party} did not countersign this order") from why
    if mandate.until < expires:
        raise UntrustedOrderError(
            f"the mandate of who signed for {party} ends before the order; let the member give "
            "another: entrepot node mandate FOLDER KEY"
        )
    return by, mandate.key


def _statement(
    federation: str, order: str, party: PartyId, person: VerifyKey | None = None
) -> bytes:
    value: dict[str, JSON] = {
        "statement": "entrepot.countersignature",
        "v": 1,
        "federation": federation,
        "order": order,
        "party": party,
    }
    return canonical.encode(value if person is None else {**value, "person": person.hex})


def item_of(party: PartyId, given: Given) -> dict[str, JSON]:
    """Return one entry of a list."""
    if isinstance(given, bytes):
        return {"party": party, "signature": given.hex()}
    signed = {"party": party, "signature": given.signature.hex()}
    return {**signed, "by": given.mandate.to_json()}


def given_of(item: JSON) -> tuple[PartyId, Given]:
    """Read one entry of a list, not yet verified.

    Raises:
        MalformedOrderError: it is none.
    """
    match item:
        case {"party": str(party), "signature": str(text), "by": by, **rest} if not rest:
            return PartyId(party), ByPerson(_signature(text), _mandate(PartyId(party), by))
        case {"party": str(party), "signature": str(text), **rest} if not rest:
            return PartyId(party), _signature(text)
    raise MalformedOrderError("a countersignature names its party and its 64 bytes")


def _mandate(party: PartyId, by: JSON) -> Mandate:
    try:
        return mandate_of(party, by)
    except MalformedMessageError as why:
        raise MalformedOrderError(f"a countersignature by a person: {why}") from why


def _signature(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError as why:
        raise MalformedOrderError("a countersignature is not in hexadecimal") from why
    if len(found) != SIGNATURE_SIZE or found.hex() != text:
        raise MalformedOrderError("a countersignature names its party and its 64 bytes")
    return found
