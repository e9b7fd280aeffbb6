"""Sets the stage of the demo: data, folders, and the truth that no node may see.

DIR/federation.toml …      the federation (experiments.founding)
DIR/nodes/PARTY/data/      what each node holds
DIR/truth/                 hidden labels, planted canaries, demand of the test weeks
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from experiments.commerce.orders import CUT_US
from experiments.commerce.write import Manifest, generate
from experiments.demand_data import NEWCOMER, DemandSet, cheese_set, generated_set
from experiments.errors import UsageError
from experiments.files import make_folder, write
from experiments.founding import DEMO_SEATS, Ports, found, free_ports, move
from experiments.home import Home, open_home
from experiments.outcome import Text
from policies.parties import PartyId

SEED: Final = 7
LIMITS: Final = {
    "orders": {"epsilon": "3.5", "delta": "1e-6"},
    "payments": {"epsilon": "3.5", "delta": "1e-6"},
    "demand": {"epsilon": "7", "delta": "1e-6"},
}
"""What a customer's and a retailer-week's account may ever pay: two demos, not three.

Payments are about the customers of orders, and so share their account.
"""

CHEESE: Final = Text(
    "real weekly sales of a cheese brand at 88 retailer accounts (r-cran-bayesm, GPL-2+)",
    "真实数据：88 个零售商账户的奶酪周销量（r-cran-bayesm，GPL-2+）",
)
GENERATED: Final = Text(
    "generated weekly sales (an installed package carries no real demand set)",
    "生成的周销量（安装包不附带真实需求数据）",
)
COMMERCE: Final = Text(
    "the project's own generated commerce, 200,000 orders; its parties are alike, which is the "
    "setting kindest to federation (data.heterogeneity=1 is the other end)",
    "本项目自行生成的电商数据，20 万笔订单；各方分布相近，这是对联邦最有利的设定"
    "（data.heterogeneity=1 为另一极端）",
)


OVERRIDES: Final[Mapping[str, tuple[str, ...]]] = {
    "demand": (),
    "fraud": ("model.rounds=6", "model.moments=2", "model.learning_rate=10"),
}
"""What a demo changes in the configuration: fewer rounds, since each is three exchanges."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A federation with data.

    overrides: per model, what its configuration changes here.
    newcomer:  the warehouse that has just opened; None where the data has none.
    """

    home: Home
    data: Mapping[str, Text]
    overrides: Mapping[str, tuple[str, ...]]
    notes: tuple[Text, ...]
    newcomer: str | None


def stage(folder: Path, *, keep: bool) -> Staged:
    """Return a staged federation in `folder`; with `keep`, the one whose books lie there.

    Raises:
        UsageError: the folder holds a federation that no demo wrote, or cannot be written.
    """
    marker = folder / "demo"
    if (folder / "federation.toml").exists():
        if not marker.exists():
            raise UsageError(f"{folder} holds a federation that no demo wrote; choose another one")
        if keep:
            return _again(folder)
        shutil.rmtree(folder)
    make_folder(folder)
    write(marker, b"written by entrepot demo\n")
    manifest = generate("small", SEED, folder / "commerce")
    home = found(folder, "demo", DEMO_SEATS, LIMITS, free_ports(), CUT_US)
    demand = cheese_set() or generated_set(manifest)
    _place_orders(manifest, home)
    _place_demand(demand, home)
    (folder / "demand.source").write_text(demand.name, encoding="utf-8")
    shutil.rmtree(manifest.folder)
    return _staged(home, demand.name)


def _again(folder: Path) -> Staged:
    """Open a kept federation on fresh ports; keys, rows and books stay what they are."""
    ports: Ports = free_ports()
    home = open_home(folder)
    move(home, ports)
    for capture in folder.rglob("captures/*"):
        capture.unlink()  # each demo counts its own messages
    return _staged(home, (folder / "demand.source").read_text(encoding="utf-8"))


def _staged(home: Home, source: str) -> Staged:
    cheese = source == "cheese"
    data = {"demand": CHEESE if cheese else GENERATED, "fraud": COMMERCE}
    return Staged(home, data, OVERRIDES, (), str(NEWCOMER) if cheese else None)


def _place_orders(manifest: Manifest, home: Home) -> None:
    for member in home.holders():
        shutil.copy(manifest.orders(member.party), _data(home, member.party, "orders"))
        if (payments := manifest.payments(member.party)) is not None:
            shutil.copy(payments, _data(home, member.party, "payments"))
    shutil.copytree(manifest.truth, home.truth)


def _place_demand(demand: DemandSet, home: Home) -> None:
    """Give each warehouse its history; the test weeks go to the truth."""
    (home.truth / "demand").mkdir(parents=True, exist_ok=True)
    for party, table in demand.tables.items():
        history = table[table["week"] < demand.test_week]
        _write(history, _data(home, party, "demand"))
        _write(table, home.truth / "demand" / f"{party}.parquet")
    (home.truth / "demand" / "test_week").write_text(str(demand.test_week), encoding="utf-8")


def _write(table: pd.DataFrame, path: Path) -> None:
    table.to_parquet(path, index=False)


def _data(home: Home, party: PartyId, contract: str) -> Path:
    return home.node(party) / "data" / f"{contract}.parquet"
