"""What SQL means, what it must not say, and the sentence that says so."""

import json
from pathlib import Path

import pytest

from federation import plans, sql
from federation.errors import MalformedOrderError, UnsupportedQueryError
from federation.plans import AllOf, Among, AnyOf, Comparison, Measure
from secure_compute import canonical
from tests.orders_table import COHORT, contract, member

CONTRACTS = {"orders": contract()}


def parse(text: str, cohort=COHORT):
    return sql.parse(text, CONTRACTS, cohort)


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
    "bad_having": ("SELECT COUNT(*) FROM orders HAVING COUNT(*) > 5", "HAVING"),
    "bad_order": ("SELECT COUNT(*) FROM orders ORDER BY 1", "ORDER BY"),
    "bad_limit": ("SELECT COUNT(*) FROM orders LIMIT 5", "LIMIT"),
    "bad_offset": ("SELECT COUNT(*) FROM orders OFFSET 5", "OFFSET"),
    "bad_distinct": ("SELECT DISTINCT category FROM orders", "DISTINCT"),
    "bad_join": ("SELECT COUNT(*) FROM orders JOIN b USING (x)", "JOIN"),
    "bad_comma_join": ("SELECT COUNT(*) FROM orders, b", "JOIN"),
    "bad_cte": ("WITH x AS (SELECT 1) SELECT COUNT(*) FROM orders", "WITH"),
    "bad_union": ("SELECT COUNT(*) FROM orders UNION SELECT COUNT(*) FROM orders", "UNION"),
    "bad_subquery_from": ("SELECT COUNT(*) FROM (SELECT * FROM orders) t", "subquery in FROM"),
    "bad_subquery_where": (
        "SELECT COUNT(*) FROM orders WHERE amount > (SELECT AVG(amount) FROM orders)",
        "subquery",
    ),
    "bad_subquery_in": ("SELECT COUNT(*) FROM orders WHERE hour IN (SELECT 1)", "IN says QUERY"),
    "bad_window": ("SELECT SUM(amount) OVER (PARTITION BY category) FROM orders", "OVER"),
    "bad_filter": ("SELECT COUNT(*) FILTER (WHERE gift) FROM orders", "FILTER"),
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
    "bad_drop": ("DROP TABLE orders", "only SELECT"),
    "bad_copy": ("COPY orders TO 'x'", "only SELECT"),
    "bad_install": ("INSTALL httpfs", "only SELECT"),
    "bad_rows": ("SELECT category FROM orders GROUP BY category", "rows stay at home"),
    "bad_star": ("SELECT * FROM orders", "not supported"),
    "bad_ungrouped": ("SELECT category, COUNT(*) FROM orders", "GROUP BY"),
    "bad_min": ("SELECT MIN(amount) FROM orders", "MIN()"),
    "bad_median": ("SELECT MEDIAN(amount) FROM orders", "not supported"),
    "bad_arithmetic": ("SELECT SUM(amount) / COUNT(*) FROM orders", "DIV"),
    "bad_inner_arithmetic": ("SELECT SUM(1 / (amount - 5)) FROM orders", "without computing"),
    "bad_sum_distinct": ("SELECT SUM(DISTINCT amount) FROM orders", "DISTINCT"),
    "bad_count_distinct": ("SELECT COUNT(DISTINCT customer_id) FROM orders", "COUNT(*)"),
    "bad_count_column": ("SELECT COUNT(amount) FROM orders", "COUNT(*)"),
    "bad_sum_text": ("SELECT SUM(note) FROM orders", "number with bounds"),
    "bad_sum_unbounded": ("SELECT SUM(hour) FROM orders", "number with bounds"),
    "bad_group_all": ("SELECT COUNT(*) FROM orders GROUP BY ALL", "GROUP BY"),
    "bad_rollup": ("SELECT COUNT(*) FROM orders GROUP BY ROLLUP(category)", "ROLLUP"),
    "bad_group_open": ("SELECT note, COUNT(*) FROM orders GROUP BY note", "public domain"),
    "bad_group_unit": ("SELECT COUNT(*) FROM orders GROUP BY customer_id", "unit of privacy"),
    "bad_group_party": ("SELECT COUNT(*) FROM orders GROUP BY merchant_id", "whose rows"),
    "bad_group_twice": ("SELECT COUNT(*) FROM orders GROUP BY hour, hour", "one name"),
    "bad_where_party": ("SELECT COUNT(*) FROM orders WHERE merchant_id = 1", "whose rows"),
    "bad_where_party_value": (
        "SELECT COUNT(*) FROM orders WHERE note = 'Warehouse-CN'",
        "names one party",
    ),
    "bad_where_unit": ("SELECT COUNT(*) FROM orders WHERE customer_id = 7", "unit of privacy"),
    "bad_where_optional": ("SELECT COUNT(*) FROM orders WHERE card_country = 'CN'", "roles lack"),
    "bad_where_unknown": ("SELECT COUNT(*) FROM orders WHERE colour = 'red'", "does not have"),
    "bad_where_null": ("SELECT COUNT(*) FROM orders WHERE note IS NULL", "not supported"),
    "bad_where_not": ("SELECT COUNT(*) FROM orders WHERE NOT hour = 1", "NOT"),
    "bad_where_like": ("SELECT COUNT(*) FROM orders WHERE note LIKE 'a%'", "not supported"),
    "bad_where_column": ("SELECT COUNT(*) FROM orders WHERE amount > balance", "literal"),
    "bad_where_cast": ("SELECT COUNT(*) FROM orders WHERE CAST(note AS INT) = 1", "CAST"),
    "bad_where_type": ("SELECT COUNT(*) FROM orders WHERE amount = 'x'", "literal of that type"),
    "bad_where_fraction": ("SELECT COUNT(*) FROM orders WHERE balance = 1.5", "literal of that"),
    "bad_where_huge": ("SELECT COUNT(*) FROM orders WHERE amount < 1e300", "literal of that"),
    "bad_where_date": ("SELECT COUNT(*) FROM orders WHERE day = '2025-02-30'", "literal of that"),
    "bad_where_domain": ("SELECT COUNT(*) FROM orders WHERE category = 'x'", "public domain"),
    "bad_where_text_order": ("SELECT COUNT(*) FROM orders WHERE note > 'a'", "orders text"),
    "bad_where_symmetric": (
        "SELECT COUNT(*) FROM orders WHERE hour BETWEEN SYMMETRIC 1 AND 0",
        "SYMMETRIC",
    ),
    "bad_placeholder": ("SELECT COUNT(*) FROM orders WHERE amount > ?", "literal"),
    "bad_label_twice": ("SELECT COUNT(*), COUNT(*) FROM orders", "one name"),
    "bad_other_table": ("SELECT SUM(b.amount) FROM orders", "not in FROM"),
    "bad_least_wide": ("SELECT SUM(LEAST(amount, 501)) FROM orders", "LEAST"),
    "bad_least_low": ("SELECT SUM(LEAST(amount, 0)) FROM orders", "LEAST"),
    "bad_least_between_steps": ("SELECT SUM(LEAST(amount, 0.001)) FROM orders", "LEAST"),
    "bad_least_column": ("SELECT SUM(LEAST(amount, balance)) FROM orders", "LEAST"),
    "bad_least_three": ("SELECT SUM(LEAST(amount, 1, 2)) FROM orders", "LEAST"),
    "bad_least_text": ("SELECT SUM(LEAST(amount, '9')) FROM orders", "LEAST"),
    "bad_least_twice": ("SELECT SUM(LEAST(amount, 9)), AVG(amount) FROM orders", "two ways"),
    "bad_greatest": ("SELECT SUM(GREATEST(amount, 9)) FROM orders", "GREATEST"),
    "bad_case_column": ("SELECT SUM(AMOUNT) FROM orders", "does not have"),
}


