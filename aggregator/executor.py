"""The aggregator's working process: registers the nodes, then works through the table of jobs.

    python -m aggregator.executor --folder DIR

It is the executor and the Flower server application in one. Killed at any moment and started
again, it takes up the interrupted order at its last committed round.
"""

import argparse
import logging
import signal
import sys
import threading
import time
from pathlib import Path

from aggregator.control_api import ControlApi, ServerUnreachableError
from aggregator.coordinator import Coordinator
from aggregator.errors import AggregatorError
from aggregator.flower import FlowerExchange, FlowerSettings, run_server_app
from aggregator.jobs import Jobs
from aggregator.places import Places
from aggregator.settings import AggregatorSettings, load_aggregator
from aggregator.transport import as_transport
from federation.control.supervise import exit_with_parent
from federation.errors import FederationError
from policies.parties import PartyId

RETRY_SECONDS = 0.2


def register(settings: AggregatorSettings, address: str, stop: threading.Event) -> None:
    """Every enrolled node's key is registered with the server; waits until the server answers."""
    control = ControlApi(address, Places(settings.folder))
    waiting = {
        PartyId(path.stem): path.read_bytes().strip()
        for path in sorted((settings.folder / "nodes").glob("*.pub"))
    }
    while waiting and not stop.is_set():
        party, key = next(iter(waiting.items()))
        try:
            control.register(party, key)
            del waiting[party]
        except ServerUnreachableError:
            time.sleep(RETRY_SECONDS)
    control.close()


def run(folder: Path) -> None:
    """Work until told to stop."""
    settings = load_aggregator(folder)
    address = f"127.0.0.1:{settings.control_port}"
    capture = folder / "captures" / f"{settings.party}.cap" if settings.capture else None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    jobs = Jobs(folder / "jobs.sqlite")
    register(settings, address, stop)

    def serve(exchange: FlowerExchange) -> None:
        carry = as_transport(exchange.exchange)
        Coordinator(settings, jobs, carry, exchange.online).run(stop)

    run_server_app(FlowerSettings(address, Places(folder), capture), serve, stop)


def main() -> None:
    """Read the command line and work."""
    parser = argparse.ArgumentParser(prog="python -m aggregator.executor", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    exit_with_parent()
    try:
        run(parser.parse_args().folder)
    except (AggregatorError, FederationError, OSError) as why:
        logging.getLogger(__name__).error("%s", why)
        sys.exit(1)


if __name__ == "__main__":
    main()
