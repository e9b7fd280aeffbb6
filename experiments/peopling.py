"""People for the parties of a federation on this machine, so that they can be matched.

The same customer has the same made-up e-mail address at every party: two shops know their common
customers by nothing else.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from experiments.home import Home
from policies.parties import PartyId

DOMAIN = "customers.example"


def offer_people(home: Home, party: PartyId, table: pa.Table, limits: Mapping[str, str]) -> None:
    """Let a party that is not running offer the contract of people, with these rows.

    limits: the `epsilon` and `delta` of the account that they share with the party's customers.
    """
    node = home.node(party)
    source = files("experiments") / "parties" / "matching" / "people.toml"
    text = Template(source.read_text(encoding="utf-8")).substitute(limits)
    (node / "contract" / "people.toml").write_text(text, encoding="utf-8")
    pq.write_table(table, node / "data" / "people.parquet")


def people_of(orders: Path) -> pa.Table:
    """Return the customers of a table of orders: number, address, and what each of them spent."""
    rows = pq.read_table(orders, columns=["customer_id", "amount"])
    spent = rows.group_by("customer_id").aggregate([("amount", "sum")]).sort_by("customer_id")
    numbers = spent["customer_id"]
    address = pc.binary_join_element_wise("c", pc.cast(numbers, pa.string()), "")
    return pa.table(
        {
            "customer_id": numbers,
            "email": pc.binary_join_element_wise(address, f"@{DOMAIN}", ""),
            "spent": pc.cast(spent["amount_sum"], pa.float64()),
        }
    )
