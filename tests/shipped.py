"""Parcels for the orders of simulated warehouses, so that a question can join two contracts.

What an order's parcels say follows from the customer alone: which of a customer's rows pass the
bound is chance, and changes no sum.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd

from clients.settings import load_settings
from policies.parties import PartyId
from tests.simulator import LIMITS, WAREHOUSES, Simulation, orders_table

JOINED = (
    "SELECT carrier, COUNT(*) AS parcels, SUM(cost) AS cost, SUM(LEAST(amount, 100)) AS worth "
    "FROM orders JOIN shipments USING (order_id, customer_id) GROUP BY carrier"
)
CARRIERS = ("post", "parcel", "express", "freight", "pick-up")
ALSO = """
[[also]]
kind = "commercial"
columns = ["carrier"]
subjects = "carriers"
touches = 2
[also.limit]
epsilon = "$epsilon"
delta = "1e-6"
window = "2025"
"""
"""Another unit of shipments, with an account of its own, that orders do not touch."""


def parcels(orders: pd.DataFrame) -> pd.DataFrame:
    """Return one or two parcels for each order but every seventh."""
    sent = orders[orders["order_id"] % 7 != 0]
    rows = pd.concat([sent, sent[sent["order_id"] % 3 == 0]], ignore_index=True)
    customer = rows["customer_id"].to_numpy()
    day = rows["ts"].dt.date
    return pd.DataFrame(
        {
            "shipment_id": np.arange(len(rows)),
            "order_id": rows["order_id"],
            "customer_id": customer,
            "shipped": day,
            "promised": day,
            "delivered": day,
            "carrier": np.array(CARRIERS)[customer % 5],
            "ship_country": rows["ship_country"],
            "weight": 1.0 + customer % 4,
            "cost": 2.5 + customer % 9,
            "returned": customer % 2 == 0,
        }
    )


def placed(seed: int) -> pd.DataFrame:
    """Return orders of 40 customers, of which one amount and one category belong to each."""
    table = orders_table(seed)
    table["amount"] = 10.0 + table["customer_id"] * 4
    table["category"] = np.array(["books", "home", "toys"])[table["customer_id"] % 3]
    return table


def contract_text(name: str, limits: Mapping[str, str], more: str = "") -> str:
    """Return a published contract as a party offers it; more: TOML that stands behind it."""
    source = files("experiments") / "parties" / "contracts" / f"{name}.toml"
    return Template(source.read_text(encoding="utf-8")).substitute(limits) + more


def offer(
    folder: Path, orders: pd.DataFrame, limits: Mapping[str, str] = LIMITS["orders"], also: str = ""
) -> None:
    """Let the node in `folder` hold these orders and their parcels.

    also: the ε that the account of carriers may spend; "" where the contract names no carriers.
    """
    more = Template(ALSO).substitute(epsilon=also) if also else ""
    text = contract_text("shipments", limits, more)
    (folder / "contract" / "shipments.toml").write_text(text, encoding="utf-8")
    orders.to_parquet(folder / "data" / "orders.parquet")
    parcels(orders).to_parquet(folder / "data" / "shipments.parquet")


def with_shipments(
    simulation: Simulation, *, lacking: tuple[PartyId, ...] = (), also: str = ""
) -> Simulation:
    """Let every warehouse offer shipments, but those that are `lacking`."""
    for number, party in enumerate(WAREHOUSES):
        folder = simulation.folder(party)
        if party in lacking:
            placed(number).to_parquet(folder / "data" / "orders.parquet")
        else:
            offer(folder, placed(number), also=also)
    return simulation


def contracts(folder: Path) -> dict:
    """Return what the node in `folder` offers."""
    return load_settings(folder).contracts()
