"""The certificate of a node's streams is short-lived; while the node runs, it renews it by itself.

When a third of its life is left it asks, over a connection that the old one still opens, and shows
the new one from its next stream on. A party that is suspended or removed is given none.
"""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from clients.calling import MemberCalls, stream_of
from clients.errors import ClientError
from clients.settings import NodeSettings
from federation.durable import keep_file
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.authority import request_certificate
from secure_compute.primitives.certificates import Shown, read_client_certificate

_LOG = logging.getLogger(__name__)
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
    pem = calls.renew(request_certificate(keys / "stream.key", settings.party))
    new = read_client_certificate(pem, ca)
    if (new.party, new.key) != (settings.party, old.key) or new.until <= old.until:
        raise LocalProtocolError(
            "the aggregator gave a certificate that is not a later one of this node; the old one "
            "stays until its end"
        )
    keep_file(keys / "stream.crt", pem, 0o644)
    return True


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
            if renew(settings, calls, now()):
                _LOG.info("The certificate of this node's stream was renewed.")
        except (ClientError, LocalProtocolError, OSError) as why:
            _LOG.warning("The certificate was not renewed: %s", why)
        stop.wait(_EVERY)


def begin_renewing(settings: NodeSettings, stop: threading.Event) -> None:
    """`keep_renewed` runs beside the node, in a thread that keeps no process alive."""
    words = (settings, stop)
    threading.Thread(target=keep_renewed, args=words, daemon=True, name="renewal").start()
