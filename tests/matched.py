"""Two parties that match people, as the tests play them."""

import hashlib

from secure_compute.entropy import SystemEntropy
from secure_compute.primitives.signature import SigningKey
from secure_compute.psi import session
from secure_compute.psi.consent import Consent, approve
from secure_compute.psi.dummies import Law
from secure_compute.psi.identifiers import Kind
from secure_compute.psi.lists import chance, masked_list
from secure_compute.psi.masking import alone
from secure_compute.psi.opening import bind, open_session
from secure_compute.psi.sets import Book, Chosen
from secure_compute.psi.terms import Reveals, Role, Terms

P = 2**255 - 19
LAW = Law(scale=1, shift=3)
NEW = (Book(), Book())
LOW_ORDER = tuple(
    u.to_bytes(32, "little")
    for u in (
        0,
        1,
        P - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
)
"""Points of order 1, 2, 4 and 8 of the curve and of its twist, in their one spelling."""


def terms(**changes) -> Terms:
    """Return terms of a small session, with changes."""
    fields = {
        "federation": "f",
        "session": "s1",
        "window": "2026-11",
        "approval": "a1",
        "kind": Kind.EMAIL,
        "reveals": Reveals.SIZE,
        "receiver": "harbour",
        "sender": "acquirer",
        "receiver_cap": 6,
        "sender_cap": 7,
        "most": 1,
        "dummies": LAW,
    }
    if changes.get("reveals", Reveals.SIZE) is not Reveals.SIZE:
        fields["dummies"] = None
    return Terms(**{**fields, **changes})


def chosen(people) -> Chosen:
    """Return a set; the same people always give the same one."""
    texts = tuple(sorted({f"{person}@x.org" for person in people}))
    return Chosen(texts, hashlib.sha256(repr(texts).encode()).digest())


class Pair:
    """A receiver and a sender that are bound to one set each."""

    def __init__(self, agreed, receivers, senders, books=NEW):
        self.terms = agreed
        self.mine, self.theirs = chosen(receivers), chosen(senders)
        book, opened, said = open_session(books[0], agreed, Role.RECEIVER, self.mine)
        other, answered, heard = open_session(books[1], agreed, Role.SENDER, self.theirs)
        self.commitments = (said, heard)
        self.book, self.bound = bind(book, opened, heard)
        self.other, self.other_bound = bind(other, answered, said)

    def blind(self, entropy=None):
        self.book, self.blinded, self.list = session.blind(
            self.book, self.bound, entropy or SystemEntropy()
        )
        return self.list

    def reply(self, wire=None, entropy=None):
        self.other, self.answered, self.answer = session.reply(
            self.other, self.other_bound, wire or self.list, entropy or SystemEntropy()
        )
        return self.answer

    def conclude(self, wire=None):
        self.book, self.size = session.conclude(self.book, self.blinded, wire or self.answer)
        return self.size

    def run(self):
        self.blind()
        self.reply()
        return self.conclude()

    def drawn(self) -> int:
        """Return the noise that the sender added, from its seed."""
        stream = chance(self.answered.seed, self.terms, Role.SENDER)
        masked_list(self.terms, Role.SENDER, self.theirs, stream, alone)
        return self.terms.dummies.draw(stream) - self.terms.dummies.shift


KEYS = {"harbour": SigningKey(bytes([1]) * 32), "acquirer": SigningKey(bytes([2]) * 32)}
KNOWN = {party: key.verify_key for party, key in KEYS.items()}


def consents(agreed):
    """Return the signed consents of both ends."""
    made = [
        Consent("harbour", "A. Ito", "GDPR Art. 6(1)(f): fraud prevention"),
        Consent("acquirer", "B. Chen", "PIPL Art. 13(1): separate consent, record 7"),
    ]
    return [(one, KEYS[one.party].sign(one.statement(agreed))) for one in made]


def approval(agreed):
    """Return the approval of both ends."""
    return approve(agreed, consents(agreed), KNOWN)
