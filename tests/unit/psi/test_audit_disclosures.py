"""An audit covers disclosures too: what was sent is what the approved set and its seed make."""

import pytest

from secure_compute.errors import FaultyPartyError
from secure_compute.psi import audit, tokens
from secure_compute.psi.terms import Reveals
from tests.matched import Pair, approval, chosen, terms


class Fixed:
    """A seed where chance is asked for."""

    def __init__(self, seed):
        self.seed = seed

    def bytes(self, count):
        assert count == len(self.seed)
        return self.seed


@pytest.fixture(params=[Reveals.INTERSECTION, Reveals.JOIN_TOKENS])
def disclosed(request):
    pair = Pair(terms(reveals=request.param), "abc", "bcd")
    agreed = approval(pair.terms)
    _, _, pair.list = tokens.blind(pair.book, pair.bound, agreed, Fixed(b"r" * 32))
    _, _, pair.answer = tokens.reply(
        pair.other, pair.other_bound, agreed, pair.list, Fixed(b"s" * 32)
    )
    return pair


def test_a_disclosure_that_masked_what_was_committed_is_found_right(disclosed):
    sent = (disclosed.commitments[0], disclosed.list)
    audit.require_list(disclosed.terms, disclosed.mine, b"r" * 32, sent)
    sent = (disclosed.commitments[1], disclosed.answer)
    audit.require_reply(disclosed.terms, disclosed.theirs, b"s" * 32, sent, disclosed.list)


def test_a_list_of_other_people_than_were_approved_is_found(disclosed):
    sent = (disclosed.commitments[0], disclosed.list)
    with pytest.raises(FaultyPartyError, match="another set"):
        audit.require_list(disclosed.terms, chosen("abx"), b"r" * 32, sent)
    with pytest.raises(FaultyPartyError, match="another list"):
        audit.require_list(disclosed.terms, disclosed.mine, b"q" * 32, sent)
    sent = (disclosed.commitments[1], disclosed.answer)
    with pytest.raises(FaultyPartyError, match="another list"):
        audit.require_reply(disclosed.terms, disclosed.theirs, b"q" * 32, sent, disclosed.list)
