"""Whatever a curious aggregator asks, in whatever order, it opens one certified sum and no part.

It works with up to c organisations, holds all their secrets and signs with their keys. After every
request: no honest node gave both secrets of a party; revealed pair seeds of at most n − t; and if
anything can be opened, it is the sum over *all* honest parties of the one certified set, with noise
of at least σ² that no colluder knows.
"""

from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from secure_compute.secagg.layers import kept_share
from secure_compute.secagg.messages import Kind, Request
from tests.curious import Curious
from tests.masked import Cohort, cohort, vectors

SIZES = [(4, 1), (5, 1), (5, 2), (6, 1), (7, 1), (7, 2), (7, 3)]


class Aggregator(RuleBasedStateMachine):
    """Asks any honest node anything; keeps a few sets in mind, or nothing would ever come of it."""

    cohort: Cohort
    spy: Curious

    @initialize(size=st.sampled_from(SIZES), data=st.data())
    def begin(self, size, data):
        organisations, colluding = size
        self.cohort = cohort(organisations, colluding, dimension=1)
        everybody = self.cohort.terms.cohort
        missing = data.draw(st.sets(st.sampled_from(everybody), max_size=1))
        corrupt = data.draw(st.sets(st.sampled_from(everybody), max_size=colluding))
        inputs = vectors(self.cohort)
        uploads = [self.cohort.submit(p, v) for p, v in inputs.items() if p not in missing]
        for party in missing:  # it uploads, and the aggregator says that it did not arrive
            self.cohort.submit(party, inputs[party])
        self.spy = Curious(self.cohort, uploads, corrupt)
        most = self.cohort.terms.parameters.dropouts + 1
        chosen = st.sets(st.sampled_from(everybody), max_size=most)
        self.minds = [set(), *data.draw(st.lists(chosen, min_size=2, max_size=3))]

    def survivors(self, data):
        dropped = data.draw(st.sampled_from(self.minds))
        return tuple(p for p in self.cohort.terms.cohort if p not in dropped)

    def node(self, data):
        return data.draw(st.sampled_from(self.spy.honest))

    @rule(data=st.data(), kind=st.sampled_from([Kind.REVEAL, Kind.CERTIFY]))
    def ask_one(self, data, kind):
        self.spy.ask(self.node(data), self.cohort.request(kind, self.survivors(data)))

    @rule(data=st.data())
    def ask_one_to_open(self, data):
        self.spy.ask(self.node(data), self.spy.certified(self.survivors(data)))

    @rule(data=st.data(), kind=st.sampled_from([Kind.CERTIFY, Kind.OPEN]))
    def ask_all(self, data, kind):
        survivors = self.survivors(data)
        for party in self.spy.honest:
            opening = self.spy.certified(survivors)
            asked = opening if kind is Kind.OPEN else self.cohort.request(kind, survivors)
            self.spy.ask(party, asked)

    @rule(data=st.data())
    def ask_with_sets_that_do_not_fit(self, data):
        everybody = st.lists(st.sampled_from(self.cohort.terms.cohort), max_size=8)
        request = Request(
            kind=data.draw(st.sampled_from([Kind.REVEAL, Kind.CERTIFY, Kind.OPEN])),
            terms=self.cohort.terms.digest,
            survivors=tuple(data.draw(everybody)),
            dropped=tuple(data.draw(everybody)),
        )
        self.spy.ask(self.node(data), request)

    @precondition(lambda self: self.spy.honest)
    @rule(data=st.data())
    def let_one_withdraw(self, data):
        party = self.node(data)
        if self.cohort.terms.round not in self.cohort.nodes[party].answered:
            self.cohort.withdraw(party)

    @invariant()
    def nobody_gave_both_secrets(self):
        if hasattr(self, "spy"):
            assert not self.spy.both_secrets()

    @invariant()
    def nobody_revealed_more_than_may_drop_out(self):
        if hasattr(self, "spy"):
            for party in self.spy.honest:
                shown = {peer for owner, peer in self.spy.seeds if owner == party}
                assert len(shown) <= self.cohort.terms.parameters.dropouts

    @invariant()
    def one_sum_and_no_part_of_it(self):
        if not hasattr(self, "spy"):
            return
        certified = set(self.spy.sets.values())
        assert len(certified) <= 1
        groups = self.spy.exposed_groups()
        assert len(groups) <= 1
        for group in groups:
            (survivors,) = certified
            assert group == set(survivors) & set(self.spy.honest)
            assert self.noise_in(group) >= 1

    def noise_in(self, group) -> Fraction:
        """Variance in units of σ² that stays with honest parties: layers shown are known."""
        parameters, total = self.cohort.terms.parameters, Fraction(0)
        for party in group:
            shown = self.spy.sets.get(party)
            dropped = len(self.cohort.terms.cohort) - len(shown) if shown else parameters.dropouts
            total += kept_share(parameters, dropped)
        return total


TestAggregator = Aggregator.TestCase
TestAggregator.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("size", SIZES)
def test_the_adversary_is_able_to_open_the_sum(size):
    """Otherwise the machine above would be content with a protocol that never opens anything."""
    made = cohort(*size, dimension=1)
    inputs = vectors(made)
    corrupt = made.terms.cohort[: size[1]]
    spy = Curious(made, [made.submit(p, v) for p, v in inputs.items()], corrupt)
    for kind in (Kind.CERTIFY, Kind.OPEN):
        for party in spy.honest:
            everybody = made.terms.cohort
            spy.ask(
                party,
                spy.certified(everybody) if kind is Kind.OPEN else made.request(kind, everybody),
            )
    assert spy.exposed_groups() == [set(spy.honest)]
