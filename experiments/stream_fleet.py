"""A stream server in this process and echo nodes as processes, for measuring and testing it."""

import signal
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from aggregator.admission import StreamSettings
from aggregator.places import Places
from aggregator.stream import StreamExchange
from experiments.local_fleet import start_python, wait_until
from federation.control.captures import Capture
from policies.parties import PartyId
from secure_compute.primitives.certificates import (
    make_certificates,
    write_certificates,
    write_client_certificate,
)
from secure_compute.primitives.node_keys import create_stream_key


class StreamFleet:
    """The processes of one small federation without rows; a context manager that ends them.

    exchange: the server; it is this process's own.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.parties = [PartyId(name) for name in names]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._folder = folder
        keys: dict[str, bytes] = {
            party: create_stream_key(self.keys(party) / "stream.key") for party in self.parties
        }
        certificates = make_certificates(datetime.now(UTC), clients=keys)
        self.places = Places(folder / "aggregator")
        write_certificates(self.places.ca.parent, certificates)
        for party in self.parties:
            write_client_certificate(self.keys(party), certificates, party)
        places = self.places
        settings = StreamSettings(
            "127.0.0.1:0",
            places.ca,
            places.certificate,
            places.certificate_key,
            capture=Capture(places.folder / "sent.cap"),
        )
        self.exchange = StreamExchange(settings, lambda: self.parties)

    def node_folder(self, party: str) -> Path:
        """Return the folder of a node."""
        return self._folder / "nodes" / party

    def keys(self, party: str) -> Path:
        """Return the folder of a node's keys."""
        return self.node_folder(party) / "keys"

    def __enter__(self) -> Self:
        """The server answers and every node is online."""
        self.exchange.start()
        for party in self.parties:
            self.start_node(party)
        wait_until(lambda: len(self.exchange.online()) == len(self.parties))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None
    ) -> None:
        """No process is left."""
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.exchange.stop()

    def start_node(self, party: str) -> None:
        """A node is starting."""
        words = ["-m", "experiments.stream_echo", self.exchange.address]
        words.append(str(self.node_folder(party)))
        self.processes[party] = start_python(words, self._folder / f"{party}.log")

    def kill(self, party: str) -> None:
        """The node's process is dead, by SIGKILL."""
        process = self.processes.pop(party)
        process.send_signal(signal.SIGKILL)
        process.wait()
