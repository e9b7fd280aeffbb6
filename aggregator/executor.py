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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from aggregator.access import Machines
from aggregator.calls import membership
from aggregator.control_api import ControlApi, ServerRefusedError, ServerUnreachableError
from aggregator.coordinator import Coordinator
from aggregator.covered import Covered
from aggregator.errors import AggregatorError
from aggregator.flower import FlowerExchange, FlowerSettings, run_server_app
from aggregator.gathering import Gathering
from aggregator.hosting import load_hosting
from aggregator.jobs import Jobs
from aggregator.joining import founded, joining, stream_settings
from aggregator.lanes import Lane, either, preferring, told_by
from aggregator.places import Places
from aggregator.rosters import members, stamp, taking_part
from aggregator.settings import AggregatorSettings, load_aggregator
from aggregator.stream import StreamExchange
from aggregator.transport import Transport, as_transport
from federation.control.captures import Capture, captures
from federation.control.logs import begin_logging
from federation.control.supervise import exit_with_parent
from federation.errors import FederationError
from policies.parties import PartyId

_LOG = logging.getLogger(__name__)
RETRY_SECONDS = 0.2

FLOWER_BELIEVES_SECONDS = 30.0
"""How long Flower may count on a node that is dead: two heartbeats of 10 s, and some."""


def enrolled(settings: AggregatorSettings) -> list[PartyId]:
    """Return the parties whose nodes may connect: members whose key lies in `nodes/`.

    One that is suspended or has left may not, from the moment at which the roster says so.
    """
    there = taking_part(settings)
    keys = sorted((settings.folder / "nodes").glob("*.pub"))
    return [party for party in (PartyId(path.stem) for path in keys) if party in there]


def register(settings: AggregatorSettings, address: str, stop: threading.Event) -> None:
    """Every enrolled node's key is registered with the server, and that of nobody who has left.

    Waits until the server answers. The server takes no key a second time, so that of a suspended
    node stays: nothing is put there for it, and it may be restored.
    """
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
        except ServerRefusedError as why:  # the others go on without it
            _LOG.error("the key of %s is refused; it needs another one: %s", party, why)
            del waiting[party]
    if not stop.is_set():
        there = members(settings)
        for node in control.nodes():
            if node.party not in there:
                control.unregister(node.node_id)
                _LOG.info("%s is not registered any more", node.party)
    control.close()


def run(folder: Path) -> None:
    """Work until told to stop; before the founding, help those who found."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with joining(folder) as gathering:
        if founded(folder, gathering, stop):
            work(folder, gathering, stop)


def work(folder: Path, gathering: Gathering, stop: threading.Event) -> None:
    """Work through the table of jobs until told to stop."""
    settings = load_aggregator(folder)
    address = f"127.0.0.1:{settings.control_port}"
    signed, capture = captures(folder, settings.party) if settings.capture else (None, None)
    jobs = Jobs(settings.stores.jobs)
    admit = Machines(gathering).admit
    with streams(settings, capture, [membership(gathering)], admit) as way:
        register(settings, address, stop)

        def serve(exchange: FlowerExchange) -> None:
            flower = Lane(as_transport(exchange.exchange), exchange.online)
            while not stop.is_set():  # one after the other, whenever members changed
                coordinator(settings, jobs, flower, way, signed).run(stop)
                register(settings, address, stop)

        run_server_app(FlowerSettings(address, Places(folder), capture), serve, stop)


def coordinator(
    settings: AggregatorSettings,
    jobs: Jobs,
    flower: Lane,
    stream: Lane | None,
    capture: Capture | None = None,
) -> Coordinator:
    """Return one that trains over Flower, and does all else over the streams where there are.

    Whatever carries its letters sees covers; capture: the letters are written there as signed.
    """
    roster = settings.roster()

    def covered(carry: Transport) -> Transport:
        return Covered(carry, settings, roster, capture)

    if stream is None:
        return Coordinator(settings, jobs, covered(flower.carry), flower.online)
    flower = told_by(flower, stream)
    present = either(stream, flower, partial(enrolled, settings))
    training = covered(preferring(flower, stream))
    asked = covered(preferring(stream, flower))
    return Coordinator(settings, jobs, asked, present, training=training, lines=stream.lines)


@contextmanager
def streams(
    settings: AggregatorSettings,
    capture: Capture | None,
    services: Sequence[Any] = (),
    require: Callable[[PartyId, bytes], None] = lambda *_: None,
) -> Iterator[Lane | None]:
    """Give the way over the streams while nodes can open them; None where there is no port."""
    if settings.stream_port is None:
        _LOG.warning(
            "aggregator.toml names no stream_port: everything travels over Flower, more slowly"
        )
        yield None
        return
    opened = replace(stream_settings(load_hosting(settings.folder)), capture=capture)
    looks = (partial(enrolled, settings), services, require, partial(stamp, settings))
    with StreamExchange(opened, *looks) as way:
        yield Lane(way, way.online, partial(way.left, FLOWER_BELIEVES_SECONDS), way.lines)


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
