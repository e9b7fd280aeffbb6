"""A synthetic commerce on disk: one folder per party, a manifest, and the truth in a folder apart.

    OUT/manifest.json                        schema, parties, row counts, hashes
    OUT/parties/PARTY/data/orders.parquet    the rows that party holds
    OUT/parties/PARTY/data/demand.parquet    warehouses only
    OUT/parties/PARTY/data/payments.parquet  payment partners and merchants: what was paid for them
    OUT/truth/orders/PARTY.parquet           order, fraud, scenario, friendly fraud
    OUT/truth/canaries.json                  the rows to search for outside the nodes
    OUT/truth/overlap.json                   customers that two parties share
    OUT/truth/membership/PARTY.parquet       known members and known non-members, with their rows
    OUT/truth/world.json                     the knobs, and which party was poisoned

The same arguments give the same bytes.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from experiments.commerce.canaries import Canaries, draw_canaries
from experiments.commerce.demand import demand_tables
from experiments.commerce.orders import CUT_US, END_US, NEVER, DayOrders, stream_days
from experiments.commerce.parties import DEMO_PARTIES, Seat
from experiments.commerce.payments import FIRST_ID, is_payer, payment_rows
from experiments.commerce.tables import (
    canary_rows,
    canary_truth,
    order_schema,
    party_rows,
    truth_rows,
)
from experiments.commerce.world import DAYS, START_US, Habits, Size, World, draw_world, stream
from policies.parties import PartyId

SCHEMA: Final = "entrepot.commerce/1"
FLUSH_ROWS: Final = 65_536
POISON_RATE: Final = 0.009  # honest orders of a poisoned party that it reports as fraud


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `generate` wrote; `document` is the content of `manifest.json`."""

    folder: Path
    document: Mapping[str, Any]

    def data(self, party: str) -> Path:
        """The folder with the tables of `party`."""
        return self.folder / "parties" / party / "data"

    def orders(self, party: str) -> Path:
        """The orders of `party`."""
        return self.data(party) / "orders.parquet"

    def payments(self, party: str) -> Path | None:
        """The payments for the orders of `party`; None where it keeps none."""
        path = self.data(party) / "payments.parquet"
        return path if path.exists() else None

    @property
    def truth(self) -> Path:
        """The folder that no node may see."""
        return self.folder / "truth"

    @property
    def parties(self) -> tuple[PartyId, ...]:
        """All parties, in the order of the generator."""
        return tuple(PartyId(name) for name in self.document["parties"])

    @property
    def cut_us(self) -> int:
        """Where training ends and the test begins, in microseconds since 1970."""
        return int(self.document["cut_us"])


def open_manifest(folder: Path) -> Manifest:
    """The manifest of a commerce that stands in `folder`."""
    return Manifest(folder, json.loads((folder / "manifest.json").read_text(encoding="utf-8")))


def generate(
    size: Size,
    seed: int,
    out_dir: Path,
    parties: Sequence[Seat] = DEMO_PARTIES,
    heterogeneity: float = Habits().heterogeneity,
    poisoned: str | None = None,
    overlap: float = Habits().overlap,
    struck: float = Habits().struck,
) -> Manifest:
    """Write the commerce of `seed` into `out_dir` and return its manifest.

    A `poisoned` party calls its frauds honest and some honest orders fraud.

    Raises:
        ValueError: a knob is out of range, or the poisoned party does not take part.
    """
    if poisoned is not None and poisoned not in {seat.party for seat in parties}:
        raise ValueError(f"{poisoned} cannot be poisoned: it is not among the parties")
    habits = Habits(heterogeneity=heterogeneity, overlap=overlap, struck=struck)
    world = draw_world(size, seed, parties, habits)
    folders = [_Folder(world, index, out_dir) for index in range(len(parties))]
    for day in stream_days(world):
        for folder in folders:
            folder.add(day, poisoned)
    for folder in folders:
        folder.close()
    _write_demand(world, out_dir)
    _write_truth(world, folders, out_dir, poisoned)
    document = _describe(size, world, out_dir)
    _write_json(out_dir / "manifest.json", document)
    return Manifest(out_dir, document)


