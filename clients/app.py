"""The node's Flower application: opaque bytes in, opaque bytes out.

A message carries exactly one configuration record with one value of bytes, the envelope; so does
the reply. The envelope is never parsed by Flower: the record holds its bytes as they are, and is
one object at the server, where an array would be three. What goes wrong inside becomes one fixed
sentence, because an exception's text may hold data.
"""

import logging
import os
from collections.abc import Callable

from federation.control.quiet import QUIET

os.environ.update(QUIET)
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.errors import ClientError, NoSuccessorError

Application = ClientApp
_LOG = logging.getLogger(__name__)
_RECORD = "envelope"
_KEY = "entrepot.envelope/2"
CATEGORIES = ("train", "query")
FAILED = 2
"""Flower's code for an application that raised."""
REFUSED = 403
SCRUBBED = "The node could not answer; its operator finds the reason in the node's own log."
FOREIGN = "The node answers only envelopes, in messages of type train or query."


class NotAnEnvelopeError(ClientError):
    """A message carries something else than one record of bytes."""


class EnvelopeApp(ClientApp):
    """A Flower application whose every `train…` and `query…` message goes to one handler."""

    def __init__(self, handler: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._handler = handler

    def __call__(self, message: Message, context: Context) -> Message:  # noqa: ARG002
        """The reply holds the handler's answer, or an error without a word from inside.

        Raises:
            NoSuccessorError: the next process answers it; there is no reply.
        """
        if message.metadata.message_type.partition(".")[0] not in CATEGORIES:
            return Message(Error(REFUSED, FOREIGN), reply_to=message)
        try:
            reply = self._handler(unpack(message.content))
        except NotAnEnvelopeError:
            return Message(Error(REFUSED, FOREIGN), reply_to=message)
        except NoSuccessorError:
            raise
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
    return RecordDict({_RECORD: ConfigRecord({_KEY: payload})})


def unpack(content: RecordDict) -> bytes:
    """The payload the message content carries.

    Raises:
        NotAnEnvelopeError: the content is anything else than one record of bytes.
    """
    records = list(content.values())
    return bytes_in(records[0] if len(records) == 1 else None)


def bytes_in(record: object) -> bytes:
    """The payload the one record of a message's content holds.

    Raises:
        NotAnEnvelopeError: it is something else.
    """
    found = dict(record) if isinstance(record, ConfigRecord) else {}
    payload = found.get(_KEY)
    if len(found) == 1 and isinstance(payload, bytes):
        return payload
    raise NotAnEnvelopeError(
        "The message does not carry one record of bytes; its sender speaks another version."
    )
