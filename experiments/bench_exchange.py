"""How long one exchange of a tiny message takes, and what waiting costs, beside stock Flower.

Ours: a real server and eight real node processes. Beside it, in the same run: stock
`flower-superlink`, `flower-supernode` and `flwr run` of a minimal application that does the same
exchange; without TLS and authentication, which is in its favour. Each of its messages starts a
Python process per node, so the short run measures it with two nodes and says so.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from aggregator.flower import FlowerExchange
from experiments.local_fleet import LocalFleet, NotReadyError, free_ports, wait_until
from federation.control.quiet import QUIET

NODES = 8
_WARM_UP = 2
_SETTLE = 18.0
"""Seconds after the last exchange until the server has been told to delete its messages."""
Result = dict[str, Any]

_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "tiny"
version = "0.1.0"
description = "One tiny exchange, again and again."
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "bench"
[tool.flwr.app.components]
serverapp = "tiny.server:app"
clientapp = "tiny.client:app"
[tool.flwr.app.config]
out = ""
nodes = 0
times = 0
"""
_CLIENT = """\
from flwr.app import Message
from flwr.clientapp import ClientApp
app = ClientApp()
@app.query()
def query(message, context):
    return Message(message.content, reply_to=message)
"""
_SERVER = """\
import json, time
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp
app = ServerApp()
@app.main()
def main(grid, context):
    config, seconds = context.run_config, []
    while len(list(grid.get_node_ids())) < config["nodes"]:
        time.sleep(0.2)
    for number in range(config["times"]):
        started = time.monotonic()
        content = RecordDict({"tiny": ConfigRecord({"number": number})})
        messages = [Message(content, node, "query") for node in grid.get_node_ids()]
        replies = list(grid.send_and_receive(messages, timeout=300))
        assert sum(reply.has_content() for reply in replies) == config["nodes"]
        seconds.append(time.monotonic() - started)
        with open(config["out"], "w") as file:
            json.dump(seconds, file)
"""


def run(full: bool) -> list[Result]:
    """The median round trip in milliseconds and the idle server's share of one core in percent."""
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-") as folder:
        seconds, idle = _ours(Path(folder) / "ours", 30 if full else 10, 60.0 if full else 15.0)
    peers = NODES if full else 2
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-") as folder:
        stock = _stock(Path(folder), peers, 5 if full else 2)
    peer = f"stock flwr 1.41, {peers} nodes, no TLS"
    return [
        _result("roundtrip_ms", 1000 * seconds, "ms", peer, _milliseconds(stock)),
        _result("cpu_idle_pct", idle, "%", "", None),
        _result("nodes", NODES, "processes", "", None),
    ]


def _ours(folder: Path, times: int, rest: float) -> tuple[float, float]:
    """Median seconds of an exchange with all nodes, and the idle server's percent of a core."""
    with LocalFleet(folder, [f"node-{number}" for number in range(NODES)]) as fleet:
        exchange = FlowerExchange(fleet.settings)
        seconds = [_exchange(exchange, fleet, number) for number in range(_WARM_UP + times)]
        time.sleep(_SETTLE)
        server = psutil.Process(fleet.processes["superlink"].pid)
        before, started = server.cpu_times(), time.monotonic()
        time.sleep(rest)
        after, elapsed = server.cpu_times(), time.monotonic() - started
        exchange.close()
    used = after.user + after.system - before.user - before.system
    return statistics.median(seconds[_WARM_UP:]), 100 * used / elapsed


def _exchange(exchange: FlowerExchange, fleet: LocalFleet, number: int) -> float:
    requests = {party: f"tiny {number} {party}".encode() for party in fleet.parties}
    started = time.monotonic()
    replies = exchange.exchange(requests, 60.0)
    if dict(replies) != requests:
        raise NotReadyError("A node of the local fleet did not answer; see its log.")
    return time.monotonic() - started


def _stock(folder: Path, nodes: int, times: int) -> float | None:
    """Median seconds of the same exchange over stock Flower; None when it did not finish."""
    port, *node_ports = free_ports(1 + nodes)
    server = f"127.0.0.1:{port}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    home = {"FLWR_HOME": str(folder / "home"), "HOME": str(folder), "PATH": path}
    environment = os.environ | QUIET | home
    _write_app(folder, server)
    out = folder / "seconds.json"
    commands = [["flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(port)]]
    commands += [
        *(
            ["flower-supernode", "--insecure", "--superlink", server, "--port", str(own)]
            for own in node_ports
        )
    ]
    config = f'out="{out}" nodes={nodes} times={times}'
    with _running(commands, folder, environment):
        with suppress(NotReadyError):
            wait_until(lambda: _started(folder, config, environment), 120.0)
            wait_until(lambda: len(_seconds(out)) == times, 120.0 * times)
        measured = _seconds(out)
    return statistics.median(measured) if measured else None


def _write_app(folder: Path, server: str) -> None:
    package = folder / "tiny" / "tiny"
    package.mkdir(parents=True)
    (folder / "tiny" / "pyproject.toml").write_text(_PROJECT)
    (package / "__init__.py").write_text("")
    (package / "client.py").write_text(_CLIENT)
    (package / "server.py").write_text(_SERVER)
    (folder / "home").mkdir()
    settings = f'[superlink]\ndefault = "own"\n[superlink.own]\naddress = "{server}"\n'
    (folder / "home" / "config.toml").write_text(settings + "insecure = true\n")


def _started(folder: Path, config: str, environment: dict[str, str]) -> bool:
    command = [_tool("flwr"), "run", str(folder / "tiny"), "own", "-c", config]
    with (folder / "run.log").open("ab") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False)
    return done.returncode == 0


def _seconds(out: Path) -> list[float]:
    with suppress(OSError, ValueError):
        return [float(value) for value in json.loads(out.read_text())]
    return []


@contextmanager
def _running(
    commands: Sequence[Sequence[str]], folder: Path, environment: dict[str, str]
) -> Iterator[None]:
    processes = []
    try:
        for command in commands:
            with (folder / "stock.log").open("ab") as log:
                argv = [_tool(command[0]), *command[1:]]
                processes.append(
                    subprocess.Popen(argv, env=environment, stdout=log, stderr=log, cwd=folder)
                )
        yield
    finally:
        _end(processes)


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """The processes and everything they started are gone."""
    family = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            family += psutil.Process(process.pid).children(recursive=True)
        process.terminate()
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(10.0)
        process.kill()
        process.wait()
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds)


def _result(name: str, value: float, unit: str, peer: str, peer_value: float | None) -> Result:
    rounded = round(value) if unit != "%" else round(value, 2)
    return {
        "name": name,
        "value": rounded,
        "unit": unit,
        "peer": peer if peer_value is not None else "",
        "peer_value": peer_value,
    }
