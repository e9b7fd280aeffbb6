"""How long one exchange of a tiny message takes over the streams, beside the same over Flower.

Both with real node processes and one server, over TLS on loopback, one after the other in the same
run. A node writes its answer to disk before it sends it, over either. Idle is what the server of
the streams and one of its nodes use while nothing is asked, in percent of one core. What sealing
costs on top of signing is measured beside it, without a wire.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from aggregator.flower import FlowerExchange
from aggregator.transport import Transport, as_transport
from experiments.bench_sealing import rows as sealing
from experiments.local_fleet import LocalFleet, NotReadyError
from experiments.stream_fleet import StreamFleet
from policies.parties import PartyId

SIZES: Final = (8, 10)
"""Nodes in one exchange."""

_WARM_UP = 2
Result = dict[str, Any]


def run(full: bool) -> list[Result]:
    """The median round trip in milliseconds per number of nodes, and what waiting costs."""
    results: list[Result] = []
    for nodes in SIZES:
        streams, idle = _streams(nodes, 100 if full else 30, 20.0 if full else 5.0)
        flower = _flower(nodes, 30 if full else 10)
        results += [_result(f"stream_roundtrip_{nodes}_ms", streams, "ms", flower), *idle]
    return [*results, *sealing(200 if full else 30)]


def _streams(nodes: int, times: int, rest: float) -> tuple[float, list[Result]]:
    with (
        tempfile.TemporaryDirectory(prefix="entrepot-bench-") as folder,
        StreamFleet(Path(folder), _names(nodes)) as fleet,
    ):
        median = _median(fleet.exchange, fleet.parties, times)
        node = psutil.Process(fleet.processes[fleet.parties[0]].pid)
        idle = _idle({"server": psutil.Process(os.getpid()), "node": node}, rest)
    return median, [
        _result(f"stream_idle_{who}_{nodes}_pct", percent, "%") for who, percent in idle.items()
    ]


def _flower(nodes: int, times: int) -> float:
    with (
        tempfile.TemporaryDirectory(prefix="entrepot-bench-") as folder,
        LocalFleet(Path(folder), _names(nodes)) as fleet,
    ):
        exchange = FlowerExchange(fleet.settings)
        try:
            return _median(as_transport(exchange.exchange), fleet.parties, times)
        finally:
            exchange.close()


def _median(carry: Transport, parties: Sequence[PartyId], times: int) -> float:
    """Return the milliseconds of the median exchange with all parties, after a few to warm up."""
    seconds = [_once(carry, parties, number) for number in range(_WARM_UP + times)]
    return 1000 * statistics.median(seconds[_WARM_UP:])


def _once(carry: Transport, parties: Sequence[PartyId], number: int) -> float:
    requests = {party: f"tiny {number} {party}".encode() for party in parties}
    started = time.monotonic()
    replies = carry(requests, 60.0, {})
    if dict(replies) != requests:
        raise NotReadyError("A node of the local fleet did not answer; see its log.")
    return time.monotonic() - started


def _idle(processes: Mapping[str, psutil.Process], seconds: float) -> dict[str, float]:
    """Return the percent of one core that each process used while nothing was asked."""
    before = {who: sum(process.cpu_times()[:2]) for who, process in processes.items()}
    started = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - started
    return {
        who: 100 * (sum(process.cpu_times()[:2]) - before[who]) / elapsed
        for who, process in processes.items()
    }


def _names(nodes: int) -> list[str]:
    return [f"node-{number}" for number in range(nodes)]


def _result(name: str, value: float, unit: str, flower: float | None = None) -> Result:
    return {
        "name": name,
        "value": round(value, 1),
        "unit": unit,
        "peer": "the same exchange over Flower" if flower is not None else "",
        "peer_value": None if flower is None else round(flower),
    }
