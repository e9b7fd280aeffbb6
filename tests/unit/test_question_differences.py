"""The same question to another cohort: a node refuses what would leave too few alone."""

import pytest

from experiments.ordering import sign
from federation.messages import Kind
from federation.orders import open_order
from policies.engine import Permit
from tests.simulator import CN, EU, OTHER_SHOP, SHOP, UK, US, WAREHOUSES

SQL = "SELECT COUNT(*) AS n, SUM(amount) AS total FROM orders"
FIVE = (*WAREHOUSES, SHOP)
PAYMENTS = "payments-eu"


@pytest.fixture
def answered(simulation):
    """Asks and sees it through; returns the order and its job."""

    def ask(cohort, sql=SQL, **terms):
        order = simulation.query("0.2", sql, cohort=cohort, **terms)
        return order, simulation.run(order)

    return ask


@pytest.fixture
def signed(simulation):
    """One node signs that these answers are summed, as it does for a list of commitments."""

    def sign(cohort, parties=(), sql=SQL):
        order = simulation.query("0.2", sql, cohort=cohort)
        with simulation.node(CN)._judge.questions.signing(order, parties or cohort):
            pass
        return order

    return sign


def refused(simulation, party, order):
    with simulation.nothing_happens(party), simulation.without_rows(party):
        reply = simulation.offer(party, order)
    assert reply.kind is Kind.REFUSED
    (reason,) = reply.body["reasons"]
    assert reason["id"] == "QUERY-002"
    return reason["en"]


def test_a_cohort_without_one_party_is_refused_and_the_sentence_names_the_order(
    simulation, answered
):
    first, job = answered(FIVE)
    assert job.status == "done"
    less = simulation.query("0.2", SQL, cohort=WAREHOUSES)
    for party in WAREHOUSES:
        said = refused(simulation, party, less)
        assert first.id[:12] in said and "one organisation alone" in said and "needs 3" in said


def test_one_party_or_two_more_are_refused_and_three_more_are_not(simulation, signed):
    signed(WAREHOUSES[:3])
    for more in ((US,), (US, SHOP)):
        refused(simulation, CN, simulation.query("0.2", SQL, cohort=(CN, EU, UK, *more)))
    wide = simulation.query("0.2", SQL, cohort=(CN, EU, UK, US, SHOP, OTHER_SHOP))
    assert simulation.offer(CN, wide).kind is Kind.ACCEPTED


def test_the_same_sum_under_another_name_and_beside_others_is_the_same_question(simulation, signed):
    signed(FIVE)
    sql = "SELECT AVG(amount) AS mean, COUNT(*) AS orders FROM orders"
    refused(simulation, CN, simulation.query("0.2", sql, cohort=WAREHOUSES))
    other = "SELECT COUNT(*) AS n FROM orders WHERE category = 'toys'"
    fine = simulation.query("0.2", other, cohort=WAREHOUSES)
    assert simulation.offer(CN, fine).kind is Kind.ACCEPTED


def test_the_same_cohort_may_ask_again_and_have_the_past_release(simulation, answered):
    answered(WAREHOUSES)
    _, fresh = answered(WAREHOUSES, source="fresh")
    assert fresh.status == "done" and not (fresh.result or {}).get("reused")
    _, past = answered(WAREHOUSES, source="past")
    assert past.status == "done" and (past.result or {}).get("reused")


def test_it_is_remembered_through_a_restart(simulation, signed):
    signed(FIVE)
    simulation.restart(CN)
    refused(simulation, CN, simulation.query("0.2", SQL, cohort=WAREHOUSES))


def test_what_was_asked_and_never_answered_stands_in_nobodys_way(simulation):
    order = simulation.query("0.2", SQL, cohort=FIVE)
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    less = simulation.query("0.2", SQL, cohort=WAREHOUSES)
    assert simulation.offer(CN, less).kind is Kind.ACCEPTED


def test_who_answered_counts_and_not_who_was_asked(simulation, signed):
    """One of five was silent, so the five together would show it; the four may ask again."""
    first, roster = signed(FIVE, WAREHOUSES), simulation.roster
    said = refused(simulation, CN, simulation.query("0.2", SQL, cohort=FIVE, source="fresh"))
    assert first.id[:12] in said and "those that answered it" in said
    again = simulation.query("0.2", SQL, cohort=WAREHOUSES)
    assert simulation.offer(CN, again).kind is Kind.ACCEPTED
    # The release that was made then shows nothing new when it is given out once more.
    once_more = open_order(sign(simulation.home, simulation.query("0.2", SQL, cohort=FIVE)), roster)
    assert isinstance(simulation.node(CN)._judge.permit(once_more, first), Permit)


def test_several_earlier_answers_count_together(simulation, signed):
    """Two answers and that of all six together leave the one alone that stands in both."""
    six = (*FIVE, OTHER_SHOP)
    first, second = signed((CN, EU, UK)), signed((CN, US, SHOP, OTHER_SHOP))
    sentence = refused(simulation, CN, simulation.query("0.2", SQL, cohort=six))
    assert first.id[:12] in sentence and second.id[:12] in sentence


def test_no_list_is_signed_that_leaves_one_party_alone(simulation, answered):
    """Five were asked twice and one is silent the second time: the difference is its own."""
    answered(FIVE)
    simulation.mail.drop(Kind.QUERY_COMMIT, SHOP)
    _, job = answered(FIVE, source="fresh")
    assert job.status != "done"
    assert len(simulation.mail.replies(Kind.QUERY_ENDORSED)) == 5  # of the first time
    assert len(simulation.mail.replies(Kind.QUERY_REVEALED)) == 5
