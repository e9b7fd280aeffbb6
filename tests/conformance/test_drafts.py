"""A partner's own table, through its draft, is the table that orders read; wherever it lies."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from clients import checking
from clients.settings import load_settings
from experiments.cli import run
from policies.contracts import load_contract
from tests import foreign
from tests.foreign import Foreign
from tests.simulator import SHOP, Simulation, orders_table

PLACES = ("csv", "parquet", "postgresql", "mariadb")


@pytest.fixture(params=PLACES)
def laid(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[pd.DataFrame], Foreign]:
    """Lays orders down as one partner keeps them."""
    place = request.param
    if place == "postgresql":
        pytest.importorskip("adbc_driver_postgresql", reason="install the extra [postgres]")
    where = request.getfixturevalue(place) if place in {"postgresql", "mariadb"} else tmp_path
    lay: dict[str, Callable[[Any, pd.DataFrame], Foreign]] = {
        "csv": foreign.in_csv,
        "parquet": foreign.in_parquet,
        "postgresql": foreign.in_postgresql,
        "mariadb": foreign.in_mariadb,
    }
    return lambda found: lay[place](where, found)


@pytest.fixture
def folder(simulation: Simulation) -> Path:
    """A node that has no rows yet."""
    folder = simulation.folder(SHOP)
    (folder / "data" / "orders.parquet").unlink()
    return folder


def drafted(capsys: pytest.CaptureFixture[str], words: list[str], code: int = 0) -> dict[str, Any]:
    assert run(["node", "contract", "draft", *words, "--json"]) == code, capsys.readouterr().err
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def answered(
    capsys: pytest.CaptureFixture[str], words: list[str], known: dict[str, str]
) -> list[str]:
    """The words with an answer for every question, one after the other."""
    given = [*words]
    while left := [q for q in drafted(capsys, given)["questions"] if q["answer"] is None]:
        first = left[0]
        value = known.get(first["key"]) or known.get(first["key"].split(":")[0], "yes")
        given += ["--answer", f"{first['number']}={value}"]
    return given


def orders(seed: int = 5) -> pd.DataFrame:
    """Orders at whole seconds, as most systems keep them."""
    found = orders_table(seed)
    return found.assign(amount=found.amount.round(2))


def canonical(found: pd.DataFrame) -> pd.DataFrame:
    return found.sort_values("order_id", ignore_index=True)[sorted(found.columns)]


def test_the_table_that_orders_read_is_the_canonical_one(
    laid: Callable[[pd.DataFrame], Foreign],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = orders()
    there = laid(found)
    words = [*there.words, "--node", str(folder)]
    known = dict(there.answers) | {"twice": "missing"}
    given = answered(capsys, words, known)
    asked = {q["key"] for q in drafted(capsys, given)["questions"]}
    assert asked - {key for key in asked if key.startswith("twice:")} == set(there.answers)
    contract = (folder / "contract" / "orders.toml").read_bytes()
    written = drafted(capsys, [*given, "--write"])
    assert written["usable"] and written["rows"] == len(found) and written["remarks"] == []
    assert (folder / "contract" / "orders.toml").read_bytes() == contract
    assert run(["node", "refresh", str(folder)]) == 0, capsys.readouterr().err
    read = pq.read_table(folder / "snapshots" / "orders.parquet").to_pandas()
    pd.testing.assert_frame_equal(canonical(read), canonical(found), check_exact=True)
    checking.check(load_settings(folder))


def test_rows_are_chosen_by_the_contracts_values(
    laid: Callable[[pd.DataFrame], Foreign],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever the source calls them: it is asked for no fewer rows than there are."""
    found = orders()
    there = laid(found)
    known = dict(there.answers) | {"twice": "missing"}
    drafted(capsys, [*answered(capsys, [*there.words, "--node", str(folder)], known), "--write"])
    with (folder / "node.toml").open("a", encoding="utf-8") as node:
        node.write("""
[sources."orders.parquet".rows]
category = ["books", "toys"]
ts = { from = "2025-03-01", before = "2025-04-01" }
counterparty_id = { from = "3" }
""")
    assert run(["node", "refresh", str(folder)]) == 0, capsys.readouterr().err
    read = pq.read_table(folder / "snapshots" / "orders.parquet").to_pandas()
    march = (found.ts >= "2025-03-01") & (found.ts < "2025-04-01")
    only = found[march & found.category.isin(["books", "toys"]) & (found.counterparty_id >= 3)]
    assert 0 < len(only) < march.sum()
    pd.testing.assert_frame_equal(canonical(read), canonical(only), check_exact=True)


def test_a_draft_with_open_questions_is_used_by_nothing(
    laid: Callable[[pd.DataFrame], Foreign],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = laid(orders())
    words = [*there.words, "--node", str(folder), "--write"]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = drafted(capsys, words, 12)
    assert found["open"] == len(found["questions"]) > 0
    assert not found["usable"] and found["rows"] is None
    kept = folder / "drafts" / "orders.toml"
    assert found["written"] == [str(kept)]
    assert kept.stat().st_mode & 0o777 == 0o600
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before | {kept: kept.read_bytes()}
    assert not load_settings(folder).sources


def test_a_draft_widens_nothing(
    laid: Callable[[pd.DataFrame], Foreign],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a contract of its own, a node's is the federation's, but for its limit."""
    from experiments.ordering import published_contracts

    (folder / "contract" / "orders.toml").unlink()
    there = laid(orders())
    known = dict(there.answers) | {"twice": "first", "limit:epsilon": "2", "limit:delta": "0.00001"}
    given = answered(capsys, [*there.words, "--node", str(folder)], known)
    drafted(capsys, [*given, "--write"])
    made = load_contract((folder / "contract" / "orders.toml").read_text(encoding="utf-8"))
    published = published_contracts()["orders"]
    assert made.columns == published.columns
    assert (made.unit, made.key, made.rules) == (published.unit, published.key, published.rules)
    assert (str(made.limit.epsilon), str(made.limit.delta)) == ("2", "0.00001")
