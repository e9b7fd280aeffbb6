"""Matching people: sets, tokens, disclosures and sums."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from clients.approvals import Signed
from federation.matching import MatchTask
from federation.pairing import Pair, advertise
from policies.parties import PartyId
from secure_compute.entropy import SystemEntropy
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.psi import inner, messages, opening, session, summing, tokens
from secure_compute.psi.consent import Consent
from secure_compute.psi.sets import Book
from secure_compute.psi.terms import Reveals, Role
from secure_compute.psi.terms import Terms as PsiTerms
from secure_compute.psi.values import Value
from tests import ledgers, matched, summed
from tests.parsers.agreement import LIAR
from tests.parsers.keys import PRIVATE
from tests.parsers.making import Parser, objects, of_mapping, of_value, resigned


@cache
def _pair(reveals: Reveals) -> Any:
    """Two parties, their approval if there is one, and everything that one of them sends."""
    pair = matched.Pair(matched.terms(reveals=reveals), "abcd", "cdef")
    if reveals is Reveals.SIZE:
        pair.blind()
        pair.reply()
        book, size = session.conclude(pair.book, pair.blinded, pair.answer)
        return pair, None, session.tell(book, size)[1]
    approval = matched.approval(pair.terms)
    pair.before = pair.book, pair.other
    pair.book, pair.blinded, pair.list = tokens.blind(
        pair.book, pair.bound, approval, SystemEntropy()
    )
    pair.listed_book = pair.book
    pair.other, pair.replied, pair.answer = tokens.reply(
        pair.other, pair.other_bound, approval, pair.list, SystemEntropy()
    )
    told = b""
    if reveals is Reveals.JOIN_TOKENS:
        told = tokens.join(pair.book, pair.blinded, approval, pair.answer)[2]
    return pair, approval, told


def parsers() -> Iterator[Parser]:
    of = "secure_compute.psi"
    size = lambda: _pair(Reveals.SIZE)[0]  # noqa: E731
    terms = matched.terms()
    yield Parser((f"{of}.terms.Terms.from_json",), of_value(PsiTerms.from_json), objects(terms))
    yield Parser(
        (f"{of}.opening.bind", f"{of}.messages.read"),
        lambda wire: _bind(terms, wire),
        lambda: [size().commitments[1]],
    )
    yield Parser(
        (f"{of}.session.reply", f"{of}.session.sender_reply", f"{of}.session.read_list"),
        lambda wire: (
            session.read_list(size().terms, wire)
            and session.sender_reply(size().terms, size().theirs, bytes(32), wire)
        ),
        lambda: [size().list],
    )
    yield Parser(
        (f"{of}.session.conclude", f"{of}.session.read_reply"),
        lambda wire: session.conclude(replace(size().book, steps=()), size().blinded, wire),
        lambda: [size().answer],
    )
    yield Parser(
        (f"{of}.session.hear",),
        lambda wire: session.hear(size().answered, wire),
        lambda: [_pair(Reveals.SIZE)[2]],
    )
    yield Parser(
        (f"{of}.messages.read_points",),
        messages.read_points,
        lambda: [size().list[messages.HEADER + messages.POINT :]],
    )
    yield from _disclosures(of)
    yield from _match_sums(of)
    yield Parser(
        (f"{of}.sets.Book.from_bytes",),
        Book.from_bytes,
        lambda: [size().book.to_bytes()],
    )
    yield Parser(
        (f"{of}.values.Value.from_json",), of_value(Value.from_json), objects(summed.VALUE)
    )
    yield Parser(
        (f"{of}.inner.Key.open",), lambda wire: _inner()[0].open(wire), lambda: [_inner()[2]]
    )
    yield Parser(
        (f"{of}.inner.choose",),
        lambda wire: inner.choose(
            _inner()[0].public, wire, [np.ones(3, np.int64)], [0], SystemEntropy()
        ),
        lambda: [_inner()[1]],
    )
    consent = Signed(Consent("p", "A", "b"), bytes(64), LIAR.verify_key, bytes(64))
    yield Parser(
        ("clients.approvals.Signed.from_json",), of_value(Signed.from_json), objects(consent)
    )
    task = MatchTask(
        mode="size",
        receiver=PartyId("a"),
        sender=PartyId("b"),
        column="email",
        identifier="email",
        receiver_cap=10,
        sender_cap=12,
        most=1,
        window="2026",
        dummies=matched.LAW,
    )
    yield Parser(
        ("federation.matching.MatchTask.from_json",), of_mapping(MatchTask.from_json), objects(task)
    )
    ends = [Pair("0" * 64, *names, bytes(32)) for names in (("a", "b"), ("b", "a"))]
    yield Parser(
        ("federation.pairing.Pair.open",),
        lambda sealed: ends[1].open(1, sealed),
        lambda: [ends[0].seal(1, b"what one says to the other")],
    )
    yield Parser(("federation.pairing.Pair.of",), _paired, lambda: [_key_letter()])


def _disclosures(of: str) -> Iterator[Parser]:
    both, join = Reveals.INTERSECTION, Reveals.JOIN_TOKENS
    yield Parser(
        (f"{of}.tokens.reply", f"{of}.tokens.disclosing_reply"),
        lambda wire: tokens.disclosing_reply(
            _pair(both)[0].terms, _pair(both)[0].theirs, bytes(32), wire
        ),
        lambda: [_pair(both)[0].list],
    )
    yield Parser(
        (f"{of}.tokens.intersect",),
        lambda wire: tokens.intersect(
            _pair(both)[0].listed_book, _pair(both)[0].blinded, _pair(both)[1], wire
        ),
        lambda: [_pair(both)[0].answer],
    )
    yield Parser(
        (f"{of}.tokens.join",),
        lambda wire: tokens.join(
            _pair(join)[0].listed_book, _pair(join)[0].blinded, _pair(join)[1], wire
        ),
        lambda: [_pair(join)[0].answer],
    )
    yield Parser(
        (f"{of}.tokens.align",),
        lambda wire: tokens.align(
            _pair(join)[0].other, _pair(join)[0].replied, _pair(join)[1], wire
        ),
        lambda: [_pair(join)[2]],
    )


@cache
def _summed() -> summed.Summing:
    """A sum that both ends have seen through; every step is open to be taken again."""
    found = summed.Summing(summed.summing_terms(), "abcd", {"c": 7, "d": 9, "e": 11})
    found.run()
    return found


def _match_sums(of: str) -> Iterator[Parser]:
    both = _summed
    again = lambda book: replace(book, steps=())  # noqa: E731
    yield Parser(
        (f"{of}.summing.reply", f"{of}.summing.summing_reply", f"{of}.session.replied"),
        lambda wire: summing.reply(
            again(both().other), both().other_bound, both().amounts, wire, SystemEntropy()
        ),
        lambda: [both().list],
    )
    yield Parser(
        (
            f"{of}.summing.choose",
            f"{of}.summing.choice",
            f"{of}.session.matches",
            f"{of}.session.sealed_part",
        ),
        lambda wire: summing.choose(again(both().book), both().blinded, wire),
        lambda: [both().answer],
    )
    yield Parser(
        (f"{of}.summing.release", f"{of}.summing.released", f"{of}.summing.size_in"),
        lambda wire: (
            summing.size_in(both().terms, wire),
            summing.release(again(both().other), both().answered, wire),
        ),
        lambda: [both().choice],
    )
    yield Parser(
        (f"{of}.summing.take", f"{of}.summing.told_by"),
        lambda wire: summing.take(
            again(both().book),
            both().terms,
            both().blinded.seed,
            both().size.noised,
            wire,
        ),
        lambda: [both().told],
    )


def _bind(terms: PsiTerms, wire: bytes) -> object:
    book, opened, _ = opening.open_session(Book(), terms, Role.RECEIVER, matched.chosen("abcd"))
    return opening.bind(book, opened, wire)


@cache
def _inner() -> tuple[inner.Key, bytes, bytes]:
    key = inner.Key.generate(SystemEntropy())
    sealed = key.seal(np.arange(3, dtype=np.int64), SystemEntropy())
    chosen = inner.choose(key.public, sealed, [np.ones(3, np.int64)], [0], SystemEntropy())
    return key, sealed, chosen[0]


def _key_letter() -> bytes:
    names = PartyId("eu"), PartyId("cn")
    return advertise("0" * 64, *names, PRIVATE, ledgers.KEYS["eu"])


def _paired(wire: bytes) -> object:
    return resigned(
        ledgers.KEYS["eu"],
        lambda said: Pair.of(
            "0" * 64, PartyId("cn"), PartyId("eu"), AgreementKey(bytes(32)), said, ledgers.ROSTER
        ),
    )(wire)
