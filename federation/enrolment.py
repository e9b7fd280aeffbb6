"""What passes when a party joins: what it is offered, what it sends back, and six words over both.

    offer       what the aggregator says of the federation and of the seat it invites to
    enrolment   the entrant's keys, requests and consent, signed by its identity key
    words       what both ends, and every member that admits it, read to one another

An enrolment makes nobody a member. It is what members look at before they sign (`roster_chain`);
its words stand for the keys that they let in, and for the federation that they are in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from federation.check_words import check_words
from federation.errors import MalformedMessageError, MisdirectedMessageError
from federation.membership import Member
from federation.roster_rules import is_name, is_organisation
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import BadSignatureError, LocalProtocolError, NotCanonicalError
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey

VERSION: Final = 1
LONGEST: Final = 32_768
"""Bytes of an enrolment at most."""
_LABEL: Final = b"entrepot enrolment/1\n"
_LONGEST_LINE: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What an invitation is good for.

    party …:   the seat; who takes it changes nothing of it.
    host:      the aggregator; its identity is checked by the words, not by who says it.
    authority: certificate of who vouches for connections, PEM.
    fleet, stream: `host:port` of the two ports that a node keeps to.
    pin:       of the roster, "" where the federation is not founded yet.
    """

    federation: str
    party: PartyId
    organisation: str
    role: Role
    jurisdiction: Jurisdiction
    host: Member
    authority: str
    fleet: str
    stream: str
    threshold: int
    colluding: int
    pin: str

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {
            "version": VERSION,
            "federation": self.federation,
            "party": self.party,
            "organisation": self.organisation,
            "role": self.role.value,
            "jurisdiction": self.jurisdiction.value,
            "host": self.host.to_json(),
            "authority": self.authority,
            "fleet": self.fleet,
            "stream": self.stream,
            "threshold": self.threshold,
            "colluding": self.colluding,
            "pin": self.pin,
        }


def read_offer(data: bytes) -> Offer:
    """Read what a join service answered.

    Raises:
        MalformedMessageError: it is no offer of this version.
    """
    match _decoded(data, "offer"):
        case {
            "version": 1,
            "federation": str(federation),
            "party": str(party),
            "organisation": str(organisation),
            "role": str(role),
            "jurisdiction": str(jurisdiction),
            "host": dict(host),
            "authority": str(authority),
            "fleet": str(fleet),
            "stream": str(stream),
            "threshold": int(threshold),
            "colluding": int(colluding),
            "pin": str(pin),
            **rest,
        } if not rest and threshold > 1 and colluding > 0 and _is_pin(pin):
            try:
                return _spelt(
                    Offer(
                        federation=federation,
                        party=PartyId(party),
                        organisation=organisation,
                        role=Role(role),
                        jurisdiction=Jurisdiction(jurisdiction),
                        host=Member.from_json(host),
                        authority=authority,
                        fleet=fleet,
                        stream=stream,
                        threshold=threshold,
                        colluding=colluding,
                        pin=pin,
                    )
                )
            except (ValueError, LocalProtocolError) as why:
                raise MalformedMessageError("the offer names no such role, place or key") from why
    raise MalformedMessageError("what the join service offers is no offer of this version")


def _spelt(offer: Offer) -> Offer:
    """Return an offer whose names a roster could have: they become folders and lines of files."""
    names = (offer.federation, offer.party, offer.host.party)
    spelt = (offer.organisation, offer.host.organisation)
    if not (all(map(is_name, names)) and all(map(is_organisation, spelt))):
        raise MalformedMessageError("the offer names what no roster could: nothing was kept of it")
    return offer


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """An entrant's keys and what it agreed to; every private half stays where it was made.

    invitation: id, 16 hexadecimal digits.
    request:    for the certificate of its streams, PEM, signed by their key.
    flower:     the public key for Flower's server, an OpenSSH line.
    card:       SHA-256 of the policy card that its operator agreed to.
    """

    federation: str
    invitation: str
    member: Member
    request: str = field(repr=False)
    flower: str = field(repr=False)
    card: str

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {
            "version": VERSION,
            "federation": self.federation,
            "invitation": self.invitation,
            "member": self.member.to_json(),
            "request": self.request,
            "flower": self.flower,
            "card": self.card,
        }


def sign_enrolment(enrolment: Enrolment, key: SigningKey) -> bytes:
    """Return the enrolment's canonical bytes behind its own key's signature."""
    body = canonical.encode(enrolment.to_json())
    return key.sign(_LABEL + body) + body


def open_enrolment(wire: bytes, federation: str) -> Enrolment:
    """Read an enrolment, having checked that its sender has the identity key in it.

    Raises:
        MalformedMessageError: it is none of this version, or is signed by another key.
        MisdirectedMessageError: it is for another federation.
    """
    signature, body = wire[:SIGNATURE_SIZE], wire[SIGNATURE_SIZE:]
    enrolment = _enrolment(_decoded(body, "enrolment"))
    try:
        enrolment.member.identity.verify(signature, _LABEL + body)
    except BadSignatureError as why:
        raise MalformedMessageError(
            "the enrolment is not signed by the identity key that it names"
        ) from why
    if enrolment.federation != federation:
        raise MisdirectedMessageError(
            f"the enrolment is for {enrolment.federation!r}, and this is {federation!r}"
        )
    return enrolment


def words_of(
    enrolment: Enrolment, certificate: str, authority: str, host: Member, pin: str
) -> tuple[str, ...]:
    """Return the six words of one entry into a federation.

    certificate: the entrant's, PEM; authority: of who signed it; host: the aggregator; pin: of the
    roster that this side believes, "" before the founding.
    """
    own = (_keys(enrolment.member), _keys(host))
    return check_words(enrolment.invitation, certificate, authority, *own, pin)


def _keys(member: Member) -> str:
    """Return both keys of a member, as one of the texts that check words stand for."""
    return member.identity.hex + ("" if member.sealing is None else member.sealing.hex)


def _enrolment(value: JSON) -> Enrolment:
    match value:
        case {
            "version": 1,
            "federation": str(federation),
            "invitation": str(invitation),
            "member": dict(member),
            "request": str(request),
            "flower": str(flower),
            "card": str(card),
            **rest,
        } if not rest and _is_hex(invitation, 16) and _is_hex(card, 64):
            if max(len(request), len(flower)) > _LONGEST_LINE:
                raise MalformedMessageError("a key of the enrolment is longer than any is")
            return Enrolment(
                federation=federation,
                invitation=invitation,
                member=_member(member),
                request=request,
                flower=flower,
                card=card,
            )
    raise MalformedMessageError("this is no enrolment of this version")


def _member(value: Mapping[str, JSON]) -> Member:
    try:
        member = Member.from_json(value)
    except (ValueError, LocalProtocolError) as why:
        raise MalformedMessageError("the enrolment names no such role, place or key") from why
    if member.sealing is None:
        raise MalformedMessageError(
            "the enrolment has no sealing key, so nothing could be sent to its node; it was made "
            "by an earlier version: install this one there, and join again in a new folder"
        )
    return member


def _decoded(data: bytes, what: str) -> JSON:
    if len(data) > LONGEST:
        raise MalformedMessageError(f"the {what} is longer than {LONGEST} bytes")
    try:
        return canonical.decode(data)
    except NotCanonicalError as why:
        raise MalformedMessageError(f"the {what} is not in its one spelling") from why


def _is_pin(text: str) -> bool:
    return not text or _is_hex(text, 64)


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and not set(text) - set("0123456789abcdef")
