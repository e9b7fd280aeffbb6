"""How many two sets have in common: right, noised for the receiver, and silent about the rest."""

import hashlib
import os
from dataclasses import replace
from itertools import pairwise

import pytest

from policies.budget import events
from secure_compute import canonical
from secure_compute.entropy import SystemEntropy
from secure_compute.errors import (
    LocalProtocolError,
    PeerProtocolError,
    SecondSetError,
    SessionUsedError,
)
from secure_compute.primitives.multiples import BASE, multiples
from secure_compute.psi import elligator, messages, session
from secure_compute.psi.dummies import Law
from secure_compute.psi.identifiers import Collected, Kind
from secure_compute.psi.lists import masked_list, tags
from secure_compute.psi.masking import alone, hashed_and_masked, masked
from secure_compute.psi.opening import bind, open_session
from secure_compute.psi.sets import Book, Chosen
from secure_compute.psi.terms import Reveals, Role, Terms
from tests.matched import LAW, LOW_ORDER, P, Pair, chosen, terms
from tests.seeded import SeededEntropy

HEADER = messages.HEADER


def as_list(agreed, key, points):
    return messages.write(agreed, messages.Kind.LIST, key + b"".join(sorted(points)))


def parts(agreed, reply):
    content = reply[HEADER:]
    end = agreed.tag_bytes * agreed.tags
    return messages.cut(content[:end], agreed.tag_bytes), messages.cut(content[end:], 32)


@pytest.mark.parametrize(
    ("receivers", "senders"),
    [("", ""), ("abc", ""), ("", "abc"), ("abc", "def"), ("abcdef", "abcdefg"), ("abc", "bcd")],
)
def test_the_size_is_that_of_the_sets_and_the_noise_that_was_drawn(receivers, senders):
    pair = Pair(terms(), receivers, senders)
    size = pair.run()
    assert size.noised == len(set(receivers) & set(senders)) + pair.drawn()
    assert abs(pair.drawn()) <= LAW.shift
    assert size.scale == LAW.scale


def test_what_is_told_has_the_receivers_noise_too():
    """Neither side can take both draws off again."""
    seen = set()
    for _ in range(20):
        pair = Pair(terms(), "abc", "bcd")
        size = pair.run()
        _, wire = session.tell(pair.book, size)
        told = session.hear(pair.answered, wire)
        assert told == size.noised + size.added - LAW.shift
        seen.add(told - size.noised)
    assert len(seen) > 1


@pytest.mark.parametrize("people", ["", "abc", "abcdef"])
def test_the_length_of_no_message_depends_on_a_set(people):
    agreed = terms()
    lengths = []
    for other in ("", "abc", "uvwxyz"):
        pair = Pair(agreed, people, other)
        pair.run()
        _, told = session.tell(pair.book, pair.size)
        lengths.append([*map(len, pair.commitments), len(pair.list), len(pair.answer), len(told)])
    points, tags_sent = agreed.sender_cap + 2 * LAW.shift, agreed.receiver_cap + 2 * LAW.shift
    reply = HEADER + 32 * points + agreed.tag_bytes * tags_sent
    listed = HEADER + 32 * (1 + agreed.receiver_cap)
    assert lengths == [[HEADER + 32, HEADER + 32, listed, reply, HEADER + 8]] * 3


def test_every_list_is_shuffled_and_whole():
    """Ascending bytes of masked points are a random order of identifiers, fillers and dummies."""
    pair = Pair(terms(), "abc", "abcd")
    pair.run()
    found, points = parts(pair.terms, pair.answer)
    listed = messages.cut(pair.list[HEADER + 32 :], 32)
    for some in (found, points, listed):
        assert all(left < right for left, right in pairwise(some))


def test_a_reply_does_not_say_which_of_the_receivers_points_a_tag_belongs_to():
    places = set()
    for _ in range(12):
        pair = Pair(terms(), "a", "a")
        pair.run()
        found, _ = parts(pair.terms, pair.answer)
        stream_scalar = masked_list(
            pair.terms,
            Role.SENDER,
            pair.theirs,
            session.chance(pair.answered.seed, pair.terms, Role.SENDER),
            alone,
        ).scalar
        first = messages.cut(pair.list[HEADER + 32 :], 32)[0]
        places.add(found.index(tags(pair.terms, masked(stream_scalar, [first]))[0]))
    assert len(places) > 2


