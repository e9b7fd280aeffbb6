"""The aggregator's side of the transport: a Flower server application that exchanges bytes.

    places = Places(settings.folder)
    flower = FlowerSettings(address="127.0.0.1:9444", places=places, capture=None)

    def main(exchange: FlowerExchange) -> None:
        replies = exchange.exchange({PartyId("warehouse-cn"): envelope}, 60.0, "train")
        for party, reply in replies.items():
            match reply:
                case Lost(reason): …
                case bytes(): …

    run_server_app(flower, main)       # blocks until `main` returns

This process is the executor and the application in one: it starts a run, takes the run's task with
the executor's secret, and calls `main` with an exchange that talks to the server as that task. The
app bundle of the run is never unpacked. When the server forgets the run (a long outage), the
exchange starts another one and goes on; requests that were under way are sent again, and a node
that has answered one before repeats its answer. `exchange` may be called from several threads.
"""

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from federation.control.quiet import QUIET

os.environ.update(QUIET)
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

# ---- PRIVATE flwr: pinned by tests/integration/test_flwr_contract.py -------------------------
from flwr.superlink.grid import HttpGrid

# ----------------------------------------------------------------------------------------------
from aggregator.control_api import ControlApi, ServerUnreachableError
from aggregator.exchange import (
    Exchange,
    Link,
    Lost,
    RunLostError,
    ServerSilentError,
    by_party,
    run_exchange,
)
from aggregator.tasklink import FlowerSettings, TaskLink
from policies.parties import PartyId

_RETRY = 0.5
_ACQUIRE = 20.0

__all__ = ["FlowerExchange", "FlowerSettings", "Lost", "run_server_app"]


class FlowerExchange:
    """Requests to parties and their replies, over whichever run is alive; threads may share it."""

    def __init__(self, settings: FlowerSettings, stop: threading.Event | None = None) -> None:
        self._settings = settings
        self._stop = stop or threading.Event()
        self._control = ControlApi(settings.address, settings.places)
        self._capture = settings.capture
        self._lock = threading.Lock()
        self._nodes: dict[PartyId, int] = {}
        self.link: TaskLink | None = None

    def exchange(
        self,
        requests: Mapping[PartyId, bytes],
        timeout: float,
        message_type: str = "query.exchange",
        sooner: Mapping[PartyId, float] = MappingProxyType({}),
    ) -> Mapping[PartyId, bytes | Lost]:
        """What each party replied within `timeout` seconds, or why nothing came.

        Args:
            requests: the envelope for each party. The same bytes get the same reply, always.
            timeout: seconds, after which whoever has not replied is lost.
            message_type: `train` or `query.…`; the server's books show it.
            sooner: seconds for the parties that are waited for less long.
        """
        begun = time.monotonic()
        deadline = begun + timeout
        nodes = self._find(requests, deadline)
        payloads = {nodes[party]: requests[party] for party in requests if party in nodes}
        if self._capture is not None:
            for payload in payloads.values():
                self._capture.append(payload)
        until = {nodes[p]: begun + seconds for p, seconds in sooner.items() if p in nodes}
        state = Exchange(payloads, message_type, deadline, sooner=until)
        run_exchange(state, lambda lost: self._alive(lost, deadline), time.monotonic)
        return by_party(state.replies, nodes, requests)

    def open(self, until: float) -> TaskLink:
        """A run is under way and this process holds its task."""
        return self._alive(None, until)

    def close(self) -> None:
        """The run is over."""
        if self.link is not None:
            self.link.finish()
        self._control.close()

    def online(self) -> frozenset[PartyId]:
        """The registered parties whose nodes are there."""
        return frozenset(node.party for node in self._control.nodes() if node.online)

    def _alive(self, lost: Link | None, until: float) -> TaskLink:
        with self._lock:
            if self.link is None or self.link is lost:
                if self.link is not None:
                    self.link.closed.set()
                self.link = None
                self.link = self._start(until)
            return self.link

    def _start(self, until: float) -> TaskLink:
        while True:
            try:
                self._control.stop_runs()
                run_id = self._control.start_run()
                return TaskLink(self._settings, run_id, min(until, time.monotonic() + _ACQUIRE))
            except (ServerUnreachableError, RunLostError, ServerSilentError) as error:
                if time.monotonic() + _RETRY > until or self._stop.wait(_RETRY):
                    raise ServerSilentError("The Flower server does not answer.") from error

    def _find(self, parties: Collection[PartyId], until: float) -> dict[PartyId, int]:
        """Return the numbers at the server: a party has another one once its key is another."""
        while True:
            try:
                self._nodes = {node.party: node.node_id for node in self._control.nodes()}
                return self._nodes
            except ServerUnreachableError:
                is_known = all(party in self._nodes for party in parties)
                if is_known or time.monotonic() > until or self._stop.wait(_RETRY):
                    return self._nodes


def run_server_app(
    settings: FlowerSettings,
    main: Callable[[FlowerExchange], None],
    stop: threading.Event | None = None,
) -> None:
    """`main` has returned; while it ran, this process was the server application of a run.

    Args:
        settings: how the server is reached; it is waited for.
        main: the application; it is given the exchange, and runs once.
        stop: set it to stop waiting for a server that is not there.

    Raises:
        ServerSilentError: `stop` was set before the server answered.
        ServerRefusedError: the control token or the executor secret is not the server's.
    """
    exchange = FlowerExchange(settings, stop)
    app = ServerApp()

    @app.main()
    def _main(grid: Grid, context: Context) -> None:  # noqa: ARG001
        main(exchange)

    link = exchange.open(float("inf"))
    grid = HttpGrid(settings.address, False, settings.places.ca.read_bytes(), token=link.token)
    grid.set_run(link.run)
    try:
        app(grid, link.context)
    finally:
        exchange.close()
