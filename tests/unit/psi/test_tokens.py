"""Who is in both sets: right, approved by two persons, and impossible without."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_compute.entropy import SystemEntropy
from secure_compute.errors import (
    BadSignatureError,
    LocalProtocolError,
    PeerProtocolError,
    SessionUsedError,
)
from secure_compute.primitives.signature import SigningKey
from secure_compute.psi import messages, tokens
from secure_compute.psi.consent import Approval, Consent, approve
from secure_compute.psi.messages import HEADER
from secure_compute.psi.sets import Book
from secure_compute.psi.terms import Reveals
from tests.matched import KEYS, KNOWN, Pair, approval, consents, terms

INTERSECTION = terms(reveals=Reveals.INTERSECTION)
JOIN = terms(reveals=Reveals.JOIN_TOKENS)
PEOPLE = st.sets(st.sampled_from("abcdefghij"), max_size=6)


def mails(people):
    return tuple(sorted(f"{person}@x.org" for person in people))


class Disclosure(Pair):
    """Both parties of an approved session."""

    def __init__(self, agreed, receivers, senders):
        super().__init__(agreed, receivers, senders)
        self.approval = approval(agreed)

    def listed(self):
        self.book, self.blinded, self.list = tokens.blind(
            self.book, self.bound, self.approval, SystemEntropy()
        )
        self.other, self.replied, self.answer = tokens.reply(
            self.other, self.other_bound, self.approval, self.list, SystemEntropy()
        )
        return self

    def intersect(self):
        self.listed()
        return tokens.intersect(self.book, self.blinded, self.approval, self.answer)[1]

    def join(self):
        self.listed()
        self.book, mine, self.given = tokens.join(
            self.book, self.blinded, self.approval, self.answer
        )
        self.other, theirs = tokens.align(self.other, self.replied, self.approval, self.given)
        return mine, theirs


@given(PEOPLE, PEOPLE)
@settings(max_examples=25, deadline=None)
def test_an_intersection_is_that_of_pythons_sets(receivers, senders):
    assert Disclosure(INTERSECTION, receivers, senders).intersect() == mails(receivers & senders)


@given(PEOPLE, PEOPLE)
@settings(max_examples=25, deadline=None)
def test_tokens_align_exactly_the_common_people(receivers, senders):
    mine, theirs = Disclosure(JOIN, receivers, senders).join()
    assert tuple(sorted(who for who, _ in mine.common)) == mails(receivers & senders)
    assert mine.common == theirs.common
    assert [who for who, _ in mine.own] == [*mails(receivers)]
    assert [who for who, _ in theirs.own] == [*mails(senders)]


def test_tokens_are_of_one_session_and_fillers_have_them_too():
    first, _ = Disclosure(JOIN, "abc", "bcd").join()
    second, _ = Disclosure(JOIN, "abc", "bcd").join()
    assert not {token for _, token in first.own} & {token for _, token in second.own}
    assert len(first.others) == JOIN.sender_cap
    assert all(len(token) == 16 for token in first.others)


@pytest.mark.parametrize("agreed", [INTERSECTION, JOIN])
def test_the_length_of_no_message_depends_on_a_set(agreed):
    seen = set()
    for receivers, senders in (("", ""), ("abc", ""), ("abcdef", "abcdefg")):
        pair = Disclosure(agreed, receivers, senders).listed()
        seen.add((len(pair.list), len(pair.answer)))
    assert len(seen) == 1


def test_nothing_happens_without_an_approval():
    pair = Pair(INTERSECTION, "abc", "bcd")
    with pytest.raises(TypeError, match="minted"):
        Approval(INTERSECTION, ())
    with pytest.raises(TypeError, match="minted"):
        replace(approval(INTERSECTION), terms=JOIN)

    class Pretended:
        terms = INTERSECTION

    elsewhere = approval(terms(session="s2", reveals=Reveals.INTERSECTION))
    for instead in (Pretended(), approval(JOIN), elsewhere):
        with pytest.raises(LocalProtocolError, match="approval"):
            tokens.blind(pair.book, pair.bound, instead, SystemEntropy())
        with pytest.raises(LocalProtocolError, match="approval"):
            tokens.reply(pair.other, pair.other_bound, instead, b"", SystemEntropy())
    made = Disclosure(INTERSECTION, "abc", "bcd").listed()
    with pytest.raises(LocalProtocolError, match="approval"):
        tokens.intersect(made.book, made.blinded, approval(JOIN), made.answer)
    joined = Disclosure(JOIN, "abc", "bcd").listed()
    with pytest.raises(LocalProtocolError, match="approval"):
        tokens.join(joined.book, joined.blinded, approval(INTERSECTION), joined.answer)
    with pytest.raises(LocalProtocolError, match="approval"):
        tokens.align(joined.other, joined.replied, approval(INTERSECTION), b"")


def test_an_intersection_makes_no_tokens_and_tokens_no_intersection():
    made = Disclosure(INTERSECTION, "abc", "bcd").listed()
    with pytest.raises(LocalProtocolError, match="intersection alone"):
        tokens.join(made.book, made.blinded, made.approval, made.answer)
    joined = Disclosure(JOIN, "abc", "bcd").listed()
    with pytest.raises(LocalProtocolError, match="join_tokens alone"):
        tokens.intersect(joined.book, joined.blinded, joined.approval, joined.answer)


def changed(at, **changes):
    """Return the consents with one of them changed and signed anew by its party's key."""
    signed = consents(INTERSECTION)
    one = replace(signed[at][0], **changes)
    signed[at] = (one, KEYS.get(one.party, KEYS["harbour"]).sign(one.statement(INTERSECTION)))
    return signed


