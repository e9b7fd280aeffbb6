"""The generator's own check: what a counterparty's past says, and what both sides find together."""

import numpy as np
import pandas as pd
import pytest

from experiments.vertical_check import LEAST, counterparty_columns, holds, self_check

DAY = pd.Timedelta(days=1)
START = pd.Timestamp("2025-01-06 12:00")


def table(*rows):
    """Return payments as (shop, day, day of the report or None)."""
    return pd.DataFrame(
        {
            "counterparty_id": [shop for shop, _, _ in rows],
            "ts": [START + day * DAY for _, day, _ in rows],
            "label_fraud": [int(told is not None) for _, _, told in rows],
            "label_ts": [pd.NaT if told is None else START + told * DAY for _, _, told in rows],
        }
    )


def test_a_fraud_counts_at_its_counterparty_from_its_report_on():
    rows = [(1, 0, 3), (1, 2, None), (1, 4, None), (2, 4, None), (1, 20, None)]
    frauds = np.expm1(counterparty_columns(table(*rows))[:, 2::2])
    np.testing.assert_allclose(frauds, [[0] * 3, [0] * 3, [1] * 3, [0] * 3, [0, 1, 1]], atol=1e-12)


def test_a_row_counts_nothing_of_itself_or_of_what_comes_later():
    rows = [(1, 0, 3), (1, 2, 9), (2, 3, None), (1, 4, None)]
    whole = counterparty_columns(table(*rows))
    for last in range(1, len(rows)):
        np.testing.assert_array_equal(counterparty_columns(table(*rows[:last])), whole[:last])
    assert whole[0, 0] == -1 and whole[3, 1] == pytest.approx(2 / 30 - 1)


@pytest.mark.parametrize(
    ("issuer", "merchant", "joint", "good"),
    [
        (0.4, 0.5, 0.6, True),
        (0.4, 0.44, 0.6, False),
        (0.4, 0.5, 0.54, False),
        (0.6, 0.5, 0.7, False),
    ],
)
def test_every_row_has_to_be_above_the_one_before(issuer, merchant, joint, good):
    assert holds({"issuer": issuer, "merchant": merchant, "joint": joint}) is good


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_generated_fraud_is_found_jointly_as_by_neither_side_alone(tmp_path):
    found = self_check(tmp_path)
    assert holds(found), found
    assert found["issuer"] + LEAST <= found["merchant"] <= found["joint"] - LEAST
