"""A question asked again: which past release answers it, and who is told that there is one."""

from dataclasses import replace

import pytest

from aggregator.jobs import Job
from aggregator.reuse import find_past, repeated
from experiments import kept_questions
from federation.errors import MalformedOrderError, UnknownPartyError
from federation.orders import WorkOrder
from federation.past import is_fine_enough, is_same_question, may_see
from federation.queries.parse import parse
from federation.tasks import QueryTask
from policies.errors import SmallCohortError
from policies.parties import PartyId
from tests.orders_table import COHORT, contract

SQL = "SELECT category, COUNT(*) FROM orders WHERE amount > 10 GROUP BY category"
PLAN = parse(SQL, {"orders": contract()}, COHORT)
ANN, BEN, CAT = (PartyId(name) for name in ("ann", "ben", "cat"))
PARTIES = tuple(member.party for member in COHORT)


def asked(**changes):
    task = QueryTask(SQL, PLAN, "4")
    order = WorkOrder(
        federation="test",
        kind="query",
        proposer=ANN,
        purpose="market_statistics",
        legal_basis="contract",
        code="00",
        contract="orders",
        contract_version=1,
        columns=("amount", "category", "customer_id"),
        recipients=(ANN,),
        parameters=task.to_json(),
        unit="customer",
        epsilon="0.25",
        delta="1e-6",
        event={},
        releases=1,
        abandoned=0,
        windows=(),
        cohort=PARTIES,
        minimum=3,
        created=100,
        expires=200,
        nonce="n",
    )
    return replace(order, **changes)


def task(**changes):
    return replace(QueryTask(SQL, PLAN, "4"), **changes).to_json()


ANSWER = {"rows": ["the answer"]}


class Table:
    """Jobs that were done, and the orders in them."""

    def __init__(self):
        self.jobs, self.orders = [], {}

    def add(self, order, *, status="done", parties=PARTIES, reused=None, answer=ANSWER):
        wire = order.id.encode()
        self.orders[wire] = order
        result = {"answer": answer, "parties": list(parties), "reused": reused}
        self.jobs.append(Job(order.id, wire, status, result if status == "done" else None))
        return order.id

    def read(self, wire):
        if wire not in self.orders:
            raise UnknownPartyError("nobody of that name")
        return self.orders[wire]

    def find(self, order):
        return find_past(order, self.jobs, self.read)


@pytest.fixture
def table():
    return Table()


def again(**changes):
    return asked(**{"created": 900, "nonce": "again", **changes})


# -- the same question -----------------------------------------------------------------------------

OTHER_QUESTIONS = {
    "plan": {"parameters": task(plan=replace(PLAN, child=replace(PLAN.child, keys=())))},
    "condition": {
        "parameters": task(plan=parse(SQL.replace("10", "11"), {"orders": contract()}, COHORT))
    },
    "bound": {"parameters": task(plan=parse(SQL, {"orders": contract(2)}, COHORT))},
    "contract": {"contract": "returns"},
    "version": {"contract_version": 2},
    "window": {"windows": ("2025",)},
    "smaller cohort": {"cohort": PARTIES[:2], "minimum": 2},
    "larger cohort": {"cohort": (*PARTIES, PartyId("warehouse-us"))},
    "federation": {"federation": "another"},
    "delta": {"delta": "1e-7"},
    "unit": {"unit": "order"},
}


@pytest.mark.parametrize("change", OTHER_QUESTIONS.values(), ids=OTHER_QUESTIONS)
def test_another_question_is_another_release(table, change):
    table.add(asked())
    assert not is_same_question(asked(), again(**change))
    assert table.find(again(**change)) is None
    assert table.find(again()) is not None


SAME_QUESTIONS = {
    "purpose": {"purpose": "fraud_prevention", "legal_basis": "consent"},
    "spelling": {"parameters": task(sql=SQL.lower())},
    "order of the cohort": {"cohort": PARTIES[::-1]},
    "recipients": {"recipients": (ANN, BEN)},
    "code": {"code": "11"},
    "minimum": {"minimum": 2},
}


@pytest.mark.parametrize("change", SAME_QUESTIONS.values(), ids=SAME_QUESTIONS)
def test_the_same_question_is_the_same_however_it_is_put(table, change):
    run = table.add(asked())
    found = table.find(again(**change))
    assert (found.run, found.answer, found.parties) == (run, ANSWER, PARTIES)


def test_windows_are_a_set(table):
    table.add(asked(windows=("2025", "2026")))
    assert table.find(again(windows=("2026", "2025"))) is not None
    assert table.find(again(windows=("2026",))) is None


def test_an_order_of_version_1_of_the_language_asks_another_question(table):
    old = task()
    before = asked(parameters={**old, "plan": {**old["plan"], "v": 1}})
    table.add(before)
    assert not is_same_question(before, again())
    assert table.find(again()) is None


def test_training_is_no_question():
    assert not is_same_question(asked(kind="train"), asked(kind="train"))
    assert not is_same_question(asked(), asked(kind="train"))


