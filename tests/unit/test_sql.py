"""What SQL means, what it must not say, and the sentence that says so."""

import pytest

from federation.errors import MalformedOrderError, UnsupportedQueryError
from federation.queries import parse as language
from federation.queries import tree, uses
from federation.queries.expressions import conjuncts
from federation.queries.fitting import fit
from federation.queries.pricing import reach
from federation.queries.sensitivity import change, measures, width
from federation.tasks import read_plan
from secure_compute import canonical
from secure_compute.threshold.layout import Layout
from tests.orders_table import COHORT, contract, member

CONTRACTS = {"orders": contract()}


def parse(text: str, cohort=COHORT):
    return language.parse(text, CONTRACTS, cohort)


GOOD = [
    "SELECT COUNT(*) FROM orders",
    "select count(*) as n from orders;",
    "SELECT category, COUNT(*) AS orders, SUM(amount) AS revenue FROM orders GROUP BY category",
    "SELECT category, hour, AVG(amount) FROM orders GROUP BY category, hour",
    "SELECT o.category, SUM(o.amount) FROM orders AS o WHERE o.amount > 1 GROUP BY o.category",
    "SELECT AVG(balance) FROM orders WHERE balance BETWEEN -5 AND 5 AND gift = true",
    "SELECT COUNT(*) FROM orders WHERE (gift = FALSE OR hour IN (0, 1)) AND day >= '2025-01-02'",
    "SELECT COUNT(*) FROM orders WHERE day < DATE '2025-03-01' AND note <> 'x'",
    "SELECT COUNT(*) FROM orders WHERE 12.50 <= amount",
    "SELECT SUM(LEAST(amount, 99.99)), AVG(LEAST(amount, 99.99)) FROM orders",
    "SELECT SUM(LEAST(balance, -3)) FROM orders",
]

BAD = {
    "bad_order": ("SELECT COUNT(*) FROM orders ORDER BY 1", "ORDER BY"),
    "bad_limit": ("SELECT COUNT(*) FROM orders LIMIT 5", "LIMIT"),
    "bad_offset": ("SELECT COUNT(*) FROM orders OFFSET 5", "OFFSET"),
    "bad_distinct": ("SELECT DISTINCT category FROM orders", "DISTINCT"),
    "bad_join": ("SELECT COUNT(*) FROM orders JOIN b USING (x)", "no contract here"),
    "bad_comma_join": ("SELECT COUNT(*) FROM orders, b", "no contract here"),
    "bad_cte": ("WITH x AS (SELECT 1) SELECT COUNT(*) FROM orders", "which nothing reads"),
    "bad_union": ("SELECT COUNT(*) FROM orders UNION SELECT COUNT(*) FROM orders", "UNION"),
    "bad_subquery_where": (
        "SELECT COUNT(*) FROM orders WHERE amount > (SELECT AVG(amount) FROM orders)",
        "subquery",
    ),
    "bad_subquery_in": ("SELECT COUNT(*) FROM orders WHERE hour IN (SELECT 1)", "IN says QUERY"),
    "bad_window": (
        "SELECT SUM(amount) OVER (PARTITION BY category) FROM orders",
        "window over other rows",
    ),
    "bad_qualify": ("SELECT COUNT(*) FROM orders QUALIFY 1 = 1", "QUALIFY"),
    "bad_sample": ("SELECT COUNT(*) FROM orders TABLESAMPLE 5%", "FROM says SAMPLE"),
    "bad_file": ("SELECT COUNT(*) FROM read_parquet('/etc/x')", "no function and no file"),
    "bad_file_name": ("SELECT COUNT(*) FROM 'x.parquet'", "no contract here"),
    "bad_schema": ("SELECT COUNT(*) FROM a.orders", "FROM says DB"),
    "bad_contract": ("SELECT COUNT(*) FROM payments", "no contract here"),
    "bad_no_from": ("SELECT 1", "FROM is missing"),
    "bad_two": ("SELECT COUNT(*) FROM orders; SELECT COUNT(*) FROM orders", "one statement"),
    "bad_empty": ("", "one statement"),
    "bad_text": ("SELEC x FRM", "not SQL"),
    "bad_drop": ("DROP TABLE orders", "only a query"),
    "bad_copy": ("COPY orders TO 'x'", "only a query"),
    "bad_install": ("INSTALL httpfs", "only a query"),
    "bad_rows": ("SELECT category FROM orders GROUP BY category", "rows stay at home"),
    "bad_star": ("SELECT * FROM orders", "not supported"),
    "bad_ungrouped": ("SELECT category, COUNT(*) FROM orders", "GROUP BY"),
    "bad_min": ("SELECT MIN(amount) FROM orders", "MIN()"),
    "bad_inner_arithmetic": (
        "SELECT SUM(1 / (amount - 5)) FROM orders",
        "divisor can come near zero",
    ),
    "bad_sum_distinct": ("SELECT SUM(DISTINCT amount) FROM orders", "DISTINCT"),
    "bad_sum_text": ("SELECT SUM(note) FROM orders", "text cannot be summed"),
    "bad_group_all": ("SELECT COUNT(*) FROM orders GROUP BY ALL", "GROUP BY"),
    "bad_rollup": ("SELECT COUNT(*) FROM orders GROUP BY ROLLUP(category)", "ROLLUP"),
    "bad_group_open": ("SELECT note, COUNT(*) FROM orders GROUP BY note", "public domain"),
    "bad_group_unit": ("SELECT COUNT(*) FROM orders GROUP BY customer_id", "unit of privacy"),
    "bad_group_party": ("SELECT COUNT(*) FROM orders GROUP BY merchant_id", "whose rows"),
    "bad_where_party": ("SELECT COUNT(*) FROM orders WHERE merchant_id = 1", "whose rows"),
    "bad_where_party_value": (
        "SELECT COUNT(*) FROM orders WHERE note = 'Warehouse-CN'",
        "names one party",
    ),
    "bad_where_unit": ("SELECT COUNT(*) FROM orders WHERE customer_id = 7", "unit of privacy"),
    "bad_where_optional": ("SELECT COUNT(*) FROM orders WHERE card_country = 'CN'", "roles lack"),
    "bad_where_unknown": ("SELECT COUNT(*) FROM orders WHERE colour = 'red'", "does not have"),
    "bad_where_column": (
        "SELECT COUNT(*) FROM orders WHERE amount > balance",
        "mixes EUR and points",
    ),
    "bad_where_type": ("SELECT COUNT(*) FROM orders WHERE amount = 'x'", "one type"),
    "bad_where_huge": ("SELECT COUNT(*) FROM orders WHERE amount < 1e300", "18 digits"),
    "bad_where_date": (
        "SELECT COUNT(*) FROM orders WHERE day = '2025-02-30'",
        "write '2025-01-31'",
    ),
    "bad_where_text_order": ("SELECT COUNT(*) FROM orders WHERE note > 'a'", "one type"),
    "bad_where_symmetric": (
        "SELECT COUNT(*) FROM orders WHERE hour BETWEEN SYMMETRIC 1 AND 0",
        "SYMMETRIC",
    ),
    "bad_placeholder": ("SELECT COUNT(*) FROM orders WHERE amount > ?", "PLACEHOLDER"),
    "bad_label_twice": ("SELECT COUNT(*), COUNT(*) FROM orders", "one name"),
    "bad_other_table": ("SELECT SUM(b.amount) FROM orders", "not in FROM"),
    "bad_least_column": ("SELECT SUM(LEAST(amount, balance)) FROM orders", "LEAST"),
    "bad_least_text": ("SELECT SUM(LEAST(amount, '9')) FROM orders", "LEAST"),
    "bad_case_column": ("SELECT SUM(AMOUNT) FROM orders", "does not have"),
}