@pytest.mark.parametrize("text", GOOD)
def test_a_supported_query_is_a_plan_with_one_spelling(text):
    plan = parse(text)
    assert plans.from_json(plans.to_json(plan)) == plan
    wire = canonical.encode(plans.to_json(plan))
    assert plans.from_json(canonical.decode(wire)) == plan


@pytest.mark.parametrize("name", BAD)
def test_everything_else_is_refused_in_a_sentence_that_names_the_clause(name):
    text, clause = BAD[name]
    with pytest.raises(UnsupportedQueryError) as refusal:
        parse(text)
    assert clause in str(refusal.value)
    assert ": " in str(refusal.value)  # what to write instead


def test_a_plan_is_the_tree_that_was_written():
    plan = parse(
        "SELECT category, AVG(amount), SUM(amount), COUNT(*) FROM orders "
        "WHERE (hour = 0 OR gift = TRUE) AND category IN ('toys', 'home', 'toys') AND 3 > amount "
        "GROUP BY category"
    )
    assert plans.predicate(plan) == AllOf(
        (
            AnyOf((Comparison("hour", "=", "0"), Comparison("gift", "=", "true"))),
            Among("category", ("home", "toys")),
            Comparison("amount", "<", "3"),
        )
    )
    assert plans.measures(plan) == (
        Measure("total", "amount"),
        Measure("present", "amount"),
        Measure("rows", ""),
    )
    assert plans.sensitivities(plan) == (150_000, 3, 3)
    assert plans.cells(plan) == (("home",), ("toys",), ("garden",))
    assert plans.width(plan) == 9
    assert plans.columns(plan) == ("amount", "category", "customer_id", "gift", "hour")


