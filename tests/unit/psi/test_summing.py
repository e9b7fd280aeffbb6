"""A sum over the people in common: exact but for the noise of two seeds, said once, found out."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_compute.errors import (
    FaultyPartyError,
    LocalProtocolError,
    PeerProtocolError,
    SecondSetError,
    SessionUsedError,
)
from secure_compute.psi import audit, inner, messages, session, summing
from secure_compute.psi.amounts import Amounts, amounts_place, summed
from secure_compute.psi.identifiers import Kind, collect
from secure_compute.psi.messages import HEADER, NUMBER, SEALED_KEY
from secure_compute.psi.opening import bind, open_session
from secure_compute.psi.sets import Book, place
from secure_compute.psi.terms import Reveals, Role, Terms
from secure_compute.psi.values import Value
from tests.matched import chosen, terms
from tests.summed import ENTROPY, VALUE, Summing, summing_terms

WORTH = {"b": 100, "c": 33, "d": 500, "e": 7}


@pytest.fixture(scope="module")
def pair():
    found = Summing(summing_terms(), "abcx", WORTH)
    found.run()
    return found


# -- what is told ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("receivers", "worth"),
    [("abcx", WORTH), ("xyz", WORTH), ("bcde", WORTH), ("b", {"b": 0}), ("abcdef", {"f": 500})],
)
def test_a_sum_is_that_of_a_join_and_of_the_noise_that_was_drawn(receivers, worth):
    pair = Summing(summing_terms(), receivers, worth)
    found = pair.run()
    mine, theirs = (pair.noise(role) for role in (Role.RECEIVER, Role.SENDER))
    assert pair.opened.total - mine == pair.exact
    assert found.total - theirs == pair.exact
    assert summing.told_by(pair.terms, pair.told) - mine - theirs == pair.exact
    assert pair.opened.size == summing.size_in(pair.terms, pair.choice)
    assert found.size == pair.size.noised


def test_dummies_move_the_size_and_never_the_sum():
    """Some of a hundred and more dummies match: the size shows them, the sum does not."""
    law = dataclasses.replace(terms().dummies, scale=8, shift=60)
    pair = Summing(summing_terms(dummies=law), "abc", WORTH)
    found = pair.run()
    drawn = found.size + law.shift - 2
    assert 0 <= drawn <= 2 * law.shift and drawn != 0
    assert pair.opened.total - pair.noise(Role.RECEIVER) == pair.exact == 133


def test_negative_numbers_are_summed():
    value = Value(column="x", low=-300, high=20, step="1", unit="", scale=1)
    pair = Summing(summing_terms(value=value), "abc", {"a": -300, "b": 20, "d": -5})
    pair.run()
    assert pair.opened.total - pair.noise(Role.RECEIVER) == -280


def test_lengths_follow_from_the_terms_alone(pair):
    other = Summing(summing_terms(session="s2"), "z", {"q": 1})
    other.run()
    for name in ("list", "answer", "choice", "told"):
        assert len(getattr(pair, name)) == len(getattr(other, name))
    assert len(pair.commitments[1]) == len(pair.commitments[0]) + 32


def test_a_size_has_the_terms_it_always_had():
    assert "value" not in terms().to_json()
    again = Terms.from_json(summing_terms().to_json())
    assert again == summing_terms() and again.digest != terms().digest


# -- one set, one list of numbers, each step once -------------------------------------------------


def test_the_set_of_a_sum_is_that_of_a_size():
    agreed = summing_terms()
    before = terms(session="earlier")
    book, _, _ = open_session(Book(), before, Role.SENDER, chosen("bcd"))
    other = Amounts((1, 2), bytes(32))
    with pytest.raises(SecondSetError, match="another set"):
        open_session(book, agreed, Role.SENDER, chosen("bc"), other)
    same = Amounts((1, 2, 3), bytes(32))
    open_session(book, agreed, Role.SENDER, chosen("bcd"), same)


@pytest.mark.parametrize("role", list(Role))
def test_other_numbers_of_the_same_set_are_refused(role):
    """By the sender's own book, and by the receiver's."""
    pair = Summing(summing_terms(), "abc", WORTH)
    later = summing_terms(session="s2")
    if role is Role.SENDER:
        other = Amounts((1, *pair.amounts.steps[1:]), pair.theirs.salt)
        with pytest.raises(SecondSetError, match="other numbers"):
            open_session(pair.other, later, role, pair.theirs, other)
        return
    book, opened, _ = open_session(pair.book, later, role, pair.mine)
    _, _, said = open_session(Book(), later, Role.SENDER, pair.theirs, pair.amounts)
    bind(book, opened, said)
    _, _, said = open_session(
        Book(), later, Role.SENDER, pair.theirs, Amounts((0, 0, 0, 0), pair.theirs.salt)
    )
    with pytest.raises(SecondSetError, match="other numbers"):
        bind(book, opened, said)


def test_numbers_are_of_a_column_its_bounds_and_its_step_and_not_of_a_noise():
    first = amounts_place(summing_terms())
    same = [{"scale": 41}]
    other = [{"column": "y"}, {"high": 499}, {"low": -1}, {"step": "1"}, {"unit": "USD"}]
    for changes in same:
        value = dataclasses.replace(VALUE, **changes)
        assert amounts_place(summing_terms(value=value)) == first
    for changes in other:
        value = dataclasses.replace(VALUE, **changes)
        assert amounts_place(summing_terms(value=value)) != first


def test_set_and_numbers_are_of_the_bounds_that_they_were_chosen_by():
    """One's own: the other end's cap says nothing of them."""
    agreed = summing_terms(most=2)
    own = [{"sender_cap": 8}, {"most": 1}, {"most": 3}]
    for changes in own:
        other = summing_terms(**{"most": 2, **changes})
        assert place(other, "acquirer") != place(agreed, "acquirer")
        assert amounts_place(other) != amounts_place(agreed)
    other = summing_terms(most=2, receiver_cap=8)
    assert place(other, "acquirer") == place(agreed, "acquirer")
    assert amounts_place(other) == amounts_place(agreed)
    turned = summing_terms(most=2, receiver="acquirer", sender="harbour", receiver_cap=7)
    assert place(turned, "acquirer") == place(agreed, "acquirer")
    with pytest.raises(LocalProtocolError, match="no end of this session"):
        place(agreed, "stranger")


def test_numbers_are_within_their_bounds_and_of_their_set():
    agreed = summing_terms()
    for steps in ((501, 0, 0), (-1, 0, 0), (1, 2)):
        with pytest.raises(LocalProtocolError):
            open_session(Book(), agreed, Role.SENDER, chosen("bcd"), Amounts(steps, bytes(32)))
    with pytest.raises(LocalProtocolError, match="brings numbers"):
        open_session(Book(), agreed, Role.SENDER, chosen("bcd"))
    with pytest.raises(LocalProtocolError, match="brings numbers"):
        open_session(Book(), agreed, Role.RECEIVER, chosen("b"), Amounts((1,), bytes(32)))


def test_each_step_is_taken_once(pair):
    steps = (
        lambda: summing.reply(pair.other, pair.other_bound, pair.amounts, pair.list, ENTROPY),
        lambda: summing.choose(pair.book, pair.blinded, pair.answer),
        lambda: summing.release(pair.other, pair.answered, pair.choice),
        lambda: summing.take(pair.book, pair.terms, pair.blinded.seed, 0, pair.told),
        lambda: session.conclude(pair.book, pair.blinded, pair.answer),
        lambda: session.tell(pair.book, pair.size),
    )
    for step in steps:
        with pytest.raises(SessionUsedError):
            step()


def test_a_step_made_again_from_its_seed_says_the_same(pair):
    again = summing.choice(pair.blinded, pair.answer)[1]
    assert again == pair.choice
    assert summing.released(pair.terms, pair.answered.seed, pair.choice)[1] == pair.told


# -- who does not keep to it ----------------------------------------------------------------------


def content(pair, name):
    return getattr(pair, name)[HEADER:]


def test_another_number_of_ciphertexts_is_refused(pair):
    piece = pair.answer[-inner.POLYNOMIAL :]
    for wire in (pair.answer + piece, pair.answer[: -inner.POLYNOMIAL]):
        with pytest.raises(PeerProtocolError, match="bytes and the terms say"):
            summing.choice(pair.blinded, wire)
    extra = bytes(inner.POLYNOMIAL)
    for wire in (pair.choice + extra, pair.choice[: -inner.POLYNOMIAL]):
        with pytest.raises(PeerProtocolError, match="bytes and the terms say"):
            summing.released(pair.terms, pair.answered.seed, wire)


def test_ciphertexts_that_are_none_are_read_by_nobody(pair):
    """Residues are compared with their primes by numpy, and no library of C++ sees one."""
    end = len(pair.answer) - messages.sealed(pair.terms)
    for at in (end + inner.NAME_SIZE, end + SEALED_KEY + inner.NAME_SIZE):
        wire = pair.answer[:at] + b"\xff" * 8 + pair.answer[at + 8 :]
        with pytest.raises(PeerProtocolError, match="below its prime"):
            summing.choice(pair.blinded, wire)
    for at in (HEADER + NUMBER, HEADER + NUMBER + inner.COEFFICIENT):
        wire = pair.choice[:at] + b"\xff" * 8 + pair.choice[at + 8 :]
        with pytest.raises(PeerProtocolError, match="below its prime"):
            summing.released(pair.terms, pair.answered.seed, wire)


def test_messages_of_another_session_or_kind_are_refused(pair):
    other = Summing(summing_terms(session="s2"), "abcx", WORTH)
    other.run()
    with pytest.raises(PeerProtocolError, match="another session"):
        summing.choice(pair.blinded, other.answer)
    with pytest.raises(PeerProtocolError, match="another session"):
        summing.released(pair.terms, pair.answered.seed, other.choice)
    with pytest.raises(PeerProtocolError, match="summed message"):
        summing.told_by(pair.terms, pair.choice)


def test_a_sum_of_noise_alone_is_refused_and_an_honest_one_never(pair):
    """A choice that was changed opens to a number of 60 bits: beyond what anybody can have."""
    at = HEADER + NUMBER + inner.COEFFICIENT
    wire = pair.choice[:at] + bytes(64) + pair.choice[at + 64 :]
    with pytest.raises(PeerProtocolError, match="beyond what so many"):
        summing.released(pair.terms, pair.answered.seed, wire)
    most = 6 * 500 + 64 * VALUE.scale
    assert VALUE.require_plausible(most, 6) == most
    with pytest.raises(PeerProtocolError):
        VALUE.require_plausible(-most - 1, 6)
    told = messages.write(
        pair.terms, messages.Kind.SUMMED, (most + 10**9).to_bytes(8, "big", signed=True)
    )
    with pytest.raises(PeerProtocolError, match="beyond what so many"):
        summing.take(Book(), pair.terms, pair.blinded.seed, 0, told)


def test_who_keeps_to_it_is_found_right(pair):
    sent = (pair.commitments[1], pair.answer)
    seed = pair.answered.seed
    audit.require_list(pair.terms, pair.mine, pair.blinded.seed, (pair.commitments[0], pair.list))
    audit.require_reply(pair.terms, pair.theirs, seed, sent, pair.list, amounts=pair.amounts)
    choice = (pair.commitments[0], pair.choice)
    audit.require_choice(pair.terms, pair.mine, pair.blinded.seed, choice, pair.answer)
    audit.require_release(pair.terms, seed, pair.told, pair.choice)


def test_a_receiver_that_weighs_one_person_more_reads_a_number_and_is_found():
    """The attack of SPEC, "What is not prevented": the noise is for weights of 0 and 1."""
    pair = Summing(summing_terms(), "abcx", WORTH)
    pair.reply()
    found = session.matches(pair.terms, pair.blinded.scalar, pair.answer)
    weights = np.zeros(len(found), np.int64)
    weights[found.index(True)] = large = 1 << 16
    sealed = session.sealed_part(pair.terms, pair.answer)
    (answer,) = inner.choose(sealed[:SEALED_KEY], sealed[SEALED_KEY:], [weights], [0], ENTROPY)
    told = (0).to_bytes(NUMBER, "big", signed=True)
    wire = messages.write(pair.terms, messages.Kind.CHOICE, told + answer)
    total = summing._key(pair.terms, pair.answered.seed).open(answer)
    read = round((total + pair.noise(Role.SENDER)) / large)
    assert read in {0, *WORTH.values()}
    with pytest.raises(FaultyPartyError, match="harbour sent another list"):
        audit.require_choice(
            pair.terms, pair.mine, pair.blinded.seed, (pair.commitments[0], wire), pair.answer
        )


def test_a_sender_that_seals_other_numbers_or_tells_another_sum_is_found(pair):
    seed = pair.answered.seed
    larger = Amounts((400, *pair.amounts.steps[1:]), pair.amounts.salt)
    wire = summing.summing_reply(pair.terms, pair.theirs, larger, seed, pair.list)
    sent = (pair.commitments[1], wire)
    with pytest.raises(FaultyPartyError, match="acquirer sent another list"):
        audit.require_reply(pair.terms, pair.theirs, seed, sent, pair.list, amounts=pair.amounts)
    with pytest.raises(FaultyPartyError, match="acquirer committed to another set"):
        audit.require_reply(pair.terms, pair.theirs, seed, sent, pair.list, amounts=larger)
    told = pair.told[:-1] + bytes([pair.told[-1] ^ 1])
    with pytest.raises(FaultyPartyError, match="acquirer told another sum"):
        audit.require_release(pair.terms, seed, told, pair.choice)


# -- terms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"low": 3, "high": 2},
        {"high": 1 << 33},
        {"low": 0, "high": 0},
        {"low": True},
        {"scale": 0},
        {"scale": 1 << 49},
        {"step": "1e2"},
        {"step": "0.10"},
        {"column": ""},
    ],
)
def test_no_sum_has_such_a_value(changes):
    with pytest.raises(LocalProtocolError):
        dataclasses.replace(VALUE, **changes)


@pytest.mark.parametrize("changes", [{"value": None}, {"dummies": None}])
def test_no_session_has_such_terms(changes):
    with pytest.raises(LocalProtocolError):
        summing_terms(**changes)
    with pytest.raises(LocalProtocolError):
        terms(value=VALUE)
    with pytest.raises(LocalProtocolError):
        terms(reveals=Reveals.INTERSECTION, value=VALUE)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {**VALUE.to_json(), "more": 1},
        {**VALUE.to_json(), "low": "0"},
        {k: v for k, v in VALUE.to_json().items() if k != "scale"},
    ],
)
def test_a_value_is_read_as_it_is_written_and_nothing_else(raw):
    assert Value.from_json(VALUE.to_json()) == VALUE
    with pytest.raises(LocalProtocolError):
        Value.from_json(raw)
    with pytest.raises(PeerProtocolError):
        Terms.from_json({**summing_terms().to_json(), "value": raw})


# -- what one person moves ------------------------------------------------------------------------

ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.none() | st.integers(0, 7), st.none() | st.integers(-60, 60)),
    max_size=25,
)
BOUNDS = st.tuples(st.integers(-20, 20), st.integers(-20, 20)).map(sorted)


LATER = st.none() | ROWS
"""Rows that the numbers are read from, where they are not those of the set."""


@settings(max_examples=400)
@given(ROWS, LATER, st.sets(st.integers(0, 7)), BOUNDS, st.integers(1, 3), st.integers(1, 6))
def test_one_person_moves_a_sum_by_at_most_what_is_charged(rows, later, other, bounds, most, cap):
    """Half of it where set and numbers are of one reading, all of it where the rows changed."""
    low, high = bounds
    if not max(high, 0) - min(low, 0):
        return
    value = Value(column="x", low=low, high=high, step="1", unit="", scale=1)
    partner = {f"i{which}@x.org" for which in other}
    readings = [_named(rows), _named(rows if later is None else later)]
    less = [[row for row in reading if row[0] != "p0"] for reading in readings]
    sums = [_sum(*both, partner, value, most, cap) for both in (readings, less)]
    charged = value.event(most)["sensitivity"]
    assert abs(sums[0] - sums[1]) <= (charged if later is not None else charged / 2)


def _named(rows):
    return [(f"p{who}", None if w is None else f"i{w}@x.org", n) for who, w, n in rows]


def _sum(rows, later, partner, value, most, cap):
    """Return the sum of a set of some rows, with the numbers of others."""
    listed = [(person, raw) for person, raw, _ in rows if raw is not None]
    found = collect(Kind.EMAIL, listed, most=most, cap=cap, entropy=Same()).identifiers
    steps = summed(Kind.EMAIL, later, found, most=most, value=value)
    return sum(s for text, s in zip(found, steps, strict=True) if text in partner)


def test_a_person_counts_at_no_more_identifiers_than_it_brings():
    """Three addresses are in the set because others bring them; the person brings one of them."""
    value = Value(column="x", low=0, high=100, step="1", unit="", scale=1)
    others = [(f"q{place}", f"{place}@x.org", 0) for place in "abc"]
    rows = [*others, *(("p", f"{place}@x.org", 50) for place in "abc")]
    assert sum(summed(Kind.EMAIL, rows, [f"{c}@x.org" for c in "abc"], most=1, value=value)) == 100


@pytest.mark.parametrize(("low", "high"), [(0, 100), (-100, 0), (-40, 100)])
def test_a_person_whose_identifier_changed_between_set_and_numbers_moves_both(low, high):
    """The set knows P at a; when the numbers are read P is at b, and Q, who has most, is at a."""
    value = Value(column="x", low=low, high=high, step="1", unit="", scale=1)
    most = max(low, high, key=abs)
    first = [("P", "a@x.org", most), ("R", "b@x.org", 0)]
    later = [("P", "b@x.org", most), ("Q", "a@x.org", most), ("R", "b@x.org", 0)]
    partner = {"a@x.org", "b@x.org"}
    with_ = _sum(first, later, partner, value, 1, 9)
    without = _sum(first[1:], later[1:], partner, value, 1, 9)
    assert (with_, without) == (2 * most, 0)
    charged = value.event(1)["sensitivity"]
    assert value.reach < abs(with_ - without) <= charged == 2 * value.reach


def test_who_is_pushed_out_of_a_full_set_is_in_the_bound():
    """A set of one: the person brings 20, and without it another stands there with -10."""
    value = Value(column="x", low=-10, high=20, step="1", unit="", scale=1)
    moved = set()
    for name in "abcdefgh":
        rows = [("p0", f"{name}@x.org", 20), ("q", "other@x.org", -10)]
        with_, without = (
            _sum(some, some, {f"{name}@x.org", "other@x.org"}, value, 1, 1)
            for some in (rows, rows[1:])
        )
        moved.add(abs(with_ - without))
    assert max(moved) == value.reach == 30


class Same:
    """One key for both worlds."""

    def bytes(self, count):
        return b"k" * count


def test_a_person_counts_once_with_all_rows_and_a_shared_address_is_clipped():
    value = Value(column="x", low=0, high=100, step="1", unit="", scale=1)
    rows = [("p", "A@x.org", 30), ("p", "a@x.org", 40), ("q", "b@x.org", 500), ("r", "b@x.org", 9)]
    rows += [("s", "nobody", 5), ("t", "c@x.org", None), ("t", None, 8), ("u", "d@x.org", None)]
    found = summed(Kind.EMAIL, rows, [f"{c}@x.org" for c in "abcde"], most=1, value=value)
    assert found == (70, 100, 8, 0, 0)
