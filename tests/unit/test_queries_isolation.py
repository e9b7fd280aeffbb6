"""Ways to isolate one party through an honest question: each is refused with its sentence."""

import re

import pytest

from federation.errors import UnsupportedQueryError
from federation.queries import parse
from federation.queries.isolation import (
    Holder,
    differs_by_party,
    one_party_cells,
    questions,
    require_shared,
)
from federation.queries.tree import digest
from policies.contracts import load_contract
from policies.errors import MalformedContractError
from tests.orders_table import member

HEAD = (
    'name = "{}"\nversion = 1\ntable = "{}.parquet"\nsubjects = "customers"\n[unit]\n'
    'kind = "customer"\ncolumns = ["customer_id"]\nrows = 3\n[limit]\nepsilon = "3"\n'
    'delta = "1e-6"\nwindow = "2025"\n'
)
COLUMN = '\n[[columns]]\nname = "{}"\ntype = "{}"\ngrade = "S2"\n{}\n'
ORDERS = (
    ("customer_id", "integer", ""),
    ("amount", "float", 'low = "0"\nhigh = "500"\nunit = "EUR"'),
    ("category", "string", 'domain = ["home", "toys", "garden", "cars"]'),
    ("hour", "integer", 'domain = ["0", "1", "2", "3"]'),
    ("weight", "integer", 'low = "0"\nhigh = "100"'),
    ("note", "string", ""),
    ("gift", "boolean", ""),
    ("day", "date", ""),
    ("merchant_id", "integer", 'domain = ["1", "2"]'),
)
RETURNS = (("customer_id", "integer", ""), ("reason", "string", 'domain = ["late", "broken"]'))


def made(name, columns, **holds):
    """Return a contract in which a party says what its own rows may hold."""
    more = {key: f"\nholds = {list(value)!r}".replace("'", '"') for key, value in holds.items()}
    parts = [COLUMN.format(n, kind, rest + more.get(n, "")) for n, kind, rest in columns]
    return load_contract(HEAD.format(name, name) + "".join(parts))


USUAL = {
    "category": ["home", "toys"],
    "hour": ["0", "1", "2"],
    "weight": ["0", "40"],
    "day": ["2024-01-01", "2025-12-31"],
}
FIRST = {
    "category": ["home", "toys", "garden"],
    "hour": ["0", "1", "2", "3"],
    "weight": ["0", "90"],
    "day": ["2019-01-01", "2025-12-31"],
}
NAMES = ("north", "south", "east", "west")
HOLDERS = tuple(
    Holder(
        member(f"shop-{name}", name),
        (made("orders", ORDERS, **(FIRST if name == "north" else USUAL)),)
        + ((made("returns", RETURNS),) if name in {"north", "south"} else ()),
    )
    for name in NAMES
)
COHORT = tuple(holder.member for holder in HOLDERS)
AGREED = {"orders": made("orders", ORDERS), "returns": made("returns", RETURNS)}


def ask(text):
    plan = parse.parse(text, AGREED, COHORT)
    require_shared(plan, AGREED, HOLDERS)
    return plan


