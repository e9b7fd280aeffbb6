"""What passes between an entrant, the join service, members and people."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

from aggregator import hosting
from clients import consent
from federation import (
    enrolment,
    invitations,
    knocks,
    views,
)
from federation.membership import Member as Party
from federation.people import calling, passkeys
from policies.parties import Jurisdiction, PartyId
from policies.parties import Role as Office
from secure_compute import canonical
from secure_compute.primitives import authority
from tests.authenticator import Authenticator
from tests.parsers.agreement import LIAR
from tests.parsers.making import (
    Parser,
    a_federation,
    a_folder,
    objects,
    of_file,
    of_mapping,
    of_text,
    resigned,
    values,
)
from tests.parsers.shells import the_authority


def parsers() -> Iterator[Parser]:
    """What passes between an entrant, the join service and members."""
    yield Parser(
        ("federation.invitations.Token.parse",),
        of_text(invitations.Token.parse),
        lambda: [str(_TOKEN).encode()],
        text=True,
    )
    yield Parser(
        ("federation.enrolment.open_enrolment",),
        resigned(LIAR, lambda w: enrolment.open_enrolment(w, "harbour"), b"entrepot enrolment/1\n"),
        lambda: [enrolment.sign_enrolment(_enrolment(), LIAR)],
    )
    yield Parser(
        ("federation.enrolment.read_offer",), enrolment.read_offer, lambda: objects(_offer())()
    )
    yield Parser(
        ("federation.knocks.read_knock",),
        knocks.read_knock,
        lambda: [knocks.Knock("0" * 16, bytes(20), "a" * 64, b"enrolment").to_bytes()],
    )
    yield from _people()
    asked = views.Request(b"enrolment", "certificate", (PartyId("a"),))
    yield Parser(
        ("federation.views.read_view",),
        views.read_view,
        lambda: [views.View(b"c", b"f", (PartyId("b"),), 2, (asked,)).to_bytes()],
    )
    yield Parser(
        ("federation.views.read_signature",),
        views.read_signature,
        lambda: [views.Signature("a" * 64, bytes(64)).to_bytes()],
    )
    yield Parser(
        ("clients.consent.read_consent",),
        resigned(
            LIAR,
            lambda w: consent.read_consent(w, LIAR.verify_key),
            b"entrepot consent to a policy card/1\n",
        ),
        lambda: [
            bytes(64) + canonical.encode(consent.Consent(PartyId("a"), "b" * 64, 1).to_json())
        ],
    )
    yield Parser(
        ("secure_compute.primitives.authority.read_request",),
        lambda pem: authority.read_request(pem, "cn"),
        lambda: [authority.request_certificate(a_folder() / "asked.key", "cn")],
        text=True,
    )
    yield Parser(
        ("secure_compute.primitives.authority.key_pin",),
        authority.key_pin,
        lambda: [the_authority().certificate],
        text=True,
    )
    yield Parser(
        ("secure_compute.primitives.authority.load_authority",),
        of_file(lambda path: authority.load_authority(path.parent), "ca.key"),
        lambda: [_made_authority()],
        text=True,
    )
    yield Parser(
        ("aggregator.hosting.load_hosting",),
        of_file(lambda path: hosting.load_hosting(path.parent), "aggregator.toml"),
        lambda: [(a_federation().home.aggregator / "aggregator.toml").read_bytes()],
        text=True,
    )


_TOKEN: Final = invitations.Token("join.example", 9447, bytes(32), bytes(8), bytes(20), 1 << 40)


def _people() -> Iterator[Parser]:
    """What people say at their door; what an authenticator says comes in it."""
    phone = Authenticator(id=b"i" * 16, key=derive_private_key(7, SECP256R1()))
    challenge, site = b"c" * 32, passkeys.Site(phone.host, phone.origin)
    kept = passkeys.registered(phone.register(challenge), challenge, site)
    yield Parser(
        ("federation.people.calling.read_call",),
        calling.read_call,
        lambda: [calling.Call("00" * 32, {"person": "ana", "code": "123456"}).to_bytes()],
    )
    yield Parser(
        ("federation.people.passkeys.registered",),
        of_mapping(lambda said: passkeys.registered(said, challenge, site)),
        values(phone.register(challenge)),
    )
    yield Parser(
        ("federation.people.passkeys.asserted",),
        of_mapping(lambda said: passkeys.asserted(said, challenge, site, kept)),
        values(phone.answer(challenge)),
    )


def _enrolment() -> enrolment.Enrolment:
    return enrolment.Enrolment(
        federation="harbour",
        invitation="0" * 16,
        member=Party(PartyId("cn"), "Ningbo", Office.MERCHANT, Jurisdiction.CN, LIAR.verify_key),
        request="a request",
        flower="a line",
        card="a" * 64,
    )


def _offer() -> enrolment.Offer:
    return enrolment.Offer(
        federation="harbour",
        party=PartyId("cn"),
        organisation="Ningbo",
        role=Office.MERCHANT,
        jurisdiction=Jurisdiction.CN,
        host=_enrolment().member,
        authority="a certificate",
        fleet="a:1",
        stream="a:2",
        threshold=2,
        colluding=1,
        pin="",
    )


@cache
def _made_authority() -> bytes:
    authority.create_authority(a_folder(), datetime(2026, 5, 1, tzinfo=UTC))
    return (a_folder() / "ca.key").read_bytes()
