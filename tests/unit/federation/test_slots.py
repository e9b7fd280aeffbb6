"""When an answer leaves, and how many bytes stand for one that is not there."""

from dataclasses import replace

import pytest

from experiments.errors import UsageError
from experiments.ordering import published_contracts
from experiments.querying import read_terms
from federation.errors import MalformedOrderError
from federation.queries.parse import parse
from federation.slots import SLOT_SECONDS, late, slot_seconds
from federation.tasks import MOST_DEADLINE, QueryTask
from secure_compute.threshold import party
from secure_compute.threshold.party import Party
from tests.joined import PARTIES, ROSTER, ask, make_key
from tests.masked import signing_key
from tests.orders_table import COHORT

SMALL = "SELECT COUNT(*) FROM orders"
LARGE = "SELECT category, ship_country, COUNT(*), SUM(amount) FROM orders GROUP BY 1, 2".replace(
    "BY 1, 2", "BY category, ship_country"
)


def task(sql: str = SMALL, **terms) -> QueryTask:
    return QueryTask(sql, parse(sql, published_contracts(), COHORT), "3", **terms)


def test_a_slot_follows_from_the_plan_unless_the_order_says_otherwise():
    small, large = slot_seconds(task()), slot_seconds(task(LARGE))
    assert SLOT_SECONDS < small < large < SLOT_SECONDS + 0.1
    assert slot_seconds(task(deadline=30_000)) == slot_seconds(task(LARGE, deadline=30_000)) == 30


def test_a_deadline_stands_in_the_order_where_there_is_one():
    assert "deadline" not in task().to_json()
    for each in (task(), task(deadline=1), task(deadline=MOST_DEADLINE, source="fresh")):
        assert QueryTask.from_json(each.to_json()) == each


@pytest.mark.parametrize("deadline", [-1, MOST_DEADLINE + 1, 1.5, True])
def test_an_impossible_deadline_is_refused(deadline):
    with pytest.raises(MalformedOrderError, match="deadline"):
        task(deadline=deadline)


@pytest.mark.parametrize("deadline", [0, "1", None, 1.0, MOST_DEADLINE + 1])
def test_another_spelling_of_a_deadline_is_refused(deadline):
    with pytest.raises(MalformedOrderError):
        QueryTask.from_json({**task().to_json(), "deadline": deadline})


def test_people_give_seconds():
    assert read_terms([])[1].deadline == 0
    assert read_terms(["deadline=2.5"])[1].deadline == 2500


@pytest.mark.parametrize("said", ["-1", "601", "soon", "nan", "inf", "1e400", "0.0001"])
def test_what_is_no_deadline_is_told(said):
    with pytest.raises(UsageError, match="deadline"):
        read_terms([f"deadline={said}"])


@pytest.mark.parametrize("cells", [1, 8192, 8193, 30_000])
def test_a_late_answer_is_as_long_as_any_other(cells):
    made = make_key(3, 2)
    question = replace(ask(made, cells=cells), cells=cells)
    for name in PARTIES[:2]:
        values = [0] * cells
        _, said, _ = party.submit(
            Party(me=name), ROSTER, question, made.joint, values, signing_key(name).sign
        )
        instead = late(question, name)
        assert len(instead) == len(said.to_bytes()) and not any(instead)
