"""A folder whose tables are taken in window by window."""

import datetime

import pandas as pd

from clients.ingestion import Ingestion, open_windows
from policies.contracts import load_contract
from tests.seeded import SeededEntropy

TEXT = """
name = "NAME"
version = 1
table = "TABLE"
subjects = "customers"
KEY
[unit]
kind = "customer"
columns = ["customer_id"]
rows = 3
[limit]
epsilon = "3"
delta = "1e-6"
window = "WINDOW"
ALSO
[[columns]]
name = "order_id"
type = "integer"
grade = "S3"
[[columns]]
name = "customer_id"
type = "integer"
grade = "S3"
[[columns]]
name = "amount"
type = "float"
grade = "S2"
low = "0"
high = "500"
unit = "EUR"
[[columns]]
name = "day"
type = "date"
grade = "S1"
"""

ALSO = """
[[also]]
kind = "order"
columns = ["order_id"]
subjects = "purchases"
[also.limit]
epsilon = "3"
delta = "1e-6"
window = "WINDOW"
"""

KEY = 'key = ["order_id"]'


def contract(window="2025", *, name="orders", table="orders.parquet", key=KEY, also=""):
    text = TEXT.replace("NAME", name).replace("TABLE", table).replace("ALSO", also)
    return load_contract(text.replace("KEY", key).replace("WINDOW", window))


class Windows:
    """What the books say of windows, in memory."""

    def __init__(self):
        self.opened = {}

    def windows(self):
        return {subjects: tuple(labels) for subjects, labels in self.opened.items()}

    def open_window(self, subjects, label):
        assert label not in self.opened.get(subjects, [])
        self.opened.setdefault(subjects, []).append(label)


class Told:
    """What the node's log says of the file, in memory."""

    def __init__(self):
        self.entries = []

    def ingested(self, subjects):
        return dict(self.entries).get(subjects, "")

    def ingest(self, subjects, commitment):
        assert len(commitment) == 64
        self.entries.append((subjects, commitment))


def rows(*orders, day=datetime.date(2025, 5, 1), amount=1.0):
    return [
        {"order_id": n, "customer_id": 1000 + n, "amount": float(amount), "day": day}
        for n in orders
    ]


class Folder:
    """A node's folder, its contracts, and the books that outlive a restart."""

    def __init__(self, path):
        self.path = path
        self.books = Windows()
        self.told = Told()
        self.contracts = [contract()]

    def write(self, found, name="orders.parquet"):
        frame = pd.DataFrame(found, columns=["order_id", "customer_id", "amount", "day"])
        frame.to_parquet(self.path / name)

    @property
    def ingestion(self):
        return Ingestion(self.path, self.contracts, SeededEntropy(7), self.told)

    def start(self, *contracts):
        """The node starts: labels are opened, then every table is looked at."""
        self.contracts = list(contracts) or self.contracts
        open_windows(self.contracts, self.books)
        for one in self.contracts:
            self.ingestion.look(one, self.path / one.table, self.books.windows())

    def readable(self, *windows, name="orders", also=None):
        (one,) = [c for c in self.contracts if c.name == name]
        opened = self.books.windows()
        paid = {subjects: frozenset(labels) for subjects, labels in opened.items()}
        paid["customers"] = frozenset(windows)
        paid |= also or {}
        return self.ingestion.readable(one, self.path / one.table, opened, paid)

    def orders(self, *windows, name="orders", **more):
        """The orders that whoever pays in `windows` can read."""
        found = self.readable(*windows, name=name, **more)
        (one,) = [c for c in self.contracts if c.name == name]
        ids = pd.read_parquet(self.path / one.table)["order_id"]
        chosen = ids if found.positions is None else ids[found.positions]
        return sorted(int(order) for order in chosen)
