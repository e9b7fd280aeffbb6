"""Consents and waiting offers: whose word is believed, and what is asked once more."""

import dataclasses

import pytest

from clients.approvals import Signed, approval, approver_key, consent
from clients.inbox import Inbox
from clients.once import Once, is_of_the_moment
from clients.verdicts import waits_for_a_person
from federation.envelopes import Envelope, seal
from federation.membership import Member, Roster
from federation.messages import Kind
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.errors import BadSignatureError, PeerProtocolError
from secure_compute.primitives.signature import SigningKey
from secure_compute.psi.consent import Consent
from secure_compute.psi.terms import Reveals
from tests.matched import terms

TERMS = terms(reveals=Reveals.JOIN_TOKENS)
ENDS = (PartyId(TERMS.receiver), PartyId(TERMS.sender))
IDENTITIES = {party: SigningKey(bytes([n + 1]) * 32) for n, party in enumerate(ENDS)}
PERSONS = {party: SigningKey(bytes([n + 5]) * 32) for n, party in enumerate(ENDS)}
ROSTER = Roster(
    TERMS.federation,
    1,
    tuple(
        Member(party, str(party), Role.MERCHANT, Jurisdiction.EU, key.verify_key)
        for party, key in IDENTITIES.items()
    ),
)


def given(party, identity=None):
    words = Consent(party, f"person of {party}", "contract")
    return consent(TERMS, words, PERSONS[party], party, identity or IDENTITIES[party])


def test_consents_of_both_ends_approve_and_are_read_as_they_were_written():
    signed = [given(party) for party in ENDS]
    again = [Signed.from_json(one.to_json()) for one in signed]
    assert again == signed
    assert approval(TERMS, again, ROSTER).terms.digest == TERMS.digest


def test_a_key_that_its_party_does_not_vouch_for_approves_nothing():
    stranger = SigningKey(b"x" * 32)
    with pytest.raises(BadSignatureError):
        approval(TERMS, [given(ENDS[0]), given(ENDS[1], stranger)], ROSTER)


def test_one_end_alone_approves_nothing():
    with pytest.raises(PeerProtocolError):
        approval(TERMS, [given(ENDS[0])], ROSTER)
    with pytest.raises(PeerProtocolError):
        Signed.from_json({"party": "harbour"})


def test_a_persons_key_is_made_once_and_nobody_else_may_read_it(tmp_path):
    path = tmp_path / "keys" / "approver.key"
    assert approver_key(path) == approver_key(path)
    assert path.stat().st_mode & 0o077 == 0


def test_an_offer_that_waits_for_a_person_is_considered_again(tmp_path):
    sender, recipient = ENDS

    @dataclasses.dataclass
    class Order:
        id: str = "ab" * 32

    body = waits_for_a_person(Order()).to_json()
    waits = Envelope(Kind.REFUSED, sender, recipient, "ab" * 32, 0, body)
    refused = Envelope(Kind.REFUSED, sender, recipient, "ab" * 32, 0, {**body, "kind": "policy"})
    answers = [seal(each, IDENTITIES[sender]) for each in (waits, refused, waits)]
    once = Once(lambda _: answers.pop(0), Inbox(tmp_path / "inbox.sqlite"), is_of_the_moment)
    first, second, third = (once(b"the same offer") for _ in range(3))
    assert first != second == third
