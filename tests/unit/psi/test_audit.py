"""An auditor who is shown set and seed finds whoever masked something else."""

import os

import pytest

from secure_compute.errors import FaultyPartyError
from secure_compute.primitives.multiples import BASE, multiples
from secure_compute.psi import audit, messages
from secure_compute.psi.masking import hashed_and_masked
from tests.matched import Pair, chosen, terms


def test_who_masked_what_it_committed_to_is_found_right():
    pair = Pair(terms(), "abc", "bcd")
    pair.run()
    audit.require_list(pair.terms, pair.mine, pair.blinded.seed, (pair.commitments[0], pair.list))
    sent = (pair.commitments[1], pair.answer)
    audit.require_reply(pair.terms, pair.theirs, pair.answered.seed, sent, pair.list)


def test_another_set_than_was_committed_to_is_found():
    pair, other = Pair(terms(), "abc", "bcd"), Pair(terms(), "abx", "bcx")
    for each in (pair, other):
        each.run()
    sent = (pair.commitments[0], other.list)
    with pytest.raises(FaultyPartyError, match="harbour sent another list"):
        audit.require_list(pair.terms, pair.mine, other.blinded.seed, sent)
    with pytest.raises(FaultyPartyError, match="harbour committed to another set"):
        audit.require_list(pair.terms, chosen("abx"), other.blinded.seed, sent)
    with pytest.raises(FaultyPartyError, match="acquirer"):
        audit.require_reply(
            pair.terms,
            pair.theirs,
            pair.answered.seed,
            (pair.commitments[1], other.answer),
            pair.list,
        )


def test_a_list_under_several_scalars_is_found():
    agreed = terms(receiver_cap=2)
    pair = Pair(agreed, "ab", "abc")
    pair.blind()
    start = bytes.fromhex(agreed.digest) + b"\0"
    points = [hashed_and_masked(os.urandom(32), [start + who.encode()])[0] for who in "ab"]
    content = multiples(pair.blinded.scalar, BASE) + b"".join(sorted(points))
    wire = messages.write(agreed, messages.Kind.LIST, content)
    with pytest.raises(FaultyPartyError):
        audit.require_list(agreed, pair.mine, pair.blinded.seed, (pair.commitments[0], wire))
