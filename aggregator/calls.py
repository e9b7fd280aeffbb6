"""The calls of joining and of membership over gRPC: what they carry, how they fail, how many.

    with JoinService(address, places, door, people, guard):   # a port of its own, no certificate
        …
    StreamExchange(settings, enrolled, [membership(gathering)])   # beside the streams, with one

What goes wrong is said in one sentence of ours; what nobody foresaw is said in none.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Address, IPv6Network
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote

import grpc  # type: ignore[import-untyped]

from aggregator.access import DeniedError, Guard, Machines, method_at
from aggregator.admission import NotAdmittedError, bound, certificate_in, party_in
from aggregator.countersigning import NotCountersignedError
from aggregator.door import Door, TooManyError
from aggregator.errors import AggregatorError, AggregatorSettingsError
from aggregator.gathering import REFUSED, Gathering
from aggregator.hearing import Hall
from aggregator.knocks_told import turned_away_told
from aggregator.logins import RefusedLoginError
from aggregator.people_door import NothingThereError, PeopleDoor
from aggregator.places import Places
from federation import at_rest
from federation.control.calls import (
    ENROL,
    JOIN,
    JOIN_OPTIONS,
    LARGEST_ASKED,
    LOOK,
    MEMBERSHIP,
    OFFER,
    PEOPLE,
    RENEW,
    SIGN,
    path,
)
from federation.control.wire import TLS
from federation.errors import FederationError, MalformedMessageError
from federation.people.passkeys import BadPasskeyError
from federation.people.sessions import ClosedSessionError
from policies.access.deciding import NOBODY
from policies.parties import PartyId
from secure_compute.errors import SecureComputeError

_LOG = logging.getLogger(__name__)
TURNED_AWAY: Final = (
    *(DeniedError, RefusedLoginError, NothingThereError, BadPasskeyError),
    *(NotCountersignedError,),
)
_CALLS: Final = 16
"""Calls of members and entrants that are answered at once; more of them wait, no stream does."""
_AT_ONCE: Final = 8
"""Calls of the join service that are answered at once; more of them wait."""
_SILENT: Final = 40
"""Calls that have said nothing yet, at each of the two; see `aggregator.hearing`."""
_THREADS: Final = 64
"""Of each of the two: for the silent, those that are answered, and those that come and go."""


class JoinService:
    """The port at which invitations are taken; a context manager."""

    def __init__(
        self, address: str, places: Places, door: Door, people: PeopleDoor, guard: Guard
    ) -> None:
        self.address = address
        self._places = places
        self._door = door
        self._people = people
        self._guard = guard
        self._one_at_a_time = threading.Lock()
        self._hall = Hall(_SILENT, _AT_ONCE)
        self._server: Any = None

    def __enter__(self) -> Self:
        """Entrants can call.

        Raises:
            PortTakenError: another program listens there.
        """
        pool = ThreadPoolExecutor(_THREADS)
        server = grpc.server(pool, options=JOIN_OPTIONS, maximum_concurrent_rpcs=_THREADS)
        server.add_generic_rpc_handlers(self.services())
        own = (at_rest.read(self._places.certificate_key), self._places.certificate.read_bytes())
        self.address = bound(server, self.address, grpc.ssl_server_credentials([own]))
        server.start()
        self._server = server
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None
    ) -> None:
        """Nobody is let in any more."""
        self._server.stop(None).wait()

    def services(self) -> tuple[Any, ...]:
        """Return what is served: those who come in, and people."""
        entering = {OFFER: self._door.offer, ENROL: self._door.enrol}
        calls = {name: self._answered(name, call) for name, call in entering.items()}
        join = {name: _unary(call, self._hall) for name, call in calls.items()}
        asked = {name: _over_tls(call) for name, call in self._people.calls().items()}
        people = {name: _unary(call, self._hall) for name, call in asked.items()}
        served = ((JOIN, join), (PEOPLE, people))
        return tuple(grpc.method_handlers_generic_handler(*service) for service in served)

    def _answered(
        self, name: str, call: Callable[[bytes, str], bytes]
    ) -> Callable[[bytes, Any], bytes]:
        method = method_at(path(JOIN, name))

        def answer(data: bytes, place: str) -> bytes:
            self._guard.require(NOBODY, method)
            with turned_away_told(method.action, place), self._one_at_a_time:
                return call(data, place)

        return _over_tls(answer)


def membership(gathering: Gathering) -> Any:
    """Return the service that members and entrants call with their certificates."""
    machines = Machines(gathering)

    def caller(context: Any, name: str) -> PartyId:
        shown = context.auth_context()
        party = party_in(shown)
        require = gathering.require_key if name == RENEW else gathering.require_caller
        require(party, certificate_in(shown))
        machines.require(party, path(MEMBERSHIP, name))
        return party

    def look(_: bytes, context: Any) -> bytes:
        return gathering.look(caller(context, LOOK))

    def sign(data: bytes, context: Any) -> bytes:
        return gathering.sign(caller(context, SIGN), data)

    def renew(data: bytes, context: Any) -> bytes:
        shown = certificate_in(context.auth_context())
        return gathering.renew(caller(context, RENEW), data, shown)

    # Threads of their own: whoever holds a certificate can call, and calls that never end would
    # take every thread that the streams of members need.
    pool, hall = ThreadPoolExecutor(_THREADS), Hall(_SILENT, _CALLS)
    calls = {
        method_at(path(MEMBERSHIP, name)).name: _unary(_told(name, call), hall, pool)
        for name, call in ((LOOK, look), (SIGN, sign), (RENEW, renew))
    }
    return grpc.method_handlers_generic_handler(MEMBERSHIP, calls)


def _told(name: str, call: Callable[[bytes, Any], bytes]) -> Callable[[bytes, Any], bytes]:
    """Who is no member, or shows another's key, has a line in the log."""
    action = method_at(path(MEMBERSHIP, name)).action

    def answer(data: bytes, context: Any) -> bytes:
        with turned_away_told(action, _place(context.peer())):
            return call(data, context)

    return answer