def test_a_negative_bound_counts_by_its_size():
    plan = parse("SELECT SUM(balance) FROM orders")
    assert plans.sensitivities(plan) == (60,)


def test_a_tighter_bound_is_a_smaller_sensitivity():
    plan = parse("SELECT SUM(LEAST(amount, 100)), COUNT(*) FROM orders")
    assert plans.sensitivities(plan) == (30_000, 3)
    # What lies below zero is not bounded by LEAST.
    assert plans.sensitivities(parse("SELECT SUM(LEAST(balance, 1)) FROM orders")) == (60,)


def test_two_organisations_are_no_cohort():
    pair = (member("warehouse-cn", "A"), member("warehouse-eu", "B"), member("third", "B"))
    with pytest.raises(UnsupportedQueryError, match="larger cohort"):
        parse("SELECT COUNT(*) FROM orders", pair)


def changed(path, value):
    tree = plans.to_json(
        parse("SELECT category, SUM(amount) FROM orders WHERE hour = 1 GROUP BY category")
    )
    place = tree
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return tree


MALFORMED = {
    "bad_version": (["v"], 2),
    "bad_version_bool": (["v"], True),
    "bad_extra": (["more"], 1),
    "bad_rows_text": (["bound", "rows"], "3"),
    "bad_rows_zero": (["bound", "rows"], 0),
    "bad_rows_bool": (["bound", "rows"], True),
    "bad_operator": (["where", "operator"], "LIKE"),
    "bad_function": (["aggregates", 0, "function"], "min"),
    "bad_no_aggregates": (["aggregates"], []),
    "bad_no_bound": (["bound"], None),
    "bad_domain": (["keys", 0, "domain"], []),
    "bad_domain_number": (["keys", 0, "domain"], [1]),
    "bad_clip": (["bound", "clips", 0, "low"], 60_000),
    "bad_where_in": (["where"], {"column": "hour", "in": ["1", "0"]}),
    "bad_where_all": (["where"], {"all": []}),
    "bad_where_mixed": (["where"], {"column": "hour", "operator": "=", "value": "1", "in": ["1"]}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_another_spelling_of_a_plan_is_refused(name):
    with pytest.raises(MalformedOrderError):
        plans.from_json(changed(*MALFORMED[name]))


UNFIT = {
    "bad_more_rows": (["bound", "rows"], 4),
    "bad_other_unit": (["bound", "unit"], ["hour"]),
    "bad_wider_clip": (["bound", "clips", 0, "high"], 60_000),
    "bad_empty_clip": (["bound", "clips", 0, "high"], 0),
    "bad_lower_clip": (["bound", "clips", 0, "low"], -1),
    "bad_no_clip": (["bound", "clips"], []),
    "bad_narrow_domain": (["keys", 0, "domain"], ["home"]),
    "bad_other_contract": (["table", "version"], 2),
    "bad_spelling": (["where", "value"], "01"),
    "bad_party": (["where"], {"column": "note", "operator": "=", "value": "warehouse-cn"}),
    "bad_key": (["keys", 0, "column"], "merchant_id"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_node_refuses_a_plan_that_its_contract_does_not_give(name):
    from federation.fitting import fit

    plan = plans.from_json(changed(*UNFIT[name]))
    with pytest.raises(UnsupportedQueryError):
        fit(plan, contract(), COHORT)


VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "plans.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["digest"][:8])
def test_the_bytes_of_a_plan_do_not_change(vector):
    """Orders are signed over these bytes; another spelling would be another wire form."""
    plan = parse(vector["sql"])
    assert canonical.encode(plans.to_json(plan)).decode() == vector["canonical"]
    assert plans.digest(plan) == vector["digest"]
    assert list(plans.sensitivities(plan)) == vector["sensitivities"]
    assert plans.width(plan) == vector["width"]
