"""A server and echo nodes as processes on this machine, for measuring and testing the transport."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from aggregator.control_api import ControlApi, ServerUnreachableError
from aggregator.flower import FlowerSettings
from aggregator.places import Places, create_secrets
from experiments.errors import ExperimentError
from policies.parties import PartyId
from secure_compute.primitives.certificates import make_certificates, write_certificates
from secure_compute.primitives.node_keys import create_node_key


class NotReadyError(ExperimentError):
    """A process did not come up in time."""


class LocalFleet:
    """The processes of one small federation without rows; a context manager that ends them."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.parties = [PartyId(name) for name in names]
        self.places = Places(folder / "aggregator")
        self.fleet_port, self.control_port = free_ports(2)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._folder = folder

    @property
    def settings(self) -> FlowerSettings:
        """What an executor in this process needs."""
        return FlowerSettings(f"127.0.0.1:{self.control_port}", self.places)

    def node_folder(self, party: str) -> Path:
        """The folder of a node."""
        return self._folder / "nodes" / party

    def __enter__(self) -> Self:
        """The server answers and every node is online."""
        write_certificates(self.places.folder / "keys", make_certificates(datetime.now(UTC)))
        create_secrets(self.places)
        self.start_server()
        control = self.control()
        for party in self.parties:
            control.register(party, create_node_key(self.node_folder(party) / "flower"))
            self.start_node(party)
        wait_until(lambda: sum(node.online for node in control.nodes()) == len(self.parties))
        control.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None
    ) -> None:
        """No process is left."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start_server(self) -> None:
        """The server is starting."""
        ports = ["--fleet-port", str(self.fleet_port), "--control-port", str(self.control_port)]
        folder = ["--folder", str(self.places.folder)]
        self._start("superlink", ["-m", "aggregator.superlink", *folder, *ports])

    def start_node(self, party: str) -> None:
        """A node is starting."""
        address = f"127.0.0.1:{self.fleet_port}"
        self._start(party, ["-m", "experiments.echo", address, str(self.node_folder(party))])

    def kill(self, name: str) -> None:
        """The process is dead, by SIGKILL."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def control(self) -> ControlApi:
        """A client of the control port of a server that answers."""
        control = ControlApi(self.settings.address, self.places)
        wait_until(lambda: _answers(control))
        return control

    def _start(self, name: str, arguments: list[str]) -> None:
        self.processes[name] = start_python(arguments, self._folder / f"{name}.log")


def start_python(arguments: Sequence[str], log_file: Path) -> "subprocess.Popen[bytes]":
    """Return a Python process of this checkout; what it says is added to its log."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    with log_file.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *arguments], stdout=log, stderr=log, env=environment
        )


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """The condition holds.

    Raises:
        NotReadyError: it did not within the time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotReadyError("A process of the local fleet did not come up; see its log.")
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface on which nobody listens at the moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def _answers(control: ControlApi) -> bool:
    try:
        control.nodes()
    except ServerUnreachableError:
        return False
    return True
