"""Calls with one answer, beside the stream: joining, and what members sign. Bytes in, bytes out.

The join service stands on a port of its own and asks for no certificate: whoever calls shows an
invitation's secret instead. All other calls are made with the party's certificate on the port of
the streams, and the server goes by what the certificate names.
"""

from typing import Final

from federation.views import LARGEST

JOIN: Final = "entrepot.Join"
OFFER: Final = "Offer"
"""An invitation's secret in, what it is good for out."""
ENROL: Final = "Enrol"
"""The same and an enrolment in, a certificate out; again: the same certificate."""

MEMBERSHIP: Final = "entrepot.Membership"
LOOK: Final = "Look"
SIGN: Final = "Sign"
RENEW: Final = "Renew"

PEOPLE: Final = "entrepot.People"
"""On the join service's port, without a certificate: a person shows an invitation, a signature and
a code, and from then on a session (`federation.people`)."""

DEADLINE: Final = 15.0
"""Seconds for one call."""
LARGEST_ASKED: Final = 1 << 17
"""Bytes of a call at most; answers may be as large as a view."""

_IDLE: Final = 20_000
JOIN_OPTIONS: Final = (
    ("grpc.max_receive_message_length", LARGEST_ASKED),
    ("grpc.max_send_message_length", LARGEST + 1024),  # of a ledger, as a person is given it
    ("grpc.max_connection_idle_ms", _IDLE),
    ("grpc.max_connection_age_ms", 3 * _IDLE),
    ("grpc.max_connection_age_grace_ms", _IDLE),
    ("grpc.server_handshake_timeout_ms", _IDLE // 2),
    ("grpc.max_concurrent_streams", 2),
    ("grpc.so_reuseport", 0),
)
CALLER_OPTIONS: Final = (
    ("grpc.max_receive_message_length", LARGEST + 1024),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


def path(service: str, method: str) -> str:
    """Return the name of a call, as gRPC has it."""
    return f"/{service}/{method}"
