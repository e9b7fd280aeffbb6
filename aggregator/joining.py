"""What the executor runs for those who come in: the join port, and what there is before a founding.

with joining(folder) as gathering:          # the join port, if aggregator.toml names one
    founded(folder, gathering, stop)        # before the founding: waits, with the streams' port
    …                                       # then the coordinator, as ever
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from aggregator.access import Guard
from aggregator.admission import StreamSettings
from aggregator.calls import JoinService, membership
from aggregator.denials import Denials
from aggregator.door import Door, Patience
from aggregator.gathering import Gathering
from aggregator.hosting import Hosting, load_hosting
from aggregator.logins import Logins
from aggregator.people import People
from aggregator.people_door import PeopleDoor
from aggregator.register import Register
from aggregator.stream import StreamExchange

_LOG = logging.getLogger(__name__)
_LOOK: Final = 0.5
"""Seconds between two looks at whether something has changed."""


@contextmanager
def joining(folder: Path) -> Iterator[Gathering]:
    """Give the membership of this folder; entrants can call while it is there.

    Raises:
        AggregatorSettingsError: the folder is none of an aggregator.
        PortTakenError: another program listens on the join port.
    """
    gathering = Gathering(folder, time.time)
    gathering.complete()  # what was cut off after the last word was given
    hosting = load_hosting(folder)
    if hosting.join_port is None or hosting.stream_port is None:
        yield gathering
        return
    patience = Patience(time.monotonic)
    door = Door(lambda: load_hosting(folder), Register(folder), time.time, patience)
    guard = Guard(lambda: load_hosting(folder), Denials(folder))
    people = people_door(folder, guard)
    address = f"{hosting.listen}:{hosting.join_port}"
    with JoinService(address, hosting.places, door, people, guard):
        yield gathering


def people_door(folder: Path, guard: Guard, now: Callable[[], float] = time.time) -> PeopleDoor:
    """Return the people's door of the aggregator in `folder`, with limits of its own."""
    people, limits = People(folder), (Patience(time.monotonic), Patience(time.monotonic))
    logins = Logins(lambda: load_hosting(folder), people, now, *limits)
    return PeopleDoor(lambda: load_hosting(folder), people, logins, guard, now)


def founded(folder: Path, gathering: Gathering, stop: threading.Event) -> bool:
    """Return whether the federation is founded; before that, wait for its founders, or for `stop`.

    Raises:
        PortTakenError: another program listens on the streams' port.
    """
    if load_hosting(folder).pin:
        return True
    _LOG.info("Waiting for the founding: nobody can be asked anything before it.")
    with StreamExchange(stream_settings(load_hosting(folder)), tuple, [membership(gathering)]):
        while not stop.wait(_LOOK):
            if load_hosting(folder).pin:
                return True
    return False


def stream_settings(hosting: Hosting) -> StreamSettings:
    """Return how the port of the streams is opened; it is one that aggregator.toml names."""
    places = hosting.places
    own = (places.ca, places.certificate, places.certificate_key)
    return StreamSettings(f"{hosting.listen}:{hosting.stream_port}", *own)
