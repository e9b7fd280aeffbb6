"""A federation that parties join over real TLS, in one process: no Flower, no supervisors."""

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aggregator.calls import membership
from aggregator.gathering import Gathering
from aggregator.hosting import load_hosting
from aggregator.joining import joining, stream_settings
from aggregator.stream import StreamExchange
from experiments import inviting
from experiments.beginning import Begun, Plan, begin, open_begun
from experiments.founding import free_ports
from experiments.inviting import Seat
from experiments.joining import Came, join, resume
from federation.invitations import Token
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.primitives.authority import create_authority, create_server

CN: Final = Seat(PartyId("cn"), "Ningbo", Role.WAREHOUSE, Jurisdiction.CN)
EU: Final = Seat(PartyId("eu"), "Rotterdam", Role.WAREHOUSE, Jurisdiction.EU)
CH: Final = Seat(PartyId("ch"), "Zug", Role.KEYHOLDER, Jurisdiction.CH)
BR: Final = Seat(PartyId("br"), "Recife", Role.MERCHANT, Jurisdiction.BR)
FOUNDERS: Final = (CN, EU, CH)


BORNE = 3
"""How often a person answers one question."""


@dataclass
class Person:
    """Whoever sits in front of the terminal."""

    agreeing: bool = True
    said: list[str] = field(default_factory=list)
    cards: list[object] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.said.append(line)

    def show_card(self, drawn: object) -> None:
        self.cards.append(drawn)

    def agrees(self, question: str) -> bool:
        self.asked.append(question)
        assert self.asked.count(question) <= BORNE, f"asked over and over: {question}"
        return self.agreeing


class Harbour:
    """A federation in `folder`; `open` lets others in while it lasts."""

    def __init__(self, folder: Path, name: str = "harbour") -> None:
        self.folder = folder
        plan = Plan(name=name, organisation="Operations", jurisdiction=Jurisdiction.EU, analyst="D")
        begin(folder / "fed", plan, free_ports())

    @property
    def begun(self) -> Begun:
        return open_begun(self.folder / "fed")

    @property
    def aggregator(self) -> Path:
        return self.folder / "fed" / "aggregator"

    def node(self, party: str) -> Path:
        return self.folder / "nodes" / party

    def invite(self, seat: Seat, hours: float = 1.0) -> Token:
        return inviting.invite(self.begun, seat, hours)

    @contextmanager
    def open(self) -> Iterator[Gathering]:
        """Both ports are open."""
        with joining(self.aggregator) as gathering:
            opened = stream_settings(load_hosting(self.aggregator))
            with StreamExchange(opened, list, [membership(gathering)]):
                yield gathering

    def join(self, token: Token, party: str, who: Person | None = None) -> Came:
        return join(str(token), self.node(party), who or Person(), 0.0)

    def resume(self, party: str, who: Person | None = None) -> Came:
        return resume(self.node(party), who or Person(), 0.0)

    def found(self, seats: Sequence[Seat] = FOUNDERS) -> None:
        """These seats join and found it; both ports are open."""
        for seat in seats:
            self.join(self.invite(seat), seat.party)
        inviting.found(self.begun, inviting.founders(self.begun))
        for seat in (*seats, *seats):
            self.resume(seat.party)
        inviting.take_home(self.begun)


@contextmanager
def founded(folder: Path) -> Iterator[Harbour]:
    """Give a federation that three founded, both of its ports open."""
    made = Harbour(folder)
    with made.open():
        made.found()
        yield made


@contextmanager
def evil(folder: Path) -> Iterator[tuple[int, list[int]]]:
    """Give the port of a TLS server with another key, and the application bytes that it is sent."""
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    create_server(create_authority(folder, now), folder, now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    context.set_alpn_protocols(["h2"])
    sizes: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_count, args=(listener, context, sizes), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], sizes
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # wakes whoever accepts
        listener.close()
        thread.join(5.0)


def _count(listener: socket.socket, context: ssl.SSLContext, sizes: list[int]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.settimeout(5.0)
        sizes.append(0)
        try:
            with context.wrap_socket(connection, server_side=True) as tls:
                while data := tls.recv(65536):
                    sizes[-1] += len(data)
        except OSError:
            continue