NAMED = "the query names one party"
FEW = "organisations? may hold|too few organisations may hold"
WAYS = {
    "a column of parties": ("WHERE merchant_id = 1", "says whose rows"),
    "its name": ("WHERE note = 'shop-north'", NAMED),
    "its name, written otherwise": ("WHERE LOWER(note) = 'Shop_North '", NAMED),
    "its organisation with more behind it": ("WHERE note = 'north (online)'", NAMED),
    "two names": ("WHERE note IN ('shop-north', 'shop-south')", NAMED),
    "all other names": ("WHERE note NOT IN ('shop-south', 'shop-east', 'shop-west')", NAMED),
    "not another name": ("WHERE note <> 'south'", NAMED),
    "the beginning of its name": ("WHERE note LIKE 'shop-n%'", NAMED),
    "a beginning that two share": ("WHERE starts_with(LOWER(note), 'shop s')", NAMED),
    "a beginning that goes on behind its name": ("WHERE note LIKE 'shop-north-%'", NAMED),
    "a prefix and no other prefix": (
        "WHERE note LIKE 'shop-%' AND NOT note LIKE 'shop-s%' AND NOT note LIKE 'shop-e%'",
        NAMED,
    ),
    "a value that one alone may hold": ("WHERE category = 'garden'", FEW),
    "no other value": ("WHERE category NOT IN ('home', 'toys')", FEW),
    "no other value, one by one": ("WHERE category <> 'home' AND category <> 'toys'", FEW),
    "and NULL": ("WHERE category = 'garden' OR category IS NULL", FEW),
    "a contradiction for the others": ("WHERE category = 'garden' OR (gift AND NOT gift)", FEW),
    "a contradiction in numbers": (
        "WHERE category = 'garden' OR (amount > 5 AND amount * 2 < 10)",
        FEW,
    ),
    "two columns that meet": ("WHERE CASE WHEN category = 'garden' THEN 1 ELSE 0 END = 1", FEW),
    "a number that one alone may hold": ("WHERE hour >= 3", FEW),
    "a range that one alone may hold": ("WHERE weight BETWEEN 41 AND 60", FEW),
    "a range under arithmetic": ("WHERE weight * 2 - 80 > 0", FEW),
    "a year before the others": ("WHERE YEAR(day) = 2020", FEW),
    "days counted from today": ("WHERE DATE_DIFF('day', day, DATE '2024-01-01') > 30", FEW),
    "a month before the others": ("WHERE DATE_TRUNC('month', day) = DATE '2023-12-01'", FEW),
    "a key": ("GROUP BY category", FEW),
    "a key of labels": ("GROUP BY CASE WHEN category = 'garden' THEN 'x' ELSE 'y' END", FEW),
    "a key with its name": ("GROUP BY CASE WHEN note = 'shop-north' THEN 'x' ELSE 'y' END", NAMED),
    "a key of buckets": ("GROUP BY FLOOR(weight / 50)", FEW),
    "a key of years": ("WHERE day >= '2021-01-01' AND day < '2026-01-01' GROUP BY YEAR(day)", FEW),
    "HAVING over a filter": ("HAVING COUNT(*) FILTER (WHERE category = 'garden') > 5", FEW),
    "HAVING over what is left out": (
        "HAVING COUNT(*) FILTER (WHERE category <> 'garden') > 5",
        FEW,
    ),
}
IN_SELECT = {
    "a filter": "COUNT(*) FILTER (WHERE hour = 3)",
    "CASE in a sum": "SUM(CASE WHEN category = 'garden' THEN amount ELSE 0 END)",
    "CASE with a constant for the others": "SUM(CASE WHEN hour < 3 THEN 1 ELSE amount END)",
    "CASE in a count": "COUNT(CASE WHEN weight > 50 THEN 1 END)",
    "what lies above the others": "SUM(GREATEST(weight, 40) - 40)",
    "bins": "HISTOGRAM(weight, 10)",
    "a quantile": "MEDIAN(weight)",
    "the name": "COUNT(*) FILTER (WHERE note LIKE 'shop-north%')",
}
RELATIONS = {
    "a relation": "WITH g AS (SELECT * FROM orders WHERE category = 'garden') "
    "SELECT COUNT(*) FROM g",
    "a window": "WITH g AS (SELECT LAG(category) OVER (PARTITION BY customer_id ORDER BY day) AS c "
    "FROM orders) SELECT COUNT(*) FROM g WHERE c = 'garden'",
    "a window that counts": "WITH g AS (SELECT SUM(CASE WHEN hour = 3 THEN 1 ELSE 0 END) OVER "
    "(PARTITION BY customer_id) AS c FROM orders) SELECT COUNT(*) FROM g WHERE c > 0",
    "a table that two offer": "SELECT COUNT(*) FROM orders JOIN returns USING (customer_id)",
    "a table that two offer, on its own": "SELECT reason, COUNT(*) FROM returns GROUP BY reason",
    "a join with itself": "SELECT COUNT(*) FROM orders a JOIN orders b USING (customer_id) "
    "WHERE a.category = 'home' AND b.category = 'garden'",
    "columns equated": "SELECT COUNT(*) FROM orders a JOIN orders b ON a.customer_id = "
    "b.customer_id AND a.hour = b.weight WHERE b.weight = 3",
    "LEFT JOIN": "SELECT COUNT(g.amount) FROM orders o LEFT JOIN (SELECT customer_id, amount FROM "
    "orders WHERE category = 'garden') g USING (customer_id)",
}


