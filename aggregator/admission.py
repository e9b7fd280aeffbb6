"""Whom the stream's server lets in, and how it is set up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregator.errors import AggregatorError, PortTakenError
from federation.control.captures import Capture
from federation.control.frames import LARGEST
from federation.control.wire import TLS
from policies.parties import PartyId
from secure_compute.primitives.certificates import party_of_name


class NotAdmittedError(AggregatorError):
    """A connection does not show which party it is of, or not to this server's satisfaction."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How nodes reach this server.

    address:     `host:port`; port 0 takes a free one, and keeps it.
    ca:          the only authority whose certificates are believed.
    certificate, key: this server's own.
    capture:     every outbound envelope is written there before it is sent.
    largest:     bytes of one message at most, both ways.
    """

    address: str
    ca: Path
    certificate: Path
    key: Path
    capture: Capture | None = None
    largest: int = LARGEST


def certificate_in(shown: Mapping[str, Iterable[bytes]]) -> bytes:
    """Return the certificate, PEM, with which a connection showed its party; gRPC verified it."""
    return next(iter(shown.get("x509_pem_cert", ())), b"")


def party_in(shown: Mapping[str, Iterable[bytes]]) -> PartyId:
    """Return the party that a connection is of, by what gRPC verified of it.

    Raises:
        NotAdmittedError: it is not over TLS 1.3, or its certificate does not name one party.
    """
    if list(shown.get("ssl_tls_version", ())) != [TLS.encode()]:
        raise NotAdmittedError("this server speaks TLS 1.3 only")
    names = [party_of_name(name) for name in shown.get("x509_subject_alternative_name", ())]
    if len(names) != 1 or names[0] is None:
        raise NotAdmittedError("the certificate does not name one party of a federation")
    return PartyId(names[0])


def bound(server: Any, address: str, credentials: Any) -> str:
    """Return where a gRPC server listens, once it may; port 0 becomes one that is free.

    Raises:
        PortTakenError: another program listens there.
    """
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise PortTakenError(
            f"Nothing can listen on {address}; is another program there?"
        ) from error
    return f"{address.rpartition(':')[0]}:{port}"
