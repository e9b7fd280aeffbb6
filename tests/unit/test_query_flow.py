"""SQL to rows of an answer: every step of a joint query in one process."""

import hashlib
import math
from decimal import Decimal

import pytest

from clients.analytics import NoisyPartial, noisy_partial
from clients.books import Reservation
from clients.errors import ComputeError
from clients.ingestion import Readable, Stamp, _stamp
from clients.keyring import Keyring
from experiments import query_truth
from federation import plans, pricing, sql
from federation.answers import answer
from policies.budget.account import Charge, scope_of
from policies.engine import Permit
from secure_compute.hequery import combiner, holder
from secure_compute.hequery.keyholder import Approval
from secure_compute.primitives.signature import SigningKey
from tests.orders_table import COHORT, contract, frame, write
from tests.seeded import SeededEntropy

TEXT = "SELECT category, COUNT(*), AVG(LEAST(amount, 100)) FROM orders GROUP BY category"
CONTRACT = contract(8)
PLAN = sql.parse(TEXT, {"orders": CONTRACT}, COHORT)
NODES = [member.party for member in COHORT]
KEYS = {name: SigningKey(hashlib.sha256(name.encode()).digest()) for name in [*NODES, "keyholder"]}


def verify(party, signature, data):
    KEYS[party].verify_key.verify(signature, data)


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
    return _stamp(path) if path.exists() else Stamp(0, 0, 0, 0, 0)


def partial(path, noise, reserved=None):
    event = pricing.price(PLAN, reserved or noise)
    return noisy_partial(
        PLAN,
        noise,
        contract=CONTRACT,
        readable=Readable._mint(path, stamp(path), None),
        permit=Permit._mint(None, "law"),
        reservation=Reservation._mint("q", (Charge(scope_of("orders", [CONTRACT]), event, 1),)),
        entropy=SeededEntropy(len(noise)),
    )


class Told:
    """A log that names no list yet."""

    def opened(self, order):
        return ""

    def open(self, order, listing):
        pass


def test_a_question_is_answered_within_its_error(tmp_path):
    noise = pricing.calibrate_query(PLAN, "2", "1e-6")
    ring = Keyring(tmp_path / "keyring.sqlite")
    offer = ring.offer("q", "keyholder", KEYS["keyholder"].sign)
    sealed, exact = [], []
    for number, name in enumerate(NODES):
        (tmp_path / name).mkdir()
        exact.append(write(rows_of(number), tmp_path / name))
        public = holder.accept_key(
            offer.statement,
            offer.signature,
            offer.public,
            query="q",
            keyholder="keyholder",
            verify=verify,
        )
        noisy = partial(exact[-1], noise)
        assert isinstance(noisy, NoisyPartial)
        part = holder.seal(
            noisy.values,
            query="q",
            party=name,
            plan=plans.digest(PLAN),
            public=public,
            cohort=3,
            reach=pricing.reach(PLAN, noise),
            sign=KEYS[name].sign,
        )
        sealed.append(part)
        assert "values" not in repr(noisy)
    approval = Approval(
        query="q",
        plan=plans.digest(PLAN),
        key=ring.key_of("q"),
        cohort=tuple(NODES),
        minimum=3,
        width=plans.width(PLAN),
    )
    assert len(combiner.add(sealed, public)) < 1 << 20
    opened = ring.open_once(approval, sealed, verify, str, Told())
    shown = answer(PLAN, noise, 3, opened.values)
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
    assert bounded[0] == {"category": "home", "count": 24, "avg_amount": 320 / 24}
    assert whole[0] == {"category": "home", "count": 24, "avg_amount": 280 / 24}
    assert bounded[1] == {"category": "toys", "count": 0, "avg_amount": None}
    assert math.isclose(query_truth.kept_share(PLAN, CONTRACT, [path]), 0.5)
    assert len(frame(rows)) == 24
