"""Answers on a terminal, as JSON and as CSV."""

import csv
import io
import json

import pytest

from experiments import query_view
from federation import sql
from federation.answers import answer
from federation.errors import MalformedMessageError
from federation.pricing import explain
from tests.orders_table import COHORT, contract

PLAN = sql.parse(
    "SELECT category, SUM(amount) AS revenue, AVG(amount), COUNT(*) FROM orders GROUP BY category",
    {"orders": contract()},
    COHORT,
)
OPENED = (1_234_567, 0, -5, 500, 0, 3, 501, 0, 2)
ANSWER = answer(PLAN, "1", 3, OPENED)


def test_a_table_has_a_value_and_an_error_in_every_cell():
    assert query_view.headings(ANSWER) == (
        "category",
        "revenue (EUR)",
        "avg_amount (EUR)",
        "count",
    )
    first, second, third = query_view.lines(ANSWER)
    assert first[1] == "12345.67 ± 5092.14"
    assert first[2].startswith("24.6913 ± ")
    assert first[3] == "501 ± 11"
    assert second[2] == "too noisy"
    assert third[1] == "-0.05 ± 5092.14"


def test_json_is_plain_and_names_price_and_units():
    made = query_view.as_json(ANSWER, explain(PLAN, "1", "1e-6", 3))
    again = json.loads(json.dumps(made))
    assert again["rows"][0]["revenue"]["value"] == "12345.67"
    assert again["rows"][1]["avg_amount"]["note"] == "too noisy"
    assert again["units"] == {"revenue": "EUR", "avg_amount": "EUR", "count": "rows"}
    assert again["price"]["contributors"] == 3


def test_csv_has_one_line_per_cell():
    rows = list(csv.DictReader(io.StringIO(query_view.as_csv(ANSWER))))
    assert [row["category"] for row in rows] == ["home", "toys", "garden"]
    assert rows[0]["revenue"] == "12345.67"
    assert rows[1]["avg_amount"] == ""
    assert float(rows[0]["count_high"]) == 512


def test_an_answer_of_another_size_is_refused():
    with pytest.raises(MalformedMessageError, match="8 numbers"):
        answer(PLAN, "1", 3, OPENED[:-1])