def test_scalars_are_of_one_session():
    """Nothing of one session is found in another one, though both sets are the same."""
    first, second = Pair(terms(), "abc", "bcd"), Pair(terms(session="s2"), "abc", "bcd")
    again = Pair(terms(), "abc", "bcd")
    for pair in (first, second, again):
        pair.run()
    for one, other in ((first, second), (first, again), (second, again)):
        for mine, theirs in ((one.list, other.list), (one.answer, other.answer)):
            pieces = [set(messages.cut(wire[HEADER:], 32)) for wire in (mine, theirs)]
            assert not pieces[0] & pieces[1]
        assert one.blinded.scalar != other.blinded.scalar


def test_a_filler_is_fresh_and_nobodys():
    pair = Pair(terms(), "", "")
    pair.blind()
    again = Pair(terms(), "", "")
    again.blind()
    unmasked = hashed_and_masked(pair.blinded.scalar, [bytes.fromhex(pair.terms.digest) + b"\1"])
    listed = set(messages.cut(pair.list[HEADER + 32 :], 32))
    assert len(listed) == 6
    assert not listed & set(unmasked)
    assert not listed & set(messages.cut(again.list[HEADER + 32 :], 32))


def test_the_points_are_bound_to_the_session_and_the_kind():
    scalar = os.urandom(32)

    class Fixed:
        def __init__(self):
            self.rest = SeededEntropy(3)
            self.first = True

        def bytes(self, count):
            first, self.first = self.first, False
            return scalar if first else self.rest.bytes(count)

    some = [terms(), terms(session="s2"), terms(kind=Kind.PHONE), terms(window="2026-12")]
    lists = [
        set(masked_list(one, Role.RECEIVER, chosen("ab"), Fixed(), alone).points) for one in some
    ]
    assert all(not left & right for at, left in enumerate(lists) for right in lists[at + 1 :])


# A partner that lies


def test_a_receiver_that_brings_one_guess_sees_it_noised():
    """It lists one person and leaves out whatever it likes: the dummies match all the same."""
    seen = {Pair(terms(), "a", "a").run().noised for _ in range(40)}
    assert len(seen) > 2


def test_a_receiver_that_keeps_one_scalar_cannot_tell_dummies_from_people():
    """Its own key and points are all it has, and the dummies were masked like everybody else."""
    agreed = terms(receiver_cap=1, sender_cap=1)
    for person, guess in (("a", "a"), ("a", "b")):
        pair = Pair(agreed, guess, person)
        size = pair.run()
        found, points = parts(agreed, pair.answer)
        matching = [
            point
            for point, tag in zip(
                points, tags(agreed, masked(pair.blinded.scalar, points)), strict=True
            )
            if tag in found
        ]
        assert len(matching) - LAW.shift == size.noised
        assert BASE not in matching


def test_what_spec_says_is_not_prevented_is_not():
    """A receiver with a scalar for each guess undoes shuffle and noise: SPEC, "What is not"."""
    agreed = terms(receiver_cap=3, sender_cap=3)
    pair = Pair(agreed, "abz", "abc")
    scalars = {who: os.urandom(32) for who in "abz"}
    session_id = bytes.fromhex(agreed.digest)
    points = {
        who: hashed_and_masked(scalar, [session_id + b"\0" + f"{who}@x.org".encode()])[0]
        for who, scalar in scalars.items()
    }
    answer = pair.reply(as_list(agreed, multiples(os.urandom(32), BASE), points.values()))
    found, theirs = parts(agreed, answer)
    members = {
        who
        for who, scalar in scalars.items()
        if set(tags(agreed, masked(scalar, theirs))) & set(found)
    }
    assert members == {"a", "b"}


