"""Sizes against Python's sets, and whatever bytes come in instead of a message."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from secure_compute import canonical
from secure_compute.errors import SecureComputeError
from secure_compute.psi import session
from secure_compute.psi.messages import HEADER, Kind, write
from secure_compute.psi.opening import bind, open_session
from secure_compute.psi.sets import Book
from secure_compute.psi.terms import Role, Terms
from tests.matched import LAW, Pair, chosen, terms
from tests.seeded import SeededEntropy

PEOPLE = st.sets(st.sampled_from("abcdefghij"), max_size=6)
AGREED = terms()


@given(PEOPLE, PEOPLE)
@settings(max_examples=30, deadline=None)
def test_a_size_is_that_of_pythons_sets_and_the_noise(receivers, senders):
    pair = Pair(AGREED, receivers, senders)
    assert pair.run().noised == len(receivers & senders) + pair.drawn()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.data())
@settings(max_examples=20, deadline=None)
def test_every_cap_holds_every_set_that_fits(receivers, senders, shift, data):
    agreed = terms(receiver_cap=receivers, sender_cap=senders, dummies=type(LAW)(LAW.scale, shift))
    mine = data.draw(st.sets(st.integers(0, 12), max_size=receivers))
    theirs = data.draw(st.sets(st.integers(0, 12), max_size=senders))
    pair = Pair(agreed, mine, theirs)
    assert abs(pair.run().noised - len(mine & theirs)) <= shift


def met(pair):
    """Return everything that reads foreign bytes in a session, each ready to be called."""
    book, opened, _ = open_session(Book(), pair.terms, Role.RECEIVER, chosen("abc"))
    return {
        Kind.SENDER_COMMITS: lambda wire: bind(book, opened, wire),
        Kind.LIST: lambda wire: session.reply(Book(), pair.other_bound, wire, SeededEntropy(1)),
        Kind.REPLY: lambda wire: session.conclude(Book(), pair.blinded, wire),
        Kind.TOLD: lambda wire: session.hear(pair.answered, wire),
    }


PLAYED = Pair(AGREED, "abc", "bcd")
PLAYED.run()
SENT = {Kind.LIST: PLAYED.list, Kind.REPLY: PLAYED.answer}


@given(
    st.sampled_from([Kind.SENDER_COMMITS, Kind.LIST, Kind.REPLY, Kind.TOLD]),
    st.binary(max_size=900),
)
@settings(max_examples=150, deadline=None)
def test_bad_bytes_are_refused_as_a_peers_fault(kind, wire):
    for message in (wire, write(AGREED, kind, wire)):
        try:
            met(PLAYED)[kind](message)
        except SecureComputeError:
            continue
        assert message[:HEADER] == write(AGREED, kind, b"")


@given(st.sampled_from([Kind.LIST, Kind.REPLY]), st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_bad_flipped_bits_never_pass_for_another_message(kind, at, flip):
    wire = bytearray(SENT[kind])
    wire[at % len(wire)] ^= flip
    try:
        met(PLAYED)[kind](bytes(wire))
    except SecureComputeError:
        return
    assert bytes(wire[:HEADER]) == SENT[kind][:HEADER]


@given(st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner)),
       st.sampled_from([*AGREED.to_json(), ""]))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_bad_terms_and_books_are_refused(value, name):
    for made in (value, {**AGREED.to_json(), name: value}):
        with suppress(SecureComputeError):
            assert Terms.from_json(made).to_json() == made
        try:
            Book.from_bytes(canonical.encode(made))
        except SecureComputeError:
            pass
        else:
            raise AssertionError
