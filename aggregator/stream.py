"""The aggregator's end of the streams: a gRPC server that nodes connect to and stay with.

    settings = StreamSettings("0.0.0.0:9445", ca, certificate, key)
    with StreamExchange(settings, lambda: roster_parties) as exchange:
        replies = exchange(requests, timeout, sooner)        # a `transport.Transport`
        exchange.online()

Mutual TLS 1.3: a node shows a certificate that this federation's authority signed for a client, and
the party it names has to be enrolled at that moment. Who is admitted may answer what was asked of
this party on this stream, and do nothing else; what goes beyond that ends the stream, and no other.
Requests are sent again over a party's next stream, and nodes repeat the answer they gave, so a
stream that breaks loses nothing. The stream is no trust boundary: envelopes are signed and sealed.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc  # type: ignore[import-untyped]

from aggregator.admission import (
    NotAdmittedError,
    StreamSettings,
    bound,
    certificate_in,
    party_in,
)
from aggregator.errors import AggregatorError
from aggregator.switchboard import ForeignReplyError, Line, Switchboard
from aggregator.transport import FAILED, UNREGISTERED
from federation import at_rest
from federation.control.frames import Assembly, Kind, Message, cut
from federation.control.wire import ADMITTED, METHOD, SERVER_OPTIONS, SERVICE
from federation.errors import FederationError, MalformedFrameError
from policies.parties import PartyId
from secure_compute.errors import SecureComputeError

_LOG = logging.getLogger(__name__)
_STREAMS = 1024
"""Streams at once, those that are being refused included; each has two threads while it lives."""
_LINGER = 5.0
"""Seconds until a stream that was told why it ends is cut off."""


class StreamExchange:
    """Requests to parties and their replies, over the streams they keep; threads may share it.

    Args:
        settings: see there.
        enrolled: the parties that may connect and be asked, whenever it is called.
        services: further gRPC services on the same port; each looks at certificates itself.
        require: raises an error of ours where a certificate, PEM, is no longer its party's.
        epoch: another thing whenever `require` is to be asked again of the streams that are open.
    """

    def __init__(
        self,
        settings: StreamSettings,
        enrolled: Callable[[], Collection[PartyId]],
        services: Sequence[Any] = (),
        require: Callable[[PartyId, bytes], None] = lambda *_: None,
        epoch: Callable[[], object] = lambda: None,
    ) -> None:
        self._settings = settings
        self._enrolled = enrolled
        self._services = tuple(services)
        self._require = require
        self._epoch = epoch
        self._board = Switchboard()
        self._capture = settings.capture
        self._server: Any = None
        self.address = settings.address

    def __enter__(self) -> Self:
        """Nodes can connect."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None
    ) -> None:
        """No thread of the server is left."""
        self.stop()

    def __call__(
        self, requests: Mapping[PartyId, bytes], timeout: float, sooner: Mapping[PartyId, float]
    ) -> Mapping[PartyId, bytes | str]:
        """Return what each party replied in time, or why nothing came; see `Transport`."""
        enrolled = self._enrolled()
        self._board.retain(enrolled)
        self._board.recheck(self._epoch(), self._refusal)
        lost = {party: UNREGISTERED for party in requests if party not in enrolled} | {
            party: f"the request is larger than {self._settings.largest} bytes"
            for party, request in requests.items()
            if len(request) > self._settings.largest
        }
        asked = {party: request for party, request in requests.items() if party not in lost}
        if self._capture is not None:
            for request in asked.values():
                self._capture.append(request)
        return lost | self._board.ask(asked, timeout, sooner)

    def online(self) -> frozenset[PartyId]:
        """Return the enrolled parties that are connected, by keys that are theirs."""
        self._board.recheck(self._epoch(), self._refusal)
        return self._board.connected() & frozenset(self._enrolled())

    def lines(self) -> dict[PartyId, int]:
        """Return the number of each party's stream: another one whenever it came anew."""
        return self._board.lines()

    def left(self, seconds: float) -> frozenset[PartyId]:
        """Return the parties whose last stream ended at most so long ago."""
        return self._board.left(seconds)

    def start(self) -> None:
        """The server listens, on the port of before if it was stopped.

        Raises:
            PortTakenError: another program listens there.
        """
        server = grpc.server(ThreadPoolExecutor(_STREAMS), options=SERVER_OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(self._keep)
        service = grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler})
        server.add_generic_rpc_handlers((service, *self._services))
        self.address = bound(server, self.address, self._credentials())
        server.start()
        self._server = server

    def stop(self) -> None:
        """Nobody is connected; what is being asked waits for `start`, until its time is over."""
        server, self._server = self._server, None
        if server is not None:
            self._board.retain((), "the server stops")
            server.stop(None).wait()

    def _credentials(self) -> Any:
        own = (at_rest.read(self._settings.key), self._settings.certificate.read_bytes())
        ca = self._settings.ca.read_bytes()
        return grpc.ssl_server_credentials([own], ca, require_client_auth=True)

    def _keep(self, incoming: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """One stream, from its beginning to its end."""
        since = self._epoch()  # before it is looked at: what comes in between is seen afterwards
        party, shown = self._admit(context)
        line = self._board.connect(party, lambda: _cancel_later(context), shown, since)
        gone = partial(self._board.disconnect, line, "the connection was lost")
        if not context.add_callback(gone):
            gone()
            return
        context.send_initial_metadata(ADMITTED)
        threading.Thread(target=self._read, args=(line, incoming), daemon=True).start()
        _LOG.info("%s is connected.", line.party)
        while (asked := self._board.next(line)) is not None:
            for frame in cut(Message(asked.id, Kind.REQUEST, asked.payload)):
                if line.ended:
                    break
                yield frame
        _LOG.info("The stream of %s is over: %s.", line.party, line.ended)
        context.abort(grpc.StatusCode.ABORTED, line.ended)

    def _admit(self, context: Any) -> tuple[PartyId, bytes]:
        try:
            party = party_in(context.auth_context())
        except NotAdmittedError as error:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
            raise
        if party not in self._enrolled():
            _LOG.warning("%s is not admitted: %s.", party, UNREGISTERED)
            context.abort(grpc.StatusCode.PERMISSION_DENIED, UNREGISTERED)
        shown = certificate_in(context.auth_context())
        if self._refusal(party, shown):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, UNREGISTERED)
        return party, shown

    def _refusal(self, party: PartyId, shown: bytes) -> str:
        """Return what a node is told whose certificate is not its party's; "" where it is."""
        try:
            self._require(party, shown)
        except (AggregatorError, FederationError, SecureComputeError) as error:
            _LOG.warning("%s is not admitted: %s.", party, error)
            return UNREGISTERED
        return ""

    def _read(self, line: Line, incoming: Iterator[bytes]) -> None:
        """Takes what a node says, until it stops or says what it may not."""
        awaited = partial(self._board.awaits, line)
        assembly = Assembly({Kind.REPLY, Kind.FAILED}, self._settings.largest, awaited)
        why = "this server failed"
        try:
            for frame in incoming:
                if (reply := assembly.add(frame)) is not None:
                    answer = FAILED if reply.kind is Kind.FAILED else reply.payload
                    self._board.answer(line, reply.id, answer)
            why = "the node ended it"
        except (MalformedFrameError, ForeignReplyError) as error:
            why = str(error)
            _LOG.warning("%s sent what it may not: %s.", line.party, why)
        except grpc.RpcError:
            why = "the connection was lost"
        finally:
            self._board.disconnect(line, why)


def _cancel_later(context: Any) -> None:
    """A call that is over ends, even if its node does not take what is being sent to it."""
    timer = threading.Timer(_LINGER, context.cancel)
    timer.daemon = True
    timer.start()
