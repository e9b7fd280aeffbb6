"""How a node shows who it is on a stream, and whom it believes."""

import logging
import random
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]

from clients.errors import ClientError, WrongCertificateError
from federation import at_rest
from federation.control.captures import Capture
from federation.control.frames import LARGEST

PAIR = threading.RLock()
"""Held while a stream's key and certificate are read, or put in their places, one by one."""

_LOG = logging.getLogger(__name__)
_CONNECT = 10.0
_WAIT = 2.0


class BadCertificateError(ClientError):
    """This node's own certificate and key are missing, damaged, or of two different nodes."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How a node reaches the server.

    address:     `host:port`.
    ca:          the only authority whose certificates are believed.
    certificate, key: this node's own.
    workers:     how many requests are answered at once.
    capture:     every outbound envelope is written there before it is sent.
    largest:     bytes of one message at most, both ways.
    folder:      where it is noted that the server does not let this node in; None: nowhere.
    """

    address: str
    ca: Path
    certificate: Path
    key: Path
    workers: int = 2
    capture: Capture | None = None
    largest: int = LARGEST
    folder: Path | None = None


def credentials(settings: StreamSettings) -> Any:
    """Return what gRPC needs to know of both sides."""
    with PAIR:
        own = at_rest.read(settings.key), settings.certificate.read_bytes()
    return grpc.ssl_channel_credentials(settings.ca.read_bytes(), *own)


def refuse_wrong_certificate(settings: StreamSettings, stop: threading.Event) -> None:
    """A server is there and shows the right certificate, or the node was told to stop.

    gRPC says of a bad certificate only that the server is not available, so this is asked before,
    once: what goes wrong later is a network's trouble, which passes.

    Raises:
        BadCertificateError: this node cannot show who it is.
        WrongCertificateError: the server is not the one this node was sent to.
    """
    context = tls_context(settings)
    host, _, port = settings.address.rpartition(":")
    name = host.strip("[]")
    while not stop.is_set():
        try:
            with (
                socket.create_connection((name, int(port)), timeout=_CONNECT) as connection,
                context.wrap_socket(connection, server_hostname=name),
            ):
                return
        except ssl.SSLCertVerificationError as error:
            message = (
                f"The server at {settings.address} shows a certificate that this federation's "
                "authority did not sign; check the address, or ask for a new `ca.crt`."
            )
            raise WrongCertificateError(message) from error
        except OSError as error:
            _LOG.warning("The server does not answer (%s); trying again.", type(error).__name__)
            stop.wait(_WAIT * random.uniform(0.5, 1.0))  # noqa: S311 - jitter


def tls_context(settings: StreamSettings) -> ssl.SSLContext:
    """Return what a connection of this node shows and believes.

    Raises:
        BadCertificateError: this node's certificate and key are not a pair that can be read.
    """
    try:
        context = ssl.create_default_context(cafile=str(settings.ca))
        with PAIR, at_rest.loadable(settings.key) as (key, password):
            context.load_cert_chain(settings.certificate, key, password)
    except OSError as error:  # every error of `ssl` is one
        message = (
            f"{settings.certificate.name} and {settings.key.name} do not show who this node is; "
            "restore the ones that it was enrolled with."
        )
        raise BadCertificateError(message) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    return context