@pytest.mark.parametrize("text", GOOD)
def test_a_supported_query_is_a_plan_with_one_spelling(text):
    plan = parse(text)
    assert tree.from_json(tree.to_json(plan)) == plan
    wire = canonical.encode(tree.to_json(plan))
    assert tree.from_json(canonical.decode(wire)) == plan


@pytest.mark.parametrize("name", BAD)
def test_everything_else_is_refused_in_a_sentence_that_names_the_clause(name):
    text, clause = BAD[name]
    with pytest.raises(UnsupportedQueryError) as refusal:
        parse(text)
    assert clause in str(refusal.value)
    assert ": " in str(refusal.value)  # what to write instead


def found(plan):
    return [change(plan, measure) for measure in measures(plan)]


def test_a_plan_is_the_tree_that_was_written():
    plan = parse(
        "SELECT category, AVG(amount), SUM(amount), COUNT(*) FROM orders "
        "WHERE (hour = 0 OR gift = TRUE) AND category IN ('toys', 'home', 'toys') AND 3 > amount "
        "GROUP BY category"
    )
    where = tree.condition(plan)
    assert [part.function for part in conjuncts(where)] == ["or", "in", "gt"]
    assert [measure.kind for measure in measures(plan)] == ["present", "total", "rows"]
    assert found(plan) == [3, 900, 3]  # WHERE holds an amount to at most 3.00
    assert plan.child.keys[0].domain == ("home", "toys")
    assert (tree.cells(plan), width(plan)) == (2, 6)
    assert tree.columns(plan) == ("amount", "category", "customer_id", "gift", "hour")
    assert uses.grouped(plan) == ("category",)
    assert uses.filtered(plan) == ("amount", "category", "gift", "hour")
    assert uses.aggregated(plan) == ("amount",)


