"""The node's end of the calls with one answer: is it the right server, and what does it say.

leaf = require_pin(token)                       # a handshake; not a byte of ours is sent
calls = JoinCalls(token, leaf)                  # a fresh connection that believes `leaf` alone
offer = calls.offer(Knock(…))

member = MemberCalls(stream_settings)           # with the node's certificate, on the stream's port
view = member.look()

person = PersonCalls(place, require_pin(place)) # a person's program, on the join service's port
"""

import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

import grpc  # type: ignore[import-untyped]

from clients.errors import ClientError
from clients.stream_tls import StreamSettings, credentials
from federation.control.calls import (
    CALLER_OPTIONS,
    DEADLINE,
    ENROL,
    JOIN,
    LOOK,
    MEMBERSHIP,
    OFFER,
    PEOPLE,
    RENEW,
    SIGN,
    path,
)
from federation.invitations import Token
from federation.knocks import Knock
from secure_compute.errors import PeerProtocolError
from secure_compute.primitives.authority import key_pin

_CONNECT: Final = 10.0
_LONGEST: Final = 300
"""Characters of a server's own sentence that are passed on."""


class Pinned(Protocol):
    """Where a server is, and the SHA-256 of its public key; a token is one."""

    @property
    def host(self) -> str:
        """Its name or number."""

    @property
    def port(self) -> int:
        """Where it listens."""

    @property
    def pin(self) -> bytes:
        """[32]."""

    @property
    def address(self) -> str:
        """`host:port`, as a connection is opened to it."""


class WrongPinError(ClientError):
    """The server at the token's address is not the one that the token names."""

    exit_code = 30


class NotReachedError(ClientError):
    """The aggregator does not answer."""

    exit_code = 20


class TurnedAwayError(ClientError):
    """The aggregator refuses a call; the sentence is its own."""

    exit_code = 2


class NotAllowedError(ClientError):
    """A person has no session there, or may not do this; the sentence is the aggregator's."""

    exit_code = 10


REFUSING: Final = MappingProxyType(
    {
        grpc.StatusCode.PERMISSION_DENIED: NotAllowedError,
        grpc.StatusCode.UNAUTHENTICATED: NotAllowedError,
    }
)


def require_pin(token: Pinned) -> bytes:
    """Return the certificate, PEM, of the server at the token's address: it has the pinned key.

    Nothing but a TLS handshake takes place, and the handshake proves that the server has the key.

    Raises:
        WrongPinError: another server is there.
        NotReachedError: none is.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the pin is what counts
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((token.host, token.port), timeout=_CONNECT) as connection,
            context.wrap_socket(connection, server_hostname=token.host) as tls,
        ):
            shown = tls.getpeercert(binary_form=True) or b""
    except OSError as error:
        raise NotReachedError(
            f"no join service answers at {token.address} ({type(error).__name__}); nothing was "
            "sent; ask the aggregator whether it runs, and try again"
        ) from error
    return _pinned(token, shown)


def _pinned(token: Pinned, shown: bytes) -> bytes:
    try:
        right = key_pin(shown) == token.pin
    except PeerProtocolError:
        right = False
    if not right:
        raise WrongPinError(
            f"the server at {token.address} is not the one that the token names: nothing was sent. "
            "Somebody is in between, or the token is of another federation; ask whoever gave it"
        )
    return ssl.DER_cert_to_PEM_cert(shown).encode()


class _Calls:
    """Calls over one connection; a context manager's worth of gRPC."""

    def __init__(
        self,
        address: str,
        believed: Any,
        service: str,
        deadline: float,
        refusing: Mapping[grpc.StatusCode, type[ClientError]] = MappingProxyType({}),
    ) -> None:
        self._address = address
        self._believed = believed
        self._service = service
        self._deadline = deadline
        self._refusing = refusing

    def ask(self, method: str, data: bytes) -> bytes:
        """Return the answer.

        Raises:
            TurnedAwayError: the server says why not.
            NotReachedError: it does not answer in time.
        """
        with grpc.secure_channel(self._address, self._believed, CALLER_OPTIONS) as channel:
            call = channel.unary_unary(path(self._service, method))
            try:
                answer: bytes = call(data, timeout=self._deadline)
            except grpc.RpcError as error:
                raise self._named(error) from None
        return answer

    def _named(self, error: Any) -> ClientError:
        refused = (
            grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.UNAUTHENTICATED,
        )
        if error.code() in refused:
            kind = self._refusing.get(error.code(), TurnedAwayError)
            return kind(f"the aggregator refuses: {_said(error)}")
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return NotReachedError(f"the aggregator is busy: {_said(error)}")
        return NotReachedError(f"{self._address} does not answer ({error.code().name}); try again")


def _said(error: Any) -> str:
    """Return a server's sentence on one line: it may not move the cursor to the six words."""
    text = str(error.details())[:_LONGEST]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class JoinCalls:
    """What an entrant says to the join service; it believes the certificate `leaf`, PEM, alone."""

    def __init__(self, token: Token, leaf: bytes, deadline: float = DEADLINE) -> None:
        believed = grpc.ssl_channel_credentials(leaf)
        self._calls = _Calls(token.address, believed, JOIN, deadline)

    def offer(self, knock: Knock) -> bytes:
        """Return what the invitation is good for; errors: `_Calls.ask`."""
        return self._calls.ask(OFFER, knock.to_bytes())

    def enrol(self, knock: Knock) -> bytes:
        """Return the certificate, PEM, that an enrolment is given; errors: `_Calls.ask`."""
        return self._calls.ask(ENROL, knock.to_bytes())


class PersonCalls:
    """What a person's program says; it believes the certificate `leaf`, PEM, alone."""

    def __init__(self, place: Pinned, leaf: bytes, deadline: float = DEADLINE) -> None:
        believed = grpc.ssl_channel_credentials(leaf)
        self._calls = _Calls(place.address, believed, PEOPLE, deadline, REFUSING)

    def ask(self, method: str, data: bytes) -> bytes:
        """Return the answer.

        Raises:
            NotAllowedError: the session is over, or the law of the doors says no.
            TurnedAwayError, NotReachedError: see `_Calls.ask`.
        """
        return self._calls.ask(method, data)


class MemberCalls:
    """What a member or an entrant says with its certificate."""

    def __init__(self, settings: StreamSettings, deadline: float = DEADLINE) -> None:
        self._calls = _Calls(settings.address, credentials(settings), MEMBERSHIP, deadline)

    def look(self) -> bytes:
        """Return what this party is shown (`federation.views`); errors: `_Calls.ask`."""
        return self._calls.ask(LOOK, b"")

    def sign(self, word: bytes) -> bytes:
        """Give a word; return what this party is shown then; errors: `_Calls.ask`."""
        return self._calls.ask(SIGN, word)

    def renew(self, request: bytes) -> bytes:
        """Return a fresh certificate, PEM; errors: `_Calls.ask`."""
        return self._calls.ask(RENEW, request)


def stream_of(folder: Path, address: str) -> StreamSettings:
    """Return how the party in `folder` calls the port of the streams at `address`."""
    keys = folder / "keys"
    return StreamSettings(address, keys / "ca.crt", keys / "stream.crt", keys / "stream.key")