def _unary(
    call: Callable[[bytes, Any], bytes], hall: Hall, pool: ThreadPoolExecutor | None = None
) -> Any:
    """Return a call of one message and one answer; that the message has come is awaited here."""

    def answer(said: Iterator[bytes], context: Any) -> bytes:
        try:
            with hall.heard(said, _place(context.peer()), context.cancel) as data:
                if len(data) > LARGEST_ASKED:
                    raise MalformedMessageError("the call is too large")
                return call(data, context)
        except grpc.RpcError:  # whoever called is gone, or made room for another
            raise
        except NotAdmittedError as why:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, str(why))
        except TooManyError as why:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(why))
        except ClosedSessionError as why:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, str(why))
        except (*REFUSED, *TURNED_AWAY) as why:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, str(why))
        except AggregatorSettingsError:  # it names files of this machine
            _LOG.exception("A call failed.")
            context.abort(grpc.StatusCode.UNAVAILABLE, "the aggregator cannot answer now")
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
    return grpc.stream_unary_rpc_method_handler(answer)


def _over_tls(call: Callable[[bytes, str], bytes]) -> Callable[[bytes, Any], bytes]:
    def answer(data: bytes, context: Any) -> bytes:
        _require_tls(context)
        return call(data, _place(context.peer()))

    return answer


def _require_tls(context: Any) -> None:
    if list(context.auth_context().get("ssl_tls_version", ())) != [TLS.encode()]:
        raise NotAdmittedError("this server speaks TLS 1.3 only")


def _place(peer: str) -> str:
    """Return where a call comes from, without its port; of IPv6 the /64, which one caller has."""
    place = peer.rpartition(":")[0]
    try:
        address = IPv6Address(unquote(place).removeprefix("ipv6:").strip("[]").partition("%")[0])
    except ValueError:
        return place
    if address.ipv4_mapped:
        return f"ipv4:{address.ipv4_mapped}"
    return str(IPv6Network((address, 64), strict=False))
