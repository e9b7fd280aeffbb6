"""The synthetic commerce keeps its word: same seed, one home per order, a truth apart."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from experiments.commerce.orders import FIRST_ORDER_ID
from experiments.commerce.parties import DEMO_PARTIES, ROLE_COLUMNS
from experiments.commerce.world import CANARIES
from experiments.commerce.write import Manifest, generate, open_manifest
from policies.conformance import conform
from policies.contracts import load_contract
from policies.parties import Role

CONTRACTS = Path(__file__).parents[2] / "experiments" / "parties" / "contracts"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return generate("tiny", 11, tmp_path_factory.mktemp("tiny"))


def orders(manifest: Manifest) -> dict[str, pd.DataFrame]:
    return {party: pd.read_parquet(manifest.orders(party)) for party in manifest.parties}


def truth(manifest: Manifest) -> dict[str, pd.DataFrame]:
    folder = manifest.truth / "orders"
    return {party: pd.read_parquet(folder / f"{party}.parquet") for party in manifest.parties}


def read_json(manifest: Manifest, name: str) -> dict:
    return json.loads((manifest.truth / name).read_text(encoding="utf-8"))


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tiny, tmp_path):
    again = generate("tiny", 11, tmp_path / "again")
    other = generate("tiny", 12, tmp_path / "other")
    assert all_bytes(again.folder) == all_bytes(tiny.folder)
    assert all_bytes(other.folder)["manifest.json"] != all_bytes(tiny.folder)["manifest.json"]


def test_every_order_belongs_to_exactly_one_party(tiny):
    ids = pd.concat([table["order_id"] for table in orders(tiny).values()])
    assert ids.is_unique
    assert 4_500 <= len(ids) <= 5_700


def payments(manifest: Manifest) -> dict[str, pd.DataFrame]:
    paths = {party: manifest.payments(party) for party in manifest.parties}
    return {party: pd.read_parquet(path) for party, path in paths.items() if path is not None}


def test_payment_partners_and_merchants_keep_what_was_paid_for_their_orders(tiny):
    found, placed = payments(tiny), orders(tiny)
    roles = {party: said["role"] for party, said in tiny.document["parties"].items()}
    assert {roles[party] for party in found} == {Role.PAYMENT_PARTNER, Role.MERCHANT}
    assert len(found) == sum(role != Role.WAREHOUSE for role in roles.values()) == 4
    for party, table in found.items():
        both = table.merge(placed[party], on=["order_id", "customer_id"], suffixes=("", "_placed"))
        assert len(both) == len(table) > len(placed[party])  # of its own orders, some several times
        assert set(table["order_id"]) == set(placed[party]["order_id"])
        assert (both["amount"].abs() == both["amount_placed"]).all()
        back = table["status"].isin(["refunded", "charged back"])
        assert (back == (table["amount"] < 0)).all() and 0 < back.mean() < 0.2
        reported = both["status"] == "charged back"
        assert (both.loc[reported, "label_fraud"] == 1).all() and reported.any()
        assert (table["fee"] <= table["amount"].abs()).all()
        assert table["attempts"].between(1, 10).all()
        assert ("card_country" in table) == (roles[party] == Role.PAYMENT_PARTNER)
    assert pd.concat(found.values())["payment_id"].is_unique


def test_the_manifest_says_what_the_files_hold(tiny):
    assert open_manifest(tiny.folder).document == tiny.document
    for party, described in tiny.document["parties"].items():
        rows = described["tables"]["orders"]["rows"]
        assert rows == pq.read_metadata(tiny.orders(party)).num_rows
        assert ("demand" in described["tables"]) == (described["role"] == Role.WAREHOUSE)


def test_a_party_has_the_columns_of_its_role_in_order_of_time(tiny):
    for seat in DEMO_PARTIES:
        table = pd.read_parquet(tiny.orders(seat.party))
        assert tuple(table.columns) == ROLE_COLUMNS[seat.role]
        assert table["ts"].is_monotonic_increasing


def test_nothing_of_the_truth_is_a_column_of_a_party(tiny):
    for table in orders(tiny).values():
        assert not {"scenario", "fraud", "friendly", "member"} & set(table.columns)


@pytest.mark.parametrize("name", ["orders", "demand", "payments"])
def test_the_tables_conform_to_the_contracts(tiny, name):
    text = (CONTRACTS / f"{name}.toml").read_text(encoding="utf-8")
    contract = load_contract(text.replace("${epsilon}", "4").replace("${delta}", "1e-6"))
    for path in tiny.folder.glob(f"parties/*/data/{name}.parquet"):
        renamed = {"RETAILER": "retailer", "VOLUME": "volume", "DISP": "display", "PRICE": "price"}
        schema = {renamed.get(f.name, f.name): str(f.type) for f in pq.read_schema(path)}
        conform(contract, schema, empty=False)


def test_values_stay_in_the_public_domains(tiny):
    contract = load_contract(
        (CONTRACTS / "orders.toml")
        .read_text(encoding="utf-8")
        .replace("${epsilon}", "4")
        .replace("${delta}", "1e-6")
    )
    for table in orders(tiny).values():
        for column in contract.columns:
            if column.domain and column.name in table.columns:
                assert set(table[column.name]) <= set(column.domain)


def test_labels_arrive_after_3_to_60_days_and_never_after_the_end(tiny):
    for table in orders(tiny).values():
        labelled = table[table["label_ts"].notna()]
        delay = (labelled["label_ts"] - labelled["ts"]).dt.total_seconds() / 86_400
        assert delay.between(3, 60).all()
        assert (labelled["label_fraud"] == 1).all()
        assert (table.loc[table["label_ts"].isna(), "label_fraud"] == 0).all()
        ends = labelled["label_ts"].to_numpy("datetime64[us]").astype(np.int64)
        assert (ends < tiny.document["end_us"]).all()


def test_canaries_stand_among_the_rows_exactly_once(tiny):
    planted = read_json(tiny, "canaries.json")
    tables = orders(tiny)
    everything = pd.concat(tables.values())
    for party, canaries in planted.items():
        assert len(canaries) == CANARIES
        for canary in canaries:
            assert len(str(canary["id"])) >= 15
            for table, count in ((everything, 1), (tables[party], 1)):
                row = table[table["order_id"] == canary["id"]]
                assert len(row) == count
                assert (table["amount"] == canary["amount"]).sum() == 1
                assert f"{row['ts'].iloc[0]}" == canary["timestamp_text"]
                assert row["ts"].iloc[0].value // 1000 == canary["timestamp_us"]


def test_no_other_row_looks_like_a_canary(tiny):
    for table in orders(tiny).values():
        plain = table[table["order_id"] < 10**15]
        assert (plain["order_id"] >= FIRST_ORDER_ID).all()
        assert (plain["ts"].dt.microsecond % 1000 == 0).all()
        assert np.allclose(plain["amount"] * 100, np.round(plain["amount"] * 100))


def test_the_overlap_of_customers_is_the_truth(tiny):
    customers = {party: set(table["customer_id"]) for party, table in orders(tiny).items()}
    told = read_json(tiny, "overlap.json")
    for one, other in combinations(tiny.parties, 2):
        assert told[f"{one} & {other}"] == len(customers[one] & customers[other])
    assert sum(told.values()) > 0


def test_known_members_are_in_the_rows_and_known_non_members_are_not(tiny):
    for party, table in orders(tiny).items():
        known = pd.read_parquet(tiny.truth / "membership" / f"{party}.parquet")
        members = known[known["member"] == 1]
        absent = known[known["member"] == 0]
        assert set(members["order_id"]) <= set(table["order_id"])
        assert not set(absent["customer_id"]) & set(table["customer_id"])
        assert len(members) and len(absent)


def test_a_poisoned_party_calls_frauds_honest_and_the_others_do_not_change(tiny, tmp_path):
    bad = generate("tiny", 11, tmp_path, poisoned="payments-eu")
    assert read_json(bad, "world.json")["poisoned"] == "payments-eu"
    for party in tiny.parties:
        same = bad.orders(party).read_bytes() == tiny.orders(party).read_bytes()
        assert same == (party != "payments-eu")
    table = orders(bad)["payments-eu"]
    known = truth(bad)["payments-eu"].set_index("order_id").loc[table["order_id"]]
    accused = (table["label_fraud"] == 1).to_numpy()
    assert accused.any()
    assert not known["fraud"].to_numpy()[accused].any()


def test_impossible_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not among the parties"):
        generate("tiny", 1, tmp_path, poisoned="nobody")
    with pytest.raises(ValueError, match="between 0 and 1"):
        generate("tiny", 1, tmp_path, heterogeneity=1.5)


def test_warehouses_hold_weekly_demand_and_the_newcomer_a_short_history(tiny):
    weeks = {}
    for seat in DEMO_PARTIES:
        if seat.role is Role.WAREHOUSE:
            table = pd.read_parquet(tiny.data(seat.party) / "demand.parquet")
            assert list(table.columns) == ["RETAILER", "week", "VOLUME", "DISP", "PRICE"]
            assert not table.duplicated(["RETAILER", "week"]).any()
            assert table["DISP"].between(0, 1).all()
            assert (table["VOLUME"] > 0).all()
            weeks[seat.party] = table["week"].nunique()
    assert weeks["warehouse-uk"] == 21
    assert min(count for party, count in weeks.items() if party != "warehouse-uk") > 50


@pytest.mark.slow
def test_fraud_is_rare_and_a_few_honest_orders_are_reported(tmp_path):
    manifest = generate("small", 7, tmp_path)
    known = pd.concat(truth(manifest).values())
    assert 190_000 <= len(known) <= 215_000
    assert 0.003 <= known["fraud"].mean() <= 0.01
    assert set(known.loc[known["fraud"] == 1, "scenario"]) == set("abcdef")
    assert (known.loc[known["fraud"] == 0, "scenario"] == "").all()
    assert 0.008 <= known["friendly"].sum() / known["fraud"].sum() <= 0.025


def test_frauds_strike_a_few_counterparties_only_where_that_is_wanted(tiny, tmp_path):
    struck = generate("tiny", 11, tmp_path, struck=0.9)
    for made, few in ((tiny, False), (struck, True)):
        known = pd.read_parquet(made.truth / "orders" / "payments-eu.parquet")
        orders = pd.read_parquet(made.orders("payments-eu"))
        shops = orders["counterparty_id"][known["fraud"].to_numpy() == 1]
        assert (shops.value_counts(normalize=True).iloc[0] > 0.5) == few
        assert ("struck" in json.loads((made.truth / "world.json").read_text())) == few