@pytest.mark.parametrize("point", LOW_ORDER)
def test_bad_low_order_points_are_refused_everywhere(point):
    pair = Pair(terms(), "abc", "abc")
    pair.blind()
    key, listed = pair.list[HEADER : HEADER + 32], messages.cut(pair.list[HEADER + 32 :], 32)
    for wire in (
        as_list(pair.terms, key, [point, *listed[1:]]),
        as_list(pair.terms, point, listed),
    ):
        with pytest.raises(PeerProtocolError):
            pair.reply(wire)
    pair.reply()
    found, points = parts(pair.terms, pair.answer)
    content = b"".join((*found, *sorted([point, *points[1:]])))
    with pytest.raises(PeerProtocolError):
        pair.conclude(messages.write(pair.terms, messages.Kind.REPLY, content))


def spoiled(listed):
    """Return lists that would mark one point, or that have a second spelling."""
    u = int.from_bytes(listed[0], "little")
    twice = [listed[0], *listed[:-1]]
    beside = [pow(u, -1, P).to_bytes(32, "little"), *listed[:-1]]
    high = [(u | 1 << 255).to_bytes(32, "little"), *listed[1:]]
    second = [(P + 9).to_bytes(32, "little"), *listed[1:]]
    twist = next(v for v in range(2, 99) if not elligator.is_on_curve(v)).to_bytes(32, "little")
    return {
        "one point twice": sorted(twice),
        "one point twice but for a point of order two": sorted(beside),
        "the same coordinate with its highest bit set": sorted(high),
        "a coordinate above p": sorted(second),
        "a point of the twist": sorted([twist, *listed[1:]]),
        "unsorted": listed[::-1],
    }


@pytest.mark.parametrize("what", spoiled([BASE, *(bytes([i]) + bytes(31) for i in range(20, 25))]))
def test_bad_lists_are_refused(what):
    pair = Pair(terms(), "abc", "abc")
    pair.blind()
    key, listed = pair.list[HEADER : HEADER + 32], messages.cut(pair.list[HEADER + 32 :], 32)
    wire = messages.write(pair.terms, messages.Kind.LIST, key + b"".join(spoiled(listed)[what]))
    with pytest.raises(PeerProtocolError):
        pair.reply(wire)
    pair.reply()
    found, points = parts(pair.terms, pair.answer)
    content = b"".join((*found, *spoiled(points)[what]))
    with pytest.raises(PeerProtocolError):
        pair.conclude(messages.write(pair.terms, messages.Kind.REPLY, content))


def test_bad_points_that_stand_twice_are_refused_before_they_are_masked():
    with pytest.raises(PeerProtocolError, match="stands twice"):
        messages.read_points(BASE + BASE)


def test_a_tag_is_a_hash_of_its_session_and_keeps_no_relation_of_points():
    point = masked(os.urandom(32), [BASE])[0]
    first, second = (tags(one, [point])[0] for one in (terms(), terms(session="s2")))
    assert first != second
    assert first not in point
    assert len(first) == terms().tag_bytes


def test_bad_raw_hashes_are_noticed():
    agreed = terms(receiver_cap=64)
    pair = Pair(agreed, "abc", "abc")
    raw = [
        (int.from_bytes(hashlib.sha256(b"%d" % i).digest(), "little") % P).to_bytes(32, "little")
        for i in range(64)
    ]
    scalar = os.urandom(32)
    with pytest.raises(PeerProtocolError, match="twist"):
        pair.reply(as_list(agreed, multiples(scalar, BASE), masked(scalar, raw)))


def test_bad_tags_out_of_order():
    pair = Pair(terms(), "abc", "abc")
    pair.blind()
    pair.reply()
    found, points = parts(pair.terms, pair.answer)
    content = b"".join((*found[::-1], *points))
    with pytest.raises(PeerProtocolError, match="ascending"):
        pair.conclude(messages.write(pair.terms, messages.Kind.REPLY, content))


# Replays, second sets, other sessions, other roles


def test_each_step_happens_once():
    pair = Pair(terms(), "abc", "bcd")
    pair.run()
    pair.book, _ = session.tell(pair.book, pair.size)
    for again in (
        pair.blind,
        pair.reply,
        pair.conclude,
        lambda: session.tell(pair.book, pair.size),
        lambda: Pair(terms(), "abc", "bcd", (pair.book, Book())),
        lambda: Pair(terms(), "abc", "bcd", (Book(), pair.other)),
        lambda: Pair(terms(receiver_cap=5), "abc", "bcd", (pair.book, Book())),
    ):
        with pytest.raises(SessionUsedError):
            again()


