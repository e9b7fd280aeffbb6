"""What Prometheus is told of a node or an aggregator: read from its folder, nothing from a row.

Every figure is a function of process tables, books, ledger and settings, all of which the operator
of the folder sees anyway. It is read anew at every scrape, and nothing is written: a folder whose
processes are down, or never ran, says so.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Final
from wsgiref.simple_server import WSGIServer

import psutil
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aggregator.database import is_there
from aggregator.jobs import Jobs
from aggregator.key_pool import KeyPool
from aggregator.settings import load_aggregator
from clients.approvals import Approvals
from clients.certificate import require_shown
from clients.errors import ClientError
from experiments.accounts import NodeBooks, open_books
from experiments.errors import UsageError

PROCESSES: Final = {"node": ("node",), "aggregator": ("superlink", "executor")}


class FolderCollector(Collector):
    """What the folder of a node or of an aggregator says at every scrape.

    Raises:
        UsageError: the folder is neither.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.role = _role(folder)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, with the values of this moment."""
        yield from _processes(self._folder, PROCESSES[self.role])
        yield from _node(self._folder) if self.role == "node" else _aggregator(self._folder)


def exposition(folder: Path) -> str:
    """Return the metrics of a folder as Prometheus reads them."""
    return generate_latest(_registry(folder)).decode()


def serve(folder: Path, host: str, port: int) -> tuple[WSGIServer, Thread]:
    """Answer scrapes on a port, in a thread, until the server is shut down.

    Raises:
        UsageError: the folder is neither a node nor an aggregator, or the port is taken.
    """
    try:
        return start_http_server(port, host, _registry(folder))
    except OSError as why:
        raise UsageError(f"nothing can listen on {host}:{port}: {why.strerror}") from why


def _registry(folder: Path) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(FolderCollector(folder))
    return registry


def _role(folder: Path) -> str:
    for role in PROCESSES:
        if (folder / f"{role}.toml").exists():
            return role
    raise UsageError(
        f"{folder} holds neither a node.toml nor an aggregator.toml; name the folder of a node or "
        "of an aggregator"
    )


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"entrepot_{name}", about, labels=labels)


def _processes(folder: Path, names: tuple[str, ...]) -> Iterator[Metric]:
    up = _gauge("up", "Whether the process runs.", "process")
    memory = _gauge("resident_bytes", "Memory that the process holds.", "process")
    handles = _gauge("open_files", "Files and sockets that the process holds open.", "process")
    for name in names:
        process = _running(folder / "run" / f"{name}.pid")
        up.add_metric([name], float(process is not None))
        if process is not None:
            with suppress(psutil.Error):
                memory.add_metric([name], process.memory_info().rss)
                handles.add_metric([name], process.num_fds())
    yield from (up, memory, handles)


def _running(path: Path) -> psutil.Process | None:
    with suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int(path.read_text(encoding="utf-8")))
        return process if process.status() != psutil.STATUS_ZOMBIE else None
    return None


def _node(folder: Path) -> Iterator[Metric]:
    found = open_books(folder)
    yield from _accounts(found)
    yield from _ledger(found.books.head().size)
    waiting = _gauge("approvals_waiting", "Orders that wait for a person.")
    waiting.add_metric([], len(Approvals(folder).waiting()))
    yield waiting
    left = _gauge("certificate_seconds", "Time until the stream's certificate is over.")
    with suppress(ClientError):
        shown = require_shown(found.settings)
        if shown is not None:
            left.add_metric([], (shown.until - datetime.now(UTC)).total_seconds())
    yield left


def _accounts(found: NodeBooks) -> Iterator[Metric]:
    labels = ("subjects", "unit", "window")
    limit = _gauge("epsilon_limit", "What the account may ever spend.", *labels)
    spent = _gauge("epsilon_spent", "Epsilon of what has left.", *labels)
    pending = _gauge("epsilon_pending", "What open orders add to it.", *labels)
    releases = _gauge("releases", "Releases that have left.", *labels)
    for account in found.accounts():
        said = account.statement
        where = [said.subjects, said.unit, said.window]
        limit.add_metric(where, said.limit)
        spent.add_metric(where, said.epsilon_spent)
        pending.add_metric(where, said.epsilon_pending)
        releases.add_metric(where, said.releases)
    yield from (limit, spent, pending, releases)


def _ledger(size: int) -> Iterator[Metric]:
    entries = _gauge("ledger_entries", "Entries of the ledger.")
    entries.add_metric([], size)
    yield entries


def _aggregator(folder: Path) -> Iterator[Metric]:
    settings = load_aggregator(folder)
    jobs = _gauge("orders", "Orders on the table, by how far they are.", "status")
    if is_there(settings.stores.jobs):
        for status, count in Jobs(settings.stores.jobs).counts().items():
            jobs.add_metric([status], count)
    keys = _gauge("question_keys_ready", "Single-use keys that wait for a question.")
    if is_there(settings.stores.keys):
        keys.add_metric([], KeyPool(settings.stores.keys).ready)
    members = _gauge("members", "Members of the roster.", "role")
    roster = settings.roster()
    for role, count in Counter(member.role.value for member in roster.members).items():
        members.add_metric([role], count)
    epoch = _gauge("roster_epoch", "Epoch of the roster.")
    epoch.add_metric([], roster.epoch)
    yield from (jobs, keys, members, epoch)