@pytest.mark.parametrize(
    "choosing",
    [
        "SUM(amount) FILTER (WHERE note = 'x')",
        "SUM(CASE WHEN note = 'x' THEN amount END)",
        "AVG(CASE WHEN amount > 3 THEN CASE note WHEN 'x' THEN 1 ELSE 0 END ELSE amount END)",
        "COUNT(note)",
        "COUNT(*) FILTER (WHERE note = 'x')",
    ],
)
def test_a_column_that_tells_rows_apart_inside_an_aggregate_filters(choosing):
    """The law asks which columns filter; where in the text they do is no matter."""
    assert "note" in uses.filtered(parse(f"SELECT {choosing} FROM orders"))


def test_a_column_that_is_only_summed_filters_nothing():
    plan = parse("SELECT SUM(LEAST(amount, 9) * balance), AVG(amount) FROM orders")
    assert uses.filtered(plan) == ()
    assert uses.aggregated(plan) == ("amount", "balance")


def test_a_negative_bound_counts_by_its_size():
    assert found(parse("SELECT SUM(balance) FROM orders")) == [60]


def test_a_tighter_bound_is_a_smaller_sensitivity():
    assert found(parse("SELECT SUM(LEAST(amount, 100)), COUNT(*) FROM orders")) == [30_000, 3]
    # What lies below zero is not bounded by LEAST.
    assert found(parse("SELECT SUM(LEAST(balance, 1)) FROM orders")) == [60]


@pytest.mark.parametrize("asked", ["VAR_POP(amount)", "CORR(amount, balance)", "SUM(amount)"])
def test_the_sums_of_all_parties_fit_into_a_ciphertext(asked):
    plan = parse(f"SELECT {asked} FROM orders")
    assert Layout(width(plan), reach(plan, "4"), 60).limbs == 1


def test_a_bound_more_or_less_is_called_the_same():
    labels = [
        parse(f"SELECT SUM({x}) FROM orders").outputs[0].label
        for x in ("amount", "LEAST(amount, 9)")
    ]
    assert labels == ["sum_amount", "sum_amount"]


def test_two_organisations_are_no_cohort():
    pair = (member("warehouse-cn", "A"), member("warehouse-eu", "B"), member("third", "B"))
    with pytest.raises(UnsupportedQueryError, match="larger cohort"):
        parse("SELECT COUNT(*) FROM orders", pair)


def changed(path, value):
    made = tree.to_json(
        parse("SELECT category, SUM(amount) FROM orders WHERE hour = 1 GROUP BY category")
    )
    place = made
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return made


VALUE = ["aggregates", 0, "values", 0]
MALFORMED = {
    "bad_version": (["v"], 3),
    "bad_version_bool": (["v"], True),
    "bad_extra": (["more"], 1),
    "bad_rows_text": (["bound", "rows"], "3"),
    "bad_rows_bool": (["bound", "rows"], True),
    "bad_function": (["aggregates", 0, "function"], "min"),
    "bad_no_bound": (["bound"], None),
    "bad_domain_number": (["keys", 0, "domain"], [1]),
    "bad_low": ([*VALUE, "low"], 0.5),
    "bad_value": ([*VALUE, "value"], {"sql": "amount"}),
    "bad_where": (["filter"], {"column": "hour", "operator": "=", "value": "1"}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_another_spelling_of_a_plan_is_refused(name):
    with pytest.raises(MalformedOrderError):
        tree.from_json(changed(*MALFORMED[name]))


UNFIT = {
    "bad_more_rows": (["bound", "rows"], 4),
    "bad_no_rows": (["bound", "rows"], 0),
    "bad_other_unit": (["bound", "unit"], ["hour"]),
    "bad_wider_bound": ([*VALUE, "high"], 60_000),
    "bad_empty_bound": ([*VALUE, "high"], 0),
    "bad_lower_bound": ([*VALUE, "low"], -1),
    "bad_no_value": (["aggregates", 0, "values"], []),
    "bad_no_aggregates": (["aggregates"], []),
    "bad_narrow_domain": (["keys", 0, "domain"], ["home"]),
    "bad_empty_domain": (["keys", 0, "domain"], []),
    "bad_other_contract": (["scan", "version"], 2),
    "bad_key": (["keys", 0, "key"], {"column": "merchant_id"}),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_node_refuses_a_plan_that_its_contract_does_not_give(name):
    plan = tree.from_json(changed(*UNFIT[name]))
    with pytest.raises(UnsupportedQueryError):
        fit(plan, contract(), COHORT)


def test_a_plan_of_version_1_is_told_apart():
    """Such orders lie in tables of work: one sentence says what to do."""
    old = {"plan": "query", "v": 1, "table": {"contract": "orders", "version": 1}}
    with pytest.raises(MalformedOrderError, match=r"version 1 .* ask the question anew"):
        read_plan(old)
