"""What the aggregator makes of a batch's letters."""

import pytest

from aggregator.errors import MalformedReplyError
from aggregator.key_batch import forwarded, packages
from federation.errors import MalformedMessageError
from federation.joint_keys import pack, unpack
from secure_compute.errors import PeerProtocolError
from secure_compute.threshold.pool import Deal
from tests.joined import HOLDERS, terms_of

ONE, TWO, THREE = HOLDERS[:3]


def deal(sender, receiver, place=0):
    return Deal("ab" * 32, place, sender, receiver, bytes(60)).to_bytes()


def test_everybody_gets_what_was_dealt_to_it():
    dealt = {
        ONE: pack([deal(ONE, TWO), deal(ONE, THREE, 1)]),
        TWO: pack([deal(TWO, THREE, 2)]),
        THREE: pack([]),
    }
    found = forwarded(dealt)
    assert unpack(found[ONE]) == []
    assert unpack(found[TWO]) == [deal(ONE, TWO)]
    assert unpack(found[THREE]) == [deal(ONE, THREE, 1), deal(TWO, THREE, 2)]


@pytest.mark.parametrize("wire", [deal(TWO, THREE), deal(ONE, "nobody")])
def test_nobody_deals_for_another_or_to_nobody(wire):
    with pytest.raises(MalformedReplyError, match="deals for others"):
        forwarded({ONE: pack([wire]), TWO: b"", THREE: b""})


@pytest.mark.parametrize("blob", [b"\0", pack([b""]), pack([b"{}"])])
def test_what_is_no_deal_is_none(blob):
    with pytest.raises((MalformedMessageError, PeerProtocolError)):
        forwarded({ONE: blob, TWO: b"", THREE: b""})


@pytest.mark.parametrize("parts", [[], [b"x"], [b"x"] * 3])
def test_as_many_parts_are_shown_as_there_are_pieces(parts):
    terms = terms_of(3, 2)
    assert len(terms.made_by(ONE)) == 2
    with pytest.raises(MalformedReplyError, match=f"shows {len(parts)} parts of 2"):
        packages(None, 2, [terms], [], {ONE: pack(parts)})
