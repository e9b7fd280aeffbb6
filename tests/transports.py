"""Small federations of echo nodes that differ only in what carries the letters."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from aggregator.flower import FlowerExchange
from aggregator.switchboard import Line, Switchboard
from aggregator.transport import FAILED, UNREGISTERED, Transport, as_transport
from clients.inbox import Inbox
from clients.once import Once
from experiments.echoing import echo
from experiments.local_fleet import LocalFleet
from experiments.stream_fleet import StreamFleet
from federation.control.frames import Assembly, Kind, Message, cut
from policies.parties import PartyId

A, B = PartyId("warehouse-cn"), PartyId("merchant-uk")
NOBODY = PartyId("nobody")


class Carried(Protocol):
    """Two nodes, A and B, and how to reach and disturb them."""

    carry: Transport
    online: Callable[[], frozenset[PartyId]]

    def node_folder(self, party: str) -> Path: ...

    def kill(self, party: str) -> None:
        """The node's process is dead, with no chance to say so."""

    def start_node(self, party: str) -> None:
        """It is coming back, with what its folder holds."""

    def restart_server(self) -> None:
        """What carries the letters was gone for a moment, and forgot what it could."""

    def close(self) -> None:
        """Nothing is left."""


class Flower(LocalFleet):
    """Over the Flower server, as processes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, [A, B])
        self.__enter__()
        self._exchange = FlowerExchange(self.settings)
        self.carry = as_transport(self._exchange.exchange)
        self.online = self._exchange.online

    def restart_server(self) -> None:
        self.kill("superlink")
        self.start_server()

    def close(self) -> None:
        self._exchange.close()
        self.__exit__(None, None, None)


class Streams(StreamFleet):
    """Over streams, with nodes as processes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, [A, B])
        self.carry = self.exchange
        self.online = self.exchange.online
        self.__enter__()

    def restart_server(self) -> None:
        self.exchange.stop()
        self.exchange.start()

    def close(self) -> None:
        self.__exit__(None, None, None)


class Played:
    """Without sockets or processes: the switchboard, frames, and handlers in threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._board = Switchboard()
        self._lines: dict[str, Line] = {}
        self._onces: dict[str, Once] = {}
        self._pool = ThreadPoolExecutor(32)
        self.online = self._board.connected
        for party in (A, B):
            self.node_folder(party).mkdir(parents=True)
            self.start_node(party)

    def node_folder(self, party: str) -> Path:
        return self._folder / party

    def carry(
        self, requests: Mapping[PartyId, bytes], timeout: float, sooner: Mapping[PartyId, float]
    ) -> Mapping[PartyId, bytes | str]:
        known = {party: request for party, request in requests.items() if party in (A, B)}
        lost = dict.fromkeys(set(requests) - set(known), UNREGISTERED)
        return lost | self._board.ask(known, timeout, sooner)

    def kill(self, party: str) -> None:
        self._board.disconnect(self._lines[party], "killed")

    def start_node(self, party: str) -> None:
        folder = self.node_folder(party)
        once = Once(echo(folder), Inbox(folder / "outbox.sqlite"))
        self._keep(PartyId(party), once)

    def restart_server(self) -> None:
        for party in (A, B):
            self.kill(party)
            self._keep(party, self._onces[party])

    def close(self) -> None:
        for party in (A, B):
            self.kill(party)

    def _keep(self, party: PartyId, once: Once) -> None:
        self._onces[party] = once
        line = self._lines[party] = self._board.connect(party)
        threading.Thread(target=self._serve, args=(line, once), daemon=True).start()

    def _serve(self, line: Line, once: Once) -> None:
        assembly = Assembly({Kind.REQUEST})
        while (asked := self._board.next(line)) is not None:
            frames = cut(Message(asked.id, Kind.REQUEST, asked.payload))
            *_, request = (assembly.add(frame) for frame in frames)
            assert request is not None
            self._pool.submit(self._answer, line, once, request)

    def _answer(self, line: Line, once: Once, request: Message) -> None:
        try:
            reply: bytes | str = once(request.payload)
        except ValueError:
            reply = FAILED
        if not line.ended:
            self._board.answer(line, request.id, reply)


MAKERS: dict[str, Callable[[Path], Carried]] = {
    "played": Played,
    "stream": Streams,
    "flower": Flower,
}
