"""A small orders table with its contract and a cohort: for tests of joint queries."""

import datetime
from pathlib import Path

import pandas as pd

from federation.membership import Member
from policies.contracts import DataContract, load_contract
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.primitives.signature import SigningKey

CONTRACT_TEXT = """
name = "orders"
version = 1
table = "orders.parquet"
subjects = "customers"
[unit]
kind = "customer"
columns = ["customer_id"]
rows = 3
[limit]
epsilon = "3"
delta = "1e-6"
window = "2025"
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
name = "balance"
type = "integer"
grade = "S2"
low = "-20"
high = "10"
unit = "points"
[[columns]]
name = "category"
type = "string"
grade = "S1"
domain = ["home", "toys", "garden"]
[[columns]]
name = "hour"
type = "integer"
grade = "S1"
domain = ["0", "1"]
[[columns]]
name = "note"
type = "string"
grade = "S2"
[[columns]]
name = "gift"
type = "boolean"
grade = "S1"
[[columns]]
name = "day"
type = "date"
grade = "S1"
[[columns]]
name = "merchant_id"
type = "integer"
grade = "S2"
domain = ["1", "2"]
[[columns]]
name = "card_country"
type = "string"
grade = "S2"
domain = ["CN", "EU"]
optional = true
"""


def contract(rows: int = 3) -> DataContract:
    return load_contract(CONTRACT_TEXT.replace("rows = 3", f"rows = {rows}"))


def member(name: str, organisation: str | None = None) -> Member:
    key = SigningKey(bytes(32)).verify_key
    return Member(PartyId(name), organisation or name, Role.WAREHOUSE, Jurisdiction.EU, key)


COHORT = tuple(member(name) for name in ("warehouse-cn", "warehouse-eu", "warehouse-uk"))

CATEGORIES = ["home", "toys", "garden", "unknown", None]


def frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Return the table with every column of the contract that the rows leave out filled in."""
    full = [
        {
            "customer_id": 1,
            "amount": 1.0,
            "balance": 1,
            "category": "home",
            "hour": 0,
            "note": "plain",
            "gift": False,
            "day": datetime.date(2025, 1, 1),
            "merchant_id": 1,
            **row,
        }
        for row in rows
    ]
    names = [column.name for column in contract().columns if not column.optional]
    table = pd.DataFrame(full, columns=names)
    types = {"customer_id": "Int64", "amount": "float64", "balance": "Int64", "hour": "Int64"}
    return table.astype({**types, "category": "string", "note": "string", "gift": "boolean"})


def write(rows: list[dict[str, object]], folder: Path) -> Path:
    path = folder / "orders.parquet"
    frame(rows).to_parquet(path)
    return path
