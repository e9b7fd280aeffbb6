"""The calls of joining and of membership over gRPC: what they carry, how they fail, how many.

    with JoinService(address, credentials, door):     # a port of its own, without a certificate
        …
    StreamExchange(settings, enrolled, [membership(gathering)])   # beside the streams, with one

What goes wrong is said in one sentence of ours; what nobody foresaw is said in none.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self

import grpc  # type: ignore[import-untyped]

from aggregator.admission import NotAdmittedError, bound, certificate_in, party_in
from aggregator.door import Door, TooManyError
from aggregator.errors import AggregatorError
from aggregator.gathering import REFUSED, Gathering
from aggregator.places import Places
from federation.control.calls import (
    ENROL,
    JOIN,
    JOIN_OPTIONS,
    LARGEST_ASKED,
    LOOK,
    MEMBERSHIP,
    OFFER,
    RENEW,
    SIGN,
)
from federation.control.wire import TLS
from federation.errors import FederationError
from policies.parties import PartyId
from secure_compute.errors import SecureComputeError

_LOG = logging.getLogger(__name__)
_CALLS: Final = 16
"""Calls of members and entrants at once; more of them wait, and no stream does."""
_AT_ONCE: Final = 8
"""Calls of the join service at once; whoever comes beyond that is told to come again."""


class JoinService:
    """The port at which invitations are taken; a context manager."""

    def __init__(self, address: str, places: Places, door: Door) -> None:
        self.address = address
        self._places = places
        self._door = door
        self._one_at_a_time = threading.Lock()
        self._server: Any = None

    def __enter__(self) -> Self:
        """Entrants can call.

        Raises:
            PortTakenError: another program listens there.
        """
        pool = ThreadPoolExecutor(_AT_ONCE)
        server = grpc.server(pool, options=JOIN_OPTIONS, maximum_concurrent_rpcs=_AT_ONCE)
        calls = {OFFER: self._door.offer, ENROL: self._door.enrol}
        handlers = {name: _unary(self._answered(call)) for name, call in calls.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(JOIN, handlers),))
        own = (self._places.certificate_key.read_bytes(), self._places.certificate.read_bytes())
        self.address = bound(server, self.address, grpc.ssl_server_credentials([own]))
        server.start()
        self._server = server
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None
    ) -> None:
        """Nobody is let in any more."""
        self._server.stop(None).wait()

    def _answered(self, call: Callable[[bytes, str], bytes]) -> Callable[[bytes, Any], bytes]:
        def answer(data: bytes, context: Any) -> bytes:
            _require_tls(context)
            with self._one_at_a_time:
                return call(data, _place(context.peer()))

        return answer


def membership(gathering: Gathering) -> Any:
    """Return the service that members and entrants call with their certificates."""

    def caller(context: Any) -> PartyId:
        shown = context.auth_context()
        party = party_in(shown)
        gathering.require_key(party, certificate_in(shown))
        return party

    def look(_: bytes, context: Any) -> bytes:
        return gathering.look(caller(context))

    def sign(data: bytes, context: Any) -> bytes:
        return gathering.sign(caller(context), data)

    def renew(data: bytes, context: Any) -> bytes:
        return gathering.renew(caller(context), data)

    # Threads of their own: whoever holds a certificate can call, and calls that never end would
    # take every thread that the streams of members need.
    pool = ThreadPoolExecutor(_CALLS)
    calls = {
        name: _unary(call, pool) for name, call in ((LOOK, look), (SIGN, sign), (RENEW, renew))
    }
    return grpc.method_handlers_generic_handler(MEMBERSHIP, calls)


def _unary(call: Callable[[bytes, Any], bytes], pool: ThreadPoolExecutor | None = None) -> Any:
    def answer(data: bytes, context: Any) -> bytes:
        if len(data) > LARGEST_ASKED:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call is too large")
        try:
            return call(data, context)
        except NotAdmittedError as why:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, str(why))
        except TooManyError as why:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(why))
        except REFUSED as why:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, str(why))
        except (AggregatorError, FederationError, SecureComputeError) as why:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(why))
        except OSError:
            _LOG.exception("A call failed.")
            context.abort(grpc.StatusCode.UNAVAILABLE, "the aggregator cannot answer now")
        except Exception:  # noqa: BLE001 - gRPC would tell the caller what it says
            _LOG.exception("A call failed.")
            context.abort(grpc.StatusCode.INTERNAL, "the aggregator failed")
        raise AssertionError("abort raises")

    if pool is not None:  # under the name that gRPC looks for
        answer.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.unary_unary_rpc_method_handler(answer)


def _require_tls(context: Any) -> None:
    if list(context.auth_context().get("ssl_tls_version", ())) != [TLS.encode()]:
        raise NotAdmittedError("this server speaks TLS 1.3 only")


def _place(peer: str) -> str:
    """Return where a call comes from, without its port."""
    return peer.rpartition(":")[0]
