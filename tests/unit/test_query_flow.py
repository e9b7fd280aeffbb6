"""SQL to rows of an answer: every step of a joint query in one process."""

import math
from decimal import Decimal

import pytest
from pytest import approx

from clients.books import Reservation
from clients.errors import ComputeError
from clients.ingestion import Readable, Stamp, stamp_of
from clients.queries.partial import NoisyPartial, noisy_partial
from experiments import query_truth
from federation.queries import parse, pricing
from federation.queries.answers import answer
from policies.budget.account import Charge, scope_of
from policies.engine import Permit
from tests.joined import HOLDERS, PARTIES, answered, make_key
from tests.orders_table import COHORT, contract, frame, write
from tests.seeded import SeededEntropy

TEXT = "SELECT category, COUNT(*), AVG(LEAST(amount, 100)) FROM orders GROUP BY category"
CONTRACT = contract(8)
PLAN = parse.parse(TEXT, {"orders": CONTRACT}, COHORT)
NODES = [member.party for member in COHORT]


def rows_of(node):
    return [
        {
            "customer_id": n % 800,
            "amount": (n * 37 % 9000) / 100 + node,
            "category": ["home", "toys", "home"][n % 3],
        }
        for n in range(3000)
    ]


def stamp(path):
    return stamp_of(path) if path.exists() else Stamp(0, 0, 0, 0, 0)


def partial(path, noise, reserved=None, seed=1):
    event = pricing.price(PLAN, reserved or noise)
    return noisy_partial(
        PLAN,
        noise,
        contracts=(CONTRACT,),
        readables=(Readable._mint(path, stamp(path), None),),
        permit=Permit._mint(None, "law"),
        reservation=Reservation._mint("q", (Charge(scope_of("orders", [CONTRACT]), event, 1),)),
        entropy=SeededEntropy(seed),
    )


def test_a_question_is_answered_within_its_error(tmp_path):
    noise = pricing.calibrate(PLAN, "2", "1e-6")
    sealed, exact = {}, []
    for number, name in enumerate(NODES):
        (tmp_path / name).mkdir()
        exact.append(write(rows_of(number), tmp_path / name))
        noisy = partial(exact[-1], noise, seed=number)
        assert isinstance(noisy, NoisyPartial)
        assert "values" not in repr(noisy)
        sealed[PARTIES[number]] = noisy.values
    asked = answered(make_key(3, 2), sealed, reach=pricing.reach(PLAN, noise))
    opened = asked.open(HOLDERS[1:3])
    shown = answer(PLAN, noise, 3, opened)
    truth = query_truth.bounded_rows(PLAN, CONTRACT, exact)
    assert query_truth.kept_share(PLAN, CONTRACT, exact) == 1
    for row, right in zip(shown.rows, truth, strict=True):
        assert (row.keys[0],) == (right["category"],)
        for cell, label in zip(row.cells, shown.labels, strict=True):
            if cell.value is not None and right[label] is not None:
                # 2.5 times the 95 % interval: wrong once in a million draws
                gap = abs(Decimal(cell.value) - Decimal(str(right[label])))
                assert gap <= Decimal("2.5") * Decimal(cell.error)
    assert shown.rows[2].cells[1].note == "too noisy"  # nobody bought for the garden


def test_what_was_not_reserved_is_not_read(tmp_path):
    with pytest.raises(ComputeError, match="nothing was read"):
        partial(tmp_path / "absent.parquet", "2", reserved="3")


def test_the_truth_beside_the_federation_shows_the_price_of_the_bound(tmp_path):
    rows = [{"customer_id": 1, "amount": 10.0}] * 20 + [{"customer_id": 2, "amount": 20.0}] * 4
    path = write(rows, tmp_path)
    bounded = query_truth.bounded_rows(PLAN, CONTRACT, [path, path])
    whole = query_truth.whole_rows(PLAN, CONTRACT, [path])
    assert bounded[0] == {"category": "home", "count": 24, "avg_amount": approx(320 / 24)}
    assert whole[0] == {"category": "home", "count": 24, "avg_amount": approx(280 / 24)}
    assert bounded[1] == {"category": "toys", "count": 0, "avg_amount": None}
    assert math.isclose(query_truth.kept_share(PLAN, CONTRACT, [path]), 0.5)
    assert len(frame(rows)) == 24
