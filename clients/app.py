"""The node's Flower application: opaque bytes in, opaque bytes out.

A message carries exactly one array record with one array of bytes, the envelope; so does the
reply. The envelope is never parsed by Flower: the array holds its bytes as they are. What goes
wrong inside becomes one fixed sentence, because an exception's text may hold data.
"""

import logging
import os
from collections.abc import Callable

from federation.control.quiet import QUIET

os.environ.update(QUIET)
from flwr.app import Array, ArrayRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.errors import ClientError

Application = ClientApp
_LOG = logging.getLogger(__name__)
_RECORD = "envelope"
_KEY = "bytes"
_ENCODING = "entrepot.envelope/1"
CATEGORIES = ("train", "query")
FAILED = 2
"""Flower's code for an application that raised."""
REFUSED = 403
SCRUBBED = "The node could not answer; its operator finds the reason in the node's own log."
FOREIGN = "The node answers only envelopes, in messages of type train or query."


class NotAnEnvelopeError(ClientError):
    """A message carries something else than one array of bytes."""


class EnvelopeApp(ClientApp):
    """A Flower application whose every `train…` and `query…` message goes to one handler."""

    def __init__(self, handler: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._handler = handler

    def __call__(self, message: Message, context: Context) -> Message:  # noqa: ARG002
        """The reply holds the handler's answer, or an error without a word from inside."""
        if message.metadata.message_type.partition(".")[0] not in CATEGORIES:
            return Message(Error(REFUSED, FOREIGN), reply_to=message)
        try:
            reply = self._handler(unpack(message.content))
        except NotAnEnvelopeError:
            return Message(Error(REFUSED, FOREIGN), reply_to=message)
        except Exception:  # noqa: BLE001 - whatever it is, it stays here
            _LOG.exception("The handler failed; the asker gets a fixed sentence.")
            return Message(Error(FAILED, SCRUBBED), reply_to=message)
        return Message(pack(reply), reply_to=message)


def make_app(handler: Callable[[bytes], bytes]) -> ClientApp:
    """A Flower application that answers envelopes with `handler`."""
    return EnvelopeApp(handler)


def answer(app: ClientApp, message: Message) -> Message:
    """The application's reply; it is given a context without state, so that nothing is in it."""
    context = Context(message.metadata.run_id, message.metadata.dst_node_id, {}, RecordDict(), {})
    return app(message, context)


def pack(payload: bytes) -> RecordDict:
    """The message content that carries the payload."""
    array = Array("uint8", (len(payload),), _ENCODING, payload)
    return RecordDict({_RECORD: ArrayRecord({_KEY: array})})


def unpack(content: RecordDict) -> bytes:
    """The payload the message content carries.

    Raises:
        NotAnEnvelopeError: the content is anything else than one array of bytes.
    """
    records = list(content.values())
    arrays = list(records[0].values()) if len(records) == 1 else []
    array = arrays[0] if len(arrays) == 1 else None
    if not isinstance(array, Array) or (array.dtype, array.stype) != ("uint8", _ENCODING):
        message = (
            "The message does not carry one array of bytes; its sender speaks another version."
        )
        raise NotAnEnvelopeError(message)
    return array.data
