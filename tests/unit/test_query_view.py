"""Answers on a terminal, as JSON, as CSV and as Arrow: always with the ends of the intervals."""

import csv
import io
import json

import pyarrow as pa
import pytest
from rich.console import Console

from experiments import query_view
from experiments.errors import UsageError
from federation.errors import MalformedMessageError
from federation.queries.answers import Answer, Cell, Row, answer, read_answer
from federation.queries.parse import parse
from tests.orders_table import COHORT, contract

CONTRACTS = {"orders": contract()}
PLAN = parse(
    "SELECT category, SUM(amount) AS revenue, AVG(amount), COUNT(*) FROM orders GROUP BY category",
    CONTRACTS,
    COHORT,
)
OPENED = (1_234_567, 0, -5, 500, 0, 3, 501, 0, 2)  # cents, present, rows; three cells each
ANSWER = answer(PLAN, "1", 3, OPENED)
VALUE = {
    "schema": "entrepot.query/1",
    "run": "ab" * 32,
    "sql": "SELECT [category] …",
    "epsilon": "0.25",
    "delta": "1e-6",
    "unit": "customer",
    "parties": ["a", "b", "c"],
    "charged": "0.25",
    "reused": None,
    "answer": ANSWER.to_json(),
}


def shown(value, width=200):
    told = io.StringIO()
    query_view.show_answer(value, Console(file=told, width=width))
    return told.getvalue()


def test_a_table_has_a_value_an_error_and_both_ends_in_every_cell():
    ends = ("95 % from", "to")
    assert query_view.headings(ANSWER) == (
        "category", "revenue (EUR)", *ends, "avg_amount (EUR)", *ends, "count", *ends,
    )  # fmt: skip
    first, second, third = query_view.wide(ANSWER)
    assert first[1:4] == ("12345.67 ± 5092.14", "7253.53", "17437.81")
    assert first[4].startswith("24.6913 ± ")
    assert first[7:] == ("501 ± 11", "490", "512")
    assert second[4:7] == ("too noisy", "", "")
    assert third[1] == "-0.05 ± 5092.14"
    said = shown(VALUE)
    assert "SELECT [category] …" in said
    assert "17437.81" in said
    assert "ε = 0.25 at δ = 1e-6 per customer and node; 3 nodes answered" in said
    assert "1 numbers cannot be told from noise" not in said  # two cells are too noisy
    assert "2 numbers cannot be told from noise" in said


def test_many_values_stand_below_one_another():
    plan = parse("SELECT HISTOGRAM(amount, 10) AS h, COUNT(*) AS n FROM orders", CONTRACTS, COHORT)
    found = answer(plan, "1", 3, [*range(10, 20), 145])
    lines = list(query_view.long(found))
    assert len(lines) == 11
    assert lines[0] == ("h_0", "10 ± 11", "-1", "21")
    said = shown({**VALUE, "answer": found.to_json()})
    assert len(said.splitlines()) > 11
    assert [(b.label, b.of, b.low, b.high) for b in found.bins][-1] == (
        "h_9", "amount", "450.005", "500.000",
    )  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_no_number_is_cut_off_where_a_terminal_is_narrow(width):
    said = shown(VALUE, width)
    for row in ANSWER.rows:
        for part in (part for cell in row.cells for part in (cell.value, cell.low, cell.high)):
            assert part is None or part in said
    assert max(map(len, said.splitlines())) <= width


def test_json_is_what_the_answer_says_and_reads_back():
    again = json.loads(query_view.rendered(VALUE, "json"))
    assert again == VALUE
    assert read_answer(again["answer"]) == ANSWER
    first = again["answer"]["rows"][0]["cells"][0]
    assert first == {
        "value": "12345.67", "error": "5092.14", "low": "7253.53", "high": "17437.81", "note": "",
    }  # fmt: skip
    assert again["answer"]["rows"][1]["cells"][1]["note"] == "too noisy"
    assert again["answer"]["units"] == ["EUR", "EUR", "rows"]


def test_an_answer_written_before_there_were_notes_is_still_read():
    old = {name: ANSWER.to_json()[name] for name in ("keys", "labels", "units", "contributors")}
    found = read_answer({**old, "rows": ANSWER.to_json()["rows"]})
    assert found.rows == ANSWER.rows
    assert found.notes == found.terms == found.bins == ()