def refused(text, sentence):
    with pytest.raises(UnsupportedQueryError) as why:
        ask(text)
    assert re.search(sentence, str(why.value)), str(why.value)
    assert "3" in str(why.value)


@pytest.mark.parametrize("way", WAYS)
def test_a_condition_or_key_that_isolates_one_party_is_refused(way):
    clause, sentence = WAYS[way]
    refused(f"SELECT COUNT(*) FROM orders {clause}", sentence)


@pytest.mark.parametrize("way", IN_SELECT)
def test_an_aggregate_that_isolates_one_party_is_refused(way):
    refused(f"SELECT {IN_SELECT[way]} FROM orders", f"{FEW}|{NAMED}")


@pytest.mark.parametrize("way", RELATIONS)
def test_a_relation_that_isolates_one_party_is_refused(way):
    refused(RELATIONS[way], FEW)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT COUNT(*), SUM(amount), MEDIAN(amount) FROM orders",
        "SELECT hour, COUNT(*) FROM orders WHERE category = 'toys' AND hour < 2 GROUP BY hour",
        "SELECT COUNT(*) FROM orders WHERE category = 'home' AND hour = 1 AND weight < 30",
        "SELECT COUNT(*) FROM orders WHERE category <> 'cars' OR gift",
        "SELECT COUNT(*) FROM orders WHERE category = 'cars'",  # that nobody here may hold
        "SELECT hour, SUM(amount) FROM orders WHERE hour < 3 GROUP BY hour",
        "SELECT COUNT(*), SUM(weight) FROM orders WHERE weight > 20",
        "SELECT FLOOR(weight / 10) AS w, COUNT(*) FROM orders WHERE weight < 40 GROUP BY w",
        (
            "SELECT YEAR(day), COUNT(*) FROM orders WHERE day >= '2024-01-01' "
            "AND day < '2026-01-01' GROUP BY YEAR(day)"
        ),
        "SELECT COUNT(*) FROM orders WHERE note LIKE 'shop%'",  # which all names begin with
        "SELECT COUNT(*) FROM orders WHERE note LIKE 'apple%' OR note = 'northern lights'",
        "SELECT gift, COUNT(*) FROM orders WHERE gift IN (TRUE, FALSE) GROUP BY gift",
        "SELECT SUM(CASE WHEN gift THEN amount ELSE 0 END) FROM orders WHERE category = 'toys'",
        "SELECT SUM(CASE WHEN hour = 1 THEN amount END) FROM orders WHERE hour < 3",
        "SELECT HISTOGRAM(amount, 10) FROM orders WHERE hour = 0",
        "SELECT COUNT(*) FROM orders HAVING COUNT(*) FILTER (WHERE gift) > 5",
        (
            "WITH r AS (SELECT *, row_number() OVER (PARTITION BY customer_id ORDER BY amount) "
            "AS n FROM orders) SELECT COUNT(*) FROM r WHERE n <= 2 AND category = 'home'"
        ),
        (
            "SELECT COUNT(*) FROM orders a JOIN orders b USING (customer_id) WHERE a.hour < b.hour "
            "AND b.hour < 3 AND b.category = 'toys'"
        ),
    ],
)
def test_what_three_organisations_may_hold_is_asked(text):
    assert ask(text).child.aggregates


def test_a_cell_names_who_would_have_to_approve_it_and_the_nearest_query():
    plan = parse.parse("SELECT COUNT(*) FROM orders WHERE category = 'garden'", AGREED, COHORT)
    (cell,) = one_party_cells(plan, AGREED, HOLDERS)
    assert cell.organisations == {"north"}
    assert cell.nearest == "write WHERE category IN ('home', 'toys'), or leave category out"
    plan = parse.parse("SELECT COUNT(*) FROM returns", AGREED, COHORT)
    assert one_party_cells(plan, AGREED, HOLDERS)[0].organisations == {"north", "south"}