def test_a_second_commitment_in_one_session_is_refused():
    agreed = terms()
    book, opened, _ = open_session(Book(), agreed, Role.RECEIVER, chosen("abc"))
    _, _, said = open_session(Book(), agreed, Role.SENDER, chosen("bcd"))
    book, _ = bind(book, opened, said)
    with pytest.raises(SessionUsedError):
        bind(book, opened, said)


@pytest.mark.parametrize("who", ["mine", "theirs"])
def test_a_second_set_in_a_window_is_refused(who):
    first = Pair(terms(), "abc", "bcd")
    books = (first.book, Book())
    sets = ("abx", "bcd") if who == "mine" else ("abc", "bcx")
    with pytest.raises(SecondSetError, match="approval"):
        Pair(terms(session="s2"), *sets, books)


def test_the_same_set_again_another_window_or_another_approval_are_fine():
    first = Pair(terms(), "abc", "bcd")
    books = (first.book, first.other)
    Pair(terms(session="s2"), "abc", "bcd", books)
    Pair(terms(session="s3", window="2026-12"), "abx", "bcx", books)
    Pair(terms(session="s4", approval="a2"), "abx", "bcx", books)


def test_a_set_beyond_the_cap_is_refused_before_anything_is_sent():
    with pytest.raises(LocalProtocolError, match="at most 6"):
        Pair(terms(), "abcdefg", "a")


@pytest.mark.parametrize(
    ("identifiers", "salt"),
    [(("b@x.org", "a@x.org"), 32), (("a@x.org", "a@x.org"), 32), (("a@x.org",), 31)],
)
def test_bad_sets(identifiers, salt):
    with pytest.raises(LocalProtocolError, match="sorted"):
        Chosen(identifiers, bytes(salt))


def test_a_set_of_what_was_collected_has_a_salt_of_its_own():
    collected = Collected(("a@x.org",), bad=0, left_out=0)
    first, second = (Chosen.of(collected, SystemEntropy()) for _ in range(2))
    assert first.identifiers == second.identifiers == ("a@x.org",)
    assert first.salt != second.salt


def test_bad_books():
    for sets in ([["a"]], [["a", 1]], ["ab"], [["a", "b", "c"]]):
        stored = {"state": "entrepot.psi-book", "v": 1, "sets": sets, "steps": []}
        with pytest.raises(LocalProtocolError, match="version"):
            Book.from_bytes(canonical.encode(stored))


def test_a_commitment_says_nothing_without_its_salt():
    agreed = terms()
    one = chosen("abc")
    other = replace(one, salt=os.urandom(32))
    assert one.commitment(agreed, Role.RECEIVER) != other.commitment(agreed, Role.RECEIVER)
    assert one.commitment(agreed, Role.RECEIVER) != one.commitment(agreed, Role.SENDER)


@pytest.mark.parametrize(
    "change", [{"session": "s2"}, {"window": "2027-01"}, {"most": 2}, {"dummies": Law(2, 3)}]
)
def test_messages_of_another_session_or_of_other_terms_are_refused(change):
    pair, other = Pair(terms(), "abc", "bcd"), Pair(terms(**change), "abc", "bcd")
    other.run()
    _, told = session.tell(other.book, other.size)
    pair.blind()
    with pytest.raises(PeerProtocolError, match="another session"):
        pair.reply(other.list)
    pair.reply()
    with pytest.raises(PeerProtocolError, match="another session"):
        pair.conclude(other.answer)
    with pytest.raises(PeerProtocolError, match="another session"):
        session.hear(pair.answered, told)


def test_a_commitment_cannot_be_sent_back_to_who_made_it():
    agreed = terms()
    book, opened, said = open_session(Book(), agreed, Role.RECEIVER, chosen("abc"))
    with pytest.raises(PeerProtocolError, match="sender_commits"):
        bind(book, opened, said)