@pytest.mark.parametrize(
    "bad", [None, [], {}, {**ANSWER.to_json(), "rows": [{}]}, {**ANSWER.to_json(), "terms": [1]}]
)
def test_what_is_no_answer_is_a_sentence(bad):
    with pytest.raises(MalformedMessageError, match="no answer"):
        read_answer(bad)


def test_csv_has_one_line_per_cell():
    rows = list(csv.DictReader(io.StringIO(query_view.rendered(VALUE, "csv").decode(), "")))
    assert [row["category"] for row in rows] == ["home", "toys", "garden"]
    assert rows[0]["revenue"] == "12345.67"
    assert (rows[0]["revenue_low"], rows[0]["revenue_high"]) == ("7253.53", "17437.81")
    assert rows[1]["avg_amount"] == ""
    assert rows[1]["avg_amount_note"] == "too noisy"
    assert float(rows[0]["count_high"]) == 512


def test_arrow_says_the_same_with_types():
    table = pa.ipc.open_file(query_view.rendered(VALUE, "arrow")).read_all()
    assert table.column_names == list(query_view.columns_of(ANSWER))
    assert table.column("count").to_pylist() == [501, 0, 2]
    assert table.column("count_low").type == pa.int64()
    assert table.column("revenue_high").to_pylist()[0] == 17437.81
    assert table.column("avg_amount").to_pylist()[1] is None
    about = json.loads(table.schema.metadata[b"entrepot"])
    assert (about["epsilon"], about["answer"]["units"]) == ("0.25", ["EUR", "EUR", "rows"])
    assert "rows" not in about["answer"]


@pytest.mark.parametrize("form", ["csv", "arrow"])
def test_two_columns_of_one_name_are_refused(form):
    cell = Cell("1", "1", "0", "2")
    twice = Answer(
        keys=(), labels=("n", "n_low"), units=("rows", "rows"), rows=(Row((), (cell, cell)),),
        contributors=3,
    )  # fmt: skip
    with pytest.raises(UsageError, match="'n_low'"):
        query_view.rendered({**VALUE, "answer": twice.to_json()}, form)


def test_an_answer_of_another_size_is_refused():
    with pytest.raises(MalformedMessageError, match="8 numbers"):
        answer(PLAN, "1", 3, OPENED[:-1])


def test_what_stands_beside_the_numbers():
    plan = parse(
        "SELECT COUNT(DISTINCT customer_id) AS people, VAR_POP(amount) AS v, "
        "LINEAR_REGRESSION(amount, balance) AS r, CORR(amount, balance) AS c, "
        "SUM(amount) / COUNT(*) AS ratio FROM orders",
        CONTRACTS,
        COHORT,
    )
    width = 1 + 3 + 6 + 1 + 1
    found = answer(plan, "0.001", 3, [400, *([1000] * (width - 1))])
    assert found.labels == ("people", "v", "r_intercept", "r_balance", "c", "ratio")
    assert found.units == ("units", "EUR²", "EUR", "EUR/points", "", "")
    assert found.per_silo == ("people",)
    assert found.notes[0] == "people counts a unit once at each party that has its rows"
    assert [(term.label, term.of, term.term) for term in found.terms] == [
        ("r_intercept", "amount", "intercept"),
        ("r_balance", "amount", "balance"),
    ]


@pytest.mark.parametrize(
    ("value", "low", "high", "told"),
    [
        (0.000123456, 0.0001, 0.000165, ("0.00012346", "0.00003250", "0.00010000", "0.00016500")),
        (123456.789, 123000.0, 124000.0, ("123456.8", "500.0", "123000.0", "124000.0")),
        (-0.0, -0.5, 0.5, ("0.0000", "0.5000", "-0.5000", "0.5000")),
    ],
)
def test_a_computed_number_has_as_many_places_as_its_error_asks_for(value, low, high, told):
    from federation.queries.answers import spelled
    from federation.queries.post import Cell as Exact

    cell = spelled(None, Exact(value, low, high))
    assert (cell.value, cell.error, cell.low, cell.high) == told


def test_ends_are_rounded_outwards():
    from federation.queries.answers import spelled
    from federation.queries.post import Cell as Exact

    cell = spelled(PLAN.child.aggregates[2], Exact(10.0, 6.9, 13.1))
    assert (cell.value, cell.error, cell.low, cell.high) == ("10", "4", "6", "14")