def test_the_nearest_query_of_a_range_passes():
    with pytest.raises(UnsupportedQueryError, match="weight BETWEEN 0 AND 40"):
        ask("SELECT COUNT(*) FROM orders WHERE weight > 50")
    with pytest.raises(UnsupportedQueryError, match="day BETWEEN '2024-01-01' AND '2025-12-31'"):
        ask("SELECT COUNT(*) FROM orders WHERE YEAR(day) = 2020")
    ask("SELECT COUNT(*) FROM orders WHERE weight BETWEEN 0 AND 40")
    ask("SELECT COUNT(*) FROM orders WHERE day BETWEEN '2024-01-01' AND '2025-12-31'")


def test_too_many_columns_in_one_condition_are_refused_and_not_tried_for_hours():
    tied = "weight + amount + hour"
    refused(f"SELECT COUNT(*) FROM orders WHERE {tied} + YEAR(day) > 5", FEW)


def test_two_parties_of_one_organisation_are_one():
    twins = (*HOLDERS, Holder(member("shop-north-2", "north"), HOLDERS[0].contracts))
    plan = parse.parse("SELECT COUNT(*) FROM orders WHERE hour = 3", AGREED, COHORT)
    assert one_party_cells(plan, AGREED, twins)[0].organisations == {"north"}


@pytest.mark.parametrize(
    ("kind", "rest", "holds"),
    [
        ("string", 'domain = ["a", "b"]', ["c"]),
        ("string", 'domain = ["a", "b"]', []),
        ("string", "", ["a", "b"]),
        ("boolean", "", ["true", "false"]),
        ("float", "", ["1"]),
        ("float", "", ["2", "1"]),
        ("float", "", ["x", "1"]),
        ("date", "", ["2025-01-01", "soon"]),
    ],
)
def test_what_a_party_says_it_holds_is_checked(kind, rest, holds):
    with pytest.raises(MalformedContractError):
        made("t", (("customer_id", "integer", ""), ("x", kind, rest)), x=holds)


SIX = tuple(member(f"p{at}", f"o{at}") for at in range(6))
COUNT = "SELECT COUNT(*) FROM orders"


def asked(text, *cohorts):
    plan = parse.parse(text, AGREED, COHORT)
    return [(item, cohort) for cohort in cohorts for item in questions(plan)]


@pytest.mark.parametrize(
    ("past", "now", "alone"),
    [
        ((), SIX, set()),
        ((SIX,), SIX, set()),
        ((SIX,), SIX[1:], {"o0"}),
        ((SIX[1:],), SIX, {"o0"}),
        ((SIX,), SIX[2:], {"o0", "o1"}),
        ((SIX,), SIX[:3], set()),
        ((SIX[:3],), SIX[1:4], {"o0", "o3"}),
        ((SIX[:3], SIX[3:5]), SIX, {"o5"}),  # no pair of them differs by one
        ((SIX[:4], SIX[1:5]), (SIX[0], *SIX[2:5]), {"o0", "o1"}),
        ((SIX, SIX[1:]), SIX, set()),  # what is out already is not out again
        ((SIX, SIX[1:]), SIX[:3], {"o1", "o2"}),  # since the first is known
    ],
)
def test_the_same_question_to_another_cohort_leaves_nobody_alone(past, now, alone):
    plan = parse.parse(COUNT, AGREED, COHORT)
    assert differs_by_party(plan, now, asked(COUNT, *past)) == alone


def test_a_question_is_the_same_under_another_name_and_beside_other_aggregates():
    plan = parse.parse("SELECT SUM(amount) AS s, COUNT(*) AS n FROM orders", AGREED, COHORT)
    assert differs_by_party(plan, SIX[1:], asked(COUNT, SIX)) == {"o0"}
    other = asked("SELECT COUNT(*) FROM orders WHERE gift", SIX)
    assert differs_by_party(plan, SIX[1:], other) == frozenset()
    assert differs_by_party(plan, SIX[1:], [(digest(plan), SIX)]) == {"o0"}


def test_an_organisation_with_two_parties_stays_one():
    twin = member("p9", "o0")
    plan = parse.parse(COUNT, AGREED, COHORT)
    assert differs_by_party(plan, SIX[1:], asked(COUNT, (*SIX, twin))) == {"o0"}
