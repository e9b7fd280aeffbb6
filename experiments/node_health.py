"""What `entrepot node check` looks at besides what a start would: one line each, with a fix.

Counts of rows among them are exact, and are the operator's own: they are printed and nothing else.
Nobody is connected to unless somebody asks for that.
"""

import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from clients.certificate import SOON, require_shown
from clients.qualities import Quality, State, qualities
from clients.settings import NodeSettings
from experiments.accounts import open_books
from experiments.checkup import FREE_GIB
from experiments.health_line import Line
from experiments.node_membership import membership
from experiments.node_snapshots import upcoming
from experiments.node_sources import sources
from experiments.vaults import show, spoken
from federation.vault_file import NAME

CLOCK_SECONDS: Final = 5.0
"""How far a clock may be behind what a witness of the ledger said, before its operator is told."""
LOW: Final = 0.1
"""The part of a limit below which what is left of it is spoken of."""
WAIT_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Health:
    """A node that can start. tables: by contract, every rule over its rows."""

    lines: tuple[Line, ...]
    tables: dict[str, tuple[Quality, ...]]

    @property
    def reachable(self) -> bool:
        """Whether everybody answered who was asked."""
        return not any(line.area == "reach" and line.state == "fail" for line in self.lines)

    @property
    def ready(self) -> bool:
        """Whether nothing is wrong here that its operator has to see to before it can work."""
        return not any(line.area != "reach" and line.state == "fail" for line in self.lines)


def health(settings: NodeSettings, *, connect: bool = False, now: float | None = None) -> Health:
    """Return what is well and what is not with a node whose folder is sound.

    connect: whether the aggregator's ports are tried, and databases asked for their columns.

    Raises:
        ComputeError: the rows cannot be read.
        BadCertificateError, ForeignBooksError: as a start would say.
    """
    at = time.time() if now is None else now
    moment = datetime.fromtimestamp(at, UTC)
    places, waiting = upcoming(settings)
    tables = {  # at once: what waits may be taken up meanwhile
        name: qualities(contract, places[name], moment.replace(tzinfo=None))
        for name, contract in settings.contracts().items()
    }
    lines = [
        _clock(settings, at),
        membership(settings),
        *sources(settings, connect=connect),
        *waiting,
        _disk(settings),
        _vault(settings),
        *_certificate(settings, moment),
        *(_reach(settings) if connect else ()),
        *_budgets(settings),
    ]
    return Health(tuple(lines), tables)


def _clock(settings: NodeSettings, at: float) -> Line:
    behind = open_books(settings.folder).books.highest_time() - at
    if behind > CLOCK_SECONDS:
        said = f"{behind:.0f} s behind what a witness of the ledger said"
        return Line("clock", "time", "warn", said, "set the clock; let it follow a time server")
    return Line("clock", "time", "ok", f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC")


def _disk(settings: NodeSettings) -> Line:
    free = shutil.disk_usage(settings.folder).free / 2**30
    said = f"{free:.1f} GiB free"
    if free < FREE_GIB:
        fix = f"free some space: below {FREE_GIB} GiB a snapshot or the ledger may not fit"
        return Line("disk", str(settings.folder), "warn", said, fix)
    return Line("disk", str(settings.folder), "ok", said)


def _vault(settings: NodeSettings) -> Line:
    value = show(settings.folder)
    state: State = "warn" if value["vault"] and value["plain"] else "ok"
    fix = "end the node and run `entrepot node vault init` again" * (state == "warn")
    return Line("vault", NAME, state, spoken(value), fix)


def _certificate(settings: NodeSettings, moment: datetime) -> Iterator[Line]:
    shown = require_shown(settings, moment)
    if shown is None:
        said = "node.toml names no stream: this node answers over Flower alone"
        fix = "name one in [aggregator]"
        yield Line("certificates", "keys/stream.crt", "warn", said, fix)
        return
    left = shown.until - moment
    said = f"good for {left.days} days, until {shown.until:%Y-%m-%d}"
    state: State = "warn" if left < SOON else "ok"
    yield Line("certificates", "keys/stream.crt", state, said, "ask for another" * (left < SOON))


def _reach(settings: NodeSettings) -> Iterator[Line]:
    for name, address in (("address", settings.address), ("stream", settings.stream)):
        if address is None:
            continue
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), WAIT_SECONDS).close()
        except (OSError, ValueError):
            fix = f"see that the aggregator runs, and that this network lets you reach {address}"
            yield Line("reach", name, "fail", f"nothing answers at {address}", fix)
            continue
        yield Line("reach", name, "ok", f"{address} answers")


def _budgets(settings: NodeSettings) -> Iterator[Line]:
    for account in open_books(settings.folder).accounts():
        found = account.statement
        name = f"{found.dataset} · {found.subjects} · {found.unit} · {found.window}"
        said = f"ε {found.remaining:g} of {found.limit:g} left at δ = {found.delta:g}"
        is_low = found.remaining < LOW * found.limit
        fix = "`entrepot budget forecast` says how long it lasts" if is_low else ""
        yield Line("budget", name, "warn" if is_low else "ok", said, fix)
