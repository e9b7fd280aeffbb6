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
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from aggregator.admission import StreamSettings
from aggregator.control_api import ControlApi, ServerUnreachableError
from aggregator.coordinator import Coordinator
from aggregator.errors import AggregatorError
from aggregator.flower import FlowerExchange, FlowerSettings, run_server_app
from aggregator.jobs import Jobs
from aggregator.lanes import Lane, either, preferring, told_by
from aggregator.places import Places
from aggregator.settings import AggregatorSettings, load_aggregator
from aggregator.stream import StreamExchange
from aggregator.transport import as_transport
from federation.control.captures import Capture
from federation.control.logs import begin_logging
from federation.control.supervise import exit_with_parent
from federation.errors import FederationError
from policies.parties import PartyId

_LOG = logging.getLogger(__name__)
RETRY_SECONDS = 0.2

FLOWER_BELIEVES_SECONDS = 30.0
"""How long Flower may count on a node that is dead: two heartbeats of 10 s, and some."""


def enrolled(settings: AggregatorSettings) -> list[PartyId]:
    """Return the parties whose nodes may connect: those whose key lies in `nodes/`."""
    return [PartyId(path.stem) for path in sorted((settings.folder / "nodes").glob("*.pub"))]


def register(settings: AggregatorSettings, address: str, stop: threading.Event) -> None:
    """Every enrolled node's key is registered with the server; waits until the server answers."""
    control = ControlApi(address, Places(settings.folder))
    waiting = {
        party: (settings.folder / "nodes" / f"{party}.pub").read_bytes().strip()
        for party in enrolled(settings)
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
    path = folder / "captures" / f"{settings.party}.cap"
    capture = Capture(path) if settings.capture else None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    jobs = Jobs(folder / "jobs.sqlite")
    with streams(settings, capture) as way:
        register(settings, address, stop)

        def serve(exchange: FlowerExchange) -> None:
            flower = Lane(as_transport(exchange.exchange), exchange.online)
            coordinator(settings, jobs, flower, way).run(stop)

        run_server_app(FlowerSettings(address, Places(folder), capture), serve, stop)


def coordinator(
    settings: AggregatorSettings, jobs: Jobs, flower: Lane, stream: Lane | None
) -> Coordinator:
    """Return one that trains over Flower, and does all else over the streams where there are."""
    if stream is None:
        return Coordinator(settings, jobs, flower.carry, flower.online)
    flower = told_by(flower, stream)
    present = either(stream, flower, partial(enrolled, settings))
    training = preferring(flower, stream)
    return Coordinator(settings, jobs, preferring(stream, flower), present, training=training)


@contextmanager
def streams(settings: AggregatorSettings, capture: Capture | None) -> Iterator[Lane | None]:
    """Give the way over the streams while nodes can open them; None where there is no port."""
    if settings.stream_port is None:
        _LOG.warning(
            "aggregator.toml names no stream_port: everything travels over Flower, more slowly"
        )
        yield None
        return
    places, address = Places(settings.folder), f"127.0.0.1:{settings.stream_port}"
    own = (places.ca, places.certificate, places.certificate_key)
    with StreamExchange(StreamSettings(address, *own, capture), partial(enrolled, settings)) as way:
        yield Lane(way, way.online, partial(way.left, FLOWER_BELIEVES_SECONDS))


def main() -> None:
    """Read the command line and work."""
    parser = argparse.ArgumentParser(prog="python -m aggregator.executor", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    begin_logging()
    exit_with_parent()
    try:
        run(parser.parse_args().folder)
    except (AggregatorError, FederationError, OSError) as why:
        _LOG.error("%s", why)
        sys.exit(1)


if __name__ == "__main__":
    main()
