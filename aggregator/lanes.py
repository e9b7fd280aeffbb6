"""Two ways to the same nodes: Flower, and the streams that they keep.

    flower = Lane(as_transport(exchange.exchange), exchange.online)
    streams = Lane(stream_exchange, stream_exchange.online)
    Coordinator(settings, jobs, preferring(streams, flower), either(streams, flower, enrolled),
                training=preferring(flower, streams))

Which letters prefer which way is `asking`'s to say. A party that is on the other way alone is
reached there, with the same bytes. Nodes answer from one memory whatever carries the question, so
that one that came over both ways, or over one and after a crash over the other, is answered alike.
"""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aggregator.errors import AggregatorError
from aggregator.transport import Transport
from policies.parties import PartyId


@dataclass(frozen=True, slots=True)
class Lane:
    """One way: what carries letters along it, who is there at this moment, and who just left.

    lines: by what number each is there: another one whenever it came anew; nothing is not known.
    """

    carry: Transport
    online: Callable[[], Collection[PartyId]]
    left: Callable[[], Collection[PartyId]] = frozenset
    lines: Callable[[], Mapping[PartyId, int]] = dict


def preferring(first: Lane, second: Lane) -> Transport:
    """Return a transport over `first`, and over `second` for whoever is there and not on `first`.

    Whoever is on neither is asked over `first`, and may come back to it in time.
    """

    def carry(
        requests: Mapping[PartyId, bytes], timeout: float, sooner: Mapping[PartyId, float]
    ) -> Mapping[PartyId, bytes | str]:
        elsewhere = _elsewhere(requests, first, second)
        there = {party: letter for party, letter in requests.items() if party not in elsewhere}
        if not elsewhere:
            return first.carry(there, timeout, sooner)
        others = {party: requests[party] for party in elsewhere}
        with ThreadPoolExecutor(1) as pool:
            reached = pool.submit(second.carry, others, timeout, sooner)
            return {**(first.carry(there, timeout, sooner) if there else {}), **reached.result()}

    return carry


def either(
    first: Lane, second: Lane, everybody: Callable[[], Collection[PartyId]]
) -> Callable[[], Collection[PartyId]]:
    """Return what says who is there, on one way or the other.

    The second is asked only while somebody is missing on the first.
    """

    def present() -> Collection[PartyId]:
        there = frozenset(first.online())
        return there if there >= frozenset(everybody()) else there | frozenset(second.online())

    return present


def told_by(second: Lane, first: Lane) -> Lane:
    """Return the second way without whoever just left the first.

    A process on both ways is on neither once it is dead. A stream ends with it at once; Flower
    counts on it until two heartbeats are missing, and whoever believed that would wait for nothing.
    """
    return Lane(second.carry, lambda: frozenset(second.online()) - frozenset(first.left()))


def _elsewhere(parties: Collection[PartyId], first: Lane, second: Lane) -> frozenset[PartyId]:
    """Return the parties that are on the second way and not on the first.

    A way that does not know who is there is no reason to take another, or to take it.
    """
    try:
        missing = frozenset(parties) - frozenset(first.online())
        return missing & frozenset(second.online()) if missing else missing
    except AggregatorError:
        return frozenset()
