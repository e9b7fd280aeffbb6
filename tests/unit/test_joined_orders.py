"""Questions that join two contracts of one party: named, paid, permitted and read as one order."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from string import Template

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from clients.errors import RefusedWorkError
from clients.ingestion import paid_windows
from clients.queries.partial import Source, evaluate_joined
from clients.verdicts import Refusal
from experiments.explaining import explanation
from experiments.ordering import sign
from experiments.planning import what_if
from federation.errors import MalformedOrderError, OnePartyQueryError, UnsupportedQueryError
from federation.messages import Kind
from federation.offers import offering
from federation.orders import Read, open_order
from federation.past import is_same_question
from federation.queries.post import answer
from federation.queries.sensitivity import layout, measures, squared
from federation.tasks import QueryTask
from policies.budget.account import charges_together, stated_delta
from policies.budget.events import Gaussian, Grouped, from_json
from policies.contracts import load_contract
from policies.exports import groups_of
from policies.parties import Grade, PartyId, Role
from secure_compute import canonical
from secure_compute.entropy import SystemEntropy
from tests.shipped import ALSO, JOINED, contract_text, contracts, parcels, with_shipments
from tests.shipped import placed as orders_of
from tests.simulator import CN, EU, SHOP, UK, US, WAREHOUSES, Simulation

ORDERS = Read("orders", 1, ("amount", "customer_id", "order_id"))
SHIPMENTS = Read("shipments", 1, ("carrier", "cost", "customer_id", "order_id"))
RULE = """
@id("NODE-900")
@law("Policy of the node")
@en("Shipments are not asked about here")
@zh("此处不得查询运输数据")
@fix_en("ask of orders alone")
@fix_zh("请仅查询订单")
@override("")
forbid (principal, action == Action::"query", resource == Dataset::"shipments");
"""
CAP = """
@id("NODE-901")
@law("Policy of the node")
@en("Shipments are asked about cheaply here")
@zh("此处运输数据的查询价格有上限")
@fix_en("lower privacy.epsilon to 0.1")
@fix_zh("请将 privacy.epsilon 降至 0.1")
@override("privacy.epsilon=0.1")
forbid (principal, action == Action::"query", resource == Dataset::"shipments")
when { context.epsilon.greaterThan(decimal("0.1")) };
"""


@pytest.fixture
def shipping(simulation: Simulation) -> Simulation:
    return with_shipments(simulation)


def joined(simulation: Simulation, epsilon: str = "0.3", **terms):
    return simulation.query(epsilon, JOINED, **{"cohort": WAREHOUSES, **terms})


def everybody(simulation: Simulation) -> Simulation:
    """Lay down the folders of all that hold rows: explanations look at their books."""
    for member in simulation.home.holders():
        simulation.folder(member.party)
    return simulation


def ids(reply) -> set[str]:
    return {reason["id"] for reason in reply.body["reasons"]}


def sentences(reply) -> str:
    return " ".join(reason["en"] for reason in reply.body["reasons"])


# -- what an order says ----------------------------------------------------------------------------


def test_an_order_names_every_contract_with_its_columns(shipping):
    order = joined(shipping)
    assert order.reads == (ORDERS, SHIPMENTS)
    assert (order.contract, order.columns, order.further) == (
        "orders",
        ORDERS.columns,
        (SHIPMENTS,),
    )
    assert open_order(sign(shipping.home, order), shipping.roster).order == order


def test_an_order_of_one_contract_is_spelled_as_it_ever_was(shipping):
    alone = shipping.query(cohort=WAREHOUSES)
    assert "further" not in alone.to_json()
    assert alone.reads == (Read("orders", 1, alone.columns),)
    assert open_order(sign(shipping.home, alone), shipping.roster).order == alone


FURTHER = [{"contract": "shipments", "version": 1, "columns": ["cost"]}]


@pytest.mark.parametrize(
    "further",
    [
        [],
        {},
        None,
        "shipments",
        ["shipments"],
        [{"contract": "shipments", "version": 1}],
        [{**FURTHER[0], "more": 1}],
        [{**FURTHER[0], "version": True}],
        [{**FURTHER[0], "version": "1"}],
        [{**FURTHER[0], "columns": "cost"}],
        [{**FURTHER[0], "columns": [1]}],
        [*FURTHER, *FURTHER],
        [{**FURTHER[0], "contract": "orders"}],
    ],
)
def test_further_contracts_have_one_spelling_and_stand_once(shipping, further):
    order, key = joined(shipping), shipping.home.analyst_key()
    body = canonical.encode({**order.to_json(), "further": further})
    with pytest.raises(MalformedOrderError):
        open_order(key.sign(body) + body, shipping.roster)
    body = canonical.encode({**order.to_json(), "further": FURTHER})
    assert open_order(key.sign(body) + body, shipping.roster).order.further[0].columns == ("cost",)


def test_training_reads_one_contract(shipping):
    with pytest.raises(MalformedOrderError, match="only a query reads several contracts"):
        replace(shipping.training(), further=(SHIPMENTS,))


def test_another_contract_beside_makes_another_question(shipping):
    order = joined(shipping)
    assert is_same_question(order, replace(order, nonce="ab" * 16))
    for further in ((), (replace(SHIPMENTS, version=2),), (replace(SHIPMENTS, columns=()),)):
        assert not is_same_question(order, replace(order, further=further))


# -- what a node verifies --------------------------------------------------------------------------


def test_a_node_accepts_a_join_and_its_one_account_pays_once(shipping):
    order = joined(shipping)
    reply = shipping.offer(CN, order)
    assert reply.kind is Kind.ACCEPTED, reply.body
    (row,) = [row for row in shipping.books(CN).statement() if row.epsilon_pending]
    assert row.subjects == "customers"
    assert row.epsilon_pending == pytest.approx(float(order.epsilon), abs=1e-4)


@pytest.mark.parametrize(
    ("further", "sentence"),
    [
        ((), "not what its SQL means"),
        ((replace(SHIPMENTS, version=2),), "does not offer shipments version 2"),
        ((replace(SHIPMENTS, columns=SHIPMENTS.columns[:-1]),), "not what its SQL means"),
        ((replace(SHIPMENTS, columns=("nope",)),), "columns that shipments does not have"),
        ((Read("payments", 1, ()),), "names a party that holds no rows"),
        ((SHIPMENTS, Read("inventory", 1, ("sku",))), "does not offer inventory version 1"),
        ((SHIPMENTS, Read("demand", 1, ("week",))), "protects the unit commercial"),
    ],
)
def test_a_node_believes_no_contract_that_an_order_names(shipping, further, sentence):
    reply = shipping.offer(CN, replace(joined(shipping), further=further))
    assert reply.kind is Kind.REFUSED
    assert sentence in sentences(reply)
    assert not shipping.books(CN).open_orders()


def test_both_deltas_count_and_the_smaller_is_stated(shipping):
    text = contract_text("shipments", {"epsilon": "3.5", "delta": "1e-7"})
    (shipping.folder(CN) / "contract" / "shipments.toml").write_text(text, encoding="utf-8")
    assert str(stated_delta(tuple(contracts(shipping.folder(CN)).values()))) == "1E-7"
    reply = shipping.offer(CN, joined(shipping))
    assert "at delta 1E-7; the order says customer at 0.000001" in sentences(reply)


def test_the_law_is_asked_about_each_contract(shipping):
    order, judge = joined(shipping), shipping.node(CN)._judge
    asked = judge._attributes().each(order, from_json(order.event))
    assert {request.dataset for request in asked} == {"orders", "shipments"}
    places = {request.keyholder for request in asked}
    assert len(asked) == 2 * len(places) > 2
    assert {request.grouped for request in asked} == {frozenset({Grade.S1})}
    assert {request.aggregated for request in asked} == {frozenset({Grade.S2})}
    # By what names a person rows are linked and not chosen; other columns do both.
    assert {request.filtered for request in asked} == {frozenset()}
    assert {request.masked for request in asked} == {frozenset({Grade.S3})}
    by_place = JOINED.replace("USING (order_id,", "USING (ship_country,")
    order = shipping.query("0.3", by_place, cohort=WAREHOUSES)
    both = judge._attributes().of(order, from_json(order.event))
    assert (both.filtered, both.masked) == ({Grade.S1}, {Grade.S1, Grade.S3})


def test_a_rule_against_one_contract_refuses_the_join_alone(shipping):
    with (shipping.folder(CN) / "policy" / "node.cedar").open("a", encoding="utf-8") as law:
        law.write(RULE)
    order = joined(everybody(shipping))
    reply = shipping.offer(CN, order)
    assert reply.kind is Kind.REFUSED and ids(reply) == {"NODE-900"}
    assert not shipping.books(CN).open_orders()
    rules = {row["node"]: row for row in explanation(shipping.home, order)["rules"]}
    assert [reason["id"] for reason in rules[CN]["reasons"]] == ["NODE-900"]
    assert "NODE-900" in rules[CN]["decides"] and rules[EU]["permits"]
    alone = shipping.query("0.3", cohort=WAREHOUSES)
    assert shipping.offer(CN, alone).kind is Kind.ACCEPTED


def test_the_nearest_price_is_one_that_the_law_of_every_contract_accepts(shipping):
    with (shipping.folder(CN) / "policy" / "node.cedar").open("a", encoding="utf-8") as law:
        law.write(CAP)
    # The first contract's law refuses 0.9 above 0.5, the second's above 0.1.
    reply = shipping.offer(CN, joined(shipping, "0.9"))
    assert ids(reply) == {"NODE-002", "NODE-901"}
    assert reply.body["nearest"] == ["privacy.epsilon=0.1"]
    assert shipping.offer(CN, joined(shipping, "0.1")).kind is Kind.ACCEPTED


def test_everybody_in_a_joins_cohort_may_hold_all_of_it(shipping):
    order = joined(shipping)
    assert offering(["orders", "shipments"]) == (Role.WAREHOUSE,)
    assert offering(["orders", "payments"]) == (Role.PAYMENT_PARTNER, Role.MERCHANT)
    assert offering(["payments", "shipments"]) == offering(["goods"]) == offering([]) == ()
    # A merchant holds orders and no parcels: it has no row of the join, and hides nobody.
    wider = replace(order, cohort=(*order.cohort, SHOP))
    assert "names a party that holds no rows" in sentences(shipping.offer(CN, wider))
    keyholder = shipping.node(PartyId("keyholder-ch"))._judge
    keyholder.as_keyholder(open_order(sign(shipping.home, order), shipping.roster))
    with pytest.raises(RefusedWorkError, match="only parties that hold rows"):
        keyholder.as_keyholder(open_order(sign(shipping.home, wider), shipping.roster))


def test_who_asks_asks_those_that_offer_all_and_is_told_where_they_are_too_few(shipping):
    assert shipping.query("0.3", JOINED).cohort == WAREHOUSES
    text = "SELECT COUNT(*) AS n FROM orders JOIN payments USING (order_id, customer_id)"
    assert {shipping.roster.find(party).role for party in shipping.query("0.3", text).cohort} == {
        Role.PAYMENT_PARTNER,
        Role.MERCHANT,
    }
    with pytest.raises(OnePartyQueryError) as why:
        shipping.query("0.3", text, cohort=WAREHOUSES)
    assert "FROM orders and payments is a cell that too few organisations may hold" in str(
        why.value
    )
    assert "ask of orders alone, or read contracts that three" in str(why.value)
    assert "QUERY-002, a rule of the federation" in str(why.value)


def test_a_join_without_its_unit_is_told_what_would_pass(shipping):
    for said in ("USING (order_id)", "ON o.order_id = s.order_id"):
        text = f"SELECT COUNT(*) AS n FROM orders o JOIN shipments s {said}"
        with pytest.raises(UnsupportedQueryError) as why:
            shipping.query("0.3", text)
        assert "so rows of different customers would meet" in str(why.value)
        passes = str(why.value).split("this would pass: ")[1]
        assert "customer_id" in passes
        assert shipping.query("0.3", passes).reads[1].contract == "shipments"


# -- what it costs ---------------------------------------------------------------------------------


def texts(also: str = "", orders_also: str = ""):
    limits = {"epsilon": "3", "delta": "1e-6"}
    more = [Template(ALSO).substitute(epsilon=e) if e else "" for e in (orders_also, also)]
    more[0] = more[0].replace('"carrier"', '"counterparty_id"')
    return tuple(
        load_contract(contract_text(name, limits, text))
        for name, text in zip(("orders", "shipments"), more, strict=True)
    )


def test_shared_accounts_pay_once_and_others_each():
    event = Gaussian("5")
    (alone,) = charges_together(texts(), texts(), {}, event, 1)
    assert (alone.scope.subjects, alone.event) == ("customers", event)
    both = texts(also="2")
    customers, carriers = charges_together(both, both, {}, event, 1)
    assert (customers.scope.subjects, customers.event) == ("customers", event)
    assert (carriers.scope.subjects, carriers.scope.dataset) == ("carriers", "shipments")
    assert carriers.event == Grouped(event, 4)  # two customers, each changed


def test_a_unit_that_reaches_into_both_tables_reaches_the_customers_of_both():
    both = texts(also="2", orders_also="2")
    customers, carriers = charges_together(both, both, {}, Gaussian("5"), 1)
    assert customers.event == Gaussian("5")
    assert carriers.event == Grouped(Gaussian("5"), 8)
    assert groups_of(*both) == {"customers"}


def test_both_accounts_are_charged_when_the_answer_leaves(simulation):
    shipping = with_shipments(simulation, also="30")
    order = joined(shipping)
    assert shipping.offer(CN, order).kind is Kind.ACCEPTED
    pending = {row.subjects: row.epsilon_pending for row in shipping.books(CN).statement()}
    assert pending["customers"] == pytest.approx(float(order.epsilon), abs=1e-4)
    assert pending["carriers"] > 3 * pending["customers"]
    changed = {(row.node, row.scope.subjects) for row in what_if(shipping.home, order).accounts}
    assert changed == {(party, unit) for party in WAREHOUSES for unit in ("customers", "carriers")}


def test_a_spent_account_of_one_contract_refuses_and_nothing_is_set_aside(simulation):
    shipping = with_shipments(simulation, also="0.7")
    order = joined(everybody(shipping))
    told = explanation(shipping.home, order)["accounts"]
    assert {(row["subjects"], row["fits"]) for row in told} == {
        ("customers", True),
        ("carriers", False),
    }
    reply = shipping.offer(CN, order)
    assert reply.kind is Kind.REFUSED and ids(reply) == {"BUDGET-001"}
    assert "The account of carriers" in sentences(reply)
    assert all(row.epsilon_pending == 0 for row in shipping.books(CN).statement())
    # What it says would pass does, in both accounts.
    (setting,) = reply.body["nearest"]
    price = setting.removeprefix("privacy.epsilon=")
    assert shipping.offer(CN, joined(shipping, price)).kind is Kind.ACCEPTED


# -- which rows ------------------------------------------------------------------------------------


def exact(plan, order, folders) -> dict:
    """Return the exact bounded answer over the files of these nodes."""
    found = [
        evaluate_joined(plan, sources(order, folder), SystemEntropy()).values for folder in folders
    ]
    total = [sum(numbers) for numbers in zip(*found, strict=True)]
    return {row.keys[0]: row.cells for row in answer(plan, "0.000001", 3, total).rows}


def sources(order, folder, positions=(None, None)):
    offered = contracts(folder)
    return [
        Source(offered[read.contract], folder / "data" / offered[read.contract].table, places)
        for read, places in zip(order.reads, positions, strict=True)
    ]


POOLED = """
WITH met AS (
    SELECT carrier, cost, least(amount, 100) AS worth FROM orders o JOIN shipments s
    ON o.order_id = s.order_id AND o.customer_id = s.customer_id AND o.home = s.home
    QUALIFY row_number() OVER (PARTITION BY o.home, o.customer_id) <= 8
)
SELECT carrier, count(*), sum(cost), sum(worth) FROM met GROUP BY carrier
"""


def pooled(folders) -> dict:
    """Return what DuckDB says of the bounded rows of these nodes, put together."""
    with duckdb.connect(":memory:") as connection:
        for name in ("orders", "shipments"):
            rows = [pd.read_parquet(f / "data" / f"{name}.parquet") for f in folders]
            table = pd.concat([r.assign(home=at) for at, r in enumerate(rows)])
            connection.register(name, table)
        return {key: cells for key, *cells in connection.execute(POOLED).fetchall()}


def test_a_joined_partial_reads_a_file_for_each_contract(shipping):
    order = joined(shipping)
    folders = [shipping.folder(party) for party in WAREHOUSES]
    ours = exact(QueryTask.from_json(order.parameters).plan, order, folders)
    theirs = pooled(folders)
    assert set(theirs) == set(ours)
    for key, cells in theirs.items():
        assert [float(cell.value) for cell in ours[key]] == pytest.approx([float(x) for x in cells])
    bound = QueryTask.from_json(order.parameters).plan.child.child.rows
    met = pd.read_parquet(folders[0] / "data" / "shipments.parquet").groupby("customer_id").size()
    assert bound == 8 and (met > bound).any()  # the bound leaves rows out


def test_one_customer_taken_out_of_both_files_moves_no_sum_beyond_its_sensitivity(shipping):
    order, folder = joined(shipping), shipping.folder(CN)
    plan = QueryTask.from_json(order.parameters).plan
    whole = evaluate_joined(plan, sources(order, folder), SystemEntropy()).values
    customers = (
        pq.read_table(folder / "data" / "orders.parquet")["customer_id"].unique().to_pylist()
    )
    moved = []
    for gone in customers[:8]:
        kept = [
            np.flatnonzero(pq.read_table(source.data)["customer_id"].to_numpy() != gone).astype(
                np.int64
            )
            for source in sources(order, folder)
        ]
        rest = evaluate_joined(plan, sources(order, folder, kept), SystemEntropy()).values
        before, after = layout(plan, whole), layout(plan, rest)
        for measure in measures(plan):
            gap = [a - b for a, b in zip(before[measure], after[measure], strict=True)]
            assert sum(x * x for x in gap) <= squared(plan, measure)
            moved.append(sum(map(abs, gap)))
    assert any(moved)


def grown(folder: Path) -> tuple[int, int]:
    """Let as many orders and parcels come in again, and a new year; return how many there were."""
    for name in ("orders", "shipments"):
        path = folder / "contract" / f"{name}.toml"
        text = path.read_text(encoding="utf-8").replace('window = "2025"', 'window = "2026"')
        path.write_text(text, encoding="utf-8")
    before = orders_of(0)
    more = before.assign(order_id=before["order_id"] + 7 * 3 * 10**16)
    sent, new = parcels(before), parcels(more)
    pd.concat([before, more]).to_parquet(folder / "data" / "orders.parquet")
    new["shipment_id"] += 10**6
    pd.concat([sent, new]).to_parquet(folder / "data" / "shipments.parquet")
    return len(before), len(sent)


def test_only_paid_windows_are_read_of_each_contract(shipping):
    """Rows that came in later belong to a later window, in both tables.

    Parcels are known by other keys than orders, and so the new ones are of all windows so far.
    """
    folder, order = shipping.folder(CN), joined(shipping)
    plan = QueryTask.from_json(order.parameters).plan
    before = evaluate_joined(plan, sources(order, folder), SystemEntropy())
    shipping.node(CN)  # what lies there is booked under 2025
    placed, sent = grown(folder)
    node = shipping.restart(CN)

    def read(*windows):
        asked = joined(shipping, "0.05", windows=windows)
        agreed = node._judge.consider(open_order(sign(shipping.home, asked), shipping.roster))
        assert not isinstance(agreed, Refusal), agreed
        assert paid_windows(agreed.reservation) == {"customers": {*(windows or ("2025", "2026"))}}
        places = tuple(readable.positions for readable in node._readables(agreed))
        return places, evaluate_joined(plan, sources(order, folder, places), SystemEntropy())

    places, found = read("2025")
    assert [list(part) for part in places] == [list(range(placed)), list(range(sent))]
    assert found == before
    places, found = read("2026")
    assert [list(part) for part in places] == [list(range(placed, 2 * placed)), []]
    assert not any(found.values)
    places, found = read()
    assert places == (None, None) and sum(found.values) > sum(before.values)


def test_a_file_that_is_no_table_is_named_among_those_that_are_read(shipping):
    order, folder = joined(shipping), shipping.folder(CN)
    (folder / "data" / "shipments.parquet").write_bytes(b"secret 12345")
    plan = QueryTask.from_json(order.parameters).plan
    with pytest.raises(Exception, match=r"of contract orders and shipments could not be") as why:
        evaluate_joined(plan, sources(order, folder), SystemEntropy())
    assert "12345" not in str(why.value)


# -- from the question to its answer ---------------------------------------------------------------


def test_a_node_that_lacks_one_contract_is_left_out_and_the_others_answer(simulation):
    shipping = with_shipments(simulation, lacking=(US,))
    order = joined(everybody(shipping), "0.5")
    told = explanation(shipping.home, order)
    assert {row["node"] for row in told["accounts"]} == {CN, EU, UK}
    rules = {row["node"]: row for row in told["rules"]}
    assert not rules[US]["permits"] and rules[CN]["permits"]
    (reason,) = rules[US]["reasons"]
    assert reason["en"] == (
        "this node does not offer shipments version 1, so it has no row of the question and is "
        "left out"
    )
    reply = shipping.offer(US, order)
    assert ids(reply) == {"ORDER-001"}
    assert "this node does not offer shipments version 1" in sentences(reply)
    job = shipping.run(order)
    assert job.status == "done", job.result
    assert job.result["parties"] == sorted((CN, EU, UK))
    (offered,) = shipping.notes(order, "offered")
    assert offered["declined"] == 1
    for party in (CN, EU, UK):
        (row,) = [row for row in shipping.books(party).statement() if row.releases]
        assert (row.subjects, row.releases) == ("customers", 1)
    right = pooled([shipping.folder(party) for party in (CN, EU, UK)])
    for row in job.result["answer"]["rows"]:
        for cell, exact_value in zip(row["cells"], right[row["keys"][0]], strict=True):
            assert abs(float(cell["value"]) - float(exact_value)) <= 3 * float(cell["error"])
    # Asked again it is the same release, and costs nothing.
    again = shipping.run(joined(shipping, "0.5"))
    assert again.status == "done" and again.result["reused"]["run"] == order.id
    (row,) = [row for row in shipping.books(CN).statement() if row.releases]
    assert row.releases == 1


OPENED: list[str] = []
LISTENING = [False]


def _hear(event: str, arguments: tuple) -> None:
    if LISTENING[0] and event == "open":
        OPENED.append(str(arguments[0]))


sys.addaudithook(_hear)  # it stays for as long as the process does, and says nothing by itself


def test_an_explanation_names_accounts_columns_and_rules_and_opens_no_table(
    simulation, monkeypatch
):
    shipping = with_shipments(simulation, also="30")
    monkeypatch.setattr(duckdb, "connect", lambda *_, **__: pytest.fail("a table was queried"))
    order = joined(everybody(shipping))
    OPENED.clear()
    LISTENING[0] = True
    try:
        value = explanation(shipping.home, order)
    finally:
        LISTENING[0] = False
    assert any("contract" in Path(path).parts for path in OPENED)  # the hook hears
    assert not [path for path in OPENED if "data" in Path(path).parts]
    assert value["reads"] == [
        {"contract": read.contract, "version": 1, "columns": list(read.columns)}
        for read in (ORDERS, SHIPMENTS)
    ]
    assert [(row["node"], row["subjects"]) for row in value["accounts"]] == [
        (party, subjects) for party in WAREHOUSES for subjects in ("customers", "carriers")
    ]
    assert all(row["permits"] and row["decides"] for row in value["rules"])
    json.dumps(value)
