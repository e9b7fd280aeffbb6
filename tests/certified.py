"""Certificates of all sorts for tests of who is let in, and nodes that are played by hand."""

import queue
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from aggregator.admission import StreamSettings as ServerSettings
from clients.stream_tls import StreamSettings
from federation.control.frames import Assembly, Kind, Message, cut
from federation.control.wire import NODE_OPTIONS, PATH
from secure_compute.primitives import certificates as made


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """An authority that keeps its key, which the product's never does."""

    def __init__(self) -> None:
        self._key = generate_private_key(SECP256R1())
        self._name = made._name("Entrepot federation CA")
        self._now = datetime.now(UTC)
        self.certificate = made._pem(made._authority(self._name, self._key, self._now))

    def server(self) -> Pair:
        key = generate_private_key(SECP256R1())
        shown = made._server(self._name, key.public_key(), self._key, self._now, ())
        return Pair(made._pem(shown), made._private_pem(key))

    def client(self, party: str, days: int = 0) -> Pair:
        key = generate_private_key(SECP256R1())
        when = self._now + timedelta(days)
        shown = made._client(party, self._name, key.public_key(), self._key, when)
        return Pair(made._pem(shown), made._private_pem(key))

    def client_with(self, *names: str) -> Pair:
        key = generate_private_key(SECP256R1())
        builder = made._builder(self._name, self._name, key.public_key(), self._now)
        uris = [x509.UniformResourceIdentifier(name) for name in names]
        purpose = made.ExtendedKeyUsageOID.CLIENT_AUTH
        return Pair(
            made._pem(made._leaf(builder, uris, purpose, self._key)), made._private_pem(key)
        )

    def server_settings(self, folder: Path, own: Pair, **more: Any) -> ServerSettings:
        return ServerSettings("127.0.0.1:0", *self._written(folder, own), **more)

    def node_settings(self, folder: Path, own: Pair, address: str, **more: Any) -> StreamSettings:
        return StreamSettings(address, *self._written(folder, own), **more)

    def _written(self, folder: Path, own: Pair) -> tuple[Path, Path, Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / "ca.crt", folder / "own.crt", folder / "own.key"
        for path, content in zip(paths, (self.certificate, own.certificate, own.key), strict=True):
            path.write_bytes(content)
        return paths


class ByHand:
    """A stream on which a test says what it likes."""

    def __init__(self, address: str, ca: bytes, own: Pair | None) -> None:
        shown = (None, None) if own is None else (own.key, own.certificate)
        credentials = grpc.ssl_channel_credentials(ca, *shown)
        self._channel = grpc.secure_channel(address, credentials, NODE_OPTIONS)
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._call = self._channel.stream_stream(PATH)(iter(self._outgoing.get, None), timeout=60.0)
        self._assembly = Assembly({Kind.REQUEST})
        self.admitted = bool(self._call.initial_metadata())

    def receive(self) -> Message:
        message = None
        while message is None:
            message = self._assembly.add(next(self._call))
        return message

    def say(self, *frames: bytes) -> None:
        for frame in frames:
            self._outgoing.put(frame)

    def reply(self, number: int, payload: bytes) -> None:
        self.say(*cut(Message(number, Kind.REPLY, payload)))

    def end(self) -> tuple[grpc.StatusCode, str]:
        """Wait until the server ends the stream; return how."""
        try:
            for _ in self._call:
                pass
        except grpc.RpcError:
            pass
        return self._call.code(), self._call.details()

    def close(self) -> None:
        self._outgoing.put(None)
        self._call.cancel()
        self._channel.close()
