"""The certificate of a node's streams is short-lived; while the node runs, it renews it by itself.

When a third of its life is left it asks, over a connection that the old one still opens, and shows
the new one from its next stream on. A party that is suspended or removed is given none. Where the
operator has made another key, it asks for that with its identity key's signature, and takes it up.
"""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from clients.admitting import in_own_name
from clients.calling import MemberCalls, stream_of
from clients.errors import ClientError
from clients.settings import NodeSettings
from clients.stream_tls import PAIR
from federation import at_rest
from federation.errors import FederationError
from federation.exchanges import sign_exchange
from federation.whole_files import keep_file
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.authority import request_certificate
from secure_compute.primitives.certificates import Shown, read_client_certificate
from secure_compute.primitives.node_keys import create_stream_key

_LOG = logging.getLogger(__name__)
NEXT_KEY: Final = "stream.next.key"
NEXT_CERTIFICATE: Final = "stream.next.crt"
_EVERY: Final = 600.0
"""Seconds between two looks at the certificate."""


def is_due(shown: Shown, now: datetime) -> bool:
    """Return whether less than a third of the certificate's life is left."""
    return shown.until - now < (shown.until - shown.since) / 3


def is_over(folder: Path, now: float) -> bool:
    """Return whether the certificate of the node in `folder` opens no connection any more.

    now: seconds since 1970.

    Raises:
        LocalProtocolError: it is none, or of another authority.
    """
    pem, ca = (folder / "keys" / name for name in ("stream.crt", "ca.crt"))
    until = read_client_certificate(pem.read_bytes(), ca.read_bytes()).until
    return until.timestamp() <= now


def renew(settings: NodeSettings, calls: MemberCalls, now: datetime) -> bool:
    """Return whether a fresh certificate stands in the folder: it was due, and was given.

    Raises:
        NotReachedError, TurnedAwayError: see `clients.calling`.
        LocalProtocolError: what came is no certificate of this party for its key, or no longer one.
    """
    keys, ca = settings.folder / "keys", settings.ca.read_bytes()
    old = read_client_certificate((keys / "stream.crt").read_bytes(), ca)
    if not is_due(old, now):
        return False
    pem = calls.renew(request_certificate(keys / "stream.key", settings.party, at_rest.FILES))
    new = read_client_certificate(pem, ca)
    if (new.party, new.key) != (settings.party, old.key) or new.until <= old.until:
        raise LocalProtocolError(
            "the aggregator gave a certificate that is not a later one of this node; the old one "
            "stays until its end"
        )
    keep_file(keys / "stream.crt", pem, 0o644)
    return True


def exchange(settings: NodeSettings, calls: MemberCalls) -> bool:
    """Return whether the node's streams have another key now: one was made, and was certified.

    Raises:
        NotReachedError, TurnedAwayError: see `clients.calling`.
        LocalProtocolError: what came is no certificate of this party for its new key.
    """
    keys, ca = settings.folder / "keys", settings.ca.read_bytes()
    new = keys / NEXT_KEY
    if not new.exists():
        return False
    old = read_client_certificate((keys / "stream.crt").read_bytes(), ca)
    asked = request_certificate(new, settings.party, at_rest.FILES)
    signed = sign_exchange(asked, old.key, settings.party, settings.pin, settings.identity)
    pem = calls.renew(signed)
    shown = read_client_certificate(pem, ca)
    if (shown.party, shown.key) != (settings.party, create_stream_key(new, at_rest.FILES)):
        raise LocalProtocolError(
            "the aggregator gave a certificate that is not of this node's new key; it keeps the old"
        )
    keep_file(keys / NEXT_CERTIFICATE, pem, 0o644)
    take_up(settings.folder)
    return True


def take_up(folder: Path) -> None:
    """A certified new key is the key of the node's streams, also where that was cut off before."""
    keys = folder / "keys"
    with PAIR:  # a node that follows takes it up too, while this one's thread may
        if not (keys / NEXT_CERTIFICATE).exists():
            return
        at_rest.write(keys / "stream.key", at_rest.read(keys / NEXT_KEY))
        keep_file(keys / "stream.crt", (keys / NEXT_CERTIFICATE).read_bytes(), 0o644)
        (keys / NEXT_CERTIFICATE).unlink()
        (keys / NEXT_KEY).unlink()


def keep_renewed(
    settings: NodeSettings,
    stop: threading.Event,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """The node's certificate is renewed whenever it is due, until it is told to stop."""
    if settings.stream is None:
        return
    while not stop.is_set():
        try:
            calls = MemberCalls(stream_of(settings.folder, settings.stream))
            if exchange(settings, calls):
                _LOG.info("This node's stream has another key.")
                calls = MemberCalls(stream_of(settings.folder, settings.stream))
            if renew(settings, calls, now()):
                _LOG.info("The certificate of this node's stream was renewed.")
            _look_out(settings, calls)  # a new key is shown: the old one is good no longer
        except (ClientError, FederationError, LocalProtocolError, OSError) as why:
            _LOG.warning("The certificate was not renewed: %s", why)
        stop.wait(_EVERY)


def _look_out(settings: NodeSettings, calls: MemberCalls) -> None:
    for asked in in_own_name(settings, calls):
        _LOG.error(
            "Somebody asks the members for another identity key of %s, %s. If it was not you, tell "
            "their operators at once to sign nothing.",
            settings.party,
            asked.member.identity.hex,
        )


def begin_renewing(settings: NodeSettings, stop: threading.Event) -> None:
    """`keep_renewed` runs beside the node, in a thread that keeps no process alive."""
    words = (settings, stop)
    threading.Thread(target=keep_renewed, args=words, daemon=True, name="renewal").start()
