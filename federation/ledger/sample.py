"""A made-up log for measurements: orders of a year, in the proportions of a busy node."""

from collections.abc import Iterator
from typing import Final

from federation.ledger.entries import Encoded, Entry, EntryKind, encode
from policies.budget.events import Gaussian, dumps
from secure_compute import canonical
from secure_compute.canonical import JSON

PER_ORDER: Final = 8
_BEGAN: Final = 1_700_000_000
_LIMIT: Final[dict[str, JSON]] = {
    "dataset": "orders",
    "subjects": "customers",
    "unit": "customer",
    "window": "2026-H1",
    "account": "customers\x1fcustomer\x1f2026-H1",
    "epsilon": "1000000",
    "delta": "0.000001",
    "failures": "0",
}


def made_up(count: int) -> list[Encoded]:
    """Return `count` entries: reservations, releases, crossings and ends of made-up orders."""
    orders = (entry for number in range(-(-count // PER_ORDER)) for entry in _order(number))
    return [encode(entry) for entry, _ in zip(orders, range(count), strict=False)]


def _order(number: int) -> Iterator[Entry]:
    name = canonical.digest(number)
    event = dumps(Gaussian(8 + number % 16))
    at = _BEGAN + PER_ORDER * number
    charges: JSON = [{**_LIMIT, "event": event, "releases": 3, "spare": 1}]
    yield Entry(EntryKind.APPROVED, at, name, {"policy": name, "reasons": ["cn.transfer"]})
    yield Entry(EntryKind.RESERVED, at, name, {"charges": charges})
    for release in range(2):
        body: dict[str, JSON] = {"release": f"{release}-{name[:32]}", "masked": 0}
        yield Entry(EntryKind.SETTLED, at + release, name, body)
        yield Entry(EntryKind.CROSSED, at + release, name, _CROSSING)
    yield Entry(EntryKind.CLOSED, at + 3, name)
    yield Entry(EntryKind.CROSSED, at + 3, name, _CROSSING)


_CROSSING: Final[dict[str, JSON]] = {
    "kind": "train.update",
    "recipient": "aggregator",
    "origin": "CN",
    "destination": "EU",
    "bytes": 48_000,
    "rule": "cn.standard-contract",
}
