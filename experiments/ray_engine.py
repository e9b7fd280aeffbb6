"""A simulation's nodes as Flower's: virtual SuperNodes on Ray, as many at once as there are cores.

    ServerApp (this process)  ── weights, number ──▶  ClientApp of party i (a Ray worker)
                              ◀── its part of the round ──

A worker reads its party's rows from a file, once; messages carry public weights and parts alone.
What parts are, and what is made of them, is what it is in one process: masks are put on and sums
opened here. So parts pass through Ray bare, and rows lie in a folder of the caller's, deleted at
the end of the run unless this process is killed: it is for studies on data that the caller owns.
Ray and its workers listen on loopback, and end with the run.
"""

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

from federation.control.quiet import QUIET

os.environ.update(QUIET)
# Where Ray is told that this machine is no part of a cluster, it listens on loopback alone.
os.environ.update({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"})
os.environ.update({"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"})
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from numpy.typing import NDArray

from clients.training.sampling import UnitRows
from experiments.engines import Part, Vectors, Work
from experiments.errors import ExperimentError, UsageError
from federation.models import Vector

_VECTOR: Final = "vector"
_ROUND: Final = "round"
_NODES: Final = "partition-id"
_PAUSE: Final = 0.05


class SimulationError(ExperimentError):
    """A node of a simulation failed."""


def on_ray(part: Part, rows: Mapping[Any, UnitRows], work: Work) -> Vector:
    """Return what `work` comes to, with every part done by a virtual SuperNode.

    Raises:
        UsageError: Ray is not installed.
        SimulationError: a node failed; the first failure's words are in it.
    """
    if find_spec("ray") is None:
        raise UsageError(
            "--engine ray needs Flower's simulation engine: pip install 'entrepot[ray]'; or leave "
            "the option out, and all nodes run in this process"
        )
    found: list[Vector] = []
    over = threading.Event()
    with tempfile.TemporaryDirectory(prefix="entrepot-ray-") as folder:
        _write(Path(folder), list(rows.values()))
        server = ServerApp()

        @server.main()
        def _main(grid: Grid, context: Context) -> None:  # noqa: ARG001
            found.append(work(lambda weights, number: _asked(grid, [*rows], weights, number, over)))

        try:
            run_simulation(server, _node(part, Path(folder)), len(rows), backend_config=_backend())
        except RuntimeError as why:  # all that Flower says of an engine that failed
            raise SimulationError(f"Flower's engine failed: {why.__cause__ or why}") from why
        finally:
            over.set()  # the server's thread asks nobody any more
    return found[0]


def _backend() -> Any:
    started = {
        "num_cpus": os.cpu_count() or 1,
        "include_dashboard": False,
        "log_to_driver": False,
        "_node_ip_address": "127.0.0.1",
    }
    return {"init_args": started, "client_resources": {"num_cpus": 1, "num_gpus": 0.0}}


def _node(part: Part, folder: Path) -> ClientApp:
    """Return the application of all nodes; which party a node is, its configuration says."""
    app = ClientApp()

    @app.train()
    def _train(message: Message, context: Context) -> Message:
        index = int(context.node_config[_NODES])
        (weights,) = message.content.array_records[_VECTOR].to_numpy_ndarrays()
        number = _number(message.content)
        vector = part(weights, _read(folder / f"{index}.npz"), number)
        return Message(_content(vector, index), reply_to=message)

    return app


def _asked(
    grid: Grid, parties: list[Any], weights: Vector, number: int, over: threading.Event
) -> Vectors:
    """Return every party's part of a round, in the parties' order."""
    nodes = _nodes(grid, len(parties), over)
    content = _content(weights, number)
    asked = [Message(content, dst_node_id=node, message_type="train") for node in nodes]
    found: dict[int, NDArray[Any]] = {}
    for reply in _replies(grid, asked, over):
        if reply.has_error():
            raise SimulationError(f"a node of the simulation failed: {reply.error.reason}")
        index = _number(reply.content)
        (found[index],) = reply.content.array_records[_VECTOR].to_numpy_ndarrays()
    return {party: found[index] for index, party in enumerate(parties)}


def _replies(grid: Grid, asked: list[Message], over: threading.Event) -> Iterator[Message]:
    """Yield the replies as they come, until all are there or the engine is over."""
    open_ = set(grid.push_messages(asked))
    while open_:
        for reply in grid.pull_messages(open_):
            open_.discard(reply.metadata.reply_to_message_id)
            yield reply
        _pause(over)


def _nodes(grid: Grid, many: int, over: threading.Event) -> list[int]:
    """Return the nodes once all are there; Flower registers them while the server starts."""
    while len(nodes := list(grid.get_node_ids())) < many:
        _pause(over)
    return nodes


def _pause(over: threading.Event) -> None:
    if over.wait(_PAUSE):
        raise SimulationError("Flower's engine ended before the simulation did")


def _content(vector: NDArray[Any], number: int) -> RecordDict:
    arrays = ArrayRecord([np.ascontiguousarray(vector)])
    return RecordDict({_VECTOR: arrays, _ROUND: ConfigRecord({"number": number})})


def _number(content: RecordDict) -> int:
    """Return a round's number, or in a reply its node's."""
    return cast("int", content.config_records[_ROUND]["number"])


def _write(folder: Path, rows: list[UnitRows]) -> None:
    for index, one in enumerate(rows):
        named = {field.name: getattr(one, field.name) for field in fields(one)}
        np.savez(folder / f"{index}.npz", **named)


@lru_cache(maxsize=4)
def _read(path: Path) -> UnitRows:
    with np.load(path, allow_pickle=False) as file:
        named = {name: file[name] for name in file.files}
    return UnitRows(**named | {"phases": int(named["phases"])})
