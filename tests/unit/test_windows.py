"""Windows through a whole node: what it reads is what it pays for, whatever the labels say."""

import dataclasses
import sqlite3

import pandas as pd
import pytest

from clients.queries import partial
from experiments.errors import UsageError
from experiments.ordering import Terms, query_order, training_order
from experiments.querying import read_terms
from federation.ledger.entries import EntryKind, encode
from federation.messages import Kind
from federation.tasks import TrainingTask
from tests.simulator import CN, EU, UK, recipe

COHORT = (CN, EU, UK)
COUNT = "SELECT COUNT(*) FROM orders"


@pytest.fixture
def read(monkeypatch):
    """What every partial summed up before its noise; no node ever shows this."""
    seen, real = [], partial.evaluate_joined

    def spied(*given, **more):
        seen.append(real(*given, **more))
        return seen[-1]

    monkeypatch.setattr(partial, "evaluate_joined", spied)
    return seen


def relabel(simulation, label, *parties, old="2025", what="window"):
    for party in parties or COHORT:
        path = simulation.folder(party) / "contract" / "orders.toml"
        path.write_text(path.read_text().replace(f'{what} = "{old}"', f'{what} = "{label}"'))
        simulation.restart(party)


def add_rows(simulation, count, ts="2025-03-01", parties=COHORT):
    """Each party gets new orders of customers that it has not seen."""
    for party in parties:
        path = simulation.folder(party) / "data" / "orders.parquet"
        table = pd.read_parquet(path)
        new = table.iloc[:count].assign(
            order_id=range(10, 10 + count),
            customer_id=range(9000, 9000 + count),
            ts=pd.Series([pd.Timestamp(ts)] * count, dtype="datetime64[us]"),
        )
        pd.concat([table, new], ignore_index=True).to_parquet(path)


def ask(simulation, *windows, sql=COUNT):
    order = simulation.query("0.3", sql, cohort=COHORT, windows=windows, source="fresh")
    return simulation.run(order)


def accounts(simulation, party=CN):
    """Releases of every account over customers, by window."""
    rows = simulation.books(party).statement()
    return {row.window: row.releases for row in rows if "orders" in row.dataset}


def test_a_label_changed_after_spending_leaves_old_rows_where_they_are(simulation, read):
    assert ask(simulation).status == "done"
    relabel(simulation, "2026")
    add_rows(simulation, 5)
    assert ask(simulation, "2026").status == "done"
    assert accounts(simulation) == {"2025": 1, "2026": 1}
    assert ask(simulation, "2025").status == "done"
    assert accounts(simulation) == {"2025": 2, "2026": 1}
    assert ask(simulation).status == "done"
    assert accounts(simulation) == {"2025": 3, "2026": 2}
    counts = [partial.values[0] for partial in read]
    old, new, named, both = (set(counts[place : place + 3]) for place in range(0, 12, 3))
    assert new == {5} and old == named and both == {count + 5 for count in old}


def test_a_spent_account_stays_spent_under_a_new_label(simulation):
    relabel(simulation, "0.4", old="3.5", what="epsilon")
    assert ask(simulation).status == "done"
    assert ask(simulation).status == "refused"
    relabel(simulation, "2026")
    assert ask(simulation, "2025").status == "refused"
    assert ask(simulation).status == "refused"  # reads old rows as well
    add_rows(simulation, 5)
    assert ask(simulation, "2026").status == "done"
    assert accounts(simulation) == {"2025": 1, "2026": 1}


def test_an_old_copy_of_the_file_of_rows_opens_no_fresh_account(simulation, read):
    assert ask(simulation).status == "done"
    file = simulation.folder(CN) / "ingestion.sqlite"
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = file.read_bytes()
    add_rows(simulation, 5)
    assert ask(simulation).status == "done"
    simulation.restart(CN)
    for path in file.parent.glob("ingestion.sqlite*"):
        path.unlink()
    file.write_bytes(copy)
    relabel(simulation, "2026")
    read.clear()
    assert ask(simulation, "2026").status == "done"
    assert {partial.values[0] for partial in read} == {0}


@pytest.mark.parametrize("year", [1970, 2020, 2031])
def test_back_dated_rows_are_new_rows(simulation, read, year):
    ask(simulation)
    relabel(simulation, "2026")
    add_rows(simulation, 4, ts=f"{year}-01-01")
    read.clear()
    ask(simulation, "2026")
    assert [partial.values[0] for partial in read] == [4, 4, 4]


