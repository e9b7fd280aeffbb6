"""A node on both ways at once: Flower's loop and the stream's, one memory, one end.

    once = Once(node.answer, Inbox(folder / "outbox.sqlite"), is_of_the_moment)
    serve_both(flower, stream, once, stop)

Both loops are given the same `Once`: a request that comes over one and again over the other, also
at the same moment, is computed once and answered with the same bytes. The end of one loop is the
end of both, so whoever supervises the process starts them together again.
"""

import logging
import threading

from clients.errors import ClientError
from clients.once import Answers
from clients.serve import LoopFailedError, ServeSettings, serve
from clients.stream import serve_stream
from clients.stream_tls import StreamSettings

_LOG = logging.getLogger(__name__)
_LEAVE = 5.0
"""Seconds that the stream's loop has to end once it was told to."""


class _Beside(threading.Thread):
    """The stream's loop in a thread of its own, which keeps no process alive."""

    def __init__(self, settings: StreamSettings, once: Answers, stop: threading.Event) -> None:
        super().__init__(daemon=True, name="stream")
        self.failure: ClientError | None = None
        self._settings = settings
        self._once = once
        self._halt = stop

    def run(self) -> None:
        """Serve the stream; whatever ends it ends the node."""
        try:
            serve_stream(self._settings, self._once, self._halt, self._once.named)
        except ClientError as why:
            self.failure = why
        except Exception:  # noqa: BLE001 - logged, and the node starts again
            _LOG.exception("The stream's loop failed.")
            self.failure = LoopFailedError("The node's stream failed; its log says where.")
        finally:
            self._halt.set()


def serve_both(
    flower: ServeSettings, stream: StreamSettings | None, once: Answers, stop: threading.Event
) -> None:
    """The node has answered over both ways until it was told to stop.

    Args:
        flower: how it reaches the Flower server.
        stream: how it opens its stream; None: it has Flower alone.
        once: gives the answers, over either.
        stop: set it to end.

    Raises:
        BadCertificateError: this node cannot show who it is.
        WrongCertificateError, NotRegisteredError, LocalProtocolError, LoopFailedError: see `serve`.
    """
    if stream is None:
        _LOG.warning("node.toml names no stream: this node answers over Flower alone.")
        serve(flower, once, stop)
        return
    beside = _Beside(stream, once, stop)
    beside.start()
    try:
        serve(flower, once, stop)
    finally:
        stop.set()
        beside.join(_LEAVE)
    if beside.failure is not None:
        raise beside.failure