class _Folder:
    """The files of one party while the days go by: at most `FLUSH_ROWS` rows wait in memory."""

    def __init__(self, world: World, index: int, out_dir: Path) -> None:
        self.world, self.index = world, index
        self.seat = world.seats[index]
        self.canaries: Canaries = draw_canaries(world, index)
        self.customers: set[int] = set()
        name = f"{self.seat.party}.parquet"
        data = out_dir / "parties" / self.seat.party / "data"
        self._orders = _Sink(data / "orders.parquet")
        self._payments = _Sink(data / "payments.parquet")
        self._next_payment = (index + 1) * FIRST_ID
        self._truth = _Sink(out_dir / "truth" / "orders" / name)
        self._members = _Sink(out_dir / "truth" / "membership" / name)
        self._canary_rows = canary_rows(world, self.canaries, self.seat)
        self._canary_truth = canary_truth(self.canaries)

    def add(self, day: DayOrders, poisoned: str | None) -> None:
        """Take the party's orders of one day, its canaries among them."""
        accounts, account = self.world.accounts, day.rows.account
        mine = day.party == self.index
        held_out = accounts.held_out[account]
        here = np.flatnonzero(mine & ~held_out)
        rows = party_rows(self.world, day, self.seat, here)
        self.customers.update(rows["customer_id"].to_pylist())
        if poisoned == self.seat.party:
            rows = _poison(rows, stream(self.world.seed, 8, int(day.order_id[0])), day, here)
        self._keep(rows, truth_rows(self.world, day, here), day)
        for group, member in ((accounts.target[account], 1), (held_out, 0)):
            known = party_rows(self.world, day, self.seat, np.flatnonzero(mine & group))
            flag = pa.array(np.full(known.num_rows, member))
            self._members.write(known.append_column("member", flag))

    def _keep(self, rows: pa.Table, truth: pa.Table, day: DayOrders) -> None:
        begin = START_US + 86_400_000_000 * ((int(day.ts_us[0]) - START_US) // 86_400_000_000)
        today = self.canaries.ts_us // 86_400_000_000 == begin // 86_400_000_000
        if today.any():
            chosen = pa.array(today)
            rows = pa.concat_tables([rows, self._canary_rows.filter(chosen)]).sort_by("ts")
            truth = pa.concat_tables([truth, self._canary_truth.filter(chosen)]).sort_by("ts")
        self._orders.write(rows)
        self._truth.write(truth)
        if is_payer(self.seat):
            self._pay(rows, int(day.order_id[0]))

    def _pay(self, rows: pa.Table, today: int) -> None:
        rng = stream(self.world.seed, 9, self.index, today)
        paid = payment_rows(rng, rows, self.seat, self._next_payment)
        self._next_payment += paid.num_rows
        self._payments.write(paid)

    def close(self) -> None:
        """Write what waits and close the files."""
        for sink in (self._orders, self._payments, self._truth, self._members):
            sink.close()


class _Sink:
    """A parquet file written in row groups of about `FLUSH_ROWS` rows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[pa.Table] = []
        self._count = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        self._count += rows.num_rows
        if self._count >= FLUSH_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting)
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._path, rows.schema, compression="zstd")
        self._writer.write_table(rows)
        self._waiting, self._count = [], 0


def _poison(
    rows: pa.Table, rng: np.random.Generator, day: DayOrders, here: NDArray[np.int64]
) -> pa.Table:
    """The rows with labels exchanged: frauds unreported, some honest orders reported."""
    accused = (rng.random(len(here)) < POISON_RATE) & (day.rows.scenario[here] == 0)
    moment = np.where(accused, day.ts_us[here] + 10 * 86_400_000_000, NEVER)
    accused &= moment < END_US
    when = pa.array(moment, mask=~accused).cast(pa.timestamp("us"))
    for name, column in (("label_fraud", pa.array(accused.astype(np.int64))), ("label_ts", when)):
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows


def _write_demand(world: World, out_dir: Path) -> None:
    for party, columns in demand_tables(world).items():
        path = out_dir / "parties" / party / "data" / "demand.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(dict(columns)), path, compression="zstd")


def _write_truth(
    world: World, folders: Sequence[_Folder], out_dir: Path, poisoned: str | None
) -> None:
    truth = out_dir / "truth"
    _write_json(
        truth / "canaries.json", {item.seat.party: item.canaries.truth() for item in folders}
    )
    shared = {
        f"{one.seat.party} & {other.seat.party}": len(one.customers & other.customers)
        for one, other in combinations(folders, 2)
    }
    _write_json(truth / "overlap.json", shared)
    habits = asdict(world.habits)
    if not habits["struck"]:  # the same bytes as before there was such a knob
        del habits["struck"]
    settings = habits | {"seed": world.seed, "poisoned": poisoned}
    _write_json(truth / "world.json", settings)


def _describe(size: Size, world: World, out_dir: Path) -> dict[str, Any]:
    """The manifest: everything a stranger may know about the files."""
    return {
        "schema": SCHEMA,
        "size": size,
        "seed": world.seed,
        "days": DAYS,
        "start_us": START_US,
        "cut_us": CUT_US,
        "end_us": END_US,
        "parties": {seat.party: _describe_party(seat, out_dir) for seat in world.seats},
    }


def _describe_party(seat: Seat, out_dir: Path) -> dict[str, Any]:
    data = out_dir / "parties" / seat.party / "data"
    return {
        "role": seat.role.value,
        "jurisdiction": seat.jurisdiction.value,
        "policy": f"{seat.role.value}.cedar",
        "columns": list(order_schema(seat).names),
        "tables": {path.stem: _describe_table(path) for path in sorted(data.glob("*.parquet"))},
    }


def _describe_table(path: Path) -> dict[str, Any]:
    schema = pq.read_schema(path)
    return {
        "rows": pq.read_metadata(path).num_rows,
        "columns": {field.name: str(field.type) for field in schema},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
