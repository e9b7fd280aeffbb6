"""One federation for the tests of a module that leave it as they found it, and questions in it."""

from itertools import count

import pytest

from tests.asked import FOUR, Joint, Pool, federation, question
from tests.simulator import Simulation


class Table:
    """A federation with a pool of keys; every question takes the next key."""

    def __init__(self, simulation: Simulation, keys: int) -> None:
        self.simulation = simulation
        self.pool = Pool(simulation, serials=tuple(range(keys))).made()
        self._next = iter(range(keys))
        self._number = count()

    def package(self) -> bytes:
        return self.pool.package(next(self._next)).to_bytes()

    def ask(self, package: bytes | None = None, cohort=FOUR, **terms) -> Joint:
        """A question that nobody was offered yet."""
        order = question(self.simulation, cohort, epsilon="0.05", **terms)
        return Joint(self.simulation, order, package or self.package(), cohort)

    def offered(self, **terms) -> Joint:
        asked = self.ask(**terms)
        for party in asked.parties:
            asked.offer(party)
        return asked

    def committed(self, **terms) -> Joint:
        asked = self.offered(**terms)
        for party in asked.parties:
            asked.commit(party)
        return asked

    def endorsed(self, **terms) -> Joint:
        asked = self.committed(**terms)
        for party in asked.parties:
            asked.endorse(party)
        return asked

    def answered(self, **terms) -> Joint:
        asked = self.endorsed(**terms)
        for party in asked.parties:
            asked.reveal(party)
        return asked


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Table:
    return Table(federation(tmp_path_factory.mktemp("asked") / "federation"), 60)
