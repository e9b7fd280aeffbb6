"""What both ends of the stream must set alike: its name, and how gRPC treats it.

One bidirectional call, whose messages are frames (`frames`), opened by the node and kept. A
connection on which nothing was heard for twenty seconds is asked whether it lives, from both ends,
and given up ten seconds later: a cut cable is noticed within half a minute, where it would
otherwise be noticed by the next letter alone.
"""

from typing import Final

from federation.control.frames import LONGEST_FRAME
from federation.views import LARGEST

SERVICE: Final = "entrepot.Stream"
METHOD: Final = "Keep"
PATH: Final = f"/{SERVICE}/{METHOD}"

TLS: Final = "TLSv1.3"
"""The only version that is spoken, as gRPC names it."""

ADMITTED: Final = (("entrepot-stream", "1"),)
"""The first words of the server to a node that it admits."""

OPEN: Final = 8
"""Requests that are unanswered on one stream at most; a server waits, a node ends the stream. So a
node never has to stop reading, which would keep it from noticing that the stream is over."""

_ALIVE: Final = 20_000
_GONE: Final = 10_000
_KEPT: Final = (
    ("grpc.keepalive_time_ms", _ALIVE),
    ("grpc.keepalive_timeout_ms", _GONE),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
OPTIONS: Final = (
    ("grpc.max_receive_message_length", LONGEST_FRAME),
    ("grpc.max_send_message_length", LONGEST_FRAME),
    *_KEPT,
)
SERVER_OPTIONS: Final = (
    ("grpc.max_receive_message_length", LONGEST_FRAME),
    ("grpc.max_send_message_length", LARGEST + 1024),  # of a view; frames are never as large
    *_KEPT,
    ("grpc.http2.min_ping_interval_without_data_ms", _ALIVE // 2),
    ("grpc.server_handshake_timeout_ms", _GONE),
    ("grpc.max_concurrent_streams", 4),
    ("grpc.so_reuseport", 0),
)
NODE_OPTIONS: Final = (
    *OPTIONS,
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
"""A node waits between attempts by itself; it calls its server and no proxy."""
