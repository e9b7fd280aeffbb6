"""What two nodes say past the aggregator: opened by the partner, in its step and its order."""

import pytest

from federation.errors import MalformedMessageError
from federation.membership import Member, Roster
from federation.pairing import Pair, advertise
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.errors import BadSignatureError, PeerProtocolError
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.primitives.signature import SigningKey

HERE, THERE, OTHER = (PartyId(name) for name in ("here", "there", "other"))
IDENTITIES = {party: SigningKey(bytes([n]) * 32) for n, party in enumerate((HERE, THERE, OTHER))}
KEYS = {party: AgreementKey(bytes([n + 9]) * 32) for n, party in enumerate((HERE, THERE, OTHER))}
ORDER, ANOTHER = "ab" * 32, "cd" * 32
ROSTER = Roster(
    "two",
    1,
    tuple(
        Member(party, str(party), Role.MERCHANT, Jurisdiction.EU, key.verify_key)
        for party, key in IDENTITIES.items()
    ),
)


def said(party, partner, order=ORDER, signer=None):
    return advertise(order, party, partner, KEYS[party], IDENTITIES[signer or party])


def pair(me, partner, key=None, order=ORDER):
    return Pair.of(order, me, partner, KEYS[me], key or said(partner, me), ROSTER)


def test_the_partner_reads_what_was_said_in_a_step():
    sealed = pair(HERE, THERE).seal(2, b"a list")
    assert pair(THERE, HERE).open(2, sealed) == b"a list"
    assert b"a list" not in sealed and len(sealed) == 6 + 16


def test_the_same_step_is_said_in_the_same_bytes_and_every_other_in_others():
    channel = pair(HERE, THERE)
    assert channel.seal(2, b"a list") == pair(HERE, THERE).seal(2, b"a list")
    streams = {channel.seal(step, bytes(64))[:64] for step in range(5)}
    streams |= {pair(THERE, HERE).seal(step, bytes(64))[:64] for step in range(5)}
    assert len(streams) == 10  # no two steps share a key stream


@pytest.mark.parametrize("step", [0, 1, 3])
def test_it_opens_in_no_other_step(step):
    with pytest.raises(PeerProtocolError):
        pair(THERE, HERE).open(step, pair(HERE, THERE).seal(2, b"a list"))


def test_nobody_else_opens_it_and_nobody_hears_its_own_words():
    sealed = pair(HERE, THERE).seal(2, b"a list")
    with pytest.raises(PeerProtocolError):
        pair(OTHER, HERE).open(2, sealed)
    with pytest.raises(PeerProtocolError):
        pair(HERE, THERE).open(2, sealed)


@pytest.mark.parametrize(
    "key",
    [
        said(THERE, HERE, signer=OTHER),
        said(THERE, HERE, ANOTHER),
        said(THERE, OTHER),
        said(OTHER, HERE),
        said(THERE, HERE)[:-1],
        b"\0" * 40,
    ],
)
def test_a_key_that_is_not_the_partners_for_this_order_is_refused(key):
    with pytest.raises((BadSignatureError, MalformedMessageError)):
        pair(HERE, THERE, key)
