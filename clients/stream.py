"""The node's end of the stream: connect, stay, answer, until told to stop.

    settings = StreamSettings("aggregator.example:9445", keys / "ca.crt", keys / "stream.crt",
                              keys / "stream.key", capture=Capture(folder / "captures/cn.cap"))
    answer = Once(handler, Inbox(folder / "outbox.sqlite"), is_of_the_moment)
    serve_stream(settings, answer, threading.Event())

`serve_stream` blocks until the event is set. When the stream breaks the node opens another within
two seconds, for as long as it lives. An answer goes back on the stream that asked for it, or not at
all: the server asks again on the next one, and `Once` repeats what was answered, also after a
crash. What `answer` raises never leaves the node.
"""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc  # type: ignore[import-untyped]

from clients import turned_away
from clients.desk import Desk
from clients.errors import NoSuccessorError
from clients.inbox import request_key
from clients.slots import received
from clients.stream_tls import StreamSettings, credentials, refuse_wrong_certificate
from federation.control.frames import Assembly, Kind, Message, cut
from federation.control.wire import ADMITTED, NODE_OPTIONS, OPEN, PATH
from federation.errors import MalformedFrameError

_LOG = logging.getLogger(__name__)
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0


class _Stream:
    """One connection: what came and is not answered, and what waits to go out."""

    def __init__(self) -> None:
        self.admitted = False
        self._newest = 0
        self._open: set[int] = set()
        self._outgoing: queue.SimpleQueue[Message | None] = queue.SimpleQueue()

    def awaits(self, number: int) -> bool:
        """Return whether the server may send a request of this number now."""
        return number > self._newest and len(self._open) < OPEN

    def accept(self, number: int) -> None:
        """The request is open."""
        self._newest = number
        self._open.add(number)

    def send(self, number: int, answer: bytes | None) -> None:
        """The answer is on its way, as long as the stream is there."""
        kind = Kind.FAILED if answer is None else Kind.REPLY
        self._outgoing.put(Message(number, kind, answer or b""))

    def frames(self) -> Iterator[bytes]:
        """Yield what is to be sent, until the stream is over."""
        while (message := self._outgoing.get()) is not None:
            self._open.discard(message.id)  # before the server can know, and ask for more
            yield from cut(message)

    def end(self) -> None:
        """Nothing is sent any more."""
        self._outgoing.put(None)


class _Node:
    """One node's threads: one connects and reads, some work, gRPC's own writes."""

    def __init__(
        self,
        settings: StreamSettings,
        answer: Callable[[bytes], bytes],
        stop: threading.Event,
        named: Callable[[bytes], str],
    ) -> None:
        self._settings = settings
        self._answer = answer
        self._stop = stop
        self._desk = Desk(named)
        self._capture = settings.capture
        self._call: Any = None

    def run(self) -> None:
        """Streams have followed one another until the node was told to stop."""
        for _ in range(self._settings.workers):
            threading.Thread(target=self._work, daemon=True).start()
        wait, said = _FIRST_WAIT, ""
        while not self._stop.is_set():
            stream, begun = _Stream(), time.monotonic()
            why = self._one(stream)
            if (stream.admitted or why != said) and not self._stop.is_set():
                _LOG.warning("No stream (%s); trying again until there is one.", why)
            said = why
            lasted = time.monotonic() - begun > _LONGEST_WAIT
            wait = _FIRST_WAIT if lasted else min(wait * 1.5, _LONGEST_WAIT)
            self._stop.wait(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not secrecy
        self._desk.close()

    def cancel_when_told(self) -> None:
        """The node was told to stop, and the stream that it had is over."""
        self._stop.wait()
        if self._call is not None:
            self._call.cancel()

    def _one(self, stream: _Stream) -> str:
        """One stream, from its beginning to its end; return why it ended."""
        own = credentials(self._settings)  # read anew: it may have been renewed since
        channel = grpc.secure_channel(self._settings.address, own, NODE_OPTIONS)
        self._call = call = channel.stream_stream(PATH)(stream.frames())
        if self._stop.is_set():
            call.cancel()
        try:
            stream.admitted = set(ADMITTED) <= {tuple(pair) for pair in call.initial_metadata()}
            self._read(stream, call)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.PERMISSION_DENIED and self._settings.folder:
                turned_away.note(self._settings.folder, "stream")
            return str(error.details())
        except MalformedFrameError as error:
            return f"the server sent what it may not: {error}"
        finally:
            self._desk.leave(stream)
            stream.end()
            call.cancel()
            channel.close()
        return "the server ended it"

    def _read(self, stream: _Stream, call: Iterator[bytes]) -> None:
        if stream.admitted:
            _LOG.info("Connected to %s.", self._settings.address)
            if self._settings.folder:
                turned_away.forget(self._settings.folder, "stream")
        assembly = Assembly({Kind.REQUEST}, self._settings.largest, stream.awaits)
        for frame in call:
            if (request := assembly.add(frame)) is not None:
                stream.accept(request.id)
                self._desk.bring(request.payload, stream, request.id)

    def _work(self) -> None:
        """Answers requests, one after the other."""
        while (request := self._desk.take()) is not None:
            with suppress(NoSuccessorError):  # unanswered: the server asks the next process
                self._desk.done(request, self._answered(request))

    def _answered(self, request: bytes) -> bytes | None:
        try:
            with received(self._desk.came(request)):
                reply = self._answer(request)
            if len(reply) > self._settings.largest:
                _LOG.error("An answer of %d bytes is too large to be sent.", len(reply))
                return None
            if self._capture is not None:
                self._capture.append(reply)
        except NoSuccessorError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it stays here
            _LOG.exception("The handler failed; the asker learns only that it did.")
            return None
        return reply


def serve_stream(
    settings: StreamSettings,
    answer: Callable[[bytes], bytes],
    stop: threading.Event,
    named: Callable[[bytes], str] = request_key,
) -> None:
    """The node has answered requests until it was told to stop.

    Args:
        settings: see there.
        answer: gives the answer to a request, always the same: a `clients.once.Once`.
        stop: set it to end.
        named: the name under which a request that comes again is known.

    Raises:
        BadCertificateError: this node cannot show who it is.
        WrongCertificateError: the server is not the one this node was sent to.
    """
    refuse_wrong_certificate(settings, stop)
    node = _Node(settings, answer, stop, named)
    threading.Thread(target=node.cancel_when_told, daemon=True).start()
    node.run()
