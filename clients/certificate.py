"""What this node shows on its stream, looked at before anybody else does; connects to nobody."""

import stat
from datetime import UTC, datetime, timedelta
from typing import Final

from clients.settings import NodeSettings
from clients.stream_tls import BadCertificateError, StreamSettings, tls_context
from federation.control.captures import Capture
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.certificates import Shown, read_client_certificate

SOON: Final = timedelta(days=7)
"""How long before its end a certificate is spoken of: a node that runs renews it before that."""


def stream_settings(
    settings: NodeSettings, capture: Capture | None = None
) -> StreamSettings | None:
    """Return how the node opens its stream; None where node.toml names none."""
    if settings.stream is None:
        return None
    keys = settings.folder / "keys"
    own = (keys / "stream.crt", keys / "stream.key")
    return StreamSettings(
        settings.stream, settings.ca, *own, capture=capture, folder=settings.folder
    )


def require_shown(settings: NodeSettings, now: datetime | None = None) -> Shown | None:
    """Return what the node's certificate says, where it has a stream and the certificate is good.

    Raises:
        BadCertificateError: it is missing, of another key, authority or party, or over.
    """
    stream = stream_settings(settings)
    if stream is None:
        return None
    tls_context(stream)
    try:
        shown = read_client_certificate(stream.certificate.read_bytes(), stream.ca.read_bytes())
    except LocalProtocolError as why:
        raise BadCertificateError(f"keys/stream.crt: {why}") from why
    if shown.party != settings.party:
        raise BadCertificateError(
            f"keys/stream.crt is the certificate of {shown.party or 'nobody'}, not of "
            f"{settings.party}; restore the one that it was enrolled with"
        )
    if shown.until <= (now or datetime.now(UTC)):
        raise BadCertificateError(
            f"keys/stream.crt was good until {shown.until:%Y-%m-%d}; ask the aggregator "
            "for another token, and run `entrepot node join TOKEN --folder` with this folder"
        )
    return shown


def doubts(settings: NodeSettings, now: datetime | None = None) -> list[str]:
    """Return what the operator should do about a certificate that is good.

    Raises:
        BadCertificateError: it is not.
    """
    shown = require_shown(settings, now)
    if shown is None:
        return ["node.toml names no stream: this node answers over Flower alone, more slowly"]
    said = []
    if shown.until - (now or datetime.now(UTC)) < SOON:
        said.append(f"keys/stream.crt is good until {shown.until:%Y-%m-%d}; ask for another soon")
    if stat.S_IMODE((settings.folder / "keys" / "stream.key").stat().st_mode) & 0o077:
        said.append("keys/stream.key is readable by others; chmod 600 it")
    return said
