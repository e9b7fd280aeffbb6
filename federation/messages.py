"""The closed union of things that may cross a border."""

from enum import StrEnum


class Kind(StrEnum):
    """What an envelope carries. A kind that is not here does not cross."""

    # Requests, from the aggregator.
    PING = "ping"
    OFFER = "order.offer"
    CLOSE = "order.close"
    TRAIN_ROUND = "train.round"
    SUM_ROUND = "sum.round"
    SUM_ASK = "sum.ask"
    QUERY_KEYS = "query.keys"
    QUERY_PARTIAL = "query.partial"
    QUERY_OPEN = "query.open"
    LEDGER_SEEN = "ledger.seen"
    LEDGER_WITNESS = "ledger.witness"
    # Replies, from a node.
    PONG = "pong"
    ACCEPTED = "order.accepted"
    REFUSED = "order.refused"
    CLOSED = "order.closed"
    TRAIN_UPDATE = "train.update"
    SUM_UPLOAD = "sum.upload"
    SUM_ANSWER = "sum.answer"
    QUERY_PUBLIC_KEY = "query.public_key"
    QUERY_CIPHERTEXT = "query.ciphertext"
    QUERY_OPENED = "query.opened"
    LEDGER_HEADS = "ledger.heads"
    LEDGER_COSIGNED = "ledger.cosigned"
    LEDGER_UNSURE = "ledger.unsure"
    FAILED = "failed"


REPLIES: dict[Kind, Kind] = {
    Kind.PING: Kind.PONG,
    Kind.OFFER: Kind.ACCEPTED,
    Kind.CLOSE: Kind.CLOSED,
    Kind.TRAIN_ROUND: Kind.TRAIN_UPDATE,
    Kind.SUM_ROUND: Kind.SUM_UPLOAD,
    Kind.SUM_ASK: Kind.SUM_ANSWER,
    Kind.QUERY_KEYS: Kind.QUERY_PUBLIC_KEY,
    Kind.QUERY_PARTIAL: Kind.QUERY_CIPHERTEXT,
    Kind.QUERY_OPEN: Kind.QUERY_OPENED,
    Kind.LEDGER_SEEN: Kind.LEDGER_HEADS,
    Kind.LEDGER_WITNESS: Kind.LEDGER_COSIGNED,
}
"""What a request is answered with when nothing goes wrong; REFUSED and FAILED answer any."""

OWN_FIGURES: frozenset[Kind] = frozenset(
    {Kind.TRAIN_UPDATE, Kind.SUM_UPLOAD, Kind.QUERY_CIPHERTEXT}
)
"""Replies in which something stands that a node computed from its own rows."""

SPENDING: frozenset[Kind] = frozenset(
    {
        *(Kind.OFFER, Kind.TRAIN_ROUND, Kind.SUM_ROUND),
        *(Kind.QUERY_KEYS, Kind.QUERY_PARTIAL, Kind.QUERY_OPEN),
    }
)
"""What LEDGER_UNSURE may answer too: this process lacks a word of its witnesses; ask again."""