@pytest.mark.parametrize("years", [-5, 5])
def test_the_clock_opens_no_window(simulation, years):
    simulation.node(CN)
    simulation.later = years * 365 * 86_400
    add_rows(simulation, 5, parties=(CN,))
    simulation.restart(CN)
    assert simulation.books(CN).windows()["customers"] == ("2025",)
    node = simulation.node(CN)
    contract = node._judge.contracts["orders"]
    table = simulation.folder(CN) / "data" / "orders.parquet"
    windows = {**simulation.books(CN).windows(), "customers": ("2025", "2026")}
    found = {
        label: node._ingestion.readable(
            contract, table, windows, {"customers": frozenset({label})}
        ).positions
        for label in ("2025", "2026")
    }
    assert [len(found["2025"]), len(found["2026"])] == [len(pd.read_parquet(table)), 0]


def test_an_opened_window_stands_in_the_ledger_with_its_place(simulation):
    simulation.node(CN)
    relabel(simulation, "2026", CN)
    relabel(simulation, "2025", CN, old="2026")
    opened = [e.body for e in simulation.books(CN).entries() if e.kind is EntryKind.WINDOW_OPENED]
    places = [(b["window"], b["sequence"]) for b in opened if b["subjects"] == "customers"]
    assert places == [("2025", 1), ("2026", 2)]


def test_nothing_of_a_key_leaves_the_folder_or_stands_in_the_ledger(simulation):
    simulation.node(CN)
    before = len(simulation.books(CN).entries())
    simulation.restart(CN)
    usual = len(simulation.books(CN).entries()) - before
    for count in (3, 100):
        add_rows(simulation, count, parties=(CN,))
        simulation.restart(CN)
    # An entry says that rows came in, and neither which nor how many.
    entries = simulation.books(CN).entries()
    assert len(entries) == before + 3 * usual + 2
    said = [e for e in entries if e.kind is EntryKind.INGESTED][-2:]
    assert {e.body["subjects"] for e in said} == {"customers"}
    assert len(encode(said[0])) == len(encode(said[1]))
    assert said[0].body != said[1].body
    secret = (simulation.folder(CN) / "keys" / "ingestion.key").read_bytes()
    assert len(secret) == 32
    ask(simulation)
    assert all(secret not in letter.wire for letter in simulation.mail.said)


def test_a_window_that_was_never_opened_is_refused_with_those_that_were(simulation):
    order = simulation.query("0.3", COUNT, cohort=COHORT, windows=("2031",))
    with simulation.nothing_happens(CN), simulation.without_rows(CN):
        reply = simulation.offer(CN, order)
    assert reply.kind is Kind.REFUSED
    assert "2031" in reply.body["reasons"][0]["en"] and "2025" in reply.body["reasons"][0]["en"]


def test_rows_that_come_between_acceptance_and_work_under_a_new_label_are_not_read(
    simulation, read
):
    """The reservation pays in the windows that were open then."""
    order = simulation.query("0.3", COUNT, cohort=COHORT)
    for party in COHORT:
        assert simulation.offer(party, order).kind is Kind.ACCEPTED
    size = len(pd.read_parquet(simulation.folder(CN) / "data" / "orders.parquet"))
    for party in COHORT:
        simulation.node(party)._books.open_window("customers", "2026")
    add_rows(simulation, 5)
    assert simulation.run(order).status == "done"
    assert max(partial.values[0] for partial in read) <= size
    assert accounts(simulation) == {"2025": 1}


# -- training --------------------------------------------------------------------------------------


def test_training_names_no_windows(simulation):
    task = TrainingTask("demand", 1, 0, recipe())
    with pytest.raises(UsageError, match="leave windows out"):
        training_order(
            simulation.home, task, Terms(purpose="demand_forecasting", windows=("2025",))
        )
    order = dataclasses.replace(simulation.training(), windows=("2025",))
    with simulation.nothing_happens(CN), simulation.without_rows(CN):
        reply = simulation.offer(CN, order)
    assert reply.kind is Kind.REFUSED
    assert "leave windows out" in reply.body["reasons"][0]["en"]


# -- the command line ------------------------------------------------------------------------------


def test_windows_on_the_command_line(simulation):
    _, terms = read_terms(["windows=2025, 2026,2025,"])
    assert terms.windows == ("2025", "2026")
    assert read_terms([])[1].windows == ()
    assert query_order(simulation.home, COUNT, "0.3", terms).windows == ("2025", "2026")


def test_parties_on_the_command_line():
    _, terms = read_terms(["cohort.parties=warehouse-eu, warehouse-uk,warehouse-eu"])
    assert terms.cohort == ("warehouse-eu", "warehouse-uk")
    assert read_terms([])[1].cohort == ()
