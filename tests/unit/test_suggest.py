"""Bad questions through the command line: a sentence, a rule, its owner, and what would pass."""

import pytest

from experiments.cli import run
from federation.queries.parse import parse
from federation.queries.suggest import suggestion
from tests.orders_table import COHORT, member
from tests.queries_table import contract

CONTRACTS = {"orders": contract()}
NEAREST = {
    "SELECT category, COUNT(*) FROM ordes GROUP BY category ORDER BY 2 DESC LIMIT 3": (
        "SELECT category, COUNT(*) FROM orders GROUP BY category"
    ),
    "SELECT SUM(ammount) FROM orders": "SELECT SUM(amount) FROM orders",
    "SELECT SUM(AMOUNT) FROM orders": "SELECT SUM(amount) FROM orders",
    "SELECT SUM(quantity) FROM orders": (
        "SELECT SUM(LEAST(GREATEST(quantity, 0), 1000)) FROM orders"
    ),
    "SELECT COUNT(*) FROM orders WHERE merchant_id = 1 AND amount > 5": (
        "SELECT COUNT(*) FROM orders WHERE amount > 5"
    ),
    "SELECT COUNT(*) FROM orders WHERE note = 'Warehouse-CN' AND gift": (
        "SELECT COUNT(*) FROM orders WHERE gift"
    ),
    "SELECT note, COUNT(*) FROM orders GROUP BY note": "SELECT COUNT(*) FROM orders",
    "SELECT category, MAX(amount) FROM orders GROUP BY category": (
        "SELECT category, COUNT(*) FROM orders GROUP BY category"
    ),
    "SELECT customer_id, SUM(amount) FROM orders GROUP BY customer_id": (
        "SELECT SUM(amount) FROM orders"
    ),
    "SELECT DISTINCT category FROM orders": "SELECT COUNT(*) FROM orders",
}


@pytest.mark.parametrize("text", NEAREST)
def test_the_nearest_question_is_found_and_is_accepted(text):
    found = suggestion(text, CONTRACTS, COHORT)
    assert found == NEAREST[text]
    assert parse(found, CONTRACTS, COHORT)


@pytest.mark.parametrize(
    "text",
    [
        "DROP TABLE orders",
        "",
        "SELEC x",
        "SELECT 1; SELECT 2",
        "SELECT x FROM elsewhere",
        "(" * 5000,
    ],
)
def test_where_nothing_is_near_nothing_is_suggested(text):
    assert suggestion(text, CONTRACTS, COHORT) is None


def test_no_text_helps_a_cohort_of_two_organisations():
    pair = (member("a"), member("b"), member("c", "b"))
    assert suggestion("SELECT SUM(quantity) FROM orders", CONTRACTS, pair) is None


def listed(count):
    return ", ".join(f"'v{n}'" for n in range(count))


INJECTED = '"amount) FROM orders; DROP TABLE orders; --"'
HOURS = "category, ship_country, MONTH(ts), DAY(ts), HOUR(ts)"
COUNT = "SELECT COUNT(*) FROM orders"
BAD = {
    "an unknown table": ("SELECT COUNT(*) FROM ordres", "did you mean 'orders'", 1),
    "an unknown column": ("SELECT SUM(amont) FROM orders", "did you mean 'amount'", 1),
    "an unbounded sum": ("SELECT SUM(1 / amount) FROM orders", "no bounds", 1),
    "no public domain": (f"{COUNT} GROUP BY ts", "public domain", 1),
    "a party's number": (f"{COUNT} GROUP BY counterparty_id", "whose rows", 2),
    "too many groups": (f"{COUNT} GROUP BY {HOURS}", "numbers and one answer holds", 1),
    "a huge list": (f"{COUNT} WHERE category IN ({listed(5000)})", "characters", 1),
    "a long list": (f"{COUNT} WHERE category IN ({listed(200)})", "100", 1),
    "a unit": (f"{COUNT} WHERE customer_id = 7", "unit of privacy", 3),
    "a party by name": (f"{COUNT} WHERE ship_country = 'merchant-uk'", "names one party", 2),
    "a party by prefix": (f"{COUNT} WHERE ship_country LIKE 'merchant-u%'", "names one party", 2),
    "two parties by prefix": (
        f"{COUNT} WHERE ship_country LIKE 'merchant-%'",
        "names one party",
        2,
    ),
    "an injection": (f"SELECT SUM({INJECTED}) FROM orders", "does not have", 1),
    "a file": ("SELECT COUNT(*) FROM read_csv('/etc/passwd')", "no function and no file", 1),
    "two statements": (f"{COUNT}; DROP TABLE orders", "exactly one", 1),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_question_is_a_sentence_with_its_rule(name, simulation, capsys):
    text, said, rule = BAD[name]
    code = run(["query", text, "--federation", str(simulation.home.folder)])
    told = capsys.readouterr()
    assert (code, told.out) == (2, "")
    assert said in told.err
    assert f"QUERY-00{rule}, a rule of the federation" in told.err
    assert "Traceback" not in told.err
    assert "unexpected" not in told.err
    assert not simulation.jobs.next()  # nothing was put on the table


def test_a_bad_question_is_told_what_would_pass(simulation, capsys):
    text = "SELECT category, SUM(amont) FROM orders GROUP BY category ORDER BY 2"
    assert run(["query", text, "--federation", str(simulation.home.folder)]) == 2
    assert (
        "this would pass: SELECT category, SUM(amount) FROM orders GROUP BY category"
        in capsys.readouterr().err
    )
