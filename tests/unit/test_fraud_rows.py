"""Fraud rows read their own customer only, know no later label, and say what a role lacks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clients.training.fraud import BOUND, DAY_US, FEATURES, fraud_features, fraud_rows
from clients.training.plain import fit, pooled
from clients.training.sampling import UnitRows, gather_units
from experiments.commerce.parties import FRAUD_PARTIES, ROLE_COLUMNS
from experiments.commerce.write import Manifest, generate
from experiments.fraud_data import FraudSplit, fraud_split, mean_base_rate, mean_precision
from federation.models import ModelSpec, forward
from policies.contracts import DataContract, load_contract
from policies.parties import Role
from tests.seeded import SeededEntropy

NAMES = list(FEATURES)
MODEL = ModelSpec((len(FEATURES), 1))


@pytest.fixture(scope="module")
def contract() -> DataContract:
    path = Path(__file__).parents[2] / "experiments" / "parties" / "contracts" / "orders.toml"
    text = path.read_text(encoding="utf-8")
    return load_contract(text.replace("${epsilon}", "4").replace("${delta}", "1e-6"))


@pytest.fixture(scope="module")
def table(commerce: Manifest) -> pd.DataFrame:
    return pd.read_parquet(commerce.orders("payments-eu"))


def column(features: np.ndarray, name: str) -> np.ndarray:
    raw = features[:, NAMES.index(name)] / FEATURES[name].scale + FEATURES[name].centre
    return np.round(raw, 5)


def test_without_one_customer_no_other_row_changes(table, contract):
    whole = fraud_features(table, contract)
    for customer in table["customer_id"].drop_duplicates()[:40]:
        rest = (table["customer_id"] != customer).to_numpy()
        assert np.array_equal(fraud_features(table[rest], contract), whole[rest])


def test_the_order_of_the_rows_changes_nothing(table, contract):
    shuffled = np.random.default_rng(1).permutation(len(table))
    whole = fraud_features(table, contract)
    assert np.array_equal(fraud_features(table.iloc[shuffled], contract), whole[shuffled])


def test_history_counts_what_came_strictly_before(table, contract):
    features = fraud_features(table, contract)
    ts = table["ts"].to_numpy("datetime64[us]").astype(np.int64)
    customer, shop = table["customer_id"].to_numpy(), table["counterparty_id"].to_numpy()
    for row in range(0, len(table), 7):
        own = (customer == customer[row]) & (ts < ts[row])
        assert column(features, "new_here")[row] == (not own.any())
        for days in (1, 7, 30):
            recent = own & (ts >= ts[row] - days * DAY_US)
            wanted = min(np.log1p(recent.sum()) / np.log1p(20), 1)
            assert column(features, f"count_{days}d")[row] == pytest.approx(wanted, abs=1e-4)
        pair = own & (shop == shop[row]) & (ts >= ts[row] - 7 * DAY_US)
        wanted = min(np.log1p(pair.sum()) / np.log1p(20), 1)
        assert column(features, "pair_count_7d")[row] == pytest.approx(wanted, abs=1e-4)


def test_every_feature_reads_only_columns_of_the_contract_and_never_the_label(contract):
    known = {item.name for item in contract.columns}
    for feature in FEATURES.values():
        assert set(feature.reads) <= known
        assert not {"label_fraud", "label_ts"} & set(feature.reads)


def test_a_feature_changes_only_with_the_columns_that_it_declares(table, contract):
    before = fraud_features(table, contract)
    swaps = {
        "amount": lambda x: x * 3 + 1,
        "counterparty_id": lambda x: x * 0 + 1,
        "first_order": lambda x: 1 - x,
        "card_country": lambda x: x.where(x == "DE", "MX"),
        "ip_country": lambda x: x.where(x == "DE", "MX"),
        "ship_country": lambda x: x.where(x == "DE", "MX"),
        "label_fraud": lambda x: 1 - x,
    }
    for name, change in swaps.items():
        after = fraud_features(table.assign(**{name: change(table[name])}), contract)
        moved = {NAMES[i] for i in np.flatnonzero((before != after).any(axis=0))}
        assert moved <= {key for key, feature in FEATURES.items() if name in feature.reads}


def test_columns_that_a_role_lacks_are_zero_with_a_mask(table, contract):
    lacking = table[list(ROLE_COLUMNS[Role.WAREHOUSE])]
    features = fraud_features(lacking, contract)
    for name in ("knows_card", "knows_ip", "card_is_not_ip", "card_is_not_ship", "abroad"):
        assert (column(features, name) == 0).all()
    assert (column(fraud_features(table, contract), "knows_card") == 1).all()


def test_features_stay_within_their_public_bound(commerce, contract):
    for party in commerce.parties:
        features = fraud_features(pd.read_parquet(commerce.orders(party)), contract)
        assert features.dtype == np.float32
        assert np.abs(features).max() <= BOUND


def test_a_label_that_arrives_later_counts_as_none(table, contract):
    late = table["label_ts"].dropna().sort_values().iloc[-1]
    cut = late.value // 1000
    known = fraud_rows(table, contract, cut)
    later = fraud_rows(table, contract, cut + 1)
    assert len(known.targets) == (table["ts"] < late).sum()
    assert later.targets.sum() == known.targets.sum() + (table["label_ts"] == late).sum()


def gathered(splits: list[FraudSplit]) -> list[UnitRows]:
    return [
        gather_units(s.train.features, s.train.targets, s.train.units, 8, SeededEntropy(i))
        for i, s in enumerate(splits)
    ]


def gap(folder: Path, contract: DataContract, heterogeneity: float) -> tuple[float, float, float]:
    """Base rate, local only and pooled average precision without noise."""
    made = generate("small", 7, folder, heterogeneity=heterogeneity)
    truth = made.truth / "orders"
    splits = [
        fraud_split(p, made.orders(p), truth / f"{p}.parquet", contract, made.cut_us)
        for p in FRAUD_PARTIES
    ]
    rows = gathered(splits)

    def score(*weights: np.ndarray) -> float:
        pairs = zip(splits, weights, strict=True)
        return mean_precision(
            splits, {s.party: forward(MODEL, w, s.test_features) for s, w in pairs}
        )

    def train(units: UnitRows) -> np.ndarray:
        start, parts = MODEL.init(1), max(1, len(units) // 1200)
        return fit(start, units, MODEL, "bce", learning_rate=0.1, decay=0.0, parts=parts)

    whole = train(pooled(rows))
    return mean_base_rate(splits), score(*map(train, rows)), score(*[whole] * len(splits))


@pytest.mark.slow
def test_one_knob_decides_whether_the_rows_of_others_help(tmp_path, contract):
    base, local, joint = gap(tmp_path / "waves", contract, 0.0)
    assert base < 0.02 < local - 0.05
    assert joint - local > 0.1
    base, local, joint = gap(tmp_path / "apart", contract, 1.0)
    assert joint < local
