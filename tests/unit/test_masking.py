"""Grade and purpose decide what may be read, what only masked, and what never; masks hold that."""

import hashlib
import hmac
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.training.demand import DemandBounds, demand_rows
from clients.training.fraud import fraud_rows
from clients.training.tables import EVER
from experiments.ordering import published_contracts
from federation.tasks import KEYS_ONLY
from policies import masking
from policies.errors import ForbiddenUseError
from policies.masking import MASKABLE_FOR, Mask, mask_for, use_of
from policies.parties import Grade
from tests.simulator import demand_table, orders_table

KEY = b"k" * 32
texts = st.text(max_size=12)


def keyed(key: bytes = KEY) -> Callable[[bytes], bytes]:
    return lambda data: hmac.digest(key, data, "sha256")


def mask(federation="f", purpose="fraud_prevention", column="c", key=KEY) -> Mask:
    return mask_for(federation, purpose, column, Grade.S3, keyed(key))


# Written out by hand: grade, then purposes in the order below.
PURPOSES = (*MASKABLE_FOR, "marketing", "curiosity")
TABLE = {
    "S1": ["clear"] * 6,
    "S2": ["clear"] * 5 + ["never"],
    "S3": ["masked"] * 4 + ["never"] * 2,
    "S4": ["never"] * 6,
}


@pytest.mark.parametrize("grade", list(Grade))
def test_grade_and_purpose_decide(grade: Grade) -> None:
    assert [use_of(grade, purpose) for purpose in PURPOSES] == TABLE[grade]


def test_the_card_shows_the_same_table() -> None:
    assert masking.table() == {
        grade: dict(zip(PURPOSES[:5], uses[:5], strict=True)) for grade, uses in TABLE.items()
    }


@pytest.mark.parametrize(
    ("grade", "purpose"),
    [(Grade.S4, "fraud_prevention"), (Grade.S3, "marketing"), (Grade.S3, "curiosity")],
)
def test_what_is_never_used_has_no_mask(grade: Grade, purpose: str) -> None:
    with pytest.raises(ForbiddenUseError, match=r"leave it out"):
        mask_for("f", purpose, "c", grade, keyed())


@given(texts, texts)
def test_equal_stays_equal_and_different_stays_different(one: str, other: str) -> None:
    assert (mask()(one) == mask()(other)) is (one == other)


@given(texts, texts, texts, texts)
def test_another_federation_purpose_column_or_key_is_another_name(
    value: str, name: str, column: str, key: str
) -> None:
    plain = mask()(value)
    assert (mask(federation=name)(value) == plain) is (name == "f")
    assert (mask(column=column)(value) == plain) is (column == "c")
    assert mask(purpose="supply_planning")(value) != plain
    other = hashlib.sha256(key.encode()).digest()
    assert mask(key=other)(value) != plain


@given(texts, texts)
def test_parts_do_not_run_into_each_other(one: str, other: str) -> None:
    """("ab", "c") and ("a", "bc") are two things."""
    left = mask(federation=one + other, column="x")("v")
    right = mask(federation=one, column=other + "x")("v")
    assert (left == right) is (other == "")


def test_a_mask_is_the_keyed_hash_of_framed_parts() -> None:
    """An independent reading: tag, then each part behind its length in four bytes."""
    parts = b"".join(len(p).to_bytes(4, "big") + p for p in (b"f", b"fraud_prevention", b"c", b"v"))
    wanted = hmac.new(KEY, b"entrepot/mask/1" + parts, hashlib.sha256).hexdigest()[:32]
    assert mask()("v") == wanted
    assert mask().column(["v", None]) == [wanted, None]


def test_a_hash_that_is_too_short_masks_nothing() -> None:
    with pytest.raises(ForbiddenUseError, match="32 bytes"):
        mask_for("f", "fraud_prevention", "c", Grade.S3, lambda _: b"short")("v")


def test_a_mask_is_minted_by_those_who_asked_for_it() -> None:
    with pytest.raises(TypeError, match="minted"):
        Mask(b"", keyed())


# -- columns that training uses as keys only -------------------------------------------------------


def masked(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """The table with every key under its mask."""
    return table.assign(
        **{
            name: mask(column=name).column(map(str, table[name]))
            for name in KEYS_ONLY[model] & set(table.columns)
        }
    )


@pytest.mark.parametrize("seed", range(3))
def test_fraud_training_sees_no_difference_between_keys_and_masks(seed: int) -> None:
    contract, table = published_contracts()["orders"], orders_table(seed)
    plain, hidden = (fraud_rows(t, contract, EVER) for t in (table, masked(table, "fraud")))
    assert np.array_equal(plain.features, hidden.features)
    assert np.array_equal(plain.targets, hidden.targets)
    assert np.array_equal(pd.factorize(plain.units)[0], pd.factorize(hidden.units)[0])


@pytest.mark.parametrize("seed", range(3))
def test_demand_training_sees_no_difference_between_keys_and_masks(seed: int) -> None:
    bounds, table = DemandBounds(2e5, 0.0, 10.0), demand_table(seed)
    plain, hidden = (demand_rows(t, 8, bounds) for t in (table, masked(table, "demand")))

    def rows(made):
        found = np.column_stack([made.features.reshape(len(made.targets), -1), made.targets])
        return found[np.lexsort(found.T)]

    assert np.array_equal(rows(plain), rows(hidden))


def test_every_personal_column_of_a_published_contract_is_a_key_only() -> None:
    """Otherwise the law refuses every training run over it."""
    for model, name in (("fraud", "orders"), ("demand", "demand")):
        personal = {c.name for c in published_contracts()[name].columns if c.grade is Grade.S3}
        assert personal <= KEYS_ONLY[model]
