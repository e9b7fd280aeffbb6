"""One file stands under one name: rows that two contracts read are charged to all of them."""

import os
from pathlib import Path

import pytest

from clients.tables import file_marks
from policies.budget.account import charges
from policies.budget.events import Gaussian
from policies.budget.units import require_own_files
from policies.contracts import DataContract, load_contract
from policies.errors import MalformedContractError, UnitMismatchError

CONTRACT = """
name = "{name}"
version = 1
table = "{table}"
subjects = "{subjects}"
[unit]
kind = "customer"
columns = ["{column}"]
rows = 1
[limit]
epsilon = "1"
delta = "1e-6"
window = "w"
[[columns]]
name = "a"
type = "integer"
grade = "S3"
[[columns]]
name = "b"
type = "integer"
grade = "S3"
"""


def contract(name: str, table: str, subjects: str, column: str = "a") -> DataContract:
    return load_contract(CONTRACT.format(name=name, table=table, subjects=subjects, column=column))


def marks(folder: Path, *contracts: DataContract) -> dict[str, tuple[str, ...]]:
    return {one.table: file_marks(folder / one.table) for one in contracts}


ORDERS = contract("orders", "orders.parquet", "customers")
SHOPS = contract("shops", "other.parquet", "shoppers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "orders.parquet").write_bytes(b"rows")
    return tmp_path


def test_a_copy_is_another_file_and_one_name_is_one_table(folder: Path) -> None:
    (folder / "other.parquet").write_bytes(b"rows")
    twice = contract("again", "orders.parquet", "customers")
    require_own_files([ORDERS, SHOPS, twice], marks(folder, ORDERS, SHOPS, twice))


@pytest.mark.parametrize("link", [os.link, os.symlink])
@pytest.mark.parametrize("subjects", ["customers", "shoppers"])
def test_a_link_to_a_table_is_no_other_table(folder: Path, link, subjects: str) -> None:
    link(folder / "orders.parquet", folder / "other.parquet")
    shops = contract("shops", "other.parquet", subjects)
    for both in ([ORDERS, shops], [shops, ORDERS]):
        with pytest.raises(MalformedContractError, match="name the same table in both"):
            require_own_files(both, marks(folder, *both))


def test_a_link_through_another_folder_is_found(folder: Path) -> None:
    (folder / "far").mkdir()
    (folder / "far" / "rows").symlink_to(folder / "orders.parquet")
    (folder / "other.parquet").symlink_to(folder / "far" / "rows")
    with pytest.raises(MalformedContractError, match=r"orders\.parquet and other\.parquet"):
        require_own_files([ORDERS, SHOPS], marks(folder, ORDERS, SHOPS))


def test_two_contracts_over_one_table_pay_for_both_or_are_refused() -> None:
    same = contract("shops", "orders.parquet", "shoppers")
    paid = charges(same, [ORDERS, same], {}, Gaussian("9"), 1)
    assert {charge.scope.subjects for charge in paid} == {"customers", "shoppers"}
    strange = contract("shops", "orders.parquet", "shoppers", column="b")
    with pytest.raises(UnitMismatchError):
        charges(strange, [ORDERS, strange], {}, Gaussian("9"), 1)


def test_a_node_does_not_start_with_two_names_for_one_file(simulation) -> None:
    from tests.simulator import CN

    data, contracts = simulation.folder(CN) / "data", simulation.folder(CN) / "contract"
    (data / "copy.parquet").hardlink_to(data / "orders.parquet")
    text = (contracts / "orders.toml").read_text(encoding="utf-8")
    text = text.replace('name = "orders"', 'name = "visits"', 1)
    text = text.replace("orders.parquet", "copy.parquet").replace('"customers"', '"visitors"')
    (contracts / "visits.toml").write_text(text, encoding="utf-8")
    with pytest.raises(MalformedContractError, match="one file"):
        simulation.restart(CN)
        simulation.node(CN)
