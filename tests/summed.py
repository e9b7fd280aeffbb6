"""Two parties that sum over the people they have in common, as the tests play them."""

from secure_compute.entropy import SystemEntropy
from secure_compute.psi import session, summing
from secure_compute.psi.amounts import Amounts
from secure_compute.psi.opening import bind, open_session
from secure_compute.psi.terms import Reveals, Role, Terms
from secure_compute.psi.values import Value
from tests.matched import NEW, chosen, terms

VALUE = Value(column="spent", low=0, high=500, step="0.1", unit="EUR", scale=40)
ENTROPY = SystemEntropy()


def summing_terms(**changes) -> Terms:
    """Return terms of a small sum, with changes."""
    return terms(**{"reveals": Reveals.SUM, "dummies": terms().dummies, "value": VALUE, **changes})


class Summing:
    """A receiver of a set and a sender of numbers, {person: steps}, bound to both."""

    def __init__(self, agreed, receivers, worth, books=NEW):
        self.terms, self.worth = agreed, {f"{who}@x.org": steps for who, steps in worth.items()}
        self.mine, self.theirs = chosen(receivers), chosen(worth)
        steps = tuple(self.worth[text] for text in self.theirs.identifiers)
        self.amounts = Amounts(steps, self.theirs.salt)
        book, opened, said = open_session(books[0], agreed, Role.RECEIVER, self.mine)
        other, answered, heard = open_session(
            books[1], agreed, Role.SENDER, self.theirs, self.amounts
        )
        self.commitments = (said, heard)
        self.book, self.bound = bind(book, opened, heard)
        self.other, self.other_bound = bind(other, answered, said)

    def reply(self, entropy=ENTROPY):
        self.book, self.blinded, self.list = session.blind(self.book, self.bound, entropy)
        self.other, self.answered, self.answer = summing.reply(
            self.other, self.other_bound, self.amounts, self.list, entropy
        )
        return self.answer

    def choose(self, wire=None):
        self.book, self.size, self.choice = summing.choose(
            self.book, self.blinded, wire or self.answer
        )
        return self.choice

    def release(self, wire=None):
        self.other, self.opened, self.told = summing.release(
            self.other, self.answered, wire or self.choice
        )
        return self.told

    def take(self, wire=None):
        self.book, self.found = summing.take(
            self.book, self.terms, self.blinded.seed, self.size.noised, wire or self.told
        )
        return self.found

    def run(self):
        self.reply()
        self.choose()
        self.release()
        return self.take()

    @property
    def exact(self) -> int:
        """Return the sum as a join says it."""
        return sum(steps for text, steps in self.worth.items() if text in self.mine.identifiers)

    def noise(self, role) -> int:
        """Return what one end added, from its seed."""
        seed = self.blinded.seed if role is Role.RECEIVER else self.answered.seed
        return summing.noise(self.terms, role, seed)