@pytest.mark.parametrize(
    "given_consents",
    [
        [],
        consents(INTERSECTION)[:1],
        consents(INTERSECTION)[:1] * 2,
        consents(INTERSECTION) * 2,
        changed(0, party="somebody"),
        changed(0, person="B. Chen"),
    ],
)
def test_bad_consents(given_consents):
    with pytest.raises(PeerProtocolError):
        approve(INTERSECTION, given_consents, KNOWN)


@pytest.mark.parametrize("other", [JOIN, terms(session="s2", reveals=Reveals.INTERSECTION)])
def test_bad_consents_for_other_terms(other):
    with pytest.raises(BadSignatureError):
        approve(INTERSECTION, consents(other), KNOWN)


def test_bad_consents_that_were_changed_after_signing_or_signed_by_the_other_end():
    (first, signature), second = consents(INTERSECTION)
    with pytest.raises(BadSignatureError):
        approve(INTERSECTION, [(replace(first, legal_basis="none"), signature), second], KNOWN)
    with pytest.raises(BadSignatureError):
        approve(INTERSECTION, [(first, second[1]), (second[0], signature)], KNOWN)


def test_bad_keys():
    signed = consents(INTERSECTION)
    one = SigningKey(bytes([1]) * 32).verify_key
    for keys in ({}, {"harbour": one}, {"harbour": one, "acquirer": one}):
        with pytest.raises(PeerProtocolError):
            approve(INTERSECTION, signed, keys)


@pytest.mark.parametrize("basis", ["", "  ", "x" * 501])
def test_bad_legal_bases(basis):
    with pytest.raises(LocalProtocolError, match="legal basis"):
        Consent("harbour", "A. Ito", basis)


def test_a_size_is_not_approved_here():
    with pytest.raises(LocalProtocolError, match="account"):
        approve(terms(), consents(terms()), KNOWN)


def test_the_ledger_is_told_what_it_is():
    entry = approval(JOIN).entry()
    assert entry["priced"] is False
    assert entry["digest"] == JOIN.digest
    assert [one["legal_basis"] for one in entry["consents"]] == [
        "PIPL Art. 13(1): separate consent, record 7",
        "GDPR Art. 6(1)(f): fraud prevention",
    ]


def test_each_step_happens_once():
    made = Disclosure(JOIN, "abc", "bcd")
    made.join()
    for again in (
        lambda: tokens.blind(made.book, made.bound, made.approval, SystemEntropy()),
        lambda: tokens.reply(
            made.other, made.other_bound, made.approval, made.list, SystemEntropy()
        ),
        lambda: tokens.join(made.book, made.blinded, made.approval, made.answer),
        lambda: tokens.align(made.other, made.replied, made.approval, made.given),
    ):
        with pytest.raises(SessionUsedError):
            again()


@pytest.mark.parametrize("agreed", [INTERSECTION, JOIN])
def test_bad_points_in_either_direction(agreed):
    made = Disclosure(agreed, "abc", "bcd").listed()
    content = made.answer[HEADER:]
    end = agreed.tag_bytes * agreed.tags
    low = bytes(32)
    for points in (low + content[end + 32 :], content[end:][::-1], content[end:][:-32] + low):
        wire = messages.write(agreed, messages.Kind.REPLY, content[:end] + points)
        read = tokens.intersect if agreed is INTERSECTION else tokens.join
        with pytest.raises(PeerProtocolError):
            read(made.book, made.blinded, made.approval, wire)
    with pytest.raises(PeerProtocolError):
        wire = made.list[: HEADER + 32] + low + made.list[HEADER + 64 :]
        tokens.reply(Book(), made.other_bound, made.approval, wire, SystemEntropy())
    with pytest.raises(PeerProtocolError):
        tokens.align(made.other, made.replied, made.approval, made.answer)