@pytest.mark.parametrize(("noise", "found"), [("3.99", False), ("4", True), ("4.01", True)])
def test_a_finer_answer_is_another_release(table, noise, found):
    table.add(asked())
    wanted = again(parameters=task(noise_multiplier=noise))
    assert is_fine_enough(asked(), wanted) is found
    assert (table.find(wanted) is not None) is found


# -- who is told -----------------------------------------------------------------------------------


def test_a_stranger_is_not_told_that_there_is_a_release(table):
    table.add(asked(recipients=(ANN, BEN)))
    assert table.find(again(proposer=ANN)) is not None
    assert table.find(again(proposer=BEN, recipients=(BEN,))) is not None
    assert table.find(again(proposer=CAT, recipients=(CAT,))) is None
    assert table.find(again(proposer=CAT, recipients=(ANN,))) is None


def test_only_proposer_and_recipients_see():
    order = asked(recipients=(BEN,))
    assert [may_see(order, party) for party in (ANN, BEN, CAT)] == [True, True, False]
    assert not may_see(order, PARTIES[0])


def test_whoever_was_given_it_again_may_see_it_too(table):
    run = table.add(asked())
    assert table.find(again(proposer=BEN)) is None
    table.add(again(recipients=(ANN, BEN)), reused={"run": run})
    found = table.find(again(proposer=BEN, recipients=(BEN,), nonce="third"))
    assert found.run == run and found.order == asked()
    assert table.find(again(proposer=CAT, nonce="fourth")) is None


def test_a_repetition_of_what_is_gone_is_no_release(table):
    table.add(again(), reused={"run": "0" * 64})
    assert table.find(again(nonce="third")) is None


# -- which one -------------------------------------------------------------------------------------


def test_the_newest_release_is_given(table):
    table.add(asked(created=300, nonce="b"), answer={"rows": "newest"})
    table.add(asked(created=100, nonce="a"))
    table.add(asked(created=200, nonce="c"))
    assert table.find(again()).answer == {"rows": "newest"}


def test_an_old_release_given_out_again_stays_old(table):
    run = table.add(asked(created=100))
    newer = table.add(asked(created=300, nonce="n2"))
    table.add(again(created=800), reused={"run": run})
    assert table.find(again()).run == newer


def test_the_newest_that_is_fine_enough_is_given(table):
    run = table.add(asked(created=100))
    table.add(asked(created=300, parameters=task(noise_multiplier="9"), nonce="noisy"))
    assert table.find(again()).run == run


@pytest.mark.parametrize("status", ["queued", "running", "refused", "abandoned", "failed"])
def test_what_was_not_released_is_not_given(table, status):
    table.add(asked(), status=status)
    assert table.find(again()) is None


def test_a_fresh_release_can_be_demanded(table):
    table.add(asked())
    assert table.find(again(parameters=task(source="fresh"))) is None
    assert table.find(again(parameters=task(source="past"))) is not None
    table.add(asked(parameters=task(source="fresh"), created=500))
    assert table.find(again()).order.created == 500


def test_an_order_that_cannot_be_read_any_more_is_passed_over(table):
    table.jobs.append(Job("x", b"by somebody who has left", "done", {"answer": 1, "parties": []}))
    table.add(asked(parameters={"of": "another version"}, nonce="old"))
    run = table.add(asked())
    assert table.find(again()).run == run


def test_what_is_told_of_it(table):
    run = table.add(asked())
    told = table.find(again()).to_json()
    assert told == {"run": run, "asked_at": 100, "epsilon": "0.25"}


def test_a_repetition_passes_the_disclosure_gate_again(table):
    table.add(asked(minimum=2))
    past = table.find(again())
    assert repeated(past, again(), 3).result == ANSWER
    with pytest.raises(SmallCohortError):
        repeated(past, again(minimum=3), 2)


# -- the task --------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["", "abc", "1/3", "-1", "0", "0.0", "1e9", "1e999999999", "01"])
def test_noise_that_is_no_plain_number_is_no_question(noise):
    with pytest.raises(MalformedOrderError, match="plain digits"):
        QueryTask.from_json({**task(), "noise_multiplier": noise})


@pytest.mark.parametrize("source", ["any", "fresh", "past"])
def test_a_task_has_one_spelling(source):
    value = task(source=source)
    assert ("source" in value) is (source != "any")
    assert QueryTask.from_json(value).to_json() == value
    assert QueryTask.from_json(value).source == source


@pytest.mark.parametrize("source", ["any", "free", "", None, 1])
def test_another_spelling_is_no_task(source):
    with pytest.raises(MalformedOrderError):
        QueryTask.from_json({**task(), "source": source})


def test_the_newest_is_the_one_that_was_begun_last(table):
    """The orders of a schedule are all written in one moment."""
    turns = [asked(nonce=str(at), not_before=at, expires=at + 9) for at in (900, 700, 800)]
    for order in (*turns, asked(nonce="alone", created=750, expires=760)):
        table.add(order)
    found = table.find(again())
    assert found.run == turns[0].id
    assert (
        found.to_json()["asked_at"] == kept_questions.Past(turns[0], {}).told()["asked_at"] == 900
    )
    assert asked().begins == 100
