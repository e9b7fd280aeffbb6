"""A node signs one list, and shows what it can show."""

from dataclasses import replace

import pytest

from federation.joint_keys import pack, unpack
from federation.messages import Kind
from secure_compute.errors import PeerProtocolError
from secure_compute.threshold import ciphertext, scheme
from secure_compute.threshold.listing import Commitment, Endorsement
from secure_compute.threshold.ring import DATA
from tests.asked import FOUR, HOLDERS, Joint
from tests.joint_questions import smaller, twofold, width
from tests.simulator import CN, EU


def test_no_second_list_is_signed(table):
    asked = table.committed()
    first = asked.endorse(CN).blobs["endorsement"]
    others = smaller(asked), twofold(asked)
    assert [asked.endorse(CN, other).kind for other in others] == [Kind.FAILED] * 2
    table.simulation.restart(CN)
    assert [asked.endorse(CN, other).kind for other in others] == [Kind.FAILED] * 2
    assert asked.endorse(CN).blobs["endorsement"] == first


def test_a_list_without_ours_or_of_too_few_or_forged_is_not_signed(table):
    asked = table.committed()
    theirs = [asked.commitments[party] for party in FOUR[1:]]
    mine = asked.commitments[CN]
    forged = replace(Commitment.read(asked.commitments[EU]), chunks=("00" * 32,))
    liar = forged.signed(table.simulation.key(EU).sign)
    instead = replace(Commitment.read(mine), chunks=("00" * 32,))
    for said in (
        theirs,
        [mine, theirs[0]],
        [mine, forged.to_bytes(), *theirs[1:]],
        [mine, *theirs, liar.to_bytes()],
        [instead.signed(table.simulation.key(CN).sign).to_bytes(), *theirs],
        [mine, mine, mine],
        [mine, *theirs[:1], b"\0" * 99],
    ):
        assert asked.endorse(CN, said).kind is Kind.FAILED
    assert asked.ask(Kind.QUERY_ENDORSE, CN, commitments=b"").kind is Kind.FAILED
    assert asked.ask(Kind.QUERY_ENDORSE, CN).kind is Kind.FAILED
    assert asked.endorse(CN).kind is Kind.QUERY_ENDORSED


def test_nothing_is_revealed_without_a_quorums_signatures(table):
    asked = table.committed()
    for party in FOUR:
        asked.endorse(party)
    good = list(asked.endorsements.values())
    other = replace(Endorsement.read(good[1]), listing="00" * 32)
    liar = other.signed(table.simulation.key(FOUR[1]).sign)
    for signed in (good[:2], [good[0]] * 3, [*good[:2], liar.to_bytes()], [*good[:2], bytes(99)]):
        assert asked.reveal(CN, signed).kind is Kind.FAILED
    assert asked.ask(Kind.QUERY_REVEAL, CN).kind is Kind.FAILED
    assert asked.reveal(CN, good[:3]).kind is Kind.QUERY_REVEALED


def test_nothing_is_revealed_before_a_list_was_shown(table):
    asked = table.committed()
    for party in FOUR[1:]:
        asked.endorse(party)
    assert asked.reveal(CN).kind is Kind.FAILED
    assert asked.endorse(CN).kind is Kind.QUERY_ENDORSED
    assert asked.reveal(CN).kind is Kind.QUERY_REVEALED


def test_yesterdays_ciphertext_rerandomised_opens_to_nothing(table, fixed):
    """A party that was given another's old ciphertext adds its own to it, under today's key."""
    yesterday = table.answered()
    (old,) = unpack(yesterday.chunks[EU])
    today = table.committed()
    joint = today.joint
    nothing = today.question.layout.spread([0] * width(today.order))[0]
    fresh = scheme.encrypt(nothing, joint.public, joint.uniform)
    mixed = ciphertext.to_bytes(DATA.add(ciphertext.from_bytes(old), fresh))
    hashed = ciphertext.digest(mixed, today.question.digest, CN, 0)
    said = Commitment(question=today.question.digest, party=CN, chunks=(hashed,))
    today.commitments[CN] = said.signed(table.simulation.key(CN).sign).to_bytes()
    for party in FOUR[1:]:
        assert today.endorse(party).kind is Kind.QUERY_ENDORSED
    for party in FOUR[1:]:
        today.reveal(party)
    today.chunks[CN] = pack([mixed])
    for party in HOLDERS[:2]:
        assert today.open(party).kind is Kind.QUERY_OPENED
    with pytest.raises(PeerProtocolError, match="more noise"):
        today.answer(HOLDERS[:2])


def test_a_party_cannot_commit_to_anothers_ciphertext(table):
    """Its hash takes the party: who repeats a hash has nothing to reveal under it."""
    asked = table.committed()
    theirs = Commitment.read(asked.commitments[EU])
    said = replace(theirs, party=CN).signed(table.simulation.key(CN).sign)
    asked.commitments[CN] = said.to_bytes()
    for party in FOUR[1:]:
        asked.endorse(party)
    for party in FOUR[1:]:
        asked.reveal(party)
    asked.chunks[CN] = asked.chunks[EU]
    reply = asked.open(HOLDERS[0])
    assert reply.kind is Kind.FAILED


def test_a_question_is_derived_from_the_order_alone(table):
    asked = table.ask()
    question = asked.question
    assert question.query == asked.order.id
    assert question.recipient == asked.order.proposer
    assert question.parties == tuple(sorted(FOUR))
    assert question.colluding == asked.joint.terms.threshold - 1
    other = Joint(table.simulation, replace(asked.order, minimum=4), asked.package)
    assert other.question.digest != question.digest