def test_wrong_counts_are_refused():
    pair = Pair(terms(), "abc", "bcd")
    pair.blind()
    for wire in (pair.list[:-32], pair.list + bytes(32), pair.list[:-1], b"", pair.list[:HEADER]):
        with pytest.raises(PeerProtocolError):
            session.reply(pair.other, pair.other_bound, wire, SeededEntropy(1))


def test_roles_are_not_exchanged():
    pair = Pair(terms(), "abc", "bcd")
    pair.blind()
    with pytest.raises(LocalProtocolError, match="receiver"):
        session.blind(Book(), pair.other_bound, SeededEntropy(1))
    with pytest.raises(LocalProtocolError, match="sender"):
        session.reply(Book(), pair.bound, pair.list, SeededEntropy(1))


def test_a_size_is_not_taken_from_a_session_that_tells_members():
    agreed = terms(reveals=Reveals.INTERSECTION)
    pair = Pair(agreed, "abc", "bcd")
    with pytest.raises(LocalProtocolError, match="intersection alone"):
        pair.blind()
    with pytest.raises(LocalProtocolError, match="intersection alone"):
        session.reply(Book(), pair.other_bound, bytes(10), SeededEntropy(1))


# Terms


def test_terms_have_one_spelling():
    for agreed in (terms(), terms(reveals=Reveals.JOIN_TOKENS)):
        assert Terms.from_json(agreed.to_json()) == agreed


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "fax"}, {"reveals": "everything"}, {"sender": "harbour"}, {"session": ""},
        {"receiver_cap": 0}, {"receiver_cap": True}, {"sender_cap": 1 << 25}, {"most": 0},
        {"dummies": None}, {"dummies": {"scale": 0, "shift": 3}}, {"dummies": {"scale": 1}},
        {"v": 2}, {"more": 1}, {"statement": "entrepot.secagg-round"},
    ],
)  # fmt: skip
def test_bad_terms(change):
    with pytest.raises(PeerProtocolError):
        Terms.from_json({**terms().to_json(), **change})


def test_bad_terms_that_are_no_object():
    for value in (None, [], "terms", {}):
        with pytest.raises(PeerProtocolError):
            Terms.from_json(value)


@pytest.mark.parametrize(
    "caps", [(1, 1), (6, 7), (1000, 3), (100_000, 100_000), (1 << 24, 1 << 24)]
)
def test_a_tag_is_long_enough_for_all_pairs_and_not_longer_than_that(caps):
    agreed = terms(receiver_cap=caps[0], sender_cap=caps[1])
    pairs = (caps[0] + 6) * (caps[1] + 6)
    assert pairs * 2 ** (-8 * agreed.tag_bytes) <= 2**-40
    assert pairs * 2 ** (-8 * (agreed.tag_bytes - 1)) > 2**-41


def test_the_book_is_read_back_as_it_was_written():
    pair = Pair(terms(), "abc", "bcd")
    pair.run()
    assert Book.from_bytes(pair.book.to_bytes()) == pair.book
    assert b"@" not in pair.book.to_bytes()
    for damaged in (b"", b"{}", pair.book.to_bytes()[:-1], pair.book.to_bytes() + b" ", b"\xff"):
        with pytest.raises(LocalProtocolError):
            Book.from_bytes(damaged)


# The price


@pytest.mark.parametrize(("scale", "shift", "most"), [(1, 3, 1), (2, 44, 1), (10, 300, 4)])
def test_the_charge_is_an_event_that_an_account_holds(scale, shift, most):
    law = Law(scale, shift)
    event = events.from_json(law.event(most))
    assert event == events.Approximate(events.DiscreteLaplace(most, scale), law.failure)
    assert events.own_delta([event]) == law.failure


def test_states_do_not_print_secrets():
    pair = Pair(terms(), "abc", "bcd")
    pair.run()
    printed = repr((pair.blinded, pair.answered, pair.size, pair.bound, pair.mine))
    for secret in (pair.blinded.scalar, pair.blinded.seed, pair.answered.seed, pair.mine.salt):
        assert repr(secret) not in printed
    assert "@x.org" not in printed
